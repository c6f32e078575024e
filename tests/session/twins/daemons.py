"""A daemon: a session in a process that can be stopped, killed and started again; its requests; the commands."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from reauth_proxy.commands import keeping, logout
from reauth_proxy.config.credential import Credential
from reauth_proxy.errors import LoginError, Refusal, StoreError
from reauth_proxy.session.protocols import Confirm
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import LAGS, OUT, Attempt, Pause, RefreshPolicy, Relay
from reauth_proxy.session.stopped import GRACE
from reauth_proxy.session.tokens import Secret, StoredSession, TokenReply, Unavailable
from tests.session.twins.families import Family, Server
from tests.session.twins.shared import SLOWEST, Access, SharedStore
from tests.session.twins.worlds import Process, World

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Configured:
    """Of a credential, what commands look at."""

    refresh_token: Secret | None

    @property
    def configured(self) -> Secret | None:
        return self.refresh_token


class _Endpoint:
    """The token endpoint as a daemon is configured for it."""

    def __init__(self, server: Server, process: Process, right: bool) -> None:
        self._server = server
        self._process = process
        self._right = right

    async def refresh(
        self, refresh_token: Secret, access_token: Secret | None, confirm: Confirm | None = None
    ) -> TokenReply:
        if confirm is not None:
            try:
                await confirm()
            except StoreError as error:
                return Unavailable(str(error))
        return await self._server.refresh(self._process, self._right, refresh_token)

    async def close(self) -> None:
        pass


class Daemon:
    """One of two.

    Attributes:
        process, session, access: of the present run; None while it is down.
        right: its token endpoint's configuration is right.
        configured: the refresh token in its configuration.
        in_force: the family of its session when last looked at.
        under_way: what it has been asked to do, and requests.
        sent: of requests for which the client or the API takes its time.
    """

    def __init__(self, name: str, world: World, server: Server, store: SharedStore, policy: RefreshPolicy) -> None:
        self.name = name
        self.world = world
        self.server = server
        self.store = store
        self.policy = policy
        self.right = True
        self.configured: Secret | None = None
        self.process: Process | None = None
        self.session: Session | None = None
        self.access: Access | None = None
        self.in_force: Family | None = None
        self.under_way: list[asyncio.Task[Any]] = []
        self.sent: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        return f"<daemon {self.name}>"

    @property
    def up(self) -> bool:
        """It is there and runs."""
        return self.process is not None and self.process.runs

    @property
    def family(self) -> Family | None:
        """Whose session is in force here."""
        assert self.session is not None
        return self.server.family_of(self.session._book.refresh_token)

    # Its life.

    def start(self) -> bool:
        """Tell whether it could start: it refuses to where the store cannot be used."""
        process = self.process = Process(self.world, self.name)
        self.access = Access(self.store, process)
        self.session = Session(
            self.name,
            _Endpoint(self.server, process, self.right),
            self.access,
            self.policy,
            configured=self.configured,
            endpoint_id=self._endpoint_id,
            discard=self._discard,
            clock=self.world.clock.instant,
            random=lambda: 0.5,
        )
        try:
            self.in_force = self.world.finish(process, self._begin(self.session), within=1.0)
        except StoreError:
            self.crash()
            return False
        return True

    async def _begin(self, session: Session) -> Family | None:
        await session.start()
        return self.family

    def stop(self) -> None:
        """End it as SIGTERM does."""
        assert self.process is not None
        assert self.session is not None
        assert self.access is not None
        process, session = self.process, self.session
        process.ends = True
        self.others_go_on()
        self.world.finish(process, session.close(), within=25.0)
        self.world.settle()
        assert session.parked == 0
        left = [task for task in asyncio.all_tasks(process.loop) if task not in self.under_way]
        assert not left, f"tasks left behind: {left}"
        process.kill()
        self._gone(process)

    def crash(self) -> None:
        """End it as SIGKILL does."""
        assert self.process is not None
        process = self.process
        process.kill()
        self._gone(process)

    def _gone(self, process: Process) -> None:
        assert not process.loop.complaints, process.loop.complaints
        assert self.access is not None
        self.store.accesses.remove(self.access)
        for family in self.server.families:
            unsaved = family.current not in self.store.saved
            if unsaved and any(use.successor == family.current and use.by is process for use in family.used.values()):
                family.excuse = family.excuse or "a process ended that could not save"
        self.process = self.session = self.access = None
        self.under_way, self.sent = [], []

    def adjust(self, right: bool) -> None:
        """SIGHUP with another configuration of the token endpoint."""
        assert self.process is not None
        assert self.session is not None
        self.right = right
        self.server.ask_again(self.process)
        session, endpoint = self.session, _Endpoint(self.server, self.process, right)

        async def main() -> None:
            session.adjust(self.policy, endpoint, self._endpoint_id)

        self.world.finish(self.process, main(), within=0.0)

    @property
    def _endpoint_id(self) -> str:
        return "right" if self.right else "wrong"

    def _discard(self, refresh_token: Secret | None, access_token: Secret | None) -> None:
        if self.process is not None and not self.process.dead:
            self.server.revoke(refresh_token, access_token, right=self.right)

    # What it is asked to do.

    def ask(self, work: Coroutine[Any, Any, object]) -> None:
        assert self.process is not None
        self.under_way.append(self.process.start(work))
        self.world.settle()

    def sign_in(self, refresh_token: Secret, access_token: Secret | None) -> None:
        assert self.session is not None
        lifetime = None if access_token is None else self.server.lifetime
        self.ask(self.session.sign_in(refresh_token, access_token, lifetime))

    def sign_out(self) -> None:
        assert self.session is not None
        session = self.session

        async def main() -> None:
            self.server.revoke(*await session.sign_out(), right=self.right)

        self.ask(main())

    def configure(self, refresh_token: Secret | None) -> None:
        """SIGHUP with another refresh token in the configuration, or a mounted file that changes."""
        assert self.session is not None
        before, self.configured = self.configured, refresh_token
        if refresh_token is not None and refresh_token != before:
            self.ask(self.session.configure(refresh_token))

    def request(
        self, *, sending: bool = False, fresh: bool = False, held: bool = False, refusing: bool = False
    ) -> asyncio.Task[str]:
        """A request comes.

        Args:
            sending: its client takes its time to send it.
            fresh: it cannot be sent twice.
            held: the API takes its time to answer.
            refusing: the API rejects whatever it is sent.
        """
        assert self.process is not None
        task = self.process.start(self._forward(sending, fresh, held, refusing))
        self.under_way.append(task)
        return task

    def others_go_on(self) -> None:
        for future in self.sent:
            if not future.done():
                future.set_result(None)
        self.sent = []
        self.world.settle()

    async def _forward(self, sending: bool, fresh: bool, held: bool, refusing: bool) -> str:
        """What the forwarder does; returns what came of it."""
        session = self.session
        assert session is not None
        life, family = session.life, self.family
        arrived = f"{self}: a request that came in the life of {family}"
        if family is None and life:
            family = None  # garbage that somebody brought: any family of this life will do
        replayed, pauses, first = False, 0, True
        try:
            if sending:
                await self._others()
            token = session.usable()
            if token is None or token.life != life:
                token = await self._patiently(session.token(fresh=fresh, life=life))
            while True:
                owner = self.server.family_of(token.value) if token is not None else None
                if first and life and family is None:
                    family = owner
                if first and not life:
                    life, family = (token.life, owner) if token is not None else (0, None)
                    arrived = f"{self}: a request that came while nobody was signed in, first sent for {family},"
                first = False
                if (token.life if token is not None else 0) != life or owner is not family:
                    self.server.faults.append(f"{arrived} is sent with a token of {owner}")
                if held:
                    await self._others()
                if token is not None and not refusing and self.server.accepts(token.value):
                    session.accept(token)
                    return "accepted"
                generation = 0 if token is None else token.generation
                decision = session.rejected(Attempt(generation, 0 if token is None else token.life, replayed, pauses))
                if isinstance(decision, Relay):
                    return "relayed"
                newer = await self._patiently(session.newer_token(decision, 0 if token is None else token.life))
                pauses += isinstance(decision, Pause)
                replayed = replayed or newer.generation > generation
                token = newer
        except Refusal as refusal:
            return getattr(refusal, "reason", refusal.code)

    async def _others(self) -> None:
        """Wait for the client, or the API."""
        future = asyncio.get_running_loop().create_future()
        self.sent.append(future)
        await future

    async def _patiently(self, wait: Coroutine[Any, Any, T]) -> T:
        """Wait, and see that it takes no longer than it may."""
        process = self.process
        assert process is not None
        began = self.world.clock.now - process.frozen
        try:
            return await wait
        finally:
            # A timer that is late by a stop is given some grace; a slow store is looked at first.
            limit = self.policy.park_timeout + max(LAGS) + 2 * GRACE + 2 * SLOWEST
            waited = self.world.clock.now - process.frozen - began
            if waited > limit and not process.dead:
                self.server.faults.append(f"{self}: a request waited for {waited:g} s")

    # What is looked at.

    @property
    def out(self) -> bool:
        assert self.session is not None
        return self.session.state in OUT

    def reap(self) -> None:
        """Have what was asked for raise what it raised."""
        for task in [task for task in self.under_way if task.done() and not task.cancelled()]:
            task.result()
        self.under_way = [task for task in self.under_way if not task.done()]


class Commands:
    """``reauth-proxy login`` and ``logout``, in a process of their own."""

    def __init__(self, world: World, server: Server, store: SharedStore) -> None:
        self._world = world
        self._server = server
        self._process = Process(world, "command")
        self._access = Access(store, self._process)

    def login(self, configured: Secret | None, refresh_token: Secret, access_token: Secret | None) -> bool:
        """Tell whether the store was changed."""
        expires = None if access_token is None else self._world.clock.wall + self._server.lifetime
        credential = cast(Credential, Configured(configured))

        def make(present: StoredSession | None) -> StoredSession:
            record = keeping.Brought(refresh_token, access_token).record(credential, present)
            return replace(record, expires_at=expires)

        return self._change(make)

    def logout(self, configured: Secret | None) -> bool:
        """Tell whether the store was changed."""
        credential = cast(Credential, Configured(configured))
        found: list[tuple[Secret | None, Secret | None]] = []

        def make(present: StoredSession | None) -> StoredSession:
            found.extend(logout.in_force(credential, present))
            return logout.signed_out(credential, present)

        changed = self._change(make)
        if changed:
            for tokens in found:
                self._server.revoke(*tokens, right=True)
        return changed

    def _change(self, make: Any) -> bool:
        try:
            change = keeping.change(self._access, make, lambda text: None)
            self._world.finish(self._process, change, within=1.0)
        except (LoginError, StoreError):
            return False
        return True

    def end(self) -> None:
        self._process.kill()
