"""Pauses between attempts at something that fails, and that may work again any moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from reauth_proxy.session.schedule import backoff

#: Pauses grow up to this many seconds.
LONGEST_PAUSE: Final = 30.0
_SHORTEST_PAUSE: Final = 0.5
#: From this attempt on they are the longest.
_LAST_TO_GROW: Final = 6


class Pauses:
    """The pauses of one task.

    Args:
        random: returns a number from 0 to 1: where in its range a pause lies.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._ended = asyncio.Event()

    async def before(self, attempt: int) -> bool:
        """Wait before this attempt, of which 0 is the first; return whether :meth:`end` ended that.

        After a failure there is always some pause.
        """
        pause = backoff(attempt, self._random()) if attempt < _LAST_TO_GROW else LONGEST_PAUSE
        if attempt > 0:
            await asyncio.sleep(min(pause, _SHORTEST_PAUSE))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._ended.wait()
        ended = self._ended.is_set()
        self._ended.clear()
        return ended

    def end(self) -> None:
        """End the pause: there is reason to try at once."""
        self._ended.set()
