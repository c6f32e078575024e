"""Lives, candidates and denials, as events of plain data."""

from __future__ import annotations

import pytest

from reauth_proxy.session.book import Book
from reauth_proxy.session.lineage import REMEMBERED, Lineage
from reauth_proxy.session.records import record, record_after
from reauth_proxy.session.state import IllegalTransition, SignedOut, State
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret, StoredSession

NOW = Instant(1000.0, 1_800_000_000.0)


def secret(name: str) -> Secret:
    return Secret(f"CANARY-{name}")


def mark(name: str) -> str:
    return secret(name).fingerprint()


def begun(configured: str | None = "ann-0", stored: StoredSession | None = None, endpoint: str = "e1") -> Book:
    book = Book(lineage=Lineage(endpoint))
    book.begin(stored, None if configured is None else secret(configured), NOW, 0.0)
    return book


def refreshed(book: Book, access: str, refresh: str | None, used: str | None = None) -> AccessToken:
    """One refresh that is issued."""
    issued = Issued(secret(access), None if refresh is None else secret(refresh), 300)
    token_used = book.due(NOW) if used is None else secret(used)
    assert token_used is not None
    book.start()
    tried = token_used != book.refresh_token
    return book.issue(issued, book.token(issued, NOW, 0.0), token_used, NOW, tried=tried, asked=False)


def denied(book: Book) -> None:
    book.start()
    assert book.refresh_token is not None
    book.deny(book.refresh_token)


class TestLives:
    def test_one_begins_with_each_sign_in_and_ends_with_the_next_or_a_sign_out(self) -> None:
        book = begun()
        first = book.life
        assert first
        assert refreshed(book, "at-1", "ann-1").life == first
        assert book.sign_in(secret("bob-0"), None, NOW)
        second = book.life
        assert second not in (0, first)
        assert (book.access, book.stats.ended) == (None, {"signed_out": 1})
        book.leave("signed_out")
        assert book.life == 0
        assert book.sign_in(secret("bob-0"), None, NOW)
        assert book.life not in (0, first, second)

    def test_the_token_in_force_goes_on_in_its_life_with_the_access_token_that_came_along(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        life = book.life
        assert not book.sign_in(secret("ann-1"), None, NOW)
        side = AccessToken(secret("side"), 2, None, None)
        assert book.sign_in(secret("ann-1"), side, NOW)
        assert book.access == side.in_life(life)
        assert book.stats.logouts == 0

    def test_one_that_it_has_used_up_changes_nothing(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        refreshed(book, "at-2", "ann-2")
        for name in ("ann-0", "ann-1"):
            assert not book.sign_in(secret(name), None, NOW)
        assert book.refresh_token == secret("ann-2")

    def test_once_that_life_is_over_it_is_tried(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        book.leave("signed_out")
        assert book.sign_in(secret("ann-0"), None, NOW)
        assert book.refresh_token == secret("ann-0")

    def test_a_cool_off_ends_with_a_sign_in(self) -> None:
        book = begun()
        book.start()
        book.give_up("down", NOW, None, 0.0)
        assert book.state is State.COOLING
        assert book.sign_in(secret("ann-0"), None, NOW)
        assert (book.state, book.cooling_until) == (State.READY, None)

    def test_that_which_it_began_with_is_known_after_any_number_of_rotations(self) -> None:
        book = begun()
        for number in range(2 * REMEMBERED):
            refreshed(book, f"at-{number}", f"ann-{number + 1}")
        assert not book.sign_in(secret("ann-0"), None, NOW)

    def test_an_access_token_that_was_brought_meanwhile_has_a_number_of_its_own(self) -> None:
        book = begun()
        book.start()
        issued = Issued(secret("at"), secret("ann-1"), 300)
        token = book.token(issued, NOW, 0.0)
        book.sign_in(secret("ann-0"), AccessToken(secret("side"), 1, None, None), NOW)
        assert book.issue(issued, token, secret("ann-0"), NOW, tried=False, asked=False).generation == 2

    def test_a_token_that_comes_back_from_the_server_is_not_used_up(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        refreshed(book, "at-2", "ann-0")
        assert not book.lineage.has_spent(secret("other"))
        assert mark("ann-0") not in book.lineage.spent


class TestStoredSessions:
    def test_it_goes_on_with_its_life_and_what_it_grew_from(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        stored = record(book)
        assert (stored.life, stored.roots, stored.spent) == (mark("ann-0"), (mark("ann-0"),), (mark("ann-0"),))
        again = begun(stored=stored)
        assert (again.refresh_token, again.candidate) == (secret("ann-1"), None)
        assert record(again) == stored

    def test_another_life_in_the_store_is_another_sign_in(self) -> None:
        book = begun()
        token = refreshed(book, "at-1", "ann-1")
        bob = StoredSession(secret("bob-0"), life=mark("bob-0"), roots=(mark("bob-0"),), generation=1)
        assert book.adopt(bob, NOW, 0.0) is None
        assert book.life != token.life
        assert (book.access, book.refresh_token) == (None, secret("bob-0"))

    def test_a_newer_token_of_the_same_life_goes_on_in_it(self) -> None:
        book = begun()
        token = refreshed(book, "at-1", "ann-1")
        news = StoredSession(secret("ann-2"), secret("at-2"), NOW.wall + 300, 2, mark("ann-0"), spent=(mark("ann-1"),))
        adopted = book.adopt(news, NOW, 0.0)
        assert isinstance(adopted, AccessToken)
        assert (adopted.life, adopted.generation) == (token.life, 2)
        assert book.lineage.has_spent(secret("ann-1"))

    def test_an_older_one_of_the_same_life_is_no_news(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        assert book.adopt(StoredSession(secret("ann-0"), life=mark("ann-0")), NOW, 0.0) is None
        assert book.refresh_token == secret("ann-1")

    def test_a_sign_out_says_which_token_has_been_revoked(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        book.leave("signed_out")
        assert record(book).spent == (mark("ann-0"), mark("ann-1"))
        assert record(book).line == f"{mark('ann-0')}/signed_out"

    def test_a_record_of_version_0_1_is_gone_on_with(self) -> None:
        stored = StoredSession(secret("ann-7"), secret("at"), NOW.wall + 100, 7, roots=(mark("ann-0"),))
        book = begun(stored=stored)
        assert (book.refresh_token, book.generation, book.candidate) == (secret("ann-7"), 7, None)


class TestCandidates:
    def test_one_is_tried_before_it_replaces_a_session(self) -> None:
        book = begun()
        token = refreshed(book, "at-1", "ann-1")
        assert book.configure(secret("bob-0"), NOW)
        assert (book.usable(NOW), book.refresh_token, book.due(NOW)) == (token, secret("ann-1"), secret("bob-0"))
        newer = refreshed(book, "bt-1", "bob-1")
        assert newer.life != token.life
        assert (book.refresh_token, book.lineage.life) == (secret("bob-1"), mark("bob-0"))
        assert book.lineage.roots == (mark("ann-0"), mark("bob-0"))

    def test_what_is_to_be_stored_is_said_before_it_is_in_force(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        book.configure(secret("bob-0"), NOW)
        issued = Issued(secret("bt-1"), secret("bob-1"), 300)
        token = book.token(issued, NOW, 0.0)
        before = record_after(book, issued, token, secret("bob-0"), NOW, tried=True)
        book.start()
        book.issue(issued, token, secret("bob-0"), NOW, tried=True, asked=False)
        assert record(book) == before

    def test_one_that_is_refused_is_remembered_and_the_session_goes_on(self) -> None:
        book = begun()
        token = refreshed(book, "at-1", "ann-1")
        book.configure(secret("typo"), NOW)
        book.start()
        book.refuse(secret("typo"), "e1")
        book.keep()
        assert (book.state, book.usable(NOW), book.candidate) == (State.READY, token, None)
        assert not book.configure(secret("typo"), NOW)
        assert begun("typo", record(book)).candidate is None

    def test_by_another_endpoint_it_is_tried_again(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        book.configure(secret("bob-0"), NOW)
        book.start()
        book.refuse(secret("bob-0"), "e1")
        book.keep()
        assert begun("bob-0", record(book), endpoint="e2").candidate is not None

    def test_what_the_session_grew_from_is_none(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        for name in ("ann-0", "ann-1"):
            assert not book.configure(secret(name), NOW)
        assert book.candidate is None

    def test_nor_is_the_configured_one_however_many_have_signed_in_since(self) -> None:
        book = begun()
        for number in range(2 * REMEMBERED):
            book.sign_in(secret(f"person-{number}"), None, NOW)
        again = begun("ann-0", record(book))
        assert (again.refresh_token, again.candidate) == (secret(f"person-{2 * REMEMBERED - 1}"), None)

    def test_nor_is_one_that_a_session_before_it_began_with(self) -> None:
        """A replica that restarts with the configuration of yesterday."""
        book = begun()
        refreshed(book, "at-1", "ann-1")
        book.configure(secret("new-0"), NOW)
        refreshed(book, "at-2", "new-1")
        again = begun("ann-0", record(book))
        assert (again.refresh_token, again.candidate) == (secret("new-1"), None)

    def test_putting_the_configuration_back_ends_the_trial(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        book.configure(secret("typo"), NOW)
        book.configure(secret("ann-0"), NOW)
        assert book.candidate is None

    def test_it_takes_the_place_of_a_session_that_is_refused_meanwhile(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        book.configure(secret("bob-0"), NOW)
        assert book.candidate is not None
        book.candidate.postpone(NOW)
        denied(book)
        assert (book.state, book.refresh_token) == (State.READY, secret("bob-0"))

    def test_a_sign_out_ends_it_for_good(self) -> None:
        book = begun()
        book.configure(secret("bob-0"), NOW)
        book.leave("signed_out")
        assert begun("bob-0", record(book)).state is State.SIGNED_OUT

    def test_one_that_cannot_be_tried_waits_ever_longer(self) -> None:
        book = begun()
        book.configure(secret("bob-0"), NOW)
        assert book.candidate is not None
        pauses = []
        for _ in range(7):
            book.candidate.postpone(NOW)
            pauses.append(book.candidate.pause)
            assert not book.trial_due(NOW.after(book.candidate.pause - 0.1))
            assert book.trial_due(NOW.after(book.candidate.pause))
        assert pauses == [10, 20, 40, 80, 160, 300, 300]
        assert book.due(NOW) == secret("ann-0")

    def test_it_ends_the_life_before_it_also_where_that_has_not_been_used_here(self) -> None:
        book = begun("new-0", StoredSession(secret("ann-1"), roots=(mark("ann-0"),), life=mark("ann-0")))
        life = book.life
        assert refreshed(book, "at-1", "new-1").life != life
        assert book.stats.ended == {"signed_out": 1}

    def test_what_is_issued_for_one_that_is_configured_no_more_begins_nothing(self) -> None:
        book = begun()
        token = refreshed(book, "at-1", "ann-1")
        book.configure(secret("bob-0"), NOW)
        book.start()
        book.configure(secret("eve-0"), NOW)
        book.withdraw(secret("bob-0"))
        book.keep()
        assert (book.usable(NOW), book.due(NOW)) == (token, secret("eve-0"))
        assert not book.configure(secret("bob-0"), NOW)

    def test_a_refusal_of_one_that_has_been_corrected_says_nothing_of_the_other(self) -> None:
        book = begun()
        book.configure(secret("typo"), NOW)
        book.start()
        book.configure(secret("bob-0"), NOW)
        book.refuse(secret("typo"), "e1")
        assert book.due(NOW) == secret("bob-0")

    def test_one_that_another_process_dealt_with_is_none_any_more(self) -> None:
        for more in ({"denials": (f"{mark('bob-0')}@e1",)}, {"roots": (mark("bob-0"),)}):
            book = begun()
            book.configure(secret("bob-0"), NOW)
            book.adopt(StoredSession(secret("ann-1"), life=mark("ann-0"), **more), NOW, 0.0)
            assert book.candidate is None


class TestDenials:
    def test_the_same_token_counts_when_somebody_brings_it(self) -> None:
        book = begun()
        denied(book)
        assert (book.state, book.refused) == (State.SIGNED_OUT, secret("ann-0"))
        assert not book.configure(secret("ann-0"), NOW)
        assert book.sign_in(secret("ann-0"), None, NOW)
        assert book.state is State.READY
        assert not book.lineage.refused(secret("ann-0"))

    @pytest.mark.parametrize(("endpoint", "state"), [("e1", State.SIGNED_OUT), ("e2", State.READY)])
    def test_another_endpoint_revives_it(self, endpoint: str, state: State) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        denied(book)
        stored = record(book)
        assert stored.refused == secret("ann-1")
        assert begun(stored=stored, endpoint=endpoint).state is state
        book.lineage.endpoint = endpoint
        assert book.revive() is (state is State.READY)
        if state is State.READY:
            assert book.refresh_token == secret("ann-1")
            assert book.lineage.has_spent(secret("ann-0"))

    @pytest.mark.parametrize(("by", "state"), [("e1", State.SIGNED_OUT), ("e2", State.READY)])
    def test_one_of_a_life_that_came_after_ours_ends_ours_and_may_not_be_ours(self, by: str, state: State) -> None:
        book = begun()
        life = refreshed(book, "at-1", "ann-1").life
        news = StoredSession(
            None,
            life=mark("bob-0"),
            signed_out="refresh_denied",
            refused=secret("bob-0"),
            denials=(f"{mark('bob-0')}@{by}",),
        )
        assert book.adopt(news, NOW, 0.0) == (SignedOut("refresh_denied") if state is State.SIGNED_OUT else None)
        assert book.state is state
        assert book.life != life
        assert book.refresh_token == (secret("bob-0") if state is State.READY else None)

    def test_what_was_refused_here_is_not_adopted_from_who_asks_otherwise(self) -> None:
        book = begun()
        denied(book)
        theirs = StoredSession(secret("ann-0"), life=mark("ann-0"), denials=(f"{mark('ann-0')}@e1",))
        assert book.adopt(theirs, NOW, 0.0) is None
        assert book.state is State.SIGNED_OUT
        login = StoredSession(secret("ann-0"), life=mark("ann-0"))
        book.adopt(login, NOW, 0.0)
        assert book.state is State.READY

    def test_a_sign_out_elsewhere_keeps_nothing_to_revive_either(self) -> None:
        book = begun()
        denied(book)
        assert book.adopt(StoredSession(None, life=mark("ann-0"), signed_out="signed_out"), NOW, 0.0) is None
        book.lineage.endpoint = "e2"
        assert not book.revive()
        assert book.reason == "signed_out"

    def test_a_sign_out_keeps_nothing_to_revive(self) -> None:
        book = begun()
        denied(book)
        book.leave("signed_out")
        book.lineage.endpoint = "e2"
        assert not book.revive()
        assert record(book).refused is None

    @pytest.mark.parametrize(
        ("refused", "by", "ends"),
        [("ann-1", "e1", True), ("ann-1", "e2", False), ("ann-0", "e1", False)],
    )
    def test_a_denial_elsewhere_is_ours_only_with_our_token_and_endpoint(
        self, refused: str, by: str, ends: bool
    ) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        news = StoredSession(None, life=mark("ann-0"), signed_out="refresh_denied", denials=(f"{mark(refused)}@{by}",))
        assert book.adopt(news, NOW, 0.0) == (SignedOut("refresh_denied") if ends else None)
        assert (book.state is State.SIGNED_OUT) is ends


class TestAccepted:
    def test_a_token_is_proven_when_it_is_accepted_and_in_doubt_when_it_is_rejected(self) -> None:
        book = begun()
        token = refreshed(book, "at-1", "ann-1")
        assert (book.proven, book.rejected) == (False, False)
        book.accept(token.generation)
        book.reject(token.generation, token.life)
        assert (book.proven, book.rejected) == (True, True)
        book.accept(token.generation)
        assert (book.proven, book.rejected) == (True, False)
        refreshed(book, "at-2", "ann-2")
        assert (book.proven, book.rejected) == (False, False)

    def test_an_older_token_or_another_life_says_nothing_of_it(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        token = refreshed(book, "at-2", "ann-2")
        book.accept(token.generation - 1)
        book.reject(token.generation - 1, token.life)
        book.reject(token.generation, token.life + 1)
        assert (book.proven, book.rejected) == (False, False)


class TestAnswersOfNoUse:
    def test_a_new_refresh_token_is_held_whatever_else_came(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        book.start()
        book.hold(secret("ann-2"), secret("ann-1"))
        book.give_up("no access token", NOW, None, 0.0)
        assert (book.refresh_token, record(book).refresh_token) == (secret("ann-2"), secret("ann-2"))
        assert book.lineage.has_spent(secret("ann-1"))
        assert book.usable(NOW) is not None

    def test_that_of_one_that_is_only_tried_stays_one(self) -> None:
        book = begun()
        refreshed(book, "at-1", "ann-1")
        book.configure(secret("bob-0"), NOW)
        book.hold(secret("bob-1"), secret("bob-0"))
        assert book.candidate is not None
        assert book.candidate.refresh_token == secret("bob-1")
        assert (book.refresh_token, book.lineage.knows(secret("bob-0"))) == (secret("ann-1"), True)


def test_so_many_fingerprints_are_remembered_and_no_more() -> None:
    book = begun()
    for number in range(3 * REMEMBERED):
        refreshed(book, f"at-{number}", f"ann-{number + 1}")
        book.configure(secret(f"typo-{number}"), NOW)
        book.refuse(secret(f"typo-{number}"), "e1")
    stored = record(book)
    assert len(stored.spent) == len(stored.denials) == REMEMBERED
    assert stored.roots == (mark("ann-0"),)
    assert stored.spent[-1] == mark(f"ann-{3 * REMEMBERED - 1}")


@pytest.mark.parametrize("state", [State.EMPTY, State.READY, State.COOLING, State.SIGNED_OUT])
def test_nothing_is_kept_that_is_not_tried(state: State) -> None:
    with pytest.raises(IllegalTransition):
        Book(state).keep()
