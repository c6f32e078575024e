"""Which files are too open to hold a secret: as ssh judges keys, with PostgreSQL's exception for root's files. Pure."""

from __future__ import annotations

import shlex
import stat
from typing import Final

#: Read for the group, of files that belong to root: how a secret is handed to a service's user (root:service 0640).
_GROUP_READ: Final = stat.S_IRGRP


def openness(mode: int, owner: int) -> str | None:
    """Return the permissions of a file that others than its owner may read or change, as in ``0644``; None if none may.

    Pipes, sockets and devices count as private: who can get at them is not a matter of their mode.

    Args:
        mode, owner: st_mode and st_uid of stat(2).
    """
    if not stat.S_ISREG(mode):
        return None
    rights = stat.S_IRWXG | stat.S_IRWXO
    if owner == 0:
        rights &= ~_GROUP_READ
    return f"{stat.S_IMODE(mode):04o}" if mode & rights else None


def mend(path: str | None) -> str:
    """Return what to do about it; None for a path that must not be shown."""
    command = "chmod 600 on it" if path is None else f"chmod 600 {shlex.quote(path)}"
    return f"{command}, or set `secrets.allow_readable: true` where nobody else can get at it, as in a container"
