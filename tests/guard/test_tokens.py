"""The client token."""

from __future__ import annotations

from base64 import b64encode

import pytest

from reauth_proxy.errors import ClientDenied
from reauth_proxy.guard import tokens
from reauth_proxy.session.tokens import Secret

TOKEN = Secret("CANARY ✓ token")
RIGHT = TOKEN.reveal().encode()


def basic(user_and_password: bytes) -> bytes:
    return b"Basic " + b64encode(user_and_password)


@pytest.mark.parametrize(
    "credentials",
    [
        [(b"reauth-client-token", RIGHT)],
        [(b"authorization", basic(b":" + RIGHT))],
        [(b"authorization", basic(b"anybody:" + RIGHT))],
        [(b"authorization", b"bASIC  " + b64encode(b"a:" + RIGHT))],
        [(b"reauth-client-token", RIGHT), (b"authorization", b"Bearer of-the-client")],
        [(b"reauth-client-token", RIGHT), (b"authorization", basic(b"a:for the upstream"))],
    ],
)
def test_a_client_that_brings_it(credentials: list[tuple[bytes, bytes]]) -> None:
    tokens.check(TOKEN, credentials)


@pytest.mark.parametrize(
    "credentials",
    [
        [],
        [(b"reauth-client-token", b"")],
        [(b"reauth-client-token", RIGHT + b" ")],
        [(b"reauth-client-token", RIGHT[:-1])],
        [(b"reauth-client-token", RIGHT.upper())],
        [(b"reauth-client-token", RIGHT), (b"reauth-client-token", RIGHT)],
        [(b"reauth-client-token", b"wrong"), (b"authorization", basic(b"a:" + RIGHT))],
        [(b"authorization", basic(RIGHT))],
        [(b"authorization", basic(b"a:" + RIGHT)), (b"authorization", basic(b"a:" + RIGHT))],
        [(b"authorization", basic(RIGHT + b":"))],
        [(b"authorization", b"Basic")],
        [(b"authorization", b"Basic %%%")],
        [(b"authorization", b"Basic " + RIGHT)],
        [(b"authorization", b"Bearer " + RIGHT)],
    ],
)
def test_a_client_that_does_not(credentials: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ClientDenied) as denied:
        tokens.check(TOKEN, credentials)
    assert "CANARY" not in denied.value.detail


def test_a_password_may_have_colons() -> None:
    assert tokens.password_of(basic(b"user:a:b")) == b"a:b"
