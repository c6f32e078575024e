"""Whether a client is too slow, seen by somebody who looks now and then. Pure."""

from __future__ import annotations


class Trickle:
    """Content that comes at a rate.

    The rate is looked at over whole windows: who is slow for a moment makes up for it in the same one.
    """

    __slots__ = ("_amount", "_of", "_since")

    def __init__(self) -> None:
        self._of = -1
        self._amount = 0
        self._since = 0.0

    def begin(self, of: int, amount: int, now: float) -> None:
        """Begin a window."""
        self._of, self._amount, self._since = of, amount, now

    def too_slow(self, of: int, amount: int, now: float, window: float, rate: float) -> bool:
        """Look at what has come.

        Args:
            of: tells apart what it is content of.
            amount: bytes that have come of it.
            now: seconds of the monotonic clock.
            window: seconds.
            rate: the least bytes per second.
        """
        if of != self._of:
            self.begin(of, amount, now)
        elif now - self._since >= window:
            if amount - self._amount < rate * (now - self._since):
                return True
            self.begin(of, amount, now)
        return False


class Stall:
    """What waits for a client to take it."""

    __slots__ = ("_left", "_since")

    def __init__(self) -> None:
        self._left: int | None = None
        self._since = 0.0

    def too_long(self, left: int, now: float, limit: float) -> bool:
        """Look at what is left; tell whether none of it was taken for `limit` seconds."""
        if self._left is None or left < self._left:
            self._left, self._since = left, now
        return now - self._since >= limit
