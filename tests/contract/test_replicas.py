"""Several daemons share one session, through a file or Redis: one refresh, whoever is killed, stopped or cut off."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.fakes.arrivals import PATIENCE
from tests.fakes.authorization import FakeAuthorizationServer, authorization_server
from tests.fakes.client import Answer, fetch
from tests.fakes.daemon import DaemonProcess, cared_for, events, settings
from tests.fakes.redis import RedisServer, redis_server
from tests.fakes.upstream import FakeUpstream, upstream_server

KEY = "a2V5IGtleSBrZXkga2V5IGtleSBrZXkga2V5IGtleSE="


@dataclass
class Shared:
    """What the daemons share: settings of the store, and the server behind it if there is one."""

    store: dict[str, Any]
    redis: RedisServer | None = None


@pytest_asyncio.fixture(params=["file", "redis"])
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shared]:
    if request.param == "file":
        yield Shared({"type": "file", "path": str(tmp_path / "shared" / "session.json"), "encryption_key": KEY})
        return
    async with redis_server() as server:
        yield Shared({"type": "redis", "url": server.url, "encryption_key": KEY}, server)


@pytest_asyncio.fixture
async def in_redis() -> AsyncIterator[Shared]:
    async with redis_server() as server:
        yield Shared({"type": "redis", "url": server.url, "encryption_key": KEY}, server)


@asynccontextmanager
async def replicas(
    number: int,
    directory: Path,
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    shared: Shared,
    /,
    **overrides: Any,
) -> AsyncIterator[list[DaemonProcess]]:
    """Run so many, each with a token already."""
    merged = {"refresh": {"background": False, "min_interval": 0}, **overrides}
    async with AsyncExitStack() as stack:
        made = []
        for index in range(number):
            (directory / str(index)).mkdir()
            daemon = DaemonProcess(
                directory / str(index), settings(authorization, upstream, store=shared.store, **merged)
            )
            made.append(await stack.enter_async_context(cared_for(daemon)))
        await made[0].start()  # writes the bytecode for all
        await asyncio.gather(*(daemon.start() for daemon in made[1:]))
        for daemon in made:
            assert (await fetch(daemon.url)).status == 200
        assert authorization.count == 1
        yield made


async def burst(daemons: list[DaemonProcess], each: int = 20) -> list[Answer]:
    """Send so many requests to each at once."""
    return await asyncio.gather(*(fetch(daemon.url) for daemon in daemons for _ in range(each)))


def signed_out(daemons: list[DaemonProcess]) -> int:
    return sum(len(events(daemon.log, "session.signed_out")) for daemon in daemons)


async def served(daemon: DaemonProcess) -> None:
    """Return once it serves a request with a good token."""
    async with asyncio.timeout(PATIENCE):
        while (await fetch(daemon.url)).status != 200:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=pytest.mark.slow)])
async def test_four_daemons_make_one_token_request_per_expiry(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, shared: Shared, tmp_path: Path, rounds: int
) -> None:
    async with replicas(4, tmp_path, authorization, upstream, shared) as daemons:
        for number in range(rounds):
            authorization.revoke_access()
            answers = await burst(daemons)
            assert [answer.status for answer in answers] == [200] * 80
            assert authorization.count == number + 2
        assert signed_out(daemons) == 0
    assert authorization.reuses == 0


async def test_an_idle_daemon_learns_of_the_new_token_at_once(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, shared: Shared, tmp_path: Path
) -> None:
    async with replicas(2, tmp_path, authorization, upstream, shared) as (one, other):
        await other.logged("refresh.adopted")
        authorization.revoke_access()
        assert (await fetch(one.url)).status == 200
        adopted = await other.logged("refresh.adopted", 2)
        assert adopted["generation"] == 2
        refused = upstream.count
        assert (await fetch(other.url)).status == 200
        assert upstream.count == refused + 1, "it went through at once"
    assert authorization.count == 2


async def test_a_refusal_is_one_for_all(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, shared: Shared, tmp_path: Path
) -> None:
    async with replicas(3, tmp_path, authorization, upstream, shared) as daemons:
        authorization.revoke_access()
        authorization.revoke_refresh()
        answers = await burst(daemons, 5)
        assert {answer.value("Reauth-Signal") for answer in answers} == {"logout;reason=refresh_denied"}
        assert signed_out(daemons) == 3
        (detail,) = {
            line["detail"]
            for daemon in daemons
            for line in events(daemon.log, "session.signed_out")
            if "detail" in line
        }
        assert "refused" in detail
    assert authorization.count == 2, "one was refused, and the others took its word"


async def test_a_sign_in_at_one_is_one_at_another_whose_call_hangs(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, shared: Shared, tmp_path: Path
) -> None:
    listens = {"control": {"listen": "127.0.0.1:0"}}
    async with replicas(2, tmp_path, authorization, upstream, shared, **listens) as (holder, other):
        authorization.revoke_access()
        authorization.hold()
        asking = asyncio.create_task(fetch(holder.url))
        await authorization.arrived(2)
        control = (await other.logged("server.started"))["control"]
        put = json.dumps({"refresh_token": authorization.login()}).encode()
        assert (await fetch(control, "/session", method="PUT", content=put)).status == 204
        assert (await asking).value("Reauth-Signal") == "logout;reason=signed_out"
        assert authorization.count == 2, "nothing was answered yet"
        authorization.release()
        assert [answer.status for answer in await burst([holder, other])] == [200] * 40
        assert authorization.count == 3
    assert authorization.reuses == 0


async def test_the_holder_killed_during_its_call_leaves_the_session_to_the_others(
    shared: Shared, tmp_path: Path
) -> None:
    async with authorization_server(grace_uses=1) as authorization, upstream_server(authorization) as upstream:
        async with replicas(3, tmp_path, authorization, upstream, shared) as (holder, *others):
            authorization.revoke_access()
            authorization.hold()
            asking = asyncio.create_task(fetch(holder.url))
            await authorization.arrived(2)
            await holder.kill()
            await asyncio.gather(asking, return_exceptions=True)
            authorization.release()
            assert [answer.status for answer in await burst(others)] == [200] * 40
            assert authorization.count == 3, "the same token once more, for whom the answer was lost"
            assert sum(len(events(daemon.log, "refresh.repeated")) for daemon in others) == 1
            assert signed_out(others) == 0
            await holder.start()
            assert (await fetch(holder.url)).status == 200
            assert authorization.count == 3
        assert authorization.reuses == 0


async def with_each_store(directory: Path, scene: Callable[[Path, Shared], Coroutine[Any, Any, None]]) -> None:
    """Play a scene that takes its time with each kind of store, both at once."""
    async with redis_server() as server, asyncio.TaskGroup() as scenes:
        for kind in ("file", "redis"):
            (directory / kind).mkdir()
            place = {"type": "file", "path": str(directory / kind / "shared" / "session.json")}
            store = place if kind == "file" else {"type": "redis", "url": server.url}
            scenes.create_task(scene(directory / kind, Shared({**store, "encryption_key": KEY})))


@pytest.mark.slow
async def test_a_token_endpoint_that_takes_twenty_seconds_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fakes.client.PATIENCE", 120.0)
    await with_each_store(tmp_path, _asked_once)


async def _asked_once(directory: Path, shared: Shared) -> None:
    patient = {"background": False, "min_interval": 0, "timeout": "40s", "park_timeout": "60s"}
    async with (
        authorization_server() as authorization,
        upstream_server(authorization) as upstream,
        replicas(4, directory, authorization, upstream, shared, refresh=patient) as daemons,
    ):
        authorization.revoke_access()
        authorization.hold()
        asking = asyncio.create_task(burst(daemons))
        await authorization.arrived(2)
        await asyncio.sleep(20)
        authorization.release()
        assert [answer.status for answer in await asking] == [200] * 80
        assert authorization.count == 2
        assert signed_out(daemons) == 0


@pytest.mark.slow
async def test_a_holder_that_is_stopped_for_half_a_minute_loses_the_lock_and_cannot_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fakes.client.PATIENCE", 120.0)
    await with_each_store(tmp_path, _stopped_and_continued)


async def _stopped_and_continued(directory: Path, shared: Shared) -> None:
    async with authorization_server(grace_uses=1) as authorization, upstream_server(authorization) as upstream:
        patient = {"background": False, "min_interval": 0, "timeout": "60s", "park_timeout": "90s"}
        async with replicas(4, directory, authorization, upstream, shared, refresh=patient) as (holder, *others):
            authorization.revoke_access()
            authorization.hold()
            asking = asyncio.create_task(fetch(holder.url))
            await authorization.arrived(2)
            holder.signal(signal.SIGSTOP)
            since = asyncio.get_running_loop().time()
            authorization.release()
            answers = await burst(others)
            took = asyncio.get_running_loop().time() - since
            assert [answer.status for answer in answers] == [200] * 60
            assert took > 4, "the lock was the stopped one's until its lease ended"
            assert authorization.count == 3
            await asyncio.sleep(max(0.0, 30 - took))
            holder.signal(signal.SIGCONT)
            assert (await asking).status == 200
            await holder.logged("refresh.adopted", len(events(holder.log, "refresh.adopted")) or 1)
            assert len(events(holder.log, "refresh.discarded")) == 1, "its late write was refused"
            answers = await burst([holder, *others])
            assert [answer.status for answer in answers] == [200] * 80
            assert authorization.count == 3, "everybody has the newer one"
            assert signed_out([holder, *others]) == 0
        assert authorization.reuses == 0


async def test_redis_killed_during_the_call_and_started_again_loses_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, in_redis: Shared, tmp_path: Path
) -> None:
    redis = in_redis.redis
    assert redis is not None
    async with replicas(3, tmp_path, authorization, upstream, in_redis) as (holder, *others):
        authorization.revoke_access()
        authorization.hold()
        asking = asyncio.create_task(fetch(holder.url))
        await authorization.arrived(2)
        await redis.end()
        authorization.release()
        assert (await asking).status == 200, "the holder goes on with what it got"
        await holder.logged("store.failed")
        answer = await fetch(others[0].url)
        assert answer.value("Reauth-Signal") == "logout;reason=refresh_unavailable"
        assert authorization.count == 2, "nobody may refresh while nobody knows"
        await redis.start()
        await holder.logged("store.mended")
        for daemon in others:
            await served(daemon)
        assert authorization.count == 2, "what the holder got is what the others got"
        assert signed_out([holder, *others]) == 0
    assert authorization.reuses == 0


async def test_while_redis_is_away_the_present_token_goes_on_being_used(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, in_redis: Shared, tmp_path: Path
) -> None:
    redis = in_redis.redis
    assert redis is not None
    async with replicas(2, tmp_path, authorization, upstream, in_redis) as daemons:
        await redis.end()
        assert [answer.status for answer in await burst(daemons)] == [200] * 40
        await redis.start()
        authorization.revoke_access()
        for daemon in daemons:
            await served(daemon)
        assert authorization.count == 2
        redis.pause()
        assert [answer.status for answer in await burst(daemons)] == [200] * 40
        redis.go_on()
        authorization.revoke_access()
        for daemon in daemons:
            await served(daemon)
        assert authorization.count == 3
        assert signed_out(daemons) == 0
    assert authorization.reuses == 0


@pytest.mark.slow
async def test_redis_stopped_paused_and_restarted_under_load_loses_no_session(in_redis: Shared, tmp_path: Path) -> None:
    redis = in_redis.redis
    assert redis is not None

    async def stopped() -> None:
        await redis.end()
        await asyncio.sleep(3)
        await redis.start()

    async def paused() -> None:
        redis.pause()
        await asyncio.sleep(5)
        redis.go_on()

    async def restarted() -> None:
        await redis.end()
        await redis.start()

    async def asks(daemon: DaemonProcess) -> None:
        while not enough.is_set():
            answers.append(await fetch(daemon.url))

    async def expires() -> None:
        while not enough.is_set():
            await asyncio.sleep(0.5)
            authorization.revoke_access()
            expired.append(None)

    enough, answers, expired = asyncio.Event(), list[Answer](), list[None]()
    async with authorization_server() as authorization, upstream_server(authorization) as upstream:
        async with replicas(2, tmp_path, authorization, upstream, in_redis) as daemons:
            async with asyncio.TaskGroup() as load:
                load.create_task(expires())
                for _ in range(5):
                    for daemon in daemons:
                        load.create_task(asks(daemon))
                for disturb in (stopped, paused, restarted):
                    await asyncio.sleep(1)
                    await disturb()
                    await asyncio.sleep(1)
                enough.set()
            for daemon in daemons:
                await served(daemon)
            assert signed_out(daemons) == 0
            assert not any("Traceback" in daemon.log for daemon in daemons)
        assert authorization.reuses == 0
        assert authorization.count <= len(expired) + 2, "never two for one expiry"
    told = {(answer.status, answer.value("Reauth-Signal")) for answer in answers}
    # Without a signal: the token of a replay, too, may expire on its way.
    assert told <= {(200, None), (401, "logout;reason=refresh_unavailable"), (401, None)}
    served_well = sum(answer.status == 200 for answer in answers)
    assert served_well > 100


async def test_a_redis_that_forgot_everything_is_given_the_session_again(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, in_redis: Shared, tmp_path: Path
) -> None:
    redis = in_redis.redis
    assert redis is not None
    async with replicas(2, tmp_path, authorization, upstream, in_redis) as daemons:
        await redis.end()
        redis.forget()
        await redis.start()
        async with redis.client() as client, asyncio.timeout(PATIENCE):
            while not [key async for key in client.scan_iter("*") if await client.type(key) == b"hash"]:
                await asyncio.sleep(0.1)
        (newcomer,) = daemons[1:]
        await newcomer.stop()
        await newcomer.start()
        assert (await fetch(newcomer.url)).status == 200
    assert authorization.count == 1


async def test_a_replica_that_starts_when_redis_has_just_forgotten_everything_uses_no_old_token(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, in_redis: Shared, tmp_path: Path
) -> None:
    redis = in_redis.redis
    assert redis is not None
    async with replicas(2, tmp_path, authorization, upstream, in_redis) as (living, newcomer):
        authorization.revoke_access()
        assert (await fetch(living.url)).status == 200
        await newcomer.kill()
        await redis.end()
        redis.forget()
        await redis.start()
        await newcomer.start()
        answers = await burst([living, newcomer], 3)
    assert {answer.status for answer in answers} == {200}
    assert authorization.reuses == 0
    assert authorization.count == 2


async def test_without_redis_it_does_not_start_and_says_why(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    nowhere = {"type": "redis", "url": f"unix://{tmp_path}/none.sock"}
    async with cared_for(DaemonProcess(tmp_path, settings(authorization, upstream, store=nowhere))) as daemon:
        await daemon.launch()
        assert await daemon.ended() == 1
        (failed,) = events(daemon.log, "server.failed")
    assert "Redis cannot be reached" in failed["problem"]
    assert "store.url" in failed["problem"]
