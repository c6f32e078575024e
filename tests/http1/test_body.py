"""Content for one reader: in order, with an end or an error, and its source waits while too much waits here."""

from __future__ import annotations

import asyncio

import pytest

from reauth_proxy.http1.body import Body


class Source:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


async def test_content_comes_in_order_and_ends() -> None:
    body = Body(Source())
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    body.feed(b"one")
    assert await reading == b"one"
    body.feed(b"two")
    body.feed(b"three")
    assert await body.read() == b"twothree"
    body.feed(b"four")
    body.finish()
    assert [await body.read(), await body.read(), await body.read()] == [b"four", b"", b""]
    assert (body.received, body.complete) == (15, True)


async def test_whoever_waits_hears_of_the_end() -> None:
    body = Body(Source())
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    body.finish()
    assert await reading == b""


async def test_what_came_before_an_error_is_read_first() -> None:
    body = Body(Source())
    body.feed(b"one")
    body.fail(ConnectionError("first"))
    body.fail(ConnectionError("second"))
    assert await body.read() == b"one"
    with pytest.raises(ConnectionError, match="first"):
        await body.read()


async def test_content_that_is_whole_does_not_fail_any_more() -> None:
    body = Body(Source())
    body.finish()
    body.fail(ConnectionError("too late"))
    assert await body.read() == b""


async def test_all_of_it_can_be_read_at_once() -> None:
    body = Body(Source())
    body.feed(b"one")
    reading = asyncio.create_task(body.read_all())
    await asyncio.sleep(0)
    body.feed(b"two")
    await asyncio.sleep(0)
    body.finish()
    assert await reading == b"onetwo"


async def test_its_source_waits_while_too_much_waits() -> None:
    source = Source()
    body = Body(source, high_water=5)
    body.feed(b"12345")
    assert source.told == []
    body.feed(b"6")
    body.feed(b"7")
    assert source.told == ["pause"]
    assert body.take() == b"1234567"
    assert body.take() == b""
    assert source.told == ["pause", "resume"]


async def test_a_reader_that_gave_up_leaves_it_to_the_next_one() -> None:
    body = Body(Source())
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    body.feed(b"one")
    assert await body.read() == b"one"


async def test_the_next_message_begins_with_nothing() -> None:
    body = Body(Source())
    body.feed(b"one")
    body.fail(ConnectionError())
    body.begin()
    body.feed(b"two")
    assert await body.read() == b"two"
    assert (body.received, body.complete, body.error) == (3, False, None)


async def test_what_is_poured_goes_to_the_sink_at_once_and_wakes_nobody_before_the_end() -> None:
    body = Body(Source())
    body.feed(b"before")
    assert body.take() == b"before"
    poured: list[bytes] = []
    pouring = asyncio.create_task(body.pour(poured.append))
    await asyncio.sleep(0)
    body.feed(b"one")
    assert poured == [b"one"]
    body.feed(b"two")
    await asyncio.sleep(0)
    assert not pouring.done()
    body.finish()
    await pouring
    assert (poured, body.received) == ([b"one", b"two"], 12)


async def test_an_error_ends_the_pouring() -> None:
    body = Body(Source())
    pouring = asyncio.create_task(body.pour(lambda data: None))
    await asyncio.sleep(0)
    body.fail(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError):
        await pouring


async def test_a_sink_may_hold_the_source_and_let_it_flow() -> None:
    source = Source()
    body = Body(source)
    body.hold()
    body.hold()
    body.flow()
    body.flow()
    assert source.told == ["pause", "resume"]
