"""Requests made of bytes: one at a time, in whatever pieces; the hostile ones are in tests/raw."""

from __future__ import annotations

import pytest

from reauth_proxy.errors import BadRequest, FieldsTooLarge, Refusal, VersionNotSupported
from reauth_proxy.http1.body import Body
from reauth_proxy.http1.request import Request, RequestReader

GET = b"GET /p?q HTTP/1.1\r\nHost: h\r\nX-One:  two \t\r\n\r\n"
UPGRADE = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"


class Source:
    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def reader(header_bytes: int = 1000, header_fields: int = 10) -> tuple[RequestReader, Body]:
    body = Body(Source())
    return RequestReader(body, header_bytes, header_fields), body


def read(data: bytes, **limits: int) -> tuple[Request, bytes, bytes]:
    """Return the first request in the data, its content, and what follows."""
    requests, body = reader(**limits)
    at, request = requests.take_head(data, 0)
    while request is None:
        at, request = requests.take_head(data, at)
    while at < len(data) and not body.complete:
        at = requests.take_content(data, at)
    return request, body.take(), data[at:]


def test_a_header_section_is_taken_and_what_follows_is_left() -> None:
    request, content, rest = read(GET + GET)
    assert (request.method, request.target, request.version) == ("GET", b"/p?q", (1, 1))
    assert request.fields == [(b"Host", b"h"), (b"X-One", b"two")], "without the blanks around values"
    assert (request.persistent, request.upgrade, request.chunked) == (True, False, False)
    assert request.body.complete
    assert (content, rest) == (b"", GET)


def test_a_header_section_comes_in_whatever_pieces() -> None:
    for at in range(1, len(GET)):
        requests, _ = reader()
        assert requests.take_head(GET[:at], 0) == (at, None)
        end, request = requests.take_head(GET[at:] + b"rest", 0)
        assert request is not None
        assert request.fields == [(b"Host", b"h"), (b"X-One", b"two")]
        assert (GET[at:] + b"rest")[end:] == b"rest"


def test_one_after_the_other_is_read_in_parts_or_whole() -> None:
    requests, _ = reader()
    for _ in range(2):
        assert requests.take_head(GET, 0)[1] is not None
    requests.take_head(GET[:10], 0)
    request = requests.take_head(GET[10:], 0)[1]
    assert request is not None
    assert request.target == b"/p?q"


@pytest.mark.parametrize(
    ("framing", "content"),
    [(b"Content-Length: 5\r\n", b"hello"), (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n\r\n")],
)
@pytest.mark.parametrize("start", [b"POST / HTTP/1.1\r\nHost: h\r\n", UPGRADE], ids=["plain", "upgrade"])
def test_content_ends_where_its_framing_says(start: bytes, framing: bytes, content: bytes) -> None:
    request, found, rest = read(start + framing + b"\r\n" + content + GET)
    assert (found, rest) == (b"hello", GET)
    assert request.upgrade is (start == UPGRADE)
    assert request.chunked is framing.startswith(b"Transfer")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("said", [None, b"keep-alive", b"close"])
def test_whether_the_connection_persists(version: bytes, said: bytes | None) -> None:
    line = b"" if said is None else b"Connection: %b\r\n" % said
    request, _, _ = read(b"GET / HTTP/%b\r\nHost: h\r\n%b\r\n" % (version, line))
    assert request.persistent is (said == b"keep-alive" or (said is None and version == b"1.1"))


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"GET / HTTP/3.0\r\n", VersionNotSupported),
        (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", BadRequest),
        (b"\x16\x03\x01", BadRequest),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 1000, FieldsTooLarge),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 1000 + b"\r\n\r\n", FieldsTooLarge),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 11 + b"\r\n", FieldsTooLarge),
        (UPGRADE + b"Transfer-Encoding: gzip\r\n\r\n", BadRequest),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"x" * 1100, BadRequest),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;" + b"x" * 1100 + b"\r\ny\r\n", BadRequest),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 11 + b"\r\n", BadRequest),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * 1100 + b"\r\n\r\n", BadRequest),
    ],
)
def test_what_is_refused(data: bytes, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        read(data)


def test_extensions_may_be_as_long_as_content_and_header_section_together() -> None:
    chunks = (b"64;" + b"x" * 100 + b"\r\n" + b"y" * 100 + b"\r\n") * 100
    _, content, _ = read(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert len(content) == 10_000
