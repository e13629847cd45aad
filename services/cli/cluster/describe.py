"""`moorage cluster describe`: one cluster, with what runs there."""

import argparse
import json
import sys
import time

import msgspec

from services.cli.cluster import picture
from services.cli.cluster.hub import opened
from services.cli.cluster.rights import subjects
from services.cli.support.output import aligned, amount


async def run(args: argparse.Namespace) -> None:
    """Show it."""
    async with opened(args) as hub:
        found = await hub.target(args.name)
        placed = await hub.placed(hub.id(args.name))
        users = [f"{each.get('kind')} {each.get('name')}" for each in await subjects(hub, args.name)]
    row = picture.row(hub.workspace, found, placed)
    if args.output == "json":
        content = {**msgspec.to_builtins(row), "allowed": users, "placed": picture.placement_json(placed)}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    facts = [
        ("name", row.name),
        ("workspace", row.workspace or "-"),
        ("ready", "yes" if row.ready else f"no: {row.message}"),
        ("scheduling", row.scheduling),
        ("taints", ", ".join(row.taints) or "-"),
        ("labels", ", ".join(f"{key}={value}" for key, value in sorted(row.labels.items())) or "-"),
        ("kubernetes", row.kubernetes_version or "-"),
        ("cluster", row.cluster_uid or "-"),
        *([("tunnel", row.tunnel), ("agent", picture.agent(found))] if row.tunnel else []),
        ("age", picture.age(row.created, time.time())),
        ("allowed", ", ".join(users) or "nobody, by `moorage cluster allow`"),
    ]
    amounts = [
        (name, amount(name, row.allocatable[name]), amount(name, row.free.get(name, 0.0)))
        for name in sorted(row.allocatable)
    ]
    parts = [aligned(facts), aligned([("RESOURCE", "ALLOCATABLE", "FREE"), *amounts])]
    parts.append(aligned(picture.placement_rows(placed)) if placed else ["nothing is placed there"])
    sys.stdout.write("\n\n".join("\n".join(part) for part in parts) + "\n")
