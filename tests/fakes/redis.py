"""A real redis-server of a test's own, that can be killed, stopped and started again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.fakes.arrivals import PATIENCE


class RedisServer:
    """Listens on a Unix socket, with an append-only file, as replicas need it.

    Args:
        directory: for its socket and its data.
        arguments: more of its options.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.socket = directory / "redis.sock"
        self.arguments = arguments
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    async def start(self) -> None:
        """Start it, with what it held when it ended; return once it answers."""
        options = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.directory), "--save", ""]
        durable = ["--appendonly", "yes", "--appendfsync", "always"]
        self.process = await asyncio.create_subprocess_exec(
            *("redis-server", *options, *durable, *self.arguments), stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    async with self.client() as client:
                        await client.ping()
                        return
                except Exception:
                    await asyncio.sleep(0.01)

    def client(self) -> Redis:
        return Redis.from_url(self.url)

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            await self.process.wait()
            self.process = None
            self.socket.unlink(missing_ok=True)

    def pause(self) -> None:
        """Let it accept connections, and answer nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def forget(self) -> None:
        """Lose what it held, while it is down."""
        assert self.process is None
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)


@asynccontextmanager
async def redis_server(*arguments: str) -> AsyncIterator[RedisServer]:
    """Run one."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    # A socket's path is short.
    directory = Path(tempfile.mkdtemp(prefix="redis"))
    server = RedisServer(directory, *arguments)
    try:
        await server.start()
        yield server
    finally:
        if server.process is not None:
            server.go_on()
        await server.end()
        shutil.rmtree(directory)
