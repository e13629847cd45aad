"""deploy/Dockerfile: what it copies exists and reaches the builder, and what it installs is locked."""

import json
import re
from fnmatch import fnmatch

import pytest

from tests.support.compose import ENTRYPOINT, ROOT

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ")
IGNORED = (ROOT / ".dockerignore").read_text().split("\n")
LOCKS = ("requirements.lock", "deploy/requirements.lock", "deploy/build.lock")


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def copied() -> list[str]:
    """What comes from the checkout."""
    return [
        source
        for arguments in instructions("COPY")
        if not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    ]


def pins(lock: str) -> set[str]:
    """What a lock installs, as `name==version`."""
    return set(re.findall(r"^[\w.-]+==[\w.]+", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_exists_and_is_sent_to_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    kept = [line[1:] for line in IGNORED if line.startswith("!")]
    assert any(fnmatch(source, pattern) or pattern == f"{source}/**" for pattern in kept)


def test_the_entrypoint_is_our_command() -> None:
    assert [json.loads(found) for found in instructions("ENTRYPOINT")] == [ENTRYPOINT]


def test_it_runs_as_nobody_in_particular() -> None:
    assert instructions("USER") == ["65532:65532"]


def test_the_health_check_is_a_program_that_compiles() -> None:
    (check,) = instructions("HEALTHCHECK")
    program, flag, code = json.loads(check[check.index("[") :])
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_host_is_named(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "index-url" not in text
    entries = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert entries
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_the_image_gets_the_versions_that_are_tested() -> None:
    tested, installed = pins("requirements.lock"), pins("deploy/requirements.lock")
    assert installed
    assert installed <= tested
    assert not any(pin.startswith("pytest==") for pin in installed)
