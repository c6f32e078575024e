"""The pool: reuse, bounded dialling, and nothing left behind."""

from __future__ import annotations

import asyncio

import pytest

from reauth_proxy.errors import UpstreamTimeout, UpstreamUnreachable
from reauth_proxy.upstream import pool as pool_module
from reauth_proxy.upstream.connection import Connection
from reauth_proxy.upstream.dial import Origin
from reauth_proxy.upstream.pool import Pool, PoolLimits
from tests.upstream.peers import RawPeer, raw_peer

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def answered(
    peer: RawPeer, connection: Connection, end: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    connection.begin(GET, head=False)
    await end[0].readuntil(b"\r\n\r\n")
    end[1].write(EMPTY)
    await connection.response()


async def test_a_released_connection_is_used_again() -> None:
    async with raw_peer() as peer:
        pool = Pool(Origin("127.0.0.1", peer.port), PoolLimits())
        first = await pool.acquire()
        end = await peer.accepted.get()
        await answered(peer, first, end)
        pool.release(first)
        assert pool.idle == 1
        assert await pool.acquire() is first
        assert peer.count == 1
        end[1].close()
        pool.close()


async def test_an_idle_connection_that_the_upstream_closed_is_forgotten() -> None:
    async with raw_peer() as peer:
        pool = Pool(Origin("127.0.0.1", peer.port), PoolLimits())
        first = await pool.acquire()
        end = await peer.accepted.get()
        await answered(peer, first, end)
        pool.release(first)
        end[1].close()
        while pool.open:
            await asyncio.sleep(0)
        assert pool.take() is None
        pool.close()


async def test_a_connection_with_half_an_answer_is_closed_instead_of_kept() -> None:
    async with raw_peer() as peer:
        pool = Pool(Origin("127.0.0.1", peer.port), PoolLimits())
        first = await pool.acquire()
        end = await peer.accepted.get()
        first.begin(GET, head=False)
        pool.release(first)
        assert first.closed
        assert pool.idle == 0
        end[1].close()
        pool.close()


async def test_idle_connections_are_closed_in_time() -> None:
    async with raw_peer() as peer:
        pool = Pool(Origin("127.0.0.1", peer.port), PoolLimits(keepalive=0.02))
        first = await pool.acquire()
        end = await peer.accepted.get()
        await answered(peer, first, end)
        pool.release(first)
        assert await end[0].read() == b""
        assert pool.idle == 0
        end[1].close()
        pool.close()


async def test_a_burst_shares_a_bounded_number_of_dials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_DIALS", 2)
    started = 0
    go = asyncio.Event()
    real = pool_module.dial

    async def held(*arguments: object) -> object:
        nonlocal started
        started += 1
        await go.wait()
        return await real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pool_module, "dial", held)
    async with raw_peer() as peer:
        pool = Pool(Origin("127.0.0.1", peer.port), PoolLimits())
        asking = [asyncio.create_task(pool.acquire()) for _ in range(10)]
        await asyncio.sleep(0)
        assert started == 2
        asking[5].cancel()  # one in line leaves
        asking[0].cancel()  # one that dials leaves: its turn goes to the next
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert started == 3
        go.set()
        got = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(one, Connection) for one in got) == 8
        assert pool.open == 8
        assert "dialling=0" in repr(pool)
        pool.close()
        for _ in range(peer.accepted.qsize()):
            peer.accepted.get_nowait()[1].close()


async def test_a_request_in_line_gets_the_first_released_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_DIALS", 1)
    async with raw_peer() as peer:
        pool = Pool(Origin("127.0.0.1", peer.port), PoolLimits())
        first = await pool.acquire()
        end = await peer.accepted.get()
        await answered(peer, first, end)
        never = asyncio.Event()

        async def stuck(*_: object) -> object:
            await never.wait()
            raise AssertionError

        monkeypatch.setattr(pool_module, "dial", stuck)
        dialling = asyncio.create_task(pool.acquire())
        waiting = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        pool.release(first)
        assert await waiting is first
        dialling.cancel()
        await asyncio.wait([dialling])
        end[1].close()
        pool.close()


async def test_an_upstream_that_is_not_there_is_unreachable() -> None:
    async with raw_peer() as peer:
        port = peer.port
    pool = Pool(Origin("127.0.0.1", port), PoolLimits())
    with pytest.raises(UpstreamUnreachable, match="refused"):
        await pool.acquire()
    with pytest.raises(UpstreamUnreachable, match="could not be resolved"):
        await Pool(Origin("nowhere.invalid", 80), PoolLimits()).acquire()
    assert pool.open == 0


async def test_an_upstream_that_does_not_accept_in_time_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("aiohappyeyeballs.start_connection", forever)
    with pytest.raises(UpstreamTimeout):
        await Pool(Origin("127.0.0.1", 9), PoolLimits(connect_timeout=0.02)).acquire()
