"""What root makes for a daemon of another user, and who is refused: real users, which only root can become."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.file import FileStore
from reauth_proxy.stores.owner import other_owner
from tests.stores.beside import FILES

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become, or give files to, another user")

#: Users of no rights; the second has no name.
NOBODY: Final = 65534
STRANGER: Final = 54321
SESSION: Final = StoredSession(Secret("refresh-CANARY-1"), generation=1)
NEXT: Final = StoredSession(Secret("refresh-CANARY-2"), generation=2)

PRELUDE: Final = """
import asyncio, os, sys
from pathlib import Path
from reauth_proxy.errors import StoreError
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.file import FileStore
path, uid = Path(sys.argv[1]), int(sys.argv[2])
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
async def main():
    store = FileStore(path, allow_readable=True)
    try:
        await work(store)
    except StoreError as error:
        print(error)
    finally:
        await store.close()
"""
GO_ON: Final = """
async def work(store):
    await store.check()
    async with store.lock():
        session = await store.load()
        await store.save(StoredSession(Secret("refresh-CANARY-2"), generation=session.generation + 1))
    print("saved")
asyncio.run(main())
"""
SAVE: Final = """
async def work(store):
    await store.save(StoredSession(Secret("refresh-CANARY-1"), generation=1))
    print("saved")
asyncio.run(main())
"""
LOAD: Final = """
async def work(store):
    print("loaded", (await store.load()).generation)
asyncio.run(main())
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of nobody's, where everybody can get to: those of pytest are root's alone."""
    outer = Path(tempfile.mkdtemp(prefix="owner"))
    outer.chmod(0o755)
    directory = outer / "state"
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, NOBODY)
    yield directory
    shutil.rmtree(outer)


def run(program: str, path: Path, uid: int, *before: str) -> str:
    """Run a program that becomes another user; return what it says."""
    done = subprocess.run(
        [*before, sys.executable, "-c", PRELUDE + program, str(path), str(uid)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def owners(directory: Path) -> dict[str, tuple[int, int, int]]:
    found = {path.name: path.stat() for path in directory.iterdir()}
    return {name: (one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)) for name, one in found.items()}


THEIRS: Final = (NOBODY, NOBODY, 0o600)


async def by_root(path: Path, session: StoredSession = SESSION) -> None:
    store = FileStore(path)
    await store.check()
    async with store.lock():
        await store.save(session)
    with store.turn():
        pass
    assert await store.load() == session
    await store.close()


async def test_everything_that_root_makes_belongs_to_whom_the_directory_belongs(directory: Path) -> None:
    path = directory / "session.json"
    await by_root(path)
    assert owners(directory) == dict.fromkeys(FILES, THEIRS)
    assert await asyncio.to_thread(run, GO_ON, path, NOBODY) == "saved"
    await by_root(path, NEXT)
    assert owners(directory) == dict.fromkeys(FILES, THEIRS)
    assert await asyncio.to_thread(run, LOAD, path, NOBODY) == "loaded 2"


async def test_a_file_that_is_there_keeps_its_owner_and_so_do_those_beside_it(directory: Path) -> None:
    os.chown(directory, 0, 0)
    path = directory / "session.json"
    await by_root(path)
    assert set(owners(directory).values()) == {(0, 0, 0o600)}
    for file in directory.iterdir():
        file.unlink() if file != path else os.chown(file, NOBODY, NOBODY)
    await by_root(path)
    assert set(owners(directory).values()) == {THEIRS}


async def test_directories_that_root_makes_belong_to_whom_the_one_above_belongs(directory: Path) -> None:
    path = directory / "reauth-proxy" / "here" / "session.json"
    await by_root(path)
    assert owners(directory) == {"reauth-proxy": (NOBODY, NOBODY, 0o700)}
    assert owners(path.parent.parent) == {"here": (NOBODY, NOBODY, 0o700)}
    assert await asyncio.to_thread(run, GO_ON, path, NOBODY) == "saved"


async def test_a_lock_taken_over_by_root_stays_with_its_owner(directory: Path) -> None:
    path = directory / "session.json"
    await by_root(path)
    one, other = FileStore(path, lease=0.2), FileStore(path, lease=0.2)
    async with one.lock():
        assert one._held is not None
        assert one._held._heart is not None
        one._held._heart.cancel()
        async with other.lock():
            pass
    assert set(owners(directory).values()) == {THEIRS}
    await one.close()
    await other.close()


async def test_root_gives_away_nothing_that_was_there_before(directory: Path) -> None:
    path, lock = directory / "session.json", directory / "session.json.lock"
    roots = directory.parent / "roots"
    roots.write_text("secret")
    lock.hardlink_to(roots)
    await by_root(path)
    assert roots.stat().st_uid == 0


@pytest.mark.parametrize("there", [False, True], ids=["a new file", "a file that is there"])
def test_root_that_may_give_nothing_away_says_whose_command_it_is(directory: Path, there: bool) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv")
    path = directory / "session.json"
    if there:
        assert run(SAVE, path, NOBODY) == "saved"
    before = owners(directory)
    said = run(SAVE, path, 0, "setpriv", "--bounding-set=-chown")
    assert "it belongs to the user nobody, and the session cannot be given to that user from here" in said
    assert "run this command as nobody" in said
    assert str(path if there else directory) in said
    assert owners(directory) == before
    said = run(SAVE, directory / "below" / "session.json", 0, "setpriv", "--bounding-set=-chown")
    assert "run this command as nobody" in said
    assert owners(directory) == before


def test_another_user_than_root_is_refused_a_file_of_somebody_else(directory: Path) -> None:
    path = directory / "session.json"
    assert run(SAVE, path, NOBODY) == "saved"
    directory.chmod(0o755)
    assert "permission denied" in run(LOAD, path, STRANGER)
    path.chmod(0o644)
    assert f"{path}: it belongs to another user" in run(LOAD, path, STRANGER)
    assert run(LOAD, path, 0) == "loaded 1"
    os.chown(path, 0, 0)
    assert run(LOAD, path, NOBODY) == "loaded 1", "a file of root's is as good as one's own"


def test_a_user_without_a_name_is_told_by_number(directory: Path) -> None:
    os.chown(directory, STRANGER, STRANGER)
    owner = other_owner(directory / "session.json")
    assert owner is not None
    assert owner.name == str(STRANGER)
