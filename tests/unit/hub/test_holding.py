"""Which policies hold for a placement."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api import (
    LabelRequirement,
    LabelSelector,
    PlacementPolicySpec,
    PlacementSpec,
    PolicyExceptionSpec,
    PolicyMatch,
    Rule,
    Subject,
)
from shared.hub.holding import exempted, holds, is_known_to_hold, labels_above, labels_for
from shared.model.policy import Exemption, PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, Requester, ScopeLabels
from shared.model.target import Workspace

ALICE = Requester(username="alice", groups=("team", "system:authenticated"))
RULES = (Rule(name="r", expression="true"),)
LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))


def request(workspace: str = "root:shop:web", namespace: str = "cart", **fields: Any) -> Request:
    return Request(
        placement=PlacementRef(workspace=workspace, namespace=namespace, name="p"),
        head=Head(uid="u", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=PlacementSpec(),
        **{"requester": ALICE, **fields},
    )


def policy(workspace: str = "root", selector: LabelSelector | None = None, **match: Any) -> PolicyEntry:
    spec = PlacementPolicySpec(rules=RULES, match=PolicyMatch(**match), placement_selector=selector)
    return PolicyEntry(workspace=workspace, name="p", spec=spec)


@pytest.mark.parametrize(
    ("match", "chosen"),
    [
        ({}, True),
        ({"workspaces": ("root:shop",)}, True),
        ({"workspaces": ("root:shop:web",)}, True),
        ({"workspaces": ("root:sho",)}, False),
        ({"workspaces": ("root:bank", "root:shop")}, True),
        ({"excluded_workspaces": ("root:shop",)}, False),
        ({"workspaces": ("root:shop",), "excluded_workspaces": ("root:shop:api",)}, True),
        ({"namespaces": ("cart",)}, True),
        ({"namespaces": ("car*",)}, True),
        ({"namespaces": ("car",)}, False),
        ({"namespaces": ("*",), "excluded_namespaces": ("c*",)}, False),
        ({"subjects": (Subject(kind="User", name="alice"),)}, True),
        ({"subjects": (Subject(kind="User", name="team"),)}, False),
        ({"subjects": (Subject(kind="Group", name="team"), Subject(kind="User", name="bob"))}, True),
        ({"namespaces": ("cart",), "subjects": (Subject(kind="User", name="bob"),)}, False),
    ],
)
def test_a_policy_holds_for_whom_it_matches(match: dict[str, Any], chosen: bool) -> None:
    assert holds(policy(**match), request()) is chosen


def test_nobody_gets_out_of_a_policy_by_being_unknown() -> None:
    assert holds(policy(subjects=(Subject(kind="User", name="bob"),)), request(requester=None))


def test_a_policy_never_holds_outside_of_its_workspace() -> None:
    assert not holds(policy("root:bank", workspaces=("root:shop",)), request())


@given(labels=LABELS, others=LABELS)
def test_labels_of_the_placement_change_nothing_in_what_is_matched(
    labels: dict[str, str], others: dict[str, str]
) -> None:
    for entry in (policy(namespaces=("cart",)), policy(excluded_namespaces=("cart",))):
        assert holds(entry, request(labels=labels)) == holds(entry, request(labels=others))


def test_a_selector_by_labels_narrows_what_is_matched() -> None:
    gold = LabelSelector(match_labels={"tier": "gold"})
    assert not holds(policy(selector=gold, namespaces=("cart",)), request())
    assert holds(policy(selector=gold, namespaces=("cart",)), request(labels={"tier": "gold"}))
    assert not holds(policy(selector=gold, namespaces=("other",)), request(labels={"tier": "gold"}))


# --- exemptions -------------------------------------------------------------------------------------------------------

TWO = (Rule(name="r", expression="true"), Rule(name="s", expression="true"))


def granted(name: str = "e", expires: float = 100.0, placements: tuple[str, ...] = (), **fields: Any) -> Exemption:
    rules = fields.pop("rules", ())
    spec = PolicyExceptionSpec(
        policy="p",
        rules=rules,
        placements=placements,
        match=PolicyMatch(**fields),
        reason="because",
        expires_at="1970-01-01T00:01:40Z",
    )
    return Exemption(name=name, expires=expires, spec=spec)


def with_exemptions(*exemptions: Exemption) -> PolicyEntry:
    return PolicyEntry(workspace="root", name="p", spec=PlacementPolicySpec(rules=TWO), exemptions=exemptions)


@pytest.mark.parametrize(
    ("fields", "rules"),
    [
        ({"namespaces": ("cart",)}, "rs"),
        ({"namespaces": ("cart",), "rules": ("s",)}, "s"),
        ({"namespaces": ("cart",), "rules": ("gone",)}, ""),
        ({"namespaces": ("other",)}, ""),
        ({"workspaces": ("root:shop",)}, "rs"),
        ({"workspaces": ("root:shop",), "excluded_workspaces": ("root:shop:web",)}, ""),
        ({"workspaces": ("root:bank",)}, ""),
        ({"namespaces": ("cart",), "placements": ("p",)}, "rs"),
        ({"namespaces": ("cart",), "placements": ("q",)}, ""),
        ({"subjects": (Subject(kind="Group", name="team"),)}, "rs"),
        ({"subjects": (Subject(kind="User", name="bob"),)}, ""),
    ],
)
def test_an_exemption_is_for_whom_it_says_and_from_the_rules_that_it_names(fields: dict[str, Any], rules: str) -> None:
    found = exempted(with_exemptions(granted(**fields)), request(), now=99.0)
    assert set(found) & {"r", "s"} == set(rules)


def test_an_exemption_ends_at_the_second_that_it_says() -> None:
    policy = with_exemptions(granted(namespaces=("cart",)))
    assert exempted(policy, request(), now=99.9)
    assert not exempted(policy, request(), now=100.0)


def test_nobody_is_exempt_by_being_unknown() -> None:
    policy = with_exemptions(granted(subjects=(Subject(kind="Group", name="team"),)))
    assert exempted(policy, request(), now=0.0)
    assert not exempted(policy, request(requester=None), now=0.0)


@given(labels=LABELS)
def test_no_label_of_a_placement_makes_it_exempt(labels: dict[str, str]) -> None:
    policy = with_exemptions(granted(namespaces=("other",)), granted("f", placements=("q",), workspaces=("root",)))
    assert not exempted(policy, request(labels=labels), now=0.0)


# --- labels of workspaces and namespaces ------------------------------------------------------------------------------

PROD = LabelSelector(match_labels={"env": "prod"})
NOT_LAB = LabelSelector(match_expressions=(LabelRequirement(key="env", operator="NotIn", values=("lab",)),))
ENVS = st.dictionaries(st.just("env"), st.sampled_from(("prod", "lab")))


def labelled(namespace: dict[str, str] | None = None, **workspaces: dict[str, str]) -> ScopeLabels:
    """Labels of a namespace, and of workspaces by the last part of their path below `root`."""
    paths = {"shop": "root:shop", "web": "root:shop:web"}
    return ScopeLabels(namespace=namespace, workspaces={paths[each]: found for each, found in workspaces.items()})


@pytest.mark.parametrize(
    ("labels", "chosen"),
    [
        (labelled(shop={"env": "prod"}, web={}), True),
        (labelled(shop={}, web={"env": "prod"}), True),
        (labelled(shop={}, web={}), False),
        (labelled(shop={"env": "lab"}, web={"env": "lab"}), False),
        (labelled(shop={}), True),  # nobody knows those of web
        (labelled(), True),
    ],
)
def test_a_workspace_with_the_labels_is_matched_with_all_below_it(labels: ScopeLabels, chosen: bool) -> None:
    assert holds(policy(workspace_selector=PROD), request(scope_labels=labels)) is chosen


def test_in_its_own_workspace_a_policy_goes_by_the_labels_of_that_alone() -> None:
    labels = labelled(shop={"env": "prod"}, web={})
    assert holds(policy("root:shop", workspace_selector=PROD), request("root:shop", scope_labels=labels))
    assert not holds(policy("root:shop", workspace_selector=PROD), request(scope_labels=labels))


@pytest.mark.parametrize(
    ("labels", "chosen"), [({"env": "prod"}, True), ({"env": "lab"}, False), ({}, False), (None, True)]
)
def test_a_namespace_is_matched_by_its_labels_and_where_nobody_knows_them(
    labels: dict[str, str] | None, chosen: bool
) -> None:
    assert holds(policy(namespace_selector=PROD), request(scope_labels=labelled(labels))) is chosen


@given(st.sampled_from((PROD, NOT_LAB)), ENVS, ENVS, st.lists(ENVS, max_size=3))
def test_nobody_gets_out_of_a_policy_by_making_workspaces_with_any_labels_below_its_own(
    selector: LabelSelector, above: dict[str, str], own: dict[str, str], made: list[dict[str, str]]
) -> None:
    entry, known = policy(workspace_selector=selector), {"root:shop": above, "root:shop:web": own}
    before = holds(entry, request(scope_labels=ScopeLabels(workspaces=known)))
    for number, labels in enumerate(made):
        known[path := ":".join(["root:shop:web", *map(str, range(number + 1))])] = labels
        if before:
            assert holds(entry, request(path, scope_labels=ScopeLabels(workspaces=known)))


@given(ENVS, st.none() | ENVS, st.none() | ENVS)
def test_what_is_not_known_takes_no_policy_away_and_gives_nothing(
    selector: dict[str, str], workspace: dict[str, str] | None, namespace: dict[str, str] | None
) -> None:
    chosen = LabelSelector(match_labels=selector)
    entry = policy("root:shop", workspace_selector=chosen, namespace_selector=chosen)
    workspaces = {} if workspace is None else {"root:shop:web": workspace}
    known = request(scope_labels=ScopeLabels(workspaces=workspaces, namespace=namespace))
    nothing = request(scope_labels=ScopeLabels())
    assert holds(entry, nothing)
    assert not is_known_to_hold(entry, nothing)
    assert holds(entry, known) or not is_known_to_hold(entry, known)
    if workspace is not None and namespace is not None:
        assert holds(entry, known) is is_known_to_hold(entry, known)


def test_labels_of_the_workspace_where_the_tree_begins_are_not_known() -> None:
    known = {"root": Workspace(path="root", root=True), "root:shop": Workspace(path="root:shop", labels={"a": "b"})}
    assert labels_above("root:shop:web", known.get) == {"root:shop": {"a": "b"}}
    assert labels_above("", {"": Workspace(path="", root=True)}.get) == {}


def test_labels_that_no_policy_goes_by_are_not_taken_along() -> None:
    known = {"root:shop": Workspace(path="root:shop", labels={"a": "b"})}
    assert labels_for([policy()], "root:shop", known.get, {"c": "d"}) == ScopeLabels()
    by_namespace = labels_for([policy(), policy(namespace_selector=PROD)], "root:shop", known.get, {"c": "d"})
    assert by_namespace == ScopeLabels(namespace={"c": "d"})
    by_workspace = labels_for([policy(workspace_selector=PROD)], "root:shop", known.get, {"c": "d"})
    assert by_workspace == ScopeLabels(workspaces={"root:shop": {"a": "b"}})


@given(ENVS, ENVS)
def test_no_label_of_a_workspace_or_namespace_makes_anybody_exempt(
    workspace: dict[str, str], namespace: dict[str, str]
) -> None:
    """Also where a hub stored such an exception, which its schema refuses."""
    everything = LabelSelector()
    by_labels = with_exemptions(
        granted(workspaces=("root",), workspace_selector=everything),
        granted("f", namespaces=("cart",), namespace_selector=everything),
    )
    labels = labelled(namespace, shop=workspace, web=workspace)
    assert not exempted(by_labels, request(scope_labels=labels), now=0.0)
