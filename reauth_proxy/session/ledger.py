"""A session's store, minded: what it is known to hold, what somebody else put there, what still has to go in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from reauth_proxy.errors import StoreError
from reauth_proxy.session.calls import where
from reauth_proxy.session.protocols import Store
from reauth_proxy.session.schedule import backoff
from reauth_proxy.session.tokens import StoredSession

_log = structlog.get_logger()

#: Pauses between saves that fail grow up to this many seconds.
LONGEST_PAUSE: Final = 30.0


class Ledger:
    """Stands between a session and its store. No failing store ends a session: it goes on from memory, loudly.

    Attributes:
        failed: what has to be saved could not be, and is tried again in the background.
    """

    def __init__(self, name: str, store: Store, random: Callable[[], float]) -> None:
        self._name = name
        self._store = store
        self._random = random
        self._lock = asyncio.Lock()
        #: What the store holds, as far as we know: loaded or saved last. Anything else in it is somebody's news.
        self._known: StoredSession | None = None
        #: What it is to hold, until it does.
        self._wanted: StoredSession | None = None
        self._saver: asyncio.Task[None] | None = None
        self._tried: asyncio.Future[None] | None = None
        self.failed = False

    async def open(self) -> StoredSession | None:
        """Check that the store can be written and return what it holds. Raises StoreError."""
        await self._store.check()
        self._known = await self._store.load()
        return self._known

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Hold off other refreshes, here and in other processes. Raises StoreError."""
        async with self._lock, self._store.lock():
            yield

    async def news(self) -> StoredSession | None:
        """Return what somebody else put into the store since we looked last, None if nothing."""
        try:
            stored = await self._store.load()
        except Exception as error:
            self._complain("read", error)
            return None
        if stored is None or stored == self._known:
            return None
        self._known = stored
        return stored

    async def save(self, record: StoredSession) -> None:
        """Save, with the lock held. Returns when the record is stored, or a background task has been left to do it."""
        self._wanted = record
        if not await self._write(record):
            self._start(pause=True)

    async def persist(self, record: StoredSession) -> None:
        """Save, without the lock held. Returns after the first attempt; the background task goes on from there."""
        self._wanted = record
        self._start(pause=False)
        if self._tried is not None:
            await asyncio.wait({self._tried})

    async def close(self) -> None:
        """End the background task, after one last attempt at what it had left to do."""
        if self._saver is not None:
            saver = self._saver
            await asyncio.wait({saver}, timeout=1.0)
            saver.cancel()
            await asyncio.wait({saver})
        if self._wanted is not None:
            await self._write(self._wanted)

    def _start(self, *, pause: bool) -> None:
        if self._saver is None:
            self._tried = asyncio.get_running_loop().create_future()
            self._saver = asyncio.create_task(self._save_until_saved(self._tried, pause))

    async def _save_until_saved(self, tried: asyncio.Future[None], pause: bool) -> None:
        attempt = 0
        try:
            while self._wanted is not None:
                if pause:
                    await asyncio.sleep(backoff(attempt, self._random()) if attempt < 6 else LONGEST_PAUSE)
                    attempt += 1
                try:
                    async with self.lock():
                        # Meanwhile a refresh may have saved something newer.
                        if self._wanted is not None:
                            await self._write(self._wanted)
                except Exception as error:
                    self._complain("locked", error)
                pause = True
                if not tried.done():
                    tried.set_result(None)
        finally:
            self._saver = None
            if not tried.done():
                tried.set_result(None)

    async def _write(self, record: StoredSession) -> bool:
        try:
            await self._store.save(record)
        except Exception as error:
            self.failed = True
            self._complain("written", error)
            return False
        self._known = record
        if self._wanted is record:
            self._wanted, self.failed = None, False
        _log.debug("store.saved", credential=self._name, generation=record.generation)
        return True

    def _complain(self, done: str, error: Exception) -> None:
        known = {"error": str(error)} if isinstance(error, StoreError) else where(error)
        _log.error("store.failed", credential=self._name, to_be=done, **known)
