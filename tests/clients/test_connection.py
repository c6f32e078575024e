"""A client's connection without a socket: what it reads, and when it reads on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from reauth_proxy.clients import connection, listener
from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.clients.limits import READ_BUFFER, Limits
from reauth_proxy.clients.writing import CLOSED, OPEN, Sent
from reauth_proxy.http1.body import NOTHING
from reauth_proxy.http1.outbox import Outbox
from reauth_proxy.http1.request import Request
from tests.fakes.arrivals import until

GET = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"


def post(size: int) -> bytes:
    return b"POST /first HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size)


class Wire(asyncio.Transport):
    """Notes whether anybody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True
        self.closed = self.ended = False
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def get_protocol(self) -> Any:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Client:
    """One connection, whose requests are answered as `sent` says once the gate is open."""

    def __init__(self, sent: Sent = OPEN) -> None:
        self.gate = asyncio.Event()
        self.answered: list[bytes] = []
        self.sent = sent
        self.wire = Wire()
        self.connection = ClientConnection(set(), self.handle, Limits(), asyncio.get_running_loop())
        self.connection.connection_made(self.wire)

    async def handle(self, request: Request, _: ClientConnection) -> Sent:
        await self.gate.wait()
        self.answered.append(request.target)
        return self.sent


async def test_whole_content_that_nobody_read_does_not_keep_the_next_request_from_being_read() -> None:
    client = Client()
    client.connection.data_received(post(3 * READ_BUFFER))
    assert not client.wire.reading, "it is more than may wait"
    client.gate.set()
    await until(lambda: client.answered == [b"/first"])
    await until(lambda: client.wire.reading)
    client.connection.data_received(GET)
    await until(lambda: client.answered == [b"/first", b"/next"])


@pytest.mark.parametrize("size", [0, 3 * READ_BUFFER])
async def test_what_comes_behind_a_request_waits_and_is_read_on_once_that_is_answered(size: int) -> None:
    client = Client()
    client.connection.data_received(post(size) + GET * 3000)
    assert client.answered == []
    assert not client.wire.reading
    client.gate.set()
    await until(lambda: len(client.answered) == 3001)
    await until(lambda: client.wire.reading)


async def test_the_rest_of_content_that_nobody_wants_is_read_and_then_the_connection_closed() -> None:
    client = Client(CLOSED)
    whole = post(10 * READ_BUFFER)
    client.connection.data_received(whole[: 4 * READ_BUFFER])
    client.gate.set()
    await until(lambda: client.answered == [b"/first"])
    await until(lambda: client.wire.reading)
    assert not client.wire.closed
    client.connection.data_received(whole[4 * READ_BUFFER : -1])
    assert client.wire.reading
    client.connection.data_received(whole[-1:])
    assert client.wire.closed
    client.connection.connection_lost(None)


async def test_whoever_was_refused_and_stays_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER", 0.01)
    client = Client()
    client.connection.data_received(b"\x16\x03\x01")
    assert client.wire.written.startswith(b"HTTP/1.1 400 ")
    assert client.wire.ended
    assert not client.wire.closed, "it may be sending still"
    client.connection.data_received(GET)
    await until(lambda: client.wire.closed)
    assert client.answered == []


async def test_whoever_never_sends_the_rest_of_the_content_is_closed_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "LINGER", 0.01)
    client = Client(CLOSED)
    client.connection.data_received(post(100)[:-1])
    client.gate.set()
    await until(lambda: client.answered == [b"/first"])
    await until(lambda: client.wire.closed)


async def test_a_client_that_waits_for_a_100_is_not_too_slow() -> None:
    client = Client()
    client.connection.data_received(post(100)[:-100])
    client.connection.holding = True
    for now in (0.0, 100.0, 109.0):
        client.connection.sweep(now)
    assert client.connection._body.error is None
    client.connection.holding = False
    client.connection.sweep(120.0)
    assert client.connection._body.error is not None, "it was told to go on"
    client.connection.connection_lost(None)


async def test_a_connection_that_waits_keeps_no_parser_and_no_content() -> None:
    client = Client()
    client.gate.set()
    client.connection.data_received(GET)
    await until(lambda: client.connection.idle)
    client.connection.sweep(asyncio.get_running_loop().time())
    assert client.connection._reader is None
    assert client.connection._body is NOTHING
    client.connection.data_received(GET)
    await until(lambda: len(client.answered) == 2)


async def test_who_has_been_idle_for_long_may_have_sent_a_request_when_draining_begins() -> None:
    front = listener.Listener(Client().handle, Limits())
    wire, idle = Wire(), front()
    assert isinstance(idle, ClientConnection)
    idle.connection_made(wire)
    idle._idle_since -= 1000
    draining = asyncio.create_task(front.drained())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not wire.closed
    await until(lambda: wire.closed)
    idle.connection_lost(None)
    await draining
    await front.shutdown(0)


def answers_at_once(request: Request, connection: ClientConnection) -> Sent:
    connection.post(b"ANSWER", Outbox(asyncio.get_running_loop()))
    return OPEN


@pytest.mark.parametrize("then", [lambda it: it.data_received(b"garbage\r\n\r\n"), ClientConnection.close])
async def test_an_answer_that_was_posted_goes_out_before_all_else(
    then: Callable[[ClientConnection], None],
) -> None:
    """A client's next bytes may be read in the turn in which its answer came."""
    wire = Wire()
    client = ClientConnection(set(), answers_at_once, Limits(), asyncio.get_running_loop())
    client.connection_made(wire)
    client.data_received(GET)
    assert wire.written == b"", "it waits for the end of the turn"
    then(client)
    assert wire.written.startswith(b"ANSWER")
    await asyncio.sleep(0)
    assert wire.written.count(b"ANSWER") == 1
