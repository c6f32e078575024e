"""Logins that the API answers with tokens: they fill the session, and no client ever sees one."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.fakes.authorization import CANARY, FakeAuthorizationServer
from tests.fakes.client import Answer, connect, fetch
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.leaks import leaks
from tests.fakes.upstream import Exchange, FakeUpstream

CAPTURE = {
    "path": "/public/login",
    "access_token": "/accessToken",
    "refresh_token": "/refreshToken",
    "expires_in": "/expiresIn",
}
PASSWORD = b'{"user":"ann","password":"sesame"}'


def granted(authorization: FakeAuthorizationServer) -> dict[str, Any]:
    """Return what a login brings: a new session's tokens."""
    refresh_token = authorization.login()
    tokens = authorization._grant(refresh_token)
    assert tokens is not None
    return {"accessToken": tokens[0], "refreshToken": tokens[1], "expiresIn": 300}


class Api:
    """A login that answers with tokens, as hand-made APIs do."""

    def __init__(self, authorization: FakeAuthorizationServer) -> None:
        self.authorization = authorization
        self.answers: list[tuple[int, bytes, tuple[tuple[str, str], ...]]] = []
        self.chunked = False

    async def __call__(self, exchange: Exchange) -> None:
        if self.answers:
            status, content, fields = self.answers.pop(0)
        elif exchange.received.content != PASSWORD:
            status, content, fields = 401, b'{"error":"wrong password"}', (("WWW-Authenticate", "Bearer"),)
        else:
            tokens = granted(self.authorization)
            text = json.dumps({"user": {"id": 7}, **tokens, "ok": True})
            status, content, fields = 200, text.encode(), (("Set-Cookie", "theme=dark"), ("ETag", '"1"'))
        kind = ("Content-Type", "application/json")
        if self.chunked:
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            await exchange.send(head.encode())
            for at in range(0, len(content), 7):
                part = content[at : at + 7]
                await exchange.send(b"%x\r\n%b\r\n" % (len(part), part))
            await exchange.send(b"0\r\n\r\n")
        else:
            await exchange.answer(status, content, kind, *fields)


@pytest_asyncio.fixture
async def api(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> Api:
    login = Api(authorization)
    for path in ("/public/login", "/public/v2/login", "/public/%6cogin", "/public//login"):
        upstream.on[path] = login
    return login


@pytest_asyncio.fixture
async def daemon(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, api: Api
) -> AsyncIterator[RunningDaemon]:
    async with running_daemon(
        authorization, upstream, credential={"refresh_token": None}, capture=[CAPTURE]
    ) as running:
        yield running


async def log_in(url: str, target: str = "/public/login", content: bytes = PASSWORD) -> Answer:
    answer = await fetch(url, target, method="POST", content=content, fields=[("Accept-Encoding", "gzip")])
    assert not leaks(answer.head.decode("latin-1"))
    assert not leaks(answer.content.decode("latin-1"))
    assert CANARY.encode() not in answer.content
    return answer


async def test_a_login_fills_the_session_and_the_client_never_sees_a_token(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    assert (await fetch(daemon.url, "/a")).value("Reauth-Signal") == "logout;reason=no_session"
    answer = await log_in(daemon.url)
    assert (answer.status, answer.content) == (200, b'{"user": {"id": 7}, "ok": true}')
    assert answer.value("Content-Length") == str(len(answer.content))
    assert answer.value("Set-Cookie") == "theme=dark"
    assert answer.value("ETag") is None
    assert upstream.requests[-1].values("Accept-Encoding") == []
    assert (await fetch(daemon.url, "/a")).status == 200
    assert authorization.count == 0, "the access token came with the login"
    daemon.pass_time(301)
    assert (await fetch(daemon.url, "/b")).status == 200
    assert authorization.count == 1


async def test_an_answer_in_pieces_is_cut_as_well(daemon: RunningDaemon, api: Api) -> None:
    api.chunked = True
    answer = await log_in(daemon.url)
    assert (answer.status, json.loads(answer.content)) == (200, {"user": {"id": 7}, "ok": True})
    assert (await fetch(daemon.url, "/a")).status == 200


async def test_an_answer_that_is_compressed_all_the_same_is_cut(
    daemon: RunningDaemon, api: Api, authorization: FakeAuthorizationServer
) -> None:
    content = gzip.compress(json.dumps({**granted(authorization), "ok": True}).encode())
    api.answers = [(200, content, (("Content-Encoding", "gzip"),))]
    answer = await log_in(daemon.url)
    assert (answer.status, answer.content, answer.value("Content-Encoding")) == (200, b'{"ok": true}', None)
    assert (await fetch(daemon.url, "/a")).status == 200


async def test_a_wrong_password_is_the_upstream_s_to_tell_and_asks_for_no_refresh(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer
) -> None:
    for _ in range(2):
        answer = await log_in(daemon.url, content=b"{}")
        assert (answer.status, answer.content) == (401, b'{"error":"wrong password"}')
        assert answer.value("Reauth-Signal") is None
        assert (await log_in(daemon.url)).status == 200
    assert authorization.count == 0


async def test_a_login_is_sent_without_the_session_s_token(daemon: RunningDaemon, upstream: FakeUpstream) -> None:
    await log_in(daemon.url)
    await log_in(daemon.url)
    assert [received.token for received in upstream.seen("/public/login")] == [None, None]


async def test_a_login_brings_a_session_back_that_was_refused(
    daemon: RunningDaemon, authorization: FakeAuthorizationServer
) -> None:
    await log_in(daemon.url)
    authorization.revoke_refresh()
    authorization.revoke_access()
    assert (await fetch(daemon.url, "/a")).value("Reauth-Signal") == "logout;reason=refresh_denied"
    assert (await log_in(daemon.url)).status == 200
    assert (await fetch(daemon.url, "/a")).status == 200


@pytest.mark.parametrize("target", ["/public/%6cogin", "/public//login", "/public/login?next=/x", "/public/login/"])
async def test_other_spellings_of_the_path_are_captured_too(
    daemon: RunningDaemon, upstream: FakeUpstream, api: Api, target: str
) -> None:
    upstream.on["/public/login/"] = api
    assert b"accessToken" not in (await log_in(daemon.url, target)).content
    assert (await fetch(daemon.url, "/a")).status == 200


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        (b"<html>access-CANARY</html>", ()),
        (b'{"accessToken": "a-CANARY"', ()),
        (b'{"accessToken":"a-CANARY","refreshToken":"r-CANARY"}', (("Content-Encoding", "br"),)),
        (b"not gzip at all", (("Content-Encoding", "gzip"),)),
        (b'{"accessToken":"a-CANARY","x":"' + b"x" * (1 << 20) + b'"}', ()),
        (b'{"accessToken":"a-CANARY","refreshToken":""}', ()),
        (b'{"accessToken":"a-CANARY"}', ()),
    ],
)
async def test_an_answer_that_nobody_can_read_is_not_passed_on(
    daemon: RunningDaemon, api: Api, content: bytes, fields: tuple[tuple[str, str], ...]
) -> None:
    api.answers = [(200, content, fields)]
    answer = await log_in(daemon.url)
    assert (answer.status, json.loads(answer.content)["code"]) == (502, "upstream_malformed")
    assert b"CANARY" not in answer.content


async def test_a_step_before_the_last_one_passes(daemon: RunningDaemon, api: Api) -> None:
    api.answers = [(200, b'{"step":"second factor"}', ()), (204, b"", ())]
    assert (await log_in(daemon.url)).content == b'{"step":"second factor"}'
    assert (await log_in(daemon.url)).status == 204


async def test_what_is_no_success_passes_without_tokens_and_fills_nothing(daemon: RunningDaemon, api: Api) -> None:
    api.answers = [
        (500, b"<html>sorry</html>", ()),
        (403, b'{"accessToken":"a-CANARY","refreshToken":"r-CANARY","why":"locked"}', ()),
    ]
    assert (await log_in(daemon.url)).content == b"<html>sorry</html>"
    answer = await log_in(daemon.url)
    assert (answer.status, answer.content) == (403, b'{"why":"locked"}')
    assert (await fetch(daemon.url, "/a")).value("Reauth-Signal") == "logout;reason=no_session"


async def test_an_answer_that_breaks_off_is_not_half_passed_on(daemon: RunningDaemon, upstream: FakeUpstream) -> None:
    async def breaks(exchange: Exchange) -> None:
        await exchange.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"accessToken":"a-CANARY"')
        exchange.close()

    upstream.on["/public/login"] = breaks
    answer = await log_in(daemon.url)
    assert answer.status == 502
    assert daemon.session.generation == 0


async def test_requests_that_wait_are_not_made_in_the_name_of_whoever_logs_in(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, api: Api
) -> None:
    async with running_daemon(authorization, upstream, capture=[CAPTURE]) as daemon:
        authorization.hold()
        async with await connect(daemon.url) as client:
            await client.request("/a")
            await authorization.arrived(1)
            assert (await log_in(daemon.url)).status == 200
            assert (await client.answer()).value("Reauth-Signal") == "logout;reason=signed_out"
            assert (await fetch(daemon.url)).status == 200
        authorization.release()


async def test_each_login_fills_the_credential_of_its_route(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, api: Api
) -> None:
    endpoint = {"url": authorization.url, "client_id": "web", "client_auth": "none"}
    async with running_daemon(
        authorization,
        upstream,
        upstream=None,
        credential=None,
        credentials={"default": {"token_endpoint": endpoint}, "billing": {"token_endpoint": endpoint}},
        routes=[
            {"path": "/billing", "upstream": upstream.url, "strip_path": True, "credential": "billing"},
            {"path": "/open", "upstream": f"{upstream.url}/public", "strip_path": True, "credential": "none"},
            {"path": "/", "upstream": upstream.url},
        ],
        capture=[{**CAPTURE, "path": "/billing/public/login"}, {**CAPTURE, "path": "/public/v2/login"}],
    ) as daemon:
        await log_in(daemon.url, "/billing/public/login")
        generations = {name: session.generation for name, session in daemon.credentials.sessions.items()}
        assert generations == {"default": 0, "billing": 1}
        for target in ("/public/login", "/open/login"):  # other ways to the same login
            assert b"Token" not in (await log_in(daemon.url, target)).content
        await log_in(daemon.url, "/public/v2/login")
        assert daemon.credentials.sessions["default"].generation == 1


async def test_a_login_is_stored_before_its_answer_goes_on(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, api: Api, tmp_path: Any
) -> None:
    store = {"type": "file", "path": str(tmp_path / "session.json")}
    overrides = {"credential": {"refresh_token": None}, "capture": [CAPTURE], "store": store}
    async with running_daemon(authorization, upstream, **overrides) as daemon:
        assert (await log_in(daemon.url)).status == 200
        assert json.loads(await asyncio.to_thread((tmp_path / "session.json").read_text))
    async with running_daemon(authorization, upstream, **overrides) as daemon:
        assert (await fetch(daemon.url, "/a")).status == 200
