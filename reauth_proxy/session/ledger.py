"""A session's store, minded: what it is known to hold, what somebody else put there, what still has to go in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

from reauth_proxy.errors import StoreBusy, StoreError
from reauth_proxy.session.calls import where
from reauth_proxy.session.protocols import Store
from reauth_proxy.session.schedule import backoff
from reauth_proxy.session.tokens import Instant, StoredSession

_log = structlog.get_logger()

#: Pauses between saves that fail grow up to this many seconds.
LONGEST_PAUSE: Final = 30.0
#: Seconds between two glances.
LOOK_EVERY: Final = 1.0


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
        #: Done after the saver's next attempt.
        self._tried: asyncio.Future[None] | None = None
        self._urgent = asyncio.Event()
        self._looked_at: Instant | None = None
        self.failed = False

    async def open(self) -> StoredSession | None:
        """Check that the store can be written and return what it holds. Raises StoreError."""
        await self._store.check()
        self._known = await self._store.load()
        return self._known

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Hold off other refreshes, here and in other processes. Raises StoreBusy."""
        async with self._lock, contextlib.AsyncExitStack() as held:
            try:
                await held.enter_async_context(self._store.lock())
            except StoreBusy:
                raise
            except StoreError as error:
                # Nobody holds it; it is broken. Better to risk another process than to lose the session for sure.
                self._complain("locked", error)
            yield

    async def news(self, *, ours_is_dead: bool = False) -> StoredSession | None:
        """Return what somebody else put into the store since we looked last, None if nothing.

        Args:
            ours_is_dead: what we have not managed to save yet is worth nothing; else it is newer than any news.
        """
        try:
            stored = await self._store.load()
        except Exception as error:
            self._complain("read", error)
            return None
        if stored is None or stored == self._known or (self._wanted is not None and not ours_is_dead):
            return None
        self._known = stored
        if stored.refresh_token is not None:
            self._wanted, self.failed = None, False
        return stored

    async def glance(self, now: Instant) -> StoredSession | None:
        """Return the news for a session that has ended, looking at most once per second: every request may ask."""
        if self._looked_at is not None and not self._looked_at.after(LOOK_EVERY).reached(now):
            return None
        self._looked_at = now
        return await self.news(ours_is_dead=True)

    async def save(self, record: StoredSession) -> None:
        """Save, with the lock held. Returns when the record is stored, or a background task has been left to do it."""
        self._wanted = record
        if not await self._write(record):
            self._start()

    async def persist(self, record: StoredSession) -> None:
        """Save, without the lock held. Returns after one attempt; the background task goes on from there."""
        self._wanted = record
        self._urgent.set()
        await asyncio.wait({self._start()})

    async def close(self) -> None:
        """End the background task, after one last attempt at what it had left to do."""
        if self._saver is not None:
            saver = self._saver
            await asyncio.wait({saver}, timeout=1.0)
            saver.cancel()
            await asyncio.wait({saver})
        if self._wanted is not None:
            await self._write(self._wanted)

    def _start(self) -> asyncio.Future[None]:
        """Have the background task run; return what is done after its next attempt."""
        if self._tried is None:
            self._tried = asyncio.get_running_loop().create_future()
        if self._saver is None:
            self._saver = asyncio.create_task(self._save_until_saved(), name=f"save of {self._name}")
        return self._tried

    async def _save_until_saved(self) -> None:
        attempt = 0
        try:
            while self._wanted is not None:
                await self._nap(attempt)
                attempt += 1
                tried, self._tried = self._tried, None
                try:
                    async with self.lock():
                        # Meanwhile a refresh may have saved something newer.
                        if self._wanted is not None:
                            await self._write(self._wanted)
                except Exception as error:
                    self._complain("locked", error)
                finally:
                    if tried is not None:
                        tried.set_result(None)
        finally:
            self._saver = None
            if self._tried is not None:
                self._tried.set_result(None)
                self._tried = None

    async def _nap(self, attempt: int) -> None:
        """Wait before the next attempt, unless somebody waits for it."""
        pause = backoff(attempt, self._random()) if attempt < 6 else LONGEST_PAUSE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._urgent.wait()
        self._urgent.clear()

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
