"""Where the workspaces of a server are, and parameters of a request."""

import pytest

from shared.kube.urls import encode_params, workspace_url


@pytest.mark.parametrize(
    ("server", "workspace", "url"),
    [
        ("https://k:6443", "root:team", "https://k:6443/clusters/root:team"),
        ("https://k:6443/clusters/root", "root:team", "https://k:6443/clusters/root:team"),
        ("https://k/proxy/clusters/root:a", "2x7f", "https://k/proxy/clusters/2x7f"),
        ("https://k:6443/services/apiexport/root/x", "*", "https://k:6443/services/apiexport/root/x/clusters/*"),
        ("https://k:6443", "", "https://k:6443"),
    ],
)
def test_workspaces_live_below_the_root_of_the_server(server, workspace, url):
    assert workspace_url(server, workspace) == url


@pytest.mark.parametrize("workspace", ["..", "root/../x", "root:", ":root", "Root", "a b", "root?x", "root::a"])
def test_what_is_no_workspace_path_is_refused(workspace):
    with pytest.raises(ValueError, match="is not a workspace path"):
        workspace_url("https://k", workspace)


def test_parameters_go_out_as_api_servers_read_them():
    assert encode_params({"a": True, "b": False, "c": None, "d": "", "e": 5}) == {"a": "true", "b": "false", "e": "5"}
    assert encode_params(None) == {}
