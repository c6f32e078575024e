"""``reauth-proxy login`` as a process, against an authorization server, with and without a daemon that runs."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from reauth_proxy.errors import StoreEnded
from reauth_proxy.session.tokens import STAND_IN, Secret, StoredSession
from reauth_proxy.stores.file import FileStore
from tests.commands.stage import address, browse, endpoint, put, run, stored, write_config
from tests.fakes.client import fetch
from tests.fakes.daemon import daemon_process
from tests.fakes.files import write_secret
from tests.fakes.login import LoginServer, login_server
from tests.fakes.program import program
from tests.fakes.upstream import upstream_server

LOGOUT = "logout;reason=refresh_denied"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LoginServer]:
    async with login_server() as server:
        yield server


async def test_a_person_signs_in_with_a_browser_and_the_tokens_are_in_the_store(
    server: LoginServer, tmp_path: Path
) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    before = time.time()
    async with program("login", "--config", str(config), "--no-browser") as login:
        page = await browse(await address(login))
        assert await login.ended() == 0
    assert page.status == 200
    assert b"Signed in" in page.content
    assert "Signed in." in login.out
    assert "CANARY" not in login.out
    session = await stored(tmp_path)
    assert session is not None
    assert session.refresh_token is not None
    assert session.access_token is not None
    assert server.valid(session.access_token.reveal())
    assert (session.generation, session.life, session.signed_out) == (1, session.refresh_token.fingerprint(), None)
    assert before + 290 < (session.expires_at or 0) < time.time() + 301
    assert stat.S_IMODE((tmp_path / "session.json").stat().st_mode) == 0o600
    (asked,) = server.requests
    assert asked["scope"] == "openid offline_access"
    assert server.paths().count("/token") == 1


async def test_a_browser_is_opened_and_sees_nothing_of_the_environment(server: LoginServer, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    script = tmp_path / "browser"
    # Tells what it was given, then does what a person does.
    script.write_text(
        f"#!{sys.executable}\nimport os, sys, urllib.request\n"
        f"open({str(tmp_path / 'environ')!r}, 'w').write(repr(dict(os.environ)))\n"
        "urllib.request.urlopen(sys.argv[1]).read()\n"
    )
    script.chmod(0o700)
    async with program("login", "-c", str(config), BROWSER=f"{script} %s", REFRESH_TOKEN="CANARY-1") as login:
        assert await login.ended() == 0
    seen = (tmp_path / "environ").read_text()
    assert "CANARY" not in seen
    assert "PYTHONWARNINGS" not in seen
    assert "'PATH'" in seen
    assert await stored(tmp_path) is not None


async def test_without_a_browser_it_says_so_and_goes_on(server: LoginServer, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    async with program("login", "-c", str(config), BROWSER="/nowhere/browser %s", PATH="/nowhere") as login:
        url = await address(login)
        await login.says("No browser could be started here")
        assert (await browse(url)).status == 200
        assert await login.ended() == 0


async def test_a_refusal_is_shown_to_the_person_and_nothing_is_stored(server: LoginServer, tmp_path: Path) -> None:
    server.denies = {"error": "access_denied", "error_description": "not you <b>"}
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    async with program("login", "-c", str(config), "--no-browser") as login:
        page = await browse(await address(login))
        assert await login.ended() == 1
    assert "reauth-proxy: the authorization server did not sign you in: access_denied: not you <b>\n" in login.out
    assert page.status == 400
    assert b"not you &lt;b&gt;" in page.content
    assert await stored(tmp_path) is None


async def test_an_answer_from_elsewhere_or_of_another_login_changes_nothing(
    server: LoginServer, tmp_path: Path
) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    async with program("login", "-c", str(config), "--no-browser") as login:
        url = await address(login)
        callback = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        stray = await browse(f"{callback}?code=stolen&state=guessed")
        assert stray.status == 400
        assert (await browse(url)).status == 200
        assert await login.ended() == 0
    assert server.paths().count("/token") == 1, "the stray code was not redeemed"


async def test_an_answer_that_does_not_say_who_gave_it_is_refused_where_the_metadata_promise_it(
    server: LoginServer, tmp_path: Path
) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    async with program("login", "-c", str(config), "--no-browser") as login:
        url = await address(login)
        server.says_iss = False
        assert (await browse(url)).status == 400
        assert await login.ended() == 1
    assert "wrong_issuer" in login.out
    assert "/token" not in server.paths()


async def test_no_refresh_token_is_told_with_the_mend(server: LoginServer, tmp_path: Path) -> None:
    server.offline = False
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    async with program("login", "-c", str(config), "--no-browser") as login:
        page = await browse(await address(login))
        assert await login.ended() == 1
    assert "issued no refresh token" in login.out
    assert "offline_access" in login.out
    assert b"offline_access" in page.content
    assert await stored(tmp_path) is None


async def test_a_chosen_port_is_used(server: LoginServer, tmp_path: Path, unused_tcp_port: int) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server, redirect_port=unused_tcp_port)})
    async with program("login", "-c", str(config), "--no-browser") as login:
        await browse(await address(login))
        assert await login.ended() == 0
    assert server.requests[0]["redirect_uri"] == f"http://127.0.0.1:{unused_tcp_port}/callback"


async def test_nobody_who_signs_in_is_waited_for_as_long_as_was_said(server: LoginServer, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    status, _, err = await run("login", "-c", str(config), "--no-browser", "--timeout", "1")
    assert (status, err) == (1, "reauth-proxy: nobody signed in within 1 s; run it again, or try --device\n")


async def test_ctrl_c_ends_it_cleanly(server: LoginServer, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    async with program("login", "-c", str(config), "--no-browser") as login:
        url = await address(login)
        assert await login.end(signal.SIGINT) == 1
    assert login.out.endswith("\nStopped.\n")
    assert "Traceback" not in login.out
    assert await stored(tmp_path) is None
    with pytest.raises(OSError, match=r"refused|failed"):
        await browse(parse_qs(urlsplit(url).query)["redirect_uri"][0])


async def test_a_code_is_entered_on_another_device(server: LoginServer, tmp_path: Path) -> None:
    server.script = ["authorization_pending", "authorization_pending"]
    server.enter()
    config = write_config(tmp_path, {"token_endpoint": endpoint(server, authorization_params={"audience": "api"})})
    status, out, _ = await run("login", "-c", str(config), "--device")
    assert status == 0
    assert f"open\n\n  {server.issuer}/enter\n\nand enter the code\n\n  WDJB-MJHT\n" in out
    session = await stored(tmp_path)
    assert session is not None
    assert session.refresh_token is not None
    assert server.requests == [{"client_id": "web", "scope": "openid offline_access", "audience": "api"}]
    assert server.paths().count("/token") == 3


async def test_a_refresh_token_is_read_from_standard_input(server: LoginServer, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    status, out, _ = await run("login", "-c", str(config), "--stdin", stdin=b"refresh-CANARY-9\r\n")
    assert status == 0
    assert out.startswith("Signed in.")
    token = Secret("refresh-CANARY-9")
    assert await stored(tmp_path) == StoredSession(
        token, generation=1, life=token.fingerprint(), roots=(token.fingerprint(),)
    )
    assert server.calls == []


@pytest.mark.parametrize("text", [b"", b"\n", b"a-CANARY\nb-CANARY", b"a\x00CANARY", b"\xff\xfe", b"x" * 70_000])
async def test_standard_input_without_one_token_is_refused(server: LoginServer, tmp_path: Path, text: bytes) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    status, _, err = await run("login", "-c", str(config), "--stdin", stdin=text)
    assert status == 1
    assert err.startswith("reauth-proxy: standard input ")
    assert await stored(tmp_path) is None


async def test_a_token_typed_into_a_terminal_is_not_shown(server: LoginServer, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        os.execv(sys.executable, [sys.executable, "-m", "reauth_proxy", "login", "-c", str(config), "--stdin"])
    shown = b""
    try:
        loop = asyncio.get_running_loop()
        while b"not shown" not in shown:
            shown += await loop.run_in_executor(None, os.read, terminal, 4096)
        os.write(terminal, b"refresh-CANARY-7\n")
        while b"Signed in" not in shown:
            shown += await loop.run_in_executor(None, os.read, terminal, 4096)
    finally:
        os.close(terminal)
        _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGHUP)
    assert b"CANARY" not in shown
    session = await stored(tmp_path)
    assert session is not None
    assert session.refresh_token == Secret("refresh-CANARY-7")


@pytest.mark.parametrize(
    ("credential", "arguments", "more", "told"),
    [
        ({}, ["--credential", "other"], {}, "there is no credential named other; there is: default"),
        ({}, [], {"store": {"type": "memory"}}, "store.type: the session is in the daemon's memory"),
        (
            {"token_endpoint": {"url": "https://a.example/t", "client_id": "web"}},
            [],
            {},
            "`authorization_url` is needed",
        ),
        (
            {"token_endpoint": {"url": "https://a.example/t", "client_id": "web"}},
            ["--device"],
            {},
            "`device_authorization_url` is needed",
        ),
        (
            {
                "token_endpoint": {
                    "type": "json",
                    "url": "https://a.example/t",
                    "body": "{refresh_token}",
                    "response": {"access_token": "/a"},
                }
            },
            [],
            {},
            "has no page to log in at",
        ),
    ],
)
async def test_what_cannot_be_is_told_at_once(
    server: LoginServer,
    tmp_path: Path,
    credential: dict[str, Any],
    arguments: list[str],
    more: dict[str, Any],
    told: str,
) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server), **credential}, **more)
    status, out, err = await run("login", "-c", str(config), "--no-browser", *arguments)
    assert (status, out) == (2, "")
    assert told in err


async def test_a_store_that_cannot_be_written_is_told_before_anybody_takes_the_trouble(
    server: LoginServer, tmp_path: Path
) -> None:
    (tmp_path / "session.json").mkdir()
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    status, out, err = await run("login", "-c", str(config), "--no-browser")
    assert (status, out) == (1, "")
    assert "not a regular file" in err
    assert server.calls == []


async def test_a_store_that_cannot_be_read_is_replaced(server: LoginServer, tmp_path: Path) -> None:
    write_secret(tmp_path / "session.json", "{cut off")
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    status, _, err = await run("login", "-c", str(config), "--stdin", stdin=b"new-CANARY")
    assert status == 0
    assert "could not be read, and is replaced" in err
    session = await stored(tmp_path)
    assert session is not None
    assert (session.refresh_token, session.generation) == (Secret("new-CANARY"), 1)


async def test_it_waits_for_no_process_that_refreshes_and_what_that_one_gets_is_not_saved(
    server: LoginServer, tmp_path: Path
) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    store = FileStore(tmp_path / "session.json")
    old = StoredSession(Secret("old-CANARY"), generation=6, life="old")
    async with store.lock():
        await store.save(old)
        assert (await run("login", "-c", str(config), "--stdin", stdin=b"new-CANARY"))[0] == 0
        with pytest.raises(StoreEnded):
            await store.save(StoredSession(Secret("rotated-CANARY"), generation=7, life="old"), over=old.line)
    await store.close()
    session = await stored(tmp_path)
    assert session is not None
    assert (session.refresh_token, session.generation) == (Secret("new-CANARY"), 7)


async def test_a_refresh_token_that_the_session_has_used_up_is_none_to_sign_in_with(
    server: LoginServer, tmp_path: Path
) -> None:
    config = write_config(tmp_path, {"token_endpoint": endpoint(server)})
    await put(tmp_path, StoredSession(Secret("new-CANARY"), spent=(Secret("old-CANARY").fingerprint(),)))
    status, _, err = await run("login", "-c", str(config), "--stdin", stdin=b"old-CANARY")
    assert status == 1
    assert "has been used up" in err
    session = await stored(tmp_path)
    assert session is not None
    assert session.refresh_token == Secret("new-CANARY")


async def test_a_login_wins_over_the_configured_refresh_token_also_after_a_restart(
    server: LoginServer, tmp_path: Path
) -> None:
    async with upstream_server(server) as upstream:
        settings = {
            "credential": {"refresh_token": "worn-out-CANARY", "token_endpoint": {"issuer": server.issuer, "url": None}}
        }
        async with daemon_process(tmp_path, server, upstream, **settings) as daemon:
            assert (await fetch(daemon.url)).value("Reauth-Signal") == LOGOUT
            async with program("login", "-c", str(daemon.config_path), "--no-browser", XDG_STATE_HOME="") as login:
                await browse(await address(login))
                assert await login.ended() == 0
            await daemon.logged("session.resumed")
            assert (await fetch(daemon.url)).status == 200
            await daemon.stop()
            calls = server.paths().count("/token")
            await daemon.start()
            assert (await fetch(daemon.url)).status == 200
            assert server.paths().count("/token") == calls
    assert server.reuses == 0


async def test_a_running_session_goes_on_with_the_login_at_its_next_refresh(
    server: LoginServer, tmp_path: Path
) -> None:
    async with upstream_server(server) as upstream:
        settings = {
            "credential": {"token_endpoint": {"issuer": server.issuer, "url": None}},
            "refresh": {"min_interval": 0},
        }
        async with daemon_process(tmp_path, server, upstream, **settings) as daemon:
            assert (await fetch(daemon.url)).status == 200
            server.revoke_access()
            async with program("login", "-c", str(daemon.config_path), "--no-browser") as login:
                await browse(await address(login))
                assert await login.ended() == 0
            calls = server.paths().count("/token")
            assert (await fetch(daemon.url)).status == 200
            assert server.paths().count("/token") == calls, "the login brought an access token, too"
            server.revoke_access()
            assert (await fetch(daemon.url)).status == 200
    assert server.reuses == 0
    family = server.calls[-1].refresh_token.split("-")[2]
    assert family == "2", "the session of the login is the one that is refreshed"


async def test_a_client_that_asks_for_itself_just_asks(server: LoginServer, tmp_path: Path) -> None:
    server.secret = "s3cret"
    credential = {"grant": "client_credentials", "token_endpoint": endpoint(server, client_secret="s3cret")}
    config = write_config(tmp_path, credential)
    await put(tmp_path, StoredSession(None, signed_out="signed_out", roots=(STAND_IN.fingerprint(),)))
    assert (await run("login", "-c", str(config)))[0] == 0
    session = await stored(tmp_path)
    assert session is not None
    assert session.refresh_token == STAND_IN
    assert session.access_token is not None
    status, _, err = await run("login", "-c", str(config), "--device")
    assert status == 2
    assert "run `reauth-proxy login` without options" in err
    server.secret = "another"
    status, _, err = await run("login", "-c", str(config))
    assert status == 1
    assert "invalid_client: check client_id, client_secret and client_auth" in err
