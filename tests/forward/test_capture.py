"""Tokens are found and cut out of an answer; every other byte stays, and what cannot be read is not passed on."""

from __future__ import annotations

import copy
import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.forward.capture import Captured, Paths, Rule, Unreadable, answered, asked, capture, plain
from reauth_proxy.issuers import pointer
from reauth_proxy.session.tokens import Secret

RULE = Rule(("accessToken",), ("refreshToken",), ("expiresIn",))


def rule(access: str, refresh: str, expires: str | None = None) -> Rule:
    return Rule(pointer.parse(access), pointer.parse(refresh), None if expires is None else pointer.parse(expires))


def captured(text: str | bytes, found_by: Rule = RULE) -> Captured:
    found = capture(text.encode() if isinstance(text, str) else text, found_by)
    assert isinstance(found, Captured)
    assert "CANARY" not in repr(found.refresh_token)
    return found


def test_a_login_s_answer_gives_its_tokens_and_keeps_the_rest() -> None:
    found = captured('{"user":{"id":7},"accessToken":"a-CANARY","refreshToken":"r-CANARY","expiresIn":3600,"ok":true}')
    assert found == Captured(Secret("r-CANARY"), Secret("a-CANARY"), 3600.0, b'{"user":{"id":7},"ok":true}')


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"accessToken":"a","refreshToken":"r"}', "{}"),
        ('{ "accessToken" : "a" , "refreshToken" : "r" }', "{  }"),
        ('{"accessToken":"a","x":1,"refreshToken":"r"}', '{"x":1}'),
        ('{"x":1,"accessToken":"a","y":2,"refreshToken":"r","z":3}', '{"x":1,"y":2,"z":3}'),
        ('{"x":1,"accessToken":"a","refreshToken":"r"}', '{"x":1}'),
        ('{"accessToken":"a","refreshToken":"r","x":1}', '{"x":1}'),
        ('{\n  "accessToken": "a",\n  "x": 1,\n  "refreshToken": "r"\n}\n', '{\n  "x": 1\n}\n'),
        ('{"accessToken":"a","accessToken":"b","x":1}', '{"x":1}'),
        ('{"acce\\u0073sToken":"a","x":"\\u00e9\\/é"}', '{"x":"\\u00e9\\/é"}'),
        ('{"accessToken":"a","n":1.0e+2,"big":123456789012345678901234567890,"neg":-0}',
         '{"n":1.0e+2,"big":123456789012345678901234567890,"neg":-0}'),
        ('\ufeff{"accessToken":"a"}', "\ufeff{}"),
        ('{"accessToken":{"deep":["CANARY"]},"x":1}', '{"x":1}'),
        ('{"accessToken":"a, \\"refreshToken\\": \\"b","x":"{]"}', '{"x":"{]"}'),
    ],
)  # fmt: skip
def test_what_stays_is_byte_for_byte_what_came(text: str, left: str) -> None:
    assert captured(text).content.decode() == left


def test_where_a_name_is_there_twice_the_last_one_counts_and_all_are_cut() -> None:
    found = captured('{"refreshToken":"first","x":1,"refreshToken":"last"}')
    assert (found.refresh_token, found.content) == (Secret("last"), b'{"x":1}')


def test_pointers_lead_into_objects_and_arrays_and_may_have_escapes() -> None:
    text = '{"data":{"tokens":[{"kind":"x"},"a-CANARY","r-CANARY"],"a/b":{"~":60},"":1}}'
    found = captured(text, rule("/data/tokens/1", "/data/tokens/2", "/data/a~1b/~0"))
    assert (found.access_token, found.refresh_token, found.lifetime) == (Secret("a-CANARY"), Secret("r-CANARY"), 60.0)
    assert found.content == b'{"data":{"tokens":[{"kind":"x"},null,null],"a/b":{},"":1}}'


def test_a_pointer_into_what_another_one_takes_goes_with_it() -> None:
    found = captured('{"t":{"a":"x","r":"y"},"z":1}', rule("/t/a", "/t"))
    assert found.content == b'{"z":1}'


@pytest.mark.parametrize(
    ("text", "refresh", "access", "lifetime"),
    [
        ('{"accessToken":"a"}', None, Secret("a"), None),
        ('{"accessToken":1,"refreshToken":null,"expiresIn":"60"}', None, None, 60.0),
        ('{"refreshToken":"r\\u0000"}', None, None, None),
        ('{"refreshToken":"r","expiresIn":true}', Secret("r"), None, None),
        ('{"refreshToken":"' + "x" * 65_537 + '"}', None, None, None),
        ('{"refreshToken":"r","expiresIn":' + "9" * 5000 + "}", Secret("r"), None, None),
    ],
)
def test_what_cannot_be_used_is_cut_all_the_same(
    text: str, refresh: Secret | None, access: Secret | None, lifetime: float | None
) -> None:
    assert captured(text) == Captured(refresh, access, lifetime, b"{}")


@pytest.mark.parametrize(
    "text", ["", " \n", "{}", "[]", "null", "3", '"accessToken"', '{"x":{"accessToken":"a"}}', "[{}]"]
)
def test_an_answer_without_tokens_is_nothing_to_capture(text: str) -> None:
    assert capture(text.encode(), RULE) is None


@pytest.mark.parametrize(
    "content",
    [
        b"<html>CANARY",
        b'{"accessToken":"CANARY"',
        b'{"accessToken":"CANARY",}',
        b'{"accessToken" "CANARY"}',
        b'{"accessToken":"CANARY"} {"accessToken":"CANARY"}',
        b'{accessToken:"CANARY"}',
        b"{'accessToken':'CANARY'}",
        b'{"x":1 "accessToken":"CANARY"}',
        b'{"accessToken":"CANARY\n"}',
        b'{"accessToken":"CANARY","x":\xff}',
        '{"accessToken":"CANARY"}'.encode("utf-16"),
        b'{"accessToken":',
        b'{"x',
        b"{",
        b"[1,",
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_told_apart_and_says_nothing_of_itself(content: bytes) -> None:
    found = capture(content, RULE)
    assert isinstance(found, Unreadable)
    assert "CANARY" not in repr(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=5),
    max_leaves=25,
)
LAYOUT = st.sampled_from([None, 0, 1, "\t"])
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])


def paths(document: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the pointer of everything in a document."""
    found = [at] if at else []
    items = document.items() if isinstance(document, dict) else ()
    items = enumerate(document) if isinstance(document, list) else items
    for name, item in items:
        found += paths(item, (*at, str(name)))
    return found


def without(document: Any, pointers: list[tuple[str, ...]]) -> Any:
    """Return what a reader is to make of the answer, by the plain way: parse, remove."""
    left = copy.deepcopy(document)
    # Elements of arrays keep their places, so that no order of removal changes what the others mean.
    for one in sorted(pointers, key=len, reverse=True):
        parent = pointer.resolve(left, one[:-1])
        if isinstance(parent, dict):
            parent.pop(one[-1], None)
        elif isinstance(parent, list):
            parent[int(one[-1])] = None
    return left


@given(JSON, LAYOUT, SEPARATORS, st.booleans(), st.data())
def test_cutting_is_the_same_as_parsing_and_removing(
    document: Any, indent: int | str | None, separators: tuple[str, str], ascii_only: bool, data: st.DataObject
) -> None:
    there = paths(document)
    chosen = [data.draw(st.sampled_from(there)) if there else ("x",) for _ in range(3)]
    text = json.dumps(document, indent=indent, separators=separators, ensure_ascii=ascii_only)
    try:
        content = text.encode()
    except UnicodeEncodeError:  # halves of surrogate pairs
        content = json.dumps(document, indent=indent, separators=separators).encode()
    found = capture(content, Rule(*chosen))
    if not there:
        assert found is None
        return
    assert isinstance(found, Captured)
    assert json.loads(found.content) == without(document, chosen)
    kept = iter(content)
    changed = found.content.replace(b"null", b"")
    assert b"null" in content or all(byte in kept for byte in changed), "what stays is what came, in its order"


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\u0aeT \n', max_size=60).map(str.encode))
def test_no_bytes_make_it_fail_or_leave_a_token(content: bytes) -> None:
    found = capture(content, rule("/a", "/0"))
    if isinstance(found, Captured):
        left = json.loads(found.content)
        assert not (isinstance(left, dict) and {"a", "0"} & set(left))
    if found is None and content.strip():
        document = json.loads(content)
        assert not (isinstance(document, dict) and {"a", "0"} & set(document))


TEXT = b'{"accessToken":"a"}' * 50


@pytest.mark.parametrize(
    ("content", "codings"),
    [
        (TEXT, []),
        (TEXT, [b"identity", b""]),
        (gzip.compress(TEXT), [b"gzip"]),
        (gzip.compress(TEXT), [b"X-GZIP"]),
        (gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]), [b"gzip"]),
        (zlib.compress(TEXT), [b"deflate"]),
        (zlib.compress(TEXT)[2:-4], [b"deflate"]),
        (gzip.compress(zlib.compress(TEXT)), [b"deflate, gzip"]),
        (gzip.compress(zlib.compress(TEXT)), [b"deflate", b"gzip"]),
    ],
)
def test_compression_is_undone(content: bytes, codings: list[bytes]) -> None:
    assert plain(content, codings, len(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("content", "codings"),
    [
        (b"x", [b"br"]),
        (b"x", [b"zstd, gzip"]),
        (TEXT, [b"gzip"]),
        (gzip.compress(TEXT)[:-1], [b"gzip"]),
        (gzip.compress(TEXT + b"x"), [b"gzip"]),
        (gzip.compress(bytes(100 << 20)), [b"gzip"]),
        (TEXT + b"x", []),
    ],
)
def test_what_cannot_be_undone_or_is_too_long_is_unreadable(content: bytes, codings: list[bytes]) -> None:
    assert isinstance(plain(content, codings, len(TEXT)), Unreadable)


def test_the_request_asks_for_a_whole_plain_answer() -> None:
    lines = [b"Accept: */*", b"accept-encoding: br", b"Range: bytes=0-1", b"If-None-Match: x", b"Cookie: a"]
    assert asked(lines) == [b"Accept: */*", b"Cookie: a"]


def test_the_answer_s_fields_are_true_of_what_is_passed_on() -> None:
    fields = [
        (b"Content-Type", b"application/json"),
        (b"content-length", b"100"),
        (b"Content-Encoding", b"gzip"),
        (b"ETag", b'"x"'),
        (b"Repr-Digest", b"sha-256=:x:"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]
    assert answered(fields, b"{}") == [
        (b"Content-Type", b"application/json"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Content-Length", b"2"),
    ]


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/Auth/Login",
        b"/v1/Auth/Login?next=/",
        b"/v1/auth/login",
        b"/v1/Auth/Login/",
        b"//v1/Auth//Login",
        b"/v1/./Auth/x/../Login",
        b"/v1/Auth/%4Cogin",
        b"/v1/Auth/%254Cogin",
        b"/v1/Auth/Login;x=1",
        b"/v1%2FAuth%2FLogin",
    ],
)
def test_a_path_counts_in_every_spelling_that_some_server_takes_for_it(target: bytes) -> None:
    assert Paths(["/other", "/v1/Auth/Login"]).match(target) == 1


@pytest.mark.parametrize(
    "target", [b"/", b"/v1/Auth", b"/v1/Auth/Login2", b"/x/v1/Auth/Login", b"/?/v1/Auth/Login", b"*"]
)
def test_other_paths_have_no_rule(target: bytes) -> None:
    assert Paths(["/v1/Auth/Login"]).match(target) is None
    assert Paths([]).match(target) is None
