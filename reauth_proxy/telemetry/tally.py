"""Counts what was done, as requests end: for metrics, and for whoever looks at the status page.

It is on the path of every request, so it only adds to plain numbers, 1 µs each; metrics are made of them when somebody
asks. Everything is bounded: whatever clients send, there are so many routes, methods, statuses and outcomes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Set
from dataclasses import dataclass
from typing import Final, Literal

from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.forward.own import HERE
from reauth_proxy.session.history import Durations

#: Upper bounds of what requests' durations are counted by, in seconds.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Seconds of traffic that are remembered.
SECONDS: Final = 300
#: So many requests that were parked, replayed or refused are remembered one by one.
REMEMBERED: Final = 50
#: What is not forwarded: requests that were refused before their route was chosen, and those for the proxy itself.
_NO_ROUTES: Final = frozenset({"", HERE.decode()})
_LONGEST_PATH: Final = 200
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})

Replay = Literal["accepted", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class Notable:
    """A request that was parked, replayed or refused.

    Attributes:
        number: counts from 1.
        at: when it ended, in epoch seconds.
        seconds: how long it took.
        parked: how many of them it waited for a refresh.
        detail: why it was refused, in words.
    """

    number: int
    at: float
    id: str
    method: str
    path: str
    status: int
    outcome: str
    seconds: float
    parked: float
    replayed: bool
    generation: int
    detail: str | None


@dataclass(slots=True)
class Second:
    """One second's requests, by when they ended.

    Attributes:
        at: epoch seconds.
    """

    at: int
    requests: int = 0
    parked: int = 0
    replayed: int = 0


class Tally:
    """An :class:`~reauth_proxy.forward.exchange.Observer`.

    Attributes:
        requests: how many, by route, method, status and outcome.
        durations: of them, by route; tunnels are left out, whose length says nothing.
        replays: how many, by what came of them.
        notable: the last ones that were not just forwarded, oldest first.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int, str], int] = {}
        self.durations: dict[str, Durations] = {}
        self.replays: dict[Replay, int] = {"accepted": 0, "rejected": 0, "failed": 0}
        self.notable: deque[Notable] = deque(maxlen=REMEMBERED)
        self._seconds: deque[Second] = deque(maxlen=SECONDS)
        self._now = Second(0)
        self._noted = 0

    def finished(self, exchange: Exchange, seconds: float) -> None:
        """Count a request that ended."""
        where, status = exchange.where, exchange.status
        method = exchange.method if exchange.method in _METHODS else "other"
        key = (where, method, status, exchange.outcome)
        self.requests[key] = self.requests.get(key, 0) + 1
        if status != 101:
            durations = self.durations.get(where)
            if durations is None:
                durations = self.durations[where] = Durations(BUCKETS)
            durations.add(seconds)
        ended = time.time()
        now = self._now
        if now.at != int(ended):
            now = self._next(int(ended))
        now.requests += 1
        if exchange.parked or exchange.replayed or exchange.detail is not None:
            self._note(exchange, seconds, ended)

    def traffic(self, until: float) -> list[Second]:
        """Return what there was in each of the last seconds, oldest first, up to the last one that is over.

        Args:
            until: epoch seconds.
        """
        found = {second.at: second for second in (*self._seconds, self._now)}
        return [found.get(at) or Second(at) for at in range(int(until) - SECONDS, int(until))]

    def keep_only(self, routes: Set[str]) -> None:
        """Drop what was counted of routes that are no more."""
        kept = routes | _NO_ROUTES
        self.requests = {key: count for key, count in self.requests.items() if key[0] in kept}
        self.durations = {where: durations for where, durations in self.durations.items() if where in kept}

    def _next(self, at: int) -> Second:
        if self._now.at:
            self._seconds.append(self._now)
        self._now = Second(at)
        return self._now

    def _note(self, exchange: Exchange, seconds: float, ended: float) -> None:
        self._noted += 1
        if exchange.parked:
            self._now.parked += 1
        if exchange.replayed:
            self._now.replayed += 1
            failed = exchange.detail is not None or exchange.outcome in ("aborted", "cut_off")
            self.replays[
                "failed" if failed else "rejected" if exchange.status in exchange.route.statuses else "accepted"
            ] += 1
        self.notable.append(
            Notable(
                self._noted,
                ended,
                exchange.id,
                exchange.method,
                exchange.path[:_LONGEST_PATH],
                exchange.status,
                exchange.outcome,
                seconds,
                exchange.parked,
                exchange.replayed,
                exchange.generation,
                exchange.detail,
            )
        )
