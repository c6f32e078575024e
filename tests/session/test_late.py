"""What calls bring whose refresh is no more, at each turn of the event loop; in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from reauth_proxy.control import readiness
from reauth_proxy.errors import LoggedOut
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import RefreshPolicy, State
from reauth_proxy.session.tokens import Denied, Secret, StoredSession, Unavailable
from tests.session.fakes import Endpoint, RecordingStore, a_session, names, now, secret, turns, virtual

#: A 2xx with a refresh token, and no access token where one was looked for.
HALF = Unavailable("no access token", refresh_token=secret("half"), answered=True)
BOB = secret("bob")
UNREADABLE = Unavailable("nothing readable", answered=True)
#: Turns of the event loop after the answer has come; each may be the one in which something is overlooked.
TURNS = range(14)


class Discarded(list[tuple[Secret | None, Secret | None]]):
    def __call__(self, refresh_token: Secret | None, access_token: Secret | None) -> None:
        self.append((refresh_token, access_token))


def stored(store: RecordingStore) -> StoredSession:
    assert store.session is not None
    return store.session


async def asking(session: Session, endpoint: Endpoint, used: Secret) -> None:
    """Have a call made with a refresh token of the configuration, which is not answered yet."""
    assert names(await session.token()) == ["access-1"]
    endpoint.gate.clear()
    await session.configure(used)
    await turns()
    assert endpoint.running == [used.reveal()]


async def many(session: Session) -> None:
    """A request comes at each turn."""
    requests = set()
    for _ in range(100):
        requests.add(asyncio.create_task(session.token()))
        await asyncio.sleep(0)
    await asyncio.wait(requests)
    for request in requests:
        request.exception()  # Those of the life before are told that it is over.


class TestWhoeverBringsWhatACallIsUsing:
    """Gets what the call brings; a second call would be taken for a theft."""

    @pytest.mark.parametrize("turn", TURNS)
    @pytest.mark.parametrize("with_access", [False, True])
    def test_here(self, turn: int, with_access: bool) -> None:
        async def sign_in(session: Session, store: RecordingStore) -> bool:
            await session.sign_in(BOB, secret("brought") if with_access else None, 600)
            return False

        self._try(turn, sign_in)

    @pytest.mark.parametrize("turn", TURNS)
    @pytest.mark.parametrize("with_access", [False, True])
    def test_elsewhere(self, turn: int, with_access: bool) -> None:
        async def sign_in(session: Session, store: RecordingStore) -> bool:
            access = secret("brought") if with_access else None
            mark = BOB.fingerprint()
            store.put(StoredSession(BOB, access, generation=2, life=mark, roots=(*stored(store).roots, mark)))
            await turns()
            return False

        self._try(turn, sign_in)

    @pytest.mark.parametrize("turn", TURNS)
    def test_after_a_sign_out(self, turn: int) -> None:
        async def sign_in(session: Session, store: RecordingStore) -> bool:
            await session.sign_out()
            in_force = session._book.lineage.has_spent(BOB)
            await session.sign_in(BOB)
            return in_force

        self._try(turn, sign_in)

    @virtual
    async def _try(self, turn: int, sign_in: Callable[[Session, RecordingStore], Awaitable[bool]]) -> None:
        endpoint, store, discarded = Endpoint(), RecordingStore(), Discarded()
        async with a_session(endpoint, store, discard=discarded) as session:
            await asking(session, endpoint, BOB)
            endpoint.gate.set()
            await turns(turn)
            requests = asyncio.create_task(many(session))
            ended = await sign_in(session, store)  # What the call brought was in force, and was signed out of.
            await asyncio.sleep(30)
            requests.cancel()
            ended = ended or bool(discarded)
            assert names(await session.token()) != ["access-1"]
            await session.renew()
            assert endpoint.used.count(BOB.reveal()) == (2 if ended else 1)
            assert session._book.lineage.has_spent(BOB)
            assert stored(store).refresh_token == session._book.refresh_token

    @pytest.mark.parametrize("turn", TURNS)
    @pytest.mark.parametrize("reply", [None, HALF, UNREADABLE], ids=["whole", "half", "unreadable"])
    @virtual
    async def test_elsewhere_so_many_turns_before_the_answer(self, turn: int, reply: Unavailable | None) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await asking(session, endpoint, BOB)
            endpoint.script += [reply] if reply is not None else []
            mark = BOB.fingerprint()
            store.put(StoredSession(BOB, generation=2, life=mark, roots=(*stored(store).roots, mark)))
            await turns(turn)
            endpoint.gate.set()
            await asyncio.sleep(100)
            assert endpoint.used.count(BOB.reveal()) == 1
            if reply is not UNREADABLE:
                assert session._book.refresh_token == stored(store).refresh_token != BOB


async def behind_the_lock(
    session: Session, endpoint: Endpoint, store: RecordingStore, reply: Unavailable | None = None
) -> None:
    """Somebody brings what a call is using, which this will answer, and another process holds the lock."""
    await asking(session, endpoint, BOB)
    store.busy = True
    await session.sign_in(BOB)
    endpoint.script += [reply] if reply is not None else []


class TestWhatNobodyCouldHeedAtOnce:
    """For want of the lock."""

    @pytest.mark.parametrize("reply", [None, HALF], ids=["whole", "half"])
    @virtual
    async def test_is_there_for_the_next_refresh(self, reply: Unavailable | None) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await behind_the_lock(session, endpoint, store, reply)
            endpoint.gate.set()
            await asyncio.sleep(60)
            assert stored(store).refresh_token == BOB
            store.busy = False
            await asyncio.sleep(60)
            request = asyncio.create_task(session.token())
            await asyncio.sleep(10)
            request.exception()
            assert endpoint.used.count(BOB.reveal()) == 1
            assert stored(store).refresh_token == (secret("refresh-2") if reply is None else secret("half"))

    @virtual
    async def test_is_saved_at_once_though_the_refresh_was_given_up_before_it_came(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await behind_the_lock(session, endpoint, store)
            await asyncio.sleep(40)
            assert session.state is State.COOLING
            store.busy = False
            endpoint.gate.set()
            await asyncio.sleep(1)
            assert stored(store).refresh_token == secret("refresh-2")
            assert endpoint.used.count(BOB.reveal()) == 1

    @virtual
    async def test_is_revoked_when_somebody_signs_out(self) -> None:
        endpoint, store, discarded = Endpoint(), RecordingStore(), Discarded()
        async with a_session(endpoint, store, discard=discarded) as session:
            await behind_the_lock(session, endpoint, store)
            endpoint.gate.set()
            await asyncio.sleep(1)
            await session.sign_out()
            await asyncio.sleep(1)
            assert discarded == [(secret("refresh-2"), secret("access-2"))]

    @pytest.mark.parametrize("reply", [None, HALF], ids=["whole", "half"])
    @virtual
    async def test_is_saved_at_the_end(self, reply: Unavailable | None) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await behind_the_lock(session, endpoint, store, reply)
            endpoint.gate.set()
            await turns()
            closing = asyncio.create_task(session.close())
            await turns(2)
            store.busy = False
            await closing
        assert stored(store).refresh_token == (secret("refresh-2") if reply is None else secret("half"))

    @pytest.mark.parametrize("reply", [None, HALF], ids=["whole", "half"])
    @virtual
    async def test_is_there_for_whoever_comes_back_to_it(self, reply: Unavailable | None) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await asking(session, endpoint, BOB)
            await session.sign_in(secret("eve"))
            endpoint.script += [reply] if reply is not None else []
            endpoint.gate.set()
            await asyncio.sleep(1)
            assert session._book.refresh_token == secret("eve")
            await session.sign_in(BOB)
            await asyncio.sleep(1)
            assert endpoint.used.count(BOB.reveal()) == 1
            assert stored(store).refresh_token == (secret("refresh-2") if reply is None else secret("half"))

    @virtual
    async def test_only_so_many_answers_are_kept_for_whoever_may_come_back(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await session.token()
            for number in range(40):
                endpoint.gate.clear()
                await session.sign_in(secret(f"guest-{number}"))
                request = asyncio.create_task(session.token())
                await turns()
                await session.sign_in(secret("eve"))
                endpoint.gate.set()
                await turns()
                request.exception()
            assert len(session._calls.all()) <= 17


@virtual
async def test_what_comes_after_a_sign_out_is_revoked_whoever_has_signed_in_since() -> None:
    endpoint, store, discarded = Endpoint(), RecordingStore(), Discarded()
    async with a_session(endpoint, store, discard=discarded) as session:
        await asking(session, endpoint, BOB)
        await session.sign_out()
        await session.sign_in(secret("eve"))
        request = asyncio.create_task(session.token())
        await turns()
        await session.sign_in(secret("joe"))
        endpoint.gate.set()
        await asyncio.sleep(1)
        request.exception()
        assert discarded == [(secret("refresh-2"), secret("access-2"))], "Bob's, and not Eve's"
        assert await session.token() is not None


class SlowToLetGo(RecordingStore):
    """Its lock takes a moment to be let go of."""

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        async with super().lock():
            yield
            await asyncio.sleep(0.05)


@virtual
async def test_a_refresh_token_never_takes_the_place_of_an_access_token() -> None:
    """Somebody signs out of what only this daemon has, and in with it again before all is done."""
    endpoint, store, discarded = Endpoint(), SlowToLetGo(), Discarded()
    async with a_session(endpoint, store, discard=discarded) as session:
        await session.token()
        store.failing = True
        await session.sign_in(BOB)
        store.session = replace(stored(store), refresh_token=None, access_token=None, signed_out="signed_out")
        store.failing = False
        request = asyncio.create_task(session.token())
        while session._book.refresh_token is not None:
            await asyncio.sleep(0.001)
        await session.sign_in(BOB)
        await asyncio.sleep(1)
        request.exception()
        assert names(await session.token()) == ["access-2"]
        assert endpoint.used[1:] == [BOB.reveal()]
        assert discarded == [], "it is in force again"


class TestAnAnswerOfWhichNothingCanBeRead:
    """The session rests: nothing is repeated by itself."""

    @virtual
    async def test_a_repetition_that_comes_to_nothing_changes_nothing(self) -> None:
        endpoint, store, policy = Endpoint(UNREADABLE), RecordingStore(), RefreshPolicy(retry_for=0.0)
        async with a_session(endpoint, store, policy) as session:
            await asyncio.sleep(300)
            assert endpoint.calls == 1
            endpoint.script += [Unavailable("503")] * 50
            with pytest.raises(LoggedOut):
                await session.token()
            await asyncio.sleep(300)
            assert endpoint.calls == 2
        async with a_session(endpoint, store, policy, configured=None):
            await asyncio.sleep(300)
            assert endpoint.calls == 2

    @virtual
    async def test_who_signs_out_and_in_again_wants_it_tried_though_the_store_fails(self) -> None:
        endpoint, store = Endpoint(UNREADABLE), RecordingStore()
        async with a_session(endpoint, store, RefreshPolicy()) as session:
            await asyncio.sleep(300)
            store.failing = True
            await session.sign_out()
            await session.sign_in(secret("refresh-0"))
            await asyncio.sleep(100)
            assert endpoint.calls >= 2
            assert session.snapshot(now()).usable

    @virtual
    async def test_one_that_came_for_nobody_is_not_repeated_at_a_restart(self) -> None:
        endpoint, store = Endpoint(), RecordingStore()
        async with a_session(endpoint, store) as session:
            await asking(session, endpoint, BOB)
            store.put(StoredSession(secret("eve"), life=secret("eve").fingerprint()))
            await turns()
            endpoint.script.append(UNREADABLE)
            endpoint.gate.set()
            await asyncio.sleep(1)
        async with a_session(endpoint, store, configured="bob") as session:
            await asyncio.sleep(600)
            assert endpoint.used.count(BOB.reveal()) == 1
            assert stored(store).life == secret("eve").fingerprint()

    @pytest.mark.parametrize("restarted", [False, True])
    @pytest.mark.parametrize("with_access", [False, True])
    @virtual
    async def test_who_brings_the_same_refresh_token_again_wants_it_tried(
        self, restarted: bool, with_access: bool
    ) -> None:
        endpoint, store, policy = Endpoint(UNREADABLE), RecordingStore(), RefreshPolicy()
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(a_session(endpoint, store, policy))
            await asyncio.sleep(300)
            if restarted:
                await session.close()
                session = await stack.enter_async_context(a_session(endpoint, store, policy, configured=None))
            assert endpoint.calls == 1
            assert await session.sign_in(secret("refresh-0"), secret("brought") if with_access else None, 60)
            await asyncio.sleep(100)
            assert endpoint.calls >= 2
            assert (session.rests, session.snapshot(now()).usable) == (False, True)

    @virtual
    async def test_is_told_also_after_a_restart(self) -> None:
        endpoint, store, policy = Endpoint(UNREADABLE), RecordingStore(), RefreshPolicy()
        async with a_session(endpoint, store, policy) as session:
            await asyncio.sleep(300)
            assert readiness.problem(session.snapshot(now())) is not None
        async with a_session(endpoint, store, policy, configured=None) as session:
            await asyncio.sleep(300)
            assert "only a request asks again" in (readiness.problem(session.snapshot(now())) or "")
            await session.token()
            assert readiness.problem(session.snapshot(now())) is None


class TestAHalfAnswer:
    @virtual
    async def test_is_revoked_after_a_sign_out_and_its_refresh_token_is_remembered(self) -> None:
        endpoint, store, discarded = Endpoint(), RecordingStore(), Discarded()
        async with a_session(endpoint, store, discard=discarded) as session:
            await asking(session, endpoint, BOB)
            await session.sign_out()
            endpoint.script.append(HALF)
            endpoint.gate.set()
            await asyncio.sleep(1)
            assert discarded == [(secret("half"), None)]
            assert BOB.fingerprint() in stored(store).roots
            await session.configure(BOB)
            await asyncio.sleep(60)
            assert endpoint.used.count(BOB.reveal()) == 1

    @pytest.mark.parametrize("reply", [HALF, UNREADABLE], ids=["half", "unreadable"])
    @virtual
    async def test_is_not_asked_for_again_once_somebody_else_has_signed_in(self, reply: Unavailable) -> None:
        endpoint, store, discarded = Endpoint(), RecordingStore(), Discarded()
        async with a_session(endpoint, store, discard=discarded) as session:
            await asking(session, endpoint, BOB)
            await session.sign_in(secret("eve"))
            endpoint.script.append(reply)
            endpoint.gate.set()
            await asyncio.sleep(1)
            assert discarded == []
            await session.configure(BOB)
            await asyncio.sleep(60)
            assert endpoint.used.count(BOB.reveal()) == 1


@virtual
async def test_a_denial_that_comes_late_is_remembered_by_the_store_as_well() -> None:
    endpoint, store = Endpoint(), RecordingStore()
    async with a_session(endpoint, store) as session:
        await asking(session, endpoint, BOB)
        await session.sign_in(secret("eve"))
        endpoint.script.append(Denied("invalid_grant"))
        endpoint.gate.set()
        await asyncio.sleep(1)
        assert f"{BOB.fingerprint()}@" in stored(store).denials
        assert stored(store).refresh_token == secret("eve")
