"""Secrets hide, and instants believe whichever clock is later."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import threading

import pytest

from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret, StoredSession, watched

CANARY = "CANARY-secret"


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(CANARY)),
        str(Secret(CANARY)),
        f"{Secret(CANARY)}",
        f"{Secret(CANARY)!r:>40}",
        f"{Secret(CANARY):>40}",
        repr([Secret(CANARY)]),
        repr({"token": Secret(CANARY)}),
        repr(AccessToken(Secret(CANARY), 1, None, None)),
        repr(Issued(Secret(CANARY), Secret(CANARY), 1.0)),
        repr(StoredSession(Secret(CANARY), Secret(CANARY))),
        Secret(CANARY).fingerprint(),
    ],
)
def test_a_secret_never_shows_itself(shown: str) -> None:
    assert "CANARY" not in shown


def test_a_secret_cannot_be_serialised() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(CANARY))
    with pytest.raises(TypeError):
        copy.copy(Secret(CANARY))
    with pytest.raises(TypeError):
        json.dumps(Secret(CANARY))


def test_secrets_compare_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a").fingerprint() == Secret("a").fingerprint()
    assert Secret("a").fingerprint() != Secret("b").fingerprint()
    assert not Secret("")
    assert Secret("é").reveal() == "é"


@pytest.mark.parametrize(
    ("monotonic", "wall", "reached"), [(9, 109, False), (10, 100, True), (0, 110, True), (10, 110, True), (0, 0, False)]
)
def test_a_moment_has_come_when_either_clock_says_so(monotonic: float, wall: float, reached: bool) -> None:
    assert Instant(5, 105).after(5).reached(Instant(monotonic, wall)) is reached


def test_who_looks_at_the_secrets_is_not_disturbed_by_those_that_come_and_go() -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            several = [Secret(f"CANARY-{number}") for number in range(50)]
            several[0].reveal()
            del several

    churning = [threading.Thread(target=churn) for _ in range(2)]
    for thread in churning:
        thread.start()
    kept = Secret("CANARY-kept")
    try:
        for turn in range(300):
            assert any(secret is kept for secret in watched().values())
            if turn % 50 == 0:
                gc.collect()
    finally:
        stop.set()
        for thread in churning:
            thread.join()
