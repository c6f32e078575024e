"""A log whose reader is slow: requests do not wait for it, lines keep their order, and what is lost is counted."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import TextIO

import pytest
import structlog

from reauth_proxy.telemetry import logs
from reauth_proxy.telemetry.output import MOST_WAITING, Output

PIPE = 65_536
LINE = "x" * 999 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    os.close(reader)


async def read(fileno: int, size: int) -> bytes:
    """Read so many bytes, as slowly as a thread does."""
    got = b""
    async with asyncio.timeout(10):
        while len(got) < size:
            got += await asyncio.to_thread(os.read, fileno, size - len(got))
    return got


async def test_a_reader_that_takes_nothing_keeps_nobody_waiting_and_gets_every_line_in_order(
    pipe: tuple[int, TextIO],
) -> None:
    reader, stream = pipe
    output = Output(stream)
    lines = [f"{number:06}\n" for number in range(30_000)]  # three times what a pipe holds
    for line in lines:
        output.line(line[:-1])
    assert await read(reader, 7 * len(lines)) == "".join(lines).encode()


async def test_more_than_may_wait_is_dropped_and_counted(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    logs.configure("info", "json", stream)
    try:
        for _ in range((MOST_WAITING + PIPE) // len(LINE) + 100):
            logs._output.write(LINE)
        dropped, told = 0, b""
        async with asyncio.timeout(10):
            while b"log.dropped" not in told:
                told = (await asyncio.to_thread(os.read, reader, PIPE)).rpartition(LINE.encode())[2] or told
        dropped = json.loads(told)["lines"]
        assert 95 <= dropped <= 110
    finally:
        logs.configure("info", "json")
        structlog.reset_defaults()


async def test_a_reader_that_has_left_is_no_reason_to_fail() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        os.close(reader)
        output = Output(stream)
        output.line("nobody reads this")
        output.finish()


def test_at_the_end_what_waits_is_written(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    output = Output(stream)
    output.write(LINE * 10)
    output.finish()
    assert os.read(reader, PIPE) == LINE.encode() * 10
