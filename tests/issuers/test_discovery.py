from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from reauth_proxy.issuers.client import OAuth2Settings
from reauth_proxy.issuers.discovery import Discovery, Endpoints, document_urls
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.issuers.transport import Transport
from reauth_proxy.session.tokens import Issued, Unavailable
from tests.issuers.endpoints import REFRESH, HttpEndpoint, http_endpoint

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("issuer", "oauth", "openid"),
    [
        ("https://a.example", f"https://a.example{OAUTH}", f"https://a.example{OPENID}"),
        ("https://a.example/", f"https://a.example{OAUTH}", f"https://a.example{OPENID}"),
        ("https://a.example/t/1", f"https://a.example{OAUTH}/t/1", f"https://a.example/t/1{OPENID}"),
        ("https://a.example:8443/t/", f"https://a.example:8443{OAUTH}/t", f"https://a.example:8443/t{OPENID}"),
    ],
)
def test_where_documents_are(issuer: str, oauth: str, openid: str) -> None:
    assert document_urls(issuer) == (oauth, openid)


def documents(endpoint: HttpEndpoint, **answers: Any) -> None:
    """Answer with these (status, document) pairs at the two places, and with tokens elsewhere."""
    tokens = endpoint.answer

    def answer(request: web.Request) -> web.Response:
        for path, name in ((OAUTH, "oauth"), (OPENID, "openid")):
            if request.path.startswith(path) or request.path.endswith(path):
                status, document = answers.get(name, (404, {}))
                if isinstance(document, bytes):
                    return web.Response(body=document, status=status, headers={"Retry-After": "4"})
                return web.json_response(document, status=status)
        return tokens(request)

    endpoint.answer = answer


def document(endpoint: HttpEndpoint, **more: object) -> dict[str, object]:
    issuer = endpoint.url("").rstrip("/")
    return {"issuer": issuer, "token_endpoint": endpoint.url("/found"), "x": "CANARY", **more}


async def discover(endpoint: HttpEndpoint, **answers: Any) -> str | Unavailable:
    documents(endpoint, **answers)
    transport = Transport()
    try:
        found = await Discovery(endpoint.url(""), transport).endpoints()
        return found.token if isinstance(found, Endpoints) else found
    finally:
        await transport.close()


async def test_either_document_will_do() -> None:
    for place in ("oauth", "openid"):
        async with http_endpoint() as endpoint:
            assert await discover(endpoint, **{place: (200, document(endpoint))}) == endpoint.url("/found")


async def test_a_broken_first_document_does_not_hide_a_good_second_one() -> None:
    for broken in ((503, b""), (200, b"<html>"), (200, {"issuer": "https://other.example"})):
        async with http_endpoint() as endpoint:
            found = await discover(endpoint, oauth=broken, openid=(200, document(endpoint)))
            assert found == endpoint.url("/found")


async def problem(misconfigured: bool, *causes: str, **answers: Any) -> Unavailable:
    async with http_endpoint() as endpoint:
        wanted = {place: answer(endpoint) if callable(answer) else answer for place, answer in answers.items()}
        found = await discover(endpoint, **wanted)
    assert isinstance(found, Unavailable)
    assert found.misconfigured is misconfigured
    assert not found.broken
    for cause in causes:
        assert cause in found.cause
    assert "CANARY" not in found.cause
    return found


async def test_no_document_is_a_misconfiguration() -> None:
    await problem(True, "answered 404", "check issuer")


async def test_another_issuer_is_a_misconfiguration() -> None:
    await problem(True, "names another issuer", openid=lambda e: (200, document(e, issuer="https://CANARY.example")))
    await problem(True, "names another issuer", oauth=lambda e: (200, document(e, issuer=None)))
    await problem(True, "differ in the slash", openid=lambda e: (200, document(e, issuer=e.url("/"))))


async def test_a_token_endpoint_to_which_no_secret_may_go_is_a_misconfiguration() -> None:
    for url in ("http://CANARY.example/token", "", None, 7, "/token"):
        await problem(True, "no token_endpoint", oauth=lambda e, url=url: (200, document(e, token_endpoint=url)))


async def test_a_document_that_is_no_object_is_a_misconfiguration() -> None:
    await problem(True, "not a JSON object", openid=(200, ["CANARY"]))


async def test_a_server_that_is_down_is_not_a_misconfiguration() -> None:
    found = await problem(False, "answered 503", openid=(503, b"CANARY"))
    assert found.retry_after == 4.0
    await problem(False, "not JSON", oauth=(200, b"<html>CANARY"))


async def test_a_server_that_cannot_be_reached_is_asked_once() -> None:
    transport = Transport()
    found = await Discovery("http://nowhere.invalid", transport).endpoints()
    await transport.close()
    assert found == Unavailable("discovery: cannot connect to nowhere.invalid:80: its name could not be resolved")


async def test_discovery_is_done_once_and_again_after_the_endpoint_has_moved() -> None:
    async with http_endpoint() as endpoint:
        documents(endpoint, oauth=(200, document(endpoint)))
        good = endpoint.answer
        issuer = OAuth2Endpoint(OAuth2Settings("web", issuer=endpoint.url(""), client_auth="none"))
        for _ in range(2):
            assert isinstance(await issuer.refresh(REFRESH, None), Issued)
        assert [path for _, path, *_ in endpoint.asked] == [OAUTH, "/found", "/found"]
        endpoint.answer = lambda _: web.Response(status=404)
        assert isinstance(await issuer.refresh(REFRESH, None), Unavailable)
        endpoint.answer = good
        assert isinstance(await issuer.refresh(REFRESH, None), Issued)
        assert [path for _, path, *_ in endpoint.asked][3:] == ["/found", OAUTH, "/found"]
        await issuer.close()


async def test_a_failed_discovery_is_tried_again() -> None:
    async with http_endpoint() as endpoint:
        tokens = endpoint.answer
        endpoint.answer = lambda _: web.Response(status=500)
        issuer = OAuth2Endpoint(OAuth2Settings("web", issuer=endpoint.url(""), client_auth="none"))
        assert isinstance(await issuer.refresh(REFRESH, None), Unavailable)
        assert all("refresh-CANARY" not in text for *_, text in endpoint.asked)
        endpoint.answer = tokens
        documents(endpoint, openid=(200, document(endpoint)))
        assert isinstance(await issuer.refresh(REFRESH, None), Issued)
        await issuer.close()


async def test_the_other_endpoints_are_found_where_secrets_may_go_to_them() -> None:
    async with http_endpoint() as endpoint:
        more = {
            "authorization_endpoint": endpoint.url("/authorize"),
            "device_authorization_endpoint": "http://CANARY.example/device",
            "revocation_endpoint": endpoint.url("/revoke"),
            "authorization_response_iss_parameter_supported": True,
        }
        documents(endpoint, oauth=(200, document(endpoint, **more)))
        transport = Transport()
        found = await Discovery(endpoint.url(""), transport).endpoints()
        await transport.close()
        assert found == Endpoints(
            endpoint.url("/found"), endpoint.url("/authorize"), None, endpoint.url("/revoke"), endpoint.url(""), True
        )
