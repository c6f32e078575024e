"""Who is too slow, by what is seen of them now and then."""

from __future__ import annotations

from reauth_proxy.clients.pace import Stall, Trickle


def test_content_may_rest_for_a_moment_but_not_fall_short_over_a_window() -> None:
    trickle = Trickle()
    seen = [(0.0, 0), (1.0, 0), (2.0, 200), (3.0, 210), (4.0, 400), (6.0, 499)]
    assert [trickle.too_slow(1, amount, now, 2.0, 100) for now, amount in seen] == [False] * 5 + [True]


def test_the_next_content_begins_a_window_of_its_own() -> None:
    trickle = Trickle()
    assert not trickle.too_slow(1, 0, 0.0, 2.0, 100)
    assert not trickle.too_slow(2, 0, 2.0, 2.0, 100)
    assert not trickle.too_slow(2, 0, 3.9, 2.0, 100)
    assert trickle.too_slow(2, 0, 4.0, 2.0, 100)


def test_a_window_may_begin_anew() -> None:
    trickle = Trickle()
    assert not trickle.too_slow(1, 0, 0.0, 2.0, 100)
    trickle.begin(1, 0, 1.9)
    assert not trickle.too_slow(1, 0, 3.8, 2.0, 100)


def test_whoever_takes_something_now_and_then_has_not_stalled() -> None:
    stall = Stall()
    seen = [(0.0, 10), (1.9, 9), (3.8, 8), (5.7, 8)]
    assert [stall.too_long(left, now, 2.0) for now, left in seen] == [False] * 4
    assert stall.too_long(8, 5.8, 2.0)
