"""Requests that are sent at once, without a task: whatever becomes of them, it is what would have become of others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes.arrivals import until
from tests.forward.harness import Bench, bench, head

GET = b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def warm(response_timeout: float = 5.0) -> AsyncIterator[tuple[Bench, Stream, Stream]]:
    """Run the forwarding path with a client and an upstream that have had one exchange already."""
    async with bench(response_timeout=response_timeout) as run:
        client = await run.client(GET)
        upstream = await run.upstream()
        await head(upstream[0])
        upstream[1].write(EMPTY)
        assert (await head(client[0])).startswith(b"HTTP/1.1 200 OK\r\n")
        await until(lambda: not run.forwarder.active)
        run.log.clear()
        yield run, client, upstream


async def outcome(run: Bench) -> tuple[str, int]:
    """Return how the one request ended."""
    await until(lambda: not run.forwarder.active)
    (line,) = run.log
    return line["outcome"], line["status"]


@pytest.mark.parametrize("request_", [GET, POST])
async def test_an_answer_goes_back_and_both_connections_stay(request_: bytes) -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        for _ in range(3):
            run.log.clear()
            writer.write(request_)
            await head(sees)
            if request_ is POST:
                assert await sees.readexactly(5) == b"hello"
            answers.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await head(reader)
            assert await reader.readexactly(2) == b"ok"
            assert await outcome(run) == ("forwarded", 200)


async def test_an_answer_may_come_in_parts() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        writer.write(GET)
        await head(sees)
        answers.write(b"HTTP/1.1 200 OK\r\nContent-Len")
        await asyncio.sleep(0)
        answers.write(b"gth: 4\r\n\r\nab")
        await head(reader)
        answers.write(b"cd")
        assert await reader.readexactly(4) == b"abcd"
        assert await outcome(run) == ("forwarded", 200)


async def test_a_client_that_leaves_takes_its_request_back() -> None:
    async with warm() as (run, (_, writer), (sees, _answers)):
        writer.write(GET)
        await head(sees)
        writer.transport.abort()
        assert await sees.read() == b"", "the upstream is told by the end of the connection"
        assert await outcome(run) == ("aborted", 0)


async def test_a_rejected_token_is_replaced_and_the_request_sent_again_once() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        writer.write(POST)
        assert b"Authorization: Bearer CANARY-1\r\n" in await head(sees)
        assert await sees.readexactly(5) == b"hello"
        answers.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        assert b"Authorization: Bearer CANARY-2\r\n" in await head(sees)
        assert await sees.readexactly(5) == b"hello"
        answers.write(EMPTY)
        assert (await head(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await outcome(run) == ("replayed", 200)
        assert run.session.replaced == [1]


async def test_a_connection_that_was_just_closed_is_replaced_by_a_new_one() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        writer.write(GET)
        await head(sees)
        answers.close()
        again, answers = await run.upstream()
        await head(again)
        answers.write(EMPTY)
        assert (await head(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await outcome(run) == ("forwarded", 200)


async def test_what_must_not_be_sent_twice_is_not() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        writer.write(POST)
        await head(sees)
        answers.close()
        assert (await head(reader)).startswith(b"HTTP/1.1 502 ")
        assert (await outcome(run))[1] == 502
        assert run.peer.accepted.empty()


async def test_an_upstream_that_does_not_answer_is_too_late() -> None:
    async with warm(response_timeout=0.05) as (run, (reader, writer), (sees, _)):
        writer.write(GET)
        await head(sees)
        assert (await head(reader)).startswith(b"HTTP/1.1 504 ")
        assert (await outcome(run))[1] == 504


async def test_a_broken_answer_is_a_502() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        writer.write(GET)
        await head(sees)
        answers.write(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
        assert (await head(reader)).startswith(b"HTTP/1.1 502 ")
        assert (await outcome(run))[1] == 502


async def test_requests_behind_one_another_are_answered_in_order() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        writer.write(GET * 3)
        for number in (1, 2, 3):
            await head(sees)
            answers.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        for number in (1, 2, 3):
            await head(reader)
            assert await reader.readexactly(1) == b"%d" % number
        await until(lambda: len(run.log) == 3)


async def test_what_a_client_does_not_take_is_held_within_bounds() -> None:
    """What is posted is written whatever the client takes; so the request behind it waits for the client."""
    content = b"x" * 200_000
    async with warm() as (run, (reader, writer), (sees, answers)):

        def paused() -> bool:
            return any(connection.writing_paused for connection in run.front._connections)

        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET * 200)
        answered = 0
        while not paused():
            await head(sees)
            answers.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
            answered += 1
            expected = answered
            await until(lambda: len(run.log) >= expected or paused())  # noqa: B023
        assert answered < 150, "the kernel's buffers hold a few megabytes"
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(answered):
            await head(reader)
            assert await reader.readexactly(len(content)) == content


async def test_an_upstream_that_was_held_up_by_a_slow_client_is_read_again() -> None:
    """The client may take no more just when the last of an answer has come; the connection carries the next one."""
    content = b"x" * 400_000
    async with warm() as (run, (reader, writer), (sees, answers)):
        (client,) = run.front._connections
        assert client.transport is not None
        client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.transport.set_write_buffer_limits(high=0)
        for _ in range(3):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(GET)
            await head(sees)
            answers.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
            await until(lambda: client.writing_paused)
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            await head(reader)
            assert await reader.readexactly(len(content)) == content
            await answers.drain()


async def test_an_answer_that_begins_while_the_client_takes_nothing_is_held_up() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        (client,) = run.front._connections
        client.pause_writing()  # What a posted answer before it leads to, if the client does not take that.
        writer.write(GET)
        await head(sees)
        answers.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n")
        answers.write(b"x" * 1_000_000)
        await until(lambda: client.feeder is not None and client.feeder.paused)
        client.resume_writing()
        answers.write(b"x" * 3_000_000)
        await head(reader)
        assert len(await reader.readexactly(4_000_000)) == 4_000_000


async def test_a_request_that_is_ended_with_the_listener_is_counted_once() -> None:
    async with warm() as (run, (_, writer), (sees, _answers)):
        writer.write(GET)
        await head(sees)
        await run.front.shutdown(0)
        await until(lambda: not run.front.count)
        assert await outcome(run) == ("aborted", 0)
        assert run.forwarder.active == 0


async def test_a_log_that_fails_keeps_no_client_waiting() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        failing = [RuntimeError("no space left")]

        class Full(list[object]):
            enabled = True

            def finished(self, exchange: object, seconds: float) -> None:
                if failing:
                    raise failing.pop()

        run.forwarder._access = Full()
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        writer.write(GET)
        await head(sees)
        answers.write(EMPTY)
        await head(reader)
        assert not failing
        again, _ = await run.client(GET)
        upstream = await run.upstream()
        await head(upstream[0])
        upstream[1].write(EMPTY)
        assert (await head(again)).startswith(b"HTTP/1.1 200 OK\r\n")
        async with asyncio.timeout(5):
            for connection in run.front._connections:
                await connection.over()


@pytest.mark.parametrize("request_", [GET, POST])
async def test_what_an_upstream_says_before_it_was_asked_is_given_to_nobody(request_: bytes) -> None:
    """The request waits for the end of the turn in which the upstream's odd bytes are read: it goes elsewhere."""
    async with warm() as (run, (reader, writer), _):
        pool = run.forwarder.plan.routes.match(b"/").pool
        (connection,) = pool._idle
        begin = connection.begin

        def begin_too_late(*args: Any, **more: Any) -> None:
            begin(*args, **more)
            connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nodd")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(connection), "begin", lambda self, *a, **m: begin_too_late(*a, **m))
            writer.write(request_)
            await until(lambda: connection.closed)
        sees, answers = await run.upstream()
        await head(sees)
        answers.write(EMPTY)
        assert b"Content-Length: 0\r\n" in await head(reader)
        assert await outcome(run) == ("forwarded", 200)


async def test_what_follows_counted_content_is_given_to_nobody_and_ends_the_connection() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        writer.write(GET)
        await head(sees)
        answers.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await head(reader)
        assert await reader.readexactly(2) == b"ab"
        answers.write(b"cdHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nodd")
        assert await reader.readexactly(2) == b"cd"
        async with asyncio.timeout(5):  # Not because it was idle.
            assert await sees.read() == b""
        assert await outcome(run) == ("forwarded", 200)


async def test_the_listener_waits_for_a_request_that_is_under_way_before_it_ends() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        writer.write(GET)
        await head(sees)
        ending = asyncio.create_task(run.front.shutdown(5))
        for _ in range(20):  # turns of the loop
            await asyncio.sleep(0)
        assert not ending.done()
        answers.write(EMPTY)
        assert (await head(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
        await ending
        assert await reader.read() == b""
        assert await outcome(run) == ("forwarded", 200)


async def test_while_a_client_takes_nothing_no_further_request_of_its_is_taken() -> None:
    async with warm() as (run, (reader, writer), (sees, answers)):
        (client,) = run.front._connections
        client.pause_writing()  # As a posted answer before it leads to.
        writer.write(GET)
        await head(sees)
        answers.write(EMPTY)
        await until(lambda: client._drained is not None)
        assert run.log == [], "a task waits until the client takes more"
        client.resume_writing()
        assert (await head(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await outcome(run) == ("forwarded", 200)
