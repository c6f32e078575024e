"""Cancellations alone: clients leave at every moment, and the refresh is nobody's child.

Each test ends with no task left behind and no exception unretrieved; the decorator sees to that.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from reauth_proxy.errors import LoggedOut
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import RefreshPolicy, State
from reauth_proxy.session.tokens import Denied, Unavailable
from tests.session.fakes import Endpoint, RecordingStore, a_session, names, secret, turns, virtual


async def cancel(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


async def parked(session: Session, count: int) -> list[asyncio.Task[object]]:
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(session.token()) for _ in range(count)]
    await turns()
    assert session.parked == count
    return tasks


@virtual
async def test_the_request_that_started_the_refresh_leaves_and_the_others_are_served() -> None:
    endpoint, store = Endpoint(), RecordingStore()
    endpoint.gate.clear()
    async with a_session(endpoint, store) as session:
        trigger, *others = await parked(session, 3)
        await cancel(trigger)
        assert session.parked == 2
        endpoint.gate.set()
        assert names(*await asyncio.gather(*others)) == ["access-1"] * 2  # type: ignore[arg-type]
        assert endpoint.calls == 1
        assert store.session is not None
        assert store.session.refresh_token == secret("refresh-1")


@virtual
async def test_everybody_leaves_and_the_rotated_token_is_stored_all_the_same() -> None:
    endpoint, store = Endpoint(), RecordingStore()
    endpoint.gate.clear()
    async with a_session(endpoint, store) as session:
        await cancel(*await parked(session, 5))
        assert session.parked == 0
        endpoint.gate.set()
        await turns()
        assert names(session.usable()) == ["access-1"]
        assert store.session is not None
        assert store.session.refresh_token == secret("refresh-1")


@virtual
async def test_a_request_that_comes_after_the_trigger_left_joins_the_running_refresh() -> None:
    endpoint = Endpoint()
    endpoint.gate.clear()
    async with a_session(endpoint) as session:
        await cancel(*await parked(session, 1))
        later = await parked(session, 1)
        endpoint.gate.set()
        assert names(*await asyncio.gather(*later)) == ["access-1"]  # type: ignore[arg-type]
        assert endpoint.calls == 1


@pytest.mark.parametrize("reply", [Denied("invalid_grant"), Unavailable("down", misconfigured=True), ValueError("bug")])
def test_a_refresh_that_fails_with_nobody_waiting_leaves_nothing_unretrieved(
    reply: Denied | Unavailable | Exception,
) -> None:
    @virtual
    async def test() -> None:
        endpoint = Endpoint(reply)
        endpoint.gate.clear()
        async with a_session(endpoint, policy=RefreshPolicy(background=False, retry_for=0)) as session:
            await cancel(*await parked(session, 3))
            endpoint.gate.set()
            await turns()
            assert session.state in (State.SIGNED_OUT, State.COOLING)

    test()


@virtual
async def test_4900_of_5000_leave_at_once_without_a_stall() -> None:
    endpoint = Endpoint()
    endpoint.gate.clear()
    async with a_session(endpoint) as session:
        tasks = await parked(session, 5_000)
        began = time.perf_counter()
        await cancel(*tasks[:4_900])
        assert session.parked == 100
        endpoint.gate.set()
        assert names(*await asyncio.gather(*tasks[4_900:])) == ["access-1"] * 100  # type: ignore[arg-type]
        # Callbacks on a shared task would make this quadratic: tens of seconds.
        assert time.perf_counter() - began < 2
        assert endpoint.calls == 1


@virtual
async def test_leaving_in_the_same_turn_as_the_release() -> None:
    endpoint = Endpoint()
    endpoint.gate.clear()
    async with a_session(endpoint) as session:
        tasks = await parked(session, 10)
        endpoint.gate.set()
        for _ in range(100):
            if session.usable() is not None:
                break
            await asyncio.sleep(0)
        await cancel(*[task for task in tasks[::2] if not task.done()])
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert names(*[o for o in outcomes if not isinstance(o, BaseException)]).count("access-1") >= 5  # type: ignore[misc]
        assert session.parked == 0


@pytest.mark.parametrize("count", range(12))
def test_the_trigger_leaves_after_any_number_of_turns(count: int) -> None:
    @virtual
    async def test() -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            trigger = asyncio.create_task(session.token())
            await turns(count)
            trigger.cancel()
            await asyncio.gather(trigger, return_exceptions=True)
            assert names(await session.token()) == ["access-1"]
            assert endpoint.calls == 1
            assert len(store.saved) == 1

    test()


@virtual
async def test_a_cancelled_offer_is_stored_all_the_same() -> None:
    store = RecordingStore()
    async with a_session(Endpoint(), store) as session:
        store.gate.clear()
        offering = asyncio.create_task(session.sign_in(secret("login"), secret("fresh"), 600))
        await turns()
        await cancel(offering)
        store.gate.set()
        await turns()
        assert store.session is not None
        assert store.session.refresh_token == secret("login")


@virtual
async def test_a_cancelled_sign_out_has_happened() -> None:
    store = RecordingStore()
    async with a_session(Endpoint(), store) as session:
        store.gate.clear()
        leaving = asyncio.create_task(session.sign_out())
        await turns()
        await cancel(leaving)
        assert session.state is State.SIGNED_OUT
        store.gate.set()
        await turns()
        assert store.session is not None
        assert store.session.signed_out == "signed_out"


@virtual
async def test_a_cancelled_close_still_ends_every_task() -> None:
    endpoint = Endpoint()
    endpoint.gate.clear()
    async with a_session(endpoint) as session:
        waiting = await parked(session, 2)
        closing = asyncio.create_task(session.close())
        await turns()
        await cancel(closing)
        await asyncio.gather(*waiting, return_exceptions=True)
        await turns()
        assert endpoint.cancelled == 1


@virtual
async def test_closing_in_the_middle_of_the_save_waits_for_it() -> None:
    endpoint, store = Endpoint(), RecordingStore()
    async with a_session(endpoint, store) as session:
        store.gate.clear()
        waiting = asyncio.create_task(session.token())
        await turns(100)
        closing = asyncio.create_task(session.close())
        await turns()
        assert not closing.done()
        store.gate.set()
        await closing
        assert store.session is not None
        assert store.session.refresh_token == secret("refresh-1")
        await asyncio.gather(waiting, return_exceptions=True)


@virtual
async def test_closing_while_a_failed_save_is_tried_again_tries_once_more() -> None:
    endpoint, store = Endpoint(), RecordingStore()
    async with a_session(endpoint, store) as session:
        store.failing = True
        assert names(await session.token()) == ["access-1"]
        await asyncio.sleep(100)
        store.failing = False
        await session.close()
        assert store.session is not None
        assert store.session.refresh_token == secret("refresh-1")


@virtual
async def test_closing_while_a_timed_out_call_is_listened_to() -> None:
    endpoint, store = Endpoint(), RecordingStore()
    endpoint.gate.clear()
    async with a_session(endpoint, store) as session:
        with pytest.raises(LoggedOut):
            await session.token()
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(5)
        endpoint.gate.set()
        await closing
        assert store.session is not None
        assert store.session.refresh_token == secret("refresh-1")


@virtual
async def test_closing_hangs_up_on_a_call_that_a_sign_out_left_behind() -> None:
    endpoint = Endpoint()
    endpoint.gate.clear()
    async with a_session(endpoint) as session:
        waiting = await parked(session, 1)
        await session.sign_out()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert endpoint.running == ["CANARY-refresh-0"]
        await session.close()
        assert (endpoint.running, endpoint.cancelled) == ([], 1)


@virtual
async def test_closing_twice_is_fine() -> None:
    async with a_session(Endpoint()) as session:
        await session.close()


@pytest.mark.parametrize("name", ["refresh of default", "call of default"])
def test_a_task_that_a_stranger_cancels_wedges_nothing(name: str) -> None:
    @virtual
    async def test() -> None:
        endpoint = Endpoint()
        endpoint.gate.clear()
        async with a_session(endpoint) as session:
            waiting = await parked(session, 2)
            next(task for task in asyncio.all_tasks() if task.get_name() == name).cancel()
            await turns()
            endpoint.gate.set()
            await asyncio.gather(*waiting, return_exceptions=True)
            await asyncio.sleep(1)
            assert names(await session.token()) in (["access-1"], ["access-2"])
            assert session.state is State.READY

    test()
