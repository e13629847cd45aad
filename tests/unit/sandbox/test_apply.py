"""Server-side apply as a pure function: tables and properties."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.objects import apply
from services.sandbox.objects.apply import ConflictsError, Owner
from services.sandbox.schemas.kinds import KINDS

SCHEMA = {
    "type": "object",
    "properties": {
        "metadata": KINDS["schemas"]["metadata"],
        "spec": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "size": {"type": "integer"},
                "map": {"type": "object", "additionalProperties": {"type": "integer"}},
                "atom": {"type": "object", "x-kubernetes-map-type": "atomic"},
                "list": {"type": "array", "items": {"type": "integer"}},
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "items": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {"name": {}, "a": {}, "b": {}}},
                },
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["port", "protocol"],
                    "items": {"properties": {"port": {}, "protocol": {"default": "TCP"}, "name": {}}},
                },
            },
        },
    },
}
ANN, BEN = Owner("ann", "Apply", "v1"), Owner("ben", "Apply", "v1")
EDITOR = Owner("editor", "Update", "v1")


def spec(**fields):
    return {"spec": fields}


def run(live, owners, owner, config, *, force=False):
    return apply.apply(live, config, owner, owners, SCHEMA, force=force)


def both(first, second):
    """Ann applies, then Ben."""
    done = run({}, {}, ANN, first)
    return run(done.document, done.owners, BEN, second)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(spec(name="a"), spec(size=1), spec(name="a", size=1), id="fields"),
        pytest.param(spec(map={"x": 1}), spec(map={"y": 2}), spec(map={"x": 1, "y": 2}), id="maps merge"),
        pytest.param(spec(set=["a"]), spec(set=["b"]), spec(set=["a", "b"]), id="sets unite"),
        pytest.param(
            spec(items=[{"name": "x", "a": 1}]),
            spec(items=[{"name": "x", "b": 2}, {"name": "y"}]),
            spec(items=[{"name": "x", "a": 1, "b": 2}, {"name": "y"}]),
            id="keyed lists merge",
        ),
        pytest.param(
            spec(ports=[{"port": 80}]),
            spec(ports=[{"port": 80, "protocol": "UDP"}]),
            spec(ports=[{"port": 80}, {"port": 80, "protocol": "UDP"}]),
            id="two keys, one by default",
        ),
        pytest.param(
            spec(ports=[{"port": 80}]),
            spec(ports=[{"port": 80, "protocol": "TCP", "name": "web"}]),
            spec(ports=[{"port": 80, "protocol": "TCP", "name": "web"}]),
            id="a default key is the same key",
        ),
    ],
)
def test_two_appliers_share_an_object(first, second, expected):
    assert both(first, second).document == expected


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        (spec(name="a"), spec(name="b"), ".spec.name"),
        (spec(map={"x": 1}), spec(map={"x": 2}), ".spec.map.x"),
        (spec(list=[1]), spec(list=[1, 2]), ".spec.list"),
        (spec(atom={"x": 1}), spec(atom={"x": 1, "y": 2}), ".spec.atom"),
        (spec(items=[{"name": "x", "a": 1}]), spec(items=[{"name": "x", "a": 2}]), '.spec.items[name="x"].a'),
    ],
)
def test_changing_anothers_field_conflicts_unless_forced(first, second, path):
    done = run({}, {}, ANN, first)
    with pytest.raises(ConflictsError) as caught:
        run(done.document, done.owners, BEN, second)
    assert [(c.owner, apply.path_text(c.path)) for c in caught.value.conflicts] == [(ANN, path)]
    forced = run(done.document, done.owners, BEN, second, force=True)
    assert forced.document == second
    lost = caught.value.conflicts[0].path
    assert lost in forced.owners[BEN]
    assert lost not in forced.owners.get(ANN, frozenset())


def test_the_same_value_is_owned_together():
    done = both(spec(name="a"), spec(name="a"))
    assert done.owners[ANN] == done.owners[BEN]


@pytest.mark.parametrize(
    ("first", "then", "left"),
    [
        pytest.param(spec(name="a", size=1), spec(name="a"), spec(name="a"), id="field"),
        pytest.param(spec(map={"x": 1}, size=1), spec(size=1), spec(size=1), id="emptied containers go"),
        pytest.param(spec(set=["a", "b"]), spec(set=["b"]), spec(set=["b"]), id="set item"),
        pytest.param(
            spec(items=[{"name": "x", "a": 1}, {"name": "y"}]),
            spec(items=[{"name": "y"}]),
            spec(items=[{"name": "y"}]),
            id="list item",
        ),
        pytest.param(
            spec(items=[{"name": "x", "a": 1, "b": 1}]),
            spec(items=[{"name": "x", "b": 1}]),
            spec(items=[{"name": "x", "b": 1}]),
            id="field of an item",
        ),
    ],
)
def test_what_an_applier_drops_goes_away(first, then, left):
    done = run({}, {}, ANN, first)
    assert run(done.document, done.owners, ANN, then).document == left


def test_what_another_owns_too_stays_when_dropped():
    done = both(spec(name="a", size=1), spec(name="a"))
    after = run(done.document, done.owners, ANN, spec(size=1))
    assert after.document == spec(name="a", size=1)


def test_an_item_stays_while_another_owns_a_part_of_it():
    done = both(spec(items=[{"name": "x", "a": 1}]), spec(items=[{"name": "x", "b": 2}]))
    after = run(done.document, done.owners, ANN, spec(size=1))
    assert after.document == spec(items=[{"name": "x", "b": 2}], size=1)


def test_a_plain_update_takes_over_what_it_changes():
    done = run({}, {}, ANN, spec(name="a", size=1))
    changed = spec(name="b", size=1)
    owners = apply.update(done.document, changed, EDITOR, done.owners, SCHEMA)
    assert owners[EDITOR] == {("f:spec", "f:name")}
    assert owners[ANN] == {("f:spec", "f:size")}
    with pytest.raises(ConflictsError, match="editor"):
        run(changed, owners, ANN, spec(name="a", size=1))


def test_a_removed_field_has_no_owner():
    done = run({}, {}, ANN, spec(name="a", size=1))
    owners = apply.update(done.document, spec(size=1), EDITOR, done.owners, SCHEMA)
    assert owners == {ANN: {("f:spec", "f:size")}}


@pytest.mark.parametrize(
    ("live", "config", "merged"),
    [
        ("ab", "abc", "abc"),
        ("a-b", "bac", "-bac"),
        ("ab-", "ba", "b-a"),
        ("-ab", "xb", "-axb"),
        ("ab", "xay", "xaby"),
    ],
)
def test_the_order_is_the_configurations_and_others_stay_between(live, config, merged):
    done = run(spec(items=[{"name": name} for name in live]), {}, ANN, spec(items=[{"name": name} for name in config]))
    assert "".join(item["name"] for item in done.document["spec"]["items"]) == merged


names = st.sampled_from(["a", "b", "c"])
numbers = st.integers(0, 2)
configs = st.fixed_dictionaries(
    {},
    optional={
        "name": names,
        "size": numbers,
        "map": st.dictionaries(names, numbers, min_size=1),
        "atom": st.dictionaries(names, numbers),
        "list": st.lists(numbers, max_size=3),
        "set": st.lists(names, unique=True, min_size=1),
        "items": st.lists(
            st.fixed_dictionaries({"name": names}, optional={"a": numbers, "b": numbers}),
            unique_by=lambda item: item["name"],
            min_size=1,
        ),
    },
).map(lambda fields: {"spec": fields})


@given(configs)
def test_field_sets_survive_their_encoding(config):
    fields = apply.field_set(config, SCHEMA)
    assert apply.from_fields_v1(apply.to_fields_v1(fields)) == fields


@given(configs)
def test_applying_to_nothing_gives_the_configuration(config):
    before = copy.deepcopy(config)
    done = run({}, {}, ANN, config)
    assert done.document == config == before


@given(configs, configs)
def test_applying_twice_changes_nothing(live, config):
    done = run(live, {}, ANN, config)
    assert run(done.document, done.owners, ANN, config) == done


@given(configs, configs, configs)
def test_after_a_forced_apply_every_field_has_the_configured_value_and_its_owner(first, second, config):
    done = run({}, {}, ANN, first)
    done = run(done.document, done.owners, BEN, second, force=True)
    done = run(done.document, done.owners, ANN, config, force=True)
    assert done.owners.get(ANN, frozenset()) == apply.field_set(config, SCHEMA)
    assert run(done.document, done.owners, ANN, config, force=True).owners.get(ANN) == done.owners.get(ANN)
    assert frozenset().union(*done.owners.values()) >= apply.field_set(config, SCHEMA)


@given(configs, configs)
def test_an_applier_that_drops_everything_leaves_what_was_there_before(theirs, mine):
    done = run({}, {}, BEN, theirs)
    try:
        shared = run(done.document, done.owners, ANN, mine)
    except ConflictsError:
        return
    after = run(shared.document, shared.owners, ANN, {})
    assert apply.field_set(after.document, SCHEMA) == apply.field_set(theirs, SCHEMA)


@given(configs, configs)
def test_compare_finds_a_difference_exactly_where_the_fields_or_their_values_differ(old, new):
    changed, removed = apply.compare(old, new, SCHEMA)
    assert not apply.compare(old, copy.deepcopy(old), SCHEMA)[0]
    if not changed and not removed:
        assert apply.field_set(old, SCHEMA) == apply.field_set(new, SCHEMA)
        assert apply.merge(old, new, SCHEMA) == new


@pytest.mark.parametrize(("manager", "code"), [("kubectl", 200), ("other", 409)])
async def test_kubectl_takes_over_what_it_applied_on_the_clients_side(hub, manager, code):
    path = "/api/v1/namespaces/default/configmaps"
    last = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(last)}
    body = {"metadata": {"name": "a", "annotations": annotations}, "data": {"k": "v", "other": "x"}}
    await hub("POST", path, body, fieldManager="kubectl-client-side-apply", expect=201)
    await hub.apply(f"{path}/a", {**last, "data": {"other": "w"}}, manager, expect=409)
    await hub.apply(f"{path}/a", {**last, "data": {"k": "w"}}, manager, expect=code)
