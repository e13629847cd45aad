"""Where an API server is and who we are to it: kubeconfigs and in-cluster credentials.

Static credentials are read here. What needs a program or an identity provider is left to `plugin.py`.
"""

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.kube.auth.plugin import Issuer, Plugin
from shared.kube.errors import ConfigError
from shared.kube.http.origin import split

_QUOTED = 100  # characters of a name that a message repeats; a stranger chose it
_LONGEST_SERVER = 1024  # characters
_SERVER = re.compile(
    r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?(/(?!\.{1,2}(/|$))[A-Za-z0-9._~:@-]+)*/?", re.IGNORECASE
)
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Credentials:
    """An API server and our identity there. Certificates and keys are PEM; `repr` shows no secret.

    Files are read again when they change; `ca` is what was in `ca_file` at first.
    """

    server: str
    ca: bytes | None = None
    ca_file: Path | None = None
    token: str = ""
    token_file: Path | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    insecure: bool = False
    tls_server_name: str = ""
    proxy: str = ""
    namespace: str = "default"
    plugin: Issuer | None = None

    @property
    def place(self) -> str:
        """A digest of where these lead, and of whom that is by its authority; who we are there is not in it."""
        where = (self.server.rstrip("/").lower().encode(), self.ca or b"", self.proxy.encode())
        return hashlib.sha256(b"\0".join(where)).hexdigest()[:32]

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
    ours, and it is read within bounds (see `documents`).

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
        ca_file=directory / "ca.crt",
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
    from shared.kube.auth.untrusted import DocumentError, load_trusted, load_untrusted  # a pod needs no YAML

    try:
        data = load_untrusted(text) if directory is None else load_trusted(text)
    except DocumentError as error:
        raise ConfigError(f"{name} {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name} is not a kubeconfig")
    return _Document(name, data, directory)


def _credentials(documents: list[_Document], context: str | None) -> Credentials:
    wanted = context or next((name for each in documents if (name := _text(each, each.data, "current-context"))), "")
    if not wanted:
        raise ConfigError(f"{documents[0].name} has no current-context, and none was asked for")
    context_home, chosen = _entry(documents, "context", wanted)
    cluster_home, cluster = _entry(documents, "cluster", _text(context_home, chosen, "cluster"))
    user_name = _text(context_home, chosen, "user")
    user_home, user = _entry(documents, "user", user_name) if user_name else (cluster_home, {})
    found = Credentials(
        server=_url(cluster_home, cluster, "server").rstrip("/"),
        ca=_material(cluster_home, cluster, "certificate-authority"),
        ca_file=_material_file(cluster_home, cluster, "certificate-authority"),
        token=_text(user_home, user, "token"),
        token_file=_file(user_home, user, "tokenFile"),
        certificate=_material(user_home, user, "client-certificate"),
        key=_material(user_home, user, "client-key"),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        tls_server_name=_text(cluster_home, cluster, "tls-server-name"),
        proxy=_url(cluster_home, cluster, "proxy-url") if cluster.get("proxy-url") else "",
        namespace=_text(context_home, chosen, "namespace") or "default",
        plugin=_plugin(user_home, cluster, user),
    )
    if (found.certificate is None) != (found.key is None):
        raise ConfigError(f"{user_home.name}: a client certificate needs its key, and a key its certificate")
    return found


def _entry(documents: list[_Document], kind: str, name: str) -> tuple[_Document, dict[str, Any]]:
    """The named context, cluster or user: the first wins, as kubectl merges files."""
    for document in documents:
        entries = document.data.get(f"{kind}s")
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("name") == name:
                value = entry.get(kind)
                return document, value if isinstance(value, dict) else {}
    raise ConfigError(f"{documents[0].name} has no {kind} {name[:_QUOTED]!r}")


def _text(document: _Document, section: dict[str, Any], key: str) -> str:
    """The text at `key`, empty where it says nothing. `str` of what is no text could be of any size."""
    value = section.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{document.name}: {key} is not text")
    return value


def _url(document: _Document, section: dict[str, Any], key: str) -> str:
    """An address that can be connected to. Who we are there is said elsewhere, so it holds no user and no query.

    Paths are appended to a server as it is written, so that it must be what it seems to be: no `..`, no escapes.
    """
    text = _text(document, section, key)
    try:
        split(text)
    except ValueError:
        raise ConfigError(f"{document.name}: {key} is not an http or https URL with a host") from None
    if key == "server" and not is_plain_server(text):
        raise ConfigError(f"{document.name}: {key} has more than a host, a port and a plain path")
    return text


def is_plain_server(text: str) -> bool:
    """Whether a URL has a host, a port and a path without `..` and escapes, and nothing else."""
    try:
        split(text)
    except ValueError:
        return False
    return len(text) <= _LONGEST_SERVER and _SERVER.fullmatch(text) is not None


def _file(document: _Document, section: dict[str, Any], key: str) -> Path | None:
    value = _text(document, section, key)
    if not value:
        return None
    if document.directory is None:
        raise ConfigError(f"{document.name}: {key} names a file, which a kubeconfig given as text may not")
    return document.directory / Path(value).expanduser()


def _material(document: _Document, section: dict[str, Any], key: str) -> bytes | None:
    """PEM from `<key>-data` (base64), which wins as in kubectl, or from the file named by `<key>`."""
    if data := _text(document, section, f"{key}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except ValueError:
            raise ConfigError(f"{document.name}: {key}-data is not base64") from None
    path = _file(document, section, key)
    return _read_file(path) if path else None


def _material_file(document: _Document, section: dict[str, Any], key: str) -> Path | None:
    """The file that `_material` was read from; None where it was not."""
    return None if section.get(f"{key}-data") else _file(document, section, key)


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
