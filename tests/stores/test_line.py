"""Each store: a sign-in or a sign-out waits for no refresh, and no refresh is written over it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import keyring
import pytest
import pytest_asyncio
from keyrings.alt.file import PlaintextKeyring

from reauth_proxy.errors import StoreAway, StoreEnded
from reauth_proxy.session.protocols import Store
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.codec import Codec
from reauth_proxy.stores.file import FileStore
from reauth_proxy.stores.keyring import SERVICE, KeyringStore
from reauth_proxy.stores.memory import MemoryStore
from reauth_proxy.stores.redis import RedisStore
from tests.fakes.redis import RedisServer, redis_server

OLD = StoredSession(Secret("refresh-CANARY-1"), Secret("access-CANARY-1"), 1_800_000_000.0, 1, life="1111")
REFRESHED = replace(OLD, refresh_token=Secret("refresh-CANARY-2"), generation=2)
SIGNED_OUT = StoredSession(None, generation=1, life="1111", signed_out="signed_out")
SIGNED_IN = StoredSession(Secret("refresh-CANARY-9"), generation=2, life="9999")


@contextlib.asynccontextmanager
async def in_files(directory: Path) -> AsyncIterator[Callable[[], Store]]:
    yield lambda: FileStore(directory / "session.json", lock_timeout=30.0)


@contextlib.asynccontextmanager
async def in_a_keyring(directory: Path) -> AsyncIterator[Callable[[], Store]]:
    before, backend = keyring.get_keyring(), PlaintextKeyring()
    backend.file_path = str(directory / "keyring.cfg")
    keyring.set_keyring(backend)
    yield lambda: KeyringStore("default-01234567", directory / "state" / "default.json")
    keyring.set_keyring(before)


@contextlib.asynccontextmanager
async def in_redis(directory: Path) -> AsyncIterator[Callable[[], Store]]:
    async with redis_server() as server:
        yield lambda: RedisStore(Secret(server.url), "session")


@contextlib.asynccontextmanager
async def in_memory(directory: Path) -> AsyncIterator[Callable[[], Store]]:
    store = MemoryStore()
    yield lambda: store


@pytest_asyncio.fixture(params=[in_files, in_a_keyring, in_redis, in_memory], ids=lambda kind: kind.__name__)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores of one place, as two processes have them."""
    async with request.param(tmp_path) as make:
        one, other = make(), make()
        yield one, other
        await one.close()
        await other.close()


@pytest.mark.parametrize("deed", [SIGNED_OUT, SIGNED_IN], ids=["sign-out", "sign-in"])
async def test_a_deed_waits_for_no_lock_and_is_not_undone_by_whoever_holds_it(
    stores: tuple[Store, Store], deed: StoredSession
) -> None:
    one, other = stores
    await one.save(OLD)
    async with one.lock():
        await one.save(replace(OLD, used_at=1_800_000_000.0), over=OLD.line)
        async with asyncio.timeout(5):
            await other.save(deed)
        with pytest.raises(StoreEnded, match="somebody signed in or out meanwhile"):
            await one.save(REFRESHED, over=OLD.line)
        assert await one.load() == await other.load() == deed
        assert await other.load_backup() in (deed, None)
        with pytest.raises(StoreEnded):
            await one.save(replace(REFRESHED, used_at=1_800_000_000.0), over=OLD.line)
    assert await one.load() == deed


async def test_what_follows_the_line_that_is_there_is_saved(stores: tuple[Store, Store]) -> None:
    one, other = stores
    async with one.lock():
        await one.save(OLD, over="a line of which there is nothing yet")
        await one.save(REFRESHED, over=OLD.line)
        assert await other.load() == REFRESHED
        await one.save(SIGNED_OUT, over=REFRESHED.line)
    await other.save(SIGNED_IN, over=SIGNED_OUT.line)
    assert await one.load() == SIGNED_IN


async def test_a_late_save_without_the_lock_is_refused_too(stores: tuple[Store, Store]) -> None:
    one, other = stores
    await other.save(SIGNED_IN)
    with pytest.raises(StoreEnded):
        await one.save(REFRESHED, over=OLD.line)
    await one.save(SIGNED_OUT)
    assert await other.load() == SIGNED_OUT


async def test_of_a_deed_and_refreshes_at_once_the_deed_always_stays(stores: tuple[Store, Store]) -> None:
    one, other = stores
    for delay in range(12):
        await one.save(OLD)

        async def refresh() -> None:
            with contextlib.suppress(StoreEnded):
                async with one.lock():
                    for _ in range(4):
                        await one.save(REFRESHED, over=OLD.line)

        refreshing = asyncio.create_task(refresh())
        for _ in range(delay):
            await asyncio.sleep(0)
        await other.save(SIGNED_OUT)
        await refreshing
        assert await one.load() == SIGNED_OUT
        assert await one.load_backup() in (SIGNED_OUT, None)


async def test_what_cannot_be_read_is_replaced(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "session.json")
    (tmp_path / "session.json").write_text("cut of")
    await store.save(REFRESHED, over=OLD.line)
    assert await store.load() == REFRESHED
    async with in_a_keyring(tmp_path) as make:
        keyring.set_password(SERVICE, "default-01234567", "cut of")
        kept = make()
        await kept.save(REFRESHED, over=OLD.line)
        assert await kept.load() == REFRESHED
        await kept.close()
    await store.close()


async def test_what_another_key_encrypts_may_be_anything_and_is_left_alone(tmp_path: Path) -> None:
    one = FileStore(tmp_path / "session.json")
    other = FileStore(tmp_path / "session.json", Codec("default", [Secret("ab" * 32)]))
    await one.save(OLD)
    await other.save(SIGNED_IN)
    with pytest.raises(StoreAway, match="it is encrypted with the key"):
        await one.save(REFRESHED, over=OLD.line)
    assert await other.load() == SIGNED_IN
    await one.close()
    await other.close()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server


async def older(server: RedisServer, session: StoredSession) -> None:
    """Save as a version does that knows of no lines."""
    async with server.client() as client:
        kept: Awaitable[int] = client.hset("{session}", "data", Codec().encode(session))  # type: ignore[assignment]
        await kept


async def test_what_an_older_version_saved_in_redis_has_no_line_and_is_replaced(server: RedisServer) -> None:
    store = RedisStore(Secret(server.url), "session")
    for _ in range(2):  # The second time, there is a line of what was saved before it.
        await older(server, SIGNED_IN)
        await store.save(REFRESHED, over=OLD.line)
        assert await store.load() == REFRESHED
    await store.close()


async def test_a_redis_that_went_back_to_an_older_life_takes_the_refresh(server: RedisServer) -> None:
    store = RedisStore(Secret(server.url), "session", lease=0.5)
    for renewed in (False, True):
        await store.save(SIGNED_IN)
        async with store.lock():
            await store.save(OLD)
            async with server.client() as client:  # What a restart from an older file does.
                await client.hset("{session}", "fence", 0)  # type: ignore[misc]
                await client.hset("{session}", "holder", "somebody")  # type: ignore[misc]
                await client.delete("{session}:lock")
                async with asyncio.timeout(10):
                    while renewed and not await client.exists("{session}:lock"):
                        await asyncio.sleep(0.01)
            await store.save(REFRESHED, over=SIGNED_OUT.line)
        assert await store.load() == REFRESHED
    await store.close()


async def test_whoever_holds_the_lock_may_be_sure_of_it_and_without_one_there_is_nothing_to_lose(
    stores: tuple[Store, Store],
) -> None:
    one, _ = stores
    await one.confirm()
    async with one.lock():
        await one.confirm()
    await one.confirm()
