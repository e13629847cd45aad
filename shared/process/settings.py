"""Settings: one typed struct per worker, every field with a default and a sentence.

The field `drain_seconds` is set by the flag `--drain-seconds`; without that flag by the environment variable
`MOORAGE_DRAIN_SECONDS`; without either it has its default. The name of a measure ends in its unit: `_seconds`,
`_milliseconds`, `_mib`. A secret has no flag, because flags are visible in the process list, and `repr` leaves it out.
"""

import argparse
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from shared.process.flags import add_flags

S = TypeVar("S", bound="NatsSettings")

ENV_PREFIX = "MOORAGE_"
SECRET = {"secret": True}

HealthHost = Annotated[str, Meta(description="Address of /healthz, /readyz and /metrics.")]
HealthPort = Annotated[
    int, Meta(description="Port that they are served on; 0 takes a free one, -1 serves none.", ge=-1, le=65535)
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], Meta(description="The least severe log line that is written.")
]
LogFormat = Annotated[
    Literal["auto", "json", "text"], Meta(description="auto: text on a terminal, JSON lines elsewhere.")
]


class SettingsError(ValueError):
    """A setting that cannot be used; says which, where it came from, and what is wrong."""


class NatsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where NATS is, and how to log in there: the settings of everything that connects to it."""

    nats_url: Annotated[str, Meta(description="Where NATS listens; several servers separated by commas.")] = (
        "nats://127.0.0.1:4222"
    )
    nats_user: Annotated[str, Meta(description="User for NATS, where it asks for one.")] = ""
    nats_password: Annotated[str, Meta(description="Password for NATS.", extra=SECRET)] = ""
    nats_token: Annotated[str, Meta(description="Token for NATS.", extra=SECRET)] = ""
    nats_creds: Annotated[str, Meta(description="File with NATS credentials (JWT and seed).")] = ""
    nats_nkey: Annotated[str, Meta(description="File with the seed of an nkey, to log in to NATS by it.")] = ""
    nats_ca: Annotated[str, Meta(description="File with the certificate authority that signed NATS's certificate.")] = (
        ""
    )
    nats_certificate: Annotated[
        str, Meta(description="File with our certificate (PEM), where NATS asks clients for one.")
    ] = ""
    nats_key: Annotated[str, Meta(description="File with the private key of that certificate (PEM).")] = ""
    nats_tls_first: Annotated[
        bool, Meta(description="Begin with TLS at once, for a NATS server that sets handshake_first.")
    ] = False
    nats_inbox_prefix: Annotated[
        str, Meta(description="Prefix of the subjects that answers come on, where NATS's permissions name one.")
    ] = "_INBOX"
    nats_api_prefix: Annotated[
        str,
        Meta(description="Subject that our NATS account imports JetStream's API as, where it is that of another one."),
    ] = "$JS.API"

    def __repr__(self) -> str:
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(type(self)) if not f.secret)
        return f"{type(self).__name__}({', '.join(shown)})"


class ProvisionSettings(NatsSettings, frozen=True, kw_only=True):
    """The settings of everything that makes streams and buckets."""

    stream_replicas: Annotated[
        int, Meta(description="Copies of each stream and bucket in a NATS cluster.", ge=1, le=5)
    ] = 1
    pipeline_max_bytes: Annotated[
        int,
        Meta(description="Bytes of messages that the pipeline keeps at most; beyond them the oldest go.", ge=1 << 16),
    ] = 1 << 30
    events_max_bytes: Annotated[
        int, Meta(description="Bytes of events that are kept at most; beyond them the oldest go.", ge=1 << 16)
    ] = 1 << 30
    events_max_age_seconds: Annotated[
        float, Meta(description="How long events are kept, and a consumer of them that nobody uses.", ge=60)
    ] = 7 * 86_400.0
    events_max_consumers: Annotated[
        int, Meta(description="Consumers of events that there may be, of all tenants together; each takes 50 KB.", ge=1)
    ] = 1000


class Settings(ProvisionSettings, frozen=True, kw_only=True):
    """The settings of every worker."""

    provision: Annotated[
        bool, Meta(description="Create or update streams, consumers and buckets at start (else they must be there).")
    ] = True
    health_host: HealthHost = "127.0.0.1"
    health_port: HealthPort = 0
    drain_seconds: Annotated[
        float,
        Meta(description="How long work in hand may take to finish after SIGTERM before it is left to others.", ge=0),
    ] = 20.0
    concurrency: Annotated[
        int,
        Meta(description="Messages of each kind that a copy works on at once; 0: as many as its handler is for.", ge=0),
    ] = 0
    span_folder: Annotated[
        str,
        Meta(
            description="Folder where spans are kept, 8 MiB of each process, where OpenTelemetry's variables name no"
            " endpoint; empty: nowhere. `moorage trace` reads them."
        ),
    ] = ""
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"


class HubSettings(Settings, frozen=True, kw_only=True):
    """The settings of every worker that talks to the hub's API server."""

    kubeconfig: Annotated[
        str,
        Meta(description="Kubeconfig of the hub (kcp or Kubernetes); empty: KUBECONFIG, ~/.kube/config, in-cluster."),
    ] = ""
    hub: Annotated[
        Literal["kcp", "kubernetes"],
        Meta(description="kcp: a tree of workspaces. kubernetes: one hub without workspaces."),
    ] = "kcp"
    export: Annotated[
        str,
        Meta(
            description="On kcp, the APIExport by which workspaces have our kinds, root:moorage/placement.moorage.io:"
            " what is there under the same names and did not come by it is not looked at. Empty: it is."
        ),
    ] = ""
    api_timeout_seconds: Annotated[
        float, Meta(description="Seconds that one request to an API server may take.", gt=0)
    ] = 10.0
    target_allow: Annotated[
        str,
        Meta(
            description="Networks (10.1.0.0/16, by comma) that target clusters may be in although they are denied, by"
            " target_deny or because they are loopback, link-local, multicast or a cloud's metadata."
        ),
    ] = ""
    target_deny: Annotated[
        str, Meta(description="Networks (10.0.0.0/8, by comma) that no kubeconfig of a SyncTarget may lead to.")
    ] = ""
    target_plain_http: Annotated[
        bool, Meta(description="Let kubeconfigs of SyncTargets name http: servers; else https: alone.")
    ] = False
    access_providers: Annotated[
        str,
        Meta(
            description="File that lists programs which issue credentials for clusters of ClusterProfiles, and to which"
            " servers these may go (docs/clusters.md); empty: none."
        ),
    ] = ""
    target_proxy: Annotated[
        bool,
        Meta(
            description="Let kubeconfigs of SyncTargets name a proxy-url; what the proxy reaches is not judged by"
            " target_deny."
        ),
    ] = False


class AccessSettings(HubSettings, frozen=True, kw_only=True):
    """The settings of every worker that asks who may do what."""

    authorization: Annotated[
        Literal["SubjectAccessReview", "AllowAll"],
        Meta(description="Who decides which targets a requester may use: RBAC of their workspaces, or nobody."),
    ] = "SubjectAccessReview"
    allowed_ttl_seconds: Annotated[float, Meta(description="How long a permission is remembered.", ge=0)] = 300.0
    denied_ttl_seconds: Annotated[float, Meta(description="How long a denial is remembered.", ge=0)] = 30.0
    review_concurrency: Annotated[int, Meta(description="SubjectAccessReviews in flight at once.", ge=1)] = 32


class PreemptionSettings(AccessSettings, frozen=True, kw_only=True):
    """The settings of the workers that see to who may have others leave."""

    preemption: Annotated[
        bool,
        Meta(
            description="Have placements leave targets for others of higher priority that want it"
            " (spec.preemptionPolicy) and may (verb preempt on the SyncTarget). For discovery and decision alike."
        ),
    ] = False
    preemption_max_priority: Annotated[
        int, Meta(description="What a priority counts for against others at the most, whatever a Placement says.")
    ] = 1_000_000


class FieldInfo(msgspec.Struct, frozen=True):
    """One setting, for help and documentation."""

    name: str
    type: Any
    default: Any
    description: str
    secret: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.name.upper()


def fields(kind: type[NatsSettings]) -> tuple[FieldInfo, ...]:
    """The settings of a struct in order, base first."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for info in msgspec.structs.fields(kind):
        metas = [meta for meta in getattr(hints[info.name], "__metadata__", ()) if isinstance(meta, Meta)]
        description = next((meta.description for meta in metas if meta.description), "")
        secret = any((meta.extra or {}).get("secret") for meta in metas)
        found.append(FieldInfo(info.name, hints[info.name], info.default, description or "", secret))
    return tuple(found)


def described(kind: type[NatsSettings]) -> dict[str, str]:
    """What help says of each setting that may be a flag: of all that are no secrets."""
    found = {}
    for info in fields(kind):
        shown = "" if info.default in ("", None) else f" Default: {info.default}."
        if not info.secret:
            found[info.name] = f"{info.description}{shown} [{info.env}]"
    return found


def load(kind: type[S], given: Mapping[str, Any], env: Mapping[str, str]) -> S:
    """Settings from flags (`given`, by field name), then the environment, then defaults.

    Raises `SettingsError` naming the flag or variable that holds something unusable.
    """
    values: dict[str, Any] = {}
    for info in fields(kind):
        source, text = _find(info, given, env)
        if text is None:
            continue
        try:
            values[info.name] = _converted(text, info.type)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{source}: {_explained(error, info, text)}. {info.description}") from None
    return kind(**values)


def _explained(error: msgspec.ValidationError, info: FieldInfo, text: str) -> str:
    """The expected form, and what came instead, unless that is a secret."""
    expected = str(error).partition(", got ")[0]  # it would go on with the type, which is always that of a text
    return expected[0].lower() + expected[1:] + ("" if info.secret else f", got {text!r}")


def _converted(text: str, kind: Any) -> Any:
    value = msgspec.convert(text, kind, strict=False)
    if isinstance(value, float) and not math.isfinite(value):  # no timer can wait for infinity
        raise msgspec.ValidationError("Expected a finite number")
    return value


def _find(info: FieldInfo, given: Mapping[str, Any], env: Mapping[str, str]) -> tuple[str, Any]:
    if info.name in given:
        return info.flag, given[info.name]
    if info.env in env:
        return info.env, env[info.env]
    return "", None


def parse(kind: type[S], argv: Sequence[str], env: Mapping[str, str], *, prog: str, summary: str) -> S:
    """Settings for a process of its own: its help, its flags, its environment."""
    parser = argparse.ArgumentParser(prog=prog, usage=f"{prog} [--help] [SETTING ...]", description=summary)
    add_flags(parser, described(kind))
    try:
        return load(kind, vars(parser.parse_args(argv)), env)
    except SettingsError as error:
        parser.exit(2, f"{prog}: {error}\n")
