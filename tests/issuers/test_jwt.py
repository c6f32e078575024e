from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.issuers.jwt import lifetime

NOW = 1_800_000_000.0


def token(payload: object) -> str:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"e30.{base64.urlsafe_b64encode(data).decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize(
    ("claims", "seconds"),
    [
        ({"iat": NOW - 500, "exp": NOW + 100}, 600.0),
        ({"iat": NOW + 0.5, "exp": NOW + 600.5}, 600.0),
        ({"iat": NOW + 1000, "exp": NOW + 1600}, 600.0),
        ({"iat": 1000, "exp": 1600}, None),
        ({"iat": 1000, "exp": NOW}, None),
        ({"exp": NOW + 60}, 60.0),
        ({"iat": "1000", "exp": NOW + 60}, 60.0),
        ({"exp": NOW - 60}, None),
        ({"iat": 1600, "exp": 1000}, None),
        ({"iat": 1600, "exp": 1600}, None),
        ({"exp": str(NOW + 60)}, None),
        ({"exp": True, "iat": 0}, None),
        ({"exp": None}, None),
        ({"exp": 1e300}, None),
        ({"exp": 10**400}, None),
        ({"exp": float("inf")}, None),
        ({"exp": float("nan")}, None),
        ({"iat": 1000}, None),
        ([], None),
        ("exp", None),
        (b"\xff\xfe", None),
        (b"[" * 20_000, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_lifetime(claims: object, seconds: float | None) -> None:
    assert lifetime(token(claims), NOW) == seconds


@pytest.mark.parametrize(
    "opaque", ["", "opaque-CANARY", "a.b", "a.b.c.d", "..", "a.é.c", "e30.=.c", "a." + "x" * 70_000 + ".c"]
)
def test_an_opaque_token_says_nothing(opaque: str) -> None:
    assert lifetime(opaque, NOW) is None


@given(st.text() | st.tuples(st.text(), st.text(), st.text()).map(".".join) | st.binary().map(token))
def test_never_raises(value: str) -> None:
    seconds = lifetime(value, NOW)
    assert seconds is None or seconds > 0
