"""Two daemons on a disk that fails: one of them goes on, or none; never do both use the same refresh token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from reauth_proxy.errors import StoreSuperseded
from reauth_proxy.session.locking import Locking
from tests.session.fakes import RecordingStore
from tests.session.test_two_lives import asked, in_use
from tests.session.twins.daemons import Daemon
from tests.session.twins.pair import Pair
from tests.session.twins.shared import Trouble

WAITED = "refresh_timeout"
BLIND: list[Trouble] = ["unlockable", "unreadable", "hung"]


@pytest.fixture
def make() -> Iterator[Callable[..., Pair]]:
    pairs: list[Pair] = []

    def made(**settings: float) -> Pair:
        pair = Pair(lifetime=600.0, **settings)  # type: ignore[arg-type]
        pairs.append(pair)
        pair.start(pair.server.sign_in("ann").current)
        in_use(pair)
        return pair

    yield made
    for pair in pairs:
        assert pair.server.faults == []
        assert pair.server.repeated == 0
        pair.end()


def revoked(pair: Pair) -> None:
    """No access token is any good any more."""
    for family in pair.server.families:
        family.access.clear()


def well_again(pair: Pair) -> None:
    """The disk works: then both go on with one session."""
    ann = pair.a.family or pair.b.family
    pair.store.fail("")
    pair.world.pass_time(60)
    assert [asked(pair, daemon) for daemon in pair.daemons] == ["accepted", "accepted"]
    assert pair.a.family is pair.b.family is pair.stored is ann


def alone(pair: Pair) -> Daemon:
    """Of the two, A is left."""
    pair.b.crash()
    return pair.a


async def test_the_store_is_told_of_the_errors_of_whoever_has_the_lock_and_of_no_others() -> None:
    left: list[type[BaseException] | None] = []

    class Watched(RecordingStore):
        @asynccontextmanager
        async def lock(self) -> AsyncIterator[None]:
            try:
                yield
            except BaseException as error:
                left.append(type(error))
                raise
            left.append(None)

    locking = Locking(Watched(), lambda: False)
    try:
        raise KeyError("of somebody else")
    except KeyError:
        async with locking.held():
            pass
    with pytest.raises(StoreSuperseded):
        async with locking.held():
            raise StoreSuperseded("lost")
    assert left == [None, StoreSuperseded]


def another_starts(pair: Pair, trouble: Trouble) -> asyncio.Task[str]:
    """A alone was issued what it cannot save, and is stopped; the disk is well again, and B starts: it is asked."""
    a = alone(pair)
    pair.store.fail(trouble)
    revoked(pair)
    assert asked(pair, a) == "accepted"
    assert a.process is not None
    a.process.freeze()
    pair.store.fail("")
    assert pair.b.start()
    return pair.b.request()


class TestWhatCannotBeSaved:
    """Whoever was issued it keeps the lock."""

    def test_is_used_by_who_was_issued_it_and_the_other_one_waits(self, make: Callable[..., Pair]) -> None:
        pair = make()
        for _ in range(3):
            pair.store.fail("full")
            revoked(pair)
            assert asked(pair, pair.a) == "accepted"
            assert asked(pair, pair.b) == WAITED
            revoked(pair)
            assert asked(pair, pair.a) == "accepted", "again and again"
            well_again(pair)

    def test_is_lost_with_its_process_and_the_other_one_asks_again(self, make: Callable[..., Pair]) -> None:
        pair = make(lenient=True)
        pair.store.fail("full")
        revoked(pair)
        assert asked(pair, pair.a) == "accepted"
        pair.a.crash()
        assert asked(pair, pair.b) == "accepted"
        pair.server.repeated -= 1  # The server, which is lenient, was asked for a lost answer once more.
        pair.store.fail("")
        assert pair.a.start()
        well_again(pair)

    def test_is_saved_before_a_daemon_that_starts_uses_what_is_there(self, make: Callable[..., Pair]) -> None:
        pair = make()
        request = another_starts(pair, "full")
        pair.world.settle()
        assert not request.done()
        pair.a.process.thaw()  # type: ignore[union-attr]
        well_again(pair)
        assert request.result() == "accepted"

    def test_is_let_go_of_where_somebody_signs_in(self, make: Callable[..., Pair]) -> None:
        pair = make()
        pair.store.fail("full")
        revoked(pair)
        assert asked(pair, pair.a) == "accepted"
        pair.store.trouble = ""  # and nobody is told
        bob = pair.server.sign_in("bob")
        pair.b.sign_in(bob.current, None)
        assert asked(pair, pair.b) == "accepted"
        assert pair.a.family is pair.b.family is bob
        well_again(pair)


class TestADiskThatNobodyCanAsk:
    @pytest.mark.parametrize("trouble", BLIND)
    def test_keeps_nobody_from_going_on_who_is_alone(self, make: Callable[..., Pair], trouble: Trouble) -> None:
        pair = make()
        a = alone(pair)
        pair.store.fail(trouble)
        for _ in range(3):
            revoked(pair)
            assert asked(pair, a) == "accepted"
        pair.store.fail("")
        pair.world.settle()
        assert pair.b.start()
        well_again(pair)

    @pytest.mark.parametrize("trouble", BLIND)
    def test_lets_no_daemon_use_what_another_one_may_have_used(
        self, make: Callable[..., Pair], trouble: Trouble
    ) -> None:
        pair = make()
        for stopped, other in (pair.daemons, pair.daemons[::-1]):
            assert stopped.process is not None
            stopped.process.freeze()
            revoked(pair)
            assert asked(pair, other) == "accepted"
            pair.store.fail(trouble)
            pair.world.settle()
            stopped.process.thaw()
            assert asked(pair, stopped) != "accepted" or trouble == "unlockable", "it could read that"
            assert asked(pair, other) == "accepted"
            well_again(pair)

    def test_lets_a_daemon_begin_to_refresh_once_what_is_owed_is_there(self, make: Callable[..., Pair]) -> None:
        pair = make()
        request = another_starts(pair, "hung")
        pair.world.pass_time(20)
        assert not request.done()
        pair.a.process.thaw()  # type: ignore[union-attr]
        pair.world.pass_time(5)
        assert request.result() == "accepted"
        well_again(pair)

    def test_is_looked_at_again_so_that_others_need_not_wait_for_a_refresh(self, make: Callable[..., Pair]) -> None:
        pair = make()
        a = alone(pair)
        pair.store.fail("hung")
        revoked(pair)
        pair.server.pace = "calls wait"
        a.request()
        pair.world.settle()
        pair.server.turn_away(pair.server.calls[0], None)
        pair.world.settle()
        assert pair.store.alone is a.process
        pair.store.trouble = ""  # and nobody is told
        pair.server.pace = "at once"
        pair.world.pass_time(40)
        assert pair.store.alone is None
        assert pair.b.start()
        well_again(pair)

    def test_does_so_too_where_nobody_else_is_left(self, make: Callable[..., Pair]) -> None:
        pair = make()
        pair.store.fail("hung")
        revoked(pair)
        assert asked(pair, pair.a) == "refresh_unavailable"
        pair.b.crash()
        pair.world.pass_time(60)
        assert asked(pair, pair.a) == "accepted"
        pair.store.fail("")
        pair.world.settle()
        assert pair.b.start()
        well_again(pair)
