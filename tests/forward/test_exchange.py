"""What the access log may have of a request's target; the rest shows in tests/forward/test_forwarder.py."""

from __future__ import annotations

import pytest

from reauth_proxy.forward.exchange import path_of


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b?access_token=CANARY", "/a/b"),
        ("/a@b/c", "/a@b/c"),
        ("/?", "/"),
        ("*", "*"),
        ("http://x/a?CANARY", "http://x/a"),
        ("http://user:CANARY@x/a@b", "http://x/a@b"),
        ("http://user:CANARY@x", "http://x"),
        ("http://CANARY@CANARY@x/", "http://x/"),
        ("user:CANARY@x:443", "x:443"),
        ("x:443", "x:443"),
        ("", ""),
    ],
)
def test_a_query_and_a_password_are_left_out(target: str, path: str) -> None:
    assert path_of(target) == path
