"""The store of one credential, for a command: changed under its lock, so that a running daemon hears of it or waits."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reauth_proxy.errors import ConfigError, LoginError, StoreBusy, StoreError
from reauth_proxy.session.tokens import Secret, StoredSession

if TYPE_CHECKING:
    from reauth_proxy.config.credential import Credential
    from reauth_proxy.config.model import Config
    from reauth_proxy.session.protocols import Store

#: How often to wait for a process that holds the lock, each time for the store's own while: together longer than the
#: slowest refresh that a daemon listens to.
_ATTEMPTS: Final = 4


def chosen(config: Config, name: str) -> Credential:
    """Return the credential of this name, if what is done to it now would be heard of. Raises ConfigError."""
    credentials = config.each_credential
    if name not in credentials:
        raise ConfigError(f"there is no credential named {name}; there is: {', '.join(credentials)}")
    if config.store.type == "memory":
        raise ConfigError(
            "store.type: the session is in the daemon's memory, where a command cannot reach it; choose another store"
        )
    return credentials[name]


async def change(
    store: Store, make: Callable[[StoredSession | None], Awaitable[StoredSession]], say: Callable[[str], None]
) -> StoredSession:
    """Replace what the store holds.

    Args:
        make: gets what there is, None if there is nothing that can be read, and returns what is to be.

    Raises:
        StoreError: the store cannot be written.
        LoginError: another process holds its lock for too long.
    """
    for attempt in range(_ATTEMPTS):
        try:
            async with store.lock():
                try:
                    present = await store.load()
                except StoreBusy:
                    raise
                except StoreError as error:
                    say(f"What the store held could not be read, and is replaced: {error}.")
                    present = None
                record = await make(present)
                await store.save(record)
                return record
        except StoreBusy as error:
            if attempt == 0:
                say("Waiting for another process that refreshes this session …")
            busy = error
    raise LoginError(f"{busy}; nothing was changed")


@dataclass(frozen=True, slots=True)
class Brought:
    """What a login brought.

    Attributes:
        lifetime: of the access token, in seconds; None where unknown.
    """

    refresh_token: Secret
    access_token: Secret | None = None
    lifetime: float | None = None

    def record(self, credential: Credential, present: StoredSession | None) -> StoredSession:
        """Return the new session for the store. The configured refresh token, if any, counts as replaced by it."""
        configured = credential.configured
        return StoredSession(
            self.refresh_token,
            self.access_token,
            None if self.lifetime is None else time.time() + self.lifetime,
            (present.generation if present is not None else 0) + 1,
            configured.fingerprint() if configured is not None else None,
        )
