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
from reauth_proxy.session.tokens import Secret, TokenReply, Unavailable

_log = structlog.get_logger()

#: A call that timed out is listened to for so many seconds more.
LISTEN_FOR: Final = 60.0
#: A request that is sent more seconds after it was begun may be one of a process that was stopped in between.
_PROMPTLY: Final = 2.0


class Calls:
    """The calls that run now.

    Whoever waits for a call may leave it; the call goes on until its limit. Whoever needs the same refresh token while
    it runs joins it: two calls with one rotating token are what reuse detection punishes.

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
        """Return the running call with this refresh token, started now if there was none.

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

    def runs(self, refresh_token: Secret | None) -> bool:
        """Tell whether a call with this refresh token runs."""
        return refresh_token in self._running

    def running(self) -> list[tuple[Secret, asyncio.Task[TokenReply]]]:
        """Return the calls that run, each with its refresh token."""
        return list(self._running.items())

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
        try:
            await wait_for({call}, limit)
            if call.done():
                return call.result()
            return Unavailable(f"no answer within {limit:g} s; hung up", broken=True)
        except Exception as error:
            _log.error("refresh.failed", credential=self._name, **where(error))
            return Unavailable("an unexpected error in this program; the log says where")
        finally:
            await end({call})
            del self._running[refresh_token]


def where(error: BaseException) -> dict[str, str]:
    """Return kind and place of an unexpected error, without its text, which might hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
    return {"error": type(error).__name__, "at": place}
