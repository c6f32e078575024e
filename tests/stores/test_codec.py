"""What stores keep, encrypted or not."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.errors import StoreAway, StoreCorrupt, StoreError
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores import record
from reauth_proxy.stores.codec import Codec, fingerprint, key_of

SESSION = StoredSession(Secret("refresh-CANARY"), Secret("access-CANARY"), 1_800_000_000.5, 7, "0011223344556677")
FIRST, SECOND = b"1" * 32, b"\xff\xef" * 16


def spelt(key: bytes) -> Secret:
    return Secret(base64.b64encode(key).decode())


SEALED = Codec("default", [spelt(FIRST)]).encode(SESSION)


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(SEALED) | fields).encode()


def test_without_a_key_it_is_the_record_itself() -> None:
    assert Codec().encode(SESSION) == record.encode(SESSION)
    assert Codec().decode(record.encode(SESSION)) == SESSION


def test_with_a_key_nothing_of_it_can_be_read_and_it_comes_back() -> None:
    assert b"CANARY" not in SEALED
    assert b"1111" not in SEALED
    assert Codec("default", [spelt(FIRST)]).decode(SEALED) == SESSION
    assert Codec("default", [spelt(FIRST)]).encode(SESSION) != SEALED, "each has a nonce of its own"


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    rotated = Codec("default", [spelt(SECOND), spelt(FIRST)])
    assert rotated.decode(SEALED) == SESSION
    assert json.loads(rotated.encode(SESSION))["key"] == fingerprint(SECOND)
    assert Codec("default", [spelt(SECOND)]).decode(rotated.encode(SESSION)) == SESSION


def test_a_plain_record_is_read_where_there_is_a_key_since() -> None:
    assert Codec("default", [spelt(FIRST)]).decode(record.encode(SESSION)) == SESSION


@pytest.mark.parametrize("keys", [(), (SECOND,)])
def test_a_wrong_key_is_named_and_is_no_corruption(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(StoreAway, match=f"encrypted with the key {fingerprint(FIRST)}") as caught:
        Codec("default", [spelt(key) for key in keys]).decode(SEALED)
    assert "encryption_key" in str(caught.value)
    for key in keys:
        assert fingerprint(key) in str(caught.value)


def test_it_is_bound_to_the_name_of_its_credential() -> None:
    with pytest.raises(StoreCorrupt, match="belongs to another credential"):
        Codec("billing", [spelt(FIRST)]).decode(SEALED)


@pytest.mark.parametrize(
    "data",
    [
        changed(data="AAAA"),
        changed(data="not base64"),
        changed(data=7),
        changed(nonce=""),
        changed(nonce=json.loads(SEALED)["nonce"][::-1]),
        changed(key="short"),
        changed(key=None),
        changed(key="CANARY!!"),
        changed(version=1),
        changed(version=3),
        SEALED[:-60],
        b"",
    ],
    ids=lambda data: f"{len(data)} bytes",  # encrypted anew in each process
)
def test_what_was_altered_is_corrupt(data: bytes) -> None:
    with pytest.raises(StoreCorrupt) as caught:
        Codec("default", [spelt(FIRST)]).decode(data)
    assert "CANARY" not in str(caught.value)


@given(st.binary() | st.builds(lambda n, d: SEALED[:n] + d + SEALED[n + len(d) :], st.integers(0, 400), st.binary()))
def test_nothing_that_was_altered_passes(data: bytes) -> None:
    with contextlib.suppress(StoreError):
        assert Codec("default", [spelt(FIRST)]).decode(data) == SESSION


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(SECOND).decode(),
        base64.b64encode(SECOND).decode().rstrip("="),
        base64.urlsafe_b64encode(SECOND).decode() + "\n",
        SECOND.hex(),
        SECOND.hex().upper(),
    ],
)
def test_a_key_may_be_spelt_in_base64_or_hex(text: str) -> None:
    assert key_of(Secret(text)) == SECOND


@pytest.mark.parametrize("text", ["CANARY", "0" * 62, base64.b64encode(b"CANARY" * 5).decode(), "CANARY password é"])
def test_what_is_no_key_is_told_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -base64 32") as caught:
        key_of(Secret(text))
    assert "CANARY" not in str(caught.value)
