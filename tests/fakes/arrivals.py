"""Waiting for the n-th of something, without sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Longer than anything here takes, in seconds; a test that hangs fails instead.
PATIENCE = 20.0


class Arrivals:
    """Counts what arrives, and wakes those who wait for a number of it."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def add(self) -> int:
        """Note one more; return how many there were."""
        self.count += 1
        for number, future in self._waiting:
            if number <= self.count and not future.done():
                future.set_result(None)
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]
        return self.count

    async def reached(self, number: int) -> None:
        """Return once there have been that many."""
        if self.count >= number:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((number, future))
        try:
            async with asyncio.timeout(PATIENCE):
                await future
        except TimeoutError:
            raise AssertionError(f"waited for {number}, and only {self.count} came") from None


class Gate:
    """Open at first; while it is held, whoever comes waits."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        await self._open.wait()


async def until(true: Callable[[], bool]) -> None:
    """Let the event loop turn until something is true."""
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0)
