"""An upstream that is a process of its own: it can be killed, and does not share the test's core.

``python -m tests.load.upstream PORT LOG`` appends ``METHOD ID`` to LOG for each request that it receives, with the id
that the field ``X-Id`` brings, and answers whoever brings a bearer token:

==============  =====================================================================
GET /big/1000   so many bytes of PATTERN, repeated
GET /ws         a WebSocket (RFC 6455) that echoes each message
any other       reads the content, waits ``X-Wait`` seconds, answers with its size and hash
==============  =====================================================================
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from reauth_proxy.daemon.server import runner
from tests.fakes.arrivals import PATIENCE
from tests.fakes.client import parse_fields

PATTERN = random.Random(9110).randbytes(1 << 20)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BLOCK = 1 << 18


def frame(message: bytes, mask: bytes = b"") -> bytes:
    """Return a binary message as one frame (RFC 6455 section 5.2); a client has to mask its own."""
    bit, length = 0x80 if mask else 0, len(message)
    if length < 126:
        head = bytes([0x82, bit | length])
    elif length < 1 << 16:
        head = bytes([0x82, bit | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x82, bit | 127]) + length.to_bytes(8, "big")
    return head + mask + masked(message, mask) if mask else head + message


def masked(message: bytes, mask: bytes) -> bytes:
    """Mask, or unmask."""
    key = (mask * (len(message) // 4 + 1))[: len(message)]
    return (int.from_bytes(message, "big") ^ int.from_bytes(key, "big")).to_bytes(len(message), "big")


class Answering:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: int) -> None:
        self.reader = reader
        self.writer = writer
        self.log = log

    async def run(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not self.writer.is_closing():
                await self.one()
        self.writer.close()

    async def one(self) -> None:
        head = await self.reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
        fields = {name.lower(): value for name, value in parse_fields(head)}
        if "x-id" in fields:
            os.write(self.log, f"{method} {fields['x-id']}\n".encode())
        if not fields.get("authorization", "").startswith("Bearer "):
            await self.answer(401, b"", close=True)
        elif target == "/ws":
            await self.tunnel(fields["sec-websocket-key"].encode())
        elif target.startswith("/big/"):
            await self.big(int(target.rpartition("/")[2]))
        else:
            await self.sum(fields)

    async def answer(self, status: int, content: bytes, *, close: bool = False) -> None:
        end = "Connection: close\r\n" if close else ""
        self.writer.write(f"HTTP/1.1 {status} So\r\nContent-Length: {len(content)}\r\n{end}\r\n".encode() + content)
        await self.writer.drain()
        if close:
            self.writer.close()

    async def big(self, size: int) -> None:
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        at = 0
        while at < size:
            start = at % len(PATTERN)
            block = PATTERN[start : start + min(BLOCK, size - at)]
            self.writer.write(block)
            await self.writer.drain()
            at += len(block)

    async def sum(self, fields: dict[str, str]) -> None:
        if "expect" in fields:
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        left, hashed = int(fields.get("content-length", 0)), hashlib.sha256()
        found = {"size": left}
        while left:
            data = await self.reader.read(min(left, BLOCK))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            hashed.update(data)
            left -= len(data)
        if "x-wait" in fields:
            await asyncio.sleep(float(fields["x-wait"]))
        await self.answer(200, json.dumps({**found, "sha256": hashed.hexdigest()}).encode())

    async def tunnel(self, key: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        read = self.reader.readexactly
        while True:
            first, length = await read(2)
            assert (first, length & 0x80) == (0x82, 0x80), "a client sends masked messages, each as a whole"
            length &= 0x7F
            if length > 125:
                length = int.from_bytes(await read(2 if length == 126 else 8), "big")
            mask = await read(4)
            self.writer.write(frame(masked(await read(length), mask)))
            await self.writer.drain()


async def serve(port: int, log_path: str) -> None:
    """Say the port, and answer until the end."""
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Answering(reader, writer, log).run()

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=1 << 20, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await server.serve_forever()


class UpstreamProcess:
    """A running one; `received` says how often each request came, as ``METHOD ID``."""

    def __init__(self, directory: Path) -> None:
        self.log_path = directory / "upstream.log"
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def received(self) -> Counter[str]:
        return Counter(self.log_path.read_text().splitlines())

    async def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.load.upstream", str(self.port), str(self.log_path)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            self.port = int(await self.process.stdout.readline())

    async def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.communicate()


@asynccontextmanager
async def upstream_process(directory: Path) -> AsyncIterator[UpstreamProcess]:
    """Run one."""
    upstream = UpstreamProcess(directory)
    await upstream.start()
    try:
        yield upstream
    finally:
        if upstream.process.returncode is None:
            await upstream.kill()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt), runner() as loop:
        loop.run(serve(int(sys.argv[1]), sys.argv[2]))
