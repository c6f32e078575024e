"""Nothing that looks like a token leaves in a log line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.session.tokens import Secret
from reauth_proxy.telemetry import redact

CANARY = "CANARY-0123456789"
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJDQU5BUlkifQ.CANARYsignature"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization: basic {CANARY}",
        f"sent bearer {CANARY} to it",
        f"https://id.example/token?refresh_token={CANARY}&x=1",
        f"https://id.example/cb#access_token={CANARY}",
        f'{{"access_token": "{CANARY}", "expires_in": 3}}',
        f"{{'client_secret': '{CANARY}'}}",
        f"client_assertion={CANARY}",
        f"https://user:{CANARY}@id.example/",
        f"password={CANARY}",
        f"api_key={CANARY}",
        f"a token of {JWT} inside",
    ],
)
def test_what_looks_like_a_secret_is_hidden_in_any_text(text: str) -> None:
    assert "CANARY" not in redact.text(text)
    assert redact.HIDDEN in redact.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "the token endpoint answered 503",
        "https://api.example.com/v1/tokens?page=2",
        "bearer of bad news",
        "cannot connect to id.example.com:443: connection refused",
        "refresh.issued",
    ],
)
def test_what_does_not_is_left_alone(text: str) -> None:
    assert redact.text(text) == text


@pytest.mark.parametrize(
    "event",
    [
        {"refresh_token": CANARY},
        {"Access-Token": CANARY},
        {"nested": {"deep": [{"client_secret": CANARY}]}},
        {"headers": {"Cookie": CANARY, "Set-Cookie": CANARY, "Authorization": CANARY}},
        {"pair": ("x", f"Bearer {CANARY}")},
        {"raw": f"access_token={CANARY}".encode()},
        {"secret": Secret(CANARY)},
        {"whatever": Secret(CANARY)},
        {"error": ValueError(f"refresh_token={CANARY}")},
    ],
)
def test_secrets_are_hidden_by_key_and_by_shape_at_any_depth(event: dict[str, Any]) -> None:
    assert "CANARY" not in repr(redact.processor(None, "info", event))


def test_numbers_and_flags_under_such_keys_are_kept() -> None:
    assert redact.anything({"new_refresh_token": True, "token": 3, "generation": 7}) == {
        "new_refresh_token": True,
        "token": 3,
        "generation": 7,
    }


def test_endless_nesting_ends() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "…" in repr(redact.anything(endless))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_any_plain_data_passes_without_an_error(value: Any) -> None:
    redact.anything(value)
