"""The lock of a store as its session holds it: kept while something is owed, done without only by who is alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from reauth_proxy.errors import StoreAway, StoreBusy, StoreError, StoreSuperseded
from reauth_proxy.session.protocols import Store


class Locking:
    """Holds off other refreshes, here and in other processes.

    Whoever was issued tokens that no other process can see lets go of the lock only once they are stored: what is
    stored has been used up. Where the store can be neither locked nor read, only a process that is alone goes on.

    Args:
        owes: tells whether there are tokens that the store failed to take.

    Attributes:
        in_the_dark: the lock could not be had, or not be seen to be held still.
        alone: others were told to wait until the store is well again.
        busy: the lock is held while no refresh runs, or others wait.
    """

    def __init__(self, store: Store, owes: Callable[[], bool]) -> None:
        self._store = store
        self._owes = owes
        self._lock = asyncio.Lock()
        self._held: contextlib.AsyncExitStack | None = None
        self.in_the_dark = self.alone = False

    @property
    def busy(self) -> bool:
        return self._held is not None or self.alone

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[StoreError | None]:
        """Hold the lock, and longer if something is owed at the end; yield what is wrong with it, None for nothing.

        Raises StoreBusy.
        """
        async with self._lock:
            problem = await self._take()
            self.in_the_dark = problem is not None
            try:
                yield problem
            except BaseException as error:
                await self._leave(type(error), error, error.__traceback__)
                raise
            await self._leave(None, None, None)

    async def _take(self) -> StoreError | None:
        if self._held is not None:
            try:
                await self._store.confirm()
                return None
            except StoreSuperseded:
                await self.let_go()  # This process was stopped for too long.
            except StoreError as error:
                return error
        stack = contextlib.AsyncExitStack()
        try:
            await stack.enter_async_context(self._store.lock())
        except StoreBusy:
            raise
        except StoreError as error:
            return error  # Nobody holds it; it is broken.
        self._held = stack
        return None

    async def let_go(self) -> None:
        """Give the lock back, whatever is owed."""
        held, self._held = self._held, None
        if held is not None:
            await held.aclose()

    async def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back, unless something is owed; a store may care what for."""
        if self._held is not None and not self._owes():
            held, self._held = self._held, None
            await held.__aexit__(kind, error, trace)

    async def go_alone(self, problem: str) -> None:
        """Be the only process that uses the store from now on, until :meth:`share`. Raises StoreAway if it is not."""
        self.alone = True  # Whoever is cancelled meanwhile may be it all the same.
        if not await self._store.claim():
            self.alone = False
            raise StoreAway(f"{problem}; another process uses the same store, and may know better")

    def share(self) -> None:
        """The store is well again, and holds what there is: let others use it, if they were told to wait."""
        if self.alone:
            self.alone = False
            self._store.share()
