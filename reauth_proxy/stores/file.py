"""The default store: one file per credential, which only its owner can read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from shlex import quote as shell
from typing import Final

import structlog

from reauth_proxy.errors import StoreAway, StoreEnded, StoreError, StoreSlow, StoreSuperseded
from reauth_proxy.session.tokens import StoredSession
from reauth_proxy.stores import atomic, private
from reauth_proxy.stores.codec import Codec
from reauth_proxy.stores.flock import LEASE, FileLock, instant, turn
from reauth_proxy.stores.owner import make_directory
from reauth_proxy.stores.presence import Presence
from reauth_proxy.stores.watch import Watch
from reauth_proxy.stores.worker import TIMEOUT, Worker

_log = structlog.get_logger()

#: Seconds between two looks for a directory that cannot be used.
_LATER: Final = 5.0
#: How the name of a lock file ends whose holder writes what is kept elsewhere.
_TURN: Final = ".turn"


class FileStore:
    """A :class:`~reauth_proxy.session.protocols.Store` in a file; mode 0600, in a directory made with 0700.

    Everything blocking runs in one thread, in order, and once begun runs to its end: a save whose caller is cancelled
    is saved all the same, and the caller leaves only then. A call that takes too long raises StoreSlow, as do those
    that come while it goes on; what was being saved may be saved later still, if nobody else took the lock over.

    Args:
        path: of the file; a symbolic link keeps pointing to where the file is. There are besides `<path>.lock`,
            `<path>.backup`, a second copy that is written after the first, and `<path>.users` and `<path>.alone`, which
            daemons keep open.
        codec: what a session looks like in the file.
        lock_timeout: seconds to wait for another process that holds the lock.
        lease: seconds after which a process that was stopped while it held the lock loses it.
        timeout: seconds that one call may take.
        allow_readable: use a file even if others may read it; each save makes it private again.
    """

    def __init__(
        self,
        path: Path,
        codec: Codec | None = None,
        *,
        lock_timeout: float = 30.0,
        lease: float = LEASE,
        timeout: float = TIMEOUT,
        allow_readable: bool = False,
    ) -> None:
        self._path = path.expanduser()
        self._codec = codec or Codec()
        self._lease = lease
        self._watch: Watch | None = None
        self._watch_starts = asyncio.Lock()
        self._lookers = 0
        #: The lock, while this store holds it.
        self._held: FileLock | None = None
        self._allow_readable = allow_readable
        self._lock_timeout = lock_timeout
        self._timeout = timeout
        problem = (
            f"{self._path}: the disk did not answer within {timeout:g} s (`store.timeout`); "
            "check the disk, or the network file system, that it is on"
        )
        self._worker = Worker("store", timeout, problem, self.stir)
        self._pulse = Worker("store lock", timeout, problem)
        self._presence = Presence()
        #: Apart from what may be slow, as the pulse is.
        self._eye = Worker("store users", timeout, problem)

    def __repr__(self) -> str:
        return f"<FileStore {self._path}>"

    async def check(self) -> None:
        """Raise StoreError, with the mend, unless a session can be written here. Sweeps up after dead processes."""
        await self._worker.run(self._check)

    async def load(self) -> StoredSession | None:
        """Return what was saved last, None if nothing was. Raises StoreError, StoreCorrupt, StoreAway."""
        return await self._worker.run(lambda: self._load(self._path))

    async def load_backup(self) -> StoredSession | None:
        """Return the second copy, None if there is none that can be read."""
        try:
            return await self._worker.run(lambda: self._load(_backup(Path(os.path.realpath(self._path)))))
        except StoreError:
            return None

    async def save(self, session: StoredSession, *, over: str | None = None) -> None:
        """Return once the session is on the disk.

        Raises StoreError, and then the old one is still there; StoreSuperseded if the lock was lost meanwhile;
        StoreEnded if the file holds another line than `over`; StoreAway if a key that is not here keeps that from us.
        """
        # A deed belongs to no refresh, and so to no lock.
        held = None if over is None else self._held
        until = self._until()
        await self._worker.run(lambda: self._save(session, held, over, until), to_the_end=True)

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Hold off other processes. Raises StoreError if one of them holds the lock for too long."""
        return self._locked()

    async def confirm(self) -> None:
        """Raise StoreSuperseded if the lock was held, and somebody else took it over; StoreError."""
        held = self._held
        if held is not None:
            await self._worker.run(lambda: _look(held))

    async def claim(self) -> bool:
        """Return whether no other process uses the file, nor begins to until :meth:`share`; see the protocol."""
        try:
            return await self._eye.run(self._presence.claim)
        except (OSError, StoreSlow):  # Nobody can tell: be it as it was.
            if not self._presence.was_alone:
                self.share()
            return self._presence.was_alone

    def share(self) -> None:
        """Let others use the file again."""
        self._eye.post(self._presence.share)

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever something happened to the file, and when a disk that hung answers again."""
        return self._events("")

    def turns(self) -> AsyncGenerator[None, None]:
        """Yield whenever somebody has had his turn at what is kept elsewhere."""
        return self._events(_TURN)

    def stir(self) -> None:
        """Have those who wait for changes look: what hung answers again."""
        if self._watch is not None:
            self._watch.stir()

    def turn(self, *, deed: bool = False) -> AbstractContextManager[None]:
        """Be the only one who compares and writes what is kept elsewhere; blocks, to be entered in a thread.

        Not the directory's own lock: what is elsewhere may hang, and others keep files in the same directory. Raises
        StoreSuperseded if the lock was held when this was called, and somebody else took it over; StoreError.

        Args:
            deed: it replaces whatever is there, and belongs to no refresh, and so to no lock.
        """
        return self._turn(None, self._until()) if deed else self._turn(self._held, None)

    def _until(self) -> float:
        """Until when a deed that begins now may be done: one that hung must not replace what came after it."""
        return time.monotonic() + self._timeout

    async def _events(self, suffix: str) -> AsyncGenerator[None, None]:
        async with contextlib.AsyncExitStack() as stack:
            while True:
                try:
                    target = await self._worker.run(self._prepare)
                    watch = await stack.enter_async_context(self._watching(target))
                    break
                except StoreError:
                    await asyncio.sleep(_LATER)  # A directory that cannot be used; saves complain of it.
            name = target.name + suffix
            count = watch.count(name)
            while True:  # At first for what happened before there was a watch.
                with contextlib.suppress(StoreSlow):
                    await self._worker.run(partial(self._enter, target))  # Somebody may have removed it.
                yield
                count = await watch.after(name, count)

    async def close(self) -> None:
        """End the threads, each once it has done what there is to do; nobody waits for one that hangs."""
        self._worker.post(self._presence.leave)
        self._worker.close()
        self._pulse.close()
        self._eye.close()

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        target = await self._worker.run(self._prepare)
        enter = partial(self._enter, target)
        lock = FileLock(target.with_name(target.name + ".lock"), self._worker, self._pulse, self._lease, enter)
        try:
            try:
                await lock.acquire(self._lock_timeout, lambda: self._watching(target))
            except OSError as error:
                raise StoreError(private.explain("cannot be locked", target, error)) from error
            self._held = lock
            yield
        finally:
            if self._held is lock:
                self._held = None
            await lock.release()

    @asynccontextmanager
    async def _watching(self, target: Path) -> AsyncIterator[Watch]:
        """One for all who look. Raises StoreError if the directory does not answer."""
        self._lookers += 1
        try:
            async with self._watch_starts:
                if self._watch is None:
                    watch = Watch(target.parent, self._worker, target.name, target.name + _TURN)
                    await watch.start()
                    self._watch = watch
            yield self._watch
        finally:
            self._lookers -= 1
            if not self._lookers and self._watch is not None:
                watch, self._watch = self._watch, None
                await watch.close()

    # What follows blocks, and runs in the thread.

    def _prepare(self) -> Path:
        """Return the file that links lead to; make its directory if there is none, and refuse one that is unsafe."""
        try:
            target = Path(os.path.realpath(self._path))
            make_directory(target.parent)
            mode = target.parent.stat().st_mode
        except OSError as error:
            raise StoreError(private.explain("cannot be kept there", self._path, error)) from error
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise StoreError(
                f"{target.parent}: everybody may replace files in this directory; "
                f"chmod o-w {shell(str(target.parent))}, or name a file in a directory of its own below it"
            )
        return target

    def _enter(self, target: Path) -> bool:
        """Be seen, as somebody who may refresh, where that can be; return False if somebody is to be alone."""
        try:
            return self._presence.enter(target.with_name(target.name + ".users"), target)
        except (OSError, StoreError):
            return True  # The lock is as good as ever.

    @contextlib.contextmanager
    def _turn(self, held: FileLock | None, until: float | None) -> Iterator[None]:
        target = self._prepare()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(turn(target.with_name(target.name + _TURN), target))
                if held is not None:
                    with held.committing():
                        pass
            except OSError as error:
                raise StoreError(private.explain("cannot be locked", target, error)) from error
            if until is not None:
                _in_time(until)
            yield

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
            raise StoreError(private.explain("cannot be written", target, error)) from error

    def _save(self, session: StoredSession, held: FileLock | None, over: str | None, until: float) -> None:
        target, data = self._prepare(), self._codec.encode(session)

        @contextlib.contextmanager
        def committing() -> Iterator[None]:
            with instant(target.parent) if held is None else held.committing():
                if over is None:
                    _in_time(until)
                else:
                    self._compare(target, over)
                yield

        @contextlib.contextmanager
        def copying() -> Iterator[None]:
            with instant(target.parent):
                if private.read(target, allow_readable=True) != data:
                    raise StoreSuperseded("somebody saved meanwhile, and makes a copy of that")
                yield

        try:
            atomic.replace(target, data, committing)
        except OSError as error:
            raise StoreError(private.explain("could not be written", target, error)) from error
        if session.used_at is not None:
            return  # A mark: a copy without it is as good.
        try:
            with contextlib.suppress(StoreSuperseded):
                atomic.replace(_backup(target), data, copying, like=target)
        except StoreError as error:
            _log.warning("store.backup_failed", problem=str(error))
        except OSError as error:
            _log.warning("store.backup_failed", problem=private.explain("could not be copied", _backup(target), error))

    def _compare(self, target: Path, over: str) -> None:
        """Raise StoreEnded if the file holds another line, StoreAway if a key that is not here keeps that from us."""
        try:
            line = self._codec.decode(private.read(target, allow_readable=True)).line
        except StoreAway as error:
            # Somebody signed in with another configuration, perhaps; that is not ours to undo.
            raise StoreAway(f"{target}: {error}") from None
        except (OSError, StoreError):
            return
        if line != over:
            raise StoreEnded(f"{target}: somebody signed in or out meanwhile")

    def _load(self, path: Path) -> StoredSession | None:
        try:
            data = private.read(path, allow_readable=self._allow_readable)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(private.explain("cannot be read", path, error)) from error
        try:
            return self._codec.decode(data)
        except StoreAway as error:
            raise StoreAway(f"{path}: {error}") from None
        except StoreError as error:
            raise type(error)(f"{path}: {error}; {private.START_ANEW}") from None


def _look(held: FileLock) -> None:
    with held.committing():
        pass


def _in_time(until: float) -> None:
    if time.monotonic() > until:
        raise StoreError("it took too long, and somebody else may have signed in or out since")


def _backup(target: Path) -> Path:
    return target.with_name(target.name + ".backup")
