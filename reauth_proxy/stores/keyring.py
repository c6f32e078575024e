"""A session in the keyring of the operating system: Secret Service, KWallet, macOS' Keychain.

A keyring may ask its owner something and wait for ever. Calls run in a thread that nobody waits for longer than a few
seconds, and while one hangs there is no second one. Processes keep each other off by a lock file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from reauth_proxy.errors import StoreCorrupt, StoreEnded, StoreError
from reauth_proxy.session.tokens import StoredSession
from reauth_proxy.stores import record
from reauth_proxy.stores.file import FileStore
from reauth_proxy.stores.worker import TIMEOUT, Worker

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")

SERVICE: Final = "reauth-proxy"


class KeyringStore:
    """A :class:`~reauth_proxy.session.protocols.Store` in the keyring.

    Args:
        name: of the entry.
        beside: a path in a directory of ours; `<beside>.lock`, `.turn`, `.users` and `.alone` are lock files.
        timeout: seconds that the keyring may take for a call.
    """

    def __init__(self, name: str, beside: Path, *, timeout: float = TIMEOUT) -> None:
        self._name = name
        self._beside = FileStore(beside, timeout=timeout)
        problem = (
            f"the keyring did not answer within {timeout:g} s (`store.timeout`); is it locked, or asking its owner "
            "something?"
        )
        self._worker = Worker("keyring", timeout, problem, self._beside.stir)
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
            return _decode(text)
        except StoreCorrupt as error:
            mend = f"remove it (keyring del {SERVICE} {self._name}) and start again with a new refresh token"
            raise StoreCorrupt(f"the keyring's entry {self._name}: {error}; {mend}") from None

    async def load_backup(self) -> StoredSession | None:
        """A keyring has no second copy."""
        return None

    async def save(self, session: StoredSession, *, over: str | None = None) -> None:
        """Return once the keyring has it.

        Raises StoreError; StoreSuperseded if the lock was lost meanwhile; StoreEnded if the keyring holds another line
        than `over`.
        """
        text, turn = record.encode(session).decode("ascii"), self._beside.turn(deed=over is None)

        def write() -> None:
            with turn:
                if over is not None:
                    self._compare(over)
                self._keyring().set_password(SERVICE, self._name, text)

        await self._call("be written", write, to_the_end=True)

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Hold off other processes, by the lock file. Raises StoreError."""
        return self._beside.lock()

    async def confirm(self) -> None:
        """Raise StoreSuperseded if the lock was held, and somebody else took it over; StoreError."""
        await self._beside.confirm()

    async def claim(self) -> bool:
        """Return whether no other process uses the entry, nor begins to until :meth:`share`; see the protocol."""
        return await self._beside.claim()

    def share(self) -> None:
        """Let others use the entry again."""
        self._beside.share()

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever somebody may have written, for keyrings tell of nothing, or one that hung answers again."""
        return self._beside.turns()

    async def close(self) -> None:
        """A call that hangs is left behind."""
        self._worker.close()
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

    def _compare(self, over: str) -> None:
        """Raise StoreEnded if the entry is a session of another line."""
        text = self._keyring().get_password(SERVICE, self._name)
        if text is None:
            return
        try:
            line = _decode(text).line
        except StoreError:
            return
        if line != over:
            raise StoreEnded(f"the keyring's entry {self._name}: somebody signed in or out meanwhile")

    async def _call(self, done: str, work: Callable[[], T], *, to_the_end: bool = False) -> T:
        try:
            return await self._worker.run(work, to_the_end=to_the_end)
        except StoreError:
            raise
        except Exception as error:
            # Its text may be anything.
            raise StoreError(f"the keyring could not {done} ({type(error).__name__})") from None


def _decode(text: str) -> StoredSession:
    return record.decode(text.encode("utf-8", "surrogatepass"))
