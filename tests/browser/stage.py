"""A proxy, an upstream that answers everything that a page may ask for, and servers of pages."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from tests.browser.attempts import SECRET, Attempt, Kind, expression
from tests.browser.chromium import Browser, Page, ScriptFailed
from tests.fakes.authorization import authorization_server
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.upstream import Behaviour, Exchange, FakeUpstream, upstream_server

#: Where a name that was rebound leads: another loopback address, so that the port can be the proxy's.
REBOUND: Final = "127.0.0.3"
EMPTY_PAGE: Final = b"<!doctype html><title>page</title><link rel=icon href='data:,'><body></body>"

CONTENT: Final[dict[Kind, tuple[str, bytes]]] = {
    "text": ("text/plain", SECRET.encode()),
    "page": ("text/html", f"<!doctype html><body>{SECRET}</body>".encode()),
    "script": (
        "text/javascript",
        f"self.leaked = '{SECRET}'; self.DedicatedWorkerGlobalScope && postMessage('{SECRET}');".encode(),
    ),
    "style": ("text/css", f"body {{ --leaked: {SECRET} }}".encode()),
    "image": ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>'),
    "events": ("text/event-stream", f"data: {SECRET}\n\n".encode()),
}
_WEBSOCKET: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def serving(kind: Kind) -> Behaviour:
    """Return what the upstream does on a path with this kind of content."""

    async def answer(exchange: Exchange) -> None:
        media_type, content = CONTENT[kind]
        await exchange.answer(200, content, ("Content-Type", media_type), ("Cache-Control", "no-store"))

    async def upgrade(exchange: Exchange) -> None:
        """Accept (RFC 6455 section 4.2.2), say one message, close."""
        key = exchange.received.values("sec-websocket-key")[0].encode()
        accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET).digest())
        head = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        )
        chosen = b"".join(
            b"\r\nSec-WebSocket-Protocol: " + v.encode() for v in exchange.received.values("sec-websocket-protocol")
        )
        message = b"\x81" + bytes([len(SECRET)]) + SECRET.encode()
        await exchange.send(head + accept + chosen + b"\r\n\r\n" + message + b"\x88\x02\x03\xe8")
        exchange.close()

    return upgrade if kind == "websocket" else answer


async def page_server(request: web.BaseRequest) -> web.StreamResponse:
    """Answer as the server of a page that is up to something."""
    fields = {"Connection": "close"}
    if request.path == "/redirect":
        fields["Location"] = request.query["to"]
        return web.Response(status=int(request.query["status"]), headers=fields)
    if request.path == "/reporting":
        fields["Content-Security-Policy"] = f"img-src 'none'; report-uri {request.query['to']}"
        return web.Response(text="<img src=/x.png>", content_type="text/html", headers=fields)
    return web.Response(body=EMPTY_PAGE, content_type="text/html", headers=fields)


class Switch:
    """A name's address as far as a browser can tell: first the page's server, then the proxy.

    A rebound name changes where new connections lead. Here the address stays and what is behind it changes, which is
    the same to the browser and to the proxy.
    """

    def __init__(self) -> None:
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def lead_to(self, port: int) -> None:
        """Lead to another port; connections that there are, a browser's spare ones too, end."""
        self._port = port
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
                await asyncio.gather(self._pipe(reader, far_writer), self._pipe(far_reader, writer))
        finally:
            self._writers.discard(writer)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass
class Stage:
    """Everything that a test of a page needs."""

    browser: Browser
    upstream: FakeUpstream
    daemon: RunningDaemon
    pages: int
    switch: Switch
    number: int = 0

    @property
    def proxy_port(self) -> int:
        return int(self.daemon.url.rpartition(":")[2])

    def path(self, attempt: Attempt, *, public: bool = False) -> str:
        """Return a path that no other attempt has, and let the upstream serve it."""
        self.number += 1
        path = f"/{'public' if public else 'private'}/{attempt.name}/{self.number}"
        self.upstream.on[path] = serving(attempt.kind)
        return path

    @asynccontextmanager
    async def page_at(self, origin: str) -> AsyncIterator[Page]:
        """Open an empty page of an origin."""
        async with self.browser.page() as page:
            await page.visit(f"{origin}/")
            yield page

    async def make(self, page: Page, attempt: Attempt, target: str) -> str:
        """Let a page make an attempt; return what it has read."""
        try:
            found = await page.run(expression(attempt, target, f"http://127.0.0.1:{self.pages}"))
        except ScriptFailed:
            if not attempt.navigates:
                raise
            return ""  # the page was gone before its script had ended
        assert isinstance(found, str), found
        return found

    async def judged(self, path: str, number: int) -> list[dict[str, Any]]:
        """Return the proxy's access log lines for a path, once there are so many."""
        await self.daemon.log.until(lambda: len(self._lines(path)) >= number)
        return self._lines(path)

    def _lines(self, path: str) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in self.daemon.log.getvalue().splitlines() if path in line)
        return [line for line in lines if line["event"] == "request.finished"]


@asynccontextmanager
async def staged(browser: Browser, **overrides: Any) -> AsyncIterator[Stage]:
    """Run the servers around a browser. ``PAGES`` in ``access.origins`` stands for the port of the server of pages."""
    pages = web.Server(page_server, access_log=None)
    loop = asyncio.get_running_loop()
    served = await loop.create_server(pages, "127.0.0.1", 0)
    port = served.sockets[0].getsockname()[1]
    access = dict(overrides.pop("access", {}))
    if "origins" in access:
        access["origins"] = [origin.replace("PAGES", str(port)) for origin in access["origins"]]
    async with (
        authorization_server() as authorization,
        upstream_server(authorization) as upstream,
        running_daemon(authorization, upstream, access=access, **overrides) as daemon,
    ):
        upstream.on["/"] = home
        switch = Switch()
        stage = Stage(browser, upstream, daemon, port, switch)
        rebound = await asyncio.start_server(switch.serve, REBOUND, stage.proxy_port)
        try:
            yield stage
        finally:
            rebound.close()
            served.close()
            await pages.shutdown(1.0)


async def home(exchange: Exchange) -> None:
    """Answer with an empty page."""
    await exchange.answer(200, EMPTY_PAGE, ("Content-Type", "text/html"))
