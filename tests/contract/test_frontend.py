"""What frontends ask the proxy itself: the session, its events, log out, and a login by browser."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from reauth_proxy.session.tokens import Secret
from tests.fakes.arrivals import PATIENCE
from tests.fakes.authorization import FakeAuthorizationServer, Reply
from tests.fakes.client import Answer, RawClient, connect, fetch
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.leaks import leaks
from tests.fakes.login import LoginServer, login_server
from tests.fakes.upstream import FakeUpstream, upstream_server

PAGE = "http://localhost:5173"
FOREIGN = [("Origin", "http://localhost:3000"), ("Sec-Fetch-Site", "same-site")]
#: What a browser says of an address that an authorization server sent it to.
RETURNING = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]


class Stream:
    """An open event stream."""

    def __init__(self, client: RawClient, head: bytes) -> None:
        self.client = client
        self.head = head

    async def chunk(self) -> bytes:
        """Return the next chunk; b"" is the end."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.client.reader.readuntil(b"\r\n"), 16)
            return (await self.client.reader.readexactly(size + 2))[:-2]

    async def event(self) -> tuple[str, dict[str, Any]]:
        """Return the next event's name and data."""
        text = (await self.chunk()).decode()
        found = re.fullmatch(r"(?:retry: 1000\n\n)?event: (\w+)\ndata: (.*)\n\n", text)
        assert found is not None, text
        assert not leaks(text)
        return found[1], json.loads(found[2])


@asynccontextmanager
async def events(
    url: str, target: str = "/_reauth/events", fields: Iterable[tuple[str, str]] = ()
) -> AsyncIterator[Stream]:
    async with await connect(url) as client:
        await client.request(target, fields=fields)
        yield Stream(client, await client.head())


async def told(url: str, target: str = "/_reauth/session") -> dict[str, Any]:
    answer = await fetch(url, target)
    assert answer.status == 200
    assert answer.value("Content-Type") == "application/json"
    assert answer.value("Cache-Control") == "no-store"
    assert not leaks(answer.content.decode())
    found = json.loads(answer.content)
    assert set(found) == {"state", "generation", "expires_in", "reason"}
    return dict(found)


@pytest_asyncio.fixture
async def daemon(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> AsyncIterator[RunningDaemon]:
    async with running_daemon(authorization, upstream, access={"origins": [PAGE]}) as running:
        yield running


# -- session ----------------------------------------------------------------------------------------------------------


async def test_the_session_is_told_through_its_life(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    assert await told(daemon.url) == {"state": "stale", "generation": 0, "expires_in": None, "reason": None}
    await fetch(daemon.url, "/a")
    fresh = await told(daemon.url)
    assert (fresh["state"], fresh["generation"], fresh["reason"]) == ("fresh", 1, None)
    assert 0 < fresh["expires_in"] <= 300
    daemon.pass_time(301)
    assert await told(daemon.url) == {"state": "stale", "generation": 1, "expires_in": 0.0, "reason": None}
    authorization.hold()
    async with await connect(daemon.url) as client:
        await client.request("/b")
        await authorization.arrived(2)
        assert (await told(daemon.url))["state"] == "refreshing"
        authorization.release()
        assert (await client.answer()).status == 200
    authorization.revoke_refresh()
    daemon.pass_time(301)
    assert (await fetch(daemon.url, "/c")).status == 401
    assert await told(daemon.url) == {
        "state": "signed_out",
        "generation": 2,
        "expires_in": None,
        "reason": "refresh_denied",
    }
    assert not upstream.seen("/_reauth/session")


async def test_head_is_answered_as_get_without_content(daemon: RunningDaemon) -> None:
    async with await connect(daemon.url) as client:
        for _ in range(2):
            await client.request("/_reauth/session", method="HEAD")
            answer = await client.answer(to="HEAD")
            assert (answer.status, answer.content) == (200, b"")
            assert int(answer.value("Content-Length") or 0) > 0


@pytest.mark.parametrize(
    ("method", "target", "status", "allowed"),
    [
        ("GET", "/_reauth/", 404, None),
        ("GET", "/_reauth/Session", 404, None),
        ("GET", "/_reauth/session/", 404, None),
        ("GET", "/_reauth/../x", 404, None),
        ("GET", "/_reauth/session?credential=other", 404, None),
        ("GET", "/_reauth/logout", 405, "POST"),
        ("POST", "/_reauth/session", 405, "GET, HEAD"),
        ("DELETE", "/_reauth/events", 405, "GET"),
        ("POST", "/_reauth/login", 405, "GET"),
        ("OPTIONS", "/_reauth/session", 405, "GET, HEAD"),
        ("GET", "/_reauth/session?" + "a=1&" * 40, 400, None),
    ],
)
async def test_what_there_is_not_is_told_and_never_forwarded(
    daemon: RunningDaemon, upstream: FakeUpstream, method: str, target: str, status: int, allowed: str | None
) -> None:
    answer = await fetch(daemon.url, target, method=method)
    assert (answer.status, answer.value("Allow")) == (status, allowed)
    assert json.loads(answer.content)["status"] == status
    assert upstream.count == 0


async def test_a_listed_page_may_read_and_any_other_may_not(daemon: RunningDaemon) -> None:
    answer = await fetch(daemon.url, "/_reauth/session", fields=[("Origin", PAGE)])
    assert (answer.status, answer.value("Access-Control-Allow-Origin")) == (200, PAGE)
    for target, method in [("session", "GET"), ("events", "GET"), ("logout", "POST"), ("login", "GET")]:
        answer = await fetch(daemon.url, f"/_reauth/{target}", method=method, fields=FOREIGN)
        assert (answer.status, json.loads(answer.content)["code"]) == (403, "origin_denied")
    assert (await told(daemon.url))["state"] == "stale"


async def test_path_rules_are_about_the_upstream(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, access={"allow": ["GET /api/**"]}) as daemon:
        assert (await fetch(daemon.url, "/other")).status == 403
        await told(daemon.url)


async def test_the_client_token_is_asked_for_here_too(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    token = "client-token-of-32-characters-0123"
    async with running_daemon(authorization, upstream, access={"client_token": token}) as daemon:
        assert (await fetch(daemon.url, "/_reauth/session")).status == 401
        answer = await fetch(daemon.url, "/_reauth/session", fields=[("Reauth-Client-Token", token)])
        assert answer.status == 200


# -- events -----------------------------------------------------------------------------------------------------------


async def test_events_follow_the_session(daemon: RunningDaemon, authorization: FakeAuthorizationServer) -> None:
    async with events(daemon.url) as tab, events(daemon.url, fields=[("Origin", PAGE)]) as other:
        assert b"Content-Type: text/event-stream\r\n" in tab.head
        assert f"Access-Control-Allow-Origin: {PAGE}\r\n".encode() in other.head
        for stream in (tab, other):
            assert (await stream.event())[0] == "session"
        await fetch(daemon.url, "/a")
        for stream in (tab, other):
            name, data = await stream.event()
            assert (name, data["state"], data["generation"]) == ("refreshed", "fresh", 1)
        assert (await fetch(daemon.url, "/_reauth/logout", method="POST")).status == 204
        for stream in (tab, other):
            name, data = await stream.event()
            assert (name, data["state"], data["reason"]) == ("logout", "signed_out", "signed_out")
        await daemon.session.sign_in(Secret(authorization.login()))
        for stream in (tab, other):
            name, data = await stream.event()
            assert (name, data["reason"]) == ("resumed", None)


async def test_a_denied_refresh_is_one_logout_event(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer
) -> None:
    authorization.revoke_refresh()
    async with events(daemon.url) as tab:
        await tab.event()
        answers = await asyncio.gather(*(fetch(daemon.url, f"/{number}") for number in range(20)))
        assert {answer.status for answer in answers} == {401}
        assert (await tab.event())[1]["reason"] == "refresh_denied"
        await daemon.session.sign_in(Secret(authorization.login()))
        assert (await tab.event())[0] == "resumed"


async def test_an_authorization_server_that_is_away_is_no_logout_event(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with (
        running_daemon(authorization, upstream, refresh={"retry_for": "0s"}) as daemon,
        events(daemon.url) as tab,
    ):
        await tab.event()
        authorization.next(Reply(503))
        assert (await fetch(daemon.url, "/a")).value("Reauth-Signal") == "logout;reason=refresh_unavailable"
        daemon.pass_time(60)
        assert (await fetch(daemon.url, "/b")).status == 200
        assert (await tab.event())[0] == "refreshed"


async def test_silence_is_broken_by_a_heartbeat(daemon: RunningDaemon) -> None:
    daemon._endpoints._heartbeat = 0.01
    async with events(daemon.url) as tab:
        await tab.event()
        assert await tab.chunk() == b":\n\n"
        assert await tab.chunk() == b":\n\n"


async def test_a_tab_that_closes_is_forgotten(daemon: RunningDaemon) -> None:
    async with events(daemon.url) as tab:
        await tab.event()
        assert daemon.session.news.listeners == 1
    async with asyncio.timeout(PATIENCE):
        while daemon.session.news.listeners:
            await asyncio.sleep(0)


async def test_streams_end_at_a_drain_before_its_time_is_up(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, drain_timeout="60s") as daemon, events(daemon.url) as tab:
        await tab.event()
        async with asyncio.timeout(PATIENCE):
            await daemon.stop()
        assert await tab.chunk() == b""
        assert await tab.client.reader.read() == b""


async def test_an_old_client_gets_a_stream_that_ends_with_the_connection(daemon: RunningDaemon) -> None:
    async with await connect(daemon.url) as client:
        await client.send(f"GET /_reauth/events HTTP/1.0\r\nHost: {client.host}\r\n\r\n".encode())
        assert b"Transfer-Encoding" not in await client.head()
        async with asyncio.timeout(PATIENCE):
            assert (await client.reader.readuntil(b"\n\n")) == b"retry: 1000\n\n"
            assert (await client.reader.readuntil(b"\n\n")).startswith(b"event: session\ndata: {")


# -- log out ----------------------------------------------------------------------------------------------------------


async def test_log_out_ends_the_session_and_revokes_its_tokens(upstream: FakeUpstream) -> None:
    async with login_server() as server, upstream_server(server) as api:
        endpoint = {"url": server.url, "client_id": "web", "client_auth": "none"}
        endpoint["revocation_url"] = f"{server.issuer}/revoke"
        credential = {"refresh_token": server.first, "token_endpoint": endpoint}
        async with running_daemon(server, api, credential=credential) as daemon:
            assert (await fetch(daemon.url, "/a")).status == 200
            answer = await fetch(daemon.url, "/_reauth/logout", method="POST", content=b"{}")
            assert (answer.status, answer.content) == (204, b"")
            assert {hint for _, hint in server.revoked} == {"refresh_token", "access_token"}
            assert (await told(daemon.url))["reason"] == "signed_out"
            refused = await fetch(daemon.url, "/b")
            assert refused.value("Reauth-Signal") == "logout;reason=signed_out"
            assert (await fetch(daemon.url, "/_reauth/logout", method="POST")).status == 204


# -- login by browser -------------------------------------------------------------------------------------------------


class Browser:
    """Keeps cookies, and says where it comes from."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies: dict[str, str] = {}

    async def go(self, target: str, fields: Iterable[tuple[str, str]] = ()) -> Answer:
        cookie = [("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))] * bool(self.cookies)
        answer = await fetch(self.url, target, fields=[*fields, *cookie])
        for line in answer.values("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if line.endswith("Max-Age=0"):
                del self.cookies[name]
        return answer


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LoginServer]:
    async with login_server() as running:
        yield running


@pytest_asyncio.fixture
async def api(server: LoginServer) -> AsyncIterator[FakeUpstream]:
    async with upstream_server(server) as running:
        yield running


@pytest_asyncio.fixture
async def before_login(server: LoginServer, api: FakeUpstream) -> AsyncIterator[RunningDaemon]:
    endpoint = {"url": None, "issuer": server.issuer, "client_id": "web", "client_auth": "none"}
    credential = {"refresh_token": None, "token_endpoint": endpoint}
    async with running_daemon(server, api, credential=credential, access={"origins": [PAGE]}) as daemon:
        yield daemon


async def sent_back(browser: Browser, target: str = "/_reauth/login") -> str:
    """Begin a login; return the target that the authorization server sends the browser to."""
    away = await browser.go(target)
    assert away.status == 303, away.content
    parts = urlsplit(away.value("Location") or "")
    back = await fetch(f"{parts.scheme}://{parts.netloc}", f"{parts.path}?{parts.query}")
    address = urlsplit(back.value("Location") or "")
    assert f"{address.scheme}://{address.netloc}" == browser.url
    return f"{address.path}?{address.query}"


async def test_a_person_signs_in_with_the_browser(before_login: RunningDaemon, api: FakeUpstream) -> None:
    daemon, browser = before_login, Browser(before_login.url)
    assert (await fetch(daemon.url, "/a")).value("Reauth-Signal") == "logout;reason=no_session"
    async with events(daemon.url) as tab:
        await tab.event()
        target = await sent_back(browser, "/_reauth/login?return_to=/app?x=1")
        done = await browser.go(target, RETURNING)
        assert (done.status, done.value("Location")) == (303, "/app?x=1")
        assert (await tab.event())[0] == "resumed"
    assert (await fetch(daemon.url, "/a")).status == 200
    assert browser.cookies == {}
    assert not api.seen("/_reauth/callback")
    again = await browser.go(target, RETURNING)
    assert (again.status, json.loads(again.content)["code"]) == (400, "bad_request")


async def test_the_login_s_cookie_is_for_its_end_alone(before_login: RunningDaemon) -> None:
    away = await fetch(before_login.url, "/_reauth/login")
    assert re.fullmatch(
        r"reauth-login-[0-9a-f]{16}=[\w-]{43}; Path=/_reauth/callback; HttpOnly; SameSite=Lax; Max-Age=600",
        away.value("Set-Cookie") or "",
    )
    assert away.value("Referrer-Policy") == "no-referrer"
    assert away.value("Cache-Control") == "no-store"


async def test_two_tabs_may_sign_in_at_once(before_login: RunningDaemon, server: LoginServer) -> None:
    browser = Browser(before_login.url)
    one, two = await sent_back(browser), await sent_back(browser)
    for target in (two, one):
        assert (await browser.go(target, RETURNING)).status == 303
    assert len([path for path in server.paths() if path == "/token"]) == 2


async def test_another_browser_cannot_finish_a_login(before_login: RunningDaemon, server: LoginServer) -> None:
    mine, thiefs = Browser(before_login.url), Browser(before_login.url)
    target = await sent_back(thiefs)
    answer = await mine.go(target, RETURNING)
    assert (answer.status, json.loads(answer.content)["code"]) == (400, "bad_request")
    assert "/token" not in server.paths()
    assert (await told(before_login.url))["reason"] == "no_session"
    assert (await thiefs.go(target, RETURNING)).status == 303, "the login itself goes on"


@pytest.mark.parametrize("change", ["state=x&code=y", "code=y", "", "state=", "a=1&" * 40])
async def test_an_answer_to_no_login_changes_nothing(before_login: RunningDaemon, change: str) -> None:
    browser = Browser(before_login.url)
    await sent_back(browser)
    answer = await browser.go(f"/_reauth/callback?{change}", RETURNING)
    assert (answer.status, json.loads(answer.content)["code"]) == (400, "bad_request")


async def test_a_login_that_was_refused_is_told(before_login: RunningDaemon, server: LoginServer) -> None:
    server.denies = {"error": "access_denied"}
    browser = Browser(before_login.url)
    answer = await browser.go(await sent_back(browser), RETURNING)
    problem = json.loads(answer.content)
    assert (answer.status, problem["code"]) == (403, "login_failed")
    assert "access_denied" in problem["detail"]


async def test_a_login_without_a_refresh_token_is_told(before_login: RunningDaemon, server: LoginServer) -> None:
    server.offline = False
    browser = Browser(before_login.url)
    answer = await browser.go(await sent_back(browser), RETURNING)
    assert (answer.status, json.loads(answer.content)["code"]) == (403, "login_failed")
    assert (await told(before_login.url))["reason"] == "no_session"


async def test_a_browser_that_leaves_does_not_stop_its_login(before_login: RunningDaemon, server: LoginServer) -> None:
    browser = Browser(before_login.url)
    target = await sent_back(browser)
    server.hold()
    async with events(before_login.url) as tab, await connect(before_login.url) as client:
        await tab.event()
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        await client.request(target, fields=[*RETURNING, ("Cookie", cookies)])
        await server.arrived(1)
        client.abort()
        server.release()
        assert (await tab.event())[0] == "resumed"


async def test_a_login_may_end_at_a_listed_page_and_nowhere_else(before_login: RunningDaemon) -> None:
    browser = Browser(before_login.url)
    target = await sent_back(browser, f"/_reauth/login?return_to={PAGE}/app")
    assert (await browser.go(target, RETURNING)).value("Location") == f"{PAGE}/app"
    assert (await browser.go("/_reauth/login?return_to=http://evil.example/")).status == 400


async def test_a_credential_without_a_page_to_log_in_at_says_so(daemon: RunningDaemon) -> None:
    answer = await fetch(daemon.url, "/_reauth/login")
    assert (answer.status, json.loads(answer.content)["code"]) == (404, "no_route")


async def test_only_the_way_back_may_come_from_another_site(before_login: RunningDaemon) -> None:
    for target in (
        "/_reauth/login",
        "/_reauth/session",
        "/_reauth/callback",
        "/_reauth/callbackx?a",
        "/x/_reauth/callback?",
    ):
        answer = await fetch(before_login.url, target, fields=RETURNING)
        assert (answer.status, json.loads(answer.content)["code"]) == (403, "origin_denied"), target
