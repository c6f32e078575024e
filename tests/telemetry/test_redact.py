"""Nothing that looks like a token leaves in a log line."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

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
        f"https://api.example.com/v1/things?page=2&sig={CANARY}",
        f"cannot connect to https://api.example.com/token?key={CANARY}: refused",
        f"wss://api.example.com/#{CANARY}",
        f"GET /_reauth/callback?state=x&code={CANARY} HTTP/1.1",
        f'"{{\\"access_token\\": \\"{CANARY}\\"}}"',
    ],
)
def test_what_looks_like_a_secret_is_hidden_in_any_text(text: str) -> None:
    assert "CANARY" not in redact.text(text)
    assert redact.HIDDEN in redact.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "the token endpoint answered 503",
        "https://api.example.com/v1/tokens",
        '{"code": "path_denied"}',
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


#: A secret whose encodings differ.
SECRET = 'CANARY/"q~+é\\1'


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        json.dumps({"x": SECRET}),
        urlencode({"x": SECRET}),
        quote(f"x{SECRET}", safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(b"web:" + SECRET.encode()).decode(),
        base64.urlsafe_b64encode(b"ab:" + SECRET.encode() + b"?").decode(),
        base64.b64encode(b"abc:d" + SECRET.encode() + b"zz").decode(),
    ],
    ids=["plain", "JSON", "form", "URL", "base64", "Basic", "base64url", "base64, another offset"],
)
def test_a_secret_that_is_held_is_hidden_in_a_line_however_it_is_written(spelt: str) -> None:
    held = Secret(SECRET)
    line = redact.line(None, "info", f"before {spelt} behind")
    assert line.startswith("before ")
    assert line.endswith(" behind")
    assert redact.HIDDEN in line
    assert not [inner for inner in redact.spellings(held.reveal()) if inner in line]


def test_one_that_nobody_holds_any_more_is_forgotten_and_a_new_one_is_looked_for_at_once() -> None:
    watch = redact.Watch()
    first = Secret("CANARY-first-1")
    twin = Secret("CANARY-first-1")
    assert watch.hide("CANARY-first-1") == redact.HIDDEN
    del first
    assert watch.hide("CANARY-first-1") == redact.HIDDEN, "its twin lives"
    del twin
    longer, second = Secret("CANARY-second-11"), Secret("CANARY-second-1")
    assert watch.hide("CANARY-first-1, CANARY-second-1, CANARY-second-11") == "CANARY-first-1, [hidden], [hidden]"
    assert longer != second


def test_what_is_short_or_might_be_no_secret_is_not_looked_for() -> None:
    held = [Secret("web"), Secret("https://api.example.com", watched=False)]
    assert redact.line(None, "info", "web of https://api.example.com") == "web of https://api.example.com"
    assert len(held) == 2


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
