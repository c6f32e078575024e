"""The daemon as users run it: a process that is started, hung up on, killed, and looked at from outside."""

from __future__ import annotations

import asyncio
import resource
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.file import FileStore
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.daemon import DaemonProcess, config_for
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wire import read_message, send

ON_DISK: dict[str, Any] = {"store": {"type": "file"}}
CANARY = b"CANARY"


def stored(directory: Path) -> list[Path]:
    return [path for path in (directory / "state").rglob("*.json") if path.is_file()]


async def test_killed_right_after_each_of_fifteen_rotations_the_session_is_never_lost(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    daemon = DaemonProcess(tmp_path, config_for(upstream, authorization, ON_DISK))
    for rotation in range(15):
        await daemon.start()
        authorization.expire()
        assert (await send(daemon.port)).status == 200, f"after {rotation} kills"
        # The answer came, so the rotated token is on disk, whatever happens now.
        assert await daemon.end(signal.SIGKILL) == -signal.SIGKILL
    assert authorization.issued >= 15
    assert not authorization.reuse_detected


async def test_killed_at_any_moment_after_the_answer_left_the_session_survives(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    daemon = DaemonProcess(tmp_path, config_for(upstream, authorization, ON_DISK))
    await daemon.start()
    (file,) = await wait_for_file(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    await daemon.end(signal.SIGKILL)
    calls = len(authorization.calls)
    await daemon.start()
    assert (await send(daemon.port)).status == 200
    assert len(authorization.calls) == calls, "the stored access token still works: no refresh at a restart"
    await daemon.end(signal.SIGTERM)


async def wait_for_file(directory: Path) -> list[Path]:
    async with asyncio.timeout(10):
        while not (found := stored(directory)):
            await asyncio.sleep(0.01)  # a file has no event to wait for
    return found


async def test_a_new_refresh_token_in_the_config_brings_the_session_back_at_sighup_and_at_restart(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    config = config_for(upstream, authorization, ON_DISK)
    async with DaemonProcess(tmp_path, config) as daemon:
        assert (await send(daemon.port)).status == 200
        authorization.revoke()
        assert (await send(daemon.port))["Reauth-Signal"] == "logout;reason=refresh_denied"
        calls = len(authorization.calls)
        daemon.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        await daemon.logged("config.reloaded")
        assert (await send(daemon.port)).status == 401, "the same token again is no news"
        assert len(authorization.calls) == calls

        config["credential"]["refresh_token"] = authorization.sign_in()
        daemon.write(config)
        size = daemon.log_file.stat().st_size
        daemon.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        await daemon.logged("session.resumed", since=size)
        assert (await send(daemon.port)).status == 200

        authorization.revoke()
        assert (await send(daemon.port)).status == 401
    config["credential"]["refresh_token"] = authorization.sign_in()
    daemon.write(config)
    async with daemon:
        assert (await send(daemon.port)).status == 200


async def test_a_bad_config_at_sighup_changes_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with DaemonProcess(tmp_path, config_for(upstream, authorization)) as daemon:
        daemon.config_file.write_text("upstream: [\n")
        daemon.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        rejected = await daemon.logged("config.rejected")
        assert "config.yaml:" in rejected["problems"][0]
        assert (await send(daemon.port)).status == 200


async def test_a_new_refresh_token_in_the_store_brings_the_session_back(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "session" / "session.json"
    config = config_for(upstream, authorization, {"store": {"type": "file", "path": str(path)}})
    async with DaemonProcess(tmp_path, config) as daemon:
        assert (await send(daemon.port)).status == 200
        authorization.revoke()
        assert (await send(daemon.port)).status == 401
        store = FileStore(path)
        async with store.lock():  # as every process does: the daemon may be saving the sign-out right now
            await store.save(StoredSession(Secret(authorization.sign_in())))
        await store.close()
        async with asyncio.timeout(10):
            while (await send(daemon.port)).status != 200:
                await asyncio.sleep(0.1)  # the store is looked at once per second


async def test_sigterm_lets_requests_under_way_finish_and_ends_well(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    daemon = DaemonProcess(tmp_path, config_for(upstream, authorization, {"drain_timeout": "10s"}))
    await daemon.start()
    await send(daemon.port)
    authorization.expire()
    upstream.judging.clear()
    asking = asyncio.create_task(send(daemon.port))
    await upstream.seen(2)
    daemon.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
            except ConnectionRefusedError:
                break
            writer.close()
    upstream.judging.set()
    answer = await asking
    assert (answer.status, answer["Connection"]) == (200, "close")
    assert await daemon.process.wait() == 0  # type: ignore[union-attr]
    assert "server.drained" in daemon.log_file.read_text()


async def test_it_listens_within_a_second(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    daemon = DaemonProcess(tmp_path, config_for(upstream, authorization))
    await daemon.start()  # writes the bytecode, as an installation does
    await daemon.end(signal.SIGTERM)
    took = []
    for _ in range(3):
        since = time.monotonic()
        await daemon.start()
        took.append(time.monotonic() - since)
        await daemon.end(signal.SIGTERM)
    assert min(took) < 1.0


async def test_idle_memory_is_under_60_megabytes(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with DaemonProcess(tmp_path, config_for(upstream, authorization, ON_DISK)) as daemon:
        assert (await send(daemon.port)).status == 200
        status = Path(f"/proc/{daemon.pid}/status")
        if not status.exists():
            pytest.skip("needs /proc")
        kilobytes = int(status.read_text().partition("VmRSS:")[2].split()[0])
        assert kilobytes < 60_000


@pytest.mark.slow
async def test_two_thousand_parked_are_released_in_under_three_seconds(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 8192:
        pytest.skip(f"needs 8192 open files; the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    async with DaemonProcess(tmp_path, config_for(upstream, authorization)) as daemon:
        assert (await send(daemon.port)).status == 200
        calls = len(authorization.calls)
        authorization.expire()
        authorization.open.clear()

        async def ask() -> tuple[int, float]:
            reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            found = await read_message(reader)
            writer.close()
            return found.status, time.monotonic()

        asking = []
        for wave in range(20):
            asking += [asyncio.create_task(ask()) for _ in range(100)]
            while upstream.rejected < 100 * (wave + 1):
                await asyncio.sleep(0)
        released = time.monotonic()
        authorization.open.set()
        answers = await asyncio.gather(*asking)
        assert {status for status, _ in answers} == {200}
        assert len(authorization.calls) == calls + 1
        assert max(when for _, when in answers) - released < 3.0


async def test_no_token_is_found_anywhere_but_in_the_store(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    config = config_for(
        upstream, authorization, ON_DISK, {"log": {"level": "debug"}, "refresh": {"retry_for": "300ms"}}
    )
    del config["credential"]["refresh_token"]
    config["credential"]["refresh_token"] = {"file": "secret"}
    (tmp_path / "secret").write_text(authorization.refresh_token + "\n")
    daemon = DaemonProcess(tmp_path, config)
    async with daemon:
        fields = (("Authorization", "Bearer CANARY-client"), ("Cookie", "s=CANARY-cookie"))
        await send(daemon.port, "/?access_token=CANARY-query", *fields)
        authorization.expire()
        await send(daemon.port, "/x", *fields, method="POST", content=b"CANARY-content")
        authorization.expire()
        authorization.script.extend([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nCANARY-half"] * 20)
        await send(daemon.port)
        authorization.script.clear()
        authorization.revoke()
        await send(daemon.port, "/CANARY-path-is-the-clients-own")
        for name in ("cmdline", "environ"):
            assert CANARY not in Path(f"/proc/{daemon.pid}/{name}").read_bytes()
    assert stored(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path not in stored(tmp_path) and path.name != "secret":
            text = path.read_bytes().replace(b"CANARY-path-is-the-clients-own", b"")
            assert CANARY not in text, f"{path.name}: {text[max(0, text.index(CANARY) - 200) :][:300]!r}"


async def test_a_malformed_config_is_told_line_by_line_with_exit_status_2(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("listen: 127.0.0.1:8080\nupstrem: x\nrefresh: {ahead: soon}\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reauth_proxy", "--config", str(file), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    text = errors.decode()
    assert "Traceback" not in text
    assert f"{file}:2: upstrem: " in text
    assert "`upstream`" in text
    assert f"{file}:3: refresh.ahead: " in text


async def test_an_address_that_is_taken_is_told_with_the_mend_and_exit_status_1(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    daemon = DaemonProcess(tmp_path, config_for(upstream, authorization, {"listen": f"127.0.0.1:{upstream.port}"}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reauth_proxy", "--config", str(file), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"Traceback" not in errors
    assert b"set `listen` to an address that is free" in errors
    assert daemon.process is None
