"""The small pure parts: paths, URLs, parameters, errors, versions, back-off, coalescing."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.apis import version_priority
from shared.kube.auth.tls import tls_context
from shared.kube.client import workspace_url
from shared.kube.errors import ApiError, ConfigError, from_event, from_response
from shared.kube.informer import Backoff
from shared.kube.resources import CONFIGMAPS, NAMESPACES
from shared.kube.subscription import Change, Subscription
from shared.kube.transport import encode_params


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (CONFIGMAPS, (), "/api/v1/configmaps"),
        (CONFIGMAPS, ("shop",), "/api/v1/namespaces/shop/configmaps"),
        (CONFIGMAPS, ("shop", "web"), "/api/v1/namespaces/shop/configmaps/web"),
        (PLACEMENTS, ("s", "w", "status"), "/apis/placement.moorage.io/v1alpha1/namespaces/s/placements/w/status"),
        (SYNCTARGETS, ("ignored", "eu"), "/apis/placement.moorage.io/v1alpha1/synctargets/eu"),
        (NAMESPACES, ("", "a/../b?c"), "/api/v1/namespaces/a%2F..%2Fb%3Fc"),
        (NAMESPACES, ("", "system:x"), "/api/v1/namespaces/system:x"),
    ],
)
def test_paths_are_where_the_api_server_has_them(resource, arguments, path):
    assert resource.path(*arguments) == path


def test_a_path_that_would_lead_elsewhere_is_refused():
    with pytest.raises(ValueError, match="needs a namespace"):
        CONFIGMAPS.path("", "web")
    with pytest.raises(ValueError, match="is no name"):
        CONFIGMAPS.path("..", "web")


def test_resources_are_named_as_rbac_names_them():
    assert (PLACEMENTS.name, PLACEMENTS.api_version) == (
        "placements.placement.moorage.io",
        "placement.moorage.io/v1alpha1",
    )
    assert (CONFIGMAPS.name, CONFIGMAPS.api_version) == ("configmaps", "v1")


@pytest.mark.parametrize(
    ("server", "workspace", "url"),
    [
        ("https://k:6443", "root:team", "https://k:6443/clusters/root:team"),
        ("https://k:6443/clusters/root", "root:team", "https://k:6443/clusters/root:team"),
        ("https://k/proxy/clusters/root:a", "2x7f", "https://k/proxy/clusters/2x7f"),
        ("https://k:6443/services/apiexport/root/x", "*", "https://k:6443/services/apiexport/root/x/clusters/*"),
        ("https://k:6443", "", "https://k:6443"),
    ],
)
def test_workspaces_live_below_the_root_of_the_server(server, workspace, url):
    assert workspace_url(server, workspace) == url


@pytest.mark.parametrize("workspace", ["..", "root/../x", "root:", ":root", "Root", "a b", "root?x", "root::a"])
def test_what_is_no_workspace_path_is_refused(workspace):
    with pytest.raises(ValueError, match="is not a workspace path"):
        workspace_url("https://k", workspace)


def test_parameters_go_out_as_api_servers_read_them():
    assert encode_params({"a": True, "b": False, "c": None, "d": "", "e": 5}) == {"a": "true", "b": "false", "e": "5"}
    assert encode_params(None) == {}


@pytest.mark.parametrize(
    ("status", "reason", "true"),
    [
        (401, "Unauthorized", {"unauthorized"}),
        (403, "Forbidden", {"forbidden"}),
        (404, "NotFound", {"not_found"}),
        (409, "AlreadyExists", {"already_exists"}),
        (409, "Conflict", {"conflict"}),
        (410, "Expired", {"gone"}),
        (422, "Invalid", {"invalid"}),
        (429, "TooManyRequests", {"too_many_requests", "transient"}),
        (503, "ServiceUnavailable", {"transient"}),
    ],
)
def test_errors_answer_what_they_are(status, reason, true):
    questions = ("unauthorized", "forbidden", "not_found", "already_exists", "conflict", "gone", "invalid")
    error = ApiError(status, reason, "why")
    assert {name for name in (*questions, "too_many_requests", "transient") if getattr(error, name)} == true
    assert str(error) == f"{status} {reason} why"


@pytest.mark.parametrize(
    ("body", "header", "message", "retry_after"),
    [
        (b'{"reason":"X","message":"m","details":{"retryAfterSeconds":3}}', None, "m", 3.0),
        (b'{"reason":"X","message":"m","details":{"retryAfterSeconds":3}}', "5", "m", 5.0),
        (b'{"reason":"X","message":"m"}', "Wed, 21 Oct 2026 07:28:00 GMT", "m", None),
        (b"<html>\n  Bad   Gateway</html>", "0", "<html> Bad Gateway</html>", None),
        (b"\xff" * 5000, None, "\ufffd" * 300, None),
        (b'"text"', None, '"text"', None),
        (b"", None, "", None),
    ],
)
def test_any_body_makes_an_error(body, header, message, retry_after):
    error = from_response(500, body, header)
    assert (error.status, error.message, error.retry_after) == (500, message, retry_after)


def test_error_events_take_their_code_from_the_status():
    assert from_event(msgspec.Raw(b'{"code":410,"reason":"Expired"}')).gone
    assert from_event(b"[]").status == 500
    assert from_event(b"{}").status == 500


def test_versions_sort_by_the_rules_of_kubernetes():
    # The example of the Kubernetes documentation.
    best_first = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
    worst_first = best_first[::-1]
    assert sorted(worst_first, key=version_priority) == best_first


def test_back_off_doubles_up_to_its_cap_and_begins_anew_after_a_reset():
    backoff = Backoff(base=1, cap=5)
    assert [backoff.next(1.0) for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next(0.5) == 0.5


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_back_off_stays_within_its_cap(attempts, chance):
    assert 0 <= Backoff(attempts=attempts).next(chance) <= 30


def test_tls_contexts_are_shared_and_bad_material_is_a_config_error():
    assert tls_context(None, None, None, True) is tls_context(None, None, None, True)
    for ca in (b"nonsense", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ConfigError, match="certificate authority"):
            tls_context(ca, None, None, False)
    with pytest.raises(ConfigError, match="client certificate"):
        tls_context(None, b"nonsense", b"nonsense", True)


async def drain(subscription: Subscription[str]) -> list[Change[str]]:
    subscription.end()
    changes = []
    while (change := await subscription.next()) is not None:
        changes.append(change)
    return changes


async def test_a_subscription_tells_the_difference_to_what_was_delivered():
    a, b, c, d = (("n", name) for name in "abcd")
    objects = {a: "a1", b: "b1"}
    subscription = Subscription(objects)
    subscription.note_synced()
    objects |= {a: "a2", c: "c1"}
    subscription.note(a, "a1")
    subscription.note(c, None)
    subscription.note(d, None)  # came and went unseen
    del objects[b]
    subscription.note(b, "b1")
    assert await drain(subscription) == [Change("Added", a, "a2"), Change("Synced"), Change("Added", c, "c1")]


async def test_a_subscription_keeps_the_oldest_old():
    key = ("", "a")
    objects = {key: "1"}
    subscription = Subscription(objects)
    assert (await subscription.next()) == Change("Added", key, "1")
    for old, new in (("1", "2"), ("2", "3")):
        objects[key] = new
        subscription.note(key, old)
    assert (await subscription.next()) == Change("Modified", key, "3", "1")
    waiting = asyncio.ensure_future(subscription.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    objects.pop(key)
    subscription.note(key, "3")
    assert await asyncio.wait_for(waiting, 5) == Change("Deleted", key, None, "3")


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "delete", "take"])), max_size=40)


@given(STEPS)
def test_following_the_changes_reproduces_the_cache(steps):
    async def run() -> None:
        objects: dict[tuple[str, str], int] = {}
        copied: dict[tuple[str, str], int] = {}
        subscription = Subscription(objects)

        def follow(change: Change[int] | None) -> None:
            assert change is not None
            assert copied.get(change.key) == change.old
            if change.object is None:
                del copied[change.key]
            else:
                copied[change.key] = change.object

        for number, (name, step) in enumerate(steps):
            key = ("", name)
            old = objects.get(key)
            if step == "put":
                objects[key] = number
                subscription.note(key, old)
            elif step == "delete" and old is not None:
                del objects[key]
                subscription.note(key, old)
            elif step == "take" and objects.keys() - copied.keys():
                follow(await subscription.next())
        for change in await drain(subscription):
            follow(change)
        assert copied == objects

    asyncio.run(run())
