"""A daemon between exact bytes and a strict upstream, and what a client hears on one connection."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from reauth_proxy import errors
from tests.fakes.authorization import authorization_server
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.raw.corpus import GOOD
from tests.raw.strict import StrictUpstream, running

#: Seconds in which the proxy has to say what it thinks, and to close; less than any of its own timeouts.
PATIENCE: Final = 6.0

Way = Literal["whole", "byte by byte"]

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) [\t -~\x80-\xff]*")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([\t -~\x80-\xff]*)")
#: What a log has only where something is wrong with the proxy.
ALARMS: Final = ("Traceback", "request.failed", '"level": "error"', '"level":"error"')
#: A run of one byte, or of one line, is an amount, not a shape: it is sent in larger pieces.
_RUN: Final = re.compile(rb"(.)\1{40,}|(?:X: y\r\n){40,}", re.DOTALL)

#: Which status each of the proxy's own answers has.
STATUS_OF: Final = {
    kind.code: kind.status
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.Refusal) and kind is not errors.Refusal
}


@dataclass
class Told:
    """One answer."""

    status: int
    fields: list[tuple[bytes, bytes]]
    content: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.fields if found.lower() == name]

    @property
    def code(self) -> str:
        """The code of an answer that is the proxy's own, and in order."""
        assert self.values(b"content-type") == [b"application/problem+json"], self
        problem = json.loads(self.content)
        assert problem["status"] == self.status
        assert STATUS_OF[problem["code"]] == self.status
        assert self.values(b"connection") == [b"close"], "a refusal ends the connection"
        assert self.values(b"proxy-status")[0].startswith(b"reauth-proxy; error=")
        code: str = problem["code"]
        return code


def parse(data: bytes) -> list[Told]:
    """Return the answers that `data` is made of, to the last byte, without the interim ones."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        status = _STATUS.fullmatch(first)
        assert end, f"half a header section: {head!r}"
        assert status, f"not a status line: {first!r}"
        matches = [_FIELD.fullmatch(line) for line in lines]
        assert all(matches), f"not a field line in {lines!r}"
        told = Told(int(status[1]), [(match[1], match[2]) for match in matches if match], b"")
        if told.status < 200:
            continue
        (length,) = told.values(b"content-length")
        assert len(data) >= int(length), f"half an answer: {told} {data!r}"
        told.content, data = data[: int(length)], data[int(length) :]
        found.append(told)
    return found


def pieces(data: bytes, way: Way) -> Iterator[bytes]:
    """Cut what is sent into packets."""
    if way == "whole":
        yield data
        return
    done = 0
    for run in _RUN.finditer(data):
        yield from (data[at : at + 1] for at in range(done, run.start() + 1))
        yield from (data[at : min(at + 4093, run.end())] for at in range(run.start() + 1, run.end(), 4093))
        done = run.end()
    yield from (data[at : at + 1] for at in range(done, len(data)))


@dataclass
class Stage:
    """A running daemon, the upstream behind it, and what it said on its log."""

    port: int
    upstream: StrictUpstream
    log: Callable[[], str]
    daemon: RunningDaemon | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)
    judged: int = 0

    def front(self) -> asyncio.Protocol:
        """Return the protocol of one more client's connection."""
        assert self.daemon is not None
        return self.daemon._front()

    def connections(self) -> int:
        """Return how many connections from clients there are, and requests under way."""
        assert self.daemon is not None
        return self.daemon._front.count + self.daemon._forwarder.active

    async def hears(self, data: bytes, way: Way = "whole", *, ends: bool = False) -> bytes:
        """Return all that a client that sends `data` is told until the proxy closes the connection.

        Args:
            ends: the client ends its own side afterwards.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        told = bytearray()

        async def listen() -> None:
            while part := await reader.read(1 << 16):
                told.extend(part)

        listening = asyncio.create_task(listen())
        try:
            async with asyncio.timeout(PATIENCE):
                for piece in pieces(data, way):
                    if listening.done():
                        break
                    writer.write(piece)
                    await asyncio.sleep(0)  # the byte has left; and in the next turn the daemon reads it
                    await asyncio.sleep(0)
                    await writer.drain()
                if ends and not writer.is_closing():
                    writer.write_eof()
                await listening
        except TimeoutError:
            raise AssertionError(f"the proxy did not close the connection; so far it said {bytes(told)!r}") from None
        except ConnectionError as error:
            if not ends:
                raise AssertionError(f"{error!r} instead of a close; so far it said {bytes(told)!r}") from None
        finally:
            listening.cancel()
            writer.close()
        return bytes(told)

    async def serves(self) -> None:
        """A good request on a new connection gets its own answer."""
        target = b"/good/%d" % next(self.numbers)
        (told,) = parse(
            await self.hears(GOOD.replace(b"/good", target).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        )
        assert (told.status, told.content) == (200, target)

    def take(self) -> list[bytes]:
        """Return the targets that the upstream has seen since the last call, without the good ones."""
        targets = [seen.target for seen in self.upstream.seen if not seen.target.startswith(b"/good")]
        self.upstream.seen.clear()
        return targets

    def calm(self) -> None:
        """Nothing since the last call was a defect of the proxy."""
        log = self.log()
        new, self.judged = log[self.judged :], len(log)
        lines = [line for line in new.splitlines() if any(word in line for word in ALARMS)]
        assert not lines, lines
        violations, self.upstream.violations = self.upstream.violations, []
        assert not violations


@asynccontextmanager
async def staged(behind: StrictUpstream | None = None, **overrides: Any) -> AsyncIterator[Stage]:
    """Run a daemon in this process."""
    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    try:
        async with (
            authorization_server() as authorization,
            running(behind or StrictUpstream()) as upstream,
            running_daemon(authorization, upstream, **overrides) as daemon,  # type: ignore[arg-type]
        ):
            stage = Stage(int(daemon.url.rpartition(":")[2]), upstream, daemon.log.getvalue, daemon)
            yield stage
            stage.calm()
    finally:
        loop.set_exception_handler(None)
    assert not unhandled, unhandled
