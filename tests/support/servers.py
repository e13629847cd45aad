"""The real servers that Moorage is tested on, built from deploy/servers/go.mod: `python -m tests.support.servers`.

They are kept outside of the tree, by what go.mod says, so that a second run builds nothing. MOORAGE_SERVERS names a
folder that holds them already.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

MODULE = Path(__file__).parents[2] / "deploy" / "servers"
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}


class NoServers(Exception):
    """There are no servers and none can be built; one sentence that says why."""


def folder() -> Path:
    """Where the servers of this go.mod are, or would be."""
    if given := os.environ.get("MOORAGE_SERVERS"):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "moorage" / "servers" / hashlib.sha256((MODULE / "go.mod").read_bytes()).hexdigest()[:16]


def find() -> Path | None:
    """The folder with the servers, None where any of them is missing."""
    found = folder()
    return found if all(os.access(found / name, os.X_OK) for name in PACKAGES) else None


def versions() -> dict[str, str]:
    """The version of each server, as go.mod pins it."""
    pinned = re.findall(r"^\t(\S+) (v\S+)(?: // indirect)?$", (MODULE / "go.mod").read_text(), flags=re.MULTILINE)
    return {
        name: next(version for module, version in pinned if f"{package}/".startswith(f"{module}/"))
        for name, package in PACKAGES.items()
    }


def build() -> Path:
    """Build what is missing, half an hour on two cores at first; returns the folder.

    Raises NoServers where there is no Go, or where Go says no.
    """
    if found := find():
        return found
    go = shutil.which("go")
    if go is None:
        raise NoServers("there is no Go on this machine to build the servers with")
    target = folder()
    target.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    for name, package in PACKAGES.items():
        if os.access(target / name, os.X_OK):
            continue
        sys.stderr.write(f"building {name} {versions()[name]}\n")
        unfinished = target / f".{name}.{os.getpid()}"
        command = [go, "build", "-p", "2", "-trimpath", "-ldflags", _flags(), "-o", str(unfinished), package]
        try:
            subprocess.run(command, cwd=MODULE, env=env, check=True, stdin=subprocess.DEVNULL)
            unfinished.rename(target / name)
        except subprocess.CalledProcessError as error:
            raise NoServers(f"go build {package} ended with code {error.returncode}") from None
        finally:
            unfinished.unlink(missing_ok=True)
    return target


def _flags() -> str:
    """No symbols, and the version that a server says of itself."""
    version = versions()["kube-apiserver"]
    major, minor, _ = version.removeprefix("v").split(".", 2)
    said = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
    stamps = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in said.items())
    return f"-s -w {stamps}"


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{build()}\n")
    except NoServers as error:
        sys.exit(f"no servers: {error}")
