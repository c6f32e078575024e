"""The state machine of a session, and its questions. Pure: no asyncio, no logging, no files, no clock.

The questions are :func:`decide_send`, before a request is sent, and :func:`on_rejected`, after the upstream said that
the token is no good. The answers are plain data, which :class:`~reauth_proxy.session.refresher.Session` acts upon.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from reauth_proxy.errors import LogoutReason
from reauth_proxy.session.tokens import AccessToken, Instant

#: A token that is younger than this, in seconds, may be one that the API has not heard of yet.
YOUNG: Final = 2.0
#: So many seconds later a young token that was rejected is tried again.
LAGS: Final = (0.25, 1.0)


class State(Enum):
    """Where a session is in its life."""

    #: There never was a refresh token.
    EMPTY = "empty"
    #: There is a refresh token, and nothing in flight.
    READY = "ready"
    #: One refresh is in flight; requests may be parked behind it.
    REFRESHING = "refreshing"
    #: The refresh was given up, and its last call is still listened to: what it answers counts, and no other may start.
    LISTENING = "listening"
    #: The last refresh was given up as unavailable: a cool-off runs.
    COOLING = "cooling"
    #: Refused by the token endpoint, or asked for by somebody.
    SIGNED_OUT = "signed_out"


class Event(Enum):
    """What can happen to a session."""

    #: A refresh token came from outside: the config, the control plane, or another process through the store.
    OFFERED = "offered"
    STARTED = "started"
    ISSUED = "issued"
    DENIED = "denied"
    #: A refresh token that was only tried was refused, or could not be; the session that there is goes on.
    KEPT = "kept"
    #: Those who wait were told that it is unavailable; the call goes on.
    TOLD = "told"
    GAVE_UP = "gave_up"
    #: Somebody asked for it.
    LEFT = "left"


#: Every transition there is. What is not here is a bug, and raises.
TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.EMPTY, Event.OFFERED): State.READY,
    (State.EMPTY, Event.LEFT): State.SIGNED_OUT,
    (State.READY, Event.OFFERED): State.READY,
    (State.READY, Event.STARTED): State.REFRESHING,
    # Another process was refused with the same refresh token:
    (State.READY, Event.DENIED): State.SIGNED_OUT,
    (State.READY, Event.LEFT): State.SIGNED_OUT,
    (State.REFRESHING, Event.OFFERED): State.READY,
    (State.REFRESHING, Event.ISSUED): State.READY,
    (State.REFRESHING, Event.DENIED): State.SIGNED_OUT,
    (State.REFRESHING, Event.KEPT): State.READY,
    (State.REFRESHING, Event.TOLD): State.LISTENING,
    (State.REFRESHING, Event.GAVE_UP): State.COOLING,
    (State.REFRESHING, Event.LEFT): State.SIGNED_OUT,
    (State.LISTENING, Event.OFFERED): State.READY,
    (State.LISTENING, Event.ISSUED): State.READY,
    (State.LISTENING, Event.DENIED): State.SIGNED_OUT,
    (State.LISTENING, Event.KEPT): State.READY,
    (State.LISTENING, Event.GAVE_UP): State.COOLING,
    (State.LISTENING, Event.LEFT): State.SIGNED_OUT,
    (State.COOLING, Event.OFFERED): State.READY,
    (State.COOLING, Event.STARTED): State.REFRESHING,
    # Another process was refused with the same refresh token:
    (State.COOLING, Event.DENIED): State.SIGNED_OUT,
    (State.COOLING, Event.LEFT): State.SIGNED_OUT,
    (State.SIGNED_OUT, Event.OFFERED): State.READY,
    (State.SIGNED_OUT, Event.LEFT): State.SIGNED_OUT,
}

#: There is nobody whose token could be sent.
OUT: Final = frozenset({State.EMPTY, State.SIGNED_OUT})
#: A refresh is in flight.
IN_FLIGHT: Final = frozenset({State.REFRESHING, State.LISTENING})


class IllegalTransition(RuntimeError):
    """An event came in a state that has no transition for it: a bug."""


def advance(state: State, event: Event) -> State:
    """Return the state after `event`; raises IllegalTransition where the table has none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"a session that is {state.value} cannot take {event.value}") from None


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """How eagerly and how patiently a session refreshes. Times are in seconds.

    Attributes:
        ahead: renew this long before expiry, never more than a fifth of the lifetime.
        background: renew also when no request comes.
        timeout: how long a call may take before those who wait for it count it as unavailable.
        retry_for: keep trying an unavailable token endpoint this long.
        park_timeout: how long one request may wait for a refresh.
        max_parked: how many requests may wait at once.
        on_unavailable: what those who wait get when `retry_for` has passed.
        min_interval: between two refreshes that rejected answers asked for.
    """

    ahead: float = 60.0
    background: bool = True
    timeout: float = 10.0
    retry_for: float = 10.0
    park_timeout: float = 30.0
    max_parked: int = 10_000
    on_unavailable: Literal["logout", "unavailable"] = "logout"
    min_interval: float = 5.0


@dataclass(slots=True)
class Facts:
    """What the decisions look at.

    Attributes:
        life: number of the present life in this process; 0 while nobody is signed in.
        access: the newest access token, expired or not; None before the first and once signed out.
        generation: of the newest access token there ever was; 0 before the first.
        proven: some upstream has accepted the newest access token.
        rejected: an upstream has rejected it, and none has accepted it since.
        reason: why requests are logged out while EMPTY or SIGNED_OUT.
        cooling_until: end of the cool-off while COOLING or LISTENING.
        issued_at: when the present access token arrived.
        born_at: when it was issued; None where it is not known to be new.
        asked_at: when a refresh that a rejected answer asked for was last issued.
    """

    state: State = State.EMPTY
    life: int = 0
    access: AccessToken | None = None
    generation: int = 0
    proven: bool = False
    rejected: bool = False
    reason: LogoutReason = "no_session"
    cooling_until: Instant | None = None
    issued_at: Instant | None = None
    born_at: Instant | None = None
    asked_at: Instant | None = None

    def usable(self, now: Instant) -> AccessToken | None:
        """Return the access token unless one of the clocks says that it has expired."""
        access = self.access
        if access is None or (access.expires is not None and access.expires.reached(now)):
            return None
        return access

    def cooling(self, now: Instant) -> float | None:
        """Return the seconds until a refresh may be tried again, None if one may be tried now."""
        if self.cooling_until is None:
            return None
        if self.state is State.LISTENING:
            return max(1.0, seconds_between(now, self.cooling_until))
        if self.state is not State.COOLING or self.cooling_until.reached(now):
            return None
        return seconds_between(now, self.cooling_until)


def seconds_between(now: Instant, then: Instant) -> float:
    """Return how long it is from `now` to `then` by the clock that gets there first; negative when past."""
    return min(then.monotonic - now.monotonic, then.wall - now.wall)


@dataclass(frozen=True, slots=True)
class Send:
    """Send with this token; where `refresh` is set, start a refresh behind it."""

    token: AccessToken
    refresh: bool = False


@dataclass(frozen=True, slots=True)
class SendBare:
    """There is no session: send without Authorization, so that public pages and a login work."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A newer token is at hand already: send again with it."""

    token: AccessToken


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for the one refresh; where `start` is set, start it."""

    start: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Send again with the same token after so many seconds: the API may hear of it late."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SignedOut:
    """Answer that the session has ended."""

    reason: LogoutReason


@dataclass(frozen=True, slots=True)
class BackOff:
    """No verdict could be had from the token endpoint; try again after so many seconds."""

    retry_after: float


@dataclass(frozen=True, slots=True)
class Closing:
    """Answer that the program is shutting down."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Pass the upstream's answer on as it is."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was sent, and rejected.

    Attributes:
        generation, life: of the token that was sent; 0 if the request went without one.
        replayed: it had been sent before, with an older token.
        pauses: how often it has been sent again with the same token.
        refusing: its route rejects fresh tokens, and has been asked about not long ago.
    """

    generation: int
    life: int
    replayed: bool = False
    pauses: int = 0
    refusing: bool = False


Decision = Replay | Wait | Pause | Relay | SignedOut | BackOff


def decide_send(facts: Facts, now: Instant, *, needs_fresh: bool = False) -> Send | SendBare | Wait | BackOff:
    """Decide with which token a request is sent. A token that is known to be expired never is.

    Args:
        needs_fresh: the request cannot be sent twice, so a refresh that is due comes before it and not behind it.
    """
    if facts.state in OUT:
        return SendBare()
    idle = facts.state not in IN_FLIGHT
    cooling = facts.cooling(now)
    token = facts.usable(now)
    if token is None:
        return Wait(start=idle) if cooling is None else BackOff(cooling)
    if token.renew is None or not token.renew.reached(now) or cooling is not None:
        return Send(token)
    return Wait(start=idle) if needs_fresh else Send(token, refresh=idle)


def on_rejected(facts: Facts, now: Instant, policy: RefreshPolicy, sent: Attempt) -> Decision:
    """Decide what follows an answer that rejected the token which was sent.

    Lives and generations decide, not clocks: a token may be revoked long before it expires. Whatever comes of it, a
    request is replayed once, and only within the life that it belongs to.
    """
    if facts.state in OUT:
        return SignedOut(facts.reason)
    if sent.life != facts.life:
        return Relay()
    token = facts.usable(now)
    if token is not None and token.generation > sent.generation:
        return Relay() if sent.replayed else Replay(token)
    if sent.replayed:
        return _late(facts, now, sent)
    if sent.refusing:
        return Relay()
    if facts.state is State.REFRESHING:
        return Wait(start=False)
    cooling = facts.cooling(now)
    if cooling is not None:
        return BackOff(cooling)
    unproven = not facts.proven and token is not None
    if unproven and facts.asked_at is not None and not facts.asked_at.after(policy.min_interval).reached(now):
        return _late(facts, now, sent)
    return Wait(start=facts.state not in IN_FLIGHT)


def _late(facts: Facts, now: Instant, sent: Attempt) -> Pause | Relay:
    """Decide between the answer as it is and another attempt: an API may hear late of a token that is just issued."""
    young = not facts.proven and facts.born_at is not None and not facts.born_at.after(YOUNG).reached(now)
    if young and not sent.refusing and sent.generation == facts.generation and sent.pauses < len(LAGS):
        return Pause(LAGS[sent.pauses])
    return Relay()
