"""The real servers and tools that tests run, built from published Go modules: `python -m tests.support.servers`.

Each module of ours pins some of them. They are kept outside of the tree, by what its go.mod says, so that a second run
builds nothing. MOORAGE_SERVERS names a folder that holds them already.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"


def cache() -> Path:
    """Where what was made for tests is kept, outside of the tree."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moorage"


class NoServers(Exception):
    """There are no servers and none can be built; one sentence that says why."""


@dataclass(frozen=True)
class GoModule:
    """A module in which the versions of some servers are pinned: its folder, the package of each server by name, and
    what their linker is told, by the version of the last. `tags` leave out what is not needed.
    """

    path: Path
    packages: dict[str, str]
    stamp: Callable[[str], str]
    tags: str = ""

    @property
    def go_mod(self) -> str:
        """What it pins."""
        return (self.path / "go.mod").read_text()

    def folder(self) -> Path:
        """Where its servers are, or would be."""
        if given := os.environ.get("MOORAGE_SERVERS"):
            return Path(given)
        return cache() / "servers" / hashlib.sha256(self.go_mod.encode()).hexdigest()[:16]

    def find(self) -> Path | None:
        """The folder with its servers, None where any of them is missing."""
        found = self.folder()
        return found if all(os.access(found / name, os.X_OK) for name in self.packages) else None

    def versions(self) -> dict[str, str]:
        """The version of each server, as go.mod pins it."""
        pinned = re.findall(r"^\t(\S+) (v\S+)(?: // indirect)?$", self.go_mod, flags=re.MULTILINE)
        return {
            name: next(version for module, version in pinned if f"{package}/".startswith(f"{module}/"))
            for name, package in self.packages.items()
        }

    def build(self) -> Path:
        """Build what is missing, a quarter of an hour and more at first; returns the folder.

        Raises NoServers where there is no Go, or where Go says no.
        """
        if found := self.find():
            return found
        go = shutil.which("go")
        if go is None:
            raise NoServers("there is no Go on this machine to build the servers with")
        target = self.folder()
        target.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
        versions = self.versions()
        flags = f"-s -w {self.stamp(list(versions.values())[-1])}"
        for name, package in self.packages.items():
            if os.access(target / name, os.X_OK):
                continue
            sys.stderr.write(f"building {name} {versions[name]}\n")
            unfinished = target / f".{name}.{os.getpid()}"
            command = [
                go,
                "build",
                "-p",
                "2",
                "-trimpath",
                "-tags",
                self.tags,
                "-ldflags",
                flags,
                "-o",
                str(unfinished),
                package,
            ]
            try:
                subprocess.run(command, cwd=self.path, env=env, check=True, stdin=subprocess.DEVNULL)
                unfinished.rename(target / name)
            except subprocess.CalledProcessError as error:
                raise NoServers(f"go build {package} ended with code {error.returncode}") from None
            finally:
                unfinished.unlink(missing_ok=True)
        return target


def _kubernetes(version: str) -> str:
    """The version that a server of Kubernetes says of itself."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    said = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in said.items())


KUBERNETES = GoModule(
    DEPLOY / "servers",
    {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    },
    _kubernetes,
)
JAEGER = GoModule(
    DEPLOY / "jaeger",
    {"jaeger": "github.com/jaegertracing/jaeger/cmd/jaeger"},
    lambda version: f"-X github.com/jaegertracing/jaeger/internal/version.latestVersion={version}",
)
HELM = GoModule(
    DEPLOY / "helm",
    {"helm": "helm.sh/helm/v4/cmd/helm"},
    lambda version: f"-X helm.sh/helm/v4/internal/version.version={version}",
)
PROMETHEUS = GoModule(
    DEPLOY / "prometheus",
    {"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
    lambda version: f"-X github.com/prometheus/common/version.Version={version}",
    tags="remove_all_sd,enable_dns_sd,enable_kubernetes_sd",  # clients of clouds are most of what there is to compile
)
COMPOSE = GoModule(
    DEPLOY / "compose",
    {"docker-compose": "github.com/docker/compose/v2/cmd"},
    lambda version: f"-X github.com/docker/compose/v2/internal.Version={version}",
)


def folder() -> Path:
    """Where the servers of Kubernetes are, or would be."""
    return KUBERNETES.folder()


def find() -> Path | None:
    """The folder with the servers of Kubernetes, None where any of them is missing."""
    return KUBERNETES.find()


if __name__ == "__main__":
    try:
        for module in (KUBERNETES, JAEGER, HELM, PROMETHEUS):
            sys.stdout.write(f"{module.build()}\n")
    except NoServers as error:
        sys.exit(f"no servers: {error}")
