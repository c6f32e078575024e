"""What a session knows, and every way in which that changes. No I/O and no asyncio: plain method calls.

A *life* begins with a sign-in and ends with a sign-out or with another sign-in. It is named after the refresh token
that it began with, so that processes that share a store agree on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from reauth_proxy.errors import LogoutReason
from reauth_proxy.session.candidate import Candidate
from reauth_proxy.session.known import Known
from reauth_proxy.session.schedule import cool_off, expiry, moment, stored_token
from reauth_proxy.session.state import IN_FLIGHT, OUT, Event, SignedOut, State, advance
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret, StoredSession


@dataclass(slots=True)
class Book(Known):
    """The facts of one session; each method is one event of the state machine, checked against its table first."""

    _lives: int = 0

    def begin(self, stored: StoredSession | None, configured: Secret | None, now: Instant, jitter: float) -> None:
        """Choose what to begin with: what is stored, if there is a session; then the configured token is tried first.

        A configured token is no news if the stored session knows it: as what it or a session before it grew from.
        """
        if stored is not None:
            self.lineage.learn(stored)
            if stored.refresh_token is not None:
                self._take(stored, stored.refresh_token, now, jitter)
            elif stored.signed_out == "refresh_denied":
                self.state, self.reason, self.refused = State.SIGNED_OUT, "refresh_denied", stored.refused
                self.revive()
            else:
                self.state, self.reason = State.SIGNED_OUT, "signed_out"  # a text from a store may be anything
            self.generation = max(self.generation, stored.generation)
        if configured is not None:
            self.configure(configured, now)

    def configure(self, refresh_token: Secret, now: Instant) -> bool:
        """A refresh token turned up in the configuration; tell whether it is news.

        Where there is a session it is only tried: what works goes on until the new one has been issued against.
        """
        if self.candidate is not None and self.candidate.origin == refresh_token:
            return False
        self.candidate = None
        if refresh_token == self.refresh_token:
            self.lineage.configure(refresh_token)
            return False
        if self.lineage.knows(refresh_token) or self.lineage.refused(refresh_token):
            return False
        if self.state in OUT:
            self.lineage.configure(refresh_token)
            self._sign_in(refresh_token, None)
        else:
            self.candidate = Candidate(refresh_token, refresh_token)
            self.hurry()
        return True

    def sign_in(self, refresh_token: Secret, token: AccessToken | None, now: Instant) -> bool:
        """Somebody brought a refresh token: a login, a capture, the control plane. It begins a new life at once.

        The refresh token in force goes on in its life, with the access token that came along. One that this life has
        used up changes nothing. Returns whether anything has changed.
        """
        if self.state not in OUT:
            if refresh_token == self.refresh_token:
                return self._go_on(refresh_token, token, now)
            if self.lineage.has_spent(refresh_token):
                return False
        if self.candidate is not None:
            self.lineage.configure(self.candidate.origin)  # It is not to take over from this at the next start.
        self._sign_in(refresh_token, token, now)
        return True

    def revive(self) -> bool:
        """Try the refused refresh token again, if the token endpoint's configuration is another one now."""
        if self.state in OUT and self.refused is not None and not self.lineage.refused(self.refused):
            self._sign_in(self.refused, None, known=True)
            return True
        return False

    def adopt(self, news: StoredSession, now: Instant, jitter: float) -> AccessToken | SignedOut | None:
        """Take over what another process stored; return what that means for those who wait, None if nothing yet."""
        if news.refresh_token is None:
            return self._adopt_the_end(news)
        if self.state in OUT and self.lineage.same_denial(news, news.refresh_token):
            return None  # Others may ask by another configuration; here it has been refused.
        same = self.state not in OUT and news.life == self.lineage.life
        another = news.refresh_token != self.refresh_token
        if same and another and self.lineage.has_spent(news.refresh_token):
            return None
        ours_spent = self.lineage.spent
        self.lineage.learn(news)
        if self.candidate is not None and self.lineage.settled(self.candidate.refresh_token):
            self.candidate = None
        if not same:
            self._end_life("signed_out")
            self._take(news, news.refresh_token, now, jitter)
            return self.access
        self.lineage.also_spent(ours_spent, self.refresh_token if another else None)
        token = stored_token(self, news, now, jitter)
        if token is None:
            self.refresh_token = news.refresh_token
            return None
        self.state = advance(self.state, Event.OFFERED)
        self._in_force(token, news.refresh_token, now)
        self.born_at = now
        self.refresh_expires = moment(news.refresh_expires_at, now)
        self.stats.adopted += 1
        return self.access

    def start(self) -> None:
        """A refresh starts."""
        self.state = advance(self.state, Event.STARTED)
        self.cooling_until = None

    def issue(
        self, issued: Issued, token: AccessToken, used: Secret, now: Instant, *, tried: bool, asked: bool
    ) -> AccessToken:
        """Put newly issued tokens in force, and return the access token.

        Args:
            token: as :meth:`token` made it.
            used: the refresh token that was sent.
            tried: it was not the session's, and begins a new life.
            asked: a rejected answer asked for this refresh, which `min_interval` counts.
        """
        self.state = advance(self.state, Event.ISSUED)
        self.lineage = self.lineage.after(issued, used, tried=tried)
        if tried:
            self.candidate = None
            self._end_life("signed_out")
        # Somebody may have brought an access token meanwhile.
        token = token.of_generation(max(token.generation, self.generation + 1))
        self._in_force(token, issued.refresh_token or used, now)
        self.born_at, self.refresh_expires = now, expiry(issued, now)
        self.stats.issued += 1
        if asked:
            self.asked_at = now
        assert self.access is not None
        return self.access

    def hold(self, refresh_token: Secret, used: Secret) -> None:
        """Go on with a refresh token that came in an answer which is of no other use."""
        if used == self.refresh_token:
            self.lineage = self.lineage.after(Issued(refresh_token, refresh_token, None), used, tried=False)
            self.refresh_token = refresh_token
        else:
            self.lineage.configure(used)
            if self.candidate is not None and self.candidate.refresh_token == used:
                self.candidate = Candidate(refresh_token, self.candidate.origin)

    def refuse(self, used: Secret, endpoint: str) -> None:
        """A refresh token that was only tried was refused.

        Args:
            endpoint: fingerprint of the configuration that it was refused by.
        """
        self.lineage.refuse(used, endpoint)
        if self.trying(used) and endpoint == self.lineage.endpoint:
            self.candidate = None

    def withdraw(self, used: Secret) -> None:
        """Tokens were issued for a refresh token that nobody wants any more: the session goes on without them."""
        self.lineage.use_up(used)

    def keep(self) -> None:
        """The refresh that tried a token is over; the session goes on."""
        self.state = advance(self.state, Event.KEPT)
        self.cooling_until = None

    def deny(self, refresh_token: Secret) -> None:
        """The token endpoint refused the refresh token in force. One that was to be tried takes its place."""
        candidate = self.candidate if self.has_trial else None
        self.state = advance(self.state, Event.DENIED)
        self.lineage.refuse(refresh_token, self.lineage.endpoint)
        self._end("refresh_denied")
        self.refused = refresh_token
        if candidate is not None:
            self._sign_in(candidate.refresh_token, None)

    def leave(self, reason: LogoutReason) -> tuple[Secret | None, Secret | None]:
        """Somebody signed out; return the refresh and the access token that were in force, or were refused."""
        ended = (self.refresh_token or self.refused, None if self.access is None else self.access.value)
        self.state = advance(self.state, Event.LEFT)
        if self.refresh_token is not None:
            self.lineage.end(self.refresh_token)  # So that others know which one is being revoked.
        if self.candidate is not None:
            self.lineage.configure(self.candidate.refresh_token)  # It is not to come back by itself.
        self._end(reason)
        self.refused = None
        return ended

    def tell(self, problem: str, now: Instant, retry_after: float | None, jitter: float) -> float:
        """Those who wait are told that it is unavailable, while the call goes on; return the seconds of cool-off."""
        self.state = advance(self.state, Event.TOLD)
        self.failures += 1
        return self._cool(problem, now, retry_after, jitter)

    def give_up(self, problem: str, now: Instant, retry_after: float | None, jitter: float) -> float:
        """A refresh is given up; return the seconds of cool-off."""
        counted = self.state is State.LISTENING
        self.state = advance(self.state, Event.GAVE_UP)
        self.failures += not counted
        return self._cool(problem, now, retry_after, jitter)

    def hurry(self) -> None:
        """The configuration has changed: what was unavailable may be tried at once."""
        self.failures = 0
        if self.state is State.COOLING:
            self.cooling_until = None
        if self.candidate is not None:
            self.candidate.hurry()

    def accept(self, generation: int) -> None:
        """An upstream accepted a token."""
        if generation == self.generation:
            self.proven, self.rejected = True, False

    def reject(self, generation: int, life: int) -> None:
        """An upstream rejected a token."""
        if generation == self.generation and life == self.life:
            self.rejected = True

    # The steps of which these events are made.

    def _sign_in(
        self, refresh_token: Secret, token: AccessToken | None, now: Instant | None = None, *, known: bool = False
    ) -> None:
        self._end_life("signed_out")
        self.state = advance(self.state, Event.OFFERED)
        if not known:
            self.lineage.begin(refresh_token)
        self.candidate = self.refused = None
        self._renew_life()
        self.refresh_token, self.access, self.refresh_expires = refresh_token, None, None
        if token is not None and now is not None:
            self._in_force(token, refresh_token, now)
        self._mended()

    def _take(self, stored: StoredSession, refresh_token: Secret, now: Instant, jitter: float) -> None:
        """Begin a life with what a store holds."""
        self.state = advance(self.state, Event.OFFERED)
        self.candidate = self.refused = None
        self._renew_life()
        self.refresh_token, self.refresh_expires = refresh_token, moment(stored.refresh_expires_at, now)
        token = stored_token(self, stored, now, jitter)
        if token is not None:
            self._in_force(token, refresh_token, now)
        self.generation = max(self.generation, stored.generation)
        self._mended()

    def _go_on(self, refresh_token: Secret, token: AccessToken | None, now: Instant) -> bool:
        """The refresh token in force was brought once more."""
        known = self.access.value if self.access is not None else None
        if token is None or token.value == known:
            if self.state is not State.COOLING:
                return False
            self.state = advance(self.state, Event.OFFERED)
            self._mended()
            return True
        self.state = self.state if self.state in IN_FLIGHT else advance(self.state, Event.OFFERED)
        self._in_force(token, refresh_token, now)
        return True

    def _adopt_the_end(self, news: StoredSession) -> SignedOut | None:
        out = self.state in OUT
        if news.signed_out != "refresh_denied":
            self.lineage.learn(news)
            if not out:
                self.leave("signed_out")
                return SignedOut("signed_out")
            if self.state is State.SIGNED_OUT:
                self.reason, self.refused = "signed_out", None  # Another configuration is not to bring it back.
            return None
        if not out and news.life == self.lineage.life:
            return self._adopt_a_denial(news)
        # A life that came after ours was refused before we heard of it; perhaps not by our configuration.
        self.lineage.learn(news)
        if not out:
            self.state = advance(self.state, Event.DENIED)
            self._end("refresh_denied")
        if self.state is State.SIGNED_OUT:
            self.reason, self.refused = "refresh_denied", news.refused
        return None if self.revive() or out else SignedOut("refresh_denied")

    def _adopt_a_denial(self, news: StoredSession) -> SignedOut | None:
        refused = self.refresh_token
        if refused is not None and news.refused is not None and refused.fingerprint() in news.spent:
            refused = self.refresh_token = news.refused  # It came after ours, which was used up for it.
        elif refused is None or not self.lineage.same_denial(news, refused):
            self.lineage.heed(news)
            return None
        self.lineage.learn(news)
        if not self.lineage.refused(refused):
            return None  # But by another configuration.
        self.deny(refused)
        return SignedOut("refresh_denied")

    def _renew_life(self) -> None:
        self._lives += 1
        self.life = self._lives
        self.access = self.issued_at = self.born_at = self.asked_at = None
        self.proven = self.rejected = False

    def _end_life(self, reason: LogoutReason) -> None:
        """The life that there is ends, for another one to begin."""
        if self.life:
            self.stats.logouts += 1
            self.stats.ended[reason] = self.stats.ended.get(reason, 0) + 1
            self._renew_life()

    def _end(self, reason: LogoutReason) -> None:
        self._end_life(reason)
        self.life = 0
        self.refresh_token = self.access = self.candidate = self.refresh_expires = None
        self._mended()
        self.reason = reason

    def _in_force(self, token: AccessToken, refresh_token: Secret, now: Instant) -> None:
        self.access = token.in_life(self.life)
        self.refresh_token, self.generation, self.issued_at = refresh_token, token.generation, now
        self.born_at, self.proven, self.rejected = None, False, False
        self._mended()

    def _mended(self) -> None:
        self.failures, self.problem = 0, None
        if self.state not in IN_FLIGHT:
            self.cooling_until = None
        self.reason = "no_session"

    def _cool(self, problem: str, now: Instant, retry_after: float | None, jitter: float) -> float:
        pause = cool_off(self.failures, retry_after, jitter)
        self.cooling_until, self.problem = now.after(pause), problem
        return pause
