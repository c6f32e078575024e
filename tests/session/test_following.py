"""What a session makes of what others store, and of requests whose answers were lost; in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from reauth_proxy.errors import LoggedOut, StoreAway, StoreCorrupt, StoreError
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import RefreshPolicy, State
from reauth_proxy.session.tokens import Denied, Secret, StoredSession, TokenReply, Unavailable
from tests.session.fakes import (
    QUIET,
    WALL,
    Endpoint,
    RecordingStore,
    a_session,
    names,
    now,
    replace,
    secret,
    theirs,
    tokens,
    turns,
    virtual,
)

NO_INTERVAL = RefreshPolicy(background=False, min_interval=0)
OTHER = theirs(secret("other"), secret("access-other"), WALL + 2000, 2)
BROKEN = Unavailable("the connection broke", broken=True)


def lines(logs: list[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


async def begun(session: Session) -> None:
    assert names(await session.token()) == ["access-1"]


class TestNews:
    @virtual
    async def test_an_idle_session_takes_a_newer_token_over_at_once(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            with capture_logs() as logs:
                store.put(OTHER)
                await turns()
            assert names(session.usable()) == ["access-other"]
            assert (session.generation, endpoint.calls) == (2, 1)
            assert len(lines(logs, "refresh.adopted")) == 1

    @virtual
    async def test_its_own_saves_are_no_news(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            with capture_logs() as logs:
                store.put(store.session)
                await turns()
            assert logs == []
            assert session.generation == 1

    @virtual
    async def test_a_session_that_cools_off_is_mended_by_news(self) -> None:
        endpoint, store = Endpoint(Unavailable("down", misconfigured=True)), RecordingStore()
        async with a_session(endpoint, store) as session:
            with pytest.raises(LoggedOut):
                await session.token()
            assert session.state is State.COOLING
            store.put(OTHER)
            await turns()
            assert session.state is State.READY
            assert names(await session.token()) == ["access-other"]

    @virtual
    async def test_a_sign_out_elsewhere_is_one_here(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            store.put(theirs(None, generation=1, signed_out="signed_out"))
            await turns()
            assert session.snapshot(now()).reason == "signed_out"
            assert await session.token() is None

    @virtual
    async def test_a_refusal_of_our_token_elsewhere_is_one_here_and_costs_no_call(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            denied = secret("refresh-1").fingerprint()
            store.put(theirs(None, generation=1, signed_out="refresh_denied", denials=(denied + "@",)))
            await turns()
            assert session.snapshot(now()).reason == "refresh_denied"
            assert endpoint.calls == 1

    @virtual
    async def test_a_refusal_of_another_token_is_not(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            store.put(theirs(None, generation=1, signed_out="refresh_denied", denials=("0123456789abcdef@",)))
            await turns()
            assert session.state is State.READY

    @virtual
    async def test_a_login_elsewhere_brings_a_session_back_at_once(self) -> None:
        endpoint, store = Endpoint(Denied("invalid_grant")), RecordingStore()
        async with a_session(endpoint, store) as session:
            with pytest.raises(LoggedOut):
                await session.token()
            await turns()  # The sign-out is stored.
            with capture_logs() as logs:
                store.put(theirs(secret("login"), None, None, 0))
                await turns()
            assert session.state is State.READY
            assert len(lines(logs, "session.resumed")) == 1
            assert names(await session.token()) == ["access-2"]
            assert endpoint.used[-1] == "CANARY-login"

    @virtual
    async def test_news_that_come_between_two_attempts_at_a_store_that_was_away_end_the_pause(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.busy = True
            waiting = asyncio.create_task(session.token())
            await asyncio.sleep(0.05)
            store.busy = False
            since = now().monotonic
            store.put(OTHER)
            assert names(await waiting) == ["access-other"]
            assert now().monotonic - since < 0.01
            assert endpoint.calls == 0


class TestADeedElsewhereWhileARefreshGoesOn:
    """Somebody signed in or out by another process; the call here, or the wait for the lock, may take long still."""

    @virtual
    async def test_a_sign_in_counts_before_the_call_is_answered(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            endpoint.gate.clear()
            parked = asyncio.create_task(session.renew())
            await turns()
            store.put(
                StoredSession(secret("other"), secret("access-other"), WALL + 2000, 2, secret("other").fingerprint())
            )
            await turns()
            assert names(session.usable()) == ["access-other"]
            with pytest.raises(LoggedOut) as told:
                await parked
            assert told.value.reason == "signed_out"
            endpoint.gate.set()
            await turns()
            assert names(session.usable()) == ["access-other"], "what the call brought is nobody's"
            assert tokens(store.session) == StoredSession(secret("other"), secret("access-other"), WALL + 2000, 2)
            assert endpoint.calls == 2

    @virtual
    async def test_a_sign_out_counts_before_the_call_is_answered_and_what_that_brings_is_revoked(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        discarded: list[tuple[Secret | None, Secret | None]] = []
        async with a_session(endpoint, store, discard=lambda *both: discarded.append(both)) as session:
            await begun(session)
            endpoint.gate.clear()
            parked = asyncio.create_task(session.renew())
            await turns()
            spent = (secret("refresh-0").fingerprint(), secret("refresh-1").fingerprint())
            store.put(theirs(None, generation=1, signed_out="signed_out", spent=spent))
            await turns()
            with pytest.raises(LoggedOut) as told:
                await parked
            assert told.value.reason == "signed_out"
            assert await session.token() is None
            assert discarded == []
            endpoint.gate.set()
            await turns()
            assert discarded == [(secret("refresh-2"), secret("access-2"))]
            assert store.session is not None
            assert store.session.refresh_token is None

    @virtual
    async def test_a_newer_token_of_the_same_life_is_left_to_the_refresh(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            endpoint.gate.clear()
            parked = asyncio.create_task(session.renew())
            await turns()
            store.put(OTHER)
            await turns()
            assert names(session.usable()) == ["access-1"]
            endpoint.gate.set()
            assert names(await parked) == ["access-2"]


class TestAStoreThatLoses:
    @virtual
    async def test_what_it_forgot_is_put_there_again(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            before = store.session
            store.put(None)
            await asyncio.sleep(1)
            assert store.session == before

    @virtual
    async def test_what_went_back_to_an_older_session_gets_ours_again(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store, policy=NO_INTERVAL) as session:
            await begun(session)
            old = store.session
            await replace(session, 1)
            new = store.session
            with capture_logs() as logs:
                store.put(old)
                await asyncio.sleep(1)
            assert store.session == new
            assert names(session.usable()) == ["access-2"]
            assert "older session" in lines(logs, "store.failed")[0]["error"]
            assert len(lines(logs, "store.mended")) == 1
            assert not session.store_failed

    @virtual
    async def test_what_was_damaged_is_written_again(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            load = store.load

            before = len(store.saved)

            async def damaged() -> StoredSession | None:
                if len(store.saved) > before:
                    return await load()
                raise StoreCorrupt("it is cut off")

            store.load = damaged  # type: ignore[method-assign]
            store.put(store.session)
            await asyncio.sleep(1)
            assert len(store.saved) == before + 1

    @virtual
    async def test_a_damaged_store_falls_back_to_its_second_copy_at_the_start(self) -> None:
        store = RecordingStore()
        store.backup = OTHER

        async def damaged() -> StoredSession | None:
            raise StoreCorrupt("it is cut off")

        load, store.load = store.load, damaged  # type: ignore[method-assign]
        session = Session("default", Endpoint(), store, QUIET, clock=now, random=lambda: 0.0)
        with capture_logs() as logs:
            await session.start()
        store.load = load  # type: ignore[method-assign]
        assert names(await session.token()) == ["access-other"]
        await asyncio.sleep(1)
        assert store.session == OTHER
        assert lines(logs, "store.recovered")[0]["log_level"] == "error"
        await session.close()
        store.backup, store.load = None, damaged  # type: ignore[method-assign]
        with pytest.raises(StoreCorrupt):
            await Session("default", Endpoint(), store, QUIET, clock=now).start()

    @virtual
    async def test_a_store_of_which_nobody_knows_what_it_holds_means_that_nothing_is_refreshed(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            load = store.load

            async def away() -> StoredSession | None:
                raise StoreAway("it is encrypted with another key")

            store.load = away  # type: ignore[method-assign]
            with pytest.raises(LoggedOut) as caught:
                await session.token()
            assert caught.value.reason == "refresh_unavailable"
            assert endpoint.calls == 0
            assert session.store_failed
            store.load = load  # type: ignore[method-assign]
            await asyncio.sleep(60)
            await begun(session)
            assert not session.store_failed


class TestMarks:
    @virtual
    async def test_a_request_is_marked_before_it_is_made_and_the_save_removes_the_mark(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            endpoint.gate.clear()
            asking = asyncio.create_task(session.token())
            await turns()
            assert endpoint.calls == 1
            assert store.session is not None
            assert store.session.used_at == now().wall
            assert store.session.refresh_token == secret("refresh-0")
            endpoint.gate.set()
            await asking
            assert store.session.used_at is None
            assert store.marks == 1

    @virtual
    async def test_an_answer_that_used_nothing_up_removes_it_too(self) -> None:
        endpoint, store = Endpoint(Unavailable("connection refused")), RecordingStore()
        async with a_session(endpoint, store, policy=RefreshPolicy(background=False, retry_for=0)) as session:
            with pytest.raises(LoggedOut):
                await session.token()
            assert store.session is not None
            assert store.session.used_at is None

    @virtual
    async def test_a_broken_connection_leaves_it_and_a_refusal_then_is_called_a_lost_rotation(self) -> None:
        endpoint, store = Endpoint(BROKEN, Denied("invalid_grant")), RecordingStore()
        async with a_session(endpoint, store) as session:
            with capture_logs() as logs, pytest.raises(LoggedOut):
                await session.token()
            assert endpoint.calls == 2
            assert len(lines(logs, "refresh.repeated")) == 1
            (line,) = lines(logs, "session.signed_out")
            assert line["detail"].startswith("rotation probably lost")

    @virtual
    async def test_a_refusal_without_one_is_not(self) -> None:
        endpoint = Endpoint(Unavailable("connection refused"), Denied("invalid_grant"))
        async with a_session(endpoint) as session:
            with capture_logs() as logs, pytest.raises(LoggedOut):
                await session.token()
            (line,) = lines(logs, "session.signed_out")
            assert line["detail"].startswith("the refresh token was refused")

    @virtual
    async def test_one_that_a_crash_left_has_the_token_tried_again_at_the_start(self) -> None:
        store = RecordingStore(theirs(secret("old"), secret("access-old"), WALL + 2000, 3, used_at=WALL))
        endpoint = Endpoint()
        with capture_logs() as logs:
            async with a_session(endpoint, store, configured=None) as session:
                await turns()
                assert endpoint.used == ["CANARY-old"]
                assert session.generation == 4
        assert len(lines(logs, "refresh.interrupted")) == 1
        assert store.session is not None
        assert store.session.used_at is None

    @virtual
    async def test_one_that_another_process_made_and_cleared_meanwhile_does_not(self) -> None:
        store = RecordingStore(theirs(secret("old"), secret("access-old"), WALL + 2000, 3, used_at=WALL))
        endpoint = Endpoint()
        session = Session("default", endpoint, store, QUIET, clock=now, random=lambda: 0.0)
        await session.start()
        store.session = theirs(secret("new"), secret("access-new"), WALL + 3000, 4)  # It had the lock until now.
        await turns()
        assert names(session.usable()) == ["access-new"]
        assert endpoint.calls == 0
        await session.close()

    @virtual
    async def test_a_mark_that_cannot_be_made_costs_no_session(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.failing = True
            await begun(session)
            assert session.store_failed

    @virtual
    async def test_whoever_lost_the_lock_before_the_call_does_not_make_it(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.taken_over = True
            waiting = asyncio.create_task(session.token())
            await turns()
            assert endpoint.calls == 0
            store.taken_over = False
            assert names(await waiting) == ["access-1"]


class TestLateWrites:
    """This process was stopped during its call; another one took the lock over."""

    async def superseded(self, endpoint: Endpoint, store: RecordingStore, session: Session) -> asyncio.Task[Any]:
        endpoint.gate.clear()
        waiting = asyncio.create_task(replace(session, 1))
        await turns()
        assert endpoint.calls == 2
        store.taken_over = True
        return waiting

    def give_back(self, store: RecordingStore) -> None:
        """What this process saves from now on, with a lock of its own, is taken."""
        save = store.save

        async def once(session: StoredSession, *, over: str | None = None) -> None:
            try:
                await save(session, over=over)
            except StoreError:
                store.taken_over = False
                raise

        store.save = once  # type: ignore[method-assign]

    @virtual
    async def test_if_it_refreshed_too_its_token_is_everybodys(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            waiting = await self.superseded(endpoint, store, session)
            self.give_back(store)
            store.session = OTHER
            with capture_logs() as logs:
                endpoint.gate.set()
                assert names(await waiting) == ["access-other"]
            assert store.session == OTHER
            assert len(lines(logs, "refresh.discarded")) == 1

    @virtual
    async def test_if_it_was_refused_because_ours_is_newer_ours_counts(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            waiting = await self.superseded(endpoint, store, session)
            self.give_back(store)
            denied = secret("refresh-1").fingerprint()
            store.session = theirs(None, generation=1, signed_out="refresh_denied", denials=(denied + "@",))
            endpoint.gate.set()
            assert names(await waiting) == ["access-2"]
            assert store.session.refresh_token == secret("refresh-2")

    @virtual
    async def test_if_it_got_nothing_ours_counts(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            waiting = await self.superseded(endpoint, store, session)
            self.give_back(store)
            endpoint.gate.set()
            assert names(await waiting) == ["access-2"]
            assert store.session is not None
            assert store.session.refresh_token == secret("refresh-2")

    @virtual
    async def test_if_the_lock_cannot_be_had_again_it_goes_on_from_memory_and_saves_later(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            waiting = await self.superseded(endpoint, store, session)
            self.give_back(store)
            save = store.save

            async def and_busy(record: StoredSession, *, over: str | None = None) -> None:
                store.busy = True
                await save(record, over=over)

            store.save = and_busy  # type: ignore[method-assign]
            endpoint.gate.set()
            assert names(await waiting) == ["access-2"]
            store.save, store.busy = save, False  # type: ignore[method-assign]
            await asyncio.sleep(5)
            assert store.session is not None
            assert store.session.refresh_token == secret("refresh-2")

    @virtual
    async def test_what_waits_to_be_saved_gives_way_to_what_is_as_new_and_stored(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await begun(session)
            store.failing = True
            await replace(session, 1)
            store.failing = False
            store.put(OTHER)
            await asyncio.sleep(60)
            assert store.session == OTHER
            assert names(session.usable()) == ["access-other"]
            assert not session.store_failed


@virtual
async def test_a_store_that_takes_its_time_holds_up_nobody_who_is_signed_out() -> None:
    store = RecordingStore()
    async with a_session(Endpoint(), store, configured=None) as session:
        load, gate = store.load, asyncio.Event()

        async def hanging() -> StoredSession | None:
            await gate.wait()
            return await load()

        store.load = hanging  # type: ignore[method-assign]
        loop = asyncio.get_running_loop()
        for _ in range(3):
            began = loop.time()
            assert await session.token() is None
            assert loop.time() - began <= 0.5
            await asyncio.sleep(1)
        store.session = theirs(secret("login"), secret("access-login"), WALL + 2000, 1)
        gate.set()
        await turns()
        assert names(await session.token()) == ["access-login"]


@virtual
async def test_a_process_that_was_stopped_before_it_sent_its_request_asks_first_whether_it_still_may() -> None:
    class Slow(Endpoint):
        """Is stopped between the mark and the second request."""

        stops = True

        async def refresh(self, refresh_token: Secret, access_token: Secret | None, confirm: Any = None) -> TokenReply:
            if self.calls == 1 and self.stops:
                self.stops = False
                await asyncio.sleep(12)
                store.taken_over = True
                store.session = theirs(secret("theirs-2"), secret("access-theirs"), WALL + 3000, 2)
                try:
                    await confirm()
                except StoreError as error:
                    return Unavailable(str(error))
            return await super().refresh(refresh_token, access_token)

    endpoint, store = Slow(), RecordingStore()
    async with a_session(endpoint, store) as session:
        await begun(session)
        lock = store.lock

        def lock_anew() -> Any:
            store.taken_over = False
            return lock()

        store.lock = lock_anew  # type: ignore[method-assign]
        assert names(await replace(session, 1)) == ["access-theirs"]
        assert endpoint.used == ["CANARY-refresh-0"]
