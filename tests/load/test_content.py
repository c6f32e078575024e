"""Content of any size passes in little memory; what was rejected is sent again where that is possible."""

from __future__ import annotations

import asyncio
import hashlib
import json
import selectors
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import connect, fetch, read_content
from tests.fakes.upstream import Exchange, FakeUpstream, Received, parse_fields
from tests.load.traffic import loaded_daemon, peak_memory, soon
from tests.load.upstream import BLOCK, PATTERN, upstream_process

pytestmark = pytest.mark.slow

GIB = 1 << 30
MIB = 1 << 20
TWICE = memoryview(PATTERN + PATTERN[:BLOCK])


def ask(url: str, head: bytes, *, buffer: int | None = None) -> socket.socket:
    """Open a blocking connection, and send the head of a request."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect((parts.hostname, parts.port))
    connection.sendall(head + b"Host: %b\r\n\r\n" % parts.netloc.encode())
    return connection


class Download:
    """Reads an answer from a blocking connection, and compares it with PATTERN as it comes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.status = 0
        self.length = 0
        self.size = 0
        self._head = b""
        self._buffer = bytearray(BLOCK)

    def read(self, most: int = BLOCK) -> bool:
        """Read some; return whether that was the end."""
        if not self.status:
            self._head += self.connection.recv(4096)
            head, end, data = self._head.partition(b"\r\n\r\n")
            if end:
                self.status = int(head[9:12])
                framing = {name.lower(): value for name, value in parse_fields(head + end)}
                self.length = int(framing["content-length"])
                self._compare(memoryview(data))
            return False
        got = self.connection.recv_into(self._buffer, min(most, BLOCK))
        self._compare(memoryview(self._buffer)[:got])
        return not got or self.size >= self.length

    def _compare(self, data: memoryview) -> None:
        at = self.size % len(PATTERN)
        assert data == TWICE[at : at + len(data)], f"content differs after {self.size} bytes"
        self.size += len(data)


async def test_one_gibibyte_down_passes_whole_in_under_100_megabytes(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    def download(url: str) -> Download:
        with ask(url, b"GET /big/%d HTTP/1.1\r\n" % GIB) as connection:
            found = Download(connection)
            while not found.read():
                pass
            return found

    async with upstream_process(tmp_path) as upstream, loaded_daemon(tmp_path, authorization, upstream) as daemon:
        found = await asyncio.to_thread(download, daemon.url)
        assert (found.status, found.size) == (200, GIB)
        assert peak_memory(daemon.pid) < 100


async def test_one_gibibyte_up_passes_whole_in_under_100_megabytes(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    def upload(url: str) -> tuple[bytes, str]:
        hashed = hashlib.sha256()
        with ask(url, b"POST /sum HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n" % GIB) as connection:
            for _ in range(GIB // len(PATTERN)):
                connection.sendall(PATTERN)
                hashed.update(PATTERN)
            answer = b""
            while data := connection.recv(4096):
                answer += data
        return answer, hashed.hexdigest()

    async with upstream_process(tmp_path) as upstream, loaded_daemon(tmp_path, authorization, upstream) as daemon:
        answer, sha256 = await asyncio.to_thread(upload, daemon.url)
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert json.loads(content) == {"size": GIB, "sha256": sha256}
        assert peak_memory(daemon.pid) < 100


class ReadsAll(FakeUpstream):
    """Has never heard of 100-continue: reads the whole content, and then looks at the token."""

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        received = Received(head.partition(b"\r\n")[0], parse_fields(head))
        received.content = await read_content(reader, received.fields, until_closed=False)
        self.requests.append(received)
        self._arrivals.add()
        exchange = Exchange(received, writer)
        await (self._behave if self._accepts(received) else self._reject)(exchange)


@asynccontextmanager
async def reads_all(authorization: FakeAuthorizationServer) -> AsyncIterator[ReadsAll]:
    """Run one."""
    upstream = ReadsAll(authorization)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


def content_of(size: int) -> tuple[bytes, str]:
    """Return content of that size, and its hash."""
    content = (PATTERN * (size // len(PATTERN) + 1))[:size]
    return content, hashlib.sha256(content).hexdigest()


async def test_fifteen_mebibytes_are_replayed_after_a_401_byte_for_byte(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    content, sha256 = content_of(15 * MIB)
    async with reads_all(authorization) as upstream, loaded_daemon(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        answer = await fetch(daemon.url, "/upload", method="POST", content=content)
        assert answer.status == 200
        assert json.loads(answer.content)["sha256"] == sha256
        received = [hashlib.sha256(one.content).hexdigest() for one in upstream.seen("/upload")]
        assert received == [sha256, sha256]
        assert len({one.token for one in upstream.seen("/upload")}) == 2
        assert peak_memory(daemon.pid) < 100
    assert authorization.count == 2


async def test_forty_mebibytes_at_a_rejected_token_pass_unnoticed_where_the_upstream_honours_100_continue(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    content, sha256 = content_of(40 * MIB)
    async with loaded_daemon(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        answer = await fetch(daemon.url, "/upload", method="POST", content=content)
        assert answer.status == 200
        assert answer.value("Reauth-Signal") is None
        assert json.loads(answer.content)["sha256"] == sha256
        assert len(upstream.seen("/upload")) == 1
        assert peak_memory(daemon.pid) < 100
    assert (authorization.count, upstream.rejected) == (2, 1)


async def test_forty_mebibytes_at_a_rejected_token_are_asked_for_again_where_the_upstream_read_them_all(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    content, sha256 = content_of(40 * MIB)
    async with reads_all(authorization) as upstream, loaded_daemon(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        answer = await fetch(daemon.url, "/upload", method="POST", content=content)
        assert (answer.status, answer.value("Reauth-Signal")) == (401, "resend")
        assert authorization.count == 2, "the token is fresh by now"
        again = await fetch(daemon.url, "/upload", method="POST", content=content)
        assert (again.status, json.loads(again.content)["sha256"]) == (200, sha256)
        assert authorization.count == 2
        assert peak_memory(daemon.pid) < 100


async def test_fifty_slow_readers_of_twenty_mebibytes_do_not_fill_the_memory(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    size = 20 * MIB

    def read_slowly_and_then_the_rest(url: str, pid: int) -> tuple[list[tuple[int, int]], float]:
        slow = [Download(ask(url, b"GET /big/%d HTTP/1.1\r\n" % size, buffer=1 << 16)) for _ in range(50)]
        try:
            until = time.monotonic() + 2
            while time.monotonic() < until:
                for one in slow:
                    one.read(4096)
                time.sleep(0.02)
            assert all(one.size < size // 2 for one in slow), "they were not slow"
            meanwhile = peak_memory(pid)
            with selectors.DefaultSelector() as reading:
                for one in slow:
                    reading.register(one.connection, selectors.EVENT_READ, one)
                while reading.get_map():
                    for key, _ in reading.select(20):
                        if key.data.read():
                            reading.unregister(key.fileobj)
            return [(one.status, one.size) for one in slow], meanwhile
        finally:
            for one in slow:
                one.connection.close()

    async with upstream_process(tmp_path) as upstream, loaded_daemon(tmp_path, authorization, upstream) as daemon:
        found, meanwhile = await asyncio.to_thread(read_slowly_and_then_the_rest, daemon.url, daemon.pid)
        assert found == [(200, size)] * 50
        # Two buffers of 256 KiB for each, and what passes through them; a daemon that reads ahead would have 1,000 MB.
        assert meanwhile < 150
        assert peak_memory(daemon.pid) < 150


async def test_a_client_that_reads_no_more_is_cut_after_timeouts_write(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with loaded_daemon(tmp_path, authorization, upstream, timeouts={"write": "1s"}) as daemon:
        async with await connect(daemon.url) as client:
            await client.request(f"/big/{64 * MIB}")
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            since = asyncio.get_running_loop().time()
            await upstream.closed(1)  # the answer's other end goes with it
            assert 0.9 < asyncio.get_running_loop().time() - since < 5
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            got = 0
            try:
                while data := await asyncio.wait_for(client.reader.read(MIB), 10):
                    got += len(data)
            except ConnectionError:
                pass
            assert got < 64 * MIB, "half an answer, and no more of it"
        assert (await fetch(daemon.url)).status == 200


async def test_a_client_that_reads_slowly_all_the_time_is_not_cut(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    size = 16 * MIB
    async with loaded_daemon(tmp_path, authorization, upstream, timeouts={"write": "1s"}) as daemon:

        def read_for_three_seconds_and_then_the_rest() -> int:
            with ask(daemon.url, b"GET /big/%d HTTP/1.1\r\n" % size, buffer=1 << 14) as connection:
                got, until = 0, time.monotonic() + 3
                while got < size and (data := connection.recv(1 << 15 if time.monotonic() < until else MIB)):
                    got += len(data)
                    if time.monotonic() < until:
                        time.sleep(0.05)
                return got

        assert await asyncio.to_thread(read_for_three_seconds_and_then_the_rest) >= size
    await soon(lambda: upstream.open == 0, "the upstream's connections are closed")
