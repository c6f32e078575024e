"""The demo's authorization server: rotation, reuse detection, and a token that is always good for a new session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from reauth_proxy.demo.api import make_application
from reauth_proxy.demo.authorization import BOOTSTRAP, CLIENT_ID, Authorization

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]


@pytest.fixture
def authorization() -> Authorization:
    return Authorization(10.0)


@pytest.fixture
async def client(authorization: Authorization, aiohttp_client: Connect) -> Client:
    return await aiohttp_client(make_application(authorization, None))


async def refresh(client: Client, refresh_token: str, **changes: str) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": refresh_token, **changes}
    async with client.post("/oauth2/token", data=form) as response:
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, await response.json()


async def test_it_issues_a_short_lived_access_token_and_the_next_refresh_token(
    client: Client, authorization: Authorization
) -> None:
    status, tokens = await refresh(client, BOOTSTRAP)
    assert (status, tokens["token_type"], tokens["expires_in"]) == (200, "Bearer", 10.0)
    assert authorization.valid(tokens["access_token"])
    status, later = await refresh(client, tokens["refresh_token"])
    assert status == 200
    assert authorization.valid(later["access_token"])
    assert len({BOOTSTRAP, tokens["refresh_token"], later["refresh_token"]}) == 3
    assert authorization.refreshes == 2


async def test_a_refresh_token_that_comes_back_ends_its_session_and_no_other(
    client: Client, authorization: Authorization
) -> None:
    _, ours = await refresh(client, BOOTSTRAP)
    _, theirs = await refresh(client, BOOTSTRAP)
    _, later = await refresh(client, ours["refresh_token"])
    assert await refresh(client, ours["refresh_token"]) == (400, {"error": "invalid_grant"})
    assert await refresh(client, later["refresh_token"]) == (400, {"error": "invalid_grant"})
    assert not authorization.valid(later["access_token"])
    assert authorization.valid(theirs["access_token"])
    assert (await refresh(client, theirs["refresh_token"]))[0] == 200
    assert authorization.refusals == 2


async def test_the_well_known_token_starts_a_session_each_time_so_that_a_restarted_proxy_is_no_thief(
    client: Client,
) -> None:
    tokens = [await refresh(client, BOOTSTRAP) for _ in range(3)]
    assert [status for status, _ in tokens] == [200] * 3
    for _, issued in tokens:
        assert (await refresh(client, issued["refresh_token"]))[0] == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_id": "somebody"}, "invalid_client"),
        ({"refresh_token": "made-up"}, "invalid_grant"),
    ],
)
async def test_anything_else_is_refused_as_rfc_6749_says(client: Client, changes: dict[str, str], error: str) -> None:
    assert await refresh(client, **{"refresh_token": BOOTSTRAP, **changes}) == (400, {"error": error})


async def test_access_tokens_expire(aiohttp_client: Connect) -> None:
    authorization = Authorization(0.0)
    client = await aiohttp_client(make_application(authorization, None))
    _, tokens = await refresh(client, BOOTSTRAP)
    assert not authorization.valid(tokens["access_token"])


async def test_revoked_the_page_counts_and_only_a_new_sign_in_helps(
    client: Client, authorization: Authorization
) -> None:
    _, tokens = await refresh(client, BOOTSTRAP)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    async with client.get("/api/orders", headers=bearer) as response:
        assert response.status == 200
    async with client.post("/demo/revoke") as response:
        assert response.status == 200
    async with client.get("/api/orders", headers=bearer) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="demo", error="invalid_token"'
    assert (await refresh(client, tokens["refresh_token"]))[1] == {"error": "invalid_grant"}
    assert (await refresh(client, BOOTSTRAP))[1] == {"error": "invalid_grant"}
    async with client.get("/") as response:
        page = (await response.text()).split("\n")
    assert [line.split()[-1] for line in page[1:5]] == ["1", "2", "1", "1"]
    async with client.post("/demo/restore") as response:
        assert "restart the proxy" in await response.text()
    assert (await refresh(client, BOOTSTRAP))[0] == 200


@pytest.mark.parametrize("path", ["/api/time", "/api/orders", "/api/stream"])
async def test_without_a_token_the_api_answers_with_a_bare_challenge(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="demo"'


async def test_the_api_echoes_what_it_got_in_numbers(client: Client) -> None:
    _, tokens = await refresh(client, BOOTSTRAP)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    async with client.post("/api/echo", data=b"abc", headers=bearer) as response:
        assert await response.json() == {
            "bytes": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }
