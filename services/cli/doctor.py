"""`moorage doctor`: what is wrong with a running system, and what to do."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from services import PIPELINE
from services.cli.support.broker import settings_of
from services.cli.support.errors import UsageError
from services.cli.support.output import printable
from services.cli.support.settings import add_settings
from services.cli.support.tenant import duration

if TYPE_CHECKING:
    from services.cli.diagnosing.faults import Checkup
    from shared.process.settings import HubSettings

DESCRIPTION = """\
Look at NATS, the workers, the hub and the targets, and say what is wrong, each fault by its name, with what to do.

  moorage doctor
  moorage doctor --nats-url nats://nats:4222 --kubeconfig admin.kubeconfig -o json
  moorage doctor --nats-monitoring http://nats-0:8222,http://nats-1:8222,http://nats-2:8222

It changes nothing. Run it as an administrator of both: what it may not look at, it takes for a fault.
docs/doctor.md lists the faults.

Exit codes: 0 nothing is wrong; 1 something is; 2 the command line cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "doctor",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workers",
        default=",".join(PIPELINE),
        metavar="NAMES",
        help="the workers that are to be there, separated by commas (default: all)",
    )
    parser.add_argument(
        "--lag",
        type=duration,
        default=60.0,
        metavar="DURATION",
        help="how long a message may wait for its worker (default: 60s)",
    )
    parser.add_argument(
        "--nats-monitoring",
        default="",
        metavar="URLS",
        help="monitoring ports of NATS servers, by comma: whether JetStream works on each, and how full it is",
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")
    add_settings(parser, "HubSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, and print what is wrong; 1 when something is."""
    import asyncio

    from shared.process.settings import HubSettings

    unknown = sorted(set(filter(None, args.workers.split(","))) - set(PIPELINE))
    if unknown:
        raise UsageError(f"--workers: there is no {', '.join(unknown)}; the workers are {', '.join(PIPELINE)}")
    settings = settings_of(args, HubSettings)
    workers = tuple(each for each in args.workers.split(",") if each)
    monitoring = tuple(each.strip().rstrip("/") for each in args.nats_monitoring.split(",") if each.strip())
    if not all(each.startswith(("http://", "https://")) for each in monitoring):
        raise UsageError(f"--nats-monitoring {args.nats_monitoring}: an address begins with http:// or https://")
    found = asyncio.run(examine(settings, workers, args.lag, monitoring))
    _print(found, as_json=args.output == "json")
    return int(any(each.faults for each in found))


async def examine(
    settings: "HubSettings", names: tuple[str, ...], lag: float, monitoring: tuple[str, ...] = ()
) -> "list[Checkup]":
    """What there is to say of NATS, the hub and the targets; `lag`: seconds for which a message may wait. `monitoring`:
    where NATS servers tell of themselves."""
    from services.cli.diagnosing import monitoring as servers
    from services.cli.diagnosing import queues
    from services.cli.diagnosing.faults import Checkup, FoundFault
    from services.registry import load_all
    from shared.broker.bus import BusError, Forbidden
    from shared.broker.table import Table
    from shared.pipeline.buckets import INVENTORY

    targets = []
    try:
        async with queues.opened(settings) as (bus, store):
            try:
                nats = await queues.examine(bus, store, load_all(names), lag=lag)
                if not any(each.fault == "QuorumLost" for each in nats.faults):
                    targets = [entry.value for entry in await Table(store, INVENTORY).entries()]
            except Forbidden as error:
                fault = FoundFault(fault="NatsForbidden", where=settings.nats_url, message=str(error))
                nats = Checkup(part="NATS", looked_at=1, faults=(fault,))
            except BusError as error:  # what is missing is told already
                fault = FoundFault(fault="JetStreamUnavailable", where=settings.nats_url, message=str(error))
                nats = Checkup(part="NATS", looked_at=1, faults=(fault,))
    except queues.Ill as ill:
        nats = Checkup(part="NATS", looked_at=1, faults=(ill.fault,))
    told = [await servers.examine(monitoring)] if monitoring else []
    return [nats, *told, *await _beyond(settings, targets)]


async def _beyond(settings: "HubSettings", targets: list[Any]) -> "list[Checkup]":
    """The hub, and the targets by what the hub has of them."""
    from services.cli.diagnosing import cluster, reach
    from services.cli.diagnosing.faults import Checkup
    from shared.hub.access_providers import providers
    from shared.hub.hub import open_hub
    from shared.hub.names import field_manager
    from shared.hub.targets import TargetClients, perimeter
    from shared.kube.errors import ConfigError

    name = field_manager("doctor")
    try:
        async with open_hub(settings, name) as hub:
            found = await cluster.examine(hub, {each.workspace for each in targets})
            if cluster.answers_nobody(found):
                return [found, Checkup(part="targets", skipped="the hub is to be mended first")]
            if not targets:
                return [found, Checkup(part="targets", skipped="none are known in NATS")]
            timeout, bounds = settings.api_timeout_seconds, perimeter(settings)
            clients = TargetClients(
                hub, user_agent=name, timeout=timeout, perimeter=bounds, providers=providers(settings), prove=False
            )
            try:
                return [found, await reach.examine(clients, targets)]
            finally:
                await clients.close()
    except ConfigError as error:
        fault = cluster.of_hub(error, settings.kubeconfig or "the kubeconfig")
        return [
            Checkup(part="hub", looked_at=1, faults=(fault,)),
            Checkup(part="targets", skipped="the hub is to be mended first"),
        ]


def _print(found: "list[Checkup]", *, as_json: bool) -> None:
    import msgspec

    if as_json:
        faults = [
            {**msgspec.to_builtins(fault), "part": each.part, "whatToDo": fault.what_to_do}
            for each in found
            for fault in each.faults
        ]
        parts = [{"part": each.part, "lookedAt": each.looked_at, "skipped": each.skipped} for each in found]
        sys.stdout.write(msgspec.json.format(msgspec.json.encode({"parts": parts, "faults": faults})).decode() + "\n")
        return
    for each in found:
        well = f"{each.part}: looked at {each.looked_at}, {len(each.faults) or 'nothing'} wrong"
        sys.stdout.write(f"{well if not each.skipped else f'{each.part}: not looked at, {each.skipped}'}\n")
        for fault in each.faults:
            sys.stdout.write(
                f"  {fault.fault}  {printable(fault.where)}\n    {printable(fault.message)}\n    → {fault.what_to_do}\n"
            )
