"""What a request asks its session: which token to send, and what to do after that was rejected."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from reauth_proxy.errors import LoggedOut, RefreshTimeout, RefreshUnavailable, TooManyParked
from reauth_proxy.session.chronicle import Cause
from reauth_proxy.session.following import Following
from reauth_proxy.session.parking import Full
from reauth_proxy.session.state import (
    OUT,
    Attempt,
    BackOff,
    Decision,
    Pause,
    Relay,
    Replay,
    Send,
    SendBare,
    SignedOut,
    Wait,
    decide_send,
    on_rejected,
)
from reauth_proxy.session.tokens import AccessToken
from reauth_proxy.session.verdicts import draining, logged_out, token_or_raise, unavailable
from reauth_proxy.session.view import View


class Requests(View, ABC):
    """The half of a session that requests see; :class:`~reauth_proxy.session.refresher.Session` sets what it asks.

    Attributes:
        accepted: the token that an upstream accepted last; identity is all that the main path compares.
    """

    accepted: AccessToken | None
    _following: Following

    @abstractmethod
    def _refresh(self, cause: Cause) -> None:
        """Start the one refresh, unless it runs."""

    def usable(self) -> AccessToken | None:
        """Return a token that may be sent right now, with no refresh due; None: ask :meth:`token`. Made to be fast."""
        token = self._book.access
        if token is None or token.renew is None:
            return token
        return None if token.renew.reached(self._clock()) else token

    async def token(self, *, fresh: bool = False, life: int = 0) -> AccessToken | None:
        """Return the token to send, after the one refresh where none is usable; None: send without Authorization.

        Args:
            fresh: the request cannot be sent twice, so a refresh that is due comes first.
            life: that the request began in; it gets no token of another one. 0 where there was none.

        Raises:
            LoggedOut, RefreshUnavailable, RefreshTimeout, TooManyParked, Draining: the answer to the client.
        """
        if self._book.state in OUT:
            await self._following.glance()
        if life:
            self._check(life)
        match decide_send(self._book, self._clock(), needs_fresh=fresh):
            case SendBare():
                return None
            case Send(token, refresh):
                if refresh:
                    self._refresh("renewal")
                return token
            case BackOff(retry_after):
                raise unavailable(retry_after, self._policy.on_unavailable)
            case Wait(start):
                return await self._fresh(start=start)

    def rejected(self, sent: Attempt) -> Decision:
        """Decide what follows an upstream's answer that rejected the token which was sent, and take note of it.

        :meth:`newer_token` does what it says; `Relay` asks for nothing.
        """
        decision = on_rejected(self._book, self._clock(), self._policy, sent)
        if not sent.refusing:
            self._book.reject(sent.generation, sent.life)
            self.accepted = None
        self.stats.relayed += isinstance(decision, Relay)
        return decision

    async def newer_token(self, decision: Replay | Wait | Pause | SignedOut | BackOff, life: int) -> AccessToken:
        """Return the token to replay a rejected request with, as :meth:`rejected` decided.

        Args:
            life: that the request belongs to.

        Raises:
            LoggedOut, RefreshUnavailable, RefreshTimeout, TooManyParked, Draining: the answer to the client.
        """
        if not isinstance(decision, SignedOut):
            self._check(life)
        match decision:
            case Replay(token):
                self.stats.late += 1
            case Wait(start):
                token = await self._park("rejected", start=start)
            case Pause(seconds):
                return await self._same(seconds, life)
            case SignedOut(reason):
                raise logged_out(reason)
            case BackOff(retry_after):
                raise unavailable(retry_after, self._policy.on_unavailable)
        self.stats.replays += 1
        return token

    def accept(self, token: AccessToken) -> None:
        """An upstream accepted this token."""
        self._book.accept(token.generation)
        self.accepted = token

    def _check(self, life: int) -> None:
        """Raise LoggedOut if the life of that number is over."""
        if life != self._book.life:
            raise logged_out("signed_out" if self._book.life else self._book.reason)

    async def _same(self, seconds: float, life: int) -> AccessToken:
        """Wait, and return the token that there is then, if its life lasts."""
        await asyncio.sleep(seconds)
        self._check(life)
        token = await self.token(life=life)
        if token is None:
            raise logged_out(self._book.reason)
        return token

    async def _fresh(self, *, start: bool) -> AccessToken:
        """Park for a fresh token; where there is none to be had, the present one will do while it works."""
        life = self._book.life
        try:
            return await self._park("expired", start=start)
        except (LoggedOut, RefreshUnavailable, RefreshTimeout, TooManyParked):
            present = self._book.usable(self._clock())
            if present is None or life != self._book.life:
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
