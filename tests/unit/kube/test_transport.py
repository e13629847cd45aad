"""Parameters of a request."""

from shared.kube.transport import encode_params


def test_parameters_go_out_as_api_servers_read_them():
    assert encode_params({"a": True, "b": False, "c": None, "d": "", "e": 5}) == {"a": "true", "b": "false", "e": "5"}
    assert encode_params(None) == {}
