"""What a session's listeners are told: that it was refreshed, that it ended, that it is there again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from reauth_proxy.session.snapshot import Snapshot

Event = Literal["refreshed", "logout", "resumed"]

#: A listener that has more before it than this has stopped to listen.
MOST_UNHEARD: Final = 64


@dataclass(frozen=True, slots=True)
class Told:
    """One event, and what the session looked like at that moment."""

    event: Event
    snapshot: Snapshot


def event(before: Snapshot, now: Snapshot) -> Event | None:
    """Return what happened to a session between two moments; None for nothing that anybody has to know.

    A token endpoint that is away is no end: the session is kept, and comes back by itself.
    """
    was, is_there = before.state != "signed_out", now.state != "signed_out"
    if was and not is_there:
        return "logout"
    if is_there and not was:
        return "resumed"
    return "refreshed" if is_there and now.generation > before.generation else None


class News:
    """Tells each listener of each event, in order; one that does not listen any more holds nobody up.

    Args:
        look: returns what the session looks like now.

    Attributes:
        look: the same.
    """

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self.look = look
        self._before = look()
        self._ears: set[asyncio.Queue[Told | None]] = set()
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._ears)

    def tell(self) -> None:
        """Something may have changed."""
        before, self._before = self._before, self.look()
        happened = event(before, self._before)
        if happened is not None:
            for ear in tuple(self._ears):
                self._whisper(ear, Told(happened, self._before))

    @contextmanager
    def listening(self) -> Iterator[asyncio.Queue[Told | None]]:
        """Return a queue of what happens from now on; None in it is its end: nothing follows."""
        ear: asyncio.Queue[Told | None] = asyncio.Queue(MOST_UNHEARD + 1)
        self._ears.add(ear)
        if self._closed:
            self._deafen(ear)
        try:
            yield ear
        finally:
            self._ears.discard(ear)

    def close(self) -> None:
        """Tell everybody that nothing follows."""
        self._closed = True
        for ear in tuple(self._ears):
            self._deafen(ear)

    def _whisper(self, ear: asyncio.Queue[Told | None], told: Told) -> None:
        if ear.qsize() >= MOST_UNHEARD:
            self._deafen(ear)
        else:
            ear.put_nowait(told)

    def _deafen(self, ear: asyncio.Queue[Told | None]) -> None:
        self._ears.discard(ear)
        ear.put_nowait(None)
