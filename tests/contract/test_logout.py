"""A refusal is final, an outage is not: what clients are told, and how the session comes back."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from reauth_proxy.session.tokens import Secret
from tests.fakes.authorization import HANG_UP, FakeAuthorizationServer
from tests.fakes.daemon import config_for, port_of, running
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wire import answer, send

QUICK: dict[str, Any] = {"refresh": {"timeout": "1s", "retry_for": "300ms", "background": False}}


async def raw(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_every_parked_request_gets_the_logout_answer_byte_for_byte(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running(config_for(upstream, authorization)) as daemon:
        await send(port_of(daemon))
        authorization.revoke()
        authorization.open.clear()
        asking = [asyncio.create_task(raw(port_of(daemon))) for _ in range(20)]
        while daemon.session.parked < 20:
            await asyncio.sleep(0)
        authorization.open.set()
        answers = {re.sub(rb"Date: [^\r]*", b"Date: D", found) for found in await asyncio.gather(*asking)}
        assert len(answers) == 1
        head, _, content = answers.pop().partition(b"\r\n\r\n")
        detail = json.loads(content)["detail"]
        assert head.decode() == (
            "HTTP/1.1 401 Unauthorized\r\n"
            f'WWW-Authenticate: Bearer error="invalid_token", error_description="{detail}"\r\n'
            "Reauth-Signal: logout;reason=refresh_denied\r\n"
            f'Proxy-Status: reauth-proxy; error=http_request_denied; details="{detail}"\r\n'
            "Cache-Control: no-store\r\n"
            "Content-Type: application/problem+json\r\n"
            "Date: D\r\n"
            f"Content-Length: {len(content)}\r\n"
            "Connection: close"
        )
        assert content.decode() == (
            '{"type":"about:blank","title":"Logged out","status":401,"code":"logged_out","signal":"logout",'
            f'"reason":"refresh_denied","detail":"{detail}"}}'
        )
        calls = len(authorization.calls)
        assert calls == 2
        for _ in range(10):
            assert (await send(port_of(daemon)))["Reauth-Signal"] == "logout;reason=refresh_denied"
        assert len(authorization.calls) == calls, "nothing calls the token endpoint again"


async def test_signed_out_requests_go_upstream_bare_so_that_public_pages_work(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async def public(request: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert "Authorization" not in request
        writer.write(answer(200, b"welcome"))

    upstream.paths["/public"] = public
    authorization.revoke()
    config = config_for(upstream, authorization)
    config["credential"]["refresh_token"] = "CANARY-stale"
    async with running(config) as daemon:
        assert (await send(port_of(daemon))).status == 401
        assert (await send(port_of(daemon), "/public")).content == b"welcome"


async def test_with_no_refresh_token_at_all_the_reason_is_no_session(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    config = config_for(upstream, authorization)
    del config["credential"]["refresh_token"]
    async with running(config) as daemon:
        assert (await send(port_of(daemon)))["Reauth-Signal"] == "logout;reason=no_session"
        assert authorization.calls == []


async def test_a_new_refresh_token_brings_the_session_back(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    config = config_for(upstream, authorization)
    async with running(config) as daemon:
        await send(port_of(daemon))
        authorization.revoke()
        assert (await send(port_of(daemon))).status == 401

        assert await daemon.session.offer(Secret(authorization.sign_in()))
        assert (await send(port_of(daemon))).status == 200


async def test_a_hard_hour_of_the_token_endpoint_is_noticed_by_nobody(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    config = config_for(upstream, authorization, {"refresh": {"retry_for": "10s", "background": False}})
    async with running(config) as daemon:
        await send(port_of(daemon))
        authorization.expire()
        authorization.script.append(answer(503))
        authorization.script.append(HANG_UP)
        asking = [asyncio.create_task(send(port_of(daemon))) for _ in range(10)]
        await authorization.arrived(3)
        await authorization.stop()  # closed: connections are refused
        authorization.script.append(answer(429, b"", ("Retry-After", "1")))
        await authorization.start()
        assert [found.status for found in await asyncio.gather(*asking)] == [200] * 10
        assert not authorization.reuse_detected


@pytest.mark.parametrize("mode", ["logout", "unavailable"])
async def test_an_outage_longer_than_retry_for_is_told_and_heals_by_itself(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, mode: str
) -> None:
    config = config_for(upstream, authorization, QUICK, {"refresh": {"on_unavailable": mode}})
    async with running(config) as daemon:
        await send(port_of(daemon))
        authorization.expire()
        await authorization.stop()
        told = await send(port_of(daemon))
        assert int(told["Retry-After"]) >= 1
        if mode == "logout":
            assert (told.status, told["Reauth-Signal"]) == (401, "logout;reason=refresh_unavailable")
        else:
            assert (told.status, told.json()["code"], "Reauth-Signal" in told) == (503, "refresh_unavailable", False)
        await authorization.start()
        async with asyncio.timeout(10):
            while (await send(port_of(daemon))).status != 200:
                await asyncio.sleep(0.1)  # the cool-off passes
        assert not authorization.reuse_detected


async def test_while_the_present_token_works_nobody_notices_an_outage(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.lifetime = 2
    config = config_for(upstream, authorization, QUICK)
    async with running(config) as daemon:
        await send(port_of(daemon))
        await asyncio.sleep(1.7)  # into the window before expiry
        await authorization.stop()
        for _ in range(3):
            assert (await send(port_of(daemon))).status == 200


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, b"<html>Sign in</html>", ("Content-Type", "text/html")),
        answer(200, b'{"access_token":"CANARY-half', ("Content-Type", "application/json")),
        answer(200, b""),
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
        HANG_UP,
        answer(200, b" " * 12_000_000),
        answer(302, b"", ("Location", "https://elsewhere.example/")),
        answer(200, b'{"access_token":"CANARY a\\r\\nX: y","expires_in":60}'),
        b"not HTTP at all\r\n\r\n",
    ],
    ids=[
        "html",
        "half-json",
        "nothing",
        "half-an-answer",
        "hang-up",
        "12-MB",
        "redirect",
        "control-characters",
        "garbage",
    ],
)
async def test_whatever_the_token_endpoint_answers_the_session_is_kept_unless_refused(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, reply: bytes
) -> None:
    async with running(config_for(upstream, authorization, QUICK)) as daemon:
        await send(port_of(daemon))
        authorization.expire()
        authorization.script.extend([reply] * 50)
        told = await send(port_of(daemon))
        assert told.status == 401
        reason = told["Reauth-Signal"].removeprefix("logout;reason=")
        authorization.script.clear()
        if b"CANARY a" in reply:
            assert reason == "refresh_denied"  # parses, and holds no usable token
            return
        assert reason == "refresh_unavailable"
        async with asyncio.timeout(10):
            while (await send(port_of(daemon))).status != 200:
                await asyncio.sleep(0.1)  # the cool-off passes


async def test_a_slow_answer_is_listened_to_and_no_second_call_starts(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    config = config_for(
        upstream, authorization, {"refresh": {"timeout": "100ms", "retry_for": "100ms", "background": False}}
    )
    async with running(config) as daemon:
        await send(port_of(daemon))
        authorization.expire()
        authorization.open.clear()
        assert (await send(port_of(daemon)))["Reauth-Signal"] == "logout;reason=refresh_unavailable"
        assert (await send(port_of(daemon))).status == 401
        assert len(authorization.calls) == 2
        authorization.open.set()
        while daemon.session.generation < 2:
            await asyncio.sleep(0)
        assert (await send(port_of(daemon))).status == 200
        assert len(authorization.calls) == 2
        assert not authorization.reuse_detected


async def test_a_request_waits_no_longer_than_park_timeout(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.open.clear()
    async with running(config_for(upstream, authorization, {"refresh": {"park_timeout": "50ms"}})) as daemon:
        told = await send(port_of(daemon))
        assert (told.status, told.json()["code"]) == (503, "refresh_timeout")
        assert "Retry-After" in told
        authorization.open.set()


async def test_beyond_max_parked_the_answer_comes_at_once(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.open.clear()
    async with running(config_for(upstream, authorization, {"refresh": {"max_parked": 2}})) as daemon:
        asking = [asyncio.create_task(send(port_of(daemon))) for _ in range(2)]
        while daemon.session.parked < 2:
            await asyncio.sleep(0)
        told = await send(port_of(daemon))
        assert (told.status, told.json()["code"]) == (503, "too_many_parked")
        authorization.open.set()
        assert [found.status for found in await asyncio.gather(*asking)] == [200, 200]


async def test_an_upstream_that_is_not_there_is_a_clear_502(authorization: FakeAuthorizationServer) -> None:
    async with FakeUpstream(authorization) as gone:
        pass
    async with running(config_for(gone, authorization)) as daemon:
        told = await send(port_of(daemon))
        assert (told.status, told.json()["code"]) == (502, "upstream_unreachable")
        assert told["Proxy-Status"].startswith("reauth-proxy; error=destination_unavailable")
        assert daemon.session.generation == 1, "the session is not touched"
