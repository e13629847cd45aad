"""Rule 9: requests go only where the operator allows, and of what answers there only a Status is repeated."""

import asyncio
import base64
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.discovery.probing import NO_KUBECONFIG, NOT_ALLOWED
from shared.hub.hub import Hub
from shared.hub.resources import SYNCTARGETS
from shared.hub.targets import Perimeter, TargetClients, perimeter
from shared.kube.addresses import Addresses, networks
from shared.kube.auth.kubeconfig import Credentials
from shared.kube.client import Client
from shared.kube.errors import KubeError, NotAllowed, Unreachable
from shared.kube.resources import CONFIGMAPS, NODES, SECRETS
from shared.model.target import KubeconfigRef, Target
from shared.process import audit
from shared.process.main import StartError
from shared.process.settings import HubSettings
from tests.support.discovery import Scene, opened
from tests.support.perimeter import BESIDE_US
from tests.support.waiting import until

PLATFORM = "root:platform"
SECRET = "s3cret-of-somebody-else"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with opened(tmp_path) as scene:
        await scene.define(PLATFORM)
        yield scene


class Service:
    """Something on loopback that is none of the tenant's business; it answers the same bytes to everything."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connected = 0
        self.asked = 0
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            writer.write(self.answer)
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self


def http(body: bytes, status: str = "500 No", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def kubeconfig(server: str, *, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    return yaml.safe_dump(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
            "users": [{"name": "u", "user": user or {"token": "t"}}],
        }
    )


async def offer(scene: Scene, name: str, text: str) -> None:
    """A SyncTarget with a kubeconfig of the tenant's own making."""
    client = scene.hub.cluster(PLATFORM)
    data = {"kubeconfig": base64.b64encode(text.encode()).decode()}
    metadata = {"name": name, "namespace": "default"}
    await client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    ref = {"namespace": "default", "name": name}
    kind = {"apiVersion": SYNCTARGETS.api_version, "kind": "SyncTarget"}
    await client.create(SYNCTARGETS, {**kind, "metadata": {"name": name}, "spec": {"kubeconfigSecretRef": ref}})


async def said(scene: Scene, name: str) -> dict[str, Any]:
    """The SyncTarget, once its Ready condition says something definite."""

    async def look() -> dict[str, Any] | None:
        found = await scene.hub.cluster(PLATFORM).get(SYNCTARGETS, name)
        conditions = (found.get("status") or {}).get("conditions") or []
        return found if any(each["type"] == "Reachable" and each["status"] == "False" for each in conditions) else None

    found: dict[str, Any] = await until(look)
    return found


def everything(scene: Scene, caplog: pytest.LogCaptureFixture) -> str:
    return " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records if record.levelno >= 20)


FORMS = ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "0x7f.1", "0.0.0.0"]


@pytest.mark.parametrize("host", FORMS)
async def test_a_tenant_that_names_loopback_in_any_form_reaches_nothing_there(scene, caplog, host):
    async with Service(http(SECRET.encode())).running() as service:
        await offer(scene, "inside", kubeconfig(f"https://{host}:{service.port}"))
        before = audit.refusals["AddressNotAllowed"]
        async with scene.running(target_allow="", target_plain_http=False):
            found = await said(scene, "inside")
            entry = await scene.entry(PLATFORM, "inside")
        assert service.connected == 0
    assert entry is not None
    assert (entry.ready, entry.reason) == (False, NOT_ALLOWED)
    assert audit.refusals["AddressNotAllowed"] == before + 1
    [record] = [record for record in caplog.records if record.name == "moorage.audit"]
    assert (record.levelno, record.target) == (logging.WARNING, f"{PLATFORM}/inside")
    assert SECRET not in json.dumps(found)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "127.0.0.1."])
async def test_a_tenant_that_writes_an_address_as_nobody_does_reaches_nothing_there(host):
    async with Service(http(SECRET.encode())).running() as service:
        permit = Addresses().permit
        async with Client(Credentials(server=f"http://{host}:{service.port}"), permit=permit) as client:
            with pytest.raises(KubeError):
                await client.request("GET", "/")
        assert service.connected == 0


async def test_an_operator_that_allows_loopback_reaches_it(scene):
    await scene.offer(PLATFORM, "east")
    async with scene.running():
        await scene.ready(PLATFORM, "east")


async def test_an_operator_that_denies_a_network_has_it_denied_although_it_is_a_plain_one(scene):
    clients = TargetClients(
        Hub(scene.hub, "kcp"),
        user_agent="test",
        timeout=5.0,
        perimeter=Perimeter(Addresses(denied=networks("192.0.2.0/24"))),
    )
    await offer(scene, "inside", kubeconfig("https://192.0.2.7:6443"))
    ref = KubeconfigRef(namespace="default", name="inside")
    client = await clients.get(Target(workspace=PLATFORM, name="inside", kubeconfig=ref))
    with pytest.raises(NotAllowed, match=r"192\.0\.2\.7:6443 is at an address that targets may not have"):
        await client.list(NODES)
    await clients.close()


async def test_a_name_that_resolves_otherwise_the_next_time_leads_nowhere(scene, monkeypatch, caplog):
    """DNS rebinding: the name was fine when it was looked at, and is loopback when the connection is made."""
    answers = ["192.0.2.1", "127.0.0.1"]
    resolve = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if host != "rebind.example":
            return resolve(host, port, *more, **options)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[-1] if len(answers) == 1 else answers.pop(0), port))
        ]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    socket.getaddrinfo("rebind.example", 1)  # whoever checks a name before it is connected to sees this one
    async with Service(http(SECRET.encode())).running() as service:
        permit = Addresses().permit
        async with Client(Credentials(server=f"https://rebind.example:{service.port}"), permit=permit) as client:
            with pytest.raises(NotAllowed) as caught:
                await client.request("GET", "/")
        assert service.connected == 0
    assert "127.0.0.1" not in str(caught.value)  # what a name stands for inside is nobody's business


async def test_a_name_of_which_one_address_is_allowed_leads_to_that_one_alone(monkeypatch):
    async with Service(http(b"{}", "200 OK")).running() as service:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, service.port))
            for address in ("127.0.0.2", "127.0.0.1")
        ]
        resolve = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *more, **options: found if host == "two" else resolve(host, *more, **options),
        )
        asked: list[str] = []

        def permit(address: str) -> bool:
            asked.append(address)
            return address == "127.0.0.1"

        async with Client(Credentials(server=f"http://two:{service.port}"), permit=permit) as client:
            assert await client.request("GET", "/") == b"{}"
        assert set(asked) == {"127.0.0.1", "127.0.0.2"}


async def test_a_server_that_redirects_is_not_followed():
    async with Service(http(SECRET.encode(), "200 OK")).running() as inside:
        moved = f"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:{inside.port}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with (
            Service(moved).running() as server,
            Client(Credentials(server=f"http://127.0.0.1:{server.port}")) as client,
        ):
            with pytest.raises(KubeError, match="307"):
                await client.request("GET", "/readyz")
        assert inside.connected == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (kubeconfig("http://192.0.2.1"), "is not https"),
        (kubeconfig("https://192.0.2.1", **{"proxy-url": "http://192.0.2.2:3128"}), "proxy-url"),
        (kubeconfig("https://192.0.2.1/a/../../b"), "plain path"),
        (kubeconfig("https://192.0.2.1/?a=b"), "plain path"),
        (kubeconfig("https://192.0.2.1/#a"), "plain path"),
        (kubeconfig("https://user@192.0.2.1/"), "plain path"),
        (kubeconfig("https://192.0.2.1/%2e%2e/b"), "plain path"),
        (kubeconfig("gopher://192.0.2.1"), "not an http or https URL"),
        (kubeconfig("https://192.0.2.1", user={"exec": {"command": "/bin/sh"}}), "exec is not allowed"),
        (kubeconfig("https://192.0.2.1", user={"auth-provider": {"name": "oidc"}}), "auth-provider is not allowed"),
        (kubeconfig("https://192.0.2.1", user={"tokenFile": "/etc/passwd"}), "tokenFile names a file"),
        (kubeconfig("https://192.0.2.1", user={"client-key": "/etc/passwd"}), "client-key names a file"),
        (kubeconfig("https://192.0.2.1", **{"certificate-authority": "/etc/passwd"}), "names a file"),
    ],
)
async def test_a_tenant_whose_kubeconfig_asks_for_more_than_a_server_is_refused(scene, text, why):
    await offer(scene, "odd", text)
    async with scene.running(target_plain_http=False):
        found = await said(scene, "odd")
        entry = await scene.entry(PLATFORM, "odd")
    assert entry is not None
    assert entry.reason in (NOT_ALLOWED, NO_KUBECONFIG)
    messages = " ".join(each.get("message", "") for each in found["status"]["conditions"])
    assert why in messages
    assert "192.0.2.2" not in messages


BODIES: dict[str, bytes] = {
    "text": http(SECRET.encode(), kind="text/plain"),
    "HTML": http(f"<html>{SECRET}</html>".encode(), "502 Bad Gateway", "text/html"),
    "JSON": http(json.dumps({"message": SECRET, "reason": SECRET, "code": 500}).encode()),
    "JSON of another kind": http(json.dumps({"kind": "Secret", "apiVersion": "v1", "message": SECRET}).encode()),
    "a Status of another version": http(
        json.dumps({"kind": "Status", "apiVersion": SECRET, "message": SECRET}).encode()
    ),
    "a reason phrase": http(b"", f"500 {SECRET}"),
    "a redirect": http(b"", f"302 Found\r\nLocation: https://{SECRET}/"),
    "no HTTP": f"SSH-2.0-{SECRET}\r\n".encode(),
    "a broken head": f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n".encode(),
    "a chunk that is none": f"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n".encode(),
    "no gzip": f"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: 23\r\n\r\n{SECRET}".encode(),
    "success with text": http(SECRET.encode(), "200 OK", "text/plain"),
    "success with JSON": http(json.dumps({"items": SECRET, "gitVersion": [SECRET]}).encode(), "200 OK"),
}


@pytest.mark.parametrize("body", BODIES)
async def test_a_tenant_learns_nothing_of_what_answers_but_a_status(scene, caplog, body):
    caplog.set_level(logging.INFO)
    async with Service(BODIES[body]).running() as service:
        await offer(scene, "probe", kubeconfig(f"http://127.0.0.1:{service.port}"))
        async with scene.running():
            await until(lambda: service.asked > 5)
            entry = await scene.entry(PLATFORM, "probe")
            found = await scene.hub.cluster(PLATFORM).get(SYNCTARGETS, "probe")
    shown = f"{found} {entry} {everything(scene, caplog)}"
    assert SECRET not in shown


@pytest.mark.parametrize("body", BODIES)
async def test_no_error_of_a_client_holds_what_was_answered(body):
    """What binding and status repeat comes from these errors, whatever the request was."""
    calls: list[Callable[[Client], Any]] = [
        lambda client: client.get(CONFIGMAPS, "a", "b", type=Target),
        lambda client: client.list(NODES, type=Target),
        lambda client: client.request("GET", "/readyz", most=10),
    ]
    async with Service(BODIES[body]).running() as service:
        credentials = Credentials(server=f"http://127.0.0.1:{service.port}")
        async with Client(credentials, permit=BESIDE_US.addresses.permit) as client:
            for call in calls:
                with pytest.raises(KubeError) as caught:
                    await call(client)
                assert SECRET not in f"{caught.value} {caught.value!r}"


async def test_a_status_that_is_long_or_paints_the_terminal_is_cut_and_cleaned(scene):
    status = {"kind": "Status", "apiVersion": "v1", "message": "\x1b[2J\n" + "x" * 100_000, "reason": "r" * 10_000}
    async with Service(http(json.dumps(status).encode())).running() as service:
        await offer(scene, "loud", kubeconfig(f"http://127.0.0.1:{service.port}"))
        async with scene.running():
            found = await said(scene, "loud")
    for each in found["status"]["conditions"]:
        assert each.get("message", "").isprintable()
        assert len(each.get("message", "").encode()) < 1300


@pytest.mark.parametrize("token", ["a\nb", "a\r\nX-Remote-User: admin", "a\x00b"])
async def test_a_token_that_would_write_headers_of_its_own_is_sent_nowhere(token):
    async with Service(http(b"{}", "200 OK")).running() as service:
        async with Client(Credentials(server=f"http://127.0.0.1:{service.port}", token=token)) as client:
            with pytest.raises(Unreachable) as caught:
                await client.request("GET", "/readyz")
        assert service.asked == 0
    assert "admin" not in str(caught.value)


async def test_a_body_that_unpacks_to_gigabytes_is_cut_off():
    import gzip

    packed = gzip.compress(b"x" * (64 << 20), 9)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with (
        Service(head + packed).running() as service,
        Client(Credentials(server=f"http://127.0.0.1:{service.port}")) as client,
    ):
        with pytest.raises(Unreachable):
            await client.bounded(1 << 20).request("GET", "/version")


@pytest.mark.parametrize("text", ["10.0.0.0/99", "everywhere", "10.0.0.1/8"])
def test_an_operator_whose_networks_are_none_is_told_at_start(text):
    for settings in (HubSettings(target_deny=text), HubSettings(target_allow=text)):
        with pytest.raises(StartError, match="target_allow and target_deny"):
            perimeter(settings)
