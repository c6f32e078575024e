"""System calls of a running process that fail, or kill it: real ones, by strace."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fakes.arrivals import PATIENCE


@asynccontextmanager
async def injected(pid: int, calls: str, what: str) -> AsyncIterator[None]:
    """Inject into every thread of a process until the end of the block.

    Args:
        calls: names as strace knows them, such as ``fsync``, or ``/^rename``.
        what: such as ``error=EIO``, or ``signal=KILL:when=3``; calls are counted in each thread.
    """
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    tracer = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-p", str(pid), "-e", f"trace={calls}", "-e", f"inject={calls}:{what}"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    first = (await asyncio.wait_for(tracer.stderr.readline(), PATIENCE)).decode()
    if "attached" not in first:
        await tracer.wait()
        pytest.skip(f"strace may not trace here: {first.strip()}")
    reading = asyncio.create_task(_read(tracer.stderr))
    try:
        yield
    finally:
        if tracer.returncode is None:
            tracer.send_signal(signal.SIGINT)  # It lets go, and the process goes on.
        async with asyncio.timeout(PATIENCE):
            await tracer.wait()
            await reading


async def _read(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass
