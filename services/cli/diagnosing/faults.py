"""The faults that `moorage doctor` tells, by name, and what to do about each. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, get_args

import msgspec

FaultName = Literal[
    "NatsUnreachable",
    "NatsRefused",
    "NatsForbidden",
    "JetStreamUnavailable",
    "QuorumLost",
    "ServerLost",
    "JetStreamStopped",
    "MonitoringUnreachable",
    "StorageNearlyFull",
    "ReplicaBehind",
    "StreamMissing",
    "ConsumerMissing",
    "BucketMissing",
    "WorkerAbsent",
    "ConsumerLag",
    "DeadLetters",
    "ClockSkew",
    "HubKubeconfig",
    "HubUnreachable",
    "HubUnauthorized",
    "HubForbidden",
    "CrdMissing",
    "CrdOutdated",
    "TargetUnreachable",
    "TargetUnauthorized",
    "TargetForbidden",
    "TargetKubeconfig",
    "TargetNotReady",
]
NAMES: Final[tuple[FaultName, ...]] = get_args(FaultName)

WHAT_TO_DO: Final[Mapping[FaultName, str]] = {
    "NatsUnreachable": "start nats-server, or give its address: --nats-url or MOORAGE_NATS_URL",
    "NatsRefused": "log in as a user that it knows: MOORAGE_NATS_NKEY, _CREDS, _USER and _PASSWORD, or _TOKEN",
    "NatsForbidden": "take over `moorage nats permissions`, and run this as its administrator (MOORAGE_NATS_NKEY)",
    "JetStreamUnavailable": "enable JetStream in nats-server (jetstream {store_dir: ...}); in a cluster, see that most "
    "servers run; for an account that imports it, set MOORAGE_NATS_API_PREFIX",
    "QuorumLost": "start servers of NATS until most run: what was stored is there again then, and workers go on by "
    "themselves",
    "ServerLost": "start it, or another of the same name in its place, with an empty disk if need be: it gets its "
    "copies from the others",
    "JetStreamStopped": "see its log; where its disk was full, make room and restart it: it does not go on by itself",
    "MonitoringUnreachable": "start it, or give the address of its monitoring port (http: in its configuration)",
    "StorageNearlyFull": "give it more room (max_file of a server, the limits of the account), before "
    "nothing more is stored",
    "ReplicaBehind": "wait until it has caught up, before you stop another server; if it does not, see its log and its "
    "disk, and restart it",
    "StreamMissing": "run `moorage provision`; what was in it is built anew from the hub",
    "ConsumerMissing": "run `moorage provision`, or start the worker with MOORAGE_PROVISION=true",
    "BucketMissing": "run `moorage provision`; what was in it is built anew from the hub",
    "WorkerAbsent": "start it: moorage worker NAME; if it runs, its /readyz and its log say what it waits for",
    "ConsumerLag": "run more copies of that worker, and see its log for what holds it up",
    "DeadLetters": "see `moorage dead list` for the causes, mend them, then `moorage dead replay --all`",
    "ClockSkew": "synchronize the clocks (NTP): leases, holds and time limits go by them",
    "HubKubeconfig": "give a kubeconfig that can be used: --kubeconfig or MOORAGE_KUBECONFIG",
    "HubUnreachable": "see that the API server runs, and that the kubeconfig has its address and certificate authority",
    "HubUnauthorized": "renew the credentials in the kubeconfig",
    "HubForbidden": "run this as an administrator; for workers, `moorage install kubernetes` again, or `moorage bind`",
    "CrdMissing": "install them: `moorage install kubernetes`, or deploy/kcp",
    "CrdOutdated": "apply those of this version: `moorage install kubernetes`, or deploy/kcp",
    "TargetUnreachable": "see that the cluster runs, and that its kubeconfig has the right address",
    "TargetUnauthorized": "renew the kubeconfig in the Secret that the SyncTarget names; it is read again at once",
    "TargetForbidden": "let the account of that kubeconfig do what docs/target-owners.md lists",
    "TargetKubeconfig": "put a kubeconfig into the Secret that spec.kubeconfigSecretRef of the SyncTarget names",
    "TargetNotReady": "see the conditions of the SyncTarget: kubectl describe synctarget",
}
"""In one sentence for each."""


class FoundFault(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that is wrong: its name, where, and how one sees it."""

    fault: FaultName
    where: str
    message: str

    @property
    def what_to_do(self) -> str:
        """What would mend it."""
        return WHAT_TO_DO[self.fault]


class Checkup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of one part of the system: how many things were looked at, and what is wrong; `skipped` says why none were."""

    part: str
    looked_at: int = 0
    faults: tuple[FoundFault, ...] = ()
    skipped: str = ""


def missing_fields(wanted: Any, there: Any, path: str = "") -> Iterator[str]:
    """The fields of one OpenAPI schema that another lacks, by their paths, the outermost alone."""
    if not isinstance(wanted, Mapping) or not isinstance(there, Mapping):
        return
    known = there.get("properties", {})
    for name, schema in wanted.get("properties", {}).items():
        if name not in known:
            yield f"{path}.{name}"
        else:
            yield from missing_fields(schema, known[name], f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        yield from missing_fields(wanted.get(key), there.get(key), f"{path}{mark}")


def sorted_faults(faults: Iterable[FoundFault]) -> tuple[FoundFault, ...]:
    """By name, in the order in which they are to be mended, then by where."""
    return tuple(sorted(faults, key=lambda each: (NAMES.index(each.fault), each.where)))
