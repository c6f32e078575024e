"""The Redis store against a real redis-server."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from reauth_proxy.errors import ConfigError, StoreAway, StoreBusy, StoreCorrupt, StoreError, StoreSuperseded
from reauth_proxy.session import ending
from reauth_proxy.session.ending import end
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.codec import Codec
from reauth_proxy.stores.redis import RedisStore
from reauth_proxy.stores.redis_client import RedisTls
from tests.fakes.arrivals import PATIENCE
from tests.fakes.certificates import Authority
from tests.fakes.redis import RedisServer, redis_server

OLD = StoredSession(Secret("refresh-CANARY-1"), Secret("access-CANARY-1"), 1_800_000_000.0, 1)
NEW = StoredSession(Secret("refresh-CANARY-2"), Secret("access-CANARY-2"), 1_800_000_060.0, 2)
LATE = StoredSession(Secret("refresh-CANARY-3"), Secret("access-CANARY-3"), 1_800_000_060.0, 2)
KEY = Secret(base64.b64encode(b"k" * 32).decode())
#: Nobody renews, or is stopped, for longer than this.
SHORT = 0.4


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server


@asynccontextmanager
async def a_store(
    server: RedisServer,
    codec: Codec | None = None,
    lock_timeout: float = 30.0,
    lease: float = 10.0,
    timeout: float = 5.0,
) -> AsyncIterator[RedisStore]:
    store = RedisStore(Secret(server.url), "session", codec, lock_timeout=lock_timeout, lease=lease, timeout=timeout)
    try:
        yield store
    finally:
        await store.close()


def freeze(store: RedisStore) -> None:
    """Let the holder renew its lease no more, as if it were stopped."""
    for task in asyncio.all_tasks():
        if task.get_name().startswith("lease of"):
            task.cancel()


async def listen(store: RedisStore) -> None:
    async for _ in store.changes():
        pass


async def test_what_one_saved_another_loads(server: RedisServer) -> None:
    async with a_store(server) as one, a_store(server) as other:
        await one.check()
        assert await other.load() is None
        async with one.lock():
            await one.save(OLD)
        assert await other.load() == OLD
        assert await one.load_backup() is None


async def test_every_save_is_heard_of_at_once_and_a_release_is_no_news(server: RedisServer) -> None:
    async with a_store(server) as one, a_store(server) as other:
        await one.save(OLD)
        async with one.lock():
            pass  # The first number of all is asked for twice.
        changes = other.changes()
        await anext(changes)  # It listens now.
        heard = asyncio.ensure_future(anext(changes))
        async with one.lock():
            await asyncio.sleep(0.05)
            assert not heard.done()
            await one.save(OLD)
            async with asyncio.timeout(2):
                await heard
        heard = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.05)
        assert not heard.done()
        heard.cancel()
        await asyncio.wait({heard})
        await changes.aclose()


async def test_whoever_follows_is_ended_also_while_it_hears_the_news(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round ends it a few turns of the event loop later; Python 3.11 loses some of these cancels."""
    monkeypatch.setattr(ending, "AGAIN", 0.01)
    async with a_store(server) as store:
        for turns in range(60):
            heard = asyncio.Event()

            async def follow(heard: asyncio.Event = heard) -> None:
                async for _ in store.changes():
                    heard.set()
                    await store.load()

            following = asyncio.create_task(follow())
            await heard.wait()
            saving = asyncio.create_task(store.save(NEW))
            for _ in range(turns // 2):
                await asyncio.sleep(0)
            async with asyncio.timeout(5):
                await end([following])
            await saving


async def test_the_lock_passes_on_as_soon_as_it_is_free(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reauth_proxy.stores.redis._LONGEST_PAUSE", 60.0)
    async with a_store(server) as one, a_store(server) as other:
        order = []
        listening = asyncio.create_task(listen(other))
        await asyncio.sleep(0.1)

        async def enter() -> None:
            async with other.lock():
                order.append("other")

        async with one.lock():
            waiting = asyncio.create_task(enter())
            await asyncio.sleep(0.1)
            order.append("one")
        async with asyncio.timeout(5):
            await waiting
        assert order == ["one", "other"]
        listening.cancel()
        await asyncio.wait({listening})


async def test_a_lock_that_is_held_too_long_names_itself(server: RedisServer) -> None:
    async with a_store(server) as one, a_store(server, lock_timeout=0.1) as other, one.lock():
        with pytest.raises(StoreBusy, match=r"another process has held the lock \{session\}:lock for 0\.1 s") as caught:
            async with other.lock():
                pass
        assert not isinstance(caught.value, StoreAway)


async def test_a_lease_is_renewed_while_the_token_endpoint_is_slow(server: RedisServer) -> None:
    async with a_store(server, lease=SHORT) as one, a_store(server, lease=SHORT, lock_timeout=3 * SHORT) as other:
        async with one.lock():
            with pytest.raises(StoreBusy):
                async with other.lock():
                    pass
            await one.save(NEW)
        async with other.lock():
            assert await other.load() == NEW


async def test_a_holder_that_was_stopped_cannot_overwrite_what_came_after_it(server: RedisServer) -> None:
    async with a_store(server, lease=SHORT) as one, a_store(server, lease=SHORT) as other:
        async with one.lock():
            freeze(one)
            async with other.lock():
                with pytest.raises(StoreSuperseded, match="another one went on"):
                    await one.confirm()
                with pytest.raises(StoreSuperseded, match="another one went on"):
                    await one.save(LATE, over=NEW.line)
                await other.save(NEW)
                with pytest.raises(StoreSuperseded):
                    await one.save(LATE, over=NEW.line)
            with pytest.raises(StoreSuperseded, match="another one went on"):
                await one.save(LATE, over=NEW.line)
        assert await other.load() == NEW


async def test_a_late_holder_that_nobody_has_followed_saves_all_the_same(server: RedisServer) -> None:
    async with a_store(server, lease=SHORT) as one, a_store(server) as other:
        async with one.lock():
            freeze(one)
            await asyncio.sleep(2 * SHORT)
            await one.save(LATE)
        assert await other.load() == LATE


async def test_a_lease_that_ran_out_does_not_release_the_lock_of_the_next(server: RedisServer) -> None:
    async with a_store(server, lease=SHORT) as one, a_store(server, lease=2.0) as other:
        async with one.lock():
            freeze(one)
            entering = other.lock()
            await entering.__aenter__()
        async with a_store(server, lock_timeout=0.1) as third:
            with pytest.raises(StoreBusy):
                async with third.lock():
                    pass
        await entering.__aexit__(None, None, None)


async def test_whoever_gives_up_waiting_does_not_keep_the_lock(server: RedisServer) -> None:
    async with a_store(server) as one, a_store(server) as other:

        async def enter() -> None:
            async with other.lock():
                pytest.fail("it was held")

        async with one.lock():
            waiting = asyncio.create_task(enter())
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.wait({waiting})
        async with asyncio.timeout(2), other.lock():
            pass


async def test_redis_away_means_that_nobody_knows(server: RedisServer) -> None:
    async with a_store(server) as store:
        await server.end()
        for attempt in (store.load(), store.save(OLD), store.lock().__aenter__()):
            with pytest.raises(StoreAway, match=r"redis on .*redis\.sock: Redis cannot be reached"):
                await attempt
        with pytest.raises(StoreError, match=r"start it, or correct `store\.url`"):
            await store.check()


async def test_a_redis_that_hangs_counts_as_away(server: RedisServer) -> None:
    async with a_store(server, timeout=0.2) as store:
        server.pause()
        with pytest.raises(StoreAway, match=r"did not answer in time \(`store\.timeout`\)"):
            await store.load()
        server.go_on()
        assert await store.load() is None


async def test_nobody_waits_for_a_redis_that_hangs_longer_than_one_command_may_take(server: RedisServer) -> None:
    loop = asyncio.get_running_loop()
    async with a_store(server, timeout=0.4) as store:
        async with store.lock():
            pass  # The first number of all is asked for twice.
        changes = store.changes()
        await anext(changes)
        async with store.lock():
            server.pause()
            heard = asyncio.ensure_future(anext(changes))
            left = loop.time()
        assert loop.time() - left < 1.0, "it is released in vain"
        for _ in range(3):  # It listens, asks whether anybody is there, and connects in vain.
            await asyncio.sleep(0.5)
            assert not heard.done()
        ended = loop.time()
        await end([heard])
        await changes.aclose()
        assert loop.time() - ended < 1.0
        ended = loop.time()
        await store.close()
        assert loop.time() - ended < 1.0
        server.go_on()


async def test_whoever_follows_hears_again_of_a_redis_that_hung(server: RedisServer) -> None:
    async with a_store(server, timeout=0.2) as one, a_store(server) as other:
        changes = one.changes()
        await anext(changes)
        heard = asyncio.ensure_future(anext(changes))
        server.pause()
        await asyncio.sleep(1.0)
        server.go_on()
        async with asyncio.timeout(PATIENCE):
            await heard  # There may have been news.
            heard = asyncio.ensure_future(anext(changes))
            await other.save(NEW)
            await heard
        await changes.aclose()


async def test_a_restart_that_forgot_the_lease_does_not_take_it_from_its_holder(server: RedisServer) -> None:
    async with a_store(server, lease=1.0) as one, a_store(server, lease=1.0, lock_timeout=1.5) as other:
        changes = other.changes()
        await anext(changes)
        async with one.lock():
            await one.save(OLD)
            await anext(changes)
            async with server.client() as client:
                await client.delete("{session}:lock")
            await server.end()
            await server.start()
            async with asyncio.timeout(5):
                await anext(changes)  # The other one has noticed.
            with pytest.raises(StoreBusy):
                async with other.lock():
                    pass
            await one.save(NEW)
        assert await other.load() == NEW
        await changes.aclose()


async def test_a_restart_that_forgot_everything_is_noticed_at_the_next_lock(server: RedisServer) -> None:
    async with a_store(server, lease=1.0) as one, a_store(server, lease=1.0, lock_timeout=1.5) as other:
        for _ in range(2):
            async with other.lock():
                pass
        async with one.lock():
            await server.end()
            server.forget()
            await server.start()
            with pytest.raises(StoreBusy):
                async with other.lock():
                    pass
            await one.save(NEW)
        assert await other.load() == NEW


async def test_a_redis_that_forgot_everything_takes_what_the_holder_has(server: RedisServer) -> None:
    async with a_store(server) as one, a_store(server) as other:
        async with other.lock():
            await other.save(OLD)
        async with one.lock():
            await server.end()
            server.forget()
            await server.start()
            await one.save(NEW)
        assert await other.load() == NEW


async def test_after_an_outage_whoever_has_something_to_save_comes_first(server: RedisServer) -> None:
    async with a_store(server, lease=2.0) as one, a_store(server, lease=2.0) as other:
        async with one.lock():
            await one.save(OLD)
            await server.end()
            with pytest.raises(StoreAway):
                await one.save(NEW)
        with pytest.raises(StoreAway):
            await other.load()
        await server.start()
        held = []

        async def enter(store: RedisStore) -> None:
            async with store.lock():
                held.append(store)

        await asyncio.gather(enter(other), enter(one))
        assert held == [one, other]


async def test_values_are_encrypted_where_there_is_a_key(server: RedisServer) -> None:
    async with a_store(server, Codec("default", [KEY])) as store, a_store(server) as without:
        async with store.lock():
            await store.save(OLD)
        assert await store.load() == OLD
        async with server.client() as client:
            assert b"CANARY" not in await client.hget("{session}", "data")  # type: ignore[misc, operator]
        with pytest.raises(StoreAway, match=r"\{session\}: it is encrypted with the key [0-9a-f]{8}, and `store"):
            await without.load()


async def test_what_is_no_session_says_so(server: RedisServer) -> None:
    async with a_store(server) as store, server.client() as client:
        await client.hset("{session}", "data", b'{"version": 1, "refresh_token": "CANARY')  # type: ignore[misc]
        with pytest.raises(StoreCorrupt, match="cut off") as caught:
            await store.load()
        assert "CANARY" not in str(caught.value)


async def test_a_password_is_needed_where_it_is_asked_for_and_never_shown() -> None:
    async with redis_server() as server:
        async with server.client() as client:
            await client.config_set("requirepass", "CANARY-password")
        for url in (server.url, f"unix://:CANARY-wrong@{server.socket}"):
            store = RedisStore(Secret(url), "session")
            with pytest.raises(StoreAway, match="lets this user or password not in") as caught:
                await store.load()
            assert "CANARY" not in str(caught.value) + repr(store)
            await store.close()
        store = RedisStore(Secret(f"unix://:CANARY-password@{server.socket}"), "session")
        await store.check()
        assert await store.load() is None
        await store.close()


def a_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def test_over_tls_the_server_is_verified_and_may_ask_who_we_are(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    certificate, key = authority.issue("localhost")
    ours = tuple(map(str, authority.issue("client", client=True)))
    port = a_free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    async with redis_server(*options, "--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "yes"):
        url = Secret(f"rediss://localhost:{port}/0")
        store = RedisStore(url, "session", tls=RedisTls(str(authority.file), *ours))
        await store.check()
        async with store.lock():
            await store.save(OLD)
        assert await store.load() == OLD
        await store.close()
        for tls in (RedisTls(str(stranger.file), *ours), RedisTls(None, *ours), RedisTls(str(authority.file))):
            store = RedisStore(url, "session", tls=tls)
            with pytest.raises(StoreAway, match=f"redis at localhost:{port}: Redis cannot be reached"):
                await store.load()
            await store.close()
        store = RedisStore(Secret(f"rediss://127.0.0.1:{port}/0"), "session", tls=RedisTls(str(authority.file), *ours))
        with pytest.raises(StoreAway, match="cannot be reached"):
            await store.load()
        await store.close()


def test_a_url_that_is_none_is_told_without_being_shown() -> None:
    with pytest.raises(ConfigError, match=r"store\.url: expected redis://") as caught:
        RedisStore(Secret("http://CANARY"), "session")
    assert "CANARY" not in str(caught.value)
