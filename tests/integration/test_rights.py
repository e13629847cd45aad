"""The rights in deploy/kubernetes are enough: with them alone, on a plain Kubernetes hub, placements come and go. And
there are no others: what each worker asks the hub for is recorded, and compared.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from services import PIPELINE
from shared.broker.nats.server import NatsServer
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from tests.support import multicluster, perimeter
from tests.support.compose import ROOT
from tests.support.manifests import exception, policy
from tests.support.process import BIN, Process, process
from tests.support.waiting import until
from tests.support.worlds import deployment, placement

QUOTA = {
    "apiVersion": "placement.moorage.io/v1alpha1",
    "kind": "PlacementQuota",
    "metadata": {"name": "below"},
    "spec": {"workspace": "below", "hard": {"cpu": "1"}},  # the sandbox wants one, and a hub without them says so
}
OVERRIDE = {
    "apiVersion": "placement.moorage.io/v1alpha1",
    "kind": "PlacementOverride",
    "metadata": {"name": "keep-out"},
    "spec": {"type": "Exclude", "placementRef": {"name": "web"}, "targets": [{"name": "other"}], "reason": "a test"},
}

POLICY = policy(
    "open",
    {"name": "nowhere", "effect": "Forbid", "expression": "false", "message": "not there"},
    match={"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}},
)
KIND = next(yaml.safe_load_all((ROOT / "examples/kinds/workloadkinds.yaml").read_text()))
EXCEPTION = exception("lift", "open", match={"namespaces": ["apps"]})
ROLLOUT = {"maxConcurrent": 1, "revisionHistoryLimit": 2}

HUB, NAMESPACE, SYSTEM = "root:hub", "apps", "moorage-system"
OF_THE_HUB = ("controller", "discovery", "decision", "binding", "status", "intake")
ACCOUNTS = {name: f"system:serviceaccount:{SYSTEM}:{name}" for name in OF_THE_HUB}
WORLD = {
    "workspaces": [HUB],
    "users": [
        {"name": "alice", "workspaces": {HUB: "admin"}},
        *({"name": account, "workspaces": {HUB: "none"}} for account in ACCOUNTS.values()),
    ],
    "targets": [{"name": "one", "workspace": HUB}],
}
REQUESTERS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "requesters", "labels": {"placement.moorage.io/aggregate-to-requesters": "true"}},
    "rules": [
        {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["alice"]},
        {
            "apiGroups": [""],
            "resources": ["groups"],
            "verbs": ["impersonate"],
            "resourceNames": ["system:authenticated"],
        },
    ],
}
Call = tuple[str, str]
"""A verb, and the resource that it is used on."""
_OWNER = "is asked of who names a Placement as an owner, by an admission plugin that the sandbox has not"
_NOT_SERVED = "while a placement selects a kind that is not served"
_SLICES = "where a decision is for more than a hundred targets"
ELSEWHERE: dict[str, dict[Call, str]] = {
    "controller": {
        ("list", "customresourcedefinitions"): _NOT_SERVED,
        ("watch", "customresourcedefinitions"): _NOT_SERVED,
        ("get", "placements"): "where a request is about one that was never seen",
        ("get", "placementquotas"): "where one was in force: it is about a workspace below, and this hub has none",
        ("get", "synctargets"): "where a placement ran in a target that is not known any more",
    },
    "discovery": {("create", "events"): "where a target or its owner is to be told of something"},
    "decision": {
        ("update", "placements/finalizers"): _OWNER,
        ("update", "clusterrequests"): "where another attempt is in vain",
        ("list", "clusterrequests"): "a minute after the start",
    },
    "binding": {
        ("update", "placements/finalizers"): _OWNER,
        ("list", "placementdecisions"): _SLICES,
        ("get", "synctargets"): "where a target does not come back",
        ("get", "placementbindings"): "where somebody else may have written it since",
    },
    "status": {
        ("list", "placementdecisions"): _SLICES,
        ("get", "placementbindings"): "where a message is about a binding that the report does not have",
    },
    "intake": {
        ("get", "placementdecisions"): "where what is asked about is placed, and only its changes are said",
        ("list", "placementdecisions"): _SLICES,
        ("impersonate", "users"): "goes with other requests",
        ("impersonate", "groups"): "goes with other requests",
    },
}
"""Rights that are taken where this test does not lead: when that is."""

RBAC = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")


async def kubectl(kubeconfig: Path, *arguments: str, stdin: Sequence[dict[str, Any]] = ()) -> str:
    """Run kubectl against the hub, while our own processes are listened to; fails with what it says."""
    found = await asyncio.to_thread(
        subprocess.run,
        [str(BIN / "kubectl"), "--kubeconfig", str(kubeconfig), *arguments],
        input=yaml.safe_dump_all(stdin),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def rights() -> list[dict[str, Any]]:
    """The RBAC objects, with roles gathered as kube-controller-manager does it, which the sandbox has not."""
    rendered = subprocess.run(
        [str(BIN / "kubectl"), "kustomize", str(ROOT / "deploy/kubernetes")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    objects = [each for each in yaml.safe_load_all(rendered.stdout) if each["kind"] in RBAC]
    objects.append(REQUESTERS)
    roles = [each for each in objects if each["kind"] == "ClusterRole"]
    for role in roles:
        for selector in role.pop("aggregationRule", {}).get("clusterRoleSelectors", []):
            wanted = selector["matchLabels"].items()
            gathered = [each for each in roles if wanted <= each["metadata"].get("labels", {}).items()]
            role["rules"] = [rule for each in gathered for rule in each["rules"]]
    return objects


def granted(worker: str) -> set[Call]:
    """What its ServiceAccount may do on the hub, but for the kinds that may be placed: of these a test has a few."""
    roles = {each["metadata"]["name"]: each for each in rights() if each["kind"] == "ClusterRole"}
    bound = [
        each["roleRef"]["name"]
        for each in rights()
        if each["kind"] == "ClusterRoleBinding" and worker in [subject["name"] for subject in each["subjects"]]
        if each["roleRef"]["name"] != "moorage-workloads"
    ]
    return {
        (verb, resource)
        for name in bound
        for rule in roles[name]["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }


async def calls(data: Path) -> dict[str, set[Call]]:
    """What each worker has asked the hub for."""
    async with Client(load_kubeconfig(data / "admin.kubeconfig"), timeout=60) as client:
        answer = await client.at(client.base.partition("/clusters/")[0]).request("GET", "/sandbox/requests")
    found: dict[str, set[Call]] = {name: set() for name in OF_THE_HUB}
    for each in json.loads(answer)["items"]:
        worker = each["agent"].removeprefix("moorage-")
        if each["where"] == "hub" and worker in found:
            found[worker].add((each["verb"], each["resource"]))
    return found


def of_the_hub(data: Path, user: str) -> Path:
    """A user's kubeconfig, made to lead to the hub."""
    document = yaml.safe_load((data / f"{user}.kubeconfig").read_text())
    cluster = document["clusters"][0]["cluster"]
    cluster["server"] = f"{cluster['server'].partition('/clusters/')[0]}/clusters/{HUB}"
    path = data / f"hub-{user.rpartition(':')[2]}.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    """A hub with the rights, and one cluster on offer; the folder with kubeconfigs."""
    world, data = tmp_path / "world.yaml", tmp_path / "data"
    world.write_text(yaml.safe_dump(WORLD))
    serve = ["python", "-m", "services.sandbox", "--port", "0", "--world", str(world), "--data", str(data)]
    offer = ["moorage", "world", "apply", "--world", str(world), "--targets", str(data)]
    async with process(serve, os.environ) as sandbox:
        await sandbox.record(lambda record: record["message"] == "sandbox ready")
        async with process([*offer, "--kubeconfig", str(data / "admin.kubeconfig")], os.environ) as offering:
            assert await offering.ends() == 0, offering.output
        await kubectl(of_the_hub(data, "admin"), "apply", "--server-side", "-f", "-", stdin=rights())
        yield data


async def moorage(nats: NatsServer, *arguments: str) -> None:
    """A command of alice's over the bus, again until it ends well: who answers may be busy."""
    command = [str(BIN / "moorage"), *arguments, "--workspace", "", "--user", "alice"]
    env = {**os.environ, "MOORAGE_NATS_URL": nats.url}

    async def ends() -> tuple[int, str]:
        found = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=90)
        return found.returncode, found.stdout + found.stderr

    await until(ends, " ".join(arguments), holds=lambda found: found[0] == 0, within=120)


async def placed_otherwise(alice: Path, target: Path, version: str) -> None:
    """Another version of the Deployment, until it is in the target."""
    annotations = {"spec": {"template": {"metadata": {"annotations": {"version": version}}}}}
    here, there = ("deployment/web", "-n", NAMESPACE), f"{{.spec.template.metadata.annotations.version}}={version}"
    await kubectl(alice, "patch", *here, "--type", "merge", "-p", json.dumps(annotations))
    await kubectl(target, "wait", *here, f"--for=jsonpath={there}", "--timeout=80s")


@pytest.mark.timeout(600)
async def test_what_workers_do_takes_the_rights_of_the_manifests_and_no_others(data: Path, tmp_path: Path) -> None:
    alice, admin = of_the_hub(data, "user-alice"), of_the_hub(data, "admin")
    target, asked, users = data / "target-one.kubeconfig", tmp_path / "asked.yaml", tmp_path / "users.yaml"
    asked.write_text(yaml.safe_dump_all([deployment("asked"), placement("asked")]))
    users.write_text("users: [{user: alice}]\n")
    workers: list[Process] = []
    async with NatsServer(tmp_path / "nats") as nats, AsyncExitStack() as stack:
        for name in PIPELINE:
            env = {
                **os.environ,
                "MOORAGE_NATS_URL": nats.url,
                "MOORAGE_HUB": "kubernetes",
                "MOORAGE_USERS_FILE": str(users),
                "MOORAGE_LOG_FORMAT": "json",
                **perimeter.ENVIRONMENT,
            }
            if name in ACCOUNTS:
                env["MOORAGE_KUBECONFIG"] = str(of_the_hub(data, f"user-{ACCOUNTS[name]}"))
            workers.append(await stack.enter_async_context(process(["moorage", "worker", name], env)))
        for worker in workers:
            await worker.record(lambda record: record["message"] == "ready")
        await kubectl(alice, "create", "namespace", NAMESPACE)
        await kubectl(admin, "apply", "-f", "-", stdin=[POLICY, EXCEPTION, KIND])
        await kubectl(alice, "apply", "-f", "-", stdin=[deployment("web"), placement("web", rollout=ROLLOUT)])
        await kubectl(alice, "wait", "placement/web", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=80s")
        for version in ("two", "one", "two", "three"):
            await placed_otherwise(alice, target, version)
        await moorage(nats, "decide", "-f", str(asked))
        await moorage(nats, "place", "-f", str(asked), "--wait")
        for kind, name in (("placementpolicy", "open"), ("policyexception", "lift")):
            told = "--for=jsonpath={.status.conditions[0].type}"
            await kubectl(admin, "wait", f"{kind}/{name}", told, "--timeout=80s")
        await kubectl(admin, "apply", "-f", "-", stdin=[OVERRIDE])
        await kubectl(admin, "wait", "placementoverride/keep-out", "--for=condition=Accepted=True", "--timeout=80s")
        await kubectl(admin, "apply", "-f", "-", stdin=[QUOTA])
        await kubectl(admin, "wait", "placementquota/below", "--for=condition=InForce=False", "--timeout=80s")
        wide, request = placement("wide", count=2, whenUnfulfilled="Request"), ("clusterrequest/wide", "-n", NAMESPACE)
        await kubectl(alice, "apply", "-f", "-", stdin=[deployment("wide"), wide])
        await kubectl(alice, "wait", *request, "--for=create", "--timeout=80s")
        await kubectl(alice, "apply", "-f", "-", stdin=[{**wide, "spec": {**wide["spec"], "whenUnfulfilled": "Wait"}}])
        await kubectl(alice, "wait", *request, "--for=delete", "--timeout=80s")
        assert "deployment.apps/web" in await kubectl(target, "get", "deployments", "-n", NAMESPACE, "-o", "name")
        for kind, name in (("placementpolicy", POLICY["metadata"]["name"]), ("workloadkind", KIND["metadata"]["name"])):
            await kubectl(admin, "delete", f"{kind}/{name}", "--timeout=80s")
        asks = {("get", "placementpolicies"), ("get", "workloadkinds")}
        await until(lambda: calls(data), "nothing gone", holds=lambda found: asks <= found["controller"], within=60)
        await kubectl(alice, "delete", "placement/web", "-n", NAMESPACE, "--timeout=80s")
        assert "deployment.apps/web" not in await kubectl(target, "get", "deployments", "-n", NAMESPACE, "-o", "name")
        assert not [line for worker in workers for line in worker.lines if "orbidden" in line]
        called = await calls(data)
    unused = {(name, *each) for name in OF_THE_HUB for each in granted(name) - called[name]} - {
        (name, *each) for name, reasons in ELSEWHERE.items() for each in reasons
    }
    assert not unused, "rights that nothing takes: take them back, or have this test do what takes them"


@pytest.mark.timeout(600)
async def test_discovery_makes_targets_of_clusterprofiles_with_the_rights_of_the_example_beside(
    data: Path, tmp_path: Path
) -> None:
    admin = of_the_hub(data, "admin")
    example = list(yaml.safe_load_all((ROOT / "examples/multicluster/profiles.yaml").read_text()))
    rules = next(each["rules"] for each in example if each["kind"] == "ClusterRole")
    await kubectl(admin, "apply", "-f", "-", stdin=[*example, multicluster.PROFILE_CRD])
    await kubectl(admin, "wait", "crd/clusterprofiles.multicluster.x-k8s.io", "--for=condition=Established")
    kubeconfig = await kubectl(admin, "get", "secrets", "-A", "-o", "jsonpath={.items[0].data.kubeconfig}")
    metadata = {"name": "east", "namespace": NAMESPACE}
    labels = {"x-k8s.io/cluster-inventory-consumer": "moorage", "x-k8s.io/cluster-profile": "east"}
    fleet = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "multicluster.x-k8s.io/v1alpha1",
            "kind": "ClusterProfile",
            "metadata": metadata,
            "spec": {"clusterManager": {"name": "tests"}},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**metadata, "labels": labels},
            "data": {"Config": kubeconfig},
        },
    ]
    await kubectl(admin, "delete", "synctargets", "--all")
    await kubectl(admin, "apply", "-f", "-", stdin=fleet)
    async with NatsServer(tmp_path / "nats") as nats:
        env = {
            **os.environ,
            "MOORAGE_NATS_URL": nats.url,
            "MOORAGE_HUB": "kubernetes",
            "MOORAGE_LOG_FORMAT": "json",
            "MOORAGE_DERIVE_FROM_NAMESPACE": NAMESPACE,
            "MOORAGE_PROFILE_GONE_SECONDS": "0",
            "MOORAGE_KUBECONFIG": str(of_the_hub(data, f"user-{ACCOUNTS['discovery']}")),
            **perimeter.ENVIRONMENT,
        }
        async with process(["moorage", "worker", "discovery"], env) as discovery:
            await discovery.record(lambda record: record["message"] == "ready")
            await kubectl(admin, "wait", "--for=create", "synctarget/east", "--timeout=80s")
            await kubectl(admin, "wait", "synctarget/east", "--for=condition=Ready", "--timeout=80s")
            profile = ("clusterprofile/east", "-n", NAMESPACE)
            await kubectl(admin, "label", *profile, "region=eu")
            await kubectl(
                admin, "wait", "synctarget/east", "--for=jsonpath={.metadata.labels.region}=eu", "--timeout=80s"
            )
            await kubectl(admin, "delete", *profile)
            await kubectl(admin, "wait", "synctarget/east", "--for=delete", "--timeout=80s")
            assert not [line for line in discovery.lines if "orbidden" in line]
            called = (await calls(data))["discovery"] - granted("discovery")
    assert called == {(verb, each) for rule in rules for verb in rule["verbs"] for each in rule["resources"]}
