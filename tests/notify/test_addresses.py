"""Webhooks reach public addresses and what is allowed, whatever a name says the second time."""

import asyncio
import ipaddress

import pytest

from holdfast.errors import ConfigurationError, InvalidArguments
from holdfast.notify import Allowed, NotSent
from holdfast.notify.addresses import is_public
from holdfast.notify.posting import Poster
from simulated_receiver import SimulatedReceiver

PRIVATE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.168.1.1",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2001:db8::1",
    "2001:0:1::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111"]


@pytest.mark.parametrize("address", PRIVATE)
def test_address_that_is_not_public_is_refused(address):
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(NotSent) as refused:
        post("https://hooks.example/", [address])
    assert refused.value.code == "address_refused"
    assert address not in refused.value.message


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_not_refused(address):
    assert is_public(ipaddress.ip_address(address))


def test_one_bad_address_among_good_ones_is_enough():
    with pytest.raises(NotSent) as refused:
        post("https://hooks.example/", ["8.8.8.8", "10.0.0.1"])
    assert refused.value.code == "address_refused"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "https://",
        "https://user:secret@example.org/",
        "https://example.org/#part",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://exa mple.org/",
        "https://example.org:0/",
        "https://example.org/" + "x" * 2_000,
        "/hook",
        "",
        None,
        7,
    ],
)
def test_url_that_cannot_be_one_is_refused_when_it_is_given(url):
    with pytest.raises(InvalidArguments):
        Poster().check_url(url)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "localhost", "localhost."])
def test_other_ways_to_write_this_machine_are_found_out_when_they_are_resolved(host):
    with pytest.raises(NotSent) as refused:
        asyncio.run(Poster(seconds=5).post(f"https://{host}/", b"{}", {}))
    assert refused.value.code in ("address_refused", "unresolved")


def test_what_is_allowed_by_name_or_network_is_reached_also_without_tls():
    with SimulatedReceiver() as receiver:
        for allowed, host in (("localhost", "localhost"), ("10.0.0.0/8, 127.0.0.1", "127.0.0.1")):
            poster = Poster(Allowed.parse(allowed), seconds=5)
            reply = asyncio.run(poster.post(f"http://{host}:{receiver.port}/a?b=c", b"{}", {}))
            assert reply.status == 204
    assert [came.path for came in receiver.came] == ["/a?b=c"] * 2


def test_list_that_is_none_is_refused():
    with pytest.raises(ConfigurationError):
        Allowed.parse("10.0.0.0/99")


def test_name_that_resolves_otherwise_the_second_time_gains_nothing():
    """The connection goes to what was looked at: there is no second time."""
    asked = []

    async def rebinding(host, port):
        asked.append(host)
        return ["127.0.0.1"] if len(asked) > 1 else ["127.0.0.2"]

    with SimulatedReceiver() as receiver:
        poster = Poster(Allowed.parse("127.0.0.2/32, hooks.example"), seconds=5, resolve=rebinding)
        with pytest.raises(NotSent) as failed:
            asyncio.run(poster.post(f"http://hooks.example:{receiver.port}/", b"{}", {}))
    assert failed.value.code == "unreachable"
    assert asked == ["hooks.example"]
    assert receiver.came == []


def test_next_address_is_tried_when_the_first_leads_nowhere():
    async def two(host, port):
        return ["127.0.0.2", "127.0.0.1"]

    with SimulatedReceiver() as receiver:
        poster = Poster(Allowed.parse("hooks.example"), seconds=5, resolve=two)
        asyncio.run(poster.post(f"http://hooks.example:{receiver.port}/", b"{}", {}))
    assert receiver.came[0].headers["host"] == f"hooks.example:{receiver.port}"


def post(url, addresses):
    async def resolve(host, port):
        return addresses

    return asyncio.run(Poster(seconds=5, resolve=resolve).post(url, b"{}", {}))
