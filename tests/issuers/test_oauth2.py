"""The request of RFC 6749 section 6, and its round trip."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jwk, jwt

from reauth_proxy.errors import ConfigError
from reauth_proxy.issuers.client import OAuth2Settings
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.session.tokens import Denied, Issued, Secret, TokenReply, Unavailable
from tests.issuers.endpoints import ACCESS, REFRESH, HttpEndpoint, http_endpoint

CLIENT_SECRET = Secret("s3cret:CANARY é+&")


async def refresh(endpoint: HttpEndpoint, **settings: Any) -> TokenReply:
    settings.setdefault("client_auth", "none")
    issuer = OAuth2Endpoint(OAuth2Settings(client_id="web app:1", url=endpoint.url(), **settings))
    try:
        return await issuer.refresh(REFRESH, ACCESS)
    finally:
        await issuer.close()


async def asked(**settings: Any) -> tuple[dict[str, str], dict[str, list[str]]]:
    async with http_endpoint() as endpoint:
        assert isinstance(await refresh(endpoint, **settings), Issued)
    (method, path, headers, text) = endpoint.asked[0]
    assert (method, path) == ("POST", "/token")
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    return headers, parse_qs(text, strict_parsing=True)


async def test_a_public_client_names_itself_in_the_form() -> None:
    headers, form = await asked()
    assert form == {"grant_type": ["refresh_token"], "refresh_token": ["refresh-CANARY-1"], "client_id": ["web app:1"]}
    assert "Authorization" not in headers


async def test_the_access_token_is_not_sent() -> None:
    headers, form = await asked()
    assert "access-CANARY-0" not in repr((headers, form))


async def test_client_secret_basic_is_form_urlencoded_before_base64() -> None:
    headers, form = await asked(client_auth="client_secret_basic", client_secret=CLIENT_SECRET)
    scheme, _, pair = headers["Authorization"].partition(" ")
    name, _, secret = base64.b64decode(pair).decode("ascii").partition(":")
    assert (scheme, name) == ("Basic", "web+app%3A1")
    assert unquote_plus(secret) == CLIENT_SECRET.reveal()
    assert "client_id" not in form
    assert "client_secret" not in form


async def test_client_secret_post_goes_into_the_form() -> None:
    headers, form = await asked(client_auth="client_secret_post", client_secret=CLIENT_SECRET)
    assert (form["client_id"], form["client_secret"]) == (["web app:1"], [CLIENT_SECRET.reveal()])
    assert "Authorization" not in headers


def pem(key: Any) -> Secret:
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return Secret(key.private_bytes(encoding, kind, serialization.NoEncryption()).decode())


@pytest.mark.parametrize(
    ("key", "algorithm", "given"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256", None),
        (rsa.generate_private_key(65537, 2048), "PS256", "PS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256", None),
        (ec.generate_private_key(ec.SECP384R1()), "ES384", None),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA", None),
    ],
    ids=["RS256", "PS256", "ES256", "ES384", "EdDSA"],
)
@pytest.mark.filterwarnings("ignore:EdDSA")
async def test_private_key_jwt_is_an_assertion_for_this_endpoint(key: Any, algorithm: str, given: str | None) -> None:
    async with http_endpoint() as endpoint:
        url = endpoint.url()
        settings = OAuth2Settings(
            client_id="web",
            url=url,
            client_auth="private_key_jwt",
            private_key=pem(key),
            private_key_id="k1",
            private_key_alg=given,
        )
        issuer = OAuth2Endpoint(settings)
        assert isinstance(await issuer.refresh(REFRESH, None), Issued)
        assert isinstance(await issuer.refresh(REFRESH, None), Issued)
        await issuer.close()
    forms = [parse_qs(text) for *_, text in endpoint.asked]
    assert forms[0]["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    kind = {"R": "RSA", "P": "RSA", "E": "EC"}[algorithm[0]] if algorithm != "EdDSA" else "OKP"
    public = jwk.JWKRegistry.import_key(pem(key).reveal(), kind)
    tokens = [jwt.decode(form["client_assertion"][0], public, [algorithm]) for form in forms]
    claims = tokens[0].claims
    assert (tokens[0].header["alg"], tokens[0].header["kid"]) == (algorithm, "k1")
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("web", "web", url)
    assert claims["exp"] - claims["iat"] == 60
    assert claims["jti"] != tokens[1].claims["jti"]


async def test_a_jwk_brings_its_own_kid_and_algorithm() -> None:
    import json

    key = jwk.RSAKey.generate_key(2048, {"kid": "own", "alg": "PS384"})
    _, form = await asked(client_auth="private_key_jwt", private_key=Secret(json.dumps(key.as_dict(private=True))))
    token = jwt.decode(form["client_assertion"][0], key, ["PS384"])
    assert (token.header["kid"], token.header["alg"]) == ("own", "PS384")


@pytest.mark.parametrize(
    ("text", "algorithm", "problem"),
    [
        ("-----BEGIN CANARY-----", None, "neither a PEM private key"),
        ('{"kty": "RSA", "n": "CANARY"}', None, "neither a PEM private key"),
        ('{"kty": "oct", "k": "Q0FOQVJZ"}', None, "neither a PEM private key"),
        ("{CANARY", None, "neither a PEM private key"),
        (pem(ec.generate_private_key(ec.SECP256R1())).reveal(), "RS256", "does not go with RS256"),
        (pem(ec.generate_private_key(ec.SECP256R1())).reveal(), "CANARY", "does not go with CANARY"),
    ],
)
async def test_a_key_that_cannot_sign_is_a_misconfiguration(text: str, algorithm: str | None, problem: str) -> None:
    async with http_endpoint() as endpoint:
        reply = await refresh(
            endpoint, client_auth="private_key_jwt", private_key=Secret(text), private_key_alg=algorithm
        )
    assert isinstance(reply, Unavailable)
    assert reply.misconfigured
    assert problem in reply.cause
    assert endpoint.asked == []
    if algorithm is None:
        assert "CANARY" not in repr(reply)


async def test_scope_params_and_headers_go_along() -> None:
    headers, form = await asked(
        scope="openid offline_access",
        params={"audience": "api", "key": Secret("k-CANARY")},
        headers={"X-Tenant": "a", "X-Key": Secret("h-CANARY")},
    )
    assert (form["scope"], form["audience"], form["key"]) == (["openid offline_access"], ["api"], ["k-CANARY"])
    assert (headers["X-Tenant"], headers["X-Key"]) == ("a", "h-CANARY")


async def test_params_and_headers_do_not_replace_what_the_protocol_says() -> None:
    headers, form = await asked(
        client_auth="client_secret_basic",
        client_secret=CLIENT_SECRET,
        params={"grant_type": "password", "refresh_token": "other"},
        headers={"authorization": "Bearer x", "content-type": "text/plain"},
    )
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["refresh-CANARY-1"])
    assert headers["Authorization"].startswith("Basic ")


async def test_verdicts_arrive() -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.json_response({"error": "invalid_grant"}, status=400)
        assert await refresh(endpoint) == Denied("invalid_grant")
        endpoint.answer = lambda _: web.Response(status=503, headers={"Retry-After": "9"})
        assert await refresh(endpoint) == Unavailable("the token endpoint answered 503", 9.0)


async def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    async with http_endpoint() as endpoint:
        pass
    reply = await refresh(endpoint)
    assert reply == Unavailable(f"cannot connect to 127.0.0.1:{endpoint.port}: connection refused")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "needs url or issuer"),
        ({"url": "https://a", "client_auth": "client_secret_basic"}, "needs client_secret"),
        ({"url": "https://a", "client_auth": "client_secret_post"}, "needs client_secret"),
        ({"url": "https://a", "client_auth": "private_key_jwt"}, "needs private_key"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        OAuth2Endpoint(OAuth2Settings(client_id="web", **settings))


def test_settings_do_not_show_secrets() -> None:
    settings = OAuth2Settings("web", client_secret=CLIENT_SECRET, private_key=Secret("CANARY"))
    assert "CANARY" not in repr(settings)
