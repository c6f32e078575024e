"""Daemons that keep their sessions where no configuration says: each its own, and one refresh token in one place."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.commands.stage import run
from tests.fakes.authorization import FakeAuthorizationServer, authorization_server
from tests.fakes.client import fetch
from tests.fakes.daemon import DaemonProcess, cared_for, events, settings
from tests.fakes.files import write_secret
from tests.fakes.redis import redis_server
from tests.fakes.upstream import FakeUpstream, upstream_server


class Discovered(FakeAuthorizationServer):
    """Has metadata (RFC 8414), so that `issuer` will do."""

    @property
    def issuer(self) -> str:
        return self.url.removesuffix("/token")

    def _other(self, request: web.BaseRequest, form: dict[str, str]) -> web.Response:
        return web.json_response({"issuer": self.issuer, "token_endpoint": self.url})


@asynccontextmanager
async def discovered() -> AsyncIterator[tuple[Discovered, FakeUpstream]]:
    server = Discovered()
    await server.start()
    try:
        async with upstream_server(server) as upstream:
            yield server, upstream
    finally:
        await server.stop()


def in_state(
    state: Path, directory: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream, **more: Any
) -> DaemonProcess:
    """Return a daemon whose configuration names no file for its session, and which renews at each rejection."""
    directory.mkdir(exist_ok=True)
    overrides = {"store": None, "refresh": {"background": False, "min_interval": 0}, **more}
    daemon = DaemonProcess(directory, settings(authorization, upstream, **overrides))
    daemon.environ["XDG_STATE_HOME"] = str(state)
    return daemon


def sessions(state: Path) -> list[Path]:
    """Return the files with sessions; links to them do not count."""
    return [path for path in (state / "reauth-proxy").glob("*.json") if not path.is_symlink()]


def person(authorization: FakeAuthorizationServer, access_token: str | None) -> int:
    """Return whose access token it is: the number of the session at the authorization server."""
    assert access_token is not None
    return authorization._access[access_token][0].number


async def who(daemon: DaemonProcess, authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> int:
    """Send a request, and return with whose token it went on."""
    assert (await fetch(daemon.url, "/who")).status == 200
    return person(authorization, upstream.seen("/who")[-1].token)


async def test_two_people_with_one_client_have_each_their_own_session_now_and_after_restarts(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    bob = authorization.login()
    async with (
        cared_for(in_state(state, tmp_path / "alice", authorization, upstream)) as one,
        cared_for(in_state(state, tmp_path / "bob", authorization, upstream, credential={"refresh_token": bob})) as two,
    ):
        await one.start()
        assert await who(one, authorization, upstream) == 1
        await two.start()
        for _ in range(2):
            for daemon, number in ((one, 1), (two, 2), (one, 1)):
                assert await who(daemon, authorization, upstream) == number
            authorization.revoke_access()
            await asyncio.gather(fetch(one.url), fetch(two.url))
            await asyncio.gather(one.kill(), two.stop())
            await asyncio.gather(two.start(), one.start())
        for daemon, number in ((two, 2), (one, 1)):
            assert await who(daemon, authorization, upstream) == number
    assert authorization.reuses == 0
    assert authorization.count == 6
    assert len(sessions(state)) == 2


async def test_two_people_who_log_in_with_one_client_have_each_their_own_session(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    tokens = [authorization.first, authorization.login()]
    daemons = [
        in_state(state, tmp_path / name, authorization, upstream, credential={"refresh_token": None})
        for name in ("alice", "bob")
    ]
    async with cared_for(daemons[0]) as one, cared_for(daemons[1]) as two:
        for daemon, token in zip((one, two), tokens, strict=True):
            await daemon.start()
            path = str(daemon.directory / ".." / daemon.directory.name / "config.yaml")
            done = await run("login", "-c", path, "--stdin", stdin=token.encode(), XDG_STATE_HOME=str(state))
            assert done[0] == 0, done
            await daemon.logged("session.resumed")
        assert [await who(daemon, authorization, upstream) for daemon in (one, two)] == [1, 2]
        await asyncio.gather(one.kill(), two.kill())
        await asyncio.gather(one.start(), two.start())
        assert [await who(daemon, authorization, upstream) for daemon in (one, two)] == [1, 2]
    assert (authorization.reuses, authorization.count) == (0, 2)


@pytest.mark.parametrize("change", ["host", "issuer", "name", "file", "name and no token"])
async def test_the_same_session_said_in_other_words_goes_on_with_no_reuse(tmp_path: Path, change: str) -> None:
    """What is configured is used up long since: only the file knows the newest token."""
    async with discovered() as (authorization, upstream):
        state = tmp_path / "state"
        async with cared_for(in_state(state, tmp_path / "a", authorization, upstream)) as daemon:
            for number in (1, 2):
                await daemon.start()
                assert await who(daemon, authorization, upstream) == 1
                assert authorization.count == number
                authorization.revoke_access()
                await daemon.stop()
            endpoint = daemon.settings["credential"]["token_endpoint"]
            credential = {"refresh_token": authorization.first, "token_endpoint": endpoint}
            if change == "host":
                daemon.write_config(
                    credential={"token_endpoint": {"url": authorization.url.replace("127.0.0.1", "localhost")}}
                )
            elif change == "issuer":
                daemon.write_config(credential={"token_endpoint": {"url": None, "issuer": authorization.issuer}})
            elif change == "file":
                daemon.config_path = daemon.config_path.rename(tmp_path / "moved.yaml")
            else:
                routes = [{"path": "/", "upstream": upstream.url, "credential": "renamed"}]
                daemon.write_config(upstream=None, routes=routes, credential=None, credentials={"renamed": credential})
            await daemon.start()
            if change == "name and no token":
                await daemon.stop()
                daemon.write_config(credentials={"renamed": {"refresh_token": None}})
                await daemon.start()
            assert await who(daemon, authorization, upstream) == 1
            assert len(events(daemon.log, "store.shared")) == (change == "file")
        assert (authorization.reuses, authorization.issued) == (0, 3)
        assert len(sessions(state)) == 1


async def test_a_configuration_that_was_copied_shares_its_session_and_another_persons_in_its_place_does_not(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    async with (
        cared_for(in_state(state, tmp_path / "first", authorization, upstream)) as first,
        cared_for(in_state(state, tmp_path / "copy", authorization, upstream)) as copy,
    ):
        await first.start()
        assert await who(first, authorization, upstream) == 1
        await copy.start()
        (told,) = events(copy.log, "store.shared")
        assert told["level"] == "warning"
        assert str(sessions(state)[0]) in told["problem"]
        assert await who(copy, authorization, upstream) == 1
        authorization.revoke_access()
        answers = await asyncio.gather(*(fetch(daemon.url) for daemon in (first, copy) for _ in range(10)))
        assert [answer.status for answer in answers] == [200] * 20
        assert authorization.count == 2
        await first.stop()
        first.write_config(credential={"refresh_token": authorization.login()})
        await first.start()
        for daemon, number in ((first, 2), (copy, 1)):
            assert await who(daemon, authorization, upstream) == number
        authorization.revoke_access()
        for daemon, number in ((copy, 1), (first, 2)):
            assert await who(daemon, authorization, upstream) == number
    assert authorization.reuses == 0
    assert len(sessions(state)) == 2


async def test_logout_finds_the_session_that_the_daemon_goes_on_with(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    async with cared_for(in_state(state, tmp_path / "a", authorization, upstream)) as daemon:
        await daemon.start()
        assert await who(daemon, authorization, upstream) == 1
        await daemon.stop()
        daemon.config_path = daemon.config_path.rename(tmp_path / "moved.yaml")
        await daemon.start()
        status, out, err = await run("logout", "-c", str(daemon.config_path), XDG_STATE_HOME=str(state))
        assert (status, "Signed out." in out) == (0, True)
        assert "belongs to another configuration" in err
        await daemon.logged("session.signed_out")
    assert len(sessions(state)) == 1


async def test_a_token_that_moves_to_another_credential_waits_for_the_restart(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """Both sessions in one file would be one session: the newer."""
    state, bob = tmp_path / "state", authorization.login()
    async with cared_for(in_state(state, tmp_path / "a", authorization, upstream)) as daemon:
        await daemon.start()
        assert await who(daemon, authorization, upstream) == 1
        endpoint = daemon.settings["credential"]["token_endpoint"]
        tokens = {"default": bob, "alice": authorization.first}
        daemon.write_config(
            upstream=None,
            credential=None,
            routes=[
                {"path": "/who", "upstream": upstream.url},
                {"path": "/alice", "upstream": upstream.url, "credential": "alice"},
            ],
            credentials={name: {"refresh_token": one, "token_endpoint": endpoint} for name, one in tokens.items()},
        )
        daemon.signal(signal.SIGHUP)
        told = await daemon.logged("config.reloaded")
        assert told["needs_restart"] == ["credential", "credentials", "routes", "upstream"]
        assert await who(daemon, authorization, upstream) == 1
        await daemon.stop()
        await daemon.start()
        assert await who(daemon, authorization, upstream) == 2
        assert (await fetch(daemon.url, "/alice")).status == 200
        assert person(authorization, upstream.seen("/alice")[-1].token) == 1
    assert authorization.reuses == 0
    assert len(sessions(state)) == 2


async def test_check_tells_of_a_shared_session_and_of_one_token_for_two_credentials(tmp_path: Path) -> None:
    async with authorization_server() as authorization, upstream_server(authorization) as upstream:
        state = tmp_path / "state"
        async with cared_for(in_state(state, tmp_path / "a", authorization, upstream)) as daemon:
            await daemon.start()
            assert await who(daemon, authorization, upstream) == 1
            copy = write_secret(tmp_path / "copy.yaml", daemon.config_path.read_bytes())
            before = sorted((state / "reauth-proxy").iterdir())
            status, _, err = await run("check", "-c", str(copy), XDG_STATE_HOME=str(state))
            assert status == 0
            assert "belongs to another configuration" in err
            assert sorted((state / "reauth-proxy").iterdir()) == before, "it changed nothing"
            credential = daemon.settings["credential"]
            routes = [{"path": "/", "upstream": upstream.url, "credential": "a"}]
            daemon.write_config(
                upstream=None, credential=None, routes=routes, credentials={"a": credential, "b": credential}
            )
            status, _, err = await run("check", "-c", str(daemon.config_path))
            assert (status, err.count("`a` and `b` have the same refresh token")) == (2, 1)
            daemon.signal(signal.SIGHUP)
            assert "`a` and `b` have the same" in str((await daemon.logged("config.rejected"))["problems"])
            assert await who(daemon, authorization, upstream) == 1


async def test_in_redis_a_token_that_names_the_session_changes_at_the_next_start_only(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """Taken over at once, it would be used up when the next start looks under its name, and finds nothing."""
    token = write_secret(tmp_path / "token", authorization.first)
    async with redis_server() as redis:
        made = in_state(tmp_path / "state", tmp_path / "a", authorization, upstream)
        async with cared_for(made) as daemon:
            daemon.write_config(
                store={"type": "redis", "url": redis.url}, credential={"refresh_token": {"file": str(token)}}
            )
            await daemon.start()
            assert events(daemon.log, "credential.not_followed")
            assert await who(daemon, authorization, upstream) == 1
            write_secret(token, authorization.login())
            daemon.signal(signal.SIGHUP)
            assert (await daemon.logged("config.reloaded"))["needs_restart"] == ["credential"]
            authorization.revoke_access()
            assert await who(daemon, authorization, upstream) == 1
            for _ in range(2):
                await daemon.stop()
                await daemon.start()
                authorization.revoke_access()
                assert await who(daemon, authorization, upstream) == 2
    assert (authorization.reuses, authorization.issued) == (0, 4)
