"""What clients may send, how many there may be, and how long they may take, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: aiohttp stops reading content at twice this, and may have read as much as the event loop reads at once.
READ_BUFFER: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on clients; sizes in bytes, times in seconds.

    Attributes:
        header_bytes: a request's line and fields together, as sent.
        header_fields: how many fields.
        content: of one request; 0 for no limit.
        content_rate: least bytes per second of a request's content, over `header_timeout`; 0 for no limit.
        connections: from clients, all together.
        header_timeout: from the first byte of a request to the end of its header section.
        idle_timeout: between two requests, and before the first.
        write_timeout: during which a client takes not one byte of what it is sent.
    """

    header_bytes: int = 32 << 10
    header_fields: int = 128
    content: int = 1 << 30
    content_rate: int = 240
    connections: int = 10_000
    header_timeout: float = 10.0
    idle_timeout: float = 75.0
    write_timeout: float = 60.0
