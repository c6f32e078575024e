"""Random outages of a model of Redis, under stores that share a session: whatever happens, their promises hold."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, Final
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reauth_proxy.errors import StoreError
from reauth_proxy.session.ending import end
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.tokens import Instant, Secret, StoredSession
from reauth_proxy.stores.redis import LEASE, RedisStore
from tests.session.fakes import WALL, VirtualLoop, secret
from tests.stores.redis_model import Keys, ModelRedis, Server

STORES: Final = 3
WHO: Final = st.integers(0, STORES - 1)
#: What Redis holds after a restart.
BACK: Final = st.sampled_from(["all", "all but the lock", "an older state", "nothing"])
#: How long those who have something to save come first, and how long anybody pauses between two attempts.
PRECEDENCE: Final = 0.3 * LEASE
PAUSE: Final = 0.5
SLOW: Final = 0.2 * LEASE
LOOK: Final = 0.05 * LEASE
#: Whoever waits while nobody holds the lock for real waits at most so long.
LONGEST: Final = LEASE + PRECEDENCE + PAUSE + 0.1


class WatchedStore(RedisStore):
    """Tells the world who asks for the lock, has it, and leaves it."""

    def __init__(self, world: World, who: int) -> None:
        super().__init__(Secret(f"redis://model/{who}"), "session")
        self.world, self.who = world, who

    def lock(self) -> AbstractAsyncContextManager[None]:
        return self._watched()

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        self.world.asks(self.who)
        try:
            async with super().lock():
                self.world.enters(self.who)
                try:
                    yield
                finally:
                    self.world.leaves(self.who)
        finally:
            self.world.asking.pop(self.who, None)


class Process:
    """What a daemon does with its store: refreshes, hears of news, and saves at last what could not be saved."""

    def __init__(self, world: World, who: int, begun: StoredSession) -> None:
        self.world, self.who = world, who
        self.store = WatchedStore(world, who)
        self.ledger = Ledger(f"process {who}", self.store, lambda: 0.5, self.has_news)
        self.session = begun
        self.tasks: dict[asyncio.Task[Any], None] = {}

    def begin(self, work: Any) -> None:
        task = self.world.loop.create_task(work)
        self.tasks[task] = None
        task.add_done_callback(self.tasks.pop)

    async def listen(self) -> None:
        async with contextlib.aclosing(self.ledger.changes()) as changes:
            async for _ in changes:
                self.ledger.stir()
                await self.look()

    def has_news(self) -> None:
        self.begin(self.look())

    async def look(self) -> None:
        with contextlib.suppress(StoreError):
            news = await self.ledger.look()
            if news is not None:
                self.adopt(news)

    def adopt(self, news: StoredSession) -> None:
        self.ledger.heard(news)
        self.session = news
        self.world.owed.pop(self.who, None)
        self.world.overtaken.discard(self.who)

    async def refresh(self, takes: float) -> None:
        with contextlib.suppress(StoreError):
            async with self.ledger.lock():
                news = await self.ledger.look()
                if news is not None:
                    self.adopt(news)
                    return
                await self.ledger.mark(self.session, Instant(self.world.loop.now, WALL))
                await asyncio.sleep(takes)
                self.session = self.world.issue(self.who, self.session)
                await self.ledger.save(self.session)

    async def sign_in(self) -> None:
        self.session = self.world.begin_life()
        await self.ledger.persist(self.session)


class World(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.server = Server(self.loop, self.forget_what_is_stored)
        self.processes: list[Process] = []
        self.number = 0
        self.life = ""
        #: What was issued, and is not stored yet.
        self.owed: dict[int, StoredSession] = {}
        #: Who owed something that somebody went over, with a right to.
        self.overtaken: set[int] = set()
        #: Who could not reach Redis at some time since it last started or went on.
        self.were_cut: set[int] = set()
        self.inside: set[int] = set()
        #: Since when somebody waits for a lock that nobody holds for real.
        self.asking: dict[int, float] = {}
        self.snapshots: list[Keys] = []
        self.problems: list[str] = []

    @initialize()
    def begin(self) -> None:
        with mock.patch("reauth_proxy.stores.redis.client", self.client):
            begun = self.begin_life()
            self.processes = [Process(self, who, begun) for who in range(STORES)]
            self.run(self.processes[0].store.save(begun))
            self.snapshots = [self.server.keys.copy()]
            for process in self.processes:
                self.run(process.ledger.open())
                process.begin(process.listen())
        self.run()

    def client(self, url: Secret, tls: object, timeout: float) -> ModelRedis:
        return ModelRedis(self.server, int(url.reveal()[-1]))

    def run(self, work: Any = None) -> None:
        async def main() -> None:
            if work is not None:
                await work
            for _ in range(60):
                await asyncio.sleep(0)

        self.loop.run_until_complete(main())

    # What the processes tell.

    def begin_life(self) -> StoredSession:
        self.owed.clear()  # What belongs to the life before is worth nothing.
        self.number += 1
        self.life = f"life{self.number}"
        return StoredSession(secret(f"refresh-{self.number}"), generation=1, life=self.life)

    def issue(self, who: int, session: StoredSession) -> StoredSession:
        self.number += 1
        assert session.refresh_token is not None
        spent = (*session.spent, session.refresh_token.fingerprint())
        issued = replace(
            session, refresh_token=secret(f"refresh-{self.number}"), generation=session.generation + 1, spent=spent
        )
        if issued.life == self.life:
            self.owed[who] = issued
        return issued

    def asks(self, who: int) -> None:
        self.asking[who] = self.loop.now

    def enters(self, who: int) -> None:
        waited = self.waited(who)
        self.asking.pop(who, None)
        self.inside.add(who)
        if waited > LONGEST:
            self.problems.append(f"{who} waited for {waited} s while nobody held the lock")
        for owner in list(self.owed):
            if owner == who:
                continue
            if self.had_its_chance(owner) and who not in self.overtaken:
                self.problems.append(f"{who} has the lock at {self.loop.now - 1000} before {owner} saved what it owes")
            del self.owed[owner]
            self.overtaken.add(owner)

    def had_its_chance(self, owner: int) -> bool:
        """Whether the owner could have come first since Redis is back, and whoever came first could know that.

        Not where Redis was away for so short a time that whoever holds back may not see it, and forgot; not where it
        hung for so short a time that it counts as no outage; not where it came and went more often than others hold
        back.
        """
        server, now = self.server, self.loop.now
        again = server.forgot and server.since - server.outages[-1] <= LOOK
        hung = server.since - server.hung_at <= SLOW and now - server.since < PRECEDENCE
        often = sum(outage > now - 10 for outage in server.outages) >= 4
        return not (owner in self.were_cut or again or hung or often)

    def leaves(self, who: int) -> None:
        self.inside.discard(who)
        for other in self.asking:
            self.asking[other] = self.loop.now

    def waited(self, who: int) -> float:
        if self.inside or not self.server.up or self.server.hangs or who in self.were_cut:
            self.asking[who] = self.loop.now
        return self.loop.now - max(self.asking[who], self.server.since)

    def forget_what_is_stored(self) -> None:
        data = self.server.keys.session.get("data", "")
        for who, owed in list(self.owed.items()):
            assert owed.refresh_token is not None
            if f'"{owed.refresh_token.reveal()}"' in data:
                del self.owed[who]

    # What happens.

    @rule(who=WHO, takes=st.sampled_from([0.0, 0.5, 3.0, 12.0]))
    def somebody_refreshes(self, who: int, takes: float) -> None:
        process = self.processes[who]
        process.begin(process.refresh(takes))
        self.run()

    @rule(who=WHO)
    def somebody_signs_in(self, who: int) -> None:
        process = self.processes[who]
        process.begin(process.sign_in())
        self.run()

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 1.4, 2.0, 4.5, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(
        who=WHO,
        other=WHO,
        issued_after=st.sampled_from([0.0, 0.5, 3.0]),
        hangs=st.booleans(),
        lasts=st.sampled_from([0.5, 4.5, 7.0]),
        back=BACK,
        later=st.sampled_from([0.0, 0.3, 1.0]),
        data=st.data(),
    )
    def an_outage_comes_while_somebody_refreshes(
        self,
        who: int,
        other: int,
        issued_after: float,
        hangs: bool,
        lasts: float,
        back: str,
        later: float,
        data: st.DataObject,
    ) -> None:
        self.somebody_refreshes(who, issued_after)
        self.somebody_refreshes(other, 0.5)
        if hangs:
            self.redis_hangs()
        else:
            self.redis_dies()
        self.time_passes(lasts)
        if hangs:
            self.redis_goes_on(data.draw(st.integers(0, 5)))
        else:
            self.redis_starts(back, data)
        self.time_passes(later)
        self.somebody_refreshes(other, 0.5)

    @rule()
    def redis_dies(self) -> None:
        if self.server.up:
            self.server.end()
            self.run()

    @rule(back=BACK, data=st.data())
    def redis_starts(self, back: str, data: st.DataObject) -> None:
        if self.server.up:
            return
        held = self.server.keys.copy()
        if back == "nothing":
            held = Keys()
        elif back == "an older state":
            held = data.draw(st.sampled_from(self.snapshots))
        if back != "all":
            held = replace(held.copy(), lock=None)
        self.server.start(held, forgot=back in ("an older state", "nothing"))
        self.began()
        self.run()

    @rule(back=st.sampled_from(["an older state", "nothing"]), data=st.data())
    def another_server_takes_over_and_no_connection_breaks(self, back: str, data: st.DataObject) -> None:
        if self.server.up and not self.server.hangs:
            held = Keys() if back == "nothing" else data.draw(st.sampled_from(self.snapshots))
            self.server.take_over(replace(held.copy(), lock=None))
            self.began()
            self.run()

    @rule()
    def redis_keeps_a_copy(self) -> None:
        self.snapshots.append(self.server.keys.copy())

    @rule()
    def redis_hangs(self) -> None:
        self.server.hang()

    @rule(seed=st.integers(0, 5))
    def redis_goes_on(self, seed: int) -> None:
        if self.server.hangs:
            chance = random.Random(seed)
            self.server.go_on(lambda waiting: chance.sample(waiting, len(waiting)))
            self.began()
            self.run()

    @rule(who=WHO)
    def somebody_is_cut_off(self, who: int) -> None:
        self.server.cut.add(who)
        self.were_cut.add(who)
        self.server.disconnect(who)
        self.run()

    @rule(who=WHO)
    def an_answer_is_lost(self, who: int) -> None:
        self.server.deaf.add(who)

    @rule(who=WHO)
    def a_save_is_lost(self, who: int) -> None:
        self.server.unlucky.add(who)

    @rule(who=WHO)
    def somebody_reaches_redis_again(self, who: int) -> None:
        self.server.cut.discard(who)
        self.run()

    def began(self) -> None:
        """Redis started, or went on."""
        self.were_cut = set(self.server.cut)

    # What must hold.

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert not self.problems, self.problems
        assert not self.server.keys.broken, self.server.keys.broken
        assert not self.loop.complaints, self.loop.complaints

    @invariant()
    def nobody_waits_for_long(self) -> None:
        for who in list(self.asking):
            assert self.waited(who) <= LONGEST, f"{who} waits while nobody holds the lock"

    def teardown(self) -> None:
        async def close(process: Process) -> None:
            await end(process.tasks)
            await process.ledger.close()
            await process.store.close()

        if self.processes:
            for process in self.processes:
                self.loop.run_until_complete(close(process))
            self.run(asyncio.sleep(60))
            assert not asyncio.all_tasks(self.loop)
        self.loop.close()


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.slow
class TestManyWorlds(World.TestCase):  # type: ignore[misc, valid-type]
    """The same, for longer."""

    settings = settings(
        max_examples=800, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
