"""What a session does, with exact counts of calls to the token endpoint."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from reauth_proxy.errors import Draining, LoggedOut, RefreshTimeout, RefreshUnavailable, StoreError, TooManyParked
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import RefreshPolicy, State
from reauth_proxy.session.tokens import Denied, Issued, StoredSession, Unavailable
from tests.session.fakes import (
    LIFE,
    QUIET,
    WALL,
    Endpoint,
    RecordingStore,
    a_session,
    names,
    now,
    replace,
    secret,
    sleep_laptop,
    theirs,
    tokens,
    turns,
    virtual,
)

DOWN = Unavailable("connection refused")


async def after_first_token(session: Session) -> None:
    token = await session.token()
    assert names(token) == ["access-1"]


class TestParkingBehindOneRefresh:
    @virtual
    async def test_200_requests_without_a_token_cost_one_call(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint) as session:
            tokens = await asyncio.gather(*(session.token() for _ in range(200)))
            assert set(names(*tokens)) == {"access-1"}
            assert endpoint.calls == 1
            assert session.state is State.READY

    @virtual
    async def test_200_rejected_answers_cost_one_call(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint) as session:
            await after_first_token(session)
            tokens = await asyncio.gather(*(replace(session, 1) for _ in range(200)))
            assert set(names(*tokens)) == {"access-2"}
            assert endpoint.calls == 2
            assert session.stats.replays == 200

    @virtual
    async def test_a_request_that_arrives_during_the_refresh_gets_its_token(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint) as session:
            await after_first_token(session)
            endpoint.gate.clear()
            first = asyncio.create_task(replace(session, 1))
            await turns()
            second = asyncio.create_task(replace(session, 1))
            await turns()
            assert session.parked == 2
            endpoint.gate.set()
            assert names(await first, await second) == ["access-2", "access-2"]
            assert endpoint.calls == 2

    @virtual
    async def test_late_rejections_of_an_older_generation_are_replayed_without_a_call(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint) as session:
            await after_first_token(session)
            await replace(session, 1)
            tokens = await asyncio.gather(*(replace(session, 1) for _ in range(20)))
            assert set(names(*tokens)) == {"access-2"}
            assert endpoint.calls == 2
            assert session.stats.late == 20

    @virtual
    async def test_a_request_that_was_sent_without_a_token_is_not_replayed_with_somebodys(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint) as session:
            await after_first_token(session)
            assert await replace(session, 0) is None
            assert endpoint.calls == 1

    @virtual
    async def test_a_token_of_the_same_value_is_a_new_generation(self) -> None:
        same = Issued(secret("access-1"), None, 300)
        endpoint = Endpoint(same, same)
        async with a_session(endpoint) as session:
            await after_first_token(session)
            token = await replace(session, 1)
            assert token is not None
            assert (names(token), token.generation) == (["access-1"], 2)

    @virtual
    async def test_beyond_max_parked_the_answer_comes_at_once(self) -> None:
        endpoint = Endpoint()
        endpoint.gate.clear()
        async with a_session(endpoint, policy=RefreshPolicy(background=False, max_parked=2)) as session:
            parked = [asyncio.create_task(session.token()) for _ in range(2)]
            await turns()
            with pytest.raises(TooManyParked) as refused:
                await session.token()
            assert refused.value.retry_after == 1
            endpoint.gate.set()
            assert names(*await asyncio.gather(*parked)) == ["access-1", "access-1"]

    @virtual
    async def test_who_waits_too_long_is_told_so_and_the_refresh_goes_on(self) -> None:
        endpoint = Endpoint()
        endpoint.gate.clear()
        async with a_session(endpoint, policy=RefreshPolicy(background=False, park_timeout=3)) as session:
            early = asyncio.create_task(session.token())
            await asyncio.sleep(2)
            late = asyncio.create_task(session.token())
            with pytest.raises(RefreshTimeout):
                await early
            assert asyncio.get_running_loop().time() == 1003
            endpoint.gate.set()
            assert names(await late) == ["access-1"]
            assert endpoint.calls == 1

    @virtual
    async def test_a_second_burst_is_a_second_refresh(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint, policy=RefreshPolicy(background=False, min_interval=0)) as session:
            await after_first_token(session)
            await asyncio.gather(*(replace(session, 1) for _ in range(5)))
            await asyncio.gather(*(replace(session, 2) for _ in range(5)))
            assert endpoint.calls == 3


class TestFreshFirst:
    @virtual
    async def test_an_expired_token_is_never_sent(self) -> None:
        endpoint = Endpoint(lifetime=100)
        async with a_session(endpoint) as session:
            await after_first_token(session)
            await asyncio.sleep(100)
            assert session.usable() is None
            assert names(await session.token()) == ["access-2"]

    @virtual
    async def test_a_laptop_that_slept_does_not_send_a_dead_token(self) -> None:
        endpoint = Endpoint(lifetime=100)
        async with a_session(endpoint) as session:
            await after_first_token(session)
            sleep_laptop(8 * 3600)
            assert names(await session.token()) == ["access-2"]

    @virtual
    async def test_a_wall_clock_set_back_does_not_prolong_a_token(self) -> None:
        endpoint = Endpoint(lifetime=100)
        async with a_session(endpoint) as session:
            await after_first_token(session)
            sleep_laptop(-3600)
            await asyncio.sleep(100)
            assert names(await session.token()) == ["access-2"]

    @virtual
    async def test_in_the_ahead_window_the_present_token_goes_out_while_one_refresh_runs(self) -> None:
        endpoint = Endpoint(lifetime=100)
        async with a_session(endpoint) as session:
            await after_first_token(session)
            await asyncio.sleep(79.9)
            assert names(session.usable()) == ["access-1"]
            await asyncio.sleep(0.1)
            endpoint.gate.clear()
            assert session.usable() is None
            assert names(*[await session.token() for _ in range(5)]) == ["access-1"] * 5
            endpoint.gate.set()
            await turns()
            assert names(session.usable()) == ["access-2"]
            assert endpoint.calls == 2

    @virtual
    async def test_a_request_that_cannot_be_sent_twice_waits_for_that_refresh(self) -> None:
        endpoint = Endpoint(lifetime=100)
        async with a_session(endpoint) as session:
            await after_first_token(session)
            await asyncio.sleep(80)
            assert names(await session.token(fresh=True)) == ["access-2"]

    @virtual
    async def test_and_goes_with_the_present_token_if_the_refresh_is_unavailable(self) -> None:
        endpoint = Endpoint(lifetime=100)
        async with a_session(endpoint) as session:
            await after_first_token(session)
            endpoint.script = [Unavailable("wrong client", misconfigured=True)]
            await asyncio.sleep(80)
            assert names(await session.token(fresh=True)) == ["access-1"]
            assert endpoint.calls == 2

    @virtual
    async def test_unknown_lifetime_relies_on_rejections(self) -> None:
        endpoint = Endpoint(lifetime=None)
        async with a_session(endpoint) as session:
            await after_first_token(session)
            await asyncio.sleep(1e6)
            assert names(session.usable()) == ["access-1"]

    @virtual
    async def test_a_token_that_arrives_expired_is_one_of_unknown_lifetime(self) -> None:
        endpoint = Endpoint(lifetime=0)
        async with a_session(endpoint, policy=RefreshPolicy(background=True, min_interval=5)) as session:
            for _ in range(10):
                assert names(await session.token()) == ["access-1"]
            await asyncio.sleep(1e6)
            assert names(session.usable()) == ["access-1"]
            assert endpoint.calls == 1


class TestStorms:
    @virtual
    async def test_a_rejection_right_after_a_refresh_that_a_rejection_asked_for_is_relayed(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint) as session:
            await after_first_token(session)
            assert names(await replace(session, 1)) == ["access-2"]
            assert await replace(session, 2) is None
            assert endpoint.calls == 2
            await asyncio.sleep(5)
            assert names(await replace(session, 2)) == ["access-3"]

    @virtual
    async def test_a_new_refresh_token_starts_anew(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint) as session:
            await after_first_token(session)
            assert names(await replace(session, 1)) == ["access-2"]
            await session.sign_in(secret("login"), secret("fresh"), 600)
            assert names(await replace(session, 3)) == ["access-3"]

    @virtual
    async def test_a_refresh_that_expiry_asked_for_does_not_count(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint) as session:
            await after_first_token(session)
            assert names(await replace(session, 1)) == ["access-2"]
            assert endpoint.calls == 2


class TestStoredBeforeUsed:
    @virtual
    async def test_nobody_wakes_before_the_rotated_token_is_stored(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.gate.clear()
            parked = asyncio.create_task(session.token())
            await turns(100)
            assert endpoint.calls == 1
            assert session.usable() is None
            assert not parked.done()
            store.gate.set()
            await parked
            assert [saved.refresh_token for saved in store.saved] == [secret("refresh-1")]
            assert store.saved[0] == StoredSession(
                secret("refresh-1"), secret("access-1"), WALL + 1300, 1, LIFE, LIFE, (LIFE,), (LIFE,)
            )

    @virtual
    async def test_without_rotation_the_refresh_token_is_kept(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        endpoint.rotates = False
        async with a_session(endpoint, store) as session:
            await after_first_token(session)
            await replace(session, 1)
            assert endpoint.used == ["CANARY-refresh-0"] * 2
            assert store.saved[-1].refresh_token == secret("refresh-0")

    @virtual
    async def test_a_store_that_fails_costs_no_session_and_is_tried_until_it_works(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.failing = True
            with capture_logs() as logs:
                await after_first_token(session)
            failed = [line for line in logs if line["log_level"] == "error"]
            assert [(line["event"], line["to_be"]) for line in failed] == [
                ("store.failed", "marked"),
                ("store.failed", "written"),
            ]
            assert session.store_failed
            assert session.snapshot(now()).store_failed
            assert "store failed" in repr(session)
            assert await session.sign_in(secret("login"), secret("fresh"), 600)
            assert await session.sign_in(secret("refresh-1"), secret("access-1"), 300)
            assert names(await replace(session, 3)) == ["access-2"]
            assert endpoint.used == ["CANARY-refresh-0", "CANARY-refresh-1"]
            store.failing = False
            await asyncio.sleep(60)
            assert not session.snapshot(now()).store_failed
            assert [saved.generation for saved in store.saved] == [4]

    @virtual
    async def test_a_store_that_cannot_be_written_refuses_to_start(self) -> None:
        store = RecordingStore()
        store.failing = True
        session = Session("default", Endpoint(), store, QUIET, clock=now)
        with pytest.raises(StoreError):
            await session.start()


class TestDenied:
    @virtual
    async def test_everybody_is_logged_out_and_nothing_calls_again(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await after_first_token(session)
            endpoint.script = [Denied("invalid_grant")]
            with capture_logs() as logs:
                outcomes = await asyncio.gather(*(replace(session, 1) for _ in range(50)), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [LoggedOut] * 50
            assert {outcome.reason for outcome in outcomes if isinstance(outcome, LoggedOut)} == {"refresh_denied"}
            assert [line["event"] for line in logs].count("session.signed_out") == 1
            for _ in range(5):
                assert await session.token() is None
                with pytest.raises(LoggedOut, match="refused"):
                    await replace(session, 0)
                await asyncio.sleep(10)
            assert endpoint.calls == 2
            assert session.state is State.SIGNED_OUT
            assert store.session == StoredSession(
                None,
                generation=1,
                life=LIFE,
                configured=LIFE,
                roots=(LIFE,),
                spent=(LIFE,),
                signed_out="refresh_denied",
                refused=secret("refresh-1"),
                denials=(secret("refresh-1").fingerprint() + "@",),
            )

    @virtual
    async def test_a_new_refresh_token_brings_the_session_back(self) -> None:
        endpoint = Endpoint(Denied("invalid_grant"))
        async with a_session(endpoint) as session:
            with pytest.raises(LoggedOut):
                await session.token()
            with capture_logs() as logs:
                assert await session.sign_in(secret("login")) is True
            assert [line["event"] for line in logs].count("session.resumed") == 1
            assert names(await session.token()) == ["access-2"]
            assert endpoint.used[-1] == "CANARY-login"

    @virtual
    async def test_and_so_does_the_same_one_if_somebody_brings_it_again(self) -> None:
        endpoint = Endpoint(Denied("invalid_grant"))
        async with a_session(endpoint) as session:
            with pytest.raises(LoggedOut):
                await session.token()
            assert await session.sign_in(secret("refresh-0")) is True
            assert names(await session.token()) == ["access-2"]
            assert endpoint.used == ["CANARY-refresh-0"] * 2

    @virtual
    async def test_a_token_that_somebody_stores_brings_the_session_back_within_a_second(self) -> None:
        endpoint, store = Endpoint(Denied("invalid_grant")), RecordingStore()
        async with a_session(endpoint, store) as session:
            with pytest.raises(LoggedOut):
                await session.token()
            await turns()
            store.session = StoredSession(secret("login"), secret("access-login"), WALL + 2000, 1)
            before = store.loads
            assert names(await session.token()) == ["access-login"]
            assert store.loads == before + 1
            assert session.generation == 1
            assert endpoint.calls == 1

    @virtual
    async def test_while_signed_out_the_store_is_read_once_per_second(self) -> None:
        endpoint, store = Endpoint(Denied("invalid_grant")), RecordingStore()
        async with a_session(endpoint, store) as session:
            with pytest.raises(LoggedOut):
                await session.token()
            await turns()
            before = store.loads
            for _ in range(100):
                assert await session.token() is None
            assert store.loads == before + 1
            await asyncio.sleep(1)
            assert await session.token() is None
            assert store.loads == before + 2

    @virtual
    async def test_invalid_grant_while_the_store_holds_a_newer_token_adopts_it(self) -> None:
        endpoint, store = Endpoint(Denied("invalid_grant")), RecordingStore()
        endpoint.gate.clear()
        async with a_session(endpoint, store) as session:
            parked = asyncio.create_task(session.token())
            await turns()
            store.session = theirs(secret("other"), secret("access-other"), WALL + 2000, 7)
            endpoint.gate.set()
            assert names(await parked) == ["access-other"]
            assert (endpoint.calls, session.generation, session.state) == (1, 7, State.READY)

    @virtual
    async def test_and_tries_once_more_if_no_usable_access_token_came_with_it(self) -> None:
        endpoint, store = Endpoint(Denied("invalid_grant"), Denied("invalid_grant")), RecordingStore()
        endpoint.gate.clear()
        async with a_session(endpoint, store) as session:
            parked = asyncio.create_task(session.token())
            await turns()
            store.session = theirs(secret("other"), secret("dead"), WALL + 1, 7)
            endpoint.gate.set()
            with pytest.raises(LoggedOut):
                await parked
            assert endpoint.used == ["CANARY-refresh-0", "CANARY-other"]


class TestAnotherEndpointMeanwhile:
    """The configuration of the token endpoint changes while a call goes on; what refuses it then says nothing of it."""

    @virtual
    async def test_a_refusal_by_the_one_before_is_none_and_the_new_one_is_asked(self) -> None:
        before, after = Endpoint(Denied("invalid_grant")), Endpoint()
        before.gate.clear()
        async with a_session(before) as session:
            asking = asyncio.create_task(session.token())
            await turns()
            session.adjust(QUIET, after, "mended")
            before.gate.set()
            assert names(await asking) == ["access-1"]
            assert (before.calls, after.used) == (1, ["CANARY-refresh-0"])
            assert session.stats.logouts == 0

    @virtual
    async def test_a_refusal_by_the_same_one_is_one(self) -> None:
        before, after = Endpoint(Denied("invalid_grant")), Endpoint()
        before.gate.clear()
        async with a_session(before) as session:
            asking = asyncio.create_task(session.token())
            await turns()
            session.adjust(QUIET, after)
            before.gate.set()
            with pytest.raises(LoggedOut) as told:
                await asking
            assert told.value.reason == "refresh_denied"
            assert after.calls == 0

    @virtual
    async def test_a_configured_token_that_the_one_before_refused_is_tried_at_the_new_one(self) -> None:
        before, after = Endpoint(), Endpoint()
        async with a_session(before) as session:
            await after_first_token(session)
            before.script.append(Denied("invalid_grant"))
            before.gate.clear()
            await session.configure(secret("configured"))
            await asyncio.sleep(1)
            assert before.used[-1] == "CANARY-configured"
            session.adjust(QUIET, after, "mended")
            before.gate.set()
            await turns()
            assert after.used == ["CANARY-configured"]
            assert session.state is State.READY


class TestUnavailable:
    @virtual
    async def test_503_then_closed_then_429_then_fine_and_everybody_is_served(self) -> None:
        endpoint = Endpoint(
            Unavailable("status 503"), Unavailable("closed", broken=True), Unavailable("status 429", retry_after=3)
        )
        async with a_session(endpoint) as session:
            tokens = await asyncio.gather(*(session.token() for _ in range(30)))
            assert set(names(*tokens)) == {"access-4"}
            assert [round(time - 1000, 3) for time in endpoint.times] == [0, 0.1, 0.1, 3.1]

    @virtual
    async def test_a_broken_call_is_repeated_at_once_but_only_the_first(self) -> None:
        broken = Unavailable("reset", broken=True)
        endpoint = Endpoint(broken, broken)
        async with a_session(endpoint) as session:
            await session.token()
            assert [round(time - 1000, 3) for time in endpoint.times] == [0, 0, 0.2]
            assert set(endpoint.used) == {"CANARY-refresh-0"}

    @virtual
    async def test_down_for_longer_than_retry_for_is_a_logout_with_retry_after(self) -> None:
        endpoint = Endpoint(*[DOWN] * 100)
        async with a_session(endpoint) as session:
            parked = [asyncio.create_task(session.token()) for _ in range(10)]
            outcomes = await asyncio.gather(*parked, return_exceptions=True)
            assert {(type(o), getattr(o, "reason", 0), getattr(o, "retry_after", 0)) for o in outcomes} == {
                (LoggedOut, "refresh_unavailable", 1.0)
            }
            assert 1008 <= asyncio.get_running_loop().time() <= 1010
            assert session.state is State.COOLING

    @virtual
    async def test_or_a_503_if_that_is_wanted(self) -> None:
        endpoint = Endpoint(DOWN)
        policy = RefreshPolicy(background=False, retry_for=0, on_unavailable="unavailable")
        async with a_session(endpoint, policy=policy) as session:
            with pytest.raises(RefreshUnavailable) as refused:
                await session.token()
            assert refused.value.retry_after == 1

    @virtual
    async def test_while_it_cools_off_nothing_calls_and_then_the_next_request_does(self) -> None:
        endpoint = Endpoint(DOWN)
        async with a_session(endpoint, policy=RefreshPolicy(background=False, retry_for=0)) as session:
            for _ in range(10):
                with pytest.raises(LoggedOut, match="unavailable"):
                    await session.token()
            assert endpoint.calls == 1
            await asyncio.sleep(1)
            assert names(await session.token()) == ["access-2"]

    @virtual
    async def test_the_cool_off_grows_and_is_forgotten_after_success(self) -> None:
        endpoint = Endpoint(*[DOWN] * 7)
        async with a_session(endpoint, policy=RefreshPolicy(background=True, retry_for=0)) as session:
            await asyncio.sleep(100)
            gaps = [round(after - before) for before, after in zip(endpoint.times, endpoint.times[1:], strict=False)]
            assert gaps[:7] == [1, 2, 4, 8, 16, 30, 30]
            assert session.snapshot(now()).problem is None
            assert session.snapshot(now()).state == "fresh"

    @virtual
    async def test_retry_after_that_does_not_fit_is_the_cool_off(self) -> None:
        endpoint = Endpoint(Unavailable("status 429", retry_after=42.5))
        async with a_session(endpoint) as session:
            with pytest.raises(LoggedOut) as refused:
                await session.token()
            assert refused.value.retry_after == 43
            await asyncio.sleep(42)
            with pytest.raises(LoggedOut):
                await session.token()
            assert endpoint.calls == 1
            await asyncio.sleep(0.5)
            await session.token()
            assert endpoint.times == [1000, 1042.5]

    @virtual
    async def test_a_misconfiguration_is_answered_at_once_and_loud(self) -> None:
        endpoint = Endpoint(Unavailable("invalid_client", misconfigured=True))
        async with a_session(endpoint) as session:
            with capture_logs() as logs, pytest.raises(LoggedOut):
                await session.token()
            assert endpoint.calls == 1
            assert [line for line in logs if line["log_level"] == "error" and line["misconfigured"]]
            assert session.snapshot(now()).problem == "invalid_client"

    @virtual
    async def test_while_the_present_token_works_nobody_notices(self) -> None:
        endpoint = Endpoint(lifetime=100)
        async with a_session(endpoint, policy=RefreshPolicy(background=False, retry_for=0)) as session:
            await after_first_token(session)
            endpoint.script = [DOWN]
            await asyncio.sleep(80)
            for _ in range(10):
                assert names(await session.token()) == ["access-1"]
                await turns()
            assert endpoint.calls == 2
            await asyncio.sleep(1)
            assert names(await session.token()) == ["access-1"]
            await turns()
            assert names(await session.token()) == ["access-3"]

    @virtual
    async def test_a_bug_in_the_endpoint_settles_as_unavailable_and_shows_no_secret(self) -> None:
        endpoint = Endpoint(ValueError("CANARY in the text"))
        async with a_session(endpoint, policy=RefreshPolicy(background=False, retry_for=0)) as session:
            with capture_logs() as logs, pytest.raises(LoggedOut):
                await session.token()
            assert "CANARY" not in str(logs)
            assert next(line["at"] for line in logs if line["event"] == "refresh.failed").startswith("fakes.py:")
            await asyncio.sleep(1)
            assert names(await session.token()) == ["access-2"]

    @virtual
    async def test_a_bug_in_the_store_settles_as_unavailable_too(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.buggy = True
            with capture_logs() as logs, pytest.raises(LoggedOut):
                await session.token()
            assert [line["error"] for line in logs if line["event"] == "refresh.failed"] == ["KeyError"]
            store.buggy = False
            await asyncio.sleep(1)
            assert names(await session.token()) == ["access-1"]

    @virtual
    async def test_a_store_that_cannot_be_read_costs_no_session(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.unreadable = True
            assert names(await session.token()) == ["access-1"]

    @virtual
    async def test_a_store_that_another_process_holds_counts_as_unavailable(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.busy = True
            parked = asyncio.create_task(session.token())
            await asyncio.sleep(1)
            assert endpoint.calls == 0
            store.busy = False
            assert names(await parked) == ["access-1"]

    @virtual
    async def test_a_store_whose_lock_is_broken_costs_no_session(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.failing = store.unlockable = True
            assert names(await session.token()) == ["access-1"]
            assert session.snapshot(now()).store_failed

    @virtual
    async def test_a_lock_that_works_again_is_noticed_though_there_is_nothing_left_to_save(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.unlockable = True
            assert names(await session.token()) == ["access-1"]
            assert store.session is not None, "it is saved all the same"
            assert session.snapshot(now()).store_failed
            store.unlockable = False
            await asyncio.sleep(60)
            assert not session.snapshot(now()).store_failed
            assert endpoint.calls == 1


class TestTimedOutCall:
    @virtual
    async def test_a_slow_answer_within_retry_for_serves_everybody(self) -> None:
        endpoint = Endpoint()
        endpoint.gate.clear()
        async with a_session(endpoint) as session:
            parked = [asyncio.create_task(session.token()) for _ in range(5)]
            await asyncio.sleep(19)
            endpoint.gate.set()
            assert names(*await asyncio.gather(*parked)) == ["access-1"] * 5
            assert endpoint.calls == 1

    @virtual
    async def test_then_they_are_told_but_the_late_answer_still_counts(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        endpoint.gate.clear()
        async with a_session(endpoint, store) as session:
            with pytest.raises(LoggedOut, match="unavailable"):
                await session.token()
            assert asyncio.get_running_loop().time() == 1020
            assert session.state is State.LISTENING
            await asyncio.sleep(40)
            with pytest.raises(LoggedOut, match="unavailable"):
                await session.token()
            assert endpoint.calls == 1
            with capture_logs() as logs:
                endpoint.gate.set()
                await turns()
            assert [line["event"] for line in logs] == ["store.saved", "refresh.issued", "session.resumed"]
            assert names(session.usable()) == ["access-1"]
            assert store.session is not None
            assert store.session.refresh_token == secret("refresh-1")

    @virtual
    async def test_a_late_denial_signs_out(self) -> None:
        endpoint = Endpoint(Denied("invalid_grant"))
        endpoint.gate.clear()
        async with a_session(endpoint) as session:
            with pytest.raises(LoggedOut, match="unavailable"):
                await session.token()
            endpoint.gate.set()
            await turns()
            assert session.state is State.SIGNED_OUT

    @virtual
    async def test_a_late_failure_starts_the_cool_off(self) -> None:
        endpoint = Endpoint(DOWN)
        endpoint.gate.clear()
        async with a_session(endpoint) as session:
            with pytest.raises(LoggedOut):
                await session.token()
            await asyncio.sleep(30)
            endpoint.gate.set()
            await turns()
            with pytest.raises(LoggedOut):
                await session.token()
            await asyncio.sleep(1)
            assert names(await session.token()) == ["access-2"]

    @virtual
    async def test_after_60_s_more_it_is_hung_up_on(self) -> None:
        endpoint = Endpoint()
        endpoint.gate.clear()
        async with a_session(endpoint) as session:
            with pytest.raises(LoggedOut):
                await session.token()
            await asyncio.sleep(49)
            assert (endpoint.cancelled, endpoint.calls) == (0, 1)
            await asyncio.sleep(1.5)
            assert endpoint.cancelled == 1
            endpoint.gate.set()
            await asyncio.sleep(1)
            assert names(await session.token()) == ["access-2"]


class TestAdoption:
    @virtual
    async def test_what_another_process_stored_makes_the_call_unnecessary(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await after_first_token(session)
            store.session = theirs(secret("other"), secret("access-other"), WALL + 2000, 2)
            assert names(await replace(session, 1)) == ["access-other"]
            assert (endpoint.calls, session.generation, session.stats.adopted) == (1, 2, 1)

    @virtual
    async def test_its_token_is_newer_than_ours_whatever_it_counts(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store, policy=RefreshPolicy(background=False, min_interval=0)) as session:
            await after_first_token(session)
            await replace(session, 1)
            store.session = theirs(secret("other"), secret("access-other"), WALL + 2000, 1)
            assert names(await replace(session, 2)) == ["access-other"]
            assert session.generation == 3

    @virtual
    async def test_what_it_grew_from_is_remembered(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await after_first_token(session)
            store.session = theirs(secret("other"), None, None, 1, roots=("0123456789abcdef",))
            await replace(session, 1)
            assert store.session.roots == (LIFE, "0123456789abcdef")

    @virtual
    async def test_a_sign_out_while_the_store_is_read_wins(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            before = store.loads
            store.session = theirs(secret("other"), secret("access-other"), WALL + 2000, 1)
            parked = asyncio.create_task(session.token())
            while store.loads == before:
                await asyncio.sleep(0)
            await session.sign_out()
            with contextlib.suppress(LoggedOut):
                await parked
            await turns()
            assert (session.state, session.usable()) == (State.SIGNED_OUT, None)
            assert store.session is not None
            assert store.session.refresh_token is None

    @virtual
    async def test_an_expired_one_is_refreshed_with_the_other_refresh_token(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.session = theirs(secret("other"), secret("dead"), WALL, 9)
            assert names(await session.token()) == ["access-1"]
            assert endpoint.used == ["CANARY-other"]

    @virtual
    async def test_somebody_elses_logout_is_heeded(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await after_first_token(session)
            store.session = theirs(None, generation=1, signed_out="signed_out")
            with pytest.raises(LoggedOut) as out:
                await replace(session, 1)
            assert out.value.reason == "signed_out"
            assert endpoint.calls == 1

    @virtual
    async def test_somebody_elses_denial_is_not_ours(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await after_first_token(session)
            store.session = theirs(None, generation=1, signed_out="refresh_denied")
            assert names(await replace(session, 1)) == ["access-2"]

    @virtual
    async def test_an_offer_that_is_not_stored_yet_is_newer_than_any_news(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await after_first_token(session)
            store.failing = True
            await session.sign_in(secret("login"))
            store.session = theirs(secret("other"), secret("access-other"), WALL + 2000, 9)
            assert names(await session.token()) == ["access-2"]
            assert endpoint.used[-1] == "CANARY-login"
            store.failing = False
            await asyncio.sleep(60)
            assert store.session.refresh_token == secret("refresh-2")

    @virtual
    async def test_our_own_older_record_is_not_news(self) -> None:
        """The store could not be written: what it holds is older than what we have."""
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await after_first_token(session)
            store.failing = True
            assert names(await replace(session, 1)) == ["access-2"]
            await asyncio.sleep(400)
            assert names(await session.token()) == ["access-3"]
            assert endpoint.used[-1] == "CANARY-refresh-2"
            store.failing = False


class TestStart:
    FINGERPRINT = secret("refresh-0").fingerprint()

    @virtual
    async def test_with_nothing_there_is_no_session_and_requests_go_bare(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint, configured=None) as session:
            assert session.state is State.EMPTY
            assert await session.token() is None
            with pytest.raises(LoggedOut) as out:
                await replace(session, 0)
            assert out.value.reason == "no_session"
            assert session.snapshot(now()).reason == "no_session"
            assert endpoint.calls == 0

    @virtual
    async def test_the_stored_token_wins_if_it_grew_from_the_configured_one(self) -> None:
        store = RecordingStore(StoredSession(secret("grown"), None, None, 4, roots=(self.FINGERPRINT,)))
        endpoint = Endpoint()
        async with a_session(endpoint, store) as session:
            token = await session.token()
            assert endpoint.used == ["CANARY-grown"]
            assert token is not None
            assert token.generation == 5

    @virtual
    async def test_the_stored_access_token_is_used_while_it_lasts(self) -> None:
        store = RecordingStore(theirs(secret("grown"), secret("kept"), WALL + 1500, 4, roots=(LIFE,)))
        endpoint = Endpoint()
        async with a_session(endpoint, store) as session:
            assert names(session.usable()) == ["kept"]
            assert session.generation == 4
            assert endpoint.calls == 0

    @virtual
    async def test_a_configured_token_that_changed_is_tried_and_then_takes_its_place(self) -> None:
        store = RecordingStore(StoredSession(secret("old"), secret("old"), WALL + 9000, 4, roots=("0123456789abcdef",)))
        endpoint = Endpoint()
        endpoint.gate.clear()
        async with a_session(endpoint, store) as session:
            await turns(50)
            assert endpoint.used == ["CANARY-refresh-0"]
            assert names(await session.token()) == ["old"]
            endpoint.gate.set()
            await turns(50)
            token = await session.token()
            assert names(token) == ["access-1"]
            assert token is not None
            assert token.generation == 5
            assert store.session is not None
            assert store.session.roots == ("0123456789abcdef", self.FINGERPRINT)

    @virtual
    async def test_one_that_is_refused_costs_nothing_and_is_not_tried_again(self) -> None:
        store = RecordingStore(StoredSession(secret("old"), secret("old"), WALL + 9000, 4, roots=("0123456789abcdef",)))
        endpoint = Endpoint(Denied("invalid_grant"))
        for _ in range(3):
            async with a_session(endpoint, store) as session:
                await asyncio.sleep(100)
                assert names(await session.token()) == ["old"]
                assert session.stats.logouts == 0
        assert endpoint.used == ["CANARY-refresh-0"]

    @virtual
    async def test_without_a_configured_token_the_stored_is_used(self) -> None:
        store = RecordingStore(StoredSession(secret("stored"), roots=("0123456789abcdef",)))
        endpoint = Endpoint()
        async with a_session(endpoint, store, configured=None) as session:
            await session.token()
            assert endpoint.used == ["CANARY-stored"]
            assert store.session is not None
            assert store.session.roots == ("0123456789abcdef",)

    @virtual
    async def test_signed_out_stays_so_with_the_same_configured_token(self) -> None:
        store = RecordingStore(
            StoredSession(None, generation=4, roots=(self.FINGERPRINT,), signed_out="refresh_denied")
        )
        endpoint = Endpoint()
        async with a_session(endpoint, store) as session:
            assert await session.token() is None
            assert session.state is State.SIGNED_OUT
            assert endpoint.calls == 0
        async with a_session(endpoint, store, configured="another") as session:
            assert names(await session.token()) == ["access-1"]
            assert endpoint.used == ["CANARY-another"]


class TestOfferAndSignOut:
    @virtual
    async def test_the_token_in_use_is_not_news(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint) as session:
            await after_first_token(session)
            assert await session.sign_in(secret("refresh-1")) is False
            assert await session.configure(secret("refresh-0")) is False
            assert names(session.usable()) == ["access-1"]

    @virtual
    async def test_an_access_token_that_comes_along_is_used_and_stored(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store, configured=None) as session:
            assert await session.sign_in(secret("login"), secret("fresh"), 600)
            assert names(session.usable()) == ["fresh"]
            assert session.generation == 1
            assert endpoint.calls == 0
            assert tokens(store.session) == StoredSession(secret("login"), secret("fresh"), WALL + 1600, 1)
            assert store.session is not None
            assert store.session.life == secret("login").fingerprint()

    @virtual
    async def test_a_changed_configured_token_is_remembered_as_such(self) -> None:
        store = RecordingStore()
        async with a_session(Endpoint(), store) as session:
            await session.configure(secret("edited"))
            await turns(50)
            assert store.session is not None
            assert store.session.roots == (LIFE, secret("edited").fingerprint())

    @virtual
    async def test_a_sign_in_during_a_refresh_discards_its_result_and_ends_who_is_parked(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        endpoint.gate.clear()
        async with a_session(endpoint, store) as session:
            parked = asyncio.create_task(session.token())
            await turns()
            await session.sign_in(secret("login"))
            another = asyncio.create_task(session.token())
            await turns()
            assert endpoint.used == ["CANARY-refresh-0", "CANARY-login"]
            endpoint.gate.set()
            assert names(await another) == ["access-2"]
            with pytest.raises(LoggedOut) as out:
                await parked
            assert out.value.reason == "signed_out"
            await turns()
            assert names(session.usable()) == ["access-2"]
            assert store.session is not None
            assert store.session.refresh_token == secret("refresh-2")

    @virtual
    async def test_with_an_access_token_too(self) -> None:
        endpoint = Endpoint()
        endpoint.gate.clear()
        async with a_session(endpoint) as session:
            parked = asyncio.create_task(session.token())
            await turns()
            await session.sign_in(secret("login"), secret("fresh"), 600)
            with pytest.raises(LoggedOut):
                await parked
            endpoint.gate.set()
            await turns()
            assert names(session.usable()) == ["fresh"]
            assert endpoint.calls == 1

    @virtual
    async def test_the_same_token_offered_again_joins_the_call_that_still_runs(self) -> None:
        endpoint = Endpoint()
        endpoint.gate.clear()
        async with a_session(endpoint) as session:
            parked = asyncio.create_task(session.token())
            await turns()
            await session.sign_in(secret("login"), secret("fresh"), 600)
            with pytest.raises(LoggedOut):
                await parked
            await session.sign_in(secret("refresh-0"))
            again = asyncio.create_task(session.token())
            await turns()
            assert endpoint.calls == 1
            endpoint.gate.set()
            assert names(await again) == ["access-1"]

    @virtual
    async def test_a_sign_out_during_a_refresh_ends_everything(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        endpoint.gate.clear()
        async with a_session(endpoint, store) as session:
            parked = [asyncio.create_task(session.token()) for _ in range(3)]
            await turns()
            await session.sign_out()
            outcomes = await asyncio.gather(*parked, return_exceptions=True)
            assert [getattr(outcome, "reason", None) for outcome in outcomes] == ["signed_out"] * 3
            endpoint.gate.set()
            await turns()
            assert session.state is State.SIGNED_OUT
            assert await session.token() is None
            assert store.session is not None
            assert (store.session.refresh_token, store.session.signed_out) == (None, "signed_out")

    @virtual
    async def test_an_offer_while_the_rotated_token_is_being_saved_wins(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.gate.clear()
            parked = asyncio.create_task(session.token())
            await turns(100)
            offering = asyncio.create_task(session.sign_in(secret("login")))
            await turns()
            with capture_logs() as logs:
                store.gate.set()
                await offering
                with pytest.raises(LoggedOut):
                    await parked
                assert names(await session.token()) == ["access-2"]
            assert endpoint.used == ["CANARY-refresh-0", "CANARY-login"]
            assert "refresh.failed" not in [line["event"] for line in logs]
            assert store.session is not None
            assert store.session.refresh_token == secret("refresh-2")

    @virtual
    async def test_a_sign_out_while_the_rotated_token_is_being_saved_wins(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            store.gate.clear()
            parked = asyncio.create_task(session.token())
            await turns(100)
            leaving = asyncio.create_task(session.sign_out())
            await turns()
            with capture_logs() as logs:
                store.gate.set()
                await leaving
                with pytest.raises(LoggedOut):
                    await parked
            assert "refresh.failed" not in [line["event"] for line in logs]
            assert store.session is not None
            assert store.session.signed_out == "signed_out"


class TestBackground:
    POLICY = RefreshPolicy(background=True)

    @virtual
    async def test_the_first_token_is_fetched_before_anybody_asks(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint, policy=self.POLICY) as session:
            await turns()
            assert names(session.usable()) == ["access-1"]

    @virtual
    async def test_tokens_are_renewed_a_fifth_of_their_life_ahead(self) -> None:
        endpoint = Endpoint(lifetime=100)
        async with a_session(endpoint, policy=self.POLICY) as session:
            await asyncio.sleep(1000)
            assert [round(time - 1000) for time in endpoint.times] == list(range(0, 1000, 80))
            assert session.usable() is not None

    @virtual
    async def test_or_by_the_ahead_of_the_policy(self) -> None:
        endpoint = Endpoint(lifetime=3600)
        async with a_session(endpoint, policy=self.POLICY):
            await asyncio.sleep(3540.5)
            assert [round(time - 1000) for time in endpoint.times] == [0, 3540]

    @virtual
    async def test_a_laptop_that_woke_up_renews_within_a_minute(self) -> None:
        endpoint = Endpoint(lifetime=3600)
        async with a_session(endpoint, policy=self.POLICY):
            await asyncio.sleep(10)
            sleep_laptop(8 * 3600)
            await asyncio.sleep(60)
            assert endpoint.calls == 2

    @virtual
    async def test_the_session_comes_back_by_itself(self) -> None:
        endpoint = Endpoint(*[DOWN] * 3)
        async with a_session(endpoint, policy=RefreshPolicy(background=True, retry_for=0)) as session:
            await asyncio.sleep(1 + 2 + 4 + 0.1)
            assert names(session.usable()) == ["access-4"]

    @virtual
    async def test_also_when_a_token_of_unknown_lifetime_was_rejected(self) -> None:
        endpoint = Endpoint(lifetime=None)
        async with a_session(endpoint, policy=RefreshPolicy(background=True, retry_for=0)) as session:
            await after_first_token(session)
            endpoint.script = [DOWN]
            with pytest.raises(LoggedOut):
                await replace(session, 1)
            await asyncio.sleep(1.1)
            assert names(session.usable()) == ["access-3"]

    @virtual
    async def test_a_signed_out_session_leaves_the_endpoint_alone(self) -> None:
        endpoint = Endpoint()
        async with a_session(endpoint, policy=self.POLICY) as session:
            await turns()
            await session.sign_out()
            await asyncio.sleep(10_000)
            assert endpoint.calls == 1


class TestClosing:
    @virtual
    async def test_parked_requests_are_told_and_the_refresh_in_flight_is_saved(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        endpoint.gate.clear()
        async with a_session(endpoint, store) as session:
            parked = asyncio.create_task(session.token())
            await turns()
            closing = asyncio.create_task(session.close())
            with pytest.raises(Draining):
                await parked
            with pytest.raises(Draining):
                await session.token()
            endpoint.gate.set()
            await closing
            assert store.session is not None
            assert store.session.refresh_token == secret("refresh-1")

    @virtual
    async def test_a_call_that_does_not_end_is_hung_up_on_after_the_grace(self) -> None:
        endpoint = Endpoint()
        endpoint.gate.clear()
        async with a_session(endpoint, policy=RefreshPolicy()) as session:
            await turns()
            await session.close(grace=2)
            assert asyncio.get_running_loop().time() == 1002
            assert endpoint.cancelled == 1

    @virtual
    async def test_retries_end_at_once(self) -> None:
        endpoint = Endpoint(*[Unavailable("busy", retry_after=5)] * 9)
        async with a_session(endpoint, policy=RefreshPolicy()) as session:
            await turns()
            await session.close()
            assert (endpoint.calls, asyncio.get_running_loop().time()) == (1, 1000)


@virtual
async def test_nothing_shows_a_secret() -> None:
    endpoint, store = Endpoint(DOWN), RecordingStore()
    with capture_logs() as logs:
        async with a_session(endpoint, store) as session:
            await session.token()
            shown = f"{session!r} {session.snapshot(now())} {session.stats} {vars(session)}"
            endpoint.script = [Denied("invalid_grant")]
            with pytest.raises(LoggedOut) as out:
                await replace(session, 1)
            shown += f"{session!r} {out.value!r} {vars(session)}"
    assert "CANARY" not in shown + str(logs)
    assert {(line["credential"], isinstance(line["generation"], int)) for line in logs} == {("default", True)}


@virtual
async def test_repr_tells_the_story() -> None:
    endpoint = Endpoint(lifetime=100)
    async with a_session(endpoint) as session:
        await after_first_token(session)
        endpoint.gate.clear()
        parked = asyncio.create_task(replace(session, 1))
        await turns()
        assert repr(session) == (
            "<Session default refreshing: generation 1, 1 parked, expires in 100.0 s, "
            "<Refresh rejected, attempt 1, asking>>"
        )
        endpoint.gate.set()
        await parked
