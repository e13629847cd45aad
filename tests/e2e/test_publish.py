"""docs/publish.md: its commands and the programs of examples/events, as they stand, as a user without a kubeconfig.

One system runs for all of them. Whatever was published in the end is held against the published schemas.
"""

import asyncio
import json
import os
import re
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import jsonschema_rs
import pytest
import pytest_asyncio
import yaml

from shared.broker.nats.client import NatsClient
from shared.broker.nats.reader import after, follow
from shared.pipeline.events import EVENTS_SUBJECT
from shared.pipeline.topology import EVENTS_STREAM
from tests.support import natstool
from tests.support.ports import free_port
from tests.support.process import BIN, BOUND, process

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/publish.md").read_text()
SCHEMAS = ROOT / "docs/reference/schemas"
WITHIN = 120.0  # seconds that the commands of a user may take

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.timeout(WITHIN + 120),
    pytest.mark.xdist_group("pages"),
    pytest.mark.asyncio(loop_scope="module"),
]


def blocks(title: str) -> tuple[str, ...]:
    """The blocks of commands of a section."""
    section = re.search(rf"## {title}\n(.*?)(?:\n## |\Z)", PAGE, re.DOTALL)
    assert section
    return tuple(re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:    .*\n)+", section[1]))


STARTING, BEING, ASKING = blocks("Five minutes")
EXPORTS = "\n".join(line for line in BEING.splitlines() if line.startswith("export"))
(WHOLE,) = blocks("A whole application")
PROGRAMS, TOOL = blocks("From a program")
PYTHON, JAVASCRIPT, GO = PROGRAMS.splitlines()
GO_CACHES = {"GOMODCACHE": str(Path.home() / "go/pkg/mod"), "GOCACHE": str(Path.home() / ".cache/go-build")}


class User:
    """Somebody at a terminal, as the page says, in a folder with nothing but the examples."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self._port = str(port)
        self.nats = f"nats://127.0.0.1:{port}"

    async def types(self, commands: str, being: str = EXPORTS) -> list[str]:
        """What commands print; all of them end well."""
        typed = f"{being}\n{commands}".replace("4222", self._port)
        path = os.pathsep.join((*([str(tool)] if (tool := natstool.find()) else []), str(BIN), os.environ["PATH"]))
        env = {**GO_CACHES, **os.environ, "PATH": path, "HOME": str(self.folder)}
        async with process(["bash", "-euc", typed], env, cwd=self.folder) as user:
            assert await user.ends(WITHIN) == 0, user.output
            return user.lines


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def user(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[User]:
    folder, port = tmp_path_factory.mktemp("publish"), free_port()
    shutil.copytree(ROOT / "examples", folder / "examples")
    up = STARTING.strip().splitlines()[-1].replace("4222", str(port)).split()
    async with process([*up, "-o", "json"], {**os.environ, "HOME": str(folder)}, cwd=folder) as running:
        await running.record(lambda record: "kubeconfig" in record, WITHIN)
        found = User(folder, port)
        await found.types("", BEING)
        yield found
        running.terminate()
        assert await running.ends(BOUND) == 0, running.output


async def test_the_commands_of_the_five_minutes_work_as_they_stand(user: User) -> None:
    lines = await user.types(ASKING)
    output = "\n".join(lines)
    assert "shop/hello accepted, generation 1" in lines
    for word in ("Accepted", "Requested", "Decided", "Bound", "Ready"):
        assert re.search(rf"^\d\d:\d\d:\d\d  shop/hello +{word}", output, re.MULTILINE), output
    assert re.search(r"^shop/hello is Ready since ", output, re.MULTILINE), output
    assert re.search(r"Removed +everywhere$", lines[-1]), output


async def test_an_application_is_placed_as_one_and_withdrawn(user: User) -> None:
    output = "\n".join(await user.types(WHOLE))
    assert re.search(r"^\d\d:\d\d:\d\d  shop/carts +Ready +in 2 targets", output, re.MULTILINE), output
    assert re.search(r"Removed +everywhere$", output), output


async def test_the_program_in_python_works_as_it_stands(user: User) -> None:
    lines = await user.types(PYTHON)
    assert lines[0].startswith("io.moorage.placement.accepted.v1")
    assert lines[-1].startswith("io.moorage.placement.ready.v1 20")


async def test_the_program_in_javascript_works_as_it_stands(user: User) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node on this machine")
    install, run = JAVASCRIPT.split(" && ")
    try:
        await user.types(install)
    except AssertionError as error:
        pytest.skip(f"npm cannot install the package nats here: {str(error)[-200:]}")
    lines = await user.types(run)
    assert lines[0].startswith("io.moorage.placement.accepted.v1")
    assert lines[-1].startswith("io.moorage.placement.ready.v1 20")


async def test_the_program_in_go_works_as_it_stands(user: User) -> None:
    if shutil.which("go") is None:
        pytest.skip("there is no Go on this machine")
    try:
        await user.types("go -C examples/events mod download")
    except AssertionError as error:
        pytest.skip(f"Go cannot have the module nats.go here: {str(error)[-200:]}")
    await user.types("go -C examples/events build -o /dev/null .")  # what takes its time
    lines = await user.types(GO)
    assert lines[0].startswith("io.moorage.placement.accepted.v1")
    assert lines[-1].startswith("io.moorage.placement.ready.v1 20")


async def test_the_published_document_is_asyncapi_by_the_specifications_own_schema(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm on this machine, from which the schema comes")
    npm = await asyncio.create_subprocess_exec("npm", "pack", "@asyncapi/specs@6.11.1", cwd=tmp_path)
    if await npm.wait():
        pytest.skip("npm cannot have the package @asyncapi/specs here")
    with tarfile.open(tmp_path / "asyncapi-specs-6.11.1.tgz") as packed:
        found = packed.extractfile("package/schemas/3.0.0-without-$id.json")
        assert found is not None
        schema = json.load(found)
    jsonschema_rs.validator_for(schema).validate(yaml.safe_load((SCHEMAS.parent / "asyncapi.yaml").read_text()))


async def test_the_nats_tool_alone_is_enough(user: User) -> None:
    if natstool.find() is None:
        pytest.skip("there is no `nats` tool on this machine; python -m tests.support.natstool builds it")
    output = "\n".join(await user.types(TOOL))
    assert "io.moorage.placement.accepted.v1" in output


@pytest.mark.parametrize("name", ["place.py", "place.js", "place.sh"])
async def test_a_program_has_less_than_forty_lines(name: str) -> None:
    assert len((ROOT / "examples/events" / name).read_text().splitlines()) < 40


async def test_both_files_ask_for_the_same() -> None:
    from services.cli.support.flags import content

    assert content([str(ROOT / "examples/events/hello.yaml")]) == json.loads(
        (ROOT / "examples/events/hello.json").read_text()
    )


async def test_every_event_that_was_published_is_valid_by_its_schema(user: User) -> None:
    await user.types(ASKING)
    client = await NatsClient.connect(user.nats, name="test")
    found = []
    try:
        async with (
            asyncio.timeout(BOUND),
            aclosing(follow(client, EVENTS_STREAM, f"{EVENTS_SUBJECT}.>", after(0))) as messages,
        ):
            async for message in messages:
                if message is None:
                    break
                event = json.loads(message.data)
                jsonschema_rs.validator_for(json.loads((SCHEMAS / f"{event['type']}.json").read_text())).validate(event)
                found.append(event["type"])
    finally:
        await client.close()
    assert {f"io.moorage.placement.{each}.v1" for each in ("accepted", "decided", "bound", "ready")} <= set(found)
