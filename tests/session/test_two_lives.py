"""Two daemons with one store: what belongs to one life never serves another, and no life is lost for the other's sake.

Each sequence is the shortest of those that :mod:`tests.session.test_two_daemons` found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
import structlog

from reauth_proxy.session.tokens import Secret
from tests.session.twins.daemons import Commands, Daemon
from tests.session.twins.families import Family
from tests.session.twins.pair import Pair

TYPO = Secret("CANARY-typo")


@pytest.fixture
def make() -> Iterator[Callable[..., Pair]]:
    pairs: list[Pair] = []

    def made(configured: bool = True, **settings: float) -> Pair:
        pair = Pair(**settings)  # type: ignore[arg-type]
        pairs.append(pair)
        pair.start(pair.server.sign_in("ann").current if configured else None)
        return pair

    yield made
    for pair in pairs:
        assert pair.server.faults == []
        pair.end()


def in_use(pair: Pair) -> Family:
    """A request comes at each, so that both have an access token; return the family."""
    for daemon in pair.daemons:
        assert asked(pair, daemon) == "accepted"
    family = pair.stored
    assert family is not None
    return family


def asked(pair: Pair, daemon: Daemon) -> str:
    """Return what becomes of a request within a minute."""
    task = daemon.request()
    pair.world.pass_time(60)
    return task.result()


def answer(pair: Pair) -> None:
    """The token endpoint answers whoever waits for it."""
    for call in list(pair.server.calls):
        pair.server.answer(call)
    pair.world.settle()


def trying(pair: Pair, pace: Literal["answers wait", "calls wait"]) -> tuple[Family, Secret]:
    """Both are in use, and A tries a token of Bob's that is configured: the call is under way."""
    in_use(pair)
    pair.server.pace = pace
    bob = pair.server.sign_in("bob")
    token = bob.current
    pair.a.configure(token)
    return bob, token


class TestTrials:
    def test_who_waits_for_a_token_gets_none_of_the_life_that_a_trial_begins(self, make: Callable[..., Pair]) -> None:
        pair = make()
        pair.server.pace = "calls wait"
        bob = pair.server.sign_in("bob")
        pair.a.configure(bob.current)
        request = pair.a.request()
        pair.world.settle()
        answer(pair)
        assert request.result() == "signed_out"
        assert pair.a.family is pair.b.family is bob

    def test_what_is_tried_begins_no_life_once_the_configuration_was_put_back(self, make: Callable[..., Pair]) -> None:
        pair = make()
        ann = in_use(pair)
        configured = pair.a.configured
        pair.world.pass_time(100)
        pair.server.pace = "calls wait"
        bob = pair.server.sign_in("bob")
        pair.a.configure(bob.current)
        request = pair.a.request()
        pair.world.settle()
        pair.a.configure(configured)
        answer(pair)
        answer(pair)
        assert request.result() == "accepted"
        assert pair.a.family is pair.b.family is ann

    def test_a_refusal_does_not_take_away_what_is_to_be_tried_next(self, make: Callable[..., Pair]) -> None:
        pair = make()
        in_use(pair)
        pair.server.pace = "calls wait"
        pair.a.configure(TYPO)
        bob = pair.server.sign_in("bob")
        pair.a.configure(bob.current)
        answer(pair)
        answer(pair)
        assert pair.a.family is pair.b.family is bob

    def test_what_was_issued_for_a_trial_counts_though_the_lock_was_lost(self, make: Callable[..., Pair]) -> None:
        pair = make()
        bob, _ = trying(pair, "answers wait")
        assert pair.a.process is not None
        pair.a.process.freeze()
        pair.server.pace = "at once"
        pair.world.pass_time(100)
        assert asked(pair, pair.b) == "accepted"
        pair.a.process.thaw()
        answer(pair)
        pair.world.pass_time(1)
        assert pair.a.family is pair.b.family is bob
        assert asked(pair, pair.a) == "accepted"
        assert pair.server.repeated == 0

    def test_a_sign_in_takes_the_place_of_what_is_still_to_be_tried(self, make: Callable[..., Pair]) -> None:
        pair = make()
        in_use(pair)
        pair.server.pace = "calls wait"
        pair.a.configure(pair.server.sign_in("ann").current)
        pair.server.turn_away(pair.server.calls[0], None)
        pair.world.settle()
        bob = pair.server.sign_in("bob")
        pair.a.sign_in(bob.current, pair.server.access_token(bob))
        pair.server.pace = "at once"
        pair.world.pass_time(400)
        assert pair.a.family is pair.b.family is bob
        assert asked(pair, pair.a) == "accepted"


class TestDenials:
    def test_a_denial_by_a_configuration_that_is_no_more_ends_nothing(self, make: Callable[..., Pair]) -> None:
        pair = make()
        ann = in_use(pair)
        pair.world.pass_time(100)
        pair.a.adjust(right=False)
        pair.server.pace = "calls wait"
        request = pair.a.request()
        pair.world.settle()
        pair.a.adjust(right=True)
        pair.server.pace = "at once"
        answer(pair)
        assert request.result() == "accepted"
        assert pair.a.family is pair.b.family is pair.stored is ann

    def test_a_denial_that_a_sign_in_overtakes_is_no_error(self, make: Callable[..., Pair]) -> None:
        pair = make()
        ann = in_use(pair)
        pair.server.revoke_family(ann)
        pair.world.pass_time(100)
        pair.server.pace = "calls wait"
        request = pair.a.request()
        pair.world.settle()
        assert pair.a.access is not None
        pair.a.access.slow = "before"
        answer(pair)
        pair.a.access.go_on()  # it has read the store once more, and saves the denial next
        pair.world.settle()
        assert request.result() == "refresh_denied"
        bob = pair.server.sign_in("bob")
        with structlog.testing.capture_logs() as logs:
            login(pair, bob)
            pair.a.access.slow = ""
            pair.a.access.go_on(9)
            pair.world.pass_time(1)
        assert [line for line in logs if line["event"] == "refresh.failed"] == []
        assert pair.a.family is pair.b.family is bob

    def test_what_was_refused_here_is_not_taken_from_the_store_again(self, make: Callable[..., Pair]) -> None:
        pair = make(configured=False)
        pair.a.adjust(right=False)
        ann = pair.server.sign_in("ann")
        pair.b.sign_in(ann.current, None)
        assert asked(pair, pair.a) == "refresh_denied"
        for _ in range(3):
            assert asked(pair, pair.a) == "refresh_denied"
        assert pair.server.presented == 1
        assert pair.b.family is ann
        assert asked(pair, pair.b) == "accepted"
        assert pair.a.family is ann

    def test_a_typo_that_was_refused_stays_refused_after_a_sign_in_elsewhere(self, make: Callable[..., Pair]) -> None:
        pair = make()
        in_use(pair)
        configured = pair.a.configured
        pair.server.pace = "calls wait"
        pair.a.configure(TYPO)
        bob = pair.server.sign_in("bob")
        pair.b.sign_in(bob.current, None)
        answer(pair)
        assert pair.a.family is bob
        pair.server.pace = "at once"
        presented = pair.server.presented
        pair.a.configure(configured)
        pair.a.configure(TYPO)
        pair.world.pass_time(1)
        assert pair.server.presented == presented

    def test_a_sign_out_elsewhere_is_not_undone_by_another_configuration(self, make: Callable[..., Pair]) -> None:
        pair = make(configured=False)
        pair.a.adjust(right=False)
        pair.a.sign_in(pair.server.sign_in("ann").current, None)
        assert asked(pair, pair.a) == "refresh_denied"
        pair.b.sign_out()
        pair.a.adjust(right=True)
        pair.world.pass_time(60)
        assert pair.a.out
        assert pair.stored is None

    def test_who_was_stopped_goes_on_with_the_newest_token_that_another_configuration_refused(
        self, make: Callable[..., Pair]
    ) -> None:
        pair = make()
        ann = in_use(pair)
        assert pair.a.process is not None
        pair.a.process.freeze()
        pair.world.pass_time(100)
        assert asked(pair, pair.b) == "accepted"
        pair.b.adjust(right=False)
        pair.world.pass_time(100)
        assert asked(pair, pair.b) == "refresh_denied"
        pair.a.process.thaw()
        pair.world.pass_time(1)
        assert asked(pair, pair.a) == "accepted"
        assert pair.a.family is pair.stored is ann
        assert pair.server.repeated == 0

    @pytest.mark.parametrize("lives", [True, False])
    def test_a_sign_in_is_not_undone_where_its_denial_is_heard_of_first(
        self, make: Callable[..., Pair], lives: bool
    ) -> None:
        pair = make()
        in_use(pair)
        bob = pair.server.sign_in("bob")
        assert pair.b.process is not None
        pair.b.process.freeze()
        pair.a.adjust(right=not lives)
        if not lives:
            pair.server.revoke_family(bob)
        login(pair, bob)
        assert asked(pair, pair.a) == "refresh_denied"
        pair.b.process.thaw()
        pair.world.pass_time(1)
        assert asked(pair, pair.b) == ("accepted" if lives else "refresh_denied")
        assert pair.b.family is (bob if lives else None)


class TestDeeds:
    def test_a_refresh_goes_on_where_the_store_has_the_same_life_again(self, make: Callable[..., Pair]) -> None:
        pair = make(configured=False, background=True, retry_for=10.0, rotates=False)
        pair.a.sign_in(pair.server.sign_in("ann").current, None)
        pair.store.fail("away")
        for daemon in pair.daemons:
            daemon.adjust(right=False)
        ann = pair.server.sign_in("ann")
        pair.a.sign_in(ann.current, None)
        pair.store.fail("")
        pair.world.settle()
        for daemon in pair.daemons:
            daemon.adjust(right=True)
        pair.world.pass_time(10)
        assert [asked(pair, daemon) for daemon in pair.daemons] == ["accepted", "accepted"]
        assert pair.a.family is pair.b.family is ann

    def test_a_sign_in_that_the_store_could_not_take_counts_though_its_access_token_comes_later(
        self, make: Callable[..., Pair]
    ) -> None:
        pair = make()
        in_use(pair)
        pair.store.fail("full")
        bob = pair.server.sign_in("bob")
        pair.a.sign_in(bob.current, None)
        pair.a.sign_in(bob.current, pair.server.access_token(bob))
        pair.store.fail("")
        pair.world.pass_time(60)
        assert pair.a.family is pair.b.family is pair.stored is bob

    def test_what_a_call_used_up_for_nobody_is_not_tried_when_it_is_configured_again(
        self, make: Callable[..., Pair]
    ) -> None:
        pair = make(configured=False)
        pair.a.sign_in(pair.server.sign_in("ann").current, None)
        pair.server.pace = "answers wait"
        rolled_out = pair.server.sign_in("ann").current
        pair.b.configure(rolled_out)
        newest = pair.server.sign_in("ann")
        pair.a.sign_in(newest.current, None)
        answer(pair)
        pair.server.pace = "at once"
        pair.b.configure(TYPO)
        pair.b.configure(rolled_out)
        pair.world.pass_time(60)
        assert pair.a.family is pair.b.family is newest
        assert pair.server.repeated == 0

    def test_nor_what_a_call_was_refused_for_nobody(self, make: Callable[..., Pair]) -> None:
        pair = make(configured=False)
        pair.a.sign_in(pair.server.sign_in("ann").current, None)
        pair.server.pace = "answers wait"
        pair.b.configure(TYPO)
        newest = pair.server.sign_in("ann")
        pair.a.sign_in(newest.current, None)
        answer(pair)
        pair.server.pace = "at once"
        pair.b.configure(Secret("CANARY-another-typo"))
        pair.b.configure(TYPO)
        pair.world.pass_time(60)
        assert pair.a.family is pair.b.family is newest


class TestConfigurations:
    """What is configured, and tried, is nobody's deed."""

    def test_one_that_was_refused_by_another_endpoint_is_tried_again(self, make: Callable[..., Pair]) -> None:
        pair = make()
        in_use(pair)
        pair.a.adjust(right=False)
        bob = pair.server.sign_in("bob")
        pair.a.configure(bob.current)
        pair.world.settle()
        assert pair.a.family is not bob
        pair.a.adjust(right=True)
        pair.world.pass_time(1)
        assert pair.a.family is pair.b.family is bob

    def test_one_whose_2xx_nobody_could_read_is_not_tried_again_by_itself(self, make: Callable[..., Pair]) -> None:
        pair = make()
        ann = in_use(pair)
        pair.server.pace = "calls wait"
        bob = pair.server.sign_in("bob")
        pair.a.configure(bob.current)
        garble(pair)
        pair.a.stop()
        pair.a.start()
        pair.world.pass_time(400)
        pair.server.revoke_family(ann)
        asked(pair, pair.a)
        assert pair.server.repeated == 0
        asked_before = pair.server.presented
        pair.a.adjust(right=False)
        pair.world.pass_time(60)
        assert pair.server.presented > asked_before, "another configuration may be able to read it"

    def test_so_is_one_that_was_configured_since(self, make: Callable[..., Pair]) -> None:
        pair = make()
        in_use(pair)
        bob = pair.server.sign_in("bob")
        pair.a.adjust(False)
        pair.a.configure(bob.current)
        pair.world.pass_time(200)
        asked(pair, pair.a)
        pair.a.adjust(True)
        pair.world.pass_time(60)
        assert pair.a.family is pair.b.family is pair.stored is bob

    def test_a_typo_where_nobody_is_signed_in_replaces_no_sign_in_elsewhere(self, make: Callable[..., Pair]) -> None:
        pair = make(configured=False)
        assert pair.b.access is not None
        pair.b.access.slow = "before"
        ann = pair.server.sign_in("ann")
        pair.a.sign_in(ann.current, None)
        pair.b.configure(TYPO)
        pair.b.access.slow = ""
        pair.b.access.go_on(99)
        pair.world.pass_time(60)
        assert pair.a.family is pair.b.family is pair.stored is ann

    def test_one_that_is_still_to_be_tried_does_not_take_over_from_a_sign_in_at_the_next_start(
        self, make: Callable[..., Pair]
    ) -> None:
        pair = make()
        in_use(pair)
        pair.server.pace = "calls wait"
        pair.a.configure(pair.server.sign_in("ann").current)
        pair.server.turn_away(pair.server.calls[0], None)
        pair.world.settle()
        bob = pair.server.sign_in("bob")
        pair.a.sign_in(bob.current, None)
        pair.server.pace = "at once"
        pair.world.pass_time(1)
        pair.a.crash()
        assert pair.a.start()
        pair.world.pass_time(60)
        assert pair.a.family is pair.b.family is bob

    def test_what_a_trial_brings_belongs_to_whoever_signs_in_with_the_same_token(
        self, make: Callable[..., Pair]
    ) -> None:
        pair = make()
        bob, first = trying(pair, "answers wait")
        pair.a.sign_in(first, None)
        answer(pair)
        pair.server.pace = "at once"
        pair.world.pass_time(1)
        assert [asked(pair, daemon) for daemon in pair.daemons] == ["accepted", "accepted"]
        assert pair.a.family is pair.b.family is bob
        assert pair.server.repeated == 0


class TestAStoreThatGoesBack:
    """As Redis may, after a failover: the daemons know better."""

    def test_to_somebody_elses_session_is_given_the_present_one(self, make: Callable[..., Pair]) -> None:
        pair = make()
        in_use(pair)
        before = pair.store.data
        bob = pair.server.sign_in("bob")
        pair.a.sign_in(bob.current, None)
        self.goes_back(pair, before)
        assert pair.a.family is pair.b.family is pair.stored is bob
        assert [asked(pair, daemon) for daemon in pair.daemons] == ["accepted", "accepted"]

    def test_to_a_session_that_was_signed_out_of_is_given_the_sign_out(self, make: Callable[..., Pair]) -> None:
        pair = make()
        in_use(pair)
        before = pair.store.data
        pair.b.sign_out()
        self.goes_back(pair, before)
        assert pair.a.out
        assert pair.b.out
        assert pair.stored is None

    def test_while_a_refresh_runs_changes_nothing(self, make: Callable[..., Pair]) -> None:
        pair = make()
        in_use(pair)
        before = pair.store.data
        bob = pair.server.sign_in("bob")
        pair.a.sign_in(bob.current, None)
        pair.server.pace = "answers wait"
        request = pair.a.request()
        pair.world.settle()
        pair.store.data = before
        pair.store.tell()
        pair.world.settle()
        answer(pair)
        pair.world.pass_time(60)
        assert request.result() == "accepted"
        assert pair.a.family is pair.b.family is pair.stored is bob

    def goes_back(self, pair: Pair, before: bytes | None) -> None:
        pair.store.data = before
        pair.store.tell()
        pair.world.pass_time(60)


class TestRevocation:
    def test_a_sign_out_elsewhere_has_both_revoked_what_is_in_force_and_what_a_trial_brings(
        self, make: Callable[..., Pair]
    ) -> None:
        pair = make()
        ann = in_use(pair)
        pair.world.pass_time(100)
        pair.server.pace = "calls wait"
        bob = pair.server.sign_in("bob")
        pair.a.request()
        pair.world.settle()
        pair.b.request()  # waits for the store's lock, and so does not hear of newer tokens
        pair.world.settle()
        pair.a.configure(bob.current)
        answer(pair)
        assert [call.used for call in pair.server.calls] == [bob.current]
        pair.b.sign_out()
        answer(pair)
        assert (ann.alive, bob.alive) == (False, False)

    def test_a_refresh_token_that_was_refused_is_revoked_too(self, make: Callable[..., Pair]) -> None:
        pair = make(configured=False)
        pair.a.adjust(right=False)
        ann = pair.server.sign_in("ann")
        pair.a.sign_in(ann.current, None)
        assert asked(pair, pair.a) == "refresh_denied"
        pair.a.adjust(right=True)
        pair.server.pace = "calls wait"
        pair.a.sign_out()
        assert not ann.alive

    def test_what_comes_after_a_sign_out_is_revoked_though_somebody_else_has_signed_in(
        self, make: Callable[..., Pair]
    ) -> None:
        pair = make()
        ann = in_use(pair)
        pair.world.pass_time(100)
        pair.server.pace = "answers wait"
        pair.a.request()
        pair.world.settle()
        pair.a.sign_out()
        bob = pair.server.sign_in("bob")
        pair.a.sign_in(bob.current, None)
        pair.server.pace = "at once"
        answer(pair)
        pair.world.pass_time(1)
        assert not ann.alive
        assert bob.alive
        assert pair.a.family is bob


def garble(pair: Pair) -> None:
    """The token endpoint answers whoever waits for it with a 2xx of which nothing can be read; then all is well."""
    for call in list(pair.server.calls):
        pair.server.garble(call)
    pair.server.pace = "at once"
    pair.world.pass_time(10)


class TestA2xxOfWhichNothingCanBeRead:
    @pytest.mark.parametrize("which", [0, 1])
    def test_is_repeated_by_no_daemon_and_no_restart_but_for_a_request(
        self, make: Callable[..., Pair], which: int
    ) -> None:
        pair = make(background=True)
        in_use(pair)
        pair.server.pace = "calls wait"
        pair.world.pass_time(50)
        assert len(pair.server.calls) == 1
        garble(pair)
        asked_before = pair.server.presented
        daemon = pair.daemons[which]
        daemon.stop()
        daemon.start()
        pair.world.pass_time(600)
        assert pair.server.presented == asked_before
        request = daemon.request()
        pair.world.pass_time(60)
        assert pair.server.presented == asked_before + 1
        assert request.done()

    def test_is_repeated_once_the_endpoint_is_configured_otherwise(self, make: Callable[..., Pair]) -> None:
        pair = make(background=True)
        in_use(pair)
        pair.server.pace = "calls wait"
        pair.world.pass_time(50)
        garble(pair)
        asked_before = pair.server.presented
        for daemon in pair.daemons:
            daemon.stop()
            daemon.start()
        pair.a.adjust(right=False)
        pair.world.pass_time(1)
        assert pair.server.presented > asked_before


class TestWhatComesTooLate:
    def test_a_trial_whose_answer_is_being_saved_is_not_asked_for_again_by_a_sign_in(
        self, make: Callable[..., Pair]
    ) -> None:
        pair = make()
        bob, token = trying(pair, "calls wait")
        pair.a.access.slow = "before"  # type: ignore[union-attr]
        answer(pair)
        pair.a.sign_in(token, None)
        pair.world.pass_time(2)
        request = pair.a.request()
        recover(pair)
        assert request.result() == "accepted", "it is one life"
        assert asked(pair, pair.a) == asked(pair, pair.b) == "accepted"
        assert pair.a.family is pair.b.family is pair.stored is bob
        assert not bob.reused

    @pytest.mark.parametrize("with_access", [False, True])
    def test_a_trial_is_not_asked_for_again_by_a_sign_in_elsewhere(
        self, make: Callable[..., Pair], with_access: bool
    ) -> None:
        pair = make()
        bob, token = trying(pair, "answers wait")
        pair.b.sign_in(token, pair.server.access_token(bob) if with_access else None)
        pair.world.pass_time(1)
        request = pair.a.request()
        answer(pair)
        recover(pair)
        pair.world.pass_time(65)
        assert request.result() == "accepted", "it is one life"
        assert asked(pair, pair.a) == asked(pair, pair.b) == "accepted"
        assert pair.a.family is pair.b.family is pair.stored is bob
        assert not bob.reused

    def test_what_a_trial_used_up_is_not_tried_at_the_next_start_though_somebody_signed_in_meanwhile(
        self, make: Callable[..., Pair]
    ) -> None:
        pair = make()
        bob, _ = trying(pair, "calls wait")
        pair.a.access.slow = "before"  # type: ignore[union-attr]
        answer(pair)
        ann = pair.server.sign_in("ann")
        pair.a.sign_in(ann.current, None)
        recover(pair)
        asked_before = pair.server.presented
        pair.a.stop()
        pair.a.start()
        pair.world.pass_time(5)
        assert pair.server.presented == asked_before
        assert pair.a.family is pair.stored is ann
        assert not bob.reused

    @pytest.mark.parametrize("at_once", [False, True])
    def test_who_signs_out_and_in_with_the_same_token_asks_for_nothing_that_is_being_saved(
        self, make: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch, at_once: bool
    ) -> None:
        pair = make(configured=False)
        ann = pair.server.sign_in("ann")
        pair.a.sign_in(ann.current, None)
        pair.world.settle()
        token = ann.current
        pair.server.pace = "calls wait"
        request = pair.a.request()
        pair.world.settle()
        pair.a.access.slow = "before"  # type: ignore[union-attr]
        answer(pair)
        monkeypatch.setattr(pair.server, "revoke", lambda *_: None)
        pair.a.sign_out()
        pair.world.pass_time(2)
        assert request.result() == "signed_out"
        pair.a.sign_in(token, None)
        pair.world.pass_time(2)
        if at_once:
            request = pair.a.request()
            recover(pair)
            assert request.result() == "accepted"
        recover(pair)
        assert asked(pair, pair.a) == "accepted"
        assert pair.server.presented == 1
        assert not ann.reused

    def test_one_access_token_serves_both_where_refresh_tokens_stay_the_same(
        self, make: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pair = make(rotates=False, lifetime=600.0)
        issue = pair.server.access_token

        def the_only_one(family: Family) -> Secret:
            family.access.clear()
            return issue(family)

        monkeypatch.setattr(pair.server, "access_token", the_only_one)
        for _ in range(10):
            assert asked(pair, pair.a) == asked(pair, pair.b) == "accepted"
        assert pair.server.presented == 2, "in twenty minutes, with tokens that live for ten"


def recover(pair: Pair) -> None:
    """All is prompt again."""
    for daemon in pair.daemons:
        daemon.access.slow = ""  # type: ignore[union-attr]
        daemon.access.go_on(99)  # type: ignore[union-attr]
    pair.server.pace = "at once"
    pair.world.pass_time(5)


def login(pair: Pair, family: Family) -> None:
    """``reauth-proxy login``."""
    commands = Commands(pair.world, pair.server, pair.store)
    assert commands.login(pair.a.configured, family.current, None)
    pair.world.settle()
    commands.end()
