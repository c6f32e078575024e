"""Content that is kept for a replay: in memory, in a file without a name, within its bounds, and gone afterwards."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from reauth_proxy.errors import InternalError
from reauth_proxy.forward.spool import Copy, Keeping, Spool
from tests.fakes.arrivals import until


@pytest_asyncio.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    made = Spool(Keeping(memory=100, limit=1000, total=1500, files=1, directory=tmp_path))
    yield made
    made.close()


async def content(copy: Copy) -> bytes:
    return b"".join([data async for data in copy.read()])


async def test_what_is_short_stays_in_memory(spool: Spool) -> None:
    copy = Copy(spool)
    await copy.append(b"a" * 60)
    await copy.append(b"b" * 40)
    assert (spool.used, spool.open_files) == (100, 0)
    assert await content(copy) == b"a" * 60 + b"b" * 40
    copy.give_up()
    assert spool.used == 0


async def test_what_is_longer_goes_to_a_file_that_nobody_can_see(spool: Spool, tmp_path: Path) -> None:
    copy = Copy(spool)
    for number in range(9):
        await copy.append(b"%d" % number * 99)
    assert spool.open_files == 1
    assert list(tmp_path.iterdir()) == []
    assert await content(copy) == b"".join(b"%d" % number * 99 for number in range(9))
    assert await content(copy) == b"".join(b"%d" % number * 99 for number in range(9)), "as often as one likes"
    copy.give_up()
    assert (spool.used, spool.open_files) == (0, 0)


async def test_beyond_the_limit_nothing_is_kept(spool: Spool) -> None:
    copy = Copy(spool)
    await copy.append(b"x" * 1000)
    assert copy.whole
    await copy.append(b"y")
    assert not copy.whole
    assert (spool.used, spool.open_files) == (0, 0)


async def test_all_copies_share_one_total_and_one_number_of_files(spool: Spool) -> None:
    first, second, third = Copy(spool), Copy(spool), Copy(spool)
    await first.append(b"x" * 1000)
    await second.append(b"x" * 501)
    assert not second.whole, "the total"
    await third.append(b"x" * 101)
    assert not third.whole, "no file is left"
    first.give_up()
    fourth = Copy(spool)
    await fourth.append(b"x" * 101)
    assert fourth.whole
    fourth.give_up()
    assert (spool.used, spool.open_files) == (0, 0)


async def test_somebody_who_is_cancelled_while_the_disk_works_loses_nothing(spool: Spool) -> None:
    copy = Copy(spool)
    await copy.append(b"a" * 99)
    writing = asyncio.create_task(copy.append(b"b" * 99))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    assert await content(copy) == b"a" * 99 + b"b" * 99
    copy.give_up()


async def test_a_copy_given_up_while_the_disk_works_leaves_nothing_behind(spool: Spool) -> None:
    copy = Copy(spool)
    writing = asyncio.create_task(copy.append(b"a" * 200))
    await asyncio.sleep(0)
    writing.cancel()
    copy.give_up()
    await until(lambda: spool.open_files == 0)
    assert spool.used == 0


async def test_a_directory_that_takes_no_files_means_that_nothing_more_is_kept(tmp_path: Path) -> None:
    spool = Spool(Keeping(memory=10, limit=1000, total=1000, files=2, directory=tmp_path / "missing"))
    copy = Copy(spool)
    await copy.append(b"a" * 10)
    assert copy.whole
    await copy.append(b"b")
    assert not copy.whole
    assert (spool.used, spool.open_files) == (0, 0)
    spool.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_means_that_nothing_more_is_kept(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.dup
    monkeypatch.setattr(os, "dup", lambda _: os.open("/dev/full", os.O_RDWR))
    copy = Copy(spool)
    await copy.append(b"a" * 200)
    assert not copy.whole
    monkeypatch.setattr(os, "dup", real)
    assert (spool.used, spool.open_files) == (0, 0)


async def test_a_disk_that_cannot_be_read_back_is_told_and_not_taken_for_the_end(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    copy = Copy(spool)
    await copy.append(b"a" * 200)
    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(InternalError):
        await content(copy)
    copy.give_up()


async def test_a_copy_that_the_disk_lost_after_somebody_left_is_not_taken_for_an_empty_one(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    copy = Copy(spool)
    writing = asyncio.create_task(copy.append(b"a" * 200))
    await asyncio.sleep(0)
    writing.cancel()
    assert copy.whole, "nobody knows yet"
    with pytest.raises(InternalError):
        await content(copy)
    assert spool.used == 0
