"""The real daemon with a watch on its event loop: ``python -m tests.fakes.watched --config FILE``.

SIGUSR1 begins to watch; when the daemon ends, it logs ``loop.watched`` with the longest stall since, in seconds.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path

import structlog

from reauth_proxy.daemon import server
from tests.fakes.scheduling import taken

_TICK = 0.005


class Watch:
    """Ticks, and notes by how much the latest tick was late through this program's own doing."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._watching = False

    async def run(self) -> None:
        loop, thread = asyncio.get_running_loop(), threading.get_native_id()
        while True:
            before, lost = loop.time(), taken(thread)
            await asyncio.sleep(_TICK)
            if self._watching:
                self.longest = max(self.longest, loop.time() - before - _TICK - (taken(thread) - lost))

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
