"""How a task is ended for sure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

#: Seconds after which a task that goes on is cancelled again.
AGAIN: Final = 1.0
#: How often; what goes on after that, such as a call of a library that swallows cancels, is left behind.
_ATTEMPTS: Final = 10


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and return once they have ended, after ten seconds in any case.

    A task may never hear of one cancel: before Python 3.12, :func:`asyncio.wait_for` loses one that comes in the moment
    in which what it waits for is done (CPython issue 86296), and redis-py writes each command with it.
    """
    running = {task for task in tasks if not task.done()}
    for _ in range(_ATTEMPTS):
        if not running:
            break
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN)
