"""Processes in one thread, each with a loop of its own; all share a clock that only the world moves."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from reauth_proxy.session.tokens import Instant

T = TypeVar("T")

WALL = 1_800_000_000.0
#: More rounds than anything needs that comes to rest.
_ENDLESS = 5_000


class Clock:
    """Monotonic seconds, and how far the wall clock has run ahead of them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0.0

    @property
    def wall(self) -> float:
        return WALL + self.now + self.slept

    def instant(self) -> Instant:
        return Instant(self.now, self.wall)


class _Selector(selectors.DefaultSelector):
    """Never waits: where there is nothing to do at once, it says when there will be, and stops the loop."""

    loop: _Loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout == 0:
            self.loop.turns += 1
            self.loop.left -= 1
        if timeout != 0 or self.loop.left < 0:
            self.loop.due = None if timeout is None else self.loop.time() + timeout
            self.loop.stop()
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        selector = _Selector()
        selector.loop = self
        self._clock = clock
        self.turns = self.left = 0
        #: When its next timer is due, None if it has none.
        self.due: float | None = None
        self.complaints: list[dict[str, Any]] = []
        super().__init__(selector)
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return self._clock.now


class Process:
    """Something with a loop that can be stopped (SIGSTOP), and killed.

    Attributes:
        frozen_since: when it was stopped; None while it runs.
        frozen: for how many seconds it has been stopped altogether, until it went on last.
        thawed_at: when it went on last.
        ends: it has been told to.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.loop = _Loop(world.clock)
        self.frozen_since: float | None = None
        self.frozen = 0.0
        self.thawed_at = float("-inf")
        self.dead = self.ends = False
        world.processes.append(self)

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def runs(self) -> bool:
        return not self.dead and self.frozen_since is None

    def until_idle(self) -> bool:
        """Run what is ready; tell whether anything was."""
        before, self.loop.left = self.loop.turns, _ENDLESS
        self.loop.run_forever()
        assert self.loop.left >= 0, f"{self} is busy for ever, and no time passes"
        return self.loop.turns > before

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.loop.create_task(work)

    def freeze(self) -> None:
        if self.frozen_since is None:
            self.frozen_since = self.world.clock.now

    def thaw(self) -> None:
        if self.frozen_since is not None:
            self.frozen += self.world.clock.now - self.frozen_since
            self.frozen_since = None
            self.thawed_at = self.world.clock.now

    def kill(self) -> None:
        """End it with no chance to do anything; what outlives it has to look at `dead`."""
        self.dead = True
        self.thaw()
        for _ in range(100):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.until_idle()
        assert not asyncio.all_tasks(self.loop), "a task outlives every cancel"
        self.end()

    def end(self) -> None:
        """Close the loop of a process in which nothing runs any more."""
        self.dead = True
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        self.world.processes.remove(self)


class World:
    """Time passes as far as it is told to; in between, every process that runs does what it can."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.processes: list[Process] = []

    def settle(self) -> None:
        """Let everything that is ready run; no time passes."""
        for _ in range(_ENDLESS):
            busy = [process.until_idle() for process in self.processes if process.runs]
            if not any(busy):
                return
        raise AssertionError("the processes keep each other busy for ever")

    def pass_time(self, seconds: float) -> None:
        """Go from timer to timer."""
        until = self.clock.now + seconds
        for _ in range(_ENDLESS):
            self.settle()
            due = [process.loop.due for process in self.processes if process.runs and process.loop.due is not None]
            if not due or min(due) > until:
                self.clock.now = until
                self.settle()
                return
            self.clock.now = max(self.clock.now, min(due))
        raise AssertionError("timers are set again and again, and no time passes")

    def jump(self, seconds: float) -> None:
        """Everything that runs is stopped for so long, and every timer late at once."""
        self.clock.now += seconds
        for process in self.processes:
            if process.runs:
                process.frozen += seconds
                process.thawed_at = self.clock.now

    def finish(self, process: Process, work: Coroutine[Any, Any, T], within: float) -> T:
        """Run something to its end in a process."""
        task = process.start(work)
        self.settle()
        until = self.clock.now + within
        while not task.done():
            assert self.clock.now < until, f"{process}: {task.get_coro()} took longer than {within:g} s"
            self.pass_time(0.25)
        return task.result()
