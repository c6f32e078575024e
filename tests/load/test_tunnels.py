"""A thousand WebSockets at once, and not a message lost."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import RawClient, connect
from tests.load.traffic import allow_files, loaded_daemon, peak_memory
from tests.load.upstream import GUID, frame, upstream_process

pytestmark = pytest.mark.slow

TUNNELS = 1_000
MESSAGES = 100
#: Messages of one tunnel that are under way at once.
WINDOW = 10
MASK = b"\x0f\x5a\xc3\x96"
KEY = base64.b64encode(bytes(16))
ACCEPT = base64.b64encode(hashlib.sha1(KEY + GUID).digest())
HANDSHAKE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY.decode()),
]


def message(tunnel: int, number: int) -> bytes:
    """Return a message that no other is like: mostly a small one, one of 64 KiB in each tunnel, some of 1 MiB."""
    start = b"%d/%d " % (tunnel, number)
    size = 1 << 20 if tunnel % 50 == number == 0 else 1 << 16 if number == 50 else 64
    return start.ljust(size, b"%d" % (number % 10))


async def opened(url: str) -> RawClient:
    """Open a tunnel."""
    client = await connect(url)
    await client.request("/ws", fields=HANDSHAKE)
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert b": %b\r\n" % ACCEPT in head
    return client


async def echoes(client: RawClient, tunnel: int) -> int:
    """Send every message, compare every echo; return how many there were."""
    count = 0
    for start in range(0, MESSAGES, WINDOW):
        messages = [message(tunnel, number) for number in range(start, start + WINDOW)]
        for one in messages:
            client.writer.write(frame(one, MASK))
        for one in messages:
            expected = frame(one)
            assert await client.reader.readexactly(len(expected)) == expected, f"tunnel {tunnel}"
            count += 1
    return count


async def test_a_thousand_tunnels_echo_a_hundred_messages_each_and_none_is_lost(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    allow_files(4 * TUNNELS)
    async with upstream_process(tmp_path) as upstream, loaded_daemon(tmp_path, authorization, upstream) as daemon:
        tunnels: list[RawClient] = []
        try:
            while len(tunnels) < TUNNELS:
                tunnels += await asyncio.gather(*(opened(daemon.url) for _ in range(50)))
            async with asyncio.timeout(60):
                counts = await asyncio.gather(*(echoes(client, number) for number, client in enumerate(tunnels)))
            assert counts == [MESSAGES] * TUNNELS
            assert not any(client.reader.at_eof() for client in tunnels)
            assert peak_memory(daemon.pid) < 250
        finally:
            for client in tunnels:
                client.close()
            await asyncio.gather(*(client.writer.wait_closed() for client in tunnels), return_exceptions=True)
