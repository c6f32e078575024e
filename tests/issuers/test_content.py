"""What is found in content, however it is wrapped, packed or cut."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.issuers import content
from reauth_proxy.issuers.content import Part

GOOD = {"access_token": "a-CANARY", "refresh_token": "r-CANARY", "expires_in": 60, "user": {"id": 7, "roles": ["x"]}}
TEXT = json.dumps(GOOD)
LONGEST = 100_000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("packed", "coding"),
    [
        (TEXT.encode(), "gzip"),
        (TEXT.encode(), "deflate"),
        (TEXT.encode(), "br"),
        (gzip.compress(TEXT.encode()), "gzip"),
        (gzip.compress(TEXT.encode()), ""),
        (gzip.compress(TEXT.encode()), "identity"),
        (zlib.compress(TEXT.encode()), "deflate"),
        (raw_deflate(TEXT.encode()), "Deflate"),
    ],
    ids=["plain gzip", "plain deflate", "plain br", "gzip", "unsaid gzip", "denied gzip", "deflate", "raw deflate"],
)
def test_what_a_coding_is_said_to_be_is_a_hint(packed: bytes, coding: str) -> None:
    assert content.unpacked(packed, coding, LONGEST) == TEXT.encode()


def test_packed_content_that_breaks_off_is_unpacked_as_far_as_it_goes() -> None:
    data = json.dumps([hash(str(number)) for number in range(5000)]).encode()
    packed = gzip.compress(data)
    start = content.unpacked(packed[: len(packed) // 2], "gzip", LONGEST)
    assert len(start) > len(data) // 4
    assert data.startswith(start)
    damaged = packed[: len(packed) // 2] + b"\xff" * 100
    assert content.unpacked(damaged, "gzip", LONGEST)[:1000] == data[:1000]


def test_a_bomb_is_unpacked_to_the_limit() -> None:
    assert len(content.unpacked(gzip.compress(b"\0" * 10_000_000), "gzip", LONGEST)) == LONGEST


@given(st.binary(), st.sampled_from(["", "gzip", "deflate", "br"]))
def test_unpacking_never_raises(body: bytes, coding: str) -> None:
    for start in (b"", b"\x1f\x8b", b"\x78\x9c"):
        assert len(content.unpacked(start + body, coding, LONGEST)) <= LONGEST + 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_every_encoding_of_json_is_read(encoding: str) -> None:
    assert content.text('{"a": "é"}'.encode(encoding)) == '{"a": "é"}'


def test_a_byte_that_is_no_character_harms_its_own_member_only() -> None:
    found = content.documents(content.text(b'{"name": "M\xfcller", "access_token": "a"}'))
    assert found.whole == [{"name": "M\udcfcller", "access_token": "a"}]


@pytest.mark.parametrize(
    "wrapped",
    [
        "@",
        "\ufeff@",
        ")]}',\n@",
        "while(1);@",
        "for(;;);@",
        "<br />\n<b>Notice</b>: Undefined index: x in <b>/srv/a.php</b> on line <b>7</b><br />\n@",
        "[08-Oct-2026 10:00:00 UTC] PHP Warning:  {closure} {x}\n@",
        "Deprecated: {main} [1] @",
        "@\n<!-- 12 ms -->",
        "@}]",
        "@0",
    ],
)
def test_an_object_is_found_behind_and_before_anything_else(wrapped: str) -> None:
    found = content.documents(wrapped.replace("@", TEXT))
    assert GOOD in found.whole
    assert not found.goes_on


def test_several_objects_are_found_in_their_order() -> None:
    assert content.documents('{"warning": {"access_token": 1}} {"b": 2}').whole == [
        {"warning": {"access_token": 1}},
        {"b": 2},
    ]


@pytest.mark.parametrize(
    ("text", "parts", "goes_on"),
    [
        ('{"a": "x", "b": "y', [Part({"a": "x"}, ("b",))], True),
        ('{"a": "x", "b": ', [Part({"a": "x"}, ("b",))], True),
        ('{"a": "x", "b"', [Part({"a": "x"}, ("b",))], True),
        ('{"a": "x", "b', [Part({"a": "x"})], True),
        ('{"a": "x"', [Part({"a": "x"})], True),
        ('{"a": "x\\"', [Part({}, ("a",))], True),
        ('{"a": 12', [Part({}, ("a",))], True),
        ('{"a": 12 ', [Part({"a": 12})], True),
        ('{"a": 12, "b": {"c": "x", "d": tru', [Part({"a": 12, "b": {"c": "x"}}, ("b", "d"))], True),
        ('{"a": [{"c": "x"}, {"c": "y", "d": "z', [Part({"a": [{"c": "x"}, {"c": "y"}]}, ("a", "1", "d"))], True),
        ('[{"access_token": "x"}, {"acc', [Part([{"access_token": "x"}])], True),
        ('{"user": {"access_token": "x"}, "acc', [Part({"user": {"access_token": "x"}})], True),
        ('{"a": "x", "b": "y",}', [Part({"a": "x", "b": "y"})], False),
        ('{"a": "x", "b": "y"z", "c": 1}', [Part({"a": "x"}, ("b",))], False),
        ('{"a": "x" "b": "y"}', [Part({}, ("a",))], False),
        ("{color: red} {'a': 1}", [], False),
        ("{", [], True),
        ("", [], False),
    ],
)
def test_of_what_breaks_off_the_whole_members_are_found(text: str, parts: list[Part], goes_on: bool) -> None:
    found = content.documents(text)
    assert (found.whole, [(one.document, one.path) for one in found.parts]) == (
        [],
        [(one.document, one.path) for one in parts],
    )
    assert found.goes_on is goes_on


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (TEXT, True),
        (f"{TEXT}\r\n", True),
        (f")]}}',\n{TEXT}", True),
        ('[{"a": 1}]', True),
        ("{}", False),
        ("[]", False),
        ("{", False),
        ("7", False),
        ('"text"', False),
        ("", False),
        (TEXT[:-1], False),
        ('{"warning": {"a": 1}', False),
        ('{"a": 1} {"b": {"c": 1}', False),
    ],
)
def test_content_is_whole_by_its_own_syntax(text: str, whole: bool) -> None:
    assert content.is_whole(text) is whole


@given(st.integers(0, len(TEXT) - 1))
def test_no_start_of_an_object_is_whole(length: int) -> None:
    assert not content.is_whole(TEXT[:length])


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("access_token=a%2Bb&refresh_token=r", {"access_token": "a+b", "refresh_token": "r"}),
        ("\naccess_token=a&expires_in=60&\n", {"access_token": "a", "expires_in": "60"}),
        ("access_token=YQ==&x=1", {"access_token": "YQ==", "x": "1"}),
        ("hello", None),
        ("a=1 and b=2", None),
        ('{"a": "b=c&d=e"}', None),
        ("", None),
    ],
)
def test_a_form_is_known_by_its_syntax(text: str, fields: dict[str, str] | None) -> None:
    assert content.form(text) == fields


def test_the_last_field_of_a_form_that_breaks_off_is_left_out() -> None:
    assert content.form("access_token=a&refresh_token=r", whole=False) == {"access_token": "a"}
    assert content.form("access_token=a", whole=False) == {}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def within(part: Any, whole: Any) -> bool:
    """Tell whether all of a part is in the whole, unchanged."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and within(part[name], whole[name]) for name in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) <= len(whole) and all(map(within, part, whole))
    return bool(part == whole)


@given(st.dictionaries(st.text(), anything), st.data())
def test_nothing_that_breaks_off_is_taken_for_more_or_less_than_it_is(document: Any, data: st.DataObject) -> None:
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans()))
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    found = content.documents(cut)
    assert found.whole == []
    assert all(within(part.document, document) for part in found.parts)


@given(st.text(alphabet='{}[]":,\\ a1tnu\ufeff') | st.text())
def test_no_text_is_too_strange(text: str) -> None:
    content.documents(text)
    content.is_whole(text)
    content.form(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 200_000,
        "{" * 1_000_000,
        "[" * 1_000_000,
        '{"' * 500_000,
        '{"a":[' + "1," * 500_000,
        '{"a":1},' * 120_000,
        '{"a":"' + "\\" * 1_000_000,
        '{"a":[{"b":1},' * 70_000,
        '{"a" ' * 200_000,
    ],
    ids=["nested", "braces", "brackets", "quotes", "list", "objects", "escapes", "objects in lists", "half members"],
)
def test_a_mebibyte_of_anything_is_looked_through_in_little_time(text: str) -> None:
    began = time.process_time()
    content.documents(text)
    assert time.process_time() - began < 2
