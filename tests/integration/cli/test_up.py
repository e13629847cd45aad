"""`moorage up` as a process: says where everything is, ends well, and says in one line what is wrong."""

import os
import re
from pathlib import Path

import psutil

from tests.support.process import BIN, Process, process
from tests.support.waiting import until

FAST = ["moorage", "up"]


def complaints(command: Process) -> list[str]:
    """What the command itself says on standard error."""
    return [line for line in command.lines if line.startswith("moorage: ")]


async def fails(*args: str, code: int = 1) -> str:
    """The one line that the command gives as its reason."""
    fast = () if "--workers" in args else ("--workers", "none")
    async with process([*FAST, *fast, *args], dict(os.environ)) as command:
        assert await command.ends() == code, command.output
        assert not any("Traceback" in line for line in command.lines), command.output
        assert len(complaints(command)) == 1, command.output
        return complaints(command)[0]


async def test_one_line_of_json_says_where_everything_is_and_sigterm_ends_it_all(tmp_path: Path) -> None:
    args = ["moorage", "up", "--workers", "scheduler", "--scale", "scheduler=2", "--data", str(tmp_path), "-o", "json"]
    async with process(args, dict(os.environ)) as command:
        place = await command.record(lambda record: "nats" in record)
        assert place["nats"].startswith("nats://127.0.0.1:")
        assert sorted(place["pids"]) == ["sandbox", "scheduler-1", "scheduler-2"]
        paths = [place["kubeconfig"], *place["targets"].values(), *place["users"].values()]
        assert [path for path in paths if not os.path.isfile(path)] == []  # noqa: ASYNC240, PTH113 - a test may look
        children = psutil.Process(command.child.pid).children(recursive=True)
        assert len(children) == 4  # with the NATS server
        user = min(place["users"])
        shell = (
            f'eval "$(moorage env --data {tmp_path} --user {user})"; echo $MOORAGE_NATS_URL $KUBECONFIG $MOORAGE_USER'
        )
        env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        async with process(["/bin/sh", "-c", shell], env) as told:
            assert await told.ends() == 0, told.output
            assert told.output.split() == [place["nats"], place["users"][user], user]
        command.terminate()
        assert await command.ends() == 0, command.output
    assert [child for child in children if child.is_running()] == []
    async with process(["moorage", "env", "--data", str(tmp_path)], dict(os.environ)) as told:
        assert await told.ends() == 1
        assert told.output.endswith("is not there: `moorage up` writes it, for as long as it runs")


async def test_a_signal_while_it_still_starts_ends_it_all(tmp_path: Path) -> None:
    """The worker waits for a NATS that is not there, so that it never becomes ready."""
    args = ["--workers", "scheduler", "--nats-url", "nats://127.0.0.1:1", "--kubeconfig", str(tmp_path / "none")]
    log = tmp_path / "logs" / "scheduler.log"
    async with process(["moorage", "up", "--data", str(tmp_path), *args], dict(os.environ)) as command:
        await until(lambda: log.is_file() and "waiting for NATS" in log.read_text(), within=30)
        children = psutil.Process(command.child.pid).children(recursive=True)
        command.terminate()
        assert await command.ends() == 0, command.output
    assert [child for child in children if child.is_running()] == []


async def test_a_nats_port_that_is_taken_is_one_line(tmp_path: Path, taken: int) -> None:
    assert str(taken) in await fails("--data", str(tmp_path), "--nats-port", str(taken))


async def test_a_sandbox_port_that_is_taken_is_one_line(tmp_path: Path, taken: int) -> None:
    assert "Address already in use" in await fails("--data", str(tmp_path), "--sandbox-port", str(taken))


async def test_a_data_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert await fails("--data", str(tmp_path / "file" / "data"), code=2) == (
        f"moorage: cannot use {tmp_path / 'file' / 'data'}: Not a directory"
    )


async def test_a_world_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    world = tmp_path / "world.yaml"
    world.write_text("targets: 3")
    why = await fails("--data", str(tmp_path / "data"), "--world", str(world), code=2)
    assert "Expected `array`, got `int`" in why


async def test_a_hub_kubeconfig_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    args = ["--workers", "controller", "--data", str(tmp_path), "--kubeconfig", str(tmp_path / "none")]
    assert "none" in await fails(*args)


async def test_a_second_one_on_the_same_folder_is_one_line(tmp_path: Path) -> None:
    async with process([*FAST, "--workers", "none", "--data", str(tmp_path), "-o", "json"], dict(os.environ)) as first:
        await first.record(lambda record: "nats" in record)
        assert "another NATS server is using" in await fails("--data", str(tmp_path))
        first.terminate()
        assert await first.ends() == 0


async def test_it_says_from_the_first_second_how_far_it_is(tmp_path: Path) -> None:
    args = ["moorage", "up", "--data", str(tmp_path), "--workers", "scheduler,policy"]
    async with process(args, dict(os.environ)) as command:
        await until(lambda: "Ctrl-C stops everything." in command.output, within=60)
        steps = re.findall(r"^\[ *\d+\.\d s\] (.*)$", command.output, re.MULTILINE)
        assert steps[:3] == ["starting NATS", "starting the sandbox", "starting 2 workers"]
        assert sorted(steps[3:]) == ["policy is ready", "scheduler is ready"]
        assert command.output.index("[") < command.output.index("NATS  ")


async def test_what_is_not_ready_in_time_is_named_and_all_is_stopped(tmp_path: Path) -> None:
    args = ["--nats-url", "nats://127.0.0.1:1", "--kubeconfig", str(tmp_path / "none"), "--data", str(tmp_path)]
    said = await fails("--workers", "scheduler", "--wait-timeout", "1s", *args)
    assert "scheduler is not ready in time (--wait-timeout)" in said
