"""TLS with certificates of the test's own, and credential plugins that are real programs."""

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from shared.hub.access_providers import parsed
from shared.kube.auth.kubeconfig import Credentials, load_kubeconfig
from shared.kube.auth.program import CredentialProgram
from shared.kube.client import Client
from shared.kube.errors import ApiError, ConfigError, Unreachable
from tests.support.issuing import Issuing

PLUGIN = """
import json, pathlib, sys
asked = pathlib.Path(sys.argv[1])
asked.write_text(asked.read_text() + "x" if asked.exists() else "x")
status = json.loads(sys.argv[2].replace("COUNT", str(len(asked.read_text()))))
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Path:
    """An authority, and a certificate for 127.0.0.1 that serves and identifies alike."""
    home = tmp_path_factory.mktemp("pki")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    ca = ("-keyout", f"{home}/ca.key", "-out", f"{home}/ca.crt", "-subj", "/CN=test authority", "-days", "2")
    openssl("req", "-x509", *curve, *ca)
    openssl("req", *curve, "-keyout", f"{home}/us.key", "-out", f"{home}/us.csr", "-subj", "/CN=us")
    (home / "extensions").write_text("subjectAltName=IP:127.0.0.1,DNS:kcp.test\n")
    signing = ("-CA", f"{home}/ca.crt", "-CAkey", f"{home}/ca.key", "-CAcreateserial", "-days", "2")
    openssl(
        "x509", "-req", "-in", f"{home}/us.csr", *signing, "-extfile", f"{home}/extensions", "-out", f"{home}/us.crt"
    )
    return home


@pytest.fixture
async def secure(pki) -> AsyncIterator[Credentials]:
    """A server that tells who its client is; credentials that hold its address and authority only."""

    async def who(request: web.Request) -> web.Response:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peercert") or {}
        names = [value for part in peer.get("subject", ()) for key, value in part if key == "commonName"]
        return web.json_response({"names": names, "token": request.headers.get("Authorization")})

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "us.crt", pki / "us.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    app = web.Application()
    app.router.add_get("/who", who)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield Credentials(server=f"https://127.0.0.1:{runner.addresses[0][1]}", ca=(pki / "ca.crt").read_bytes())
    await runner.cleanup()


async def ask(credentials: Credentials) -> str:
    async with Client(credentials, timeout=5) as client:
        return (await client.request("GET", "/who")).decode()


async def test_a_client_certificate_identifies(secure, pki):
    with_certificate = replace(
        secure, certificate=(pki / "us.crt").read_bytes(), key=(pki / "us.key").read_bytes(), token="t"
    )
    assert await ask(with_certificate) == '{"names": ["us"], "token": "Bearer t"}'
    assert await ask(replace(secure, tls_server_name="kcp.test")) == '{"names": [], "token": null}'


@pytest.mark.parametrize(
    ("change", "reachable"),
    [({"ca": None}, False), ({"ca": None, "insecure": True}, True), ({"tls_server_name": "another.test"}, False)],
)
async def test_an_authority_or_name_that_is_not_ours_is_unreachable_unless_insecure(secure, change, reachable):
    if reachable:
        assert "names" in await ask(replace(secure, **change))
    else:
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            await ask(replace(secure, **change))


async def test_a_proxy_carries_tls_to_the_server_and_cannot_read_it(secure, pki):
    asked: list[bytes] = []
    carried: list[bytes] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            carried.append(data)
            writer.write(data)
        writer.close()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        host, _, port = asked[-1].split()[1].decode().rpartition(":")
        there_reader, there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(carry(reader, there), carry(there_reader, writer), return_exceptions=True)

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        through = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await ask(replace(secure, proxy=through, token="s3cret")) == '{"names": [], "token": "Bearer s3cret"}'
        with pytest.raises(Unreachable, match="certificate is not trusted"):
            await ask(replace(secure, proxy=through, tls_server_name="another.test"))
    assert asked[0].startswith(f"CONNECT {secure.server.removeprefix('https://')} HTTP/1.1".encode())
    assert b"s3cret" not in b"".join(carried)


def with_plugin(home: Path, server: str, status: str, **fields: object) -> Path:
    (home / "plugin.py").write_text(PLUGIN)
    execute = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(home / "plugin.py"), str(home / "asked"), status],
        **fields,
    }
    path = home / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "x",
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                "clusters": [{"name": "x", "cluster": {"server": server}}],
                "users": [{"name": "x", "user": {"exec": execute}}],
            }
        )
    )
    return path


async def test_a_plugin_is_asked_once_and_again_after_its_token_is_refused(server, reply, tmp_path):
    credentials = load_kubeconfig(with_plugin(tmp_path, server.url, '{"token": "number-COUNT"}'))
    server.on("GET", "/version", reply({}), reply({}), reply({"reason": "Unauthorized"}, 401), reply({}))
    async with Client(credentials) as client:
        await asyncio.gather(client.request("GET", "/version"), client.request("GET", "/version"))
        await client.request("GET", "/version")
    tokens = [seen.headers["Authorization"] for seen in server.seen]
    assert tokens == ["Bearer number-1"] * 3 + ["Bearer number-2"]
    assert "number" not in repr(credentials)


async def test_a_token_that_is_refused_twice_is_an_error(server, reply, tmp_path):
    credentials = load_kubeconfig(with_plugin(tmp_path, server.url, '{"token": "t"}'))
    server.on("GET", "/version", reply({"reason": "Unauthorized"}, 401))
    async with Client(credentials) as client:
        with pytest.raises(ApiError) as caught:
            await client.request("GET", "/version")
    assert caught.value.unauthorized
    assert len(server.seen) == 2


async def test_a_token_is_renewed_before_it_expires(server, reply, tmp_path):
    status = '{"token": "number-COUNT", "expirationTimestamp": "2020-01-01T00:00:00Z"}'
    server.on("GET", "/version", reply({}))
    async with Client(load_kubeconfig(with_plugin(tmp_path, server.url, status))) as client:
        await client.request("GET", "/version")
        await client.request("GET", "/version")
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Bearer number-1", "Bearer number-2"]


async def test_a_plugin_may_issue_a_certificate(secure, pki, tmp_path):
    certificate, key = ((pki / name).read_text() for name in ("us.crt", "us.key"))
    status = {"clientCertificateData": certificate, "clientKeyData": key}
    path = with_plugin(tmp_path, secure.server, json.dumps(status))
    assert await ask(replace(load_kubeconfig(path), ca=secure.ca)) == '{"names": ["us"], "token": null}'


@pytest.mark.parametrize("fields", [{"command": "no-such-program-anywhere"}, {"args": ["-c", "print('s3cret')"]}])
async def test_a_plugin_that_fails_is_a_config_error_without_its_output(server, tmp_path, fields):
    path = with_plugin(tmp_path, server.url, "{}", **fields)
    async with Client(load_kubeconfig(path)) as client:
        with pytest.raises(ConfigError, match="credential plugin") as caught:
            await client.request("GET", "/version")
    assert "s3cret" not in str(caught.value)


def test_kubernetes_asyncio_is_not_loaded_without_a_plugin():
    code = "import sys, shared.kube.informer, shared.kube.apis; sys.exit('kubernetes_asyncio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


async def test_a_program_of_an_access_provider_may_issue_a_certificate(secure, pki, tmp_path):
    issuing = Issuing(tmp_path)
    certificate, key = ((pki / name).read_text() for name in ("us.crt", "us.key"))
    issuing.does(f"issue(clientCertificateData={certificate!r}, clientKeyData={key!r})")
    (provider,) = parsed(issuing.listed("127.0.0.1")).listed
    program = CredentialProgram(provider.command, secure.server, provider.command.asking(None))
    assert await ask(replace(secure, plugin=program)) == '{"names": ["us"], "token": null}'
    issuing.does(f"issue(clientCertificateData={certificate!r}, clientKeyData='none')")
    broken = CredentialProgram(provider.command, secure.server, provider.command.asking(None))
    with pytest.raises(ConfigError, match="do not load or do not belong together") as refusal:
        await ask(replace(secure, plugin=broken))
    assert "BEGIN" not in str(refusal.value)
