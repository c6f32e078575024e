"""What calls bring whose refresh is no more, at each turn of the event loop; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from reauth_proxy.session.refresher import Session
from reauth_proxy.session.tokens import Denied, Secret, StoredSession, Unavailable
from tests.session.fakes import Endpoint, RecordingStore, a_session, names, secret, turns, virtual

#: A 2xx with a refresh token, and no access token where one was looked for.
HALF = Unavailable("no access token", refresh_token=secret("half"), answered=True)
BOB = secret("bob")
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

    @virtual
    async def test_is_not_asked_for_again_once_somebody_else_has_signed_in(self) -> None:
        endpoint, store, discarded = Endpoint(), RecordingStore(), Discarded()
        async with a_session(endpoint, store, discard=discarded) as session:
            await asking(session, endpoint, BOB)
            await session.sign_in(secret("eve"))
            endpoint.script.append(HALF)
            endpoint.gate.set()
            await asyncio.sleep(1)
            assert discarded == []
            assert BOB.fingerprint() in stored(store).roots
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
