"""Revocation: what is sent, and that nothing a server does keeps a token."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from reauth_proxy.issuers.client import OAuth2Settings
from reauth_proxy.issuers.json_api import JsonEndpoint, JsonSettings
from reauth_proxy.issuers.judged import Judged
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.issuers.revocation import REVOKED, UNSUPPORTED, Revocation, revoke
from reauth_proxy.session.tokens import STAND_IN, Issued, Secret
from tests.issuers.endpoints import ACCESS, REFRESH, HttpEndpoint, http_endpoint, raw_endpoint


async def revoked(
    endpoint: HttpEndpoint, refresh: Secret | None = REFRESH, access: Secret | None = ACCESS
) -> Revocation:
    settings = OAuth2Settings("web", url=endpoint.url(), client_auth="none", revocation_url=endpoint.url("/revoke"))
    issuer = OAuth2Endpoint(settings)
    try:
        return await revoke(issuer, refresh, access, 10.0)
    finally:
        await issuer.close()


async def test_the_refresh_token_goes_first_then_the_access_token() -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.Response()
        assert await revoked(endpoint) == REVOKED
        forms = [parse_qs(text) for *_, text in endpoint.asked]
    assert forms == [
        {"token": ["refresh-CANARY-1"], "token_type_hint": ["refresh_token"], "client_id": ["web"]},
        {"token": ["access-CANARY-0"], "token_type_hint": ["access_token"], "client_id": ["web"]},
    ]


async def test_what_stands_in_for_a_refresh_token_is_not_sent() -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.Response()
        assert await revoked(endpoint, STAND_IN) == REVOKED
        lost = Judged(Issued(Secret("a"), None, None), lost=True).with_stand_in()
        assert isinstance(lost, Issued)
        assert await revoked(endpoint, lost.refresh_token, None) == REVOKED
        assert len(endpoint.asked) == 1
        assert await revoked(endpoint, None, None) == REVOKED
        assert len(endpoint.asked) == 1


async def test_a_server_that_cannot_revoke_access_tokens_has_done_enough() -> None:
    async with http_endpoint() as endpoint:

        def answer(_: web.Request) -> web.Response:
            if "hint=refresh_token" in endpoint.asked[-1][3]:
                return web.Response()
            return web.json_response({"error": "unsupported_token_type"}, status=400)

        endpoint.answer = answer
        assert await revoked(endpoint) == REVOKED


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
async def test_a_refusal_or_an_outage_is_told_and_the_access_token_is_tried_all_the_same(status: int) -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.json_response({"error": "invalid_client", "x": "CANARY"}, status=status)
        found = await revoked(endpoint)
        assert len(endpoint.asked) == 2
    assert found == Revocation("failed", f"the revocation endpoint answered {status} invalid_client")


async def test_an_endpoint_that_is_not_there_or_says_nothing_holds_nobody() -> None:
    async with http_endpoint() as endpoint:
        pass
    assert await revoked(endpoint) == Revocation(
        "failed", f"cannot connect to 127.0.0.1:{endpoint.port}: connection refused"
    )

    told = asyncio.Event()

    async def silent(writer: object) -> None:
        await told.wait()

    async with raw_endpoint(silent) as endpoint_:
        issuer = OAuth2Endpoint(
            OAuth2Settings("web", url=endpoint_.url, client_auth="none", revocation_url=endpoint_.url)
        )
        assert await revoke(issuer, REFRESH, None, 0.1) == Revocation("failed", "no answer within 0.1 s")
        told.set()
        await issuer.close()


async def test_where_there_is_no_endpoint_it_is_unsupported() -> None:
    issuer = OAuth2Endpoint(OAuth2Settings("web", url="https://a.example", client_auth="none"))
    assert await revoke(issuer, REFRESH, ACCESS, 1.0) == UNSUPPORTED
    await issuer.close()
    hand_made = JsonEndpoint(JsonSettings("https://a.example"))
    assert await revoke(hand_made, REFRESH, ACCESS, 1.0) == UNSUPPORTED
    await hand_made.close()


async def test_a_discovery_that_fails_is_told() -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.Response(status=503)
        issuer = OAuth2Endpoint(OAuth2Settings("web", issuer=endpoint.url(""), client_auth="none"))
        found = await revoke(issuer, REFRESH, ACCESS, 10.0)
        await issuer.close()
    assert found.outcome == "failed"
    assert "answered 503" in (found.problem or "")
