"""Random lives of a session: whatever happens in whatever order, its promises hold."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reauth_proxy.errors import Refusal
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import RefreshPolicy, State
from reauth_proxy.session.tokens import (
    AccessToken,
    Denied,
    Instant,
    Issued,
    Secret,
    StoredSession,
    TokenReply,
    Unavailable,
)
from tests.session.fakes import LIFE, WALL, RecordingStore, VirtualLoop, replace, secret

REPLIES = st.sampled_from(
    [
        "rotate",
        "keep",
        "short",
        "dead",
        "endless",
        Denied("invalid_grant"),
        Unavailable("down"),
        Unavailable("reset", broken=True),
        Unavailable("busy", retry_after=2),
        Unavailable("busy for long", retry_after=90),
        Unavailable("invalid_client", misconfigured=True),
    ]
)


class ManualEndpoint:
    """Answers when it is told to, and watches what it is asked."""

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Future[TokenReply]] = {}
        self.denied: set[str] = set()

    async def refresh(self, refresh_token: Secret, access_token: Secret | None, confirm: object = None) -> TokenReply:
        used = refresh_token.reveal()
        assert used not in self.running, "two calls with one refresh token at once"
        assert used not in self.denied, "called again with a refused refresh token"
        future = self.running[used] = asyncio.get_running_loop().create_future()
        try:
            return await future
        finally:
            del self.running[used]

    async def close(self) -> None:
        pass


class SessionLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.numbers = itertools.count(1)
        self.endpoint = ManualEndpoint()
        self.store = RecordingStore()
        self.requests: list[asyncio.Task[None]] = []
        self.generation = 0
        self.lifetimes: dict[str, float | None] = {}

    @initialize(
        background=st.booleans(),
        configured=st.booleans(),
        max_parked=st.sampled_from([2, 100]),
        retry_for=st.sampled_from([0.0, 5.0]),
        min_interval=st.sampled_from([0.0, 5.0]),
    )
    def begin(self, background: bool, configured: bool, max_parked: int, retry_for: float, min_interval: float) -> None:
        policy = RefreshPolicy(
            background=background, max_parked=max_parked, retry_for=retry_for, min_interval=min_interval
        )
        self.policy = policy
        self.session = Session(
            "default",
            self.endpoint,
            self.store,
            policy,
            configured=secret("configured") if configured else None,
            clock=self.now,
            random=lambda: 0.5,
        )
        self.run(self.session.start())

    def now(self) -> Instant:
        return Instant(self.loop.now, WALL + self.loop.now + self.loop.slept)

    def run(self, coroutine: Any = None) -> Any:
        async def main() -> Any:
            result = await coroutine if coroutine is not None else None
            for _ in range(30):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(main())

    async def request(self, fresh: bool) -> None:
        life = self.session.life
        try:
            token = await self.session.token(fresh=fresh, life=life)
        except Refusal:
            return
        if token is not None:
            assert token.life == life or not life, "a token of another life was handed out"
            self.check(token)

    async def rejected(self, sent: int) -> None:
        life = self.session.life
        try:
            token = await replace(self.session, sent)
        except Refusal:
            return
        if token is not None:
            assert token.generation > sent
            assert token.life == life, "replayed with a token of another life"
            self.check(token)

    def check(self, token: AccessToken) -> None:
        lifetime = self.lifetimes[token.value.reveal()]
        if token.expires is not None and lifetime is not None and lifetime > 0:
            assert not token.expires.reached(self.now()), "an expired token was handed out"

    @rule(count=st.integers(1, 4), fresh=st.booleans())
    def requests_come(self, count: int, fresh: bool) -> None:
        self.requests += [self.loop.create_task(self.request(fresh)) for _ in range(count)]
        self.run()

    @rule(count=st.integers(1, 4), behind=st.integers(0, 2))
    def answers_are_rejected(self, count: int, behind: int) -> None:
        sent = max(0, self.session.generation - behind)
        self.requests += [self.loop.create_task(self.rejected(sent)) for _ in range(count)]
        self.run()

    @rule(data=st.data())
    def a_client_leaves(self, data: st.DataObject) -> None:
        waiting = [task for task in self.requests if not task.done()]
        if waiting:
            data.draw(st.sampled_from(waiting)).cancel()
            self.run()

    @rule(reply=REPLIES, data=st.data())
    def the_endpoint_answers(self, reply: str | Denied | Unavailable, data: st.DataObject) -> None:
        if not self.endpoint.running:
            return
        used = data.draw(st.sampled_from(sorted(self.endpoint.running)))
        if isinstance(reply, Denied):
            self.endpoint.denied.add(used)
        answer = self.issued(reply) if isinstance(reply, str) else reply
        self.endpoint.running[used].set_result(answer)
        self.run()

    def issued(self, kind: str) -> Issued:
        number = next(self.numbers)
        lifetime = {"short": 2.0, "dead": 0.0, "endless": None}.get(kind, 60.0)
        access = secret(f"access-{number}")
        self.lifetimes[access.reveal()] = lifetime
        return Issued(access, None if kind == "keep" else secret(f"refresh-{number}"), lifetime)

    @rule(seconds=st.sampled_from([0.05, 0.5, 1, 5, 12, 61, 300]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule()
    def the_laptop_sleeps(self) -> None:
        self.loop.slept += 3600

    @rule(with_access=st.booleans())
    def somebody_logs_in(self, with_access: bool) -> None:
        number = next(self.numbers)
        access = secret(f"login-access-{number}")
        self.lifetimes[access.reveal()] = 60.0
        assert self.run(
            self.session.sign_in(
                secret(f"login-{number}"), access if with_access else None, 60.0 if with_access else None
            )
        )

    @rule()
    def somebody_signs_out(self) -> None:
        self.run(self.session.sign_out())
        assert self.session.parked == 0
        assert self.session.state is State.SIGNED_OUT

    @rule()
    def somebody_edits_the_configuration(self) -> None:
        self.run(self.session.configure(secret(f"edited-{next(self.numbers)}")))

    @rule(
        lifetime=st.sampled_from([None, -1.0, 60.0]),
        generation=st.integers(0, 9),
        life=st.sampled_from([LIFE, "another", None]),
    )
    def another_process_stores_a_session(self, lifetime: float | None, generation: int, life: str | None) -> None:
        number = next(self.numbers)
        access = secret(f"other-access-{number}")
        self.lifetimes[access.reveal()] = lifetime
        expires_at = None if lifetime is None else self.now().wall + lifetime
        self.store.session = StoredSession(secret(f"other-{number}"), access, expires_at, generation, life)

    @rule(failing=st.booleans(), unlockable=st.booleans(), busy=st.booleans())
    def the_store_fails_or_recovers(self, failing: bool, unlockable: bool, busy: bool) -> None:
        self.store.failing, self.store.unlockable, self.store.busy = failing, unlockable, busy

    @invariant()
    def generations_only_grow(self) -> None:
        if hasattr(self, "session"):
            assert self.session.generation >= self.generation
            self.generation = self.session.generation

    @invariant()
    def whoever_waits_waits_for_something(self) -> None:
        if hasattr(self, "session"):
            waiting = [task for task in self.requests if not task.done()]
            assert len(waiting) == self.session.parked <= self.policy.max_parked
            assert not waiting or self.session.state is State.REFRESHING
            for task in self.requests:
                if task.done() and not task.cancelled():
                    task.result()
            self.requests = waiting

    @invariant()
    def nothing_shows_a_secret(self) -> None:
        if hasattr(self, "session"):
            assert "CANARY" not in repr(self.session)
            assert "CANARY" not in repr(self.session.snapshot(self.now()))

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.run(asyncio.sleep(self.policy.park_timeout + 1))
            assert self.session.parked == 0, "a request waited for longer than park_timeout"
            self.run(self.session.close(grace=1))
            assert not asyncio.all_tasks(self.loop)
            assert not self.endpoint.running
        self.loop.close()
        assert not self.loop.complaints


TestSessionLife = SessionLife.TestCase
TestSessionLife.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
