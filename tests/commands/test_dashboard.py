"""What `status` shows."""

from __future__ import annotations

from typing import Any

import click
import pytest

from reauth_proxy.commands import dashboard

NOW = 1_800_000_000.0


def status(**what: Any) -> dict[str, Any]:
    credential = {
        "name": "default",
        "state": "fresh",
        "generation": 3,
        "expires_in": 30.0,
        "issued_at": NOW - 30,
        "expires_at": NOW + 30,
        "reason": None,
        "parked": 2,
        "store_failed": False,
        "problem": None,
        "refreshes": {"issued": 3, "denied": 0, "unavailable": 1},
        "logouts": 0,
    }
    known: dict[str, Any] = {
        "version": "1.2.3",
        "now": NOW,
        "started": NOW - 7200,
        "listen": "http://127.0.0.1:8080",
        "ready": True,
        "problems": {},
        "credentials": [{**credential, **what.pop("credential", {})}],
        "upstreams": [{"name": "https://api.example.com", "idle": 1, "busy": 2, "waiting": 0}],
        "traffic": [[int(NOW) - 2, 30, 1, 0], [int(NOW) - 1, 60, 0, 0]],
        "notable": [],
        "attempts": [],
    }
    return {**known, **what}


def shown(**what: Any) -> str:
    return click.unstyle("\n".join(dashboard.lines(status(**what), 80)))


def test_it_is_compact_and_says_the_most_important_first() -> None:
    text = shown()
    assert text.splitlines()[0] == "reauth-proxy 1.2.3 at http://127.0.0.1:8080: ready, up 2 h"
    assert "default  fresh  generation 3" in text
    assert f"{'█' * 12}{'·' * 12}  expires in 30 s" in text
    assert "refreshes: 3 issued, 0 denied, 1 unavailable; 2 parked now; 0 logouts" in text
    assert "60 requests/s now, 45.0 over the last minute" in text
    assert "https://api.example.com: 2 busy, 1 idle" in text
    assert len(text.splitlines()) <= 12


def test_what_is_wrong_is_said() -> None:
    text = shown(
        ready=False, problems={"default": "somebody signed out; log in again"}, credential={"state": "signed_out"}
    )
    assert "not ready" in text
    assert "default: somebody signed out; log in again" in text
    assert "signed out" in text


def test_an_expired_token_and_one_without_a_lifetime_are_told_apart() -> None:
    assert "expired" in shown(credential={"expires_at": NOW - 5})
    text = shown(credential={"expires_at": None, "issued_at": None})
    assert "expire" not in text


def test_before_the_first_second_is_over_there_is_no_traffic() -> None:
    assert "0 requests/s now, 0.0 over the last minute" in shown(traffic=[])


@pytest.mark.parametrize("part", [-1.0, 0.0, 0.01, 0.5, 0.999, 1.0, 7.0])
def test_a_bar_is_always_as_wide(part: float) -> None:
    assert len(click.unstyle(dashboard.bar(part))) == 24


@pytest.mark.parametrize(
    ("values", "line"), [([], ""), ([0, 0], "  "), ([1, 4, 8], "▂▅█"), ([5], "█"), ([0, 1000, 1], " █▁")]
)
def test_a_sparkline_is_as_high_as_its_values(values: list[int], line: str) -> None:
    assert dashboard.sparkline(values) == line


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (7200, "2 h"), (200_000, "2 days")]
)
def test_a_duration_is_said_in_words(seconds: float, words: str) -> None:
    assert dashboard.lasting(seconds) == words
