"""The bounds on clients: how much, how many, how slow; and how connections end while draining."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from reauth_proxy.clients.limits import Limits
from reauth_proxy.clients.listener import DRAIN_BATCH
from reauth_proxy.forward.spool import Keeping
from tests.fakes.arrivals import until
from tests.forward.harness import Bench, bench, head

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def told(client: asyncio.StreamReader) -> tuple[int, str]:
    """Read an answer and the end of the connection; return its status and code."""
    async with asyncio.timeout(5):
        fields, _, content = (await client.read()).partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in fields
    return int(fields.split(b" ")[1]), json.loads(content)["code"]


async def served(run: Bench) -> None:
    """A good request on a new connection is answered."""
    client, sender = await run.client(GET)
    reader, writer = await run.upstream()
    await head(reader)
    writer.write(OK)
    assert (await head(client)).startswith(b"HTTP/1.1 200 ")
    sender.close()


def request_of(size: int) -> bytes:
    """Return a request whose header section has so many bytes."""
    fields = b"".join(b"X-%02d: %b\r\n" % (number, b"y" * 91) for number in range((size - 130) // 99))
    start = b"GET / HTTP/1.1\r\nHost: h\r\n" + fields
    rest = size - len(start) - len(b"X-Last: \r\n\r\n")
    return start + b"X-Last: " + b"z" * rest + b"\r\n\r\n"


@pytest.mark.parametrize("piece", [100_000, 1000, 7])
async def test_a_header_section_may_be_as_long_as_the_limit_and_no_longer(piece: int) -> None:
    async with bench(limits=Limits(header_bytes=4096)) as run:
        client, sender = await run.client()
        exact, over = request_of(4096), request_of(4097)
        assert (len(exact), len(over)) == (4096, 4097)
        for start in range(0, len(exact), piece):
            sender.write(exact[start : start + piece])
            await asyncio.sleep(0)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        for start in range(0, len(over), piece):
            sender.write(over[start : start + piece])
            await asyncio.sleep(0)
        assert await told(client) == (431, "fields_too_large")
        assert run.peer.count == 1


async def test_a_head_that_never_ends_is_cut_at_the_limit_and_not_kept() -> None:
    async with bench(limits=Limits(header_bytes=4096)) as run:
        client, sender = await run.client(b"GET / HTTP/1.1\r\nHost: h\r\n")
        for _ in range(60):
            sender.write(b"X: " + b"y" * 97 + b"\r\n")
            await asyncio.sleep(0)
        assert await told(client) == (431, "fields_too_large")


@pytest.mark.parametrize(("number", "status"), [(128, 200), (129, 431), (131, 431), (500, 431)])
async def test_a_request_may_have_so_many_fields(number: int, status: int) -> None:
    async with bench() as run:
        fields = b"".join(b"X-%d: y\r\n" % index for index in range(number - 1))
        client, _ = await run.client(b"GET / HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n")
        if status == 200:
            reader, writer = await run.upstream()
            await head(reader)
            writer.write(OK)
            assert (await head(client)).startswith(b"HTTP/1.1 200 ")
        else:
            assert await told(client) == (431, "fields_too_large")
            assert run.peer.count == 0


async def test_the_head_of_a_request_behind_others_is_refused_in_its_turn() -> None:
    async with bench(limits=Limits(header_bytes=1024)) as run:
        client, _ = await run.client(GET + request_of(2000) + GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 ")
        await client.readexactly(2)
        assert await told(client) == (431, "fields_too_large")
        assert run.peer.count == 1


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost: h\r\n", GET + b"GET /"])
async def test_a_header_section_has_a_deadline_from_its_first_byte(start: bytes) -> None:
    async with bench(limits=Limits(header_timeout=0.1)) as run:
        client, _ = await run.client(start)
        if start.startswith(GET):
            reader, writer = await run.upstream()
            await head(reader)
            writer.write(OK)
            await head(client)
            await client.readexactly(2)
            writer.close()
        assert await told(client) == (408, "request_timeout")
        await served(run)


async def test_a_byte_now_and_then_does_not_move_the_deadline() -> None:
    async with bench(limits=Limits(header_timeout=0.2)) as run:
        client, sender = await run.client(GET[:-2])
        loop = asyncio.get_running_loop()
        since = loop.time()
        reading = asyncio.create_task(told(client))
        while not reading.done():
            sender.write(b"X: y\r\n")
            await asyncio.wait([reading], timeout=0.02)
        assert reading.result() == (408, "request_timeout")
        assert loop.time() - since < 2


async def test_empty_lines_between_requests_start_no_deadline() -> None:
    async with bench(limits=Limits(header_timeout=0.05)) as run:
        client, sender = await run.client(b"\r\n")
        done, _ = await asyncio.wait([asyncio.create_task(client.read(1))], timeout=0.2)
        assert not done
        sender.write(GET)
        reader, _ = await run.upstream()
        await head(reader)


async def test_a_connection_without_a_request_is_closed_in_silence() -> None:
    async with bench(limits=Limits(idle_timeout=0.1)) as run:
        client, _ = await run.client()
        async with asyncio.timeout(5):
            assert await client.read() == b""


@pytest.mark.parametrize("content_length", [b"Content-Length: 100000\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_content_that_comes_too_slowly_is_a_408_and_never_completed_upstream(content_length: bytes) -> None:
    async with bench(limits=Limits(header_timeout=0.1, content_rate=1000)) as run:
        client, _ = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\n" + content_length + b"\r\n3\r\nabc\r\n")
        reader, writer = await run.upstream()
        assert await told(client) == (408, "request_timeout")
        async with asyncio.timeout(5):
            assert not (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()
        await served(run)


async def test_small_content_that_comes_too_slowly_never_reaches_the_upstream() -> None:
    async with bench(limits=Limits(header_timeout=0.1, content_rate=1000)) as run:
        client, _ = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
        assert await told(client) == (408, "request_timeout")
        assert run.peer.count == 0


async def test_content_that_waits_for_the_upstream_is_not_too_slow() -> None:
    async with bench(keep=10, limits=Limits(header_timeout=0.05, content_rate=1_000_000)) as run:
        size = 16 * 1024 * 1024
        client, sender = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        sender.write(b"x" * size)
        done, _ = await asyncio.wait([asyncio.create_task(client.read(1))], timeout=0.4)
        assert not done
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await reader.readexactly(size)


async def test_a_client_that_waits_for_100_continue_is_not_too_slow() -> None:
    async with bench(keep=10, limits=Limits(header_timeout=0.05, content_rate=1000)) as run:
        client, sender = await run.client(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        )
        reader, writer = await run.upstream()
        await head(reader)
        done, _ = await asyncio.wait([asyncio.create_task(reader.read(1))], timeout=0.3)
        assert not done, "nothing is sent until the upstream says 100"
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await head(client) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sender.write(b"x" * 100)


async def test_content_beyond_the_limit_is_refused_by_its_length_before_it_comes() -> None:
    async with bench(limits=Limits(content=1000)) as run:
        client, _ = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n")
        assert await told(client) == (413, "content_too_large")
        assert run.peer.count == 0


async def test_chunked_content_beyond_the_limit_is_refused_when_it_gets_there() -> None:
    async with bench(limits=Limits(content=1000)) as run:
        client, sender = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        reader, _ = await run.upstream()
        await head(reader)
        for _ in range(10):
            sender.write(b"7b\r\n" + b"x" * 123 + b"\r\n")
        sender.write(b"0\r\n\r\n")
        assert await told(client) == (413, "content_too_large")
        assert not (await reader.read()).endswith(b"0\r\n\r\n")


async def test_a_client_that_takes_nothing_is_cut_and_one_that_takes_a_little_is_not() -> None:
    loop = asyncio.get_running_loop()
    size = 32 * 1024 * 1024
    with socket.socket() as stalled, socket.socket() as slow:
        async with bench(limits=Limits(write_timeout=0.3)) as run:
            sending = []
            for raw in (stalled, slow):
                raw.setblocking(False)
                await loop.sock_connect(raw, ("127.0.0.1", run.port))
                await loop.sock_sendall(raw, GET)
                reader, writer = await run.upstream()
                await head(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
                sending.append(asyncio.create_task(writer.drain()))
            taken = 0
            while not run.log:
                taken += len(await asyncio.wait_for(loop.sock_recv(slow, 100_000), 5))
                await asyncio.sleep(0.02)
            assert [line["outcome"] for line in run.log] == ["aborted"]
            assert taken < size
            assert await loop.sock_recv(slow, 1), "the slow one goes on"
        await asyncio.gather(*sending, return_exceptions=True)


async def test_connections_beyond_the_limit_are_told_so_and_the_others_are_served() -> None:
    async with bench(limits=Limits(connections=3)) as run:
        kept = [await run.client() for _ in range(3)]
        await until(lambda: run.front.count == 3)
        for _ in range(5):
            client, _ = await run.client(GET)
            assert await told(client) == (503, "too_many_connections")
        silent, _ = await run.client()
        kept[0][1].write(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        assert (await head(kept[0][0])).startswith(b"HTTP/1.1 200 ")
        async with asyncio.timeout(5):
            assert await silent.read() == b"", "who says nothing is closed, too"
        kept[1][1].close()
        await until(lambda: run.front.count == 2)
        client, _ = await run.client(GET)
        reader, writer = await run.upstream() if not run.peer.accepted.empty() else (reader, writer)
        await head(reader)
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 ")


async def test_while_draining_idle_connections_are_closed_and_busy_ones_after_their_answer() -> None:
    async with bench() as run:
        idle, _ = await run.client()
        busy, _ = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        run.forwarder.drain()
        draining = asyncio.create_task(run.front.drained())
        async with asyncio.timeout(5):
            assert await idle.read() == b""
        assert not draining.done()
        writer.write(OK)
        assert b"\r\nConnection: close\r\n" in await head(busy)
        async with asyncio.timeout(5):
            await draining


async def test_while_draining_idle_connections_are_closed_a_few_in_each_turn_of_the_loop() -> None:
    async with bench() as run:
        for _ in range(500):
            await run.client()
        await until(lambda: run.front.count == 500)
        draining = asyncio.create_task(run.front.drained())
        closed = []
        while not draining.done():
            before = run.front.count
            await asyncio.sleep(0)
            closed.append(before - run.front.count)
        assert sum(closed) == 500
        assert max(closed) <= 2 * DRAIN_BATCH


async def test_new_limits_hold_for_connections_that_there_are() -> None:
    async with bench() as run:
        client, sender = await run.client()
        await until(lambda: run.front.count == 1)
        run.front.limit(Limits(header_bytes=1024))
        sender.write(request_of(1500))
        assert await told(client) == (431, "fields_too_large")


async def test_an_http_1_0_client_of_half_an_answer_gets_a_reset() -> None:
    async with bench() as run:
        loop = asyncio.get_running_loop()
        with socket.socket() as raw:
            raw.setblocking(False)
            await loop.sock_connect(raw, ("127.0.0.1", run.port))
            await loop.sock_sendall(raw, b"GET / HTTP/1.0\r\n\r\n")
            reader, writer = await run.upstream()
            await head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            got = b""
            while not got.endswith(b"hello"):
                got += await loop.sock_recv(raw, 1000)
            assert b"chunked" not in got
            writer.close()
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(raw, 1000)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("rest", [b"G", b"GET / HTTP/1.1\r\nHost", b"GET / HTTP/1.1\r\nHost: h\r\n\r", b"\r\n"])
async def test_a_request_may_begin_in_the_packet_in_which_content_ends(framing: str, rest: bytes) -> None:
    async with bench() as run:
        lines = b"Content-Length: 5\r\n\r\n" if framing == "length" else b"Transfer-Encoding: chunked\r\n\r\n5\r\n"
        client, sender = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\n" + lines)
        ending = b"hello" if framing == "length" else b"hello\r\n0\r\n\r\n"
        await until(lambda: run.front.count == 1)
        sender.write(ending + rest)
        reader, writer = await run.upstream()
        await head(reader)
        await reader.readuntil(b"hello" if framing == "length" else b"0\r\n\r\n")
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        following = GET if rest == b"\r\n" else GET[len(rest) :] if GET.startswith(rest) else b"\n"
        sender.write(following)
        await head(reader)
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 ")


async def test_a_head_that_began_with_the_end_of_content_has_a_deadline_too() -> None:
    async with bench(limits=Limits(header_timeout=0.1)) as run:
        client, sender = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
        await until(lambda: run.front.count == 1)
        sender.write(b"helloGET / HT")
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        assert await told(client) == (408, "request_timeout")


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0", b"websocket"])
async def test_nothing_behind_content_with_an_upgrade_is_lost_or_taken_for_a_request(upgrade: bytes) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    async with bench() as run:
        lines = b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\nContent-Length: 5\r\n\r\n"
        client, sender = await run.client(b"POST /one HTTP/1.1\r\nHost: h\r\n" + lines)
        await until(lambda: run.front.count == 1)
        sender.write(b"helloPOST /two HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(smuggled))
        reader, writer = await run.upstream()
        await head(reader)
        assert await reader.readexactly(5) == b"hello"
        sender.write(smuggled)
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        assert (await head(reader)).startswith(b"POST /base/two HTTP/1.1\r\n")
        assert await reader.readexactly(len(smuggled)) == smuggled
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 ")


async def test_the_end_of_content_in_a_packet_of_its_own_starts_no_deadline() -> None:
    async with bench(limits=Limits(header_timeout=0.05)) as run:
        client, sender = await run.client(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
        )
        reader, writer = await run.upstream()
        await head(reader)
        sender.write(b"\r\n")
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        done, _ = await asyncio.wait([asyncio.create_task(client.read(1))], timeout=0.3)
        assert not done, "no 408 for a request that nobody began"


@pytest.mark.parametrize(
    "bad",
    [
        b"GET  /evil HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /evil RTSP/1.0\r\nHost: h\r\n\r\n",
        b"GET /evil HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
    ],
)
async def test_a_head_behind_content_is_judged_like_any_other(bad: bytes) -> None:
    async with bench() as run:
        client, sender = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
        await until(lambda: run.front.count == 1)
        sender.write(b"hello" + bad)
        reader, writer = await run.upstream()
        await head(reader)
        await reader.readexactly(5)
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        assert (await told(client))[0] in (400, 431)


async def test_what_comes_behind_a_declined_upgrade_is_served_and_bounded() -> None:
    slow = Limits(header_timeout=0.1, content_rate=1000)
    async with bench(limits=slow, keeping=Keeping(memory=1000, limit=1_000_000)) as run:
        client, sender = await run.client(
            b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc"
        )
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        await head(reader)
        sender.write(b"d" * 40_000)
        assert await reader.readexactly(40_003) == b"abc" + b"d" * 40_000
        assert await told(client) == (408, "request_timeout")


async def test_a_slow_request_is_found_after_one_that_expected_100_continue() -> None:
    async with bench(limits=Limits(header_timeout=0.1, content_rate=1000)) as run:
        client, sender = await run.client(
            b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n0\r\n\r\n"
        )
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        while b"200 OK" not in await head(client):
            pass
        await client.readexactly(2)
        sender.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
        assert await told(client) == (408, "request_timeout")


async def test_a_client_that_leaves_while_its_upload_is_parked_is_noticed() -> None:
    async with bench(limits=Limits(header_timeout=0.2), keeping=Keeping(memory=10, limit=1 << 20)) as run:
        run.session.gate.hold()
        _, sender = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 10)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: run.session.replaced == [1])
        sender.write(b"x" * 250_000)  # more than is read while the request waits, and less than the kernel takes
        await sender.drain()
        assert run.forwarder.active == 1
        sender.close()
        await until(lambda: run.forwarder.active == 0)
        assert run.log[0]["outcome"] == "aborted"
        assert run.forwarder.spool.used == 0


BROWSER = b"GET / HTTP/1.1\r\nHost: h\r\nACCEPT: text/html,*/*;q=0.8\r\n"


@pytest.mark.parametrize(
    ("rest", "status", "page"),
    [
        (b"Cookie: " + b"c" * 5000 + b"\r\n\r\n", 431, True),  # one line is too long
        ((b"X: " + b"c" * 900 + b"\r\n") * 5 + b"\r\n", 431, True),  # all are too long together
        (b"X: y\r\n" * 10 + b"\r\n", 431, True),
        ((b"X: " + b"c" * 900 + b"\r\n") * 5, 431, False),  # what else would have come?
        (b"Space : x\r\n\r\n", 400, False),
    ],
    ids=["line", "section", "fields", "not whole", "malformed"],
)
async def test_a_browser_whose_header_section_was_readable_gets_a_page(rest: bytes, status: int, page: bool) -> None:
    async with bench(limits=Limits(header_bytes=4096, header_fields=8)) as run:
        client, _ = await run.client(BROWSER + rest)
        answer = await head(client)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert (b"\r\nContent-Type: text/html; charset=utf-8\r\n" in answer) == page
        assert (b"\r\nContent-Type: application/problem+json\r\n" in answer) != page


@pytest.mark.parametrize(("accept", "page"), [(b"Accept: text/html\r\n", True), (b"Accept: */*\r\n", False)])
async def test_a_browser_beyond_the_connections_there_may_be_gets_a_page(accept: bytes, page: bool) -> None:
    async with bench(limits=Limits(connections=1)) as run:
        await run.client()
        client, _ = await run.client(b"GET / HTTP/1.1\r\nHost: h\r\n" + accept + b"\r\n")
        answer = await head(client)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert (b"\r\nContent-Type: text/html; charset=utf-8\r\n" in answer) == page
