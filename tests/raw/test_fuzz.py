"""Whatever bytes come, the proxy answers in HTTP or not at all, and passes on only what nobody can misread.

Inputs go straight into the listener's protocol, in pieces, many connections at a time; the upstream is a real one. What
Hypothesis draws is the seed of a whole batch: drawn one by one, so many inputs would take hours. A batch that fails is
looked through for the input that does it alone.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.raw.corpus import GOOD, REFUSED, SANITISED
from tests.raw.stage import STATUS_OF, Stage, parse, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCH: Final = 250
#: What a client may be told: its request was served, or it was refused for what it was.
ALLOWED: Final = {200, 400, 405, 413, 417, 421, 431, 501, 505}
#: Turns of the event loop in which nothing happens any more, when nothing will.
QUIET: Final = 10

BASES: Final = [case.data for case in REFUSED if len(case.data) < 2000]
SERVED: Final = [case.data for case in SANITISED]
GOODS: Final = [
    GOOD,
    b"POST /p?q=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\nhello world",
    b"PUT /c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"DELETE /old HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
    b"POST /e HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello" + GOOD,
    GOOD * 3,
]
TOKENS: Final = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b":", b": ", b",", b";"),
    *(b"\x00", b"\x0b", b"\x7f", b"\xff", "٥ſK".encode()),
    *(b"0", b"5", b"-1", b"+5", b"0x5", b"1_0", b"ffffffffffffffff", b"18446744073709551616"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"hello", GOOD),
    *(
        b"GET ",
        b"POST ",
        b"PRI ",
        b"CONNECT ",
        b"OPTIONS ",
        b"/",
        b"*",
        b"http://localhost/",
        b"//",
        b"#",
        b"?",
        b"@",
        b"\\",
    ),
    *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b" HTTP/1.1", b"HTTP/1.", b"RTSP/1.0"),
    *(b"Host: localhost\r\n", b"Host: a\r\nHost: b\r\n", b"Host:\r\n", b"Host : x\r\n"),
    *(b"X: y\r\n", b" folded\r\n", b": z\r\n", b"Accept: text/html\r\n", b"TE: trailers\r\n", b"Trailer: X\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99\r\n", b"content-length:5\r\n"),
    *(b"Content_Length: 5\r\n", b"Content-Length: 1073741825\r\n", b"Content-Length: " + b"9" * 5000 + b"\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"transfer-encoding:\tchunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive, X\r\n", b"Connection: upgrade\r\n"),
    *(b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"Expect: x\r\n"),
]


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Change something."""
    at = chance.randrange(len(data) + 1)
    to = min(len(data), at + chance.randrange(1, 20))
    match chance.randrange(9):
        case 0:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + chance.choice(TOKENS) + data[at:]
        case 2:
            return data[:at] + chance.choice(TOKENS) + data[to:]
        case 3:
            return data[:at] + data[to:]
        case 4:
            return data[:to] + data[at:]
        case 5:
            other = chance.choice(BASES)
            return data[:at] + other[chance.randrange(len(other)) :]
        case 6:
            lines = data.split(b"\r\n")
            one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
            lines[one], lines[two] = lines[two], lines[one]
            return b"\r\n".join(lines)
        case 7:
            return data[:at] + data[at:].replace(b"\r\n", chance.choice([b"\n", b"\r", b"\r\n\r\n", b"\n\r"]), 1)
        case _:
            return data[:at] + data[at:to].swapcase() + data[to:]


def made(chance: random.Random) -> bytes:
    """Make one input."""
    kind = chance.random()
    if kind < 0.03:
        return chance.randbytes(chance.randrange(1, 200))
    if kind < 0.12:
        return b"".join(chance.choices(TOKENS, k=chance.randrange(1, 15)))
    data = chance.choice(GOODS if kind < 0.4 else SERVED if kind < 0.7 else BASES)
    for _ in range(chance.choice([1, 1, 1, 1, 2, 3])):
        data = mutated(chance, data)
    return data


def cut(chance: random.Random, data: bytes) -> list[bytes]:
    """Cut an input into packets."""
    if len(data) < 120 and chance.random() < 0.03:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 0, 1, 2, 4])))
    pieces = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


class Wire(asyncio.Transport):
    """A connection without a socket, from a client that hangs up once it is told that it is over."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.heard = bytearray()
        self.over = False
        self.reading = True
        self.protocol = stage.front()
        self.protocol.connection_made(self)

    def feed(self, piece: bytes) -> None:
        if not self.over:
            self.protocol.data_received(piece)

    def hang_up(self) -> None:
        if not self.over:
            self.over = True
            self._loop.call_soon(self.protocol.connection_lost, None)

    close = abort = write_eof = hang_up

    def write(self, data: Any) -> None:
        if not self.over:
            self.heard += data

    def is_closing(self) -> bool:
        return self.over

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default


async def settled(stage: Stage, wires: list[Wire]) -> None:
    """Return when nothing happens any more."""
    before, quiet = None, 0
    while quiet < QUIET:
        await asyncio.sleep(0)
        now = (sum(len(wire.heard) for wire in wires), len(stage.upstream.seen), stage.connections())
        quiet = quiet + 1 if now == before else 0
        before = now


async def exchanged(stage: Stage, inputs: list[list[bytes]]) -> list[bytes]:
    """Return what is said to each of these clients."""
    wires = [Wire(stage) for _ in inputs]
    await asyncio.sleep(0)
    rounds = 0
    while any(inputs):
        for wire, pieces in zip(wires, inputs, strict=True):
            if pieces and wire.reading:
                wire.feed(pieces.pop(0))
        await asyncio.sleep(0)
        rounds += 1
        if rounds > 1000:
            break
    await settled(stage, wires)
    for wire in wires:
        wire.hang_up()
    while stage.connections():
        await asyncio.sleep(0)
    return [bytes(wire.heard) for wire in wires]


def judge(stage: Stage, heard: list[bytes]) -> None:
    """Look at all that was said, to clients and to the upstream."""
    assert not stage.upstream.violations
    served: Counter[bytes] = Counter()
    for said in heard:
        answers = parse(said)
        for answer in answers:
            assert answer.status in ALLOWED, answer
            if answer.status == 200:
                served[answer.content] += 1
            else:
                assert answer.values(b"content-type")[0] in (b"application/problem+json", b"text/html; charset=utf-8")
        refusals = [answer for answer in answers if answer.status != 200]
        assert len(refusals) <= 1, "nothing follows a refusal"
        assert not refusals or refusals == answers[-1:]
    assert served == Counter(seen.target for seen in stage.upstream.seen), "each got its own answer, and nobody else's"
    stage.upstream.seen.clear()
    stage.calm()


async def endure(stage: Stage, seed: int) -> None:
    """Send a batch; if something is wrong with it, say which input does it alone."""
    chance = random.Random(seed)
    inputs = [cut(chance, made(chance)) for _ in range(BATCH)]
    try:
        judge(stage, await exchanged(stage, [list(pieces) for pieces in inputs]))
        await stage.serves()
        stage.take()
    except Exception:
        for pieces in inputs:
            stage.upstream.seen.clear()
            stage.upstream.violations.clear()
            stage.judged = len(stage.log())
            try:
                judge(stage, await exchanged(stage, [list(pieces)]))
            except Exception as error:
                raise AssertionError(f"{type(error).__name__} {error} for {pieces!r}") from error
        raise


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with staged(log={"level": "warning"}) as running:
        yield running


#: A fixture that lasts for all examples is what is wanted here.
COMMON: Final = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
SEEDS: Final = st.integers(0, 2**32 - 1)


@settings(COMMON, max_examples=2_000 // BATCH, derandomize=True)
@given(seed=SEEDS)
async def test_two_thousand_inputs_do_no_harm(stage: Stage, seed: int) -> None:
    await endure(stage, seed)


@pytest.mark.slow
@settings(COMMON, max_examples=100_000 // BATCH)
@given(seed=SEEDS)
async def test_a_hundred_thousand_inputs_do_no_harm(stage: Stage, seed: int) -> None:
    await endure(stage, seed)


async def test_the_statuses_that_are_allowed_are_the_proxy_s_own() -> None:
    assert ALLOWED - {200, 421} <= set(STATUS_OF.values())
