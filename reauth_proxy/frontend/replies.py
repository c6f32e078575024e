"""The answers to frontends, as bytes. Pure. None of them holds a token."""

from __future__ import annotations

import json
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from reauth_proxy.session.snapshot import Snapshot

#: What an event stream begins with: how long to wait before coming back, in milliseconds.
RETRY: Final = b"retry: 1000\n\n"
#: A comment, for whoever hangs up on silence.
HEARTBEAT: Final = b":\n\n"
_SAFE: Final = ["Cache-Control: no-store", "X-Content-Type-Options: nosniff"]


def session(snapshot: Snapshot) -> bytes:
    """Return what a frontend may know of a session, as JSON. The end of a token in seconds, to a tenth."""
    expires_in = None if snapshot.expires_in is None else round(snapshot.expires_in, 1)
    return json.dumps(
        {
            "state": snapshot.state,
            "generation": snapshot.generation,
            "expires_in": expires_in,
            "reason": snapshot.reason,
        },
        separators=(",", ":"),
    ).encode()


def event(name: str, snapshot: Snapshot) -> bytes:
    """Return one event of a stream (HTML Standard, "Server-sent events")."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), session(snapshot))


def answer(
    status: int,
    content: bytes | None = None,
    *,
    fields: Iterable[str] = (),
    more: Iterable[bytes] = (),
    head: bool = False,
    keep_alive: bool = True,
    old: bool = False,
    date: float | None = None,
) -> bytes:
    """Return a whole answer.

    Args:
        content: JSON; None for an answer that has none.
        fields: field lines of it alone; `more`: those that CORS adds.
        head: leave the content out (RFC 9110 section 9.3.2).
        old: the client speaks HTTP/1.0.
        date: epoch seconds for the Date field, or None for now.
    """
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *fields, *_SAFE]
    if content is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    elif status != 204:
        lines += ["Content-Length: 0"]
    return _section(lines, more, keep_alive=keep_alive, old=old, date=date) + (b"" if head else content or b"")


def stream(*, more: Iterable[bytes] = (), old: bool = False, date: float | None = None) -> bytes:
    """Return the head of an event stream; the connection ends with it."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", *_SAFE, "X-Accel-Buffering: no"]
    lines += [] if old else ["Transfer-Encoding: chunked"]
    return _section(lines, more, keep_alive=False, old=old, date=date)


def _section(lines: list[str], more: Iterable[bytes], *, keep_alive: bool, old: bool, date: float | None) -> bytes:
    lines = [*lines, *(line.decode("ascii") for line in more), f"Date: {formatdate(date, usegmt=True)}"]
    if not keep_alive:
        lines.append("Connection: close")
    elif old:
        lines.append("Connection: keep-alive")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
