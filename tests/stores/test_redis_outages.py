"""Who goes first after an outage of Redis, one outage at a time: stores over a model of it, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from reauth_proxy.errors import StoreAway, StoreBusy, StoreError, StoreSuperseded
from reauth_proxy.session.ending import end
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.redis import LEASE, RedisStore
from tests.session.fakes import VirtualLoop, secret, turns, virtual
from tests.stores.redis_model import Keys, ModelRedis, Server

OLD = StoredSession(secret("refresh-1"), generation=1, life="life")
NEW = replace(OLD, refresh_token=secret("refresh-2"), generation=2)
PRECEDENCE = 0.3 * LEASE


class Stage:
    """Stores of one Redis, each of which listens, and who had the lock, in order."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.server = Server(loop, lambda: None)
        self.server.keys = Keys({"fence": "5"})  # It is in use.
        self.had: list[tuple[str, float]] = []
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.began = loop.now

    def store(self, number: int, *, lock_timeout: float = 30.0, listens: bool = True) -> RedisStore:
        with mock.patch("reauth_proxy.stores.redis.client", return_value=ModelRedis(self.server, number)):
            store = RedisStore(Secret("redis://model"), "session", lock_timeout=lock_timeout)
        if listens:
            self.begin(self.listen(store))
        return store

    def begin(self, work: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(work)
        self.tasks[task] = None
        return task

    async def listen(self, store: RedisStore) -> None:
        async with contextlib.aclosing(store.changes()) as changes:
            async for _ in changes:
                pass

    async def enter(self, store: RedisStore, name: str, *, saves: StoredSession | None = None) -> None:
        """Have the lock once, and save; try again until it works."""
        while True:
            try:
                async with store.lock():
                    self.had.append((name, self.now))
                    if saves is not None:
                        await store.save(saves, over=OLD.line)
                    return
            except StoreError:
                await asyncio.sleep(0.2)

    @property
    def now(self) -> float:
        return round(self.loop.now - self.began, 3)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.had]

    def stored(self) -> str:
        return self.server.keys.session.get("data", "")


@asynccontextmanager
async def a_stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await end(stage.tasks)
    await asyncio.sleep(60)


@asynccontextmanager
async def a_save_that_fails(stage: Stage, store: RedisStore) -> AsyncIterator[None]:
    """Hold the lock; after the body, a save of what nobody else has fails."""
    async with store.lock():
        await store.save(replace(OLD, used_at=1.0), over=OLD.line)
        yield
        with pytest.raises(StoreAway):
            await store.save(NEW, over=OLD.line)


@virtual
async def test_whoever_could_not_save_keeps_the_lock_until_it_is_saved() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        async with a_save_that_fails(stage, one):
            waiting = stage.begin(stage.enter(other, "other"))
            await turns()
            stage.server.unlucky.add(1)
        await asyncio.sleep(LEASE - 0.5)
        assert stage.had == []
        await stage.enter(one, "one", saves=NEW)
        await waiting
        assert stage.names == ["one", "other"]
        assert "refresh-2" in stage.stored()


@virtual
async def test_whoever_could_not_save_and_died_keeps_others_off_no_longer_than_any_other_who_died() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        async with a_save_that_fails(stage, one):
            stage.server.cut.add(1)
        await stage.enter(other, "other")
        assert LEASE + PRECEDENCE <= stage.now <= LEASE + PRECEDENCE + 0.1


@virtual
async def test_a_holder_whose_lease_ran_out_while_redis_hung_comes_before_those_who_waited() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        async with one.lock():
            await one.save(OLD, over=OLD.line)
            waiting = stage.begin(stage.enter(other, "other"))
            await turns()
            stage.server.hang()
            await asyncio.sleep(LEASE - 0.1)
            saving = stage.begin(one.save(NEW, over=OLD.line))
            await asyncio.sleep(0.2)
            stage.server.go_on(lambda waiting: waiting)  # The other one's question is the first in line.
            await saving
            assert stage.had == []
        await waiting
        assert stage.names == ["other"]
        assert "refresh-2" in stage.stored()


@virtual
async def test_a_holder_that_is_gone_is_spared_once() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        async with one.lock():
            stage.server.cut.add(1)
            await stage.enter(other, "other")
            assert LEASE + PRECEDENCE <= stage.now <= LEASE + PRECEDENCE + 0.1


@virtual
async def test_after_an_outage_others_hold_back_also_where_redis_forgot_everything() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        async with a_save_that_fails(stage, one):
            await turns()
            stage.server.end()
        await turns()
        stage.server.start(Keys(), forgot=True)
        back = stage.now
        entering = stage.begin(stage.enter(other, "other"))
        await asyncio.sleep(PRECEDENCE - 0.1)
        await stage.enter(one, "one", saves=NEW)
        await entering
        assert stage.names == ["one", "other"]
        assert stage.now <= back + PRECEDENCE + 1.1


@pytest.mark.parametrize("listens", [True, False])
def test_a_redis_that_goes_away_again_meanwhile_begins_their_time_anew(listens: bool) -> None:
    @virtual
    async def scene() -> None:
        async with a_stage() as stage:
            one, other = stage.store(1), stage.store(2, listens=listens)
            async with a_save_that_fails(stage, one):
                await turns()
                stage.server.end()
            await turns()
            with pytest.raises(StoreAway):
                await other.load()
            stage.server.start(Keys(), forgot=True)
            entering = stage.begin(stage.enter(other, "other"))
            await asyncio.sleep(PRECEDENCE - 0.5)
            stage.server.end()
            await asyncio.sleep(0.3)
            stage.server.start(Keys(), forgot=True)
            await asyncio.sleep(PRECEDENCE - 0.1)
            await stage.enter(one, "one", saves=NEW)
            await entering
            assert stage.names == ["one", "other"]

    scene()


@virtual
async def test_a_grant_that_came_late_is_let_go_of() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        async with a_save_that_fails(stage, one):
            await turns()
            stage.server.end()
        await turns()
        stage.server.start(Keys(), forgot=True)
        entering = stage.begin(stage.enter(other, "other"))
        await asyncio.sleep(PRECEDENCE - 0.1)
        stage.server.hang()
        await asyncio.sleep(2.0)
        stage.server.go_on(lambda waiting: waiting)
        await asyncio.sleep(PRECEDENCE - 0.1)
        assert stage.had == []
        await stage.enter(one, "one", saves=NEW)
        await entering
        assert stage.names == ["one", "other"]


@virtual
async def test_a_grant_that_was_asked_for_before_redis_hung_is_let_go_of() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        async with one.lock():
            await one.save(OLD, over=OLD.line)
            stage.server.hang()
            entering = stage.begin(stage.enter(other, "other"))
            await asyncio.sleep(2.0)
            stage.server.keys = Keys()
            stage.server.go_on(lambda waiting: waiting)
            await asyncio.sleep(PRECEDENCE + 0.1)
            assert stage.had == []
            await one.save(NEW, over=OLD.line)
        await entering


@virtual
async def test_a_holder_whom_others_have_followed_does_not_get_the_lock_back() -> None:
    async with a_stage() as stage:
        one, other, third = stage.store(1), stage.store(2), stage.store(3)
        async with one.lock():
            stage.server.cut.add(1)
            await stage.enter(other, "other")
            stage.server.cut.clear()
            await asyncio.sleep(2.0)
            before = stage.now
            await stage.enter(third, "third")
            assert stage.now == before
            with pytest.raises(StoreSuperseded):
                await one.save(NEW, over=OLD.line)


@virtual
async def test_of_two_with_one_number_the_one_whom_redis_knows_may_save() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1, listens=False), stage.store(2, listens=False)
        await stage.enter(other, "other")
        stage.server.cut.add(2)
        with pytest.raises(StoreAway):
            await other.load()
        stage.server.cut.clear()
        await other.load()
        await asyncio.sleep(PRECEDENCE)
        async with one.lock():
            stage.server.keys = Keys({"fence": "6"})
            async with other.lock():
                with pytest.raises(StoreSuperseded):
                    await one.save(NEW, over=OLD.line)
                await other.save(OLD, over=OLD.line)
        assert "refresh-1" in stage.stored()


@virtual
async def test_a_renewal_that_arrives_late_does_not_take_back_what_was_let_go_of() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        renewed: list[Any] = []
        async with one.lock():
            await asyncio.sleep(0.99)
            stage.server.hang()
            await asyncio.sleep(0.02)
            renewed = list(stage.server.waiting)
            stage.server.waiting.clear()
            stage.server.go_on(lambda waiting: waiting)
        for work, _ in renewed:
            assert work() == 0
        before = stage.now
        await stage.enter(other, "other")
        assert stage.now == before


@virtual
async def test_a_grant_with_a_lower_number_than_one_before_is_let_go_of_for_a_holder_who_was_forgotten() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1, listens=False), stage.store(2, listens=False)
        await stage.enter(one, "one")
        await stage.enter(other, "other")
        async with one.lock():
            await asyncio.sleep(0.5)
            stage.server.keys = Keys()  # Another server took over, and no connection broke.
            entering = stage.begin(stage.enter(other, "other"))
            await asyncio.sleep(LEASE)
            await one.save(NEW, over=OLD.line)
            assert stage.names == ["one", "other"]
        await entering
        assert stage.names == ["one", "other", "other"]


@virtual
async def test_a_redis_that_forgot_its_numbers_and_nobody_saw_it_grants_the_lock_to_everybody_again() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1, listens=False), stage.store(2, listens=False)
        for _ in range(3):
            await stage.enter(one, "one")
            await stage.enter(other, "other")
        stage.server.keys = Keys()  # Another server took over, and no connection broke.
        began = stage.now
        await stage.enter(other, "other")
        await stage.enter(one, "one")
        assert stage.names[-2:] == ["other", "one"]
        assert stage.now - began <= 2 * PRECEDENCE + 0.1


@virtual
async def test_whoever_has_just_started_lets_others_put_back_what_an_empty_redis_may_have_forgotten() -> None:
    async with a_stage() as stage:
        stage.server.keys = Keys()
        newcomer = stage.store(1)
        await turns()
        await stage.enter(newcomer, "newcomer")
        assert stage.had == [("newcomer", PRECEDENCE)]
        await stage.enter(newcomer, "newcomer")
        assert stage.now == PRECEDENCE, "once"


@virtual
async def test_whoever_owes_something_that_others_went_over_holds_back_like_all_others() -> None:
    async with a_stage() as stage:
        one, other, third = stage.store(1), stage.store(2), stage.store(3)
        async with a_save_that_fails(stage, one):
            stage.server.cut.add(1)
        async with a_save_that_fails(stage, other):
            await turns()
            stage.server.end()
        await turns()
        stage.server.cut.clear()
        stage.server.start(stage.server.keys, forgot=False)
        entering = [stage.begin(stage.enter(one, "one")), stage.begin(stage.enter(third, "third"))]
        await asyncio.sleep(PRECEDENCE - 0.1)
        await stage.enter(other, "other", saves=NEW)
        await asyncio.gather(*entering)
        assert stage.names[0] == "other"


@virtual
async def test_whoever_has_decided_against_what_it_owed_has_no_precedence_any_more() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        async with a_save_that_fails(stage, one):
            stage.server.unlucky.add(1)
        await stage.enter(one, "one")  # It saw what is there, and saved nothing.
        await asyncio.sleep(10)
        async with a_save_that_fails(stage, other):
            await turns()
            stage.server.end()
        await turns()
        stage.server.start(Keys(), forgot=True)
        entering = stage.begin(stage.enter(one, "one"))
        await asyncio.sleep(PRECEDENCE - 0.1)
        await stage.enter(other, "other", saves=NEW)
        await entering
        assert stage.names == ["one", "other", "one"]


@virtual
async def test_nobody_holds_back_for_long_from_a_redis_that_comes_and_goes() -> None:
    async with a_stage() as stage:
        other = stage.store(2)

        async def comes_and_goes() -> None:
            while True:
                stage.server.disconnect(None)
                await asyncio.sleep(0.05)

        await turns()
        stage.begin(comes_and_goes())
        await stage.enter(other, "other")
        assert stage.now <= 4 * PRECEDENCE + 1


@virtual
async def test_an_outage_in_which_nothing_was_asked_is_noticed_when_the_channel_is_heard_again() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1), stage.store(2)
        async with a_save_that_fails(stage, one):
            await turns()
            stage.server.end()
        await turns()
        stage.server.silent = True
        stage.server.start(Keys(), forgot=True)
        await other.load()
        stage.server.end()
        await asyncio.sleep(0.5)
        stage.server.silent = False
        stage.server.start(Keys(), forgot=True)
        await asyncio.sleep(1.0)
        entering = stage.begin(stage.enter(other, "other"))
        await asyncio.sleep(0.4)
        await stage.enter(one, "one", saves=NEW)
        await entering
        assert stage.names == ["one", "other"]


@virtual
async def test_a_redis_where_nobody_may_listen_is_not_away() -> None:
    async with a_stage() as stage:
        stage.server.silent = True
        other = stage.store(2)
        await asyncio.sleep(5)
        before = stage.now
        await stage.enter(other, "other")
        assert stage.now == before


@virtual
async def test_a_grant_that_comes_after_the_patience_has_ended_is_let_go_of() -> None:
    async with a_stage() as stage:
        one, other = stage.store(1, lock_timeout=1.0), stage.store(2)
        stage.server.hang()
        with pytest.raises(StoreBusy):
            async with one.lock():
                pass
        await turns()
        stage.server.go_on(lambda waiting: waiting)
        began = stage.now
        await stage.enter(other, "other")
        assert stage.now - began <= 0.5


@virtual
async def test_a_save_that_fails_once_more_after_a_long_outage_is_tried_again_at_once() -> None:
    async with a_stage() as stage:
        one = stage.store(1, listens=False)
        ledger = Ledger("default", one, lambda: 0.0, lambda: None)

        async def follow() -> None:
            async for _ in ledger.changes():
                ledger.stir()

        stage.begin(follow())
        await ledger.persist(OLD)
        async with ledger.lock():
            await turns()
            stage.server.end()
            await ledger.save(NEW)
        await asyncio.sleep(60)
        stage.server.unlucky.add(1)
        stage.server.start(stage.server.keys, forgot=False)
        await asyncio.sleep(PRECEDENCE + 0.1)
        assert "refresh-2" in stage.stored()
        await ledger.close()


@virtual
async def test_leaving_the_lock_waits_no_longer_than_one_command_may_take() -> None:
    async with a_stage() as stage:
        one = stage.store(1)
        async with one.lock():
            await turns()
            stage.server.hang()
            began = stage.now
        assert stage.now - began <= 5.1
        began = stage.now
        await end(stage.tasks)
        await one.close()
        assert stage.now - began <= 5.1
