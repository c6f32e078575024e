"""What a transport's socket tells of its peer, and how a connection is cut."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import socket
import ssl
import struct
import sys
import termios


def unsent(transport: asyncio.Transport) -> int:
    """Return how many bytes a peer has not taken yet: those that wait here, and where it can be had, in the kernel.

    The kernel asks for more only when a third of its buffer is free: without its part, a slow peer looks like a dead
    one.
    """
    here = transport.get_write_buffer_size()
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError, AttributeError):  # it is being closed
        return here
    return here + int.from_bytes(answer, sys.byteorder)


def hung_up(transport: asyncio.Transport) -> bool:
    """Tell whether a peer has ended its side, though nobody reads what it may have sent before."""
    poll = select.poll()
    try:
        poll.register(transport.get_extra_info("socket").fileno(), getattr(select, "POLLRDHUP", select.POLLHUP))
        return bool(poll.poll(0))
    except (OSError, ValueError, AttributeError):  # it is being closed
        return False


def cut_off(transport: asyncio.Transport, *, ends_with_connection: bool) -> None:
    """End a client's connection so that half an answer does not look like a whole one.

    Args:
        ends_with_connection: nothing but the end tells the client that the answer is whole: it gets a reset.
    """
    if ends_with_connection:
        with contextlib.suppress(OSError):
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def readable(transport: asyncio.Transport) -> bool:
    """Tell whether the kernel has something that nobody has read: bytes, or the peer's end."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def was_notified(tls: ssl.SSLObject) -> bool:
    """Tell whether a peer ended its side with a close_notify; asyncio, unlike uvloop, asks nobody."""
    try:
        return not tls.read(1)
    except ssl.SSLError:
        return False
