"""A client that asks for itself: one token for everybody, no logout for good, nothing lost at a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.fakes.authorization import Reply, oauth_error
from tests.fakes.client import fetch
from tests.fakes.daemon import RunningDaemon, daemon_process, running_daemon
from tests.fakes.login import LoginServer, login_server
from tests.fakes.upstream import FakeUpstream, upstream_server

ENDPOINT = {"client_auth": "client_secret_basic", "client_secret": "s3cret", "scope": "api"}
SETTINGS: dict[str, Any] = {
    "credential": {"grant": "client_credentials", "refresh_token": None, "token_endpoint": ENDPOINT}
}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LoginServer]:
    async with login_server() as server:
        server.secret = "s3cret"
        yield server


@pytest_asyncio.fixture
async def api(server: LoginServer) -> AsyncIterator[FakeUpstream]:
    async with upstream_server(server) as upstream:
        yield upstream


async def burst(daemon: RunningDaemon, number: int) -> set[int]:
    return {answer.status for answer in await asyncio.gather(*(fetch(daemon.url) for _ in range(number)))}


async def test_everybody_waits_for_one_token_request_each_time_the_token_ends(
    server: LoginServer, api: FakeUpstream
) -> None:
    async with running_daemon(server, api, refresh={"background": False, "min_interval": 0}, **SETTINGS) as daemon:
        assert await burst(daemon, 50) == {200}
        assert server.count == 1
        assert server.calls[0].form == {"grant_type": "client_credentials", "scope": "api"}
        server.revoke_access()
        assert await burst(daemon, 50) == {200}
        assert server.count == 2
        daemon.pass_time(400)
        assert await burst(daemon, 50) == {200}
        assert server.count == 3
        assert {line["rotated"] for line in daemon.events("refresh.issued")} == {False}


@pytest.mark.parametrize("code", ["invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope"])
async def test_a_refused_client_is_a_misconfiguration_loud_and_over_when_it_is_mended(
    server: LoginServer, api: FakeUpstream, code: str
) -> None:
    async with running_daemon(server, api, **SETTINGS) as daemon:
        server.next(oauth_error(code))
        answer = await fetch(daemon.url)
        assert (answer.status, answer.value("Reauth-Signal")) == (401, "logout;reason=refresh_unavailable")
        assert answer.value("Retry-After") is not None
        assert server.count == 1, "no retries"
        (loud,) = [line for line in daemon.events("refresh.unavailable") if line["level"] == "error"]
        assert code in loud["problem"]
        assert daemon.events("session.signed_out") == []
        daemon.pass_time(60)
        assert (await fetch(daemon.url)).status == 200


async def test_an_outage_is_waited_out(server: LoginServer, api: FakeUpstream) -> None:
    async with running_daemon(server, api, **SETTINGS) as daemon:
        server.next(Reply(503), Reply(503))
        assert (await fetch(daemon.url)).status == 200
        assert server.count == 3


async def test_a_sign_out_is_one_until_the_session_is_offered_again(server: LoginServer, api: FakeUpstream) -> None:
    async with running_daemon(server, api, **SETTINGS) as daemon:
        assert (await fetch(daemon.url)).status == 200
        await daemon.session.sign_out()
        server.revoke_access()
        assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=signed_out"
        token = daemon.config.credential.configured
        assert token is not None
        assert await daemon.session.sign_in(token)
        assert (await fetch(daemon.url)).status == 200
        assert server.count == 2


async def test_a_restart_goes_on_with_the_stored_access_token(
    server: LoginServer, api: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, server, api, **SETTINGS) as daemon:
        assert (await fetch(daemon.url)).status == 200
        await daemon.kill()
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
    assert server.count == 1


async def test_the_grant_can_change_while_it_runs(server: LoginServer, api: FakeUpstream, tmp_path: Path) -> None:
    import signal

    settings = {"credential": {"token_endpoint": ENDPOINT}, "refresh": {"min_interval": 0}}
    async with daemon_process(tmp_path, server, api, **settings) as daemon:
        assert (await fetch(daemon.url)).status == 200
        daemon.write_config(**SETTINGS)
        daemon.signal(signal.SIGHUP)
        assert (await daemon.logged("config.reloaded"))["new_refresh_token"] is True
        await daemon.logged("session.resumed")
        assert (await fetch(daemon.url)).status == 200
        assert [call.form["grant_type"] for call in server.calls] == ["refresh_token", "client_credentials"]
        daemon.write_config(credential={"grant": None})
        daemon.signal(signal.SIGHUP)
        await daemon.logged("config.reloaded", 2)
        server.revoke_access()
        answer = await fetch(daemon.url)
        assert answer.value("Reauth-Signal") == "logout;reason=refresh_denied"
        assert server.count == 2, "what stood in for a refresh token is not sent as one"
