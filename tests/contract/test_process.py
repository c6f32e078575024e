"""The daemon as people run it: a process that is started, hung up on, killed, and looked at from outside."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import stat
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.file import FileStore
from tests.fakes import daemon as fakes
from tests.fakes.arrivals import until
from tests.fakes.authorization import CANARY, FakeAuthorizationServer, Raw, authorization_server
from tests.fakes.certificates import Authority
from tests.fakes.client import fetch
from tests.fakes.daemon import INTERPRETER, DaemonProcess, cared_for, events, settings
from tests.fakes.files import write_secret
from tests.fakes.scheduling import taken
from tests.fakes.upstream import FakeUpstream, upstream_server

LOGOUT = "logout;reason=refresh_denied"

# As people start it; elsewhere daemons are forked from a process that has imported everything.
daemon_process = partial(fakes.daemon_process, command=INTERPRETER)


@pytest.mark.slow
async def test_killed_right_after_each_of_fifteen_rotations_the_session_is_never_lost(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with cared_for(DaemonProcess(tmp_path, settings(authorization, upstream), command=INTERPRETER)) as daemon:
        for rotation in range(15):
            await daemon.start()
            authorization.revoke_access()
            # Once the answer is here, so is the rotated token in the store: stored before used.
            assert (await fetch(daemon.url)).status == 200, f"after {rotation} kills"
            await daemon.kill()
    assert authorization.count == 15
    assert authorization.reuses == 0


@pytest.mark.slow
async def test_killed_before_the_answer_it_goes_on_where_lost_answers_are_allowed_for(
    tmp_path: Path,
) -> None:
    async with authorization_server(grace_uses=1) as authorization, upstream_server(authorization) as upstream:
        async with cared_for(DaemonProcess(tmp_path, settings(authorization, upstream), command=INTERPRETER)) as daemon:
            for rotation in range(8):
                await daemon.start()
                authorization.revoke_access()
                asking = asyncio.create_task(fetch(daemon.url))
                await authorization.rotations.reached(authorization.issued + 1)
                await daemon.kill()
                await asyncio.gather(asking, return_exceptions=True)
                await daemon.start()
                assert (await fetch(daemon.url)).status == 200, f"after {rotation} kills"
                await daemon.kill()
        assert authorization.reuses == 0


async def test_a_restart_goes_on_with_the_stored_token_and_asks_for_none(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        assert stat.S_IMODE(daemon.store_path.stat().st_mode) == 0o600
        assert stat.S_IMODE(daemon.store_path.parent.stat().st_mode) == 0o700
        await daemon.kill()
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
        assert await daemon.stop() == 0
    assert authorization.count == 1


async def test_a_new_refresh_token_in_the_config_brings_the_session_back_at_sighup_and_at_restart(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    refresh = {"min_interval": 0}
    async with daemon_process(tmp_path, authorization, upstream, refresh=refresh) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        authorization.revoke_refresh()
        assert (await fetch(daemon.url)).value("Reauth-Signal") == LOGOUT
        calls = authorization.count
        daemon.signal(signal.SIGHUP)
        assert (await daemon.logged("config.reloaded"))["new_refresh_token"] is False
        assert (await fetch(daemon.url)).value("Reauth-Signal") == LOGOUT
        assert authorization.count == calls, "the same token again is no news"

        daemon.write_config(credential={"refresh_token": authorization.login()})
        daemon.signal(signal.SIGHUP)
        assert (await daemon.logged("config.reloaded", 2))["new_refresh_token"] is True
        assert (await fetch(daemon.url)).status == 200

        authorization.revoke_access()
        authorization.revoke_refresh()
        assert (await fetch(daemon.url)).value("Reauth-Signal") == LOGOUT
        await daemon.stop()
        calls = authorization.count
        await daemon.start()
        assert (await fetch(daemon.url)).value("Reauth-Signal") == LOGOUT, "a restart alone is no news"
        await daemon.stop()
        assert authorization.count == calls

        daemon.write_config(credential={"refresh_token": authorization.login()})
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
    assert authorization.reuses == 0


async def test_a_new_refresh_token_in_the_store_brings_the_session_back(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        authorization.revoke_refresh()
        assert (await fetch(daemon.url)).value("Reauth-Signal") == LOGOUT
        store = FileStore(daemon.store_path)
        async with store.lock():  # as every process does: the daemon may be saving the sign-out right now
            await store.save(StoredSession(Secret(authorization.login())))
        await store.close()
        await daemon.logged("session.resumed")
        assert (await fetch(daemon.url)).status == 200


async def test_two_daemons_share_one_session_and_never_use_a_refresh_token_twice(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    shared = {"type": "file", "path": str(tmp_path / "shared" / "session.json")}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with (
        daemon_process(tmp_path / "one", authorization, upstream, store=shared, refresh={"min_interval": 0}) as one,
        daemon_process(tmp_path / "two", authorization, upstream, store=shared, refresh={"min_interval": 0}) as two,
    ):
        for round_ in range(5):
            answers = await asyncio.gather(*(fetch(daemon.url) for daemon in (one, two) for _ in range(10)))
            assert [answer.status for answer in answers] == [200] * 20
            assert authorization.count == round_ + 1
            authorization.revoke_access()
    assert authorization.reuses == 0


async def test_a_bad_config_at_sighup_is_told_and_changes_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        daemon.config_path.write_text("upstream: [\n")
        daemon.signal(signal.SIGHUP)
        rejected = await daemon.logged("config.rejected")
        assert "config.yaml:" in rejected["problems"][0]
        assert (await fetch(daemon.url)).status == 200


async def test_sigterm_lets_requests_under_way_finish_and_ends_well(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream, drain_timeout="20s") as daemon:
        upstream.hold()
        asking = asyncio.create_task(fetch(daemon.url, "/held"))
        await upstream.arrived(1)
        daemon.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", int(daemon.url.rpartition(":")[2]))
                except OSError:
                    break  # it listens no more
                writer.close()
        upstream.release()
        answer = await asking
        assert (answer.status, answer.value("Connection")) == (200, "close")
        assert await daemon.ended() == 0
        assert len(events(daemon.log, "server.drained")) == 1


async def test_killed_by_sigterm_while_a_refresh_runs_its_token_is_stored_all_the_same(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        authorization.hold()
        asking = asyncio.create_task(fetch(daemon.url))
        await authorization.arrived(1)
        daemon.signal(signal.SIGTERM)
        answer = await asking
        assert answer.status == 503
        assert answer.value("Retry-After") is not None
        authorization.release()
        assert await daemon.ended() == 0
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 1
    assert authorization.reuses == 0


async def test_it_starts_within_a_second_of_cpu_time(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    script = Path(sys.executable).with_name("reauth-proxy")
    command = DaemonProcess(tmp_path, settings(authorization, upstream), command=(str(script),))
    async with cared_for(command) as daemon:
        took = []
        for _ in range(4):  # the first writes the bytecode, as an installation does
            await daemon.start()
            stat = Path(f"/proc/{daemon.pid}/stat")
            if not stat.exists():
                pytest.skip("needs /proc")
            user, system = stat.read_text().rpartition(") ")[2].split()[11:13]
            took.append((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"))
            await daemon.stop()
    assert min(took) < 1.0, took


async def test_idle_it_takes_less_than_60_mebibytes_with_everything_on(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    made = settings(authorization, upstream, control={"listen": "127.0.0.1:0"}, log={"level": "info"})
    alone = (sys.executable, "-m", "tests.fakes.alone")
    async with cared_for(DaemonProcess(tmp_path, made, command=alone)) as daemon:
        for number in (1, 2):  # the first writes the bytecode, as an installation does
            await daemon.start()
            assert (await fetch(daemon.url)).status == 200
            control = (await daemon.logged("server.started", number))["control"]
            for target in ("/metrics", "/", "/status", "/readyz"):
                assert (await fetch(control, target)).status == 200
            kibibytes = status_of(daemon, "VmRSS")
            await daemon.stop()
    assert kibibytes < 60 * 1024


async def test_room_for_every_connection_is_made_before_it_listens(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    limits = {"connections": 500, "upstream_connections": 200}
    async with daemon_process(tmp_path, authorization, upstream, limits=limits) as daemon:
        slots = status_of(daemon, "FDSize")
    # One for each, for a fifth more clients, for 64 temporary files, and some to spare; the kernel rounds up.
    assert 500 * 1.2 + 200 + 64 <= slots <= 2048


def status_of(daemon: DaemonProcess, name: str) -> int:
    """Return a number from /proc/PID/status."""
    status = Path(f"/proc/{daemon.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    return int(status.read_text().partition(f"{name}:")[2].split()[0])


@pytest.mark.slow
async def test_two_thousand_parked_are_released_in_under_three_seconds_without_a_stall(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    allow_files(16_384)
    watched = (sys.executable, "-m", "tests.fakes.watched")
    made = settings(authorization, upstream, log={"level": "info"})
    async with cared_for(DaemonProcess(tmp_path, made, command=watched)) as daemon:
        await daemon.start()
        await fetch(daemon.url)
        authorization.revoke_access()
        authorization.hold()
        loop = asyncio.get_running_loop()

        async def ask() -> float:
            answer = await fetch(daemon.url)
            assert answer.status == 200
            return loop.time()

        asking: list[asyncio.Task[float]] = []
        for wave in range(20):
            asking += [asyncio.create_task(ask()) for _ in range(100)]
            await upstream.refused(100 * (wave + 1))
        daemon.signal(signal.SIGUSR1)
        threads = (threading.get_native_id(), daemon.pid)
        released, lost = loop.time(), taken(*threads)
        authorization.release()
        took = max(await asyncio.gather(*asking)) - released - (taken(*threads) - lost)
        await daemon.stop()
        (stall,) = [line["longest"] for line in events(daemon.log, "loop.watched")]
    assert authorization.count == 2
    assert upstream.count == 1 + 2 * 2000
    assert took < 3.0
    assert stall < 0.25


def allow_files(number: int) -> None:
    """Raise the limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        pytest.skip(f"needs {number} open files, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), hard))


async def test_no_token_is_found_anywhere_but_in_the_store(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    secret = write_secret(tmp_path / "refresh-token", authorization.first + "\n")
    made = settings(
        authorization,
        upstream,
        credential={"refresh_token": {"file": str(secret)}},
        refresh={"min_interval": 0, "retry_for": 0, "background": False},
    )
    fields = [("Authorization", "Bearer CANARY-client"), ("Cookie", "session=CANARY-cookie")]
    async with cared_for(DaemonProcess(tmp_path, made, command=INTERPRETER)) as daemon:
        await daemon.start()
        await fetch(daemon.url, "/?access_token=CANARY-query", fields=fields)
        authorization.revoke_access()
        await fetch(daemon.url, "/x", method="POST", fields=fields, content=b"CANARY-content")
        authorization.revoke_access()
        half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n" + CANARY.encode()
        authorization.next(Raw(half), Raw(half), Raw(CANARY.encode()))
        await fetch(daemon.url)
        upstream.close_listener()
        await fetch(daemon.url, fields=fields)
        await upstream.start()
        daemon.signal(signal.SIGHUP)
        await daemon.logged("config.reloaded")
        authorization.revoke_refresh()
        await until(lambda: True)
        assert CANARY.encode() not in Path(f"/proc/{daemon.pid}/cmdline").read_bytes()
        await daemon.stop()
        assert CANARY in daemon.store_path.read_text(), "the store is where it belongs"
        kept = (daemon.store_path, daemon.store_path.with_name("session.json.backup"), secret)
        others = [path for path in tmp_path.rglob("*") if path.is_file() and path not in kept]
        assert daemon.log_path in others
        leaky = [path for path in others if CANARY.encode() in path.read_bytes()]
        assert not leaky


async def ended_at_once(tmp_path: Path, config: str) -> tuple[int, str]:
    """Run the command with a config that it cannot run with; return its exit status and what it said."""
    file = write_secret(tmp_path / "config.yaml", config)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reauth_proxy", "--config", str(file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        out, told = await process.communicate()
    assert out == b""
    assert b"Traceback" not in told
    assert process.returncode is not None
    return process.returncode, told.decode()


async def test_a_malformed_config_is_told_all_at_once_with_exit_status_2(tmp_path: Path) -> None:
    status, told = await ended_at_once(tmp_path, "listen: 127.0.0.1:8080\nupstrem: x\nrefresh: {ahead: soon}\n")
    file = tmp_path / "config.yaml"
    assert status == 2
    assert f"{file}:2: upstrem: " in told
    assert "`upstream`" in told
    assert f"{file}:3: refresh.ahead: " in told
    assert "credential" in told


LEAST = """
listen: 127.0.0.1:{port}
upstream: http://127.0.0.1:1
credential: {{refresh_token: x, token_endpoint: {{url: "http://127.0.0.1:1/token", client_id: web}}}}
store: {store}
control: {{listen: null}}
"""


async def test_an_address_that_is_taken_is_told_with_the_mend_and_exit_status_1(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    config = LEAST.format(port=upstream.port, store="{type: memory}")
    status, told = await ended_at_once(tmp_path, config)
    assert status == 1
    assert f"127.0.0.1:{upstream.port}" in told
    assert "set `listen` to an address that is free" in told


@pytest.mark.parametrize("key", ["listen", "control.listen"])
async def test_a_second_daemon_on_a_taken_port_ends_and_has_asked_for_no_token(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, key: str
) -> None:
    """It would renew at once, in the background, if it got as far."""
    settings_of_both = {"refresh": {"background": True}, "control": {"listen": "127.0.0.1:0"}}
    (tmp_path / "second").mkdir()
    async with daemon_process(tmp_path, authorization, upstream, **settings_of_both) as first:
        await authorization.arrived(1)
        taken_by_first = (await first.logged("server.started"))[key.partition(".")[0]].removeprefix("http://")
        made = settings(authorization, upstream, **settings_of_both)
        made["credential"]["refresh_token"] = authorization.login()
        if key == "listen":
            made["listen"] = taken_by_first
        else:
            made["control"]["listen"] = taken_by_first
        async with cared_for(DaemonProcess(tmp_path / "second", made, command=INTERPRETER)) as second:
            await second.launch()
            assert await second.ended() == 1
            (failed,) = events(second.log, "server.failed")
            assert f"cannot listen on {taken_by_first}: address already in use; set `{key}`" in failed["problem"]
    assert authorization.count == 1


async def test_a_second_daemon_on_a_taken_unix_socket_ends_and_leaves_it_to_the_first(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    listen = f"unix:{tmp_path / 'proxy.sock'}"
    (tmp_path / "second").mkdir()
    async with daemon_process(tmp_path, authorization, upstream, listen=listen):
        made = settings(authorization, upstream, listen=listen, refresh={"background": True})
        async with cared_for(DaemonProcess(tmp_path / "second", made, command=INTERPRETER)) as second:
            await second.launch()
            assert await second.ended() == 1
            assert f"cannot listen on {listen}: address already in use" in second.log
        _, writer = await asyncio.open_unix_connection(tmp_path / "proxy.sock")
        writer.close()
    assert authorization.count == 0


@pytest.mark.parametrize(
    ("limits", "level"), [({"connections": 5000}, "warning"), ({"content": 1000}, "debug"), ({}, "debug")], ids=str
)
async def test_too_few_open_files_are_a_warning_only_where_more_were_asked_for(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, limits: dict[str, int], level: str
) -> None:
    made = settings(authorization, upstream, limits=limits)
    few_files = ("/bin/sh", "-c", 'ulimit -n 1024 && exec "$0" -m reauth_proxy "$@"', sys.executable)
    async with cared_for(DaemonProcess(tmp_path, made, command=few_files)) as daemon:
        await daemon.start()
        (lowered,) = events(daemon.log, "limits.lowered")
    assert (lowered["level"], lowered["connections"]) == (level, 403)
    assert (
        "the system allows 1024 open files; raise it (ulimit -n), or lower `limits.connections`" in lowered["problem"]
    )


async def test_the_soft_limit_on_open_files_is_raised_before_anything_is_lowered(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    made = settings(authorization, upstream, limits={"connections": 1000, "upstream_connections": 100})
    soft_limit = ("/bin/sh", "-c", 'ulimit -Sn 64 && exec "$0" -m reauth_proxy "$@"', sys.executable)
    async with cared_for(DaemonProcess(tmp_path, made, command=soft_limit)) as daemon:
        await daemon.start()
        assert not events(daemon.log, "limits.lowered")


async def test_started_with_no_session_it_says_how_to_sign_in(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    signed_out = settings(authorization, upstream)
    del signed_out["credential"]["refresh_token"]
    signed_out["credential"]["token_endpoint"]["authorization_url"] = authorization.url
    async with cared_for(DaemonProcess(tmp_path, signed_out, command=INTERPRETER)) as daemon:
        await daemon.start()
        missing = await daemon.logged("session.missing")
        assert missing["mend"] == (
            f"run `reauth-proxy login --config {daemon.config_path}`, or open {daemon.url}/_reauth/login in a browser"
        )


async def test_a_store_that_cannot_be_written_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = LEAST.format(port=0, store=f"{{type: file, path: {tmp_path}/file/session.json}}")
    status, told = await ended_at_once(tmp_path, config)
    assert status == 1
    assert str(tmp_path / "file") in told


async def test_a_unix_socket_is_for_its_owner_alone(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "proxy.sock"
    async with daemon_process(tmp_path, authorization, upstream, listen=f"unix:{path}") as daemon:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert await daemon.stop() == 0
        assert not path.exists()


async def test_the_system_s_certificates_are_read_for_our_context_and_for_no_other(tmp_path: Path) -> None:
    program = (
        "from reauth_proxy.system.process import spare_certificates\n"
        "with spare_certificates():\n"
        "    from reauth_proxy.daemon import sessions\n"
        "    import aiohttp.connector\n"
        "from reauth_proxy.config.model import TLS\n"
        "theirs = aiohttp.connector._SSL_CONTEXT_VERIFIED\n"
        "print(len(theirs.get_ca_certs()), len(sessions.tls_context(TLS()).get_ca_certs()))\n"
        "import os; print(os.environ['SSL_CERT_FILE'])\n"
    )
    authorities = Authority(tmp_path).file
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "SSL_CERT_FILE": str(authorities), "SSL_CERT_DIR": str(tmp_path / "none")},
    )
    assert (await process.communicate())[0].decode().split() == ["0", "1", str(authorities)]
