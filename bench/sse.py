"""Server-sent events: many streams with an event now and then, and how long each takes from origin to client.

The origin (echo.py) writes its clock into each event; the client, on the same machine, has the same clock.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time

import uvloop

from bench.load import WARM_UP, Failed
from bench.processes import cpu_ns, forget_peak, on_core, peak_memory
from bench.report import Sample
from bench.stage import Running

STREAMS = 100
#: Milliseconds that the median may take.
LIMIT = 20.0
_ASK = b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
_EVENT = re.compile(rb"data: (\d+)\n\n")


class Stream(asyncio.Protocol):
    """One client."""

    def __init__(self, took: list[int]) -> None:
        self.took = took
        self.head = b""
        self.events = 0
        self.lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(_ASK)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self.events:
            self.head += data
        for stamp in _EVENT.findall(data):
            self.events += 1
            self.took.append(now - int(stamp))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


async def _listen(peer: Running, seconds: int) -> Sample:
    loop = asyncio.get_running_loop()
    took: list[int] = []
    streams: list[Stream] = []
    try:
        async with asyncio.timeout(30):
            while len(streams) < STREAMS:
                _, stream = await loop.create_connection(lambda: Stream(took), "127.0.0.1", peer.port)
                streams.append(stream)
        await asyncio.sleep(WARM_UP)
        forget_peak(peer.pid)
        took.clear()
        before = cpu_ns(peer.pid)
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        spent, lasted = cpu_ns(peer.pid) - before, time.perf_counter() - began
        memory = peak_memory(peer.pid)
        for stream in streams:
            if stream.lost or not stream.events:
                raise Failed(f"a stream {'broke off' if stream.lost else 'stood still'}: {stream.head[:80]!r}")
        cuts = statistics.quantiles(took, n=100)
        return Sample(spent / len(took) / 1000, len(took) / lasted, cuts[49] / 1e6, cuts[98] / 1e6, memory)
    except (OSError, TimeoutError) as error:
        raise Failed(f"the streams did not open: {error or 'not within 30 s'}") from error
    finally:
        for stream in streams:
            stream.transport.abort()
        await asyncio.sleep(0.1)


def measure(peer: Running, seconds: int) -> Sample:
    """Measure one peer.

    Raises:
        Failed: a stream did not open, or broke off.
    """
    with on_core(0), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_listen(peer, seconds))
