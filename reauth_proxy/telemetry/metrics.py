"""Metrics for Prometheus, made of what was counted when somebody asks for them.

prometheus-client is imported then, and not before: who does not scrape does not pay for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

from reauth_proxy import __version__
from reauth_proxy.errors import LogoutReason
from reauth_proxy.session.history import Durations
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.snapshot import Condition
from reauth_proxy.telemetry.tally import Tally
from reauth_proxy.upstream.pool import Pool

if TYPE_CHECKING:
    from prometheus_client.core import HistogramMetricFamily, Metric

#: What there is, with what it says. Counters get `_total` and histograms `_bucket`, `_sum` and `_count` behind it.
HELP: Final[Mapping[str, str]] = {
    "reauth_proxy_requests": "Requests that ended, by route, method, status code and what became of them.",
    "reauth_proxy_request_duration_seconds": "How long requests took, by route; tunnels are left out.",
    "reauth_proxy_refreshes": "Attempts to refresh, by credential and what came of them.",
    "reauth_proxy_refresh_duration_seconds": "How long attempts to refresh took.",
    "reauth_proxy_parked_requests": "Requests that wait for a refresh now.",
    "reauth_proxy_replays": "Requests sent again with a newer token, by what came of them: accepted, rejected, failed.",
    "reauth_proxy_logouts": "Sessions that ended, by reason.",
    "reauth_proxy_session_state": "1 for the state that the session is in: fresh, stale, refreshing or signed_out.",
    "reauth_proxy_token_expires_timestamp_seconds": "When the access token expires; absent where nobody said.",
    "reauth_proxy_token_generation": "How many access tokens the session has had.",
    "reauth_proxy_store_failing": "1 while what is refreshed would not survive this process.",
    "reauth_proxy_upstream_connections": "Connections to the upstream: idle, or busy with an exchange.",
    "reauth_proxy_upstream_waiting": "Requests that wait for a connection to the upstream.",
    "reauth_proxy_client_connections": "Connections of clients.",
    "reauth_proxy_build_info": "1; the version of the program and of Python.",
}


@dataclass(frozen=True, slots=True)
class Sources:
    """What is looked at.

    Attributes:
        pools: each with the upstream's name.
        clients: how many connections clients have.
    """

    tally: Tally
    sessions: Mapping[str, Session]
    pools: Mapping[str, Pool]
    clients: int


def exposition(sources: Sources, accept: str) -> tuple[bytes, str]:
    """Return the metrics as text, and its media type, in the form that the Accept field asks for."""
    from prometheus_client import CollectorRegistry, ProcessCollector, exposition

    encode, kind = exposition.choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(sources))
    ProcessCollector(registry=registry)
    return encode(registry), kind


class _Collector:
    """A prometheus_client Collector."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        yield from _of_requests(self._sources.tally)
        yield from _of_sessions(self._sources.sessions)
        yield from _of_connections(self._sources)
        labels = {"version": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
        yield _gauge("reauth_proxy_build_info", [(labels, 1)])


def _of_requests(tally: Tally) -> Iterator[Metric]:
    yield _counter(
        "reauth_proxy_requests",
        [
            ({"route": route, "method": method, "code": str(status), "outcome": outcome}, count)
            for (route, method, status, outcome), count in tally.requests.items()
        ],
    )
    labelled = [({"route": route}, durations) for route, durations in tally.durations.items()]
    yield _histogram("reauth_proxy_request_duration_seconds", ["route"], labelled)
    yield _counter("reauth_proxy_replays", [({"outcome": name}, count) for name, count in tally.replays.items()])


def _of_sessions(sessions: Mapping[str, Session]) -> Iterator[Metric]:
    each = [({"credential": name}, session) for name, session in sessions.items()]
    attempts = [
        ({**who, "outcome": outcome}, count)
        for who, session in each
        for outcome, count in session.history.counts.items()
    ]
    yield _counter("reauth_proxy_refreshes", attempts)
    durations = [(who, session.history.durations) for who, session in each]
    yield _histogram("reauth_proxy_refresh_duration_seconds", ["credential"], durations)
    yield _gauge("reauth_proxy_parked_requests", [(who, session.parked) for who, session in each])
    ended = [
        ({**who, "reason": reason}, session.stats.ended.get(reason, 0))
        for who, session in each
        for reason in get_args(LogoutReason)
        if reason in ("refresh_denied", "signed_out")  # the others are answers of sessions that go on, or never began
    ]
    yield _counter("reauth_proxy_logouts", ended)
    states = [(who, session.news.look().state) for who, session in each]
    in_state = [
        ({**who, "state": state}, int(state == present)) for who, present in states for state in get_args(Condition)
    ]
    yield _gauge("reauth_proxy_session_state", in_state)
    lifetimes = [(who, session.lifetime) for who, session in each]
    expiries = [(who, lifetime[1]) for who, lifetime in lifetimes if lifetime is not None]
    yield _gauge("reauth_proxy_token_expires_timestamp_seconds", expiries)
    yield _gauge("reauth_proxy_token_generation", [(who, session.generation) for who, session in each])
    yield _gauge("reauth_proxy_store_failing", [(who, int(session.store_failed)) for who, session in each])


def _of_connections(sources: Sources) -> Iterator[Metric]:
    found = [({"upstream": name}, pool.census()) for name, pool in sources.pools.items()]
    in_state = [
        ({**which, "state": state}, count)
        for which, census in found
        for state, count in (("idle", census.idle), ("busy", census.busy))
    ]
    yield _gauge("reauth_proxy_upstream_connections", in_state)
    yield _gauge("reauth_proxy_upstream_waiting", [(which, census.waiting) for which, census in found])
    yield _gauge("reauth_proxy_client_connections", [({}, sources.clients)])


_Samples = Iterable[tuple[dict[str, str], float]]


def _counter(name: str, samples: _Samples) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, HELP[name])
    for labels, value in samples:
        family.add_sample(f"{name}_total", labels, value)
    return family


def _gauge(name: str, samples: _Samples) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, HELP[name])
    for labels, value in samples:
        family.add_sample(name, labels, value)
    return family


def _histogram(name: str, labels: list[str], samples: list[tuple[dict[str, str], Durations]]) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, HELP[name], labels=labels)
    for values, durations in samples:
        sum_so_far, buckets = 0, []
        for bound, count in zip((*map(str, durations.bounds), "+Inf"), durations.counts, strict=True):
            sum_so_far += count
            buckets.append((bound, float(sum_so_far)))
        family.add_metric(list(values.values()), buckets, durations.total)
    return family
