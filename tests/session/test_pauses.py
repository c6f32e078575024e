"""Pauses between attempts: they grow, they end when there is reason to, and a failure is never tried again at once."""

from __future__ import annotations

import asyncio

import pytest

from reauth_proxy.session.pauses import LONGEST_PAUSE, Pauses
from tests.session.fakes import turns, virtual


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_they_grow_to_the_longest_one() -> None:
    pauses = Pauses(lambda: 1.0)
    lasted = []
    for attempt in range(1, 9):
        began = now()
        assert not await pauses.before(attempt)
        lasted.append(now() - began)
    assert lasted == sorted(lasted)
    assert lasted[0] < lasted[-1] <= LONGEST_PAUSE + 0.5


@virtual
async def test_one_that_is_ended_ends_at_once_but_for_a_moment_after_a_failure() -> None:
    for attempt, moment in ((0, 0.0), (8, 0.5)):
        pauses = Pauses(lambda: 1.0)
        began = now()
        waiting = asyncio.create_task(pauses.before(attempt))
        await turns()
        pauses.end()
        assert await waiting
        assert now() - began == pytest.approx(moment)


@virtual
async def test_what_ended_one_pause_does_not_end_the_next() -> None:
    pauses = Pauses(lambda: 1.0)
    pauses.end()
    assert await pauses.before(8)
    began = now()
    assert not await pauses.before(8)
    assert now() - began > LONGEST_PAUSE
