"""However many requests meet a token that is no good any more, one refresh serves them all."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.daemon import config_for, port_of, running
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wire import send

LAZY = {"refresh": {"background": False}}


async def test_fifty_requests_at_once_after_expiry_cost_one_token_request(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.lifetime = 0.2
    async with running(config_for(upstream, authorization, LAZY)) as daemon:
        assert (await send(port_of(daemon))).status == 200
        await asyncio.sleep(0.25)  # the token's time runs out
        authorization.lifetime = 3600
        answers = await asyncio.gather(*(send(port_of(daemon)) for _ in range(50)))
        assert [answer.status for answer in answers] == [200] * 50
        assert len(authorization.calls) == 2
        assert upstream.rejected == 0, "a token known to be expired is never sent"


async def test_fifty_rejected_at_once_are_parked_behind_one_refresh_and_replayed(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running(config_for(upstream, authorization)) as daemon:
        await send(port_of(daemon))
        authorization.expire()
        upstream.judging.clear()
        authorization.open.clear()
        asking = [asyncio.create_task(send(port_of(daemon))) for _ in range(50)]
        await upstream.seen(51)
        upstream.judging.set()
        await authorization.arrived(2)
        while daemon.session.parked < 50:
            await asyncio.sleep(0)
        authorization.open.set()
        answers = await asyncio.gather(*asking)
        assert [answer.status for answer in answers] == [200] * 50
        assert len(authorization.calls) == 2
        assert (upstream.accepted, upstream.rejected) == (51, 50)
        assert daemon.session.parked == 0


async def test_requests_that_come_during_the_refresh_wait_for_it_too(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.open.clear()
    async with running(config_for(upstream, authorization)) as daemon:
        asking = [asyncio.create_task(send(port_of(daemon))) for _ in range(10)]
        while daemon.session.parked < 10:
            await asyncio.sleep(0)
        assert upstream.requests == []
        authorization.open.set()
        assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
        assert len(authorization.calls) == 1


async def test_twenty_late_rejections_of_the_old_generation_cost_no_token_request(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running(config_for(upstream, authorization)) as daemon:
        await send(port_of(daemon))
        authorization.expire()
        upstream.judging.clear()
        late = [asyncio.create_task(send(port_of(daemon))) for _ in range(20)]
        await upstream.seen(21)
        # A refresh happens meanwhile: as if another request had come back first.
        await daemon.session.replace(1)
        assert len(authorization.calls) == 2
        upstream.judging.set()
        assert [answer.status for answer in await asyncio.gather(*late)] == [200] * 20
        assert len(authorization.calls) == 2
        assert upstream.rejected == 20


async def test_the_client_that_started_the_refresh_hangs_up_and_the_others_are_served(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running(config_for(upstream, authorization)) as daemon:
        await send(port_of(daemon))
        authorization.expire()
        authorization.open.clear()
        _, starter = await asyncio.open_connection("127.0.0.1", port_of(daemon))
        starter.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await authorization.arrived(2)
        others = [asyncio.create_task(send(port_of(daemon))) for _ in range(5)]
        while daemon.session.parked < 6:
            await asyncio.sleep(0)
        starter.close()
        while daemon.session.parked > 5:
            await asyncio.sleep(0)
        authorization.open.set()
        assert [answer.status for answer in await asyncio.gather(*others)] == [200] * 5
        assert len(authorization.calls) == 2
        assert daemon.session.generation == 2
        assert upstream.rejected == 6
        assert upstream.accepted == 1 + 5, "nothing is replayed for the one that left"


async def test_a_second_burst_gets_a_refresh_of_its_own(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running(config_for(upstream, authorization)) as daemon:
        for burst in range(3):
            authorization.expire()
            answers = await asyncio.gather(*(send(port_of(daemon)) for _ in range(10)))
            assert {answer.status for answer in answers} == {200}
            assert len(authorization.calls) <= burst + 2


async def test_a_second_rejection_is_relayed_as_it_is_and_starts_no_loop(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running(config_for(upstream, authorization, {"refresh": {"min_interval": 60}})) as daemon:
        await send(port_of(daemon))
        authorization.valid = lambda token: False  # type: ignore[method-assign]
        first = await send(port_of(daemon))
        assert (first.status, first.content, "Reauth-Signal" in first) == (401, b'{"error":"no"}', False)
        assert len(authorization.calls) == 2
        for _ in range(5):  # an upstream that rejects everything cannot start a storm
            assert (await send(port_of(daemon))).status == 401
        assert len(authorization.calls) == 2


async def test_in_the_window_before_expiry_nobody_waits(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.lifetime = 2
    async with running(config_for(upstream, authorization, LAZY, {"refresh": {"ahead": "60s"}})) as daemon:
        await send(port_of(daemon))
        await asyncio.sleep(1.75)  # into the last fifth of the token's life
        authorization.open.clear()
        assert (await send(port_of(daemon))).status == 200
        await authorization.arrived(2)
        assert (await send(port_of(daemon))).status == 200
        authorization.open.set()
        while daemon.session.generation < 2:
            await asyncio.sleep(0)
        assert len(authorization.calls) == 2


async def test_with_background_the_token_is_renewed_when_no_request_comes(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.lifetime = 1.2
    async with running(config_for(upstream, authorization)) as daemon:
        await authorization.arrived(3)
        assert daemon.session.generation >= 2
        assert upstream.requests == []


@pytest.mark.parametrize(
    ("challenge", "replayed"),
    [
        (None, True),
        (("WWW-Authenticate", "Bearer"), True),
        (("WWW-Authenticate", 'Basic realm="x", Bearer error="invalid_token"'), True),
        (("WWW-Authenticate", 'Bearer error="insufficient_scope"'), False),
        (("WWW-Authenticate", 'Basic realm="x"'), False),
        (("WWW-Authenticate", "Negotiate"), False),
        (("WWW-Authenticate", 'Digest realm="x", nonce="y"'), False),
    ],
)
async def test_only_a_rejected_token_starts_a_refresh(
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    challenge: tuple[str, str] | None,
    replayed: bool,
) -> None:
    async with running(config_for(upstream, authorization)) as daemon:
        await send(port_of(daemon))
        authorization.expire()
        upstream.challenge = challenge
        assert (await send(port_of(daemon))).status == (200 if replayed else 401)
        assert len(authorization.calls) == (2 if replayed else 1)


async def test_content_is_replayed_byte_for_byte(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    content = bytes(range(256)) * 200
    async with running(config_for(upstream, authorization)) as daemon:
        await send(port_of(daemon))
        authorization.expire()
        answer = await send(port_of(daemon), "/p%2Fq?", ("X-A", "b"), method="POST", content=content)
        assert answer.status == 200
        first, second = upstream.requests[1:]
        assert first.content == second.content == content
        assert first.line == second.line == "POST /p%2Fq? HTTP/1.1"
        differing = [names for names in zip(first.fields, second.fields, strict=True) if names[0] != names[1]]
        assert [name for (name, _), _ in differing] == ["Authorization"]


async def test_an_upstream_without_its_own_token_rotation_works_too(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.rotate = False
    async with running(config_for(upstream, authorization)) as daemon:
        for _ in range(4):
            authorization.expire()
            assert (await send(port_of(daemon))).status == 200
        assert len(authorization.calls) in (4, 5)  # the first expiry may come before the renewal at the start


async def test_a_hand_made_api_refreshes_by_json(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    endpoint = {
        "token_endpoint": {
            "type": "json",
            "url": authorization.url + "/json",
            "body": {"token": "{refresh_token}"},
            "response": {"access_token": "/data/accessToken", "refresh_token": "/data/refreshToken"},
        }
    }
    config = config_for(upstream, authorization)
    config["credential"] |= endpoint
    async with running(config) as daemon:
        assert (await send(port_of(daemon))).status == 200
        authorization.expire()
        assert (await send(port_of(daemon))).status == 200
        assert len(authorization.calls) == 2
        assert authorization.calls[1].json() == {"token": "CANARY-refresh-1"}
