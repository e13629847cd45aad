"""`moorage sandbox`: the development control plane alone, and the faults of one that runs."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.cli.support.output import aligned

KUBECONFIG = Path(".moorage/sandbox/admin.kubeconfig")
PATTERNS = {"cluster": "root:team, target:east", "verb": "get, list, watch, create", "resource": "deployments.apps"}
COLUMNS = ("id", "kind", "cluster", "verb", "resource", "rate", "seconds", "times", "hits")


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sandbox",
        description="A control plane for development that speaks the Kubernetes and kcp wire protocol.",
        add_help=False,
        prefix_chars="\0",  # nothing is an option here: argparse would refuse those that it does not know
    )
    parser.add_argument("options", nargs=argparse.REMAINDER, help="`run` (the default) or `fault`, and their options")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`fault ...` speaks to a sandbox that runs; `run ...`, or options alone, hand over to the sandbox itself."""
    action, options = (args.options[:1] or ["run"])[0], args.options
    if action == "fault":
        return fault(options[1:])

    from services.sandbox.__main__ import main

    return main(options[1:] if action == "run" else options, prog="moorage sandbox")


def _parser() -> argparse.ArgumentParser:
    from services.sandbox.wire.faults import KINDS

    parser = argparse.ArgumentParser(
        prog="moorage sandbox fault", description="Let a running sandbox fail: see docs/sandbox.md."
    )
    default = Path(os.environ.get("KUBECONFIG") or KUBECONFIG)
    text = f"of the sandbox's administrator (default: {default})"
    parser.add_argument("--kubeconfig", type=Path, default=default, metavar="FILE", help=text)
    anywhere = argparse.ArgumentParser(add_help=False)  # the same flag, after the action
    anywhere.add_argument("--kubeconfig", type=Path, default=argparse.SUPPRESS, metavar="FILE", help=text)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    add = actions.add_parser("add", parents=[anywhere], help="begin to fail; prints the id of the fault")
    add.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    for name, examples in PATTERNS.items():
        add.add_argument(f"--{name}", default="*", help=f"which, as a shell pattern (such as {examples}; default: all)")
    add.add_argument("--rate", type=float, default=1.0, help="the share that is hit, over 0 and up to 1 (default: 1)")
    add.add_argument("--seconds", type=float, default=1.0, help="how late, how long, or Retry-After (default: 1)")
    add.add_argument("--times", type=int, default=0, help="end after so many hits (default: never)")
    add.add_argument("--seed", type=int, default=0, help="of the chance that rate takes (default: 0)")
    listing = actions.add_parser("list", parents=[anywhere], help="the faults that are on, with how often each hit")
    listing.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: for scripts")
    clear = actions.add_parser("clear", parents=[anywhere], help="end one fault, or all")
    clear.add_argument("id", nargs="?", default="", help="what `add` printed (default: all)")
    return parser


def fault(argv: list[str]) -> int:
    """Add, list or clear faults of the sandbox that a kubeconfig leads to."""
    import asyncio

    from services.cli.hub.connection import hub_errors

    options = vars(_parser().parse_args(argv))
    kubeconfig, action, output = options.pop("kubeconfig"), options.pop("action"), options.pop("output", "")
    with hub_errors():
        answer = asyncio.run(_ask(kubeconfig, action, options))
    if action == "add":
        sys.stdout.write(f"{answer['id']}\n")
    elif output == "json":
        sys.stdout.write(json.dumps(answer["items"], indent=2) + "\n")
    elif action == "list":
        rows = [COLUMNS, *(tuple(str(item[name]) for name in COLUMNS) for item in answer["items"])]
        sys.stdout.writelines(f"{line}\n" for line in aligned(rows))
    return 0


async def _ask(kubeconfig: Path, action: str, options: dict[str, Any]) -> Any:
    import msgspec

    from shared.kube.auth.kubeconfig import load_kubeconfig
    from shared.kube.client import Client

    credentials = load_kubeconfig(kubeconfig)
    server = urlsplit(credentials.server)
    method, path = {"add": ("POST", ""), "list": ("GET", ""), "clear": ("DELETE", f"/{options.get('id', '')}")}[action]
    body = options if action == "add" else None
    async with Client(credentials, user_agent="moorage-sandbox") as client:
        root = client.at(f"{server.scheme}://{server.netloc}/sandbox/faults")
        return msgspec.json.decode(await root.request(method, path.rstrip("/"), body=body))
