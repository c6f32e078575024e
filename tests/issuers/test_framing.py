"""What is found in a head with mistakes, and in content among the sizes of chunks."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.issuers import content, framing


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nx", 25),
        (b"HTTP/1.1 200 OK\nA: b\n\nx", 22),
        (b"HTTP/1.1 200 OK\nA: b\r\n\nx", 23),
        (b"HTTP/1.1 200 OK\r\n\r\n", 19),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", -1),
        (b"", -1),
    ],
)
def test_a_head_ends_with_a_blank_line(data: bytes, end: int) -> None:
    assert framing.end_of_head(data, 0) == end


@pytest.mark.parametrize(
    ("data", "status", "fields", "content"),
    [
        (b"HTTP/1.1 200 OK\r\nWarning in token.php\r\nDate: x\r\n\r\n", 200, {"date": "x"}, b""),
        (b"HTTP/1.0 201\nA : b\nA: c\n\n", 201, {"a": "b"}, b""),
        (b"HTTP/2 200\r\n\r\n", 200, {}, b""),
        (b'HTTP/1.1 200 OK\r\nA: b\r\n{"x":\r\n 1}', 200, {"a": "b"}, b'{"x":\r\n 1}'),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n[1]", 200, {"a": "b"}, b"[1]"),
    ],
)
def test_what_is_no_field_is_left_out(data: bytes, status: int, fields: dict[str, str], content: bytes) -> None:
    assert framing.head(data) == (status, fields, content)


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 2000 OK", b"HTTP/1.1 OK", b"ICY 200 OK", b'{"a": 1}', b"HTTP/1.1 099"]
)
def test_without_a_status_there_is_no_head(data: bytes) -> None:
    assert framing.head(data) is None


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (b"5\r\nabcde\r\n0\r\n\r\n", b"abcde"),
        (b"5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n", b"abcdefgh"),
        (b"5 \r\nabcde\r\n3;x=y\r\nfgh\r\n0\r\nTrailer: x\r\n\r\n", b"abcdefghTrailer: x\r\n"),
        (b"5\nabcde\n3\nfgh\n0\n\n", b"abcdefgh"),
        (b"4\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n", b"abcdefgh"),
        (b"ff\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n", b"abcdefgh"),
        (b"ffffffffffffffff\r\nabcde", b"abcde"),
        (b"5\r\nabcde\r\n0\r\n\r\nmore", b"abcde\r\nmore"),
        (b"5\r\nabcde\r\n3", b"abcde"),
        (b"5\r\nabcde\r\n3\r", b"abcde"),
        (b"5\r\nabcde\r\n", b"abcde"),
        (b"5\r\nabcde\r", b"abcde"),
        (b"5\r\nabc", b"abc"),
        # The size is right, so that this is content.
        (b"b\r\n{\r\n\r\n5\r\n}\r\n\r\n0\r\n\r\n", b"{\r\n\r\n5\r\n}\r\n"),
        (b'{"a": 1}', b'{"a": 1}'),
        (b"", b""),
    ],
)
def test_the_sizes_of_chunks_are_taken_out(data: bytes, plain: bytes) -> None:
    assert framing.unchunked(data).rstrip(b"\r\n") == plain.rstrip(b"\r\n")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
def test_right_chunks_are_put_together_whatever_is_in_them(chunks: list[bytes]) -> None:
    data = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert framing.unchunked(data).startswith(b"".join(chunks))
    assert not framing.unchunked(data).removeprefix(b"".join(chunks)).strip()


@given(st.text(alphabet="0123456789abcdef", min_size=1), st.data())
def test_a_token_of_hexadecimal_digits_in_chunks_of_wrong_sizes_is_whole_or_has_no_end(
    token: str, data: st.DataObject
) -> None:
    text = f'{{"access_token": "{token}"}}'.encode()
    edges = [0, *sorted(data.draw(st.sets(st.integers(1, len(text) - 1)))), len(text)]
    sizes = data.draw(st.lists(st.integers(1, 300), min_size=len(edges), max_size=len(edges)))
    whole = b"".join(b"%x\r\n%s\r\n" % (n, text[a:b]) for n, (a, b) in zip(sizes, pairwise(edges), strict=False))
    for length in {len(whole) + 5, data.draw(st.integers(0, len(whole) + 4))}:
        plain = framing.unchunked((whole + b"0\r\n\r\n")[:length])
        for found in found_tokens(plain):
            # A size that by chance ends where another chunk does leaves a line end, which no token may have.
            assert found == token or "\r\n" in found


def found_tokens(plain: bytes) -> list[str]:
    found = content.documents(content.text(plain))
    documents = [*found.whole, *(part.document for part in found.parts)]
    return [str(one["access_token"]) for one in documents if isinstance(one, dict) and "access_token" in one]


@given(st.binary() | st.text(alphabet="0aF;\r\n{}").map(str.encode))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    framing.unchunked(data)
    framing.head(data)
    framing.head(b"HTTP/1.1 200 OK\r\n" + data)


@pytest.mark.parametrize(
    "data",
    [b"a" * 8_000_000, b"\r\n" * 4_000_000, b"1\r\n" * 2_000_000, b"1\r\na\r\n" * 1_000_000, b"\r\n1;" * 2_000_000],
    ids=["digits", "line ends", "sizes", "small chunks", "extensions"],
)
def test_8_mib_of_anything_are_looked_through_in_little_time(data: bytes) -> None:
    began = time.process_time()
    framing.unchunked(data)
    assert time.process_time() - began < 5
