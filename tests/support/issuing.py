"""A program that issues credentials, as an operator lists one for an access provider; it does as a test says."""

import json
import sys
from pathlib import Path
from typing import Any, Final

PROVIDER: Final = "fleet-manager"
_PROGRAM: Final = """
import json, os, subprocess, sys, time

home = sys.argv[1]
with open(home + "/runs", "a") as file:
    told = {"environment": dict(os.environ), "input": sys.stdin.read(), "pid": os.getpid()}
    file.write(json.dumps(told) + chr(10))

def issue(version="client.authentication.k8s.io/v1", kind="ExecCredential", **status):
    print(json.dumps({"apiVersion": version, "kind": kind, "status": status}), flush=True)

exec(open(home + "/does").read())
"""


class Issuing:
    """The program, and the operator's file that lists it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "program.py").write_text(_PROGRAM)

    def does(self, what: str) -> None:
        """Have it do this from now on: lines of Python, in which `issue(token="...")` prints an ExecCredential."""
        (self.home / "does").write_text(what)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What it was told each time that it ran: the environment, its input; and its process id."""
        path = self.home / "runs"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def listed(self, *servers: str, profiles: tuple[str, ...] = ("fleet",), **more: Any) -> bytes:
        """The operator's file with this one provider."""
        program = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": ["-I", "-S", str(self.home / "program.py"), str(self.home)],
            "env": [{"name": "GREETING", "value": "hello"}],
            "provideClusterInfo": True,
        }
        provider = {"name": PROVIDER, "execConfig": program, "servers": servers, "profiles": profiles, **more}
        return json.dumps({"providers": [provider]}).encode()
