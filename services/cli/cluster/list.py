"""`moorage cluster list`: all clusters on offer, with what is free in them."""

import argparse
import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from services.cli.cluster import picture
from services.cli.cluster.facts import Occupant
from services.cli.cluster.hub import ClusterHub, opened
from services.cli.support.errors import UsageError
from services.cli.support.output import aligned
from shared.model.refs import TargetRef

PAUSE = 2.0  # seconds between two looks of --watch


async def run(args: argparse.Namespace) -> None:
    """Show them; with --watch also what changes."""
    if args.watch and args.output != "table":
        raise UsageError("--watch is for tables")
    async with opened(args) as hub:
        rows = await _rows(hub, args)
        _show(rows, args)
        while args.watch:
            await asyncio.sleep(PAUSE)
            before, rows = rows, await _rows(hub, args)
            _show(rows, args, known=before)


async def _rows(hub: ClusterHub, args: argparse.Namespace) -> list[picture.ClusterRow]:
    targets = await hub.targets(everywhere=args.all_workspaces)
    by_target: dict[str, list[Occupant]] = defaultdict(list)
    for each in await hub.placed() if targets else []:
        by_target[each.target].append(each)
    return [
        picture.row(TargetRef.parse(name).workspace, found, by_target[name]) for name, found in sorted(targets.items())
    ]


def _show(
    rows: list[picture.ClusterRow], args: argparse.Namespace, *, known: Sequence[picture.ClusterRow] | None = None
) -> None:
    """All of them; beside those that are `known`, only what is otherwise."""
    if args.output == "json":
        sys.stdout.write(json.dumps({"clusters": msgspec.to_builtins(rows)}, indent=2) + "\n")
    elif args.output == "name":
        sys.stdout.write("".join(f"{_name(each, args)}\n" for each in rows))
    else:
        heading, *lines = aligned(picture.table(rows, time.time(), workspaces=args.all_workspaces))
        if known is not None:
            lines = [line for line, row in zip(lines, rows, strict=True) if row not in known]
            there = {(each.workspace, each.name) for each in rows}
            lines += [f"{_name(each, args)} is gone" for each in known if (each.workspace, each.name) not in there]
        else:
            lines.insert(0, heading if rows else "no cluster is offered")
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _name(row: picture.ClusterRow, args: argparse.Namespace) -> str:
    return TargetRef(workspace=row.workspace, name=row.name).id.removeprefix("/") if args.all_workspaces else row.name
