"""deploy/servers pins one Kubernetes: every staging module in the version that was published with it."""

import re
from pathlib import Path

import pytest

from tests.support import servers

GO_MOD = (servers.MODULE / "go.mod").read_text()


def test_every_staging_module_is_replaced_by_the_version_of_its_kubernetes() -> None:
    kubernetes = servers.versions()["kube-apiserver"].removeprefix("v1.")
    replaced = re.findall(r"^\t(k8s\.io/\S+) => (\S+) (v\S+)$", GO_MOD, flags=re.MULTILINE)
    assert len(replaced) > 25
    assert {(old == new, version) for old, new, version in replaced} == {(True, f"v0.{kubernetes}")}


def test_no_file_names_where_modules_come_from() -> None:
    assert "://" not in GO_MOD


def test_servers_are_kept_by_what_is_pinned_and_found_when_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOORAGE_SERVERS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = servers.folder()
    assert folder.parent == tmp_path / "moorage" / "servers"
    folder.mkdir(parents=True)
    for name in servers.PACKAGES:
        assert servers.find() is None
        (folder / name).touch(mode=0o755)
    assert servers.find() == servers.build() == folder
    monkeypatch.setenv("MOORAGE_SERVERS", str(tmp_path))
    assert (servers.folder(), servers.find()) == (tmp_path, None)


def test_without_go_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_SERVERS", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(servers.NoServers, match="there is no Go"):
        servers.build()
