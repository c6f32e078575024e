"""The ear of a session: it hears at once of what others put into the store, and takes it over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from reauth_proxy.errors import StoreError
from reauth_proxy.session.book import Book
from reauth_proxy.session.calls import where
from reauth_proxy.session.ending import end
from reauth_proxy.session.flight import Flight
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.state import SignedOut
from reauth_proxy.session.tokens import AccessToken, Instant, StoredSession

_log = structlog.get_logger()


class Following:
    """Listens to the store for as long as the session lives. A refresh in flight reads the store itself.

    Args:
        name: of the credential, for the log.
        flight: returns the refresh in flight, if any.
        heard: called once something else is in force; with what those who wait are to be told, None for nothing.
    """

    def __init__(
        self,
        name: str,
        book: Book,
        ledger: Ledger,
        clock: Callable[[], Instant],
        random: Callable[[], float],
        flight: Callable[[], Flight | None],
        heard: Callable[[AccessToken | SignedOut | None], None],
    ) -> None:
        self._name = name
        self._book = book
        self._ledger = ledger
        self._clock = clock
        self._random = random
        self._flight = flight
        self._heard = heard
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._follow(), name=f"following of {self._name}")

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            await end({self._task})

    async def glance(self) -> None:
        """While there is no session: see whether somebody put one into the store."""
        with contextlib.suppress(StoreError):
            self._adopt(await self._ledger.glance(self._clock()))

    async def _follow(self) -> None:
        changes = self._ledger.changes()
        try:
            async for _ in changes:
                self._ledger.stir()
                flight = self._flight()
                if flight is not None:
                    flight.nudge()
                    continue
                with contextlib.suppress(StoreError):
                    self._adopt(await self._ledger.look(ours_is_dead=self._book.refresh_token is None))
        except Exception as error:
            # Refreshes read the store all the same; only an idle session learns of news later.
            _log.error("store.unheard", credential=self._name, **where(error))
        finally:
            await changes.aclose()

    def _adopt(self, news: StoredSession | None) -> None:
        book = self._book
        if news is None or self._flight() is not None:
            return
        gone = book.refresh_token is None
        self._ledger.heard(news)
        verdict = book.adopt(news, self._clock(), self._random())
        who = {"credential": self._name, "generation": book.generation}
        if isinstance(verdict, SignedOut):
            _log.warning("session.signed_out", reason=verdict.reason, adopted=True, **who)
        elif gone and book.refresh_token is not None:
            _log.info("session.resumed", **who)
        elif verdict is not None:
            _log.info("refresh.adopted", **who)
        self._heard(verdict)
