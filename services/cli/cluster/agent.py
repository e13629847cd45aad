"""`moorage cluster agent`: the manifests of the agent beside a cluster that nobody can connect to."""

import argparse
import base64
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from services.cli.cluster.hub import opened
from services.cli.hub.objects import as_yaml
from services.cli.support.errors import CommandError, UsageError
from shared.broker.tunnel.subjects import tunnel_id
from shared.model.refs import TargetRef

Object = dict[str, Any]

SEED, AUTHORITY = "seed.nk", "ca.crt"
FOLDER: Final = "/etc/moorage/nats"
API_PORTS: Final = (443, 6443)
"""Where API servers listen, behind their Service and by themselves."""

_FILE = Path(__file__).with_name("agent.yaml")


async def run(args: argparse.Namespace) -> None:
    """Print them."""
    async with opened(args) as hub:
        found = await hub.target(args.name)
    if found.spec.agent is None:
        raise CommandError(
            f"{hub.named(args.name)} has no spec.agent, so workers connect to it themselves: "
            f"moorage cluster join {args.name} --agent"
        )
    ref = TargetRef.parse(hub.id(args.name))
    tunnel = tunnel_id(ref.workspace, ref.name, found.metadata.uid)
    sys.stdout.write(as_yaml(filled(manifests(), tunnel, args)))


def manifests() -> list[Object]:
    """All of them, with what depends on the cluster left out."""
    import yaml

    return list(yaml.safe_load_all(_FILE.read_text("utf-8")))


def filled(objects: list[Object], tunnel: str, args: argparse.Namespace) -> list[Object]:
    """The manifests for this tunnel, by what the flags say. Raises UsageError for a file that cannot be read."""
    by_kind = {each["kind"]: each for each in objects}
    by_kind["Secret"]["data"] = {SEED: _content(args.nkey, "--nkey")}
    settings = {
        "MOORAGE_TUNNEL_ID": tunnel,
        "MOORAGE_NATS_URL": args.nats_url,
        "MOORAGE_NATS_NKEY": f"{FOLDER}/{SEED}",
        "MOORAGE_HEALTH_HOST": "0.0.0.0",  # noqa: S104 - within its pod
        "MOORAGE_HEALTH_PORT": "8080",
    }
    if args.nats_ca is not None:
        by_kind["Secret"]["data"][AUTHORITY] = _content(args.nats_ca, "--nats-ca")
        settings["MOORAGE_NATS_CA"] = f"{FOLDER}/{AUTHORITY}"
    (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    container["image"] = args.image or f"moorage:{version('moorage')}"
    container["env"] = [{"name": name, "value": value} for name, value in settings.items()]
    by_kind["NetworkPolicy"]["spec"]["egress"] = [
        {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]},
        {"ports": [{"port": port, "protocol": "TCP"} for port in sorted({*_ports(args.nats_url), *API_PORTS})]},
    ]
    return objects


def _ports(urls: str) -> set[int]:
    """Where the servers of NATS listen. Raises UsageError for what is no URL."""
    try:
        return {urlsplit(each.strip()).port or 4222 for each in urls.split(",")}
    except ValueError:
        raise UsageError(f"--nats-url: {urls} is no URL of NATS, such as tls://nats.example:4222") from None


def _content(path: Path, flag: str) -> str:
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise UsageError(f"{flag}: {path} cannot be read: {error.strerror}") from None
