"""Which Host a request may name."""

from __future__ import annotations

import pytest

from reauth_proxy.errors import HostDenied
from reauth_proxy.guard.hosts import Hosts, in_brackets

HOSTS = Hosts(["reauth-proxy", "API.Localhost", "192.168.1.5", "[fd00::1]"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "localhost:1",
        "localhost:65535",
        "localhost:",
        "LOCALHOST",
        "LocalHost:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:8080",
        "reauth-proxy",
        "Reauth-Proxy:80",
        "api.localhost:5173",
        "192.168.1.5:8080",
        "[fd00::1]:8080",
        "[FD00::1]",
    ],
)
def test_a_host_that_is_known(host: str) -> None:
    HOSTS.check(host.encode())
    HOSTS.check(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":8080",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "evil.localhost",
        "xlocalhost",
        "localhostx",
        "localhost.",
        "localhost.:8080",
        ".localhost",
        "127.0.0.1.",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "127.0.0.2",
        "127.1",
        "127.0.1",
        "127.000.000.001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0",
        "0.0.0.0",
        "0.0.0.0:8080",
        "[::]",
        "[::]:8080",
        "::1",
        "::1:8080",
        "[::1",
        "::1]",
        "[::01]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::1%25lo]",
        "[::1].evil.example",
        "[::1]evil",
        "user@localhost",
        "localhost@evil.example",
        "user:password@localhost:8080",
        "localhost:80:80",
        "localhost:-1",
        "localhost:8080x",
        "localhost:+80",
        "localhost:123456",
        "localhost/",
        "localhost,evil.example",
        "localhost, localhost",
        "localhost evil.example",
        "localhost\tevil.example",
        "localhost#evil",
        "localhost?",
        "localhost%00",
        "%6cocalhost",
        "l%6Fcalhost:8080",
        "localhost\\",
        "*",
        "*.localhost",
        "reauth-proxy.evil.example",
        "reauth_proxy",
        "192.168.1.50",
        "192.168.1.5.",
        "ⓛocalhost",
        "localhost\u3002",
    ],
)
def test_a_host_that_is_denied(host: str) -> None:
    with pytest.raises(HostDenied, match=r"access\.hosts"):
        HOSTS.check(host.encode())


def test_a_denied_host_is_not_shown() -> None:
    with pytest.raises(HostDenied) as denied:
        HOSTS.check(b"CANARY.example")
    assert "CANARY" not in denied.value.detail


def test_no_host_at_all_passes_as_http_1_0_allows_it() -> None:
    HOSTS.check(None)


def test_what_is_remembered_is_bounded() -> None:
    hosts = Hosts()
    for port in range(2000):
        hosts.check(b"localhost:%d" % port)
    assert len(hosts.known) <= 256
    hosts.check(b"127.0.0.1:9")
    with pytest.raises(HostDenied):
        hosts.check(b"other")


def test_an_ipv6_address_gets_its_brackets() -> None:
    assert in_brackets("::1") == "[::1]"
    assert in_brackets("localhost") == "localhost"
