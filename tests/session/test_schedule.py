"""When a token expires and is renewed, and how long the pauses are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.session.book import Book
from reauth_proxy.session.schedule import backoff, cool_off, renewed_before, token_from, until_renewal
from reauth_proxy.session.state import RefreshPolicy, State
from reauth_proxy.session.tokens import Instant, Issued, Secret

NOW = Instant(1000.0, 1_800_000_000.0)
POLICY = RefreshPolicy()


def issued(lifetime: float | None) -> Issued:
    return Issued(Secret("CANARY"), None, lifetime)


@pytest.mark.parametrize(
    ("lifetime", "jitter", "expires", "renew"),
    [
        (3600, 0, 3600, 3540),
        (3600, 0.5, 3600, 3546),
        (300, 0, 300, 240),
        (100, 0, 100, 80),
        (10, 0, 10, 8),
        (10, 0.5, 10, 8.2),
    ],
)
def test_expiry_and_renewal(lifetime: float, jitter: float, expires: float, renew: float) -> None:
    token = token_from(issued(lifetime), 3, NOW, POLICY, jitter)
    assert token.generation == 3
    assert token.expires == NOW.after(expires)
    assert token.renew is not None
    assert token.renew.monotonic == pytest.approx(NOW.after(renew).monotonic)


@pytest.mark.parametrize("lifetime", [None, 0.0, -7.0])
def test_a_lifetime_that_is_over_says_as_little_as_none(lifetime: float | None) -> None:
    token = token_from(issued(lifetime), 3, NOW, POLICY, 0)
    assert (token.expires, token.renew) == (None, None)


@pytest.mark.parametrize(
    ("lifetime", "refresh_lifetime", "renew"),
    [(3600, None, 3540), (3600, 7200, 3540), (3600, 1800, 1740), (10, 4, 3.2), (None, 100, 80), (3600, 0, 0)],
)
def test_renewal_comes_before_the_refresh_token_expires(
    lifetime: float | None, refresh_lifetime: float | None, renew: float
) -> None:
    expires = None if refresh_lifetime is None else NOW.after(refresh_lifetime)
    token = renewed_before(token_from(issued(lifetime), 3, NOW, POLICY, 0), expires, NOW, POLICY, 0)
    assert token.renew is not None
    assert token.renew.monotonic == pytest.approx(NOW.after(renew).monotonic)


def test_an_unknown_lifetime_is_not_invented() -> None:
    token = token_from(issued(None), 3, NOW, POLICY, 0)
    assert (token.expires, token.renew) == (None, None)


@given(st.floats(0.001, 1e9), st.floats(0, 0.999), st.floats(0, 1e6))
def test_a_token_is_renewed_in_the_last_fifth_of_its_life(lifetime: float, jitter: float, ahead: float) -> None:
    token = token_from(issued(lifetime), 1, Instant(0, 0), RefreshPolicy(ahead=ahead), jitter)
    assert token.expires is not None
    assert token.renew is not None
    assert lifetime * 0.8 * 0.999 <= token.renew.monotonic <= token.expires.monotonic == lifetime


def test_the_backoff_doubles_up_to_two_seconds() -> None:
    assert [backoff(attempt, 0) for attempt in (0, 1, 2, 3, 4, 5, 99)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert backoff(0, 0.999) == pytest.approx(0.05, rel=0.01)


def test_the_cool_off_doubles_up_to_thirty_seconds() -> None:
    assert [cool_off(failures, None, 0) for failures in (1, 2, 3, 4, 5, 6, 999)] == [1, 2, 4, 8, 16, 30, 30]
    assert cool_off(1, None, 0.999) == pytest.approx(0.75, rel=0.01)


@pytest.mark.parametrize(("retry_after", "pause"), [(0, 1), (0.5, 1), (42, 42), (300, 300), (86_400, 300)])
def test_the_cool_off_honours_retry_after_within_reason(retry_after: float, pause: float) -> None:
    assert cool_off(1, retry_after, 0) == pause


@pytest.mark.parametrize(
    ("facts", "wait"),
    [
        (Book(), None),
        (Book(State.SIGNED_OUT), None),
        (Book(State.REFRESHING), None),
        (Book(State.READY), 0),
        (Book(State.READY, access=token_from(issued(None), 1, NOW, POLICY, 0)), None),
        (Book(State.READY, access=token_from(issued(10), 1, NOW, POLICY, 0)), 8),
        (Book(State.READY, access=token_from(issued(3600), 1, NOW, POLICY, 0)), 60),
        (Book(State.READY, access=token_from(issued(10), 1, NOW.after(-9), POLICY, 0)), 0),
        (Book(State.READY, access=token_from(issued(0.01), 1, NOW, POLICY, 0), issued_at=NOW), 1),
        (Book(State.COOLING, cooling_until=NOW.after(4)), 4),
        (Book(State.COOLING, access=token_from(issued(3600), 1, NOW, POLICY, 0), cooling_until=NOW), 0),
        (Book(State.COOLING, cooling_until=NOW.after(300)), 60),
        (Book(State.LISTENING, cooling_until=NOW.after(4)), None),
    ],
)
def test_the_background_renewal(facts: Book, wait: float | None) -> None:
    assert until_renewal(facts, NOW) == wait
