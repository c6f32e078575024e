"""What the soak plays on: a store that can fail, and daemons that can be killed, stopped and configured anew."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from reauth_proxy.errors import StoreError
from reauth_proxy.session.tokens import StoredSession
from reauth_proxy.stores import record
from tests.fakes.daemon import INTERPRETER, DaemonProcess
from tests.fakes.hanging_disk import HangingDisk
from tests.fakes.redis import RedisServer, redis_server
from tests.soak.judge import Judge

KEY: Final = "reauth-proxy:soak"
#: As the daemons are configured, in seconds.
PARK_TIMEOUT: Final = 8.0
STORE_TIMEOUT: Final = 2.0


class Place(Protocol):
    """Where the session is kept.

    Attributes:
        settings: for the configuration.
        environ: that a daemon needs.
        faults: how it can fail.
    """

    settings: dict[str, Any]
    environ: dict[str, str]
    faults: tuple[str, ...]

    async def read(self) -> StoredSession | None:
        """Return what it holds. Raises OSError where nobody can tell."""
        ...

    async def fail(self, fault: str) -> None:
        """Fail, until :meth:`mend`."""
        ...

    async def mend(self) -> None:
        """Work again."""
        ...


class FilePlace:
    """A file on a disk that hangs, or is full."""

    faults = ("full", "full", "open", "fsync", "rename", "flock", "stat")

    def __init__(self, directory: Path) -> None:
        (directory / "disk").mkdir()
        self._disk = HangingDisk(directory, directory / "disk")
        self.path = directory / "disk" / "session.json"
        self.settings = {"type": "file", "path": str(self.path), "timeout": STORE_TIMEOUT}
        self.environ = self._disk.environ

    async def read(self) -> StoredSession | None:
        try:
            return record.decode(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except StoreError as error:
            raise OSError(str(error)) from None

    async def fail(self, fault: str) -> None:
        if fault == "full":
            self._disk.fill()
        else:
            self._disk.hang(fault)

    async def mend(self) -> None:
        self._disk.go_on()


class RedisPlace:
    """A Redis that is stopped, restarted, or forgets."""

    faults = ("paused", "paused", "away", "forgets")

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._client: Redis | None = None
        self._paused = False
        self.settings = {"type": "redis", "url": server.url, "key": KEY, "timeout": STORE_TIMEOUT}
        self.environ: dict[str, str] = {}

    async def read(self) -> StoredSession | None:
        if self._client is None:
            self._client = Redis.from_url(self._server.url, socket_timeout=0.5, socket_connect_timeout=0.5)
        try:
            data = await self._client.hget(f"{{{KEY}}}", "data")  # type: ignore[misc]
        except (RedisError, OSError, TimeoutError):
            raise OSError("Redis is away") from None
        return None if data is None else record.decode(data)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def fail(self, fault: str) -> None:
        if fault == "paused":
            self._server.pause()
            self._paused = True
        else:
            await self._server.end()
            if fault == "forgets":
                self._server.forget()

    async def mend(self) -> None:
        if self._paused:
            self._server.go_on()
            self._paused = False
        elif self._server.process is None:
            await self._server.start()


@asynccontextmanager
async def a_place(kind: str, directory: Path) -> AsyncIterator[FilePlace | RedisPlace]:
    """Make a store of this kind."""
    if kind == "file":
        place = FilePlace(directory)
        try:
            yield place
        finally:
            await place.mend()
        return
    async with redis_server() as server:
        redis = RedisPlace(server)
        try:
            yield redis
        finally:
            await redis.mend()
            await redis.close()


class Replica:
    """One of the daemons, through all of its processes.

    Attributes:
        busy: held by whoever stops, kills or configures it.
        process: the newest one.
    """

    def __init__(
        self, name: str, directory: Path, settings: dict[str, Any], judge: Judge, environ: dict[str, str]
    ) -> None:
        self.name = name
        self.judge = judge
        self.settings = settings
        self.busy = asyncio.Lock()
        self.url = self.control = ""
        self.number = 0
        #: The last one that began to serve.
        self.started = 0
        self.process: DaemonProcess | None = None
        self._directory = directory
        self._environ = environ
        self._read = 0
        directory.mkdir()

    @property
    def incarnation(self) -> str:
        return f"{self.name}#{self.number}"

    @property
    def config_path(self) -> Path:
        return self._directory / "config.yaml"

    async def start(self) -> None:
        """Start it; again and again, while its store is away."""
        while True:
            self.number += 1
            directory = self._directory / str(self.number)
            directory.mkdir()
            self.process = DaemonProcess(directory, self.settings, command=INTERPRETER)
            self.process.environ |= self._environ
            self.process.config_path = self.config_path
            self.process.write_config()
            self._read = 0
            try:
                await self.process.start()
            except AssertionError:
                self.judge.counts["starts refused"] += 1
                await self.process.ended()
                self.scan()
                await asyncio.sleep(0.5)
                continue
            except TimeoutError:
                self.judge.violation("does not start", time.monotonic(), daemon=self.incarnation)
                await self.kill()
                continue
            break
        self.url = self.process.url
        self.control = (await self.process.logged("server.started"))["control"]
        self.started = self.number

    def configure(self, **overrides: Any) -> None:
        """Change its file, and have it read it."""
        assert self.process is not None
        self.process.write_config(**overrides)
        self.settings = self.process.settings
        with contextlib.suppress(ProcessLookupError):
            self.process.signal(signal.SIGHUP)

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        assert self.process is not None
        try:
            self.process.signal(number)
            await self.process.ended()
        except (ProcessLookupError, TimeoutError) as error:
            self.judge.violation("does not end", time.monotonic(), daemon=self.incarnation, why=repr(error))
            self.process.signal(signal.SIGKILL)
            await self.process.ended()
        self.scan()

    def scan(self) -> None:
        """Look at the new lines of its log."""
        if self.process is None:
            return
        lines = self.process._log
        while self._read < len(lines):
            line = lines[self._read]
            self._read += 1
            self._judge(line)

    def _judge(self, line: str) -> None:
        now = time.monotonic()
        for bad in ("Traceback", "never retrieved", "CANARY", "refresh.failed", "request.failed", "IllegalTransition"):
            if bad in line:
                self.judge.violation(f"in the log: {bad}", now, daemon=self.incarnation, line=line[:400])
        if '"request.finished"' in line or not line.startswith("{"):
            return
        event = json.loads(line)
        name = event["event"]
        if name == "session.signed_out":
            name += f" {event.get('reason')}{' adopted' if event.get('adopted') else ''}"
        if name.startswith(("session.", "refresh.", "store.", "credential.")):
            self.judge.counts[f"log: {name}"] += 1
