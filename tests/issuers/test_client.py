"""One client: where it asks, and who it says it is, at every endpoint."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs

from aiohttp import web

from reauth_proxy.issuers.client import Client, OAuth2Settings
from reauth_proxy.issuers.discovery import Endpoints
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.session.tokens import STAND_IN, Denied, Issued, Secret, Unavailable
from tests.issuers.endpoints import HttpEndpoint, http_endpoint


async def test_without_discovery_there_is_what_the_settings_say() -> None:
    client = Client(OAuth2Settings("web", url="https://a/token", client_auth="none", revocation_url="https://a/revoke"))
    assert await client.endpoints() == Endpoints("https://a/token", revocation="https://a/revoke")
    await client.close()


async def test_what_the_settings_say_comes_before_what_discovery_finds() -> None:
    async with http_endpoint() as endpoint:
        document = {
            "issuer": endpoint.url(""),
            "token_endpoint": endpoint.url("/token"),
            "authorization_endpoint": endpoint.url("/found"),
            "revocation_endpoint": endpoint.url("/found"),
        }
        endpoint.answer = lambda _: web.json_response(document)
        settings = OAuth2Settings(
            "web", issuer=endpoint.url(""), client_auth="none", authorization_url="https://mine.example/authorize"
        )
        client = Client(settings)
        assert await client.endpoints() == Endpoints(
            endpoint.url("/token"), "https://mine.example/authorize", None, endpoint.url("/found"), endpoint.url("")
        )
        await client.close()


async def test_it_proves_who_it_is_wherever_it_asks() -> None:
    async with http_endpoint() as endpoint:
        secret = Secret("s-CANARY")
        client = Client(OAuth2Settings("web", url=endpoint.url(), client_secret=secret, params={"audience": "api"}))
        assert isinstance(await client.post(endpoint.url("/revoke"), {"token": "t"}), Answer)
        await client.close()
        (_, path, headers, text) = endpoint.asked[0]
    assert (path, parse_qs(text)) == ("/revoke", {"token": ["t"]}), "extra parameters are the token endpoint's"
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"web:s-CANARY").decode()


def own(endpoint: HttpEndpoint, scope: str | None = None) -> OAuth2Endpoint:
    settings = OAuth2Settings(
        "web", url=endpoint.url(), client_secret=Secret("s-CANARY"), grant="client_credentials", scope=scope
    )
    return OAuth2Endpoint(settings)


async def test_a_client_that_asks_for_itself_sends_no_refresh_token_and_keeps_none() -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.json_response(
            {"access_token": "a-CANARY", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r-CANARY"}
        )
        issuer = own(endpoint, "api:read")
        assert await issuer.refresh(STAND_IN, Secret("old")) == Issued(Secret("a-CANARY"), None, 60.0)
        await issuer.close()
    assert parse_qs(endpoint.asked[0][3]) == {"grant_type": ["client_credentials"], "scope": ["api:read"]}


async def test_a_client_that_is_refused_for_itself_is_a_misconfiguration_and_never_a_logout() -> None:
    for status, content in (
        (400, {"error": "invalid_grant"}),
        (401, {"error": "invalid_client"}),
        (400, {"error": "unauthorized_client"}),
        (200, {"token_type": "Bearer"}),
        (403, {}),
    ):
        async with http_endpoint() as endpoint:
            endpoint.answer = lambda _, status=status, content=content: web.json_response(content, status=status)
            issuer = own(endpoint)
            reply = await issuer.refresh(STAND_IN, None)
            await issuer.close()
        assert isinstance(reply, Unavailable), content
        assert reply.misconfigured, content


async def test_what_stands_in_for_a_refresh_token_is_never_sent_as_one() -> None:
    async with http_endpoint() as endpoint:
        issuer = OAuth2Endpoint(OAuth2Settings("web", url=endpoint.url(), client_auth="none"))
        assert await issuer.refresh(STAND_IN, None) == Denied("no_refresh_token")
        await issuer.close()
    assert endpoint.asked == []
