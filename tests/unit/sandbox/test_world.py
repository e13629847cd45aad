"""Worlds from files, kubeconfigs, certificates."""

import ssl
import stat
from datetime import UTC, datetime

import pytest
import yaml

from services.sandbox.access.auth import Attributes, allowed
from services.sandbox.access.users import User
from services.sandbox.sandbox import Sandbox
from services.sandbox.wire.certificate import self_signed
from services.sandbox.world import world

EXAMPLE = """
workspaces: [root:a:b, root:a]
users:
  - {name: ann, groups: [team], workspaces: {"root:a:b": admin, "root:a": none}}
  - {name: ben, workspaces: {"root:a": view}}
targets:
  - name: east
    nodes: 2
    capacity: {cpu: "3", memory: 8Gi, pods: "20"}
    allocated: {cpu: 500m}
    lacks: [batch/v1]
    taints: [ignored]
serves: [deployments.apps, services]
"""


def example(tmp_path, text=EXAMPLE):
    path = tmp_path / "world.yaml"
    path.write_text(text)
    return world.load(path)


def test_the_world_is_built_as_described(tmp_path):
    sandbox = Sandbox("https://sandbox.test")
    files = world.build(sandbox, example(tmp_path), b"PEM")
    assert set(files) == {"admin", "intake", "user-ann", "user-ben", "target-east"}
    assert files["user-ann"]["clusters"][0]["cluster"] == {
        "server": "https://sandbox.test/clusters/root:a:b",
        "certificate-authority-data": "UEVN",
    }
    nodes = [entry.document() for entry in sandbox.store.entries("target:east", "nodes")]
    assert [node["status"]["allocatable"] for node in nodes] == [
        {"cpu": "1500m", "memory": "4294967296", "pods": "10"}
    ] * 2
    (pod,) = sandbox.store.entries("target:east", "pods")
    assert pod.document()["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "500m"}
    served = sandbox.clusters.find("root:a:b")
    assert served is not None
    assert served.resource("apps", "deployments")
    assert served.resource("", "services")
    assert served.resource("batch", "jobs") is None


@pytest.mark.parametrize(
    ("user", "cluster", "verb", "expected"),
    [
        ("ann", "root:a:b", "create", True),
        ("ann", "root:a", "list", False),
        ("ben", "root:a", "list", True),
        ("ben", "root:a", "create", False),
        ("ben", "root:a:b", "list", False),
    ],
)
def test_roles_hold_where_they_are_given(tmp_path, user, cluster, verb, expected):
    sandbox = Sandbox()
    world.build(sandbox, example(tmp_path))
    found = sandbox.clusters.find(cluster)
    assert found is not None
    wanted = Attributes(verb, "", "configmaps", "default")
    assert allowed(sandbox.store, found, User(user), wanted) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workspaces: [", "while parsing"),
        ("workspaces: 3", "Expected `array`"),
        ("targets: [{}]", "missing required field `name`"),
    ],
)
def test_a_file_that_is_no_world_says_where(tmp_path, text, words):
    with pytest.raises(ValueError, match=r"world\.yaml") as caught:
        example(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workspaces: [root:a:b]", "cluster"),
        ("workspaces: [root:A]", "RFC 1123"),
        ("workspaces: [root:a, root:a]", "already exists"),
        ("{workspaces: [root:a], serves: [odd]}", "'odd' is none of"),
        ("users: [{name: x, workspaces: {'root:none': admin}}]", "no workspace root:none"),
        ("targets: [{name: a}, {name: a}]", "already exists"),
    ],
)
def test_a_world_that_cannot_be_says_why(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        world.build(Sandbox(), example(tmp_path, text))


def test_kubeconfigs_are_for_their_owner_alone(tmp_path):
    sandbox = Sandbox()
    files = world.build(sandbox, world.DEFAULT)
    for _ in range(2):
        paths = world.write_kubeconfigs(files, tmp_path / "new")
    for path in paths.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    admin = yaml.safe_load(paths["admin"].read_text())
    assert admin["users"][0]["user"]["token"]
    assert "certificate-authority-data" not in admin["clusters"][0]["cluster"]


@pytest.mark.parametrize("host", ["sandbox", "10.1.2.3"])
def test_the_certificate_is_trusted_for_its_hosts_alone(tmp_path, host):
    certificate, key = self_signed(["localhost", "::1", host], datetime.now(UTC))
    both = tmp_path / "both.pem"
    both.write_bytes(certificate + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    client = ssl.create_default_context(cadata=certificate.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert handshake(client, server, host)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(client, server, "elsewhere")


def handshake(client, server, host):
    """Both ends in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    done = set()
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
    return len(done) == 2
