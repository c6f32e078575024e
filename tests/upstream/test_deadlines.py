"""One timer looks for all: who is late is told, who was answered is not, and a process that was stopped reads first."""

from __future__ import annotations

import asyncio

import pytest

from reauth_proxy.session import stopped
from reauth_proxy.upstream.deadlines import Deadlines


class Waiting:
    def __init__(self) -> None:
        self.late = asyncio.Event()

    def time_out(self) -> None:
        self.late.set()


async def test_whoever_is_late_is_told_and_whoever_was_answered_is_not() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    late, answered, patient = Waiting(), Waiting(), Waiting()
    deadlines.start(patient, 60)
    deadlines.start(late, 0.02)
    deadlines.start(answered, 0.01)
    deadlines.stop(answered)
    async with asyncio.timeout(5):
        await late.late.wait()
    assert (answered.late.is_set(), patient.late.is_set()) == (False, False)
    deadlines.close()


async def test_each_of_several_deadlines_is_kept_whatever_their_order() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    waiting = {seconds: Waiting() for seconds in (0.06, 0.02, 0.04)}
    since = loop.time()
    for seconds, one in waiting.items():
        deadlines.start(one, seconds)
    for seconds in sorted(waiting):
        async with asyncio.timeout(5):
            await waiting[seconds].late.wait()
        assert loop.time() - since >= seconds - 0.005  # a loop's clock may tick in milliseconds
    deadlines.close()


async def test_after_the_process_was_stopped_what_came_meanwhile_is_read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopped, "LATE", -1.0)  # every timer is late
    monkeypatch.setattr(stopped, "GRACE", 0.01)
    deadlines = Deadlines(asyncio.get_running_loop())
    waiting, answered = Waiting(), Waiting()
    deadlines.start(waiting, 0.01)
    deadlines.start(answered, 0.01)
    await asyncio.sleep(0.05)
    assert not waiting.late.is_set()
    deadlines.stop(answered)
    monkeypatch.setattr(stopped, "LATE", 60.0)
    async with asyncio.timeout(5):
        await waiting.late.wait()
    assert not answered.late.is_set()
    deadlines.close()
