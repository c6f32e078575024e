"""One store for several processes: compare and set, a lock that passes on, news for everybody, and its troubles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from reauth_proxy.errors import StoreAway, StoreBusy, StoreEnded, StoreError, StoreSuperseded
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores import record
from tests.session.twins.worlds import Process, World

#: Seconds after which a stopped holder loses the lock; how long others wait for it; and how long those who owe
#: nothing leave it to those who do, once the store is back.
LEASE, LOCK_TIMEOUT, PRECEDENCE = 5.0, 30.0, 1.5
#: The longest that a slow operation takes.
SLOWEST = 8.0

#: `away`: nobody reaches it. `busy`: somebody else holds the lock for ever. The others are those of a disk.
Trouble = Literal["", "away", "busy", "full", "unlockable", "unreadable", "hung"]


@dataclass(eq=False)
class Grant:
    """The lock, given to a process."""

    process: Process
    number: int


@dataclass(eq=False)
class SharedStore:
    """What all see.

    Attributes:
        saved: refresh tokens that it has ever held.
        users: those that refresh; `alone` is the one that others leave alone.
        tainted: it has been a disk in trouble: processes went on without it.
        lost_roots: fingerprints that it knew until somebody saved who did not.
    """

    world: World
    data: bytes | None = None
    trouble: Trouble = ""
    trouble_since: float = float("-inf")
    outage_since: float = float("-inf")
    saved: set[Secret] = field(default_factory=set)
    accesses: list[Access] = field(default_factory=list)
    holder: Grant | None = None
    users: set[Process] = field(default_factory=set)
    alone: Process | None = None
    number: int = 0
    tainted: bool = False
    lost_roots: set[str] = field(default_factory=set)

    @property
    def session(self) -> StoredSession | None:
        return None if self.data is None else record.decode(self.data)

    def put(self, session: StoredSession) -> None:
        before = self.session
        if before is not None:
            self.lost_roots |= set(before.roots) - set(session.roots)
        self.data = record.encode(session)
        if session.refresh_token is not None:
            self.saved.add(session.refresh_token)
        self.tell()

    def tell(self) -> None:
        for access in self.accesses:
            access.news.set()

    def fail(self, trouble: Trouble) -> None:
        if self.trouble or trouble:
            self.trouble_since = self.world.clock.now
        if {self.trouble, trouble} & {"away", "busy"}:
            self.outage_since = self.world.clock.now
        back = self.trouble and not trouble
        self.trouble = trouble
        self.tainted = self.tainted or trouble in ("full", "unlockable", "unreadable", "hung")
        if back:
            self.tell()

    def last_outage(self) -> float:
        """Since when all can reach it, if that is so: only then is what came of a refresh sure to be seen."""
        return self.world.clock.now if self.trouble in ("away", "busy") else self.outage_since


class Access:
    """One process' way to the store: a :class:`~reauth_proxy.session.protocols.Store`.

    Attributes:
        slow: whether each operation waits before or after it is done, until it is let through.
    """

    def __init__(self, store: SharedStore, process: Process) -> None:
        self.store = store
        self.process = process
        self.slow: Literal["", "before", "after"] = ""
        self.waiting: list[asyncio.Future[None]] = []
        self.news = asyncio.Event()
        self.held: Grant | None = None
        self.owes = False
        store.accesses.append(self)

    @property
    def lost_its_lock(self) -> bool:
        return self.held is not None and self.held.number != self.store.number

    async def check(self) -> None:
        self._reach()
        if self.store.trouble in ("full", "hung"):
            raise StoreError("it cannot be written")
        self.enters()

    async def load(self) -> StoredSession | None:
        await self._wait("before")
        self._reach()
        if self.store.trouble in ("unreadable", "hung"):
            raise StoreError("it cannot be read")
        found = self.store.session
        await self._wait("after")
        return found

    async def load_backup(self) -> StoredSession | None:
        return None

    async def save(self, session: StoredSession, *, over: str | None = None) -> None:
        held = None if over is None else self.held  # A deed belongs to no refresh, and so to no lock.
        cancelled = None
        try:
            await self._wait("before")
        except asyncio.CancelledError as error:
            cancelled = error  # What has begun is done.
        try:
            self._save(session, held, over)
        except StoreAway:
            self.owes = self.owes or session.used_at is None
            raise
        self.owes = self.owes and session.used_at is not None
        if cancelled is not None:
            raise cancelled
        await self._wait("after")

    def _save(self, session: StoredSession, held: Grant | None, over: str | None) -> None:
        self._reach()
        if self.store.trouble in ("full", "hung"):
            raise StoreError("it cannot be written")
        if held is not None and held.number != self.store.number:
            raise StoreSuperseded("another process took the lock over")
        there = self.store.session
        if over is not None and there is not None and there.line != over:
            raise StoreEnded("somebody signed in or out meanwhile")
        self.store.put(session)

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self._wait("before")
        grant = await self._acquire()
        self.held = grant
        try:
            await self._wait("after")
            yield
        finally:
            if self.held is grant:
                self.held = None
            if self.store.holder is grant:
                self.store.holder = None

    async def _acquire(self) -> Grant:
        store, clock = self.store, self.store.world.clock
        until = clock.now + LOCK_TIMEOUT
        while True:
            self._reach()
            if store.trouble in ("unlockable", "hung"):
                raise StoreError("the lock cannot be made")
            first = self.owes or clock.now >= store.trouble_since + PRECEDENCE
            if first and store.trouble != "busy" and self.enters() and self._free():
                store.number += 1
                store.holder = Grant(self.process, store.number)
                return store.holder
            if clock.now >= until:
                raise StoreBusy("another process holds the lock")
            await asyncio.sleep(0.25)

    def _free(self) -> bool:
        holder = self.store.holder
        if holder is None or holder.process.dead:
            return True
        since = holder.process.frozen_since
        return since is not None and self.store.world.clock.now > since + LEASE

    async def confirm(self) -> None:
        self._reach()
        if self.lost_its_lock:
            raise StoreSuperseded("another process took the lock over")

    def enters(self) -> bool:
        """Be seen by others; return whether that may be."""
        store = self.store
        if store.alone is not None and store.alone.dead:
            store.alone = None
        if store.alone not in (None, self.process):
            return False
        store.users.add(self.process)
        return True

    async def claim(self) -> bool:
        if self.enters() and all(one.dead for one in self.store.users - {self.process}):
            self.store.alone = self.process
        return self.store.alone is self.process

    def share(self) -> None:
        if self.store.alone is self.process:
            self.store.alone = None

    async def changes(self) -> AsyncGenerator[None, None]:
        while True:
            await self.news.wait()
            self.news.clear()
            if self.store.trouble != "away":
                yield

    async def close(self) -> None:
        pass

    def go_on(self, number: int = 1) -> None:
        """Let so many slow operations through, the oldest first."""
        for future in [one for one in self.waiting if not one.done()][:number]:
            future.set_result(None)

    async def _wait(self, when: str) -> None:
        await asyncio.sleep(0)
        if self.slow == when:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            try:
                await asyncio.wait({future}, timeout=SLOWEST)
            finally:
                self.waiting.remove(future)

    def _reach(self) -> None:
        if self.process.dead:
            raise StoreError("there is no such process any more")
        if self.store.trouble == "away":
            raise StoreAway("it cannot be reached")
