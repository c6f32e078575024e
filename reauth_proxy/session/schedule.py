"""When: expiry and renewal of a token, pauses between attempts, the cool-off. Pure: `now` and jitter are arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reauth_proxy.session.state import RefreshPolicy, State, seconds_between
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, StoredSession

if TYPE_CHECKING:
    from reauth_proxy.session.book import Book

#: A Retry-After is believed up to this many seconds.
LONGEST_RETRY_AFTER: Final = 300.0
#: Background renewals are so many seconds apart.
SHORTEST_NAP: Final = 1.0
#: Timers stand still while a laptop sleeps, so that a timer looks at the clocks at least this often.
LONGEST_NAP: Final = 60.0


def token_from(issued: Issued, generation: int, now: Instant, policy: RefreshPolicy, jitter: float) -> AccessToken:
    """Return the access token with its moments of expiry and renewal.

    A lifetime that is over when the token arrives says nothing: either a clock is wrong, or nobody filled the field.

    Args:
        now: when the answer arrived.
        jitter: from [0, 1): renews up to a fifth of the window later, so that replicas do not renew together.
    """
    lifetime = issued.lifetime
    if lifetime is None or lifetime <= 0:
        return AccessToken(issued.access_token, generation, None, None)
    return AccessToken(issued.access_token, generation, now.after(lifetime), _due(lifetime, now, policy, jitter))


def renewed_before(
    token: AccessToken, refresh_expires: Instant | None, now: Instant, policy: RefreshPolicy, jitter: float
) -> AccessToken:
    """Return the token renewed before the refresh token expires, where that comes first; arguments as above."""
    if refresh_expires is None:
        return token
    due = _due(max(seconds_between(now, refresh_expires), 0.0), now, policy, jitter)
    if token.renew is not None and seconds_between(token.renew, due) >= 0:
        return token
    return replace(token, renew=due)


def _due(lifetime: float, now: Instant, policy: RefreshPolicy, jitter: float) -> Instant:
    return now.after(lifetime - min(policy.ahead, lifetime / 5) * (1 - 0.2 * jitter))


def stored_token(book: Book, record: StoredSession, now: Instant, jitter: float) -> AccessToken | None:
    """Return a stored access token with a generation newer than the book's, None if it has expired or is known."""
    if record.access_token is None or (book.access is not None and book.access.value == record.access_token):
        return None
    lifetime = None if record.expires_at is None else record.expires_at - now.wall
    if lifetime is not None and lifetime <= 0:
        return None
    generation = max(record.generation, book.generation + 1)
    token = token_from(Issued(record.access_token, None, lifetime), generation, now, book.policy, jitter)
    return renewed_before(token, moment(record.refresh_expires_at, now), now, book.policy, jitter)


def expiry(issued: Issued, now: Instant) -> Instant | None:
    """Return when a refresh token that was just issued expires; None where unknown."""
    return None if issued.refresh_lifetime is None else now.after(issued.refresh_lifetime)


def moment(wall: float | None, now: Instant) -> Instant | None:
    """Return a moment that is stored in epoch seconds."""
    return None if wall is None else now.after(wall - now.wall)


def backoff(attempt: int, jitter: float) -> float:
    """Return the pause in seconds after failed attempt number `attempt`, counted from 0; jitter from [0, 1)."""
    return min(0.1 * 2.0 ** min(attempt, 10), 2.0) * (1 - 0.5 * jitter)


def cool_off(failures: int, retry_after: float | None, jitter: float) -> float:
    """Return how many seconds to leave the token endpoint alone after `failures` refreshes given up in a row (from 1).

    Never shorter than Retry-After (RFC 9110 section 10.2.3), which is believed up to five minutes.
    """
    pause = min(2.0 ** min(failures - 1, 10), 30.0) * (1 - 0.25 * jitter)
    return max(pause, min(retry_after or 0.0, LONGEST_RETRY_AFTER))


def until_renewal(book: Book, now: Instant) -> float | None:
    """Return in how many seconds the background renewal has something to do or to look at, None if never."""
    if book.state not in (State.READY, State.COOLING):
        return None
    if book.state is State.COOLING:
        return min(book.cooling(now) or 0.0, LONGEST_NAP)
    due = book.access.renew if book.access is not None else now
    if due is None:
        return None
    wait = seconds_between(now, due)
    if book.issued_at is not None:
        # Tokens that live for next to nothing are renewed when a request needs them, not in a loop.
        wait = max(wait, seconds_between(now, book.issued_at.after(SHORTEST_NAP)))
    return min(max(wait, 0.0), LONGEST_NAP)


def until_trial(book: Book, now: Instant) -> float | None:
    """Return in how many seconds a refresh token is to be tried, None if there is none."""
    candidate = book.candidate
    if candidate is None or not book.has_trial or book.state not in (State.READY, State.COOLING):
        return None
    wait = 0.0 if candidate.not_before is None else seconds_between(now, candidate.not_before)
    return min(max(wait, book.cooling(now) or 0.0, 0.0), LONGEST_NAP)
