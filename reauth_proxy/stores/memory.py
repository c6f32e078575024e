"""A store that forgets everything when the process ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager

from reauth_proxy.errors import StoreEnded
from reauth_proxy.session.tokens import StoredSession


class MemoryStore:
    """A :class:`~reauth_proxy.session.protocols.Store` in memory."""

    def __init__(self) -> None:
        self._session: StoredSession | None = None
        self._lock = asyncio.Lock()

    async def check(self) -> None:
        """Memory can always be written."""

    async def load(self) -> StoredSession | None:
        """Return what was saved last."""
        return self._session

    async def load_backup(self) -> StoredSession | None:
        """There is no second copy."""
        return None

    async def save(self, session: StoredSession, *, over: str | None = None) -> None:
        """Keep the session until the process ends. Raises StoreEnded if what is kept is of another line than `over`."""
        if over is not None and self._session is not None and self._session.line != over:
            raise StoreEnded("somebody signed in or out meanwhile")
        self._session = session

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Hold off other tasks; there are no other processes."""
        return self._lock

    async def confirm(self) -> None:
        """There are no other processes that the lock could pass on to."""

    async def claim(self) -> bool:
        """There are no other processes."""
        return True

    def share(self) -> None:
        """There is nobody to share this with."""

    async def changes(self) -> AsyncGenerator[None, None]:
        """Nobody else puts anything here."""
        await asyncio.get_running_loop().create_future()
        yield

    async def close(self) -> None:
        """There is nothing to release."""
