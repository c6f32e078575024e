"""The table, and the two questions, case by case."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.session.book import Book
from reauth_proxy.session.state import (
    TRANSITIONS,
    BackOff,
    Event,
    Facts,
    IllegalTransition,
    Park,
    RefreshPolicy,
    Relay,
    Replay,
    Send,
    SendBare,
    SignedOut,
    State,
    advance,
    decide_rejected,
    decide_send,
)
from reauth_proxy.session.tokens import AccessToken, Instant, Secret

NOW = Instant(1000.0, 1_800_000_000.0)
POLICY = RefreshPolicy()


def a_token(expires_in: float | None = 100, renew_in: float | None = 80, generation: int = 3) -> AccessToken:
    return AccessToken(
        Secret("CANARY"),
        generation,
        NOW.after(expires_in) if expires_in is not None else None,
        NOW.after(renew_in) if renew_in is not None else None,
    )


FRESH = a_token()
DUE = a_token(renew_in=0)
EXPIRED = a_token(expires_in=0, renew_in=-20)
ENDLESS = a_token(None, None)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_is_in_the_table_or_raises(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert advance(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition, match=rf"{state.value} cannot take {event.value}"):
            advance(state, event)


def test_the_illegal_pairs_are_these() -> None:
    illegal = {(state, event) for state in State for event in Event} - set(TRANSITIONS)
    refreshing_only = {Event.STARTED, Event.ISSUED, Event.DENIED, Event.GAVE_UP}
    assert illegal == (
        {(State.EMPTY, event) for event in refreshing_only}
        | {(State.SIGNED_OUT, event) for event in refreshing_only}
        | {(State.READY, event) for event in (Event.ISSUED, Event.GAVE_UP)}
        | {(State.REFRESHING, Event.STARTED)}
    )


def test_every_state_can_be_reached_and_signed_out_can_be_left() -> None:
    reached = {State.EMPTY}
    while more := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
        reached |= more
    assert reached == set(State)
    assert TRANSITIONS[State.SIGNED_OUT, Event.OFFERED] is State.READY


def test_an_illegal_event_changes_nothing() -> None:
    book = Book()
    before = repr(book)
    with pytest.raises(IllegalTransition):
        book.issue(FRESH, Secret("CANARY"), NOW, asked=True)
    with pytest.raises(IllegalTransition):
        book.deny(Secret("CANARY"))
    with pytest.raises(IllegalTransition):
        book.start()
    with pytest.raises(IllegalTransition):
        book.give_up("down", NOW, None, 0, listening=False)
    assert repr(book) == before
    assert book.stats.issued == 0


@given(st.lists(st.sampled_from(Event)))
def test_a_walk_through_the_table_never_leaves_it(events: list[Event]) -> None:
    state = State.EMPTY
    for event in events:
        try:
            state = advance(state, event)
        except IllegalTransition:
            assert (state, event) not in TRANSITIONS
    assert state in State


COOLING_FOR_5 = {"state": State.COOLING, "cooling_until": NOW.after(5)}
COOLED = {"state": State.COOLING, "cooling_until": NOW}
LISTENING = {"state": State.COOLING, "cooling_until": NOW.after(-9), "listening": True}


@pytest.mark.parametrize(
    ("facts", "needs_fresh", "decision"),
    [
        (Facts(), False, SendBare()),
        (Facts(State.SIGNED_OUT, reason="refresh_denied"), True, SendBare()),
        (Facts(State.READY), False, Park(start=True)),
        (Facts(State.READY, FRESH), False, Send(FRESH)),
        (Facts(State.READY, FRESH), True, Send(FRESH)),
        (Facts(State.READY, ENDLESS), True, Send(ENDLESS)),
        (Facts(State.READY, DUE), False, Send(DUE, refresh=True)),
        (Facts(State.READY, DUE), True, Park(start=True)),
        (Facts(State.READY, EXPIRED), False, Park(start=True)),
        (Facts(State.REFRESHING), False, Park(start=False)),
        (Facts(State.REFRESHING, FRESH), True, Send(FRESH)),
        (Facts(State.REFRESHING, DUE), False, Send(DUE, refresh=False)),
        (Facts(State.REFRESHING, DUE), True, Park(start=False)),
        (Facts(State.REFRESHING, EXPIRED), False, Park(start=False)),
        (Facts(access=FRESH, **COOLING_FOR_5), False, Send(FRESH)),
        (Facts(access=DUE, **COOLING_FOR_5), True, Send(DUE)),
        (Facts(access=EXPIRED, **COOLING_FOR_5), False, BackOff(5)),
        (Facts(**COOLING_FOR_5), True, BackOff(5)),
        (Facts(access=DUE, **COOLED), False, Send(DUE, refresh=True)),
        (Facts(access=EXPIRED, **COOLED), False, Park(start=True)),
        (Facts(access=DUE, **LISTENING), True, Send(DUE)),
        (Facts(access=EXPIRED, **LISTENING), False, BackOff(1)),
    ],
)
def test_before_sending(facts: Facts, needs_fresh: bool, decision: object) -> None:
    assert decide_send(facts, NOW, needs_fresh=needs_fresh) == decision


@pytest.mark.parametrize(
    ("facts", "sent", "decision"),
    [
        (Facts(), 0, SignedOut("no_session")),
        (Facts(State.SIGNED_OUT, reason="signed_out"), 0, SignedOut("signed_out")),
        (Facts(State.SIGNED_OUT, reason="refresh_denied", generation=3), 3, SignedOut("refresh_denied")),
        (Facts(State.READY, FRESH), 3, Park(start=True)),
        (Facts(State.READY, FRESH), 2, Replay(FRESH)),
        (Facts(State.READY, FRESH), 0, Replay(FRESH)),
        (Facts(State.READY, DUE), 2, Replay(DUE)),
        (Facts(State.READY, EXPIRED), 2, Park(start=True)),
        (Facts(State.READY), 0, Park(start=True)),
        (Facts(State.REFRESHING, FRESH), 3, Park(start=False)),
        (Facts(State.REFRESHING, FRESH), 2, Replay(FRESH)),
        (Facts(State.REFRESHING, FRESH, asked_at=NOW), 3, Park(start=False)),
        (Facts(State.READY, FRESH, asked_at=NOW), 3, Relay()),
        (Facts(State.READY, FRESH, asked_at=NOW), 2, Replay(FRESH)),
        (Facts(State.READY, FRESH, asked_at=NOW.after(-4.9)), 3, Relay()),
        (Facts(State.READY, FRESH, asked_at=NOW.after(-5)), 3, Park(start=True)),
        (Facts(State.READY, EXPIRED, asked_at=NOW), 3, Park(start=True)),
        (Facts(access=FRESH, **COOLING_FOR_5), 3, BackOff(5)),
        (Facts(access=FRESH, **COOLING_FOR_5), 2, Replay(FRESH)),
        (Facts(access=FRESH, **COOLED), 3, Park(start=True)),
        (Facts(access=FRESH, **LISTENING), 3, BackOff(1)),
    ],
)
def test_after_a_rejected_answer(facts: Facts, sent: int, decision: object) -> None:
    assert decide_rejected(facts, NOW, POLICY, sent) == decision


@pytest.mark.parametrize("moment", [Instant(NOW.monotonic + 100, NOW.wall), Instant(NOW.monotonic, NOW.wall + 100)])
def test_either_clock_expires_a_token(moment: Instant) -> None:
    assert Facts(State.READY, FRESH).usable(moment) is None
    assert decide_send(Facts(State.READY, FRESH), moment) == Park(start=True)


instants = st.builds(Instant, st.floats(0, 2000), st.floats(1_799_999_000, 1_800_001_000))
tokens = st.none() | st.builds(
    lambda generation, expires, renew: AccessToken(Secret("CANARY"), generation, expires, renew),
    st.integers(1, 5),
    st.none() | instants,
    st.none() | instants,
)
facts = st.builds(
    Facts,
    state=st.sampled_from(State),
    access=tokens,
    generation=st.integers(0, 5),
    cooling_until=st.none() | instants,
    listening=st.booleans(),
    asked_at=st.none() | instants,
)


@given(facts, st.booleans())
def test_no_expired_token_is_ever_sent_and_no_second_refresh_started(facts: Facts, needs_fresh: bool) -> None:
    decision = decide_send(facts, NOW, needs_fresh=needs_fresh)
    if isinstance(decision, Send):
        assert decision.token.expires is None or not decision.token.expires.reached(NOW)
    if getattr(decision, "start", False) or getattr(decision, "refresh", False):
        assert advance(facts.state, Event.STARTED) is State.REFRESHING
        assert facts.cooling(NOW) is None
    if isinstance(decision, BackOff):
        assert decision.retry_after > 0


@given(facts, st.integers(0, 5))
def test_what_is_replayed_is_newer_than_what_was_rejected(facts: Facts, sent: int) -> None:
    decision = decide_rejected(facts, NOW, POLICY, sent)
    if isinstance(decision, Replay):
        assert decision.token.generation > sent
        assert decision.token.expires is None or not decision.token.expires.reached(NOW)
    if isinstance(decision, Park) and decision.start:
        assert advance(facts.state, Event.STARTED) is State.REFRESHING
