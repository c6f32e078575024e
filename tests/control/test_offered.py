"""What `PUT /session` may bring, as a table."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.control.offered import Offered, read
from reauth_proxy.errors import BadRequest
from reauth_proxy.session.tokens import Secret


@pytest.mark.parametrize(
    ("content", "offered"),
    [
        ({"refresh_token": "r"}, Offered(Secret("r"))),
        ({"refresh_token": "r", "access_token": None, "expires_in": None}, Offered(Secret("r"))),
        ({"refresh_token": "r", "access_token": "a"}, Offered(Secret("r"), Secret("a"))),
        ({"refresh_token": "r", "access_token": "a", "expires_in": 60}, Offered(Secret("r"), Secret("a"), 60.0)),
        ({"refresh_token": "r", "access_token": "a", "expires_in": 0.5}, Offered(Secret("r"), Secret("a"), 0.5)),
    ],
)
def test_what_is_taken(content: object, offered: Offered) -> None:
    assert read(json.dumps(content).encode()) == offered


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"refresh_token=r", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b'["r"]', "not a JSON object"),
        (b'"r"', "not a JSON object"),
        (b"{}", "refresh_token is missing"),
        (b'{"refresh_token": ""}', "refresh_token is missing"),
        (b'{"refresh_token": 7}', "refresh_token is missing"),
        (b'{"refresh_token": "a\\nb"}', "refresh_token is missing"),
        (b'{"refresh_token": "' + b"r" * 70_000 + b'"}', "64 KiB"),
        (b'{"refreshToken": "r"}', "member besides"),
        (b'{"refresh_token": "r", "scope": "x"}', "member besides"),
        (b'{"refresh_token": "r", "access_token": ""}', "access_token is not"),
        (b'{"refresh_token": "r", "access_token": "a b"}', "access_token is not"),
        (b'{"refresh_token": "r", "access_token": ["a"]}', "access_token is not"),
        (b'{"refresh_token": "r", "access_token": "a", "expires_in": 0}', "expires_in is not"),
        (b'{"refresh_token": "r", "access_token": "a", "expires_in": -1}', "expires_in is not"),
        (b'{"refresh_token": "r", "access_token": "a", "expires_in": "60"}', "expires_in is not"),
        (b'{"refresh_token": "r", "access_token": "a", "expires_in": true}', "expires_in is not"),
        (b'{"refresh_token": "r", "access_token": "a", "expires_in": NaN}', "expires_in is not"),
        (b'{"refresh_token": "r", "access_token": "a", "expires_in": Infinity}', "expires_in is not"),
        (b'{"refresh_token": "r", "expires_in": 60}', "there is none"),
    ],
)
def test_what_is_refused_and_why(content: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        read(content)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode()))
def test_nothing_but_a_refusal_comes_of_anything_else(content: bytes) -> None:
    with pytest.raises(BadRequest):
        read(content)
