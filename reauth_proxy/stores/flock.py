"""A lock between processes that passes on when its holder dies, and when its holder is stopped.

The kernel takes flock(2) back from a process that dies. A process that is stopped (SIGSTOP, a frozen container) keeps
it; so a holder touches the lock file all the time, and whoever sees it untouched for the length of a lease puts a new
lock file in its place. What the former holder does afterwards is refused: :meth:`FileLock.committing` looks, under a
second lock that is held for an instant only, whether the file in place is still the one that was locked.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from reauth_proxy.errors import StoreBusy, StoreSuperseded
from reauth_proxy.stores import atomic
from reauth_proxy.stores.watch import Watch
from reauth_proxy.stores.worker import Worker

#: A holder whose lock file is untouched for so many seconds has been stopped.
LEASE: Final = 10.0
#: Of a lease: a holder touches its lock file five times.
_BEAT: Final = 0.2
_TWO_BEATS: Final = 2 * _BEAT
#: Seconds between two attempts where nobody says that the lock may be free.
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
#: Seconds to wait for whoever is between a look and a rename right now; shorter than a call may take.
_INSTANT: Final = 3.0


class FileLock:
    """One attempt to hold a lock file; excludes other processes, and other attempts in this one.

    The lock file is never removed, and only ever replaced by one that is locked already.

    Args:
        worker: makes the calls that a disk may never answer, each a short one: whoever waits for the lock leaves it
            free in between. Everything that concerns the descriptor is done there, in order.
        pulse: touches the lock file, apart from what may be slow.
        lease: seconds after which a stopped holder loses the lock.
        may: tells whether anybody may have it now; where not, that is waited for, too.
    """

    def __init__(
        self, path: Path, worker: Worker, pulse: Worker, lease: float = LEASE, may: Callable[[], bool] = lambda: True
    ) -> None:
        self._path = path
        self._worker = worker
        self._pulse = pulse
        self._lease = lease
        self._may = may
        self._descriptor: int | None = None
        #: When the lock file was touched last, and when that was first seen, by the monotonic clock.
        self._touched: tuple[int, float] = (0, 0.0)
        #: Since when the disk is known to take changes, while the lock file is untouched.
        self._writable: float | None = None
        #: What is touched: the lock file by a descriptor that nobody else closes.
        self._wrist: int | None = None
        self._heart: asyncio.TimerHandle | None = None
        self._beating = False

    async def acquire(self, timeout: float, watching: Callable[[], AbstractAsyncContextManager[Watch]]) -> None:
        """Take the lock, without blocking the loop.

        Args:
            timeout: seconds to wait for another process that holds it.
            watching: says when it may be free; where it cannot, that is tried four times per second.

        Raises:
            StoreBusy: another process held it for as long.
            StoreSlow, OSError: nobody may hold it; it cannot be had.
        """
        if not await self._worker.run(self._try):
            await self._wait(timeout, watching)
        assert self._descriptor is not None, "only a release closes it"
        self._wrist = os.dup(self._descriptor)
        self._beat()

    async def _wait(self, timeout: float, watching: Callable[[], AbstractAsyncContextManager[Watch]]) -> None:
        pause, until = _FIRST_PAUSE, asyncio.get_running_loop().time() + timeout
        async with watching() as watch:
            while True:
                count = watch.count(self._path.name)
                if await self._worker.run(self._try):
                    return
                left = until - asyncio.get_running_loop().time()
                if left <= 0:
                    raise StoreBusy(
                        f"{self._path}: another process has held this lock for {timeout:g} s; "
                        "its log says if it cannot save; else end it, or give each instance a store of its own"
                    )
                await watch.after(self._path.name, count, min(pause, left))
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def release(self) -> None:
        """Give the lock back, if it is held or about to be; while a call hangs, after that.

        What a call that hangs is to write, it writes with the lock still held, or not at all.
        """
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None
        try:
            await self._worker.see_to(self._close)
        finally:
            await self._pulse.see_to(self._still)

    @contextlib.contextmanager
    def committing(self) -> Iterator[None]:
        """Be sure that the lock is held until the end of the block; blocks, for an instant.

        Raises StoreSuperseded if somebody else took the lock over.
        """
        with instant(self._path.parent):
            if not self._ours():
                raise StoreSuperseded(
                    f"{self._path}: this process was stopped for longer than {self._lease:g} s, and another one went on"
                )
            yield

    def _try(self) -> bool:
        if not self._may():
            return False
        if self._descriptor is None:
            self._descriptor = atomic.open_lock(self._path, self._path.with_suffix(""))
        held = _flock(self._descriptor)
        if not self._ours():
            self._close()  # It has been replaced meanwhile: wait for the new one.
            return False
        return held or (self._stopped() and self._take_over())

    def _stopped(self) -> bool:
        """Tell whether the holder has not touched the lock file for the length of a lease; clocks may differ.

        On a disk that takes no changes nobody can: it has to be able to for two of the holder's beats.
        """
        assert self._descriptor is not None
        touched, now = os.fstat(self._descriptor).st_mtime_ns, time.monotonic()
        if touched != self._touched[0]:
            self._touched, self._writable = (touched, now), None
        untouched = now - self._touched[1]
        if self._writable is None:
            if untouched > (1 - _TWO_BEATS) * self._lease:
                self._writable = self._written()
            return False
        return untouched > self._lease and now - self._writable > _TWO_BEATS * self._lease

    def _written(self) -> float | None:
        """Return when the disk has taken a change, None if it takes none."""
        try:
            temporary, descriptor = atomic.create(self._path.with_suffix(""))
        except OSError:
            return None
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
        return time.monotonic()

    def _take_over(self) -> bool:
        """Put a lock file that we hold in the place of the one that a stopped process holds."""
        try:
            with instant(self._path.parent, patient=False):
                if not self._ours():
                    self._close()
                    return False
                temporary, descriptor = atomic.create(self._path.with_suffix(""))
                try:
                    temporary.replace(self._path)
                except BaseException:
                    os.close(descriptor)
                    temporary.unlink(missing_ok=True)
                    raise
        except BlockingIOError:
            return False
        self._close()
        self._descriptor = descriptor
        return True

    def _ours(self) -> bool:
        """Tell whether the file in place is the one that is open here."""
        # Without one it was released, and this comes late.
        return self._descriptor is not None and in_place(self._descriptor, self._path)

    def _beat(self) -> None:
        self._heart = asyncio.get_running_loop().call_later(self._lease * _BEAT, self._beat)
        if not self._beating:  # One that hangs is not asked again.
            self._beating = True
            self._pulse.post(self._touch)

    def _touch(self) -> None:
        try:
            if self._wrist is not None:
                os.utime(self._wrist)  # A disk that fails: whoever writes to it hears of that.
        finally:
            self._beating = False

    def _still(self) -> None:
        if self._wrist is not None:
            wrist, self._wrist = self._wrist, None
            os.close(wrist)

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # There may be a second descriptor of it.
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def instant(directory: Path, *, patient: bool = True) -> Iterator[None]:
    """Hold the lock of the directory itself, between a look and a rename; blocks.

    Network file systems lock no directories; there, a look and a rename are not one.

    Args:
        patient: wait for whoever holds it, up to three seconds.

    Raises:
        BlockingIOError: somebody else holds it, for long.
        OSError: the directory cannot be opened.
    """
    with _locked(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), _INSTANT if patient else 0.0):
        yield


@contextlib.contextmanager
def turn(path: Path, like: Path) -> Iterator[None]:
    """Hold the lock of a file that is there for nothing else, while something is compared and written; blocks.

    Args:
        like: what belongs to whom the file is to belong to.

    Raises BlockingIOError if somebody else holds it for longer than three seconds, OSError, StoreError.
    """
    descriptor = atomic.open_lock(path, like)
    with _locked(descriptor, _INSTANT):
        yield
        os.utime(descriptor)  # Where nobody is told of an end of writing, they look.


@contextlib.contextmanager
def _locked(descriptor: int, patience: float) -> Iterator[None]:
    try:
        until = time.monotonic() + patience
        while not flock_if_there_is_one(descriptor):
            if time.monotonic() >= until:
                raise BlockingIOError(errno.EAGAIN, "another process holds this lock")
            time.sleep(_FIRST_PAUSE)  # No system tells of a lock that is free, within a time limit.
        yield
    finally:
        os.close(descriptor)


def in_place(descriptor: int, path: Path) -> bool:
    """Tell whether the file that is open is the one that the path leads to."""
    try:
        there = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - the seam that tests replace
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _flock(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True


def flock_if_there_is_one(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    """Return whether a lock could be had, without waiting for it; True also where the file system has none."""
    try:
        return _flock(descriptor, how)
    except OSError as error:
        if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.ENOLCK):
            return True
        raise
