"""The ear of a session: it hears at once of what others put into the store, and takes it over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog

from reauth_proxy.errors import StoreError
from reauth_proxy.session.book import Book
from reauth_proxy.session.calls import where
from reauth_proxy.session.ending import end
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.records import record
from reauth_proxy.session.refresh import Refresh
from reauth_proxy.session.state import SignedOut
from reauth_proxy.session.tokens import AccessToken, Instant, Secret, StoredSession

_log = structlog.get_logger()

#: Seconds between two looks at the store while there is no session: every request may ask.
LOOK_EVERY: Final = 1.0
#: Seconds that a request may wait for that.
GLANCE: Final = 0.5


class Following:
    """Listens to the store for as long as the session lives. A refresh in flight reads the store itself.

    Args:
        name: of the credential, for the log.
        refresh: returns the refresh in flight, if any.
        supersede: ends it.
        heard: called once something else is in force; with what those who wait are to be told, None for nothing.
        discard: has tokens revoked that nobody else knows of.
    """

    def __init__(
        self,
        name: str,
        book: Book,
        ledger: Ledger,
        clock: Callable[[], Instant],
        random: Callable[[], float],
        refresh: Callable[[], Refresh | None],
        supersede: Callable[[], None],
        heard: Callable[[AccessToken | SignedOut | None], None],
        discard: Callable[[Secret | None, Secret | None], None],
    ) -> None:
        self._name = name
        self._book = book
        self._ledger = ledger
        self._clock = clock
        self._random = random
        self._refresh = refresh
        self._supersede = supersede
        self._heard = heard
        self._discard = discard
        self._task: asyncio.Task[None] | None = None
        self._missed = False
        self._again = False
        self._looked_at: Instant | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._follow(), name=f"following of {self._name}")

    async def close(self) -> None:
        """Listen no more."""
        await end({task for task in (self._task, self._looking) if task is not None})

    async def glance(self) -> None:
        """While there is no session: see whether somebody put one into the store, at most once per second.

        A store that takes its time holds up nobody for long: what it says counts when it comes.
        """
        now = self._clock()
        if self._looked_at is None or self._looked_at.after(LOOK_EVERY).reached(now):
            self._looked_at = now
            await self.hear()

    async def hear(self) -> None:
        """Hear what the store holds now, before a deed changes that. A store that takes its time holds up nobody."""
        if self._looking is None or self._looking.done():
            self.has_news()
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=GLANCE)

    async def _follow(self) -> None:
        changes = self._ledger.changes()
        try:
            async for _ in changes:
                self._ledger.stir()
                refresh = self._refresh()
                if refresh is not None:
                    refresh.nudge(by_the_store=True)
                    self._missed = True
                    await self._look_for_deeds()
                    continue
                await self._look()
        except Exception as error:
            # Refreshes read the store all the same; only an idle session learns of news later.
            _log.error("store.unheard", credential=self._name, **where(error))
        finally:
            await changes.aclose()

    def has_news(self) -> None:
        """Somebody found that the store holds something newer: look at it, when there is time."""
        self._again = True  # One that looks already may have read what was there before.
        if self._looking is not None and not self._looking.done():
            return
        if self._task is not None and not self._task.done():
            self._looking = asyncio.create_task(self._look_until_seen(), name=f"look for {self._name}")

    def catch_up(self) -> None:
        """A refresh is over: look at what came meanwhile."""
        if self._missed:
            self._missed = False
            self.has_news()

    async def _look_until_seen(self) -> None:
        while self._again:
            self._again = False
            await self._look()

    async def _look_for_deeds(self) -> None:
        """While a refresh runs, which reads the store itself: see only whether somebody signed in or out."""
        with contextlib.suppress(StoreError):
            deed = await self._ledger.deed()
            if deed is None or self._refresh() is None or deed.line == record(self._book).line:
                return
            self._supersede()
            self._book.keep()
            self._adopt(deed)

    async def _look(self) -> None:
        with contextlib.suppress(StoreError):
            self._adopt(await self._ledger.look(ours_is_dead=self._book.refresh_token is None))

    def _adopt(self, news: StoredSession | None) -> None:
        """Take over what somebody else stored, unless a refresh runs, which reads the store itself."""
        book = self._book
        if news is None or self._refresh() is not None:
            return
        life, ours, tried = book.life, book.tokens(), book.candidate is not None
        self._ledger.heard(news)
        verdict = book.adopt(news, self._clock(), self._random())
        if isinstance(verdict, SignedOut):
            who = {"credential": self._name, "generation": book.generation}
            _log.warning("session.signed_out", reason=verdict.reason, adopted=True, **who)
            if ours is not None and verdict.reason == "signed_out" and ours[0].fingerprint() not in news.spent:
                self._discard(*ours)  # Whoever signed out did not know of them.
        elif verdict is not None and life == book.life:
            _log.info("refresh.adopted", credential=self._name, generation=book.generation)
        if news.refresh_token is None and (book.refresh_token is not None or tried):
            # Another process was refused with an older token, or by another endpoint; or one that was to be tried is
            # not to come back by itself.
            self._ledger.keep(record(book))
        self._heard(verdict)
