"""A thread for calls that block, and that a disk, a network file system or a keyring may never answer.

The event loop waits for no such call, and nobody waits for one longer than a set while. The thread is a daemon thread:
the program ends without it (threads of an executor are joined at the end, however long they hang).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from reauth_proxy.errors import StoreSlow

T = TypeVar("T")

#: Seconds that one call may take, unless the configuration says otherwise.
TIMEOUT: Final = 5.0


class Worker:
    """Makes calls one after the other, in one thread of its own, which starts with the first call.

    A call that has begun runs to its end, whoever has stopped waiting for it. While one hangs, no other is begun, and
    whoever asks is told so at once.

    Args:
        name: of the thread.
        timeout: seconds that a call may take, with its wait for those before it.
        problem: what to tell people while a call hangs: a sentence that says what hangs, and what to check.
        mended: called in the event loop once a call that hung has come to its end.
    """

    def __init__(self, name: str, timeout: float, problem: str, mended: Callable[[], None] = lambda: None) -> None:
        self._name = name
        self._timeout = timeout
        self._problem = problem
        self._mended = mended
        self._jobs: queue.SimpleQueue[_Job[Any] | None] | None = None
        self._hanging: _Job[Any] | None = None

    @property
    def hangs(self) -> bool:
        """Whether a call has taken too long, and goes on."""
        return self._hanging is not None

    async def run(self, work: Callable[[], T], *, to_the_end: bool = False) -> T:
        """Return what `work` returns.

        Args:
            to_the_end: whoever is cancelled meanwhile leaves only once the call has ended, or has taken too long.

        Raises:
            StoreSlow: it took too long, or one before it hangs. A call that has begun may still do what it was to do.
            Exception: whatever `work` raises.
        """
        if self._hanging is not None:
            raise StoreSlow(self._problem)
        return await self._outcome(self._put(work, must=False), to_the_end)

    async def see_to(self, work: Callable[[], None]) -> None:
        """Have something done that must be done, behind a call that hangs, too; that is not waited for, then.

        Raises nothing but CancelledError, and then it is done all the same; what `work` raises is lost.
        """
        hangs = self._hanging is not None
        job = self._put(work, must=True)
        if not hangs:
            with contextlib.suppress(Exception):
                await self._outcome(job, to_the_end=True)

    def post(self, work: Callable[[], None]) -> None:
        """Have something done after what is to be done already; nobody waits, and what it raises is lost."""
        self._put(work, must=True)

    def close(self) -> None:
        """Let the thread end once it has done what there is to do; nobody waits for that."""
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None

    def _put(self, work: Callable[[], T], *, must: bool) -> _Job[T]:
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._jobs,), name=self._name, daemon=True).start()
        job = _Job(work, self._settled)
        self._limit(job, must=must)
        self._jobs.put(job)
        return job

    def _limit(self, job: _Job[Any], *, must: bool) -> None:
        job.timer = asyncio.get_running_loop().call_later(self._timeout, self._give_up, job, must)

    def _give_up(self, job: _Job[Any], must: bool) -> None:
        """It has taken too long: wait no more, and begin nothing else while it goes on."""
        if not job.answer.done():
            job.answer.set_exception(StoreSlow(self._problem))
        if job.begun:
            self._hanging = self._hanging or job
        elif must:
            self._limit(job, must=must)
        elif not job.drop():
            self._hanging = self._hanging or job  # It has begun in this moment.

    def _settled(self, job: _Job[Any]) -> None:
        if job.timer is not None:
            job.timer.cancel()
        if self._hanging is job:
            self._hanging = None
            self._mended()

    async def _outcome(self, job: _Job[T], to_the_end: bool) -> T:
        cancelled = None
        while not job.answer.done():
            try:
                await asyncio.wait({job.answer})
            except asyncio.CancelledError as error:
                cancelled = error
                if not to_the_end:
                    break
        if cancelled is not None:
            raise cancelled
        return job.answer.result()


class _Job(Generic[T]):
    """A call.

    Attributes:
        answer: what it came to, or that nobody waits any longer.
        timer: ends the waiting.
        begun: it is being done, or has been.
    """

    def __init__(self, work: Callable[[], T], settled: Callable[[_Job[T]], None]) -> None:
        self._work: Callable[[], T] | None = work
        self._settled = settled
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None
        self.begun = False
        self.answer: asyncio.Future[T] = self._loop.create_future()
        # What is raised is no news to asyncio where nobody waits.
        self.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    def drop(self) -> bool:
        """Have it not done, if it has not begun; return whether that is so."""
        with self._lock:
            if self.begun:
                return False
            self._work = None
            return True

    def do(self) -> None:
        """Do it; in the thread."""
        with self._lock:
            work, self._work = self._work, None
            self.begun = work is not None
        if work is None:
            return
        result: T | None = None
        problem: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            problem = error
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self._end, result, problem)

    def _end(self, result: T | None, problem: BaseException | None) -> None:
        if self.answer.done():
            pass
        elif problem is not None:
            self.answer.set_exception(problem)
        else:
            self.answer.set_result(result)  # type: ignore[arg-type]
        self._settled(self)


def _serve(jobs: queue.SimpleQueue[_Job[Any] | None]) -> None:
    while (job := jobs.get()) is not None:
        job.do()
        del job  # What it was about may be secret, and is not kept until the next.
