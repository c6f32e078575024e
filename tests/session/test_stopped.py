"""A timer that is late is no proof that nobody answered."""

from __future__ import annotations

import asyncio

import pytest

from reauth_proxy.session.parking import ParkingLot
from reauth_proxy.session.stopped import GRACE, LATE, grace, wait_for
from tests.session.fakes import VirtualLoop, virtual


def a_stop(seconds: float) -> None:
    """What SIGSTOP and SIGCONT are for a process: its clock has gone on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.now += seconds


@pytest.mark.parametrize(
    ("due", "now", "more"), [(10, 10, 0), (10, 10 + LATE, 0), (10, 10.1 + LATE, GRACE), (10, 99, GRACE)]
)
def test_a_timer_that_is_late_gets_more_time(due: float, now: float, more: float) -> None:
    assert grace(due, now) == more


@virtual
async def test_a_wait_that_is_over_is_over() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    began = loop.time()
    await wait_for({future}, 5.0)
    assert (loop.time() - began, future.done()) == (5.0, False)


@virtual
async def test_what_came_during_a_stop_is_seen_before_the_time_is_up() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    waiting = asyncio.create_task(wait_for({future}, 5.0))
    await asyncio.sleep(1)
    a_stop(70)
    loop.call_later(0.2, future.set_result, None)  # It lay in the socket, and is read now.
    await waiting
    assert future.done()


@virtual
async def test_after_a_stop_in_which_nothing_came_the_wait_ends_soon() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    waiting = asyncio.create_task(wait_for({future}, 5.0))
    await asyncio.sleep(1)
    a_stop(70)
    since = loop.time()
    await waiting
    assert loop.time() - since <= GRACE
    assert not future.done()


@virtual
async def test_who_is_parked_over_a_stop_gets_the_verdict_that_came_meanwhile() -> None:
    loop = asyncio.get_running_loop()
    lot: ParkingLot[str] = ParkingLot(10, 30.0)
    parked = [asyncio.create_task(lot.park()) for _ in range(3)]
    await asyncio.sleep(1)
    a_stop(75)
    loop.call_later(0.2, lot.release, "token")
    assert await asyncio.gather(*parked) == ["token"] * 3


@virtual
async def test_where_none_came_it_is_told_so_soon_after() -> None:
    loop = asyncio.get_running_loop()
    lot: ParkingLot[str] = ParkingLot(10, 30.0)
    parked = asyncio.create_task(lot.park())
    await asyncio.sleep(1)
    a_stop(75)
    since = loop.time()
    with pytest.raises(TimeoutError):
        await parked
    assert loop.time() - since <= GRACE
