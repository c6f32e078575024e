"""How a token is sent, and what of a client's fields goes because only the proxy may send it."""

from __future__ import annotations

import pytest

from reauth_proxy.forward.sending import BEARER, Send

TOKEN = "CANARY"


@pytest.mark.parametrize(
    ("send", "line"),
    [
        (BEARER, b"Authorization: Bearer CANARY\r\n"),
        (Send(scheme=""), b"Authorization: CANARY\r\n"),
        (Send(scheme="token"), b"Authorization: token CANARY\r\n"),
        (Send("X-Auth-Token", ""), b"X-Auth-Token: CANARY\r\n"),
        (Send("X-Auth-Token", "JWT"), b"X-Auth-Token: JWT CANARY\r\n"),
        (Send(cookie="jwt"), b"Cookie: jwt=CANARY\r\n"),
    ],
)
def test_a_token_is_sent_as_the_upstream_wants_it(send: Send, line: bytes) -> None:
    assert send.line(send.value(TOKEN)) == line
    assert send.line(b"") == b"", "there is none"


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        (b"A: 1\r\nx-auth-token: evil\r\nX_Auth_Token: evil\r\nB: 2", b"A: 1\r\nB: 2"),
        (b"X-Auth-Tokens: mine", b"X-Auth-Tokens: mine"),
        (b"X-Auth-Token: evil", b""),
    ],
)
def test_a_client_s_own_field_of_that_name_goes(sent: bytes, left: bytes) -> None:
    assert Send("X-Auth-Token", "").without_client_s(sent) == (left, b"")


@pytest.mark.parametrize(
    ("sent", "left", "cookies"),
    [
        (b"A: 1\r\nCookie: a=b; jwt=evil; c=d", b"A: 1", b"a=b; c=d"),
        (b"cookie: jwt=evil\r\nA: 1\r\nCookie:x=y;jwt=evil", b"A: 1", b"x=y"),
        (b"Cookie: jwt = evil; jwts=mine", b"", b"jwts=mine"),
        (b"Cookie: jwt", b"", b""),
        (b"A: 1", b"A: 1", b""),
    ],
)
def test_other_cookies_stay_in_one_field_with_the_token(sent: bytes, left: bytes, cookies: bytes) -> None:
    send = Send(cookie="jwt")
    assert send.without_client_s(sent) == (left, cookies)
    both = b"; ".join(part for part in (cookies, b"jwt=CANARY") if part)
    assert send.line(send.value(TOKEN), cookies) == b"Cookie: " + both + b"\r\n"
    assert send.line(b"", cookies) == (b"Cookie: " + cookies + b"\r\n" if cookies else b"")
