"""Everything on this machine, as child processes: NATS, the sandbox, and every worker."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from services.cli.support import offers
from services.cli.support.errors import CommandError, UsageError
from services.cli.support.output import note
from services.cli.support.plan import Endpoints, Plan
from services.cli.support.processes import Child
from shared.broker.nats.options import without_credentials

if TYPE_CHECKING:
    from shared.broker.nats.server import NatsServer

LOOPBACK = "127.0.0.0/8,::1/128"


@dataclass(frozen=True)
class Up:
    """A running system: where it is, and its processes; `nats` where it is one of our own."""

    place: Endpoints
    children: dict[str, Child]
    nats: "NatsServer | None"


@asynccontextmanager
async def up(plan: Plan, say: Callable[[str], None] | None = None) -> AsyncIterator[Up]:
    """Everything that the plan names, running; stopped when the block ends.

    Raises CommandError, in one line, for what could not be started.
    """
    say = say or note
    logs = _folder_for_logs(plan.data)
    async with AsyncExitStack() as stack:
        server = None if plan.nats else await _start_nats(plan, stack)
        nats = server.url if server else plan.nats
        children: dict[str, Child] = {}
        keepers: list[asyncio.Task[None]] = []
        stack.push_async_callback(_stop_all, children, keepers)
        beside_us = {"MOORAGE_TARGET_ALLOW": LOOPBACK}  # where the sandbox's clusters are, and those of one's own
        if not plan.kubeconfig:
            beside_us["MOORAGE_TRUSTED_PROVIDERS"] = ",".join(offers.read(plan.world).trusted)
        env = {**beside_us, **os.environ, **plan.env, "MOORAGE_NATS_URL": nats, "MOORAGE_LOG_FORMAT": "json"}

        def start(name: str, module: str, args: Sequence[str]) -> Child:
            own = plan.env_of.get(name.partition("-")[0], {})
            child = children[name] = Child(name, module, args, {**env, **own}, logs)
            keepers.append(asyncio.create_task(child.keep(say), name=name))
            return child

        hub = Kubeconfigs(plan.kubeconfig, {}, {}) if plan.kubeconfig else await _start_sandbox(plan, start)
        env["MOORAGE_KUBECONFIG"] = hub.kubeconfig
        for name in _copies(plan):
            start(name, f"services.{name.partition('-')[0]}", ())
        await asyncio.gather(*(child.ready() for child in children.values()))
        if not plan.kubeconfig and "discovery" in plan.workers:
            await offers.until_ready(offers.read(plan.world), Path(hub.kubeconfig))
        place = Endpoints(
            nats=without_credentials(nats),
            kubeconfig=hub.kubeconfig,
            targets=hub.targets,
            users=hub.users,
            pids={name: child.pid or 0 for name, child in children.items()},
            logs=str(logs),
        )
        yield Up(place, children, server)


def _folder_for_logs(data: Path) -> Path:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        logs = data / "logs"
        logs.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot use {data}: {error.strerror}") from None
    return logs


async def _start_nats(plan: Plan, stack: AsyncExitStack) -> "NatsServer":
    from shared.broker.nats.server import NatsServer, NatsServerError

    try:
        return await stack.enter_async_context(NatsServer(plan.data / "nats", port=plan.nats_port))
    except NatsServerError as error:
        raise CommandError(str(error)) from None


class Kubeconfigs(msgspec.Struct, frozen=True):
    """Paths of kubeconfigs: the hub's administrator, the target clusters by name, the users by name."""

    kubeconfig: str
    targets: dict[str, str]
    users: dict[str, str]


async def _start_sandbox(plan: Plan, start: Callable[[str, str, Sequence[str]], Child]) -> Kubeconfigs:
    """The sandbox and its world, with its clusters offered."""
    directory = plan.data / "sandbox"
    world = offers.read(plan.world)
    args = ["--port", str(plan.sandbox_port), "--data", str(directory), "--world", str(plan.world)]
    child = start("sandbox", "services.sandbox", args)
    await child.ready()
    paths = msgspec.convert(child.said["kubeconfigs"], dict[str, str])
    await offers.apply(world, Path(paths["admin"]), directory)
    targets = {name.removeprefix("target-"): path for name, path in paths.items() if name.startswith("target-")}
    users = {name.removeprefix("user-"): path for name, path in paths.items() if name.startswith("user-")}
    return Kubeconfigs(paths["admin"], targets, users)


def _copies(plan: Plan) -> list[str]:
    """The names of the processes: `scheduler`, or `scheduler-1`, `scheduler-2` where there are several."""
    names = []
    for worker in plan.workers:
        count = plan.copies.get(worker, 1)
        names += [worker] if count == 1 else [f"{worker}-{number}" for number in range(1, count + 1)]
    return names


async def _stop_all(children: dict[str, Child], keepers: list[asyncio.Task[None]]) -> None:
    """Workers first, together; then the sandbox, which they talk to until they are done."""
    workers = [child for name, child in children.items() if name != "sandbox"]
    await asyncio.gather(*(child.stop() for child in workers))
    if "sandbox" in children:
        await children["sandbox"].stop()
    for keeper in keepers:
        keeper.cancel()
    for keeper in keepers:
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
