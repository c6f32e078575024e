"""How the daemon is, as plain data: for the status page, and for `reauth-proxy status`. Never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from reauth_proxy import __version__
from reauth_proxy.control import readiness
from reauth_proxy.session.history import Attempt
from reauth_proxy.session.refresher import Session
from reauth_proxy.telemetry.tally import Tally
from reauth_proxy.upstream.pool import Pool

#: Seconds of refreshes that are told.
HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class RouteLine:
    """A route as people see it; `credential` is None where it forwards without a token."""

    path: str
    upstream: str
    credential: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What is looked at.

    Attributes:
        started: epoch seconds.
        pools: each with the upstream's name.
        clients: how many connections clients have.
    """

    started: float
    listen: str
    draining: bool
    routes: tuple[RouteLine, ...]
    sessions: Mapping[str, Session]
    pools: Mapping[str, Pool]
    tally: Tally
    clients: int


@dataclass(slots=True)
class Since:
    """How far somebody has been told.

    Attributes:
        attempts: the newest attempt's number, by credential.
        notable: the newest request's number.
        second: the newest second of traffic, in epoch seconds.
    """

    attempts: dict[str, int]
    notable: int = 0
    second: int = 0


def nothing_yet() -> Since:
    """Return where everybody begins."""
    return Since({})


def report(overview: Overview, since: Since, now: float) -> dict[str, Any]:
    """Return how the daemon is, with what has happened since; `since` is moved on.

    Args:
        now: epoch seconds.
    """
    looks = {name: session.news.look() for name, session in overview.sessions.items()}
    problems = readiness.problems(looks, draining=overview.draining)
    return {
        "version": __version__,
        "now": now,
        "started": overview.started,
        "listen": overview.listen,
        "ready": not problems,
        "problems": problems,
        "clients": overview.clients,
        "routes": [asdict(route) for route in overview.routes],
        "credentials": [
            {
                "name": name,
                **looks[name].shown(),
                "issued_at": None if session.lifetime is None else session.lifetime[0],
                "expires_at": None if session.lifetime is None else session.lifetime[1],
                "refreshes": dict(session.history.counts),
                "logouts": session.stats.logouts,
            }
            for name, session in overview.sessions.items()
        ],
        "upstreams": [{"name": name, **asdict(pool.census())} for name, pool in overview.pools.items()],
        "attempts": _attempts(overview.sessions, since, now),
        "traffic": _traffic(overview.tally, since, now),
        "notable": _notable(overview.tally, since),
    }


def _attempts(sessions: Mapping[str, Session], since: Since, now: float) -> list[dict[str, Any]]:
    found: list[tuple[str, Attempt]] = []
    for name, session in sessions.items():
        told = since.attempts.get(name, 0)
        new = [attempt for attempt in session.history.attempts if attempt.number > told and attempt.at > now - HOUR]
        if new:
            since.attempts[name] = new[-1].number
        found += [(name, attempt) for attempt in new]
    found.sort(key=lambda pair: pair[1].at)
    return [{"credential": name, **asdict(attempt)} for name, attempt in found]


def _traffic(tally: Tally, since: Since, now: float) -> list[tuple[int, int, int, int]]:
    """Return second, requests, parked and replayed ones, for each second that is over."""
    new = [second for second in tally.traffic(now) if second.at > since.second]
    if new:
        since.second = new[-1].at
    return [(second.at, second.requests, second.parked, second.replayed) for second in new]


def _notable(tally: Tally, since: Since) -> list[dict[str, Any]]:
    new = [notable for notable in tally.notable if notable.number > since.notable]
    if new:
        since.notable = new[-1].number
    return [{**asdict(notable), "why": why(notable.status, notable.outcome, notable.detail)} for notable in new]


def why(status: int, outcome: str, detail: str | None) -> str:
    """Say in words why a request was parked, replayed or refused."""
    if detail is not None:
        return detail
    told = _WORDS.get(outcome, outcome)
    return f"{told} with {status}" if outcome in ("forwarded", "replayed") and status else told


_WORDS: Final[Mapping[str, str]] = {
    "forwarded": "Waited for a refresh, then answered by the upstream",
    "replayed": "The token was rejected; sent again with a newer one, and answered",
    "relayed": "The token was rejected, and so had the one before it been; passed on as it is",
    "resend": "The token was rejected after content that could not be kept; the client is to send it again",
    "answered": "Answered by the proxy itself",
    "aborted": "The client left",
    "cut_off": "The upstream broke off in the middle of its answer",
}
