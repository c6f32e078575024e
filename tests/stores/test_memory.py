from __future__ import annotations

import asyncio

from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.memory import MemoryStore


async def test_it_remembers_what_was_saved_last() -> None:
    store = MemoryStore()
    await store.check()
    assert await store.load() is None
    await store.save(StoredSession(Secret("refresh-CANARY")))
    assert await store.load() == StoredSession(Secret("refresh-CANARY"))
    await store.close()


async def test_its_lock_holds_off_other_tasks() -> None:
    store = MemoryStore()
    entered = asyncio.Event()

    async def enter() -> None:
        async with store.lock():
            entered.set()

    async with store.lock():
        task = asyncio.create_task(enter())
        await asyncio.sleep(0)
        assert not entered.is_set()
    await task
    assert entered.is_set()
