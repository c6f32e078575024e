"""How long a route that rejects fresh tokens is left alone. Pure: the caller brings the time.

An API that answers 401 whatever it is sent would cost a refresh for each of its answers, and every other API a new
token. So the rejections of a route that no refresh helps against are heeded ever more rarely. A path that is known to
accept tokens is no part of that: where it rejects one, the token has been revoked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: The longest pause between two refreshes that such a route asks for, in seconds.
LONGEST: Final = 300.0
#: So many paths of each kind are remembered.
_REMEMBERED: Final = 256


@dataclass(slots=True)
class Patience:
    """What is known of one route.

    Args:
        interval: the shortest pause between two refreshes that did not help, in seconds: `refresh.min_interval`.

    Attributes:
        failures: refreshes that did not help.
        until: when the next one may be asked for, in seconds of the monotonic clock.
    """

    interval: float = 5.0
    failures: int = 0
    until: float = 0.0
    _last: float = 0.0
    #: Paths, the oldest first: what accepts tokens, and what rejects fresh ones.
    _accepting: dict[bytes, None] = field(default_factory=dict)
    _rejecting: dict[bytes, None] = field(default_factory=dict)

    def doubts(self, target: bytes) -> bool:
        """Tell whether a rejection may be just what this route does."""
        return self.failures > 0 and _path(target) not in self._accepting

    def refusing(self, target: bytes, now: float) -> bool:
        """Tell whether it is taken for that now, so that no refresh is asked for.

        An unknown path, at a route that accepts others, is asked about as often as `interval` allows.
        """
        if not self.doubts(target):
            return False
        if self._accepting and _path(target) not in self._rejecting:
            return now < self._last + self.interval
        return now < self.until

    def accepted(self, target: bytes) -> None:
        """A token was accepted. Once all that rejected fresh tokens accept them, nothing is held against the route."""
        if not self.failures:
            return
        path = _path(target)
        self._rejecting.pop(path, None)
        _remember(self._accepting, path)
        if not self._rejecting:
            self.failures, self.until = 0, 0.0
            self._accepting.clear()

    def rejected(self, target: bytes, now: float) -> None:
        """A fresh token was rejected: the refresh did not help."""
        path = _path(target)
        self._last = now
        self._accepting.pop(path, None)
        _remember(self._rejecting, path)
        if now >= self.until:  # Else it belongs to the same refresh as another request's.
            self.until = now + min(self.interval * 2.0 ** min(self.failures, 10), LONGEST)
            self.failures += 1


def _remember(paths: dict[bytes, None], path: bytes) -> None:
    paths.pop(path, None)
    paths[path] = None
    if len(paths) > _REMEMBERED:
        del paths[next(iter(paths))]


def _path(target: bytes) -> bytes:
    return target.partition(b"?")[0]
