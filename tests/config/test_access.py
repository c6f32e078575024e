"""The section `access`."""

from __future__ import annotations

import pytest

from reauth_proxy.config import access
from reauth_proxy.daemon import forwarding
from reauth_proxy.errors import ClientDenied, HostDenied
from tests.config.reading import LEAST, problems, read


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("reauth-proxy", "reauth-proxy"),
        ("API.Example.Com", "api.example.com"),
        ("my_service", "my_service"),
        ("10.0.0.5", "10.0.0.5"),
        ("fd00::1", "[fd00::1]"),
        ("[FD00::1]", "[fd00::1]"),
    ],
)
def test_a_host(written: str, meant: str) -> None:
    assert access.host(written) == meant


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("*.example.com", "patterns are not possible"),
        ("*", "patterns are not possible"),
        ("http://a", "without scheme and port"),
        ("a:8080", "without scheme and port"),
        ("a/b", "without scheme and port"),
        ("a.", "without scheme and port"),
        ("", "without scheme and port"),
        ("0.0.0.0", "no address of a machine"),
        ("[::]", "no address of a machine"),
        ("127.1", "without scheme and port"),
        ("2130706433", "without scheme and port"),
        (["a"], "without scheme and port"),
    ],
)
def test_what_is_no_host(written: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        access.host(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://localhost:5173", "http://localhost:5173"),
        ("HTTPS://App.Example.Com", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://app.example.com:0443", "http://app.example.com:443"),
        ("http://[::1]:5173", "http://[::1]:5173"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
    ],
)
def test_an_origin_is_kept_as_a_browser_writes_it(written: str, meant: str) -> None:
    assert access.origin(written) == meant


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("*", "any web page"),
        ("null", "any web page"),
        ("http://localhost:5173/", "no slash at its end"),
        ("http://localhost:5173/app", "expected an origin"),
        ("localhost:5173", "expected an origin"),
        ("http://*.example.com", "expected an origin"),
        ("http://user@localhost", "expected an origin"),
        ("http://localhost:99999", "a port from 1 to 65535"),
        ("http://localhost:0", "a port from 1 to 65535"),
        ("http://", "expected an origin"),
        (5173, "expected an origin"),
    ],
)
def test_what_is_no_origin(written: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        access.origin(written)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("access: {hosts: ['*.a']}", "access.hosts[0]: patterns are not possible here: "),
        ("access: {origins: ['*']}", "access.origins[0]: with '*' here any web page could use the session; "),
        ("access: {allow: [/api]}", 'access.allow[0]: expected a method and a path, such as "GET /api/**"'),
        ("access: {deny: [5]}", "access.deny[0]: expected a method and a path"),
        ("access: {client_token: ''}", "access.client_token: "),
        ("access: {client_token: '  '}", "access.client_token: it is empty"),
        ("access: {client_token: {env: NOPE}}", "access.client_token: the environment variable NOPE is not set"),
    ],
)
def test_a_mistake_is_told_with_its_key(text: str, told: str) -> None:
    (problem,) = problems(LEAST + text)
    assert told in problem


def test_a_client_token_lets_it_listen_to_other_machines() -> None:
    config = read(LEAST + "listen: 0.0.0.0:80\naccess: {client_token: CANARY}")
    assert config.listen.remote
    assert "CANARY" not in repr(config)
    with pytest.raises(ClientDenied):
        forwarding.guard(config).client(None)


def test_the_guard_answers_to_the_name_that_listen_has() -> None:
    guard = forwarding.guard(read(LEAST + "listen: 192.168.1.5:80\naccess: {allow_remote: true, hosts: [other]}"))
    for host in (b"192.168.1.5:8080", b"OTHER", b"localhost"):
        guard.hosts.check(host)
    with pytest.raises(HostDenied):
        guard.hosts.check(b"192.168.1.6")


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "'[::]:80'"])
def test_every_address_is_no_name(listen: str) -> None:
    guard = forwarding.guard(read(LEAST + f"listen: {listen}\naccess: {{allow_remote: true}}"))
    for host in (b"0.0.0.0", b"[::]"):
        with pytest.raises(HostDenied):
            guard.hosts.check(host)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("control: {listen: '0.0.0.0:8181'}", "3: control.listen: "),
        ("control: {listen: '192.0.2.1:8181'}", "3: control.listen: "),
        ("control: {listen: 'localhost:8080'}", "3: control.listen: this is `listen`"),
        ("listen: 'unix:/x'\ncontrol: {listen: 'unix:/x'}", "4: control.listen: this is `listen`"),
        ("control: {port: 8181}", "3: control.port: unknown key"),
    ],
)
def test_the_control_plane_stays_on_loopback(text: str, told: str) -> None:
    (problem,) = problems(LEAST + text)
    assert problem.startswith(told)


@pytest.mark.parametrize("allowed", ["allow_remote: true", "client_token: some-token-of-32-characters-012345"])
def test_the_control_plane_may_be_remote_where_that_is_allowed(allowed: str) -> None:
    control = read(f"{LEAST}access: {{{allowed}}}\ncontrol: {{listen: '0.0.0.0:8181'}}").control
    assert str(control.listen) == "0.0.0.0:8181"


def test_both_listeners_may_take_any_port() -> None:
    assert read(f"{LEAST}listen: '127.0.0.1:0'\ncontrol: {{listen: '127.0.0.1:0'}}").control.listen is not None


@pytest.mark.parametrize("text", ["control: null", "control:", "control: {listen: null}", "control: {listen: }"])
def test_null_turns_the_control_plane_off(text: str) -> None:
    assert read(LEAST + text).control.listen is None


@pytest.mark.parametrize("text", ["", "control: {}"])
def test_without_a_word_it_is_on(text: str) -> None:
    assert str(read(LEAST + text).control.listen) == "127.0.0.1:8181"
