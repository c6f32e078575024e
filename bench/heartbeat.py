"""`python -m bench.heartbeat CONFIG OUT`: the daemon, and a heartbeat that notes how long the loop stalls."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

from reauth_proxy.config.load import load
from reauth_proxy.daemon.server import Daemon, runner
from reauth_proxy.system.process import raise_file_limit, spare_the_collector
from reauth_proxy.telemetry import logs

BEAT = 0.001


async def main(config_file: Path) -> float:
    config = load(config_file)
    logs.configure(config.log.level, config.log.format)
    raise_file_limit()
    daemon = Daemon(config)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await daemon.start()
    spare_the_collector()
    longest = 0.0
    last = time.monotonic()
    while not stop.is_set():
        await asyncio.sleep(BEAT)
        now = time.monotonic()
        longest = max(longest, now - last - BEAT)
        last = now
    await daemon.stop()
    return longest


if __name__ == "__main__":
    with runner() as loop:
        Path(sys.argv[2]).write_text(f"{loop.run(main(Path(sys.argv[1]))):.6f}")
