"""Who uses a store: seen by each process, with files that are really locked."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from reauth_proxy.stores import flock as locks
from reauth_proxy.stores import presence
from reauth_proxy.stores.presence import Presence

OTHER = """
import sys
from pathlib import Path
from reauth_proxy.stores.presence import Presence

one = Presence()
print(one.enter(Path(sys.argv[1]), Path(sys.argv[2])), flush=True)
for line in sys.stdin:
    print(getattr(one, line.strip())(), flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session.json.users"


@pytest.fixture
def make(path: Path) -> Iterator[Callable[[], Presence]]:
    made: list[Presence] = []

    def enter() -> Presence:
        made.append(Presence())
        assert made[-1].enter(path, path)
        return made[-1]

    yield enter
    for one in made:
        one.leave()


def test_only_who_is_there_alone_may_stay_alone(make: Callable[[], Presence]) -> None:
    one, other = make(), make()
    assert not one.claim()
    assert not other.claim()
    other.leave()
    assert one.claim()
    assert one.claim(), "it is still"


def test_nobody_enters_while_somebody_is_alone(path: Path, make: Callable[[], Presence]) -> None:
    one, other = make(), Presence()
    assert one.claim()
    assert not other.enter(path, path)
    assert not other.claim()
    assert one.enter(path, path), "who is alone is there"
    one.share()
    assert other.enter(path, path)
    assert not one.claim()
    other.leave()


def test_who_failed_to_be_alone_is_still_seen(make: Callable[[], Presence]) -> None:
    one, other = make(), make()
    assert not one.claim()
    assert not other.claim(), "one is there"


def test_nobody_is_alone_in_the_moment_in_which_another_one_tries_to_be(
    make: Callable[[], Presence], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make(), make()
    claims: list[bool] = []

    def flock(descriptor: int, how: int) -> None:
        try:
            fcntl.flock(descriptor, how)
        finally:
            if how & fcntl.LOCK_EX and descriptor == one._descriptor:
                claims.append(other.claim())  # One has given back its shared lock for the attempt, and lost it.

    monkeypatch.setattr(locks, "fcntl", SimpleNamespace(**{**vars(fcntl), "flock": flock}))
    assert not one.claim()
    assert claims == [False]
    assert not other.claim(), "one is seen again"


def test_nobody_who_was_never_alone_shares_anything(make: Callable[[], Presence]) -> None:
    one, other = make(), make()
    other.share()
    assert not one.claim()


def test_a_file_that_somebody_removed_is_made_again(path: Path, make: Callable[[], Presence]) -> None:
    one = make()
    assert one.claim()
    path.unlink()
    other = make()
    assert one.enter(path, path)
    assert not one.claim()
    other.leave()
    assert one.claim()


def test_only_the_owner_can_read_the_file(path: Path, make: Callable[[], Presence]) -> None:
    make()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b""


def test_a_process_that_was_killed_is_there_no_more(path: Path, make: Callable[[], Presence]) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(path), str(path)], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        one = make()
        assert not one.claim()
        process.send_signal(signal.SIGSTOP)
        assert not one.claim(), "it will go on"
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        assert one.claim()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_where_there_are_no_locks_nobody_can_tell(
    path: Path, make: Callable[[], Presence], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    make()

    def flock(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    one = Presence()
    assert one.enter(path, path)
    assert one.claim()
    one.leave()


def test_who_never_entered_cannot_tell() -> None:
    assert Presence().claim()


def test_who_cannot_tell_is_seen_all_the_same_and_can_tell_later(
    make: Callable[[], Presence], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make(), make()
    broken = [True]

    def flock(descriptor: int, how: int) -> None:
        if broken and how & fcntl.LOCK_EX and descriptor == one._descriptor:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fcntl.flock(descriptor, how)

    monkeypatch.setattr(locks, "fcntl", SimpleNamespace(**{**vars(fcntl), "flock": flock}))
    with pytest.raises(OSError, match="Input/output"):
        one.claim()
    assert not other.claim(), "one is there"
    broken.clear()
    other.leave()
    assert one.claim()


def test_where_only_what_is_open_to_be_written_can_be_locked_it_is(
    make: Callable[[], Presence], monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, how: int) -> None:
        """As NFS and SMB have it."""
        if how & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        fcntl.flock(descriptor, how)

    for module in (locks, presence):
        monkeypatch.setattr(module, "fcntl", SimpleNamespace(**{**vars(fcntl), "flock": flock}))
    one, other = make(), make()
    assert not one.claim()
    other.leave()
    assert one.claim()
