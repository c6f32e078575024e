"""How the daemon begins to listen, and how it ends without a reset for anybody."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reauth_proxy.config.address import Listen
from reauth_proxy.errors import ReauthError

#: Connections that wait to be accepted: room for a burst.
BACKLOG: Final = 1024
#: Seconds in which handshakes under way end up in the accept queue, and we accept them.
LAST_CALL: Final = 0.05

_SO_ATTACH_FILTER: Final = 26  # Linux, <asm-generic/socket.h>
#: Classic BPF: drop a TCP segment with SYN set, take any other (Linux, Documentation/networking/filter.rst).
_DROP_SYN: Final = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of the flags
        (0x45, 0, 1, 0x02),  # SYN?
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # take
    )
)


class StartError(ReauthError):
    """The daemon could not start; the text says why and how to mend it."""


class _SocketFile:
    """The file of a Unix socket, to be removed only as long as it is ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def remove(self) -> None:
        """Remove it, unless another daemon listens there by now."""
        if self._identity is not None and self._look() == self._identity:
            with contextlib.suppress(OSError):
                self._path.unlink()


class Door:
    """One listening address.

    Attributes:
        url: where clients connect.
    """

    def __init__(self, address: Listen, server: asyncio.Server, twin: asyncio.Server | None = None) -> None:
        self.address = address
        self._servers = [server] if twin is None else [server, twin]
        self._made = None if address.path is None else _SocketFile(Path(address.path))
        self.url = f"unix:{address.path}"
        if address.path is None:
            host, port = server.sockets[0].getsockname()[:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Accept nobody any more; connections that there are stay.

        Closing a listening socket resets whoever is in its queue. So nobody new is let into the queue first, and who is
        in it is accepted.
        """
        with contextlib.suppress(OSError):
            for listening in [listening for server in self._servers for listening in server.sockets]:
                _refuse_newcomers(listening.fileno())
        await asyncio.sleep(LAST_CALL)
        for server in self._servers:
            server.close()
        if self._made is not None:
            await asyncio.to_thread(self._made.remove)


def _refuse_newcomers(fileno: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    fprog = struct.pack("@HP", len(_DROP_SYN) // 8, ctypes.addressof(program))
    with socket.socket(fileno=os.dup(fileno)) as duplicate:
        if duplicate.family in (socket.AF_INET, socket.AF_INET6):
            duplicate.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def _private_socket(path: str) -> socket.socket:
    """Return a socket bound to a file of mode 0600; whoever connects before it listens is refused. Raises OSError.

    No umask: it is the whole process's, and files that threads make meanwhile would have it, too.
    """
    file = Path(path)
    with contextlib.suppress(FileNotFoundError):
        if file.is_socket():  # of a daemon that was killed
            file.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
        file.chmod(0o600)
    except BaseException:
        bound.close()
        raise
    return bound


async def listen(address: Listen, factory: Callable[[], asyncio.BaseProtocol], *, key: str = "listen") -> Door:
    """Listen at an address: `localhost` is 127.0.0.1 and [::1], a Unix socket has mode 0600.

    Args:
        key: where the configuration says so.

    Raises:
        StartError: the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    twin: asyncio.Server | None = None
    try:
        if address.host == "localhost":
            server = await loop.create_server(factory, "127.0.0.1", address.port, backlog=BACKLOG)
            try:
                twin = await _on_ipv6(factory, server.sockets[0].getsockname()[1])
            except BaseException:
                server.close()
                raise
        elif address.path is None:
            server = await loop.create_server(factory, address.host, address.port, backlog=BACKLOG)
        else:
            server = await loop.create_unix_server(factory, sock=_private_socket(address.path), backlog=BACKLOG)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        off = ", or to null" if key == "control.listen" else ""
        mend = f"set `{key}` to an address that is free{off}"
        raise StartError(f"cannot listen on {address}: {why}; {mend}") from error
    return Door(address, server, twin)


async def _on_ipv6(factory: Callable[[], asyncio.BaseProtocol], port: int) -> asyncio.Server | None:
    """Listen on [::1], too; None where there is no IPv6.

    A port that somebody else has there is an error: what is sent to localhost would be his.
    """
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(factory, "::1", port, backlog=BACKLOG)
    except OSError:
        if _has_ipv6():
            raise
        return None


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
