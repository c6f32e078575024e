"""Killed in the middle of whatever it does: no core, nothing readable left, and it starts again."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.canary.stage import CLIENT, Exercised, exercised
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import RawClient, connect
from tests.fakes.upstream import Exchange, FakeUpstream

pytestmark = pytest.mark.process

#: How a process may end that was not asked: crashed, killed.
CRASHES = [
    pytest.param(signal.SIGABRT, id="abort"),
    pytest.param(signal.SIGKILL, id="kill", marks=pytest.mark.slow),
    pytest.param(signal.SIGSEGV, id="segfault", marks=pytest.mark.slow),
]
#: What it was asked to do when it ended.
PHASES = ["refresh", "parked", "upload", "stream", "tunnel", "idle", "drain"]


async def begin(
    phase: str, daemon: Exercised, authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> RawClient:
    """Bring a daemon into the middle of something; return the client that waits for it."""
    client = await connect(daemon.url)
    calls, requests = authorization.count + 1, upstream.count + 1
    if phase == "refresh":
        authorization.revoke_access()
        authorization.hold()
        await client.request("/status/200", fields=CLIENT)
        await authorization.arrived(calls)
    elif phase == "parked":  # with content on disk
        authorization.revoke_access()
        authorization.hold()
        await client.request("/status/200", method="POST", fields=CLIENT, content=b"CANARY" * 20_000)
        await authorization.arrived(calls)
    elif phase == "upload":
        await client.send(
            b"POST /status/200 HTTP/1.1\r\nHost: localhost\r\nCookie: CANARY\r\nContent-Length: 9000\r\n\r\n"
        )
        await client.send(b"CANARY" * 1000)
        # It has been read when another request on another connection is answered.
        await daemon.ask()
    elif phase == "stream":
        await upstream.events.put(b"data: CANARY\n\n")
        await client.request("/stream", fields=CLIENT)
        await client.reader.readuntil(b"CANARY")
    elif phase == "tunnel":
        upstream.on["/ws"] = switch
        upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        await client.request("/ws", fields=[*CLIENT, *upgrade])
        await client.head()
    elif phase == "drain":
        upstream.hold()
        await client.request("/held", fields=CLIENT)
        await upstream.arrived(requests)
        daemon.signal(signal.SIGTERM)
        await daemon.logged("server.draining")
    return client


async def switch(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("phase", PHASES)
async def test_killed_in_the_middle_it_leaves_nothing_for_others(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, phase: str, crash: signal.Signals
) -> None:
    async with exercised(tmp_path, authorization, upstream, drain_timeout="20s") as daemon:
        assert (await daemon.ask()).status == 200
        async with await begin(phase, daemon, authorization, upstream):
            daemon.look()
            daemon.signal(crash)
            assert await daemon.ended() == -crash
        daemon.inspect()
        authorization.release()
        upstream.release()
        upstream.events.put_nowait(None)
        await daemon.start()
        daemon.look()


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize(
    ("place", "passed"),
    [("rename", 1), ("rename", 4), ("flush", 2), ("start", 0), ("reload", 1)],
    ids=["first save", "second save", "flush", "start", "reload"],
)
async def test_killed_while_it_holds_secrets_on_their_way_it_leaves_nothing_for_others(
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    tmp_path: Path,
    place: str,
    passed: int,
    crash: signal.Signals,
) -> None:
    """Saves, a start and a reload are held where secrets are half where they belong.

    A refresh has three renames: its mark's, the save's, and the second copy's.
    """
    plain = (sys.executable, "-m", "reauth_proxy")
    async with exercised(tmp_path, authorization, upstream) as daemon:
        await daemon.kill()
        daemon.command = (sys.executable, "-m", "tests.fakes.held", place)
        daemon.environ["HELD_AFTER"] = str(passed)
        asking: asyncio.Task[object] | None = None
        if place == "start":
            await daemon.launch()
        else:
            await daemon.start()
            for _ in range(passed // 3 + 1 if place == "rename" else 0):
                if asking is not None:
                    await asking
                authorization.revoke_access()
                asking = asyncio.create_task(daemon.ask())
            if place == "flush":
                authorization.revoke_access()
                asking = asyncio.create_task(daemon.ask())
            if place == "reload":
                daemon.signal(signal.SIGHUP)
        await daemon.logged("test.held")
        daemon.look()
        daemon.signal(crash)
        assert await daemon.ended() == -crash
        if asking is not None:
            await asyncio.gather(asking, return_exceptions=True)
        daemon.inspect()
        daemon.command = plain
        await daemon.start()
