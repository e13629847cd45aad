"""Everything on this machine, as child processes: NATS, the sandbox, and every worker."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from services.cli.support import offers
from services.cli.support.errors import CommandError, UsageError
from services.cli.support.local import LOOPBACK
from services.cli.support.output import note
from services.cli.support.plan import Endpoints, Plan
from services.cli.support.processes import Child
from shared.broker.nats.options import without_credentials
from shared.process.tracing import wanted

if TYPE_CHECKING:
    from shared.broker.nats.server import NatsServer


@dataclass(frozen=True)
class Up:
    """A running system: where it is, and its processes; `nats` where it is one of our own.

    `start` starts one copy more of a worker, by a name such as `scheduler-2`; it is stopped with the others.
    """

    place: Endpoints
    children: dict[str, Child]
    nats: "NatsServer | None"
    start: Callable[[str], Child]


@asynccontextmanager
async def up(
    plan: Plan, say: Callable[[str], None] | None = None, step: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Up]:
    """Everything that the plan names, running; stopped when the block ends. `say` is told what happens to what runs,
    `step` how far starting is.

    Raises CommandError, in one line, for what could not be started, or was not ready in time.
    """
    say = say or note
    by = asyncio.get_running_loop().time() + plan.ready_within
    logs = _folder_for_logs(plan.data)
    async with AsyncExitStack() as stack:
        if not plan.nats:
            step("starting NATS")
        server = None if plan.nats else await _start_nats(plan, stack)
        nats = server.url if server else plan.nats
        children: dict[str, Child] = {}
        keepers: list[asyncio.Task[None]] = []
        stack.push_async_callback(_stop_all, children, keepers)
        beside_us = {"MOORAGE_TARGET_ALLOW": LOOPBACK}  # where the sandbox's clusters are, and those of one's own
        if not plan.kubeconfig:
            beside_us["MOORAGE_TRUSTED_PROVIDERS"] = ",".join(offers.read(plan.world).trusted)
        env = {**beside_us, **os.environ, **plan.env, "MOORAGE_NATS_URL": nats, "MOORAGE_LOG_FORMAT": "json"}
        spans = _folder_for_spans(plan.data) if plan.keeps_spans and not wanted(env) else ""
        if spans:
            env["MOORAGE_SPAN_FOLDER"] = spans

        def start(name: str, module: str, args: Sequence[str]) -> Child:
            worker = name.partition("-")[0]
            own = {**hub.env_of.get(worker, {}), **plan.env_of.get(worker, {})}
            child = children[name] = Child(name, module, args, {**env, **own}, logs)
            keepers.append(asyncio.create_task(child.keep(say), name=name))
            return child

        hub = Kubeconfigs(plan.kubeconfig, {}, {})
        if not plan.kubeconfig:
            step("starting the sandbox")
            hub = await _start_sandbox(plan, start, by)
        env["MOORAGE_KUBECONFIG"] = hub.kubeconfig

        def copy(name: str) -> Child:
            return start(name, f"services.{name.partition('-')[0]}", ())

        if copies := _copies(plan):
            step(f"starting {len(copies)} workers")
        starting = [copy(name) for name in copies]

        async def is_ready(child: Child) -> None:
            await child.ready(by)
            step(f"{child.name} is ready")

        await asyncio.gather(*map(is_ready, starting))
        if not plan.kubeconfig and "discovery" in plan.workers:
            world = offers.read(plan.world)
            step(f"waiting until {len(world.targets)} clusters are ready")
            await offers.until_ready(world, Path(hub.kubeconfig), by)
        place = Endpoints(
            nats=without_credentials(nats),
            kubeconfig=hub.kubeconfig,
            targets=hub.targets,
            users=hub.users,
            pids={name: child.pid or 0 for name, child in children.items()},
            logs=str(logs),
            spans=spans,
        )
        yield Up(place, children, server, copy)


def _folder_for_logs(data: Path) -> Path:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        logs = data / "logs"
        logs.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot use {data}: {error.strerror}") from None
    return logs


def _folder_for_spans(data: Path) -> str:
    """An empty one: what an earlier run kept is of Placements that are gone."""
    spans = data / "spans"
    shutil.rmtree(spans, ignore_errors=True)
    return str(spans)


async def _start_nats(plan: Plan, stack: AsyncExitStack) -> "NatsServer":
    from shared.broker.nats.server import NatsServer, NatsServerError

    try:
        return await stack.enter_async_context(NatsServer(plan.data / "nats", port=plan.nats_port))
    except NatsServerError as error:
        raise CommandError(str(error)) from None


class Kubeconfigs(msgspec.Struct, frozen=True):
    """Paths of kubeconfigs: the hub's administrator, the target clusters by name, the users by name.

    `env_of` is what a worker has in its environment because it is this hub.
    """

    kubeconfig: str
    targets: dict[str, str]
    users: dict[str, str]
    env_of: dict[str, dict[str, str]] = {}


async def _start_sandbox(plan: Plan, start: Callable[[str, str, Sequence[str]], Child], by: float) -> Kubeconfigs:
    """The sandbox and its world, with its clusters offered."""
    directory = plan.data / "sandbox"
    world = offers.read(plan.world)
    args = ["--port", str(plan.sandbox_port), "--data", str(directory), "--world", str(plan.world)]
    child = start("sandbox", "services.sandbox", args)
    await child.ready(by)
    paths = msgspec.convert(child.said["kubeconfigs"], dict[str, str])
    await offers.apply(world, Path(paths["admin"]), directory)
    targets = {name.removeprefix("target-"): path for name, path in paths.items() if name.startswith("target-")}
    users = {name.removeprefix("user-"): path for name, path in paths.items() if name.startswith("user-")}
    known = plan.data / "users.yaml"
    known.write_bytes(offers.users_file(world))
    intake = {"MOORAGE_KUBECONFIG": paths["intake"], "MOORAGE_USERS_FILE": str(known)}
    return Kubeconfigs(paths["admin"], targets, users, {"intake": intake})


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
