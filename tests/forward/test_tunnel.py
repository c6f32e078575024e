"""WebSocket upgrades: a handshake that may need a newer token, and then raw bytes both ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Literal

import pytest

from tests.fakes.arrivals import until
from tests.forward.harness import Bench, bench, head

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n"
)
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamWriter]


async def tunnel(run: Bench) -> Ends:
    client, sender = await run.client(UPGRADE)
    reader, writer = await run.upstream()
    await head(reader)
    writer.write(SWITCHED)
    await head(client)
    return client, sender, reader, writer


async def test_the_handshake_goes_upstream_with_the_token_and_its_answer_comes_back() -> None:
    async with bench() as run:
        client, _ = await run.client(UPGRADE)
        reader, writer = await run.upstream()
        request = await head(reader)
        assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in request
        assert b"\r\nSec-WebSocket-Key: k\r\n" in request
        assert b"\r\nAuthorization: Bearer CANARY-1\r\n" in request
        writer.write(SWITCHED)
        assert await head(client) == (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: a\r\n\r\n"
        )


async def test_bytes_sent_early_by_either_side_arrive() -> None:
    async with bench() as run:
        client, _ = await run.client(UPGRADE + b"early")
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(SWITCHED + b"at once")
        await head(client)
        assert await client.readexactly(7) == b"at once"
        assert await reader.readexactly(5) == b"early"


async def test_bytes_pass_both_ways_in_any_amount() -> None:
    async with bench() as run:
        client, sender, reader, writer = await tunnel(run)
        for number in range(200):
            sender.write(b"%d" % number)
            assert await reader.readexactly(len(b"%d" % number)) == b"%d" % number
            writer.write(b"<%d>" % number)
            assert await client.readexactly(len(b"<%d>" % number)) == b"<%d>" % number
        big = bytes(range(256)) * 32_768
        sender.write(big)
        writer.write(big)
        assert await reader.readexactly(len(big)) == big
        assert await client.readexactly(len(big)) == big


async def test_a_client_that_reads_nothing_makes_the_upstream_wait() -> None:
    async with bench() as run:
        client, sender, _, writer = await tunnel(run)
        sender.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"x" * 64 * 1024 * 1024)
        blocked = asyncio.create_task(writer.drain())
        done, _ = await asyncio.wait([blocked], timeout=0.2)
        assert not done
        sender.transport.resume_reading()  # type: ignore[attr-defined]
        await client.readexactly(64 * 1024 * 1024)
        await blocked


async def test_a_half_close_is_passed_on_and_the_other_half_goes_on() -> None:
    async with bench() as run:
        client, sender, reader, writer = await tunnel(run)
        sender.write(b"last")
        sender.write_eof()
        assert await reader.read() == b"last"
        writer.write(b"answer")
        writer.close()
        assert await client.read() == b"answer"


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_an_end_that_is_gone_takes_the_other_with_it(who: str) -> None:
    async with bench() as run:
        client, sender, reader, writer = await tunnel(run)
        end = sender if who == "client" else writer
        # A reset, not a half-close.
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.transport.abort()
        with contextlib.suppress(ConnectionResetError):
            assert await (reader if who == "client" else client).read() == b""
        while not run.log:
            await asyncio.sleep(0)
        assert run.log[0]["status"] == 101


async def test_a_rejected_handshake_is_replayed_with_a_newer_token() -> None:
    async with bench() as run:
        client, _ = await run.client(UPGRADE)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        assert b"\r\nAuthorization: Bearer CANARY-2\r\n" in await head(reader)
        writer.write(SWITCHED)
        assert (await head(client)).startswith(b"HTTP/1.1 101 ")


async def test_a_refused_handshake_is_the_upstreams_answer() -> None:
    async with bench() as run:
        client, _ = await run.client(UPGRADE)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        assert (await head(client)).startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert await client.readexactly(2) == b"no"


@pytest.mark.parametrize("upgrade", [b"h2c", b"tcp", b"websocket, h2c"])
async def test_any_other_upgrade_is_dropped_from_the_request(upgrade: bytes) -> None:
    async with bench() as run:
        client, _ = await run.client(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + upgrade + b"\r\n\r\n"
        )
        reader, writer = await run.upstream()
        request = await head(reader)
        assert b"pgrade" not in request
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_switch_to_another_protocol_than_asked_for_is_malformed() -> None:
    async with bench() as run:
        client, _ = await run.client(UPGRADE)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
        assert (await head(client)).startswith(b"HTTP/1.1 502 ")


async def test_a_tunnel_without_a_byte_is_ended_in_time_and_one_with_a_byte_now_and_then_is_not() -> None:
    async with bench(idle_timeout=0.2) as run:
        client, _, reader, _ = await tunnel(run)
        busy_client, busy_sender, busy_reader, busy_writer = await tunnel(run)
        ended = asyncio.create_task(client.read())
        while not ended.done():
            busy_sender.write(b"x")
            assert await busy_reader.readexactly(1) == b"x"
            await asyncio.wait([ended], timeout=0.02)
        assert ended.result() == b""
        assert await reader.read() == b""
        busy_writer.write(b"still here")
        assert await busy_client.readexactly(10) == b"still here"


@pytest.mark.parametrize("on_logout", ["keep", "close"])
async def test_what_happens_to_tunnels_when_the_session_ends_is_a_choice(on_logout: Literal["keep", "close"]) -> None:
    async with bench(on_logout=on_logout) as run:
        run.session.begin(life=1)
        client, _, reader, writer = await tunnel(run)
        run.session.begin(life=2)
        if on_logout == "close":
            async with asyncio.timeout(5):
                assert await client.read() == b""
                assert await reader.read() == b""
            client, _, reader, writer = await tunnel(run)  # of the next session
        await looked_at(run)
        writer.write(b"hello")
        assert await client.readexactly(5) == b"hello"


async def looked_at(run: Bench) -> None:
    """Return once all tunnels have been looked at."""
    tunnels = run.forwarder.tunnels
    due = tunnels._due
    await until(lambda: tunnels._due > due)


async def test_tunnels_are_ended_in_order_when_the_time_to_drain_is_over() -> None:
    async with bench() as run:
        client, _, reader, writer = await tunnel(run)
        writer.write(b"last words")
        assert await client.readexactly(4) == b"last"
        draining = asyncio.create_task(run.front.drained())
        done, _ = await asyncio.wait([draining], timeout=0.2)
        assert not done, "a tunnel may go on until then"
        run.forwarder.tunnels.end_all()
        async with asyncio.timeout(5):
            assert await client.read() == b" words"
            assert await reader.read() == b""
            await draining


async def test_a_client_that_sends_early_and_much_is_held_back_until_there_is_a_tunnel() -> None:
    async with bench() as run:
        client, sender = await run.client(UPGRADE)
        sender.write(b"e" * 4_000_000)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(SWITCHED)
        await head(client)
        assert await reader.readexactly(4_000_000) == b"e" * 4_000_000


async def test_what_a_client_said_last_arrives_before_the_tunnel_ends() -> None:
    async with bench() as run:
        _, sender, reader, writer = await tunnel(run)
        writer.write_eof()
        sender.write(b"l" * 4_000_000)
        sender.write_eof()
        assert len(await reader.readexactly(4_000_000)) == 4_000_000
