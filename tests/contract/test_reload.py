"""SIGHUP: what changed takes effect without dropping a connection; what cannot be used changes nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from reauth_proxy.config.address import Listen
from reauth_proxy.daemon.listening import bind
from tests.fakes.authorization import FakeAuthorizationServer, authorization_server, oauth_error
from tests.fakes.client import connect, fetch
from tests.fakes.daemon import DaemonProcess, config, daemon_process, running_daemon
from tests.fakes.files import write_secret
from tests.fakes.upstream import FakeUpstream, upstream_server
from tests.issuers.endpoints import http_endpoint


async def reloaded(daemon: DaemonProcess, number: int = 1) -> dict[str, object]:
    """Hang up on it, and return what it says."""
    daemon.signal(signal.SIGHUP)
    return await daemon.logged("config.reloaded", number)


async def test_requests_go_to_the_new_upstream_and_those_under_way_end_at_the_old(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with (
        upstream_server(authorization) as other,
        daemon_process(tmp_path, authorization, upstream) as daemon,
        await connect(daemon.url) as kept,
        await connect(daemon.url) as busy,
    ):
        await kept.request("/before")
        assert (await kept.answer()).status == 200
        upstream.hold()
        await busy.request("/held")
        await upstream.arrived(2)
        daemon.write_config(upstream=other.url, headers={"request": {"set": {"X-New": "1"}}})
        told = await reloaded(daemon)
        assert told["changed"] == ["upstream", "headers"]
        assert told["needs_restart"] == []
        await kept.request("/after")
        assert (await kept.answer()).status == 200, "the client's connection is the one it had"
        assert [received.values("x-new") for received in other.seen("/after")] == [["1"]]
        upstream.release()
        assert (await busy.answer()).status == 200
        await upstream.closed(upstream.accepted)
        assert upstream.open == 0, "connections to the old upstream are kept no longer"
    assert authorization.count == 1


async def test_the_daemon_listens_elsewhere_and_connections_stay(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon, await connect(daemon.url) as kept:
        await kept.request()
        await kept.answer()
        path = tmp_path / "proxy.sock"
        daemon.write_config(listen=f"unix:{path}")
        await reloaded(daemon)
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await kept.request()
        assert (await kept.answer()).status == 200
        try:
            (await connect(daemon.url)).close()
            raise AssertionError("it listens at the old address still")
        except OSError:
            pass
        daemon.write_config(listen=f"127.0.0.1:{authorization.port}")  # taken
        daemon.signal(signal.SIGHUP)
        rejected = await daemon.logged("config.rejected")
        assert "cannot listen on" in str(rejected["problems"])
        await kept.request()
        assert (await kept.answer()).status == 200
        daemon.signal(signal.SIGTERM)
        kept.close()
        assert await daemon.ended() == 0
        assert not path.exists()


async def test_limits_hold_at_once_for_connections_that_there_are(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon, await connect(daemon.url) as kept:
        await kept.request()
        await kept.answer()
        daemon.write_config(limits={"content": 10, "header_fields": 20}, replay={"memory": "1KiB"})
        await reloaded(daemon)
        await kept.request("/upload", method="POST", content=b"x" * 11)
        answer = await kept.answer()
        assert (answer.status, json.loads(answer.content)["code"]) == (413, "content_too_large")


async def test_a_new_client_secret_and_policy_are_used_by_the_next_refresh(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    secret = write_secret(tmp_path / "client-secret", "CANARY-old")
    endpoint = {"client_auth": "client_secret_post", "client_secret": {"file": str(secret)}}
    settings = {"credential": {"token_endpoint": endpoint}, "refresh": {"min_interval": 0}}
    async with daemon_process(tmp_path, authorization, upstream, **settings) as daemon:
        await fetch(daemon.url)
        secret.write_text("CANARY-new")
        assert (await reloaded(daemon))["changed"] == ["credential"]
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
    assert [call.form["client_secret"] for call in authorization.calls] == ["CANARY-old", "CANARY-new"]


async def test_a_refresh_under_way_ends_with_the_endpoint_that_it_began_with(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        authorization.hold()
        asking = asyncio.create_task(fetch(daemon.url))
        await authorization.arrived(1)
        await daemon.reload(config(authorization, upstream, refresh={"background": False, "timeout": "20s"}))
        authorization.release()
        assert (await asking).status == 200
    assert authorization.count == 1


async def test_a_refusal_of_a_client_that_was_corrected_meanwhile_ends_no_session(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    wrong = {"credential": {"token_endpoint": {"client_id": "wrong"}}}
    async with running_daemon(authorization, upstream, **wrong) as daemon:
        authorization.hold()
        authorization.next(oauth_error("invalid_grant"))
        asking = asyncio.create_task(fetch(daemon.url))
        await authorization.arrived(1)
        await daemon.reload(config(authorization, upstream))
        authorization.release()
        assert (await asking).status == 200
        assert [call.form["client_id"] for call in authorization.calls] == ["wrong", "web"]
        assert daemon.events("session.signed_out") == []


async def test_a_revocation_under_way_ends_with_the_endpoint_that_it_began_with(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    arrived, gate = asyncio.Event(), asyncio.Event()
    revoked: list[str] = []

    async def revoke(request: web.BaseRequest) -> web.Response:
        revoked.append((await request.text()).partition("=")[0])
        arrived.set()
        await gate.wait()
        return web.Response()

    async with http_endpoint() as endpoint:
        endpoint.answer = revoke
        more = {"credential": {"token_endpoint": {"revocation_url": endpoint.url()}}}
        async with running_daemon(authorization, upstream, control={"listen": "127.0.0.1:0"}, **more) as daemon:
            assert (await fetch(daemon.url)).status == 200
            assert daemon.control_url is not None
            leaving = asyncio.create_task(fetch(daemon.control_url, "/session", method="DELETE"))
            await arrived.wait()
            await daemon.reload(
                config(authorization, upstream, control={"listen": "127.0.0.1:0"}, refresh={"timeout": "9s"}, **more)
            )
            gate.set()
            assert json.loads((await leaving).content) == {"revocation": "revoked", "problem": None}
    assert len(revoked) == 2, "the refresh token and the access token"


async def test_where_the_session_is_kept_needs_a_restart_and_the_rest_takes_effect(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with (
        authorization_server() as another,
        daemon_process(tmp_path, authorization, upstream) as daemon,
    ):
        await fetch(daemon.url)
        daemon.write_config(store={"type": "file", "path": str(tmp_path / "elsewhere.json")}, log={"level": "info"})
        told = await reloaded(daemon)
        assert (told["needs_restart"], told["changed"]) == (["store"], ["log"])
        daemon.write_config(store=None, credential={"token_endpoint": {"url": another.url}})
        assert (await reloaded(daemon, 2))["needs_restart"] == ["store", "credential"]
        assert (await fetch(daemon.url)).status == 200
    assert another.count == 0


@pytest.mark.parametrize("key", ["listen", "control"])
async def test_an_address_that_is_taken_changes_nothing_and_asks_for_no_token(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, key: str
) -> None:
    """A credential that is new in the same file would be refreshed at once."""
    async with daemon_process(tmp_path, authorization, upstream, refresh={"background": True}) as daemon:
        await authorization.arrived(1)
        taken = urlsplit(authorization.url).netloc
        endpoint = daemon.settings["credential"]["token_endpoint"]
        daemon.write_config(
            **{key: taken if key == "listen" else {"listen": taken}},
            credential=None,
            credentials={
                "default": daemon.settings["credential"],
                "new": {"refresh_token": authorization.login(), "token_endpoint": endpoint},
            },
        )
        daemon.signal(signal.SIGHUP)
        assert f"cannot listen on {taken}" in str((await daemon.logged("config.rejected"))["problems"])
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 1


async def test_an_address_that_is_our_own_in_other_words_needs_a_restart(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        port = urlsplit(daemon.url).port
        daemon.write_config(listen=f"localhost:{port}")
        daemon.signal(signal.SIGHUP)
        assert (await daemon.logged("config.rejected"))["problems"] == [
            f"cannot listen on localhost:{port} (`listen`): this daemon has that address already; restart it"
        ]
        assert (await fetch(daemon.url)).status == 200


async def test_a_new_credential_whose_store_cannot_be_used_changes_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        endpoint = daemon.settings["credential"]["token_endpoint"]
        daemon.store_path.with_name("session-new.json").mkdir(parents=True)
        daemon.write_config(
            credential=None,
            credentials={"default": daemon.settings["credential"], "new": {"token_endpoint": endpoint}},
        )
        daemon.signal(signal.SIGHUP)
        assert "session-new.json: not a regular file" in str((await daemon.logged("config.rejected"))["problems"])
        assert (await fetch(daemon.url)).status == 200


async def test_a_reload_that_is_cancelled_while_it_moves_leaves_no_old_door_open(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    """SIGTERM may come at any moment of it."""
    control = {"listen": "127.0.0.1:0"}
    async with running_daemon(authorization, upstream, control=control) as daemon:
        old = (daemon._door, daemon._control_door)
        moved = await bind(Listen("tcp", "127.0.0.1", 0)), await bind(Listen("tcp", "127.0.0.1", 0))
        held = asyncio.Event()

        async def hang(_: object) -> None:
            held.set()
            await asyncio.Event().wait()

        moved[0].open = hang  # type: ignore[method-assign]
        moving = asyncio.create_task(daemon._move(*moved))
        await held.wait()
        moving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await moving
        assert (daemon._door, daemon._control_door) == moved, "whoever stops the daemon closes these"
        assert [door._sockets for door in old if door is not None] == [[], []]


async def test_a_file_that_the_configuration_names_and_that_cannot_be_read_changes_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("no certificate")
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        daemon.write_config(tls={"ca_file": str(certificates)}, limits={"content": 10})
        daemon.signal(signal.SIGHUP)
        assert "tls.ca_file" in str((await daemon.logged("config.rejected"))["problems"])
        assert (await fetch(daemon.url, method="POST", content=b"x" * 11)).status == 200
