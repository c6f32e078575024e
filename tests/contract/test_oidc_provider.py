"""Against node-oidc-provider: every way in, every way to say who the client is, rotation, reuse, and the way out."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import pytest_asyncio
from joserfc import jwk

from tests.commands.stage import address, run, stored, write_config
from tests.fakes.client import fetch
from tests.fakes.daemon import DaemonProcess, cared_for
from tests.fakes.oidc_provider import OidcProvider, Person, oidc_provider
from tests.fakes.program import program

#: They start a Node.js program, and have npm install it first.
pytestmark = pytest.mark.slow

SECRET = "a-client-secret-CANARY-of-some-length"
KEY = jwk.ECKey.generate_key("P-256", {"alg": "ES256", "kid": "k1"})
REDIRECT = "http://127.0.0.1/callback"
_PERSONS = {
    "application_type": "native",
    "redirect_uris": [REDIRECT],
    "response_types": ["code"],
    "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    "scope": "openid offline_access",
}
CLIENTS: list[dict[str, Any]] = [
    {"client_id": "public", "token_endpoint_auth_method": "none", **_PERSONS},
    {"client_id": "basic", "client_secret": SECRET, "token_endpoint_auth_method": "client_secret_basic", **_PERSONS},
    {"client_id": "post", "client_secret": SECRET, "token_endpoint_auth_method": "client_secret_post", **_PERSONS},
    {
        "client_id": "signing",
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [KEY.as_dict(private=False)]},
        "token_endpoint_auth_signing_alg": "ES256",
        **_PERSONS,
    },
    {
        "client_id": "service",
        "client_secret": SECRET,
        "grant_types": ["client_credentials"],
        "redirect_uris": [],
        "response_types": [],
        "scope": "api",
    },
]
PROOF: dict[str, dict[str, Any]] = {
    "public": {},
    "basic": {"client_secret": SECRET},
    "post": {"client_secret": SECRET, "client_auth": "client_secret_post"},
    "signing": {"client_auth": "private_key_jwt", "private_key": json.dumps(KEY.as_dict(private=True))},
}


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with oidc_provider(CLIENTS) as provider:
        yield provider


def configured(provider: OidcProvider, directory: Path, client: str = "public", **more: Any) -> Path:
    endpoint = {
        "issuer": provider.issuer,
        "client_id": client,
        "scope": "openid offline_access",
        "authorization_params": {"prompt": "consent"},
        **PROOF[client],
    }
    refresh = {"background": False, "min_interval": 0}
    return write_config(
        directory, {"token_endpoint": endpoint}, upstream=provider.api, refresh=refresh, log={"format": "json"}, **more
    )


def daemon_for(config: Path) -> DaemonProcess:
    """Return the daemon of a config file that is written already."""
    daemon = DaemonProcess(config.parent, {})
    daemon.config_path = config
    return daemon


async def sign_in(config: Path) -> None:
    async with program("login", "--config", str(config), "--no-browser") as login, Person() as person:
        page = await person.sign_in(await address(login))
        assert await login.ended() == 0, login.out
    assert "Signed in" in page


async def forget_access_token(config: Path) -> str:
    """Take the access token out of the store, as if it had expired; return the refresh token."""
    path = config.parent / "session.json"
    record = json.loads(path.read_text())
    record["access_token"] = record["expires_at"] = None
    path.write_text(json.dumps(record))
    token: str = record["refresh_token"]
    return token


async def grant(provider: OidcProvider, **form: str) -> int:
    """Make a token request by hand, as the public client; return its status."""
    content = urlencode({"client_id": "public", **form}).encode()
    fields = [("Content-Type", "application/x-www-form-urlencoded")]
    return (await fetch(provider.issuer, "/token", method="POST", fields=fields, content=content)).status


@pytest.mark.parametrize("client", PROOF)
async def test_login_refresh_and_logout_with_every_way_to_say_who_the_client_is(
    provider: OidcProvider, tmp_path: Path, client: str
) -> None:
    config = configured(provider, tmp_path, client)
    await sign_in(config)
    first = await forget_access_token(config)
    async with cared_for(daemon_for(config)) as daemon:
        await daemon.start()
        answers = await asyncio.gather(*(fetch(daemon.url, "/x") for _ in range(20)))
        assert {json.loads(answer.content)["account"] for answer in answers} == {"alice"}
        assert await daemon.stop() == 0
    counts = await provider.counts()
    assert counts["grants"] == {"authorization_code": 1, "refresh_token": 1}
    session = await stored(tmp_path)
    assert session is not None
    assert session.refresh_token is not None
    assert session.refresh_token.reveal() != first, "rotated"
    status, out, err = await run("logout", "--config", str(config))
    assert (status, out, err) == (0, "Signed out. The tokens are revoked and wiped from the store.\n", "")
    counts = await provider.counts()
    assert counts["errors"] == {}
    assert counts["revoked"] >= 1


async def test_five_rotations_and_the_first_token_coming_back_ends_the_session(
    provider: OidcProvider, tmp_path: Path
) -> None:
    config = configured(provider, tmp_path)
    await sign_in(config)
    tokens = []
    for _ in range(5):
        tokens.append(await forget_access_token(config))
        async with cared_for(daemon_for(config)) as daemon:
            await daemon.start()
            assert (await fetch(daemon.url, "/x")).status == 200
            await daemon.stop()
    assert len(set(tokens)) == 5
    assert (await provider.counts())["grants"]["refresh_token"] == 5
    assert await grant(provider, grant_type="refresh_token", refresh_token=tokens[0]) == 400, "somebody has a copy"
    await forget_access_token(config)
    async with cared_for(daemon_for(config)) as daemon:
        await daemon.start()
        answer = await fetch(daemon.url, "/x")
        assert answer.value("Reauth-Signal") == "logout;reason=refresh_denied"
        await sign_in(config)
        await daemon.logged("session.resumed")
        assert (await fetch(daemon.url, "/x")).status == 200


async def test_a_revoked_session_is_worth_nothing_to_whoever_has_a_copy(provider: OidcProvider, tmp_path: Path) -> None:
    config = configured(provider, tmp_path)
    await sign_in(config)
    session = await stored(tmp_path)
    assert session is not None
    assert session.refresh_token is not None
    assert session.access_token is not None
    assert (await run("logout", "--config", str(config)))[0] == 0
    assert await grant(provider, grant_type="refresh_token", refresh_token=session.refresh_token.reveal()) == 400
    bearer = [("Authorization", f"Bearer {session.access_token.reveal()}")]
    assert (await fetch(provider.issuer, "/api/x", fields=bearer)).status == 401


async def test_a_code_is_entered_on_another_device(provider: OidcProvider, tmp_path: Path) -> None:
    config = configured(provider, tmp_path)
    async with program("login", "--config", str(config), "--device") as login, Person() as person:
        out = await login.says("Waiting")
        found = re.search(r"or open (\S+)\n", out)
        assert found is not None
        code = re.search(r"and enter the code\n\n  (\S+)\n", out)
        assert code is not None
        assert parse_qs(urlsplit(found[1]).query)["user_code"] == [code[1]]
        await person.sign_in(found[1])
        assert await login.ended() == 0, login.out
    async with cared_for(daemon_for(config)) as daemon:
        await daemon.start()
        assert (await fetch(daemon.url, "/x")).status == 200


async def test_a_person_who_refuses_is_not_signed_in(provider: OidcProvider, tmp_path: Path) -> None:
    config = configured(provider, tmp_path)
    async with program("login", "--config", str(config), "--no-browser") as login, Person() as person:
        page = await person.sign_in(await address(login), refuse=True)
        assert await login.ended() == 1
    assert "access_denied" in login.out
    assert "Not signed in" in page
    assert await stored(tmp_path) is None


async def test_a_client_asks_for_itself(provider: OidcProvider, tmp_path: Path) -> None:
    endpoint = {"issuer": provider.issuer, "client_id": "service", "client_secret": SECRET, "scope": "api"}
    credential = {"grant": "client_credentials", "token_endpoint": endpoint}
    config = write_config(tmp_path, credential, upstream=provider.api, log={"format": "json"})
    async with cared_for(daemon_for(config)) as daemon:
        await daemon.start()
        answers = await asyncio.gather(*(fetch(daemon.url, "/x") for _ in range(20)))
        assert {json.loads(answer.content)["client"] for answer in answers} == {"service"}
        assert (await provider.counts())["grants"] == {"client_credentials": 1}
        assert (await run("logout", "--config", str(config)))[0] == 0
        assert (await fetch(daemon.url, "/x")).value("Reauth-Signal") == "logout;reason=signed_out"
