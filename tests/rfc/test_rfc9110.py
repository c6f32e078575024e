"""HTTP Semantics, rule by rule: each test's name begins with the section of RFC 9110 that it holds the proxy to."""

from __future__ import annotations

import asyncio
import json
from email.utils import parsedate_to_datetime

import pytest

from tests.fakes.client import parse_fields
from tests.rfc.wire import (
    OK,
    PATIENCE,
    SWITCHED,
    UPGRADE,
    Field,
    Wire,
    chunked_response,
    final,
    head,
    is_silent,
    response,
    rest,
    wired,
)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = ("Expect", "100-continue")
#: So little is kept for a replay that content of 100 bytes is streamed.
STREAMED = {"replay": {"memory": 16, "limit": 16}}


def code(content: bytes) -> str:
    """Return the code of an answer that the proxy made."""
    found = json.loads(content)["code"]
    assert isinstance(found, str)
    return found


# -- 2.5, 5: versions and fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_9110_2_5_the_version_is_the_proxy_s_own_on_both_sides(wire: Wire, version: str) -> None:
    client, end = await wire.client(wire.request(f"GET / {version}")), await wire.upstream()
    assert (await end.request()).line == b"GET / HTTP/1.1"
    await end.send(response(b"", version="HTTP/1.0"))
    assert (await final(client)).head.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "name", ["x-lower", "X-UPPER", "X-MiXeD", "X!#$%&'*+-.^`|~", "X-1", "Sec-CH-UA", "Priority", "X" * 200]
)
async def test_9110_5_1_a_field_s_name_passes_as_it_is(wire: Wire, name: str) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.1", (name, "v"))), await wire.upstream()
    assert (name, "v") in (await end.request()).fields
    await end.send(response(b"", (name, "v")))
    assert (name, "v") in (await final(client)).fields


@pytest.mark.parametrize(
    "fields",
    [
        [("X-A", "1"), ("X-A", "2"), ("X-A", "1")],
        [("X-A", "1"), ("x-a", "2"), ("X-B", "3"), ("X-a", "4")],
        [("X-A", "1, 2"), ("X-B", ""), ("X-A", "3,,4"), ("X-A", "")],
        [("Cookie", "a=1; b=2"), ("X-C", "z"), ("Accept", "a/b;q=0.1, */*"), ("Accept-Language", "de, en;q=0.5")],
    ],
)
async def test_9110_5_3_the_order_and_the_repeats_of_fields_are_kept(wire: Wire, fields: list[Field]) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.1", *fields)), await wire.upstream()
    received = await end.request()
    await end.send(response(b"", *fields))
    answer = await final(client)
    assert [field for field in received.fields if field in fields] == fields
    assert [field for field in answer.fields if field in fields] == fields


async def test_9110_5_3_set_cookie_is_never_made_one_line(wire: Wire) -> None:
    cookies = ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2; Path=/; HttpOnly", "a=3"]
    answer = await wire.pass_response(response(b"", *(("Set-Cookie", cookie) for cookie in cookies)))
    assert answer.values("set-cookie") == cookies


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        'quoted "string", with \\" escapes',
        "a  b \t c",
        "\xe9\xff\x80 is obs-text",
        "\xc3\xa9 is UTF-8",
        "(comment (nested))",
        "=?utf-8?q?x?=",
        "x" * 8000,
    ],
)
async def test_9110_5_5_a_field_s_value_passes_byte_for_byte(wire: Wire, value: str) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.1", ("X-Value", value))), await wire.upstream()
    assert (await end.request()).values("x-value") == [value]
    await end.send(response(b"", ("X-Value", value)))
    assert (await final(client)).values("x-value") == [value]


# -- 6: message abstraction --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "date", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
async def test_9110_6_6_1_a_date_is_passed_on_as_it_is(wire: Wire, date: str) -> None:
    assert (await wire.pass_response(response(b"", ("Date", date)))).values("date") == [date]


async def test_9110_6_6_1_an_answer_without_a_date_gets_one(wire: Wire) -> None:
    (date,) = (await wire.pass_response(response(b""))).values("date")
    assert parsedate_to_datetime(date).tzinfo is not None


@pytest.mark.parametrize("announced", [True, False])
async def test_9110_6_5_1_trailers_are_never_merged_into_the_header_section(wire: Wire, announced: bool) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    announcement = b"Trailer: X-Late, ETag\r\n" if announced else b""
    await end.send(
        b"HTTP/1.1 200 OK\r\n" + announcement + b"Transfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Late: 1\r\nETag: late\r\nSet-Cookie: late=1\r\nReauth-Signal: logout\r\n\r\n"
    )
    answer = await final(client)
    assert answer.content == b"ok"
    for name in ("trailer", "x-late", "etag", "set-cookie", "reauth-signal"):
        assert answer.values(name) == [], name


# -- 7: routing --------------------------------------------------------------------------------------------------


async def test_9110_7_2_the_upstream_gets_its_own_host_once_and_first(wire: Wire) -> None:
    received = await wire.pass_request(wire.request("GET / HTTP/1.1", ("Connection", "Host")))
    assert received.fields[0] == ("Host", f"127.0.0.1:{wire.served.port}")
    assert len(received.values("host")) == 1


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
async def test_9110_7_3_where_a_request_goes_is_not_the_client_s_choice(wire: Wire, host: str) -> None:
    port = wire.host.rpartition(":")[2]
    received = await wire.pass_request(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    assert received.values("host") == [f"127.0.0.1:{wire.served.port}"]


async def test_9110_7_5_answers_come_in_the_order_of_their_requests(wire: Wire) -> None:
    client = await wire.client(b"".join(wire.request(f"GET /{number} HTTP/1.1") for number in range(10)))
    end = await wire.upstream()
    for number in range(10):
        received = await end.request()
        assert received.target == f"/{number}"
        await end.send(response(received.target.encode()))
        assert (await final(client)).content == f"/{number}".encode()


@pytest.mark.parametrize(
    "field",
    [
        ("Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5, max=9"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers, gzip;q=0.5"),
        ("Trailer", "X-Late"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
        ("Proxy-Authorization", "Basic eDp5"),
    ],
    ids=lambda field: field[0],
)
async def test_9110_7_6_1_hop_by_hop_fields_of_requests_end_here(wire: Wire, field: Field) -> None:
    name, value = field
    client = await wire.client()
    end = None
    for spelling in (name, name.lower(), name.upper()):
        await client.send(wire.request("GET / HTTP/1.1", (spelling, value), ("X-After", "1")))
        end = end or await wire.upstream()
        received = await end.request()
        assert received.values(name) == []
        assert received.values("x-after") == ["1"]
        await end.send(OK)
        assert (await final(client)).status == 200


@pytest.mark.parametrize(
    "field",
    [
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authenticate", 'Basic realm="x"'),
        ("Proxy-Authentication-Info", "x=1"),
        ("Trailer", "X-Late"),
        ("Upgrade", "h2c, websocket"),
        ("TE", "trailers"),
    ],
    ids=lambda field: field[0],
)
async def test_9110_7_6_1_hop_by_hop_fields_of_answers_end_here(wire: Wire, field: Field) -> None:
    answer = await wire.pass_response(response(b"ok", field, ("X-After", "1")))
    assert answer.values(field[0]) == []
    assert (answer.values("x-after"), answer.content) == (["1"], b"ok")


@pytest.mark.parametrize(
    ("connection", "gone", "kept"),
    [
        (["X-A"], {"X-A"}, {"X-B", "Cookie"}),
        (["x-a , X-B"], {"X-A", "X-B"}, {"Cookie"}),
        (["close", "X-B"], {"X-B"}, {"X-A", "Cookie"}),
        (["keep-alive,,X-A,"], {"X-A"}, {"X-B", "Cookie"}),
        (["Cookie, X-A"], {"Cookie", "X-A"}, {"X-B"}),
        (["X-"], set(), {"X-A", "X-B", "Cookie"}),
        (["X"], set(), {"X-A", "X-B", "Cookie"}),
        (["XX-A, X-AA"], set(), {"X-A", "X-B", "Cookie"}),
    ],
)
async def test_9110_7_6_1_fields_named_by_connection_end_here(
    wire: Wire, connection: list[str], gone: set[str], kept: set[str]
) -> None:
    fields = [("X-A", "1"), ("X-B", "2"), ("Cookie", "c=1")]
    data = wire.request("GET / HTTP/1.1", *(("Connection", value) for value in connection), *fields)
    received = await wire.pass_request(data)
    assert {name for name, _ in fields if received.values(name)} == kept
    assert not {name for name in gone if received.values(name)}


@pytest.mark.parametrize(
    "named",
    ["Host", "Authorization", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"],
)
async def test_9110_7_6_1_what_the_proxy_sets_cannot_be_named_away(wire: Wire, named: str) -> None:
    received = await wire.pass_request(wire.request("GET / HTTP/1.1", ("Connection", f"{named}, {named.lower()}")))
    assert len(received.values(named)) == 1


@pytest.mark.parametrize("named", ["Content-Length", "Transfer-Encoding"])
async def test_9110_7_6_1_the_framing_of_content_cannot_be_named_away(wire: Wire, named: str) -> None:
    connection = ("Connection", named)
    if named == "Content-Length":
        data = wire.request("POST / HTTP/1.1", connection, content=b"hello")
        reply = response(b"hello", connection)
    else:
        data = (
            wire.request("POST / HTTP/1.1", connection, ("Transfer-Encoding", "chunked")) + b"5\r\nhello\r\n0\r\n\r\n"
        )
        reply = chunked_response(b"hello").replace(b"\r\n", b"\r\nConnection: Transfer-Encoding\r\n", 1)
    client, end = await wire.client(data), await wire.upstream()
    assert (await end.request()).content == b"hello"
    await end.send(reply)
    assert (await final(client)).content == b"hello"


@pytest.mark.parametrize(("value", "expected"), [("5", "4"), ("1", "0"), ("0010", "9")])
async def test_9110_7_6_2_max_forwards_of_options_counts_down(wire: Wire, value: str, expected: str) -> None:
    received = await wire.pass_request(wire.request("OPTIONS /a HTTP/1.1", ("Max-Forwards", value)))
    assert received.values("max-forwards") == [expected]


async def test_9110_7_6_2_options_with_max_forwards_0_is_answered_here(wire: Wire) -> None:
    answer = await wire.refused(wire.request("OPTIONS /a HTTP/1.1", ("Max-Forwards", "0")))
    assert answer.status in (200, 204)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_9110_7_6_2_max_forwards_of_other_methods_passes_as_it_is(wire: Wire, method: str) -> None:
    received = await wire.pass_request(wire.request(f"{method} /a HTTP/1.1", ("Max-Forwards", "0")))
    assert received.values("max-forwards") == ["0"]


@pytest.mark.parametrize(
    ("version", "before", "expected"),
    [
        ("HTTP/1.1", [], ["1.1 reauth-proxy"]),
        ("HTTP/1.0", [], ["1.0 reauth-proxy"]),
        ("HTTP/1.1", ["1.0 fred"], ["1.0 fred", "1.1 reauth-proxy"]),
        ("HTTP/1.1", ["2.0 a, 1.1 b (c)", "1.1 d"], ["2.0 a, 1.1 b (c)", "1.1 d", "1.1 reauth-proxy"]),
    ],
)
async def test_9110_7_6_3_each_request_says_via_whom_it_came(
    wire: Wire, version: str, before: list[str], expected: list[str]
) -> None:
    received = await wire.pass_request(wire.request(f"GET / {version}", *(("Via", value) for value in before)))
    assert ", ".join(received.values("via")) == ", ".join(expected)


async def test_9110_7_6_3_an_answer_s_via_is_kept(wire: Wire) -> None:
    answer = await wire.pass_response(response(b"", ("Via", "1.1 cdn"), ("Via", "2 edge")))
    assert answer.values("via")[:2] == ["1.1 cdn", "2 edge"]


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?",
        "/a?b?c",
        "//a//b/",
        "/a/./b/../c",
        "/..",
        "/%2e%2E/%2f",
        "/%41%7e%7E",
        "/%zz%",
        "/+%20+",
        "/a;b=1;c",
        "/-._~!$&'()*+,;=:@",
        "/?a=/../b",
        "/?%00",
        "/http://other.example/",
        "/@host:80",
        '/"<>[]\\^`{|}',
    ],
)
async def test_9110_7_7_the_target_is_not_transformed(wire: Wire, target: str) -> None:
    received = await wire.pass_request(wire.request(f"GET {target} HTTP/1.1"))
    assert received.line == f"GET {target} HTTP/1.1".encode()


@pytest.mark.parametrize("control", ["no-transform", "private, no-transform", "max-age=0"])
async def test_9110_7_7_content_is_not_transformed(wire: Wire, control: str) -> None:
    content = b'{ "a" : 1 }\r\n\x00\xff'
    fields = [("Cache-Control", control), ("Content-Type", "application/json"), ("Content-MD5", "x"), ("Digest", "y")]
    answer = await wire.pass_response(response(content, *fields))
    assert answer.content == content
    assert [field for field in answer.fields if field in fields] == fields


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("GET / HTTP/1.1", [("Connection", "Upgrade"), ("Upgrade", "h2c")]),
        ("GET / HTTP/1.1", [("Connection", "Upgrade"), ("Upgrade", "TLS/1.0, HTTP/1.1")]),
        ("GET / HTTP/1.1", [("Connection", "Upgrade"), ("Upgrade", "foo, websocket")]),
        ("GET / HTTP/1.1", [("Upgrade", "websocket")]),
        ("GET / HTTP/1.1", [("Connection", "notupgrade, X-Upgrade"), ("Upgrade", "websocket")]),
        ("GET / HTTP/1.0", [("Connection", "Upgrade"), ("Upgrade", "websocket")]),
        ("DELETE / HTTP/1.1", [("Connection", "Upgrade"), ("Upgrade", "websocket")]),
        ("GET / HTTP/1.1", [("Connection", "Upgrade")]),
    ],
)
async def test_9110_7_8_an_upgrade_that_is_not_to_websocket_is_not_passed_on(
    wire: Wire, line: str, fields: list[Field]
) -> None:
    received = await wire.pass_request(wire.request(line, *fields))
    assert received.values("upgrade") == received.values("connection") == []


@pytest.mark.parametrize(
    "fields",
    [
        [("Connection", "Upgrade"), ("Upgrade", "websocket")],
        [("Connection", "keep-alive, upgrade"), ("Upgrade", "WebSocket")],
        [("Upgrade", "WEBSOCKET"), ("connection", "UPGRADE")],
        [("Connection", "keep-alive"), ("Connection", "Upgrade"), ("Upgrade", "websocket")],
    ],
)
async def test_9110_7_8_an_upgrade_to_websocket_is_passed_on_and_answered_by_the_upstream(
    wire: Wire, fields: list[Field]
) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.1", *fields)), await wire.upstream()
    received = await end.request()
    assert [value.lower() for value in received.values("upgrade")] == ["websocket"]
    assert [value.lower() for value in received.values("connection")] == ["upgrade"]
    await end.send(SWITCHED)
    switched = await head(client)
    assert switched.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert [(name.lower(), value.lower()) for name, value in parse_fields(switched)] == [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
    ]


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "403 Forbidden", "426 Upgrade Required", "503 Busy"])
async def test_9110_7_8_an_upgrade_may_be_declined(wire: Wire, status: str) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.1", *UPGRADE)), await wire.upstream()
    await end.request()
    await end.send(response(b"no", status=status))
    answer = await final(client)
    assert (answer.head.split(b"\r\n")[0], answer.content) == (f"HTTP/1.1 {status}".encode(), b"no")


@pytest.mark.parametrize("asked", [False, True])
async def test_9110_7_8_no_protocol_is_switched_to_that_nobody_asked_for(wire: Wire, asked: bool) -> None:
    client = await wire.client(wire.request("GET / HTTP/1.1", *(UPGRADE if asked else ())))
    end = await wire.upstream()
    await end.request()
    await end.send(SWITCHED.replace(b"websocket", b"h2c") if asked else SWITCHED)
    answer = await final(client)
    assert (answer.status, code(answer.content)) == (502, "upstream_malformed")
    await end.closed()


# -- 8: representations ------------------------------------------------------------------------------------------

CODED = b"\x1f\x8b\x08\x00not really gzip"


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, br", "identity", "unheard-of"])
async def test_9110_8_4_coded_content_passes_both_ways_as_it_is(wire: Wire, coding: str) -> None:
    field = ("Content-Encoding", coding)
    client, end = await wire.client(wire.request("PUT / HTTP/1.1", field, content=CODED)), await wire.upstream()
    received = await end.request()
    assert (received.values("content-encoding"), received.content) == ([coding], CODED)
    await end.send(response(CODED, field, ("Vary", "Accept-Encoding")))
    answer = await final(client)
    assert (answer.values("content-encoding"), answer.content) == ([coding], CODED)


@pytest.mark.parametrize("content", [b"", b"{}", b"<p>"])
async def test_9110_8_3_no_content_type_is_made_up(wire: Wire, content: bytes) -> None:
    client, end = await wire.client(wire.request("POST / HTTP/1.1", content=content)), await wire.upstream()
    assert (await end.request()).values("content-type") == []
    await end.send(response(content))
    assert (await final(client)).values("content-type") == []


@pytest.mark.parametrize(
    "field",
    [
        ("Content-Type", 'multipart/form-data; boundary="a b"'),
        ("Content-Language", "de, en"),
        ("Content-Location", "/elsewhere?x"),
        ("ETag", 'W/"1"'),
        ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Server", "upstream/1.0 (x)"),
        ("Allow", "GET, , HEAD"),
        ("Location", "http://127.0.0.1:1/x"),
        ("Retry-After", "120"),
        ("Vary", "*"),
        ("WWW-Authenticate", 'Basic realm="x", Digest nonce=y'),
        ("Authentication-Info", "nextnonce=z"),
        ("Accept-Ranges", "bytes"),
        ("Age", "7"),
        ("Warning", '299 - "x"'),
        ("Strict-Transport-Security", "max-age=1"),
        ("X-Accel-Buffering", "no"),
        ("Alt-Svc", 'h3=":443"'),
    ],
    ids=lambda field: field[0],
)
async def test_9110_8_to_11_fields_about_a_representation_pass_as_they_are(wire: Wire, field: Field) -> None:
    assert field in (await wire.pass_response(response(b"", field))).fields


@pytest.mark.parametrize("name", ["Server", "X-Powered-By", "Content-Type", "Cache-Control", "Vary", "Set-Cookie"])
async def test_9110_10_2_nothing_is_added_to_an_answer(wire: Wire, name: str) -> None:
    assert (await wire.pass_response(response(b"x"))).values(name) == []


LENGTHS: list[tuple[str, bytes, list[str], bytes]] = [
    ("GET", response(b"hello"), ["5"], b"hello"),
    ("GET", response(b""), ["0"], b""),
    ("HEAD", response(b"", ("Content-Length", "1234"), length=False), ["1234"], b""),
    ("HEAD", response(b"", length=False), [], b""),
    ("GET", response(b"", status="204 No Content", length=False), [], b""),
    ("GET", response(b"", ("Content-Length", "5"), status="204 No Content", length=False), [], b""),
    ("GET", response(b"", status="304 Not Modified", length=False), [], b""),
    ("GET", response(b"", ("Content-Length", "5"), status="304 Not Modified", length=False), ["5"], b""),
    ("HEAD", response(b"", ("Content-Length", "5"), status="304 Not Modified", length=False), ["5"], b""),
    ("HEAD", response(b"", ("Content-Length", "9"), status="404 Not Found", length=False), ["9"], b""),
]


@pytest.mark.parametrize(("method", "reply", "lengths", "content"), LENGTHS)
async def test_9110_8_6_content_length_and_the_connection_goes_on(
    wire: Wire, method: str, reply: bytes, lengths: list[str], content: bytes
) -> None:
    client, end = await wire.client(wire.request(f"{method} / HTTP/1.1")), await wire.upstream()
    await end.request()
    await end.send(reply)
    answer = await final(client, to=method)
    assert (answer.values("content-length"), answer.content) == (lengths, content)
    await client.send(wire.request("GET /next HTTP/1.1"))
    end, received = await wire.next_request(end)
    assert received.target == "/next"
    await end.send(OK)
    assert (await final(client)).content == b"ok"


@pytest.mark.parametrize("lengths", [["2", "2"], ["2, 2"], ["2,2,2"]])
async def test_9110_8_6_a_length_that_is_said_twice_is_said_once_or_refused(wire: Wire, lengths: list[str]) -> None:
    fields = [("Content-Length", length) for length in lengths]
    answer = await wire.pass_response(response(b"", *fields, length=False) + b"ok")
    if answer.status == 200:
        assert (answer.values("content-length"), answer.content) == (["2"], b"ok")
    else:
        assert (answer.status, code(answer.content)) == (502, "upstream_malformed")


@pytest.mark.parametrize("length", ["0", "5"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_9110_8_6_a_request_s_length_passes_as_it_is(wire: Wire, method: str, length: str) -> None:
    data = wire.request(f"{method} / HTTP/1.1", ("Content-Length", length)) + b"x" * int(length)
    received = await wire.pass_request(data)
    assert received.values("content-length") == [length]
    assert received.content == b"x" * int(length)


# -- 9: methods --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "REPORT", "SEARCH", "QUERY"],
)
async def test_9110_9_1_methods_that_are_registered_pass(wire: Wire, method: str) -> None:
    client, end = await wire.client(wire.request(f"{method} / HTTP/1.1")), await wire.upstream()
    assert (await end.request()).method == method
    await end.send(response(b"") if method == "HEAD" else OK)
    assert (await final(client, to=method)).status == 200


@pytest.mark.parametrize("method", ["get", "Get", "pOST", "FOO", "X-CUSTOM", "connect", "trace"])
async def test_9110_9_1_a_method_is_case_sensitive_and_never_changed(wire: Wire, method: str) -> None:
    client = await wire.client(wire.request(f"{method} / HTTP/1.1"))
    answering = asyncio.ensure_future(final(client))
    arriving = asyncio.ensure_future(wire.upstream())
    await asyncio.wait([answering, arriving], return_when=asyncio.FIRST_COMPLETED)
    if arriving.done():
        end = arriving.result()
        assert (await end.request()).method == method
        await end.send(OK)
        assert (await answering).status == 200
    else:
        arriving.cancel()
        assert (await answering).status in (400, 405, 501)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_9110_9_2_2_an_idempotent_request_is_sent_again_when_its_kept_connection_was_closed(
    wire: Wire, method: str
) -> None:
    stale = await wire.warm()
    content = b"content" if method == "PUT" else b""
    client = await wire.client(wire.request(f"{method} /again HTTP/1.1", content=content))
    first = await stale.request()
    stale.close()
    end = await wire.upstream()
    second = await end.request()
    assert (first.line, first.fields, first.content) == (second.line, second.fields, second.content)
    await end.send(response(b"") if method == "HEAD" else OK)
    assert (await final(client, to=method)).status == 200


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_9110_9_2_2_a_request_that_is_not_idempotent_is_never_sent_again(wire: Wire, method: str) -> None:
    stale = await wire.warm()
    client = await wire.client(wire.request(f"{method} /once HTTP/1.1", content=b"content"))
    await stale.request()
    stale.close()
    answer = await final(client)
    assert (answer.status, code(answer.content)) == (502, "upstream_unreachable")
    assert wire.served.connections == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_9110_9_2_2_nothing_is_sent_again_once_a_byte_of_an_answer_came(wire: Wire, method: str) -> None:
    kept = await wire.warm()
    client = await wire.client(wire.request(f"{method} /once HTTP/1.1"))
    await kept.request()
    await kept.send(b"H")
    kept.close()
    assert (await final(client)).status == 502
    assert wire.served.connections == 1


@pytest.mark.parametrize("content", [b"a body", b"x" * 100_000])
async def test_9110_9_3_1_content_of_a_get_passes(wire: Wire, content: bytes) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.1", content=content)), await wire.upstream()
    first = await end.head()
    if b"Expect" in first:
        await end.send(CONTINUE)
    async with asyncio.timeout(PATIENCE):
        assert await end.reader.readexactly(len(content)) == content
    await end.send(OK)
    assert (await final(client)).status == 200


@pytest.mark.parametrize(
    "reply",
    [
        response(b"", ("Content-Length", "10"), length=False),
        response(b"", ("Transfer-Encoding", "chunked"), length=False),
        response(b"", length=False),
    ],
    ids=["length", "chunked", "neither"],
)
async def test_9110_9_3_2_the_answer_to_a_head_ends_with_its_header_section(wire: Wire, reply: bytes) -> None:
    client, end = await wire.client(wire.request("HEAD / HTTP/1.1")), await wire.upstream()
    await end.request()
    await end.send(reply)
    assert (await final(client, to="HEAD")).status == 200
    assert await is_silent(client.reader)


async def test_9110_9_3_2_content_in_the_answer_to_a_head_reaches_nobody(wire: Wire) -> None:
    client, end = await wire.client(wire.request("HEAD / HTTP/1.1")), await wire.upstream()
    await end.request()
    await end.send(response(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"))
    assert (await final(client, to="HEAD")).status == 200
    await client.send(wire.request("GET /next HTTP/1.1"))
    again, received = await wire.next_request(end)
    assert (again is not end, received.target) == (True, "/next")
    await again.send(OK)
    assert (await final(client)).content == b"ok"


async def test_9110_9_3_2_the_proxy_s_own_answer_to_a_head_has_no_content(wire: Wire) -> None:
    client, end = await wire.client(wire.request("HEAD / HTTP/1.1")), await wire.upstream()
    await end.request()
    end.close()
    answer = await final(client, to="HEAD")
    assert answer.status == 502
    assert int(answer.value("Content-Length") or 0) > 0
    assert await is_silent(client.reader)


@pytest.mark.parametrize("target", ["example.com:443", "127.0.0.1:80", "/", "*"])
async def test_9110_9_3_6_connect_is_refused(wire: Wire, target: str) -> None:
    answer = await wire.refused(f"CONNECT {target} HTTP/1.1\r\nHost: {wire.host}\r\n\r\n".encode())
    assert answer.status in ((405,) if ":" in target else (400, 405))


@pytest.mark.parametrize("fields", [[], [("Max-Forwards", "0")], [("Max-Forwards", "5")]])
async def test_9110_9_3_8_trace_is_refused_for_it_would_show_the_token(wire: Wire, fields: list[Field]) -> None:
    answer = await wire.refused(wire.request("TRACE / HTTP/1.1", *fields))
    assert (answer.status, code(answer.content)) == (405, "method_not_supported")
    assert b"CANARY" not in answer.head + answer.content


# -- 10.1: expectations and the like -----------------------------------------------------------------------------


async def test_9110_10_1_1_a_client_that_waits_with_short_content_is_told_to_go_on(wire: Wire) -> None:
    client = await wire.client(wire.request("POST / HTTP/1.1", EXPECT, ("Content-Length", "5")))
    answering = asyncio.ensure_future(head(client))
    arriving = asyncio.ensure_future(wire.upstream())
    await asyncio.wait([answering, arriving], return_when=asyncio.FIRST_COMPLETED)
    if arriving.done():  # passed on, and the upstream is asked
        end = arriving.result()
        assert b"Expect: 100-continue" in await end.head()
        await end.send(CONTINUE)
        assert (await answering).startswith(b"HTTP/1.1 100 ")
        await client.send(b"hello")
        async with asyncio.timeout(PATIENCE):
            assert await end.reader.readexactly(5) == b"hello"
    else:  # answered here
        assert (await answering).startswith(b"HTTP/1.1 100 ")
        await client.send(b"hello")
        end = await arriving
        assert (await end.request()).content == b"hello"
    await end.send(OK)
    assert (await head(client)).startswith(b"HTTP/1.1 200 "), "100 is said once"


@pytest.mark.parametrize("framing", [("Content-Length", "100"), ("Transfer-Encoding", "chunked")])
async def test_9110_10_1_1_a_client_s_expectation_of_long_content_is_the_upstream_s(framing: Field) -> None:
    async with wired(**STREAMED) as wire:
        client = await wire.client(wire.request("POST / HTTP/1.1", EXPECT, framing))
        end = await wire.upstream()
        assert ("Expect", "100-continue") in parse_fields(await end.head())
        assert await is_silent(client.reader)
        await end.send(CONTINUE)
        assert (await head(client)).startswith(b"HTTP/1.1 100 ")
        content = b"x" * 100 if framing[0] == "Content-Length" else b"5\r\nhello\r\n0\r\n\r\n"
        await client.send(content)
        async with asyncio.timeout(PATIENCE):
            assert await end.reader.readexactly(len(content)) == content
        await end.send(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 "), "100 is said once"


async def test_9110_10_1_1_nobody_waits_for_ever_for_an_upstream_that_knows_no_expectations() -> None:
    async with wired(**STREAMED) as wire:
        client = await wire.client(wire.request("POST / HTTP/1.1", EXPECT, ("Content-Length", "100")))
        end = await wire.upstream()
        await end.head()
        assert (await head(client)).startswith(b"HTTP/1.1 100 ")
        await client.send(b"x" * 100)
        async with asyncio.timeout(PATIENCE):
            assert await end.reader.readexactly(100) == b"x" * 100
        await end.send(OK)
        assert (await final(client)).status == 200


@pytest.mark.parametrize("status", ["413 Too Large", "403 Forbidden", "200 OK"])
async def test_9110_10_1_1_a_final_answer_instead_of_100_is_the_answer(status: str) -> None:
    async with wired(**STREAMED) as wire:
        client = await wire.client(wire.request("POST / HTTP/1.1", EXPECT, ("Content-Length", "100")))
        end = await wire.upstream()
        await end.head()
        await end.send(response(b"no need", status=status))
        answer = await final(client)
        assert (answer.head.split(b"\r\n")[0], answer.content) == (f"HTTP/1.1 {status}".encode(), b"no need")
        assert await end.rest() == b"", "the content never comes, and so nothing else may"


async def test_9110_10_1_1_a_client_need_not_wait(wire: Wire) -> None:
    client, end = await wire.client(wire.request("POST / HTTP/1.1", EXPECT, content=b"hello")), await wire.upstream()
    first = await end.head()
    if b"Expect" in first:
        await end.send(CONTINUE)
    async with asyncio.timeout(PATIENCE):
        assert await end.reader.readexactly(5) == b"hello"
    await end.send(OK)
    assert (await final(client)).status == 200


@pytest.mark.parametrize("value", ["100-Continue", "100-CONTINUE"])
async def test_9110_10_1_1_the_expectation_is_not_case_sensitive(wire: Wire, value: str) -> None:
    client = await wire.client(wire.request("POST / HTTP/1.1", ("Expect", value), ("Content-Length", "5")))
    answering = asyncio.ensure_future(head(client))
    arriving = asyncio.ensure_future(wire.upstream())
    await asyncio.wait([answering, arriving], return_when=asyncio.FIRST_COMPLETED)
    if arriving.done():
        await arriving.result().send(CONTINUE)
    arriving.cancel()
    assert (await answering).startswith(b"HTTP/1.1 100 ")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_9110_10_1_1_an_expectation_without_content_holds_nothing_up(wire: Wire, method: str) -> None:
    client, end = await wire.client(wire.request(f"{method} / HTTP/1.1", EXPECT)), await wire.upstream()
    assert (await end.request()).values("expect") == []
    await end.send(OK)
    assert (await final(client)).status == 200


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", "payment"])
async def test_9110_10_1_1_any_other_expectation_is_a_417(wire: Wire, value: str) -> None:
    assert (await wire.refused(wire.request("POST / HTTP/1.1", ("Expect", value), content=b"x"))).status == 417


@pytest.mark.parametrize("value", ["100-continue", "unheard-of"])
async def test_9110_10_1_1_an_http_1_0_client_s_expectation_is_ignored(wire: Wire, value: str) -> None:
    data = wire.request("POST / HTTP/1.0", ("Expect", value), content=b"hello")
    client, end = await wire.client(data), await wire.upstream()
    received = await end.request()
    assert (received.values("expect"), received.content) == ([], b"hello")
    await end.send(OK)
    assert (await rest(client.reader)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_9110_10_1_1_no_expectation_is_made_up_for_short_content(wire: Wire) -> None:
    received = await wire.pass_request(wire.request("POST / HTTP/1.1", content=b"hello"))
    assert received.values("expect") == []


async def test_9110_10_1_1_a_client_that_did_not_ask_is_not_told_to_go_on() -> None:
    async with wired(**STREAMED) as wire:
        client = await wire.client(wire.request("POST / HTTP/1.1", content=b"x" * 100))
        end = await wire.upstream()
        if b"Expect" in await end.head():
            await end.send(CONTINUE)
        async with asyncio.timeout(PATIENCE):
            assert await end.reader.readexactly(100) == b"x" * 100
        await end.send(OK)
        assert (await head(client)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "field",
    [
        ("From", "a@b"),
        ("User-Agent", "x/1 (y)"),
        ("Accept", "text/html;q=0.5"),
        ("Accept-Encoding", "gzip;q=0"),
        ("Accept-Language", "de"),
        ("Accept-Charset", "utf-8"),
        ("If-Match", '"a", "b"'),
        ("If-None-Match", "*"),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("If-Range", '"x"'),
        ("Range", "bytes=0-1, -5"),
        ("Cache-Control", "no-cache"),
        ("Pragma", "no-cache"),
        ("Prefer", "return=minimal"),
    ],
    ids=lambda field: field[0],
)
async def test_9110_10_to_14_fields_of_requests_pass_as_they_are(wire: Wire, field: Field) -> None:
    received = await wire.pass_request(wire.request("GET / HTTP/1.1", field))
    assert received.values(field[0]) == [field[1]]


@pytest.mark.parametrize(
    "name",
    ["User-Agent", "Accept-Encoding", "Accept-Language", "Content-Type", "Content-Length", "Cookie", "Connection"],
)
async def test_9110_10_1_nothing_is_added_to_a_request(wire: Wire, name: str) -> None:
    assert (await wire.pass_request(wire.request())).values(name) == []


# -- 14, 15: ranges and statuses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("206 Partial Content", [("Content-Range", "bytes 0-4/10"), ("Content-Type", "text/plain")]),
        ("206 Partial Content", [("Content-Type", "multipart/byteranges; boundary=x")]),
        ("416 Range Not Satisfiable", [("Content-Range", "bytes */10")]),
    ],
)
async def test_9110_14_ranges_are_between_the_client_and_the_upstream(
    wire: Wire, status: str, fields: list[Field]
) -> None:
    answer = await wire.pass_response(response(b"01234", *fields, status=status))
    assert answer.head.startswith(f"HTTP/1.1 {status}\r\n".encode())
    assert [field for field in answer.fields if field in fields] == fields
    assert answer.content == b"01234"


@pytest.mark.parametrize("status", ["102 Processing", "103 Early Hints", "104 Upload Resumption", "199 Odd"])
async def test_9110_15_2_interim_answers_are_passed_on_before_the_final_one(wire: Wire, status: str) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(
        response(b"", ("X-Early", "1"), ("Connection", "X-Hop"), ("X-Hop", "1"), status=status, length=False)
    )
    early = await head(client)
    assert early.startswith(f"HTTP/1.1 {status}\r\n".encode())
    assert parse_fields(early) == [("X-Early", "1")]
    await end.send(OK)
    assert (await final(client)).values("x-early") == []


async def test_9110_15_2_an_interim_answer_before_a_rejection_does_not_spoil_the_replay(wire: Wire) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(response(b"", status="103 Early Hints", length=False) + response(b"", status="401 Unauthorized"))
    await end.request()
    await end.send(OK)
    answer = await final(client)
    assert (answer.status, answer.content) == (200, b"ok")


@pytest.mark.parametrize("status", ["100 Continue", "103 Early Hints"])
async def test_9110_15_2_an_http_1_0_client_gets_no_interim_answer(wire: Wire, status: str) -> None:
    client, end = await wire.client(wire.request("GET / HTTP/1.0")), await wire.upstream()
    await end.request()
    await end.send(response(b"", status=status, length=False) + OK)
    assert (await rest(client.reader)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_9110_15_2_1_a_100_that_nobody_asked_for_does_not_replace_the_answer(wire: Wire) -> None:
    answer = await wire.pass_response(CONTINUE + CONTINUE + OK)
    assert (answer.status, answer.content) == (200, b"ok")


@pytest.mark.parametrize(
    "status", ["200 OK", "201 Created", "202 Accepted", "203 Other", "207 Multi-Status", "299 Odd"]
)
async def test_9110_15_3_successes_pass_as_they_are(wire: Wire, status: str) -> None:
    answer = await wire.pass_response(response(b"content", status=status))
    assert (answer.head.split(b"\r\n")[0], answer.content) == (f"HTTP/1.1 {status}".encode(), b"content")


@pytest.mark.parametrize("framing", ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_9110_15_3_5_a_204_has_neither_content_nor_framing(wire: Wire, framing: str) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(f"HTTP/1.1 204 No Content\r\n{framing}X-A: 1\r\n\r\n".encode())
    answer = await final(client)
    assert (answer.status, answer.values("x-a")) == (204, ["1"])
    assert answer.values("content-length") == answer.values("transfer-encoding") == []
    assert await is_silent(client.reader)


@pytest.mark.parametrize(
    "reply", [response(b"", status="205 Reset"), chunked_response().replace(b"200 OK", b"205 Reset")]
)
async def test_9110_15_3_6_a_205_is_empty(wire: Wire, reply: bytes) -> None:
    client, end = await wire.client(wire.request()), await wire.upstream()
    await end.request()
    await end.send(reply)
    answer = await final(client)
    assert (answer.status, answer.content) == (205, b"")
    assert await is_silent(client.reader)


@pytest.mark.parametrize(
    ("status", "location"),
    [(status, "self") for status in (300, 301, 302, 303, 305, 307, 308, 399)]
    + [(302, "/here"), (307, "http://other.example/"), (308, "//other.example"), (301, "")],
)
async def test_9110_15_4_redirects_are_passed_on_and_never_followed(wire: Wire, status: int, location: str) -> None:
    if location == "self":
        location = f"{wire.served.url}/there"
    answer = await wire.pass_response(response(b"moved", ("Location", location), status=f"{status} Moved"))
    assert (answer.status, answer.values("location"), answer.content) == (status, [location], b"moved")
    assert wire.served.connections == 1


@pytest.mark.parametrize("framing", ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_9110_15_4_5_a_304_has_no_content_and_keeps_its_fields(wire: Wire, framing: str) -> None:
    client = await wire.client(wire.request("GET / HTTP/1.1", ("If-None-Match", '"1"')))
    end = await wire.upstream()
    assert (await end.request()).values("if-none-match") == ['"1"']
    kept = [("ETag", '"1"'), ("Cache-Control", "max-age=1"), ("Vary", "Cookie"), ("Expires", "0")]
    lines = "".join(f"{name}: {value}\r\n" for name, value in kept)
    await end.send(f"HTTP/1.1 304 Not Modified\r\n{lines}{framing}\r\n".encode())
    answer = await final(client)
    assert answer.status == 304
    assert [field for field in answer.fields if field in kept] == kept
    assert await is_silent(client.reader)


ERRORS = [400, *range(402, 407), *range(408, 419), 421, 422, 425, 426, 428, 429, 431, 451, 499]
ERRORS += [500, 501, 502, 503, 504, 505, 507, 511, 599]


@pytest.mark.parametrize("status", ERRORS)
async def test_9110_15_5_and_15_6_errors_pass_as_they_are_and_are_not_tried_again(wire: Wire, status: int) -> None:
    fields = [("Retry-After", "1"), ("Content-Type", "text/html")]
    answer = await wire.pass_response(response(b"<p>sorry", *fields, status=f"{status} It Is So"))
    assert answer.head.startswith(f"HTTP/1.1 {status} It Is So\r\n".encode())
    assert [field for field in answer.fields if field in fields] == fields
    assert answer.content == b"<p>sorry"
    assert answer.values("proxy-status") == []
    assert wire.served.connections == 1


@pytest.mark.parametrize("challenge", ['Basic realm="x"', "Negotiate", 'Digest realm="x", nonce="y"'])
async def test_9110_15_5_2_a_401_that_is_not_about_a_token_passes_as_it_is(wire: Wire, challenge: str) -> None:
    reply = response(b"who are you?", ("WWW-Authenticate", challenge), status="401 Unauthorized")
    answer = await wire.pass_response(reply)
    assert (answer.status, answer.values("www-authenticate")) == (401, [challenge])
    assert answer.content == b"who are you?"
    assert wire.authorization.count == 1


async def test_9110_15_5_6_the_proxy_s_own_405_says_what_is_allowed(wire: Wire) -> None:
    answer = await wire.refused(wire.request("TRACE / HTTP/1.1"))
    allowed = {method.strip() for value in answer.values("allow") for method in value.split(",")}
    assert {"GET", "POST"} <= allowed
    assert not {"TRACE", "CONNECT"} & allowed


async def test_9110_15_5_8_a_407_s_challenge_ends_here(wire: Wire) -> None:
    reply = response(b"x", ("Proxy-Authenticate", "Basic"), status="407 Proxy Authentication Required")
    answer = await wire.pass_response(reply)
    assert (answer.status, answer.values("proxy-authenticate")) == (407, [])


async def test_9110_11_6_2_no_client_s_credentials_go_upstream(wire: Wire) -> None:
    fields = [("Authorization", "Basic eDp5"), ("authorization", "Bearer z"), ("Proxy-Authorization", "Basic eDp5")]
    received = await wire.pass_request(wire.request("GET / HTTP/1.1", *fields))
    assert received.values("authorization") == ["Bearer access-CANARY-1"]
    assert received.values("proxy-authorization") == []
