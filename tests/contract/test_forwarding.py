"""What passes through, byte for byte, and what does not; and what the proxy says where an upstream fails."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import connect, fetch
from tests.fakes.daemon import running_daemon
from tests.fakes.upstream import Exchange, FakeUpstream

HOP_BY_HOP = [
    ("Connection", "close, X-Hop"),
    ("X-Hop", "1"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("Proxy-Authorization", "Basic eA=="),
    ("TE", "trailers"),
    ("Trailer", "X"),
    ("Upgrade", "h2c"),
    ("HTTP2-Settings", "AAA"),
]


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/a/b/",
        "//double//slashes",
        "/a/../b/./c",
        "/%2e%2e/%2F%25%zz",
        "/caf%C3%A9",
        "/a;b=c,d@e:f!$&'()*+",
        "/?",
        "/?a=b&a=c&&=&d",
        "/?redirect=http://x/?y=z#not-a-fragment-here",
        "/?q=%20+%2B[]{}|^`\\",
        "/" + "long" * 1500,
    ],
)
async def test_the_target_reaches_the_upstream_byte_for_byte(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, target: str
) -> None:
    target = target.partition("#")[0]
    async with running_daemon(authorization, upstream) as daemon:
        assert (await fetch(daemon.url, target)).status == 200
    assert upstream.requests[0].line == f"GET {target} HTTP/1.1".encode()


async def test_the_upstream_s_path_stands_in_front(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, upstream=f"{upstream.url}/v2/") as daemon:
        await fetch(daemon.url, "/orders?x=%2F")
    assert upstream.requests[0].target == "/v2/orders?x=%2F"


async def test_fields_pass_in_order_with_repeats_and_the_client_s_token_is_replaced(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    fields = [
        ("X-One", "1"),
        ("Authorization", "Bearer of-the-client"),
        ("Accept", "text/plain"),
        ("x-two", "a, b"),
        ("X-One", "again"),
        ("Cookie", "a=b; c=d"),
        ("Accept-Encoding", "br"),
        ("X-Empty", ""),
    ]
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url, fields=fields)
    (received,) = upstream.requests
    kept = [field for field in fields if field[0] != "Authorization"]
    assert [field for field in received.fields if field in kept] == kept
    assert received.values("authorization") == ["Bearer access-CANARY-1"]
    assert received.values("host") == [f"127.0.0.1:{upstream.port}"]


async def test_hop_by_hop_fields_and_forged_forwarding_end_here(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    forged = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Host", "evil.example"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6"),
        ("Reauth-Client-Token", "x"),
    ]
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url, fields=HOP_BY_HOP + forged)
    (received,) = upstream.requests
    names = {name.lower() for name, _ in received.fields}
    gone = {name.lower() for name, _ in [*HOP_BY_HOP, ("X_Forwarded_For", ""), ("Forwarded", "")]}
    assert not names & gone
    assert not [name for name in names if name.startswith("reauth-")]
    assert received.values("x-forwarded-for") == ["127.0.0.1"]
    assert received.values("x-forwarded-host") == [daemon.url.removeprefix("http://")]
    assert received.values("x-forwarded-proto") == ["http"]
    assert len(received.values("via")) == 1


async def test_an_answer_s_hop_by_hop_fields_end_here_and_the_rest_passes_with_repeats(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async def answer(exchange: Exchange) -> None:
        fields = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Path=/"), ("Connection", "X-Hop"), ("X-Hop", "1")]
        await exchange.answer(200, b"\x1f\x8bnot really gzip", *fields, ("Content-Encoding", "gzip"))

    upstream.on["/answer"] = answer
    async with running_daemon(authorization, upstream) as daemon:
        got = await fetch(daemon.url, "/answer")
    assert got.content == b"\x1f\x8bnot really gzip"
    assert got.values("set-cookie") == ["a=1", "b=2; Path=/"]
    assert got.value("content-encoding") == "gzip"
    assert got.value("x-hop") is None


@pytest.mark.parametrize("status", [200, 201, 206, 301, 302, 307, 308, 400, 403, 404, 418, 500, 503])
async def test_statuses_and_redirects_are_passed_on_and_never_followed(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, status: int
) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(status, b"content", ("Location", "/elsewhere"), reason="A Reason")

    upstream.on["/here"] = answer
    async with running_daemon(authorization, upstream) as daemon:
        got = await fetch(daemon.url, "/here")
    assert got.head.startswith(f"HTTP/1.1 {status} A Reason\r\n".encode())
    assert (got.value("Location"), got.content) == ("/elsewhere", b"content")
    assert upstream.count == 1
    assert authorization.count == 1


async def test_head_204_and_304_have_no_content_and_the_connection_goes_on(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon, await connect(daemon.url) as client:
        await client.request("/big/1234", method="HEAD")
        answer = await client.answer(to="HEAD")
        assert (answer.status, answer.value("Content-Length")) == (200, "1234")
        for status in (204, 304):
            await client.request(f"/status/{status}")
            answer = await client.answer()
            assert (answer.status, answer.content) == (status, b"")
            assert answer.value("Transfer-Encoding") is None
        await client.request("/last")
        assert (await client.answer()).status == 200
    assert upstream.accepted == 1, "connections to the upstream are kept"


async def test_each_chunk_of_an_event_stream_arrives_before_the_next_is_sent(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon, await connect(daemon.url) as client:
        await client.request("/stream", fields=[("Accept", "text/event-stream")])
        head = await client.head()
        assert b"200" in head
        assert b"text/event-stream" in head
        for number in range(5):
            event = b"data: %d\n\n" % number
            upstream.events.put_nowait(event)
            async with asyncio.timeout(5):
                while await client.reader.readuntil(b"\n") != event[:-1]:
                    pass
        upstream.events.put_nowait(None)
        async with asyncio.timeout(5):
            assert (await client.reader.readuntil(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")


async def test_an_event_stream_goes_on_while_its_token_expires_and_is_replaced(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon, await connect(daemon.url) as client:
        await client.request("/stream")
        await client.head()
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
        upstream.events.put_nowait(b"data: still here\n\n")
        async with asyncio.timeout(5):
            assert b"still here" in await client.reader.readuntil(b"\n\n")
        upstream.events.put_nowait(None)
    assert len(upstream.seen("/stream")) == 1


async def test_a_client_that_leaves_a_stream_closes_the_upstream_s_connection(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        client = await connect(daemon.url)
        await client.request("/stream")
        await client.head()
        client.abort()
        async with asyncio.timeout(5):
            while upstream.open and upstream.events.qsize() < 1000:
                upstream.events.put_nowait(b"data: anybody?\n\n" * 100)
                await asyncio.sleep(0)
            upstream.events.put_nowait(None)
        await upstream.closed(1)


async def test_big_downloads_and_uploads_pass_whole(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    content = bytes(range(256)) * 40_000
    async with running_daemon(authorization, upstream) as daemon:
        download = await fetch(daemon.url, "/big/20000000")
        upload = await fetch(daemon.url, "/upload", method="PUT", content=content)
    assert (len(download.content), download.status) == (20_000_000, 200)
    assert upload.status == 200
    assert upstream.seen("/upload")[0].content == content


async def test_half_an_answer_is_never_made_to_look_whole(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon, await connect(daemon.url) as client:
        await client.request("/half")
        head = await client.head()
        assert b"Content-Length: 100" in head
        async with asyncio.timeout(5):
            assert await client.reader.read() == b"0123456789"


async def test_an_upstream_that_is_not_there_is_a_502_and_the_session_is_not_touched(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        upstream.close_listener()
        told = await fetch(daemon.url)
        assert (told.status, json.loads(told.content)["code"]) == (502, "upstream_unreachable")
        assert (told.value("Proxy-Status") or "").startswith("reauth-proxy; error=destination_unavailable")
        assert told.value("Reauth-Signal") is None
        assert len(daemon.events("upstream.failed")) == 1
        await upstream.start()
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 1


async def test_an_upstream_that_drops_a_post_is_a_502_and_the_post_is_not_sent_again(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        told = await fetch(daemon.url, "/drop", method="POST", content=b"once")
        assert (told.status, json.loads(told.content)["code"]) == (502, "upstream_unreachable")
    assert len(upstream.seen("/drop")) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-something\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_an_answer_that_could_be_read_two_ways_is_a_502_or_cut_off(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, data: bytes
) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.close()

    upstream.on["/odd"] = answer
    async with running_daemon(authorization, upstream) as daemon, await connect(daemon.url) as client:
        await client.request("/odd")
        async with asyncio.timeout(5):
            got = await client.reader.read(1 << 16)
    if got.startswith(b"HTTP/1.1 200"):
        assert b"0\r\n\r\n" not in got, "broken content is not made to look whole"
    else:
        assert got.startswith(b"HTTP/1.1 502")
        assert b'"code":"upstream_malformed"' in got


async def test_an_upstream_that_says_nothing_is_a_504(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, timeouts={"response": "50ms"}) as daemon:
        upstream.hold()
        told = await fetch(daemon.url, "/held")
        assert (told.status, json.loads(told.content)["code"]) == (504, "upstream_timeout")
        upstream.release()
        assert (await fetch(daemon.url)).status == 200


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "bad_request"),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_supported"),
        (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 405, "method_not_supported"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            "transfer_coding_unsupported",
        ),
    ],
)
async def test_what_a_lenient_parser_could_read_two_ways_is_refused(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, request_: bytes, status: int, code: str
) -> None:
    async with running_daemon(authorization, upstream) as daemon, await connect(daemon.url) as client:
        await client.send(request_)
        told = await client.answer()
        assert (told.status, json.loads(told.content)["code"]) == (status, code)
        assert told.value("Content-Type") == "application/problem+json"
    assert upstream.count == 0


async def test_a_websocket_handshake_that_is_rejected_is_replayed_and_then_a_raw_tunnel(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async def switch(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await exchange.send(b"\x81\x05hello")

    upstream.on["/socket"] = switch
    fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    fields += [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        async with await connect(daemon.url) as client:
            await client.request("/socket", fields=fields)
            head = await client.head()
            assert head.startswith(b"HTTP/1.1 101 ")
            async with asyncio.timeout(5):
                assert await client.reader.readexactly(7) == b"\x81\x05hello"
    assert [received.token for received in upstream.seen("/socket")] == ["access-CANARY-1", "access-CANARY-2"]
    assert authorization.count == 2


async def test_a_rejection_that_never_ends_is_given_up_and_its_connection_is_closed(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async def reject_for_ever(exchange: Exchange) -> None:
        if exchange.received.token == "access-CANARY-2":
            await exchange.answer(200, b"here you are")
        else:
            await exchange.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 1000000\r\n\r\nno, because")

    upstream.on["/public/endless"] = reject_for_ever
    async with running_daemon(authorization, upstream) as daemon:
        answer = await fetch(daemon.url, "/public/endless")
        assert (answer.status, answer.content) == (200, b"here you are")
        await upstream.closed(1)
        assert upstream.open == 1
    assert authorization.count == 2
