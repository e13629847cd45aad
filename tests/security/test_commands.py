"""Messages that command are checked against the hub before they act: somebody else may have sent them."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from shared.broker.memory.bus import MemoryBus
from shared.hub.resources import BINDINGS, PLACEMENTS
from shared.kube.resources import DEPLOYMENTS
from shared.model.refs import Head, PlacementRef
from shared.pipeline.messages import Assigned, Message, Withdrawn, encode
from shared.process.audit import refusals
from tests.support import worlds
from tests.support.together import Together, together, until

numbers = itertools.count()
pytestmark = pytest.mark.asyncio(loop_scope="module")

REF = PlacementRef(workspace=worlds.TEAM, namespace=worlds.NAMESPACE, name="web")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Together]:
    """Web runs in one of two targets, as decided. No attack changes that, so that all share it."""
    async with together(tmp_path_factory.mktemp("world"), worlds.world(2, cpu="8", delay=0.01)) as found:
        await found.place("web", worlds.deployment("web", replicas=2))
        await found.reaches("web", "Ready")
        yield found


async def forge(system: Together, message: Message) -> None:
    """Publish as nobody should, and wait until it was handled."""
    bus = MemoryBus(system.broker)
    await bus.publish(message.subject(), encode(message), id=f"forged:{next(numbers)}")

    def handled() -> bool:
        return all(not consumer._deliveries for consumer in system.broker.consumers.values())

    await until(handled, "the forged message was handled")


async def head(system: Together, **changes: Any) -> Head:
    """The head of what was decided, with changes."""
    uid = (await system.user.get(PLACEMENTS, "web", worlds.NAMESPACE))["metadata"]["uid"]
    found = Head(uid=uid, generation=1, attempt=(await system.decision("web"))["attempt"])
    return msgspec.structs.replace(found, **changes)


async def world(system: Together) -> dict[str, Any]:
    """What is decided, bound and applied."""
    bindings = await system.user.list(BINDINGS, worlds.NAMESPACE)
    found: dict[str, Any] = {each["metadata"]["uid"]: each["metadata"]["annotations"] for each in bindings.items}
    found["chosen"] = await system.chosen("web")
    for name, target in system.targets.items():
        for each in (await target.list(DEPLOYMENTS, worlds.NAMESPACE)).items:
            found[name] = (each["metadata"]["uid"], each["spec"]["replicas"])
        found[f"{name} reserved"] = await system.reserved(name)
    return found


HEADS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "of the future": {"attempt": 1_000_000},
    "of another uid": {"uid": "bogus"},
    "of another uid of the future": {"uid": "bogus", "attempt": 1_000_000},
}
each_head = pytest.mark.parametrize("changes", HEADS.values(), ids=HEADS)


@each_head
@pytest.mark.parametrize(
    "more", [{}, {"orphan": True}, {"vanished": True}, {"vanished": True, "orphan": True}], ids=str
)
async def test_a_forged_removal_takes_nothing_away_that_is_decided(
    system: Together, changes: dict[str, Any], more: dict[str, Any]
) -> None:
    before, (home,) = await world(system), await system.chosen("web")
    target = f"{worlds.PLATFORM}/{home}"
    await forge(system, Assigned(placement=REF, head=await head(system, **changes), target=target, remove=True, **more))
    assert await world(system) == before
    await holds_sway(system)


@each_head
async def test_a_forged_assignment_applies_nothing_that_was_not_decided(
    system: Together, changes: dict[str, Any]
) -> None:
    before, (home,) = await world(system), await system.chosen("web")
    (other,) = set(system.targets) - {home}
    for name in (home, other):
        target = f"{worlds.PLATFORM}/{name}"
        forged = Assigned(placement=REF, head=await head(system, **changes), target=target, replicas=50)
        await forge(system, forged)
    assert await world(system) == before
    await holds_sway(system)


@each_head
@pytest.mark.parametrize("orphan", [False, True])
async def test_a_forged_withdrawal_of_a_placement_that_lives_undoes_nothing(
    system: Together, changes: dict[str, Any], orphan: bool
) -> None:
    before = await world(system)
    await forge(system, Withdrawn(placement=REF, head=await head(system, **changes), orphan=orphan))
    assert await world(system) == before
    await holds_sway(system)


async def holds_sway(system: Together) -> None:
    """What the hub says is still done: a change of the workload reaches the target."""
    (home,) = await system.chosen("web")
    replicas = (await world(system))[home][1] % 5 + 1
    await system.edit(DEPLOYMENTS, "web", {"replicas": replicas})

    async def rolled_out() -> bool:
        found = await system.applied("web", home)
        return found is not None and found["spec"]["replicas"] == replicas

    await until(rolled_out, "the change is in the target")
    await system.reaches("web", "Ready")


async def test_what_nobody_decided_is_refused_and_told(system: Together) -> None:
    count = refusals["NotDecided"]
    (home,) = await system.chosen("web")
    future = await head(system, attempt=1_000_000)
    await forge(system, Assigned(placement=REF, head=future, target=f"{worlds.PLATFORM}/{home}"))
    await forge(system, Withdrawn(placement=REF, head=await head(system, uid="bogus")))
    assert refusals["NotDecided"] == count + 2
