"""What a request may ask for, and in which form; the subject decides for which workspace, and as whom."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.intake.core import (
    MOST_VALUES,
    Placing,
    RequestRejected,
    Withdrawing,
    digest_of,
    has_more_values,
    key_of,
    reply_to,
    wanted,
)
from shared.cloudevents import CloudEvent
from shared.hub.names import REQUESTER_ANNOTATION
from shared.model.refs import PlacementRef
from shared.pipeline.requests import RequestSubject
from tests.support.asking import place, request, withdraw
from tests.support.manifests import deployment, placement

PLACE = RequestSubject("root:team", "ci", "place")
WITHDRAW = PLACE._replace(verb="withdraw")
WEB = PlacementRef(workspace="root:team", namespace="shop", name="web")


def with_metadata(**more):
    made = placement("web")
    made["metadata"] |= more
    return made


def test_a_placement_with_objects_or_bare_is_placed():
    found = wanted(
        request("place", {"placement": placement("web"), "objects": [deployment()], "hold": "0" * 32}), PLACE
    )
    assert isinstance(found, Placing)
    assert (found.placement, found.hold) == (WEB, "0" * 32)
    assert found.objects[0]["metadata"]["namespace"] == "shop"
    assert wanted(request("place", placement("web")), PLACE).placement == WEB
    made = {name: value for name, value in placement("web").items() if name not in ("apiVersion", "kind")}
    assert wanted(request("place", {"placement": made}), PLACE).manifest["kind"] == "Placement"


def test_what_a_client_leaves_empty_does_no_harm():
    made = {**with_metadata(creationTimestamp=None), "status": None}
    assert wanted(request("place", made), PLACE).placement == WEB


def test_a_placement_is_withdrawn_by_name():
    assert wanted(withdraw("web"), WITHDRAW) == Withdrawing(WEB)


REJECTED = {
    "another type": (withdraw(), "InvalidEvent", "must be io.moorage.placement.place.v1"),
    "an unknown type": (CloudEvent(id="1", source="/a", type="com.example.sold"), "InvalidEvent", "com.example.sold"),
    "no JSON": (request("place", {}, datacontenttype="text/plain"), "InvalidEvent", "must be JSON"),
    "no data": (CloudEvent(id="1", source="/a", type=place().type), "InvalidRequest", "data"),
    "a list": (request("place", []), "InvalidRequest", "Expected `object`"),
    "a field too many": (request("place", {"placement": placement("web"), "when": "now"}), "InvalidRequest", "when"),
    "another workspace": (
        request("place", {"placement": placement("web"), "workspace": "root:rival"}),
        "NotTheSubjects",
        "'root:team'",
    ),
    "another user": (request("place", {"placement": placement("web"), "user": "root"}), "NotTheSubjects", "'ci'"),
    "another workspace's path": (
        request("place", with_metadata(annotations={"kcp.io/path": "root:rival"})),
        "NotTheSubjects",
        "another workspace",
    ),
    "another logical cluster": (
        request("place", with_metadata(annotations={"kcp.io/cluster": "2x"})),
        "NotTheSubjects",
        "another workspace",
    ),
    "a requester": (
        request("place", with_metadata(annotations={REQUESTER_ANNOTATION: "{}"})),
        "InvalidRequest",
        "Moorage alone sets",
    ),
    "a label of ours": (
        request("place", with_metadata(labels={"placement.moorage.io/managed": "true"})),
        "InvalidRequest",
        "Moorage alone sets",
    ),
    "a finalizer": (request("place", with_metadata(finalizers=["a/b"])), "InvalidRequest", "metadata.finalizers"),
    "a version": (request("place", with_metadata(resourceVersion="1")), "InvalidRequest", "resourceVersion"),
    "an owner": (request("place", with_metadata(ownerReferences=[])), "InvalidRequest", "ownerReferences"),
    "a status": (request("place", {**placement("web"), "status": {"phase": "Ready"}}), "InvalidRequest", "status"),
    "no name": (request("place", with_metadata(name="")), "InvalidRequest", "name is missing"),
    "a name that leads elsewhere": (request("place", with_metadata(name="..")), "InvalidRequest", "name"),
    "a long name": (request("place", with_metadata(name="a" * 300)), "InvalidRequest", "name"),
    "no namespace": (request("place", with_metadata(namespace=None)), "InvalidRequest", "namespace is missing"),
    "another kind": (
        request("place", {"placement": deployment()}),
        "InvalidRequest",
        "kind Placement",
    ),
    "labels that are none": (request("place", with_metadata(labels=[])), "InvalidRequest", "no mapping"),
    "an object of another namespace": (
        request("place", {"placement": placement("web"), "objects": [deployment(namespace="rival")]}),
        "InvalidRequest",
        "another namespace",
    ),
    "a role": (
        request(
            "place",
            {
                "placement": placement("web"),
                "objects": [{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}}],
            },
        ),
        "InvalidRequest",
        "nothing that a request can bring",
    ),
    "too many objects": (
        request("place", {"placement": placement("web"), "objects": [deployment()] * 101}),
        "InvalidRequest",
        "objects",
    ),
}


@pytest.mark.parametrize("case", REJECTED)
def test_what_a_request_may_not_ask_for_is_rejected_with_its_reason(case):
    event, code, reason = REJECTED[case]
    with pytest.raises(RequestRejected, match=reason) as told:
        wanted(event, PLACE)
    assert told.value.code == code


@pytest.mark.parametrize("spec", [{"workload": [0] * 1_000_000}, {"labels": {str(n): 0 for n in range(60_000)}}])
def test_more_values_than_anybody_needs_are_refused_before_anything_else_is_done_with_them(spec):
    with pytest.raises(RequestRejected, match=f"more than {MOST_VALUES} values"):
        wanted(request("place", {**placement("web"), "spec": spec}), PLACE)


def test_as_many_values_as_are_allowed_are_left_to_the_hub():
    made = {**placement("web"), "spec": {"workload": [0] * (MOST_VALUES - 20)}}
    assert len(wanted(request("place", made), PLACE).manifest["spec"]["workload"]) == MOST_VALUES - 20


@given(
    st.recursive(st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)), st.integers(0, 20)
)
def test_values_are_counted_at_any_depth(value, most):
    assert has_more_values(value, most) == (_values(value) > most)


def _values(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_values, inner))


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each))
)
def test_whatever_the_data_are_they_are_read_or_rejected(data):
    for subject in (PLACE, WITHDRAW):
        event = request(subject.verb, data)
        try:
            wanted(event, subject)
        except RequestRejected as why:
            assert str(why)  # noqa: PT017 - either it can be read, or there is a reason


@pytest.mark.parametrize(
    "subject",
    ["moorage.pipeline.assigned.a.b.c.d", "$KV.moorage-heads.a.b.c", "_INBOX", "_INBOX.", "_INBOX.a b", "_INBOX.*", 7],
)
def test_answers_go_to_inboxes_and_nowhere_else(subject):
    with pytest.raises(RequestRejected, match="answers go to subjects below"):
        reply_to({"replyto": subject})
    with pytest.raises(RequestRejected, match="answers go to"):
        reply_to({"replyto": "_INBOX." + "x" * 300})


def test_a_request_need_not_be_answered_to_anybody():
    assert reply_to({}) == ""
    assert reply_to({"replyto": "_INBOX.a.b"}) == "_INBOX.a.b"


def test_the_same_request_has_the_same_digest_however_its_json_is_written():
    one = request("place", {"a": 1, "b": [1, 2]}, id="1")
    other = CloudEvent(id="2", source="/x", type=one.type, data=b'{ "b": [1,2],\n "a": 1}')
    assert digest_of(one) == digest_of(other)
    assert digest_of(one) != digest_of(request("place", {"a": 2, "b": [1, 2]}))


def test_ids_of_one_publisher_are_not_those_of_another():
    event = place(id="1")
    keys = {key_of(each, event) for each in (PLACE, PLACE._replace(user="cd"), PLACE._replace(workspace="root"))}
    assert len(keys) == 3


names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(names | st.just(""), names, st.sampled_from(["place", "withdraw", "decide"]))
def test_a_subject_says_whatever_names_it_was_made_of(workspace, user, verb):
    made = RequestSubject(workspace, user, verb)
    assert RequestSubject.parse(made.subject) == made
    assert len(made.subject.split(".")) == 5


@pytest.mark.parametrize(
    "subject",
    [
        "moorage.requests.root.ci",
        "moorage.requests.root.ci.explode",
        "moorage.requests.root.=.place",
        "moorage.requests.=41.ci.place",
        "moorage.requests.a.b.c.place",
        "moorage.requests.=FF.ci.place",
        "moorage.pipeline.root.ci.place",
        "x.moorage.requests.root.ci.place",
    ],
)
def test_a_subject_that_spells_a_name_in_another_way_is_none(subject):
    with pytest.raises(ValueError, match=r"no subject of requests|decode"):
        RequestSubject.parse(subject)


def test_the_example_of_the_docs():
    assert RequestSubject("root:team-a", "ci", "place").subject == "moorage.requests.root=3Ateam-a.ci.place"
    assert json.loads(place().data)["placement"]["metadata"]["name"] == "web"
