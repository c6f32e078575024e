"""What becomes of what is to be stored, while the store fails and others store too; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from reauth_proxy.errors import StoreSuperseded
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.tokens import StoredSession
from tests.session.fakes import RecordingStore, now, secret, turns, virtual

ANN = StoredSession(secret("ann-1"), generation=1, life="ann", roots=("ann",))
ANN_LATER = replace(ANN, refresh_token=secret("ann-2"), generation=2, spent=("ann-1",))
BOB = StoredSession(secret("bob-1"), life="bob", roots=("ann", "bob"))
BOB_LATER = replace(BOB, access_token=secret("access-bob"), generation=1)


class Told(list[str]):
    def __call__(self) -> None:
        self.append("there is news")


@asynccontextmanager
async def a_ledger(store: RecordingStore, told: Told | None = None) -> AsyncIterator[Ledger]:
    ledger = Ledger("default", store, lambda: 0.0, told if told is not None else Told())
    await ledger.open()
    yield ledger
    await ledger.close()


class TestAStoreThatForgot:
    @virtual
    async def test_has_its_session_again_before_anybody_else_can_begin(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            store.session = None
            store.busy = True
            assert await ledger.look() is None
            assert store.session == ANN, "at once, and without the lock"
            store.session = None
            assert await ledger.deed() is None
            assert store.session == ANN, "and while a refresh waits for the lock"

    @virtual
    async def test_gets_it_later_where_it_cannot_be_written(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            store.session, store.failing = None, True
            assert await ledger.look() is None
            store.failing = False
            await asyncio.sleep(60)
            assert store.session == ANN

    @virtual
    async def test_does_not_get_it_over_what_somebody_signed_in_with_meanwhile(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            store.session = None
            store.gate.clear()
            looking = asyncio.ensure_future(ledger.look())
            await turns()
            store.session = BOB
            store.gate.set()
            assert await looking is None
            assert store.session == BOB
            assert await ledger.look() == BOB


class TestDeeds:
    @virtual
    async def test_what_was_read_while_they_are_saved_says_nothing(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            out = replace(ANN, refresh_token=None, signed_out="signed_out")
            for reading in (ledger.look, ledger.deed):
                store.session = BOB
                read = asyncio.create_task(reading())
                store.gate.clear()
                deed = asyncio.create_task(ledger.persist(out))
                await turns()
                assert not read.done()
                store.gate.set()
                await deed
                assert await read is None
                assert store.session == out

    @virtual
    async def test_the_lock_that_was_kept_for_what_they_replaced_is_given_back(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            store.failing = True
            async with ledger.lock():
                await ledger.save(ANN_LATER, issued=True)
            await asyncio.sleep(100)
            assert store.locked == 1, "what was issued is nowhere but here"
            store.failing = False
            await ledger.persist(BOB)
            await turns()
            assert store.locked == 0
            assert store.session == BOB

    @virtual
    async def test_whoever_has_the_lock_keeps_it_until_they_are_stored(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            released = asyncio.Event()

            async def refresh() -> None:
                async with ledger.lock():
                    store.gate.clear()
                    signed_in = asyncio.ensure_future(ledger.persist(BOB))
                    await turns()
                released.set()
                await signed_in

            running = asyncio.ensure_future(refresh())
            await turns(50)
            assert store.locked == 1, "whoever came next would go on with Ann's session"
            store.gate.set()
            await running
            assert (released.is_set(), store.session, store.locked) == (True, BOB, 0)

    @virtual
    async def test_but_not_for_longer_than_a_store_may_take(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            loop = asyncio.get_running_loop()
            began = loop.time()
            async with ledger.lock():
                store.gate.clear()
                signed_in = asyncio.ensure_future(ledger.persist(BOB))
                await turns()
            assert loop.time() - began == pytest.approx(10, abs=0.1)
            store.gate.set()
            await signed_in

    @virtual
    async def test_what_comes_of_one_that_could_not_be_stored_replaces_what_there_was_before_as_well(self) -> None:
        store, told = RecordingStore(ANN), Told()
        async with a_ledger(store, told) as ledger:
            store.failing = True
            await ledger.persist(BOB)
            later = replace(BOB_LATER, roots=("bob",))  # By itself it says nothing of whom it replaces.
            ledger.keep(later)
            store.session = ANN_LATER
            store.failing = False
            await asyncio.sleep(60)
            assert store.session == later
            assert told == []

    @virtual
    async def test_one_that_lands_while_the_store_is_read_is_not_undone_by_the_reading(self) -> None:
        store = Slow(ANN)
        async with a_ledger(store) as ledger:
            store.answers.clear()
            looking = asyncio.ensure_future(ledger.look())
            await turns()
            await ledger.persist(BOB)
            store.answers.set()
            assert await looking is None
            assert store.loads == 3, "at the start, before the sign-in, and after it"


class TestMarks:
    """A request whose answer may have been lost."""

    @virtual
    async def test_one_that_another_process_has_dealt_with_is_none_any_more(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            await ledger.mark(ANN, now())
            assert ledger.marked.doubts(ANN.refresh_token)
            store.session = replace(ANN, generation=2)  # The refresh token stays the same.
            assert await ledger.look() == store.session
            assert not ledger.marked.doubts(ANN.refresh_token)

    @virtual
    async def test_one_that_the_store_never_had_stays(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            store.failing = True
            await ledger.mark(ANN, now())
            await ledger.look()
            assert ledger.marked.doubts(ANN.refresh_token)
            store.failing = False

    @virtual
    async def test_one_that_cannot_be_read_is_told_to_the_next_process(self) -> None:
        store = RecordingStore(ANN)
        async with a_ledger(store) as ledger:
            await ledger.mark(ANN, now())
            await ledger.rest(ANN, "e1")
            async with a_ledger(store) as later:
                assert later.marked.rests(ANN.refresh_token, "e1")
                assert not later.marked.rests(ANN.refresh_token, "e2")
                assert later.marked.doubts(ANN.refresh_token)
            await ledger.mark(ANN, now())
            assert ledger.marked.rests(ANN.refresh_token, "e1"), "until something comes of what a request asked for"
            await ledger.save(replace(ANN, denials=("eve@e1",)))
            assert ledger.marked.rests(ANN.refresh_token, "e1")
            assert (store.session or ANN).answered == "e1"
            await ledger.unmark(ANN)
            assert store.session is not None
            assert (store.session.used_at, store.session.answered) == (None, None)


class Slow(RecordingStore):
    """Reads at once, and answers later."""

    def __init__(self, session: StoredSession) -> None:
        super().__init__(session)
        self.answers = asyncio.Event()
        self.answers.set()

    async def load(self) -> StoredSession | None:
        read = await super().load()
        await self.answers.wait()
        return read


@virtual
async def test_what_a_lost_lock_refused_is_not_stored_later() -> None:
    store = RecordingStore(ANN)
    async with a_ledger(store) as ledger:
        store.taken_over = True
        with pytest.raises(StoreSuperseded):
            await ledger.save(ANN_LATER)
        store.taken_over = False
        await asyncio.sleep(60)
        assert await ledger.look() is None
    assert store.session == ANN, "nor when the program ends"
