from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.errors import StoreError
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.record import decode, encode

SESSION = StoredSession(
    Secret("refresh-CANARY"), Secret("access-CANARY"), 1_800_000_000.5, 7, roots=("0011223344556677",)
)


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(encode(SESSION)) | fields).encode()


def without(name: str) -> bytes:
    record = json.loads(encode(SESSION))
    del record[name]
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    "session", [SESSION, StoredSession(None, signed_out="refresh_denied"), StoredSession(Secret('é"\\ \n'))]
)
def test_a_session_comes_back_as_it_went(session: StoredSession) -> None:
    assert decode(encode(session)) == session


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (encode(SESSION)[:60], "cut off or not JSON"),
        (b"\x00" * 100, "cut off or not JSON"),
        (b"\xff\xfeCANARY", "cut off or not JSON"),
        (b"[" * 100_000, "cut off or not JSON"),
        (b'"CANARY"', "cut off or not JSON"),
        (b"[]", "cut off or not JSON"),
        (b"{}", "not a session of reauth-proxy"),
        (changed(version=0), "not a session of reauth-proxy"),
        (changed(version=True), "not a session of reauth-proxy"),
        (changed(version="1"), "not a session of reauth-proxy"),
        (changed(version=2), "newer reauth-proxy"),
        (changed(refresh_token=7), "refresh_token"),
        (changed(refresh_token=""), "refresh_token"),
        (changed(refresh_token="CANARY\ud800"), "refresh_token"),
        (changed(access_token=["CANARY"]), "access_token"),
        (changed(expires_at="soon"), "expires_at"),
        (changed(expires_at=True), "expires_at"),
        (changed(expires_at=float("nan")), "expires_at"),
        (changed(expires_at=float("inf")), "expires_at"),
        (changed(expires_at=10**400), "expires_at"),
        (changed(generation=-1), "generation"),
        (changed(generation=1.5), "generation"),
        (changed(generation=None), "generation"),
        (changed(generation=2**70), "generation"),
        (changed(configured=1), "configured"),
        (changed(signed_out={}), "signed_out"),
        (without("refresh_token"), "refresh_token"),
        (without("generation"), "generation"),
    ],
)
def test_what_is_not_a_session_says_why_and_shows_nothing(data: bytes, problem: str) -> None:
    with pytest.raises(StoreError, match=problem) as caught:
        decode(data)
    error: BaseException | None = caught.value
    while error is not None:
        assert "CANARY" not in repr(error)
        # A JSONDecodeError in the chain would hold the whole document.
        assert not hasattr(error, "doc")
        error = error.__cause__ or error.__context__


@given(st.binary() | st.builds(lambda n, d: encode(SESSION)[:n] + d, st.integers(0, 300), st.binary(max_size=9)))
def test_nothing_is_too_strange(data: bytes) -> None:
    with contextlib.suppress(StoreError):
        assert isinstance(decode(data), StoredSession)


@given(
    st.none() | st.text(min_size=1),
    st.none() | st.text(min_size=1),
    st.none() | st.floats(0, 1e11),
    st.integers(0, 2**62),
)
def test_every_session_comes_back(refresh: str | None, access: str | None, expires: float | None, number: int) -> None:
    session = StoredSession(refresh and Secret(refresh), access and Secret(access), expires, number)  # type: ignore[arg-type]
    again = decode(encode(session))
    assert again == session
