"""A lock between processes that the kernel takes back when its holder dies (flock(2))."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from reauth_proxy.errors import StoreBusy

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25


class FileLock:
    """One attempt to hold a lock file; excludes other processes, and other attempts in this one.

    The lock file is never removed: whoever waits for a removed one would share the lock with whoever made a new one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    async def acquire(self, timeout: float) -> None:
        """Take the lock, without blocking the loop. Raises StoreBusy after `timeout` seconds, and OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        pause = _FIRST_PAUSE
        try:
            async with asyncio.timeout(timeout):
                while not self._try():
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
        except TimeoutError:
            raise StoreBusy(
                f"{self._path}: another process has held this lock for {timeout:g} s; "
                "end it, or give each instance a store of its own"
            ) from None

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _try(self) -> bool:
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            return False
        return True
