"""A page of another origin can neither read from the proxy nor write through it, whatever it tries."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from tests.browser.attempts import ATTEMPTS, SECRET, Attempt
from tests.browser.stage import Stage
from tests.fakes.arrivals import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

#: Seconds within which a browser sends what it means to send.
SOON: Final = 10.0
#: Origins that a page may have: the same address with another port (which a browser calls same-site), another name
#: for the same machine, and a name that somebody else owns.
FOREIGN: Final = {"another_port": "127.0.0.1", "localhost_at_another_port": "localhost", "another_name": "evil.test"}


def each(attempts: tuple[Attempt, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attempt", attempts, ids=lambda attempt: attempt.name)


@each(ATTEMPTS)
async def test_without_the_proxy_s_guard_the_attempt_would_arrive(stage: Stage, attempt: Attempt) -> None:
    """Else the tests below would show nothing."""
    path = stage.path(attempt, public=True)
    async with stage.page_at(f"http://evil.test:{stage.pages}") as page:
        await stage.make(page, attempt, stage.upstream.url.replace("127.0.0.1", "localhost") + path)
        async with asyncio.timeout(SOON):
            await until(lambda: len(stage.upstream.seen(path)) >= attempt.arrives)
    methods = [received.method for received in stage.upstream.seen(path)]
    assert methods == ["OPTIONS" if attempt.preflighted else attempt.method] * attempt.arrives


@pytest.mark.parametrize("host", FOREIGN.values(), ids=FOREIGN.keys())
@each(ATTEMPTS)
async def test_a_foreign_page_gets_nothing(stage: Stage, attempt: Attempt, host: str) -> None:
    before = stage.upstream.count
    path = stage.path(attempt)
    async with stage.page_at(f"http://{host}:{stage.pages}") as page:
        read = await stage.make(page, attempt, stage.daemon.url + path)
        async with asyncio.timeout(SOON):
            judged = await stage.judged(path, attempt.arrives)
    assert [line["status"] for line in judged] == [403] * attempt.arrives
    assert SECRET not in read
    assert stage.upstream.count == before


@each(ATTEMPTS)
async def test_a_rebound_name_gets_nothing(stage: Stage, attempt: Attempt) -> None:
    """To the browser the page is of the proxy's own origin, so that it may read and send what it likes."""
    origin = f"http://rebound.test:{stage.proxy_port}"
    arrives = max(attempt.arrives, 1) if attempt.rebound is None else attempt.rebound
    stage.switch.lead_to(stage.pages)
    before = stage.upstream.count
    path = stage.path(attempt)
    async with stage.page_at(origin) as page:
        stage.switch.lead_to(stage.proxy_port)
        read = await stage.make(page, attempt, origin + path)
        async with asyncio.timeout(SOON):
            judged = await stage.judged(path, arrives)
    # After a 421 a client may ask again on another connection (RFC 9110 section 15.5.20); Chromium does, once.
    assert len(judged) <= 2 * arrives
    assert all(line["status"] == 421 for line in judged)
    assert SECRET not in read
    assert stage.upstream.count == before


async def test_a_rebound_name_can_read_nothing_but_why_it_was_refused(stage: Stage) -> None:
    origin = f"http://rebound.test:{stage.proxy_port}"
    stage.switch.lead_to(stage.pages)
    async with stage.page_at(origin) as page:
        stage.switch.lead_to(stage.proxy_port)
        answer = await page.run(f"fetch('{origin}/anything').then(async (r) => [r.status, (await r.json()).code])")
    assert answer == [421, "host_denied"]
