"""Who may use which target, and how long an answer to that is believed."""

import asyncio
import itertools
import time

from services.discovery.authorization import AccessReviews
from services.discovery.settings import DiscoverySettings
from services.sandbox.errors import ApiError
from services.sandbox.http import refusal
from shared.kube.hub import Hub
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, SYNCTARGETS
from shared.model import Requester

BOUND = 30.0  # seconds
PLATFORM = "root:platform"
PREFIX = "/clusters/root:platform/apis/rbac.authorization.k8s.io/v1"
RBAC = ("/clusterroles", "/clusterrolebindings")
REVIEW = "POST /clusters/root:platform/apis/authorization.k8s.io/v1/subjectaccessreviews"


async def allow(scene, user, *names):
    """Let a user use targets of the platform; without names, all of them."""
    rule = {"verbs": ["use"], "apiGroups": [SYNCTARGETS.group], "resources": [SYNCTARGETS.plural]}
    role = {"metadata": {"name": "use"}, "rules": [{**rule, "resourceNames": list(names)} if names else rule]}
    client = scene.hub.cluster(PLATFORM)
    await client.create(CLUSTERROLES, {"apiVersion": CLUSTERROLES.api_version, "kind": "ClusterRole", **role})
    await client.create(
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
        assert [(each.reason, each.targets) for each in found.rejections] == [
            ("NotAuthorized", ("root:platform/east",))
        ]
        assert (await scene.place(attempt=2, username="mallory")).targets == ()
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


async def watching(scene):
    """Wait until RBAC of the platform is watched."""
    for path in RBAC:
        await scene.until(lambda path=path: scene.requests[f"GET {PREFIX}{path}"] >= 2)  # listed, and watched


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
    reviews = AccessReviews(Hub(scene.hub, "kcp"), DiscoverySettings(), time.time)

    async def verdict(username):
        (found,) = (await reviews.verdicts(Requester(username=username), ["root:platform/east"])).values()
        return found

    async def until_asked(username):
        asked = scene.requests[REVIEW]
        await verdict(username)
        return scene.requests[REVIEW] > asked

    following = asyncio.create_task(reviews.follow(PLATFORM, scene.hub.cluster(PLATFORM)))
    await watching(scene)
    assert await verdict("mallory") == "Denied"
    hold = True
    first = asyncio.create_task(verdict("tess"))
    async with asyncio.timeout(BOUND):
        await held.wait()
    await deny(scene)
    await scene.until(lambda: until_asked("mallory"))  # the change has been seen
    assert await verdict("tess") == "Denied"  # it does not wait for the answer that is old
    release.set()
    assert await first == "Allowed"
    assert await verdict("tess") == "Denied"
    following.cancel()
    await asyncio.wait([following])
    await reviews.close()


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
        assert scene.requests[REVIEW] == asked == 3
        refused = False
        await asking.until()
