"""Killed at each step, on disks that fail, with files that are damaged: what becomes of the session."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reauth_proxy.stores.file import FileStore
from tests.fakes.arrivals import PATIENCE
from tests.fakes.authorization import FakeAuthorizationServer, authorization_server
from tests.fakes.client import fetch
from tests.fakes.daemon import DaemonProcess, cared_for, daemon_process, events, settings
from tests.fakes.strace import injected
from tests.fakes.upstream import FakeUpstream, upstream_server

#: In the thread that writes: the mark's file, directory; then the session's; then those of its copy.
BEFORE_THE_REQUEST = [("fsync", 1), ("/^rename", 1), ("fsync", 2)]
AFTER_THE_ANSWER = [("fsync", 3), ("/^rename", 2)]
AFTER_THE_RENAME = [("fsync", 4), ("fsync", 5), ("/^rename", 3), ("fsync", 6)]


@asynccontextmanager
async def a_daemon(directory: Path, grace_uses: int) -> AsyncIterator[tuple[DaemonProcess, FakeAuthorizationServer]]:
    """Run one with a token, and with an authorization server that allows for so many lost answers."""
    async with (
        authorization_server(grace_uses=grace_uses) as authorization,
        upstream_server(authorization) as upstream,
        daemon_process(directory, authorization, upstream) as daemon,
    ):
        assert (await fetch(daemon.url)).status == 200
        yield daemon, authorization


async def killed_at(daemon: DaemonProcess, authorization: FakeAuthorizationServer, calls: str, number: int) -> None:
    """Have it refresh, and kill it with -9 as it enters the n-th of these system calls."""
    authorization.revoke_access()
    async with injected(daemon.pid, calls, f"signal=KILL:when={number}"):
        await asyncio.gather(fetch(daemon.url), return_exceptions=True)
        await daemon.ended()


@pytest.mark.parametrize(("calls", "number"), BEFORE_THE_REQUEST + AFTER_THE_ANSWER + AFTER_THE_RENAME)
async def test_killed_at_any_step_the_session_goes_on_where_lost_answers_are_allowed_for(
    calls: str, number: int, tmp_path: Path
) -> None:
    async with a_daemon(tmp_path, grace_uses=1) as (daemon, authorization):
        await killed_at(daemon, authorization, calls, number)
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
        assert authorization.reuses == 0
        assert events(daemon.log, "session.signed_out") == []


@pytest.mark.parametrize(
    ("calls", "number", "lost"),
    [(*BEFORE_THE_REQUEST[2], False), (*AFTER_THE_ANSWER[1], True), (*AFTER_THE_RENAME[0], False)],
)
async def test_where_they_are_not_one_moment_loses_it_and_the_log_says_so(
    calls: str, number: int, lost: bool, tmp_path: Path
) -> None:
    async with a_daemon(tmp_path, grace_uses=0) as (daemon, authorization):
        await killed_at(daemon, authorization, calls, number)
        await daemon.start()
        answer = await fetch(daemon.url)
        if lost:
            line = await daemon.logged("session.signed_out")
            answer = await fetch(daemon.url)
            assert line["detail"].startswith("rotation probably lost")
            assert answer.value("Reauth-Signal") == "logout;reason=refresh_denied"
        else:
            assert answer.status == 200
            assert authorization.reuses == 0


async def test_an_answer_that_nobody_read_is_asked_for_again_at_once(tmp_path: Path) -> None:
    async with a_daemon(tmp_path, grace_uses=1) as (daemon, authorization):
        authorization.revoke_access()
        authorization.hold()
        asking = asyncio.create_task(fetch(daemon.url))
        await authorization.arrived(2)
        daemon.signal(signal.SIGSTOP)
        authorization.release()
        await authorization.rotations.reached(2)
        await daemon.kill()
        await asyncio.gather(asking, return_exceptions=True)
        await daemon.start()
        await daemon.logged("refresh.interrupted")
        await authorization.arrived(3)  # With no request that needs it: grace periods are short.
        assert (await fetch(daemon.url)).status == 200
        assert authorization.count == 3
        assert authorization.reuses == 0


async def test_a_revoked_token_is_not_called_a_lost_rotation(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        authorization.revoke_refresh()
        await fetch(daemon.url)
        assert "revoked, expired" in (await daemon.logged("session.signed_out"))["detail"]


async def test_a_disk_with_input_and_output_errors_is_served_from_memory_loudly_until_it_heals(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream, refresh={"min_interval": 0}) as daemon:
        assert (await fetch(daemon.url)).status == 200
        async with injected(daemon.pid, "fsync", "error=EIO"):
            for _ in range(3):
                authorization.revoke_access()
                assert (await fetch(daemon.url)).status == 200
            failed = await daemon.logged("store.failed")
            assert "input/output error" in failed["error"]
        await daemon.logged("store.mended")
        await daemon.kill()
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 4
    assert authorization.reuses == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", directory], check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)


def remount(directory: Path, how: str) -> None:
    # The daemon closes its lock file after it has said that it saved. Until then the disk is busy, and the kernel tells
    # of the end of writing before it counts it: there is nothing to wait for but the answer itself.
    for _ in range(200):
        done = subprocess.run(["mount", "-o", f"remount,{how}", directory], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return
        time.sleep(0.05)
    raise AssertionError(done.stderr)


async def test_a_full_and_a_read_only_disk_are_served_from_memory_loudly_until_they_heal(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, small_disk: Path
) -> None:
    kept = {"type": "file", "path": str(small_disk / "session.json")}
    async with daemon_process(tmp_path, authorization, upstream, store=kept, refresh={"min_interval": 0}) as daemon:
        assert (await fetch(daemon.url)).status == 200
        fill(small_disk / "litter")
        for _ in range(2):
            authorization.revoke_access()
            assert (await fetch(daemon.url)).status == 200
        assert "free some space" in (await daemon.logged("store.failed"))["error"]
        (small_disk / "litter").unlink()
        await daemon.logged("store.mended")

        await asyncio.to_thread(remount, small_disk, "ro")
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
        await daemon.logged("store.failed", has="read-only")
        await asyncio.to_thread(remount, small_disk, "rw")
        await daemon.logged("store.mended", 2)
        await daemon.kill()
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
        await daemon.stop()
    assert authorization.count == 4
    assert authorization.reuses == 0


@pytest.mark.parametrize("left", [0, 1, 100])
async def test_a_truncated_file_falls_back_to_the_second_copy_loudly(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, left: int
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        await daemon.stop()
        daemon.store_path.write_bytes(daemon.store_path.read_bytes()[:left])
        await daemon.start()
        recovered = await daemon.logged("store.recovered")
        assert recovered["level"] == "error"
        assert str(daemon.store_path) in recovered["problem"]
        assert (await fetch(daemon.url)).status == 200
        await daemon.stop()
        assert await FileStore(daemon.store_path).load() is not None, "it has been mended"

        for path in (daemon.store_path, daemon.store_path.with_name("session.json.backup")):
            path.write_bytes(path.read_bytes()[:left])
        await daemon.launch()
        assert await daemon.ended() == 1
        (failed,) = events(daemon.log, "server.failed")
        assert "move it away" in failed["problem"]
    assert authorization.count == 1


async def test_a_file_that_is_truncated_or_removed_under_a_running_daemon_is_written_again(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        before = await FileStore(daemon.store_path).load()
        daemon.store_path.write_bytes(b"{")
        await daemon.logged("store.mended")
        assert await FileStore(daemon.store_path).load() == before
    assert authorization.count == 1


async def test_a_wrong_encryption_key_refuses_to_start_and_overwrites_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    kept = {"type": "file", "path": str(tmp_path / "state" / "session.json")}
    first, second = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=", "MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI="
    stage = settings(authorization, upstream, store={**kept, "encryption_key": first})
    async with cared_for(DaemonProcess(tmp_path, stage)) as daemon:
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
        await daemon.stop()
        sealed = daemon.store_path.read_bytes()
        assert b"CANARY" not in sealed
        daemon.settings["store"]["encryption_key"] = second
        daemon.write_config()
        await daemon.launch()
        assert await daemon.ended() == 1
        (failed,) = events(daemon.log, "server.failed")
        assert "encrypted with the key" in failed["problem"]
        assert "store.encryption_key" in failed["problem"]
        assert daemon.store_path.read_bytes() == sealed
        daemon.settings["store"]["encryption_key"] = [second, first]
        daemon.write_config()
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
        assert authorization.count == 1
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
        await daemon.stop()
        daemon.settings["store"]["encryption_key"] = second
        daemon.write_config()
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 2


REFRESH_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from reauth_proxy.errors import ReauthError
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint, OAuth2Settings
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import RefreshPolicy
from reauth_proxy.session.tokens import Secret
from reauth_proxy.stores.file import FileStore
from reauth_proxy.telemetry import logs
logs.configure("info", "json")
async def main():
    endpoint = OAuth2Endpoint(OAuth2Settings(client_id="web", url=sys.argv[1], client_auth="none"))
    policy = RefreshPolicy(background=False, min_interval=0)
    session = Session("default", endpoint, FileStore(Path(sys.argv[2])), policy, configured=Secret(sys.argv[3]))
    await session.start()
    await session.renew()
    print("ready", flush=True)
    while True:
        await session.renew()
try:
    asyncio.run(main())
except ReauthError as error:
    print("lost:", error, flush=True)
"""


@pytest.mark.slow
async def test_two_hundred_random_kills_never_lose_the_session(tmp_path: Path) -> None:
    """The server takes a refresh token once more after it has rotated it, as they do for lost answers."""
    async with asyncio.TaskGroup() as lanes:
        for seed in (5, 6):
            (tmp_path / str(seed)).mkdir()
            lanes.create_task(_a_hundred_kills(tmp_path / str(seed), random.Random(seed)))


async def _a_hundred_kills(tmp_path: Path, rng: random.Random) -> None:
    async with authorization_server(grace_uses=1) as authorization:
        path = tmp_path / "session.json"
        for number in range(100):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", REFRESH_FOR_EVER, authorization.url, str(path), authorization.first),
                stdout=asyncio.subprocess.PIPE,
                stderr=(log := (tmp_path / "log").open("wb")),
            )
            log.close()
            assert process.stdout is not None
            said = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert said == b"ready\n", f"after {number} kills: {said!r}\n{(tmp_path / 'log').read_text()}"
            await asyncio.sleep(rng.random() * 0.05)
            process.kill()
            await process.wait()
        assert authorization.reuses == 0
        assert authorization.issued > 150  # On a machine that is busy, too, some are killed while they refresh again.
        litter = [name for name in tmp_path.iterdir() if name.suffix == ".tmp"]
        assert len(litter) <= 1, "each start sweeps up"
