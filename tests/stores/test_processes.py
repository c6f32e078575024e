"""The file store between processes, killed ones among them."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reauth_proxy.errors import StoreError
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.file import FileStore

pytestmark = pytest.mark.process

PRELUDE = """
import asyncio, sys
from pathlib import Path
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.file import FileStore
store = FileStore(Path(sys.argv[1]))
"""
SAVE_FOR_EVER = (
    PRELUDE
    + """
async def main():
    number = (await store.load() or StoredSession(None)).generation
    print("ready", flush=True)
    while True:
        number += 1
        await store.save(StoredSession(Secret("CANARY" * (number % 700 + 1)), generation=number))
asyncio.run(main())
"""
)
HOLD_FOR_EVER = (
    PRELUDE
    + """
async def main():
    async with store.lock():
        print("held", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
)
COUNT = (
    PRELUDE
    + """
async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(int(sys.argv[2])):
        async with store.lock():
            number = (await store.load()).generation
            await store.save(StoredSession(Secret("CANARY"), generation=number + 1))
asyncio.run(main())
"""
)


def start(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline(), process.communicate()[1].decode()
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


async def test_a_process_killed_while_saving_always_leaves_a_whole_session(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    store = FileStore(path)
    number = 0
    for kills in range(20):
        process = await asyncio.to_thread(start, SAVE_FOR_EVER, path)
        # The moment of the kill is as it comes; that saves go on is what is waited for.
        while (session := await store.load()) is None or session.generation < number + 1 + kills % 7:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(kill, process)
        session = await store.load()
        assert session is not None
        assert session.generation > number
        number = session.generation
        assert session.refresh_token == Secret("CANARY" * (number % 700 + 1))
    await store.check()
    assert {path.name for path in tmp_path.iterdir()} == {"session.json", "session.json.backup"}


async def test_a_holder_killed_with_9_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    process = await asyncio.to_thread(start, HOLD_FOR_EVER, path)
    with pytest.raises(StoreError, match="another process has held this lock"):
        async with FileStore(path, lock_timeout=0.05).lock():
            pass
    await asyncio.to_thread(kill, process)
    async with FileStore(path, lock_timeout=0.05).lock():
        pass


async def test_two_processes_never_hold_the_lock_at_once(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    store = FileStore(path)
    await store.save(StoredSession(Secret("CANARY")))
    processes = [await asyncio.to_thread(start, COUNT, path, 25) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, errors.decode()
    session = await store.load()
    assert session is not None
    assert session.generation == 50


@pytest.mark.parametrize("limit", [10, 200, 3000])
def test_a_disk_that_is_full_leaves_the_old_session_and_no_litter(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "session.json"
    asyncio.run(FileStore(path).save(StoredSession(Secret("CANARY"), generation=1)))
    program = (
        PRELUDE
        + """
from reauth_proxy.errors import StoreError
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    asyncio.run(store.save(StoredSession(Secret("CANARY" * 1000), generation=2)))
except StoreError as error:
    print(error)
    try:
        asyncio.run(store.check())
    except StoreError as error:
        print(error)
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    saving, checking = done.stdout.splitlines()
    assert f"{path}: the session could not be written: file too large" in saving
    assert f"{path}: the session cannot be written: file too large" in checking
    assert "CANARY" not in done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"session.json", "session.json.backup"}
    session = asyncio.run(FileStore(path).load())
    assert session is not None
    assert session.generation == 1
