"""Where log lines go: a file or a terminal, or a pipe whose reader may be slow and must not keep requests waiting."""

from __future__ import annotations

import asyncio
import os
import select
import stat
import time
from typing import TYPE_CHECKING, Final, TextIO

import structlog

if TYPE_CHECKING:
    from reauth_proxy.telemetry.access import AccessLog

#: Seconds between two looks whether a reader has taken something.
AGAIN: Final = 0.05
#: Bytes that wait for a slow reader; lines beyond it are dropped, and counted.
MOST_WAITING: Final = 1 << 20
#: Seconds that a reader has at the end.
PATIENCE: Final = 1.0


class Output:
    """Takes complete lines. What a pipe or a socket has no room for waits here, and the event loop does not.

    Args:
        stream: where lines go.

    Attributes:
        access: its waiting lines go first, so that the order is right.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.access: AccessLog | None = None
        self._pipe = _pipe(stream)
        self._waiting = bytearray()
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None

    def line(self, text: str) -> None:
        """Write one line of structlog's, after the access log's earlier ones."""
        if self.access is not None:
            self.access.flush()
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Write; a log that nobody reads any more is no reason to fail."""
        if self._pipe is None:
            try:
                self.stream.write(text)
                self.stream.flush()
            except (OSError, ValueError):
                pass
            return
        data = text.encode("utf-8", "backslashreplace")
        if len(self._waiting) + len(data) > MOST_WAITING:
            self._dropped += text.count("\n")
        else:
            self._waiting += data
        if self._timer is None:
            self._go_on()

    def finish(self) -> None:
        """Write what waits, for as long as the reader may take at the end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = time.monotonic() + PATIENCE
        while self._waiting and (left := deadline - time.monotonic()) > 0:
            self._write_some(left)
        self._waiting.clear()

    def _go_on(self) -> None:
        self._timer = None
        while self._waiting and self._write_some(0):
            pass
        if self._waiting:
            try:
                self._timer = asyncio.get_running_loop().call_later(AGAIN, self._go_on)
            except RuntimeError:  # no loop yet, or no more: nobody is kept waiting
                self.finish()
        elif self._dropped:
            lines, self._dropped = self._dropped, 0
            structlog.get_logger().warning("log.dropped", lines=lines, problem="whoever reads the log was too slow")

    def _write_some(self, timeout: float) -> bool:
        """Write as much as certainly fits, once something does; return whether that was within `timeout` seconds."""
        assert self._pipe is not None
        poll = select.poll()
        poll.register(self._pipe, select.POLLOUT)
        if not poll.poll(timeout * 1000):
            return False
        try:
            # A pipe that has room at all has room for so much (pipe(7), PIPE_BUF).
            written = os.write(self._pipe, self._waiting[: select.PIPE_BUF])
        except BlockingIOError:
            return False
        except OSError:
            written = len(self._waiting)
        del self._waiting[:written]
        return True


def _pipe(stream: TextIO) -> int | None:
    """Return the file descriptor of a stream that may keep its writer waiting; None for any other."""
    try:
        number = stream.fileno()
        mode = os.fstat(number).st_mode
    except (OSError, ValueError, AttributeError):  # not a real file
        return None
    return None if stat.S_ISREG(mode) else number
