"""How an access provider's program is run: what it may print, how long and how often it runs, at whose cost."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from shared.hub.access_providers import parsed
from shared.kube.auth.plugin import Issuer
from shared.kube.auth.program import AT_ONCE, LONGEST_OUTPUT, CredentialCommand, CredentialProgram
from shared.kube.errors import ConfigError
from tests.support.issuing import PROVIDER, Issuing
from tests.support.waiting import until

WITHIN = 60.0  # seconds
SECRET = "sEcReT"
HOSTILE = {
    "garbage": (f"print('{SECRET}')", "printed no ExecCredential"),
    "nothing": ("", "printed no ExecCredential"),
    "bytes": ("sys.stdout.buffer.write(bytes(range(256)))", "printed no ExecCredential"),
    "deep": ("print('[' * 60000)", "printed no ExecCredential"),
    "large": (f"print('{SECRET}' * 2000000)", f"more than {LONGEST_OUTPUT >> 10} KiB"),
    "endless": (f"while True: print('{SECRET}')", f"more than {LONGEST_OUTPUT >> 10} KiB"),
    "another version": (
        f'issue(version="client.authentication.k8s.io/v1beta1", token="{SECRET}")',
        "no ExecCredential of client.authentication.k8s.io/v1$",
    ),
    "another kind": (f'issue(kind="Secret", token="{SECRET}")', "no ExecCredential of"),
    "no token": ("issue()", "neither a token nor a client certificate"),
    "half a certificate": (f'issue(clientCertificateData="{SECRET}")', "without its key"),
    "headers": (f'issue(token="{SECRET}\\r\\nX-Remote-User: admin")', "issued a token that is none"),
    "huge token": (f'issue(token="{SECRET}" * 9000)', "issued a token that is none"),
    "expired": (f'issue(token="{SECRET}", expirationTimestamp="2020-01-01T00:00:00Z")', "has expired"),
    "no time": (f'issue(token="{SECRET}", expirationTimestamp="{SECRET}")', "no time"),
    "fails": (f"print('{SECRET}', file=sys.stderr); sys.exit(7)", "exit code 7"),
    "hangs": (f"issue(token='{SECRET}'); time.sleep(600)", "took over"),
    "leaves a child": (
        f"issue(token='{SECRET}'); subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
        "took over",
    ),
}


@pytest.fixture
def issuing(tmp_path: Path) -> Issuing:
    return Issuing(tmp_path)


@pytest.mark.parametrize(("does", "said"), HOSTILE.values(), ids=HOSTILE)
async def test_a_program_that_does_as_it_should_not_costs_its_own_cluster_and_tells_nothing(
    issuing: Issuing, does: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    issuing.does(does)
    command = parsed(issuing.listed("a.example.com")).listed[0].command
    command = CredentialCommand(**{**_fields(command), "longest": 2.0 if said == "took over" else 30.0})
    program = CredentialProgram(command, "https://a.example.com", command.asking(None))
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            with pytest.raises(ConfigError, match=said) as refusal:
                await program.credentials()
    assert SECRET not in str(refusal.value) + repr(program) + repr(command) + caplog.text
    (run,) = issuing.runs  # soon after a failure it is not run again
    await until(lambda: _ended(run["pid"]), "it is ended, with all that it began", within=WITHIN)


async def test_a_program_that_is_not_there_is_said(issuing: Issuing) -> None:
    command = CredentialCommand(
        name=PROVIDER, api_version="client.authentication.k8s.io/v1", path=str(issuing.home / "none")
    )
    with pytest.raises(ConfigError, match="cannot be run: No such file"):
        await CredentialProgram(command, "https://a", command.asking(None)).credentials()


async def test_credentials_are_kept_until_shortly_before_they_expire(issuing: Issuing) -> None:
    now = 1_800_000_000.0
    issuing.does('issue(token="first", expirationTimestamp="2027-01-15T09:00:00Z")')  # an hour after that
    command = parsed(issuing.listed("a.example.com")).listed[0].command
    program = CredentialProgram(command, "https://a.example.com", command.asking(None), clock=lambda: now)
    assert (await program.credentials()).token == "first"
    issuing.does('issue(token="second")')
    now += 3500
    assert (await program.credentials()).token == "first"
    now += 50
    assert (await program.credentials()).token == "second"
    now += 1e9
    assert (await program.credentials()).token == "second"
    assert len(issuing.runs) == 2


async def test_few_run_at_once_and_who_asks_meanwhile_hears_the_same(issuing: Issuing) -> None:
    issuing.does(
        """
import glob
mine = f"{home}/at-work-{os.getpid()}"
open(mine, "w").close()
at_once = len(glob.glob(home + "/at-work-*"))
time.sleep(0.2)
os.remove(mine)
issue(token=str(at_once))
"""
    )
    command = parsed(issuing.listed("a.example.com")).listed[0].command
    room = asyncio.Semaphore(2)
    programs = [CredentialProgram(command, f"https://{number}.example.com", "{}", room) for number in range(6)]
    async with asyncio.timeout(WITHIN):
        found = await asyncio.gather(*(program.credentials() for program in programs * 3))
    assert max(int(each.token) for each in found) <= 2
    assert len(issuing.runs) == 6


async def test_whoever_has_the_program_hang_keeps_nobody_waiting_in_another_place(issuing: Issuing) -> None:
    issuing.does(
        """
if json.loads(os.environ["KUBERNETES_EXEC_INFO"])["spec"]["cluster"]["server"].startswith("https://hangs-"):
    time.sleep(600)
issue(token="ours")
"""
    )
    listed = parsed(issuing.listed("*.example.com", profiles=("theirs", "ours")))

    def program(namespace: str, server: str) -> Issuer:
        said = {"status": {"accessProviders": [{"name": PROVIDER, "cluster": {"server": server}}]}}
        found = listed.access("", namespace, said)
        assert found is not None
        plugin = found.credentials().plugin
        assert isinstance(plugin, CredentialProgram)
        plugin.command = CredentialCommand(**{**_fields(plugin.command), "longest": 600.0})
        return plugin

    theirs = [program("theirs", f"https://hangs-{number}.example.com") for number in range(60)]
    hanging = [asyncio.ensure_future(each.credentials()) for each in theirs]
    try:
        await until(lambda: len(issuing.runs) == AT_ONCE, "as many hang as may run at once", within=WITHIN)
        assert (await program("ours", "https://east.example.com").credentials()).token == "ours"
    finally:
        for each in hanging:
            each.cancel()
        await asyncio.wait(hanging)


def _fields(command: CredentialCommand) -> dict[str, Any]:
    return {name: getattr(command, name) for name in ("name", "api_version", "path", "args", "environment")}


def _ended(group: int) -> bool:
    """Whether no process of a group is there any more."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
