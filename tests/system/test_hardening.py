"""The daemon's memory is its own: seen from outside, as a crash collector and as another process see it."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reauth_proxy.system import hardening
from tests.fakes.authorization import CANARY, FakeAuthorizationServer
from tests.fakes.careless import NOBODY
from tests.fakes.client import fetch
from tests.fakes.daemon import DaemonProcess, cared_for, settings
from tests.fakes.upstream import FakeUpstream

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

#: A process with a secret in its environment, with and without the two switches.
HOLDER = """
import signal, sys
from reauth_proxy.system import hardening
from tests.fakes.careless import be_careless
be_careless()
if sys.argv[1] == "hardened":
    hardening.keep_memory_private()
print("ready", flush=True)
signal.pause()
"""
#: What another process sees of a process's memory.
INSIDE = ("environ", "mem", "maps", "auxv")


def look(pid: int, file: str) -> subprocess.CompletedProcess[bytes]:
    """Open a file in /proc/PID as another process of the same user does."""
    # Of `mem`, the first byte is never there: opening it is what takes the right.
    program = ["head", "-c", "0" if file == "mem" else "100000", f"/proc/{pid}/{file}"]
    who = NOBODY if os.geteuid() == 0 else None
    return subprocess.run(program, capture_output=True, user=who, group=who)


def holder(directory: Path, *words: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *words],
        stdout=subprocess.PIPE,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "TOKEN": "CANARY-environ"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory of nobody's."""
    path = Path(tempfile.mkdtemp(prefix="careless-"))
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


def killed(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Kill a process; return its wait status."""
    process.send_signal(number)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -number
    assert process.stdout is not None
    process.stdout.close()
    return status


def test_without_it_the_memory_could_be_had_and_with_it_not(tmp_path: Path) -> None:
    """The control: these tests see the difference that the two switches make."""
    bare, hardened = holder(tmp_path, "bare"), holder(tmp_path, "hardened")
    try:
        assert b"CANARY-environ" in look(bare.pid, "environ").stdout
        for file in INSIDE:
            assert look(bare.pid, file).returncode == 0, file
            seen = look(hardened.pid, file)
            assert (seen.returncode, seen.stdout) == (1, b"")
            assert b"Permission denied" in seen.stderr
    finally:
        for process in (bare, hardened):
            killed(process, signal.SIGKILL)


def test_no_core_is_dumped_neither_to_a_file_nor_to_a_program(open_directory: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("core dumps are off for this whole process tree")
    # WCOREDUMP is the kernel's own word, whether the pattern names a file or a pipe.
    assert not os.WCOREDUMP(killed(holder(open_directory, "hardened"), signal.SIGABRT))
    assert not list(open_directory.iterdir())
    assert os.WCOREDUMP(killed(holder(open_directory, "bare"), signal.SIGABRT)), "the control dumps one"


def test_it_can_be_called_twice_and_leaves_no_way_back() -> None:
    program = """
import resource
from reauth_proxy.system import hardening
hardening.keep_memory_private()
hardening.keep_memory_private()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
"""
    assert subprocess.run([sys.executable, "-c", program], env={**os.environ}).returncode == 0


def test_a_sandbox_that_refuses_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(hardening.ctypes, "CDLL", refuse)
    hardening.keep_memory_private()


async def test_nobody_can_look_into_the_daemon_and_it_leaves_no_core_when_it_is_aborted(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, open_directory: Path
) -> None:
    made = settings(authorization, upstream, credential={"refresh_token": {"env": "REFRESH_TOKEN"}})
    command = DaemonProcess(open_directory, made, command=(sys.executable, "-m", "tests.fakes.careless"))
    command.environ |= {"REFRESH_TOKEN": authorization.first, "PYTHONDONTWRITEBYTECODE": "1"}
    command.write_config()
    if os.geteuid() == 0:
        os.chown(command.config_path, NOBODY, NOBODY)
    async with cared_for(command) as daemon:
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
        for file in INSIDE:
            seen = await asyncio.to_thread(look, daemon.pid, file)
            assert (seen.returncode, seen.stdout) == (1, b""), file
        # What tools for operators read is there still.
        assert b"--config" in (await asyncio.to_thread(look, daemon.pid, "cmdline")).stdout
        assert CANARY.encode() not in (await asyncio.to_thread(look, daemon.pid, "cmdline")).stdout
        assert b"VmRSS" in (await asyncio.to_thread(look, daemon.pid, "status")).stdout
        daemon.signal(signal.SIGABRT)
        assert await daemon.ended() == -signal.SIGABRT
    assert not [path for path in (*open_directory.rglob("core*"), *Path.cwd().glob("core*")) if path.is_file()]
