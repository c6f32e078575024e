"""A command as a process, whose standard output a test reads line by line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.fakes import preloaded
from tests.fakes.arrivals import PATIENCE


class Program:
    """A running ``reauth-proxy …``; `out` holds the standard output that was read so far."""

    def __init__(self, process: asyncio.subprocess.Process | preloaded.Process) -> None:
        self.process = process
        self.out = ""

    async def says(self, text: str) -> str:
        """Read until a line has `text` in it; return all that was said."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while text not in self.out:
                line = await self.process.stdout.readline()
                assert line, f"it ended without saying {text!r}: {self.out}"
                self.out += line.decode()
        return self.out

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Return the exit status, once it has ended; `out` holds all that it said."""
        async with asyncio.timeout(PATIENCE):
            self.out += (await self.process.communicate())[0].decode()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def program(*arguments: str, **environ: str) -> AsyncIterator[Program]:
    """Run ``reauth-proxy`` with these arguments and variables; its log and its output are one."""
    env = {**os.environ, "PYTHONWARNINGS": "error", **environ}
    process = await preloaded.FORK_SERVER.launch(*arguments, env=env, stderr=asyncio.subprocess.STDOUT)
    running = Program(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                await running.end(signal.SIGKILL)
