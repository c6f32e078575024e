"""What a session knows, and every way in which that changes. No I/O and no asyncio: plain method calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from reauth_proxy.errors import LogoutReason
from reauth_proxy.session.history import History
from reauth_proxy.session.schedule import cool_off, token_from
from reauth_proxy.session.state import Event, Facts, RefreshPolicy, SignedOut, State, advance
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret, StoredSession


@dataclass(slots=True)
class Stats:
    """Plain counters of a session's life in this process.

    Attributes:
        issued, denied, unavailable: calls to the token endpoint by their outcome; a timed-out one is unavailable.
        adopted: refreshes that another process, through the store, made unnecessary.
        replays: rejected answers that got a newer token.
        late: those of them for which the newer token was at hand already.
        relayed: rejected answers passed on because a refresh has only just been asked for.
        logouts: how often the session ended.
        ended: the same, by reason.
    """

    issued: int = 0
    denied: int = 0
    unavailable: int = 0
    adopted: int = 0
    replays: int = 0
    late: int = 0
    relayed: int = 0
    logouts: int = 0
    ended: dict[LogoutReason, int] = field(default_factory=dict)


@dataclass(slots=True)
class Book(Facts):
    """The facts of one session; each method is one event of the state machine, checked against its table first.

    Attributes:
        refresh_token: in force; None while EMPTY or SIGNED_OUT.
        denied: the refresh token that was refused last; never tried again.
        configured: fingerprint of the configured refresh token that this session grew from.
        failures: refreshes given up in a row.
        problem: why the last refresh was given up; None once one worked.
        history: what the token endpoint was asked.
    """

    policy: RefreshPolicy = field(default_factory=RefreshPolicy)
    refresh_token: Secret | None = field(default=None, repr=False)
    denied: Secret | None = field(default=None, repr=False)
    configured: str | None = None
    failures: int = 0
    problem: str | None = None
    stats: Stats = field(default_factory=Stats)
    history: History = field(default_factory=History)

    def token(self, issued: Issued, now: Instant, jitter: float) -> AccessToken:
        """Return the token of the next generation, without putting it in force."""
        return token_from(issued, self.generation + 1, now, self.policy, jitter)

    def begin(self, stored: StoredSession | None, configured: Secret | None, now: Instant, jitter: float) -> None:
        """Choose what to begin with: what is stored, if it grew from the configured token or none is configured."""
        self.configured = configured.fingerprint() if configured is not None else None
        grown = stored is not None and (configured is None or stored.configured == self.configured)
        if stored is not None and grown and stored.refresh_token is not None:
            self.take(stored, stored.refresh_token, now, jitter)
        elif stored is not None and grown and stored.signed_out is not None:
            # A text from a store may be anything.
            self.leave("refresh_denied" if stored.signed_out == "refresh_denied" else "signed_out")
        elif configured is not None:
            self.offer(configured, None, now)
        self.generation = max(self.generation, stored.generation if stored is not None else 0)

    def take(self, stored: StoredSession, refresh_token: Secret, now: Instant, jitter: float) -> None:
        """Go on with what the store holds."""
        self.configured = stored.configured or self.configured
        self.offer(refresh_token, self.token_of(stored, now, jitter), now)

    def adopt(self, news: StoredSession, now: Instant, jitter: float) -> AccessToken | SignedOut | None:
        """Take over what another process stored; return what that means for those who wait, None if nothing yet."""
        if news.refresh_token is None:
            if news.signed_out == "signed_out" and self.state is not State.SIGNED_OUT:
                self.leave("signed_out")
                return SignedOut("signed_out")
            if self.refresh_token is not None and news.denied == self.refresh_token.fingerprint():
                self.deny(self.refresh_token)
                return SignedOut("refresh_denied")
            return None
        if news.refresh_token == self.denied:
            return None
        self.configured = news.configured or self.configured
        token = self.token_of(news, now, jitter)
        if token is None and self.refresh_token is not None:
            self.refresh_token = news.refresh_token
            return None
        self.offer(news.refresh_token, token, now)
        if token is not None:
            self.stats.adopted += 1
        return token

    def start(self) -> None:
        """A refresh starts."""
        self.state = advance(self.state, Event.STARTED)
        self.cooling_until = None

    def issue(self, token: AccessToken, refresh_token: Secret, now: Instant, *, asked: bool) -> None:
        """Put newly issued tokens in force.

        Args:
            asked: a rejected answer asked for this refresh, which `min_interval` counts.
        """
        self.state = advance(self.state, Event.ISSUED)
        self._in_force(token, refresh_token, now)
        self.stats.issued += 1
        if asked:
            self.asked_at = now

    def offer(self, refresh_token: Secret, token: AccessToken | None, now: Instant) -> None:
        """Put tokens from outside in force; without an access token the present one, of another session, goes."""
        self.state = advance(self.state, Event.OFFERED)
        self.asked_at = self.denied = None
        if token is None:
            self.refresh_token, self.access, self.issued_at = refresh_token, None, None
            self._mended()
        else:
            self._in_force(token, refresh_token, now)

    def is_news(self, refresh_token: Secret, access_token: Secret | None, *, configured: bool) -> bool:
        """Tell whether an offer brings anything: not the token in use, nor the refused one, nor an unchanged config."""
        if refresh_token == self.denied or (configured and refresh_token.fingerprint() == self.configured):
            return False
        known = self.access.value if self.access is not None else None
        return refresh_token != self.refresh_token or (access_token is not None and access_token != known)

    def deny(self, refresh_token: Secret) -> None:
        """The token endpoint refused this refresh token."""
        self.state = advance(self.state, Event.DENIED)
        self.denied = refresh_token
        self._end("refresh_denied")

    def leave(self, reason: LogoutReason) -> tuple[Secret | None, Secret | None]:
        """Somebody signed out; return the refresh and the access token that were in force."""
        ended = (self.refresh_token, None if self.access is None else self.access.value)
        self.state = advance(self.state, Event.LEFT)
        self._end(reason)
        return ended

    def give_up(
        self, problem: str, now: Instant, retry_after: float | None, jitter: float, *, listening: bool
    ) -> float:
        """A refresh is given up; return the seconds of cool-off.

        Args:
            listening: its last call still runs, and what it answers still counts.
        """
        self.state = advance(self.state, Event.GAVE_UP)
        if not self.listening:
            self.failures += 1
        pause = cool_off(self.failures, retry_after, jitter)
        self.cooling_until, self.listening, self.problem = now.after(pause), listening, problem
        return pause

    def record(self) -> StoredSession:
        """Return what a store is to keep of the present facts."""
        if self.refresh_token is None:
            denied = self.denied.fingerprint() if self.denied is not None else None
            return StoredSession(None, None, None, self.generation, self.configured, self.reason, denied)
        return self.record_with(self.access, self.refresh_token)

    def record_with(self, token: AccessToken | None, refresh_token: Secret) -> StoredSession:
        """Return what a store is to keep once these tokens are in force."""
        if token is None:
            return StoredSession(refresh_token, generation=self.generation, configured=self.configured)
        expires_at = token.expires.wall if token.expires is not None else None
        return StoredSession(refresh_token, token.value, expires_at, token.generation, self.configured)

    def token_of(self, record: StoredSession, now: Instant, jitter: float) -> AccessToken | None:
        """Return a stored access token with a generation newer than ours, None if it has expired or is ours."""
        if record.access_token is None or (self.access is not None and self.access.value == record.access_token):
            return None
        lifetime = None if record.expires_at is None else record.expires_at - now.wall
        if lifetime is not None and lifetime <= 0:
            return None
        generation = max(record.generation, self.generation + 1)
        return token_from(Issued(record.access_token, None, lifetime), generation, now, self.policy, jitter)

    def _in_force(self, token: AccessToken, refresh_token: Secret, now: Instant) -> None:
        self.refresh_token, self.access, self.generation, self.issued_at = refresh_token, token, token.generation, now
        self._mended()

    def _mended(self) -> None:
        self.failures, self.problem, self.cooling_until, self.listening = 0, None, None, False
        self.reason = "no_session"

    def _end(self, reason: LogoutReason) -> None:
        self.stats.logouts += 1
        self.stats.ended[reason] = self.stats.ended.get(reason, 0) + 1
        self.refresh_token = self.access = None
        self._mended()
        self.reason = reason
