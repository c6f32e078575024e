"""Everything that can happen to a daemon at debug level, and no secret gets out of it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.canary.stage import CLIENT, ID_TOKEN, Exercised, exercised
from tests.fakes.arrivals import PATIENCE
from tests.fakes.authorization import Break, FakeAuthorizationServer, Raw, Reply
from tests.fakes.client import connect
from tests.fakes.files import write_secret
from tests.fakes.upstream import Exchange, FakeUpstream

JSON = {"Content-Type": "application/json"}
#: Answers of a token endpoint that nobody can use; some hold what looks like tokens, none is to be repeated.
UNUSABLE = [
    Reply(200, JSON, b'{"access_token": "CANARY\\u0000", "refresh_token": "CANARY"'),
    Reply(200, JSON, json.dumps({"access_token": "ok", "refresh_token": "CANARY\x00"}).encode()),
    Reply(200, JSON, json.dumps({"access_token": "CANARY", "token_type": "CANARY"}).encode()),
    Reply(200, {"Content-Type": "text/html"}, b"<html>CANARY</html>"),
    Reply(200, {"Content-Type": "CANARY", "X-Token": "CANARY"}, b"CANARY"),
    Reply(500, JSON, b'{"error": "CANARY", "error_description": "CANARY"}'),
    Reply(429, {"Retry-After": "CANARY"}, b"CANARY"),
    Reply(302, {"Location": "http://127.0.0.1:1/?code=CANARY"}, b""),
    Reply(404, JSON, b'{"error": "CANARY"}'),
    Raw(b"CANARY CANARY CANARY\r\n\r\n"),
    Raw(b"HTTP/1.1 200 OK\r\nCANARY\r\n\r\n"),
    Raw(b"HTTP/1.1 200 OK\r\nContent-Length: CANARY\r\n\r\n"),
    Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b'{"access_token": "CANARY'),
    Break(),
]
#: An upstream's answers that are not HTTP.
MALFORMED = [
    b"CANARY CANARY\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nCANARY\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: CANARY\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: CANARY\x00\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CANARY\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nCANARY\r\n",
    b"HTTP/1.1 200 OK\r\nX: %s\r\n\r\n" % (b"CANARY" * 60_000),
]
#: Requests that are refused, with secrets in them.
REFUSED = [
    b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization CANARY\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer CANARY\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: user:CANARY@x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: CANARY/\r\n\r\n",
    b"GET http://user:CANARY@x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/CANARY\r\nHost: x\r\n\r\n",
    b"GET /?token=CANARY HTTP/1.1\r\nHost: x\r\nHost: CANARY\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: CANARY\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CANARY\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nCANARY\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nExpect: CANARY\r\nContent-Length: 1\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nCANARY",
    b"GET / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\n\r\n" % (b"CANARY" * 10_000),
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Token: CANARY\r\n" * 200 + b"\r\n",
    b"CONNECT user:CANARY@x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01CANARY\r\n\r\n",
]
#: Files that cannot be used, with secrets where none should be.
BAD_FILES = [
    'credential: {refresh_token: [CANARY]}\nupstream: "https://user:CANARY@x"\n',
    'credential: {refresh_token: "CANARY\\n", token_endpoint: {url: "https://x/?key=CANARY#", client_id: a}}\n',
    "credential:\n  refresh_token: CANARY: x\n",
    "credential: {token_endpoint: {client_secret: {file: CANARY\n",
    "credential: {token_endpoint: {type: json, url: https://x, body: {a: !CANARY x}, headers: {X: 'CANARY\\0'}}}\n",
    "credential: {refresh_token: &CANARY *CANARY}\n",
    'credential: {refresh_token: {env: "${CLIENT_SECRET}"}}\nlog: {level: "${CLIENT_SECRET}"}\n',
]


@pytest.mark.parametrize("kind", ["oauth2", "json"])
async def test_a_life_with_everything_in_it(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, kind: str
) -> None:
    async with exercised(tmp_path, authorization, upstream, kind=kind) as daemon:
        assert (await daemon.ask()).status == 200
        await replays(daemon, authorization, upstream)
        await switches(daemon, authorization, upstream)
        daemon.look()
        await meets_garbage(daemon, upstream)
        await has_a_bad_token_endpoint(daemon, authorization, upstream)
        await is_reloaded(daemon)
        await loses_its_store(daemon, authorization, upstream)
        authorization.revoke_refresh()
        authorization.revoke_access()
        assert (await daemon.ask()).value("Reauth-Signal") == "logout;reason=refresh_denied"
        page = await daemon.ask()
        assert page.status == 401


async def replays(daemon: Exercised, authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    """Rejected tokens, with content in memory and on disk, many at once, and an upstream that is away."""
    for content in (b"", b"CANARY-content", b"CANARY" * 5000):
        authorization.revoke_access()
        assert (await daemon.ask(method="POST", content=content)).status == 200
    authorization.revoke_access()
    answers = await asyncio.gather(*(daemon.ask() for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    upstream.rejects_all = True
    assert (await daemon.ask()).status == 401
    upstream.rejects_all = False
    upstream.close_listener()
    assert (await daemon.ask()).status == 502
    await upstream.start()
    assert (await daemon.ask("/status/403")).status == 403


async def switches(daemon: Exercised, authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    """A WebSocket whose handshake meets a rejected token, and that says secrets."""

    async def accept(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nCANARY"
        )

    upstream.on["/ws"] = accept
    authorization.revoke_access()
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Protocol", "bearer.CANARY")]
    async with await connect(daemon.url) as client:
        await client.request("/ws?token=CANARY", fields=[*CLIENT, *upgrade])
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await client.reader.readexactly(6) == b"CANARY"


async def meets_garbage(daemon: Exercised, upstream: FakeUpstream) -> None:
    for data in REFUSED:
        assert (await daemon.garbage(data))[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5", b""), data
    for data in MALFORMED:

        async def answer(exchange: Exchange, data: bytes = data) -> None:
            await exchange.send(data)
            exchange.close()

        upstream.on["/malformed"] = answer
        received = await daemon.garbage(
            b"GET /malformed?x=CANARY HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert received.startswith((b"HTTP/1.1 502 ", b"HTTP/1.1 200 ")), data


async def has_a_bad_token_endpoint(
    daemon: Exercised, authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    for reply in UNUSABLE:
        authorization.next(reply, reply, reply)
        authorization.revoke_access()
        assert (await daemon.ask()).status == 401
        authorization.forget_script()
        await signed_in_anew(daemon, authorization, upstream)
    authorization.close_listener()
    authorization.revoke_access()
    assert (await daemon.ask()).value("Reauth-Signal") == "logout;reason=refresh_unavailable"
    await authorization.start()


async def signed_in_anew(daemon: Exercised, authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    """A new refresh token in its file ends every cool-off, and every refusal."""
    before, token = daemon.log.count('"config.reloaded"'), authorization.login()
    write_secret(daemon.directory / "refresh-token", token)
    daemon.signal(signal.SIGHUP)
    assert (await daemon.logged("config.reloaded", before + 1))["new_refresh_token"]
    async with asyncio.timeout(PATIENCE):
        while True:  # Until it has taken the place of the session that there was.
            answer = await daemon.ask()
            if answer.status == 200 and authorization.whose(upstream.requests[-1].token) == authorization.family(token):
                return


async def is_reloaded(daemon: Exercised) -> None:
    good = daemon.config_path.read_text()
    for number, bad in enumerate(BAD_FILES, 1):
        write_secret(daemon.config_path, bad)
        daemon.signal(signal.SIGHUP)
        assert (await daemon.logged("config.rejected", number))["problems"]
    write_secret(daemon.config_path, good)
    before = daemon.log.count('"config.reloaded"')
    daemon.signal(signal.SIGHUP)
    await daemon.logged("config.reloaded", before + 1)


async def loses_its_store(daemon: Exercised, authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    """Somebody writes nonsense with secrets in it over the session."""
    await signed_in_anew(daemon, authorization, upstream)
    write_secret(daemon.store_path, '{"version": 1, "refresh_token": ["CANARY"], "access_token": "CANARY')
    authorization.revoke_access()
    assert (await daemon.ask()).status == 200
    assert ID_TOKEN not in daemon.log
