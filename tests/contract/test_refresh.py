"""However many requests meet a token that is no good any more, one refresh serves them all."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.arrivals import until
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import Answer, connect, fetch
from tests.fakes.daemon import running_daemon
from tests.fakes.upstream import BEARER, FakeUpstream


def burst(url: str, number: int, target: str = "/") -> list[asyncio.Task[Answer]]:
    """Send so many requests at once, each on a connection of its own."""
    return [asyncio.create_task(fetch(url, target)) for _ in range(number)]


async def statuses(asking: list[asyncio.Task[Answer]]) -> list[int]:
    return [answer.status for answer in await asyncio.gather(*asking)]


async def test_fifty_requests_at_once_after_expiry_cost_one_token_request(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        daemon.pass_time(301)
        authorization.revoke_access()
        authorization.hold()
        asking = burst(daemon.url, 50)
        await until(lambda: daemon.session.parked == 50)
        authorization.release()
        assert await statuses(asking) == [200] * 50
    assert authorization.count == 2
    assert upstream.rejected == 0, "a token that is known to be expired is never sent"
    assert upstream.count == 51


async def test_fifty_rejected_at_once_wait_for_one_refresh_and_are_replayed(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        authorization.hold()
        asking = burst(daemon.url, 50)
        await until(lambda: daemon.session.parked == 50)
        await authorization.arrived(2)
        assert upstream.rejected == 50
        authorization.release()
        assert await statuses(asking) == [200] * 50
    assert authorization.count == 2
    assert (upstream.count, upstream.rejected) == (1 + 50 + 50, 50)


async def test_requests_that_come_while_a_refresh_runs_wait_for_it_and_never_send_the_old_token(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        daemon.pass_time(301)
        authorization.hold()
        first = burst(daemon.url, 1)
        await authorization.arrived(2)
        later = burst(daemon.url, 20, "/later")
        await until(lambda: daemon.session.parked == 21)
        assert upstream.count == 1
        authorization.release()
        assert await statuses(first + later) == [200] * 21
    assert {received.token for received in upstream.seen("/later")} == {"access-CANARY-2"}
    assert authorization.count == 2


async def test_twenty_late_401s_of_the_old_generation_cost_no_token_request(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        upstream.hold()
        late = burst(daemon.url, 20, "/held/late")
        await upstream.arrived(21)
        authorization.revoke_access()
        assert (await fetch(daemon.url, "/first")).status == 200
        assert authorization.count == 2
        upstream.release()
        assert await statuses(late) == [200] * 20
    assert authorization.count == 2
    assert upstream.rejected == 21
    assert daemon.session.stats.late == 20


async def test_a_late_401_is_replayed_at_once_even_while_the_next_refresh_runs(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"min_interval": 0}) as daemon:
        await fetch(daemon.url)
        upstream.hold()
        late = burst(daemon.url, 1, "/held/late")
        await upstream.arrived(2)
        authorization.revoke_access()
        assert (await fetch(daemon.url, "/first")).status == 200
        upstream.release()
        assert await statuses(late) == [200]
    assert [received.token for received in upstream.seen("/held/late")] == ["access-CANARY-1", "access-CANARY-2"]
    assert authorization.count == 2


async def test_the_client_that_started_the_refresh_hangs_up_and_the_others_are_served(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        authorization.hold()
        starter = await connect(daemon.url)
        await starter.request("/starter")
        await authorization.arrived(2)
        others = burst(daemon.url, 5)
        await until(lambda: daemon.session.parked == 6)
        starter.abort()
        await until(lambda: daemon.session.parked == 5)
        authorization.release()
        assert await statuses(others) == [200] * 5
        assert daemon.session.generation == 2
    assert authorization.count == 2
    assert len(upstream.seen("/starter")) == 1, "nothing is sent again for a client that left"


async def test_everybody_hangs_up_and_the_refresh_is_finished_all_the_same(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        authorization.hold()
        clients = [await connect(daemon.url) for _ in range(5)]
        for client in clients:
            await client.request()
        await until(lambda: daemon.session.parked == 5)
        for client in clients:
            client.abort()
        await until(lambda: daemon.session.parked == 0)
        authorization.release()
        await until(lambda: daemon.session.generation == 1)
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 1
    assert upstream.count == 1


async def test_a_second_burst_gets_one_refresh_of_its_own(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"min_interval": 0}) as daemon:
        for number in range(4):
            assert await statuses(burst(daemon.url, 20)) == [200] * 20
            assert authorization.count == 1 + number
            authorization.revoke_access()


async def test_a_second_401_is_relayed_as_it_is_and_starts_no_storm(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"min_interval": "60s"}) as daemon:
        await fetch(daemon.url)
        upstream.rejects_all = True
        answers = [await fetch(daemon.url) for _ in range(10)]
    for answer in answers:
        assert (answer.status, answer.content) == (401, b"the upstream's own 401")
        assert answer.value("WWW-Authenticate") == BEARER
        assert answer.value("Reauth-Signal") is None
    assert authorization.count == 2
    late = 2  # The API might have known the new token late.
    assert upstream.count == 1 + 2 + late + 9


async def test_in_the_window_before_expiry_nobody_waits_and_one_refresh_runs(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        daemon.pass_time(295)
        authorization.hold()
        assert await statuses(burst(daemon.url, 20, "/window")) == [200] * 20
        await authorization.arrived(2)
        authorization.release()
        await until(lambda: daemon.session.generation == 2)
        assert (await fetch(daemon.url, "/after")).status == 200
    assert {received.token for received in upstream.seen("/window")} == {"access-CANARY-1"}
    assert upstream.seen("/after")[0].token == "access-CANARY-2"
    assert authorization.count == 2


async def test_with_background_on_the_token_is_renewed_though_no_request_comes(upstream: FakeUpstream) -> None:
    authorization = FakeAuthorizationServer(lifetime=1.3)
    await authorization.start()
    try:
        async with running_daemon(authorization, upstream, refresh={"background": True}) as daemon:
            await authorization.arrived(3)
            await until(lambda: daemon.session.generation == 3)
    finally:
        await authorization.stop()
    assert upstream.count == 0
    assert authorization.reuses == 0


@pytest.mark.parametrize(
    ("challenge", "refreshes"),
    [
        (None, True),
        ("Bearer", True),
        ('Bearer error="invalid_token", error_description="say Basic, Digest"', True),
        ('Basic realm="x", Bearer error="invalid_token"', True),
        ('Bearer error="insufficient_scope", scope="admin"', False),
        ('Basic realm="x"', False),
        ("Negotiate", False),
        ('Digest realm="x", nonce="y"', False),
    ],
)
async def test_only_a_rejected_token_starts_a_refresh(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, challenge: str | None, refreshes: bool
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        upstream.challenge = challenge
        answer = await fetch(daemon.url)
    if refreshes:
        assert (answer.status, authorization.count) == (200, 2)
    else:
        assert (answer.status, answer.content) == (401, b"the upstream's own 401")
        assert answer.value("WWW-Authenticate") == challenge
        assert answer.value("Reauth-Signal") is None
        assert authorization.count == 1


async def test_a_status_of_the_configuration_means_a_rejected_token_too(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    upstream.reject_status = 419
    async with running_daemon(authorization, upstream, refresh={"statuses": [401, 419]}) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def test_content_is_replayed_byte_for_byte_and_only_the_token_differs(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, method: str
) -> None:
    content = bytes(range(256)) * 250
    fields = [("X-First", "1"), ("Content-Encoding", "gzip"), ("X-First", "2"), ("Idempotency-Key", "k")]
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        answer = await fetch(daemon.url, "/p%2Fq?", method=method, fields=fields, content=content)
    assert answer.status == 200
    first, second = upstream.seen("/p%2Fq")
    assert first.content == second.content == content
    assert first.line == second.line == f"{method} /p%2Fq? HTTP/1.1".encode()
    assert len(first.fields) == len(second.fields)
    differing = {one[0] for one, other in zip(first.fields, second.fields, strict=True) if one != other}
    assert differing == {"Authorization"}


async def test_chunked_content_is_replayed_with_the_same_bytes(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon, await connect(daemon.url) as client:
        await fetch(daemon.url)
        authorization.revoke_access()
        await client.request("/chunked", method="POST", fields=[("Transfer-Encoding", "chunked")])
        await client.send(b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nTrailer-Field: dropped\r\n\r\n")
        assert (await client.answer()).status == 200
    assert [received.content for received in upstream.seen("/chunked")] == [b"hello, world"] * 2


async def test_content_too_long_to_keep_gets_the_401_with_the_resend_signal_and_the_token_is_fresh(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, replay={"limit": "1KiB"}) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        async with await connect(daemon.url) as client:
            await client.request("/long", method="POST", fields=[("Transfer-Encoding", "chunked")])
            await client.send(b"1000\r\n" + b"x" * 4096 + b"\r\n0\r\n\r\n")
            answer = await client.answer()
        assert (answer.status, answer.content) == (401, b"the upstream's own 401")
        assert answer.value("Reauth-Signal") == "resend"
        assert authorization.count == 2
        assert (await fetch(daemon.url, "/long", method="POST", content=b"x" * 4096)).status == 200
    assert authorization.count == 2


async def test_content_too_long_to_keep_goes_out_with_a_fresh_token_and_asks_the_upstream_first(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    content = b"y" * 100_000
    async with running_daemon(authorization, upstream, replay={"limit": "1KiB"}) as daemon:
        await fetch(daemon.url)
        daemon.pass_time(295)  # a refresh is due, and comes before a request that cannot be sent twice
        assert (await fetch(daemon.url, "/long", method="POST", content=content)).status == 200
    (received,) = upstream.seen("/long")
    assert received.token == "access-CANARY-2"
    assert received.content == content
    assert received.values("expect") == ["100-continue"]


async def test_a_refresh_token_that_never_rotates_is_used_again_and_again(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.rotate = False
    async with running_daemon(authorization, upstream, refresh={"min_interval": 0}) as daemon:
        for _ in range(4):
            assert (await fetch(daemon.url)).status == 200
            authorization.revoke_access()
    assert [call.refresh_token for call in authorization.calls] == [authorization.first] * 4


async def test_each_rotated_refresh_token_is_used_exactly_once(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"min_interval": 0}) as daemon:
        for _ in range(4):
            assert (await fetch(daemon.url)).status == 200
            authorization.revoke_access()
    assert len({call.refresh_token for call in authorization.calls}) == 4
    assert authorization.reuses == 0


async def test_a_hand_made_api_is_asked_as_the_configuration_says(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    endpoint = {
        "type": "json",
        "url": authorization.json_url,
        "body": {"token": "{refresh_token}"},
        "response": {"access_token": "/accessToken", "refresh_token": "/refreshToken", "expires_in": "/expiresIn"},
    }
    async with running_daemon(authorization, upstream, credential={"token_endpoint": endpoint}) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
        assert authorization.count == 2
        authorization.revoke_access()
        authorization.revoke_refresh()
        daemon.pass_time(60)
        assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=refresh_denied"
    assert [call.path for call in authorization.calls] == ["/json/refresh"] * 3


async def test_the_token_request_is_the_refresh_grant_and_carries_nothing_of_the_client(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    fields = [("Cookie", "a=b"), ("X-Request-Id", "from-the-client"), ("User-Agent", "client/1")]
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url, fields=fields)
    (call,) = authorization.calls
    assert call.form == {"grant_type": "refresh_token", "refresh_token": authorization.first, "client_id": "web"}
    sent = {name.lower(): value for name, value in call.headers.items()}
    assert not {"cookie", "x-request-id", "authorization"} & set(sent)
    assert "client/1" not in sent["user-agent"]
