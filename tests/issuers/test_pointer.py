from __future__ import annotations

import pytest

from reauth_proxy.errors import ConfigError
from reauth_proxy.issuers.pointer import parse, resolve

# RFC 6901 section 5.
DOCUMENT = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "m~n": 8, "deep": {"er": {"est": "x"}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/foo/2", None),
        ("/foo/01", None),
        ("/foo/-", None),
        ("/foo/-1", None),
        ("/foo/x", None),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/m~0n", 8),
        ("/deep/er/est", "x"),
        ("/deep/er/est/0", None),
        ("/nowhere/at/all", None),
    ],
)
def test_resolve(text: str, value: object) -> None:
    assert resolve(DOCUMENT, parse(text)) == value


@pytest.mark.parametrize("text", ["accessToken", "$.accessToken", "/a~2b", "/a~"])
def test_what_is_not_a_pointer_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a JSON Pointer"):
        parse(text)
