"""Calls to the token endpoint, each in a task of its own, at most one per refresh token."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

import structlog

from reauth_proxy.session.ending import end
from reauth_proxy.session.protocols import Confirm, TokenEndpoint
from reauth_proxy.session.stopped import wait_for
from reauth_proxy.session.tokens import Issued, Secret, TokenReply, Unavailable

_log = structlog.get_logger()

#: A call that timed out is listened to for so many seconds more.
LISTEN_FOR: Final = 60.0
#: A request that is sent more seconds after it was begun may be one of a process that was stopped in between.
_PROMPTLY: Final = 2.0
#: So many answers are kept for whoever may sign in with their refresh token again.
_KEPT: Final = 16


class Calls:
    """The calls that run now, and those that got a 2xx which nobody has heeded yet.

    Whoever waits for a call may leave it; the call goes on until its limit. Whoever needs the same refresh token joins
    it, also once it is over: two calls with one rotating token are what reuse detection punishes.

    Args:
        name: of the credential, for the log.
        limit: seconds after which a call is hung up on.
        endpoint_id: fingerprint of how the endpoint is configured.
    """

    def __init__(self, name: str, endpoint: TokenEndpoint, limit: float, endpoint_id: str = "") -> None:
        self._name = name
        self._endpoint = endpoint
        self._limit = limit
        self._endpoint_id = endpoint_id
        self._running: dict[Secret, asyncio.Task[TokenReply]] = {}
        self._asked: WeakKeyDictionary[asyncio.Task[TokenReply], str] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._running)

    def use(self, endpoint: TokenEndpoint, limit: float, endpoint_id: str) -> list[asyncio.Task[TokenReply]]:
        """Make the next calls to another endpoint, with another limit; return the calls that run to the old one."""
        self._endpoint, self._endpoint_id = endpoint, endpoint_id
        self._limit = limit
        return list(self._running.values())

    def join(
        self, refresh_token: Secret, access_token: Secret | None, confirm: Confirm | None = None
    ) -> asyncio.Task[TokenReply]:
        """Return the call with this refresh token, started now if there was none.

        Args:
            confirm: awaited before it is sent, if that is late: the process may have been stopped since it was begun.

        The task never raises; only :meth:`close` cancels it. Wait for it with asyncio.wait, which does not pass a
        cancellation on.
        """
        task = self._running.get(refresh_token)
        if task is None:
            call = self._call(refresh_token, access_token, confirm)
            task = asyncio.create_task(call, name=f"call of {self._name}")
            self._running[refresh_token] = task
            self._asked[task] = self._endpoint_id
        return task

    def asked(self, call: asyncio.Task[TokenReply]) -> str:
        """Return the fingerprint of the endpoint's configuration that a call goes by."""
        return self._asked[call]

    def has(self, refresh_token: Secret | None) -> bool:
        """Tell whether a call with this refresh token runs, or has brought what nobody has heeded yet."""
        return refresh_token in self._running

    def all(self) -> list[tuple[Secret, asyncio.Task[TokenReply]]]:
        """Return them, each with its refresh token."""
        return list(self._running.items())

    def brought(self, refresh_token: Secret | None) -> TokenReply | None:
        """Return the 2xx that a call has got, and that nobody has heeded yet."""
        task = None if refresh_token is None else self._running.get(refresh_token)
        return task.result() if task is not None and task.done() and not task.cancelled() else None

    def heeded(self, refresh_token: Secret) -> None:
        """What a call brought has been saved, or is of no use."""
        task = self._running.get(refresh_token)
        if task is not None and task.done():
            del self._running[refresh_token]

    def set_aside(self, refresh_token: Secret) -> None:
        """What a call brought is nobody's for now: only so much of that is kept."""
        aside = self._running.pop(refresh_token)
        self._running[refresh_token] = aside
        over = [token for token, task in self._running.items() if task.done()][:-_KEPT]
        for token in over:
            del self._running[token]

    def hang_up(self) -> None:
        """Cancel every call."""
        for task in self._running.values():
            task.cancel()

    async def close(self) -> None:
        """Cancel every call and wait until it has ended."""
        await end(self._running.values())

    async def _call(self, refresh_token: Secret, access_token: Secret | None, confirm: Confirm | None) -> TokenReply:
        limit = self._limit
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def in_time() -> None:
            if confirm is not None and loop.time() - began > _PROMPTLY:
                await confirm()

        call = asyncio.ensure_future(self._endpoint.refresh(refresh_token, access_token, in_time))
        kept = False
        try:
            await wait_for({call}, limit)
            if call.done():
                kept = is_2xx(call.result())
                return call.result()
            return Unavailable(f"no answer within {limit:g} s; hung up", broken=True)
        except Exception as error:
            _log.error("refresh.failed", credential=self._name, **where(error))
            return Unavailable("an unexpected error in this program; the log says where")
        finally:
            await end({call})
            if not kept:
                del self._running[refresh_token]


def is_2xx(reply: TokenReply) -> bool:
    """Tell whether a reply was a 2xx, so that its refresh token may be used up."""
    if isinstance(reply, Unavailable):
        return reply.answered or reply.refresh_token is not None
    return isinstance(reply, Issued)


def where(error: BaseException) -> dict[str, str]:
    """Return kind and place of an unexpected error, without its text, which might hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
    return {"error": type(error).__name__, "at": place}
