"""The table of a refresh, and when it tries again."""

from __future__ import annotations

import itertools

import pytest

from reauth_proxy.session.progress import STEPS, Phase, Progress, Step
from reauth_proxy.session.state import IllegalTransition
from reauth_proxy.session.tokens import Secret, Unavailable

DOWN = Unavailable("down")


@pytest.mark.parametrize(("phase", "step"), list(itertools.product(Phase, Step)))
def test_every_step_is_in_the_table_or_raises(phase: Phase, step: Step) -> None:
    progress = Progress(phase)
    if (phase, step) in STEPS:
        progress.move(step)
        assert progress.phase is STEPS[phase, step]
    else:
        with pytest.raises(IllegalTransition, match=rf"{phase.value} cannot be {step.value}"):
            progress.move(step)
        assert progress.phase is phase


def test_a_refresh_can_be_superseded_whatever_it_does_and_every_phase_can_be_reached() -> None:
    assert {phase for (phase, step) in STEPS if step is Step.SUPERSEDED} == set(Phase)
    reached = {Phase.ASKING}
    while more := {after for (before, _), after in STEPS.items() if before in reached} - reached:
        reached |= more
    assert reached == set(Phase)


def test_attempts_are_counted_and_the_time_runs_from_the_first_failure() -> None:
    progress = Progress()
    for number in range(3):
        assert progress.attempt == number
        progress.failed(now=100.0 + number, retry_for=10.0)
        progress.move(Step.FAILED)
        progress.move(Step.TRIED_AGAIN)
    assert progress.deadline == 110.0


@pytest.mark.parametrize(
    ("phase", "unavailable", "now", "pause"),
    [
        (Phase.ASKING, DOWN, 0.0, 0.1),
        (Phase.ASKING, DOWN, 9.95, None),  # the time is over
        (Phase.ASKING, Unavailable("broken", broken=True), 0.0, 0.0),
        (Phase.ASKING, Unavailable("busy", retry_after=3), 0.0, 3.0),
        (Phase.ASKING, Unavailable("busy", retry_after=90), 0.0, None),
        (Phase.ASKING, Unavailable("wrong client", misconfigured=True), 0.0, None),
        # After a 2xx nothing is repeated by itself:
        (Phase.ASKING, Unavailable("half an answer", answered=True), 0.0, None),
        (Phase.ASKING, Unavailable("half an answer", answered=True, broken=True), 0.0, None),
        (Phase.ASKING, Unavailable("no access token", answered=True, refresh_token=Secret("CANARY")), 0.0, None),
        # Those who waited have been told already:
        (Phase.LISTENING, DOWN, 0.0, None),
    ],
)
def test_when_it_tries_again(phase: Phase, unavailable: Unavailable, now: float, pause: float | None) -> None:
    progress = Progress(phase, deadline=10.0)
    assert progress.pause_after(unavailable, now, jitter=0.0) == pause


def test_a_broken_connection_is_repeated_at_once_but_once_only() -> None:
    progress = Progress(deadline=10.0)
    broken = Unavailable("broken", broken=True)
    assert progress.pause_after(broken, 0.0, 0.0) == 0.0
    assert progress.pause_after(broken, 0.0, 0.0) == 0.1
