"""The sending half of a connection: content that goes upstream with back-pressure, and never waits for ever."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from reauth_proxy.errors import UpstreamTimeout
from reauth_proxy.http1.sockets import unsent
from reauth_proxy.session.stopped import grace


class Sending:
    """A transport that is written to by one coroutine at a time.

    Attributes:
        transport: None once the connection is lost.
    """

    # No __slots__: two bases cannot both have some. Who inherits has them.
    _loop: asyncio.AbstractEventLoop
    _write_timeout: float
    _writing_paused: bool
    _drain_waiter: asyncio.Future[None] | None  # the one writer
    _continue_waiter: asyncio.Future[None] | None  # the same, before it starts
    _watching: asyncio.TimerHandle | None  # looks whether the writer gets any further
    _stalled_at: float  # when it looks, in loop time
    transport: asyncio.Transport | None

    @abstractmethod
    def _fail(self, error: Exception) -> None:
        """Close, and let everybody who waits have `error`."""

    async def drain(self) -> None:
        """Wait until the upstream takes more content; one that takes nothing for `write_timeout` fails."""
        if self._writing_paused and self.transport is not None:
            self._drain_waiter = self._loop.create_future()
            self._watch(unsent(self.transport))
            try:
                await self._drain_waiter
            finally:
                if self._watching is not None:
                    self._watching.cancel()
                self._drain_waiter = None

    def _stalled(self, size: int) -> None:
        """Look whether a writer that waits got any further."""
        if self.transport is None or self._drain_waiter is None:
            return
        left = unsent(self.transport)
        if grace(self._stalled_at, self._loop.time()):  # it is we who were stopped
            self._watch(left)
        elif left >= size:
            self._fail(UpstreamTimeout("The upstream took none of the request's content for too long."))
        else:
            self._watch(left)

    def _watch(self, size: int) -> None:
        self._stalled_at = self._loop.time() + self._write_timeout
        self._watching = self._loop.call_at(self._stalled_at, self._stalled, size)

    async def _continued_within(self, timeout: float) -> None:
        """Wait for :meth:`_go_on`, or the end of `timeout` seconds."""
        self._continue_waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout, self._go_on)
        try:
            await self._continue_waiter
        finally:
            timer.cancel()
            self._continue_waiter = None

    def _go_on(self) -> None:
        """Wake the writer that waits for 100 Continue."""
        if self._continue_waiter is not None and not self._continue_waiter.done():
            self._continue_waiter.set_result(None)

    def _release_writer(self) -> None:
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_result(None)

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Let the writer wait."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Let the writer go on."""
        self._writing_paused = False
        self._release_writer()
