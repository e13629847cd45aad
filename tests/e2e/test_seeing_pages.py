"""The commands of pages on what one sees, on a system that runs: explain, replay, top, doctor, tracing, logs, metrics,
decisions; and of sandbox and target-owners.

What takes kubelets (`kubectl logs`, `port-forward`) is done without them, on files and ports of this machine.
"""

import os
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.pages import ROOT, WITHIN, blocks
from tests.support.jaeger import binary, jaeger
from tests.support.process import BIN, process

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(4 * WITHIN), pytest.mark.xdist_group("pages")]

OPERATOR, USER = 'eval "$(moorage env)"', 'eval "$(moorage env --user shirin)"'
WORKSPACE = "root:apps:shop"
"""Where the user is at home in examples/world.yaml; the pages say root:team."""

BEFORE = f"""\
{USER}
kubectl create namespace shop
sed s/hello/backend/g examples/events/hello.yaml | kubectl apply -f -
kubectl wait placement backend -n shop --for=condition=Ready --timeout=90s
cp examples/policies/no-spot-for-payments.yaml new.yaml
"""


def commands(page: str, beginning: str) -> list[str]:
    """The commands of a page that begin so, in their order."""
    lines = "".join(blocks((ROOT / "docs" / page).read_text())).splitlines()
    return [each.replace("root:team", WORKSPACE) for each in lines if re.search(rf"(^|\| ){beginning}\b", each)]


class Typist:
    """Types commands in a folder in which `moorage up` runs."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder, self._env = folder, env

    async def types(self, script: str, well: Iterable[int] = (0,)) -> str:
        """What is printed; fails with it where the exit code is none of these."""
        async with process(["bash", "-euo", "pipefail", "-c", script], self._env, cwd=self._folder) as shell:
            assert await shell.ends(WITHIN) in well, f"{script}\n{shell.output}"
            return shell.output


@asynccontextmanager
async def typist(folder: Path, **more: str) -> AsyncIterator[Typist]:
    (folder / "examples").symlink_to(ROOT / "examples")
    there = {each: value for each, value in os.environ.items() if not each.startswith(("MOORAGE_", "OTEL_"))}
    own = {"HOME": str(folder), "PATH": f"{BIN}:{os.environ['PATH']}"}
    env = {**there, **own, "MOORAGE_CONTEXTS": str(folder / "contexts.json"), **more}
    async with process(["moorage", "up", "--world", "examples/world.yaml", "-o", "json"], env, cwd=folder) as up:
        await up.record(lambda record: "kubeconfig" in record, within=WITHIN)
        found = Typist(folder, env)
        await found.types(BEFORE)
        yield found
        up.terminate()
        assert await up.ends() == 0, up.output


@pytest.mark.long
async def test_the_commands_by_which_one_sees_what_a_system_does_work_as_the_pages_have_them(tmp_path: Path) -> None:
    async with typist(tmp_path) as here:
        explained = {each: await here.types(f"{USER}\n{each}") for each in commands("explain.md", "moorage explain")}
        assert len(explained) == 6
        assert all("backend" in said for command, said in explained.items() if "backend" in command)
        replayed = [await here.types(f"{OPERATOR}\n{each}", (0, 3)) for each in commands("replay.md", "moorage replay")]
        assert len(replayed) == 4
        assert all("attempt 1" in each for each in replayed)
        shown = [await here.types(f"{OPERATOR}\n{each}") for each in commands("top.md", "moorage top")]
        assert len(shown) == 3
        assert all("evaluated" in each for each in shown)
        doctor, _ = commands("doctor.md", "moorage doctor")  # the other is for three servers, as in test_nats_page.py
        diagnosed = await here.types(f"{OPERATOR}\n{doctor}")
        assert diagnosed.count("nothing wrong") == 3
        assert "process scheduled" in await here.types(f"{USER}\n{commands('tracing.md', 'moorage trace')[0]}")
        (listed,) = commands("decisions.md", "kubectl get placementdecision")
        assert len((await here.types(f"{USER}\n{listed} -n shop")).split()) == 2
        (told,) = commands("logs.md", "kubectl logs")
        filtered = told.partition("|")[2].replace("/web", "/backend")
        assert "placement ready" in await here.types(f"cat .moorage/logs/status.log | {filtered}")
        (scraped,) = (each for each in blocks((ROOT / "docs/metrics.md").read_text()) if "curl" in each)
        port = "$(jq -r 'select(.message == \"ready\").health_port' .moorage/logs/decision.log)"
        curl = scraped.splitlines()[1].replace("8080", port)
        assert 'outcome="placed"' in await here.types(curl)
        (given,) = commands("target-owners.md", "kubectl annotate")
        owner = "export KUBECONFIG=.moorage/sandbox/target-eu-west-1.kubeconfig\nkubectl create namespace shop"
        assert "annotated" in await here.types(f"{owner}\n{given}")
        offered = [await here.types(f"{OPERATOR}\nmoorage cluster list {each}") for each in ("-A", "-A -o name")]
        assert [each.count("root:platform/eu-west-1") for each in offered] == [1, 1]
        faults = commands("sandbox.md", "moorage sandbox fault")
        assert len(faults) == 4
        assert "deployments.apps" in await here.types("\n".join(faults))


@pytest.mark.servers
async def test_a_round_is_shown_and_drawn_from_a_real_jaeger_as_the_page_has_it(tmp_path: Path) -> None:
    program = binary()
    (tmp_path / "jaeger").mkdir()
    async with jaeger(program, tmp_path / "jaeger") as found:
        sends = {"OTEL_EXPORTER_OTLP_ENDPOINT": found.otlp, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        async with typist(tmp_path, **sends, MOORAGE_JAEGER_URL=found.query) as here:
            shown, drawn = commands("tracing.md", "moorage trace")
            patient = "for _ in $(seq 50); do {} && break; sleep 0.2; done"
            assert "reconcile placement" in await here.types(f"{USER}\n{patient.format(shown)}")
            await here.types(f"{USER}\n{drawn.replace('hello', 'backend')}")
    assert (tmp_path / "trace.svg").read_text().startswith("<svg")
