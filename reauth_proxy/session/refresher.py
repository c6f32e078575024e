"""The session: hands out tokens, parks requests behind its one refresh, and is the only writer of what it knows."""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Callable, Coroutine
from typing import Final

import structlog

from reauth_proxy.errors import LogoutReason
from reauth_proxy.session.book import Book
from reauth_proxy.session.calls import LISTEN_FOR, Calls
from reauth_proxy.session.chronicle import Cause
from reauth_proxy.session.ending import end
from reauth_proxy.session.following import Following
from reauth_proxy.session.late import Late
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.lineage import Lineage
from reauth_proxy.session.news import News
from reauth_proxy.session.parking import ParkingLot
from reauth_proxy.session.protocols import Store, TokenEndpoint
from reauth_proxy.session.records import record
from reauth_proxy.session.refresh import Refresh
from reauth_proxy.session.renewal import Renewal, system_clock
from reauth_proxy.session.requests import Requests
from reauth_proxy.session.schedule import until_renewal, until_trial
from reauth_proxy.session.state import (
    IN_FLIGHT,
    BackOff,
    Closing,
    RefreshPolicy,
    SignedOut,
    State,
)
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret, TokenReply, Unavailable
from reauth_proxy.session.verdicts import Verdict, logged_out

_log = structlog.get_logger()


class Session(Requests):
    """One credential's signed-in life.

    The endpoint and the store stay open after :meth:`close`: whoever made them closes them.

    Args:
        name: of the credential, for the log.
        configured: the refresh token of the config file, if any.
        endpoint_id: fingerprint of the token endpoint's configuration, which a denial belongs to.
        discard: has tokens revoked that a call brought after its session had ended.
        clock: gives the present moment.
        random: gives jitter from [0, 1).
    """

    def __init__(
        self,
        name: str,
        endpoint: TokenEndpoint,
        store: Store,
        policy: RefreshPolicy,
        *,
        configured: Secret | None = None,
        endpoint_id: str = "",
        discard: Callable[[Secret | None, Secret | None], None] = lambda refresh_token, access_token: None,
        clock: Callable[[], Instant] = system_clock,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.name = name
        self._policy = policy
        self._configured = configured
        self._discard = discard
        self._clock = clock
        self._random = random
        self._book = Book(policy=policy, lineage=Lineage(endpoint_id))
        self._ledger = Ledger(name, store, random, lambda: self._following.has_news())
        self._calls = Calls(name, endpoint, policy.timeout + LISTEN_FOR, endpoint_id)
        self._lot: ParkingLot[Verdict] = ParkingLot(policy.max_parked, policy.park_timeout)
        #: The life of those who are parked.
        self._life = 0
        #: The refresh in flight. Set and cleared with no await in between question and answer.
        self._in_flight: Refresh | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # strong references
        self._renewal = Renewal(self._until_renewal, self._renew)
        parts = (self._book, self._ledger, self._calls)
        self._late = Late(name, *parts, lambda: self._in_flight, lambda: self._refresh("renewal"), discard)
        asks = (lambda: self._clock(), random, lambda: self._in_flight)
        tells = (self._supersede, self._heard, discard)
        self._following = Following(name, self._book, self._ledger, *asks, *tells)
        self.news = News(lambda: self.snapshot(self._clock()), lambda: self._book.life)
        self._closing = False
        #: The token that was accepted last; identity is all that the main path compares.
        self.accepted: AccessToken | None = None

    def adjust(
        self, policy: RefreshPolicy, endpoint: TokenEndpoint, endpoint_id: str = ""
    ) -> list[asyncio.Task[TokenReply]]:
        """Use another policy, and for the next calls another endpoint; return the calls that go on with the old one.

        Where the endpoint's configuration is another one, what it refused or could not do before counts no more.
        """
        self._policy = self._book.policy = policy
        self._lot.adjust(policy.max_parked, policy.park_timeout)
        if endpoint_id != self._book.lineage.endpoint:
            self._book.lineage.endpoint = endpoint_id
            self._book.hurry()
            # What was configured may have been refused only because of the configuration before.
            revived = self._book.revive()
            if (self._configured and self._book.configure(self._configured, self._clock())) or revived:
                self._told()
            if self._in_flight is not None:
                self._in_flight.nudge(by_the_store=False)
        self._renewal.arm()
        return self._calls.use(endpoint, policy.timeout + LISTEN_FOR, endpoint_id)

    async def start(self) -> None:
        """Read the store, choose between the stored and the configured refresh token, begin to renew behind the scenes.

        What is stored goes on; a configured refresh token that it does not know is tried first. Raises StoreError.
        """
        stored = await self._ledger.open()
        self._book.begin(stored, self._configured, self._clock(), self._random())
        self._life = self._book.life
        self.news.tell()
        self._renewal.arm()
        self._following.start()
        if self._ledger.marked.doubts(self._book.refresh_token) and not self.rests:
            self._refresh("interrupted")

    async def renew(self) -> AccessToken:
        """Refresh now, whatever the present token's age, and return the new one.

        Raises:
            LoggedOut, RefreshUnavailable, RefreshTimeout, TooManyParked, Draining: there is none to be had.
        """
        if self._book.refresh_token is None:
            raise logged_out(self._book.reason)
        return await self._park("asked", start=True)

    async def sign_in(
        self, refresh_token: Secret, access_token: Secret | None = None, lifetime: float | None = None
    ) -> bool:
        """Begin a life with a refresh token that somebody brought: a login, a capture, the control plane.

        Returns once the store was tried, False if nothing has changed: the token is in force, or used up by this life.

        Args:
            lifetime: of the access token, in seconds; None where unknown.
        """
        await self._following.hear()
        book, now = self._book, self._clock()
        token = None
        if access_token is not None:
            token = book.token(Issued(access_token, None, lifetime), now, self._random())
        life, rested = book.life, self.rests and refresh_token == book.refresh_token
        if not book.sign_in(refresh_token, token, now) and not rested:
            if book.refresh_token != refresh_token:
                _log.warning("session.kept", detail=_SPENT, **self._who())
            return False
        another = book.life != life
        if another:
            self._supersede()
        self._told(book.access if token is not None else None)
        self._go_on()
        if another:
            await self._ledger.persist(record(book))
        elif self._in_flight is None:
            if rested:
                await self._ledger.unmark(record(book))  # Somebody wants it tried again.
                self._renewal.arm()
            self._ledger.keep(record(book))  # Else the refresh that runs saves what comes of it.
        return True

    async def configure(self, refresh_token: Secret) -> bool:
        """Take note of a refresh token that turned up in the configuration; return whether it is news.

        Where there is a session, it is tried behind the scenes, and takes its place once it has been issued against.
        """
        self._configured = refresh_token
        await self._following.hear()
        life = self._book.life
        if not self._book.configure(refresh_token, self._clock()):
            return False
        self._told()
        self._go_on()
        if self._book.life != life and self._in_flight is None:
            self._ledger.keep(record(self._book))  # Nobody's deed: somebody may have signed in elsewhere.
        return True

    async def sign_out(self, reason: LogoutReason = "signed_out") -> tuple[Secret | None, Secret | None]:
        """End the session, with everybody who is parked; return its tokens, refresh and access, after the store.

        What a call that runs still brings goes to `discard`.
        """
        await self._following.hear()
        self._supersede()
        ended = self._book.leave(reason)
        self._late.see_off(ended=True)
        _log.warning("session.signed_out", reason=reason, **self._who())
        self._told(SignedOut(reason))
        self._renewal.stop()
        await self._ledger.persist(record(self._book))
        return ended

    async def close(self, grace: float = 10.0) -> None:
        """End every task. Parked requests are told at once; a refresh in flight and its save get `grace` seconds."""
        self._closing = True
        self._renewal.stop()
        self.news.close()
        await self._following.close()
        self._lot.release(Closing())
        if self._in_flight is not None:
            self._in_flight.hurry()
        try:
            if tasks := self._tasks | self._late.tasks:
                await asyncio.wait(tasks, timeout=grace)
        finally:
            self._calls.hang_up()
            await end(self._tasks | self._late.tasks)
        await self._calls.close()
        self._save_what_came()
        await self._ledger.close()

    def _save_what_came(self) -> None:
        """No refresh could heed it any more, for want of the lock: the next process must not ask for it again."""
        book, now, used = self._book, self._clock(), self._book.refresh_token
        brought = self._calls.brought(used)
        if used is None:
            return
        if isinstance(brought, Issued):
            if book.state not in IN_FLIGHT:
                book.start()
            book.issue(brought, book.token(brought, now, self._random()), used, now, tried=False, asked=False)
            self._ledger.keep(record(book))
        elif isinstance(brought, Unavailable) and brought.refresh_token is not None:
            book.hold(brought.refresh_token, used)
            self._ledger.keep(record(book))

    def _refresh(self, cause: Cause) -> None:
        """Start the one refresh, unless it runs. No await here: two that ask in one turn get one refresh."""
        if self._in_flight is not None or self._closing:
            return
        self._book.start()
        plan = (self._book, self._ledger, self._calls, self._clock, self._random)
        refresh = self._in_flight = Refresh(self.name, cause, *plan, self._settle)
        self._keep_task(self._run(refresh), f"refresh of {self.name}")

    def _keep_task(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, refresh: Refresh) -> None:
        try:
            await refresh.run()
        finally:
            if self._in_flight is refresh:
                self._in_flight = None
                if self._book.state in IN_FLIGHT:
                    # Cancelled by somebody other than us: nobody may be left waiting, nor the slot wedged.
                    pause = self._book.give_up("the refresh was cancelled", self._clock(), None, 0)
                    self._told(BackOff(pause))
            if refresh.leftover is not None and refresh.leftover[0] != self._book.refresh_token:
                self._discard(*refresh.leftover)
            self._following.catch_up()
            self._go_on()

    def _settle(self, verdict: Verdict | None) -> None:
        if self._book.state is not State.LISTENING:
            self._in_flight = None
        self._told(verdict)

    def _told(self, verdict: Verdict | None = None) -> None:
        """Tell those who are parked, and whoever listens, what the session is now.

        Who parked in a life that has ended is told so, whatever the verdict is for the new one.
        """
        if self._life != self._book.life:
            before, self._life = self._life, self._book.life
            self._lot.release(verdict if isinstance(verdict, SignedOut) else SignedOut("signed_out"))
            if before and self._life and not isinstance(verdict, SignedOut):
                _log.warning("session.signed_out", reason="signed_out", detail=_REPLACED, **self._who())
            if self._life:
                _log.info("session.resumed", **self._who())
        elif verdict is not None:
            self._lot.release(verdict)
        self.news.tell()

    def _supersede(self) -> None:
        """The refresh in flight, if any, is for a session that is no more."""
        if self._in_flight is not None:
            self._in_flight.supersede()
            self._in_flight = None
            self._late.see_off(ended=False)

    def _go_on(self) -> None:
        """Refresh for those who are parked still, such as behind a refresh that was superseded; arm the timer."""
        self.news.tell()
        if self._book.state is State.READY and self._lot.waiting:
            self._refresh("expired")
        elif self._book.state is State.READY and self._calls.has(self._book.refresh_token):
            self._refresh("renewal")  # Somebody brought what a call is using up: what that brings belongs to it.
        self._renewal.arm()

    def _until_renewal(self) -> float | None:
        if self._closing or self._in_flight is not None:
            return None
        now = self._clock()
        background = self._policy.background and not self.rests
        waits = [until_trial(self._book, now), until_renewal(self._book, now) if background else None]
        return min((wait for wait in waits if wait is not None), default=None)

    def _renew(self) -> None:
        self._refresh("configured" if self._book.trial_due(self._clock()) else "renewal")

    def _heard(self, verdict: AccessToken | SignedOut | None) -> None:
        """What somebody else stored is in force now."""
        if verdict == SignedOut("signed_out"):
            self._late.see_off(ended=True)
        self._told(verdict)
        self._go_on()

    def _who(self) -> dict[str, object]:
        return {"credential": self.name, "generation": self._book.generation}


_SPENT: Final = "this refresh token has been used up: the session that grew from it goes on"
_REPLACED: Final = "another sign-in has taken its place"
