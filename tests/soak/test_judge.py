"""The judge of the soak itself: what it calls a violation, and what it excuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.soak.judge import Delivery, Family, Judge, Rotation, Spans, length


@pytest.fixture
def judge() -> Judge:
    return Judge(["one", "two"], 8.0, lambda found: None)


def family(person: int) -> Family:
    return Family(person, f"root-{person}", 3.0, f"root-{person}")


def signed_in(judge: Judge, person: int, now: float, at: str | None = "one") -> Family:
    """Somebody signs in at a daemon, in a tenth of a second."""
    found = family(person)
    judge.deed_begins(found, now)
    judge.deed_ends(found, at, now + 0.1, done=True)
    return found


def kinds(judge: Judge) -> list[str]:
    return [found["kind"] for found in judge.violations]


def answered(judge: Judge, daemon: str, begin: float, seen: list[Family | None], **how: Any) -> list[str]:
    judge.answered(daemon, "1", begin, how.get("end", begin + 0.1), how.get("status", 200), how.get("signal", ""), seen)
    return kinds(judge)


def test_spans_that_overlap_count_once() -> None:
    assert length([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)]) == 4.0


def test_a_span_goes_on_until_it_ends_and_for_what_comes_on_top() -> None:
    spans = Spans(1.0)
    spans.begin(1.0)
    assert spans.goes_on(100.0)
    spans.end(2.0)
    assert spans.goes_on(2.9)
    assert not spans.goes_on(3.1)


def test_whoever_was_signed_in_before_is_somebody_else_at_once_where_the_deed_was_done(judge: Judge) -> None:
    before, present = signed_in(judge, 1, 0.0), signed_in(judge, 2, 10.0)
    assert answered(judge, "one", 10.05, [before]) == [], "it began before"
    assert answered(judge, "one", 10.2, [present]) == []
    assert answered(judge, "one", 10.2, [before]) == ["somebody else"]


def test_the_other_daemon_has_its_time_to_hear_of_it(judge: Judge) -> None:
    before = signed_in(judge, 1, 0.0)
    signed_in(judge, 2, 10.0)
    assert answered(judge, "two", 11.0, [before]) == []
    assert answered(judge, "two", 13.0, [before]) == ["somebody else"]


def test_whoever_is_stopped_hears_of_nothing(judge: Judge) -> None:
    before = signed_in(judge, 1, 0.0)
    judge.stopped["two"].begin(9.0)
    signed_in(judge, 2, 10.0)
    judge.stopped["two"].end(20.0)
    assert answered(judge, "two", 21.0, [before]) == []
    assert answered(judge, "two", 23.0, [before]) == ["somebody else"]


def test_what_a_daemon_could_not_store_in_time_may_come_after_the_next_sign_in(judge: Judge) -> None:
    before = signed_in(judge, 1, 0.0)
    judge.doubt(0.0, 5.0)
    signed_in(judge, 2, 6.0)
    assert answered(judge, "one", 7.0, [before]) == []
    signed_in(judge, 3, 8.0)
    assert answered(judge, "one", 9.0, [before]) == ["somebody else"]


def test_one_request_with_the_tokens_of_two_people_is_a_violation(judge: Judge) -> None:
    before = signed_in(judge, 1, 0.0)
    present = signed_in(judge, 2, 10.0)
    assert answered(judge, "one", 10.05, [before, present]) == ["crossed"]


def test_a_sign_out_answer_while_somebody_is_signed_in_for_sure_is_a_violation(judge: Judge) -> None:
    present = signed_in(judge, 1, 0.0)
    out = {"status": 401, "signal": "logout;reason=refresh_denied"}
    assert answered(judge, "one", 10.0, [present], **out) == ["wrong sign-out: refresh_denied"]


def test_a_sign_out_answer_once_the_family_is_dead_is_none(judge: Judge) -> None:
    present = signed_in(judge, 1, 0.0)
    present.ended = "revoked"
    assert answered(judge, "one", 10.0, [present], status=401, signal="logout;reason=refresh_denied") == []


def test_a_daemon_whose_client_is_wrong_may_be_signed_out(judge: Judge) -> None:
    present = signed_in(judge, 1, 0.0)
    judge.wrong["one"].begin(5.0)
    assert answered(judge, "one", 10.0, [present], status=401, signal="logout;reason=refresh_denied") == []


def test_a_request_without_a_token_while_somebody_is_signed_in_is_a_violation(judge: Judge) -> None:
    signed_in(judge, 1, 0.0)
    assert answered(judge, "two", 10.0, [None], status=401) == ["sent bare"]


def test_a_request_that_takes_too_long_is_a_violation_unless_its_daemon_was_stopped(judge: Judge) -> None:
    judge.stopped["two"].begin(0.0)
    judge.stopped["two"].end(20.0)
    assert answered(judge, "two", 0.0, [], end=25.0, status=503) == []
    assert answered(judge, "one", 0.0, [], end=25.0, status=503) == ["slow"]


def test_an_answer_500_and_none_at_all_are_violations(judge: Judge) -> None:
    assert answered(judge, "one", 0.0, [], status=500) == ["status 500"]
    judge.broken("one", "2", 1.0, 1.1, "reset")
    assert kinds(judge) == ["status 500", "no answer"]


def rotation(*deliveries: Delivery) -> Rotation:
    return Rotation(family(1), "root-1", "next", b"", 10.0, list(deliveries))


class TestARefreshTokenThatIsUsedAgain:
    def test_has_no_excuse_where_its_answer_arrived(self, judge: Judge) -> None:
        assert judge.again(rotation(Delivery("one#1", 9.9, 10.0)), "two#1", 12.0) == ""

    def test_is_excused_where_the_server_lost_the_answer(self, judge: Judge) -> None:
        assert judge.again(rotation(Delivery("one#1", 9.9, 10.0, "lost by the server")), "one#1", 10.1)

    def test_is_excused_where_the_process_was_killed_before_it_was_seen_in_the_store(self, judge: Judge) -> None:
        judge.killed["one#1"] = 10.05
        lost = rotation(Delivery("one#1", 9.9, 10.0))
        assert judge.again(lost, "one#2", 12.0)
        lost.saved = True
        assert judge.again(lost, "one#2", 12.0) == ""

    def test_is_excused_where_it_was_on_its_way_when_its_process_was_killed(self, judge: Judge) -> None:
        judge.killed["two#1"] = 11.5
        used = rotation(Delivery("one#1", 9.9, 10.0))
        assert judge.again(used, "two#1", 12.0)
        assert judge.again(used, "two#1", 11.0) == "", "it was alive"
        assert judge.again(used, "two#2", 12.0) == "", "that one is alive"

    def test_is_excused_where_the_process_was_stopped_or_the_store_away_before_it_was_saved(self, judge: Judge) -> None:
        judge.stopped["one"].begin(10.5)
        assert judge.again(rotation(Delivery("one#1", 9.9, 10.0)), "two#1", 20.0)
        judge.store.begin(29.0)
        assert judge.again(rotation(Delivery("two#1", 29.9, 30.0)), "one#1", 40.0)

    def test_is_excused_only_where_each_of_its_answers_was_lost(self, judge: Judge) -> None:
        lost = Delivery("one#1", 9.9, 10.0, "lost by the server")
        assert judge.again(rotation(lost, Delivery("one#1", 10.1, 10.2)), "one#1", 12.0) == ""
