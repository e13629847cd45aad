"""`moorage cluster agent`: the manifests of what runs beside a cluster that nobody can connect to."""

import argparse
import base64
import os
from pathlib import Path
from typing import Any

import yaml

from services.cli.cluster.agent import FOLDER, filled, manifests
from shared.broker.tunnel.subjects import opening, tunnel_id
from shared.pipeline.tunnels import TunnelUser
from tests.support.process import process
from tests.support.secured import secured

NORTH = tunnel_id("root:a", "north", "1")


def printed(**flags: Any) -> dict[str, dict[str, Any]]:
    given = {"nkey": None, "nats_url": "tls://nats.example:4222", "nats_ca": None, "image": "", **flags}
    return {each["kind"]: each for each in filled(manifests(), NORTH, argparse.Namespace(**given))}


def test_the_agent_has_no_account_and_meets_the_restricted_standard(tmp_path: Path) -> None:
    (tmp_path / "seed").write_text("SU…")
    found = printed(nkey=tmp_path / "seed", image="registry.example/moorage:1")
    assert set(found) == {"Namespace", "Secret", "Deployment", "PodDisruptionBudget", "NetworkPolicy"}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["image"] == "registry.example/moorage:1"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert base64.b64decode(found["Secret"]["data"]["seed.nk"]).decode() == "SU…"


def test_it_may_connect_to_names_nats_and_the_api_server_alone(tmp_path: Path) -> None:
    (tmp_path / "seed").touch()
    found = printed(
        nkey=tmp_path / "seed", nats_url="tls://a.example:4443, nats://b.example", nats_ca=tmp_path / "seed"
    )
    policy = found["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    allowed = sorted({each["port"] for rule in policy["egress"] for each in rule["ports"]})
    assert allowed == [53, 443, 4222, 4443, 6443]
    assert set(found["Secret"]["data"]) == {"seed.nk", "ca.crt"}
    assert yaml.safe_dump(list(found.values()))


async def test_an_agent_runs_with_the_settings_that_are_printed(tmp_path: Path) -> None:
    async with secured(tmp_path, agents=(TunnelUser(name="north", tunnel=NORTH),)) as nats:
        found = printed(nkey=nats.seeds / "tunnel-north.nk", nats_url=nats.server.url)
        (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
        env = {each["name"]: each["value"] for each in container["env"]}
        (tmp_path / "seed.nk").write_bytes(base64.b64decode(found["Secret"]["data"]["seed.nk"]))
        env = {name: value.replace(FOLDER, str(tmp_path)) for name, value in env.items()}
        here = {"MOORAGE_HEALTH_PORT": "0", "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
        async with process(["moorage", *container["args"]], {**os.environ, **env, **here}) as running:
            await running.record(lambda record: record["message"] == "ready" and record["tunnel"] == NORTH)
            async with nats.client("binding") as client:  # somebody answers there
                answer = await client.request(opening(NORTH), b"{}", deadline=30.0)
            assert (answer.headers or {})["Nats-Service-Error-Code"] == "Invalid"
