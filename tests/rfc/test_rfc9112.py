"""HTTP/1.1, rule by rule: each test's name begins with the section of RFC 9112 that it holds the proxy to."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.client import RawClient, parse_fields
from tests.rfc.wire import (
    OK,
    PATIENCE,
    Field,
    Wire,
    chunked_response,
    chunks,
    ends_in_reset,
    final,
    head,
    is_silent,
    reset,
    response,
    rest,
    wired,
)

CHUNKED = ("Transfer-Encoding", "chunked")
#: So little is kept for a replay that most content is streamed.
STREAMED = {"replay": {"memory": 16, "limit": 16}}


# -- 2, 3: messages and request lines ----------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n"])
async def test_9112_2_2_empty_lines_before_a_request_are_ignored(wire: Wire, before: bytes) -> None:
    assert (await wire.pass_request(before + wire.request())).line == b"GET / HTTP/1.1"


async def test_9112_2_2_an_empty_line_after_content_is_ignored(wire: Wire) -> None:
    post = wire.request("POST /1 HTTP/1.1", content=b"hello") + b"\r\n"
    client, end = await wire.client(post + wire.request("GET /2 HTTP/1.1")), await wire.upstream()
    assert (await end.request()).content == b"hello"
    await end.send(OK)
    assert (await final(client)).status == 200
    assert (await end.request()).line == b"GET /2 HTTP/1.1"
    await end.send(OK)
    assert (await final(client)).status == 200


async def test_9112_2_2_a_message_may_come_byte_by_byte(wire: Wire) -> None:
    client = await wire.client()
    for byte in wire.request("POST /slow HTTP/1.1", content=b"hello"):
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    end = await wire.upstream()
    received = await end.request()
    assert (received.line, received.content) == (b"POST /slow HTTP/1.1", b"hello")
    for byte in response(b"hi", ("X-A", "1")):
        await end.send(bytes([byte]))
        await asyncio.sleep(0)
    answer = await final(client)
    assert (answer.values("x-a"), answer.content) == (["1"], b"hi")


@pytest.mark.parametrize("fields", [[], [("Connection", "close")], [("Connection", "keep-alive")]])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_9112_2_3_a_forwarded_request_is_http_1_1(wire: Wire, version: str, fields: list[Field]) -> None:
    received = await wire.pass_request(wire.request(f"GET /a {version}", *fields))
    assert received.line == b"GET /a HTTP/1.1"
    assert received.values("connection") == []


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9"])
async def test_9112_2_3_another_major_version_is_not_supported(wire: Wire, version: str) -> None:
    client = await wire.client(wire.request(f"GET / {version}"))
    assert (await wire.not_passed(client)).status == 505
    assert await rest(client.reader) == b""


async def test_9112_2_3_a_later_minor_version_is_taken_for_1_1_or_refused(wire: Wire) -> None:
    client = await wire.client(wire.request("GET / HTTP/1.2"))
    answering, arriving = asyncio.ensure_future(final(client)), asyncio.ensure_future(wire.upstream())
    await asyncio.wait([answering, arriving], return_when=asyncio.FIRST_COMPLETED)
    if arriving.done():
        end = arriving.result()
        assert (await end.request()).line == b"GET / HTTP/1.1"
        await end.send(OK)
        assert (await answering).status == 200
    else:
        arriving.cancel()
        assert (await answering).status in (400, 505)


HOSTS = [
    [],
    ["{}", "{}"],
    ["{}", "other.example"],
    ["{}, {}"],
    ["user@{}"],
    ["user:pass@{}"],
    ["localhost:80:80"],
    ["localhost:http"],
    ["localhost:-1"],
    ["localhost:65536"],
    ["local host"],
    ["localhost/x"],
    ["localhost?x"],
    ["localhost#x"],
    ["http://localhost"],
    ["[::1"],
    ["[localhost]"],
    ["::1"],
    ["localhost\\"],
    ["<localhost>"],
    ["localhost%"],
]


@pytest.mark.parametrize(
    ("version", "hosts"),
    [("HTTP/1.1", hosts) for hosts in HOSTS] + [("HTTP/1.0", hosts) for hosts in ([], ["{}", "{}"], ["user@{}"])],
    ids=str,
)
async def test_9112_3_2_a_host_that_is_missing_repeated_or_no_host_is_a_400(
    wire: Wire, version: str, hosts: list[str]
) -> None:
    lines = [f"GET / {version}", *(f"Host: {host.format(*[wire.host] * 2)}" for host in hosts), "X-A: 1"]
    data = "\r\n".join(lines).encode() + b"\r\n\r\n"
    if version == "HTTP/1.0" and not hosts:
        received = await wire.pass_request(data)
        assert received.values("host") == [f"127.0.0.1:{wire.served.port}"]
        return
    client = await wire.client(data)
    assert (await wire.not_passed(client)).status == 400
    assert await rest(client.reader) == b""


@pytest.mark.parametrize("host", ["", ":80"])
async def test_9112_3_2_a_host_without_a_name_is_not_ours(wire: Wire, host: str) -> None:
    assert (await wire.refused(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())).status in (400, 421)


@pytest.mark.parametrize("target", ["/", "/a/b?c=d", "/a:80", "/*", "//host/path", "/?http://x/", "/" + "a" * 7000])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_9112_3_2_1_origin_form_passes_as_it_is(wire: Wire, method: str, target: str) -> None:
    assert (await wire.pass_request(wire.request(f"{method} {target} HTTP/1.1"))).line == (
        f"{method} {target} HTTP/1.1".encode()
    )


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://{}/", "/"),
        ("http://{}", "/"),
        ("HTTP://{}/a", "/a"),
        ("http://{}/a%2Fb/../c?d=e&&", "/a%2Fb/../c?d=e&&"),
        ("http://{}?q", "/?q"),
        ("http://{}/?", "/?"),
        ("http://{}//a", "//a"),
        ("http://{}/http://other.example/", "/http://other.example/"),
    ],
)
async def test_9112_3_2_2_absolute_form_becomes_origin_form(wire: Wire, target: str, expected: str) -> None:
    received = await wire.pass_request(wire.request(f"GET {target.format(wire.host)} HTTP/1.1"))
    assert received.line == f"GET {expected} HTTP/1.1".encode()
    assert received.values("host") == [f"127.0.0.1:{wire.served.port}"]


@pytest.mark.parametrize(
    "target",
    [
        "http://other.example/",
        "http://127.0.0.1:1/",
        "http://user@{}/",
        "http://{}@other.example/",
        "http://{}.other.example/",
        "http:///",
        "http://",
        "ftp://{}/",
        "file:///etc/passwd",
        "javascript:1",
    ],
)
async def test_9112_3_2_2_absolute_form_for_anybody_else_is_refused(wire: Wire, target: str) -> None:
    answer = await wire.refused(wire.request(f"GET {target.format(wire.host)} HTTP/1.1"))
    assert answer.status in (400, 421)


@pytest.mark.parametrize("target", ["example.com:443", "{}", "localhost", "index.html", "?x", "../x", "@x/"])
async def test_9112_3_2_3_other_forms_are_for_no_other_method_than_connect(wire: Wire, target: str) -> None:
    assert (await wire.refused(wire.request(f"GET {target.format(wire.host)} HTTP/1.1"))).status == 400


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_9112_3_2_4_an_asterisk_is_for_no_other_method_than_options(wire: Wire, method: str) -> None:
    client = await wire.client(wire.request(f"{method} * HTTP/1.1"))
    assert (await wire.not_passed(client, to=method)).status == 400


async def test_9112_3_2_4_options_of_the_server_is_never_made_a_request_for_something_else(wire: Wire) -> None:
    client = await wire.client(wire.request("OPTIONS * HTTP/1.1"))
    answering, arriving = asyncio.ensure_future(final(client)), asyncio.ensure_future(wire.upstream())
    await asyncio.wait([answering, arriving], return_when=asyncio.FIRST_COMPLETED)
    if arriving.done():
        assert (await arriving.result().request()).line == b"OPTIONS * HTTP/1.1"
        await arriving.result().send(OK)
        assert (await answering).status == 200
    else:
        arriving.cancel()
        assert (await answering).status in (200, 204, 400)


# -- 4, 5: status lines and fields -------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["OK", "", "Weird  Text (of\ttheirs)", "\xc3\xa9\xff", "x" * 500])
async def test_9112_4_a_reason_phrase_passes_as_it_is(wire: Wire, reason: str) -> None:
    answer = await wire.pass_response(f"HTTP/1.1 299 {reason}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
    assert answer.head.split(b"\r\n")[0] == f"HTTP/1.1 299 {reason}".encode("latin-1")


async def test_9112_4_a_status_line_may_lack_its_reason(wire: Wire) -> None:
    answer = await wire.pass_response(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok")
    assert (answer.status, answer.content) == (200, b"ok")
    assert answer.head.startswith(b"HTTP/1.1 200 "), "the space before an empty reason is not optional"


@pytest.mark.parametrize(
    "line",
    ["HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 abc OK", "HTTP/1.1 099 Low", "HTTX/1.1 200 OK", "HTTP/2 200"],
)
async def test_9112_4_a_status_line_that_is_none_is_a_502(wire: Wire, line: str) -> None:
    assert (await wire.pass_response(f"{line}\r\nContent-Length: 0\r\n\r\n".encode())).status == 502


@pytest.mark.parametrize("line", ["X-A:1", "X-A: 1", "X-A:\t1\t", "X-A:   1  "])
async def test_9112_5_1_white_space_around_a_value_is_not_part_of_it(wire: Wire, line: str) -> None:
    data = wire.request("GET / HTTP/1.1\r\n" + line)
    client, end = await wire.client(data), await wire.upstream()
    assert [value.strip() for value in (await end.request()).values("x-a")] == ["1"]
    await end.send(b"HTTP/1.1 200 OK\r\n" + line.encode() + b"\r\nContent-Length: 0\r\n\r\n")
    assert [value.strip() for value in (await final(client)).values("x-a")] == ["1"]


async def test_9112_5_1_white_space_before_an_answer_s_colon_is_removed_or_refused(wire: Wire) -> None:
    answer = await wire.pass_response(b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 0\r\n\r\n")
    assert answer.status == 502 or answer.values("x-a") == ["1"]
    assert b"X-A :" not in answer.head


async def test_9112_5_2_a_folded_line_of_an_answer_is_unfolded_or_refused(wire: Wire) -> None:
    answer = await wire.pass_response(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n  2\r\nContent-Length: 0\r\n\r\n")
    assert answer.status == 502 or [" ".join(value.split()) for value in answer.values("x-a")] == ["1 2"]
    assert b"\r\n " not in answer.head


# -- 6: content --------------------------------------------------------------------------------------------------

LONG = bytes(range(256)) * 300


@pytest.mark.parametrize("content", [b"", b"x", LONG])
async def test_9112_6_1_content_of_unknown_length_is_chunked_for_an_http_1_1_client(wire: Wire, content: bytes) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(response(content, length=False))
    end.close()
    answer = await final(client)
    assert (answer.values("transfer-encoding"), answer.values("content-length")) == (["chunked"], [])
    assert answer.content == content


@pytest.mark.parametrize("fields", [[], [("Connection", "keep-alive")]])
@pytest.mark.parametrize("content", [b"", b"x", LONG])
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_9112_6_1_an_http_1_0_client_never_gets_chunks(
    wire: Wire, framing: str, content: bytes, fields: list[Field]
) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.0", *fields)), await wire.upstream()
    await end.request()
    await end.send(chunked_response(*([content] if content else [])) if framing == "chunked" else
                   response(content, length=False))  # fmt: skip
    if framing == "close":
        end.close()
    first, _, got = (await rest(client.reader)).partition(b"\r\n\r\n")
    assert b"ransfer-" not in first
    assert b"keep-alive" not in first.lower()
    assert got == content


@pytest.mark.parametrize(
    "coding", ["gzip, chunked", "gzip", "identity", "chunked, chunked", "chunked, gzip", "xchunked"]
)
async def test_9112_6_1_a_transfer_coding_other_than_chunked_is_not_implemented(wire: Wire, coding: str) -> None:
    client = await wire.client(wire.request("POST / HTTP/1.1", ("Transfer-Encoding", coding)) + b"0\r\n\r\n")
    assert (await wire.not_passed(client)).status in (400, 501)
    assert await rest(client.reader) == b""


async def test_9112_6_1_a_transfer_coding_that_is_only_unknown_is_a_501(wire: Wire) -> None:
    answer = await wire.refused(wire.request("POST / HTTP/1.1", ("Transfer-Encoding", "gzip, chunked")) + b"0\r\n\r\n")
    assert answer.status == 501


async def test_9112_6_1_a_transfer_coding_of_an_http_1_0_client_is_faulty(wire: Wire) -> None:
    client = await wire.client(wire.request("POST / HTTP/1.0", CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n")
    assert (await wire.not_passed(client)).status == 400
    assert await rest(client.reader) == b""


@pytest.mark.parametrize("spelling", ["chunked", "Chunked", "CHUNKED"])
async def test_9112_6_1_the_name_of_the_coding_is_not_case_sensitive(wire: Wire, spelling: str) -> None:
    field = ("Transfer-Encoding", spelling)
    client = await wire.client(wire.request("POST / HTTP/1.1", field) + chunks(b"hello"))
    end = await wire.upstream()
    assert (await end.request()).content == b"hello"
    await end.send(response(b"", field, length=False) + chunks(b"hello"))
    answer = await final(client)
    assert (answer.values("transfer-encoding"), answer.content) == (["chunked"], b"hello")


@pytest.mark.parametrize("content", [b"", b"x", LONG])
async def test_9112_6_2_a_length_stays_a_length_and_chunks_stay_chunks(wire: Wire, content: bytes) -> None:
    client = await wire.client()
    end = None
    for framing in ("length", "chunked"):
        if framing == "length":
            data = wire.request("PUT / HTTP/1.1", ("Content-Length", str(len(content)))) + content
        else:
            data = wire.request("PUT / HTTP/1.1", CHUNKED) + chunks(*([content] if content else []))
        await client.send(data)
        end = end or await wire.upstream()
        first = await end.head()
        if b"\r\nExpect:" in first:
            await end.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        fields = parse_fields(first)
        assert (CHUNKED in fields) == (framing == "chunked")
        assert (("Content-Length", str(len(content))) in fields) == (framing == "length")
        got = b""
        async with asyncio.timeout(PATIENCE):
            if framing == "length":
                got = await end.reader.readexactly(len(content))
            else:
                while size := int(await end.reader.readline(), 16):
                    got += (await end.reader.readexactly(size + 2))[:-2]
                assert await end.reader.readline() == b"\r\n"
        assert got == content
        await end.send(OK)
        assert (await final(client)).status == 200


# Each: the method, what the upstream sends (and closes, if the last is true), the content that the client gets.
MESSAGES: list[tuple[str, bytes, bytes, bool]] = [
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"", False),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"", False),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", False),
    ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", False),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", False),
    ("GET", b"HTTP/1.1 200 OK\r\n\r\nok", b"ok", True),
    ("GET", b"HTTP/1.0 200 OK\r\n\r\nok", b"ok", True),
    ("GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"", True),
    ("GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nok", b"ok", True),
    ("DELETE", b"HTTP/1.1 200 OK\r\n\r\n", b"", True),
]


@pytest.mark.parametrize(("method", "reply", "content", "closes"), MESSAGES)
async def test_9112_6_3_where_an_answer_ends(
    wire: Wire, method: str, reply: bytes, content: bytes, closes: bool
) -> None:
    client, end = await wire.client(wire.request(f"{method} / HTTP/1.1")), await wire.upstream()
    await end.request()
    await end.send(reply)
    if closes:
        end.close()
    answer = await final(client, to=method)
    assert answer.content == content
    assert await is_silent(client.reader), "nothing follows, and the connection stays"


async def test_9112_6_3_a_response_without_length_ends_with_the_connection(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
    await head(client)
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readuntil(b"some\r\n") == b"4\r\nsome\r\n"
    assert await is_silent(client.reader)
    await end.send(b" more")
    end.close()
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"5\r\n more\r\n0\r\n\r\n"


async def test_9112_6_3_a_request_without_length_has_no_content(wire: Wire) -> None:
    client, end = await wire.client(wire.request("POST /1 HTTP/1.1") + wire.request("GET /2 HTTP/1.1")), None
    for target in ("/1", "/2"):
        end = end or await wire.upstream()
        received = await end.request()
        assert (received.target, received.content) == (target, b"")
        await end.send(OK)
        assert (await final(client)).status == 200


@pytest.mark.parametrize(
    "lengths",
    [["1, 2"], ["2", "1"], ["-2"], ["+2"], ["0x2"], ["2 2"], ["2;"], ["2.0"], ["two"], [""], ["9" * 40]],
    ids=str,
)
async def test_9112_6_3_an_invalid_length_is_a_502(wire: Wire, lengths: list[str]) -> None:
    reply = response(b"", *(("Content-Length", length) for length in lengths), length=False) + b"ok"
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(reply)
    assert (await final(client)).status == 502
    await end.closed()


@pytest.mark.parametrize("order", [1, -1])
async def test_9112_6_3_an_answer_with_both_framings_is_an_error_or_chunked(wire: Wire, order: int) -> None:
    fields = [("Content-Length", "3"), CHUNKED][::order]
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(response(b"", *fields, length=False) + chunks(b"hello"))
    answer = await final(client)
    if answer.status == 200:
        assert (answer.values("content-length"), answer.content) == ([], b"hello")
    else:
        assert answer.status == 502
    await end.closed()


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked, gzip", "identity"])
async def test_9112_6_3_an_answer_in_an_unknown_coding_is_a_502(wire: Wire, coding: str) -> None:
    answer = await wire.pass_response(response(b"", ("Transfer-Encoding", coding), length=False) + chunks(b"x"))
    assert answer.status == 502


async def test_9112_6_3_bytes_after_an_answer_are_never_part_of_the_next_one(wire: Wire) -> None:
    client, end = await wire.client(wire.request("GET /1 HTTP/1.1")), await wire.upstream()
    await end.request()
    await end.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
    assert (await final(client)).content == b"ok"
    await client.send(wire.request("GET /2 HTTP/1.1"))
    again, received = await wire.next_request(end)
    assert (again is not end, received.target) == (True, "/2")
    await again.send(response(b"honest"))
    assert (await final(client)).content == b"honest"


# -- 7: transfer codings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        b"0005\r\nhello\r\n000\r\n\r\n",
        b"5;a=b\r\nhello\r\n0;c\r\n\r\n",
        b'5;a="b;c"\r\nhello\r\n0\r\n\r\n',
        b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\nX-Other: 2\r\n\r\n",
    ],
)
async def test_9112_7_1_chunks_are_decoded_and_what_is_not_content_ends_here(wire: Wire, content: bytes) -> None:
    fields = [CHUNKED, ("Trailer", "X-Trailer")]
    client, end = await wire.client(wire.request("POST /1 HTTP/1.1", *fields) + content), await wire.upstream()
    received = await end.request()
    assert received.content == b"hello"
    assert received.values("trailer") == received.values("x-trailer") == []
    assert len(received.values("host")) == 1
    await end.send(response(b"", *fields, length=False) + content)
    answer = await final(client)
    assert answer.content == b"hello"
    assert answer.values("trailer") == answer.values("x-trailer") == answer.values("content-length") == []
    await client.send(wire.request("GET /2 HTTP/1.1"))
    end, received = await wire.next_request(end)
    assert received.target == "/2"
    await end.send(OK)
    assert (await final(client)).content == b"ok"


@pytest.mark.parametrize("size", [b"A", b"a", b"0a"])
async def test_9112_7_1_a_chunk_s_size_is_hexadecimal_in_any_case(wire: Wire, size: bytes) -> None:
    content = size + b"\r\n0123456789\r\n0\r\n\r\n"
    client, end = await wire.client(wire.request("POST / HTTP/1.1", CHUNKED) + content), await wire.upstream()
    assert (await end.request()).content == b"0123456789"
    await end.send(response(b"", CHUNKED, length=False) + content)
    assert (await final(client)).content == b"0123456789"


@pytest.mark.parametrize(
    "content",
    [b"x\r\n", b"-1\r\n", b"+1\r\nx", b"0x1\r\nx", b"1 1\r\n", b"F" * 17 + b"\r\nx", b"2\r\nxxx\r\n", b"1\nx\n0\n\n"],
)
async def test_9112_7_1_an_answer_with_chunks_that_are_none_is_never_whole(wire: Wire, content: bytes) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(chunked_response(end=content))
    if not (await head(client)).startswith(b"HTTP/1.1 502 "):
        assert not (await rest(client.reader)).endswith(b"0\r\n\r\n")
    await end.closed()


@pytest.mark.parametrize("at_once", [True, False])
async def test_9112_7_1_2_trailers_of_an_answer_are_dropped(wire: Wire, at_once: bool) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    parts = [
        b"HTTP/1.1 200 OK\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"2\r\nok\r\n",
        b"0\r\nX-Late: 1\r\n\r\n",
    ]
    if at_once:
        await end.send(b"".join(parts))
        got = await head(client)
    else:
        await end.send(parts[0])
        got = await head(client)
        await end.send(parts[1])
        await end.send(parts[2])
    async with asyncio.timeout(PATIENCE):
        got += await client.reader.readuntil(b"\r\n0\r\n\r\n")
    assert b"railer" not in got
    assert b"X-Late" not in got
    assert await is_silent(client.reader)


@pytest.mark.parametrize("streamed", [False, True])
async def test_9112_7_1_2_trailers_of_a_request_are_dropped(streamed: bool) -> None:
    async with wired(**STREAMED) as wire:
        content = b"x" * (100 if streamed else 5)
        tail = b"0\r\nAuthorization: Bearer forged\r\nX-Late: 1\r\n\r\n"
        client = await wire.client(wire.request("POST / HTTP/1.1", CHUNKED, ("Trailer", "X-Late")))
        await client.send(chunks(content, end=tail))
        end = await wire.upstream()
        received = await end.request()
        assert received.values("authorization") == ["Bearer access-CANARY-1"]
        assert received.values("trailer") == received.values("x-late") == []
        assert received.content == content
        await end.send(OK)
        assert (await final(client)).status == 200
        assert await is_silent(end.reader)


# -- 8: incomplete messages --------------------------------------------------------------------------------------

CUT_REQUESTS: dict[str, tuple[Field, bytes]] = {
    "none of its content": (("Content-Length", "100"), b""),
    "half of its content": (("Content-Length", "100"), b"x" * 50),
    "all but a byte": (("Content-Length", "100"), b"x" * 99),
    "half a chunk": (CHUNKED, b"64\r\n" + b"x" * 50),
    "no chunk": (CHUNKED, b""),
    "no last chunk": (CHUNKED, b"64\r\n" + b"x" * 100 + b"\r\n"),
    "half a last chunk": (CHUNKED, b"64\r\n" + b"x" * 100 + b"\r\n0\r\n"),
    "broken chunks": (CHUNKED, b"64\r\n" + b"x" * 100 + b"\r\nzz\r\n"),
}


async def leave(wire: Wire, client: RawClient, how: str) -> None:
    """Let a client go in the middle of its request; return when the proxy has noticed."""
    if how == "ends":
        client.writer.write_eof()
        await rest(client.reader)
    else:
        reset(client.writer)
    async with asyncio.timeout(PATIENCE):
        while wire.daemon._forwarder.active:
            await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["ends", "is reset"])
@pytest.mark.parametrize("cut", CUT_REQUESTS)
async def test_9112_8_a_streamed_request_that_was_cut_off_is_never_completed(cut: str, how: str) -> None:
    framing, content = CUT_REQUESTS[cut]
    async with wired(**STREAMED) as wire:
        client = await wire.client(wire.request("POST /cut HTTP/1.1", framing))
        end = await wire.upstream()
        if b"\r\nExpect:" in await end.head():
            await end.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.writer.write(content)
        passed = b""
        async with asyncio.timeout(PATIENCE):
            while content.count(b"x") > passed.count(b"x"):
                passed += await end.reader.read(1000)
        await leave(wire, client, how)
        passed += await end.rest()
        if framing == CHUNKED:
            assert not passed.endswith(b"0\r\n\r\n")
        else:
            assert len(passed) < 100


@pytest.mark.parametrize("how", ["ends", "is reset"])
@pytest.mark.parametrize("cut", CUT_REQUESTS)
async def test_9112_8_a_request_cut_off_never_looks_complete(wire: Wire, cut: str, how: str) -> None:
    framing, content = CUT_REQUESTS[cut]
    kept = await wire.warm()
    client = await wire.client(wire.request("POST /cut HTTP/1.1", framing))
    async with asyncio.timeout(PATIENCE):
        while not wire.daemon._forwarder.active:
            await asyncio.sleep(0)
    client.writer.write(content)
    await leave(wire, client, how)
    for end in wire.served.ends:
        end.writer.write_eof()  # whatever has come is all that will
    passed = b"".join([await end.rest() for end in (kept, *wire.served.ends[1:])])
    if framing == CHUNKED:
        assert not passed.endswith(b"0\r\n\r\n")
    else:
        assert len(passed.partition(b"\r\n\r\n")[2]) < 100


@pytest.mark.parametrize("cut", ["GET / HT", "GET / HTTP/1.1\r\nHost: local", "GET / HTTP/1.1\r\nHost: localhost\r\n"])
async def test_9112_8_half_a_header_section_is_no_request(wire: Wire, cut: str) -> None:
    client = await wire.client(cut.encode())
    client.writer.write_eof()
    assert not (await rest(client.reader)).startswith(b"HTTP/1.1 2")
    assert wire.served.connections == 0


CUT_ANSWERS: dict[str, bytes] = {
    "none of its content": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
    "half of its content": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50,
    "all but a byte": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 99,
    "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + b"x" * 50,
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + b"x" * 100 + b"\r\n",
    "half a last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + b"x" * 100 + b"\r\n0\r\n",
    "half a trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Late",
}


@pytest.mark.parametrize("how", ["ends", "is reset"])
@pytest.mark.parametrize("cut", CUT_ANSWERS)
async def test_9112_8_an_answer_that_was_cut_off_never_looks_whole(wire: Wire, cut: str, how: str) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(CUT_ANSWERS[cut])
    first = await head(client)
    end.close() if how == "ends" else end.reset()
    got = await rest(client.reader)
    if b"chunked" in first:
        assert not got.endswith(b"0\r\n\r\n")
    else:
        assert b"\r\nContent-Length: 100\r\n" in first
        assert len(got) < 100


async def test_9112_8_content_that_ends_with_a_reset_is_not_whole(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
    assert b"\r\nTransfer-Encoding: chunked\r\n" in await head(client)
    end.reset()
    assert not (await rest(client.reader)).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("cut", [name for name, data in CUT_ANSWERS.items() if b"chunked" in data])
async def test_9112_8_an_http_1_0_client_is_told_by_a_reset_that_chunks_were_cut_off(wire: Wire, cut: str) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.0")), await wire.upstream()
    await end.request()
    await end.send(CUT_ANSWERS[cut])
    await head(client)
    end.close()
    assert await ends_in_reset(client.reader), "for HTTP/1.0, the end of the connection would be the end of the content"


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"])
@pytest.mark.parametrize("how", ["ends", "is reset"])
async def test_9112_8_half_a_header_section_of_an_answer_is_a_502(wire: Wire, cut: bytes, how: str) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    if cut:
        await end.send(cut)
        await asyncio.sleep(0.01)
    end.close() if how == "ends" else end.reset()
    assert (await final(client)).status == 502
    assert await is_silent(client.reader), "the client's connection is sound"


# -- 9: connections ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "options", "stays"),
    [
        ("HTTP/1.1", [], True),
        ("HTTP/1.1", ["keep-alive"], True),
        ("HTTP/1.1", ["Keep-Alive"], True),
        ("HTTP/1.1", ["X-Whatever"], True),
        ("HTTP/1.1", ["closed"], True),
        ("HTTP/1.1", [""], True),
        ("HTTP/1.1", ["close"], False),
        ("HTTP/1.1", ["Close"], False),
        ("HTTP/1.1", ["CLOSE"], False),
        ("HTTP/1.1", ["X-Whatever, close"], False),
        ("HTTP/1.1", ["close , X-Whatever"], False),
        ("HTTP/1.1", ["keep-alive, close"], False),
        ("HTTP/1.1", ["keep-alive", "close"], False),
        ("HTTP/1.1", ["close", "keep-alive"], False),
        ("HTTP/1.0", [], False),
        ("HTTP/1.0", ["close"], False),
        ("HTTP/1.0", ["X-Whatever"], False),
        ("HTTP/1.0", ["keep-alive"], True),
        ("HTTP/1.0", ["Keep-Alive"], True),
        ("HTTP/1.0", ["keep-alive, close"], False),
        ("HTTP/1.0", ["close", "keep-alive"], False),
    ],
)
async def test_9112_9_3_whether_the_client_s_connection_stays(
    wire: Wire, version: str, options: list[str], stays: bool
) -> None:
    fields = [("Connection", option) for option in options]
    client, end = await wire.client(wire.request(f"GET / {version}", *fields)), await wire.upstream()
    await end.request()
    await end.send(OK)
    answer = await final(client)
    said = {option.strip().lower() for value in answer.values("connection") for option in value.split(",")}
    assert answer.content == b"ok"
    if stays:
        assert "close" not in said
        assert version == "HTTP/1.1" or "keep-alive" in said
        await client.send(wire.request(f"GET /2 {version}", *fields))
        assert (await end.request()).target == "/2"
        await end.send(OK)
        assert (await final(client)).content == b"ok"
    else:
        assert "keep-alive" not in said
        assert version == "HTTP/1.0" or "close" in said
        assert await rest(client.reader) == b""


@pytest.mark.parametrize(
    ("reply", "stays"),
    [
        (response(b"ok"), True),
        (response(b"ok", ("Connection", "keep-alive")), True),
        (response(b"ok", ("Connection", "X-Whatever")), True),
        (chunked_response(b"ok"), True),
        (response(b"ok", ("Connection", "close")), False),
        (response(b"ok", ("Connection", "Close")), False),
        (response(b"ok", ("Connection", "X-Whatever, close")), False),
        (response(b"ok", ("Connection", "keep-alive"), ("Connection", "close")), False),
        (response(b"ok", version="HTTP/1.0"), False),
        (response(b"ok", ("Connection", "close"), version="HTTP/1.0"), False),
    ],
)
async def test_9112_9_3_whether_the_upstream_s_connection_stays(wire: Wire, reply: bytes, stays: bool) -> None:
    client, end = await wire.client(wire.request("GET /1 HTTP/1.1")), await wire.upstream()
    await end.request()
    await end.send(reply)
    assert (await final(client)).content == b"ok"
    await client.send(wire.request("GET /2 HTTP/1.1"))
    again, received = await wire.next_request(end)
    assert (again is end, received.target) == (stays, "/2")
    await again.send(OK)
    assert (await final(client)).content == b"ok"


async def test_9112_9_3_answers_of_any_kind_follow_each_other_on_one_connection(wire: Wire) -> None:
    client = await wire.client()
    end = None
    replies = [
        ("GET", response(b"1"), b"1"),
        ("HEAD", response(b"", ("Content-Length", "7"), length=False), b""),
        ("GET", chunked_response(b"3", b"3"), b"33"),
        ("DELETE", response(b"", status="204 No Content", length=False), b""),
        ("GET", response(b"", status="304 Not Modified", length=False), b""),
        ("POST", response(b"6", status="500 Sorry"), b"6"),
        ("GET", response(b"7" * 300_000), b"7" * 300_000),
        ("GET", response(b"8"), b"8"),
    ]
    for number, (method, reply, content) in enumerate(replies):
        await client.send(wire.request(f"{method} /{number} HTTP/1.1"))
        if end is None:
            end = await wire.upstream()
            received = await end.request()
        else:
            end, received = await wire.next_request(end)
        assert received.line == f"{method} /{number} HTTP/1.1".encode()
        await end.send(reply)
        assert (await final(client, to=method)).content == content


async def test_9112_9_3_1_what_failed_twice_is_not_tried_again(wire: Wire) -> None:
    stale = await wire.warm()
    client = await wire.client(wire.request("GET /twice HTTP/1.1"))
    await stale.request()
    stale.close()
    again = await wire.upstream()
    assert (await again.request()).target == "/twice"
    again.close()
    assert (await final(client)).status == 502
    assert wire.served.connections == 2


async def test_9112_9_3_1_what_failed_on_a_new_connection_is_not_tried_again(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    end.close()
    assert (await final(client)).status == 502
    assert wire.served.connections == 1


async def test_9112_9_3_1_a_kept_connection_that_was_closed_meanwhile_is_not_used(wire: Wire) -> None:
    stale = await wire.warm()
    stale.close()
    await stale.closed()
    client = await wire.client(wire.request("POST / HTTP/1.1", content=b"content"))
    end = await wire.upstream()
    assert (await end.request()).content == b"content"
    await end.send(OK)
    assert (await final(client)).status == 200


@pytest.mark.parametrize("number", [2, 20])
async def test_9112_9_3_2_pipelined_requests_are_answered_in_order(wire: Wire, number: int) -> None:
    requests = []
    for at in range(number):
        if at % 3 == 0:
            requests.append(wire.request(f"GET /{at} HTTP/1.1"))
        elif at % 3 == 1:
            requests.append(wire.request(f"POST /{at} HTTP/1.1", content=b"GET /forged HTTP/1.1\r\n\r\n"))
        else:
            requests.append(wire.request(f"PUT /{at} HTTP/1.1", CHUNKED) + chunks(b"a", b"b"))
    client = await wire.client(b"".join(requests))
    end = None
    for at in range(number):
        if end is None:
            end = await wire.upstream()
            received = await end.request()
        else:
            end, received = await wire.next_request(end)
        assert received.target == f"/{at}"
        await end.send(response(f"answer {at}".encode()))
        assert (await final(client)).content == f"answer {at}".encode()
    assert await is_silent(client.reader)


async def test_9112_9_3_2_a_refused_request_ends_the_pipeline(wire: Wire) -> None:
    client = await wire.client(
        wire.request("GET /1 HTTP/1.1") + b"GET nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + wire.request()
    )
    end = await wire.upstream()
    await end.request()
    await end.send(OK)
    assert (await final(client)).status == 200
    assert (await final(client)).status == 400
    assert await rest(client.reader) == b""
    assert await is_silent(end.reader)


async def test_9112_9_3_2_nothing_after_a_close_is_a_request(wire: Wire) -> None:
    closing = wire.request("GET /1 HTTP/1.1", ("Connection", "close"))
    client, end = await wire.client(closing + wire.request("GET /2 HTTP/1.1")), await wire.upstream()
    await end.request()
    await end.send(OK)
    answer = await final(client)
    assert answer.value("connection") == "close"
    assert await rest(client.reader) == b""
    assert await is_silent(end.reader)


async def test_9112_9_5_an_answer_before_the_end_of_a_request_reaches_the_client_whole() -> None:
    async with wired(**STREAMED) as wire:
        client = await wire.client(wire.request("POST / HTTP/1.1", ("Content-Length", "10000000")) + b"x" * 100_000)
        end = await wire.upstream()
        await end.head()
        await end.send(response(b"too much" * 1000, status="413 Content Too Large"))
        answer = await final(client)
        assert (answer.status, answer.content) == (413, b"too much" * 1000)
        await end.closed()


@pytest.mark.parametrize("where", ["the proxy", "the upstream"])
async def test_9112_9_6_an_error_ends_the_connection_only_where_the_framing_is_lost(wire: Wire, where: str) -> None:
    if where == "the upstream":
        client, end = await wire.client(wire.request()), await wire.upstream()
        await end.request()
        end.close()
        answer = await final(client)
        assert (answer.status, answer.value("connection")) == (502, None)
        await client.send(wire.request("GET /2 HTTP/1.1"))
        end = await wire.upstream()
        await end.request()
        await end.send(OK)
        assert (await final(client)).status == 200
    else:
        client = await wire.client(b"nonsense\r\n\r\n")
        answer = await final(client)
        assert (answer.status, answer.value("connection")) == (400, "close")
        assert await rest(client.reader) == b""


async def test_9112_9_6_a_client_that_asked_to_close_gets_its_answer_whole(wire: Wire) -> None:
    client = await wire.client(wire.request("GET / HTTP/1.1", ("Connection", "close")))
    end = await wire.upstream()
    assert (await end.request()).values("connection") == []
    await end.send(response(LONG))
    answer = await final(client)
    assert (answer.value("connection"), answer.content) == ("close", LONG)
    assert await rest(client.reader) == b""
