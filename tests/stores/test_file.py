"""The file store on a real file system, in one process."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from reauth_proxy.errors import StoreError
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores import atomic, flock
from reauth_proxy.stores.file import FileStore
from tests.fakes.arrivals import until

OLD = StoredSession(Secret("refresh-CANARY-1"), Secret("access-CANARY-1"), 1_800_000_000.0, 1)
NEW = StoredSession(Secret("refresh-CANARY-2"), Secret("access-CANARY-2"), 1_800_000_060.0, 2)
#: The file, and the second copy of it.
KEPT = {"session.json", "session.json.backup"}
LOCKED = {"session.json.lock", "session.json.users", "session.json.alone"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "here" / "session.json"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def saved(path: Path, session: StoredSession = OLD) -> FileStore:
    store = FileStore(path)
    await store.save(session)
    return store


async def test_nothing_saved_is_none(path: Path) -> None:
    assert await FileStore(path).load() is None


async def test_a_saved_session_is_there_for_the_next_process(path: Path) -> None:
    store = await saved(path)
    await store.close()
    assert await FileStore(path).load() == OLD


async def test_only_the_owner_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        store = await saved(path)
        async with store.lock():
            await store.save(NEW)
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert mode(path.parent) == mode(path.parent.parent) == 0o700
    assert mode(path.with_name("session.json.lock")) == 0o600
    assert names(path.parent) == KEPT | LOCKED


async def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    await saved(tmp_path / "session.json")
    assert mode(tmp_path) == 0o755


async def test_a_directory_where_everybody_may_replace_files_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    store = FileStore(tmp_path / "session.json")
    with pytest.raises(StoreError, match="chmod o-w"):
        await store.check()
    with pytest.raises(StoreError, match="chmod o-w"):
        await store.save(OLD)
    tmp_path.chmod(0o1777)
    await store.check()
    tmp_path.chmod(0o777)
    await FileStore(tmp_path / "own" / "session.json").check()


async def test_check_leaves_nothing_behind(path: Path) -> None:
    await FileStore(path).check()
    assert names(path.parent) == set()


async def test_check_sweeps_up_after_dead_processes_and_spares_others(path: Path) -> None:
    store = await saved(path)
    dead = path.parent / ".session.json.0123456789abcdef.tmp"
    dead.write_text("refresh-CANARY")
    spared = {".session.json.notours.tmp", ".other.json.0123456789abcdef.tmp", "session.json.bak"}
    for name in spared:
        (path.parent / name).write_text("")
    alive = path.parent / ".session.json.fedcba9876543210.tmp"
    with alive.open("w") as file:
        assert atomic._claimed(file.fileno())
        await store.check()
        assert names(path.parent) == spared | KEPT | {alive.name}
    await store.check()
    assert names(path.parent) == spared | KEPT


async def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    store = await saved(path)
    path.chmod(0o640)
    with pytest.raises(StoreError, match="chmod 600"):
        await store.load()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 1, "refresh_token": "CANARY', b"x" * 2_000_000])
async def test_a_corrupt_file_names_itself_and_the_mend(path: Path, content: bytes) -> None:
    store = await saved(path)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="move it away") as caught:
        await store.load()
    assert str(path) in str(caught.value)
    assert "CANARY" not in str(caught.value)


async def test_what_is_not_a_regular_file_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.mkfifo(path, 0o600)
    store = FileStore(path)
    with pytest.raises(StoreError, match="not a regular file"):
        await store.load()
    with pytest.raises(StoreError, match="not a regular file"):
        await store.check()
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="not a regular file"):
        await store.load()
    with pytest.raises(StoreError, match="not a regular file"):
        await store.check()
    with pytest.raises(StoreError, match="could not be written: is a directory"):
        await store.save(OLD)
    assert names(path.parent) == {"session.json"}


async def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FileStore(tmp_path / "file" / "session.json")
    for attempt in (store.check(), store.save(OLD), store.load()):
        with pytest.raises(StoreError, match="a part of its path is a file"):
            await attempt


async def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(StoreError, match="circle"):
        await FileStore(tmp_path / "a").load()


async def test_a_symbolic_link_keeps_pointing_to_the_file(tmp_path: Path, path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    store = await saved(link)
    await store.save(NEW)
    async with store.lock():
        pass
    assert link.is_symlink()
    assert await FileStore(path).load() == NEW
    assert names(path.parent) == KEPT | LOCKED


def failing(number: int) -> object:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("call", "number", "problem"),
    [
        ("replace", errno.EIO, "input/output error"),
        ("fsync", errno.EIO, "input/output error"),
        ("write", errno.ENOSPC, "free some space"),
        ("replace", errno.EACCES, "the right to write there"),
        ("open", errno.EROFS, "mount a writable volume"),
    ],
)
async def test_a_save_that_fails_leaves_the_old_session_and_no_litter(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, problem: str
) -> None:
    store = await saved(path)
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, call, failing(number))
        with pytest.raises(StoreError, match=problem) as caught:
            await store.save(NEW)
    assert str(path) in str(caught.value)
    assert "CANARY" not in repr(caught.value) + repr(caught.value.__cause__)
    assert await store.load() == OLD
    assert names(path.parent) == KEPT


@pytest.mark.parametrize(("call", "number"), [("fsync", errno.EIO), ("write", errno.ENOSPC), ("open", errno.EROFS)])
async def test_check_says_why_nothing_can_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    store = await saved(path)
    monkeypatch.setattr(atomic.os, call, failing(number))
    with pytest.raises(StoreError, match="cannot be written"):
        await store.check()
    assert names(path.parent) == KEPT


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
async def test_a_file_that_is_mounted_by_itself_is_written_in_place(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    long = StoredSession(Secret("CANARY" * 500))
    store = await saved(path, long)
    inode = path.stat().st_ino
    monkeypatch.setattr(atomic.os, "replace", failing(number))
    await store.save(NEW)
    assert await store.load() == NEW
    assert path.stat().st_ino == inode
    assert path.read_bytes().count(b"\n\n") == 0
    await store.save(long)
    assert await store.load() == long
    assert names(path.parent) == KEPT


async def test_a_save_is_flushed_file_first_then_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await saved(path)
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        done.append(f"flush {kind}")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(atomic.os, "fsync", noted_fsync)
    monkeypatch.setattr(atomic.os, "replace", noted_replace)
    await store.save(NEW)
    assert done == ["flush file", "rename", "flush directory"] * 2, "the file, then its copy"


class Gate:
    """Holds os.replace in the worker thread until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self._replace = os.replace
        monkeypatch.setattr(atomic.os, "replace", self)

    def __call__(self, source: Path, target: Path) -> None:
        self.reached.set()
        assert self.open.wait(10)
        self._replace(source, target)


async def test_a_cancelled_save_is_saved_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await saved(path)
    gate = Gate(monkeypatch)
    task = asyncio.create_task(store.save(NEW))
    await asyncio.to_thread(gate.reached.wait, 10)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.load() == NEW
    assert names(path.parent) == KEPT


async def test_a_cancelled_save_that_fails_is_cancelled_quietly(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await saved(path)
    gate = Gate(monkeypatch)
    gate._replace = failing(errno.EIO)  # type: ignore[assignment]
    task = asyncio.create_task(store.save(NEW))
    await asyncio.to_thread(gate.reached.wait, 10)
    task.cancel()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.load() == OLD


async def test_saves_happen_in_order_and_do_not_block_the_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(path)
    gate = Gate(monkeypatch)
    first = asyncio.create_task(store.save(OLD))
    await asyncio.to_thread(gate.reached.wait, 10)
    second = asyncio.create_task(store.save(NEW))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, second)
    assert await store.load() == NEW


async def test_the_lock_holds_off_others_and_lets_them_in_afterwards(path: Path) -> None:
    one, other = FileStore(path), FileStore(path)
    entered = asyncio.Event()

    async def enter() -> None:
        async with other.lock():
            entered.set()

    async with one.lock():
        await one.save(OLD)
        waiting = asyncio.create_task(enter())
        assert await other.load() == OLD
        assert not entered.is_set()
    async with asyncio.timeout(5):
        await waiting


async def test_a_lock_that_is_held_too_long_names_itself_and_the_mend(path: Path) -> None:
    async with FileStore(path).lock():
        with pytest.raises(StoreError, match=r"another process has held this lock for 0\.05 s") as caught:
            async with FileStore(path, lock_timeout=0.05).lock():
                pass
    assert str(path) in str(caught.value)


async def test_whoever_gives_up_waiting_for_the_lock_does_not_keep_it(path: Path) -> None:
    store = FileStore(path, lock_timeout=5)
    before = descriptors()

    async def enter() -> None:
        other = FileStore(path)
        try:
            async with other.lock():
                pytest.fail("it was held")
        finally:
            await other.close()

    async with store.lock():
        waiting = [asyncio.create_task(enter()) for _ in range(5)]
        while descriptors() < before + 6:
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert all(task.cancelled() for task in waiting)
    async with store.lock():
        pass
    await store.close()
    await until(lambda: descriptors() == before)


@pytest.mark.parametrize("kind", ["a link", "a directory"])
async def test_what_cannot_be_used_to_see_who_is_there_keeps_nobody_from_locking(path: Path, kind: str) -> None:
    store, other = await saved(path), FileStore(path, lock_timeout=0.05)
    users = path.with_name("session.json.users")
    if kind == "a link":
        users.symlink_to(path)
    else:
        users.mkdir()
    async with store.lock():
        with pytest.raises(StoreError, match="another process has held this lock"):
            async with other.lock():
                pass
    async with other.lock():
        pass
    assert await other.claim()


async def test_a_lock_that_cannot_be_had_says_why(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await saved(path)
    with monkeypatch.context() as patch:
        patch.setattr(flock.fcntl, "flock", failing(errno.ENOLCK))
        with pytest.raises(StoreError, match="cannot be locked: no locks available; the file system has no locks"):
            async with store.lock():
                pass
        with pytest.raises(StoreError, match="the file system has no locks"):
            await store.check()
    assert names(path.parent) == KEPT | LOCKED
    path.with_name("session.json.lock").unlink()
    path.with_name("session.json.lock").mkdir()
    with pytest.raises(StoreError, match="cannot be locked: is a directory"):
        async with store.lock():
            pass


async def test_a_daemon_that_starts_sweeps_nothing_that_another_one_is_about_to_rename(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, rename = FileStore(path), os.replace

    def sweep_first(source: Path, target: Path) -> None:
        atomic.sweep(target)
        rename(source, target)

    monkeypatch.setattr(os, "replace", sweep_first)
    await store.save(NEW)
    assert await store.load() == NEW
    await store.close()


async def test_two_daemons_that_start_at_once_both_find_that_they_can_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, flush = FileStore(path), atomic.flush_directory

    def sweep_first(directory: Path) -> None:
        atomic.sweep(path)
        assert len(list(path.parent.glob(".*.tmp"))) == 1
        flush(directory)

    monkeypatch.setattr(atomic, "flush_directory", sweep_first)
    await store.check()
    assert not list(path.parent.glob(".*.tmp"))
    await store.close()


async def test_a_sweep_that_took_a_new_temporary_file_for_a_dead_one_does_no_harm(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await saved(path)
    claimed, taken = atomic._claimed, []

    def sweeping(descriptor: int) -> bool:
        if len(taken) < 2:
            (temporary,) = path.parent.glob(".*.tmp")
            taken.append(temporary)
            if len(taken) == 1:
                return False  # The sweep holds it at this moment,
            temporary.unlink()  # or has removed it already.
        return claimed(descriptor)

    monkeypatch.setattr(atomic, "_claimed", sweeping)
    await store.save(NEW)
    assert len(taken) == 2
    assert await store.load() == NEW
    assert names(path.parent) == KEPT


@pytest.mark.parametrize(("number", "harmless"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
async def test_a_directory_that_cannot_be_flushed_matters_only_where_it_could_be(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, harmless: bool
) -> None:
    store = await saved(path)
    fsync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", files_only)
    if harmless:
        await store.save(NEW)
    else:
        with pytest.raises(StoreError, match="could not be written"):
            await store.save(NEW)
    assert await store.load() == NEW
    assert names(path.parent) == KEPT


async def test_an_error_inside_the_lock_gives_it_back(path: Path) -> None:
    store = FileStore(path, lock_timeout=0)
    with pytest.raises(OSError, match="mine"):
        async with store.lock():
            raise OSError("mine")
    async with store.lock():
        pass


async def test_closing_ends_the_thread_and_may_be_done_twice(path: Path) -> None:
    before = set(threading.enumerate())
    store = await saved(path)
    (worker,) = {thread for thread in threading.enumerate() if thread.name.startswith("store")} - before
    await store.close()
    await store.close()
    worker.join(5)
    assert not worker.is_alive()


def test_a_store_shows_where_it_is_and_nothing_else(path: Path) -> None:
    assert repr(FileStore(path)) == f"<FileStore {path}>"
