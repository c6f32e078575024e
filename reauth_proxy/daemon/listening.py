"""How the daemon begins to listen, and how it ends without a reset for anybody."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reauth_proxy.config.address import Listen, is_wildcard
from reauth_proxy.errors import ReauthError

#: Connections that wait to be accepted: room for a burst.
BACKLOG: Final = 1024
#: Seconds in which handshakes under way end up in the accept queue, and we accept them.
LAST_CALL: Final = 0.05

#: What an address answers that this machine does not have.
_NOT_HERE: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

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
    """One listening address. Whoever connects before :meth:`open` waits in the kernel's queue.

    Attributes:
        url: where clients connect.
    """

    def __init__(self, address: Listen, sockets: list[socket.socket]) -> None:
        self.address = address
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._made = None if address.path is None else _SocketFile(Path(address.path))
        self.url = f"unix:{address.path}"
        if address.path is None:
            host, port = sockets[0].getsockname()[:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def open(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """Accept connections, each with a protocol that `factory` makes."""
        loop = asyncio.get_running_loop()
        create = loop.create_server if self.address.path is None else loop.create_unix_server
        for listening in self._sockets:
            self._servers.append(await create(factory, sock=listening, backlog=BACKLOG))

    async def close(self) -> None:
        """Accept nobody any more; connections that there are stay.

        Closing a listening socket resets whoever is in its queue. So nobody new is let into the queue first, and who is
        in it is accepted.
        """
        servers, self._servers = self._servers, []
        sockets, self._sockets = self._sockets, []
        made, self._made = self._made, None
        try:
            if servers:
                with contextlib.suppress(OSError):
                    for listening in sockets:
                        _refuse_newcomers(listening.fileno())
                await asyncio.sleep(LAST_CALL)
        finally:
            for server in servers:
                server.close()
            for listening in sockets[len(servers) :]:
                listening.close()
            if made is not None:
                made.remove()

    def overlaps(self, address: Listen) -> bool:
        """Tell whether another address cannot be taken because this one is."""
        if address.path is not None:
            return self.address.path is not None and Path(address.path).resolve() == Path(self.address.path).resolve()
        if self.address.path is not None:
            return False
        ours = {listening.getsockname()[:2] for listening in self._sockets}
        hosts = {"127.0.0.1", "::1"} if address.host == "localhost" else {address.host}
        return any(
            port == address.port and (host in hosts or is_wildcard(host) or is_wildcard(address.host))
            for host, port in ours
        )


def _refuse_newcomers(fileno: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    fprog = struct.pack("@HP", len(_DROP_SYN) // 8, ctypes.addressof(program))
    with socket.socket(fileno=os.dup(fileno)) as duplicate:
        if duplicate.family in (socket.AF_INET, socket.AF_INET6):
            duplicate.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


async def bind(address: Listen, *, key: str = "listen") -> Door:
    """Take an address, so that nobody else can: `localhost` is 127.0.0.1 and [::1], a Unix socket has mode 0600.

    Args:
        key: where the configuration says so.

    Raises:
        StartError: the address cannot be listened on.
    """
    try:
        return Door(address, await _sockets(address))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        off = ", or to null" if key == "control.listen" else ""
        mend = f"set `{key}` to an address that is free{off}"
        raise StartError(f"cannot listen on {address}: {why}; {mend}") from error


async def _sockets(address: Listen) -> list[socket.socket]:
    """Return sockets that listen at the address. Raises OSError."""
    if address.path is not None:
        return [_private_socket(address.path)]
    if address.host == "localhost":
        return _loopback_sockets(address.port)
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    missing: OSError | None = None
    with contextlib.ExitStack() as taken:
        sockets = []
        for family, where in dict.fromkeys((each[0], each[4]) for each in found):
            try:
                sockets.append(taken.enter_context(_tcp_socket(family, where)))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error  # a name may have addresses of a family that this machine does not use
        if not sockets and missing is not None:
            raise missing
        taken.pop_all()
    return sockets


def _tcp_socket(family: int, where: tuple[object, ...]) -> socket.socket:
    """Return a socket that listens. Raises OSError."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(where)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _loopback_sockets(port: int) -> list[socket.socket]:
    """Return one for 127.0.0.1, and one for [::1] where there is IPv6. Raises OSError.

    A port that somebody else has on one of them is an error: what is sent to localhost would be theirs.
    """
    first = _tcp_socket(socket.AF_INET, ("127.0.0.1", port))
    try:
        return [first, _tcp_socket(socket.AF_INET6, ("::1", first.getsockname()[1]))]
    except OSError:
        if _has_ipv6():
            first.close()
            raise
        return [first]


def _private_socket(path: str) -> socket.socket:
    """Return a socket that listens at a file of mode 0600. Raises OSError.

    It listens only once the mode is right. No umask: it is the whole process's, and files that threads make meanwhile
    would have it, too.
    """
    file = Path(path)
    with contextlib.suppress(FileNotFoundError):
        if file.is_socket():
            if _answers(path):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            file.unlink()  # of a daemon that was killed
    with contextlib.ExitStack() as undo:
        made = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        made.setblocking(False)
        made.bind(path)
        undo.callback(file.unlink, missing_ok=True)
        file.chmod(0o600)
        made.listen(BACKLOG)
        undo.pop_all()
    return made


def _answers(path: str) -> bool:
    """Return whether a process has a Unix socket open, as far as anybody can tell: it is another user's, say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
