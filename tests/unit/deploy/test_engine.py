"""`python -m tests.support.engine`: an engine that answers is used as it is, and where none can be had that is said."""

import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support import engine
from tests.support.compose import ROOT, SERVICES
from tests.support.images import STAND_INS

BOUND = 60.0  # seconds, on a busy machine
SAY = "import os, sys; print(os.environ['DOCKER_HOST'], os.environ.get('DOCKER_CONFIG')); sys.exit(7)"
STAY = "import signal; print('there', flush=True); signal.pause()"


class Answers(BaseHTTPRequestHandler):
    """As little of an engine as a client asks for before it believes that there is one."""

    def do_GET(self) -> None:
        body = b'{"ApiVersion": "1.41"}' if self.path.endswith("/version") else b"OK"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a client"

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def started(host: str, *command: str) -> subprocess.Popen[str]:
    """The program with a command; an engine is looked for there, and no program is found by which one is started."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.engine", *command],
        env=environment | {"DOCKER_HOST": host, "PATH": ""},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """Where something answers as an engine does."""
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "engine"), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{tmp_path}/engine"
        server.shutdown()


def test_an_engine_that_answers_is_used_as_it_is_and_the_command_says_how_it_ends(host: str) -> None:
    assert engine.why_not(host) == ""
    running = started(host, sys.executable, "-c", SAY)
    said, told = running.communicate(timeout=BOUND)
    assert (said, told, running.returncode) == (f"{host} None\n", "", 7)


def test_the_command_ends_with_the_program(host: str) -> None:
    running = started(host, sys.executable, "-c", STAY)
    assert running.stdout is not None
    assert running.stdout.readline() == "there\n"
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=BOUND)  # to its end, which comes only when the command has closed the pipe
    assert running.returncode == 128 + signal.SIGTERM


def test_where_none_can_be_started_that_is_said_and_is_no_failure(tmp_path: Path) -> None:
    running = started(f"unix://{tmp_path}/nobody", "never")
    said, told = running.communicate(timeout=BOUND)
    assert (said, running.returncode) == ("", 0)
    assert told.startswith("skipped: no Docker engine answers, and none can be started here, since this is not ")


def test_every_image_that_is_used_without_a_profile_has_a_stand_in() -> None:
    used = {service["image"] for service in SERVICES.values() if "profiles" not in service}
    assert used - {"moorage"} <= STAND_INS.keys()
