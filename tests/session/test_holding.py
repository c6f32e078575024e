"""What a reading of the store says, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reauth_proxy.session.holding import Holding, Reading
from reauth_proxy.session.tokens import Secret, StoredSession


def secret(name: str) -> Secret:
    return Secret(f"CANARY-{name}")


def mark(name: str) -> str:
    return secret(name).fingerprint()


def session(number: int, *, life: str = "ann", generation: int | None = None) -> StoredSession:
    """The n-th of a life, which has used up those before it."""
    spent = tuple(mark(f"{life}-{one}") for one in range(number))
    return StoredSession(
        secret(f"{life}-{number}"), generation=number if generation is None else generation, life=life, spent=spent
    )


ENDED = StoredSession(None, life="ann", signed_out="signed_out")
REFUSED = StoredSession(None, life="ann", signed_out="refresh_denied")


FIRST = session(1)
UNROTATED = replace(session(2), life=mark("ann-2"), spent=())
FRESH = session(0)
AFTER_ANN = replace(session(0, life="bob"), roots=("ann", "bob"))


def holding(known: StoredSession | None = FIRST) -> Holding:
    found = Holding()
    found.opened(known)
    return found


@pytest.mark.parametrize(
    ("known", "stored", "dead", "reading"),
    [
        (session(1), session(1), False, Reading.NOTHING_NEW),
        (session(1), replace(session(1), used_at=5.0), False, Reading.NOTHING_NEW),
        (session(1), session(2), False, Reading.NEWS),
        (session(1), session(0), False, Reading.WENT_BACK),
        (session(1), session(0), True, Reading.NEWS),
        (session(1), session(0, life="bob"), False, Reading.NEWS),
        (session(1), ENDED, False, Reading.NEWS),
        (session(1), REFUSED, False, Reading.NEWS),
        (None, session(0), False, Reading.NEWS),
        (replace(ENDED, spent=session(3).spent), session(2), False, Reading.WENT_BACK),
        (replace(ENDED, spent=session(3).spent), session(3), False, Reading.NEWS),
        (replace(ENDED, life=mark("ann-2"), spent=session(3).spent), UNROTATED, False, Reading.NEWS),
        (replace(REFUSED, spent=session(3).spent), session(2), False, Reading.NEWS),
        (AFTER_ANN, replace(session(3), roots=("ann",)), False, Reading.WENT_BACK),
        (AFTER_ANN, replace(session(3), roots=("ann",)), True, Reading.WENT_BACK),
        (AFTER_ANN, replace(FRESH, access_token=secret("access"), roots=("ann",)), False, Reading.WENT_BACK),
        (AFTER_ANN, FRESH, False, Reading.NEWS),  # Ann signed in again, where nobody knew of Bob
        (AFTER_ANN, replace(ENDED, roots=("ann",)), False, Reading.NEWS),
        (AFTER_ANN, replace(REFUSED, roots=("ann",)), False, Reading.WENT_BACK),
        (AFTER_ANN, replace(session(0), roots=("bob", "ann")), False, Reading.NEWS),
        (AFTER_ANN, replace(session(0, life="cho"), roots=("ann", "cho")), False, Reading.NEWS),
    ],
)
def test_what_is_known_and_what_is_there(
    known: StoredSession | None, stored: StoredSession, dead: bool, reading: Reading
) -> None:
    found = holding(known)
    assert found.read(stored, ours_is_dead=dead) is reading
    assert found.seen == stored.line


def test_the_refresh_token_that_was_signed_out_of_may_be_brought_again() -> None:
    first = replace(FRESH, life=mark("ann-0"), roots=(mark("ann-0"),))
    ended = replace(first, refresh_token=None, signed_out="signed_out", spent=(mark("ann-0"),))
    found = holding(first)
    found.heard(ended)
    assert found.read(first, ours_is_dead=True) is Reading.NEWS
    used = replace(first, access_token=secret("access"))
    found.heard(used)
    found.heard(ended)
    assert found.read(used, ours_is_dead=True) is Reading.WENT_BACK
    assert found.read(replace(first, access_token=secret("new")), ours_is_dead=True) is Reading.NEWS


@pytest.mark.parametrize("earlier", [FRESH, ENDED])
def test_what_was_seen_before_somebody_else_signed_in_is_no_news(earlier: StoredSession) -> None:
    found = holding(earlier)
    found.heard(AFTER_ANN)
    assert found.read(replace(earlier, used_at=5.0), ours_is_dead=False) is Reading.WENT_BACK
    assert not found.is_deed(earlier)


def test_only_so_much_of_what_was_seen_before_is_remembered() -> None:
    found = holding(FRESH)
    for number in range(1, 200):
        found.heard(session(number))
    assert len(found.past) == 64


@pytest.mark.parametrize(
    ("wanted", "stored", "reading"),
    [
        (session(2), session(1), Reading.NOTHING_NEW),
        (session(2), session(3), Reading.NEWS),
        (session(2, generation=9), session(3), Reading.NEWS),  # numbers may have been brought with access tokens
        (session(2), session(1, generation=9), Reading.NOTHING_NEW),
        (session(2), ENDED, Reading.NEWS),
        (session(2), session(0, life="bob"), Reading.NEWS),
    ],
)
def test_what_is_owed_after_a_refresh_gives_way_to_what_comes_later(
    wanted: StoredSession, stored: StoredSession, reading: Reading
) -> None:
    found = holding()
    found.want(wanted)
    assert found.read(stored, ours_is_dead=False) is reading


def test_a_save_that_landed_unseen_is_owed_no_more() -> None:
    found = holding()
    found.want(session(2))
    assert found.read(session(2), ours_is_dead=False) is Reading.NOTHING_NEW
    assert (found.wanted, found.known) == (None, session(2))


class TestDeeds:
    def test_one_that_is_owed_comes_after_whatever_there_was_before(self) -> None:
        found = holding()
        found.want_deed(session(0, life="bob"))
        for stored in (session(1), session(2)):
            assert found.read(stored, ours_is_dead=True) is Reading.NOTHING_NEW
        assert found.owes_a_deed

    def test_one_that_landed_unseen_is_not_written_over_what_came_of_it(self) -> None:
        found = holding()
        found.want_deed(session(0, life="bob"))
        assert found.read(session(1, life="bob"), ours_is_dead=False) is Reading.NEWS
        assert not found.owes_a_deed

    def test_of_two_the_later_counts_though_the_earlier_landed_unseen(self) -> None:
        found = holding()
        found.want_deed(session(0, life="bob"))
        ended = StoredSession(None, life="bob", signed_out="signed_out")
        found.want_deed(ended)
        assert found.read(session(1, life="bob"), ours_is_dead=True) is Reading.NOTHING_NEW
        assert found.wanted == ended

    def test_a_denial_of_the_life_before_takes_nothing_away(self) -> None:
        found = holding()
        found.want_deed(AFTER_ANN)
        assert found.read(replace(REFUSED, roots=("ann",)), ours_is_dead=False) is Reading.NOTHING_NEW
        assert not found.is_deed(replace(REFUSED, roots=("ann",)))
        assert found.owes_a_deed

    def test_one_that_somebody_did_elsewhere_meanwhile_is_news(self) -> None:
        found = holding()
        found.want_deed(session(0, life="bob"))
        assert found.read(session(0, life="eve"), ours_is_dead=False) is Reading.NEWS

    @pytest.mark.parametrize(
        ("stored", "deed"),
        [
            (session(2), False),
            (ENDED, True),
            (REFUSED, False),
            (session(0, life="bob"), True),
            (StoredSession(None, life="bob", signed_out="refresh_denied"), True),
        ],
    )
    def test_which_records_say_that_somebody_signed_in_or_out(self, stored: StoredSession, deed: bool) -> None:
        assert holding().is_deed(stored) is deed

    def test_what_there_was_before_ours_is_none(self) -> None:
        found = holding()
        found.want_deed(session(0, life="bob"))
        assert not found.is_deed(session(1))

    def test_what_is_known_is_none_though_something_else_is_to_be_there(self) -> None:
        found = holding(ENDED)
        found.want(session(0, life="bob"))
        assert not found.is_deed(ENDED)
        assert found.is_deed(session(0, life="eve"))

    def test_nor_is_it_where_more_is_said_of_it(self) -> None:
        found = holding(ENDED)
        found.want(session(0, life="bob"))
        more = replace(ENDED, spent=(mark("ann-9"),))
        assert not found.is_deed(more)
        assert found.read(more, ours_is_dead=True) is Reading.NOTHING_NEW
        assert holding(ENDED).read(more, ours_is_dead=True) is Reading.NEWS
        out_of_bob = replace(more, roots=("ann", "bob"))
        assert found.is_deed(out_of_bob), "whoever signed out of Bob's session knew of it"

    def test_what_is_from_before_our_life_is_none(self) -> None:
        assert not holding(AFTER_ANN).is_deed(replace(session(3), roots=("ann",)))
        assert holding(AFTER_ANN).is_deed(replace(session(0), roots=("bob", "ann")))


def test_what_a_store_lost_is_put_back_unless_something_else_is_to_be_there() -> None:
    assert holding().lost() == session(1)
    assert holding(ENDED).lost() == ENDED
    assert holding(None).lost() is None
    found = holding()
    found.want(session(2))
    assert found.lost() is None
