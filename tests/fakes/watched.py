"""The real daemon with a watch on its event loop: ``python -m tests.fakes.watched --config FILE``.

SIGUSR1 begins to watch; when the daemon ends, it logs ``loop.watched`` with the longest stall since, in seconds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import structlog

from reauth_proxy import server

_TICK = 0.005


def _taken() -> float:
    """Return the seconds in which this thread could have run, and others did: programs, the kernel, other machines.

    Linux counts all of it: Documentation/scheduler/sched-stats.rst, and irq, softirq and steal in proc(5). Elsewhere it
    counts as ours.
    """
    try:
        waited = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()[1]
        stolen = Path("/proc/stat").read_text().partition("\n")[0].split()[6:9]
    except (OSError, IndexError):
        return 0.0
    return int(waited) / 1e9 + sum(map(int, stolen)) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Ticks, and notes by how much the latest tick was late through this program's own doing."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._watching = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before, taken = loop.time(), _taken()
            await asyncio.sleep(_TICK)
            if self._watching:
                self.longest = max(self.longest, loop.time() - before - _TICK - (_taken() - taken))

    def begin(self) -> None:
        self._watching = True


def main() -> int:
    serve = server._serve
    watch = Watch()

    async def watched(daemon: server.Daemon, config_file: Path) -> None:
        ticking = asyncio.create_task(watch.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, watch.begin)
        try:
            await serve(daemon, config_file)
        finally:
            ticking.cancel()

    server._serve = watched
    status = server.run(Path(sys.argv[2]))
    structlog.get_logger().error("loop.watched", longest=round(watch.longest, 4))
    return status


if __name__ == "__main__":
    sys.exit(main())
