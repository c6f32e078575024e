"""What the token endpoint was asked lately, and what came of it. Pure: the caller brings the times."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

Outcome = Literal["issued", "denied", "unavailable"]

#: Upper bounds of what durations are counted by, in seconds: a healthy call takes tens of milliseconds, a timeout 10 s.
BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 70.0)
#: So many attempts are remembered one by one.
REMEMBERED: Final = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to refresh.

    Attributes:
        number: counts from 1.
        at: when it ended, in epoch seconds.
        outcome: what came of it.
        seconds: how long it took.
        cause: what asked for it.
        problem: why it failed, for people.
    """

    number: int
    at: float
    outcome: Outcome
    seconds: float
    cause: str
    problem: str | None


@dataclass(slots=True)
class Durations:
    """How many were how long.

    Attributes:
        bounds: upper bounds in seconds.
        counts: how many were within each bound and above the one before, and how many above them all.
        total: all of them together, in seconds.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class History:
    """The attempts of one session in this process.

    Attributes:
        attempts: the last ones, oldest first.
        counts: all of them, by outcome.
        durations: of all of them.
    """

    attempts: deque[Attempt] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    counts: dict[Outcome, int] = field(default_factory=lambda: {"issued": 0, "denied": 0, "unavailable": 0})
    durations: Durations = field(default_factory=lambda: Durations(BUCKETS))

    def note(self, at: float, outcome: Outcome, seconds: float, cause: str, problem: str | None = None) -> None:
        """Remember one attempt."""
        self.counts[outcome] += 1
        self.durations.add(seconds)
        self.attempts.append(Attempt(sum(self.counts.values()), at, outcome, seconds, cause, problem))
