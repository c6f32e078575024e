"""A disk that hangs holds up nobody: no request, no look at the daemon's health, and not its end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from reauth_proxy.session.tokens import Secret
from reauth_proxy.stores.file import FileStore
from reauth_proxy.system.process import CLOSE_WITHIN
from tests.fakes.arrivals import until
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import fetch
from tests.fakes.daemon import INTERPRETER, DaemonProcess, cared_for, settings
from tests.fakes.files import write_secret
from tests.fakes.hanging_disk import HangingDisk
from tests.fakes.upstream import FakeUpstream

#: `store.timeout`, in seconds; and what may come on top of it on a slow machine.
TIMEOUT: Final = 1.0
MORE: Final = 2.0
#: What the daemon's settings say, and its longest way to the end but for hard ones.
DRAIN: Final = 1.0
CLOSING: Final = 10.0


@asynccontextmanager
async def on_a_disk(
    tmp_path: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream, **overrides: Any
) -> AsyncIterator[tuple[DaemonProcess, HangingDisk]]:
    """A daemon whose session is on a disk that hangs when told to; not started."""
    (tmp_path / "disk").mkdir()
    disk = HangingDisk(tmp_path, tmp_path / "disk")
    path = tmp_path / "disk" / "session.json"
    store = {"type": "file", "path": str(path), "timeout": TIMEOUT}
    made = settings(authorization, upstream, store=store, control={"listen": "127.0.0.1:0"}, **overrides)
    async with cared_for(DaemonProcess(tmp_path, made, command=INTERPRETER)) as daemon:
        daemon.store_path = path
        daemon.environ |= disk.environ
        try:
            yield daemon, disk
        finally:
            disk.go_on()


async def control(daemon: DaemonProcess) -> str:
    url: str = (await daemon.logged("server.started"))["control"]
    return url


async def problems(daemon: DaemonProcess) -> Any:
    answer = await fetch(await control(daemon), "/readyz")
    return None if answer.status == 200 else (answer.status, json.loads(answer.content))


@asynccontextmanager
async def healthy(daemon: DaemonProcess) -> AsyncIterator[None]:
    """Ask for the daemon's health again and again; each answer comes at once."""
    url, enough = await control(daemon), asyncio.Event()
    slowest = 0.0

    async def ask() -> None:
        nonlocal slowest
        while not enough.is_set():
            began = time.monotonic()
            assert (await fetch(url, "/healthz")).status == 200
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.02)  # not to keep the processor from the others

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        enough.set()
        await asking
    assert slowest < 0.5


async def stored(daemon: DaemonProcess) -> Secret | None:
    store = FileStore(daemon.store_path)
    session = await store.load()
    await store.close()
    return None if session is None else session.refresh_token


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fsync", "open", "stat", "rename", "utime", "flock", "watch"])
async def test_a_call_of_the_disk_that_hangs_holds_up_no_request_and_is_made_good(
    tmp_path: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream, call: str
) -> None:
    async with on_a_disk(tmp_path, authorization, upstream) as (daemon, disk):
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
        assert await problems(daemon) is None
        authorization.revoke_access()
        count = authorization.count
        began = time.monotonic()
        async with healthy(daemon):
            disk.hang(call)
            assert (await fetch(daemon.url)).status == 200
            assert time.monotonic() - began < TIMEOUT + MORE
        assert authorization.count == count + 1
        if call not in ("utime", "watch"):  # Without these two, everything can be saved.
            status, told = await problems(daemon)
            assert status == 503
            assert "the store fails" in told["problems"]["default"]
            await daemon.logged("store.failed", has="did not answer within 1 s (`store.timeout`)")
        disk.go_on()
        if call not in ("utime", "watch"):
            await daemon.logged("store.mended")
        assert await problems(daemon) is None
        assert await stored(daemon) == Secret(authorization._families[authorization.first].newest)
        assert (await fetch(daemon.url)).status == 200
        assert await daemon.stop() == 0
    assert authorization.count == count + 1
    assert authorization.reuses == 0


@pytest.mark.slow
async def test_of_two_daemons_none_uses_a_refresh_token_that_the_other_one_may_have_used(
    tmp_path: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with on_a_disk(tmp_path, authorization, upstream) as (one, disk):
        (tmp_path / "other").mkdir()
        async with cared_for(DaemonProcess(tmp_path / "other", one.settings, command=INTERPRETER)) as other:
            other.store_path = one.store_path
            other.environ |= disk.environ
            for daemon in (one, other):
                await daemon.start()
                assert (await fetch(daemon.url)).status == 200
            one.signal(signal.SIGSTOP)
            authorization.revoke_access()
            assert (await fetch(other.url)).status == 200
            count = authorization.count
            disk.hang("open")
            one.signal(signal.SIGCONT)
            answer = await fetch(one.url)
            assert answer.status == 401
            assert json.loads(answer.content)["reason"] == "refresh_unavailable"
            failed = await one.logged("refresh.unavailable")
            assert "another process uses the same store" in failed["problem"]
            assert authorization.count == count
            disk.go_on()
            await one.logged("store.mended")
            for daemon in (one, other):
                assert (await fetch(daemon.url)).status == 200
            assert authorization.count == count
    assert authorization.reuses == 0


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fsync", "open", "stat", "utime", "flock"])
async def test_a_daemon_whose_disk_hangs_ends_when_told_to(
    tmp_path: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream, call: str
) -> None:
    async with on_a_disk(tmp_path, authorization, upstream) as (daemon, disk):
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        disk.hang(call)
        assert (await fetch(daemon.url)).status == 200
        began = time.monotonic()
        assert await daemon.stop() == 0
        assert time.monotonic() - began < DRAIN + CLOSING
    assert authorization.reuses == 0


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fsync", "open", "stat"])
async def test_a_daemon_whose_disk_hangs_at_the_start_says_so_and_ends(
    tmp_path: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream, call: str
) -> None:
    async with on_a_disk(tmp_path, authorization, upstream) as (daemon, disk):
        disk.hang(call)
        await daemon.launch()
        assert await daemon.ended() == 1
        failed = await daemon.logged("server.failed")
        assert str(daemon.store_path) in failed["problem"]
        assert "did not answer within 1 s (`store.timeout`)" in failed["problem"]
    assert authorization.count == 0


@pytest.mark.slow
async def test_a_mounted_token_on_a_disk_that_hangs_is_told_of_and_holds_up_no_end(
    tmp_path: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with on_a_disk(tmp_path, authorization, upstream) as (daemon, disk):
        token = write_secret(tmp_path / "disk" / "token", authorization.first)
        daemon.settings["credential"]["refresh_token"] = {"file": str(token)}
        daemon.settings["store"] = {"type": "file", "path": str(tmp_path / "elsewhere" / "session.json")}
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
        disk.hang("stat")
        unreadable = await daemon.logged("credential.unreadable")
        assert f"the disk that {token} is on did not answer within 5 s" in unreadable["problem"]
        began = time.monotonic()
        assert await daemon.stop() == 0
        assert time.monotonic() - began < DRAIN + CLOSING


@pytest.mark.slow
async def test_a_thread_that_the_interpreter_waits_for_is_left_behind_in_the_end(
    tmp_path: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with on_a_disk(tmp_path, authorization, upstream) as (daemon, disk):
        daemon.config_path = tmp_path / "disk" / "config.yaml"
        daemon.settings["store"] = {"type": "memory"}
        await daemon.start()
        disk.hang("open")
        daemon.signal(signal.SIGHUP)  # It reads the file again, in a thread of an executor.
        await until(lambda: disk.hangs("open"))
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        ended = await daemon.logged("server.ended_hard")
        assert "closing took longer than 15 s" in ended["problem"]
        assert await daemon.ended() == 1
        assert time.monotonic() - began < DRAIN + CLOSE_WITHIN + MORE + 1.0
