"""Where requests wait: order, patience, limit, and what thousands cost."""

from __future__ import annotations

import asyncio

import pytest

from reauth_proxy.session.parking import BATCH, Full, ParkingLot
from tests.session.fakes import turns, virtual


def park(lot: ParkingLot[str], count: int) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(lot.park()) for _ in range(count)]


@virtual
async def test_everybody_gets_the_verdict_and_late_comers_wait_for_the_next() -> None:
    lot: ParkingLot[str] = ParkingLot(10, 30)
    first = park(lot, 3)
    await turns(1)
    lot.release("one")
    second = park(lot, 2)
    await turns(1)
    assert await asyncio.gather(*first) == ["one"] * 3
    assert (len(lot), lot.waiting) == (2, 2)
    lot.release("two")
    assert await asyncio.gather(*second) == ["two"] * 2
    assert (len(lot), lot.waiting) == (0, 0)


@virtual
async def test_they_are_woken_a_batch_per_turn_in_the_order_in_which_they_came() -> None:
    lot: ParkingLot[str] = ParkingLot(10_000, 30)
    order: list[int] = []

    async def wait(number: int) -> None:
        await lot.park()
        order.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(10 * BATCH)]
    await turns(1)
    lot.release("go")
    seen = []
    for _ in range(10):
        await asyncio.sleep(0)
        seen.append(len(order))
    await asyncio.gather(*tasks)
    assert order == sorted(order)
    assert all(after - before <= BATCH for before, after in zip([0, *seen], seen, strict=False))


@virtual
async def test_the_limit_counts_those_who_are_about_to_be_woken() -> None:
    lot: ParkingLot[str] = ParkingLot(2, 30)
    tasks = park(lot, 2)
    await turns(1)
    lot.release("go")
    with pytest.raises(Full):
        await lot.park()
    await asyncio.gather(*tasks)
    again = park(lot, 1)
    await turns(1)
    lot.release("again")
    assert await again[0] == "again"


@virtual
async def test_patience_ends_for_each_at_its_own_time_with_one_timer() -> None:
    lot: ParkingLot[str] = ParkingLot(100, 30)
    loop = asyncio.get_running_loop()
    ended: list[float] = []

    async def wait(start: float) -> None:
        await asyncio.sleep(start)
        with pytest.raises(TimeoutError):
            await lot.park()
        ended.append(loop.time() - 1000)

    await asyncio.gather(*(wait(start) for start in (0, 1, 1, 20)))
    assert ended == [30, 31, 31, 50]
    assert len(lot) == 0


@virtual
@pytest.mark.parametrize("leaves", [True, False], ids=["the oldest leaves", "the oldest stays"])
@pytest.mark.parametrize(("patience", "first", "second"), [(5, 15, 15), (60, 30, 70)])
async def test_another_patience_holds_for_newcomers(patience: float, first: float, second: float, leaves: bool) -> None:
    lot: ParkingLot[str] = ParkingLot(100, 30)
    loop = asyncio.get_running_loop()
    ended: dict[str, float] = {}

    async def wait(name: str) -> None:
        with pytest.raises(TimeoutError):
            await lot.park()
        ended[name] = loop.time() - 1000

    oldest = asyncio.create_task(wait("oldest"))
    await asyncio.sleep(10)
    if leaves:
        oldest.cancel()
        await turns(1)
    lot.adjust(100, patience)
    await asyncio.gather(oldest, wait("newcomer"), return_exceptions=True)
    assert ended == ({} if leaves else {"oldest": first}) | {"newcomer": second}


@virtual
async def test_who_leaves_is_forgotten_at_once_and_woken_by_nobody() -> None:
    lot: ParkingLot[str] = ParkingLot(10_000, 30)
    tasks = park(lot, 5_000)
    await turns(1)
    for task in tasks[:4_900]:
        task.cancel()
    await turns(2)
    assert (len(lot), lot.waiting) == (100, 100)
    lot.release("go")
    assert await asyncio.gather(*tasks[4_900:]) == ["go"] * 100
    assert len(lot) == 0


@virtual
async def test_who_leaves_between_the_release_and_the_waking_is_skipped() -> None:
    lot: ParkingLot[str] = ParkingLot(10_000, 30)
    tasks = park(lot, 3 * BATCH)
    await turns(1)
    lot.release("go")
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert outcomes[1::2] == ["go"] * (3 * BATCH // 2)
    assert len(lot) == 0


@virtual
async def test_a_timer_that_outlived_its_request_harms_nobody() -> None:
    lot: ParkingLot[str] = ParkingLot(10, 30)
    gone = park(lot, 1)[0]
    await asyncio.sleep(10)
    gone.cancel()
    stays = park(lot, 1)[0]
    await asyncio.sleep(25)
    lot.release("go")
    assert await stays == "go"


@virtual
async def test_repr_counts() -> None:
    assert repr(ParkingLot(7, 30)) == "<ParkingLot 0 waiting, 0 leaving, limit 7>"
