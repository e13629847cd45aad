"""Lists: selectors, pages of one version, and their expiry."""

import asyncio

import msgspec
import pytest

from shared.kube.resources import CONFIGMAPS
from tests.conformance.api import Api, refusal
from tests.conformance.widgets import WIDGETS, widget


async def labelled(api: Api) -> None:
    await api.make("a", labels={"app": "web", "tier": "front"})
    await api.make("b", labels={"app": "web"})
    await api.make("c", labels={"app": "db", "tier": ""})
    await api.make("d")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=web", "ab"),
        ("app==web", "ab"),
        ("app!=web", "cd"),
        ("app in (web, db)", "abc"),
        ("app in (web)", "ab"),
        ("app notin (web)", "cd"),
        ("tier", "ac"),
        ("!tier", "bd"),
        ("tier=", "c"),
        ("app=web,tier!=front", "b"),
        ("app,!tier", "b"),
        (" app = web , tier ", "a"),
        ("absent", ""),
        ("tier>1", ""),
        ("tier in ()", "c"),
        ("tier in (,front)", "ac"),
        ("", "abcd"),
    ],
)
async def test_label_selectors(api: Api, selector, expected):
    await labelled(api)
    assert await api.names(label_selector=selector) == list(expected)


@pytest.mark.parametrize(
    "selector", ["app in", "app in (web", "=web", "app=web=db", "app in web", "app=bad value!", "!"]
)
async def test_what_is_no_label_selector_is_refused(api: Api, selector):
    error = await refusal(api.admin.list(CONFIGMAPS, api.namespace, label_selector=selector))
    assert (error.status, error.reason) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("app=a b", "found 'b', expected: ',' or 'end of string'"),
        ("app=a,", "found '', expected: identifier after ','"),
        ("(app)", "found '(', expected: !, identifier, or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("app is a", "unable to parse requirement: found 'is', expected: in, notin, =, ==, !=, gt, lt"),
        ("app in a", "unable to parse requirement: found 'a' expected: '('"),
        ("app in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("app>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value"),
        ("-a=1", 'unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of'),
        ("a=-", 'unable to parse requirement: values[0][a]: Invalid value: "-": a valid label must be'),
    ],
)
async def test_a_refusal_says_where_a_label_selector_goes_wrong(api: Api, selector, message):
    error = await refusal(api.admin.list(CONFIGMAPS, api.namespace, label_selector=selector))
    assert error.message.startswith(message)


async def test_labels_are_compared_as_numbers(api: Api):
    for name, count in (("a", "9"), ("b", "10"), ("c", "many"), ("d", "0")):
        await api.make(name, labels={"count": count})
    await api.make("e")
    assert await api.names(label_selector="count>8") == ["a", "b"]
    assert await api.names(label_selector="count<9") == ["d"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name=a", "a"),
        ("metadata.name=a,", "a"),
        ("metadata.name==a", "a"),
        ("metadata.name!=a", "bcd"),
        ("metadata.name=a,metadata.name=b", ""),
        ("metadata.namespace=elsewhere", ""),
        ("metadata.name=absent", ""),
    ],
)
async def test_field_selectors(api: Api, selector, expected):
    await labelled(api)
    assert await api.names(field_selector=selector) == list(expected)


async def test_custom_fields_are_selectable_where_the_definition_says_so(api: Api):
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        await api.admin.create(WIDGETS, widget(name, api.namespace, color=color))
    assert await api.names(WIDGETS, field_selector="spec.color=red") == ["a", "c"]
    assert await api.names(WIDGETS, field_selector="spec.color!=red,metadata.name=b") == ["b"]


@pytest.mark.parametrize(
    ("resource", "selector"), [(CONFIGMAPS, "data.k=v"), (WIDGETS, "spec.size=1"), (CONFIGMAPS, "x")]
)
async def test_other_fields_are_not_selectable(api: Api, resource, selector):
    error = await refusal(api.admin.list(resource, api.namespace, field_selector=selector))
    assert (error.status, error.reason) == (400, "BadRequest")


async def test_a_list_is_of_its_kind_in_the_order_of_names(api: Api):
    for name in ("b", "c", "a"):
        await api.admin.create(WIDGETS, widget(name, api.namespace))
    found = msgspec.json.decode(await api.admin.request("GET", WIDGETS.path(api.namespace)))
    assert (found["kind"], found["apiVersion"]) == ("WidgetList", WIDGETS.api_version)
    assert [each["metadata"]["name"] for each in found["items"]] == ["a", "b", "c"]
    assert {each["kind"] for each in found["items"]} == {"Widget"}
    assert found["metadata"]["resourceVersion"]


async def test_a_list_over_all_namespaces_has_those_of_each(api: Api):
    await api.make("everywhere", labels={"case": api.namespace})
    page = await api.admin.list(CONFIGMAPS, label_selector=f"case={api.namespace}")
    assert [each["metadata"]["namespace"] for each in page.items] == [api.namespace]


async def test_a_namespace_that_is_not_there_is_empty(api: Api):
    assert (await api.admin.list(CONFIGMAPS, "absent")).items == []


async def page(api: Api, **params):
    raw = await api.admin.request("GET", WIDGETS.path(api.namespace), params=params)
    found = msgspec.json.decode(raw)
    return [each["metadata"]["name"] for each in found["items"]], found["metadata"]


async def test_pages_show_one_version_whatever_happens_meanwhile(api: Api):
    for name in "abcde":
        await api.admin.create(WIDGETS, widget(name, api.namespace))
    names, first = await page(api, limit=2)
    assert (names, first["remainingItemCount"]) == (["a", "b"], 3)
    await api.admin.delete(WIDGETS, "c", api.namespace)
    await api.admin.create(WIDGETS, widget("ca", api.namespace))
    names, second = await page(api, limit=2, **{"continue": first["continue"]})
    assert (names, second["remainingItemCount"]) == (["c", "d"], 1)
    assert second["resourceVersion"] == first["resourceVersion"]
    names, last = await page(api, limit=2, **{"continue": second["continue"]})
    assert names == ["e"]
    assert not last.get("continue")
    assert await api.names(WIDGETS) == ["a", "b", "ca", "d", "e"]


async def test_a_page_through_a_selector_is_full_and_counts_no_rest(api: Api):
    for number in range(6):
        labels = {"even": str(number % 2 == 0).lower()}
        made = widget(f"w{number}", api.namespace)
        await api.admin.create(WIDGETS, {**made, "metadata": {**made["metadata"], "labels": labels}})
    names, first = await page(api, limit=2, labelSelector="even=true")
    assert names == ["w0", "w2"]
    assert "remainingItemCount" not in first
    names, last = await page(api, limit=2, labelSelector="even=true", **{"continue": first["continue"]})
    assert (names, last.get("continue", "")) == (["w4"], "")


async def test_a_limit_above_what_is_there_gives_all(api: Api):
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    names, metadata = await page(api, limit=100)
    assert (names, metadata.get("continue", "")) == (["a"], "")


async def test_a_forgotten_page_is_gone_and_the_list_can_begin_anew(api: Api):
    if api.backend.forget is None:
        pytest.skip(f"we have no hold on what {api.backend.name} forgets")
    for name in "abc":
        await api.admin.create(WIDGETS, widget(name, api.namespace))
    _, first = await page(api, limit=1)

    await api.admin.merge_patch(WIDGETS, "a", {"spec": {"size": 2}}, api.namespace)
    await asyncio.to_thread(api.backend.forget)
    error = await refusal(page(api, limit=1, **{"continue": first["continue"]}))
    assert (error.status, error.reason) == (410, "Expired")
    assert [each["metadata"]["name"] for each in (await api.admin.list(WIDGETS, api.namespace)).items] == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.parametrize(
    "params", [{"continue": "nonsense"}, {"limit": "many"}, {"limit": 1, "continue": "bm9uc2Vuc2U"}]
)
async def test_what_is_no_page_is_refused(api: Api, params):
    error = await refusal(api.admin.request("GET", WIDGETS.path(api.namespace), params=params))
    assert (error.status, error.reason) == (400, "BadRequest")
