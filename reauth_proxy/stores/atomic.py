"""Files that are either the old or the new one, whatever happens meanwhile. Blocking: called in a worker thread.

A temporary file beside the target is written, flushed to the disk and renamed over it; then the directory is flushed,
without which a power cut could bring the old file back. Whoever writes a temporary file holds a lock on it, so that
:func:`sweep` can tell those of dead processes, in whatever container they ran.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from reauth_proxy.stores.owner import other_owner

_ATTEMPTS: Final = 5


def replace(
    target: Path,
    data: bytes,
    committing: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    *,
    like: Path | None = None,
) -> None:
    """Make `data` the content of `target`, durably.

    Args:
        committing: entered for the moment in which the new content takes the place of the old; may raise instead.
        like: a file beside it whose owner is to be that of the target; None: the owner stays.

    Raises:
        OSError: the old content is still there, or, where only the last flush failed, the new one.
        StoreError: root may not give the file to whom it belongs; the old content is still there.
    """
    with temporary(target, data, like=like) as path:
        with committing():
            renamed = _rename(path, target, data)
        if renamed:
            flush_directory(target.parent)


def _rename(path: Path, target: Path, data: bytes) -> bool:
    try:
        os.replace(path, target)  # noqa: PTH105 - the seam that tests replace
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        _overwrite(target, data)
        return False
    return True


@contextlib.contextmanager
def temporary(target: Path, data: bytes, *, like: Path | None = None) -> Iterator[Path]:
    """Write and flush a file beside `target` that only its owner can read, and remove it at the end.

    It stays locked until then: the sweep of a daemon that is just starting leaves it alone, also before it is renamed.
    Raises OSError, StoreError as :func:`replace` does.
    """
    path, descriptor = create(target, like=like)
    try:
        _write(descriptor, data)
        os.fsync(descriptor)
        yield path
    finally:
        try:
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def flush_directory(directory: Path) -> None:
    """Flush a directory to the disk, so that a rename in it lasts."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems cannot, and keep renames without.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sweep(target: Path) -> None:
    """Remove temporary files that processes which died have left beside `target`."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.tmp")
    for path in target.parent.iterdir():
        if not pattern.fullmatch(path.name):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # Gone meanwhile, or none of ours.
        try:
            if _claimed(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def create(target: Path, *, like: Path | None = None) -> tuple[Path, int]:
    """Make an empty temporary file beside `target`; return it, and its descriptor, which holds a lock on it.

    Raises OSError, StoreError as :func:`replace` does.
    """
    owner = other_owner(target if like is None else like)
    for _ in range(_ATTEMPTS):
        path = target.parent / f".{target.name}.{secrets.token_hex(8)}.tmp"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        ours = False
        try:
            # Between the two lines above and below, a sweep may have taken it for a dead process's.
            ours = _claimed(descriptor) and os.fstat(descriptor).st_nlink > 0
            if ours and owner is not None:
                ours = False
                owner.give(descriptor)
                ours = True
        finally:
            if not ours:
                os.close(descriptor)
                path.unlink(missing_ok=True)
        if ours:
            return path, descriptor
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def open_lock(path: Path, like: Path) -> int:
    """Open a lock file, made if there is none; return its descriptor.

    One that root makes for a session of another user's appears as that user's: a temporary file gets its name.

    Args:
        like: the session.

    Raises OSError, StoreError as :func:`replace` does.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if other_owner(like) is None:
        return os.open(path, flags | os.O_CREAT, 0o600)
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags)
        made, descriptor = create(like)
        try:
            path.hardlink_to(made)
        except FileExistsError:
            os.close(descriptor)  # Somebody else was faster.
        except BaseException:
            os.close(descriptor)
            raise
        else:
            return descriptor
        finally:
            made.unlink(missing_ok=True)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _claimed(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _overwrite(target: Path, data: bytes) -> None:
    """Write in place: a single file that is mounted by itself, as containers do, cannot be renamed over.

    The new content is padded to at least the length of the old one and goes out in one write, so that even a process
    killed in the middle leaves one whole JSON document; only a power cut or a full disk can tear it.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _write(descriptor, data.ljust(os.fstat(descriptor).st_size, b"\n"))
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
