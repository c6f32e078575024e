"""Clients: one request after the other, each told to the judge."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from random import Random
from urllib.parse import urlsplit

from tests.fakes.client import Answer, parse_fields, read_content
from tests.soak.issuer import Issuer
from tests.soak.judge import Judge
from tests.soak.stage import PARK_TIMEOUT, Replica

#: A daemon may be stopped for as long on top.
_PATIENCE = 4 * PARK_TIMEOUT + 30
_numbers = itertools.count(1)


async def ask(
    url: str, target: str, method: str = "GET", content: bytes = b"", number: str = "", patience: float = _PATIENCE
) -> Answer:
    """Send one request on a connection of its own. Raises OSError, TimeoutError, IncompleteReadError."""
    parts = urlsplit(url)
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
            lines += [f"X-Soak: {number}", f"X-Request-Id: soak-{number}"] if number else []
            lines += [f"Content-Length: {len(content)}"] if content else []
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
            head = await reader.readuntil(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 1"):
                head = await reader.readuntil(b"\r\n\r\n")
            answer = Answer(head, b"")
            if answer.status != 204:
                answer.content = await read_content(reader, parse_fields(head), until_closed=True)
            return answer
        finally:
            writer.close()


async def client(replica: Replica, issuer: Issuer, judge: Judge, random: Random, pause: float) -> None:
    """Ask for ever."""
    while True:
        await asyncio.sleep(random.uniform(0.0, 2 * pause))
        number = str(next(_numbers))
        post = random.random() < 0.2
        began = time.monotonic()
        try:
            if not replica.url:
                continue
            answer = await ask(replica.url, "/who", "POST" if post else "GET", b"x" * 100 if post else b"", number)
        except (OSError, TimeoutError, EOFError) as error:
            judge.broken(replica.name, number, began, time.monotonic(), repr(error)[:100])
            issuer.seen.pop(number, None)
            continue
        signal = answer.value("Reauth-Signal") or ""
        seen = issuer.seen.pop(number, [])
        judge.answered(replica.name, number, began, time.monotonic(), answer.status, signal, seen)


async def served(replica: Replica, within: float) -> Answer | None:
    """Return the first good answer, None if there is none in time."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        with contextlib.suppress(OSError, TimeoutError, EOFError):
            answer = await ask(replica.url, "/who", number=f"last-{next(_numbers)}")
            if answer.status == 200:
                return answer
        await asyncio.sleep(0.2)
    return None
