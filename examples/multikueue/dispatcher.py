"""Nominates clusters for MultiKueue by what Moorage would decide: an external dispatcher (docs/decisions.md).

It follows the Workloads of Kueue's manager cluster, and asks over NATS where each that waits would be placed now, among
the clusters of its MultiKueueConfig. Any number of copies may run: what one has written fails for the others.
"""

import asyncio
import contextlib
import logging
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from os import environ
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.broker.bus import Bus, BusError
from shared.broker.nats.connection import connect
from shared.cloudevents import CONTENT_TYPE, STRUCTURED, CloudEvent, parse, structured
from shared.kube.auth import kubeconfig
from shared.kube.client import Client
from shared.kube.errors import KubeError
from shared.kube.informer import Informer
from shared.kube.resources import Resource
from shared.kube.written import part
from shared.model.answer import DecisionAnswer
from shared.pipeline.requests import RequestSubject
from shared.process import settings as process_settings
from shared.process.main import run_until_stopped

log = logging.getLogger("multikueue")

GROUP, VERSION = "kueue.x-k8s.io", "v1beta2"
WORKLOADS = Resource(GROUP, VERSION, "workloads", kind="Workload")
CHECKS = Resource(GROUP, VERSION, "admissionchecks", namespaced=False, kind="AdmissionCheck")
CONFIGS = Resource(GROUP, VERSION, "multikueueconfigs", namespaced=False, kind="MultiKueueConfig")
CONTROLLER = "kueue.x-k8s.io/multikueue"
MANAGER = "kueue-admission"
"""As which field manager Kueue takes the names back, once a cluster has the Workload; so they have to be its own."""
DECIDE, ANSWERED = "io.moorage.placement.decide.v1", "io.moorage.placement.answered.v1"
JOB = {"apiVersion": "batch/v1", "kind": "Job"}
COUNTED = ("name", "image", "resources", "restartPolicy")  # of a container
MOST_NOMINATED = 10
ANSWERED_WITHIN, RETRY = 15.0, 5.0  # seconds
ASKED_AT_ONCE = 16
HEADERS = {CONTENT_TYPE: STRUCTURED}


class DispatcherSettings(process_settings.NatsSettings, frozen=True, kw_only=True):
    """Where NATS and Kueue's manager cluster are, and as whom Moorage is asked."""

    kubeconfig: Annotated[str, Meta(description="Kubeconfig of Kueue's manager cluster; empty: kubectl's.")] = ""
    workspace: Annotated[str, Meta(description="Workspace for which Moorage is asked; empty on a Kubernetes hub.")] = ""
    user: Annotated[str, Meta(description="As whom it is asked: a user that the operator mapped.")] = ""
    nominate: Annotated[int, Meta(description="Clusters that are nominated together.", ge=1, le=MOST_NOMINATED)] = 3
    round_seconds: Annotated[
        float, Meta(description="How long a Workload waits for these until further ones are nominated.", gt=0)
    ] = 300.0


def waits(workload: Mapping[str, Any]) -> bool:
    """Whether a Workload has its quota on the manager cluster, and no cluster yet."""
    status = workload.get("status") or {}
    true = {each["type"] for each in status.get("conditions", ()) if each["status"] == "True"}
    settled = workload["metadata"].get("deletionTimestamp") or status.get("clusterName") or "Finished" in true
    return "QuotaReserved" in true and not settled


def question(workload: Mapping[str, Any], clusters: list[str], most: int) -> dict[str, Any]:
    """What is asked: in which of these clusters all pods of a Workload fit at once; so many of them, the best first."""
    metadata = {name: workload["metadata"][name] for name in ("name", "namespace")}
    jobs = [_job(each, metadata["namespace"]) for each in workload["spec"]["podSets"]]
    spec = {
        "workload": [{**JOB, "name": each["metadata"]["name"]} for each in jobs],
        "targets": {"names": clusters, "count": {"min": 1, "max": most}},
    }
    head = {"apiVersion": "placement.moorage.io/v1alpha1", "kind": "Placement"}
    return {"placement": {**head, "metadata": metadata, "spec": spec}, "objects": jobs}


def _job(pods: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Pods of one template as a Job that asks for as much. What else they name need not be there to be counted."""
    template = pods["template"]["spec"]
    spec: dict[str, Any] = {"restartPolicy": "Never"}
    for name in ("initContainers", "containers"):
        spec[name] = [{key: each[key] for key in COUNTED if key in each} for each in template.get(name) or ()]
    spec |= {name: template[name] for name in ("overhead", "resources") if name in template}
    work = {"parallelism": pods["count"], "completions": pods["count"], "template": {"spec": spec}}
    return {**JOB, "metadata": {"name": pods["name"], "namespace": namespace}, "spec": work}


def nomination(workload: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """What is applied in Kueue's name: the names, and all that Kueue applied itself, which it would lose without."""
    metadata, status = workload["metadata"], workload["status"]
    kept: dict[str, Any] = {}
    for each in metadata.get("managedFields", ()):
        if (each["manager"], each["operation"], each.get("subresource")) == (MANAGER, "Apply", "status"):
            kept |= part(status, each["fieldsV1"].get("f:status") or {".": {}})
    seen = {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion")}
    head = {"apiVersion": WORKLOADS.api_version, "kind": WORKLOADS.kind, "metadata": seen}
    return {**head, "status": {**kept, "nominatedClusterNames": names}}


class Dispatcher:
    """Looks at all Workloads that wait, whenever one changes, and from time to time."""

    def __init__(self, settings: DispatcherSettings, bus: Bus, client: Client) -> None:
        self._settings, self._bus, self._client = settings, bus, client
        self._followed = {each: Informer(client, each) for each in (WORKLOADS, CHECKS, CONFIGS)}
        self._room = asyncio.Semaphore(ASKED_AT_ONCE)
        self._due: dict[str, tuple[list[str], float]] = {}  # by uid: who is nominated, and until when that is left so

    async def run(self) -> None:
        """Nominate until cancelled."""
        changed = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for informer in self._followed.values():
                tasks.create_task(informer.run())
                tasks.create_task(_note(informer, changed))
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY):
                        await changed.wait()
                changed.clear()
                waiting = [each for each in self._followed[WORKLOADS].objects.values() if waits(each)]
                self._due = {uid: due for each in waiting if (due := self._due.get(uid := each["metadata"]["uid"]))}
                await asyncio.gather(*map(self._see_to, waiting))

    async def _see_to(self, workload: dict[str, Any]) -> None:
        uid, name = workload["metadata"]["uid"], workload["metadata"]["name"]
        now, nominated = time.monotonic(), list(workload["status"].get("nominatedClusterNames", ()))
        known, until = self._due.get(uid, ([], 0.0))
        if nominated and known != nominated:  # by another copy, or before this one began
            self._due[uid] = nominated, now + self._settings.round_seconds
            return
        rests = known == nominated and now < until
        try:
            clusters = [] if rests else [each for each in self._clusters(workload) if each not in nominated]
            most = min(self._settings.nominate, MOST_NOMINATED - len(nominated))
            if not clusters or most < 1:
                return
            async with self._room:
                names = await self._best(question(workload, clusters, most))
                if names:
                    wanted = nomination(workload, nominated + names)
                    await self._client.apply(WORKLOADS, wanted, field_manager=MANAGER, subresource="status")
                    log.info("%s: nominated %s", name, ", ".join(names))
        except Exception as error:  # noqa: BLE001 - what is wrong with one, or with what it names, stops no other
            names = []
            log.warning("%s: %r; again in %g s", name, error, RETRY)
        self._due[uid] = nominated + names, now + (self._settings.round_seconds if names else RETRY)

    def _clusters(self, workload: Mapping[str, Any]) -> Iterator[str]:
        """Those of the MultiKueueConfig of the check that a Workload waits for."""
        for check in workload["status"].get("admissionChecks", ()):
            found = self._followed[CHECKS].objects.get(("", check["name"])) or {"spec": {}}
            if check["state"] == "Pending" and found["spec"].get("controllerName") == CONTROLLER:
                config = self._followed[CONFIGS].objects.get(("", found["spec"]["parameters"]["name"]))
                yield from config["spec"]["clusters"] if config is not None else ()

    async def _best(self, asked: dict[str, Any]) -> list[str]:
        """The clusters that would be chosen now, the best first; none where nothing would."""
        event = CloudEvent(id=uuid.uuid4().hex, source="/multikueue", type=DECIDE, data=msgspec.json.encode(asked))
        subject = RequestSubject(self._settings.workspace, self._settings.user, "decide").subject
        reply = await self._bus.ask(subject, structured(event), timeout=ANSWERED_WITHIN, headers=HEADERS)
        answer = parse(reply.payload, reply.headers or {})
        if answer.type != ANSWERED:
            raise BusError(f"rejected: {answer.data.decode()}")
        decision = msgspec.json.decode(answer.data, type=DecisionAnswer).decision
        if not decision.selected:
            log.info("%s: %s", asked["placement"]["metadata"]["name"], decision.rationale)
        return list(dict.fromkeys(each.target.name for each in decision.selected))


async def _note(informer: Informer, changed: asyncio.Event) -> None:
    async for _ in informer.events():
        changed.set()


async def dispatch(settings: DispatcherSettings, stop: asyncio.Event) -> None:
    """Nominate until told to stop."""
    named = settings.kubeconfig
    credentials = kubeconfig.load_kubeconfig(Path(named)) if named else kubeconfig.default()
    bus, _ = await connect("multikueue", settings)
    async with Client(credentials, user_agent="moorage-multikueue") as client, asyncio.TaskGroup() as tasks:
        work = tasks.create_task(Dispatcher(settings, bus, client).run())
        await stop.wait()
        work.cancel()
    await bus.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = process_settings.parse(DispatcherSettings, sys.argv[1:], environ, prog="dispatcher.py", summary="")
    sys.exit(run_until_stopped(lambda stop: dispatch(chosen, stop), KubeError, BusError))
