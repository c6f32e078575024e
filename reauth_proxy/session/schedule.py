"""When: expiry and renewal of a token, pauses between attempts, the cool-off. Pure: `now` and jitter are arguments."""

from __future__ import annotations

from typing import Final

from reauth_proxy.session.state import Facts, RefreshPolicy, State, seconds_between
from reauth_proxy.session.tokens import AccessToken, Instant, Issued

#: A Retry-After is believed up to this many seconds.
LONGEST_RETRY_AFTER: Final = 300.0
#: Background renewals are so many seconds apart.
SHORTEST_NAP: Final = 1.0
#: Timers stand still while a laptop sleeps, so that a timer looks at the clocks at least this often.
LONGEST_NAP: Final = 60.0


def token_from(issued: Issued, generation: int, now: Instant, policy: RefreshPolicy, jitter: float) -> AccessToken:
    """Return the access token with its moments of expiry and renewal.

    A token that arrives expired is taken to live for `min_interval`: it is sent once, in case that only a clock is
    wrong, and a token endpoint that issues nothing else is not called in a loop.

    Args:
        now: when the answer arrived.
        jitter: from [0, 1): renews up to a fifth of the window later, so that replicas do not renew together.
    """
    lifetime = issued.lifetime
    if lifetime is None:
        return AccessToken(issued.access_token, generation, None, None)
    if lifetime <= 0:
        expires = now.after(policy.min_interval)
        return AccessToken(issued.access_token, generation, expires, expires)
    ahead = min(policy.ahead, lifetime / 5) * (1 - 0.2 * jitter)
    return AccessToken(issued.access_token, generation, now.after(lifetime), now.after(lifetime - ahead))


def backoff(attempt: int, jitter: float) -> float:
    """Return the pause in seconds after failed attempt number `attempt`, counted from 0; jitter from [0, 1)."""
    return min(0.1 * 2.0 ** min(attempt, 10), 2.0) * (1 - 0.5 * jitter)


def cool_off(failures: int, retry_after: float | None, jitter: float) -> float:
    """Return how many seconds to leave the token endpoint alone after `failures` refreshes given up in a row (from 1).

    Never shorter than Retry-After (RFC 9110 section 10.2.3), which is believed up to five minutes.
    """
    pause = min(2.0 ** min(failures - 1, 10), 30.0) * (1 - 0.25 * jitter)
    return max(pause, min(retry_after or 0.0, LONGEST_RETRY_AFTER))


def until_renewal(facts: Facts, now: Instant) -> float | None:
    """Return in how many seconds the background renewal has something to do or to look at, None if never."""
    if facts.state is State.COOLING and not facts.listening:
        return min(facts.cooling(now) or 0.0, LONGEST_NAP)
    if facts.state is not State.READY:
        return None
    due = facts.access.renew if facts.access is not None else now
    if due is None:
        return None
    wait = seconds_between(now, due)
    if facts.issued_at is not None:
        # Tokens that live for next to nothing are renewed when a request needs them, not in a loop.
        wait = max(wait, seconds_between(now, facts.issued_at.after(SHORTEST_NAP)))
    return min(max(wait, 0.0), LONGEST_NAP)
