"""Requests that are refused before they can confuse anyone."""

from __future__ import annotations

import pytest

from reauth_proxy.errors import BadRequest, ExpectationFailed, MethodNotSupported, VersionNotSupported
from reauth_proxy.http1.framing import (
    check_host,
    check_method,
    check_version,
    expects_continue,
    max_forwards,
    origin_form,
)

HOST = b"localhost:8080"


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/a//b",
        b"/a/../b",
        b"/./",
        b"/..%2f",
        b"/%41%7E%zz%",
        b"/x?",
        b"/x?a=1&a=2;b",
        b"/x?a=b?c=/d",
        b"//evil.example/p",
        b'/a"|b',
        b"/\xc3\xa9",
        b"/@evil",
        b"/a:b@c",
    ],
)
def test_rfc9112_3_2_1_an_origin_form_target_stays_byte_for_byte(target: bytes) -> None:
    assert origin_form(target, HOST) == target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://localhost:8080/p?q", b"/p?q"),
        (b"HTTP://LOCALHOST:8080/p", b"/p"),
        (b"http://localhost:8080", b"/"),
        (b"http://localhost:8080?x=1", b"/?x=1"),
        (b"http://localhost:8080//a/../b", b"//a/../b"),
    ],
)
def test_rfc9112_3_2_2_an_absolute_form_target_for_this_host_is_taken(target: bytes, expected: bytes) -> None:
    assert origin_form(target, HOST) == expected


@pytest.mark.parametrize(
    "target",
    [
        b"http://evil.example/p",
        b"http://localhost:8080@evil.example/p",
        b"https://evil.example/",
        b"http://[::1/p",
        b"ftp://localhost:8080/",
        b"localhost:8080",
        b"@evil/",
        b"*",
        b"",
        b"/a b",
        b"/a\x00b",
        b"/a\tb",
        b"/a#b",
        b"/a\x7f",
        b"\\evil",
    ],
)
def test_any_other_target_is_refused(target: bytes) -> None:
    with pytest.raises(BadRequest):
        origin_form(target, HOST)


def test_an_absolute_form_target_without_a_host_is_refused() -> None:
    with pytest.raises(BadRequest):
        origin_form(b"http://localhost:8080/", None)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_would_move_or_echo_the_token_are_refused(method: str) -> None:
    with pytest.raises(MethodNotSupported):
        check_method(method)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "QUERY"])
def test_every_other_method_passes(method: str) -> None:
    check_method(method)


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST:8080",
        b"127.0.0.1",
        b"[::1]",
        b"[::1]:1",
        b"a.b:",
        b"h:65535",
        b"a_b~c",
        b"x%41",
        b"1e1",
    ],
)
def test_rfc9112_3_2_a_host_with_an_optional_port_is_taken(host: bytes) -> None:
    check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b":80",
        b"user@h",
        b"user:secret@h",
        b"h:65536",
        b"h:-1",
        b"h:8o",
        b"h:80:80",
        b"h:123456",
        b"a b",
        b"a,b",
        b"h/",
        b"h/path",
        b"h?x",
        b"h#x",
        b"a\\b",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"[zz]",
        b"h\t",
        b"h\x00",
        b"\xe4",
        b"x%4",
        b"<h>",
    ],
)
def test_rfc9112_3_2_a_host_that_is_none_is_refused(host: bytes) -> None:
    with pytest.raises(BadRequest):
        check_host(host)


@pytest.mark.parametrize(("version", "good"), [((1, 1), True), ((1, 0), True), ((0, 9), False), ((1, 2), False)])
def test_rfc9112_2_3_two_versions_are_supported(version: tuple[int, int], good: bool) -> None:
    if good:
        check_version(version)
    else:
        with pytest.raises(VersionNotSupported):
            check_version(version)


@pytest.mark.parametrize(("field", "expected"), [(b"100-continue", True), (b"100-Continue , ", True), (b"", False)])
def test_rfc9110_10_1_1_an_expectation_that_can_be_met(field: bytes, expected: bool) -> None:
    assert expects_continue(field) is expected


@pytest.mark.parametrize("field", [b"200-ok", b"100-continue, x", b"100-continue;q=1"])
def test_rfc9110_10_1_1_any_other_expectation_fails(field: bytes) -> None:
    with pytest.raises(ExpectationFailed):
        expects_continue(field)


def test_rfc9110_7_6_2_max_forwards_counts_down_in_its_place() -> None:
    lines = [b"A: 1", b"max-Forwards: 3", b"B: 2"]
    assert max_forwards(lines) == 3
    assert lines == [b"A: 1", b"max-Forwards: 2", b"B: 2"]
    assert max_forwards([b"Max-Forwards: 0\r\n"]) == 0
    assert max_forwards([b"A: 1"]) is None


@pytest.mark.parametrize("lines", [[b"Max-Forwards: x\r\n"], [b"Max-Forwards: -1\r\n"], [b"Max-Forwards: 1\r\n"] * 2])
def test_rfc9110_7_6_2_max_forwards_is_one_number(lines: list[bytes]) -> None:
    with pytest.raises(BadRequest):
        max_forwards(lines)
