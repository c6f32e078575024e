"""`python -m bench.echo PORT`: the origin of what lasts: WebSocket tunnels, event streams, slow content.

Raw protocol code on uvloop that costs little, so that the proxy before it is what is measured.

===========  ===========================================================================
GET /ws      a WebSocket (RFC 6455) that echoes every message
GET /events  an event stream: the monotonic clock in nanoseconds, every EVENT_INTERVAL
any other    reads the content, and answers `ok`
===========  ===========================================================================
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import random
import re
import sys
import time

import uvloop

from bench.origin import TOKEN

EVENT_INTERVAL = 0.1
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BEARER = b"\r\nauthorization: bearer " + TOKEN.encode() + b"\r\n"
_FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
# X-Accel-Buffering: nginx keeps a stream back without it.
_EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def accept(key: bytes) -> bytes:
    """Return what answers a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID).digest())


def masked(message: bytes, mask: bytes) -> bytes:
    """Return a client's frame for a binary message of at most 125 bytes."""
    return bytes([0x82, 0x80 | len(message)]) + mask + _mask(message, mask)


def plain(message: bytes) -> bytes:
    """Return a server's frame for a binary message of at most 125 bytes."""
    return bytes([0x82, len(message)]) + message


def _mask(message: bytes, mask: bytes) -> bytes:
    length = len(message)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(message, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")


class Answering(asyncio.Protocol):
    """One connection from a proxy."""

    def __init__(self) -> None:
        self.rest = b""
        self.skip = 0  # bytes of content to come
        self.tunnel = False
        self.ticking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self.ticking is not None:
            self.ticking.cancel()

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        self.rest = self.echo(data) if self.tunnel else self.answer(data)

    def echo(self, data: bytes) -> bytes:
        """Echo the messages that are there as a whole; return the rest."""
        at = 0
        while len(data) >= at + 6:
            end = at + 6 + (data[at + 1] & 0x7F)
            if len(data) < end:
                break
            if data[at] != 0x82 or data[at + 1] & 0x7F > 125:
                self.transport.abort()  # a close, or what nobody here sends
                return b""
            self.transport.write(plain(_mask(data[at + 6 : end], data[at + 2 : at + 6])))
            at = end
        return data[at:]

    def answer(self, data: bytes) -> bytes:
        """Answer the requests that are there as a whole; return the rest."""
        while data:
            if self.skip:
                gone = min(self.skip, len(data))
                self.skip -= gone
                data = data[gone:]
                if not self.skip:
                    self.transport.write(_OK)
                continue
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                return data
            data = rest
            self.one(head + b"\r\n")
            if self.tunnel:
                return self.echo(data)
        return b""

    def one(self, head: bytes) -> None:
        """Act on one header section."""
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", head)
        key = re.search(rb"(?i)\r\nsec-websocket-key: (\S+)\r\n", head)
        if _BEARER not in head.lower():
            self.transport.write(_FORBIDDEN)
            self.transport.close()
        elif head.startswith(b"GET /ws ") and key:
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept(key[1])
            )
            self.tunnel = True
        elif head.startswith(b"GET /events "):
            self.transport.write(_EVENTS)
            # Each stream at a moment of its own: a herd would measure the queue.
            self.next_event(random.random() * EVENT_INTERVAL)
        elif length and int(length[1]):
            self.skip = int(length[1])
        else:
            self.transport.write(_OK)

    def next_event(self, delay: float) -> None:
        self.ticking = asyncio.get_running_loop().call_later(delay, self.tick)

    def tick(self) -> None:
        event = b"data: %d\n\n" % time.monotonic_ns()
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.next_event(EVENT_INTERVAL)


async def serve(port: int) -> None:
    """Answer until the end."""
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
