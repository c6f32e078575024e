"""What a session knows. Pure: :class:`~reauth_proxy.session.book.Book` is how that changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from reauth_proxy.session.candidate import Candidate
from reauth_proxy.session.history import History
from reauth_proxy.session.lineage import Lineage
from reauth_proxy.session.schedule import expiry, renewed_before, token_from
from reauth_proxy.session.state import Facts, RefreshPolicy
from reauth_proxy.session.stats import Stats
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret


@dataclass(slots=True)
class Known(Facts):
    """The facts of one session, and what is asked of them.

    Attributes:
        refresh_token: in force; None while EMPTY or SIGNED_OUT.
        lineage: what it and those before it grew from, and what has been refused.
        refused: the refresh token whose refusal ended the session.
        candidate: what is tried before it replaces the session.
        refresh_expires: when the refresh token expires; None where unknown.
        failures: refreshes given up in a row.
        problem: why the last refresh is or was unavailable; None once one worked.
        history: what the token endpoint was asked.
    """

    policy: RefreshPolicy = field(default_factory=RefreshPolicy)
    refresh_token: Secret | None = field(default=None, repr=False)
    lineage: Lineage = field(default_factory=Lineage)
    refused: Secret | None = field(default=None, repr=False)
    candidate: Candidate | None = None
    refresh_expires: Instant | None = None
    failures: int = 0
    problem: str | None = None
    stats: Stats = field(default_factory=Stats)
    history: History = field(default_factory=History)

    def token(self, issued: Issued, now: Instant, jitter: float) -> AccessToken:
        """Return the token of the next generation, without putting it in force."""
        token = token_from(issued, self.generation + 1, now, self.policy, jitter)
        return renewed_before(token, expiry(issued, now), now, self.policy, jitter)

    def tokens(self) -> tuple[Secret, Secret | None] | None:
        """Return the refresh token and the access token in force, None while nobody is signed in."""
        if self.refresh_token is None:
            return None
        return self.refresh_token, None if self.access is None else self.access.value

    def due(self, now: Instant) -> Secret | None:
        """Return the refresh token that a refresh is to use now: first what is to be tried, if its time has come."""
        if self.candidate is not None and self.trial_due(now):
            return self.candidate.refresh_token
        return self.refresh_token

    def trial_due(self, now: Instant) -> bool:
        """Tell whether there is a refresh token to be tried now."""
        return self.has_trial and self.candidate is not None and self.candidate.due(now)

    @property
    def has_trial(self) -> bool:
        """Whether there is a refresh token to be tried, of which no call has said yet what it is worth."""
        return self.candidate is not None and not self.lineage.settled(self.candidate.refresh_token)

    def trying(self, used: Secret) -> bool:
        """Tell whether this refresh token is only tried."""
        return self.candidate is not None and self.candidate.refresh_token == used and used != self.refresh_token
