"""Tells when another process did something to files of a directory: at once on Linux, within a second elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from reauth_proxy.errors import StoreError
from reauth_proxy.session.ending import end
from reauth_proxy.stores.inotify import IGNORED, Q_OVERFLOW, Inotify
from reauth_proxy.stores.worker import Worker

#: Seconds between two looks where the kernel tells nothing, and where it should: on a network file system it knows
#: nothing of what other machines do.
_POLL: Final = 0.5
_LOOK: Final = 5.0

_Seen = tuple[int, int, int] | None


class Watch:
    """Counts what happens to each file of a directory: renames over it, and ends of writing, which end locks too.

    Args:
        directory: that there is.
        worker: makes the calls that a disk may never answer.
        names: the files that are looked at now and then besides.
    """

    def __init__(self, directory: Path, worker: Worker, *names: str) -> None:
        self._directory = directory
        self._worker = worker
        self._names = names
        self._counts: Counter[str] = Counter()
        self._waiting: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._notify: Inotify | None = None
        self._seen: dict[str, _Seen] = {}
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch. Raises StoreError if the directory does not answer."""
        directory, names = self._directory, self._names
        made: list[Inotify | None] = []
        try:
            await self._worker.run(lambda: made.append(_notifier(directory)))
            self._seen = await self._worker.run(lambda: _look_at(directory, names))
        except BaseException:
            self._worker.post(lambda: _close(made))  # It may be made only now, for nobody.
            raise
        self._notify = made[0]
        if self._notify is not None:
            self._loop.add_reader(self._notify.descriptor, self._hear)
        self._looking = asyncio.create_task(self._look_now_and_then(), name=f"watch of {directory}")

    def count(self, name: str) -> int:
        """Return how much has happened to this file so far."""
        return self._counts.setdefault(name, 0)

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

    def stir(self) -> None:
        """Let it be as if something had happened to each file that anybody asked about."""
        self._counts.update({*self._names, *self._counts})
        self._wake()

    async def close(self) -> None:
        """Watch no more; who waits, waits on."""
        self._deafen()
        if self._looking is not None:
            await end([self._looking])

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

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            with contextlib.suppress(StoreError):
                before, self._seen = self._seen, await self._worker.run(lambda: _look_at(self._directory, self._names))
                self._counts.update(name for name in self._names if self._seen[name] != before[name])
                self._wake()

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


def _close(made: Iterable[Inotify | None]) -> None:
    for notify in made:
        if notify is not None:
            notify.close()


def _look_at(directory: Path, names: Iterable[str]) -> dict[str, _Seen]:
    return {name: _look(directory / name) for name in names}


def _look(path: Path) -> _Seen:
    try:
        status = os.stat(path)  # noqa: PTH116 - one call, with no object around it
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
