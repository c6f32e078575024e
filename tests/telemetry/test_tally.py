"""What is counted as requests end."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from reauth_proxy.telemetry import tally
from reauth_proxy.telemetry.tally import Second, Tally
from tests.fakes.exchanges import exchange


def test_requests_are_counted_by_route_method_status_and_outcome() -> None:
    counted = Tally()
    for _ in range(3):
        counted.finished(exchange(), 0.002)
    counted.finished(exchange(status=404), 0.2)
    counted.finished(exchange(where="", status=421, outcome="host_denied", detail="no"), 0.001)
    assert counted.requests == {
        ("/", "GET", 200, "forwarded"): 3,
        ("/", "GET", 404, "forwarded"): 1,
        ("", "GET", 421, "host_denied"): 1,
    }
    assert sum(counted.durations["/"].counts) == 4
    assert counted.durations["/"].total == pytest.approx(0.206)


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.001, 0), (0.0011, 1), (0.3, 8), (60.0, 14), (60.1, 15), (1e9, 15)]
)
def test_a_duration_is_within_its_bound(seconds: float, bucket: int) -> None:
    counted = Tally()
    counted.finished(exchange(), seconds)
    assert counted.durations["/"].counts.index(1) == bucket


def test_how_long_a_tunnel_lasts_says_nothing_about_requests() -> None:
    counted = Tally()
    counted.finished(exchange(status=101), 3600.0)
    assert not counted.durations
    assert counted.requests == {("/", "GET", 101, "forwarded"): 1}


def test_methods_that_anybody_may_make_up_are_one() -> None:
    counted = Tally()
    for number in range(1000):
        counted.finished(exchange(method=f"M{number}"), 0.001)
    assert counted.requests == {("/", "other", 200, "forwarded"): 1000}


@pytest.mark.parametrize(
    ("what", "came_of_it"),
    [
        ({"status": 200, "outcome": "replayed"}, "accepted"),
        ({"status": 404, "outcome": "replayed"}, "accepted"),
        ({"status": 401, "outcome": "replayed"}, "rejected"),
        ({"status": 502, "outcome": "upstream_unreachable", "detail": "it broke"}, "failed"),
        ({"status": 0, "outcome": "aborted"}, "failed"),
    ],
)
def test_what_came_of_a_replay(what: dict[str, Any], came_of_it: str) -> None:
    counted = Tally()
    counted.finished(exchange(replayed=True, **what), 0.1)
    assert {name: count for name, count in counted.replays.items() if count} == {came_of_it: 1}


def test_the_last_ones_that_were_not_just_forwarded_are_remembered_and_no_more() -> None:
    counted = Tally()
    counted.finished(exchange(), 0.001)
    assert not counted.notable
    for number in range(120):
        counted.finished(exchange(parked=0.3, path=f"/{number}" + "x" * 5000), 0.4)
    assert [notable.number for notable in counted.notable] == list(range(71, 121))
    assert max(len(notable.path) for notable in counted.notable) == 200


def test_traffic_is_told_by_the_second_also_where_there_was_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.2]
    monkeypatch.setattr(tally, "time", SimpleNamespace(time=lambda: now[0]))
    counted = Tally()
    counted.finished(exchange(), 0.001)
    counted.finished(exchange(parked=0.1, replayed=True), 0.001)
    now[0] = 1003.9
    counted.finished(exchange(), 0.001)
    now[0] = 1004.0
    found = counted.traffic(now[0])
    assert len(found) == tally.SECONDS
    assert found[-4:] == [Second(1000, 2, 1, 1), Second(1001), Second(1002), Second(1003, 1)]
    now[0] = 9000.0
    assert all(second.requests == 0 for second in counted.traffic(now[0]))


def test_routes_that_are_no_more_are_forgotten() -> None:
    counted = Tally()
    for where in ("/", "/gone", "", "/_reauth/"):
        counted.finished(exchange(where=where), 0.001)
    counted.keep_only({"/"})
    assert {key[0] for key in counted.requests} == {"/", "", "/_reauth/"} == set(counted.durations)


def test_it_costs_next_to_nothing() -> None:
    """Not a measurement: only that nobody made it a hundred times slower."""
    counted, one = Tally(), exchange()
    since = time.process_time()
    for _ in range(10_000):
        counted.finished(one, 0.002)
    assert time.process_time() - since < 2.0
