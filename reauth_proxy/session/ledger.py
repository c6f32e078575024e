"""A session's store, minded: what it is known to hold, what somebody else put there, what still has to go in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Final

import structlog

from reauth_proxy.errors import StoreAway, StoreBusy, StoreCorrupt, StoreEnded, StoreError, StoreSuperseded
from reauth_proxy.session.ending import end
from reauth_proxy.session.holding import Holding, Reading
from reauth_proxy.session.locking import Locking
from reauth_proxy.session.mark import Mark
from reauth_proxy.session.pauses import Pauses
from reauth_proxy.session.problems import Problems
from reauth_proxy.session.protocols import Store
from reauth_proxy.session.tokens import Instant, StoredSession

_log = structlog.get_logger()

#: How often the store is read at most, to read once what it holds.
_READINGS: Final = 10
#: Seconds that the last attempt may take when the program ends.
_LAST_ATTEMPT: Final = 3.0
#: Seconds that a sign-in or a sign-out that is being saved is waited for; longer than a store may take.
_LONGEST_DEED: Final = 10.0


class Ledger:
    """Stands between a session and its store. No failing store ends a session: it goes on from memory, loudly.

    Args:
        has_news: called when it is found that the store holds something newer than what was to be saved.

    Attributes:
        marked: the request, made here or elsewhere, whose answer nobody saved.
    """

    def __init__(self, name: str, store: Store, random: Callable[[], float], has_news: Callable[[], None]) -> None:
        self._name = name
        self._store = store
        self._pauses = Pauses(random)
        self._has_news = has_news
        self._holding = Holding()
        self._locking = Locking(store, lambda: self._refused and self._holding.owes_tokens and not self._closing)
        #: Grows with each save.
        self._writes = 0
        self.marked = Mark()
        self._saver: asyncio.Task[None] | None = None
        #: Strong references: what was begun is saved, whoever is cancelled meanwhile.
        self._deeds: set[asyncio.Task[None]] = set()
        self._closing = False
        self._problems = Problems(name)
        #: The store was there, and could not be written; it could not be read.
        self._refused = self._unread = False

    @property
    def problem(self) -> str | None:
        """What is wrong with the store, for people; None while all is well."""
        return self._problems.first

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
            self.keep(stored)
        self._holding.opened(stored)
        self.marked.read(stored)
        return stored

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever the store may hold news, and is reachable."""
        return self._store.changes()

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Hold off other refreshes, here and in other processes. Raises StoreBusy."""
        async with contextlib.AsyncExitStack() as held:
            try:
                problem = await held.enter_async_context(self._locking.held())
            except StoreAway as error:
                self._complain("locked", error)
                raise
            if problem is None:
                self._problems.mended("locked")
            else:
                self._complain("locked", problem)
            try:
                yield
            finally:
                await self._until_deeds_end()  # Whoever has the lock next must know of them.
                if problem is None and not self._unread and self._holding.wanted is None:
                    self._locking.share()

    async def look(self, *, ours_is_dead: bool = False) -> StoredSession | None:
        """Return what somebody else put into the store and is newer than ours, None if nothing; see :meth:`heard`.

        A store that lost what it held, or went back to what it held before, gets ours again.

        Args:
            ours_is_dead: what we have is worth nothing.

        Raises:
            StoreAway: nobody can tell.
        """
        try:
            stored = await self._load()
        except Exception as error:
            self._complain("read", error)
            if isinstance(error, StoreAway):
                raise
            self._unread = not isinstance(error, StoreCorrupt)
            if not self._unread:
                self._restore()
            return None
        self._unread = False
        self._problems.mended("read")
        if stored is None:
            return None
        if not self._holding.owes_a_deed:  # Else it is from before that.
            self.marked.read(stored)
        reading = self._holding.read(stored, ours_is_dead=ours_is_dead)
        if reading is Reading.WENT_BACK:
            self._complain("read", StoreError("it went back to an older session; ours is put there again"))
            self._restore()
        return stored if reading is Reading.NEWS else None

    async def _load(self) -> StoredSession | None:
        """Read the store; what was overtaken by a save of ours, and may be older than that, is read again."""
        for _ in range(_READINGS):
            writes = self._writes
            stored = await self._store.load()
            await self._until_deeds_end()
            if writes == self._writes:
                if stored is None:
                    await self._put_back()
                return stored
        raise StoreAway("the session changes all the time; nobody can tell what the store holds")

    async def deed(self) -> StoredSession | None:
        """Return what somebody's sign-in or sign-out has put into the store, None if nobody did. Raises StoreError."""
        stored = await self._load()
        return stored if stored is not None and self._holding.is_deed(stored) else None

    def heard(self, news: StoredSession) -> None:
        """Take note that the session goes by the news now."""
        self._holding.heard(news)
        self._problems.mended("written", "marked")  # Somebody could write it.

    async def confirm(self) -> None:
        """Raise StoreError unless the lock, where it could be had, is held still."""
        await self._store.confirm()

    async def mark(self, record: StoredSession, now: Instant | None) -> None:
        """Note, durably if that can be, that the record's refresh token is about to be used.

        Args:
            now: when; None where it is another refresh token: then there is only to be seen whether this can be saved.

        Raises StoreSuperseded or StoreAway if it must not be.
        """
        if self._locking.in_the_dark or self._unread:
            await self._locking.go_alone(self.problem or "the store fails")
            self._start()
        before = replace(self.marked)
        if now is not None:
            self.marked.begin(record.refresh_token, now.wall)
        try:
            await self._write(record, "marked", self._holding.seen)
            self.marked.kept = True
        except StoreError as error:
            if isinstance(error, StoreSuperseded | StoreAway):
                self.marked = before
                raise

    async def rest(self, record: StoredSession, endpoint: str) -> None:
        """Note that an endpoint so configured gave a 2xx of which nothing could be read: it may be used up."""
        self.marked.answered = endpoint
        await self._remark(record)

    async def unmark(self, record: StoredSession) -> None:
        """Remove the mark: an answer came, and the refresh token was not used up."""
        self.marked.clear()
        await self._remark(record)

    async def _remark(self, record: StoredSession) -> None:
        with contextlib.suppress(StoreError):
            await self._write(record, "marked", self._holding.seen)

    async def save(self, record: StoredSession, *, begins: bool = False, issued: bool = False) -> None:
        """Save, with the lock held. Returns when the record is stored, or a background task has been left to do it.

        Args:
            begins: it begins a life, and so comes after whatever the store holds still of the one before.
            issued: it is what came of the request that is marked.

        Raises StoreSuperseded if the lock was lost, StoreEnded if somebody signed in or out meanwhile.
        """
        if issued:
            self.marked.clear()
        self._holding.want(record, begins=begins, issued=issued)
        try:
            await self._write(record, "written", self._holding.seen)
        except StoreSuperseded:
            if self._holding.wanted == record:
                self._holding.drop()
            raise
        except StoreError:
            self._start()

    async def persist(self, record: StoredSession) -> None:
        """Save what somebody's sign-in or sign-out made of the session, at once: whoever refreshes is refused then.

        Returns after one attempt; the background task goes on from there.
        """
        self.marked.clear()
        self._holding.want_deed(record)
        deed = asyncio.create_task(self._write_deed(record), name=f"deed of {self._name}")
        self._deeds.add(deed)
        deed.add_done_callback(self._deeds.discard)
        await asyncio.wait({deed})

    async def _until_deeds_end(self) -> None:
        if self._deeds:
            await asyncio.wait(self._deeds, timeout=_LONGEST_DEED)

    async def _write_deed(self, record: StoredSession) -> None:
        try:
            await self._write(record, "written", None)
        except StoreError:
            self._start()
        else:
            if self._saver is not None:
                self._pauses.end()  # The lock may be kept for what this replaced.

    def keep(self, record: StoredSession) -> None:
        """Have the background task save this, unless it finds something newer."""
        self._holding.want(record)
        self._start()

    def stir(self) -> None:
        """Have the background task try again at once: the store may be back."""
        if self._holding.wanted is not None or self._problems:
            self._pauses.end()

    async def close(self) -> None:
        """End the background task, after one last attempt at what it had left to do."""
        self._closing = True
        if self._deeds:
            await asyncio.wait(self._deeds, timeout=_LAST_ATTEMPT)
            await end(self._deeds)
        if self._saver is not None:
            saver = self._saver
            await asyncio.wait({saver}, timeout=0.0 if self._holding.wanted is None else 1.0)
            await end({saver})
        if self._holding.wanted is not None:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_LAST_ATTEMPT):
                    await self._settle()
        await self._locking.let_go()

    async def _settle(self) -> None:
        """Save what is left to save; a deed needs no lock."""
        async with contextlib.nullcontext() if self._holding.owes_a_deed else self.lock():
            await self._save_wanted()

    async def _put_back(self) -> None:
        """Put at once into a store that holds nothing what it has lost: whoever goes on just now may have less."""
        self._holding.seen = ""
        if (lost := self._holding.lost()) is not None:
            try:
                await self._write(lost, "written", "")
            except StoreEnded:
                pass  # Somebody else came first; that is news, with the next reading.
            except StoreError:
                self.keep(lost)

    def _restore(self) -> None:
        """Put back, with the lock held, what the store has lost."""
        if (lost := self._holding.lost()) is not None:
            self.keep(lost)

    def _start(self) -> None:
        """Have the background task run."""
        if self._saver is None and not self._closing:
            self._saver = asyncio.create_task(self._save_until_saved(), name=f"save of {self._name}")

    async def _save_until_saved(self) -> None:
        """Try until there is nothing left to save, and what failed works: nobody else would find that out."""
        attempt = 0
        try:
            while self._holding.wanted is not None or "locked" in self._problems or self._locking.busy:
                # Once the store is heard of again, what went wrong while it was away is no reason to wait.
                attempt = 1 if await self._pauses.before(attempt) else attempt + 1
                try:
                    await self._settle()
                except StoreError:
                    pass  # It has been complained about, or is busy.
                except Exception as error:
                    self._complain("locked", error)
        finally:
            self._saver = None

    async def _save_wanted(self) -> None:
        """Save, unless meanwhile a refresh here saved something newer, or somebody else did: then that is told."""
        if self._holding.wanted is None and not self._locking.alone:
            return
        if await self.look() is not None:
            self._holding.drop()
            self._has_news()
        elif self._holding.wanted is not None:
            await self._write(self._holding.wanted, "written", self._holding.seen)

    async def _write(self, record: StoredSession, done: str, over: str | None) -> None:
        """Raises StoreError, whatever went wrong; it is in the log then, if it is the store's fault."""
        record = self.marked.on(record)
        self._writes += 1
        try:
            await self._store.save(record, over=over)
        except StoreEnded:
            raise
        except Exception as error:
            self._refused = not isinstance(error, StoreBusy | StoreSuperseded)
            self._complain(done, error)
            if isinstance(error, StoreError):
                raise
            raise StoreError("an unexpected error in this program; the log says where") from None
        self._writes += 1
        self._refused = False
        self._holding.saved(record)
        if record.used_at is None:
            self.marked.clear()
            _log.debug("store.saved", credential=self._name, generation=record.generation)
        if self._holding.wanted is None:
            self._problems.mended("written", "marked", "read")

    def _complain(self, done: str, error: Exception) -> None:
        self._problems.complain(done, error)
        if done == "locked" and not self._closing:
            self._start()
