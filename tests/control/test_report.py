"""What the status page is told, and that it is told once."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reauth_proxy.control.report import HOUR, Overview, RouteLine, Since, nothing_yet, report, why
from reauth_proxy.session.history import History
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.snapshot import Snapshot
from reauth_proxy.telemetry.tally import Tally
from reauth_proxy.upstream.pool import Census, Pool
from tests.fakes.exchanges import exchange

NOW = 1_800_000_000.0
WELL = Snapshot("fresh", 3, 41.0, None, 2, False, None)


def a_session(snapshot: Snapshot = WELL, history: History | None = None) -> Session:
    """A session as far as a report looks at it."""
    news = SimpleNamespace(look=lambda: snapshot)
    stats = SimpleNamespace(logouts=1)
    known: dict[str, Any] = {"news": news, "stats": stats, "lifetime": (NOW - 10, NOW + 50)}
    return cast(Session, SimpleNamespace(**known, history=history or History()))


def overview(**what: Any) -> Overview:
    pool = cast(Pool, SimpleNamespace(census=lambda: Census(1, 2, 3)))
    routes = (RouteLine("/", "https://api.example.com/v1", "one"), RouteLine("/public", "http://localhost", None))
    known = Overview(
        NOW - 60, "http://127.0.0.1:8080", False, routes, {"one": a_session()}, {"there": pool}, Tally(), 5
    )
    return replace(known, **what)


def test_it_says_how_everything_is() -> None:
    found = report(overview(), nothing_yet(), NOW)
    assert (found["ready"], found["problems"], found["clients"]) == (True, {}, 5)
    assert found["upstreams"] == [{"name": "there", "idle": 1, "busy": 2, "waiting": 3}]
    assert found["routes"][1] == {"path": "/public", "upstream": "http://localhost", "credential": None}
    (credential,) = found["credentials"]
    assert (credential["name"], credential["state"], credential["generation"], credential["parked"]) == (
        "one",
        "fresh",
        3,
        2,
    )
    assert (credential["issued_at"], credential["expires_at"], credential["logouts"]) == (NOW - 10, NOW + 50, 1)


def test_a_problem_is_told_with_its_reason() -> None:
    gone = a_session(replace(WELL, state="signed_out", reason="no_session"))
    found = report(overview(sessions={"one": gone}, draining=True), nothing_yet(), NOW)
    assert found["ready"] is False
    assert set(found["problems"]) == {"one", "daemon"}


def test_what_was_told_is_not_told_again() -> None:
    history, tally, since = History(), Tally(), nothing_yet()
    seen = overview(sessions={"one": a_session(history=history)}, tally=tally)
    history.note(NOW - 5, "issued", 0.02, "expired")
    tally.finished(exchange(parked=0.2), 0.3)
    first = report(seen, since, NOW)
    assert ([a["number"] for a in first["attempts"]], [n["number"] for n in first["notable"]]) == ([1], [1])
    assert len(first["traffic"]) == 300
    again = report(seen, since, NOW + 1)
    assert (again["attempts"], again["notable"]) == ([], [])
    assert [second[0] for second in again["traffic"]] == [int(NOW)]
    history.note(NOW + 1, "denied", 0.02, "renewal", "invalid_grant")
    assert [a["outcome"] for a in report(seen, since, NOW + 2)["attempts"]] == ["denied"]
    assert len(report(seen, nothing_yet(), NOW + 2)["attempts"]) == 2, "others are told everything"


def test_refreshes_of_all_credentials_are_told_in_order_and_for_an_hour() -> None:
    one, two = History(), History()
    one.note(NOW - HOUR - 1, "issued", 0.02, "expired")
    one.note(NOW - 20, "issued", 0.02, "expired")
    two.note(NOW - 30, "unavailable", 10.0, "expired", "no answer")
    seen = overview(sessions={"one": a_session(history=one), "two": a_session(history=two)})
    found = report(seen, nothing_yet(), NOW)["attempts"]
    assert [(attempt["credential"], attempt["outcome"]) for attempt in found] == [
        ("two", "unavailable"),
        ("one", "issued"),
    ]


def test_what_is_remembered_of_refreshes_is_bounded() -> None:
    history = History()
    for _ in range(1000):
        history.note(NOW, "issued", 0.02, "expired")
    assert len(history.attempts) == 500
    assert history.counts["issued"] == sum(history.durations.counts) == 1000


@pytest.mark.parametrize(
    ("status", "outcome", "detail", "words"),
    [
        (200, "replayed", None, "The token was rejected; sent again with a newer one, and answered with 200"),
        (200, "forwarded", None, "Waited for a refresh, then answered by the upstream with 200"),
        (0, "aborted", None, "The client left"),
        (421, "host_denied", "This name is not known.", "This name is not known."),
        (200, "something_new", None, "something_new"),
    ],
)
def test_why_is_said_in_words(status: int, outcome: str, detail: str | None, words: str) -> None:
    assert why(status, outcome, detail) == words


def test_somebody_new_has_been_told_nothing() -> None:
    assert nothing_yet() == Since({}, 0, 0)
