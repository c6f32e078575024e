"""What a hostile upstream answers becomes a 502 or is cut off, and no client ever gets another's answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fakes.arrivals import Arrivals, until
from tests.fakes.client import Answer, RawClient, connect
from tests.raw.replies import EVIL, REPLIES, Reply
from tests.raw.stage import PATIENCE, Stage, staged
from tests.raw.strict import StrictUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEBSOCKET = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]


class HostileUpstream(StrictUpstream):
    """Answers requests for /odd as it was told, and others with their target.

    Attributes:
        dropped: counts connections that the proxy closed after an odd answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reply = Reply("", b"")
        self.dropped = Arrivals()

    async def answer(self, target: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not target.startswith(b"/odd"):
            await super().answer(target, reader, writer)
            return
        reply, dropped = self.reply, self.dropped
        try:
            writer.write(reply.data)
            if reply.ends:
                writer.close()
            while reply.again:
                writer.write(reply.again)
                await writer.drain()
                await asyncio.sleep(0)
            if more := await reader.read():
                self.violations.append(f"the proxy used the connection again: {more!r}")
        finally:
            dropped.add()
        raise ConnectionResetError


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with staged(HostileUpstream()) as running:
        yield running


async def asks(client: RawClient, reply: Reply) -> Answer | None:
    """Return the answer, or None if it never becomes whole."""
    method = "HEAD" if reply.asked == "HEAD" else "GET"
    try:
        async with asyncio.timeout(PATIENCE):
            await client.request("/odd", method=method, fields=WEBSOCKET if reply.asked == "websocket" else ())
            return await client.answer(to=method)
    except (ConnectionError, asyncio.IncompleteReadError):
        return None


async def own(client: RawClient, target: str) -> None:
    """A good request gets its own answer."""
    async with asyncio.timeout(PATIENCE):
        await client.request(target)
        answer = await client.answer()
    assert (answer.status, answer.content) == (200, target.encode())


@pytest.mark.parametrize("reply", [pytest.param(reply, id=reply.name) for reply in REPLIES])
async def test_a_hostile_answer_does_no_harm(stage: Stage, reply: Reply) -> None:
    upstream = stage.upstream
    assert isinstance(upstream, HostileUpstream)
    upstream.reply, upstream.dropped = reply, Arrivals()
    async with await connect(f"http://127.0.0.1:{stage.port}") as client:
        answer = await asks(client, reply)
        if answer is None:
            assert reply.cut, "the client was left without an answer"
        elif reply.served is not None:
            assert answer.status in (200, 204, 304)
            assert answer.content == reply.served
        else:
            assert answer.status == 502, answer
            if reply.asked != "HEAD":
                assert json.loads(answer.content)["code"] in reply.codes
        async with asyncio.timeout(PATIENCE):
            await upstream.dropped.reached(1)
        if answer is not None and answer.value("Connection") != "close":
            await own(client, "/good/on-the-same-connection")
    async with await connect(f"http://127.0.0.1:{stage.port}") as client:
        await own(client, "/good/on-a-new-connection")
    tries = 1 if reply.data or reply.again else 2  # a kept-alive connection that is closed without a byte was stale
    assert upstream.dropped.count <= tries
    upstream.seen.clear()
    stage.calm()


async def test_an_answer_to_nobody_on_an_idle_connection_is_given_to_nobody(stage: Stage) -> None:
    async with await connect(f"http://127.0.0.1:{stage.port}") as client:
        for number in range(10):
            await own(client, f"/good/{number}")
            for writer in list(stage.upstream.writers):
                writer.write(EVIL)
            await until(lambda: not stage.upstream.open)
    stage.calm()


async def test_an_answer_that_comes_with_the_end_of_the_one_before_is_given_to_nobody(stage: Stage) -> None:
    """Ten clients at once, so that each connection would have somebody to take it."""
    assert isinstance(stage.upstream, HostileUpstream)
    stage.upstream.reply = Reply("", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + EVIL)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await connect(f"http://127.0.0.1:{stage.port}")) for _ in range(10)]
        for _ in range(5):
            answers = await asyncio.gather(*(asks(client, stage.upstream.reply) for client in clients))
            assert [answer.content for answer in answers if answer is not None] == [b"hello"] * 10
            await asyncio.gather(*(own(client, f"/good/{number}") for number, client in enumerate(clients)))
    stage.calm()
