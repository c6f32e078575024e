"""What a session's listeners are told, and that none of them holds anybody up."""

from __future__ import annotations

import pytest

from reauth_proxy.session.news import MOST_UNHEARD, News, Told, events
from reauth_proxy.session.snapshot import Condition, Snapshot


def look(state: Condition, generation: int = 1) -> Snapshot:
    return Snapshot(state, generation, None, None, 0, False, None)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (look("fresh", 1), look("fresh", 2), "refreshed"),
        (look("refreshing", 1), look("fresh", 2), "refreshed"),
        (look("stale", 0), look("fresh", 1), "refreshed"),
        (look("fresh", 1), look("stale", 1), None),
        (look("fresh", 1), look("refreshing", 1), None),
        (look("fresh", 1), look("fresh", 1), None),
        (look("fresh", 1), look("signed_out", 1), "logout"),
        (look("stale", 1), look("signed_out", 1), "logout"),
        (look("refreshing", 3), look("signed_out", 3), "logout"),
        (look("signed_out", 1), look("signed_out", 1), None),
        (look("signed_out", 1), look("stale", 1), "resumed"),
        (look("signed_out", 1), look("fresh", 2), "resumed"),
    ],
)
def test_what_happened_between_two_moments(before: Snapshot, now: Snapshot, told: str | None) -> None:
    assert [one.event for one in events(before, now)] == ([] if told is None else [told])
    assert all(one.snapshot == now for one in events(before, now))


def test_another_person_is_a_logout_and_then_a_return() -> None:
    before, now = look("fresh", 1), look("refreshing", 1)
    first, second = events(before, now, another=True)
    assert (first.event, first.snapshot.state, first.snapshot.reason) == ("logout", "signed_out", "signed_out")
    assert (second.event, second.snapshot) == ("resumed", now)


class Story:
    """A session that goes from one state to the next."""

    def __init__(self) -> None:
        self.now = look("fresh", 1)
        self.news = News(lambda: self.now)

    def goes_on(self, now: Snapshot) -> None:
        self.now = now
        self.news.tell()


async def test_everybody_hears_everything_from_now_on_in_order() -> None:
    story = Story()
    with story.news.listening() as early:
        story.goes_on(look("fresh", 2))
        with story.news.listening() as late:
            assert story.news.listeners == 2
            story.goes_on(look("signed_out", 2))
            story.goes_on(look("signed_out", 2))
            assert [early.get_nowait() for _ in range(2)] == [
                Told("refreshed", look("fresh", 2)),
                Told("logout", look("signed_out", 2)),
            ]
            assert late.get_nowait() == Told("logout", look("signed_out", 2))
            assert early.empty()
            assert late.empty()
    assert story.news.listeners == 0


async def test_who_does_not_listen_is_told_no_more_and_costs_no_more() -> None:
    story = Story()
    with story.news.listening() as deaf, story.news.listening() as keen:
        for generation in range(2, MOST_UNHEARD + 10):
            story.goes_on(look("fresh", generation))
            assert keen.get_nowait() == Told("refreshed", look("fresh", generation))
        assert story.news.listeners == 1
        heard = [deaf.get_nowait() for _ in range(MOST_UNHEARD + 1)]
        assert heard[-1] is None
        assert heard[0] == Told("refreshed", look("fresh", 2))
        assert deaf.empty()


async def test_the_end_is_told_to_those_who_listen_and_to_those_who_come_later() -> None:
    story = Story()
    with story.news.listening() as ear:
        story.news.close()
        story.news.close()
        assert ear.get_nowait() is None
        assert ear.empty()
    with story.news.listening() as late:
        assert late.get_nowait() is None
    assert story.news.listeners == 0
