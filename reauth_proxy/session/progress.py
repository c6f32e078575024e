"""How far one refresh has come: its phases, and when it tries again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from reauth_proxy.session.schedule import LONGEST_RETRY_AFTER, backoff
from reauth_proxy.session.state import IllegalTransition
from reauth_proxy.session.tokens import Unavailable


class Phase(Enum):
    """Where a refresh is."""

    #: It has the store's lock, or waits for it, and asks the token endpoint.
    ASKING = "asking"
    #: The token endpoint, or the store, is unavailable: it waits before the next attempt.
    PAUSING = "pausing"
    #: Those who wait have been told that it is unavailable; the call goes on, and its answer counts.
    LISTENING = "listening"
    #: There is a verdict, and it has been told.
    SETTLED = "settled"
    #: What it was for is gone: somebody signed in or out. What it brings counts no more.
    SUPERSEDED = "superseded"


class Step(Enum):
    """What can happen to a refresh."""

    FAILED = "failed"
    TRIED_AGAIN = "tried again"
    TOLD = "told"
    SETTLED = "settled"
    SUPERSEDED = "superseded"


#: Every step there is. What is not here is a bug, and raises.
STEPS: Final[dict[tuple[Phase, Step], Phase]] = {
    (Phase.ASKING, Step.FAILED): Phase.PAUSING,
    (Phase.ASKING, Step.TOLD): Phase.LISTENING,
    (Phase.ASKING, Step.SETTLED): Phase.SETTLED,
    (Phase.ASKING, Step.SUPERSEDED): Phase.SUPERSEDED,
    (Phase.PAUSING, Step.TRIED_AGAIN): Phase.ASKING,
    (Phase.PAUSING, Step.SETTLED): Phase.SETTLED,
    (Phase.PAUSING, Step.SUPERSEDED): Phase.SUPERSEDED,
    (Phase.LISTENING, Step.SETTLED): Phase.SETTLED,
    (Phase.LISTENING, Step.SUPERSEDED): Phase.SUPERSEDED,
    # Its last save may be under way still:
    (Phase.SETTLED, Step.SUPERSEDED): Phase.SUPERSEDED,
    (Phase.SUPERSEDED, Step.SUPERSEDED): Phase.SUPERSEDED,
}


@dataclass(slots=True)
class Progress:
    """One refresh. Times are in seconds of the loop's clock.

    Attributes:
        attempt: counts from 0.
        deadline: when those who wait are told that it is unavailable; None before the first failure.
        repeated: a call whose connection broke has been repeated at once already.
    """

    phase: Phase = Phase.ASKING
    attempt: int = 0
    deadline: float | None = None
    repeated: bool = False

    def move(self, step: Step) -> None:
        """Take a step; raises IllegalTransition where the table has none."""
        try:
            self.phase = STEPS[self.phase, step]
        except KeyError:
            raise IllegalTransition(f"a refresh that is {self.phase.value} cannot be {step.value}") from None
        if step is Step.TRIED_AGAIN:
            self.attempt += 1

    def failed(self, now: float, retry_for: float) -> None:
        """Let the time run out from the first failure on."""
        if self.deadline is None:
            self.deadline = now + retry_for

    def pause_after(self, unavailable: Unavailable, now: float, jitter: float) -> float | None:
        """Return the seconds until the next attempt, None if there is to be none. It was :meth:`failed` before."""
        if unavailable.misconfigured or unavailable.answered or self.phase is Phase.LISTENING or self.deadline is None:
            return None
        if unavailable.broken and not self.repeated:
            # The answer may have been lost with a rotated token in it; servers allow for that, but not for long.
            self.repeated = True
            pause = 0.0
        else:
            pause = backoff(self.attempt, jitter)
        if unavailable.retry_after is not None:
            pause = max(pause, min(unavailable.retry_after, LONGEST_RETRY_AFTER))
        return pause if pause <= max(self.deadline - now, 0.0) else None
