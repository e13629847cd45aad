"""The `nats` tool, for tests of what docs/publish.md shows: `python -m tests.support.natstool` builds it, once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "v0.5.0"
PACKAGE = "github.com/nats-io/natscli/nats"


def folder() -> Path:
    """Where the tool of this version is kept, outside of the tree."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "moorage" / "natstool" / VERSION


def find() -> Path | None:
    """The folder that the tool is in: that which is kept, or one of the PATH; None where it is nowhere."""
    if os.access(folder() / "nats", os.X_OK):
        return folder()
    found = shutil.which("nats")
    return Path(found).parent if found else None


def build() -> Path:
    """Build what is missing, some minutes; returns the folder. Raises OSError where there is no Go."""
    if found := find():
        return found
    env = {**os.environ, "GOBIN": str(folder()), "GOTOOLCHAIN": "local"}
    subprocess.run(["go", "install", "-p", "2", f"{PACKAGE}@{VERSION}"], env=env, check=True, stdin=subprocess.DEVNULL)
    return folder()


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
