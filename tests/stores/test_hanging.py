"""A file store on a disk that hangs, in one process: who is told, and what becomes of what was being written."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reauth_proxy.errors import StoreBusy, StoreError, StoreSlow
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores import atomic
from reauth_proxy.stores.file import FileStore
from tests.fakes.arrivals import until

OLD = StoredSession(Secret("refresh-CANARY-1"), generation=1, life="1111")
NEW = StoredSession(Secret("refresh-CANARY-2"), generation=2, life="1111")
OTHERS = StoredSession(Secret("refresh-CANARY-3"), generation=3, life="1111")
#: What a call may take once the disk hangs, and the lease of a lock.
SHORT = 0.1
LEASE = 0.4


class Disk:
    """Hangs at each flush by the threads of one store, while told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._go_on = threading.Event()
        self._go_on.set()
        self.reached = threading.Event()
        self._fsync = os.fsync
        self._hangs_for: set[str] = set()
        monkeypatch.setattr(atomic.os, "fsync", self)

    def hang(self, store: FileStore) -> None:
        self._hangs_for.add(store._worker._name)
        store._worker._timeout = SHORT
        self.reached.clear()
        self._go_on.clear()

    def go_on(self) -> None:
        self._go_on.set()

    def __call__(self, descriptor: int) -> None:
        if threading.current_thread().name in self._hangs_for:
            self.reached.set()
            assert self._go_on.wait(30)
        self._fsync(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(monkeypatch)
    yield disk
    disk.go_on()


def open_below(directory: Path) -> list[str]:
    """Return what this process has open there."""
    found = []
    for entry in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):  # The one that reads them.
            found.append(str(entry.readlink()))
    return [path for path in found if path.startswith(str(directory))]


def a_store(path: Path, name: str = "one", *, lock_timeout: float = 30.0) -> FileStore:
    store = FileStore(path / "session.json", timeout=30.0, lock_timeout=lock_timeout, lease=LEASE)
    store._worker._name = name
    return store


async def test_a_save_that_hangs_is_told_by_its_name_and_the_next_calls_fail_at_once(
    tmp_path: Path, disk: Disk
) -> None:
    store = a_store(tmp_path)
    await store.save(OLD)
    disk.hang(store)
    with pytest.raises(StoreSlow, match=r"session\.json: the disk did not answer within 30 s \(`store\.timeout`\)"):
        await store.save(NEW)
    store._worker._timeout = 30.0
    async with asyncio.timeout(5):
        for attempt in (store.load(), store.save(NEW), store.check(), store.lock().__aenter__()):
            with pytest.raises(StoreSlow) as caught:
                await attempt
            assert not isinstance(caught.value, StoreBusy), "a lock that cannot be had is not held by somebody"
        assert await store.load_backup() is None
    disk.go_on()
    await until(lambda: not store._worker.hangs)
    assert await store.load() == NEW, "what had begun has come to its end"
    await store.close()


async def test_whoever_listens_hears_when_the_disk_answers_again(tmp_path: Path, disk: Disk) -> None:
    store = a_store(tmp_path)
    changes = store.changes()
    await anext(changes)  # It listens now.
    heard = asyncio.ensure_future(anext(changes))
    disk.hang(store)
    with pytest.raises(StoreSlow):
        await store.check()
    assert not heard.done()
    disk.go_on()
    async with asyncio.timeout(20):
        await heard
    await changes.aclose()
    await store.close()


async def test_a_lock_is_kept_until_the_save_that_hangs_under_it_has_ended(tmp_path: Path, disk: Disk) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path, "other", lock_timeout=0.0)
    one._lease = other._lease = 60.0
    async with one.lock():
        disk.hang(one)
        with pytest.raises(StoreSlow):
            await one.save(NEW, over=OLD.line)
    with pytest.raises(StoreBusy):
        async with other.lock():
            pass
    disk.go_on()
    other._lock_timeout = 30.0
    async with other.lock():
        assert await other.load() == NEW
    await one.close()
    await other.close()


async def test_a_save_that_hung_is_refused_once_another_process_took_the_lock_over(tmp_path: Path, disk: Disk) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path, "other")
    await one.save(OLD)
    async with one.lock():
        disk.hang(one)
        with pytest.raises(StoreSlow):
            await one.save(NEW, over=OLD.line)
    async with other.lock():
        await other.save(OTHERS, over=OLD.line)
    disk.go_on()
    await until(lambda: not one._worker.hangs)
    assert await one.load() == await other.load() == OTHERS
    assert await one.load_backup() == OTHERS
    await one.close()
    await other.close()


async def test_a_sign_in_that_hung_is_refused_once_another_process_may_have_signed_in(
    tmp_path: Path, disk: Disk
) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path, "other")
    await one.save(OLD)
    disk.hang(one)
    one._timeout = SHORT
    with pytest.raises(StoreSlow):
        await one.save(NEW)
    later = replace(OTHERS, life="2222")
    await other.save(later)
    disk.go_on()
    await until(lambda: not one._worker.hangs)
    assert await one.load() == await other.load() == later
    await one.save(NEW)
    assert await other.load() == NEW, "it counts again if it is wanted still"
    await one.close()
    await other.close()


async def test_a_slow_save_does_not_stop_the_heart_of_the_lock(tmp_path: Path, disk: Disk) -> None:
    one = a_store(tmp_path)
    other = a_store(tmp_path, "other", lock_timeout=3 * LEASE)
    async with one.lock():
        disk.hang(one)
        one._worker._timeout = 30.0
        saving = asyncio.create_task(one.save(NEW))
        with pytest.raises(StoreBusy):
            async with other.lock():
                pass
        disk.go_on()
        await saving
    async with other.lock():
        assert await other.load() == NEW
    await one.close()
    await other.close()


async def test_a_lock_that_is_given_up_while_its_disk_hangs_is_given_back(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path, "other", lock_timeout=0.0)
    go_on, reached, opened = threading.Event(), threading.Event(), os.open

    def hang(path: object, *args: object, **keywords: object) -> int:
        if str(path).endswith(".lock") and threading.current_thread().name == "one":
            reached.set()
            assert go_on.wait(30)
        return opened(path, *args, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", hang)
    one._worker._timeout = SHORT
    entering = asyncio.create_task(one.lock().__aenter__())
    assert await asyncio.to_thread(reached.wait, 30)
    entering.cancel()
    await asyncio.wait({entering})
    assert entering.cancelled()
    with pytest.raises(StoreError):
        async with one.lock():
            pass
    go_on.set()
    await until(lambda: not one._worker.hangs)
    async with other.lock():
        pass
    await one.close()
    await other.close()
    await until(lambda: not open_below(tmp_path))


async def test_a_cancelled_save_waits_no_longer_than_a_call_may_take(tmp_path: Path, disk: Disk) -> None:
    store = a_store(tmp_path)
    disk.hang(store)
    saving = asyncio.create_task(store.save(NEW))
    assert await asyncio.to_thread(disk.reached.wait, 30)
    saving.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait({saving})
    assert saving.cancelled()
    assert store._worker.hangs
    disk.go_on()
    await until(lambda: not store._worker.hangs)
    assert await store.load() == NEW
    await store.close()


async def test_who_uses_the_file_is_known_though_the_disk_hangs(tmp_path: Path, disk: Disk) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path, "other")
    listening = one.changes(), other.changes()
    for changes in listening:
        await anext(changes)  # A daemon listens from its start on.
    async with one.lock():
        disk.hang(one)
        with pytest.raises(StoreSlow):
            await one.save(NEW, over="")
    assert not await one.claim()
    await other.close()
    await until(lambda: other._presence._descriptor is None)
    assert await one.claim()
    disk.go_on()
    late = a_store(tmp_path, "late", lock_timeout=SHORT)
    await until(lambda: not one._worker.hangs)
    with pytest.raises(StoreBusy):
        async with late.lock():
            pass
    one.share()
    late._lock_timeout = 30.0
    async with late.lock():
        pass
    for changes in listening:
        await changes.aclose()
    await one.close()
    await late.close()


async def test_where_nobody_can_tell_who_uses_the_file_it_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path, "other")
    broken: list[OSError] = [OSError(errno.EIO, os.strerror(errno.EIO))]
    claim = one._presence.claim

    def failing() -> bool:
        if broken:
            raise broken[0]
        return claim()

    monkeypatch.setattr(one._presence, "claim", failing)
    async with one.lock(), contextlib.aclosing(other.changes()) as changes:
        await anext(changes)
        assert await one.claim(), "nobody was ever seen"
        error = broken.pop()
        assert not await one.claim()
        broken.append(error)
        assert not await one.claim(), "somebody was seen"
        await other.close()
        await until(lambda: other._presence._descriptor is None)
        assert not await one.claim()
        broken.clear()
        assert await one.claim()
    await one.close()


async def test_who_listens_is_seen_again_though_somebody_removed_the_file_that_tells(tmp_path: Path) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path, "other")
    async with contextlib.aclosing(one.changes()) as changes:
        await anext(changes)
        (tmp_path / "session.json.users").unlink()
        async with other.lock():
            await other.save(NEW, over="")
        await anext(changes)
        assert not await other.claim()
    await one.close()
    await other.close()
