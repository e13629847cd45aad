"""`moorage up`: everything on this machine. Starts what is missing, says where everything is, stays until Ctrl-C."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from services import PIPELINE
from services.cli import world
from services.cli.support.errors import CommandError, UsageError
from services.cli.support.processes import Child
from shared.broker.nats.options import without_credentials

if TYPE_CHECKING:
    from shared.broker.nats.server import NatsServer

DEFAULT_DATA = Path(".moorage")
DEFAULT_WORLD = Path(__file__).with_name("world.yaml")


class Place(msgspec.Struct, rename="camel"):
    """Where everything is, as `moorage up -o json` prints it."""

    nats: str
    kubeconfig: str
    targets: dict[str, str]
    users: dict[str, str]
    pids: dict[str, int]
    logs: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be started: an empty `nats` or `kubeconfig` means one of our own."""

    data: Path
    nats: str = ""
    nats_port: int = 0
    kubeconfig: str = ""
    world: Path = DEFAULT_WORLD
    sandbox_port: int = 0
    workers: Sequence[str] = PIPELINE
    copies: Mapping[str, int] = {}
    env: Mapping[str, str] = {}


@dataclass(frozen=True)
class Up:
    """A running system: where it is, and its processes; `nats` where it is one of our own."""

    place: Place
    children: dict[str, Child]
    nats: "NatsServer | None"


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "up",
        help="run everything on this machine until Ctrl-C",
        description="Start NATS and a sandbox control plane (unless told where there are some), and every worker as a "
        "process of its own. Workers take their settings from the environment (`moorage worker NAME --help`).",
    )
    add_plan_arguments(parser)
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="json: one line once all is ready"
    )
    parser.set_defaults(run=run)


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say what is to be started."""
    parser.add_argument(
        "--data",
        type=Path,
        default=DEFAULT_DATA,
        metavar="FOLDER",
        help=f"folder for state and logs (default: {DEFAULT_DATA})",
    )
    parser.add_argument("--nats-url", default="", metavar="URL", help="a running NATS; without it one is started")
    parser.add_argument(
        "--nats-port",
        type=port,
        default=0,
        metavar="PORT",
        help="port of the NATS that is started (default: a free one)",
    )
    parser.add_argument(
        "--kubeconfig", default="", metavar="FILE", help="kubeconfig of a running hub; without it a sandbox is started"
    )
    parser.add_argument(
        "--world",
        type=Path,
        default=DEFAULT_WORLD,
        metavar="FILE",
        help="world file for the sandbox (default: a small world)",
    )
    parser.add_argument(
        "--sandbox-port", type=port, default=0, metavar="PORT", help="port of the sandbox (default: a free one)"
    )
    parser.add_argument(
        "--workers",
        default=",".join(PIPELINE),
        metavar="NAMES",
        help="the workers to start, separated by commas; `none` for none (default: all)",
    )
    parser.add_argument(
        "--scale", action="append", default=[], metavar="NAME=N", help="copies of a worker; may be repeated"
    )


def port(text: str) -> int:
    """A port from the command line; 0 is any free one."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text}")
    return number


def plan_of(args: argparse.Namespace) -> Plan:
    """What the flags say; raises UsageError for what cannot be."""
    workers = [] if args.workers == "none" else [name for name in args.workers.split(",") if name]
    copies: dict[str, int] = {}
    for given in args.scale:
        name, _, number = given.partition("=")
        if name not in PIPELINE or not number.isdigit() or not 0 < int(number) <= 64:
            raise UsageError(f"--scale {given}: it takes NAME=N with a worker's name and a number from 1 to 64")
        copies[name] = int(number)
    unknown = sorted(set(workers) - set(PIPELINE))
    if unknown:
        raise UsageError(f"--workers: there is no {', '.join(unknown)}; the workers are {', '.join(PIPELINE)}")
    return Plan(
        data=args.data.absolute(),
        nats=args.nats_url,
        nats_port=args.nats_port,
        kubeconfig=args.kubeconfig,
        world=args.world,
        sandbox_port=args.sandbox_port,
        workers=workers,
        copies=copies,
    )


def run(args: argparse.Namespace) -> int:
    """Start everything, say where it is, wait for a signal, stop everything."""
    asyncio.run(_until_signal(plan_of(args), as_json=args.output == "json"))
    return 0


async def _until_signal(plan: Plan, *, as_json: bool) -> None:
    """SIGTERM and Ctrl-C stop what runs, also while it is still starting."""
    staying = asyncio.create_task(_stay(plan, as_json=as_json))

    def stop() -> None:
        if not staying.cancelling():  # a second signal must not interrupt the stopping
            _to_stderr("stopping")
            staying.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await staying
    _to_stderr("stopped")


async def _stay(plan: Plan, *, as_json: bool) -> None:
    """Start everything and say where it is; it is stopped when this is cancelled."""
    async with up(plan) as running:
        place = running.place
        sys.stdout.write(msgspec.json.encode(place).decode() + "\n" if as_json else describe(place))
        sys.stdout.flush()
        await asyncio.Event().wait()


def describe(place: Place) -> str:
    """Where everything is and how to look around, for people."""

    def listed(paths: Mapping[str, str]) -> str:
        return "".join(f"  {name:<12} {path}\n" for name, path in sorted(paths.items()))

    return (
        f"NATS           {place.nats}\n"
        f"logs           {place.logs}\n"
        f"kubeconfigs\n"
        f"  {'hub':<12} {place.kubeconfig}\n"
        f"of users\n{listed(place.users)}"
        f"of targets\n{listed(place.targets)}\n"
        f"look around:\n"
        f"  kubectl --kubeconfig {place.kubeconfig} get workspaces\n"
        f"  nats --server {place.nats} sub 'moorage.pipeline.>'\n"
        f"Ctrl-C stops everything.\n"
    )


@asynccontextmanager
async def up(plan: Plan, say: Callable[[str], None] | None = None) -> AsyncIterator[Up]:
    """Everything that the plan names, running; stopped when the block ends.

    Raises CommandError, in one line, for what could not be started.
    """
    say = say or _to_stderr
    logs = _folder_for_logs(plan.data)
    async with AsyncExitStack() as stack:
        server = None if plan.nats else await _start_nats(plan, stack)
        nats = server.url if server else plan.nats
        children: dict[str, Child] = {}
        keepers: list[asyncio.Task[None]] = []
        stack.push_async_callback(_stop_all, children, keepers)
        env = {**os.environ, **plan.env, "MOORAGE_NATS_URL": nats, "MOORAGE_LOG_FORMAT": "json"}

        def start(name: str, module: str, args: Sequence[str]) -> Child:
            child = children[name] = Child(name, module, args, env, logs)
            keepers.append(asyncio.create_task(child.keep(say), name=name))
            return child

        hub = Hub(plan.kubeconfig, {}, {}) if plan.kubeconfig else await _start_sandbox(plan, start)
        env["MOORAGE_KUBECONFIG"] = hub.kubeconfig
        for name in _copies(plan):
            start(name, f"services.{name.partition('-')[0]}", ())
        await asyncio.gather(*(child.ready() for child in children.values()))
        if not plan.kubeconfig and "discovery" in plan.workers:
            await world.until_ready(world.read(plan.world), Path(hub.kubeconfig))
        place = Place(
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


class Hub(msgspec.Struct, frozen=True):
    """Paths of kubeconfigs: the hub's administrator, the target clusters by name, the users by name."""

    kubeconfig: str
    targets: dict[str, str]
    users: dict[str, str]


async def _start_sandbox(plan: Plan, start: Callable[[str, str, Sequence[str]], Child]) -> Hub:
    """The sandbox and its world, with its clusters offered."""
    directory = plan.data / "sandbox"
    offers = world.read(plan.world)
    args = ["--port", str(plan.sandbox_port), "--data", str(directory), "--world", str(plan.world)]
    child = start("sandbox", "services.sandbox", args)
    await child.ready()
    paths = msgspec.convert(child.said["kubeconfigs"], dict[str, str])
    await world.apply(offers, Path(paths["admin"]), directory)
    targets = {name.removeprefix("target-"): path for name, path in paths.items() if name.startswith("target-")}
    users = {name.removeprefix("user-"): path for name, path in paths.items() if name.startswith("user-")}
    return Hub(paths["admin"], targets, users)


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


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"moorage: {text}\n")
    sys.stderr.flush()
