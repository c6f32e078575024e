"""Requests in number, and what became of each."""

from __future__ import annotations

import asyncio
import json
import resource
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import RawClient, connect
from tests.fakes.daemon import INTERPRETER, DaemonProcess, cared_for, settings
from tests.fakes.upstream import FakeUpstream
from tests.load.upstream import UpstreamProcess

#: Seconds after which a request counts as hanging; longer than any here may take.
HANGING = 10.0


@dataclass
class Outcome:
    """What became of one request.

    Attributes:
        how: a status as text, or: refused (no connection), reset, half (an answer broke off),
            closed (no byte of an answer), hanging.
        reused: the connection had carried a request before.
        code: of an answer that the proxy made.
    """

    id: str
    method: str
    reused: bool
    began: float
    ended: float = 0.0
    how: str = ""
    code: str = ""


class Keeper:
    """A client that keeps its connection, or makes a new one for each request."""

    def __init__(self, url: str, *, keeps: bool = True) -> None:
        self.url = url
        self.keeps = keeps
        self._client: RawClient | None = None

    async def ask(self, name: str, *, method: str = "GET", fields: tuple[tuple[str, str], ...] = ()) -> Outcome:
        """Send one request; whatever happens is an outcome."""
        time = asyncio.get_running_loop().time
        client = self._client
        if client is not None and client.reader.at_eof():  # it was closed while nobody wanted anything
            self.close()
            client = None
        outcome = Outcome(name, method, client is not None, time())
        try:
            async with asyncio.timeout(HANGING):
                await self._exchange(outcome, fields)
        except ConnectionRefusedError:
            outcome.how = "refused"
        except asyncio.IncompleteReadError as error:
            begun = error.partial or self._client is None or outcome.how
            outcome.how = "half" if begun else "closed"
        except ConnectionError:
            outcome.how = "reset"
        except TimeoutError:
            outcome.how = "hanging"
        outcome.ended = time()
        if not outcome.how.isdigit() or not self.keeps:
            self.close()
        return outcome

    async def _exchange(self, outcome: Outcome, fields: tuple[tuple[str, str], ...]) -> None:
        if self._client is None:
            self._client = await connect(self.url)
        content = b"x" * 100 if outcome.method == "POST" else b""
        await self._client.request(method=outcome.method, fields=[("X-Id", outcome.id), *fields], content=content)
        answer = await self._client.answer()
        outcome.how = str(answer.status)
        if answer.value("Content-Type") == "application/problem+json":
            outcome.code = json.loads(answer.content)["code"]
        if answer.value("Connection") == "close":
            self.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


class Traffic:
    """Requests at a steady rate, every other one a POST, every fourth on a connection of its own.

    Use it with ``async with``; at its end every request has its outcome.
    """

    def __init__(self, url: str, *, rate: float = 200.0, fields: tuple[tuple[str, str], ...] = ()) -> None:
        self.url = url
        self.rate = rate
        self.fields = fields
        self.outcomes: list[Outcome] = []
        self._idle: list[Keeper] = []
        self._asking: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Traffic:
        self._steady = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._steady.cancel()
        await asyncio.gather(self._steady, return_exceptions=True)
        await asyncio.gather(*self._asking)
        for keeper in self._idle:
            keeper.close()

    async def answered(self, more: int) -> None:
        """Return once there have been so many more outcomes."""
        number = len(self.outcomes) + more
        async with asyncio.timeout(30 + more / self.rate):
            while len(self.outcomes) < number:
                await asyncio.sleep(0.01)

    def became(self) -> Counter[str]:
        """Return how many outcomes there were of each kind."""
        return Counter(outcome.how for outcome in self.outcomes)

    async def _send(self) -> None:
        time = asyncio.get_running_loop().time
        began, number = time(), 0
        while True:
            task = asyncio.create_task(self._one(number))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            number += 1
            await asyncio.sleep(max(0.0, began + number / self.rate - time()))

    async def _one(self, number: int) -> None:
        keeps = number % 4 != 0
        keeper = self._idle.pop() if keeps and self._idle else Keeper(self.url, keeps=keeps)
        method = "POST" if number % 2 else "GET"
        self.outcomes.append(await keeper.ask(f"r{number}", method=method, fields=self.fields))
        if keeps:
            self._idle.append(keeper)


@asynccontextmanager
async def loaded_daemon(
    directory: Path,
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream | UpstreamProcess,
    /,
    *,
    command: tuple[str, ...] = INTERPRETER,  # its memory is looked at
    **overrides: Any,
) -> AsyncIterator[DaemonProcess]:
    """Run the daemon as a process, logging as it does by default."""
    made = settings(authorization, upstream, **{"log": {"level": "info"}, **overrides})  # type: ignore[arg-type]
    daemon = DaemonProcess(directory, made, command=command)
    async with cared_for(daemon):
        await daemon.start()
        yield daemon


def peak_memory(pid: int) -> float:
    """Return the most memory that a process has had, in megabytes."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1000


def allow_files(number: int) -> None:
    """Raise the limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        pytest.skip(f"needs {number} open files, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), hard))


class LogWatch:
    """Waits for log lines of a daemon under load, and reads each line once."""

    def __init__(self, daemon: DaemonProcess, event: str) -> None:
        self.daemon = daemon
        self.event = f'"{event}"'
        self.count = 0
        self._at = len(daemon._log)

    async def more(self) -> None:
        """Return once there is one more of this event."""
        wanted = self.count + 1

        def there() -> bool:
            for line in self.daemon._log[self._at :]:
                self.count += self.event in line
            self._at = len(self.daemon._log)
            return self.count >= wanted

        async with asyncio.timeout(HANGING), self.daemon._lines:
            await self.daemon._lines.wait_for(there)


async def soon(true: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does."""
    try:
        async with asyncio.timeout(HANGING):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {HANGING:g} s: {what}") from None
