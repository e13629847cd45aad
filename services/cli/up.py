"""`moorage up`: everything on this machine. Starts what is missing, says where everything is, stays until Ctrl-C."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import PIPELINE
from services.cli.support.errors import UsageError
from services.cli.support.local import CONTEXT, DEFAULT_DATA, DEFAULT_WORLD, READY_WITHIN
from services.cli.support.output import note
from services.cli.support.tenant import duration

if TYPE_CHECKING:
    from services.cli.support.plan import Endpoints, Plan


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "up",
        description="Start NATS and a sandbox control plane (unless told where there are some), and every worker as a "
        "process of its own. Workers take their settings from the environment (`moorage worker NAME --help`).",
    )
    add_plan_arguments(parser)
    parser.add_argument(
        "--wait-timeout",
        type=duration,
        default=READY_WITHIN,
        metavar="DURATION",
        help="how long it may take until all is ready, before all is stopped again (default: 4m)",
    )
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


def plan_of(args: argparse.Namespace) -> "Plan":
    """The plan that the flags make; raises UsageError for what cannot be."""
    from services.cli.support.plan import Plan

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
        ready_within=args.wait_timeout,
        keeps_spans=True,
    )


def run(args: argparse.Namespace) -> int:
    """Start everything, say where it is, wait for a signal, stop everything."""
    import asyncio

    asyncio.run(_until_signal(plan_of(args), as_json=args.output == "json"))
    return 0


async def _until_signal(plan: "Plan", *, as_json: bool) -> None:
    """SIGTERM and Ctrl-C stop what runs, also while it is still starting."""
    import asyncio

    staying = asyncio.create_task(_stay(plan, as_json=as_json))

    def stop() -> None:
        if not staying.cancelling():  # a second signal must not interrupt the stopping
            note("stopping")
            staying.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await staying
    note("stopped")


async def _stay(plan: "Plan", *, as_json: bool) -> None:
    """Start everything and say where it is; it is stopped when this is cancelled."""
    import asyncio

    import msgspec

    from services.cli.support.system import up

    began = time.monotonic()

    def step(text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - began:5.1f} s] {text}\n")
        sys.stderr.flush()

    async with up(plan, step=(lambda _: None) if as_json else step) as running:
        place = running.place
        context = plan.data / CONTEXT
        context.write_bytes(msgspec.json.encode(place))
        sys.stdout.write(msgspec.json.encode(place).decode() + "\n" if as_json else describe(place))
        sys.stdout.flush()
        try:
            await asyncio.Event().wait()
        finally:
            context.unlink(missing_ok=True)


def describe(place: "Endpoints") -> str:
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
        f'  eval "$(moorage env --data {Path(place.logs).parent})"; moorage doctor\n'
        f"  kubectl --kubeconfig {place.kubeconfig} get workspaces\n"
        f"  nats --server {place.nats} sub 'moorage.pipeline.>'\n"
        f"Ctrl-C stops everything.\n"
    )
