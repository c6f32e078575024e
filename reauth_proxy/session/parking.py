"""Where requests wait for the one refresh: a future each, one timer for all, woken a few at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from reauth_proxy.session.stopped import grace

T = TypeVar("T")

#: How many are woken per turn of the loop, so that releasing thousands never stalls it.
BATCH: Final = 64


class Full(Exception):
    """As many requests wait as may."""


class ParkingLot(Generic[T]):
    """Parks callers until :meth:`release` gives them all one verdict.

    Ten thousand parked cost a future each. Leaving is O(1), and a single timer guards the oldest: all wait equally
    long, so that they time out in the order in which they came.

    Args:
        limit: how many may be parked at once.
        patience: seconds after which a parked caller gets TimeoutError.
    """

    def __init__(self, limit: int, patience: float) -> None:
        self._limit = limit
        self._patience = patience
        self._count = 0
        #: Future to deadline, oldest first. A result of None means that the patience is over.
        self._waiting: dict[asyncio.Future[T | None], float] = {}
        #: Released, and to be woken in one of the next turns.
        self._leaving: deque[tuple[asyncio.Future[T | None], T | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        #: When the timer is due, in loop time.
        self._due = 0.0

    def __len__(self) -> int:
        """Return how many are parked, those who are about to be woken included."""
        return self._count

    @property
    def waiting(self) -> int:
        """How many wait for a verdict."""
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<ParkingLot {len(self._waiting)} waiting, {len(self._leaving)} leaving, limit {self._limit}>"

    def adjust(self, limit: int, patience: float) -> None:
        """Put other bounds in force; nobody who is parked waits longer than those who come from now on."""
        self._limit = limit
        self._patience = patience
        latest = asyncio.get_running_loop().time() + patience
        self._waiting = {future: min(deadline, latest) for future, deadline in self._waiting.items()}
        self._arm()

    async def park(self) -> T:
        """Wait for the next release and return its verdict. Raises Full at once, TimeoutError after the patience."""
        if self._count >= self._limit:
            raise Full
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T | None] = loop.create_future()
        deadline = loop.time() + self._patience
        self._waiting[future] = deadline
        if self._timer is None:
            self._arm()
        self._count += 1
        try:
            verdict = await future
        finally:
            self._count -= 1
            self._waiting.pop(future, None)
        if verdict is None:
            raise TimeoutError
        return verdict

    def release(self, verdict: T) -> None:
        """Give everybody who is parked now this verdict, first come first woken."""
        waiting, self._waiting = self._waiting, {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._let_go(waiting, verdict)

    def _arm(self) -> None:
        """Let the timer guard the oldest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        oldest = next(iter(self._waiting.values()), None)
        if oldest is not None:
            self._due = oldest
            self._timer = asyncio.get_running_loop().call_at(oldest, self._expire)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        if more := grace(self._due, now):
            self._due = now + more  # The process was stopped: the verdict may lie in a socket.
            self._timer = loop.call_at(self._due, self._expire)
            return
        expired = []
        for future, deadline in self._waiting.items():
            if deadline > now:
                break
            expired.append(future)
        for future in expired:
            del self._waiting[future]
        self._arm()
        self._let_go(expired, None)

    def _let_go(self, futures: Iterable[asyncio.Future[T | None]], verdict: T | None) -> None:
        idle = not self._leaving
        self._leaving.extend((future, verdict) for future in futures)
        if idle:
            self._wake()

    def _wake(self) -> None:
        woken = 0
        while self._leaving and woken < BATCH:
            future, verdict = self._leaving.popleft()
            if not future.done():
                future.set_result(verdict)
                woken += 1
        if self._leaving:
            asyncio.get_running_loop().call_soon(self._wake)
