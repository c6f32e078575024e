"""Waits that allow for a process that was stopped meanwhile.

After SIGSTOP, a frozen container or a closed lid, every timer is late at once, and what peers sent meanwhile lies
unread in the sockets. A timer that is late is no proof that nobody answered: what came is read first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any, Final

#: A timer that is late by more seconds than this says that the process was stopped, or starved.
LATE: Final = 0.5
#: Seconds in which what came meanwhile is read.
GRACE: Final = 1.0


def grace(due: float, now: float) -> float:
    """Return how much longer to wait at `now` when a timer was due at `due`: 0 where it is on time."""
    return GRACE if now - due > LATE else 0.0


async def wait_for(futures: AbstractSet[asyncio.Future[Any]], timeout: float | None) -> None:
    """Return once one of the futures is done, or after `timeout` seconds; nobody is cancelled."""
    loop = asyncio.get_running_loop()
    due = None if timeout is None else loop.time() + timeout
    done, _ = await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    if not done and due is not None and (more := grace(due, loop.time())):
        await asyncio.wait(futures, timeout=more, return_when=asyncio.FIRST_COMPLETED)
