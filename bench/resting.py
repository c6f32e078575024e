"""What the daemon costs while nothing happens: its start, its first request, itself, and each idle connection."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import Process
from pathlib import Path

from bench.load import Failed
from bench.processes import cpu_ns
from bench.storm import World

CONNECTIONS = 5_000
STARTS = 10
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def memory(pid: int) -> float:
    """Return the resident memory of a process now, in KiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return float(found[1]) if found else 0.0


async def _ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection, and have one request answered on it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise Failed(f"an answer of {head[:40]!r}")
    await reader.readexactly(2)
    return reader, writer


class Daemons:
    """Starts daemons, one after the other, in front of the same upstream."""

    def __init__(self, root: Path, upstream: int, endpoint: int) -> None:
        self._root = root
        config = root / "config.yaml"
        config.touch(0o600)  # a token is in it
        config.write_text(f"""
listen: 127.0.0.1:0
upstream: http://127.0.0.1:{upstream}
credential:
  refresh_token: bench
  token_endpoint: {{url: "http://127.0.0.1:{endpoint}/token", client_id: bench}}
store: {{type: memory}}
log: {{format: json}}
limits: {{connections: {CONNECTIONS + 100}, upstream_connections: 1000}}
control: {{listen: "127.0.0.1:0"}}
""")

    async def start(self) -> tuple[Process, int, float]:
        """Return a daemon that listens, its port, and the seconds of CPU time that it took until then."""
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reauth_proxy", "--config", str(self._root / "config.yaml")),
            stderr=asyncio.subprocess.PIPE,
            env={**environ, "PYTHONPYCACHEPREFIX": str(self._root / "bytecode")},
        )
        assert process.stderr is not None
        async with asyncio.timeout(30):
            while b"server.started" not in (line := await process.stderr.readline()):
                if not line:
                    raise Failed("the daemon ended")
        took = cpu_ns(process.pid) / 1e9
        found = re.search(rb'"listen": "http://127.0.0.1:(\d+)"', line)
        assert found is not None
        return process, int(found[1]), took


async def _end(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    await process.communicate()


async def resting() -> list[str]:
    """Measure; return a line for each figure.

    Raises:
        Failed: this machine allows too few open files, or the daemon ended.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CONNECTIONS * 2:
        raise Failed(f"it takes {CONNECTIONS * 2} open files, and `ulimit -Hn` is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    world = World()
    endpoint = await asyncio.start_server(world.issue, "127.0.0.1", 0)
    upstream = await asyncio.start_server(world.serve, "127.0.0.1", 0, backlog=4096)
    root = Path(tempfile.mkdtemp(prefix="reauth-resting-"))
    daemons = Daemons(root, upstream.sockets[0].getsockname()[1], endpoint.sockets[0].getsockname()[1])
    try:
        started, first = [], []
        for number in range(STARTS + 1):
            process, port, took = await daemons.start()
            since = time.perf_counter()
            _, writer = await _ask(port)
            if number:  # the first writes the bytecode, as an installation does
                started.append(took)
                first.append(time.perf_counter() - since)
            writer.close()
            await _end(process)
        lines = [
            f"- start: {statistics.median(started):.2f} s of CPU time (median of {STARTS}; least {min(started):.2f})",
            f"- first request, the first token included: {statistics.median(first) * 1000:.1f} ms (median)",
        ]
        return lines + await _idle(daemons)
    finally:
        endpoint.close()
        upstream.close()
        shutil.rmtree(root, ignore_errors=True)


async def _idle(daemons: Daemons) -> list[str]:
    process, port, _ = await daemons.start()
    try:
        (_, writer) = await _ask(port)
        await asyncio.sleep(1)
        alone = memory(process.pid)
        idle = [writer]
        for _ in range(0, CONNECTIONS - 1, 100):
            idle += [writer for _, writer in await asyncio.gather(*(_ask(port) for _ in range(100)))]
        await asyncio.sleep(1)
        each = (memory(process.pid) - alone) / len(idle)
        for writer in idle:
            writer.close()
    finally:
        await _end(process)
    return [
        f"- idle: {alone / 1024:.1f} MiB",
        f"- each of {len(idle):,} idle client connections that had a request: {each:.1f} KiB",
    ]
