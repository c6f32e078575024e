"""What Go's tests of its reverse proxy ask for (net/http/httputil, by name), asked of this one.

Names begin with TestReverseProxy where they begin with "…".

==========================================  ==========================================================================
Go                                          here
==========================================  ==========================================================================
TestReverseProxy                            test_an_exchange_passes_and_what_is_hop_by_hop_does_not,
                                            test_an_upstream_that_hangs_up_is_a_502
…StripHeadersPresentInConnection            test_fields_named_by_connection_end_here_both_ways
…StripEmptyConnection                       test_an_empty_connection_field_names_nothing_and_hides_nothing
…ConnectionResponseFields                   test_fields_named_by_an_answer_s_connection_end_here
TestConnectionResponseEndpoint              test_an_upstream_s_connection_options_are_not_the_client_s
…ConnectionHTTP2Origin                      does not apply: HTTP/2 is spoken on neither side
…ConnectionStreamingReuse                   test_a_connection_is_used_again_after_a_streamed_answer
TestXForwardedFor                           test_a_client_s_forwarding_fields_are_replaced_by_ours (Go appends)
TestXForwardedFor_Omit                      test_a_client_without_an_address_has_no_x_forwarded_for
…RewriteStripsForwarded                     test_a_client_s_forwarding_fields_are_replaced_by_ours
…Query                                      test_a_query_passes_as_it_is; an upstream URL with a query is not accepted
                                            (test_an_upstream_s_url_has_no_query)
…FlushInterval                              test_content_arrives_while_the_answer_goes_on
…FlushIntervalHeaders                       test_the_header_section_arrives_before_any_content
…Cancellation                               test_a_client_that_leaves_ends_the_upstream_s_request
TestNilBody                                 test_a_request_without_content_stays_without_framing
TestUserAgentHeader                         test_no_user_agent_is_made_up
…GetPutBuffer                               does not apply: there is no pool of buffers to hand in
…_Post                                      test_a_megabyte_of_content_reaches_the_upstream_unchanged
…_NilBody                                   test_an_empty_request_may_be_sent_again_on_a_new_connection
…_AllocatedHeader                           does not apply: fields are no map that could be nil
…ModifyResponse                             test_configured_changes_to_an_answer (fields; there is no code to hook in)
…ErrorHandler                               test_each_failure_of_the_upstream_has_its_own_answer; the hooks do not apply
…_CopyBuffer                                test_an_answer_cut_short_is_cut_short_for_the_client_and_logged
BenchmarkServeHTTP                          does not apply: bench/
TestServeHTTPDeepCopy                       test_a_request_sent_twice_is_the_same_twice
TestClonesRequestHeaders                    test_a_request_sent_twice_is_the_same_twice
TestModifyResponseClosesBody                test_an_answer_that_nobody_will_read_is_closed
…_PanicBodyError                            test_an_answer_cut_short_is_cut_short_for_the_client_and_logged
…_PanicClosesIncomingBody                   test_an_upload_stops_when_its_answer_breaks_off
TestSelectFlushInterval                     test_every_kind_of_answer_is_passed_on_at_once
…WebSocket                                  test_a_websocket_is_a_tunnel
…WebSocketCancellation                      test_a_websocket_s_end_that_is_gone_takes_the_other_with_it
…WebSocketHalfTCP                           test_a_websocket_s_half_close_leaves_the_other_half
…UpgradeNoCloseNotify                       test_a_websocket_outlives_its_client_s_silence (nothing there notifies)
…HijackCopyError                            test_a_websocket_s_end_that_is_gone_takes_the_other_with_it
TestUnannouncedTrailer                      test_trailers_are_dropped_and_the_content_is_whole (Go passes them on)
TestSetURL                                  test_the_upstream_s_url_decides_where_a_request_goes
TestSingleJoinSlash, TestJoinURLPath        test_base_path_and_target_are_joined_by_one_slash
…RewriteReplacesOut                         does not apply: there is no Rewrite hook
Test1xxHeadersNotModifiedAfterRoundTrip     test_fields_of_an_interim_answer_stay_there
Test1xxResponses                            test_early_hints_arrive_before_the_answer,
                                            test_an_http_1_0_client_gets_no_early_hints
…QueryParameterSmuggling…                   test_a_query_that_parsers_disagree_about_passes_as_it_is (all four of them)
==========================================  ==========================================================================
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from reauth_proxy.config.load import parse
from reauth_proxy.errors import ConfigError
from tests.fakes.client import RawClient, parse_fields
from tests.rfc.wire import (
    OK,
    PATIENCE,
    SWITCHED,
    UPGRADE,
    End,
    Wire,
    chunked_response,
    final,
    head,
    is_silent,
    reset,
    response,
    rest,
    wired,
)


def test_every_test_that_the_list_names_is_here() -> None:
    named = set(re.findall(r"\btest_[a-z0-9_]+", __doc__ or ""))
    assert named == {name for name in globals() if name in named}
    assert len(named) > 30


async def test_an_exchange_passes_and_what_is_hop_by_hop_does_not(wire: Wire) -> None:
    client = await wire.client(
        wire.request(
            "GET /?mode=1 HTTP/1.1",
            ("Connection", "close, TE"),
            ("TE", "trailers"),
            ("Proxy-Connection", "should be deleted"),
            ("Upgrade", "foo"),
        )
    )
    end = await wire.upstream()
    received = await end.request()
    for name in ("connection", "te", "proxy-connection", "upgrade", "transfer-encoding"):
        assert received.values(name) == [], name
    assert received.values("x-forwarded-for") == ["127.0.0.1"]
    assert received.values("host") == [f"127.0.0.1:{wire.served.port}"]
    fields = [("Trailers", "not special"), ("X-Foo", "bar"), ("X-Multi", "foo"), ("X-Multi", "bar")]
    fields += [("Set-Cookie", "flavor=chocolateChip"), ("Upgrade", "foo"), ("Keep-Alive", "timeout=1")]
    await end.send(response(b"I am the upstream", *fields, status="404 Not Found"))
    answer = await final(client)
    assert (answer.status, answer.content) == (404, b"I am the upstream")
    assert [field for field in answer.fields if field in fields] == fields[:5]
    assert answer.values("upgrade") == answer.values("keep-alive") == []


async def test_an_upstream_that_hangs_up_is_a_502(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    end.close()
    assert (await final(client)).status == 502


@pytest.mark.parametrize(
    "connection",
    [
        ["X-Some, X-Token"],
        ["x-some,X-TOKEN"],
        ["X-Some", "X-Token"],
        [", ,X-Some,,", "\tX-Token "],
        ["close, X-Some", "keep-alive", "X-Token"],
    ],
)
async def test_fields_named_by_connection_end_here_both_ways(wire: Wire, connection: list[str]) -> None:
    named = [("X-Some", "1"), ("X-Token", "2"), ("x-some", "3")]
    fields = [("X-First", "a"), *named, *(("Connection", value) for value in connection), ("X-Last", "b")]
    client, end = await wire.client(wire.request("GET / HTTP/1.1", *fields)), await wire.upstream()
    received = await end.request()
    await end.send(response(b"content", *fields))
    answer = await final(client)
    for found in (received.fields, answer.fields):
        assert [field for field in found if field[0].lower().startswith("x-") and field in fields] == [
            ("X-First", "a"),
            ("X-Last", "b"),
        ]
    assert received.values("connection") == []
    assert answer.content == b"content"


async def test_an_empty_connection_field_names_nothing_and_hides_nothing(wire: Wire) -> None:
    fields = [("Connection", ""), ("Connection", "X-Some"), ("X-Some", "1"), ("X-Other", "2"), ("Connection", " , ")]
    client, end = await wire.client(wire.request("GET / HTTP/1.1", *fields)), await wire.upstream()
    received = await end.request()
    await end.send(response(b"", *fields))
    answer = await final(client)
    for found in (received, answer):
        assert found.values("x-some") == []
        assert found.values("x-other") == ["2"]
        assert found.values("connection") == []


async def test_fields_named_by_an_answer_s_connection_end_here(wire: Wire) -> None:
    fields = [("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "x")]
    answer = await wire.pass_response(response(b"content", *fields, ("ETag", '"1"')))
    assert answer.content == b"content"
    assert answer.value("etag") == '"1"'
    for name in ("x-hop", "keep-alive", "proxy-connection"):
        assert answer.values(name) == [], name


@pytest.mark.parametrize("option", ["close", "Close", "keep-alive", "upgrade, close"])
async def test_an_upstream_s_connection_options_are_not_the_client_s(wire: Wire, option: str) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(response(b"one", ("Connection", option)))
    answer = await final(client)
    assert answer.content == b"one"
    assert answer.value("connection") is None
    await client.send(wire.request())
    end = end if option == "keep-alive" else await wire.upstream()
    await end.request()
    await end.send(response(b"two"))
    assert (await final(client)).content == b"two"


@pytest.mark.parametrize("length", [True, False])
async def test_a_connection_is_used_again_after_a_streamed_answer(wire: Wire, length: bool) -> None:
    client, end = await wire.client(wire.request("GET /one HTTP/1.1")), await wire.upstream()
    await end.request()
    content = b"x" * 300_000
    data = response(content) if length else chunked_response(content)
    for at in range(0, len(data), 50_000):
        await end.send(data[at : at + 50_000])
    assert (await final(client)).content == content
    await client.send(wire.request("GET /two HTTP/1.1"))
    assert (await end.request()).target == "/two"
    await end.send(OK)
    assert (await final(client)).content == b"ok"
    assert wire.served.connections == 1


async def test_a_client_s_forwarding_fields_are_replaced_by_ours(wire: Wire) -> None:
    forged = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.7"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "for=6.6.6.6;host=evil.example;proto=https"),
    ]
    received = await wire.pass_request(wire.request("GET / HTTP/1.1", *forged))
    found = [(name, value) for name, value in received.fields if "forwarded" in name.lower()]
    assert found == [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", wire.host),
        ("X-Forwarded-Proto", "http"),
    ]


async def test_a_client_without_an_address_has_no_x_forwarded_for(tmp_path: Path) -> None:
    async with wired(listen=f"unix:{tmp_path}/s") as wire:
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s")
        client = RawClient(reader, writer, "localhost")
        wire.clients.append(client)
        await client.request("/")
        end = await wire.upstream()
        received = await end.request()
        await end.send(OK)
        assert (await final(client)).status == 200
    assert received.values("x-forwarded-for") == []
    assert received.values("x-forwarded-host") == ["localhost"]


@pytest.mark.parametrize("target", ["/", "/?", "/?us=er", "/a?us=er&us=er", "/a?=&&=", "/?a?b?c", "/?sp=a+b%20c"])
async def test_a_query_passes_as_it_is(wire: Wire, target: str) -> None:
    assert (await wire.pass_request(wire.request(f"GET {target} HTTP/1.1"))).target == target


def test_an_upstream_s_url_has_no_query() -> None:
    text = "upstream: https://api.example/?sta=tic\n"
    text += "credential: {token_endpoint: {url: https://id.example, client_id: x}}"
    with pytest.raises(ConfigError, match="must not have a query"):
        parse(text, "test.yaml", {}, Path())


async def test_content_arrives_while_the_answer_goes_on(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(response(b"", ("Content-Length", "4"), length=False) + b"hi")
    await head(client)
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readexactly(2) == b"hi"
        await end.send(b"ho")
        assert await client.reader.readexactly(2) == b"ho"


@pytest.mark.parametrize("framing", ["Content-Length: 2", "Transfer-Encoding: chunked", "X-Framing: none"])
async def test_the_header_section_arrives_before_any_content(wire: Wire, framing: str) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(b"HTTP/1.1 200 OK\r\nMyHeader: expected\r\n" + framing.encode() + b"\r\n\r\n")
    assert b"\r\nMyHeader: expected\r\n" in await head(client)


async def test_a_client_that_leaves_ends_the_upstream_s_request(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    client.abort()
    await end.closed()


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "POST"])
async def test_a_request_without_content_stays_without_framing(wire: Wire, method: str, version: str) -> None:
    received = await wire.pass_request(wire.request(f"{method} / {version}"))
    assert received.values("content-length") == []
    assert received.values("transfer-encoding") == []
    assert received.values("expect") == []


@pytest.mark.parametrize("agents", [[], ["explicit UA"], [""]])
async def test_no_user_agent_is_made_up(wire: Wire, agents: list[str]) -> None:
    received = await wire.pass_request(wire.request("GET / HTTP/1.1", *(("User-Agent", agent) for agent in agents)))
    assert received.values("user-agent") == agents


async def test_a_megabyte_of_content_reaches_the_upstream_unchanged(wire: Wire) -> None:
    content = bytes(range(256)) * 4096
    client, end = await wire.client(wire.request("POST / HTTP/1.1", content=content)), await wire.upstream()
    first = await end.head()
    if b"Expect:" in first:
        await end.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert ("Content-Length", str(len(content))) in parse_fields(first)
    async with asyncio.timeout(PATIENCE):
        assert await end.reader.readexactly(len(content)) == content
    await end.send(response(b"I am the upstream"))
    assert (await final(client)).content == b"I am the upstream"


async def test_an_empty_request_may_be_sent_again_on_a_new_connection(wire: Wire) -> None:
    stale = await wire.warm()
    client = await wire.client(wire.request("GET /again HTTP/1.1"))
    await stale.request()
    stale.close()
    end = await wire.upstream()
    assert (await end.request()).target == "/again"
    await end.send(OK)
    assert (await final(client)).status == 200


async def test_configured_changes_to_an_answer() -> None:
    async with wired(headers={"response": {"set": {"X-Set": "ours"}, "remove": ["Server"]}}) as wire:
        answer = await wire.pass_response(response(b"", ("Server", "secret/1.0"), ("X-Set", "theirs"), ("X-Kept", "1")))
    assert answer.values("server") == []
    assert answer.values("x-set") == ["ours"]
    assert answer.values("x-kept") == ["1"]


@pytest.mark.parametrize(
    ("reply", "status"),
    [(b"", 502), (b"HTTP/1.1 200 OK\r\nX-", 502), (b"garbage\r\n\r\n", 502), (b"HTTP/1.1 345 Odd\r\n\r\n", 345)],
    ids=["hangs up", "hangs up in the header section", "no HTTP", "odd status"],
)
async def test_each_failure_of_the_upstream_has_its_own_answer(wire: Wire, reply: bytes, status: int) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(reply)
    end.close()
    assert (await final(client)).status == status


async def test_an_upstream_that_is_not_there_is_a_502() -> None:
    async with wired() as wire:
        port = wire.served.port
    async with wired(upstream=f"http://127.0.0.1:{port}") as wire:
        assert (await final(await wire.client(wire.request()))).status == 502


async def test_an_answer_cut_short_is_cut_short_for_the_client_and_logged(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789")
    assert b"\r\nContent-Length: 20\r\n" in await head(client)
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readexactly(10) == b"0123456789"
    end.close()
    assert await rest(client.reader) == b""
    (line,) = wire.daemon.events("upstream.failed")
    assert line["code"] == "upstream_unreachable"


async def test_a_request_sent_twice_is_the_same_twice(wire: Wire) -> None:
    fields = [("X-One", "1"), ("X-One", "2"), ("Connection", "X-Hop"), ("X-Hop", "1")]
    client = await wire.client(wire.request("PUT /?a HTTP/1.1", *fields, content=b"content"))
    end = await wire.upstream()
    first = await end.request()
    await end.send(response(b"no", status="401 Unauthorized"))
    second = await end.request()
    await end.send(OK)
    assert (await final(client)).status == 200
    assert (first.line, first.content) == (second.line, second.content)
    first.fields.remove(("Authorization", "Bearer access-CANARY-1"))
    second.fields.remove(("Authorization", "Bearer access-CANARY-2"))
    assert first.fields == second.fields


async def test_an_answer_that_nobody_will_read_is_closed(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 1000000\r\n\r\nno, because")
    again = await wire.upstream()
    await again.request()
    await again.send(OK)
    assert (await final(client)).status == 200
    await end.closed()


async def test_an_upload_stops_when_its_answer_breaks_off(wire: Wire) -> None:
    line = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked"
    client = await wire.client(wire.request(line) + b"5\r\nhello\r\n")
    end = await wire.upstream()
    await end.head()
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
    await head(client)
    end.close()
    assert await rest(client.reader) in (b"", b"0123456789"), "the client's connection ends: it need not send the rest"


@pytest.mark.parametrize(
    ("fields", "sent", "arrives"),
    [
        ("Content-Type: text/event-stream\r\nContent-Length: 99", b"data: 1\n\n", b"data: 1\n\n"),
        ("Content-Type: text/event-stream;charset=utf-8\r\nTransfer-Encoding: chunked", b"1\r\na\r\n", b"1\r\na\r\n"),
        ("Content-Type: application/json\r\nTransfer-Encoding: chunked", b"1\r\na\r\n", b"1\r\na\r\n"),
        ("Content-Type: application/json", b"a", b"1\r\na\r\n"),
        ("Content-Length: 99", b"a", b"a"),
    ],
    ids=["events", "chunked events", "chunked", "unknown length", "known length"],
)
async def test_every_kind_of_answer_is_passed_on_at_once(wire: Wire, fields: str, sent: bytes, arrives: bytes) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode())
    await head(client)
    for _ in range(3):
        await end.send(sent)
        async with asyncio.timeout(PATIENCE):
            assert await client.reader.readexactly(len(arrives)) == arrives


async def switched(wire: Wire) -> tuple[RawClient, End]:
    """Open a WebSocket."""
    client = await wire.client(wire.request("GET /socket HTTP/1.1", *UPGRADE))
    end = await wire.upstream()
    received = await end.request()
    assert [value.lower() for value in received.values("upgrade")] == ["websocket"]
    assert [value.lower() for value in received.values("connection")] == ["upgrade"]
    await end.send(SWITCHED)
    assert (await head(client)).startswith(b"HTTP/1.1 101 ")
    return client, end


async def test_a_websocket_is_a_tunnel(wire: Wire) -> None:
    client, end = await switched(wire)
    async with asyncio.timeout(PATIENCE):
        await client.send(b"Hello\n")
        assert await end.reader.readline() == b"Hello\n"
        await end.send(b'upstream got "Hello"\n')
        assert await client.reader.readline() == b'upstream got "Hello"\n'


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_websocket_s_end_that_is_gone_takes_the_other_with_it(wire: Wire, who: str) -> None:
    client, end = await switched(wire)
    reset(client.writer if who == "client" else end.writer)
    assert await rest(end.reader if who == "client" else client.reader) == b""


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_websocket_s_half_close_leaves_the_other_half(wire: Wire, who: str) -> None:
    client, end = await switched(wire)
    ends = (client, end) if who == "client" else (end, client)
    one, other = ends
    one.writer.write(b"last words")
    one.writer.write_eof()
    assert await rest(other.reader) == b"last words"
    other.writer.write(b"and mine")
    other.writer.close()
    assert await rest(one.reader) == b"and mine"


async def test_a_websocket_outlives_its_client_s_silence(wire: Wire) -> None:
    client, end = await switched(wire)
    assert await is_silent(client.reader)
    assert await is_silent(end.reader)
    await end.send(b"still here")
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readexactly(10) == b"still here"


@pytest.mark.parametrize("announced", ["Trailer: X-Trailer\r\n", ""])
async def test_trailers_are_dropped_and_the_content_is_whole(wire: Wire, announced: str) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(
        f"HTTP/1.1 200 OK\r\n{announced}Transfer-Encoding: chunked\r\n\r\n".encode()
        + b"5\r\nhello\r\n0\r\nX-Trailer: value\r\n\r\n"
    )
    first = await head(client)
    assert b"Trailer" not in first
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"5\r\nhello\r\n0\r\n\r\n"


async def test_the_upstream_s_url_decides_where_a_request_goes() -> None:
    async with wired(base="/v2") as wire:
        received = await wire.pass_request(wire.request("GET /foo/bar?a=1 HTTP/1.1"))
    assert received.target == "/v2/foo/bar?a=1"
    assert received.values("host") == [f"127.0.0.1:{wire.served.port}"]


@pytest.mark.parametrize(
    ("base", "target", "expected"),
    [
        ("", "/favicon.ico", "/favicon.ico"),
        ("/", "/favicon.ico", "/favicon.ico"),
        ("", "/", "/"),
        ("/", "/", "/"),
        ("/a/b", "/c", "/a/b/c"),
        ("/a/b/", "/c", "/a/b/c"),
        ("/a/b", "/", "/a/b/"),
        ("/a/b/", "/?q", "/a/b/?q"),
        ("/a%2Fb", "/c", "/a%2Fb/c"),
        ("/a%2Fb%2F", "/c", "/a%2Fb%2F/c"),
        ("/a%2Fb/", "/c%2Fd", "/a%2Fb/c%2Fd"),
        ("/a/b", "//c", "/a/b//c"),
        ("/a/b", "/../c", "/a/b/../c"),
    ],
)
async def test_base_path_and_target_are_joined_by_one_slash(base: str, target: str, expected: str) -> None:
    async with wired(base=base) as wire:
        assert (await wire.pass_request(wire.request(f"GET {target} HTTP/1.1"))).target == expected


EARLY = [("Link", "</style.css>; rel=preload; as=style"), ("Link", "</script.js>; rel=preload; as=script")]


async def test_early_hints_arrive_before_the_answer(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    for link in EARLY:
        await end.send(response(b"", link, status="103 Early Hints", length=False))
        early = await head(client)
        assert early.startswith(b"HTTP/1.1 103 Early Hints\r\n")
        assert parse_fields(early) == [link]
    await end.send(response(b"102", status="102 Processing", length=False)[:-3])
    assert (await head(client)).startswith(b"HTTP/1.1 102 Processing\r\n")
    await end.send(response(b"Hello", EARLY[0]))
    answer = await final(client)
    assert (answer.status, answer.content) == (200, b"Hello")
    assert answer.values("link") == [EARLY[0][1]]


async def test_fields_of_an_interim_answer_stay_there(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(response(b"", *EARLY, status="103 Early Hints", length=False) + response(b"x", ("X-Final", "1")))
    assert parse_fields(await head(client)) == EARLY
    answer = await final(client)
    assert answer.values("link") == []
    assert answer.values("x-final") == ["1"]


async def test_an_http_1_0_client_gets_no_early_hints(wire: Wire) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.0")), await wire.upstream()
    await end.request()
    await end.send(response(b"", EARLY[0], status="103 Early Hints", length=False) + response(b"Hello"))
    got = await rest(client.reader)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"\r\n\r\nHello")
    assert b"Link" not in got


@pytest.mark.parametrize(
    "query",
    [
        "a=1&a=2;b=3",
        "a=1&a=%zz&b=3",
        "a=1;a=2",
        "a=%",
        "a=1&a=%2",
        "a%3Db=1",
        "a=%C3%A9",
        "a[]=1&a[]=2",
        "&&&",
        "%00=%00",
    ],
)
async def test_a_query_that_parsers_disagree_about_passes_as_it_is(wire: Wire, query: str) -> None:
    received = await wire.pass_request(wire.request(f"GET /?{query} HTTP/1.1"))
    assert received.target == f"/?{query}"
