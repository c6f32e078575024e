"""One upstream connection: what it takes for an answer, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from reauth_proxy.errors import UpstreamMalformed, UpstreamTimeout
from reauth_proxy.upstream.broken import ConnectionBroken
from reauth_proxy.upstream.connection import Connection
from reauth_proxy.upstream.deadlines import Deadlines
from reauth_proxy.upstream.dial import Origin, dial
from tests.fakes.arrivals import until
from tests.upstream.peers import RawPeer, raw_peer

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Pair:
    """A connection and the peer's end of it."""

    def __init__(self, peer: RawPeer) -> None:
        self.peer = peer
        self.lost = asyncio.Event()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.connection = await dial(
            Origin("127.0.0.1", self.peer.port),
            lambda: Connection(loop, lambda _: self.lost.set(), 5, Deadlines(loop)),
            5,
        )
        self.reader, self.writer = await self.peer.accepted.get()

    async def exchange(self, answer: bytes, *, head: bool = False, eof: bool = False) -> Connection:
        self.connection.begin(GET, head=head)
        await self.reader.readuntil(b"\r\n\r\n")
        self.writer.write(answer)
        if eof:
            self.writer.close()
        await self.connection.response()
        return self.connection

    async def content(self) -> bytes:
        found = b""
        while data := await self.connection.body.read():
            found += data
        return found


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with raw_peer() as peer:
        pair = Pair(peer)
        await pair.open()
        yield pair
        pair.connection.close()
        pair.writer.close()
        await pair.lost.wait()


async def test_an_answer_with_a_length_is_read_whole_and_the_connection_serves_again(pair: Pair) -> None:
    for number in range(3):
        got = await pair.exchange(b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\nhello")
        assert (got.status, got.reason, got.fields) == (200, b"OK", [(b"A", b"b"), (b"Content-Length", b"5")])
        assert await pair.content() == b"hello"
        assert got.complete
        assert got.reusable
        assert got.exchanges == number + 1


async def test_a_chunked_answer_is_read_without_its_framing(pair: Pair) -> None:
    got = await pair.exchange(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: r\r\n\r\n"
    )
    assert await pair.content() == b"abcde"
    assert got.length is None
    assert got.reusable


async def test_an_answer_may_come_one_byte_at_a_time(pair: Pair) -> None:
    pair.connection.begin(GET, head=False)
    for byte in b"HTTP/1.1 404 Not Here\r\nX: 1\r\nContent-Length: 2\r\n\r\nok":
        pair.writer.write(bytes([byte]))
        await pair.writer.drain()
    await pair.connection.response()
    assert (pair.connection.status, pair.connection.reason) == (404, b"Not Here")
    assert await pair.content() == b"ok"


async def test_rfc9112_6_3_an_answer_without_a_length_ends_with_the_connection(pair: Pair) -> None:
    got = await pair.exchange(b"HTTP/1.1 200 OK\r\n\r\nall of it", eof=True)
    assert await pair.content() == b"all of it"
    assert got.complete
    assert not got.reusable


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 10\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", b"Content-Length: 1\r\n\r\n"],
)
async def test_half_an_answer_is_never_a_whole_one(pair: Pair, head: bytes) -> None:
    await pair.exchange(b"HTTP/1.1 200 OK\r\n" + head, eof=True)
    with pytest.raises(ConnectionBroken) as broken:
        await pair.content()
    assert not broken.value.stale


@pytest.mark.parametrize("exchanges", [0, 1])
async def test_a_kept_connection_closed_without_a_byte_is_told_apart(pair: Pair, exchanges: int) -> None:
    pair.connection.exchanges = exchanges
    pair.connection.begin(GET, head=False)
    pair.writer.close()
    with pytest.raises(ConnectionBroken) as broken:
        await pair.connection.response()
    assert broken.value.stale is (exchanges > 0)


async def test_rfc9110_9_3_2_the_answer_to_a_head_has_no_content_and_keeps_the_connection(pair: Pair) -> None:
    got = await pair.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", head=True)
    assert (got.length, got.bodiless, got.complete) == (500, True, True)
    got = await pair.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert await pair.content() == b"ok"


@pytest.mark.parametrize("status", [204, 304])
async def test_rfc9112_6_3_some_answers_have_no_content(pair: Pair, status: int) -> None:
    got = await pair.exchange(b"HTTP/1.1 %d X\r\n\r\n" % status)
    assert got.bodiless
    assert got.complete
    assert await pair.content() == b""
    assert got.reusable


async def test_rfc9110_15_2_interim_answers_are_skipped(pair: Pair) -> None:
    got = await pair.exchange(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n"
    )
    assert got.continued
    assert (got.status, got.fields) == (200, [(b"A", b"b"), (b"Content-Length", b"0")])


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nA: b\x01c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 40,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 600 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000,
    ],
)
async def test_what_could_be_read_two_ways_is_refused_and_the_connection_dropped(pair: Pair, answer: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        await pair.exchange(answer)
    assert pair.connection.closed
    await pair.lost.wait()


async def test_bytes_after_the_end_of_an_answer_never_reach_the_next_request(pair: Pair) -> None:
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    got = await pair.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + stray)
    assert await pair.content() == b"ok"
    assert not got.reusable
    await pair.lost.wait()


async def test_bytes_on_an_idle_connection_close_it(pair: Pair) -> None:
    await pair.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    pair.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await pair.lost.wait()
    assert pair.connection.closed


async def test_the_header_section_has_a_deadline(pair: Pair) -> None:
    pair.connection.begin(GET, head=False)
    pair.connection.start_clock(0.05)
    with pytest.raises(UpstreamTimeout):
        await pair.connection.response()
    assert pair.connection.closed


async def test_an_unread_answer_makes_the_upstream_wait(pair: Pair) -> None:
    size = 8 * 1024 * 1024
    await pair.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    pair.writer.write(b"x" * size)
    while not pair.connection.body.paused:
        await asyncio.sleep(0)
    assert pair.connection.body._waiting < 1024 * 1024
    assert len(await pair.content()) == size


async def test_a_slow_upstream_makes_the_sender_wait(pair: Pair) -> None:
    pair.connection.begin(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\n", head=False)
    pair.connection.write(b"x" * 16_777_216)
    drained = asyncio.create_task(pair.connection.drain())
    await asyncio.sleep(0)
    assert not drained.done()
    await pair.reader.readuntil(b"\r\n\r\n")
    await pair.reader.readexactly(16_777_216)
    await drained


async def test_close_lets_go_of_whoever_waits(pair: Pair) -> None:
    pair.connection.begin(GET, head=False)
    waiting = asyncio.create_task(pair.connection.response())
    await asyncio.sleep(0)
    pair.connection.fail(ConnectionBroken("Gone.", stale=True))
    with pytest.raises(ConnectionBroken):
        await waiting


async def test_content_taken_without_waiting_lets_more_come(pair: Pair) -> None:
    pair.connection.begin(GET, head=False)
    size = 4_000_000
    pair.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    await pair.connection.response()
    await until(lambda: pair.connection.body.paused)
    taken = len(pair.connection.body.take())
    async with asyncio.timeout(5):
        while data := await pair.connection.body.read():
            taken += len(data)
    assert taken == size
