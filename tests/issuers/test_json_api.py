"""A hand-made API: what it is asked, and what its answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.errors import ConfigError
from reauth_proxy.issuers.json_api import JsonEndpoint, JsonSettings, fill
from reauth_proxy.session.tokens import Denied, Issued, Secret, TokenReply, Unavailable
from tests.issuers.endpoints import ACCESS, REFRESH, HttpEndpoint, http_endpoint


async def ask(
    endpoint: HttpEndpoint, *, held: Secret = REFRESH, access: Secret | None = ACCESS, **settings: Any
) -> TokenReply:
    settings.setdefault("body", {"token": "{refresh_token}"})
    issuer = JsonEndpoint(
        JsonSettings(endpoint.url("/RefreshToken"), refresh_token="/refreshToken", expires_in="/expiresIn", **settings)
    )
    try:
        return await issuer.refresh(held, access)
    finally:
        await issuer.close()


def answers(endpoint: HttpEndpoint, document: object, status: int = 200) -> None:
    endpoint.answer = lambda _: web.json_response(document, status=status)


TOKENS = {"accessToken": "access-CANARY-1", "refreshToken": "refresh-CANARY-2", "expiresIn": "30"}


async def test_it_is_asked_as_its_own_frontend_asks_it() -> None:
    async with http_endpoint() as endpoint:
        answers(endpoint, TOKENS)
        reply = await ask(endpoint)
    assert reply == Issued(Secret("access-CANARY-1"), Secret("refresh-CANARY-2"), 30.0)
    method, path, headers, text = endpoint.asked[0]
    assert (method, path, json.loads(text)) == ("POST", "/RefreshToken", {"token": "refresh-CANARY-1"})
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers


async def test_templates_work_anywhere_in_the_body_and_in_headers() -> None:
    body = {"a": [{"b": "x {refresh_token} y {access_token}"}, 7, None, True], "{refresh_token}": "{other}"}
    async with http_endpoint() as endpoint:
        answers(endpoint, TOKENS)
        await ask(
            endpoint,
            method="PUT",
            body=body,
            headers={"X-Old": "Bearer {access_token}", "content-type": "application/vnd.api+json"},
        )
    method, _, headers, text = endpoint.asked[0]
    assert method == "PUT"
    assert json.loads(text) == {
        "a": [{"b": "x refresh-CANARY-1 y access-CANARY-0"}, 7, None, True],
        "{refresh_token}": "{other}",
    }
    assert headers["X-Old"] == "Bearer access-CANARY-0"
    assert headers["Content-Type"] == "application/vnd.api+json"


async def test_tokens_with_quotes_and_braces_stay_what_they_are() -> None:
    held = Secret('"}{access_token}\\\n é\u2028')
    async with http_endpoint() as endpoint:
        answers(endpoint, TOKENS)
        await ask(endpoint, held=held)
    assert json.loads(endpoint.asked[0][3]) == {"token": held.reveal()}


async def test_without_an_access_token_yet_nothing_is_put_in() -> None:
    async with http_endpoint() as endpoint:
        answers(endpoint, TOKENS)
        await ask(endpoint, access=None, body={"old": "{access_token}"})
    assert json.loads(endpoint.asked[0][3]) == {"old": ""}


async def test_a_get_without_content_has_none() -> None:
    async with http_endpoint() as endpoint:
        answers(endpoint, TOKENS)
        await ask(endpoint, method="GET", body=None, headers={"X-Refresh": "{refresh_token}"})
    method, _, headers, text = endpoint.asked[0]
    assert (method, text, headers["X-Refresh"]) == ("GET", "", "refresh-CANARY-1")
    assert "Content-Type" not in headers


async def test_secrets_in_body_and_headers_are_revealed_and_are_no_templates() -> None:
    key = Secret("{refresh_token}-key-CANARY")
    async with http_endpoint() as endpoint:
        answers(endpoint, TOKENS)
        await ask(endpoint, body={"key": key}, headers={"X-Key": key})
    _, _, headers, text = endpoint.asked[0]
    assert (json.loads(text), headers["X-Key"]) == ({"key": key.reveal()}, key.reveal())


@pytest.mark.parametrize("bad", ["a\r\nX: CANARY", "a\nCANARY", "CANARY\x00", "CANARYé"])
async def test_a_token_that_no_header_can_hold_is_not_sent(bad: str) -> None:
    async with http_endpoint() as endpoint:
        reply = await ask(endpoint, held=Secret(bad), headers={"X-Refresh": "{refresh_token}"})
    assert isinstance(reply, Unavailable)
    assert reply.misconfigured
    assert "CANARY" not in repr(reply)
    assert endpoint.asked == []


async def test_denied_statuses_are_a_verdict() -> None:
    async with http_endpoint() as endpoint:
        answers(endpoint, {}, 500)
        assert await ask(endpoint) == Unavailable("the token endpoint answered 500")
        assert await ask(endpoint, denied_statuses=[400, 500]) == Denied("status_500")
        answers(endpoint, {}, 401)
        assert await ask(endpoint) == Denied("status_401")


async def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    async with http_endpoint() as endpoint:
        pass
    reply = await ask(endpoint)
    assert reply == Unavailable(f"cannot connect to 127.0.0.1:{endpoint.port}: connection refused")


@pytest.mark.parametrize("name", ["access_token", "expires_at"])
def test_a_malformed_pointer_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="JSON Pointer"):
        JsonEndpoint(JsonSettings("https://api.example", **{name: "accessToken"}))  # type: ignore[arg-type]


@given(st.text(), st.text())
def test_what_is_put_in_is_put_in_once(refresh_token: str, access_token: str) -> None:
    values = {"refresh_token": refresh_token, "access_token": access_token}
    assert fill({"a": ["{refresh_token}|{access_token}"]}, values) == {"a": [f"{refresh_token}|{access_token}"]}
