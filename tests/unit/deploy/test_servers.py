"""deploy/servers pins one Kubernetes: every staging module in the version that was published with it; deploy/jaeger one
Jaeger, which is that of compose.yaml."""

import re
from pathlib import Path

import pytest

from tests.support import kcp, servers
from tests.support.compose import SERVICES
from tests.support.servers import COMPOSE, HELM, JAEGER, KUBERNETES, PROMETHEUS, GoModule

MODULES = (KUBERNETES, JAEGER, HELM, PROMETHEUS, COMPOSE)


def test_every_staging_module_is_replaced_by_the_version_of_its_kubernetes() -> None:
    kubernetes = KUBERNETES.versions()["kube-apiserver"].removeprefix("v1.")
    replaced = re.findall(r"^\t(k8s\.io/\S+) => (\S+) (v\S+)$", KUBERNETES.go_mod, flags=re.MULTILINE)
    assert len(replaced) > 25
    assert {(old == new, version) for old, new, version in replaced} == {(True, f"v0.{kubernetes}")}


def test_the_jaeger_that_is_tested_is_that_of_compose() -> None:
    """What was published as a module in version 1.(n + 63) is the image in version 2.n."""
    _, minor, patch = JAEGER.versions()["jaeger"].removeprefix("v").split(".")
    assert SERVICES["jaeger"]["image"] == f"jaegertracing/jaeger:2.{int(minor) - 63}.{patch}"


def test_the_promtool_that_is_used_is_of_the_prometheus_of_compose() -> None:
    """What was published as a module in version 0.(300 + n) is the image in version 3.n."""
    _, minor, patch = PROMETHEUS.versions()["promtool"].removeprefix("v").split(".")
    assert SERVICES["prometheus"]["image"] == f"prom/prometheus:v3.{int(minor) - 300}.{patch}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path.name)
def test_no_file_names_where_modules_come_from(module: GoModule) -> None:
    assert "://" not in module.go_mod


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path.name)
def test_servers_are_kept_by_what_is_pinned_and_found_when_all_are_there(
    module: GoModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOORAGE_SERVERS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = module.folder()
    assert folder.parent == tmp_path / "moorage" / "servers"
    folder.mkdir(parents=True)
    for name in module.packages:
        assert module.find() is None
        (folder / name).touch(mode=0o755)
    assert module.find() == module.build() == folder
    monkeypatch.setenv("MOORAGE_SERVERS", str(tmp_path))
    assert (module.folder(), module.find()) == (tmp_path, None)


def test_without_go_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_SERVERS", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(servers.NoServers, match="there is no Go"):
        KUBERNETES.build()


def test_a_kcp_is_had_where_one_is_named_and_what_is_no_program_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(kcp.PROGRAM, raising=False)
    with pytest.raises(kcp.NoKcp, match="MOORAGE_KCP names no kcp"):
        kcp.program()
    program = tmp_path / "kcp"
    monkeypatch.setenv(kcp.PROGRAM, str(program))
    for make in (program.touch, lambda: program.chmod(0o755)):
        with pytest.raises(ValueError, match="is no program"):
            kcp.program()
        make()
    assert kcp.program() == program
