"""The session: hands out tokens, parks requests behind its one refresh, and is the only writer of what it knows."""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Callable

import structlog

from reauth_proxy.errors import LoggedOut, LogoutReason, RefreshTimeout, RefreshUnavailable, TooManyParked
from reauth_proxy.session.book import Book
from reauth_proxy.session.calls import LISTEN_FOR, Calls
from reauth_proxy.session.ending import end
from reauth_proxy.session.flight import Cause, Flight
from reauth_proxy.session.following import Following
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.news import News
from reauth_proxy.session.parking import Full, ParkingLot
from reauth_proxy.session.protocols import Store, TokenEndpoint
from reauth_proxy.session.renewal import Renewal, system_clock
from reauth_proxy.session.schedule import until_renewal
from reauth_proxy.session.state import (
    BackOff,
    Closing,
    Park,
    RefreshPolicy,
    Relay,
    Replay,
    Send,
    SendBare,
    SignedOut,
    State,
    decide_rejected,
    decide_send,
)
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret, TokenReply
from reauth_proxy.session.verdicts import Verdict, draining, logged_out, token_or_raise, unavailable
from reauth_proxy.session.view import View

_log = structlog.get_logger()


class Session(View):
    """One credential's signed-in life.

    The endpoint and the store stay open after :meth:`close`: whoever made them closes them.

    Args:
        name: of the credential, for the log.
        configured: the refresh token of the config file, if any.
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
        clock: Callable[[], Instant] = system_clock,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.name = name
        self._policy = policy
        self._configured = configured
        self._clock = clock
        self._random = random
        self._book = Book(policy=policy)
        self._ledger = Ledger(name, store, random)
        self._calls = Calls(name, endpoint, policy.timeout + LISTEN_FOR)
        self._lot: ParkingLot[Verdict] = ParkingLot(policy.max_parked, policy.park_timeout)
        #: The refresh in flight. Set and cleared with no await in between question and answer.
        self._flight: Flight | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # strong references
        self._renewal = Renewal(self._until_renewal, lambda: self._refresh("renewal"))
        asks = (lambda: self._clock(), random, lambda: self._flight, self._heard)
        self._following = Following(name, self._book, self._ledger, *asks)
        self.news = News(lambda: self.snapshot(self._clock()))
        self._closing = False

    def adjust(self, policy: RefreshPolicy, endpoint: TokenEndpoint) -> list[asyncio.Task[TokenReply]]:
        """Use another policy, and for the next calls another endpoint; return the calls that go on with the old one."""
        self._policy = self._book.policy = policy
        self._lot.adjust(policy.max_parked, policy.park_timeout)
        self._renewal.arm()
        return self._calls.use(endpoint, policy.timeout + LISTEN_FOR)

    async def start(self) -> None:
        """Read the store, choose between the stored and the configured refresh token, begin to renew behind the scenes.

        What is stored wins if it grew from the configured token, or none is configured. Raises StoreError.
        """
        stored = await self._ledger.open()
        self._book.begin(stored, self._configured, self._clock(), self._random())
        self.news.tell()
        self._renewal.arm()
        self._following.start()
        if self._ledger.doubts(self._book.refresh_token):
            self._refresh("interrupted")

    def usable(self) -> AccessToken | None:
        """Return a token that may be sent right now, with no refresh due; None: ask :meth:`token`. Made to be fast."""
        token = self._book.access
        if token is None or token.renew is None:
            return token
        return None if token.renew.reached(self._clock()) else token

    async def token(self, *, fresh: bool = False) -> AccessToken | None:
        """Return the token to send, after the one refresh where none is usable; None: send without Authorization.

        Args:
            fresh: the request cannot be sent twice, so a refresh that is due comes first.

        Raises:
            LoggedOut, RefreshUnavailable, RefreshTimeout, TooManyParked, Draining: the answer to the client.
        """
        if self._book.state in (State.EMPTY, State.SIGNED_OUT):
            await self._following.glance()
        match decide_send(self._book, self._clock(), needs_fresh=fresh):
            case SendBare():
                return None
            case Send(token, refresh):
                if refresh:
                    self._refresh("renewal")
                return token
            case BackOff(retry_after):
                raise unavailable(retry_after, self._policy.on_unavailable)
            case Park(start):
                return await self._fresh(start=start)

    async def replace(self, sent_generation: int) -> AccessToken | None:
        """Return a newer token than the rejected one, after the one refresh; None: relay the rejecting answer as it is.

        Args:
            sent_generation: of the token that was sent; 0 if the request went without one.

        Raises:
            LoggedOut, RefreshUnavailable, RefreshTimeout, TooManyParked, Draining: the answer to the client.
        """
        if self._book.state in (State.EMPTY, State.SIGNED_OUT):
            await self._following.glance()
        match decide_rejected(self._book, self._clock(), self._policy, sent_generation):
            case Replay(token):
                self.stats.late += 1
            case Relay():
                self.stats.relayed += 1
                return None
            case SignedOut(reason):
                raise logged_out(reason)
            case BackOff(retry_after):
                raise unavailable(retry_after, self._policy.on_unavailable)
            case Park(start):
                token = await self._park("rejected", start=start)
        self.stats.replays += 1
        return token

    async def renew(self) -> AccessToken:
        """Refresh now, whatever the present token's age, and return the new one.

        Raises:
            LoggedOut, RefreshUnavailable, RefreshTimeout, TooManyParked, Draining: there is none to be had.
        """
        if self._book.refresh_token is None:
            raise logged_out(self._book.reason)
        return await self._park("asked", start=True)

    async def offer(
        self,
        refresh_token: Secret,
        access_token: Secret | None = None,
        lifetime: float | None = None,
        *,
        configured: bool = False,
    ) -> bool:
        """Put a new refresh token in force, from the config or the control plane; brings a signed-out session back.

        Returns once the store was tried, False if there was nothing new in it.

        Args:
            lifetime: of the access token, in seconds; None where unknown.
            configured: it comes from the config file, whose token the stored one is compared to at the next start.
        """
        book, now = self._book, self._clock()
        if not book.is_news(refresh_token, access_token, configured=configured):
            return False
        token = None
        if access_token is not None:
            token = book.token(Issued(access_token, None, lifetime), now, self._random())
        if configured:
            book.configured = refresh_token.fingerprint()
        self._supersede()
        resumed = book.state not in (State.READY, State.REFRESHING)
        book.offer(refresh_token, token, now)
        if resumed:
            _log.info("session.resumed", **self._who())
        if token is not None:
            self._lot.release(token)
        self._go_on()
        await self._ledger.persist(book.record())
        return True

    async def sign_out(self, reason: LogoutReason = "signed_out") -> tuple[Secret | None, Secret | None]:
        """End the session, with everybody who is parked; return its tokens, refresh and access, after the store."""
        self._supersede()
        ended = self._book.leave(reason)
        _log.warning("session.signed_out", reason=reason, **self._who())
        self._lot.release(SignedOut(reason))
        self._renewal.stop()
        self.news.tell()
        await self._ledger.persist(self._book.record())
        return ended

    async def close(self, grace: float = 10.0) -> None:
        """End every task. Parked requests are told at once; a refresh in flight and its save get `grace` seconds."""
        self._closing = True
        self._renewal.stop()
        self.news.close()
        await self._following.close()
        self._lot.release(Closing())
        if self._flight is not None:
            self._flight.hurry()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=grace)
        finally:
            self._calls.hang_up()
            await end(self._tasks)
        await self._calls.close()
        await self._ledger.close()

    async def _fresh(self, *, start: bool) -> AccessToken:
        """Park for a fresh token; where there is none to be had, the present one will do while it works."""
        try:
            return await self._park("expired", start=start)
        except (LoggedOut, RefreshUnavailable, RefreshTimeout, TooManyParked):
            present = self._book.usable(self._clock())
            if present is None:
                raise
            return present

    async def _park(self, cause: Cause, *, start: bool) -> AccessToken:
        if self._closing:
            raise draining()
        if start:
            self._refresh(cause)
        try:
            verdict = await self._lot.park()
        except Full:
            raise TooManyParked("Too many requests wait for a refresh already.", 1.0) from None
        except TimeoutError:
            raise RefreshTimeout("The refresh goes on, but this request has waited long enough.", 1.0) from None
        return token_or_raise(verdict, self._policy.on_unavailable)

    def _refresh(self, cause: Cause) -> None:
        """Start the one refresh, unless it runs. No await here: two that ask in one turn get one refresh."""
        if self._flight is not None or self._closing:
            return
        self._book.start()
        plan = (self._book, self._ledger, self._calls, self._clock, self._random)
        flight = self._flight = Flight(self.name, cause, *plan, self._settle)
        task = asyncio.create_task(self._fly(flight), name=f"refresh of {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, flight: Flight) -> None:
        try:
            await flight.run()
        finally:
            if self._flight is flight:
                self._flight = None
                if self._book.state is State.REFRESHING:
                    # Cancelled by somebody other than us: nobody may be left waiting, nor the slot wedged.
                    pause = self._book.give_up("the refresh was cancelled", self._clock(), None, 0, listening=False)
                    self._lot.release(BackOff(pause))
            self._go_on()

    def _settle(self, verdict: Verdict) -> None:
        if not self._book.listening:
            self._flight = None
        self._lot.release(verdict)

    def _supersede(self) -> None:
        """The refresh in flight, if any, is for a session that is no more."""
        if self._flight is not None:
            self._flight.supersede()

    def _go_on(self) -> None:
        """Refresh for those who are parked still, such as behind a refresh that was superseded; arm the timer."""
        self.news.tell()
        if self._lot.waiting and self._book.state is State.READY:
            self._refresh("expired")
        self._renewal.arm()

    def _until_renewal(self) -> float | None:
        if not self._policy.background or self._closing or self._flight is not None:
            return None
        return until_renewal(self._book, self._clock())

    def _heard(self, verdict: AccessToken | SignedOut | None) -> None:
        """What somebody else stored is in force now."""
        if verdict is not None:
            self._lot.release(verdict)
        self._go_on()

    def _who(self) -> dict[str, object]:
        return {"credential": self.name, "generation": self._book.generation}
