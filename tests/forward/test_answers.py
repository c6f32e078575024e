"""The proxy's own answers, byte for byte."""

from __future__ import annotations

import json

import pytest

from reauth_proxy import errors
from reauth_proxy.forward import answers


def test_the_logout_answer_byte_for_byte() -> None:
    refusal = errors.LoggedOut("refresh_denied", 'The "session" has ended — sign in.')
    assert answers.render(refusal, head=False, keep_alive=True, date=0).decode() == (
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
    assert ("Retry-After", field) in answers.fields(refusal)


REFUSALS = [
    (errors.BadRequest, 400, "bad_request"),
    (errors.MethodNotSupported, 405, "method_not_supported"),
    (errors.TransferCodingUnsupported, 501, "transfer_coding_unsupported"),
    (errors.UpstreamUnreachable, 502, "upstream_unreachable"),
    (errors.UpstreamMalformed, 502, "upstream_malformed"),
    (errors.TooManyParked, 503, "too_many_parked"),
    (errors.RefreshTimeout, 503, "refresh_timeout"),
    (errors.RefreshUnavailable, 503, "refresh_unavailable"),
    (errors.Draining, 503, "draining"),
    (errors.UpstreamTimeout, 504, "upstream_timeout"),
]


@pytest.mark.parametrize(("kind", "status", "code"), REFUSALS)
def test_every_other_answer_has_the_same_shape_and_no_signal(
    kind: type[errors.Refusal], status: int, code: str
) -> None:
    refusal = kind("Why.", retry_after=3)
    head, _, body = answers.render(refusal, head=False, keep_alive=False, date=0).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert "Retry-After: 3" in lines
    assert "Connection: close" in lines
    assert not any(line.startswith(("Reauth-Signal", "WWW-Authenticate")) for line in lines)
    assert json.loads(body) == {
        "type": "about:blank",
        "title": refusal.title,
        "status": status,
        "code": code,
        "detail": "Why.",
    }


def test_rfc9110_9_3_2_the_answer_to_a_head_has_the_length_and_no_content() -> None:
    refusal = errors.UpstreamUnreachable("Why.")
    whole = answers.render(refusal, head=False, keep_alive=True, date=0)
    head = answers.render(refusal, head=True, keep_alive=True, date=0)
    assert head.endswith(b"\r\n\r\n")
    assert whole.startswith(head)
    assert len(whole) > len(head)
