"""A refresh storm: thousands of requests parked behind one refresh, and then released.

The token endpoint and the upstream are in this process, as small as they can be; the daemon is in one of its own.
"""

from __future__ import annotations

import asyncio
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.load import Failed
from bench.processes import peak_memory

WAVE = 200


@dataclass(frozen=True)
class Outcome:
    """What became of a storm: answers by status, token requests for it, seconds, and the daemon's peak memory in MB."""

    parked: int
    answers: dict[int, int]
    token_requests: int
    drained: float
    longest_stall: float
    memory: float

    def __str__(self) -> str:
        answers = ", ".join(f"{count} × {status}" for status, count in sorted(self.answers.items()))
        return (
            f"{self.parked} parked: {self.token_requests} token request(s), {answers}, "
            f"drained in {self.drained:.2f} s, longest loop stall {self.longest_stall * 1000:.0f} ms, "
            f"peak RSS {self.memory:.0f} MB"
        )


class World:
    """A token endpoint that can be held, and an upstream that wants its newest token."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.calls = 0
        self.rejected = 0
        self.token = ""
        self.changed = asyncio.Condition()

    async def has_rejected(self, count: int) -> None:
        """Return once that many requests were rejected."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.rejected >= count)

    async def issue(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        self.calls += 1
        await self.open.wait()
        self.token = f"bench-{self.calls}"
        body = f'{{"access_token":"{self.token}","refresh_token":"r{self.calls}","expires_in":3600}}'.encode()
        kind = b"Content-Type: application/json\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (kind, len(body), body))
        writer.close()
        async with self.changed:
            self.changed.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"Bearer " + self.token.encode() + b"\r\n" in head:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    continue
                self.rejected += 1
                writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
                async with self.changed:
                    self.changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def ask(port: int) -> tuple[int, float]:
    """Send one request; return the status and when the answer came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head[9:12]), time.monotonic()
    finally:
        writer.close()


def _allow_files(count: int) -> None:
    """Raise the limit of open files: an end of each client's connection, and the upstream's, of which there are few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + count // 10 + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Failed(f"it takes {needed} open files, and `ulimit -Hn` is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _first_token(world: World, daemon: Process, log: Path) -> None:
    """Return once the daemon has a token.

    Raises:
        Failed: it ended instead.
    """

    async def has_token() -> None:
        async with world.changed:
            await world.changed.wait_for(lambda: world.token)

    token, ended = asyncio.create_task(has_token()), asyncio.create_task(daemon.wait())
    try:
        async with asyncio.timeout(60):
            await asyncio.wait([token, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        token.cancel()
        ended.cancel()
    if not world.token:
        said = await asyncio.to_thread(log.read_text)
        raise Failed(f"the daemon ended with {daemon.returncode}: {said.strip()[-300:]}")


async def storm(count: int) -> Outcome:
    """Park `count` requests, release them, and say what became of them.

    Raises:
        Failed: this machine allows too few open files, or the daemon ended.
        TimeoutError: five minutes have passed.
    """
    _allow_files(count)
    world = World()
    endpoint = await asyncio.start_server(world.issue, "127.0.0.1", 0)
    upstream = await asyncio.start_server(world.serve, "127.0.0.1", 0, backlog=4096)
    root = Path(tempfile.mkdtemp(prefix="reauth-storm-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (root / "config.yaml").touch(0o600)  # a token is in it
    (root / "config.yaml").write_text(f"""
listen: 127.0.0.1:{port}
upstream: http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}
credential:
  refresh_token: bench
  token_endpoint: {{url: "http://127.0.0.1:{endpoint.sockets[0].getsockname()[1]}/token", client_id: bench}}
store: {{type: memory}}
log: {{format: json}}
refresh: {{max_parked: 100000, park_timeout: 5m, timeout: 5m}}
limits: {{connections: {count + 100}, upstream_connections: 1000, upstream_queue: {count}}}
control: null
""")
    with (root / "log").open("wb") as log:
        daemon = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.heartbeat", str(root / "config.yaml"), str(root / "stall"), stderr=log
        )
    try:
        await _first_token(world, daemon, root / "log")
        await ask(port)
        calls = world.calls
        world.token = "revoked"
        world.open.clear()
        asking: list[asyncio.Task[tuple[int, float]]] = []
        async with asyncio.timeout(300):
            for start in range(0, count, WAVE):
                asking += [asyncio.create_task(ask(port)) for _ in range(min(WAVE, count - start))]
                # The token has not expired by the clock: each is sent once, rejected, and then parked.
                await world.has_rejected(len(asking))
            released = time.monotonic()
            world.open.set()
            answers = await asyncio.gather(*asking)
        memory = peak_memory(daemon.pid)
        daemon.send_signal(signal.SIGTERM)
        await daemon.wait()
        return Outcome(
            count,
            dict(Counter(status for status, _ in answers)),
            world.calls - calls,
            max(when for _, when in answers) - released,
            float((root / "stall").read_text()),
            memory,
        )
    finally:
        if daemon.returncode is None:
            daemon.kill()
            await daemon.wait()
        endpoint.close()
        upstream.close()
        shutil.rmtree(root, ignore_errors=True)
