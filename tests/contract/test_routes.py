"""Several upstreams and credentials behind one proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import fetch
from tests.fakes.daemon import config, running_daemon
from tests.fakes.upstream import FakeUpstream


@pytest_asyncio.fixture
async def billing() -> AsyncIterator[FakeAuthorizationServer]:
    """Another authorization server, with tokens of its own."""
    server = FakeAuthorizationServer()
    server.issued = 1000  # no token of the one is one of the other
    server.first = server.login()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest_asyncio.fixture
async def invoices(billing: FakeAuthorizationServer) -> AsyncIterator[FakeUpstream]:
    """Another API, which takes the tokens of `billing` only."""
    server = FakeUpstream(billing)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def credential(server: FakeAuthorizationServer) -> dict[str, Any]:
    endpoint = {"url": server.url, "client_id": "web", "client_auth": "none"}
    return {"refresh_token": server.first, "token_endpoint": endpoint}


def several(
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    billing: FakeAuthorizationServer,
    invoices: FakeUpstream,
) -> dict[str, Any]:
    """Return the settings for both, and for one without a token."""
    return {
        "upstream": None,
        "credential": None,
        "credentials": {"default": credential(authorization), "billing": credential(billing)},
        "routes": [
            {"path": "/billing", "upstream": f"{invoices.url}/v2", "strip_path": True, "credential": "billing"},
            {"path": "/open", "upstream": upstream.url, "credential": "none"},
            {"path": "/", "upstream": upstream.url},
        ],
    }


async def test_each_route_has_its_upstream_and_its_credential(
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    billing: FakeAuthorizationServer,
    invoices: FakeUpstream,
) -> None:
    async with running_daemon(authorization, upstream, **several(authorization, upstream, billing, invoices)) as daemon:
        assert (await fetch(daemon.url, "/orders?x=%2F")).status == 200
        assert (await fetch(daemon.url, "/billing/1?y")).status == 200
        assert (await fetch(daemon.url, "/billings")).status == 200
    assert [received.target for received in upstream.requests] == ["/orders?x=%2F", "/billings"]
    assert [received.target for received in invoices.requests] == ["/v2/1?y"]
    assert upstream.requests[0].token != invoices.requests[0].token
    assert authorization.count == billing.count == 1


async def test_a_route_without_a_credential_is_forwarded_without_a_token_and_its_401_is_the_answer(
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    billing: FakeAuthorizationServer,
    invoices: FakeUpstream,
) -> None:
    async with running_daemon(authorization, upstream, **several(authorization, upstream, billing, invoices)) as daemon:
        answer = await fetch(daemon.url, "/open/page", fields=[("Authorization", "Bearer of-the-client")])
    assert answer.status == 401
    assert answer.value("Reauth-Signal") is None
    assert answer.content == b"the upstream's own 401"
    assert upstream.requests[0].token is None
    assert authorization.count == 0


async def test_a_credential_that_is_slow_or_signed_out_leaves_the_other_alone(
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    billing: FakeAuthorizationServer,
    invoices: FakeUpstream,
) -> None:
    async with running_daemon(authorization, upstream, **several(authorization, upstream, billing, invoices)) as daemon:
        billing.hold()
        parked = asyncio.create_task(fetch(daemon.url, "/billing/1"))
        await billing.arrived(1)
        assert (await fetch(daemon.url, "/orders")).status == 200
        billing.release()
        assert (await parked).status == 200
        billing.revoke_access()
        billing.revoke_refresh()
        answer = await fetch(daemon.url, "/billing/1")
        assert (answer.status, answer.value("Reauth-Signal")) == (401, "logout;reason=refresh_denied")
        assert (await fetch(daemon.url, "/orders")).status == 200
        (signed_out,) = daemon.events("session.signed_out")
        assert signed_out["credential"] == "billing"
    assert authorization.count == 1


async def test_what_no_route_covers_gets_404(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    routes = [{"path": "/api", "upstream": upstream.url}]
    async with running_daemon(authorization, upstream, upstream=None, routes=routes) as daemon:
        answer = await fetch(daemon.url, "/other")
        assert (answer.status, json.loads(answer.content)["code"]) == (404, "no_route")
        assert (await fetch(daemon.url, "/api?x")).status == 200
    assert [received.target for received in upstream.requests] == ["/api?x"]


async def test_a_reload_brings_a_credential_and_takes_another_away(
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    billing: FakeAuthorizationServer,
    invoices: FakeUpstream,
) -> None:
    both = several(authorization, upstream, billing, invoices)
    async with running_daemon(authorization, upstream) as daemon:
        assert (await fetch(daemon.url, "/orders")).status == 200
        await daemon.reload(config(authorization, upstream, **both))
        assert (await fetch(daemon.url, "/billing/1")).status == 200
        assert (await fetch(daemon.url, "/orders")).status == 200
        await daemon.reload(config(authorization, upstream))
        assert (await fetch(daemon.url, "/billing/1")).status == 200
        assert list(daemon.credentials.sessions) == ["default"]
    assert [received.target for received in invoices.requests] == ["/v2/1"]
    assert [received.target for received in upstream.requests] == ["/orders", "/orders", "/billing/1"]
    assert authorization.count == billing.count == 1


async def test_two_credentials_in_one_store_are_two_files(
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    billing: FakeAuthorizationServer,
    invoices: FakeUpstream,
    tmp_path: Path,
) -> None:
    settings = several(authorization, upstream, billing, invoices)
    settings["store"] = {"type": "file", "path": str(tmp_path / "session.json")}
    for _ in range(2):
        async with running_daemon(authorization, upstream, **settings) as daemon:
            assert (await fetch(daemon.url, "/billing/1")).status == 200
            assert (await fetch(daemon.url, "/orders")).status == 200
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["session-billing.json", "session.json"]
    assert authorization.count == billing.count == 1, "the second time, what was stored is used"
