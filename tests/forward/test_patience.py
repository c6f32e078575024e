"""How long a route that rejects fresh tokens is left alone."""

from __future__ import annotations

import pytest

from reauth_proxy.forward.patience import LONGEST, Patience

BAD, GOOD = b"/bad?page=1", b"/good"


def test_nothing_is_held_against_a_route_that_has_not_rejected_a_fresh_token() -> None:
    patience = Patience(5.0)
    patience.accepted(GOOD)
    assert not patience.refusing(BAD, 0.0)
    assert not patience.doubts(BAD)


def test_the_pause_grows_with_each_refresh_that_did_not_help_and_ends_at_five_minutes() -> None:
    patience, now, pauses = Patience(5.0), 0.0, []
    for _ in range(9):
        patience.rejected(BAD, now)
        pauses.append(patience.until - now)
        assert patience.refusing(BAD, patience.until - 0.1)
        now = patience.until
        assert not patience.refusing(BAD, now)
    assert pauses == [5, 10, 20, 40, 80, 160, LONGEST, LONGEST, LONGEST]


def test_many_requests_behind_one_refresh_count_once() -> None:
    patience = Patience(5.0)
    for number in range(100):
        patience.rejected(b"/%d" % number, 1.0)
    assert (patience.failures, patience.until) == (1, 6.0)


def test_a_path_that_accepts_tokens_is_believed_when_it_rejects_one() -> None:
    patience = Patience(5.0)
    patience.rejected(BAD, 0.0)
    patience.accepted(GOOD + b"?a=b")
    assert patience.refusing(BAD, 1.0)
    assert not patience.refusing(GOOD, 1.0)
    assert not patience.doubts(GOOD)
    patience.rejected(GOOD, 1.0)
    assert patience.refusing(GOOD, 1.0)


def test_a_path_of_which_nothing_is_known_is_asked_about_now_and_then_where_others_accept() -> None:
    patience = Patience(5.0)
    for _ in range(6):
        patience.rejected(BAD, patience.until)
        patience.accepted(GOOD)
    since = patience.until - 160
    assert patience.refusing(b"/unknown", since + 4.9)
    assert not patience.refusing(b"/unknown", since + 5)
    assert patience.refusing(BAD, since + 5)


def test_once_all_that_rejected_accept_again_nothing_is_held_against_the_route() -> None:
    patience = Patience(5.0)
    patience.rejected(BAD, 0.0)
    patience.rejected(GOOD, 0.0)
    patience.accepted(BAD)
    assert patience.failures == 1
    patience.accepted(GOOD)
    assert (patience.failures, patience.until) == (0, 0.0)


@pytest.mark.parametrize("interval", [0.0])
def test_without_an_interval_every_rejection_asks_for_a_refresh(interval: float) -> None:
    patience = Patience(interval)
    for now in range(5):
        patience.rejected(BAD, float(now))
        assert not patience.refusing(BAD, float(now))


def test_it_remembers_so_many_paths_and_no_more() -> None:
    patience = Patience(5.0)
    patience.rejected(BAD, 0.0)
    for number in range(10_000):
        patience.accepted(b"/%d" % number)
        patience.rejected(b"/bad/%d" % number, 1.0)
    assert len(patience._accepting) <= 256
    assert len(patience._rejecting) <= 256
