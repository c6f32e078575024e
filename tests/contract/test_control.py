"""The control plane: health, readiness, and the session, for whoever runs the daemon."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from reauth_proxy.control import plane
from reauth_proxy.daemon.listening import StartError
from reauth_proxy.session.tokens import Secret
from tests.fakes.arrivals import PATIENCE, until
from tests.fakes.authorization import CANARY, FakeAuthorizationServer, Reply, oauth_error
from tests.fakes.client import Answer, RawClient, connect, fetch
from tests.fakes.daemon import DaemonProcess, RunningDaemon, daemon_process, running_daemon
from tests.fakes.files import write_secret
from tests.fakes.leaks import leaks
from tests.fakes.upstream import FakeUpstream

LISTEN = {"listen": "127.0.0.1:0"}
TOKEN = "client-token-of-32-characters-0123"
PAGE = "http://localhost:5173"


@pytest_asyncio.fixture
async def daemon(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> AsyncIterator[RunningDaemon]:
    async with running_daemon(authorization, upstream, control=LISTEN, access={"origins": [PAGE]}) as running:
        yield running


async def ask(daemon: RunningDaemon, target: str, method: str = "GET", content: object = None) -> Answer:
    assert daemon.control_url is not None
    data = b"" if content is None else json.dumps(content).encode()
    answer = await fetch(daemon.control_url, target, method=method, content=data)
    assert answer.value("Cache-Control") == "no-store"
    assert not leaks(answer.head.decode("latin-1") + answer.content.decode())
    return answer


async def told(daemon: RunningDaemon, target: str = "/session", status: int = 200, **how: Any) -> dict[str, Any]:
    answer = await ask(daemon, target, **how)
    assert answer.status == status, answer.content
    return dict(json.loads(answer.content))


async def problems(daemon: RunningDaemon, target: str = "/readyz") -> dict[str, str]:
    """Ask whether it is ready; return what it says is wrong."""
    answer = await ask(daemon, target)
    found = json.loads(answer.content)
    assert answer.status == (503 if found["problems"] else 200)
    assert found["ready"] is not bool(found["problems"])
    return dict(found["problems"])


# -- health and readiness ---------------------------------------------------------------------------------------------


async def test_a_daemon_with_a_refresh_token_is_alive_and_ready_before_its_first_request(daemon: RunningDaemon) -> None:
    assert await told(daemon, "/healthz") == {"status": "alive"}
    assert await problems(daemon) == {}


async def test_a_daemon_that_nobody_has_logged_in_to_is_alive_and_not_ready(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, control=LISTEN, credential={"refresh_token": None}) as daemon:
        assert await told(daemon, "/healthz") == {"status": "alive"}
        assert "reauth-proxy login" in (await problems(daemon))["default"]


async def test_a_refused_session_is_not_ready_until_there_is_a_new_one(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer
) -> None:
    authorization.revoke_refresh()
    await fetch(daemon.url, "/a")
    assert "refused the refresh token" in (await problems(daemon))["default"]
    await daemon.session.sign_in(Secret(authorization.login()))
    assert await problems(daemon) == {}


async def test_an_outage_is_told_only_once_the_access_token_has_expired(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, control=LISTEN, refresh={"retry_for": "0s"}) as daemon:
        await fetch(daemon.url, "/a")
        authorization.next(Reply(503))
        daemon.pass_time(295)  # in the window before expiry: the present token still works
        await fetch(daemon.url, "/b")
        assert await problems(daemon) == {}
        daemon.pass_time(301)
        authorization.next(Reply(503))
        await fetch(daemon.url, "/c")
        assert "503" in (await problems(daemon))["default"]
        authorization.hold()
        daemon.pass_time(120)
        count = authorization.count
        async with await connect(daemon.url) as client:
            await client.request("/d")
            await authorization.arrived(count + 1)
            assert "503" in (await problems(daemon))["default"], "trying once more is no reason to be ready"
            authorization.release()
            assert (await client.answer()).status == 200
        assert await problems(daemon) == {}


async def test_a_misconfiguration_is_loud_here(daemon: RunningDaemon, authorization: FakeAuthorizationServer) -> None:
    authorization.next(oauth_error("invalid_client", 401))
    await fetch(daemon.url, "/a")
    assert "invalid_client" in (await problems(daemon))["default"]


async def test_a_store_that_fails_is_not_ready_and_the_session_is_served_all_the_same(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    store = {"type": "file", "path": str(tmp_path / "state" / "session.json")}
    async with running_daemon(authorization, upstream, control=LISTEN, store=store) as daemon:
        assert await problems(daemon) == {}
        assert (await fetch(daemon.url, "/a")).status == 200
        (tmp_path / "state").rename(tmp_path / "gone")
        (tmp_path / "state").write_text("a file where the directory was")
        await daemon.session.sign_in(Secret(authorization.login()))
        assert "the store fails" in (await problems(daemon))["default"]
        assert (await fetch(daemon.url, "/b")).status == 200
        (tmp_path / "state").unlink()
        await daemon.log.until(lambda: not daemon.session.store_failed)
        assert not await problems(daemon)


async def test_a_daemon_that_drains_is_alive_and_not_ready(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, control=LISTEN, drain_timeout="60s") as daemon:
        upstream.hold()
        async with await connect(daemon.url) as client:
            await client.request("/held/a")
            await upstream.arrived(1)
            stopping = asyncio.create_task(daemon.stop())
            async with asyncio.timeout(PATIENCE):
                while not daemon.draining:
                    await asyncio.sleep(0)
            assert await told(daemon, "/healthz") == {"status": "alive"}
            assert await problems(daemon) == {"daemon": "the daemon is shutting down"}
            upstream.release()
            assert (await client.answer()).status == 200
            await stopping


async def test_one_of_two_credentials_may_be_asked_for(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with two_credentials(authorization, upstream) as daemon:
        assert set(await problems(daemon)) == {"other"}
        assert await problems(daemon, "/readyz?credential=one") == {}
        assert set(await problems(daemon, "/readyz?credential=other")) == {"other"}
        await told(daemon, "/readyz?credential=none-such", 404)


# -- the session ------------------------------------------------------------------------------------------------------


def two_credentials(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> Any:
    """A daemon with two of them: `one`, and `other`, which nobody has logged in to."""
    endpoint = {"url": authorization.url, "client_id": "web", "client_auth": "none"}
    credentials = {
        "one": {"refresh_token": authorization.first, "token_endpoint": endpoint},
        "other": {"token_endpoint": endpoint},
    }
    routes = [
        {"path": "/", "upstream": upstream.url, "credential": "one"},
        {"path": "/other", "upstream": upstream.url, "credential": "other"},
    ]
    changes: dict[str, Any] = {"credentials": credentials, "routes": routes}
    return running_daemon(authorization, upstream, control=LISTEN, upstream=None, credential=None, **changes)


async def test_the_session_is_told_without_a_token(daemon: RunningDaemon) -> None:
    await fetch(daemon.url, "/a")
    found = await told(daemon)
    assert 0 < found.pop("expires_in") <= 300
    assert found == {
        "credential": "default",
        "state": "fresh",
        "generation": 1,
        "reason": None,
        "parked": 0,
        "store_failed": False,
        "problem": None,
        "usable": True,
    }


async def test_a_session_that_is_put_is_used(daemon: RunningDaemon, authorization: FakeAuthorizationServer) -> None:
    authorization.revoke_refresh()
    assert (await fetch(daemon.url, "/a")).status == 401
    answer = await ask(daemon, "/session", "PUT", {"refresh_token": authorization.login()})
    assert (answer.status, answer.content) == (204, b"")
    assert (await fetch(daemon.url, "/a")).status == 200
    assert len(daemon.events("session.resumed")) == 1


async def test_an_access_token_that_is_put_is_sent_as_long_as_it_lives(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    access_token, refresh_token = authorization.signed_in()
    content = {"refresh_token": refresh_token, "access_token": access_token, "expires_in": 60}
    assert (await ask(daemon, "/session", "PUT", content)).status == 204
    assert 0 < (await told(daemon))["expires_in"] <= 60
    assert (await fetch(daemon.url, "/a")).status == 200
    assert authorization.count == 0
    daemon.pass_time(61)
    assert (await fetch(daemon.url, "/b")).status == 200
    assert authorization.count == 1


async def test_requests_that_wait_are_not_made_in_the_name_of_whoever_signs_in(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer
) -> None:
    authorization.hold()
    async with await connect(daemon.url) as client:
        await client.request("/a")
        await authorization.arrived(1)
        assert (await told(daemon))["parked"] == 1
        assert (await ask(daemon, "/session", "PUT", {"refresh_token": authorization.login()})).status == 204
        answer = await client.answer()
        assert (answer.status, answer.value("Reauth-Signal")) == (401, "logout;reason=signed_out")
        authorization.release()
    assert (await fetch(daemon.url)).status == 200


@pytest.mark.parametrize("content", [b"{}", b"", b'{"refresh_token": "x", "more": 1}'])
async def test_what_is_no_session_changes_nothing(daemon: RunningDaemon, content: bytes) -> None:
    assert daemon.control_url is not None
    answer = await fetch(daemon.control_url, "/session", method="PUT", content=content)
    assert (answer.status, json.loads(answer.content)["code"]) == (400, "bad_request")
    assert (await fetch(daemon.url, "/a")).status == 200


async def test_content_beyond_all_reason_is_refused(daemon: RunningDaemon) -> None:
    answer = await ask(daemon, "/session", "PUT", {"refresh_token": "x" * 300_000})
    assert (answer.status, json.loads(answer.content)["code"]) == (413, "content_too_large")


async def test_a_session_that_is_deleted_is_over(daemon: RunningDaemon, authorization: FakeAuthorizationServer) -> None:
    await fetch(daemon.url, "/a")
    found = await told(daemon, method="DELETE")
    assert set(found) == {"revocation", "problem"}
    assert (await fetch(daemon.url, "/b")).value("Reauth-Signal") == "logout;reason=signed_out"
    assert (await told(daemon))["reason"] == "signed_out"
    assert set(await told(daemon, method="DELETE")) == {"revocation", "problem"}
    assert authorization.count == 1


async def test_deleting_one_session_leaves_the_other_alone(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with two_credentials(authorization, upstream) as daemon:
        await ask(daemon, "/session?credential=other", "PUT", {"refresh_token": authorization.login()})
        assert (await fetch(daemon.url, "/other")).status == 200
        await told(daemon, method="DELETE")
        assert (await told(daemon))["credential"] == "one"
        assert (await fetch(daemon.url, "/a")).value("Reauth-Signal") == "logout;reason=signed_out"
        assert (await fetch(daemon.url, "/other")).status == 200
        await told(daemon, "/session?credential=third", 404)


# -- refresh ----------------------------------------------------------------------------------------------------------


async def test_a_refresh_that_is_asked_for_is_done_however_fresh_the_token_is(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer
) -> None:
    assert (await told(daemon, "/refresh", method="POST"))["generation"] == 1
    assert (await told(daemon, "/refresh", method="POST"))["generation"] == 2
    assert authorization.count == 2
    assert [line["cause"] for line in daemon.events("refresh.started")] == ["asked", "asked"]


async def test_refreshes_that_are_asked_for_at_once_are_one(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer
) -> None:
    authorization.hold()
    asked = [asyncio.create_task(told(daemon, "/refresh", method="POST")) for _ in range(20)]
    async with asyncio.timeout(PATIENCE):
        while daemon.session.parked < 20:
            await asyncio.sleep(0)
    authorization.release()
    assert {found["generation"] for found in await asyncio.gather(*asked)} == {1}
    assert authorization.count == 1


async def test_why_there_is_none_to_be_had_is_told_as_clients_are_told(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, control=LISTEN, refresh={"retry_for": "0s"}) as daemon:
        authorization.next(Reply(503))
        unavailable = await ask(daemon, "/refresh", "POST")
        assert unavailable.status in (401, 503)
        assert int(unavailable.value("Retry-After") or 0) >= 1
        authorization.revoke_refresh()
        assert (await told(daemon, "/refresh", 401, method="POST"))["reason"] == "refresh_denied"
        count = authorization.count
        assert (await told(daemon, "/refresh", 401, method="POST"))["reason"] == "refresh_denied"
        assert authorization.count == count, "nothing calls the token endpoint again"


# -- who may call -----------------------------------------------------------------------------------------------------


async def raw(url: str, method: str, target: str, *fields: str) -> Answer:
    async with await connect(url) as client:
        lines = "\r\n".join([f"{method} {target} HTTP/1.1", *fields])
        await client.send(f"{lines}\r\n\r\n".encode())
        return await client.answer(to=method)


@pytest.mark.parametrize("target", ["/", "/healthz", "/readyz", "/session", "/refresh", "/none-such"])
@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        (["Host: evil.example"], 421, "host_denied"),
        (["Host: localhost.evil.example:8181"], 421, "host_denied"),
        (["Host: localhost", "Host: localhost"], 400, None),
        (["Host: localhost", "Origin: http://localhost:3000"], 403, "origin_denied"),
        (["Host: localhost", f"Origin: {PAGE}"], 403, "origin_denied"),
        (["Host: localhost", "Origin: null"], 403, "origin_denied"),
        (["Host: localhost", "Sec-Fetch-Site: cross-site"], 403, "origin_denied"),
        (["Host: localhost", "Sec-Fetch-Site: same-site"], 403, "origin_denied"),
        (["Host: localhost", "Referer: http://localhost:3000/page"], 403, "origin_denied"),
    ],
)
async def test_no_page_may_call_and_no_other_name(
    daemon: RunningDaemon, target: str, fields: list[str], status: int, code: str | None
) -> None:
    assert daemon.control_url is not None
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = await raw(daemon.control_url, method, target, *fields)
        assert answer.status == status, (method, answer.content)
        assert code is None or json.loads(answer.content)["code"] == code
        assert answer.value("Access-Control-Allow-Origin") is None
    assert (await told(daemon))["state"] == "stale"


async def test_a_known_name_may_call(daemon: RunningDaemon) -> None:
    assert daemon.control_url is not None
    for host in ("localhost:8181", "127.0.0.1", "[::1]:1"):
        assert (await raw(daemon.control_url, "GET", "/session", f"Host: {host}")).status == 200


async def test_the_client_token_is_asked_for_except_by_probes(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    access = {"client_token": TOKEN}
    async with running_daemon(authorization, upstream, control=LISTEN, access=access) as daemon:
        assert daemon.control_url is not None
        for method, target in [("GET", "/session"), ("PUT", "/session"), ("DELETE", "/session"), ("POST", "/refresh")]:
            answer = await fetch(daemon.control_url, target, method=method)
            assert (answer.status, json.loads(answer.content)["code"]) == (401, "client_denied")
            assert answer.value("Reauth-Signal") is None
        for target in ("/healthz", "/readyz"):
            assert (await fetch(daemon.control_url, target)).status == 200
        fields = [("Reauth-Client-Token", TOKEN)]
        assert (await fetch(daemon.control_url, "/session", fields=fields)).status == 200


@pytest.mark.parametrize(
    ("method", "target", "status", "allowed"),
    [
        ("GET", "/metricsx", 404, None),
        ("GET", "/_reauth/session", 404, None),
        ("POST", "/session", 405, "DELETE, GET, HEAD, PUT"),
        ("GET", "/refresh", 405, "POST"),
        ("DELETE", "/readyz", 405, "GET, HEAD"),
    ],
)
async def test_what_there_is_not_is_told(
    daemon: RunningDaemon, method: str, target: str, status: int, allowed: str | None
) -> None:
    answer = await ask(daemon, target, method)
    assert (answer.status, answer.value("Allow")) == (status, allowed)
    assert json.loads(answer.content)["status"] == status


async def test_the_status_page_loads_nothing_but_its_own_three_files(daemon: RunningDaemon) -> None:
    for target, kind in [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")]:
        answer = await ask(daemon, target)
        assert answer.status == 200
        assert answer.value("Content-Type") == f"{kind}; charset=utf-8"
        policy = answer.value("Content-Security-Policy") or ""
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
        assert "unsafe" not in policy
        text = answer.content.decode()
        assert not re.search(r"(src|href)=.https?:|url\(|@import|import\(", text)
    page = (await ask(daemon, "/")).content.decode()
    assert set(re.findall(r'(?:src|href)="(/[^"]*)"', page)) == {"/page.css", "/page.js", "/status"}
    assert not re.search(r"<script>|<style|style=| on[a-z]+=", page)


async def test_everything_that_the_page_shows_is_there_as_json(daemon: RunningDaemon) -> None:
    await fetch(daemon.url, "/a")
    found = await told(daemon, "/status")
    assert found["ready"] is True
    assert [credential["name"] for credential in found["credentials"]] == ["default"]
    assert found["routes"][0]["path"] == "/"
    assert len(found["attempts"]) == 1


async def next_status(client: RawClient) -> dict[str, Any]:
    """Return the next event of a stream."""
    async with asyncio.timeout(PATIENCE):
        text = (await client.reader.readuntil(b"\n\n")).decode()
    assert not leaks(text)
    return dict(json.loads(text[text.index("data: ") + 6 :]))


async def test_the_page_is_told_what_happens_and_each_thing_once(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer
) -> None:
    assert daemon.control_url is not None
    async with await connect(daemon.control_url) as client:
        await client.request("/events")
        assert b"Content-Type: text/event-stream\r\n" in await client.head()
        first = await next_status(client)
        assert (first["attempts"], first["credentials"][0]["generation"]) == ([], 0)
        authorization.revoke_refresh()
        await fetch(daemon.url, "/a")
        attempts, notable, states = [], [], []
        while not notable:
            status = await next_status(client)
            attempts += status["attempts"]
            notable += status["notable"]
            states.append(status["credentials"][0]["state"])
        status = await next_status(client)
        assert (status["attempts"], status["notable"]) == ([], [])
    assert {attempt["outcome"] for attempt in attempts} == {"denied"}
    assert [(request["status"], request["outcome"]) for request in notable] == [(401, "logged_out")]
    assert "Log in again" in notable[0]["why"]
    assert states[-1] == "signed_out"


async def test_so_many_may_watch_and_one_more_is_told_so(
    daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert daemon.control_url is not None
    monkeypatch.setattr(plane, "MOST_WATCHERS", 1)
    async with await connect(daemon.control_url) as client:
        await client.request("/events")
        await client.head()
        assert (await told(daemon, "/events", 503))["code"] == "too_many_connections"
    await until(lambda: not daemon._control._watchers)


async def test_whoever_watches_does_not_hold_the_end_up(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, control=LISTEN) as daemon:
        assert daemon.control_url is not None
        async with await connect(daemon.control_url) as client:
            await client.request("/events")
            await client.head()
            async with asyncio.timeout(PATIENCE):
                await daemon.stop()
            assert (await client.reader.read()).endswith(b"0\r\n\r\n")


async def test_a_failure_of_ours_is_told_without_its_inside(
    daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError(f"with {CANARY}-inside")

    monkeypatch.setattr(daemon.session.news, "look", fail)
    answer = await ask(daemon, "/session")
    assert (answer.status, json.loads(answer.content)["code"]) == (500, "internal_error")
    monkeypatch.undo()
    assert len(daemon.events("request.failed")) == 1
    daemon.log.truncate(0)


# -- where it listens -------------------------------------------------------------------------------------------------


async def test_it_may_listen_on_a_socket_that_is_only_ours(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "control.sock"
    async with running_daemon(authorization, upstream, control={"listen": f"unix:{path}"}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        reader, writer = await asyncio.open_unix_connection(str(path))
        async with RawClient(reader, writer, "localhost") as client:
            await client.request("/readyz")
            assert (await client.answer()).status == 200
    assert not path.exists()


@pytest.mark.parametrize("control", ["control: null", "control: {listen: null}"])
async def test_null_turns_it_off(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, control: str
) -> None:
    async with daemon_process(tmp_path, authorization, upstream, control=LISTEN) as daemon:
        assert (await daemon.logged("server.started"))["control"] is not None
        assert await daemon.stop() == 0
        text = yaml.safe_dump({key: value for key, value in daemon.settings.items() if key != "control"})
        write_secret(daemon.config_path, f"{text}{control}\n")
        await daemon.start()
        assert (await daemon.logged("server.started", 2))["control"] is None


async def test_an_address_that_is_taken_is_told_with_its_key(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartError, match=r"set `control.listen` to an address that is free, or to null"):
            async with running_daemon(authorization, upstream, control={"listen": listen}):
                raise AssertionError("it runs")


async def ready(url: str) -> int:
    return (await fetch(url, "/readyz")).status


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def reloaded(daemon: DaemonProcess, event: str = "config.reloaded", **overrides: Any) -> None:
    """Have the file changed and read again."""
    number = daemon.log.count(f'"{event}"') + 1
    daemon.write_config(**overrides)
    daemon.signal(signal.SIGHUP)
    await daemon.logged(event, number)


async def test_a_reload_moves_it_turns_it_off_and_on_and_changes_its_guard(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream, control=LISTEN) as daemon:
        first = (await daemon.logged("server.started"))["control"]
        assert await ready(first) == 200
        port = free_port()
        await reloaded(daemon, control={"listen": f"127.0.0.1:{port}"})
        second = f"http://127.0.0.1:{port}"
        assert await ready(second) == 200
        with pytest.raises(ConnectionRefusedError):
            await ready(first)
        await reloaded(daemon, access={"client_token": TOKEN})
        assert (await fetch(second, "/session")).status == 401
        daemon.settings["control"] = None
        await reloaded(daemon)
        with pytest.raises(ConnectionRefusedError):
            await ready(second)
        daemon.settings["control"] = {"listen": f"127.0.0.1:{port}"}
        await reloaded(daemon)
        assert await ready(second) == 200


async def test_a_reload_to_an_address_that_is_taken_changes_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream, control=LISTEN) as daemon:
        url = (await daemon.logged("server.started"))["control"]
        await reloaded(
            daemon, "config.rejected", control={"listen": upstream.url.removeprefix("http://").partition("/")[0]}
        )
        assert await ready(url) == 200


async def test_a_daemon_that_ends_answers_until_the_last(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """A probe's open connection does not hold the end up."""
    async with daemon_process(tmp_path, authorization, upstream, control=LISTEN) as daemon:
        url = (await daemon.logged("server.started"))["control"]
        async with await connect(url) as client:
            await client.request("/healthz")
            assert (await client.answer()).status == 200
            assert await daemon.stop() == 0
            assert await client.reader.read() == b""
