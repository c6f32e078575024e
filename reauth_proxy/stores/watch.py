"""Tells when another process did something to files of a directory: at once on Linux, within a second elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Final

from reauth_proxy.stores.inotify import IGNORED, Q_OVERFLOW, Inotify

#: Seconds between two looks where the kernel tells nothing, and where it should: on a network file system it knows
#: nothing of what other machines do.
_POLL: Final = 0.5
_LOOK: Final = 5.0


class Watch:
    """Counts what happens to each file of a directory: renames over it, and ends of writing, which end locks too.

    Args:
        directory: that there is.
        names: the files that are looked at now and then besides.
    """

    def __init__(self, directory: Path, *names: str) -> None:
        self._directory = directory
        self._names = names
        self._counts: Counter[str] = Counter()
        self._waiting: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._notify = _notifier(directory)
        if self._notify is not None:
            self._loop.add_reader(self._notify.descriptor, self._hear)
        self._seen = {name: _look(directory / name) for name in names}
        self._timer = self._loop.call_later(self._pause, self._poll)

    def count(self, name: str) -> int:
        """Return how much has happened to this file so far."""
        return self._counts[name]

    async def after(self, name: str, count: int, timeout: float | None = None) -> int:
        """Return the new count once it is another than `count`; the same after `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._counts[name] == count:
                    future = self._loop.create_future()
                    self._waiting.add(future)
                    try:
                        await future
                    finally:
                        self._waiting.discard(future)
        return self._counts[name]

    def close(self) -> None:
        """Watch no more; who waits, waits on."""
        self._timer.cancel()
        self._deafen()

    @property
    def _pause(self) -> float:
        return _POLL if self._notify is None else _LOOK

    def _hear(self) -> None:
        assert self._notify is not None
        for name, mask in self._notify.read():
            self._counts[name] += 1
            if mask & (IGNORED | Q_OVERFLOW):  # The directory is gone, or too much happened at once.
                self._counts.update(self._names)
            if mask & IGNORED:
                self._deafen()
                break
        self._wake()

    def _poll(self) -> None:
        for name in self._names:
            seen = _look(self._directory / name)
            if seen != self._seen[name]:
                self._seen[name] = seen
                self._counts[name] += 1
        self._wake()
        self._timer = self._loop.call_later(self._pause, self._poll)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def _deafen(self) -> None:
        if self._notify is not None:
            self._loop.remove_reader(self._notify.descriptor)
            self._notify.close()
            self._notify = None


def _notifier(directory: Path) -> Inotify | None:
    """Return what tells, None where there is none: not on Linux, or too many of them (fs.inotify.max_user_watches)."""
    try:
        return Inotify(directory)
    except OSError:
        return None


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - one call, with no object around it
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
