"""WebSocket tunnels: many clients that send a small message, wait for its echo, and send it again.

Client and origin (echo.py) share a core; the proxy has the other one.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import time

import uvloop

from bench.echo import accept, masked, plain
from bench.load import WARM_UP, Failed
from bench.processes import cpu_ns, forget_peak, on_core, peak_memory
from bench.report import Sample
from bench.stage import Running

TUNNELS = (100, 1_000)
#: plain aiohttp knows no upgrade.
PEERS = ("reauth-proxy", "Go ReverseProxy", "Caddy", "Envoy", "nginx")
#: The peers that all are compared with, and how much CPU time per message we may take of theirs.
LIMITS = {"Caddy": 1.0, "Envoy": None}
_WAVE = 50  # handshakes at once
_MESSAGE = bytes(range(32, 96))
_MASK = b"\x5a\xc3\x0f\x96"  # always the same: nothing is between us that it would protect
_FRAME = masked(_MESSAGE, _MASK)
_ECHO = plain(_MESSAGE)
_KEY = base64.b64encode(bytes(16))
_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % _KEY
)


class Tally:
    """What all tunnels have done: the time of each echo in seconds, and what went wrong first."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.failure = ""
        self.ending = False


class Tunnel(asyncio.Protocol):
    """One client."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.rest = b""
        self.open = asyncio.get_running_loop().create_future()
        self.sent = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(_HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
            self.rest = b""
        if not self.open.done():
            self.handshake(data)
        elif data == _ECHO:
            now = time.perf_counter()
            self.tally.took.append(now - self.sent)
            self.sent = now
            self.transport.write(_FRAME)
        elif _ECHO.startswith(data):
            self.rest = data
        else:
            self.fail(f"an echo differs: {data[:80]!r}")

    def handshake(self, data: bytes) -> None:
        if b"\r\n\r\n" not in data:
            self.rest = data
        elif data.startswith(b"HTTP/1.1 101 ") and b": %b\r\n" % accept(_KEY) in data and data.endswith(b"\r\n\r\n"):
            self.open.set_result(None)
        else:
            self.fail(f"a handshake was answered with {data[:80]!r}")

    def start(self) -> None:
        """Send the first message."""
        self.sent = time.perf_counter()
        self.transport.write(_FRAME)

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(f"a tunnel broke off: {error or 'closed'}")

    def fail(self, why: str) -> None:
        if not self.tally.ending and not self.tally.failure:
            self.tally.failure = why
        if not self.open.done():
            self.open.set_exception(Failed(why))
            self.open.exception()  # seen, even where nobody waits any more


async def _echo(peer: Running, count: int, seconds: int) -> Sample:
    loop = asyncio.get_running_loop()
    tally = Tally()
    tunnels: list[Tunnel] = []
    try:
        async with asyncio.timeout(30):
            while len(tunnels) < count:
                dialling = (loop.create_connection(lambda: Tunnel(tally), "127.0.0.1", peer.port) for _ in range(_WAVE))
                opened = [protocol for _, protocol in await asyncio.gather(*dialling)]
                tunnels += opened
                await asyncio.gather(*(tunnel.open for tunnel in opened))
        for tunnel in tunnels:
            tunnel.start()
        await asyncio.sleep(WARM_UP)
        forget_peak(peer.pid)
        tally.took.clear()
        before = cpu_ns(peer.pid)
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        spent, took, lasted = cpu_ns(peer.pid) - before, tally.took, time.perf_counter() - began
        memory = peak_memory(peer.pid)
        if tally.failure or len(took) < count:
            raise Failed(tally.failure or "a tunnel stood still")
        cuts = statistics.quantiles(took, n=100)
        return Sample(spent / len(took) / 1000, len(took) / lasted, cuts[49] * 1000, cuts[98] * 1000, memory)
    except (OSError, TimeoutError) as error:
        raise Failed(f"the tunnels did not open: {error or 'not within 30 s'}") from error
    finally:
        tally.ending = True
        for tunnel in tunnels:
            tunnel.transport.abort()
        await asyncio.sleep(0.1)  # the proxy closes its ends, outside of the next measurement


def measure(peer: Running, count: int, seconds: int) -> Sample:
    """Warm up, and measure echoes through `count` tunnels: a message is one there and its echo back.

    Raises:
        Failed: a tunnel did not open, broke off, or echoed something else.
    """
    with on_core(0), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_echo(peer, count, seconds))
