"""How the parts of a message are written (RFC 9112 sections 4, 5 and 7.1). Pure, but for the time of day."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

#: Field lines as they came: names and values, in order, with repeats.
Fields = list[tuple[bytes, bytes]]

LAST_CHUNK: Final = b"0\r\n\r\n"
#: The interim answer to `Expect: 100-continue` (RFC 9110 section 15.2.1).
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
SWITCHING: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"

_STATUS_LINES: Final[dict[tuple[int, bytes], bytes]] = {
    (status.value, status.phrase.encode()): f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
}


def status_line(status: int, reason: bytes) -> bytes:
    """Return a status line, with its end (RFC 9112 section 4)."""
    return _STATUS_LINES.get((status, reason)) or b"HTTP/1.1 %d %b\r\n" % (status, reason)


def head_of(status: int, reason: bytes, lines: list[bytes]) -> bytes:
    """Return an answer's status line and header section."""
    return status_line(status, reason) + section(lines)


def section(lines: list[bytes]) -> bytes:
    """Return field lines as a whole header section, with the empty line at its end."""
    return b"\r\n".join(lines) + b"\r\n\r\n" if lines else b"\r\n"


def interim_head(status: int, reason: bytes, lines: list[bytes]) -> bytes:
    """Return an interim response's header section (RFC 9110 section 15.2)."""
    return b"HTTP/1.1 %d %b\r\n%b" % (status, reason, section(lines))


def as_chunk(data: bytes) -> bytes:
    """Return one chunk of the chunked transfer coding (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def date() -> bytes:
    """Return the Date field of an answer that has none (RFC 9110 section 6.6.1)."""
    return f"Date: {formatdate(usegmt=True)}".encode()
