"""The main path, from raw bytes to raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from reauth_proxy.errors import LoggedOut
from reauth_proxy.forward.spool import Keeping
from reauth_proxy.upstream.connection import Connection
from reauth_proxy.upstream.pool import PoolLimits
from tests.fakes.arrivals import until
from tests.forward.harness import bench, head

GET = b"GET /a%2Fb?x= HTTP/1.1\r\nHost: localhost:8080\r\nX-Request-Id: me\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REJECTED = b"HTTP/1.1 401 Unauthorized\r\nX-From: upstream\r\nContent-Length: 3\r\n\r\nbad"


def post(content: bytes, *fields: bytes) -> bytes:
    lines = b"".join(field + b"\r\n" for field in (b"Content-Length: %d" % len(content), *fields))
    return b"POST /p HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n" + content


async def test_a_request_reaches_the_upstream_with_the_token_and_its_answer_the_client() -> None:
    async with bench() as run:
        client, _ = await run.client(GET)
        reader, writer = await run.upstream()
        assert await head(reader) == (
            b"GET /base/a%2Fb?x= HTTP/1.1\r\n"
            b"Host: api.example\r\n"
            b"X-Forwarded-For: 127.0.0.1\r\n"
            b"X-Forwarded-Host: localhost:8080\r\n"
            b"X-Forwarded-Proto: http\r\n"
            b"Via: 1.1 reauth-proxy\r\n"
            b"X-Request-Id: me\r\n"
            b"Authorization: Bearer CANARY-1\r\n"
            b"\r\n"
        )
        writer.write(b"HTTP/1.1 299 As You Like\r\nb: 1\r\nA: 2\r\nContent-Length: 2\r\n\r\nok")
        assert await head(client) == b"HTTP/1.1 299 As You Like\r\nb: 1\r\nA: 2\r\nContent-Length: 2\r\n\r\n"
        assert await client.readexactly(2) == b"ok"
        assert run.log[0] | {"duration": 0} == {
            "id": "me",
            "method": "GET",
            "path": "/a%2Fb",
            "status": 299,
            "duration": 0,
            "generation": 1,
            "outcome": "forwarded",
            "size": 2,
        }


async def test_the_client_and_the_upstream_keep_their_connections() -> None:
    async with bench() as run:
        client, sender = await run.client(GET)
        reader, writer = await run.upstream()
        for _ in range(3):
            await head(reader)
            writer.write(OK)
            await head(client)
            await client.readexactly(2)
            sender.write(GET)
        await head(reader)
        assert run.peer.count == 1


async def test_with_no_session_the_request_goes_without_authorization() -> None:
    async with bench() as run:
        run.session.current = None
        await run.client(GET[:-2] + b"Authorization: Basic abc\r\n\r\n")
        reader, _ = await run.upstream()
        assert b"uthorization" not in await head(reader)


async def test_a_rejected_token_is_replaced_and_the_request_sent_again_once() -> None:
    async with bench() as run:
        client, _ = await run.client(post(b"content"))
        reader, writer = await run.upstream()
        first = await head(reader) + await reader.readexactly(7)
        writer.write(REJECTED)
        second = await head(reader) + await reader.readexactly(7)
        assert second == first.replace(b"CANARY-1", b"CANARY-2")
        writer.write(REJECTED)
        assert await head(client) == b"HTTP/1.1 401 Unauthorized\r\nX-From: upstream\r\nContent-Length: 3\r\n\r\n"
        assert run.session.replaced == [1, 2]
        assert run.log == [] or run.log[0]["outcome"] == "replayed"


async def test_a_rejection_that_is_to_be_relayed_is_relayed_as_it_is() -> None:
    async with bench() as run:
        run.session.newer = None
        client, _ = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(REJECTED)
        assert await head(client) == b"HTTP/1.1 401 Unauthorized\r\nX-From: upstream\r\nContent-Length: 3\r\n\r\n"
        assert await client.readexactly(3) == b"bad"


async def test_a_rejection_with_long_content_survives_being_held() -> None:
    async with bench() as run:
        run.session.newer = None
        client, _ = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 500000\r\n\r\n" + b"x" * 100_000)
        await head(client)
        writer.write(b"x" * 400_000)
        assert await client.readexactly(500_000) == b"x" * 500_000


async def test_a_session_that_ended_is_answered_with_the_signal() -> None:
    async with bench() as run:
        run.session.newer = LoggedOut("refresh_denied", "The session has ended.")
        client, sender = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(REJECTED)
        assert b"\r\nReauth-Signal: logout;reason=refresh_denied\r\n" in await head(client)
        sender.write(GET)  # the connection stays open
        await head(reader)


async def test_an_upstream_never_says_the_signal() -> None:
    async with bench() as run:
        client, _ = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nReauth-Signal: logout\r\nContent-Length: 0\r\n\r\n")
        assert b"Reauth-Signal" not in await head(client)


async def test_content_too_long_to_keep_is_streamed_fresh_first_and_expected() -> None:
    async with bench(keep=10) as run:
        run.session.current = None  # the fast question has no answer, so the session is asked
        client, sender = await run.client(b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n0123456789")
        reader, writer = await run.upstream()
        assert run.session.asked == [True]
        assert b"\r\nExpect: 100-continue\r\n" in await head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(10) == b"0123456789"
        sender.write(b"abcdefghij")
        assert await reader.readexactly(10) == b"abcdefghij"
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_content_too_long_to_keep_gets_the_resend_signal_when_it_was_rejected() -> None:
    async with bench(keep=10) as run:
        client, _ = await run.client(post(b"x" * 50))
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(50)
        writer.write(REJECTED)
        answer = await head(client)
        assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\nReauth-Signal: resend\r\nX-From: upstream\r\n")
        assert run.session.replaced == [1]
        assert await client.readexactly(3) == b"bad"


async def test_an_early_answer_reaches_the_client_while_the_upload_runs() -> None:
    async with bench(keep=10) as run:
        client, _ = await run.client(b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nfirst")
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        answer = await head(client)
        assert answer.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert await reader.read() == b""  # dropped, and not one byte of content was sent


async def test_chunked_content_is_kept_while_it_passes() -> None:
    async with bench() as run:
        client, sender = await run.client(b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        reader, writer = await run.upstream()
        assert b"\r\nTransfer-Encoding: chunked\r\n" in await head(reader)
        sender.write(b"3\r\nabc\r\n")
        assert await reader.readexactly(8) == b"3\r\nabc\r\n"
        sender.write(b"2\r\nde\r\n0\r\n\r\n")
        assert await reader.readexactly(12) == b"2\r\nde\r\n0\r\n\r\n"
        writer.write(REJECTED)
        await head(reader)
        assert await reader.readexactly(15) == b"5\r\nabcde\r\n0\r\n\r\n"
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async with bench() as run:
        client, sender = await run.client(
            b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert await head(client) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sender.write(b"abc")
        reader, writer = await run.upstream()
        assert b"Expect" not in await head(reader)
        assert await reader.readexactly(3) == b"abc"
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_client_with_long_content_goes_on_when_the_upstream_does() -> None:
    async with bench(keep=1) as run:
        client, sender = await run.client(
            b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await head(client) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sender.write(b"abc")
        assert await reader.readexactly(3) == b"abc"
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_stream_passes_chunk_by_chunk() -> None:
    async with bench() as run:
        client, _ = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b"\r\nTransfer-Encoding: chunked\r\n" in await head(client)
        for event in (b"data: 1\n\n", b"data: 22\n\n"):
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            assert await client.readexactly(len(event) + 5) == b"%x\r\n%b\r\n" % (len(event), event)
        writer.write(b"0\r\n\r\n")
        assert await client.readexactly(5) == b"0\r\n\r\n"


async def test_an_http_1_0_client_gets_no_chunks() -> None:
    async with bench() as run:
        client, _ = await run.client(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        reader, writer = await run.upstream()
        assert b"\r\nVia: 1.0 reauth-proxy\r\n" in await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        assert await head(client) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        assert await client.read() == b"ok"


@pytest.mark.parametrize(
    ("status", "expected"), [(b"204 No Content", b""), (b"304 Not Modified", b"Content-Length: 5\r\n")]
)
async def test_answers_without_content_keep_the_connection(status: bytes, expected: bytes) -> None:
    async with bench() as run:
        client, sender = await run.client(GET)
        reader, writer = await run.upstream()
        for _ in range(2):
            await head(reader)
            writer.write(b"HTTP/1.1 " + status + b"\r\n" + expected + b"\r\n")
            assert await head(client) == b"HTTP/1.1 " + status + b"\r\n" + expected + b"\r\n"
            sender.write(GET)


async def test_rfc9110_8_6_a_204_loses_the_length_that_it_must_not_have() -> None:
    async with bench() as run:
        client, _ = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nA: b\r\n\r\n")
        assert await head(client) == b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n"


async def test_the_answer_to_a_head_keeps_its_length() -> None:
    async with bench() as run:
        client, sender = await run.client(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        assert await head(client) == b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
        sender.write(GET)
        await head(reader)
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n64\r\nhalf"]
)
async def test_half_an_answer_is_never_made_to_look_whole(framing: bytes) -> None:
    async with bench() as run:
        client, _ = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing)
        await head(client)
        writer.close()
        rest = b""
        with contextlib.suppress(ConnectionResetError):
            rest = await client.read()
        assert not rest.endswith(b"0\r\n\r\n")
        assert len(rest) < 100


async def test_a_client_that_leaves_drops_the_upstream_request() -> None:
    async with bench() as run:
        _, sender = await run.client(GET)
        reader, _ = await run.upstream()
        await head(reader)
        sender.close()
        assert await reader.read() == b""
        while not run.log:
            await asyncio.sleep(0)
        assert run.log[0]["outcome"] == "aborted"


async def test_an_upload_that_breaks_off_is_never_completed_upstream() -> None:
    async with bench(keep=1) as run:
        _, sender = await run.client(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        reader, _ = await run.upstream()
        await head(reader)
        await reader.readexactly(8)
        sender.close()
        assert await reader.read() == b""


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "method_not_supported"),
        (b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 405, "method_not_supported"),
        (b"GET http://evil/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00", 400, "bad_request"),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 431, "fields_too_large"),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            "transfer_coding_unsupported",
        ),
    ],
)
async def test_what_is_refused_never_reaches_the_upstream(request_bytes: bytes, status: int, code: str) -> None:
    async with bench() as run:
        client, _ = await run.client(request_bytes)
        answer = await client.read()
        fields, _, content = answer.partition(b"\r\n\r\n")
        assert fields.startswith(b"HTTP/1.1 %d " % status)
        assert json.loads(content)["code"] == code
        assert run.peer.count == 0


async def test_an_upstream_that_is_slow_or_strange_is_answered_for() -> None:
    async with bench(response_timeout=0.05) as run:
        client, sender = await run.client(GET)
        reader, _ = await run.upstream()
        answer = await head(client)
        assert answer.startswith(b"HTTP/1.1 504 ")
        await client.readexactly(int(answer.partition(b"Content-Length: ")[2].split(b"\r\n")[0]))
        assert await head(reader)
        assert await reader.read() == b""
        sender.write(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"SMTP ready\r\n\r\n")
        assert (await head(client)).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(("method", "tries"), [(b"GET", 2), (b"POST", 1)])
async def test_rfc9110_9_2_2_only_idempotent_requests_are_sent_again_on_a_stale_connection(
    method: bytes, tries: int
) -> None:
    async with bench() as run:
        client, sender = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        sender.write(method + b" / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        await head(reader)
        writer.close()
        if tries == 2:
            reader, writer = await run.upstream()
            await head(reader)
            writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 " if tries == 2 else b"HTTP/1.1 502 ")
        assert run.peer.count == tries


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"3\r\nabcX"])
async def test_content_with_broken_framing_is_never_completed_upstream(chunk: bytes) -> None:
    async with bench() as run:
        client, _ = await run.client(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" + chunk
        )
        answer = await client.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        while not run.peer.accepted.empty():
            reader, _ = await run.upstream()
            assert not (await reader.read()).endswith(b"0\r\n\r\n")


async def test_content_longer_than_memory_is_replayed_from_disk_as_it_was() -> None:
    content = bytes(range(256)) * 400
    async with bench(keeping=Keeping(memory=1000, limit=1_000_000)) as run:
        client, sender = await run.client(b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(content))
        reader, writer = await run.upstream()
        assert b"Expect" not in await head(reader), "it can be sent again, so nobody has to wait"
        sender.write(content)
        assert await reader.readexactly(len(content)) == content
        assert run.forwarder.spool.open_files == 1
        writer.write(REJECTED)
        assert b"\r\nAuthorization: Bearer CANARY-2\r\n" in await head(reader)
        assert await reader.readexactly(len(content)) == content
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert (run.forwarder.spool.used, run.forwarder.spool.open_files) == (0, 0)


async def test_content_rejected_in_its_middle_is_sent_again_from_its_beginning_while_the_rest_comes() -> None:
    content = bytes(range(256)) * 4000
    async with bench(keeping=Keeping(memory=1000, limit=10_000_000)) as run:
        client, sender = await run.client(b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(content))
        reader, writer = await run.upstream()
        await head(reader)
        sender.write(content[:300_000])
        assert await reader.readexactly(300_000) == content[:300_000]
        writer.write(REJECTED)
        reader, writer = await run.upstream()
        assert b"\r\nAuthorization: Bearer CANARY-2\r\n" in await head(reader)
        sender.write(content[300_000:])
        assert await reader.readexactly(len(content)) == content
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_content_of_any_length_is_sent_again_when_it_was_rejected_before_a_byte_of_it() -> None:
    async with bench(keep=10) as run:
        client, _ = await run.client(post(b"x" * 50))
        reader, writer = await run.upstream()
        assert b"\r\nExpect: 100-continue\r\n" in await head(reader)
        writer.write(REJECTED)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(50) == b"x" * 50
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_upstream_that_never_says_100_gets_the_content_all_the_same() -> None:
    async with bench(keep=10, expect_timeout=0.05) as run:
        await run.client(post(b"x" * 50, b"Expect: 100-continue"))
        reader, _ = await run.upstream()
        await head(reader)
        assert await reader.readexactly(50) == b"x" * 50


async def test_an_upstream_that_takes_no_content_is_a_504() -> None:
    async with bench(keep=10, pool_limits=PoolLimits(write_timeout=0.1)) as run:
        client, sender = await run.client(b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        _, writer = await run.upstream()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        sender.write((b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 16)
        assert (await head(client)).startswith(b"HTTP/1.1 504 ")


async def test_a_request_that_would_wait_with_more_content_than_all_may_hold_is_refused_at_once() -> None:
    async with bench(keeping=Keeping(memory=1000, limit=1000, total=1500)) as run:
        await run.client(post(b"x" * 1000))
        first, _ = await run.upstream()
        await head(first)
        run.session.current = None
        client, _ = await run.client(post(b"y" * 1000))
        answer = await head(client)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert run.session.asked == []
        await run.client(post(b"z" * 400))
        second, _ = await run.upstream()
        await head(second)
        assert run.forwarder.spool.used == 1400


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("PUT", 2), ("POST", 1)])
async def test_a_kept_connection_that_breaks_is_tried_again_only_where_the_method_allows(
    method: str, times: int
) -> None:
    async with bench(keep=10) as run:
        client, sender = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        content = b"c" * 50 if method != "GET" else b""  # streamed, not kept as a whole
        lines = b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + content + b"\r\n0\r\n\r\n" if content else b"\r\n"
        sender.write(method.encode() + b" / HTTP/1.1\r\nHost: h\r\n" + lines)
        await head(reader)
        writer.close()
        if times == 2 and method == "GET":
            reader, writer = await run.upstream()
            await head(reader)
            writer.write(OK)
            assert (await head(client)).startswith(b"HTTP/1.1 200 ")
        elif times == 1:
            assert (await head(client)).startswith(b"HTTP/1.1 502 ")
            assert run.peer.count == 1


async def test_interim_answers_are_passed_on_and_filtered_and_not_to_http_1_0() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nReauth-Signal: logout\r\n\r\n"
    async with bench() as run:
        client, _ = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + hints)
        assert await head(client) == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        old, _ = await run.client(b"GET / HTTP/1.0\r\n\r\n")
        await head(reader)
        writer.write(hints + OK)
        assert (await head(old)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_head_with_long_content_gets_no_content() -> None:
    async with bench(keep=10) as run:
        client, sender = await run.client(
            b"HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        )
        reader, writer = await run.upstream()
        await head(reader)
        sender.write(b"0\r\n\r\n")
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
        assert b"\r\nContent-Length: 1234\r\n" in await head(client)
        sender.write(GET)
        reader, writer = await run.upstream() if run.peer.count > 1 else (reader, writer)
        await head(reader)
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")


async def test_an_upstream_that_does_not_know_our_expectation_gets_the_request_without() -> None:
    async with bench(keep=10) as run:
        client, _ = await run.client(post(b"x" * 50))
        reader, writer = await run.upstream()
        assert b"\r\nExpect: 100-continue\r\n" in await head(reader)
        writer.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        reader, writer = await run.upstream()
        assert b"Expect" not in await head(reader)
        assert await reader.readexactly(50) == b"x" * 50
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_long_uploads_without_a_session_wait_for_nobody_and_reserve_nothing() -> None:
    async with bench(keeping=Keeping(memory=10, limit=10, total=100)) as run:
        run.session.current = None
        run.session.waits = False
        for _ in range(3):
            await run.client(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            reader, _ = await run.upstream()
            await head(reader)
        assert run.forwarder.spool.used == 0


async def test_a_connection_on_which_content_is_still_being_written_gets_no_other_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = asyncio.Event()
    taken = asyncio.Event()
    write, drain = Connection.write, Connection.drain
    last = [b""]

    def noted(connection: Connection, data: bytes) -> None:
        last[0] = data
        write(connection, data)

    async def slow(connection: Connection) -> None:
        await drain(connection)
        if last[0] == b"0\r\n\r\n":
            written.set()
            await taken.wait()

    monkeypatch.setattr(Connection, "write", noted)
    monkeypatch.setattr(Connection, "drain", slow)
    async with bench() as run:
        client, sender = await run.client(b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        reader, writer = await run.upstream()
        await head(reader)
        sender.write(b"3\r\nabc\r\n0\r\n\r\n")
        await written.wait()
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 ")
        await client.readexactly(2)
        sender.write(GET)
        reader, writer = await run.upstream()
        await head(reader)
        taken.set()
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 ")


BIG = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 500000\r\n\r\n" + b"x" * 100_000


async def test_a_rejecting_answer_that_nobody_will_read_is_given_up_before_its_request_is_parked() -> None:
    async with bench() as run:
        run.session.gate.hold()
        client, _ = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(BIG)
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(5):
                assert await reader.read() == b"", "the connection is closed while the request waits"
        assert run.session.replaced == [1]
        run.session.gate.release()
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 ")


async def test_a_rejecting_answer_that_will_be_passed_on_is_counted_while_its_request_is_parked() -> None:
    async with bench(keeping=Keeping(memory=10, limit=10, total=500_150)) as run:
        run.session.gate.hold()
        client, _ = await run.client(post(b"y" * 100))
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(100)
        writer.write(BIG)
        await until(lambda: run.session.replaced == [1])
        assert run.forwarder.spool.used == 500_100
        other, _ = await run.client(post(b"z" * 100))
        reader, second = await run.upstream()
        await head(reader)
        second.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(100)
        second.write(REJECTED)
        assert (await head(other)).startswith(b"HTTP/1.1 503 ")
        run.session.gate.release()
        writer.write(b"x" * 400_000)
        assert b"Reauth-Signal: resend" in await head(client)
        assert await client.readexactly(500_000) == b"x" * 500_000
        await until(lambda: run.forwarder.spool.used == 0)


async def test_content_sent_again_on_a_new_connection_is_still_there_for_the_replay() -> None:
    content = b"c" * 5000 + b"d" * 5000
    async with bench(keeping=Keeping(memory=10, limit=20_000)) as run:
        client, sender = await run.client(GET)
        reader, writer = await run.upstream()
        await head(reader)
        writer.write(OK)
        await head(client)
        await client.readexactly(2)
        sender.write(b"PUT /p HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n" + content[:5000])
        await head(reader)
        await reader.readexactly(5000)
        writer.close()
        reader, writer = await run.upstream()
        await head(reader)
        assert await reader.readexactly(5000) == content[:5000]
        sender.write(content[5000:])
        assert await reader.readexactly(5000) == content[5000:]
        writer.write(REJECTED)
        assert b"\r\nAuthorization: Bearer CANARY-2\r\n" in await head(reader)
        assert await reader.readexactly(10_000) == content
        writer.write(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 ")
    assert run.log[-1]["outcome"] == "replayed"
