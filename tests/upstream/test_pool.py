"""The pool: reuse, bounded dialling, and nothing left behind."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from reauth_proxy.errors import UpstreamBusy, UpstreamTimeout, UpstreamUnreachable
from reauth_proxy.upstream import dial as dial_module
from reauth_proxy.upstream import pool as pool_module
from reauth_proxy.upstream.connection import Connection
from reauth_proxy.upstream.dial import Origin
from reauth_proxy.upstream.pool import Pool, PoolLimits
from tests.fakes.arrivals import until
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


async def test_there_are_no_more_connections_than_the_limit_and_the_next_in_line_gets_what_is_released() -> None:
    async with raw_peer() as peer:
        pool = Pool(Origin("127.0.0.1", peer.port), PoolLimits(connections=2))
        first, second = await pool.acquire(), await pool.acquire()
        ends = [await peer.accepted.get(), await peer.accepted.get()]
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        assert pool.open == 2
        await answered(peer, first, ends[0])
        pool.release(first)
        assert await waiting[0] is first
        second.close()  # its place is free for a new one
        third = await waiting[1]
        assert third not in (first, second)
        assert pool.open == 2
        waiting[2].cancel()
        await asyncio.wait([waiting[2]])
        await answered(peer, first, ends[0])
        pool.release(first)
        assert pool.idle == 1, "who has left gets nothing"
        for end in [*ends, await peer.accepted.get()]:
            end[1].close()
        pool.close()


async def test_a_line_that_is_too_long_is_refused_at_once_and_one_that_is_too_slow_in_time() -> None:
    async with raw_peer() as peer:
        limits = PoolLimits(connections=1, queue=1, wait_timeout=0.05)
        pool = Pool(Origin("127.0.0.1", peer.port), limits)
        first = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        with pytest.raises(UpstreamBusy):
            await pool.acquire()
        with pytest.raises(UpstreamTimeout):
            await waiting
        first.close()
        await until(lambda: pool.open == 0)
        assert await pool.acquire()
        while not peer.accepted.empty():
            peer.accepted.get_nowait()[1].close()
        pool.close()


async def test_who_has_left_the_line_takes_no_place_in_it() -> None:
    async with raw_peer() as peer:
        pool = Pool(Origin("127.0.0.1", peer.port), PoolLimits(connections=1, queue=2))
        first = await pool.acquire()
        end = await peer.accepted.get()
        for _ in range(5):
            leaving = asyncio.create_task(pool.acquire())
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.wait([leaving])
        staying = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        await answered(peer, first, end)
        pool.release(first)
        assert await staying is first
        end[1].close()
        pool.close()


async def test_an_upstream_that_moved_gets_its_new_requests_where_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_peer("127.0.0.1") as before:
        after = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", before.port)
        place = "127.0.0.1"

        async def addresses(host: str, port: int) -> list[object]:
            assert host == "api.test"
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (place, port))]

        monkeypatch.setattr(dial_module, "_addresses", addresses)
        pool = Pool(Origin("api.test", before.port), PoolLimits())
        idle, busy = await pool.acquire(), await pool.acquire()
        ends = [await before.accepted.get(), await before.accepted.get()]
        await answered(before, idle, ends[0])
        pool.release(idle)
        await pool.look_again()
        assert (pool.idle, pool.open) == (1, 2), "it has not moved"
        place = "127.0.0.2"
        await pool.look_again()
        await until(lambda: pool.open == 1)
        await answered(before, busy, ends[1])
        pool.release(busy)
        assert pool.idle == 0
        assert (await pool.acquire()).address == "127.0.0.2"
        for end in ends:
            end[1].close()
        pool.close()
        after.close()


async def test_a_name_server_that_is_away_costs_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_peer() as peer:
        pool = Pool(Origin("localhost", peer.port), PoolLimits())
        connection = await pool.acquire()

        async def away(*_: object) -> list[object]:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")

        monkeypatch.setattr(dial_module, "_addresses", away)
        await pool.look_again()
        assert not connection.retired
        (await peer.accepted.get())[1].close()
        pool.close()


async def test_an_upstream_may_be_behind_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "api.sock")
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_unix_server(lambda _, writer: accepted.put_nowait(writer), path)
    pool = Pool(Origin("localhost", 80, path=path), PoolLimits())
    connection = await pool.acquire()
    writer = await accepted.get()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    connection.begin(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", head=False)
    await connection.response()
    assert connection.status == 200
    assert repr(pool).startswith(f"<Pool unix:{path} ")
    pool.close()
    writer.close()
    server.close()
    with pytest.raises(UpstreamUnreachable):
        await Pool(Origin("localhost", 80, path=f"{path}-not-there"), PoolLimits()).acquire()


async def test_a_retired_pool_lets_exchanges_finish_and_keeps_nothing() -> None:
    async with raw_peer() as peer:
        pool = Pool(Origin("127.0.0.1", peer.port), PoolLimits())
        busy = await pool.acquire()
        end = await peer.accepted.get()
        pool.retire()
        await answered(peer, busy, end)
        pool.release(busy)
        await until(lambda: pool.open == 0)
        end[1].close()


async def test_what_pools_before_it_have_open_counts_within_the_bound_of_the_last() -> None:
    async with raw_peer() as peer:
        limits = PoolLimits(connections=2)
        first = Pool(Origin("127.0.0.1", peer.port), limits)
        held = [await first.acquire(), await first.acquire()]
        second = Pool(Origin("127.0.0.1", peer.port), limits)
        second.succeed(first)
        third = Pool(Origin("127.0.0.1", peer.port), limits)
        third.succeed(second)
        asking = [asyncio.create_task(third.acquire()) for _ in range(2)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert (third.open, peer.count) == (0, 2)
        held[0].close()
        await until(lambda: third.open == 1)
        assert [task.done() for task in asking].count(True) == 1
        held[1].close()
        got = await asyncio.gather(*asking)
        assert (first.open, third.open) == (0, 2)
        for connection in got:
            connection.close()
        await until(lambda: third.open == 0)
        third.close()
