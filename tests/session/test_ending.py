"""A task is ended though something in it loses a cancel."""

from __future__ import annotations

import asyncio

import pytest

from reauth_proxy.session import ending
from reauth_proxy.session.ending import end


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "AGAIN", 0.01)


async def losing(cancels: int, lost: list[int]) -> None:
    """Lose so many cancels, as asyncio.wait_for of Python 3.11 may, and go on."""
    for number in range(cancels):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.append(number)
    await asyncio.Event().wait()


@pytest.mark.parametrize("cancels", [0, 1, 3])
async def test_a_task_that_loses_cancels_is_ended_all_the_same(cancels: int) -> None:
    lost: list[int] = []
    tasks = [asyncio.create_task(losing(cancels, lost)) for _ in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end(tasks)
    assert [task.cancelled() for task in tasks] == [True, True]
    assert len(lost) == 2 * cancels


async def test_what_has_ended_is_left_alone_and_none_is_nothing() -> None:
    async def fail() -> None:
        raise ValueError("seen by whoever waits for it")

    failed = asyncio.create_task(fail())
    await asyncio.wait([failed])
    await end([failed])
    await end([])
    assert isinstance(failed.exception(), ValueError)


async def test_whoever_ends_tasks_may_be_cancelled_meanwhile() -> None:
    cleaning = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(slow())
    await asyncio.sleep(0)
    ending_it = asyncio.create_task(end([task]))
    await cleaning.wait()
    ending_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending_it
    await end([task])
    assert task.cancelled()
