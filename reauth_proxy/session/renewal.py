"""The timer of the background renewal, and the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from reauth_proxy.session.tokens import Instant


def system_clock() -> Instant:
    """Return the present moment on both clocks."""
    return Instant(time.monotonic(), time.time())


class Renewal:
    """Starts a refresh when one is due without anybody asking.

    Args:
        wait: seconds until there is something to do or to look at; 0 when a refresh is due; None when there never is.
        refresh: starts the refresh.
    """

    def __init__(self, wait: Callable[[], float | None], refresh: Callable[[], None]) -> None:
        self._wait = wait
        self._refresh = refresh
        self._timer: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """Set the timer anew, after anything that may have changed when a refresh is due."""
        self.stop()
        wait = self._wait()
        if wait is not None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._fire)

    def stop(self) -> None:
        """Clear the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        if self._wait() == 0:
            self._refresh()
        else:
            self.arm()
