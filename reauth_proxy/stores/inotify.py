"""inotify(7) through the C library that Python is linked with: what the kernel tells of a directory. Linux only."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: From <sys/inotify.h>.
CLOSE_WRITE: Final = 0x8
MOVED_TO: Final = 0x80
Q_OVERFLOW: Final = 0x4000
IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x0100_0000
#: wd, mask, cookie, and the length of the name that follows.
_EVENT: Final = struct.Struct("iIII")
#: Many events; none is longer than its header and NAME_MAX + 1 bytes.
_BUFFER: Final = 64 * 1024


class Inotify:
    """Ends of writing and renames in one directory. Raises OSError where there is no inotify, or none left.

    Attributes:
        descriptor: readable when there is something to read.
    """

    def __init__(self, directory: Path) -> None:
        if sys.platform != "linux":
            raise OSError("there is no inotify")
        library = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = _checked(library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        try:
            mask = ctypes.c_uint32(CLOSE_WRITE | MOVED_TO | _ONLYDIR)
            _checked(library.inotify_add_watch(self.descriptor, os.fsencode(directory), mask))
        except BaseException:
            self.close()
            raise

    def read(self) -> Iterator[tuple[str, int]]:
        """Yield name and mask of what has happened; nothing if nothing has."""
        try:
            data = os.read(self.descriptor, _BUFFER)
        except BlockingIOError:
            return
        while data:
            _, mask, _, length = _EVENT.unpack_from(data)
            name, data = data[_EVENT.size : _EVENT.size + length], data[_EVENT.size + length :]
            yield os.fsdecode(name.partition(b"\0")[0]), mask

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
