"""What kcp v0.32 does otherwise than kube-apiserver, by the case that shows it. There the case is expected to fail, and
the reason is printed; some of it is a matter of moments, so that a case may pass.

The sandbox does in all of this as kube-apiserver does, though it stands in for kcp as well: its clusters are targets,
too, and workers have to do with either. What else kcp does otherwise, the sandbox does as kcp (`test_kcp.py` and
`test_kcp_views.py`).
"""

from collections.abc import Mapping
from typing import Final

# Once, after a create. Workers write nothing that changes nothing; tests that count their writes would see it here.
_COUNTED = "a write that changes nothing may count the version up"
# A matter of moments: tests of the sandbox need not wait, and those of kcp do.
_LATE = "what a kind had goes, and is told of, some moments after the kind"
_SERVED = "what a binding served is there for some moments more"
# One more ConfigMap, which nothing refers to. Watches in these cases are of all ConfigMaps of a namespace.
_ROOT_CA = "its controllers put the ConfigMap kube-root-ca.crt into a new namespace"
# An older apimachinery than that of the kube-apiserver that the cases were written for: it will be the same some day.
_EMPTY = "a map that is emptied is {} and not null"
# Of a hub, whose URL the operator gives; our clients send no such path (shared/kube/urls.py), and follow no redirects.
_DOTS = "a path with dots is redirected"

KCP: Final[Mapping[str, str]] = {
    "test_the_end_of_a_binding_is_the_end_of_what_it_served[kcp]": _SERVED,
    "test_applying_the_same_again_changes_nothing_not_even_the_version[kcp]": _COUNTED,
    "test_what_is_replaced_by_itself_keeps_its_version[kcp]": _COUNTED,
    "test_a_patch_that_changes_nothing_makes_no_version[kcp]": _COUNTED,
    "test_a_watch_of_definitions_alone_tells_of_a_kind_once_it_can_be_discovered[kcp]": _LATE,
    "test_the_end_of_a_kind_is_the_end_of_its_objects_and_watches[kcp]": _LATE,
    "test_a_definition_waits_for_the_finalizers_of_its_objects_and_takes_nothing_new[kcp]": _LATE,
    "test_a_kind_that_is_going_is_listed_without_the_verbs_that_make_or_change[kcp]": _LATE,
    "test_a_definition_can_be_held_when_its_objects_are_gone[kcp]": _LATE,
    # Nobody of ours changes one: a scope that changes is another kind.
    "test_group_and_scope_are_for_good[kcp-scope]": "the scope of a kind may be changed",
    # We ask group by group then (shared/kube/apis.py, tried in tests/integration/kube/test_discovery.py).
    "test_all_is_told_at_once_to_those_who_ask_for_it[kcp-/apis-conformance.moorage.io-widgets]": (
        "/apis is not answered in the aggregated form"
    ),
    "test_what_an_applier_no_longer_names_goes[kcp-first2-second2-spec2]": _EMPTY,
    "test_a_map_that_this_empties_is_null_which_its_schema_may_not_take[kcp]": _EMPTY,
    "test_the_status_is_written_through_its_own_path_alone[kcp]": _COUNTED,
    "test_what_does_not_change_is_no_event[kcp]": _COUNTED,
    "test_a_path_leads_nowhere_else[kcp-%2e%2e]": _DOTS,
    "test_a_path_leads_nowhere_else[kcp-..%2f..%2fsecrets]": _DOTS,
    "test_many_changes_are_all_seen_once[kcp-50]": _ROOT_CA,
    "test_changes_arrive_in_order_with_their_objects[kcp]": _ROOT_CA,
    "test_a_bookmark_before_the_end_says_how_far_the_watch_came[kcp]": _ROOT_CA,
}
