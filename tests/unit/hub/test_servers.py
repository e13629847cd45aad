"""Which servers an operator's list means: names, networks, ports and paths, whatever a stranger writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.hub.servers import is_listed, server
from shared.kube.auth.kubeconfig import is_plain_server
from shared.kube.http.origin import split


def leads(listed, url):
    """Whether a URL may be followed."""
    return is_plain_server(url) and is_listed([server(each) for each in listed], *split(url))


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("api.example.com", "https://api.example.com"),
        ("api.example.com", "https://API.example.com:443/"),
        ("API.Example.com", "https://api.example.com"),
        ("api.example.com:6443", "https://api.example.com:6443"),
        ("*.example.com", "https://a.b.example.com"),
        ("api.example.com/clusters", "https://api.example.com/clusters"),
        ("api.example.com/clusters", "https://api.example.com/clusters/root:a/"),
        ("192.0.2.0/24", "https://192.0.2.1"),
        ("192.0.2.1:6443", "https://192.0.2.1:6443"),
        ("192.0.2.0/24:6443/k8s", "https://192.0.2.1:6443/k8s/clusters/c-1"),
    ],
)
def test_what_is_listed_is_led_to(listed, url):
    assert leads([listed], url)


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("api.example.com", "http://api.example.com:443"),
        ("api.example.com", "https://api.example.com.evil.org"),
        ("api.example.com", "https://evil.org/api.example.com"),
        ("api.example.com", "https://api.example.com@evil.org"),
        ("api.example.com", "https://api.example.com:8443"),  # what else listens there may be a tenant's
        ("api.example.com", "https://api.example.com/clusters/theirs"),  # and what is behind another path
        ("api.example.com", "https://api.example.com."),
        ("api.example.com", "https://xapi.example.com"),
        ("*.example.com", "https://example.com"),
        ("*.example.com", "https://.example.com"),
        ("*.example.com", "https://evilexample.com"),
        ("*.example.com", "https://192.0.2.1"),
        ("api.example.com/clusters", "https://api.example.com"),
        ("api.example.com/clusters", "https://api.example.com/clustersx"),
        ("api.example.com/clusters", "https://api.example.com/clusters/../admin"),
        ("api.example.com/clusters", "https://api.example.com/clusters/%2e%2e/admin"),
        ("198.51.100.0/24", "https://192.0.2.1"),
        ("198.51.100.0/24", "https://any.name.at.all"),
        ("0.0.0.0/0", "https://any.name.at.all"),
        ("127.0.0.0/8", "https://localhost"),  # nor is any other name one that resolves into the network
        ("10.0.0.0/8", "https://10.1"),  # some resolve it to 10.0.0.1
        ("10.0.0.0/8", "https://0x0a.0.0.1"),
        ("10.0.0.0/8", "https://010.1.2.3"),
        ("10.0.0.0/8", "https://10.1.2.3."),
        ("198.51.100.0/24", "https://198.51.100.1.evil.org"),
        ("192.0.2.0/24", "https://192.0.2.1:6443"),
    ],
)
def test_what_only_looks_like_it_is_not(listed, url):
    assert not leads([listed], url)


def test_a_network_is_compared_with_the_address_that_a_url_names():
    assert leads(["10.0.0.0/8"], "https://10.1.2.3")
    assert leads(["10.0.0.0/8"], "https://[::ffff:10.1.2.3]")
    assert not leads(["10.0.0.0/8"], "https://192.0.2.1")
    assert leads(["[fd00::/8]"], "https://[fd00::1]")
    assert leads(["[fd00::1]:6443"], "https://[fd00::1]:6443")
    assert not leads(["[fd00::/8]"], "https://10.1.2.3")
    assert leads(["10.0.0.0/8", "198.51.100.0/24"], "https://198.51.100.7")
    assert not leads(["10.0.0.0/8:6443", "198.51.100.0/24"], "https://10.1.2.3")


def test_nothing_is_led_to_where_nothing_is_listed():
    assert not leads([], "https://api.example.com")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "a..b",
        "https://a",
        "a:0",
        "a:65536",
        "a b",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "1.2.3",
        "a/../b",
        "a?b",
    ],
)
def test_what_is_no_server_is_said(text):
    with pytest.raises(ValueError, match=r"."):
        server(text)


@given(st.sampled_from(["api.example.com", "*.example.com:6443", "10.0.0.0/8", "[fd00::/8]:6443"]), st.text())
def test_no_text_of_a_stranger_breaks_it(listed, text):
    leads([listed], f"https://{text}")
    leads([listed], text)
