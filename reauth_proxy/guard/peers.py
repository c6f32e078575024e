"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


def may_connect(peer: int, own: int) -> bool:
    """Tell whether a user may use our socket: the same one, or root, who may anyway."""
    return peer in (own, 0)


def uid_of(connection: socket.socket) -> int | None:
    """Return the user at the other end of a Unix socket; None for other sockets, and where there is no telling."""
    if not sys.platform.startswith("linux") or connection.family != socket.AF_UNIX:
        return None
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def is_stranger(connection: socket.socket | None) -> bool:
    """Tell whether another user is at the other end of a Unix socket, where that can be told (Linux, unix(7)).

    Args:
        connection: None where it has ended already.
    """
    uid = None if connection is None else uid_of(connection)
    return uid is not None and not may_connect(uid, os.geteuid())
