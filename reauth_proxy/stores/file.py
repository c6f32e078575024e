"""The default store: one file per credential, which only its owner can read."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from shlex import quote as shell
from typing import Final, TypeVar
from urllib.parse import quote

import structlog

from reauth_proxy.errors import StoreAway, StoreCorrupt, StoreError
from reauth_proxy.session.tokens import StoredSession
from reauth_proxy.stores import atomic, record
from reauth_proxy.stores.codec import Codec
from reauth_proxy.stores.flock import LEASE, FileLock
from reauth_proxy.stores.watch import Watch

_log = structlog.get_logger()

T = TypeVar("T")

#: Seconds between two looks for a directory that cannot be used.
_LATER: Final = 5.0

_START_ANEW: Final = "move it away and start again with a new refresh token"


def default_path(credential: str, identity: str) -> Path:
    """Return where a credential's session is kept unless the config says otherwise.

    Args:
        credential: its name.
        identity: what tells it from one of the same name in another config, such as token endpoint and client_id.
    """
    import platformdirs

    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return platformdirs.user_state_path("reauth-proxy", appauthor=False) / f"{quote(credential, safe='')}-{digest}.json"


class FileStore:
    """A :class:`~reauth_proxy.session.protocols.Store` in a file; mode 0600, in a directory made with 0700.

    Everything blocking runs in one worker thread, in order, and once begun runs to its end: a save whose caller is
    cancelled is saved all the same, and the caller leaves only then.

    Args:
        path: of the file; a symbolic link keeps pointing to where the file is. `<path>.lock` and `<path>.backup`, a
            second copy that is written after the first, are used besides.
        codec: what a session looks like in the file.
        lock_timeout: seconds to wait for another process that holds the lock.
        lease: seconds after which a process that was stopped while it held the lock loses it.
        allow_readable: use a file even if others may read it; each save makes it private again.
    """

    def __init__(
        self,
        path: Path,
        codec: Codec | None = None,
        *,
        lock_timeout: float = 30.0,
        lease: float = LEASE,
        allow_readable: bool = False,
    ) -> None:
        self._path = path.expanduser()
        self._codec = codec or Codec()
        self._lease = lease
        self._watch: Watch | None = None
        self._lookers = 0
        #: The lock, while this store holds it.
        self._held: FileLock | None = None
        self._allow_readable = allow_readable
        self._lock_timeout = lock_timeout
        self._worker: ThreadPoolExecutor | None = None

    def __repr__(self) -> str:
        return f"<FileStore {self._path}>"

    async def check(self) -> None:
        """Raise StoreError, with the mend, unless a session can be written here. Sweeps up after dead processes."""
        await self._in_thread(self._check)

    async def load(self) -> StoredSession | None:
        """Return what was saved last, None if nothing was. Raises StoreError, StoreCorrupt, StoreAway."""
        return await self._in_thread(lambda: self._load(self._path))

    async def load_backup(self) -> StoredSession | None:
        """Return the second copy, None if there is none that can be read."""
        try:
            return await self._in_thread(lambda: self._load(_backup(Path(os.path.realpath(self._path)))))
        except StoreError:
            return None

    async def save(self, session: StoredSession) -> None:
        """Return once the session is on the disk.

        Raises StoreError, and then the old one is still there; StoreSuperseded if the lock was lost meanwhile.
        """
        held = self._held
        await self._in_thread(lambda: self._save(session, held))

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Hold off other processes. Raises StoreError if one of them holds the lock for too long."""
        return self._locked()

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever something happened to the file."""
        return self._events("")

    def releases(self) -> AsyncGenerator[None, None]:
        """Yield whenever a process let go of the lock, or stopped waiting for it."""
        return self._events(".lock")

    async def confirm(self) -> None:
        """Raise StoreSuperseded if the lock was held, and somebody else took it over."""
        held = self._held
        if held is not None:
            await self._in_thread(lambda: _look(held))

    async def _events(self, suffix: str) -> AsyncGenerator[None, None]:
        while True:
            try:
                target = await self._in_thread(self._prepare)
                break
            except StoreError:
                await asyncio.sleep(_LATER)  # A directory that cannot be used; saves complain of it.
        name = target.name + suffix
        with self._watching(target) as watch:
            count = watch.count(name)
            while True:
                count = await watch.after(name, count)
                yield

    async def close(self) -> None:
        """End the worker thread."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.shutdown(wait=False)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        target = await self._in_thread(self._prepare)
        lock = FileLock(target.with_name(target.name + ".lock"), self._lease)
        try:
            try:
                with self._watching(target) as watch:
                    await lock.acquire(self._lock_timeout, watch)
            except OSError as error:
                raise StoreError(_explain("cannot be locked", target, error)) from error
            self._held = lock
            yield
        finally:
            if self._held is lock:
                self._held = None
            lock.release()

    @contextlib.contextmanager
    def _watching(self, target: Path) -> Iterator[Watch]:
        """One for all who look."""
        if self._watch is None:
            self._watch = Watch(target.parent, target.name)
        watch = self._watch
        self._lookers += 1
        try:
            yield watch
        finally:
            self._lookers -= 1
            if not self._lookers:
                watch.close()
                self._watch = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="store")
        future = asyncio.get_running_loop().run_in_executor(self._worker, work)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            future.exception()  # Nobody is left to hear it.
            raise cancelled
        return future.result()

    # What follows blocks, and runs in the worker thread.

    def _prepare(self) -> Path:
        """Return the file that links lead to; make its directory if there is none, and refuse one that is unsafe."""
        try:
            target = Path(os.path.realpath(self._path))
            _make(target.parent)
            mode = target.parent.stat().st_mode
        except OSError as error:
            raise StoreError(_explain("cannot be kept there", self._path, error)) from error
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise StoreError(
                f"{target.parent}: everybody may replace files in this directory; "
                f"chmod o-w {shell(str(target.parent))}, or name a file in a directory of its own below it"
            )
        return target

    def _check(self) -> None:
        target = self._prepare()
        try:
            if target.exists() and not target.is_file():
                raise StoreError(f"{target}: not a regular file; name another path")
            atomic.sweep(target)
            atomic.sweep(_backup(target))
            with atomic.temporary(target, b"\0" * 4096):
                atomic.flush_directory(target.parent)
        except OSError as error:
            raise StoreError(_explain("cannot be written", target, error)) from error

    def _save(self, session: StoredSession, held: FileLock | None) -> None:
        target, data = self._prepare(), self._codec.encode(session)
        try:
            atomic.replace(target, data, contextlib.nullcontext if held is None else held.committing)
        except OSError as error:
            raise StoreError(_explain("could not be written", target, error)) from error
        if session.used_at is not None:
            return  # A mark: a copy without it is as good.
        try:
            atomic.replace(_backup(target), data)
        except OSError as error:
            _log.warning("store.backup_failed", problem=_explain("could not be copied", _backup(target), error))

    def _load(self, path: Path) -> StoredSession | None:
        try:
            data = _read(path, allow_readable=self._allow_readable)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(_explain("cannot be read", path, error)) from error
        try:
            return self._codec.decode(data)
        except StoreAway as error:
            raise StoreAway(f"{path}: {error}") from None
        except StoreError as error:
            raise type(error)(f"{path}: {error}; {_START_ANEW}") from None


def _look(held: FileLock) -> None:
    with held.committing():
        pass


def _backup(target: Path) -> Path:
    return target.with_name(target.name + ".backup")


def _make(directory: Path) -> None:
    missing = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


def _read(path: Path, *, allow_readable: bool) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold us
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path}: not a regular file; name another path")
        if status.st_mode & 0o077 and not allow_readable:
            raise StoreError(
                f"{path}: others may read it; chmod 600 {shell(str(path))}, and think of a new login; or set "
                "`secrets.allow_readable: true` where nobody else can get at it, as in a container"
            )
        if status.st_uid not in (os.geteuid(), 0):
            raise StoreError(f"{path}: it belongs to another user; {_START_ANEW}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(record.LONGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > record.LONGEST:
        raise StoreCorrupt(f"{path}: it is not a session of reauth-proxy; {_START_ANEW}")
    return data


def _explain(what: str, path: Path, error: OSError) -> str:
    mend = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EROFS: "mount a writable volume there, or name another path",
        errno.EACCES: "give the user that runs reauth-proxy the right to write there, or name another path",
        errno.EPERM: "give the user that runs reauth-proxy the right to write there, or name another path",
        errno.EEXIST: "a part of its path is a file; name another path",
        errno.ENOTDIR: "a part of its path is a file; name another path",
        errno.ELOOP: "its links lead in a circle; name another path",
        errno.ENOLCK: "the file system has no locks; name a path on another one",
        errno.ENOTSUP: "the file system has no locks; name a path on another one",
    }.get(error.errno or 0, "name another path if this stays")
    reason = os.strerror(error.errno).lower() if error.errno else "input/output error"
    return f"{path}: the session {what}: {reason}; {mend}"
