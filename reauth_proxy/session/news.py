"""What a session's listeners are told: that it was refreshed, that it ended, that it is there again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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


def events(before: Snapshot, now: Snapshot, *, another: bool = False) -> list[Told]:
    """Return what happened to a session between two moments: nothing, where nobody has to know.

    Args:
        another: the session now is another person's, or at least another sign-in.

    A token endpoint that is away is no end: the session is kept, and comes back by itself.
    """
    was, is_there = before.state != "signed_out", now.state != "signed_out"
    if was and is_there and another:
        return [
            Told("logout", replace(now, state="signed_out", expires_in=None, reason="signed_out", usable=False)),
            Told("resumed", now),
        ]
    if was and not is_there:
        return [Told("logout", now)]
    if is_there and not was:
        return [Told("resumed", now)]
    return [Told("refreshed", now)] if is_there and now.generation > before.generation else []


class News:
    """Tells each listener of each event, in order; one that does not listen any more holds nobody up.

    Args:
        look: returns what the session looks like now.
        life: returns the number of its present life, 0 while nobody is signed in.

    Attributes:
        look: the same.
    """

    def __init__(self, look: Callable[[], Snapshot], life: Callable[[], int] = lambda: 0) -> None:
        self.look = look
        self._life = life
        self._before = look()
        self._life_before = life()
        self._ears: set[asyncio.Queue[Told | None]] = set()
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._ears)

    def tell(self) -> None:
        """Something may have changed."""
        before, self._before = self._before, self.look()
        life, self._life_before = self._life_before, self._life()
        for told in events(before, self._before, another=life != self._life_before):
            for ear in tuple(self._ears):
                self._whisper(ear, told)

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
