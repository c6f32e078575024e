"""The credentials of a configuration: for each a session, with its store and its token endpoint; made, changed, ended.

Each has an engine of its own: one that is slow or signed out leaves the others alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from reauth_proxy.config.environment import FileSecret
from reauth_proxy.config.fingerprint import endpoint_id
from reauth_proxy.daemon import sessions
from reauth_proxy.daemon.secret_files import MountedSecret
from reauth_proxy.issuers.revocation import REVOKED, Revocation, revoke
from reauth_proxy.session.refresher import Session

if TYPE_CHECKING:
    from reauth_proxy.config.model import Config
    from reauth_proxy.session.protocols import Store, TokenEndpoint
    from reauth_proxy.session.tokens import Secret


log = structlog.get_logger(__name__)

#: Seconds that what is under way may take when everything ends: a sign-out, calls to an endpoint that was changed.
_FAREWELL: Final = 10.0


@dataclass(slots=True)
class _Held:
    """What belongs to one credential."""

    session: Session
    endpoint: TokenEndpoint
    store: Store

    async def close(self) -> None:
        """End the session; a refresh in flight is awaited and stored."""
        try:
            await self.session.close()
        finally:
            await self.endpoint.close()
            await self.store.close()


def _hold(
    config: Config, name: str, tls: ssl.SSLContext, farewell: Callable[[_Held, Secret | None, Secret | None], None]
) -> _Held:
    """Make what a credential needs; nothing is read or started. Raises ConfigError.

    Args:
        farewell: has tokens revoked that came after their session had ended.
    """
    endpoint = sessions.token_endpoint(config, name, tls)
    store = sessions.store(config, name)
    configured = config.each_credential[name].configured
    held: _Held

    def discard(refresh_token: Secret | None, access_token: Secret | None) -> None:
        farewell(held, refresh_token, access_token)

    session = Session(
        name,
        endpoint,
        store,
        sessions.refresh_policy(config),
        configured=configured,
        endpoint_id=endpoint_id(config.each_credential[name]),
        discard=discard,
    )
    held = _Held(session, endpoint, store)
    return held


@dataclass(slots=True)
class Change:
    """What another configuration makes of the credentials, prepared so that nothing can fail afterwards.

    Attributes:
        config: the other configuration.
        endpoints: for the credentials that stay.
        new: those that come, started.
        gone: the names of those that go; filled when they are taken out.
    """

    config: Config
    endpoints: dict[str, TokenEndpoint]
    new: dict[str, _Held]
    gone: list[_Held]

    async def undo(self) -> None:
        """End what was prepared; nothing has changed."""
        for endpoint in self.endpoints.values():
            await endpoint.close()
        for held in self.new.values():
            await held.close()


class Credentials:
    """The sessions by the names of their credentials.

    Raises:
        ConfigError: a token endpoint cannot be made of the configuration.
    """

    def __init__(self, config: Config, tls: ssl.SSLContext) -> None:
        self._held = {name: _hold(config, name, tls, self._discard) for name in config.each_credential}
        self._mounted: list[MountedSecret] = []
        #: Strong references: what ends an endpoint that is used no more, or a session.
        self._farewells: set[asyncio.Task[Any]] = set()
        self._revocation_timeout = config.refresh.timeout

    def __repr__(self) -> str:
        return f"<Credentials {list(self.sessions.values())!r}>"

    @property
    def sessions(self) -> dict[str, Session]:
        """The sessions by name."""
        return {name: held.session for name, held in self._held.items()}

    async def sign_out(self, name: str) -> Revocation:
        """End a credential's session, here and in the store, then have its tokens revoked (RFC 7009).

        An authorization server that cannot be reached keeps no token here. Cancelling does not stop it.
        """
        task = asyncio.create_task(self._sign_out(self._held[name]), name=f"sign out of {name}")
        self._keep(task)
        return await asyncio.shield(task)

    async def _sign_out(self, held: _Held) -> Revocation:
        refresh_token, access_token = await held.session.sign_out()
        if refresh_token is None and access_token is None:
            return REVOKED
        return await self._revoke(held, refresh_token, access_token)

    def _discard(self, held: _Held, refresh_token: Secret | None, access_token: Secret | None) -> None:
        work = self._revoke(held, refresh_token, access_token)
        self._keep(asyncio.create_task(work, name=f"revoke what {held.session.name} got too late"))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _revoke(self, held: _Held, refresh_token: Secret | None, access_token: Secret | None) -> Revocation:
        revocation = await revoke(held.endpoint, refresh_token, access_token, self._revocation_timeout)
        say = log.warning if revocation.outcome == "failed" else log.info
        say("session.revoked", credential=held.session.name, outcome=revocation.outcome, problem=revocation.problem)
        return revocation

    def endpoint(self, name: str) -> TokenEndpoint:
        """Return the token endpoint of a credential."""
        return self._held[name].endpoint

    async def start(self) -> None:
        """Read the stores, and begin to renew. Raises StoreError."""
        for held in self._held.values():
            await held.session.start()

    async def prepare(self, config: Config, tls: ssl.SSLContext) -> Change:
        """Make ready for another configuration.

        Raises:
            ConfigError, StoreError: it cannot be used, and nothing has changed.
        """
        change = Change(config, {}, {}, [])
        try:
            for name in config.each_credential:
                if name in self._held:
                    change.endpoints[name] = sessions.token_endpoint(config, name, tls)
                else:
                    change.new[name] = held = _hold(config, name, tls, self._discard)
                    await held.session.start()
        except BaseException:
            await change.undo()
            raise
        return change

    def take(self, change: Change) -> None:
        """Put a change in force. Sessions that go live on until :meth:`leave`, for requests that use them."""
        policy = sessions.refresh_policy(change.config)
        self._revocation_timeout = change.config.refresh.timeout
        for name, endpoint in change.endpoints.items():
            held = self._held[name]
            calls = held.session.adjust(policy, endpoint, endpoint_id(change.config.each_credential[name]))
            self._say_goodbye(held.endpoint, calls)
            held.endpoint = endpoint
        names = change.config.each_credential
        change.gone += [held for name, held in self._held.items() if name not in names]
        self._held = {name: change.new.get(name) or self._held[name] for name in names}

    async def leave(self, change: Change) -> None:
        """End the sessions of credentials that are gone; what is stored of them stays."""
        for held in change.gone:
            await held.close()

    async def offer(self, old: Config, new: Config) -> bool:
        """Take over refresh tokens that the configuration has and had not; return whether a session has a new one."""
        resumed = False
        for name, credential in new.each_credential.items():
            before = old.each_credential.get(name)
            token = credential.configured
            if token is not None and before is not None and token != before.configured:
                resumed = await self._held[name].session.configure(token) or resumed
        return resumed

    async def watch(self, config: Config) -> None:
        """Have refresh tokens that come from files taken over when these change."""
        await self._unwatch()
        for name, credential in config.each_credential.items():
            if isinstance(credential.refresh_token, FileSecret):
                if sessions.is_named_after_token(config, name):
                    # Taken over now, it would be used up when the next start looks for its session under its name.
                    log.warning("credential.not_followed", credential=name, mend="set `store.key`")
                    continue
                offer = self._held[name].session.configure
                self._mounted.append(MountedSecret(name, credential.refresh_token, offer))
                self._mounted[-1].start()

    async def _unwatch(self) -> None:
        mounted, self._mounted = self._mounted, []
        for one in mounted:
            await one.close()

    def _say_goodbye(self, endpoint: TokenEndpoint, calls: Sequence[asyncio.Task[Any]]) -> None:
        """Close an endpoint once the calls that it makes have ended."""

        async def farewell() -> None:
            if calls:
                await asyncio.wait(calls)
            await endpoint.close()

        self._keep(asyncio.create_task(farewell(), name="close token endpoint"))

    async def close(self) -> None:
        """End the sessions: parked requests are told at once, refreshes in flight are awaited and stored."""
        await self._unwatch()
        await asyncio.gather(*(held.session.close() for held in self._held.values()))

    async def finish(self) -> None:
        """Release what endpoints and stores hold, once nothing is forwarded any more."""
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=_FAREWELL)
        for held in self._held.values():
            await held.endpoint.close()
        for held in self._held.values():
            await held.store.close()
