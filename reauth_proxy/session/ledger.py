"""A session's store, minded: what it is known to hold, what somebody else put there, what still has to go in."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Final

import structlog

from reauth_proxy.errors import StoreAway, StoreBusy, StoreCorrupt, StoreError, StoreSuperseded
from reauth_proxy.session.calls import where
from reauth_proxy.session.ending import end
from reauth_proxy.session.protocols import Store
from reauth_proxy.session.schedule import backoff
from reauth_proxy.session.tokens import Instant, Secret, StoredSession

_log = structlog.get_logger()

#: Pauses between saves that fail grow up to this many seconds.
LONGEST_PAUSE: Final = 30.0
_SHORTEST_PAUSE: Final = 0.5
#: Seconds that the last attempt may take when the program ends.
_LAST_ATTEMPT: Final = 3.0
_REMEMBERED: Final = 32
#: Seconds between two glances.
LOOK_EVERY: Final = 1.0


class Ledger:
    """Stands between a session and its store. No failing store ends a session: it goes on from memory, loudly."""

    def __init__(self, name: str, store: Store, random: Callable[[], float]) -> None:
        self._name = name
        self._store = store
        self._random = random
        self._lock = asyncio.Lock()
        #: What the store holds, as far as we know: loaded or saved last. Anything else in it is somebody's news.
        self._known: StoredSession | None = None
        #: Fingerprints of the refresh tokens that it held before: a store that has one of them again went back.
        self._past: deque[str] = deque(maxlen=_REMEMBERED)
        #: What it is to hold, until it does.
        self._wanted: StoredSession | None = None
        #: Somebody asked for it, by a login or a sign-out: it replaces whatever is there.
        self._deliberate = False
        #: A request was made with this refresh token, and its answer is not saved.
        self._doubted: Secret | None = None
        self._saver: asyncio.Task[None] | None = None
        self._closing = False
        #: Done after the saver's next attempt.
        self._tried: asyncio.Future[None] | None = None
        self._urgent = asyncio.Event()
        self._looked_at: Instant | None = None
        #: What went wrong last, by what was to be done, until it works.
        self._problems: dict[str, str] = {}

    @property
    def problem(self) -> str | None:
        """What is wrong with the store, for people; None while all is well.

        The newest tokens may not survive this process then, and others may know better.
        """
        return next(iter(self._problems.values()), None)

    async def open(self) -> StoredSession | None:
        """Check that the store can be written and return what it holds, or a second copy of it. Raises StoreError."""
        await self._store.check()
        try:
            stored = await self._store.load()
        except StoreCorrupt as error:
            stored = await self._store.load_backup()
            if stored is None:
                raise
            _log.error("store.recovered", credential=self._name, generation=stored.generation, problem=str(error))
            self._want(stored)
        self._known = stored
        self._note_mark(stored)
        return stored

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever the store may hold news, and is reachable."""
        return self._store.changes()

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Hold off other refreshes, here and in other processes. Raises StoreBusy."""
        async with self._lock, contextlib.AsyncExitStack() as held:
            try:
                await held.enter_async_context(self._store.lock())
            except StoreBusy as error:
                if isinstance(error, StoreAway):
                    self._complain("locked", error)
                raise
            except StoreError as error:
                # Nobody holds it; it is broken. Better to risk another process than to lose the session for sure.
                self._complain("locked", error)
            else:
                self._recovered("locked")
            yield

    async def look(self, *, ours_is_dead: bool = False) -> StoredSession | None:
        """Return what somebody else put into the store and is newer than ours, None if nothing; see :meth:`heard`.

        A store that lost what it held, or went back to what it held before, gets ours again.

        Args:
            ours_is_dead: what we have is worth nothing.

        Raises:
            StoreAway: nobody can tell.
        """
        try:
            stored = await self._store.load()
        except Exception as error:
            self._complain("read", error)
            if isinstance(error, StoreAway):
                raise
            if isinstance(error, StoreCorrupt):
                self._restore()
            return None
        self._recovered("read")
        if stored is None:
            self._restore()
            return None
        self._note_mark(stored)
        if stored == self._known:
            return None
        if ours_is_dead:
            return stored
        ours, wanted = self._known, self._wanted
        if wanted is not None:
            # Both were refreshed while the store was away: theirs, which is stored, is what the others use by now.
            newer = stored.refresh_token is not None and stored.generation >= wanted.generation
            return stored if newer and not self._deliberate else None
        if ours is not None and stored.refresh_token is not None and stored.refresh_token.fingerprint() in self._past:
            self._complain("read", StoreError("it went back to an older session; ours is put there again"))
            self._restore()
            return None
        return stored

    def heard(self, news: StoredSession) -> None:
        """Take note that the session goes by the news now."""
        self._learn(news)
        if news.refresh_token is not None:
            self._wanted, self._deliberate = None, False
            self._recovered("written", "marked")  # Somebody could write it.

    async def news(self, *, ours_is_dead: bool = False) -> StoredSession | None:
        """Return the news, and take note of them. Raises StoreAway."""
        stored = await self.look(ours_is_dead=ours_is_dead)
        if stored is not None:
            self.heard(stored)
        return stored

    async def glance(self, now: Instant) -> StoredSession | None:
        """Look for a session that has ended, at most once per second: every request may ask. Raises StoreAway."""
        if self._looked_at is not None and not self._looked_at.after(LOOK_EVERY).reached(now):
            return None
        self._looked_at = now
        return await self.look(ours_is_dead=True)

    def doubts(self, refresh_token: Secret | None) -> bool:
        """Tell whether a request was made with this refresh token, here or elsewhere, whose answer nobody saved."""
        return refresh_token is not None and self._doubted == refresh_token

    async def mark(self, record: StoredSession, now: Instant) -> None:
        """Note, durably if that can be, that the record's refresh token is about to be used.

        Raises StoreSuperseded or StoreAway, and then it must not be.
        """
        try:
            await self._write(replace(record, used_at=now.wall), "marked")
        except StoreError as error:
            if isinstance(error, StoreSuperseded | StoreAway):
                raise
        self._doubted = record.refresh_token

    async def unmark(self, record: StoredSession) -> None:
        """Remove the mark: an answer came, and the refresh token was not used up."""
        self._doubted = None
        with contextlib.suppress(StoreError):
            await self._write(record, "marked")

    async def save(self, record: StoredSession) -> None:
        """Save, with the lock held. Returns when the record is stored, or a background task has been left to do it.

        Raises StoreSuperseded if the lock was lost: somebody else may have saved something newer.
        """
        self._wanted, self._deliberate = record, False
        try:
            await self._write(record, "written")
        except StoreSuperseded:
            self._wanted = None
            raise
        except StoreError:
            self._start()

    async def persist(self, record: StoredSession) -> None:
        """Save, without the lock held. Returns after one attempt; the background task goes on from there."""
        self._wanted, self._deliberate = record, True
        self._urgent.set()
        await asyncio.wait({self._start()})

    def keep(self, record: StoredSession) -> None:
        """Have the background task save this, unless it finds something newer."""
        self._want(record)

    def stir(self) -> None:
        """Have the background task try again at once: the store may be back."""
        if self._wanted is not None:
            self._urgent.set()

    async def close(self) -> None:
        """End the background task, after one last attempt at what it had left to do."""
        self._closing = True
        if self._saver is not None:
            saver = self._saver
            await asyncio.wait({saver}, timeout=0.0 if self._wanted is None else 1.0)
            await end({saver})
        if self._wanted is not None:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_LAST_ATTEMPT), self.lock():
                    await self._save_wanted()

    def _want(self, record: StoredSession) -> None:
        self._wanted, self._deliberate = record, False
        self._start()

    def _learn(self, record: StoredSession) -> None:
        before = self._known.refresh_token if self._known is not None else None
        if before is not None and before != record.refresh_token:
            self._past.append(before.fingerprint())
        self._known = record

    def _restore(self) -> None:
        """Put back what the store has lost."""
        if self._wanted is None and self._known is not None and self._known.refresh_token is not None:
            self._want(self._known)

    def _note_mark(self, stored: StoredSession | None) -> None:
        if stored is not None and stored.used_at is not None:
            self._doubted = stored.refresh_token

    def _start(self) -> asyncio.Future[None]:
        """Have the background task run; return what is done after its next attempt."""
        if self._tried is None:
            self._tried = asyncio.get_running_loop().create_future()
        if self._saver is None:
            self._saver = asyncio.create_task(self._save_until_saved(), name=f"save of {self._name}")
        return self._tried

    async def _save_until_saved(self) -> None:
        """Try until there is nothing left to save, and a lock that failed works: nobody else would find that out."""
        attempt = 0
        try:
            while self._wanted is not None or "locked" in self._problems:
                await self._nap(attempt)
                attempt += 1
                tried, self._tried = self._tried, None
                try:
                    async with self.lock():
                        await self._save_wanted()
                except StoreError:
                    pass  # It has been complained about, or is busy.
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

    async def _save_wanted(self) -> None:
        """Save, unless meanwhile a refresh here saved something newer, or somebody else did."""
        if self._wanted is not None and (self._deliberate or await self.look() is None) and self._wanted is not None:
            await self._write(self._wanted, "written")

    async def _nap(self, attempt: int) -> None:
        """Wait before the next attempt, shorter if somebody waits for it, but never not at all after a failure."""
        pause = backoff(attempt, self._random()) if attempt < 6 else LONGEST_PAUSE
        if attempt > 0:
            await asyncio.sleep(min(pause, _SHORTEST_PAUSE))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._urgent.wait()
        self._urgent.clear()

    async def _write(self, record: StoredSession, done: str) -> None:
        """Raises StoreError, whatever went wrong; it is in the log then."""
        try:
            await self._store.save(record)
        except Exception as error:
            self._complain(done, error)
            if isinstance(error, StoreError):
                raise
            raise StoreError("an unexpected error in this program; the log says where") from None
        self._learn(record)
        if self._wanted == record:
            self._wanted, self._deliberate = None, False
        if record.used_at is None:
            self._doubted = None
            _log.debug("store.saved", credential=self._name, generation=record.generation)
        if self._wanted is None:
            self._recovered("written", "marked", "read")

    def _recovered(self, *done: str) -> None:
        before = self._problems
        self._problems = {name: problem for name, problem in before.items() if name not in done}
        if before and not self._problems:
            _log.info("store.mended", credential=self._name)

    def _complain(self, done: str, error: Exception) -> None:
        known = {"error": str(error)} if isinstance(error, StoreError) else where(error)
        self._problems[done] = known["error"]
        if done == "locked" and not self._closing:
            self._start()
        _log.error("store.failed", credential=self._name, to_be=done, **known)
