"""The lock file: who holds it, who waits, and who loses it."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from reauth_proxy.errors import StoreBusy, StoreSuperseded
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores import atomic
from reauth_proxy.stores.file import FileStore
from reauth_proxy.stores.flock import FileLock
from reauth_proxy.stores.watch import Watch
from reauth_proxy.stores.worker import Worker
from tests.stores.beside import FILES

#: Whoever does not touch the lock file for so long has been stopped.
SHORT = 0.3
OLD = StoredSession(Secret("refresh-CANARY-1"), generation=1)
NEW = StoredSession(Secret("refresh-CANARY-2"), generation=2)
LATE = StoredSession(Secret("refresh-CANARY-3"), generation=2)


def unwatched() -> AbstractAsyncContextManager[Watch]:
    pytest.fail("there is nobody to wait for")


def freeze(store: FileStore) -> None:
    """Let the holder touch the lock file no more, as if it were stopped."""
    assert store._held is not None
    assert store._held._heart is not None
    store._held._heart.cancel()


async def test_a_lock_is_kept_for_longer_than_its_lease_while_its_holder_lives(tmp_path: Path) -> None:
    one = FileStore(tmp_path / "session.json", lease=SHORT)
    other = FileStore(tmp_path / "session.json", lease=SHORT, lock_timeout=4 * SHORT)
    async with one.lock():
        with pytest.raises(StoreBusy):
            async with other.lock():
                pass
        await one.save(NEW)
    async with other.lock():
        assert await other.load() == NEW


async def test_a_stopped_holder_loses_the_lock_and_its_late_write_is_refused(tmp_path: Path) -> None:
    one, other = (FileStore(tmp_path / "session.json", lease=SHORT) for _ in range(2))
    async with one.lock():
        await one.save(OLD)
        freeze(one)
        async with other.lock():
            with pytest.raises(StoreSuperseded, match="stopped for longer"):
                await one.confirm()
            with pytest.raises(StoreSuperseded, match="stopped for longer"):
                await one.save(LATE, over=OLD.line)
            await other.save(NEW)
        with pytest.raises(StoreSuperseded, match="stopped for longer"):
            await one.save(LATE, over=NEW.line)
        with pytest.raises(StoreSuperseded), one.turn():
            pass
    assert await other.load() == NEW
    assert {path.name for path in tmp_path.iterdir()} == FILES


async def test_a_holder_that_could_touch_nothing_on_a_read_only_disk_keeps_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = 2.0
    one, other = (FileStore(tmp_path / "session.json", lease=lease) for _ in range(2))
    refused = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read_only(*args: object, **keywords: object) -> tuple[Path, int]:
        loop.call_soon_threadsafe(refused.set)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    async def enter() -> None:
        async with other.lock():
            pass

    async with one.lock():
        await one.save(OLD)
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "create", read_only)
            freeze(one)
            entering = asyncio.create_task(enter())
            await refused.wait()  # The lease is about to run out, or has.
            await asyncio.sleep(lease)  # Whatever that takes.
        await asyncio.sleep(lease * 0.2)  # The holder's next beat comes only now.
        assert one._held is not None
        one._held._beat()
        await one.confirm()
        await one.save(NEW, over=OLD.line)
        assert not entering.done()
    await entering
    await one.close()
    await other.close()


async def test_of_many_that_wait_for_a_stopped_one_one_at_a_time_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    holder = FileStore(path, lease=SHORT)
    inside, most = 0, 0

    async def enter() -> None:
        nonlocal inside, most
        async with FileStore(path, lease=SHORT).lock():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    async with holder.lock():
        freeze(holder)
        async with asyncio.timeout(20):
            await asyncio.gather(*(enter() for _ in range(8)))
    assert most == 1


async def test_whoever_waits_goes_on_when_the_lock_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reauth_proxy.stores.flock._FIRST_PAUSE", 60.0)
    monkeypatch.setattr("reauth_proxy.stores.flock._LONGEST_PAUSE", 60.0)
    one, other = (FileStore(tmp_path / "session.json") for _ in range(2))

    async def enter() -> None:
        async with other.lock():
            pass

    async with one.lock():
        waiting = asyncio.create_task(enter())
        await asyncio.sleep(0.1)
        assert not waiting.done()
    async with asyncio.timeout(5):
        await waiting


async def test_a_lock_file_that_was_removed_is_not_shared_with_whoever_made_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "session.json.lock"
    worker = Worker("store", 20.0, "slow")
    one, other = FileLock(path, worker, worker), FileLock(path, worker, worker)
    await one.acquire(1.0, unwatched)
    path.unlink()
    await other.acquire(1.0, unwatched)
    with pytest.raises(StoreSuperseded), one.committing():
        pass
    with other.committing():
        pass
    await one.release()
    await other.release()
    worker.close()


async def test_a_lock_file_is_never_followed_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "session.json.lock").symlink_to(tmp_path / "elsewhere")
    worker = Worker("store", 20.0, "slow")
    with pytest.raises(OSError, match="symbolic links"):
        await FileLock(tmp_path / "session.json.lock", worker, worker).acquire(1.0, unwatched)
    worker.close()


async def test_every_save_of_another_process_is_heard_of(tmp_path: Path) -> None:
    one, other = (FileStore(tmp_path / "session.json") for _ in range(2))
    changes = other.changes()
    await anext(changes)  # It listens now.
    await one.save(OLD)
    async with asyncio.timeout(20):
        await anext(changes)
    assert await other.load() == OLD
    await changes.aclose()
