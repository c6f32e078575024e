"""Refresh tokens in files that somebody else renews, such as mounted secrets: a changed one is taken over."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from reauth_proxy.config.environment import FileSecret
from reauth_proxy.errors import StoreSlow
from reauth_proxy.session.ending import end
from reauth_proxy.session.tokens import Secret
from reauth_proxy.stores.worker import TIMEOUT, Worker

log = structlog.get_logger(__name__)

#: Seconds between two looks at a file; a look is one stat(2).
LOOK_EVERY: Final = 1.0

Signature = tuple[int, int, int, int, int]


class MountedSecret:
    """Looks whether a file changes, and offers what is in it then.

    By asking, and not by being told: a mounted secret changes by a symbolic link somewhere on its path, or on another
    machine, where no watch hears of it. A file that is being written is left alone until two looks find it the same.

    Args:
        name: of the credential, for the log.
        secret: as it was read with the configuration.
        offer: takes a new one over, and returns whether it was news.
        every: seconds between two looks.
        timeout: seconds that a look may take.
    """

    def __init__(
        self,
        name: str,
        secret: FileSecret,
        offer: Callable[[Secret], Awaitable[bool]],
        every: float = LOOK_EVERY,
        timeout: float = TIMEOUT,
    ) -> None:
        self._name = name
        self._secret = secret
        self._offer = offer
        self._every = every
        problem = f"the disk that {secret.path} is on did not answer within {timeout:g} s; check it, or the network"
        self._worker = Worker("mounted secret", timeout, problem)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._look(), name=f"mounted refresh token of {self._name}")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            await end([self._task])
        self._worker.close()

    async def _look(self) -> None:
        # What was read with the configuration counts as never looked at: it may have changed in between.
        taken: Signature | None = None
        before: Signature | None = None
        told = False
        while True:
            try:
                now = await self._worker.run(self._signature)
                if now is not None and now == before and now != taken:
                    await self._read()
                    taken = now
                before, told = now, False
            except StoreSlow as error:
                if not told:
                    told = True
                    log.error("credential.unreadable", credential=self._name, problem=str(error))
            await asyncio.sleep(self._every)

    async def _read(self) -> None:
        try:
            token = await self._worker.run(self._secret.again)
            if not token.reveal().isprintable():
                raise ValueError("it holds a line end or another control character")
        except ValueError as error:
            log.error("credential.unreadable", credential=self._name, problem=str(error))
            return
        if await self._offer(token):
            log.info("credential.changed", credential=self._name)

    def _signature(self) -> Signature | None:
        """Return what tells one content of the file from another, None while there is no file."""
        with contextlib.suppress(OSError):
            found = os.stat(self._secret.path)  # noqa: PTH116 - follows links, as reading does
            return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        return None
