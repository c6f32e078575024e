"""The upstream ends, the daemon ends, or its config is read again, in the midst of traffic: who notices, and how."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import fetch
from tests.load.traffic import HANGING, Keeper, LogWatch, Outcome, Traffic, loaded_daemon, soon
from tests.load.upstream import upstream_process

pytestmark = pytest.mark.slow

#: So long that at 200/s ten requests are under way at any time.
WAIT = (("X-Wait", "0.05"),)


async def test_an_upstream_killed_and_started_again_fails_only_what_was_under_way_and_gets_no_post_twice(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    time = asyncio.get_running_loop().time
    outages: list[tuple[float, float]] = []
    async with upstream_process(tmp_path) as upstream, loaded_daemon(tmp_path, authorization, upstream) as daemon:
        async with Traffic(daemon.url, fields=WAIT) as traffic:
            await traffic.answered(100)
            for _ in range(3):
                killed = time()
                await upstream.kill()
                await traffic.answered(60)
                await upstream.start()
                outages.append((killed, time()))
                await traffic.answered(200)
        received = upstream.received
    outcomes = traffic.outcomes
    assert set(traffic.became()) == {"200", "502"}, traffic.became()
    failed = [outcome for outcome in outcomes if outcome.how == "502"]
    assert {outcome.code for outcome in failed} == {"upstream_unreachable"}
    elsewhere = [
        outcome
        for outcome in failed
        if not any(outcome.began < back and outcome.ended > killed for killed, back in outages)
    ]
    assert not elsewhere, "these were not under way while there was no upstream"
    assert max(outcome.ended - outcome.began for outcome in outcomes) < 2, "none hangs"
    posts = {outcome.id for outcome in outcomes if outcome.method == "POST"}
    twice = [name for name in posts if received[f"POST {name}"] > 1]
    assert not twice, "a request that is not idempotent was sent again"
    lost = [o for o in outcomes if o.how == "200" and not received[f"{o.method} {o.id}"]]
    assert not lost, "answered, but never received"
    assert any(received[f"{o.method} {o.id}"] for o in failed), "nothing was under way: this showed nothing"


async def test_sigterm_in_the_midst_of_traffic_breaks_no_connection_and_ends_well(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    outcomes: list[Outcome] = []

    async def keep_asking(url: str, name: str, *, keeps: bool) -> None:
        """Ask until nobody listens any more."""
        keeper = Keeper(url, keeps=keeps)
        while not outcomes or outcomes[-1].how != "refused":
            outcomes.append(await keeper.ask(f"{name}-{len(outcomes)}"))
        keeper.close()

    async with (
        upstream_process(tmp_path) as upstream,
        loaded_daemon(tmp_path, authorization, upstream, drain_timeout="10s") as daemon,
    ):
        for round_ in range(5):
            if round_:
                await daemon.start()
            outcomes.append(Outcome("", "", reused=False, began=0.0, how="200"))  # the round before ended refused
            wanted = len(outcomes) + 400
            asking = [
                asyncio.create_task(keep_asking(daemon.url, f"k{round_}-{number}", keeps=number % 2 == 1))
                for number in range(20)
            ]
            await soon(lambda wanted=wanted: len(outcomes) >= wanted, "traffic flows")  # type: ignore[misc]
            daemon.signal(signal.SIGTERM)
            async with asyncio.timeout(2 * HANGING):
                await asyncio.gather(*asking)
            assert await daemon.ended() == 0
    # On a kept connection, a close without one byte of an answer is what RFC 9112 section 9.3.1 tells clients to
    # expect; a reset is not, and half an answer is not.
    broken = [
        outcome
        for outcome in outcomes
        if outcome.how not in ("200", "refused") and not (outcome.how == "closed" and outcome.reused)
    ]
    assert not broken, f"{Counter(outcome.how for outcome in outcomes)}: {broken[:5]}"


async def test_a_hundred_sighups_in_the_midst_of_traffic_fail_no_request(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    async with upstream_process(tmp_path) as upstream, loaded_daemon(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        reloaded = LogWatch(daemon, "config.reloaded")
        async with Traffic(daemon.url) as traffic:
            for number in range(100):
                daemon.write_config(timeouts={"response": 30 + number})
                daemon.signal(signal.SIGHUP)
                await reloaded.more()
                await traffic.answered(3)
        assert set(traffic.became()) == {"200"}, traffic.became()
        assert len(traffic.outcomes) >= 300
        assert authorization.count == 1


async def test_a_long_answer_under_way_at_sigterm_arrives_whole_amid_traffic(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    async with (
        upstream_process(tmp_path) as upstream,
        loaded_daemon(tmp_path, authorization, upstream, drain_timeout="10s") as daemon,
    ):
        async with Traffic(daemon.url) as traffic:
            await traffic.answered(20)
            slow = [
                asyncio.create_task(fetch(daemon.url, fields=[("X-Wait", "1"), ("X-Id", f"slow{n}")]))
                for n in range(20)
            ]
            await soon(lambda: sum("slow" in name for name in upstream.received) == 20, "all are under way")
            daemon.signal(signal.SIGTERM)
            answers = await asyncio.gather(*slow)
        since = asyncio.get_running_loop().time()
        assert [answer.status for answer in answers] == [200] * 20
        assert await daemon.ended() == 0
        assert asyncio.get_running_loop().time() - since < 3, "connections that are idle hold nothing up"
        assert set(traffic.became()) <= {"200", "refused", "closed"}, traffic.became()
