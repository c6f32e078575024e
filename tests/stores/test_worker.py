"""A thread for calls that may hang: who waits, for how long, and what happens in the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from reauth_proxy.errors import StoreSlow
from reauth_proxy.stores.worker import Worker
from tests.fakes.arrivals import until

#: For what ends well, and for what hangs.
LONG, SHORT = 30.0, 0.05


class Gate:
    """A call that hangs until it is let go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self.reached.set()
        assert self.open.wait(30)
        return "gone through"

    async def is_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 30)


async def test_calls_are_made_in_order_in_one_thread_that_is_no_obstacle_to_the_end() -> None:
    worker, order, threads = Worker("w", LONG, "slow"), list[int](), set[threading.Thread]()

    def note(number: int) -> int:
        order.append(number)
        threads.add(threading.current_thread())
        return number

    results = await asyncio.gather(*(worker.run(lambda number=number: note(number)) for number in range(20)))  # type: ignore[misc]
    assert order == results == list(range(20))
    (thread,) = threads
    assert thread.daemon
    worker.close()
    worker.close()
    thread.join(10)
    assert not thread.is_alive()
    assert await worker.run(lambda: note(20)) == 20
    worker.close()


async def test_what_a_call_raises_is_raised() -> None:
    worker = Worker("w", LONG, "slow")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        await worker.run(sys.exit)
    assert await worker.run(lambda: 1) == 1
    worker.close()


async def test_while_a_call_hangs_the_next_ones_fail_at_once_and_are_never_made() -> None:
    mended = asyncio.Event()
    worker, gate = Worker("w", SHORT, "the disk hangs", mended.set), Gate()
    with pytest.raises(StoreSlow, match="the disk hangs"):
        await worker.run(gate)
    assert worker.hangs
    worker._timeout = LONG
    async with asyncio.timeout(5):
        for _ in range(3):
            with pytest.raises(StoreSlow):
                await worker.run(gate)
    assert not mended.is_set()
    gate.open.set()
    await mended.wait()
    assert not worker.hangs
    assert await worker.run(lambda: 1) == 1
    assert gate.calls == 1
    worker.close()


async def test_who_waits_behind_a_call_that_hangs_waits_no_longer_and_is_forgotten() -> None:
    worker, gate, made = Worker("w", SHORT, "slow"), Gate(), list[int]()
    waiting = [asyncio.create_task(worker.run(gate))]
    waiting += [asyncio.create_task(worker.run(lambda: made.append(1) or "")) for _ in range(3)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreSlow] * 4
    gate.open.set()
    await until(lambda: not worker.hangs)
    worker._timeout = LONG
    await worker.run(lambda: None)
    assert made == []
    worker.close()


async def test_who_is_cancelled_leaves_at_once_and_the_call_is_watched_all_the_same() -> None:
    worker, gate = Worker("w", SHORT, "slow"), Gate()
    task = asyncio.create_task(worker.run(gate))
    await gate.is_reached()
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait({task})
    await until(lambda: worker.hangs)
    gate.open.set()
    await until(lambda: not worker.hangs)
    worker.close()


async def test_to_the_end_means_until_the_call_has_ended_or_has_taken_too_long() -> None:
    worker, gate = Worker("w", LONG, "slow"), Gate()
    task = asyncio.create_task(worker.run(gate, to_the_end=True))
    await gate.is_reached()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    worker.close()
    worker, gate = Worker("w", SHORT, "slow"), Gate()
    task = asyncio.create_task(worker.run(gate, to_the_end=True))
    await gate.is_reached()
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task
    gate.open.set()
    worker.close()


async def test_what_must_be_done_is_done_behind_a_call_that_hangs_and_not_waited_for() -> None:
    worker, gate, done = Worker("w", SHORT, "slow"), Gate(), list[str]()
    with pytest.raises(StoreSlow):
        await worker.run(gate)
    await worker.see_to(lambda: done.append("seen to"))
    worker.post(lambda: done.append("posted"))
    await asyncio.sleep(3 * SHORT)
    assert done == []
    gate.open.set()
    await until(lambda: len(done) == 2 and not worker.hangs)
    worker._timeout = LONG
    assert done == ["seen to", "posted"]
    await worker.see_to(lambda: done.append("now"))
    await worker.see_to(lambda: done.remove("never"))
    assert done[-1] == "now"
    worker.close()


@pytest.mark.process
def test_a_program_ends_though_a_call_hangs() -> None:
    program = """
import asyncio, threading
from reauth_proxy.errors import StoreSlow
from reauth_proxy.stores.worker import Worker
async def main():
    worker = Worker("w", 0.05, "slow")
    try:
        await worker.run(threading.Event().wait)
    except StoreSlow:
        print("slow")
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "slow\n", "")
