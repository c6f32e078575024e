"""An upstream that keeps the exact bytes of what it received, and answers with exact bytes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.fakes.arrivals import Arrivals, Gate
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import parse_fields, read_content

BEARER = 'Bearer realm="api", error="invalid_token"'


@dataclass
class Received:
    """One request, byte for byte."""

    line: bytes
    fields: list[tuple[str, str]]
    content: bytes = b""

    @property
    def method(self) -> str:
        return self.line.split(b" ")[0].decode()

    @property
    def target(self) -> str:
        return self.line.split(b" ")[1].decode("latin-1")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found.lower() == name.lower()]

    @property
    def token(self) -> str | None:
        """The bearer token that it brought."""
        authorization = self.values("authorization")
        return authorization[0].removeprefix("Bearer ") if authorization else None


class Exchange:
    """One request and the connection to answer it on."""

    def __init__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        self.received = received
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(
        self, status: int = 200, content: bytes = b"", *fields: tuple[str, str], reason: str = "Whatever"
    ) -> None:
        """Answer with Content-Length; HEAD, 204 and 304 get no content."""
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields)]
        if status not in (204, 304):
            lines.append(f"Content-Length: {len(content)}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        bodiless = self.received.method == "HEAD" or status in (204, 304)
        await self.send(head if bodiless else head + content)

    def close(self) -> None:
        self._writer.close()


Behaviour = Callable[[Exchange], Awaitable[None]]


class FakeUpstream:
    """Wants a valid bearer token on each path but /public; echoes unless something else is asked of it.

    =================  ==================================================================
    /status/418        that status
    /big/1000000       so many bytes
    /held/…            waits for :meth:`release`, then looks at the token, then echoes
    /stream            an event stream: each item put into `events` is one chunk; None ends it
    /half              announces 100 bytes, sends 10, closes
    /drop              closes without a byte
    =================  ==================================================================

    `on[path]` replaces what a path does.
    """

    def __init__(self, authorization: FakeAuthorizationServer, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.requests: list[Received] = []
        self.rejected = 0
        self.challenge: str | None = BEARER
        self.reject_status = 401
        #: Reject every token.
        self.rejects_all = False
        self.gate = Gate()
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.on: dict[str, Behaviour] = {}
        #: Connections open now, and ever.
        self.open = 0
        self.accepted = 0
        self.port = 0
        self._authorization = authorization
        self._arrivals = Arrivals()
        self._rejections = Arrivals()
        self._ended = Arrivals()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def count(self) -> int:
        return len(self.requests)

    async def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=1 << 20, backlog=1024, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close_listener(self) -> None:
        """Refuse connections until :meth:`start`, and end those there are."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def stop(self) -> None:
        self.gate.release()
        self.close_listener()
        while self.open:
            await asyncio.sleep(0)

    def hold(self) -> None:
        """Let requests for /held arrive, and wait."""
        self.gate.hold()

    def release(self) -> None:
        self.gate.release()

    async def arrived(self, number: int) -> None:
        """Return once so many requests have arrived since the start."""
        await self._arrivals.reached(number)

    async def refused(self, number: int) -> None:
        """Return once so many tokens have been rejected since the start."""
        await self._rejections.reached(number)

    async def closed(self, number: int) -> None:
        """Return once so many connections have ended since the start."""
        await self._ended.reached(number)

    def seen(self, path: str) -> list[Received]:
        """Return the requests for a path."""
        return [received for received in self.requests if received.path == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.accepted += 1
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._one(reader, writer)
        finally:
            writer.close()
            self._writers.discard(writer)
            self.open -= 1
            self._ended.add()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        received = Received(head.partition(b"\r\n")[0], parse_fields(head))
        exchange = Exchange(received, writer)
        if received.values("expect"):
            if not self._accepts(received):
                await self._reject(exchange, ("Connection", "close"))
                writer.close()
                return
            await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        received.content = await read_content(reader, received.fields, until_closed=False)
        self.requests.append(received)
        self._arrivals.add()
        if received.path.startswith("/held"):
            await self.gate.passed()
        if self._accepts(received):
            await self._behave(exchange)
        else:
            await self._reject(exchange)

    def _accepts(self, received: Received) -> bool:
        if received.path.startswith("/public"):
            return True
        return not self.rejects_all and received.token is not None and self._authorization.valid(received.token)

    async def _reject(self, exchange: Exchange, *fields: tuple[str, str]) -> None:
        self.rejected += 1
        challenge = [("WWW-Authenticate", self.challenge)] if self.challenge is not None else []
        kind = ("Content-Type", "text/plain")
        await exchange.answer(self.reject_status, b"the upstream's own 401", *challenge, kind, *fields)
        self._rejections.add()

    async def _behave(self, exchange: Exchange) -> None:
        path = exchange.received.path
        _, first, *rest = path.split("/")
        if path in self.on:
            await self.on[path](exchange)
        elif first == "status":
            await exchange.answer(int(rest[0]), b"as you wish")
        elif first == "big":
            await exchange.answer(200, b"x" * int(rest[0]))
        elif first == "stream":
            await self._stream(exchange)
        elif first == "half":
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
            exchange.close()
        elif first == "drop":
            exchange.close()
        else:
            await exchange.answer(200, echo(exchange.received), ("Content-Type", "application/json"), reason="OK")

    async def _stream(self, exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await exchange.send(head)
        while (event := await self.events.get()) is not None:
            await exchange.send(b"%x\r\n%s\r\n" % (len(event), event))
        await exchange.send(b"0\r\n\r\n")


def echo(received: Received) -> bytes:
    """What an echo answers: the request without its token, which must not come back to a client."""
    shown: dict[str, Any] = {
        "line": received.line.decode("latin-1"),
        "fields": [[name, value] for name, value in received.fields if name.lower() != "authorization"],
        "authorized": received.token is not None,
        "size": len(received.content),
        "sha256": hashlib.sha256(received.content).hexdigest(),
    }
    return json.dumps(shown).encode()


@asynccontextmanager
async def upstream_server(
    authorization: FakeAuthorizationServer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FakeUpstream]:
    """Run one."""
    upstream = FakeUpstream(authorization, tls)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()
