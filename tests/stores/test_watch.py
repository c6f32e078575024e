"""Hearing of what happens to files, with inotify and without."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from reauth_proxy.stores import inotify
from reauth_proxy.stores import watch as module
from reauth_proxy.stores.watch import Watch
from reauth_proxy.stores.worker import Worker

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="there is no inotify")


@asynccontextmanager
async def watching(directory: Path) -> AsyncIterator[Watch]:
    worker = Worker("store", 20.0, "slow")
    watch = Watch(directory, worker, "session.json")
    await watch.start()
    yield watch
    await watch.close()
    worker.close()


@pytest_asyncio.fixture(params=["inotify", "polling"])
async def watch(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Watch]:
    if request.param == "polling":
        monkeypatch.setattr(module, "_notifier", lambda directory: None)
        monkeypatch.setattr(module, "_POLL", 0.01)
    else:
        monkeypatch.setattr(module, "_LOOK", 3600.0)
        if sys.platform != "linux":
            pytest.skip("there is no inotify")
    async with watching(tmp_path) as watch:
        yield watch


async def heard(watch: Watch, count: int) -> int:
    return await watch.after("session.json", count, 10.0)


async def test_a_new_file_a_rename_over_it_and_a_change_in_it_are_heard(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    count = watch.count("session.json")
    for content in ("1", "22"):
        (tmp_path / "beside").write_text(content)
        (tmp_path / "beside").replace(path)
        assert await heard(watch, count) > count
        count = watch.count("session.json")
    path.write_text("333")
    assert await heard(watch, count) > count


async def test_what_happened_before_one_looked_is_not_missed(watch: Watch, tmp_path: Path) -> None:
    count = watch.count("session.json")
    (tmp_path / "session.json").write_text("1")
    first = await heard(watch, count)
    assert await watch.after("session.json", count, 0) == first


async def test_other_files_wake_nobody(watch: Watch, tmp_path: Path) -> None:
    count = watch.count("session.json")
    (tmp_path / "other.json").write_text("1")
    assert await watch.after("session.json", count, 0.1) == count


async def test_who_is_cancelled_leaves_nothing_behind(watch: Watch) -> None:
    waiting = asyncio.create_task(heard(watch, 0))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert not watch._waiting


@LINUX
async def test_an_end_of_writing_is_heard_too_which_ends_locks(tmp_path: Path) -> None:
    async with watching(tmp_path) as watch:
        with (tmp_path / "session.json.lock").open("w"):
            count = watch.count("session.json.lock")
            waiting = asyncio.create_task(watch.after("session.json.lock", count, 10.0))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert await waiting == count + 1


@LINUX
async def test_a_directory_that_goes_is_looked_for_by_polling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL", 0.01)
    monkeypatch.setattr(module, "_LOOK", 0.05)
    directory = tmp_path / "state"
    directory.mkdir()
    async with watching(directory) as watch:
        directory.rmdir()
        count = await heard(watch, 0)
        assert count == 1
        directory.mkdir()
        (directory / "session.json").write_text("1")
        assert await heard(watch, count) == 2


@LINUX
async def test_without_inotify_to_be_had_it_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(result: int) -> int:
        raise OSError(28, "No space left on device")

    before = set(Path("/dev/fd").iterdir())
    for working in (0, 1):
        calls = iter([lambda result: result] * working + [none_left])
        monkeypatch.setattr(inotify, "_checked", lambda result, calls=calls: next(calls)(result))
        assert module._notifier(tmp_path) is None
    monkeypatch.undo()
    assert len(set(Path("/dev/fd").iterdir()) - before) <= 1, "at most the one whose making was made to look failed"
    assert module._notifier(tmp_path / "none") is None
