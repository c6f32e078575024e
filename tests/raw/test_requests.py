"""What hostile clients send is refused, and the connection closed; or it is passed on so that nobody can misread it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.raw.corpus import HIDDEN, REFUSED, SANITISED, Refused, Sanitised
from tests.raw.stage import STATUS_OF, Stage, Way, parse, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAYS: list[Way] = ["whole", "byte by byte"]
#: A request that follows on the same connection, and ends it.
LAST = b"GET /good/last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
EXPLAINED = Path(__file__).parents[2] / "docs" / "troubleshooting.md"

every_refused = pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in REFUSED])
every_sanitised = pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in SANITISED])
both_ways = pytest.mark.parametrize("way", WAYS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with staged() as running:
        yield running


async def refuses(stage: Stage, case: Refused, way: Way) -> None:
    stage.take()
    heard = await stage.hears(case.data, way, ends=case.ends)
    await stage.serves()
    targets = stage.take()
    assert not [target for target in targets if target.startswith(b"/hidden")], "smuggled"
    assert len(targets) == case.seen, f"the upstream saw {targets}; the client heard {heard!r}"
    assert not stage.upstream.violations
    answers = parse(heard)
    served = [answer for answer in answers if answer.status == 200]
    assert [answer.content for answer in served] == targets
    assert answers[: len(served)] == served, "what was refused is answered last"
    refusals = answers[len(served) :]
    if not case.ends or refusals:
        (refusal,) = refusals
        assert refusal.status in case.statuses, refusal
        assert refusal.code in STATUS_OF


async def sanitises(stage: Stage, case: Sanitised, way: Way) -> None:
    stage.take()
    alone = b" HTTP/1.0\r\n" in case.data
    heard = await stage.hears(case.data if alone else case.data + LAST, way)
    if case.refusable and heard.startswith(b"HTTP/1.1 400 "):
        (refusal,) = parse(heard)
        assert (refusal.code, stage.take()) == ("bad_request", [])
        return
    one, *others = stage.upstream.seen or pytest.fail(f"the upstream saw nothing; the client heard {heard!r}")
    stage.take()
    assert not stage.upstream.violations
    served = [(200, one.target)] if alone else [(200, one.target), (200, b"/good/last")]
    assert [(answer.status, answer.content) for answer in parse(heard)] == served, "the next request is not harmed"
    assert [seen.target for seen in others] == [content for _, content in served[1:]]
    for hidden in case.hidden:
        assert hidden not in one.head.lower()
    for shown in case.shown:
        assert shown in one.head
    assert one.content == case.content


@both_ways
@every_refused
async def test_a_hostile_request_is_refused_and_closed(stage: Stage, case: Refused, way: Way) -> None:
    await refuses(stage, case, way)
    stage.calm()


@both_ways
@every_sanitised
async def test_what_a_client_must_not_say_is_not_forwarded(stage: Stage, case: Sanitised, way: Way) -> None:
    await sanitises(stage, case, way)
    stage.calm()


async def test_what_follows_a_request_that_ends_the_connection_is_not_looked_at(stage: Stage) -> None:
    (told,) = parse(await stage.hears(LAST + HIDDEN))
    assert (told.status, told.content) == (200, b"/good/last")
    assert stage.take() == []


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"-1\r\nx"], ids=["whole", "nonsense"])
async def test_a_refused_client_that_goes_on_sending_is_not_reset_after_its_content_either(
    stage: Stage, end: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"POST /case HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
    (told,) = parse(await reader.read())
    assert told.status == 501
    connection = writer.get_extra_info("socket")
    for more in (end, HIDDEN, HIDDEN):
        writer.write(more)
        for _ in range(10):
            await asyncio.sleep(0)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert not writer.is_closing()
    writer.close()
    await writer.wait_closed()
    assert stage.take() == []
    stage.calm()


@both_ways
async def test_two_hundred_pipelined_requests_are_answered_in_order(stage: Stage, way: Way) -> None:
    await pipelined(stage, way)


async def pipelined(stage: Stage, way: Way) -> None:
    targets = [b"/case/%d" % number for number in range(200)]
    requests = [b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target for target in targets]
    answers = parse(await stage.hears(b"".join(requests) + LAST, way))
    assert [answer.status for answer in answers] == [200] * 201
    assert [answer.content for answer in answers] == [*targets, b"/good/last"]
    assert stage.take() == targets


async def test_a_method_that_is_not_supported_is_answered_with_those_that_are(stage: Stage) -> None:
    (told,) = parse(await stage.hears(b"TRACE /case HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    assert told.status == 405
    assert b"GET" in told.values(b"allow")[0], "RFC 9110 section 15.5.6"


async def test_the_documents_name_every_code_with_its_status() -> None:
    text = EXPLAINED.read_text()
    missing = [code for code, status in STATUS_OF.items() if not re.search(rf"\| `{code}`[^|]* \| {status} \|", text)]
    assert not missing
