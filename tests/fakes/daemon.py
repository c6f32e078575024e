"""The daemon between the fakes: in this process, or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
import yaml

from reauth_proxy.config.load import parse
from reauth_proxy.config.model import Config
from reauth_proxy.daemon.server import Daemon
from reauth_proxy.session.tokens import Instant
from reauth_proxy.telemetry import logs
from tests.fakes import preloaded
from tests.fakes.arrivals import PATIENCE
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.files import write_secret
from tests.fakes.leaks import leaks
from tests.fakes.upstream import FakeUpstream

#: Starts the daemon as people do, in an interpreter of its own.
INTERPRETER: Final = (sys.executable, "-m", "reauth_proxy")
#: Logs of daemon processes, searched for the canary at the end of the run.
LOG_FILES: set[Path] = set()


def settings(authorization: FakeAuthorizationServer, upstream: FakeUpstream, /, **overrides: Any) -> dict[str, Any]:
    """Return a configuration for the fakes: port 0, a store in memory, no renewal behind the scenes, debug logs.

    `overrides` are merged in, section by section; a value of None removes a key.
    """
    base: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "upstream": upstream.url,
        "credential": {
            "refresh_token": authorization.first,
            "token_endpoint": {"url": authorization.url, "client_id": "web", "client_auth": "none"},
        },
        "store": {"type": "memory"},
        "refresh": {"background": False},
        "drain_timeout": "1s",
        "log": {"level": "debug", "format": "json"},
        "control": {"listen": None},
    }
    return _merged(base, overrides)


def _merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict) and "type" not in value:
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def config(authorization: FakeAuthorizationServer, upstream: FakeUpstream, /, **overrides: Any) -> Config:
    """Return the settings as they come out of a file."""
    return parse(yaml.safe_dump(settings(authorization, upstream, **overrides)), "test.yaml", {}, Path())


class Log(io.StringIO):
    """A log in memory that can be waited for; threads write to it, too."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._more.set)
        return written

    async def until(self, true: Callable[[], bool]) -> None:
        """Return once something is true of what was written."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                self._more.clear()
                await self._more.wait()


class RunningDaemon(Daemon):
    """A daemon in this process, with its log."""

    log: Log

    def pass_time(self, seconds: float) -> None:
        """Let the session's clocks jump ahead; its timers stay where they are."""
        ahead = self.session._clock().after(seconds)
        since = time.monotonic()

        def clock() -> Instant:
            return ahead.after(time.monotonic() - since)

        self.session._clock = clock

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        return events(self.log.getvalue(), name)


def events(text: str, name: str) -> list[dict[str, Any]]:
    """Return the lines of a JSON log that have this event."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


@asynccontextmanager
async def running_daemon(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, /, **overrides: Any
) -> AsyncIterator[RunningDaemon]:
    """Run a daemon in this process; at the end nothing in its log or its repr is secret, and nobody is parked."""
    built = config(authorization, upstream, **overrides)
    daemon = RunningDaemon(built)
    daemon.log = Log()
    logs.configure(built.log.level, built.log.format, daemon.log)
    try:
        await daemon.start()
        try:
            yield daemon
        finally:
            plan = daemon._forwarder.plan
            shown = repr(
                [daemon, daemon.session, plan, [route.pool for route in plan.routes], daemon._forwarder, built]
            )
            await daemon.stop()
            assert daemon.session.parked == 0
    finally:
        logs.configure("info", "json")
        structlog.reset_defaults()
    assert not leaks(shown)
    assert not leaks(daemon.log.getvalue())


class DaemonProcess:
    """``reauth-proxy --config FILE`` as a process. Its log is in `log`, and grows in `log_path`.

    Args:
        directory: for its files; the session is in `store_path`, unless the settings say otherwise.
        command: what to run instead of a process that has imported everything, such as :data:`INTERPRETER`.
    """

    def __init__(
        self,
        directory: Path,
        settings: dict[str, Any],
        *,
        command: tuple[str, ...] | None = None,
    ) -> None:
        self.directory = directory
        self.config_path = directory / "config.yaml"
        self.store_path = directory / "state" / "session.json"
        self.log_path = directory / "daemon.log"
        self.out_path = directory / "daemon.out"
        self.url = ""
        self.command = command
        self.environ = {"PYTHONWARNINGS": "error"}
        self.process: asyncio.subprocess.Process | preloaded.Process | None = None
        self._copying: asyncio.Task[None] | None = None
        self._lines = asyncio.Condition()
        self._log: list[str] = []
        self._ended = False
        if settings.get("store", {}).get("type") == "memory":
            settings = {**settings, "store": {"type": "file", "path": str(self.store_path)}}
        self.settings = settings
        LOG_FILES.update((self.log_path, self.out_path))

    @property
    def log(self) -> str:
        return "".join(self._log)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def write_config(self, **overrides: Any) -> None:
        """Write the file, with changes to it."""
        self.settings = _merged(self.settings, overrides)
        write_secret(self.config_path, yaml.safe_dump(self.settings))

    async def start(self) -> None:
        """Start it, and return once it listens."""
        await self.launch()
        started = await self.logged("server.started", len(events(self.log, "server.started")) + 1)
        self.url = started["listen"]

    async def launch(self) -> None:
        """Start it."""
        if not self.config_path.exists():
            self.write_config()
        arguments = ("--config", str(self.config_path))
        env = {**os.environ, **self.environ}
        with self.out_path.open("ab") as out:
            if self.command is None:
                self.process = await preloaded.FORK_SERVER.launch(*arguments, env=env, stdout=out.fileno())
            else:
                self.process = await asyncio.create_subprocess_exec(
                    *self.command,
                    *arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out,
                    stderr=asyncio.subprocess.PIPE,
                    env=env,
                )
        self._ended = False
        self._copying = asyncio.create_task(self._copy())

    async def logged(self, event: str, number: int = 1, *, has: str = "") -> dict[str, Any]:
        """Return the n-th line with this event, and with a text in it, once it is there."""

        def lines() -> list[dict[str, Any]]:
            return [line for line in events(self.log, event) if has in str(line)]

        async with asyncio.timeout(PATIENCE), self._lines:
            await self._lines.wait_for(lambda: len(lines()) >= number or self._ended)
        found = lines()
        assert len(found) >= number, f"it ended without {event}:\n{self.log}"
        return found[number - 1]

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Return its exit status, once it has ended."""
        assert self.process is not None
        assert self._copying is not None
        async with asyncio.timeout(PATIENCE):
            await self._copying
            return await self.process.wait()

    async def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> int:
        """SIGTERM, and wait for the end; return the exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def _copy(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        try:
            with self.log_path.open("a") as file:
                async for line in self.process.stderr:
                    self._log.append(line.decode())
                    file.write(self._log[-1])
                    file.flush()
                    async with self._lines:
                        self._lines.notify_all()
        finally:
            self._ended = True
            async with self._lines:
                self._lines.notify_all()


@asynccontextmanager
async def daemon_process(
    directory: Path,
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    /,
    *,
    command: tuple[str, ...] | None = None,
    **overrides: Any,
) -> AsyncIterator[DaemonProcess]:
    """Run the daemon as a process, with a store in a file; at the end nothing in its log is secret."""
    made = settings(authorization, upstream, **overrides)
    async with cared_for(DaemonProcess(directory, made, command=command)) as daemon:
        await daemon.start()
        yield daemon


@asynccontextmanager
async def cared_for(daemon: DaemonProcess) -> AsyncIterator[DaemonProcess]:
    """End what a test left running; nothing in the log is secret, or an error that nobody expected."""
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                daemon.signal(signal.SIGKILL)
            await daemon.ended()
    assert not leaks(daemon.log)
    assert "Traceback" not in daemon.log
