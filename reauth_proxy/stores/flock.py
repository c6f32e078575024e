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
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reauth_proxy.errors import StoreBusy, StoreSuperseded
from reauth_proxy.stores import atomic
from reauth_proxy.stores.watch import Watch

#: A holder whose lock file is untouched for so many seconds has been stopped.
LEASE: Final = 10.0
#: Seconds between two attempts where nobody says that the lock may be free.
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
#: Seconds to wait for whoever is between a look and a rename right now.
_INSTANT: Final = 5.0


class FileLock:
    """One attempt to hold a lock file; excludes other processes, and other attempts in this one.

    The lock file is never removed, and only ever replaced by one that is locked already.

    Args:
        lease: seconds after which a stopped holder loses the lock.
    """

    def __init__(self, path: Path, lease: float = LEASE) -> None:
        self._path = path
        self._lease = lease
        self._descriptor: int | None = None
        #: When the lock file was touched last, and when that was first seen, by the monotonic clock.
        self._touched: tuple[int, float] = (0, 0.0)
        self._heart: asyncio.TimerHandle | None = None

    async def acquire(self, timeout: float, watch: Watch) -> None:
        """Take the lock, without blocking the loop. Raises StoreBusy after `timeout` seconds, and OSError.

        Args:
            watch: says when it may be free; where it cannot, that is tried four times per second.
        """
        pause = _FIRST_PAUSE
        try:
            async with asyncio.timeout(timeout):
                while True:
                    count = watch.count(self._path.name)
                    if self._try():
                        break
                    await watch.after(self._path.name, count, pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
        except TimeoutError:
            raise StoreBusy(
                f"{self._path}: another process has held this lock for {timeout:g} s; "
                "end it, or give each instance a store of its own"
            ) from None
        self._beat()

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None
        self._close()

    @contextlib.contextmanager
    def committing(self) -> Iterator[None]:
        """Be sure that the lock is held until the end of the block; blocks, for an instant.

        Raises StoreSuperseded if somebody else took the lock over.
        """
        with _instant(self._path.parent):
            if not self._ours():
                raise StoreSuperseded(
                    f"{self._path}: this process was stopped for longer than {self._lease:g} s, and another one went on"
                )
            yield

    def _try(self) -> bool:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        held = _flock(self._descriptor)
        if not self._ours():
            self._close()  # It has been replaced meanwhile: wait for the new one.
            return False
        if held:
            return True
        return self._stopped() and self._take_over()

    def _stopped(self) -> bool:
        """Tell whether the holder has not touched the lock file for the length of a lease; clocks may differ."""
        assert self._descriptor is not None
        touched, now = os.fstat(self._descriptor).st_mtime_ns, time.monotonic()
        if touched != self._touched[0]:
            self._touched = (touched, now)
        return now - self._touched[1] > self._lease

    def _take_over(self) -> bool:
        """Put a lock file that we hold in the place of the one that a stopped process holds."""
        try:
            with _instant(self._path.parent, patient=False):
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
        assert self._descriptor is not None
        try:
            there = os.stat(self._path, follow_symlinks=False)  # noqa: PTH116 - the seam that tests replace
        except FileNotFoundError:
            return False
        here = os.fstat(self._descriptor)
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def _beat(self) -> None:
        assert self._descriptor is not None, "the heart beats while the lock is held"
        with contextlib.suppress(OSError):  # A disk that fails: whoever writes to it hears of that.
            os.utime(self._descriptor)
        self._heart = asyncio.get_running_loop().call_later(self._lease / 5, self._beat)

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


@contextlib.contextmanager
def _instant(directory: Path, *, patient: bool = True) -> Iterator[None]:
    """Hold the lock of the directory itself. Raises BlockingIOError if somebody else does, for long."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + (_INSTANT if patient else 0.0)
        while not _flock_directory(descriptor):
            if time.monotonic() >= until:
                raise BlockingIOError(errno.EAGAIN, "another process holds the directory's lock")
            time.sleep(_FIRST_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True


def _flock_directory(descriptor: int) -> bool:
    try:
        return _flock(descriptor)
    except OSError as error:
        if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.ENOLCK):
            return True  # Network file systems lock no directories; there, a look and a rename are not one.
        raise
