"""Slow clients: some send their header section byte by byte, some their content, and good requests come beside them."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

import uvloop

from bench.load import Failed
from bench.processes import on_core
from bench.report import verdict
from bench.stage import Running

DRIBBLERS = 500  # of each kind
RATE = 200  # good requests per second
#: How many times its quiet p99 the good ones' p99 may be.
LIMIT = 3.0
_PACE = 1.0  # seconds between two bytes
_PATIENCE = 10.0
_GOOD = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"
_OK = b"\r\n\r\nok"
_SLOW_HEAD = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"z" * 4096
# Short enough to be kept for a replay, or so long that it is streamed: a proxy may treat the two differently.
_SLOW_CONTENT = [
    b"POST /small HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % length for length in (1_000, 1_000_000)
]


@dataclass
class Outcome:
    """Latencies of good requests in ms, quiet and meanwhile; dribblers' seconds until they were cut, by kind."""

    quiet: list[float]
    meanwhile: list[float] = field(default_factory=list)
    cut: dict[str, list[float]] = field(default_factory=dict)
    how: Counter[str] = field(default_factory=Counter)
    never: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Return them for a report."""
        p99 = [_p99(taken) for taken in (self.quiet, self.meanwhile)]
        ratio = p99[1] / p99[0]
        p50 = [statistics.median(taken) for taken in (self.quiet, self.meanwhile)]
        found = [
            f"- good requests, {RATE}/s, quiet: p50 {p50[0]:.2f} ms, p99 {p99[0]:.2f} ms",
            f"- meanwhile: p50 {p50[1]:.2f} ms, p99 {p99[1]:.2f} ms",
            f"- at most {LIMIT:g} times the quiet p99: {ratio:.2f}, {verdict(ratio, LIMIT)}",
        ]
        for kind, ages in self.cut.items():
            when = f" after {min(ages):.1f} to {max(ages):.1f} s, median {statistics.median(ages):.1f}" if ages else ""
            found.append(f"- dribbling {kind}: {len(ages)} cut{when}; {self.never[kind]} under way at the end")
        return [*found, *(f"- a dribbler was told: {how} ({count} times)" for how, count in self.how.most_common())]


def _p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]


class Good(asyncio.Protocol):
    """One connection for good requests."""

    def __init__(self) -> None:
        self.got = b""
        self.answered: asyncio.Future[float] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def ask(self) -> asyncio.Future[float]:
        """Send a request; return when it was answered, in seconds."""
        self.answered = asyncio.get_running_loop().create_future()
        self.sent = time.perf_counter()
        self.got = b""
        self.transport.write(_GOOD)
        return self.answered

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self.got.endswith(_OK) and self.answered is not None and not self.answered.done():
            self.answered.set_result(time.perf_counter() - self.sent)

    def connection_lost(self, error: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(Failed(f"a good request broke off: {self.got[:80]!r}"))


class Dribbler(asyncio.Protocol):
    """One slow client, until it is cut."""

    def __init__(self, at_once: bytes, slowly: bytes) -> None:
        self.at_once = at_once
        self.slowly = slowly
        self.at = 0
        self.got = b""
        self.gone = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.since = time.perf_counter()
        transport.write(self.at_once)
        self.next = asyncio.get_running_loop().call_later(0 if not self.at_once else _PACE, self.more)

    def more(self) -> None:
        self.transport.write(self.slowly[self.at : self.at + 1])
        self.at += 1
        self.next = asyncio.get_running_loop().call_later(_PACE, self.more)

    def data_received(self, data: bytes) -> None:
        self.got += data
        if not self.gone.done():
            self.gone.set_result(time.perf_counter() - self.since)

    def connection_lost(self, error: Exception | None) -> None:
        self.next.cancel()
        if not self.gone.done():
            self.gone.set_result(time.perf_counter() - self.since)


async def _good(port: int, seconds: float) -> list[float]:
    """Send good requests at RATE; return how long each took in ms."""
    loop = asyncio.get_running_loop()
    idle: list[Good] = []
    taken: list[float] = []

    async def one() -> None:
        connection = idle.pop() if idle else (await loop.create_connection(Good, "127.0.0.1", port))[1]
        async with asyncio.timeout(_PATIENCE):
            taken.append(await connection.ask() * 1000)
        idle.append(connection)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * RATE)):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            group.create_task(one())
    for connection in idle:
        connection.transport.abort()
    return taken


async def _dribble(port: int, kind: str, outcome: Outcome) -> None:
    """Dribble, and come again when cut; end by cancellation."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(random.random() * _PACE)  # not as a herd: its arrival would be what is measured
        at_once, slowly = (b"", _SLOW_HEAD) if kind == "header" else (random.choice(_SLOW_CONTENT), b"z" * 4096)
        client = (await loop.create_connection(lambda a=at_once, s=slowly: Dribbler(a, s), "127.0.0.1", port))[1]
        try:
            outcome.cut[kind].append(await client.gone)
        except asyncio.CancelledError:
            outcome.never[kind] += 1
            raise
        finally:
            client.next.cancel()
            client.transport.abort()
        outcome.how[client.got.partition(b"\r\n")[0].decode("latin-1") or "nothing, and closed"] += 1


async def _slow(port: int, quiet: float, seconds: float) -> Outcome:
    await _good(port, 1)
    outcome = Outcome(await _good(port, quiet), cut={"header": [], "content": []})
    dribbling = [asyncio.create_task(_dribble(port, kind, outcome)) for kind in outcome.cut for _ in range(DRIBBLERS)]
    try:
        outcome.meanwhile = await _good(port, seconds)
        if broken := [task for task in dribbling if task.done()]:
            raise Failed(f"a dribbler could not come again: {broken[0].exception()!r}")
    finally:
        for task in dribbling:
            task.cancel()
        await asyncio.gather(*dribbling, return_exceptions=True)
    return outcome


def slow(peer: Running, quiet: float = 15, seconds: float = 30) -> Outcome:
    """Measure good requests alone, and then beside dribblers; a dribbler that is cut comes again.

    Raises:
        Failed: a good request was not answered well.
    """
    with on_core(0), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_slow(peer.port, quiet, seconds))
        except ExceptionGroup as errors:
            raise Failed(f"good requests failed: {errors.exceptions[0]!r}") from errors
