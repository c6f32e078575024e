"""What is sent at once, without a task, is what a task would have sent; and it is answered the same.

A pair that differed would be a way to smuggle: one of two halves of the proxy would read a request otherwise.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from reauth_proxy.forward import forwarder
from tests.raw.corpus import REFUSED, SANITISED
from tests.raw.stage import Stage, staged
from tests.raw.test_fuzz import cut, exchanged, made

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Inputs that are made at random, besides the known ones.
MADE = 1600
_OWN = re.compile(rb"(X-Request-Id|Date): [^\r]*")

Sends = Callable[..., bool]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with staged(log={"level": "warning"}) as running:
        yield running


async def told_and_seen(stage: Stage, pieces: list[bytes]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return what a client is told, and what the upstream sees, without what is never the same twice."""
    (heard,) = await exchanged(stage, [list(pieces)])
    seen = [(_OWN.sub(b"", one.head), one.content) for one in stage.upstream.seen]
    stage.upstream.seen.clear()
    stage.upstream.violations.clear()
    return _OWN.sub(b"", heard), seen


def at_once(sent: list[bool], send_now: Sends) -> Sends:
    def send(*args: Any) -> bool:
        sent.append(send_now(*args))
        return sent[-1]

    return send


def never(*args: Any) -> bool:
    return False


async def compare(stage: Stage, inputs: list[list[bytes]], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Give each input to both ways; return what was sent at once of those for which that was tried."""
    sent: list[bool] = []
    send_now = forwarder.send_now
    for pieces in inputs:
        await stage.serves()  # There is a connection to send at once on.
        stage.take()
        monkeypatch.setattr(forwarder, "send_now", at_once(sent, send_now))
        one = await told_and_seen(stage, pieces)
        monkeypatch.setattr(forwarder, "send_now", never)
        other = await told_and_seen(stage, pieces)
        monkeypatch.setattr(forwarder, "send_now", send_now)
        assert one == other, pieces
    return sent


async def test_known_requests_go_the_same_either_way(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = await compare(stage, [[case.data] for case in (*REFUSED, *SANITISED)], monkeypatch)
    assert sum(sent) > len(SANITISED) // 2, "most of what is served can be sent at once"


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_comes_goes_the_same_either_way(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    inputs = [cut(chance, made(chance)) for _ in range(MADE // 4)]
    assert any(await compare(stage, inputs, monkeypatch))
