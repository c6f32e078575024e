"""Which processes use a store, told by a file that each of them keeps open: where the disk fails, that still works.

Each has a shared flock(2) on it. Whoever has it exclusively is alone, and stays so: the others do not refresh. The
kernel takes both back from a process that dies.

A shared lock that is to become exclusive is given back first, and is lost if that fails. So only who has a second file
locked tries: nobody else can become alone while a process is not to be seen.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from pathlib import Path

from reauth_proxy.stores import atomic
from reauth_proxy.stores.flock import flock_if_there_is_one, in_place


class Presence:
    """A process among those that use a store. Everything blocks, and is safe in threads.

    Attributes:
        was_alone: what :meth:`claim` returned last; True if nobody asked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        #: The second file.
        self._mutex: int | None = None
        self._alone = False
        self.was_alone = True

    def enter(self, path: Path, like: Path) -> bool:
        """Be seen by others from now on; return False if somebody is to be alone.

        Args:
            path: of the file, which is kept open.
            like: the session, to whose owner the file is to belong.

        Raises OSError, StoreError if there can be no such file.
        """
        if self._descriptor is None or not in_place(self._descriptor, path):  # Somebody may have removed it.
            descriptor = _open(path, like)
            try:
                mutex = _open(path.with_suffix(".alone"), like)
            except BaseException:
                os.close(descriptor)
                raise
            with self._lock:
                self._close()
                self._descriptor, self._mutex, self._alone = descriptor, mutex, False
        with self._lock:
            return self._alone or _flock(self._descriptor, fcntl.LOCK_SH)

    def claim(self) -> bool:
        """Return whether nobody else is there, nor will be until :meth:`share`; True also where there are no locks.

        Raises OSError if nobody can tell.
        """
        with self._lock:
            if not self._alone and _flock(self._mutex, fcntl.LOCK_EX):
                try:
                    self._alone = _flock(self._descriptor, fcntl.LOCK_EX)
                finally:
                    if not self._alone:
                        self._be_seen()
            self.was_alone = self._alone
            return self._alone

    def share(self) -> None:
        """Let others be there again."""
        with self._lock:
            if self._alone:
                self._alone = False
                self._be_seen()

    def leave(self) -> None:
        """Be there no more."""
        with self._lock:
            self._close()

    def _be_seen(self) -> None:
        """Be one of several again, before anybody else may try to be alone."""
        _flock(self._descriptor, fcntl.LOCK_SH)
        _flock(self._mutex, fcntl.LOCK_UN)

    def _close(self) -> None:
        for descriptor in (self._descriptor, self._mutex):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._descriptor = self._mutex = None


def _flock(descriptor: int | None, how: int) -> bool:
    return descriptor is None or flock_if_there_is_one(descriptor, how)


def _open(path: Path, like: Path) -> int:
    """Open the file, made if there is none; only to be read, where that will do: so a disk can be made read-only."""
    made = atomic.open_lock(path, like)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except BaseException:
        os.close(made)
        raise
    if _can_lock(descriptor):
        os.close(made)
        return descriptor
    os.close(descriptor)
    return made


def _can_lock(descriptor: int) -> bool:
    """Tell whether a file that is open to be read can be locked exclusively; on network file systems it cannot."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError as error:
        return error.errno != errno.EBADF
    return True
