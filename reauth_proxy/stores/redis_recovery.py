"""What a store in Redis does after an outage, as states. Pure.

While Redis is away, somebody may have been issued a refresh token that only he has, or hold a lease that Redis has
forgotten. Once it is back, whoever has something to save comes first, and takes his lease up again; all others hold
back for a moment. The questions are :func:`next_step`, for whoever wants the lock, :func:`trusted`, when he has been
granted it, and :func:`lets_go`, when he leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from reauth_proxy.session.state import IllegalTransition

#: Parts of a lease: how often it is renewed, and how soon again if that failed.
RENEW: Final = 0.2
RENEW_AGAIN: Final = 0.05
#: How much later all others ask for the lock. A part of the lease too, and longer than between two renewals.
PRECEDENCE: Final = 0.3
#: An answer that takes longer than this part of a lease counts as an outage: a lease may have run out meanwhile.
SLOW: Final = 0.2
#: Whoever holds back looks so often, in parts of a lease, whether Redis went away again.
LOOK: Final = 0.05
#: Whoever has held back so many times as long in one attempt, because Redis came and went, asks all the same.
MOST: Final = 4


class State(Enum):
    """How this process stands with Redis."""

    #: It answers, and nothing is owed.
    STEADY = "steady"
    #: It did not answer, and nothing is owed.
    AWAY = "away"
    #: It is back, perhaps with older data; others may have something to save, and go first.
    YIELDING = "yielding"
    #: A save failed of something that nobody else has: the first thing to be done once Redis is back.
    OWING = "owing"
    #: The lock has been had again to save it.
    PAYING = "paying"


class Event(Enum):
    """What can happen."""

    #: Redis refused, or did not answer in time, or the channel broke.
    FAILED = "failed"
    ANSWERED = "answered"
    #: All others have had their time to go first.
    HELD_BACK = "held_back"
    #: The lock was granted, or an old lease taken up again.
    GRANTED = "granted"
    #: A grant was not to be trusted, and is let go of.
    DISTRUSTED = "distrusted"
    #: A save of something that nobody else has did not come through.
    OWED = "owed"
    #: One did, or was refused because others went on: either way there is nothing left to save.
    SETTLED = "settled"
    #: The lock was left by whoever has done, or decided against, what he wanted it for.
    LEFT = "left"
    #: It was left by an error.
    BROKEN_OFF = "broken_off"


#: Every transition there is. What is not here is a bug, and raises.
TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.STEADY, Event.FAILED): State.AWAY,
    (State.STEADY, Event.ANSWERED): State.STEADY,
    (State.STEADY, Event.GRANTED): State.STEADY,
    (State.STEADY, Event.DISTRUSTED): State.YIELDING,
    (State.STEADY, Event.OWED): State.OWING,
    (State.STEADY, Event.SETTLED): State.STEADY,
    (State.STEADY, Event.LEFT): State.STEADY,
    (State.STEADY, Event.BROKEN_OFF): State.STEADY,
    (State.AWAY, Event.FAILED): State.AWAY,
    (State.AWAY, Event.ANSWERED): State.YIELDING,
    (State.AWAY, Event.OWED): State.OWING,
    (State.AWAY, Event.LEFT): State.AWAY,
    (State.AWAY, Event.BROKEN_OFF): State.AWAY,
    (State.YIELDING, Event.FAILED): State.AWAY,
    (State.YIELDING, Event.ANSWERED): State.YIELDING,
    (State.YIELDING, Event.HELD_BACK): State.STEADY,
    # Others have been yielded to for too long:
    (State.YIELDING, Event.GRANTED): State.YIELDING,
    (State.YIELDING, Event.DISTRUSTED): State.YIELDING,
    (State.YIELDING, Event.OWED): State.OWING,
    (State.YIELDING, Event.SETTLED): State.YIELDING,
    (State.YIELDING, Event.LEFT): State.YIELDING,
    (State.YIELDING, Event.BROKEN_OFF): State.YIELDING,
    (State.OWING, Event.FAILED): State.OWING,
    (State.OWING, Event.ANSWERED): State.OWING,
    (State.OWING, Event.GRANTED): State.PAYING,
    (State.OWING, Event.DISTRUSTED): State.OWING,
    (State.OWING, Event.OWED): State.OWING,
    (State.OWING, Event.SETTLED): State.YIELDING,
    (State.OWING, Event.LEFT): State.OWING,
    (State.OWING, Event.BROKEN_OFF): State.OWING,
    (State.PAYING, Event.FAILED): State.PAYING,
    (State.PAYING, Event.ANSWERED): State.PAYING,
    (State.PAYING, Event.OWED): State.OWING,
    (State.PAYING, Event.SETTLED): State.YIELDING,
    # Somebody else has saved something newer:
    (State.PAYING, Event.LEFT): State.YIELDING,
    (State.PAYING, Event.BROKEN_OFF): State.OWING,
}


def advance(state: State, event: Event) -> State:
    """Return the state after `event`; raises IllegalTransition where the table has none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"a store that is {state.value} cannot take {event.value}") from None


@dataclass(frozen=True, slots=True)
class Lease:
    """A grant of the lock: to whom, and its number, the fence."""

    holder: str
    fence: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What the decisions look at. Times are those of one clock, in seconds.

    Attributes:
        back_at: when Redis first answered after it last failed, or a grant was last distrusted; None while it is away.
        highest: the number of the last grant to this process, which the next one must exceed; 0 after an outage, which
            Redis may come back from with older data.
        last: the last lease of this process, in use or not.
    """

    state: State = State.STEADY
    back_at: float | None = None
    highest: int = 0
    last: Lease | None = None

    def after(self, event: Event, now: float) -> Standing:
        """Return what it is after `event`; raises IllegalTransition."""
        state, back_at, highest = advance(self.state, event), self.back_at, self.highest
        if event is Event.FAILED or event is Event.OWED:
            back_at, highest = None, 0
        elif event is Event.DISTRUSTED or (event is Event.ANSWERED and back_at is None):
            back_at = now
        return replace(self, state=state, back_at=back_at, highest=highest)

    def granted(self, lease: Lease, now: float) -> Standing:
        """Return what it is once this lease has been granted, or taken up again."""
        return replace(self.after(Event.GRANTED, now), highest=lease.fence, last=lease)

    def distrusted(self, fence: int, now: float) -> Standing:
        """Return what it is once a grant of this number was not to be trusted, and is given back."""
        return replace(self.after(Event.DISTRUSTED, now), highest=fence - 1)


@dataclass(frozen=True, slots=True)
class Probe:
    """Find out whether Redis is back."""


@dataclass(frozen=True, slots=True)
class HoldBack:
    """Let others go first for so many seconds, then see whether Redis is still there."""

    seconds: float


@dataclass(frozen=True, slots=True)
class TakeUp:
    """Take this old lease up again, unless somebody else has had the lock since."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for the lock.

    Attributes:
        held_back: all others have had their time to go first.
    """

    held_back: bool = False


Step = Probe | HoldBack | TakeUp | Ask


def yields_for(standing: Standing, now: float, lease: float) -> float | None:
    """Return for how many seconds others still go first, 0 or less for none; None: that begins when Redis is back."""
    if standing.state in (State.STEADY, State.PAYING):
        return 0.0
    return None if standing.back_at is None else standing.back_at + lease * PRECEDENCE - now


def next_step(standing: Standing, now: float, lease: float, *, held_back: float = 0.0, refused: bool = False) -> Step:
    """Decide what whoever wants the lock does next.

    Args:
        lease: for how many seconds a lease is granted.
        held_back: for how many seconds he has held back already.
        refused: his old lease could not be taken up again, for others went on: he has no better right than they.
    """
    if standing.state is State.OWING and standing.last is not None and not refused:
        return TakeUp(standing.last)
    if _enough(held_back, lease):
        return Ask()
    left = yields_for(standing, now, lease)
    if left is None:
        return Probe()
    return HoldBack(min(left, lease * LOOK)) if left > 0 else Ask(held_back=standing.state is State.YIELDING)


def trusted(standing: Standing, fence: int, now: float, lease: float, *, held_back: float = 0.0) -> bool:
    """Tell whether a grant of this number is to be trusted.

    One that is no higher than one before shows that Redis went back to older data while nobody looked, and may have
    forgotten a lease. One that was asked for before Redis failed, or hung, may have come before those who go first. The
    first number of all, for somebody who has just started, may be that of a Redis that forgot a moment ago: those who
    know the session put it back first.
    """
    if fence <= standing.highest or (fence == 1 and standing.last is None and not held_back):
        return False
    left = yields_for(standing, now, lease)
    return _enough(held_back, lease) or (left is not None and left <= 0)


def _enough(held_back: float, lease: float) -> bool:
    return held_back >= MOST * PRECEDENCE * lease


def slow(seconds: float, lease: float) -> bool:
    """Tell whether an answer took so long that it counts as an outage."""
    return seconds > lease * SLOW


def lets_go(standing: Standing) -> bool:
    """Tell whether a lease is let go of once it is not in use; with one, whoever owes something keeps others off."""
    return standing.state not in (State.OWING, State.PAYING)
