"""One client, the daemon, one upstream: the test writes and reads every byte at both ends."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import datetime
import shutil
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from tempfile import mkdtemp
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.authorization import FakeAuthorizationServer, authorization_server
from tests.fakes.client import Answer, RawClient, connect, parse_fields, read_content
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.upstream import Received

#: Longer than anything here takes, in seconds: what never comes fails a test soon.
PATIENCE = 4.0
#: How long nothing may come before a test believes that nothing will.
SILENCE = 0.05

Field = tuple[str, str]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def response(
    content: bytes = b"", *fields: Field, status: str = "200 OK", version: str = "HTTP/1.1", length: bool = True
) -> bytes:
    """Return a response with these fields, and with Content-Length unless `length` is false."""
    lines = [f"{version} {status}", *(f"{name}: {value}" for name, value in fields)]
    if length:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return content in the chunked coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


def chunked_response(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a 200 in the chunked coding."""
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(*parts, end=end)


class End:
    """The upstream's end of one connection from the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """Read one request's header section."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> Received:
        """Read one request as a whole."""
        head = await self.head()
        received = Received(head.partition(b"\r\n")[0], parse_fields(head))
        async with asyncio.timeout(PATIENCE):
            received.content = await read_content(self.reader, received.fields, until_closed=False)
        return received

    async def rest(self) -> bytes:
        """Read to the end of the connection, however it ends."""
        return await rest(self.reader)

    async def closed(self) -> None:
        """Wait until the proxy has closed or reset the connection."""
        await self.rest()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with RST."""
        reset(self.writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST."""
    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Read to the end of a connection, however it ends."""
    found = bytearray()
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                found += data
    return bytes(found)


async def ends_in_reset(reader: asyncio.StreamReader) -> bool:
    """Read to the end of a connection; tell whether that was a reset."""
    async with asyncio.timeout(PATIENCE):
        try:
            while await reader.read(1 << 20):
                pass
        except ConnectionResetError:
            return True
    return False


async def is_silent(reader: asyncio.StreamReader) -> bool:
    """Tell whether a connection stays open, and nothing comes, for a while."""
    reading = asyncio.ensure_future(reader.read(1))
    done, _ = await asyncio.wait([reading], timeout=SILENCE)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
        await reading
    return not done


class Upstream:
    """Hands each connection that it accepts to the test."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[End] = asyncio.Queue()
        self.ends: list[End] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self.ends)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = End(reader, writer)
        self.ends.append(end)
        self.waiting.put_nowait(end)


class Wire:
    """What a test holds in its hands."""

    def __init__(self, daemon: RunningDaemon, authorization: FakeAuthorizationServer, upstream: Upstream) -> None:
        self.daemon = daemon
        self.authorization = authorization
        self.served = upstream
        self.host = urlsplit(daemon.url).netloc
        self.clients: list[RawClient] = []

    def request(self, line: str = "GET / HTTP/1.1", *fields: Field, content: bytes = b"") -> bytes:
        """Return a request with a Host; Content-Length is set where there is content."""
        lines = [line, f"Host: {self.host}", *(f"{name}: {value}" for name, value in fields)]
        if content:
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content

    async def client(self, data: bytes = b"") -> RawClient:
        """Connect, and send `data`."""
        client = await connect(self.daemon.url)
        self.clients.append(client)
        if data:
            client.writer.write(data)
        return client

    async def upstream(self) -> End:
        """Return the next connection that the proxy made."""
        async with asyncio.timeout(PATIENCE):
            return await self.served.waiting.get()

    async def next_request(self, end: End) -> tuple[End, Received]:
        """Return the next request, which may come on a connection that there is or on a new one."""
        here, there = asyncio.ensure_future(end.request()), asyncio.ensure_future(self.upstream())
        await asyncio.wait([here, there], return_when=asyncio.FIRST_COMPLETED)
        if here.done() and here.exception() is None:
            there.cancel()
            return end, here.result()
        again = await there
        here.cancel()
        await asyncio.wait([here])
        return again, await again.request()

    async def warm(self) -> End:
        """Return a kept connection: one exchange has passed on it, and the proxy has put it aside."""
        client, end = await self.client(self.request()), await self.upstream()
        await end.request()
        await end.send(OK)
        await final(client)
        client.close()
        return end

    async def pass_request(self, data: bytes) -> Received:
        """Send a request, and return it as the upstream got it; the answer is 200."""
        client, end = await self.client(data), await self.upstream()
        received = await end.request()
        await end.send(OK)
        assert (await final(client)).status == 200
        return received

    async def pass_response(self, data: bytes, request: bytes | None = None, *, to: str = "GET") -> Answer:
        """Let the upstream answer a request with `data` and nothing more; return the answer as the client got it."""
        client, end = await self.client(request or self.request()), await self.upstream()
        await end.request()
        await end.send(data)
        return await final(client, to=to)

    async def refused(self, data: bytes) -> Answer:
        """Send what must not reach the upstream; return the proxy's own answer."""
        return await self.not_passed(await self.client(data))

    async def not_passed(self, client: RawClient, *, to: str = "GET") -> Answer:
        """Return the proxy's own answer; fail as soon as the upstream hears of the request."""
        answering, arriving = asyncio.ensure_future(final(client, to=to)), asyncio.ensure_future(self.upstream())
        await asyncio.wait([answering, arriving], return_when=asyncio.FIRST_COMPLETED)
        if arriving.done():
            answering.cancel()
            await asyncio.wait([answering])
            raise AssertionError("it went upstream")
        arriving.cancel()
        return await answering


async def final(client: RawClient, *, to: str = "GET") -> Answer:
    """Read the final answer, soon."""
    async with asyncio.timeout(PATIENCE):
        return await client.answer(to=to)


async def head(client: RawClient) -> bytes:
    """Read one header section, soon."""
    async with asyncio.timeout(PATIENCE):
        return await client.head()


@cache
def an_authority() -> str:
    """Return a file with one certificate; to read the system's hundred takes longer than all else of a start."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    file = Path(mkdtemp(prefix="reauth-proxy-")) / "authority.pem"
    file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    atexit.register(shutil.rmtree, file.parent)
    return str(file)


@asynccontextmanager
async def wired(**settings: Any) -> AsyncIterator[Wire]:
    """Run the daemon in front of an upstream that does what the test does."""
    base = settings.pop("base", "")
    async with AsyncExitStack() as stack:
        authorization = await stack.enter_async_context(authorization_server())
        upstream = Upstream()
        server = await asyncio.start_server(upstream.accept, "127.0.0.1", 0, limit=16 << 20)
        stack.callback(server.close)
        upstream.port = server.sockets[0].getsockname()[1]
        settings.setdefault("upstream", upstream.url + base)
        settings.setdefault("drain_timeout", "10ms")
        settings.setdefault("tls", {"ca_file": an_authority()})
        daemon = await stack.enter_async_context(
            running_daemon(authorization, upstream, **settings)  # type: ignore[arg-type]  # all it wants is a URL
        )
        wire = Wire(daemon, authorization, upstream)
        try:
            yield wire
        finally:
            for client in wire.clients:
                client.close()
            for end in upstream.ends:
                end.close()
            for _ in range(5):  # the daemon notices, and need not wait for anybody
                await asyncio.sleep(0)
