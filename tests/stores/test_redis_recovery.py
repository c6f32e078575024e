"""The states of a store in Redis, and its decisions after an outage."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.stores.redis_recovery import (
    LOOK,
    MOST,
    PRECEDENCE,
    RENEW,
    RENEW_AGAIN,
    SLOW,
    TRANSITIONS,
    Ask,
    Event,
    HoldBack,
    IllegalTransition,
    Lease,
    Probe,
    Standing,
    State,
    TakeUp,
    advance,
    lets_go,
    next_step,
    slow,
    trusted,
)

LEASE = 5.0
OURS = Lease("we", 7)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_an_event_has_its_transition_or_raises(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert advance(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition, match=f"{state.value} cannot take {event.value}"):
            advance(state, event)


@pytest.mark.parametrize("state", State)
def test_redis_may_fail_and_a_save_be_owed_at_any_time(state: State) -> None:
    assert advance(state, Event.OWED) is State.OWING
    owes = state in (State.OWING, State.PAYING)
    assert advance(state, Event.FAILED) is (state if owes else State.AWAY)


def test_every_state_can_be_reached_and_left() -> None:
    assert {after for _, after in TRANSITIONS.items()} == set(State)
    for state in State:
        assert {after for (before, _), after in TRANSITIONS.items() if before is state} - {state}


def after(*events: Event, began: Standing | None = None) -> Standing:
    """Return what comes of events, one per second from 100 on."""
    standing = began or Standing()
    for number, event in enumerate(events):
        standing = standing.after(event, 100.0 + number)
    return standing


def test_while_all_is_well_the_lock_is_asked_for_at_once() -> None:
    assert next_step(Standing(), 100.0, LEASE) == Ask()


def test_while_redis_is_away_that_is_found_out_first() -> None:
    assert next_step(after(Event.FAILED), 100.0, LEASE) == Probe()


@pytest.mark.parametrize(
    ("now", "step"), [(101.0, HoldBack(0.25)), (102.4, HoldBack(pytest.approx(0.1))), (102.5, Ask(held_back=True))]
)
def test_once_it_is_back_others_go_first_for_a_moment(now: float, step: object) -> None:
    assert next_step(after(Event.FAILED, Event.ANSWERED), now, LEASE) == step


def test_the_moment_begins_with_the_first_answer_and_anew_after_each_failure() -> None:
    assert after(Event.FAILED, Event.ANSWERED, Event.ANSWERED).back_at == 101.0
    assert after(Event.FAILED, Event.ANSWERED, Event.FAILED).back_at is None
    assert after(Event.FAILED, Event.ANSWERED, Event.FAILED, Event.ANSWERED).back_at == 103.0


def test_whoever_has_held_back_often_enough_asks_all_the_same() -> None:
    enough = MOST * PRECEDENCE * LEASE
    for standing in (after(Event.FAILED), after(Event.FAILED, Event.ANSWERED)):
        assert next_step(standing, 101.0, LEASE, held_back=enough) == Ask()
    assert trusted(after(Event.FAILED, Event.ANSWERED), 1, 101.0, LEASE, held_back=enough)


def owing(*events: Event) -> Standing:
    return after(Event.OWED, *events, began=Standing().granted(OURS, 99.0))


@pytest.mark.parametrize("standing", [owing(), owing(Event.ANSWERED), owing(Event.ANSWERED, Event.FAILED)])
def test_whoever_owes_something_takes_its_lease_up_again_before_anything_else(standing: Standing) -> None:
    assert next_step(standing, 101.0, LEASE) == TakeUp(OURS)


def test_whoever_cannot_take_it_up_has_no_better_right_than_others() -> None:
    assert next_step(owing(), 101.0, LEASE, refused=True) == Probe()
    assert next_step(owing(Event.ANSWERED), 102.0, LEASE, refused=True) == HoldBack(0.25)
    assert next_step(owing(Event.ANSWERED), 110.0, LEASE, refused=True) == Ask()
    assert next_step(after(Event.OWED), 101.0, LEASE) == Probe(), "it never had a lease"


def test_a_grant_is_trusted_that_has_a_higher_number_than_the_last() -> None:
    standing = Standing().granted(OURS, 100.0)
    assert [trusted(standing, fence, 101.0, LEASE) for fence in (1, 7, 8)] == [False, False, True]
    doubtful = standing.distrusted(3, 101.0)
    assert doubtful.state is State.YIELDING
    assert [trusted(doubtful, fence, 103.0, LEASE) for fence in (2, 3)] == [False, True], "it gave 3 back"


def test_the_first_number_of_all_is_trusted_once_those_who_know_the_session_could_put_it_back() -> None:
    assert not trusted(Standing(), 1, 100.0, LEASE)
    assert trusted(Standing(), 2, 100.0, LEASE)
    assert trusted(Standing().distrusted(1, 100.0), 1, 102.0, LEASE, held_back=1.5)
    known = after(Event.FAILED, Event.ANSWERED, began=Standing().granted(OURS, 90.0))
    assert trusted(known, 1, 110.0, LEASE), "it has held the session before"


def test_after_an_outage_redis_may_count_anew() -> None:
    standing = after(Event.FAILED, Event.ANSWERED, began=Standing().granted(OURS, 99.0))
    assert trusted(standing, 1, 110.0, LEASE)
    assert not trusted(standing, 1, 101.0, LEASE), "others go first"


def test_a_grant_that_was_asked_for_before_redis_failed_is_not_trusted() -> None:
    assert not trusted(after(Event.FAILED), 8, 101.0, LEASE)
    assert not trusted(after(Event.FAILED, Event.ANSWERED), 8, 101.5, LEASE)


@pytest.mark.parametrize("state", State)
def test_only_whoever_owes_something_keeps_the_lock(state: State) -> None:
    assert lets_go(Standing(state)) is (state not in (State.OWING, State.PAYING))


@pytest.mark.parametrize(
    ("end", "state"),
    [(Event.SETTLED, State.YIELDING), (Event.LEFT, State.YIELDING), (Event.BROKEN_OFF, State.OWING)],
)
def test_what_is_owed_is_settled_by_a_save_or_a_decision(end: Event, state: State) -> None:
    paying = owing(Event.ANSWERED).granted(OURS, 102.0)
    assert paying.state is State.PAYING
    assert paying.after(end, 103.0).state is state


def test_an_answer_that_takes_longer_than_between_two_renewals_is_slow() -> None:
    assert [slow(seconds, LEASE) for seconds in (0.1, 1.0, 1.1)] == [False, False, True]


def test_the_times_fit_together() -> None:
    assert RENEW_AGAIN < RENEW < PRECEDENCE < 1.0
    assert LOOK < PRECEDENCE / 2
    assert SLOW < PRECEDENCE


@given(
    state=st.sampled_from(State),
    back_at=st.none() | st.floats(0, 10),
    now=st.floats(0, 10),
    held_back=st.floats(0, 10),
    refused=st.booleans(),
    last=st.none() | st.just(OURS),
)
def test_nobody_who_may_not_trust_a_grant_asks_for_one(
    state: State, back_at: float | None, now: float, held_back: float, refused: bool, last: Lease | None
) -> None:
    standing = replace(Standing(state), back_at=back_at, last=last)
    step = next_step(standing, now, LEASE, held_back=held_back, refused=refused)
    if isinstance(step, Ask):
        assert trusted(standing, 2, now, LEASE, held_back=held_back)
    if isinstance(step, HoldBack):
        assert 0 < step.seconds <= LOOK * LEASE
