"""What a session needs from outside, as protocols: a token endpoint and a store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from reauth_proxy.session.tokens import Secret, StoredSession, TokenReply

#: Raises StoreError where a refresh token must not be used any more, though a moment ago it might have been.
Confirm = Callable[[], Awaitable[None]]


class TokenEndpoint(Protocol):
    """One call in, one typed reply out (RFC 6749 section 6, or a hand-made API)."""

    async def refresh(
        self, refresh_token: Secret, access_token: Secret | None, confirm: Confirm | None = None
    ) -> TokenReply:
        """Exchange a refresh token for new tokens.

        Args:
            confirm: awaited just before the request is sent; where it raises StoreError nothing is sent, and that is
                :class:`Unavailable`.

        Never raises for anything that the network or the endpoint does: that is :class:`Unavailable`. Has no time
        limit of its own: the session decides how long to wait and how long to listen. Cancellation is passed on.
        """
        ...

    async def close(self) -> None:
        """Release the connections."""
        ...


class Store(Protocol):
    """Where a session survives a restart."""

    async def check(self) -> None:
        """Raise StoreError, with the mend, if the store could not be written at a rotation."""
        ...

    async def load(self) -> StoredSession | None:
        """Return what was saved last, None if nothing was.

        Raises StoreError; of its kinds, StoreCorrupt if it is no session any more, StoreAway if nobody can tell.
        """
        ...

    async def load_backup(self) -> StoredSession | None:
        """Return the second copy of what was saved, at worst one save behind; None where there is none."""
        ...

    async def save(self, session: StoredSession, *, over: str | None = None) -> None:
        """Return only when the session is on stable storage.

        Whoever does not hold the lock may save, too, and at once, though another process holds it: a sign-in or a
        sign-out waits for nobody's refresh. That refresh names what it follows, and is refused then.

        Args:
            over: the :attr:`~StoredSession.line` that the store must still hold; one that holds nothing, or nothing
                that can be read, takes the session all the same. None: whatever is there is replaced.

        Raises:
            StoreError: of its kinds, StoreSuperseded if this store held the lock, lost it, and somebody else has had
                it; StoreEnded if the store holds another line. Nothing is changed by either.
        """
        ...

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Hold off other processes around "reload, adopt if newer, refresh, save".

        The lock of a process that died or was stopped passes on; what that process saves afterwards is refused. Raises
        StoreBusy if another process holds it for too long, or nobody can tell: nothing may be refreshed then. Raises
        StoreError if there is no locking, as on a disk that broke: the session then goes on without.
        """
        ...

    async def confirm(self) -> None:
        """Raise StoreSuperseded if this store held the lock, and it has passed on; StoreError if nobody can tell."""
        ...

    async def claim(self) -> bool:
        """Return whether no other process that refreshes uses the store; none begins to then, until :meth:`share`.

        For a store that can be neither locked nor read. Where nobody can tell: what it
        returned last, True if nothing.
        """
        ...

    def share(self) -> None:
        """Let others use the store again, after :meth:`claim`."""
        ...

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever the store may hold something that another process put there, as soon as that is known."""
        ...

    async def close(self) -> None:
        """Release what the store holds open."""
        ...
