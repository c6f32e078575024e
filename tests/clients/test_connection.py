"""A client's connection without a socket: what it reads, and when it reads on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.clients.limits import READ_BUFFER, Limits
from reauth_proxy.clients.writing import CLOSED, OPEN, Sent
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
        self.closed = False

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

    async def handle(self, request: Request, connection: ClientConnection) -> Sent:
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
