"""Access providers of ClusterProfiles (KEP-4322, KEP-5339): programs of the operator's that issue credentials.

Which server the credentials go to is said by a profile, so by whoever writes profiles. The operator's file says of each
provider, beside its program, whose profiles may name it, and which servers its credentials may be sent to. All that a
profile says is compared with that each time that it is read; nothing that a SyncTarget says is.
"""

import asyncio
import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from shared.hub.servers import Server, is_listed, server
from shared.kube.auth.kubeconfig import Credentials, is_plain_server
from shared.kube.auth.program import AT_ONCE, VERSIONS, CredentialCommand, CredentialProgram
from shared.kube.errors import ConfigError, NotAllowed
from shared.kube.http.origin import split
from shared.process.main import StartError

NO_ACCESS: Final = "none"
"""The version of the access that a profile gives which names no provider of ours."""
_EXTENSION: Final = "client.authentication.k8s.io/exec"
_LONGEST_CONFIG: Final = 16 << 10  # characters of what a profile may have handed to a program
_LONGEST_AUTHORITY: Final = 128 << 10  # bytes
_NOT_FOLLOWED: Final = ("proxy-url", "certificate-authority", "tls-server-name", "insecure-skip-tls-verify")


class _Settings(Protocol):
    @property
    def access_providers(self) -> str: ...


class _Variable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    value: str


class _Exec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As client-go has it; what is only for people at a terminal is taken and not used."""

    command: str
    api_version: str = VERSIONS[0]
    args: tuple[str, ...] = ()
    env: tuple[_Variable, ...] | None = ()
    provide_cluster_info: bool = False
    config: Any = None
    interactive_mode: str = "Never"
    install_hint: str = ""


class _Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    name: str
    exec_config: _Exec
    servers: tuple[str, ...]
    profiles: tuple[str, ...]
    profile_config: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    providers: tuple[_Provider, ...]


@dataclass(frozen=True, slots=True)
class AccessProvider:
    """Its program, the servers that its credentials may go to, and the places whose profiles may name it.

    Each place has room of its own for runs: profiles for which the program hangs keep those of no other place waiting.
    """

    name: str
    command: CredentialCommand
    servers: tuple[Server, ...]
    places: Mapping[str, asyncio.Semaphore]
    tells_cluster: bool = False
    config: Any = None
    profile_config: bool = False


@dataclass(frozen=True, slots=True)
class ProfileAccess:
    """What a profile says of the access by one of our providers; none of it has been judged."""

    provider: AccessProvider
    cluster: Mapping[str, Any]
    room: asyncio.Semaphore

    @property
    def version(self) -> str:
        """What tells this access from any other."""
        text = json.dumps([self.provider.name, self.cluster], sort_keys=True, default=str)
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]

    def credentials(self) -> Credentials:
        """Who we are there; the program runs once they are used.

        Raises ConfigError for what cannot be used, NotAllowed for where the operator lets no credentials of it go.
        """
        cluster, name = self.cluster, self.provider.name
        about = f"what the ClusterProfile says of access provider {name}"
        said = next((each for each in _NOT_FOLLOWED if cluster.get(each)), "")
        if said:
            raise NotAllowed(f"{about} has {said}, which is not followed")
        url = cluster.get("server")
        if not isinstance(url, str) or not is_plain_server(url):
            raise ConfigError(f"{about} has no server with a host, a port and a plain path")
        origin, path = split(url)
        if not is_listed(self.provider.servers, origin, path):
            raise NotAllowed(f"credentials of access provider {name} may not go to the server of the ClusterProfile")
        authority = _authority(cluster.get("certificate-authority-data"), about)
        asked = self.provider.command.asking(self._told(url) if self.provider.tells_cluster else None)
        program = CredentialProgram(self.provider.command, url, asked, self.room)
        return Credentials(server=url.rstrip("/"), ca=authority, plugin=program)

    def _told(self, url: str) -> dict[str, Any]:
        """The cluster as the program is told of it."""
        told: dict[str, Any] = {"server": url}
        if authority := self.cluster.get("certificate-authority-data"):
            told["certificate-authority-data"] = authority
        config = self.provider.config
        if self.provider.profile_config:
            config = self._extension() or config
        return told if config is None else {**told, "config": config}

    def _extension(self) -> Any:
        """What the profile would have handed to the program, where the operator lets it."""
        extensions = self.cluster.get("extensions")
        for each in extensions if isinstance(extensions, list) else ():
            if isinstance(each, dict) and each.get("name") == _EXTENSION:
                if len(json.dumps(each.get("extension"))) > _LONGEST_CONFIG:
                    raise ConfigError(f"what the ClusterProfile hands to a program is over {_LONGEST_CONFIG >> 10} KiB")
                return each.get("extension")
        return None


@dataclass(frozen=True, slots=True)
class AccessProviders:
    """All that the operator lists, in that order; none, where no file is named."""

    listed: tuple[AccessProvider, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listed)

    def access(self, workspace: str, namespace: str, profile: Mapping[str, Any]) -> ProfileAccess | None:
        """By whom a ClusterProfile of this place is reached: the first provider that both know; None: by nobody.

        A place is `<workspace>/<namespace>`, or the namespace alone on a hub without workspaces.
        """
        place = f"{workspace}/{namespace}" if workspace else namespace
        status = profile.get("status")
        named: dict[str, Mapping[str, Any]] = {}
        for key in ("credentialProviders", "accessProviders"):  # the first is what the second was called before
            found = status.get(key) if isinstance(status, dict) else None
            for each in found if isinstance(found, list) else ():
                if isinstance(each, dict) and isinstance(each.get("name"), str):
                    cluster = each.get("cluster")
                    named[each["name"]] = cluster if isinstance(cluster, dict) else {}
        for provider in self.listed:
            if provider.name in named and place in provider.places:
                return ProfileAccess(provider, named[provider.name], provider.places[place])
        return None

    def version(self, workspace: str, namespace: str, profile: Mapping[str, Any]) -> str:
        """What tells the access that a profile gives from any other; `NO_ACCESS` where it gives none."""
        found = self.access(workspace, namespace, profile)
        return NO_ACCESS if found is None else found.version


def providers(settings: _Settings) -> AccessProviders:
    """What is in the file that the settings name. Raises StartError for what cannot be read or used."""
    if not settings.access_providers:
        return AccessProviders()
    where = f"setting access_providers: {settings.access_providers}"
    try:
        return parsed(Path(settings.access_providers).read_bytes())
    except OSError as error:
        raise StartError(f"{where} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise StartError(f"{where}: {error}") from None


def parsed(content: bytes) -> AccessProviders:
    """The providers of a file. Raises ValueError, which says what is wrong."""
    try:
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    names = [each.name for each in file.providers]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"provider {twice!r} is listed twice")
    return AccessProviders(tuple(map(_provider, file.providers)))


def _provider(given: _Provider) -> AccessProvider:
    said, program = f"provider {given.name!r}", given.exec_config
    if program.api_version not in VERSIONS:
        raise ValueError(f"{said}: apiVersion is none of {' and '.join(VERSIONS)}")
    if not Path(program.command).is_absolute():
        raise ValueError(f"{said}: command is no absolute path")
    if program.interactive_mode == "Always":
        raise ValueError(f"{said}: nobody is at a terminal, and interactiveMode is Always")
    if not given.servers or not given.profiles:
        raise ValueError(f"{said}: servers and profiles say where its credentials may go, and who may name it")
    try:
        servers = tuple(map(server, given.servers))
    except ValueError as error:
        raise ValueError(f"{said}: {error}") from None
    return AccessProvider(
        name=given.name,
        command=CredentialCommand(
            name=given.name,
            api_version=program.api_version,
            path=program.command,
            args=program.args,
            environment=tuple((each.name, each.value) for each in program.env or ()),
        ),
        servers=servers,
        places={place: asyncio.Semaphore(AT_ONCE) for place in given.profiles},
        tells_cluster=program.provide_cluster_info,
        config=program.config,
        profile_config=given.profile_config,
    )


def _authority(data: Any, about: str) -> bytes | None:
    """The certificate authority that the server proves itself by; None: those that the system trusts."""
    if data is None or data == "":
        return None
    try:
        if isinstance(data, str) and len(data) <= _LONGEST_AUTHORITY:
            return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise ConfigError(f"{about} has a certificate authority that is none")
