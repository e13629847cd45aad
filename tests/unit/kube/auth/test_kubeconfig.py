"""Kubeconfigs and in-cluster credentials."""

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from shared.kube.auth.kubeconfig import Credentials, default, in_cluster, load_kubeconfig
from shared.kube.errors import ConfigError


def kubeconfig(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any) -> str:
    return yaml.safe_dump(
        {
            "current-context": "main",
            "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://kcp:6443/clusters/root/", **(cluster or {})}}],
            "users": [{"name": "u", "user": user or {}}],
            **more,
        }
    )


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_reads_inline_material():
    text = kubeconfig(
        {"certificate-authority-data": b64(b"CA"), "tls-server-name": "kcp", "proxy-url": "http://proxy:3128"},
        {"client-certificate-data": b64(b"CERT"), "client-key-data": b64(b"KEY"), "token": "t"},
    )
    assert load_kubeconfig(text) == Credentials(
        server="https://kcp:6443/clusters/root",
        ca=b"CA",
        token="t",
        certificate=b"CERT",
        key=b"KEY",
        tls_server_name="kcp",
        proxy="http://proxy:3128",
        namespace="shop",
    )


def test_reads_files_relative_to_the_kubeconfig_and_prefers_inline_data(tmp_path):
    for name in ("ca", "crt", "key"):
        (tmp_path / name).write_bytes(name.encode())
    path = tmp_path / "config"
    path.write_text(
        kubeconfig(
            {"certificate-authority": "ca", "insecure-skip-tls-verify": True},
            {"client-certificate": "crt", "client-key": "key", "client-key-data": b64(b"K"), "tokenFile": "token"},
        )
    )
    found = load_kubeconfig(str(path))
    assert (found.ca, found.certificate, found.key) == (b"ca", b"crt", b"K")
    assert (found.token_file, found.insecure) == (tmp_path / "token", True)
    assert load_kubeconfig(path) == found


def test_json_and_bytes_are_kubeconfigs_themselves():
    data = yaml.safe_load(kubeconfig())
    encoded = msgspec.json.encode(data)
    assert load_kubeconfig(encoded) == load_kubeconfig(encoded.decode()) == load_kubeconfig(kubeconfig())


def test_a_named_context_is_taken_instead_of_the_current_one():
    contexts = [{"name": "other", "context": {"cluster": "c"}}]
    assert load_kubeconfig(kubeconfig(contexts=contexts), "other").namespace == "default"


@pytest.mark.parametrize(
    ("text", "context", "says"),
    [
        (": : :\n- [", None, "kubeconfig is not YAML, line"),
        ("- a\n- b\n", None, "is not a kubeconfig"),
        ("{}\n", None, "has no current-context"),
        (kubeconfig(), "nope", "has no context 'nope'"),
        (kubeconfig(clusters=None), None, "has no cluster 'c'"),
        (kubeconfig(users=[]), None, "has no user 'u'"),
        (kubeconfig({"server": "kcp:6443"}), None, "server is not an http or https URL"),
        (kubeconfig({"certificate-authority-data": "?"}), None, "certificate-authority-data is not base64"),
        (kubeconfig({"proxy-url": "socks5://p"}), None, "proxy-url is not an http or https URL"),
        (kubeconfig(user={"client-certificate-data": b64(b"C")}), None, "needs its key"),
        (
            kubeconfig(user={"tokenFile": "/etc/shadow"}),
            None,
            "tokenFile names a file, which a kubeconfig given as text",
        ),
        (kubeconfig({"certificate-authority": "ca"}), None, "certificate-authority names a file"),
        (kubeconfig(user={"exec": {"command": "sh"}}), None, "exec is not allowed"),
        (kubeconfig(user={"auth-provider": {"name": "oidc"}}), None, "auth-provider is not allowed"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(text, context, says):
    with pytest.raises(ConfigError, match=says) as caught:
        load_kubeconfig(text, context)
    assert "\n" not in str(caught.value)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 200_000, "is nested too deeply"),
        ("{a: " * 40 + "}" * 40, "is nested too deeply"),
        ("\n".join(f"{' ' * depth}a:" for depth in range(40)), "is nested too deeply"),
        ("a: [" + "0," * 20_000 + "]", "has too many values"),
        ("a: " + "x" * 300_000, "is larger than 256 KiB"),
        (BOMB + kubeconfig(), "has anchors or aliases"),
        (kubeconfig() + "a: !!python/name:os.system x\n", "has tags"),
        (kubeconfig() + "a: !!int 1:1:1\n", "has tags"),
        (b"a: \x80\x81\n", "is not YAML"),
        (kubeconfig() + "a: \x00\n", "is not YAML"),
        (kubeconfig({"server": ["https://kcp"]}), "server is not text"),
        (kubeconfig(user={"token": ["t"] * 10}), "token is not text"),
        (kubeconfig(contexts=[{"name": "main", "context": {"cluster": ["c"]}}]), "cluster is not text"),
        (kubeconfig(contexts=True), "has no context 'main'"),
        (kubeconfig(**{"current-context": "x" * 5000}), "has no context 'x{100}'"),
        (kubeconfig({"certificate-authority-data": "\u00e4"}), "certificate-authority-data is not base64"),
    ],
)
def test_hostile_text_is_refused_in_one_sentence(text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        load_kubeconfig(text if isinstance(text, bytes) else text.encode())
    assert len(str(caught.value)) < 300
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", ["2001-99-99", "9" * 5000, "1:1:1", "0x1f"])
def test_text_that_looks_like_a_number_or_a_date_stays_text(value):
    text = f"{kubeconfig(user={'token': 'TOKEN'})}unused: {value}\n".replace("TOKEN", value)
    assert load_kubeconfig(text).token == value


NO_ADDRESS = ["https://host:99999", "https://host:port", "https://[::1", "https://", "https://:443", "ftp://host"]


@pytest.mark.parametrize(
    ("key", "address"),
    [
        *((key, address) for key in ("server", "proxy-url") for address in NO_ADDRESS),
        ("server", "https://host:0"),
        ("server", "https://user:password@host"),
        ("server", "https://host/?to=elsewhere"),
        ("server", "https://host/#part"),
        *(
            ("server", address)
            for address in (
                "https://host?",
                "https://host/a/../b",
                "https://host/..",
                "https://host/./b",
                "https://host//b",
                "https://host/%2e%2e/b",
                "https://host/a%2fb",
                "https://host\\@elsewhere/",
                "https://@host",
                "https://host/a b",
                "https://host/a\nb",
                "https://[fe80::1%25eth0]",
                "https://host/" + "a" * 1100,
            )
        ),
    ],
)
def test_an_address_that_cannot_be_connected_to_is_refused(key, address):
    with pytest.raises(ConfigError, match=f"kubeconfig: {key} ") as caught:
        load_kubeconfig(kubeconfig({key: address}))
    assert "password" not in str(caught.value)


def test_files_of_our_own_may_have_anchors(tmp_path):
    path = tmp_path / "config"
    path.write_text("unused: &a [x]\nagain: *a\n" + kubeconfig())
    assert load_kubeconfig(path).server == "https://kcp:6443/clusters/root"
    path.write_text("a: 2001-99-99\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_kubeconfig(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere cannot be read: No such file"):
        load_kubeconfig(tmp_path / "nowhere")


def test_neither_repr_nor_errors_show_secrets():
    text = kubeconfig(user={"token": "s3cret"}).replace("token: s3cret", "token: s3cret: [")
    with pytest.raises(ConfigError) as caught:
        load_kubeconfig(text)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    shown = repr(load_kubeconfig(kubeconfig({"insecure-skip-tls-verify": True}, {"token": "s3cret"})))
    assert shown == "Credentials(server='https://kcp:6443/clusters/root', by='token', insecure)"
    assert repr(Credentials(server="http://x")) == "Credentials(server='http://x', by='nothing')"


@pytest.fixture
def service_account(tmp_path) -> Path:
    for name, text in (("token", "t"), ("ca.crt", "CA"), ("namespace", "moorage-system\n")):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_in_cluster_reads_the_service_account(service_account, host, server):
    assert in_cluster(service_account, {"KUBERNETES_SERVICE_HOST": host}) == Credentials(
        server=server,
        ca=b"CA",
        ca_file=service_account / "ca.crt",
        token_file=service_account / "token",
        namespace="moorage-system",
    )


def test_in_cluster_says_when_it_is_not(tmp_path):
    with pytest.raises(ConfigError, match="KUBERNETES_SERVICE_HOST is not set"):
        in_cluster(tmp_path, {})
    with pytest.raises(ConfigError, match="token does not exist"):
        in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "h"})


def test_default_merges_the_files_of_kubeconfig_and_the_first_wins(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"token": "first"}}]}))
    second.write_text(kubeconfig(user={"token": "second"}))
    environment = {"KUBECONFIG": f"{tmp_path / 'absent'}:{first}:{second}"}
    found = default(environment=environment)
    assert (found.token, found.server) == ("first", "https://kcp:6443/clusters/root")


def test_default_falls_back_to_the_home_directory(tmp_path):
    with pytest.raises(ConfigError, match="KUBECONFIG is not set, not in a cluster, and no "):
        default(environment={"HOME": str(tmp_path)})
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(kubeconfig())
    assert default(environment={"HOME": str(tmp_path)}).namespace == "shop"


def test_default_says_when_kubeconfig_names_nothing(tmp_path):
    with pytest.raises(ConfigError, match="names no file that exists"):
        default(environment={"KUBECONFIG": str(tmp_path / "absent")})


def test_default_prefers_the_cluster_to_the_home_directory(tmp_path):
    with pytest.raises(ConfigError, match="not in a cluster: "):
        default(environment={"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "h"})
