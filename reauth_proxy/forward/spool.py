"""Where content waits for a replay: in memory first, then in a temporary file without a name.

Everything is bounded: one copy by `limit`, all of them by `total`, their files by `files`. A copy that cannot be kept
is given up; the request goes on, and cannot be sent again. Files are written and read in threads of their own: a disk
that is slow makes its request wait, and no other.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from reauth_proxy.errors import InternalError

log = structlog.get_logger(__name__)

#: Bytes read back from a file at once.
READ_SIZE: Final = 256 * 1024
#: Threads that write and read; more would wait for the same disk.
THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Keeping:
    """How much content is kept, in bytes.

    Attributes:
        memory: of one request in memory; more goes to a file.
        limit: of one request.
        total: of all requests.
        files: how many temporary files at once.
        directory: where they are made; None for the system's place.
    """

    memory: int = 64 << 10
    limit: int = 16 << 20
    total: int = 256 << 20
    files: int = 64
    directory: Path | None = None


class Spool:
    """All content that is kept, counted.

    Attributes:
        keeping: the bounds; may be replaced at any time.
        used: bytes reserved now.
        open_files: temporary files there are now.
    """

    def __init__(self, keeping: Keeping) -> None:
        self.keeping = keeping
        self.used = 0
        self.open_files = 0
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="spool")
        self._complained = False

    def reserve(self, size: int) -> bool:
        """Count `size` bytes more, if they fit."""
        if self.used + size > self.keeping.total:
            return False
        self.used += size
        return True

    def free(self, size: int) -> None:
        """Count `size` bytes less."""
        self.used -= size

    def complain(self, error: OSError) -> None:
        """Say once that the disk cannot be used."""
        if not self._complained:
            self._complained = True
            log.warning("replay.unavailable", problem=(error.strerror or "no temporary file could be made").lower())

    def close(self) -> None:
        """Let the threads end."""
        self.threads.shutdown(wait=False)

    def __repr__(self) -> str:
        return f"<Spool {self.used} bytes, {self.open_files} files>"


class _File:
    """A temporary file without a name; it goes when it is closed, whatever happens to us."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self.size = 0

    async def write(self, parts: list[bytes]) -> None:
        """Append `parts`. Raises OSError."""
        await self._loop.run_in_executor(self._spool.threads, self._write, b"".join(parts))

    async def read(self, offset: int) -> bytes:
        """Return some bytes from `offset` on. Raises OSError."""
        return await self._loop.run_in_executor(self._spool.threads, os.pread, self._fd, READ_SIZE, offset)

    def close(self) -> None:
        """Free its space; in a thread, for a large file takes its time."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._spool.threads.submit(os.close, fd)

    def _write(self, data: bytes) -> None:
        if self._fd < 0:
            with tempfile.TemporaryFile("wb", buffering=0, dir=self._spool.keeping.directory) as made:
                self._fd = os.dup(made.fileno())
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self.size)
            self.size += written
            view = view[written:]


class Copy:
    """What has passed of one request's content. Only one coroutine may append or read at a time.

    Attributes:
        whole: nothing that passed is missing.
        size: bytes in it.
    """

    __slots__ = ("_file", "_spool", "_tail", "_tail_size", "_writing", "size", "whole")

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.whole = True
        self.size = 0
        self._tail: list[bytes] = []  # not in the file yet
        self._tail_size = 0
        self._file: _File | None = None
        self._writing: asyncio.Task[None] | None = None

    async def append(self, data: bytes) -> None:
        """Keep `data`, or give the whole copy up. A cancellation loses nothing."""
        keeping = self._spool.keeping
        if not self.whole:
            return
        if self.size + len(data) > keeping.limit or not self._spool.reserve(len(data)):
            self.give_up()
            return
        self.size += len(data)
        self._tail.append(data)
        self._tail_size += len(data)
        if self._tail_size > keeping.memory:
            await self._settled()
            if not self.whole:
                return
            if self._file is None and not self._open():
                self.give_up()
                return
            self._writing = asyncio.create_task(self._write(), name="spool")
            await self._settled()

    async def read(self) -> AsyncIterator[bytes]:
        """Yield what was kept, from the beginning. Raises InternalError if the disk fails."""
        await self._settled()
        self._check()
        offset = 0
        while self._file is not None and offset < self._file.size:
            try:
                data = await self._file.read(offset)
            except OSError as error:
                self._spool.complain(error)
                raise InternalError("Content that was kept for a replay could not be read back.") from error
            offset += len(data)
            yield data
        self._check()
        if self._tail:
            yield b"".join(self._tail)

    def _check(self) -> None:
        """What was lost on the way to the disk must not be left out in silence."""
        if not self.whole:
            raise InternalError("Content that was kept for a replay could not be written to disk.")

    def give_up(self) -> None:
        """Keep nothing, now and later."""
        self.whole = False
        self._spool.free(self.size)
        self.size = 0
        self._tail = []
        self._tail_size = 0
        if self._writing is None or self._writing.done():
            self._close_file()

    async def _settled(self) -> None:
        """Wait until nothing is being written; the writing goes on if we are cancelled."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        assert self._file is not None
        parts = list(self._tail)
        try:
            await self._file.write(parts)
        except OSError as error:
            self._spool.complain(error)
            if self.whole:
                self.give_up()
        else:
            self._tail = self._tail[len(parts) :]
            self._tail_size = sum(map(len, self._tail))
        if not self.whole:
            self._close_file()

    def _open(self) -> bool:
        if self._spool.open_files >= self._spool.keeping.files:
            return False
        self._spool.open_files += 1
        self._file = _File(self._spool)
        return True

    def _close_file(self) -> None:
        if self._file is not None:
            self._spool.open_files -= 1
            self._file.close()
            self._file = None
