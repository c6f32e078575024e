"""A session in the keyring of the operating system: Secret Service, KWallet, macOS' Keychain.

A keyring may ask its owner something and wait for ever. Each call runs in a thread of its own that nobody waits for
longer than a few seconds, and while one hangs there is no second one. Processes keep each other off by a lock file.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from reauth_proxy.errors import StoreCorrupt, StoreError
from reauth_proxy.session.tokens import StoredSession
from reauth_proxy.stores import record
from reauth_proxy.stores.file import FileStore

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")

SERVICE: Final = "reauth-proxy"
#: Seconds that the keyring may take.
_TIMEOUT: Final = 3.0


class KeyringStore:
    """A :class:`~reauth_proxy.session.protocols.Store` in the keyring.

    Args:
        name: of the entry.
        beside: a path in a directory of ours; `<beside>.lock` is the lock file.
        timeout: seconds that the keyring may take.
    """

    def __init__(self, name: str, beside: Path, *, timeout: float = _TIMEOUT) -> None:
        self._name = name
        self._beside = FileStore(beside)
        self._timeout = timeout
        self._turn = asyncio.Lock()
        #: A call runs, even if nobody waits for it any more.
        self._hangs = False
        self._backend: KeyringBackend | None = None

    def __repr__(self) -> str:
        return f"<KeyringStore {self._name}>"

    async def check(self) -> None:
        """Raise StoreError, with the mend, unless a session can be written there."""
        await self._call("be opened", self._check)
        await self._beside.check()

    async def load(self) -> StoredSession | None:
        """Return what was saved last, None if nothing was. Raises StoreError."""
        text = await self._call("be read", lambda: self._keyring().get_password(SERVICE, self._name))
        if text is None:
            return None
        try:
            return record.decode(text.encode("utf-8", "surrogatepass"))
        except StoreCorrupt as error:
            mend = f"remove it (keyring del {SERVICE} {self._name}) and start again with a new refresh token"
            raise StoreCorrupt(f"the keyring's entry {self._name}: {error}; {mend}") from None

    async def load_backup(self) -> StoredSession | None:
        """A keyring has no second copy."""
        return None

    async def save(self, session: StoredSession) -> None:
        """Return once the keyring has it. Raises StoreError."""
        text = record.encode(session).decode("ascii")
        await self._beside.confirm()
        await self._call("be written", lambda: self._keyring().set_password(SERVICE, self._name, text))

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Hold off other processes, by the lock file. Raises StoreError."""
        return self._beside.lock()

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever a process let go of the lock: keyrings tell of nothing."""
        return self._beside.releases()

    async def close(self) -> None:
        """A call that hangs is left behind."""
        await self._beside.close()

    def _keyring(self) -> KeyringBackend:
        if self._backend is None:
            import keyring

            self._backend = keyring.get_keyring()
        return self._backend

    def _check(self) -> None:
        backend = self._keyring()
        if backend.priority <= 0:
            raise StoreError(
                "there is no keyring here, or it is locked (Secret Service, KWallet or macOS' Keychain is needed); "
                "unlock it, or write `store: {type: file}`"
            )
        probe = f"{self._name} check"
        backend.set_password(SERVICE, probe, "check")
        backend.delete_password(SERVICE, probe)

    async def _call(self, done: str, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                if self._hangs:
                    raise StoreError("the keyring has not answered the last call yet; it may be asking its owner")
                self._hangs = True
                threading.Thread(target=self._run, args=(work, loop, future), name="keyring", daemon=True).start()
                return await asyncio.shield(future)
        except TimeoutError:
            raise StoreError(f"the keyring did not answer within {self._timeout:g} s; is it locked?") from None
        except StoreError:
            raise
        except Exception as error:
            # Its text may be anything.
            raise StoreError(f"the keyring could not {done} ({type(error).__name__})") from None

    def _run(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop, future: asyncio.Future[T]) -> None:
        result: T | None = None
        problem: Exception | None = None
        try:
            result = work()
        except Exception as error:
            problem = error

        def settle() -> None:
            self._hangs = False
            if future.done():
                return
            if problem is not None:
                future.set_exception(problem)
                future.exception()  # Nobody may be left to hear it.
            else:
                future.set_result(result)  # type: ignore[arg-type]

        with contextlib.suppress(RuntimeError):  # The loop has ended.
            loop.call_soon_threadsafe(settle)
