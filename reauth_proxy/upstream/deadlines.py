"""When upstreams have to have answered: one timer for all of them, that looks."""

from __future__ import annotations

import asyncio
from typing import Protocol

from reauth_proxy.session.stopped import grace


class Waiting(Protocol):
    """What waits for an upstream."""

    def time_out(self) -> None:
        """The upstream did not answer in time."""


class Deadlines:
    """The deadlines of connections to one upstream.

    To note one costs a tenth of a timer, and nearly all are struck out long before they are due.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[Waiting, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        #: When the timer is due.
        self._looks_at = 0.0

    def start(self, waiting: Waiting, seconds: float) -> None:
        """Give `waiting` so many seconds from now."""
        due = self._due[waiting] = self._loop.time() + seconds
        if self._timer is None or due < self._looks_at:
            self._arm(due)

    def stop(self, waiting: Waiting) -> None:
        """Its answer has come, or nobody waits for it any more."""
        self._due.pop(waiting, None)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = due
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        more = grace(self._looks_at, now)  # It is we who were stopped; answers may lie in the sockets.
        late = [waiting for waiting, due in self._due.items() if due <= now]
        for waiting in late:
            if more:
                self._due[waiting] = now + more
            else:
                del self._due[waiting]
        if self._due:
            self._arm(min(self._due.values()))
        if not more:
            for waiting in late:
                self._loop.call_soon(waiting.time_out)  # each for itself: none keeps another from being told

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.clear()

    def __repr__(self) -> str:
        return f"<Deadlines waiting={len(self._due)}>"
