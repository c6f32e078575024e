"""The ear of a session: it hears at once of what others put into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from reauth_proxy.session.calls import where
from reauth_proxy.session.ledger import Ledger

_log = structlog.get_logger()


class Following:
    """Listens to the store for as long as the session lives.

    Args:
        name: of the credential, for the log.
        heed: looks what is new.
    """

    def __init__(self, name: str, ledger: Ledger, heed: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._ledger = ledger
        self._heed = heed
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._follow(), name=f"following of {self._name}")

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _follow(self) -> None:
        changes = self._ledger.changes()
        try:
            async for _ in changes:
                self._ledger.stir()
                await self._heed()
        except Exception as error:
            # Refreshes read the store all the same; only idle sessions learn of news later.
            _log.error("store.unheard", credential=self._name, **where(error))
        finally:
            await changes.aclose()
