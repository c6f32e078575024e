"""The table, and the two questions, case by case."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.session.book import Book
from reauth_proxy.session.state import (
    TRANSITIONS,
    Attempt,
    BackOff,
    Event,
    Facts,
    IllegalTransition,
    Pause,
    RefreshPolicy,
    Relay,
    Replay,
    Send,
    SendBare,
    SignedOut,
    State,
    Wait,
    advance,
    decide_send,
    on_rejected,
)
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret

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
    in_flight_only = {Event.ISSUED, Event.KEPT, Event.TOLD, Event.GAVE_UP}
    assert illegal == (
        {
            (state, event)
            for state in (State.EMPTY, State.SIGNED_OUT)
            for event in set(Event) - {Event.OFFERED, Event.LEFT}
        }
        | {(state, event) for state in (State.READY, State.COOLING) for event in in_flight_only}
        | {(State.REFRESHING, Event.STARTED), (State.LISTENING, Event.STARTED), (State.LISTENING, Event.TOLD)}
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
        book.issue(Issued(FRESH.value, None, None), FRESH, Secret("CANARY"), NOW, tried=False, asked=True)
    with pytest.raises(IllegalTransition):
        book.deny(Secret("CANARY"))
    with pytest.raises(IllegalTransition):
        book.start()
    with pytest.raises(IllegalTransition):
        book.give_up("down", NOW, None, 0)
    with pytest.raises(IllegalTransition):
        book.tell("down", NOW, None, 0)
    with pytest.raises(IllegalTransition):
        book.keep()
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
LISTENING = {"state": State.LISTENING, "cooling_until": NOW.after(-9)}


@pytest.mark.parametrize(
    ("facts", "needs_fresh", "decision"),
    [
        (Facts(), False, SendBare()),
        (Facts(State.SIGNED_OUT, reason="refresh_denied"), True, SendBare()),
        (Facts(State.READY), False, Wait(start=True)),
        (Facts(State.READY, access=FRESH), False, Send(FRESH)),
        (Facts(State.READY, access=FRESH), True, Send(FRESH)),
        (Facts(State.READY, access=ENDLESS), True, Send(ENDLESS)),
        (Facts(State.READY, access=DUE), False, Send(DUE, refresh=True)),
        (Facts(State.READY, access=DUE), True, Wait(start=True)),
        (Facts(State.READY, access=EXPIRED), False, Wait(start=True)),
        (Facts(State.REFRESHING), False, Wait(start=False)),
        (Facts(State.REFRESHING, access=FRESH), True, Send(FRESH)),
        (Facts(State.REFRESHING, access=DUE), False, Send(DUE, refresh=False)),
        (Facts(State.REFRESHING, access=DUE), True, Wait(start=False)),
        (Facts(State.REFRESHING, access=EXPIRED), False, Wait(start=False)),
        (Facts(access=FRESH, **COOLING_FOR_5), False, Send(FRESH)),
        (Facts(access=DUE, **COOLING_FOR_5), True, Send(DUE)),
        (Facts(access=EXPIRED, **COOLING_FOR_5), False, BackOff(5)),
        (Facts(**COOLING_FOR_5), True, BackOff(5)),
        (Facts(access=DUE, **COOLED), False, Send(DUE, refresh=True)),
        (Facts(access=EXPIRED, **COOLED), False, Wait(start=True)),
        (Facts(access=DUE, **LISTENING), True, Send(DUE)),
        (Facts(access=EXPIRED, **LISTENING), False, BackOff(1)),
    ],
)
def test_before_sending(facts: Facts, needs_fresh: bool, decision: object) -> None:
    assert decide_send(facts, NOW, needs_fresh=needs_fresh) == decision


def signed_in(state: State = State.READY, access: AccessToken | None = FRESH, **more: Any) -> Facts:
    return Facts(state, life=1, access=access, generation=0 if access is None else access.generation, **more)


def sent(generation: int = 3, life: int = 1, **more: Any) -> Attempt:
    return Attempt(generation, life, **more)


@pytest.mark.parametrize(
    ("facts", "attempt", "decision"),
    [
        (Facts(), sent(0, 0), SignedOut("no_session")),
        (Facts(State.SIGNED_OUT, reason="signed_out"), sent(0, 0), SignedOut("signed_out")),
        (Facts(State.SIGNED_OUT, reason="refresh_denied", generation=3), sent(), SignedOut("refresh_denied")),
        # Another life's, or nobody's:
        (signed_in(), sent(2, life=9), Relay()),
        (signed_in(), sent(0, life=0), Relay()),
        (signed_in(State.REFRESHING), sent(life=9), Relay()),
        # A newer token is at hand:
        (signed_in(), sent(2), Replay(FRESH)),
        (signed_in(access=DUE), sent(2), Replay(DUE)),
        (signed_in(State.REFRESHING), sent(2), Replay(FRESH)),
        (signed_in(asked_at=NOW), sent(2), Replay(FRESH)),
        (signed_in(**COOLING_FOR_5), sent(2), Replay(FRESH)),
        (signed_in(), sent(2, refusing=True), Replay(FRESH)),
        (signed_in(), sent(2, replayed=True), Relay()),
        # There is none:
        (signed_in(), sent(), Wait(start=True)),
        (signed_in(access=EXPIRED), sent(2), Wait(start=True)),
        (signed_in(access=None), sent(0), Wait(start=True)),
        (signed_in(State.REFRESHING), sent(), Wait(start=False)),
        (signed_in(State.REFRESHING, asked_at=NOW), sent(), Wait(start=False)),
        (signed_in(**COOLING_FOR_5), sent(), BackOff(5)),
        (signed_in(**COOLED), sent(), Wait(start=True)),
        (signed_in(**LISTENING), sent(), BackOff(1)),
        # Asked for already, and accepted by nobody:
        (signed_in(asked_at=NOW), sent(), Relay()),
        (signed_in(asked_at=NOW.after(-4.9)), sent(), Relay()),
        (signed_in(asked_at=NOW.after(-5)), sent(), Wait(start=True)),
        (signed_in(access=EXPIRED, asked_at=NOW), sent(), Wait(start=True)),
        # Accepted, and then revoked:
        (signed_in(asked_at=NOW, proven=True), sent(), Wait(start=True)),
        (signed_in(asked_at=NOW, born_at=NOW, proven=True), sent(), Wait(start=True)),
        # Replayed once, and no oftener:
        (signed_in(proven=True), sent(replayed=True), Relay()),
        (signed_in(State.REFRESHING), sent(replayed=True), Relay()),
        # A route that rejects whatever it is sent:
        (signed_in(proven=True), sent(refusing=True), Relay()),
        (signed_in(State.REFRESHING), sent(refusing=True), Relay()),
        (signed_in(**COOLING_FOR_5), sent(refusing=True), Relay()),
        # So young that the API may not know it:
        (signed_in(born_at=NOW), sent(), Wait(start=True)),
        (signed_in(born_at=NOW, asked_at=NOW), sent(), Pause(0.25)),
        (signed_in(born_at=NOW, asked_at=NOW), sent(pauses=1), Pause(1.0)),
        (signed_in(born_at=NOW, asked_at=NOW), sent(pauses=2), Relay()),
        (signed_in(born_at=NOW), sent(replayed=True), Pause(0.25)),
        (signed_in(born_at=NOW), sent(replayed=True, refusing=True), Relay()),
        (signed_in(born_at=NOW), sent(replayed=True, pauses=1), Pause(1.0)),
        (signed_in(born_at=NOW), sent(replayed=True, pauses=2), Relay()),
        (signed_in(born_at=NOW.after(-1.9)), sent(replayed=True), Pause(0.25)),
        (signed_in(born_at=NOW.after(-2)), sent(replayed=True), Relay()),
        (signed_in(born_at=NOW), sent(2), Replay(FRESH)),
    ],
)
def test_after_a_rejected_answer(facts: Facts, attempt: Attempt, decision: object) -> None:
    assert on_rejected(facts, NOW, POLICY, attempt) == decision


@pytest.mark.parametrize("moment", [Instant(NOW.monotonic + 100, NOW.wall), Instant(NOW.monotonic, NOW.wall + 100)])
def test_either_clock_expires_a_token(moment: Instant) -> None:
    assert Facts(State.READY, access=FRESH).usable(moment) is None
    assert decide_send(Facts(State.READY, access=FRESH), moment) == Wait(start=True)


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
    life=st.integers(0, 2),
    proven=st.booleans(),
    cooling_until=st.none() | instants,
    born_at=st.none() | instants,
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


attempts = st.builds(
    Attempt, st.integers(0, 5), st.integers(0, 2), st.booleans(), st.integers(0, 2), refusing=st.booleans()
)


@given(facts, attempts)
def test_a_replay_is_newer_within_the_life_and_happens_once(facts: Facts, attempt: Attempt) -> None:
    decision = on_rejected(facts, NOW, POLICY, attempt)
    if isinstance(decision, Replay):
        assert decision.token.generation > attempt.generation
        assert decision.token.expires is None or not decision.token.expires.reached(NOW)
    if isinstance(decision, Replay | Wait):
        assert attempt.life == facts.life
        assert not attempt.replayed
    if isinstance(decision, Wait) and decision.start:
        assert advance(facts.state, Event.STARTED) is State.REFRESHING
