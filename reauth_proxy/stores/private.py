"""A file that is its owner's alone: how it is read, and what to say where something cannot be. Blocking."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from shlex import quote as shell
from typing import Final

from reauth_proxy.errors import StoreCorrupt, StoreError
from reauth_proxy.stores import record

START_ANEW: Final = "move it away and start again with a new refresh token"


def read(path: Path, *, allow_readable: bool) -> bytes:
    """Return what is in a file.

    Args:
        allow_readable: others may be able to read it, too.

    Raises:
        StoreError: it is none that we may use, with the mend; StoreCorrupt if it is too long.
        OSError: it cannot be read.
    """
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
        if os.geteuid() not in (0, status.st_uid) and status.st_uid != 0:
            raise StoreError(f"{path}: it belongs to another user; {START_ANEW}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(record.LONGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > record.LONGEST:
        raise StoreCorrupt(f"{path}: it is not a session of reauth-proxy; {START_ANEW}")
    return data


def explain(what: str, path: Path, error: OSError) -> str:
    """Return a sentence about a session that `what`, such as ``cannot be read``, and why, and the mend."""
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
