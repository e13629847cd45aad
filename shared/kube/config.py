"""Where an API server is and who we are to it: kubeconfigs and in-cluster credentials.

Static credentials are read here. What needs a program or an identity provider is left to `plugin.py`.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.kube.errors import ConfigError
from shared.kube.plugin import Plugin

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Credentials:
    """An API server and our identity there. Certificates and keys are PEM; `repr` shows no secret."""

    server: str
    ca: bytes | None = None
    token: str = ""
    token_file: Path | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    insecure: bool = False
    tls_server_name: str = ""
    proxy: str = ""
    namespace: str = "default"
    plugin: Plugin | None = None

    def __repr__(self) -> str:
        kinds = {
            "token": self.token,
            "token file": self.token_file,
            "certificate": self.certificate,
            "plugin": self.plugin,
        }
        by = ", ".join(kind for kind, value in kinds.items() if value) or "nothing"
        return f"Credentials(server={self.server!r}, by={by!r}{', insecure' if self.insecure else ''})"


@dataclass(frozen=True, slots=True)
class _Document:
    """One kubeconfig. `directory` is what its relative paths start from; without one it may name no files at all."""

    name: str
    data: dict[str, Any]
    directory: Path | None


def load_kubeconfig(path_or_text: Path | str | bytes, context: str | None = None) -> Credentials:
    """Credentials from a kubeconfig, for `context` or its current one.

    A `Path`, or a string of one line that does not begin with `{`, is a file, and is trusted. Bytes and other strings
    are the kubeconfig itself. That may come from a tenant's Secret, so it may neither run programs nor name files of
    ours.

    Raises ConfigError: unreadable, malformed, no such context, or not allowed.
    """
    if isinstance(path_or_text, Path) or (isinstance(path_or_text, str) and _is_path(path_or_text)):
        return _credentials([_read_document(Path(path_or_text).expanduser())], context)
    return _credentials([_parse("kubeconfig", path_or_text, None)], context)


def in_cluster(directory: Path = _SERVICE_ACCOUNT, environment: Mapping[str, str] = os.environ) -> Credentials:
    """Credentials of the pod's service account. Raises ConfigError outside a pod."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError("not in a cluster: KUBERNETES_SERVICE_HOST is not set")
    token = directory / "token"
    if not token.is_file():
        raise ConfigError(f"not in a cluster: {token} does not exist")
    namespace = directory / "namespace"
    return Credentials(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca=_read_file(directory / "ca.crt"),
        token_file=token,
        namespace=namespace.read_text().strip() if namespace.is_file() else "default",
    )


def default(context: str | None = None, environment: Mapping[str, str] = os.environ) -> Credentials:
    """Credentials from $KUBECONFIG (several files are merged, the first wins), else in-cluster, else ~/.kube/config."""
    if listed := environment.get("KUBECONFIG"):
        paths = [Path(path).expanduser() for path in listed.split(os.pathsep) if path]
        found = [path for path in paths if path.is_file()]
        if not found:
            raise ConfigError(f"KUBECONFIG names no file that exists: {listed}")
        return _credentials([_read_document(path) for path in found], context)
    if environment.get("KUBERNETES_SERVICE_HOST") and context is None:
        return in_cluster(environment=environment)
    home = Path(environment.get("HOME", "~")).expanduser() / ".kube" / "config"
    if not home.is_file():
        raise ConfigError(f"no Kubernetes credentials: KUBECONFIG is not set, not in a cluster, and no {home}")
    return _credentials([_read_document(home)], context)


def _is_path(text: str) -> bool:
    return "\n" not in text and not text.lstrip().startswith("{")


def _read_document(path: Path) -> _Document:
    return _parse(str(path), _read_file(path), path.resolve().parent)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _parse(name: str, text: bytes | str, directory: Path | None) -> _Document:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader, the C one where it was built
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{name} is not YAML{where}") from None  # the cause would quote the text, tokens included
    if not isinstance(data, dict):
        raise ConfigError(f"{name} is not a kubeconfig")
    return _Document(name, data, directory)


def _credentials(documents: list[_Document], context: str | None) -> Credentials:
    wanted = context or next((str(d.data["current-context"]) for d in documents if d.data.get("current-context")), "")
    if not wanted:
        raise ConfigError(f"{documents[0].name} has no current-context, and none was asked for")
    _, chosen = _entry(documents, "context", wanted)
    cluster_home, cluster = _entry(documents, "cluster", str(chosen.get("cluster", "")))
    user_home, user = _entry(documents, "user", str(chosen["user"])) if chosen.get("user") else (cluster_home, {})
    server = str(cluster.get("server") or "").rstrip("/")
    if urlsplit(server).scheme not in {"http", "https"}:
        raise ConfigError(f"{cluster_home.name}: cluster {chosen.get('cluster')!r} has no http or https server")
    proxy = str(cluster.get("proxy-url") or "")
    if proxy and urlsplit(proxy).scheme not in {"http", "https"}:
        raise ConfigError(f"{cluster_home.name}: only http and https proxies are supported")
    found = Credentials(
        server=server,
        ca=_material(cluster_home, cluster, "certificate-authority"),
        token=str(user.get("token") or ""),
        token_file=_file(user_home, user, "tokenFile"),
        certificate=_material(user_home, user, "client-certificate"),
        key=_material(user_home, user, "client-key"),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy=proxy,
        namespace=str(chosen.get("namespace") or "default"),
        plugin=_plugin(user_home, cluster, user),
    )
    if (found.certificate is None) != (found.key is None):
        raise ConfigError(f"{user_home.name}: a client certificate needs its key, and a key its certificate")
    return found


def _entry(documents: list[_Document], kind: str, name: str) -> tuple[_Document, dict[str, Any]]:
    """The named context, cluster or user: the first wins, as kubectl merges files."""
    for document in documents:
        for entry in document.data.get(f"{kind}s") or ():
            if isinstance(entry, dict) and entry.get("name") == name:
                value = entry.get(kind)
                return document, value if isinstance(value, dict) else {}
    raise ConfigError(f"{documents[0].name} has no {kind} {name!r}")


def _file(document: _Document, section: dict[str, Any], key: str) -> Path | None:
    value = section.get(key)
    if not value:
        return None
    if document.directory is None:
        raise ConfigError(f"{document.name}: {key} names a file, which a kubeconfig given as text may not")
    return document.directory / Path(str(value)).expanduser()


def _material(document: _Document, section: dict[str, Any], key: str) -> bytes | None:
    """PEM from `<key>-data` (base64), which wins as in kubectl, or from the file named by `<key>`."""
    if data := section.get(f"{key}-data"):
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error:
            raise ConfigError(f"{document.name}: {key}-data is not base64") from None
    path = _file(document, section, key)
    return _read_file(path) if path else None


def _plugin(document: _Document, cluster: dict[str, Any], user: dict[str, Any]) -> Plugin | None:
    dynamic = {key: user[key] for key in ("exec", "auth-provider") if user.get(key)}
    if not dynamic:
        return None
    if document.directory is None:
        raise ConfigError(f"{document.name}: {' and '.join(dynamic)} is not allowed in a kubeconfig given as text")
    # Only what the plugin needs: the loader reads certificates of the cluster from files again otherwise.
    alone = {
        "current-context": "plugin",
        "contexts": [{"name": "plugin", "context": {"cluster": "plugin", "user": "plugin"}}],
        "clusters": [{"name": "plugin", "cluster": {"server": cluster["server"]}}],
        "users": [{"name": "plugin", "user": dynamic}],
    }
    return Plugin(alone, "plugin", document.directory)
