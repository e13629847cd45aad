"""PlacementQuotas at the API server: who may write one, what is taken, and who says how much of it is used.

On the sandbox, whose hub has workspaces, and on a real kube-apiserver, which has none, so that no quota names one.
"""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.security.admitting import ALONE, RBAC, Hub, on_kubernetes, on_the_sandbox
from tests.security.places import ACCOUNT, REAL, REAL_HUB, SANDBOX
from tests.support.actors import APPLY, MERGE
from tests.support.manifests import API_VERSION, obj
from tests.support.waiting import until

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

QUOTAS = "/apis/placement.moorage.io/v1alpha1/placementquotas"
NAMES = (f"quota-{number}" for number in itertools.count())


class Quotas(Hub):
    """A hub, and whom the quotas there bound."""

    def __init__(self, actors: dict[str, Any], bounded: str) -> None:
        super().__init__(actors)
        self.bounded = bounded

    def quota(self, **spec: Any) -> dict[str, Any]:
        bound = {"workspace": self.bounded} if self.bounded else {}
        return obj("PlacementQuota", API_VERSION, name=next(NAMES), namespace="", spec={**bound, **spec})


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[SANDBOX, pytest.param(REAL_HUB, marks=REAL)],
)
async def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quotas]:
    real = request.getfixturevalue("servers") if request.param == REAL_HUB else None
    async with on_kubernetes(real) if real else on_the_sandbox(tmp_path_factory.mktemp("hub")) as actors:
        found = Quotas({name.removeprefix(ACCOUNT): each for name, each in actors.items()}, "" if real else "below")

        async def admitted() -> bool:
            """Whether admission knows of the kind: one that bounds the wrong ones is refused."""
            tried = found.quota(hard={"cpu": "1"})
            tried["spec"]["workspace"] = "" if found.bounded else "below"
            status, _ = await found.admin.send("POST", f"{QUOTAS}?dryRun=All", tried)
            taken, _ = await found.admin.send("POST", f"{QUOTAS}?dryRun=All", found.quota(hard={"cpu": "1"}))
            return status == 422 and taken < 300

        await until(admitted, within=60)
        yield found


async def test_whom_it_bounds_is_what_the_hub_has(hub: Quotas) -> None:
    """Nobody bounds themselves where there are workspaces; where there are none, nobody names one."""
    wrong = hub.quota(hard={"cpu": "1"})
    wrong["spec"]["workspace"] = "" if hub.bounded else "team"
    status, answer = await hub.mallory.send("POST", QUOTAS, wrong)
    said = "nobody bounds themselves" if hub.bounded else "this hub has no workspaces, so leave spec.workspace out"
    assert status == 422
    assert said in answer["message"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"hard": {"cpu": "-1"}}, "spec.hard.cpu"),
        ({"hard": {"cpu": -1}}, "spec.hard.cpu"),
        ({"hard": {"cpu": "many"}}, "spec.hard.cpu"),
        ({"hard": {"requests.cpu": "1"}}, "hard names placements, pods"),
        ({"hard": {"replicas": "1"}}, "each replica is one"),
        ({"hard": {}}, "must name something that is bounded"),
        ({}, "must name something that is bounded"),
        ({"workspace": "root:team!", "hard": {"cpu": "1"}}, "spec.workspace"),
        ({"namespace": "Not a name", "hard": {"cpu": "1"}}, "spec.namespace"),
    ],
)
async def test_what_is_wrong_is_refused_with_its_sentence(hub: Quotas, spec: dict[str, Any], said: str) -> None:
    status, answer = await hub.alice.send("POST", QUOTAS, hub.quota(**spec))
    assert status == 422, answer
    assert said in answer["message"]


@pytest.mark.parametrize("hard", [{"cpu": "1500m"}, {"cpu": 2, "nvidia.com/gpu": 1}, {"placements": 0, "pods": "1k"}])
async def test_what_is_right_is_taken_and_given_back_as_it_is(hub: Quotas, hard: dict[str, Any]) -> None:
    made = hub.quota(hard=hard)
    path = f"{QUOTAS}/{made['metadata']['name']}"
    await hub.alice.ok("POST", QUOTAS, made)
    assert (await hub.alice.ok("GET", path))["spec"]["hard"] == hard
    await hub.alice.ok("PATCH", path, {"spec": {"hard": {"memory": "1Gi"}}}, MERGE)
    await hub.admin.ok("DELETE", path)


async def test_the_namespace_that_it_bounds_is_for_good(hub: Quotas) -> None:
    made = hub.quota(namespace="shop", hard={"cpu": "1"})
    path = f"{QUOTAS}/{made['metadata']['name']}"
    await hub.alice.ok("POST", QUOTAS, made)
    for other in ("other", "", None):
        status, answer = await hub.alice.send("PATCH", path, {"spec": {"namespace": other}}, MERGE)
        assert status == 422, answer
        assert "whom a quota bounds is for good: make another one" in answer["message"]
    await hub.admin.ok("DELETE", path)


@pytest.mark.parametrize("who", ["alice", "mallory", "decision", "binding", "status"])
async def test_how_much_is_used_is_said_by_the_controller_alone(hub: Quotas, who: str) -> None:
    made = hub.quota(hard={"cpu": "1"})
    path = f"{QUOTAS}/{made['metadata']['name']}"
    await hub.alice.ok("POST", QUOTAS, {**made, "status": {"used": {"cpu": "0"}}})
    assert "used" not in (await hub.admin.ok("GET", path)).get("status", {})
    forged = {"status": {"used": {"cpu": "0"}, "hard": {"cpu": "1000"}}}
    assert ALONE in await hub.actors[who].refused("PATCH", f"{path}/status", forged, MERGE)
    found = await hub.actors[who].ok("GET", path)
    assert ALONE in await hub.actors[who].refused("PUT", f"{path}/status", {**found, **forged})
    await hub.actors["controller"].ok("PATCH", f"{path}/status", {"status": {"used": {"cpu": "300m"}}}, MERGE)
    await hub.alice.ok("PATCH", path, {"spec": {"hard": {"cpu": "2"}}, **forged}, MERGE)
    assert (await hub.admin.ok("GET", path))["status"]["used"] == {"cpu": "300m"}
    await hub.admin.ok("DELETE", path)


async def test_who_may_do_everything_with_placements_and_nothing_with_quotas_writes_none(hub: Quotas) -> None:
    rules = [
        {"apiGroups": ["placement.moorage.io"], "resources": ["placements", "placements/status"], "verbs": ["*"]},
        {"nonResourceURLs": ["/"], "verbs": ["access"]},
    ]
    role = {"kind": "ClusterRole", "name": "placer", "apiGroup": RBAC}
    await hub.admin.ok("POST", f"/apis/{RBAC}/v1/clusterroles", {"metadata": {"name": "placer"}, "rules": rules})
    bound = {"metadata": {"name": "placer"}, "roleRef": role, "subjects": [{**role, "kind": "User", "name": "placer"}]}
    await hub.admin.ok("POST", f"/apis/{RBAC}/v1/clusterrolebindings", bound)
    placer = hub.admin.acting("placer")
    made = hub.quota(hard={"cpu": "1"})
    path = f"{QUOTAS}/{made['metadata']['name']}"
    await hub.admin.ok("POST", QUOTAS, made)

    async def may_place() -> bool:
        placements = "/apis/placement.moorage.io/v1alpha1/namespaces/default/placements"
        return (await placer.send("GET", placements))[0] == 200

    await until(may_place, within=60)
    assert "cannot create" in await placer.refused("POST", QUOTAS, hub.quota(hard={"cpu": "1000"}))
    assert "cannot patch" in await placer.refused("PATCH", path, {"spec": {"hard": {"cpu": "1000"}}}, MERGE)
    assert "cannot patch" in await placer.refused("PATCH", f"{path}?fieldManager=x&force=true", made, APPLY)
    assert "cannot delete" in await placer.refused("DELETE", path)
    await hub.admin.ok("DELETE", path)
