"""The bytes of the answers to frontends."""

from __future__ import annotations

import json

import pytest

from reauth_proxy.frontend import replies
from reauth_proxy.session.snapshot import Snapshot

FRESH = Snapshot("fresh", 3, 41.234, None, 7, True, "a problem")
GONE = Snapshot("signed_out", 3, None, "refresh_denied", 0, False, None)


def test_a_session_is_told_with_four_members_and_nothing_else() -> None:
    assert replies.session(FRESH) == b'{"state":"fresh","generation":3,"expires_in":41.2,"reason":null}'
    assert json.loads(replies.session(GONE)) == {
        "state": "signed_out",
        "generation": 3,
        "expires_in": None,
        "reason": "refresh_denied",
    }


def test_an_event_is_a_name_and_the_same_members() -> None:
    assert replies.event("logout", GONE) == b"event: logout\ndata: " + replies.session(GONE) + b"\n\n"


@pytest.mark.parametrize(
    ("head", "keep_alive", "old", "content", "told"),
    [
        (False, True, False, b"{}", b"Content-Length: 2\r\n\r\n{}"),
        (True, True, False, b"{}", b"Content-Length: 2\r\n\r\n"),
        (False, False, False, b"{}", b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"),
        (False, True, True, b"{}", b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"),
        (False, True, False, None, b"Content-Length: 0\r\n\r\n"),
    ],
)
def test_an_answer(head: bool, keep_alive: bool, old: bool, content: bytes | None, told: bytes) -> None:
    data = replies.answer(200, content, head=head, keep_alive=keep_alive, old=old, date=0)
    assert data.startswith(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n")
    assert data.replace(b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", b"").endswith(told)


def test_what_has_no_content_says_so_by_its_status() -> None:
    data = replies.answer(204, fields=["X: y"], more=[b"Vary: Origin"], date=0)
    assert b"Content-Length" not in data
    assert b"X: y\r\n" in data
    assert b"Vary: Origin\r\n" in data


def test_a_stream_is_chunked_unless_the_client_is_old() -> None:
    assert b"Transfer-Encoding: chunked\r\n" in replies.stream(date=0)
    assert b"Transfer-Encoding" not in replies.stream(old=True, date=0)
    assert b"Connection: close\r\n\r\n" in replies.stream(date=0)
