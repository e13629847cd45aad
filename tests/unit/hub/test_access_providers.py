"""What an operator lists of access providers, and what a ClusterProfile can make of that."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.hub.access_providers import NO_ACCESS, AccessProviders, parsed, providers
from shared.kube.errors import ConfigError, NotAllowed
from shared.process.main import StartError
from shared.process.settings import HubSettings

EXTENSION = "client.authentication.k8s.io/exec"
EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/issue", "provideClusterInfo": True}
ONE = {
    "name": "google",
    "execConfig": {**EXEC, "config": {"audience": "fleet"}},
    "servers": ["*.example.com", "10.0.0.0/8:6443"],
    "profiles": ["root:platform/fleet", "fleet"],
}
SERVER = {"server": "https://a.example.com", "certificate-authority-data": base64.b64encode(b"PEM").decode()}


def listed(*given):
    return parsed(json.dumps({"providers": given}).encode())


def profile(name="google", key="accessProviders", **cluster):
    return {"status": {key: [{"name": "other", "cluster": {}}, {"name": name, "cluster": {**SERVER, **cluster}}]}}


def told(found):
    """What the program would be told of the cluster."""
    return json.loads(found.credentials().plugin.asked)["spec"]["cluster"]


def test_a_profile_is_reached_by_the_first_provider_that_is_listed_for_its_place():
    two = listed({**ONE, "name": "other", "profiles": ["elsewhere"]}, ONE)
    found = two.access("root:platform", "fleet", profile())
    assert (found.provider.name, two.access("", "fleet", profile()).provider.name) == ("google", "google")
    credentials = found.credentials()
    assert (credentials.server, credentials.ca, credentials.token) == ("https://a.example.com", b"PEM", "")
    assert listed(ONE).access("", "fleet", profile(key="credentialProviders")) is not None


@pytest.mark.parametrize(
    "place", [("root:team", "fleet"), ("root:platform", "other"), ("root:platform:edge", "fleet"), ("", "other")]
)
def test_whoever_writes_profiles_elsewhere_is_let_in_nowhere(place):
    assert listed(ONE).access(*place, profile()) is None
    assert listed(ONE).version(*place, profile()) == NO_ACCESS


def test_a_provider_that_nobody_lists_leads_nowhere():
    assert listed(ONE).access("", "fleet", profile("unknown")) is None
    assert AccessProviders().access("", "fleet", profile()) is None


@pytest.mark.parametrize(
    ("cluster", "error"),
    [
        ({"server": "https://evil.org"}, NotAllowed),
        ({"server": "http://a.example.com"}, NotAllowed),
        ({"server": "https://a.example.com:8443"}, NotAllowed),
        ({"server": "https://evil.org:6443"}, NotAllowed),  # whatever address it is at by now
        ({"server": "https://192.0.2.1:6443"}, NotAllowed),
        ({"server": "https://evil.org/a.example.com"}, NotAllowed),
        ({"server": "https://a.example.com@evil.org"}, ConfigError),
        ({"server": "https://a.example.com/x/../y"}, ConfigError),
        ({"server": "https://a.example.com?x=y"}, ConfigError),
        ({"server": 7}, ConfigError),
        ({"server": ""}, ConfigError),
        ({"certificate-authority-data": "not base64!"}, ConfigError),
        ({"certificate-authority-data": "A" * (1 << 20)}, ConfigError),
        ({"certificate-authority": "/etc/passwd"}, NotAllowed),
        ({"proxy-url": "https://evil.org"}, NotAllowed),
        ({"tls-server-name": "theirs.example.com"}, NotAllowed),
        ({"insecure-skip-tls-verify": True}, NotAllowed),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_leads_elsewhere_is_refused_and_quotes_nothing_of_it(cluster, error):
    with pytest.raises(error) as refusal:
        listed(ONE).access("", "fleet", profile(**cluster)).credentials()
    assert "evil" not in str(refusal.value)


def test_what_a_profile_hands_to_the_program_comes_to_it_only_where_the_operator_lets_it():
    theirs = {"extensions": [{"name": EXTENSION, "extension": {"clusterName": "a"}}]}
    assert told(listed(ONE).access("", "fleet", profile(**theirs))) == {**SERVER, "config": {"audience": "fleet"}}
    lets = listed({**ONE, "profileConfig": True})
    assert told(lets.access("", "fleet", profile(**theirs)))["config"] == {"clusterName": "a"}
    assert told(lets.access("", "fleet", profile()))["config"] == {"audience": "fleet"}
    large = {"extensions": [{"name": EXTENSION, "extension": "x" * (1 << 20)}]}
    with pytest.raises(ConfigError, match="over 16 KiB"):
        lets.access("", "fleet", profile(**large)).credentials()


def test_arguments_and_variables_of_a_profile_reach_no_program():
    for name in ("additional-args", "additional-envs"):
        key = f"clusterprofiles.multicluster.x-k8s.io/exec/{name}"
        theirs = {"extensions": [{"name": key, "extension": ["--evil"]}]}
        credentials = listed({**ONE, "profileConfig": True}).access("", "fleet", profile(**theirs)).credentials()
        assert "evil" not in credentials.plugin.asked
        assert credentials.plugin.command.args == ()


def test_a_version_tells_what_leads_elsewhere_and_nothing_else():
    version = listed(ONE).version("", "fleet", profile())
    assert listed(ONE).version("", "fleet", {**profile(), "metadata": {"labels": {"a": "b"}}}) == version
    assert listed(ONE).version("", "fleet", profile(server="https://b.example.com")) != version


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "cluster", "x"]), inner),
    max_leaves=8,
)


@given(JSON, JSON)
def test_no_profile_breaks_it(status, cluster):
    found = listed(ONE)
    found.version("", "fleet", {"status": status})
    strange = {"status": {"accessProviders": [{"name": "google", "cluster": cluster}, status]}}
    access = found.access("", "fleet", strange)
    assert access is not None
    with pytest.raises((ConfigError, NotAllowed)):
        access.credentials()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"servers": []}, "servers and profiles"),
        ({"profiles": []}, "servers and profiles"),
        ({"servers": ["https://a"]}, "is no server"),
        ({"execConfig": {**EXEC, "command": "issue"}}, "no absolute path"),
        ({"execConfig": {**EXEC, "apiVersion": "client.authentication.k8s.io/v1alpha1"}}, "apiVersion is none of"),
        ({"execConfig": {**EXEC, "interactiveMode": "Always"}}, "interactiveMode"),
        ({"server": ["a"]}, "unknown field"),
        ({"execConfig": {}}, "command"),
    ],
    ids=str,
)
def test_a_file_that_cannot_be_used_says_why(change, said):
    with pytest.raises(ValueError, match=said):
        listed({**ONE, **change})


def test_a_provider_is_listed_once():
    with pytest.raises(ValueError, match="'google' is listed twice"):
        listed(ONE, ONE)


def test_without_a_file_nobody_is_listed_and_one_that_is_not_there_ends_the_start(tmp_path):
    assert not providers(HubSettings())
    with pytest.raises(StartError, match=r"access_providers: .* cannot be read"):
        providers(HubSettings(access_providers=str(tmp_path / "none")))
    (tmp_path / "broken").write_text("{")
    with pytest.raises(StartError, match=r"broken: "):
        providers(HubSettings(access_providers=str(tmp_path / "broken")))
