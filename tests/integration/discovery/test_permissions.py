"""Who may use which target, and how long an answer to that is believed."""

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter

from services.discovery.projection import Projection
from services.discovery.rbac import Rbac
from services.discovery.settings import DiscoverySettings
from services.sandbox.errors import ApiError
from services.sandbox.wire.http import refusal
from shared.broker.table import Entry, Table
from shared.broker.tokens import join
from shared.hub.access import AccessReviews
from shared.hub.hub import Hub
from shared.hub.resources import SYNCTARGETS
from shared.hub.resources import WORKSPACES as HUB_WORKSPACES
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES
from shared.model.request import Requester
from shared.model.target import Workspace
from shared.pipeline.buckets import WORKSPACES
from tests.support.waiting import until

BOUND = 30.0  # seconds
PLATFORM = "root:platform"
PREFIX = "/clusters/root:platform/apis/rbac.authorization.k8s.io/v1"
RBAC = ("/clusterroles", "/clusterrolebindings")
REVIEW = "POST /clusters/root:platform/apis/authorization.k8s.io/v1/subjectaccessreviews"


async def allow(scene, user, *names):
    """Let a user use targets of the platform; without names, all of them."""
    await permit(scene, *names)
    await bind(scene, user)


async def permit(scene, *names):
    """The ClusterRole alone, which gives nobody anything."""
    rule = {"verbs": ["use"], "apiGroups": [SYNCTARGETS.group], "resources": [SYNCTARGETS.plural]}
    role = {"metadata": {"name": "use"}, "rules": [{**rule, "resourceNames": list(names)} if names else rule]}
    await scene.hub.cluster(PLATFORM).create(
        CLUSTERROLES, {"apiVersion": CLUSTERROLES.api_version, "kind": "ClusterRole", **role}
    )


async def bind(scene, user):
    """Give a user what was permitted."""
    await scene.hub.cluster(PLATFORM).create(
        CLUSTERROLEBINDINGS,
        {
            "apiVersion": CLUSTERROLES.api_version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "use"},
            "roleRef": {"apiGroup": CLUSTERROLES.group, "kind": "ClusterRole", "name": "use"},
            "subjects": [{"kind": "User", "name": user, "apiGroup": CLUSTERROLES.group}],
        },
    )


async def test_a_review_that_fails_is_not_a_denial(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    await allow(scene, "tess")
    scene.faults["/subjectaccessreviews"] = 500
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        assert [each.reason for each in (await scene.place()).rejections] == ["AuthorizationUnknown"]
        scene.faults.clear()
        assert (await scene.place(attempt=2)).targets == ("root:platform/east",)


async def test_rbac_decides_target_by_target(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    await scene.offer(PLATFORM, "west")
    await allow(scene, "tess", "west")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.ready(PLATFORM, "west")
        found = await scene.place()
        assert found.targets == ("root:platform/west",)
        assert [(each.reason, each.targets, each.count) for each in found.rejections] == [("NotAuthorized", (), 1)]
        assert [each.message for each in found.rejections] == ["not authorized"]
        outside = await scene.place(attempt=2, username="mallory")
        assert outside.targets == ()
        assert [each.count for each in outside.rejections] == [2]
        assert "no access to the workspace" in outside.rejections[0].message
        anonymous = await scene.place(attempt=3, username="")
        assert [each.message for each in anonymous.rejections] == ["no requester recorded on the Placement"]


async def test_a_permission_on_all_targets_holds_for_each(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    await scene.offer(PLATFORM, "west")
    await allow(scene, "tess")
    async with scene.running():
        await scene.ready(PLATFORM, "east")
        await scene.ready(PLATFORM, "west")
        assert (await scene.place()).targets == ("root:platform/east", "root:platform/west")
        found = await scene.place(attempt=2, kinds=("batch/v1 CronJob",))
        assert found.targets == ("root:platform/east",)
        assert [(each.reason, each.message) for each in found.rejections] == [("MissingAPI", "lack batch/v1 CronJob")]


async def deny(scene):
    """Take back what `allow` gave."""
    await scene.hub.cluster(PLATFORM).delete(CLUSTERROLEBINDINGS, "use")


class Asking:
    """Asks for targets, each time in another attempt."""

    def __init__(self, scene):
        self.scene = scene
        self.attempts = itertools.count(1)

    async def targets(self):
        return (await self.scene.place(attempt=next(self.attempts))).targets

    async def until(self, *targets):
        """Ask until this is the answer."""
        async with asyncio.timeout(BOUND):
            while await self.targets() != targets:
                pass

    async def until_remembered(self):
        """Ask until an answer needs no review; that answer."""
        async with asyncio.timeout(BOUND):
            while True:
                asked = self.scene.requests[REVIEW]
                targets = await self.targets()
                if self.scene.requests[REVIEW] == asked:
                    return targets


async def watching(scene, requests=2):
    """Wait until RBAC of the platform is watched: it was listed, and asked for once more."""
    for path in RBAC:
        await until(lambda path=path: scene.requests[f"GET {PREFIX}{path}"] >= requests)


async def platform(scene) -> Entry[Workspace]:
    """The stored workspace of the targets."""
    return await Table(scene.store, WORKSPACES).get(join(PLATFORM))


async def another(scene, rbac: str) -> Entry[Workspace]:
    """The stored workspace, once the state of its RBAC is recorded and is another than `rbac`."""

    async def look():
        found = await platform(scene)
        return found if found and found.value.rbac not in {"", rbac} else None

    return await until(look)


@contextlib.asynccontextmanager
async def access_reviews(scene, clock=time.time):
    """Reviews that remember for long, and what they know of RBAC, beside the worker's own."""
    table = Table(scene.store, WORKSPACES)
    view = table.follow()
    following = asyncio.create_task(view.run())
    settings = DiscoverySettings(allowed_ttl_seconds=3600.0, denied_ttl_seconds=3600.0)
    rbac = Rbac(settings, Projection(table, view))
    reviews = AccessReviews(Hub(scene.hub, "kcp"), settings, clock, rbac.state)
    async with asyncio.timeout(BOUND):
        await view.synced.wait()
    yield reviews, rbac
    await reviews.close()
    following.cancel()
    await asyncio.wait([following])


async def test_each_change_of_rbac_is_recorded_once_whatever_the_number_of_copies(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    await permit(scene)
    async with scene.running(), scene.running():
        before = await another(scene, "")
        await bind(scene, "tess")
        allowed = await another(scene, before.value.rbac)
        await deny(scene)
        denied = await another(scene, allowed.value.rbac)
        assert denied.value.rbac == before.value.rbac  # nothing is left of the change
        # Revisions count the writes of the whole bucket, in which nothing else changes.
        assert (allowed.revision, denied.revision) == (before.revision + 1, before.revision + 2)


async def test_a_start_writes_nothing_where_rbac_is_as_it_was(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    await permit(scene)
    async with scene.running():
        before = await another(scene, "")
    async with scene.running():
        await watching(scene, 4)
        await bind(scene, "tess")
        assert (await another(scene, before.value.rbac)).revision == before.revision + 1


async def test_a_start_records_what_changed_while_nobody_was_looking(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        before = await another(scene, "")
    await allow(scene, "tess")
    async with scene.running():
        assert (await another(scene, before.value.rbac)).value.path == PLATFORM


async def test_labels_and_the_state_of_rbac_do_not_overwrite_each_other(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        before = await another(scene, "")
        await scene.hub.cluster("root").merge_patch(
            HUB_WORKSPACES, "platform", {"metadata": {"labels": {"tier": "gold"}}}
        )

        async def labelled():
            found = await platform(scene)
            return found if found.value.labels else None

        assert (await until(labelled)).value.rbac == before.value.rbac
        await allow(scene, "tess")
        assert (await another(scene, before.value.rbac)).value.labels == {"tier": "gold"}


async def test_a_copy_that_is_behind_forgets_by_what_another_has_recorded(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    async with scene.running(), access_reviews(scene) as (behind, _):
        before = await another(scene, "")

        async def permission():
            (found,) = (await behind.may_use(Requester(username="tess"), ["root:platform/east"])).values()
            return found

        assert await permission() == "Denied"
        await allow(scene, "tess")
        assert await permission() == "Denied"  # it follows no RBAC itself, and remembers
        await another(scene, before.value.rbac)

        async def allowed():
            return await permission() == "Allowed"

        await until(allowed)


async def test_a_change_of_rbac_ends_what_is_remembered(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    asking = Asking(scene)
    async with scene.running(allowed_ttl_seconds=3600.0, denied_ttl_seconds=3600.0):
        await scene.ready(PLATFORM, "east")
        await watching(scene)
        assert await asking.until_remembered() == ()
        await allow(scene, "tess")
        await asking.until("root:platform/east")
        assert await asking.until_remembered() == ("root:platform/east",)
        await deny(scene)
        await asking.until()


async def test_an_answer_to_what_was_asked_before_the_change_is_not_remembered(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    await allow(scene, "tess")
    handle, hold, held, release = scene.sandbox.handle, False, asyncio.Event(), asyncio.Event()

    async def slow(http):
        response = await handle(http)
        if hold and http.path.endswith("/subjectaccessreviews") and not held.is_set():
            held.set()
            await release.wait()
        return response

    scene.sandbox.handle = slow

    async def permission(username):
        (found,) = (await reviews.may_use(Requester(username=username), ["root:platform/east"])).values()
        return found

    async def until_asked(username):
        asked = scene.requests[REVIEW]
        await permission(username)
        return scene.requests[REVIEW] > asked

    async with access_reviews(scene) as (reviews, rbac):
        following = asyncio.create_task(rbac.follow(PLATFORM, scene.hub.cluster(PLATFORM)))
        await watching(scene)
        assert await permission("mallory") == "NoAccess"
        hold = True
        first = asyncio.create_task(permission("tess"))
        async with asyncio.timeout(BOUND):
            await held.wait()
        await deny(scene)
        await until(lambda: until_asked("mallory"))  # the change has been seen
        assert await permission("tess") == "Denied"  # it does not wait for the answer that is old
        release.set()
        assert await first == "Allowed"
        assert await permission("tess") == "Denied"
        following.cancel()
        await asyncio.wait([following])


async def test_where_rbac_may_not_be_watched_answers_end_by_their_time(scene):
    await scene.define(PLATFORM)
    await scene.offer(PLATFORM, "east")
    handle, refused = scene.sandbox.handle, True

    async def refusing(http):
        if refused and http.method == "GET" and http.path.endswith(RBAC):
            return refusal(ApiError(403, "Forbidden", "list and watch of RBAC"))
        return await handle(http)

    scene.sandbox.handle = refusing
    asking = Asking(scene)
    async with scene.running(denied_ttl_seconds=0.0):
        await scene.ready(PLATFORM, "east")
        assert await asking.targets() == ()
        await allow(scene, "tess")
        assert await asking.targets() == ("root:platform/east",)
        asked = scene.requests[REVIEW]
        await deny(scene)
        assert await asking.targets() == ("root:platform/east",)
        assert scene.requests[REVIEW] == asked == 4  # all, whether she may enter, the one; and all again
        refused = False
        await asking.until()


MANY = [f"root:platform/east-{number}" for number in range(600)]


@contextlib.asynccontextmanager
async def slow_hub(scene, answered):
    """A hub that answers so many reviews of targets by name in the name of tess, and the others when it is told."""
    handle, left, release = scene.sandbox.handle, iter(range(answered)), asyncio.Event()

    async def slow(http):
        response = await handle(http)
        asked = json.loads(http.body or b"{}").get("spec", {}) if http.path.endswith("/subjectaccessreviews") else {}
        named = asked.get("resourceAttributes", {}).get("name")
        if named and asked["user"] == "tess" and next(left, None) is None:
            await release.wait()
        return response

    scene.sandbox.handle = slow
    try:
        yield release
    finally:
        release.set()
        scene.sandbox.handle = handle


async def test_who_may_use_targets_by_name_is_told_in_time_of_those_that_were_asked_about(scene):
    await scene.define(PLATFORM)
    await allow(scene, "tess", "east-599")
    async with access_reviews(scene) as (reviews, _), slow_hub(scene, answered=300) as release:
        tess = Requester(username="tess")
        first = Counter((await reviews.may_use(tess, MANY, within=3.0)).values())
        assert 0 < first["Denied"] <= 300
        assert first["Denied"] + first["Unasked"] == len(MANY)
        release.set()
        second = await reviews.may_use(tess, MANY, within=BOUND)
        assert Counter(second.values()) == {"Denied": 599, "Allowed": 1}
        asked = scene.requests[REVIEW]
        assert await reviews.may_use(tess, MANY, within=BOUND) == second
        assert scene.requests[REVIEW] == asked  # what was found out is remembered


async def test_what_was_allowed_before_is_asked_about_first(scene):
    await scene.define(PLATFORM)
    await allow(scene, "tess", "east-599")
    now = 1000.0
    async with access_reviews(scene, clock=lambda: now) as (reviews, _):
        tess = Requester(username="tess")
        assert Counter((await reviews.may_use(tess, MANY)).values()) == {"Denied": 599, "Allowed": 1}
        now += 3601.0
        async with slow_hub(scene, answered=1):
            again = await reviews.may_use(tess, MANY, within=3.0)
        assert Counter(again.values()) == {"Allowed": 1, "Unasked": 599}


async def test_nobody_waits_behind_the_many_targets_of_another(scene):
    await scene.define(PLATFORM)
    async with access_reviews(scene) as (reviews, _), slow_hub(scene, answered=0):
        many = asyncio.create_task(reviews.may_use(Requester(username="tess"), MANY, within=BOUND))
        await until(lambda: scene.requests[REVIEW] > 20)
        async with asyncio.timeout(BOUND / 2):
            other = await reviews.may_use(Requester(username="mallory"), MANY[:20])
        assert set(other.values()) == {"NoAccess"}
        many.cancel()
        await asyncio.wait([many])
