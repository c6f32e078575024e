"""CORS for listed origins."""

from __future__ import annotations

from reauth_proxy.guard import cors

ORIGIN = b"http://localhost:5173"


def test_a_page_may_read_an_answer_and_its_signals() -> None:
    assert cors.lines(ORIGIN) == [
        b"Access-Control-Allow-Origin: http://localhost:5173",
        b"Access-Control-Allow-Credentials: true",
        b"Access-Control-Expose-Headers: Reauth-Signal, Proxy-Status, Retry-After",
        b"Vary: Origin",
    ]


def test_what_the_upstream_exposes_stays_exposed_but_for_a_wildcard_and_what_is_no_name() -> None:
    fields = [
        (b"access-control-expose-headers", b"X-Total, *, X Y"),
        (b"Access-Control-Expose-Headers", b"Link"),
        (b"Access-Control-Allow-Origin", b"*"),
    ]
    (exposed,) = [line for line in cors.lines(ORIGIN, fields) if b"Expose" in line]
    assert exposed == b"Access-Control-Expose-Headers: Reauth-Signal, Proxy-Status, Retry-After, X-Total, Link"


def test_only_an_options_request_that_names_a_method_is_a_preflight() -> None:
    assert cors.is_preflight([(b"Access-Control-Request-Method", b"PUT")])
    assert not cors.is_preflight([(b"Access-Control-Request-Headers", b"x-a"), (b"Accept", b"*/*")])


def test_a_preflight_is_answered_for_what_the_page_wants() -> None:
    asked = [
        (b"Origin", ORIGIN),
        (b"access-control-request-method", b"PATCH"),
        (b"Access-Control-Request-Headers", b"content-type,x-a , b\rad, reauth-client-token"),
    ]
    assert cors.preflight(ORIGIN, asked, keep_alive=True, date=0) == (
        b"HTTP/1.1 204 No Content\r\n"
        b"Access-Control-Allow-Origin: http://localhost:5173\r\n"
        b"Access-Control-Allow-Credentials: true\r\n"
        b"Access-Control-Allow-Methods: PATCH\r\n"
        b"Access-Control-Allow-Headers: content-type, x-a, reauth-client-token\r\n"
        b"Access-Control-Max-Age: 600\r\n"
        b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
        b"Cache-Control: no-store\r\n"
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"\r\n"
    )


def test_what_is_no_method_is_not_repeated_and_private_networks_are_never_allowed() -> None:
    asked = [(b"Access-Control-Request-Method", b"P UT"), (b"Access-Control-Request-Private-Network", b"true")]
    answer = cors.preflight(ORIGIN, asked, keep_alive=False)
    assert b"P UT" not in answer
    assert b"Private-Network" not in answer
    assert b"Access-Control-Allow-Headers" not in answer
    assert b"\r\nConnection: close\r\n" in answer
