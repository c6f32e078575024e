"""The device grant: the code, the questions and their pauses, every end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from reauth_proxy.errors import LoginError
from reauth_proxy.issuers import device
from reauth_proxy.issuers.client import OAuth2Settings
from reauth_proxy.issuers.device import DeviceCode
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.session.tokens import Issued, Secret, Unavailable
from tests.fakes.authorization import Reply, oauth_error
from tests.fakes.login import LoginServer, login_server
from tests.issuers.endpoints import HttpEndpoint, http_endpoint

CODE = DeviceCode(Secret("device-CANARY"), "AB", "https://a/enter", None, 60.0, 5.0)


class Pauses:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)

    def clock(self) -> float:
        return sum(self.taken)


@asynccontextmanager
async def stage(lifetime: int = 60) -> AsyncIterator[tuple[LoginServer, OAuth2Endpoint, DeviceCode]]:
    async with login_server() as server:
        server.code_lifetime = lifetime
        settings = OAuth2Settings(
            "web", url=server.url, client_auth="none", scope="offline_access", authorization_params={"audience": "api"}
        )
        issuer = OAuth2Endpoint(settings)
        code = await device.start(issuer, f"{server.issuer}/device")
        assert isinstance(code, DeviceCode)
        yield server, issuer, code
        await issuer.close()


async def test_the_code_is_asked_for_with_scope_and_parameters() -> None:
    async with stage() as (server, _, code):
        assert server.requests == [{"client_id": "web", "scope": "offline_access", "audience": "api"}]
        assert (code.user_code, code.uri) == ("WDJB-MJHT", f"{server.issuer}/enter")
        assert code.complete_uri == f"{server.issuer}/enter?user_code=WDJB-MJHT"
        assert "CANARY" not in repr(code)


async def test_it_asks_in_the_server_s_rhythm_until_the_tokens_are_there() -> None:
    async with stage() as (server, issuer, code):
        server.script = ["authorization_pending", "slow_down", "authorization_pending", "slow_down"]
        server.enter()
        pauses = Pauses()
        issued = await device.wait(issuer, code, pauses.sleep, pauses.clock)
        assert isinstance(issued, Issued)
        assert issued.refresh_token is not None
        assert pauses.taken == [1.0, 1.0, 6.0, 6.0, 11.0]
        assert server.calls[-1].form["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code"


async def test_a_server_that_is_down_for_a_moment_is_asked_less_often_and_then_again() -> None:
    async with stage() as (server, issuer, code):
        server.next(Reply(503), Reply(503))
        server.enter()
        pauses = Pauses()
        assert isinstance(await device.wait(issuer, code, pauses.sleep, pauses.clock), Issued)
        assert pauses.taken == [1.0, 2.0, 4.0]


async def test_a_code_that_nobody_enters_expires_and_is_asked_about_no_more() -> None:
    async with stage(lifetime=10) as (server, issuer, code):
        pauses = Pauses()
        with pytest.raises(LoginError, match="expired"):
            await device.wait(issuer, code, pauses.sleep, pauses.clock)
        assert len(pauses.taken) == 10
        assert server.count == 1 + 10


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("access_denied", "refused"),
        ("expired_token", "expired"),
        ("invalid_grant", "invalid_grant"),
        ("invalid_client", "check client_id"),
    ],
)
async def test_a_refusal_ends_it(error: str, told: str) -> None:
    async with stage() as (server, issuer, code):
        server.next(oauth_error(error))
        pauses = Pauses()
        with pytest.raises(LoginError, match=told) as caught:
            await device.wait(issuer, code, pauses.sleep, pauses.clock)
        assert "CANARY" not in str(caught.value)
        assert len(pauses.taken) == 1


GOOD: dict[str, Any] = {
    "device_code": "d-CANARY",
    "user_code": "AB",
    "verification_uri": "https://a/b",
    "expires_in": 60,
}


async def asked(endpoint: HttpEndpoint) -> DeviceCode | Unavailable:
    issuer = OAuth2Endpoint(OAuth2Settings("web", url=endpoint.url(), client_auth="none"))
    try:
        return await device.start(issuer, endpoint.url("/device"))
    finally:
        await issuer.close()


async def test_what_a_server_leaves_out_or_overdoes_has_a_bound() -> None:
    async with http_endpoint() as endpoint:
        for more, lifetime, interval in (
            ({}, 60.0, 5.0),
            ({"expires_in": None}, 1800.0, 5.0),
            ({"expires_in": 1e9, "interval": 1e9}, 1800.0, 60.0),
            ({"interval": 0}, 60.0, 1.0),
        ):
            endpoint.answer = lambda _, more=more: web.json_response({**GOOD, **more})
            code = await asked(endpoint)
            assert isinstance(code, DeviceCode)
            assert (code.lifetime, code.interval) == (lifetime, interval)


@pytest.mark.parametrize(
    ("status", "content", "misconfigured"),
    [
        (200, {**GOOD, "device_code": None}, True),
        (200, {**GOOD, "user_code": "A\x1b[2J"}, True),
        (200, {**GOOD, "verification_uri": "javascript:alert(1)"}, True),
        (200, {**GOOD, "verification_uri": "https://[CANARY"}, True),
        (200, ["CANARY"], True),
        (400, {"error": "unauthorized_client"}, True),
        (404, {}, True),
        (503, {}, False),
    ],
)
async def test_no_code_no_login(status: int, content: object, misconfigured: bool) -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.json_response(content, status=status)
        found = await asked(endpoint)
    assert isinstance(found, Unavailable)
    assert found.misconfigured is misconfigured
    assert "CANARY" not in repr(found)


async def test_a_complete_address_that_is_none_is_left_out() -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.json_response({**GOOD, "verification_uri_complete": "file:///etc/passwd"})
        code = await asked(endpoint)
    assert isinstance(code, DeviceCode)
    assert code.complete_uri is None
