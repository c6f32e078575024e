"""The proxy's own answers, byte for byte."""

from __future__ import annotations

import json

import pytest

from reauth_proxy import errors
from reauth_proxy.http1 import problems


def test_the_logout_answer_byte_for_byte() -> None:
    refusal = errors.LoggedOut("refresh_denied", 'The "session" has ended — sign in.')
    assert problems.render(refusal, head=False, keep_alive=True, date=0).decode() == (
        "HTTP/1.1 401 Unauthorized\r\n"
        'WWW-Authenticate: Bearer error="invalid_token",'
        ' error_description="The \\"session\\" has ended ? sign in."\r\n'
        "Reauth-Signal: logout;reason=refresh_denied\r\n"
        "Proxy-Status: reauth-proxy; error=http_request_denied;"
        ' details="The \\"session\\" has ended ? sign in."\r\n'
        "Cache-Control: no-store\r\n"
        "Content-Type: application/problem+json\r\n"
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        "Content-Length: 170\r\n"
        "\r\n"
        '{"type":"about:blank","title":"Logged out","status":401,"code":"logged_out","signal":"logout",'
        '"reason":"refresh_denied","detail":"The \\"session\\" has ended — sign in."}'
    )


@pytest.mark.parametrize(("seconds", "field"), [(0.01, "1"), (1, "1"), (1.2, "2"), (29.5, "30")])
def test_retry_after_is_whole_seconds_rounded_up(seconds: float, field: str) -> None:
    refusal = errors.LoggedOut("refresh_unavailable", "Later.", retry_after=seconds)
    assert ("Retry-After", field) in problems.fields(refusal)


REFUSALS = [
    (errors.BadRequest, 400, "bad_request"),
    (errors.ClientDenied, 401, "client_denied"),
    (errors.LoginFailed, 403, "login_failed"),
    (errors.OriginDenied, 403, "origin_denied"),
    (errors.PathDenied, 403, "path_denied"),
    (errors.HostDenied, 421, "host_denied"),
    (errors.NoRoute, 404, "no_route"),
    (errors.MethodNotSupported, 405, "method_not_supported"),
    (errors.RequestTimeout, 408, "request_timeout"),
    (errors.ContentTooLarge, 413, "content_too_large"),
    (errors.ExpectationFailed, 417, "expectation_failed"),
    (errors.FieldsTooLarge, 431, "fields_too_large"),
    (errors.InternalError, 500, "internal_error"),
    (errors.TransferCodingUnsupported, 501, "transfer_coding_unsupported"),
    (errors.UpstreamUnreachable, 502, "upstream_unreachable"),
    (errors.UpstreamMalformed, 502, "upstream_malformed"),
    (errors.TooManyConnections, 503, "too_many_connections"),
    (errors.UpstreamBusy, 503, "upstream_busy"),
    (errors.TooManyParked, 503, "too_many_parked"),
    (errors.RefreshTimeout, 503, "refresh_timeout"),
    (errors.RefreshUnavailable, 503, "refresh_unavailable"),
    (errors.Draining, 503, "draining"),
    (errors.UpstreamTimeout, 504, "upstream_timeout"),
    (errors.VersionNotSupported, 505, "version_not_supported"),
]


def test_every_answer_of_the_proxy_s_is_in_this_table() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Refusal)}
    assert kinds - {errors.Refusal, errors.LoggedOut} == {kind for kind, _, _ in REFUSALS}


@pytest.mark.parametrize(("kind", "status", "code"), REFUSALS)
def test_every_other_answer_has_one_shape_and_no_signal(kind: type[errors.Refusal], status: int, code: str) -> None:
    refusal = kind("Why.", retry_after=3)
    head, _, body = problems.render(refusal, head=False, keep_alive=False, date=0).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert "Retry-After: 3" in lines
    assert "Connection: close" in lines
    assert not any(line.startswith("Reauth-Signal") for line in lines)
    challenges = [line for line in lines if line.startswith("WWW-Authenticate")]
    assert challenges == (['WWW-Authenticate: Basic realm="reauth-proxy", charset="UTF-8"'] if status == 401 else [])
    assert json.loads(body) == {
        "type": "about:blank",
        "title": refusal.title,
        "status": status,
        "code": code,
        "detail": "Why.",
    }


def test_rfc9110_9_3_2_the_answer_to_a_head_has_the_length_and_no_content() -> None:
    refusal = errors.UpstreamUnreachable("Why.")
    whole = problems.render(refusal, head=False, keep_alive=True, date=0)
    head = problems.render(refusal, head=True, keep_alive=True, date=0)
    assert head.endswith(b"\r\n\r\n")
    assert whole.startswith(head)
    assert len(whole) > len(head)


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("TEXT/HTML", True),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        ("application/json, text/html", False),
        ("application/json;q=0.5, text/html", True),
        ("text/html;q=0.4, application/problem+json;q=0.5", False),
        ("text/plain, text/*", False),
    ],
)
def test_rfc9110_12_5_1_who_prefers_a_page_to_json_gets_one(accept: str | None, page: bool) -> None:
    assert problems.wants_page(accept) is page


def test_a_page_says_the_same_to_a_person_and_runs_nothing() -> None:
    refusal = errors.LoggedOut("refresh_denied", "The <session> & all has ended.")
    whole = problems.render(refusal, head=False, keep_alive=True, as_page=True, date=0).decode()
    head, _, body = whole.partition("\r\n\r\n")
    assert "Reauth-Signal: logout;reason=refresh_denied" in head
    assert "Content-Type: text/html; charset=utf-8" in head
    assert "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'" in head
    assert "X-Content-Type-Options: nosniff" in head
    assert "The &lt;session&gt; &amp; all has ended." in body
    assert "401 logged_out: refresh_denied" in body
    assert "<script" not in body
    assert f"Content-Length: {len(body.encode())}" in head


def test_rfc9110_15_5_6_a_405_names_the_methods_that_are_allowed() -> None:
    assert ("Allow", problems.ALLOWED) in problems.fields(errors.MethodNotSupported("Why."))
