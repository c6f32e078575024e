"""The store of one credential, for a command: changed at once; a running daemon hears of it, whatever it is doing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reauth_proxy.daemon import sessions
from reauth_proxy.errors import ConfigError, LoginError, StoreBusy, StoreError
from reauth_proxy.session.lineage import Lineage
from reauth_proxy.session.tokens import Secret, StoredSession

if TYPE_CHECKING:
    from reauth_proxy.config.credential import Credential
    from reauth_proxy.config.model import Config
    from reauth_proxy.session.protocols import Store


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


def opened(config: Config, name: str, say: Callable[[str], None]) -> Store:
    """Return the store of a credential; `say` is told where it may be another one's. Raises ConfigError."""

    def told(event: str, /, *, credential: str, problem: str) -> None:
        say(f"{credential}: {problem}.")

    return sessions.store(config, name, told)


async def change(
    store: Store, make: Callable[[StoredSession | None], StoredSession], say: Callable[[str], None]
) -> StoredSession:
    """Replace what the store holds. A refresh that runs meanwhile is refused when it saves.

    Args:
        make: gets what there is, None if there is nothing that can be read, and returns what is to be.

    Raises:
        StoreError: the store cannot be written.
        LoginError: nobody can tell what it holds.
    """
    try:
        try:
            present = await store.load()
        except StoreBusy:
            raise
        except StoreError as error:
            say(f"What the store held could not be read, and is replaced: {error}.")
            present = None
        record = make(present)
        await store.save(record)
    except StoreBusy as error:
        raise LoginError(f"{error}; nothing was changed") from None
    return record


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
        """Return the new session for the store. The configured refresh token, if any, counts as replaced by it.

        Raises:
            LoginError: the session that there is has used this refresh token up; that session goes on.
        """
        lineage = Lineage()
        goes_on = False
        if present is not None:
            lineage.learn(present)
            goes_on = present.refresh_token == self.refresh_token
            if present.refresh_token is not None and not goes_on and lineage.has_spent(self.refresh_token):
                raise LoginError("this refresh token has been used up: the session that grew from it goes on")
        if credential.configured is not None:
            lineage.configure(credential.configured)
        if not goes_on:
            lineage.begin(self.refresh_token)
        return lineage.record(
            self.refresh_token,
            access_token=self.access_token,
            expires_at=None if self.lifetime is None else time.time() + self.lifetime,
            generation=(present.generation if present is not None else 0) + 1,
        )
