"""One refresh, however many ask for it."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import connect, fetch
from tests.fakes.daemon import daemon_process, running_daemon
from tests.fakes.upstream import FakeUpstream


async def test_curl_gets_the_api_s_answer_and_the_upstream_gets_the_token(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        answer = await fetch(daemon.url, "/orders?page=2")
    assert answer.status == 200
    assert upstream.requests[0].token == "access-CANARY-1"
    assert authorization.count == 1


async def test_fifty_requests_after_expiry_cost_one_refresh_and_all_get_200(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        authorization.hold()
        asking = [asyncio.create_task(fetch(daemon.url, f"/{number}")) for number in range(50)]
        await upstream.refused(50)
        await authorization.arrived(2)
        authorization.release()
        answers = await asyncio.gather(*asking)
    assert [answer.status for answer in answers] == [200] * 50
    assert authorization.count == 2
    assert upstream.count == 1 + 50 + 50


async def test_process(tmp_path, authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    async with daemon_process(tmp_path, authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        assert await daemon.stop() == 0
