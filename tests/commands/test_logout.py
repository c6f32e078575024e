"""``reauth-proxy logout``: revoked, wiped, and heard of by whoever has the same store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from reauth_proxy.commands.logout import in_force, signed_out
from reauth_proxy.config.credential import Credential
from reauth_proxy.session.tokens import STAND_IN, Secret, StoredSession
from tests.commands.stage import endpoint, put, run, stored, write_config
from tests.config.reading import endpoint as written
from tests.config.reading import read
from tests.fakes.client import fetch
from tests.fakes.daemon import DaemonProcess, cared_for, daemon_process, settings
from tests.fakes.files import write_secret
from tests.fakes.login import LoginServer, login_server
from tests.fakes.upstream import upstream_server

SESSION = StoredSession(Secret("refresh-CANARY"), Secret("access-CANARY"), generation=4)
ENDED = StoredSession(None, generation=4, spent=(Secret("refresh-CANARY").fingerprint(),), signed_out="signed_out")
SIGNED_OUT = "logout;reason=signed_out"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LoginServer]:
    async with login_server() as server:
        yield server


async def test_the_tokens_are_revoked_and_wiped(server: LoginServer, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    await put(tmp_path, SESSION)
    status, out, err = await run("logout", "--config", str(config))
    assert (status, out, err) == (0, "Signed out. The tokens are revoked and wiped from the store.\n", "")
    assert server.revoked == [("refresh-CANARY", "refresh_token"), ("access-CANARY", "access_token")]
    assert await stored(tmp_path) == ENDED
    assert b"CANARY" not in (tmp_path / "session.json").read_bytes()
    status, out, _ = await run("logout", "--config", str(config))
    assert (status, out) == (0, "Signed out. There was no session.\n")
    assert len(server.revoked) == 2


async def test_an_endpoint_that_fails_keeps_no_token_and_is_told(server: LoginServer, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    for status_code, told in ((503, "the revocation endpoint answered 503 server_error"), (0, "connection refused")):
        if status_code:
            server.revocation_status = status_code
        else:
            server.close_listener()
        await put(tmp_path, SESSION)
        status, out, err = await run("logout", "--config", str(config))
        assert (status, out) == (1, "Signed out. The tokens are wiped from the store.\n")
        assert told in err
        assert await stored(tmp_path) == ENDED


async def test_without_an_endpoint_they_are_wiped(server: LoginServer, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"token_endpoint": {"url": server.url, "client_id": "web"}})
    await put(tmp_path, SESSION)
    status, out, err = await run("logout", "--config", str(config))
    assert (status, err) == (0, "")
    assert "wiped from the store, and not revoked: no revocation endpoint is known" in out
    assert await stored(tmp_path) == ENDED
    assert server.calls == []


async def test_a_store_that_cannot_be_read_is_wiped_too(server: LoginServer, tmp_path: Path) -> None:
    write_secret(tmp_path / "session.json", '{"refresh_token": "refresh-CANARY')
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    status, out, err = await run("logout", "--config", str(config))
    assert (status, out) == (0, "Signed out. There was no session.\n")
    assert "could not be read" in err
    assert await stored(tmp_path) == StoredSession(None, signed_out="signed_out")


async def test_a_running_daemon_hears_of_it_and_stays_signed_out_after_a_restart(
    server: LoginServer, tmp_path: Path
) -> None:
    async with upstream_server(server) as upstream:
        more = {"credential": {"token_endpoint": {"issuer": server.issuer, "url": None}}}
        async with daemon_process(tmp_path, server, upstream, **more) as daemon:
            assert (await fetch(daemon.url)).status == 200
            assert (await run("logout", "--config", str(daemon.config_path)))[0] == 0
            assert len(server.revoked) == 2, "the newest refresh token and its access token"
            calls = server.paths().count("/token")
            answers = await asyncio.gather(*(fetch(daemon.url) for _ in range(10)))
            assert {answer.value("Reauth-Signal") for answer in answers} == {SIGNED_OUT}
            await daemon.stop()
            await daemon.start()
            assert (await fetch(daemon.url)).value("Reauth-Signal") == SIGNED_OUT
            assert server.paths().count("/token") == calls, "nobody asked for anything"
    assert server.reuses == 0


async def test_before_the_first_start_the_configured_token_is_revoked_and_signs_nobody_in(
    server: LoginServer, tmp_path: Path
) -> None:
    async with upstream_server(server) as upstream:
        more = {"credential": {"token_endpoint": {"issuer": server.issuer, "url": None}}}
        async with cared_for(DaemonProcess(tmp_path, settings(server, upstream, **more))) as daemon:
            daemon.write_config()
            assert (await run("logout", "--config", str(daemon.config_path)))[0] == 0
            assert server.revoked == [(server.first, "refresh_token")]
            await daemon.start()
            assert (await fetch(daemon.url)).value("Reauth-Signal") == SIGNED_OUT
            await daemon.stop()
            daemon.write_config(credential={"refresh_token": server.login()})
            await daemon.start()
            assert (await fetch(daemon.url)).status == 200, "a new token in the config is news"


async def test_a_client_that_asks_for_itself_stays_signed_out_until_a_login(
    server: LoginServer, tmp_path: Path
) -> None:
    server.secret = "s3cret"
    async with upstream_server(server) as upstream:
        more = {
            "credential": {
                "grant": "client_credentials",
                "refresh_token": None,
                "token_endpoint": {
                    "issuer": server.issuer,
                    "url": None,
                    "client_auth": "client_secret_basic",
                    "client_secret": "s3cret",
                },
            }
        }
        async with daemon_process(tmp_path, server, upstream, **more) as daemon:
            answers = await asyncio.gather(*(fetch(daemon.url) for _ in range(20)))
            assert {answer.status for answer in answers} == {200}
            assert server.issued == 1, "parked behind one request for a token"
            assert (await run("logout", "--config", str(daemon.config_path)))[0] == 0
            assert [hint for _, hint in server.revoked] == ["access_token"]
            assert (await fetch(daemon.url)).value("Reauth-Signal") == SIGNED_OUT
            await daemon.stop()
            await daemon.start()
            assert (await fetch(daemon.url)).value("Reauth-Signal") == SIGNED_OUT
            assert server.issued == 1
            assert (await run("login", "--config", str(daemon.config_path)))[0] == 0
            await daemon.logged("session.resumed")
            assert (await fetch(daemon.url)).status == 200
            assert server.issued == 2


def credential(refresh_token: str | None = None, grant: str = "refresh_token") -> Credential:
    text = written("url: https://id.example.com/t\nclient_id: web\nclient_secret: x") + f"  grant: {grant}\n"
    return read(text + (f"  refresh_token: {refresh_token}\n" if refresh_token else "")).credential


GIVEN = Secret("given-CANARY")
GROWN = StoredSession(Secret("r"), Secret("a"), roots=(GIVEN.fingerprint(),))
OTHER = StoredSession(Secret("r"), Secret("a"), roots=(Secret("before").fingerprint(),))


@pytest.mark.parametrize(
    ("refresh_token", "present", "expected"),
    [
        (None, None, []),
        (None, SESSION, [(SESSION.refresh_token, SESSION.access_token)]),
        ("given-CANARY", None, [(GIVEN, None)]),
        ("given-CANARY", GROWN, [(Secret("r"), Secret("a"))]),
        ("given-CANARY", OTHER, [(Secret("r"), Secret("a")), (GIVEN, None)]),
        ("given-CANARY", StoredSession(None, roots=(GIVEN.fingerprint(),), signed_out="signed_out"), []),
    ],
)
def test_what_is_in_force_is_revoked_and_no_token_that_was_used(
    refresh_token: str | None, present: StoredSession | None, expected: list[tuple[Secret | None, Secret | None]]
) -> None:
    assert in_force(credential(refresh_token), present) == expected


def test_the_record_of_a_logout_remembers_what_must_not_bring_it_back() -> None:
    assert signed_out(credential("given-CANARY"), OTHER).roots == (*OTHER.roots, GIVEN.fingerprint())
    assert signed_out(credential(), GROWN).roots == (GIVEN.fingerprint(),)
    assert signed_out(credential(), GROWN).spent == (Secret("r").fingerprint(),)
    assert signed_out(credential(grant="client_credentials"), None).roots == (STAND_IN.fingerprint(),)
    assert signed_out(credential(), None) == StoredSession(None, signed_out="signed_out")
