"""Says what is a violation and what is nobody's fault. Plain data; the caller brings the time, in monotonic seconds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

#: Seconds of undisturbed life within which a daemon hears what another process put into the store.
LAG: Final = 2.0
#: A store that is back is used again within so many seconds.
STORE_BACK: Final = 6.0
#: From the arrival of an answer to its save, on a busy machine.
SAVED_WITHIN: Final = 1.0
#: A session that follows from the configuration takes so many seconds to be what the configuration says.
CONFIGURED: Final = 5.0
#: As many violations are kept with their evidence.
KEPT: Final = 50


class Spans:
    """Stretches of time, the last of which may go on."""

    def __init__(self, more: float = 0.0) -> None:
        self._spans: list[tuple[float, float]] = []
        self._more = more

    def begin(self, now: float) -> None:
        self._spans.append((now, math.inf))

    def end(self, now: float) -> None:
        began, _ = self._spans[-1]
        self._spans[-1] = (began, now + self._more)

    def overlap(self, begin: float, end: float) -> list[tuple[float, float]]:
        """Return what of them is in between."""
        return [(max(a, begin), min(b, end)) for a, b in self._spans if a <= end and b >= begin]

    def goes_on(self, now: float) -> bool:
        return bool(self.overlap(now, now))


def length(spans: list[tuple[float, float]]) -> float:
    """Return how long they are together, each moment counted once."""
    total, until = 0.0, -math.inf
    for a, b in sorted(spans):
        total += max(0.0, b - max(a, until))
        until = max(until, b)
    return total


@dataclass
class Delivery:
    """One answer with tokens.

    Attributes:
        to: the process that asked; None where nobody can tell.
        began, at: when the request came, and when the answer went.
        lost: why it cannot have been kept; "" where it can.
    """

    to: str | None
    began: float
    at: float = math.inf
    lost: str = ""


@dataclass
class Rotation:
    """A refresh token that was used up.

    Attributes:
        saved: the store was seen with what came of it.
    """

    family: Family
    used: str
    successor: str
    answer: bytes
    at: float
    deliveries: list[Delivery] = field(default_factory=list)
    saved: bool = False


@dataclass
class Family:
    """A sign-in at the authorization server, and what grew from it.

    Attributes:
        ended: why it lives no more; "" while it does.
    """

    person: int
    root: str
    lifetime: float
    newest: str = ""
    rotations: dict[str, Rotation] = field(default_factory=dict)
    ended: str = ""

    @property
    def alive(self) -> bool:
        return not self.ended


@dataclass
class Tenure:
    """When a family could be in force.

    Attributes:
        ends: by daemon when it was over there, and whether at that very moment or once the daemon had heard of it.
    """

    family: Family
    began: float
    ends: dict[str, tuple[float, bool]] = field(default_factory=dict)


class Judge:
    """What happened so far, and what of it must not have.

    Args:
        daemons: their names.
        park_timeout: as configured.
        told: hears of each violation at once.

    Attributes:
        counts: of everything.
        violations: the first of them, each with what is known of it.
        sure: the family that is in force for sure, None for nobody, and since when; None where nobody can tell.
    """

    def __init__(self, daemons: list[str], park_timeout: float, told: Callable[[dict[str, Any]], None]) -> None:
        self.daemons = daemons
        self.counts: Counter[str] = Counter()
        self.violations: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.sure: tuple[Family | None, float] | None = None
        self.tenures: list[Tenure] = []
        self.longest = 0.0
        self.store = Spans(STORE_BACK)
        self.away = {name: Spans() for name in daemons}
        self.stopped = {name: Spans() for name in daemons}
        self.wrong = {name: Spans(CONFIGURED) for name in daemons}
        #: By process: when it was killed, and its answers that the store was not seen with.
        self.killed: dict[str, float] = {}
        self.forgot_at = -math.inf
        self._doubted_at = -math.inf
        self._park_timeout = park_timeout
        self._told = told

    def violation(self, kind: str, now: float, **evidence: Any) -> None:
        self.counts["violations"] += 1
        self.counts[f"violation: {kind}"] += 1
        found = {"kind": kind, "at": round(now, 3), **evidence}
        self._told(found)
        if len(self.violations) < KEPT:
            self.violations.append(found)

    # Who is signed in.

    def deed_begins(self, family: Family | None, now: float) -> None:
        """Somebody is about to sign in, or out (None)."""
        self.sure = None
        if family is not None:
            self.tenures.append(Tenure(family, now))

    def deed_ends(self, family: Family | None, at: str | None, now: float, *, done: bool) -> None:
        """It is done, or nobody can tell.

        Args:
            at: the daemon that did it; None for a command.
        """
        if not done:
            self.counts["deeds of which nobody can tell"] += 1
            return
        if any(self.undisturbed(name, self._doubted_at, now) <= LAG for name in self.daemons):
            return  # What a daemon could not store yet may still come after this, and replace it.
        stored = not self.store.goes_on(now)
        for tenure in self.tenures:
            if tenure.family is family:
                continue
            for name in self.daemons:
                if name not in tenure.ends and (stored or name == at):
                    tenure.ends[name] = (now, name == at)
        if stored:
            self.sure = (family, now)

    def doubt(self, since: float, now: float) -> None:
        """Something was lost, or is to be stored still: whoever was in force since then may be again.

        A deed after both daemons have heard of the store makes it sure again.
        """
        self.sure, self._doubted_at = None, now
        self.counts["doubts"] += 1
        for tenure in self.tenures:
            if any(end >= since for end, _ in tenure.ends.values()):
                tenure.ends.clear()

    def undisturbed(self, daemon: str, begin: float, end: float) -> float:
        """Return for how many seconds a daemon could hear of the store."""
        if end <= begin or begin == -math.inf:
            return end - begin
        spans = [*self.store.overlap(begin, end), *self.away[daemon].overlap(begin, end)]
        return end - begin - length([*spans, *self.stopped[daemon].overlap(begin, end)])

    def allowed(self, family: Family, daemon: str, begin: float, end: float) -> bool:
        """Tell whether a family may have been in force at a daemon in between."""
        for tenure in self.tenures:
            if tenure.family is not family or tenure.began > end:
                continue
            over = tenure.ends.get(daemon)
            if over is None or over[0] >= begin:
                return True
            if not over[1] and self.undisturbed(daemon, over[0], begin) <= LAG:
                return True
        return False

    # What is seen.

    def answered(
        self, daemon: str, number: str, begin: float, end: float, status: int, signal: str, seen: list[Family | None]
    ) -> None:
        """A client got an answer, and the API saw these people."""
        self.counts["requests"] += 1
        self.counts[f"answers: {status}{' ' + signal if signal else ''}"] += 1
        who = {"daemon": daemon, "request": number, "status": status, "signal": signal, "began": round(begin, 3)}
        took = end - begin - length([*self.stopped[daemon].overlap(begin, end)])
        self.longest = max(self.longest, took)
        if took > 2 * self._park_timeout + 5:  # For a token, and once more after a rejected answer.
            self.violation("slow", end, took=round(took, 2), **who)
        if status not in (200, 401, 503):
            self.violation(f"status {status}", end, **who)
        people = {family.person for family in seen if family is not None}
        if len(people) > 1:
            self.violation("crossed", end, people=sorted(people), **who)
        for family in seen:
            if family is not None and not self.allowed(family, daemon, begin, end):
                since = [round(tenure.ends[daemon][0], 3) for tenure in self.tenures if tenure.family is family]
                self.violation("somebody else", end, person=family.person, over_since=since, **who)
        bare = bool(seen) and seen[0] is None
        self.counts["requests while somebody was signed in for sure"] += self._must_be_in(daemon, begin, end)
        reason = signal.removeprefix("logout;reason=")
        if (bare or reason in ("refresh_denied", "signed_out", "no_session")) and self._must_be_in(daemon, begin, end):
            assert self.sure is not None
            person = None if self.sure[0] is None else self.sure[0].person
            kind = "sent bare" if bare else f"wrong sign-out: {reason}"
            self.violation(kind, end, person=person, since=round(self.sure[1], 3), **who)

    def broken(self, daemon: str, number: str, begin: float, end: float, why: str) -> None:
        """A client got no answer."""
        self.counts["requests"] += 1
        self.counts["answers: none"] += 1
        if not self.away[daemon].overlap(begin - 0.2, end + 0.2):
            self.violation("no answer", end, daemon=daemon, request=number, began=round(begin, 3), why=why)

    def _must_be_in(self, daemon: str, begin: float, end: float) -> bool:
        """Tell whether somebody was signed in for sure at a daemon, and its family lives."""
        if self.sure is None:
            return False
        family, since = self.sure
        if family is None or not family.alive or since > begin:
            return False
        wrong = any(self.wrong[name].overlap(begin - LAG, end) for name in (daemon,))
        return not wrong and self.undisturbed(daemon, since, begin) > LAG

    # What the authorization server sees.

    def again(self, rotation: Rotation, by: str | None, now: float) -> str:
        """A refresh token that was used up came again: return why that is nobody's fault, "" if it is a violation.

        Each answer that it got must have been lost, or could not be stored.
        """
        whys = [self._lost(rotation, one) for one in rotation.deliveries]
        if all(whys):
            return whys[-1]
        if by is not None and self.killed.get(by, math.inf) <= now:
            return "on its way when its process was killed"
        name = "" if by is None else by.partition("#")[0]
        if name and self.stopped[name].overlap(now - SAVED_WITHIN, now):
            return "stopped before it was sent"
        return ""

    def _lost(self, rotation: Rotation, one: Delivery) -> str:
        if one.lost:
            return one.lost
        if rotation.saved:
            return ""
        until = min(one.at, math.inf) + SAVED_WITHIN
        if one.to is not None and one.to in self.killed and self.killed[one.to] >= one.began:
            return "killed before it was saved"
        names = self.daemons if one.to is None else [one.to.partition("#")[0]]
        if any(self.stopped[name].overlap(one.began, until) for name in names):
            return "stopped before it was saved"
        if self.store.overlap(one.began, until):
            return "the store was away"
        return ""
