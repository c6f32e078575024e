"""The model of Redis against a real one: the same script calls, in the same order, have the same answers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from reauth_proxy.stores.redis_scripts import ACQUIRE, RELEASE, RENEW, SAVE
from tests.fakes.arrivals import PATIENCE
from tests.fakes.redis import redis_server
from tests.stores.redis_model import Keys, run

NAMES: Final = ["{s}", "{s}:lock"]
NEWS: Final = "{s}:news"
#: Milliseconds, of which none pass here: a lease runs out when it is told to.
LEASE, SPARE = 60_000, 20_000

#: A holder of that name, or whoever had the lock last; a number, by how much it differs from that of the last grant.
HOLDERS = st.sampled_from(["one", "two", "the last"])
FENCES = st.sampled_from(["-1", "+0", "+0", "+1"])
RARE: Final = [
    "an older version saves",
    "a copy is kept",
    "it goes back to the copy",
    "everything is forgotten",
]
CALLS = st.one_of(
    st.tuples(st.just(ACQUIRE), HOLDERS, st.just(LEASE), st.just(SPARE)),
    st.tuples(st.just(RENEW), HOLDERS, st.just(LEASE), FENCES),
    st.tuples(
        st.just(SAVE),
        st.sampled_from(["data 1", "data 2", "Daten ü"]),
        st.one_of(HOLDERS, st.just("")),
        FENCES,
        st.just(NEWS),
        st.sampled_from(["life", "life/signed_out"]),
        st.sampled_from([0, 1]),
        st.sampled_from(["", "life", "life/signed_out"]),
    ),
    st.tuples(st.just(RELEASE), HOLDERS, st.just(NEWS), FENCES),
    st.sampled_from([("the lease runs out",)] * 3 + [(rare,) for rare in RARE]),
)


class Both:
    """The model and the real one, with a copy of each."""

    def __init__(self, real: Redis) -> None:
        self.real, self.keys = real, Keys()
        self.copies: tuple[Keys, dict[Any, Any], Any] = (Keys(), {}, None)
        real.flushall()
        self.channel = real.pubsub()
        self.channel.subscribe(NEWS)
        assert self.channel.get_message(timeout=PATIENCE)["type"] == "subscribe"

    def do(self, call: tuple[Any, ...]) -> None:
        what, *arguments = call
        if what == "the lease runs out":
            self.keys.lock = None
            self.real.delete(NAMES[1])
        elif what == "an older version saves":
            self.keys.session["data"] = "older"
            self.real.hset(NAMES[0], "data", "older")
        elif what == "a copy is kept":
            self.copies = self.keys.copy(), self.real.hgetall(NAMES[0]), self.real.get(NAMES[1])
        elif what == "everything is forgotten":
            self.go_back(Keys(), {}, None)
        elif what == "it goes back to the copy":
            self.go_back(*self.copies)
        else:
            arguments = [self.meant(argument) for argument in arguments]
            expected = run(self.keys, 0.0, what, NAMES, arguments)
            answer = self.real.eval(what, 2, *NAMES, *arguments)
            if isinstance(expected, list):
                assert answer[0] == expected[0]
                assert 0 <= expected[1] - answer[1] < SPARE, "how long it is held still, a slow machine apart"
            else:
                assert answer == expected
        assert {name.decode(): text.decode() for name, text in self.real.hgetall(NAMES[0]).items()} == self.keys.session
        lock = self.real.get(NAMES[1])
        assert (lock and lock.decode()) == self.keys.held(0.0)

    def meant(self, argument: Any) -> Any:
        if argument == "the last":
            return self.keys.session.get("holder", "nobody")
        if argument in ("-1", "+0", "+1"):
            return max(0, self.keys.fence + int(argument))
        return argument

    def go_back(self, keys: Keys, session: dict[Any, Any], lock: Any) -> None:
        self.keys = Keys(dict(keys.session), keys.lock, keys.until, self.keys.news)
        self.real.delete(*NAMES)
        if session:
            self.real.hset(NAMES[0], mapping=session)
        if lock is not None:
            self.real.set(NAMES[1], lock, px=LEASE)
            self.keys.until = LEASE

    def heard(self) -> list[str]:
        """Return what the real one has published."""
        heard: list[str] = []
        while len(heard) < len(self.keys.news):
            message = self.channel.get_message(timeout=PATIENCE)
            assert message is not None, "less was published"
            heard.append(message["data"].decode())
        assert self.channel.get_message(timeout=0.0) is None, "more was published"
        return heard

    def close(self) -> None:
        self.channel.close()


def compare(url: str, examples: int) -> None:
    with Redis.from_url(url) as real:

        @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(calls=st.lists(CALLS, min_size=10, max_size=40))
        def of_any_calls(calls: list[tuple[Any, ...]]) -> None:
            both = Both(real)
            for call in calls:
                both.do(call)
            assert both.heard() == list(both.keys.news)
            both.close()

        of_any_calls()


@pytest.mark.parametrize("examples", [80, pytest.param(1000, marks=pytest.mark.slow)])
async def test_a_real_redis_answers_as_the_model_does(examples: int) -> None:
    async with redis_server() as server:
        await asyncio.to_thread(compare, server.url, examples)
