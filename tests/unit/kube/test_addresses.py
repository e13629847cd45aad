"""Which addresses may be connected to."""

import pytest

from shared.kube.addresses import Addresses, networks


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1"),
        *("224.0.0.1", "239.1.2.3", "255.255.255.255", "240.0.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "febf::1", "ff02::1", "fec0::1", "fd00:ec2::254", "fd20:ce::254"),
        *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0.0.0.0", "::127.0.0.1", "64:ff9b::7f00:1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1"),
        "2001:0:c000:201::80ff:fffe",  # Teredo of 127.0.0.1
        *("", "localhost", "127.1", "2130706433", "0x7f000001"),
    ],
)
def test_loopback_link_local_and_metadata_are_never_permitted_in_whatever_form(address):
    assert not Addresses().permit(address)
    assert not Addresses(allowed=networks("10.0.0.0/8, fd00:1::/32")).permit(address)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.1", "203.0.113.9", "2001:db8::1", "fd12::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
)
def test_everything_else_is_permitted_unless_it_is_denied(address):
    assert Addresses().permit(address)
    assert not Addresses(denied=networks("0.0.0.0/0,::/0")).permit(address)
    assert Addresses(allowed=networks("0.0.0.0/0,::/0"), denied=networks("0.0.0.0/0,::/0")).permit(address)


def test_what_is_denied_is_so_inside_of_ipv6_too():
    denied = Addresses(denied=networks("10.0.0.0/8"))
    assert not any(map(denied.permit, ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::")))


def test_what_is_allowed_is_so_in_its_own_form_alone():
    allowed = Addresses(allowed=networks("127.0.0.0/8"))
    assert allowed.permit("127.0.0.1")
    assert allowed.permit("::ffff:127.0.0.1")
    assert not allowed.permit("::1")
    assert not allowed.permit("64:ff9b::7f00:1")


def test_networks_are_read_from_a_list():
    assert [str(each) for each in networks(" 10.0.0.0/8, ::1/128,192.0.2.1 ,")] == [
        "10.0.0.0/8",
        "::1/128",
        "192.0.2.1/32",
    ]
    for text in ("10.0.0.0/33", "host", "10.0.0.1/8"):
        with pytest.raises(ValueError, match=r"."):
            networks(text)
