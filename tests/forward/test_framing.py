"""Requests that are refused before they can confuse anyone."""

from __future__ import annotations

import pytest

from reauth_proxy.errors import BadRequest, MethodNotSupported
from reauth_proxy.forward.framing import check_method, origin_form

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
