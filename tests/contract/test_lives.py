"""A session is somebody's: nothing crosses from one life to another, deeds count, and what works goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reauth_proxy.session.tokens import Secret
from tests.commands.stage import run
from tests.contract.test_capture import CAPTURE, log_in
from tests.contract.test_frontend import events
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import Answer, connect, fetch
from tests.fakes.daemon import DaemonProcess, RunningDaemon, cared_for, daemon_process, running_daemon
from tests.fakes.daemon import settings as settings_of
from tests.fakes.files import write_secret
from tests.fakes.upstream import Exchange, FakeUpstream

CONTROL = {"listen": "127.0.0.1:0"}
DENIED = "logout;reason=refresh_denied"
SIGNED_OUT = "logout;reason=signed_out"


@contextlib.asynccontextmanager
async def two(
    directory: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream, **more: Any
) -> AsyncIterator[tuple[DaemonProcess, DaemonProcess]]:
    """Two daemons with one file and one configuration."""
    path = str(directory / "shared.json")
    shared = settings_of(authorization, upstream, store={"type": "file", "path": path}, **more)
    (directory / "one").mkdir()
    (directory / "two").mkdir()
    one, other = DaemonProcess(directory / "one", shared), DaemonProcess(directory / "two", shared)
    async with cared_for(one), cared_for(other):
        await one.start()
        await other.start()
        yield one, other


def whose(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> list[int | None]:
    """Return whose token each request brought."""
    return [authorization.whose(received.token) for received in upstream.requests]


async def put(daemon: RunningDaemon, refresh_token: str, **more: object) -> Answer:
    assert daemon.control_url is not None
    content = json.dumps({"refresh_token": refresh_token, **more}).encode()
    return await fetch(daemon.control_url, "/session", method="PUT", content=content)


# -- 1: lives ---------------------------------------------------------------------------------------------------------


async def test_a_late_rejection_is_not_answered_with_another_persons_token(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, control=CONTROL) as daemon:
        assert (await fetch(daemon.url)).status == 200
        upstream.hold()
        async with await connect(daemon.url) as client:
            await client.request("/held/pay", method="POST", content=b"100 to bob")
            await upstream.arrived(2)
            assert (await fetch(daemon.url, "/_reauth/logout", method="POST")).status == 204
            assert (await put(daemon, authorization.login())).status == 204
            assert (await fetch(daemon.url)).status == 200
            authorization._access = {
                token: held for token, held in authorization._access.items() if authorization.whose(token) == 2
            }
            upstream.release()
            answer = await client.answer()
        assert (answer.status, answer.content) == (401, b"the upstream's own 401")
        assert answer.value("Reauth-Signal") is None
        assert len(upstream.seen("/held/pay")) == 1
        assert whose(authorization, upstream) == [1, 1, 2]
    assert authorization.reuses == 0


async def test_what_arrived_before_somebody_else_signed_in_is_not_sent_in_their_name(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, control=CONTROL) as daemon:
        assert (await fetch(daemon.url)).status == 200
        async with await connect(daemon.url) as client:
            await client.send(b"POST /pay HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n100 to")
            await daemon.log.until(lambda: daemon._forwarder.active == 1)
            assert (await put(daemon, authorization.login())).status == 204
            await client.send(b" bob")
            answer = await client.answer()
        assert (answer.status, answer.value("Reauth-Signal")) == (401, SIGNED_OUT)
        assert upstream.seen("/pay") == []


async def test_a_change_of_person_is_a_logout_and_then_a_return(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, control=CONTROL) as daemon:
        assert (await fetch(daemon.url)).status == 200
        async with events(daemon.url) as tab:
            assert (await tab.event())[0] == "session"
            assert (await put(daemon, authorization.login())).status == 204
            event, seen = await tab.event()
            assert (event, seen["state"], seen["reason"]) == ("logout", "signed_out", "signed_out")
            assert (await tab.event())[0] == "resumed"
            assert (await fetch(daemon.url)).status == 200
            assert (await tab.event())[0] == "refreshed"
        assert daemon.session.stats.ended == {"signed_out": 1}


@pytest.mark.parametrize("cooling", [False, True])
async def test_a_login_as_somebody_else_takes_effect_at_once_also_in_a_cool_off(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, cooling: bool
) -> None:
    refresh = {"retry_for": "100ms", "timeout": "1s"}
    async with daemon_process(tmp_path, authorization, upstream, refresh=refresh) as daemon:
        assert (await fetch(daemon.url)).status == 200
        if cooling:
            authorization.revoke_access()
            authorization.close_listener()
            assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=refresh_unavailable"
            await authorization.start()
        token = authorization.login().encode()
        status, out, _ = await run("login", "-c", str(daemon.config_path), "--stdin", stdin=token)
        assert (status, "Signed in" in out) == (0, True)
        await daemon.logged("session.resumed")
        assert (await fetch(daemon.url)).status == 200
    assert whose(authorization, upstream)[0] == 1
    assert whose(authorization, upstream)[-1] == 2
    assert authorization.reuses == 0


# -- 2: a deed counts -------------------------------------------------------------------------------------------------


async def refused_once(authorization: FakeAuthorizationServer, url: str) -> None:
    """The authorization server refuses a good refresh token, for a while."""
    authorization.client_id = "nobody"
    authorization.revoke_access()
    assert (await fetch(url)).value("Reauth-Signal") == DENIED
    authorization.client_id = None


async def test_the_same_refresh_token_counts_when_it_is_put(upstream: FakeUpstream) -> None:
    authorization = upstream._authorization
    authorization.rotate = False
    async with running_daemon(authorization, upstream, control=CONTROL) as daemon:
        assert (await fetch(daemon.url)).status == 200
        for number in range(3):
            await refused_once(authorization, daemon.url)
            assert (await put(daemon, authorization.first)).status == 204
            assert (await fetch(daemon.url)).status == 200
            assert len(daemon.events("session.resumed")) == 1 + number


async def test_the_same_refresh_token_counts_when_a_login_brings_it_again(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    """An API with one refresh token per user."""
    authorization.rotate = False

    async def answer(exchange: Exchange) -> None:
        granted = authorization._grant(authorization.first)
        assert granted is not None
        content = {"accessToken": granted[0], "refreshToken": authorization.first, "expiresIn": 300, "user": "ann"}
        await exchange.answer(200, json.dumps(content).encode(), ("Content-Type", "application/json"))

    upstream.on["/public/login"] = answer
    async with running_daemon(authorization, upstream, credential={"refresh_token": None}, capture=[CAPTURE]) as daemon:
        for _ in range(3):
            assert (await log_in(daemon.url)).content == b'{"user": "ann"}'
            assert (await fetch(daemon.url)).status == 200
            await refused_once(authorization, daemon.url)


async def test_the_same_refresh_token_counts_when_it_is_logged_in_with(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    authorization.rotate = False
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        await refused_once(authorization, daemon.url)
        token = authorization.first.encode()
        assert (await run("login", "-c", str(daemon.config_path), "--stdin", stdin=token))[0] == 0
        await daemon.logged("session.resumed")
        assert (await fetch(daemon.url)).status == 200


@pytest.mark.parametrize("how", ["SIGHUP", "restart"])
@pytest.mark.parametrize("rotated", [False, True])
async def test_a_refusal_by_a_wrong_configuration_is_over_once_that_is_mended(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, how: str, rotated: bool
) -> None:
    authorization.client_id = "right"
    right, wrong = ({"token_endpoint": {"client_id": name}} for name in ("right", "wrong"))

    async def reconfigured(credential: dict[str, Any]) -> None:
        daemon.write_config(credential=credential)
        if how == "restart":
            await daemon.stop()
            await daemon.start()
        else:
            reloads = daemon.log.count('"config.reloaded"')
            daemon.signal(signal.SIGHUP)
            await daemon.logged("config.reloaded", reloads + 1)

    async with daemon_process(tmp_path, authorization, upstream, credential=right if rotated else wrong) as daemon:
        if rotated:
            assert (await fetch(daemon.url)).status == 200
            await reconfigured(wrong)
            authorization.revoke_access()
        for _ in range(2):
            assert (await fetch(daemon.url)).value("Reauth-Signal") == DENIED
        calls = authorization.count
        await reconfigured(right)
        assert (await fetch(daemon.url)).status == 200
        assert authorization.count == calls + 1
    assert (authorization.reuses, authorization.lives(1)) == (0, True)


# -- 3: tried before it replaces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGHUP", "restart"])
async def test_a_typo_in_the_configuration_costs_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, how: str
) -> None:
    async with daemon_process(tmp_path, authorization, upstream, refresh={"min_interval": 0}) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
        for number, token in enumerate(("typo-CANARY", authorization.first, "typo-CANARY", authorization.first)):
            daemon.write_config(credential={"refresh_token": token})
            if how == "restart":
                await daemon.stop()
                await daemon.start()
            else:
                daemon.signal(signal.SIGHUP)
                await daemon.logged("config.reloaded", number + 1)
            if number == 0:
                await daemon.logged("credential.refused")
            assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
        assert daemon.log.count('"session.signed_out"') == 0
    assert [call.refresh_token for call in authorization.calls].count("typo-CANARY") == 1
    assert (authorization.reuses, authorization.lives(1), authorization.issued) == (0, True, 3)


async def test_nonsense_in_a_mounted_secret_costs_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    mounted = write_secret(tmp_path / "token", authorization.first)
    settings = {"credential": {"refresh_token": {"file": str(mounted)}}, "refresh": {"min_interval": 0}}
    async with daemon_process(tmp_path, authorization, upstream, **settings) as daemon:
        assert (await fetch(daemon.url)).status == 200
        write_secret(mounted, "<no value>")
        await daemon.logged("credential.refused")
        assert (await fetch(daemon.url)).status == 200
        write_secret(mounted, authorization.first)
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
        assert daemon.log.count('"session.signed_out"') == 0
    assert (authorization.reuses, authorization.issued) == (0, 2)


async def test_a_replica_that_restarts_with_yesterdays_token_signs_nobody_out(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with two(tmp_path, authorization, upstream, refresh={"min_interval": 0}) as (one, other):
        for daemon in (one, other):
            assert (await fetch(daemon.url)).status == 200
        await one.stop()
        one.write_config(credential={"refresh_token": authorization.login()})
        await one.start()
        await one.logged("session.resumed")
        await other.logged("session.resumed")
        await other.kill()
        await other.start()
        for daemon in (one, other):
            authorization.revoke_access()
            assert (await fetch(daemon.url)).status == 200
            assert authorization.whose(upstream.requests[-1].token) == 2
    assert (authorization.reuses, authorization.lives(1), authorization.lives(2)) == (0, True, True)
    assert [call.refresh_token for call in authorization.calls].count(authorization.first) == 1


# -- 6: a sign-out is one ---------------------------------------------------------------------------------------------


async def test_what_was_issued_while_somebody_signed_out_is_revoked_as_well(upstream: FakeUpstream) -> None:
    from tests.fakes.login import login_server

    async with login_server() as server:
        upstream._authorization = server
        endpoint = {"token_endpoint": {"revocation_url": f"{server.issuer}/revoke"}}
        async with running_daemon(server, upstream, credential=endpoint, control=CONTROL) as daemon:
            assert (await fetch(daemon.url)).status == 200
            server.revoke_access()
            server.on_the_way.hold()
            waiting = asyncio.create_task(fetch(daemon.url))
            await server.rotations.reached(2)
            assert daemon.control_url is not None
            assert (await fetch(daemon.control_url, "/session", method="DELETE")).status == 200
            assert (await waiting).value("Reauth-Signal") == SIGNED_OUT
            server.on_the_way.release()
            await daemon.log.until(lambda: len(daemon.events("session.revoked")) == 2)
        assert "refresh-CANARY-1-3" in [token for token, _ in server.revoked]
        assert (server._access, server.lives(1)) == ({}, False)


async def test_a_sign_out_waits_for_no_other_daemons_refresh_and_is_not_undone_by_it(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with two(tmp_path, authorization, upstream) as (one, other):
        assert (await fetch(one.url)).status == 200
        authorization.revoke_access()
        authorization.hold()
        waiting = asyncio.create_task(fetch(one.url))
        await authorization.arrived(2)
        async with asyncio.timeout(5):
            assert (await fetch(other.url, "/_reauth/logout", method="POST")).status == 204
        authorization.release()
        assert (await waiting).value("Reauth-Signal") == SIGNED_OUT
        await one.logged("session.signed_out")
        for daemon in (one, other):
            assert (await fetch(daemon.url)).value("Reauth-Signal") == SIGNED_OUT
    assert json.loads((tmp_path / "shared.json").read_text())["refresh_token"] is None
    assert authorization.reuses == 0


# -- 7: what is said is true ------------------------------------------------------------------------------------------


async def ready(daemon: RunningDaemon) -> tuple[int, dict[str, str]]:
    assert daemon.control_url is not None
    answer = await fetch(daemon.control_url, "/readyz")
    return answer.status, json.loads(answer.content)["problems"]


async def test_while_the_first_token_request_hangs_it_is_not_ready(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.hold()
    async with running_daemon(authorization, upstream, control=CONTROL, refresh={"background": True}) as daemon:
        await authorization.arrived(1)
        status, problems = await ready(daemon)
        assert (status, "has not answered the first token request" in problems["default"]) == (503, True)
        authorization.release()
        assert (await fetch(daemon.url)).status == 200
        assert await ready(daemon) == (200, {})


async def test_a_rejected_token_counts_no_more_until_another_request_has_it_accepted(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    refresh = {"retry_for": "100ms", "timeout": "1s"}
    async with running_daemon(authorization, upstream, control=CONTROL, refresh=refresh) as daemon:
        assert (await fetch(daemon.url)).status == 200
        assert await ready(daemon) == (200, {})
        authorization.close_listener()
        upstream.rejects_all = True
        assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=refresh_unavailable"
        assert (await ready(daemon))[0] == 503
        look = daemon.session.news.look()
        assert (look.state, look.usable) == ("stale", False)
        upstream.rejects_all = False
        assert (await fetch(daemon.url, "/other")).status == 200
        assert await ready(daemon) == (200, {})
        assert daemon.session.news.look().state == "fresh"
        await authorization.start()


# -- 8: rejected tokens -----------------------------------------------------------------------------------------------


async def test_a_token_that_was_accepted_is_renewed_at_once_however_soon_it_is_revoked(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"min_interval": "60s"}) as daemon:
        for number in range(1, 5):
            assert (await fetch(daemon.url)).status == 200
            assert authorization.count == number
            authorization.revoke_access()
    assert authorization.reuses == 0


async def test_an_api_that_rejects_everything_costs_one_refresh_and_takes_no_other_with_it(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async def never(exchange: Exchange) -> None:
        await exchange.answer(401, b"never", ("WWW-Authenticate", "Bearer"))

    upstream.on["/bad"] = never
    routes = [{"path": "/bad", "upstream": upstream.url}, {"path": "/", "upstream": upstream.url}]
    async with running_daemon(
        authorization, upstream, upstream=None, routes=routes, refresh={"min_interval": "60s"}
    ) as daemon:
        assert (await fetch(daemon.url)).status == 200
        for _ in range(10):
            assert (await fetch(daemon.url, "/bad")).content == b"never"
            assert (await fetch(daemon.url, "/good")).status == 200
        assert authorization.count == 2
        authorization.revoke_access()
        assert (await fetch(daemon.url, "/good")).status == 200
        assert authorization.count == 3


async def test_in_an_outage_such_an_api_is_relayed_and_ends_nobodys_session(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async def never(exchange: Exchange) -> None:
        await exchange.answer(401, b"never", ("WWW-Authenticate", "Bearer"))

    upstream.on["/bad"] = never
    refresh = {"min_interval": 0, "retry_for": "100ms", "timeout": "1s"}
    async with running_daemon(authorization, upstream, refresh=refresh) as daemon:
        assert (await fetch(daemon.url)).status == 200
        assert (await fetch(daemon.url, "/bad")).content == b"never"
        authorization.close_listener()
        for _ in range(3):
            answer = await fetch(daemon.url, "/bad")
            assert (answer.content, answer.value("Reauth-Signal")) == (b"never", None)
            assert (await fetch(daemon.url, "/good")).status == 200
        await authorization.start()


async def test_an_api_that_knows_a_new_token_late_gives_nobody_a_bare_401(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        authorization.late = 0.8
        answers = await asyncio.gather(*(fetch(daemon.url, f"/{number}") for number in range(20)))
        assert [answer.status for answer in answers] == [200] * 20
        assert authorization.count == 2


# -- 9: time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lifetime", [0, -1])
async def test_a_lifetime_of_nothing_is_unknown_and_refreshes_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, lifetime: int
) -> None:
    authorization.more["expires_in"] = lifetime
    authorization.lifetime = None
    async with running_daemon(authorization, upstream, refresh={"background": True, "min_interval": "100ms"}) as daemon:
        for _ in range(5):
            assert (await fetch(daemon.url)).status == 200
        assert daemon.session.snapshot(daemon.session._clock()).expires_in is None
        assert daemon.session._until_renewal() is None
    assert authorization.count == 1


async def test_renewal_comes_before_the_refresh_token_expires(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.more["refresh_expires_in"] = 60
    async with running_daemon(authorization, upstream, refresh={"background": True}) as daemon:
        assert (await fetch(daemon.url)).status == 200
        due = daemon.session._until_renewal()
        assert due is not None
        assert 45 < due < 52


@pytest.mark.slow
async def test_after_a_stop_what_came_meanwhile_is_read_before_any_timer_is_heeded(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    refresh = {"timeout": "1s", "retry_for": "1s", "park_timeout": "2s", "min_interval": 0}
    async with daemon_process(tmp_path, authorization, upstream, refresh=refresh) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        authorization.hold()
        waiting = asyncio.create_task(fetch(daemon.url))
        await authorization.arrived(2)
        daemon.signal(signal.SIGSTOP)
        authorization.release()
        await authorization.rotations.reached(2)
        await asyncio.sleep(6)  # Longer than each of its timers: that is what is tested.
        daemon.signal(signal.SIGCONT)
        assert (await waiting).status == 200
        assert daemon.log.count('"refresh.unavailable"') == 0
    assert (authorization.reuses, authorization.count) == (0, 2)


async def test_a_session_can_be_put_with_the_token_in_force_during_its_refresh(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    """Somebody syncs tokens between two programs."""
    async with running_daemon(authorization, upstream, control=CONTROL) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        authorization.on_the_way.hold()
        waiting = asyncio.create_task(fetch(daemon.url))
        await authorization.rotations.reached(2)
        assert (await put(daemon, "refresh-CANARY-1-2")).status == 204
        authorization.on_the_way.release()
        assert (await waiting).status == 200
        assert not await daemon.session.sign_in(Secret("refresh-CANARY-1-2"))
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
    assert (authorization.reuses, authorization.count) == (0, 3)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["answer", "request"])
async def test_a_stop_costs_no_request_that_is_under_way(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, what: str
) -> None:
    more = {"timeouts": {"response": "2s"}, "limits": {"header_timeout": "2s"}}
    async with daemon_process(tmp_path, authorization, upstream, **more) as daemon:
        assert (await fetch(daemon.url)).status == 200
        upstream.hold()
        async with await connect(daemon.url) as client:
            if what == "answer":
                await client.request("/held/a")
                await upstream.arrived(2)
            else:
                await client.send(b"GET /b HTTP/1.1\r\nHost: localhost\r\n")
                await daemon.logged("request.finished")
            daemon.signal(signal.SIGSTOP)
            upstream.release()
            if what == "request":
                await client.send(b"\r\n")
            await asyncio.sleep(5)  # Longer than either time limit: that is what is tested.
            daemon.signal(signal.SIGCONT)
            assert (await client.answer()).status == 200
