"""`moorage cluster`: what a platform engineer does with clusters. docs/clusters.md shows it.

join, leave        offer a cluster, and no more; rotate gives the account in it another token
agent              what runs beside a cluster that nobody can connect to (agent.yaml)
list, describe     what is on offer, and what runs in one
allow              who may use one
cordon, uncordon   whether it takes anything new
drain              have everything leave it; moves.py foretells where to

flags.py           what each says of itself, and its flags
account.py         the account in a cluster and its rights (account.yaml), target.py how it gets there and what is there
hub.py             SyncTargets, and what is placed from all workspaces
facts.py           what objects on the hub say of clusters; picture.py: rows and JSON (both pure)
"""

import argparse
import importlib
from typing import Any

from services.cli.cluster.flags import FLAGS

COMMANDS = {
    "join": "offer a cluster: an account in it, its Secret and SyncTarget here",
    "leave": "offer a cluster no more; refuses while something is placed there",
    "list": "all clusters on offer, with what is free in them",
    "describe": "one cluster, with what runs there",
    "allow": "let a group or a user use a cluster, or no more",
    "cordon": "have a cluster take nothing new; what runs there stays",
    "uncordon": "have a cluster take placements again, after cordon or drain",
    "drain": "have all placements leave a cluster, each once it runs elsewhere",
    "rotate": "another token for the account in a cluster, without a gap",
    "agent": "manifests of the agent beside a cluster that nobody can connect to",
}
"""The modules of this folder that are commands, with a line each, in the order of the help text."""


def add_parser(commands: Any) -> None:
    """Declare the command, and those below it."""
    parser = commands.add_parser(
        "cluster",
        description="Clusters that workloads are placed in. docs/clusters.md shows a cluster's whole life.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, text in COMMANDS.items():
        if commands.words is not None and name not in commands.words:
            actions.add_parser(name, help=text)
            continue
        action = actions.add_parser(name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        FLAGS[name](action)
        action.set_defaults(run=run, action=name)


def run(args: argparse.Namespace) -> int:
    """Do what the action does."""
    import asyncio

    from services.cli.hub.connection import hub_errors

    with hub_errors():
        asyncio.run(importlib.import_module(f"services.cli.cluster.{args.action}").run(args))
    return 0
