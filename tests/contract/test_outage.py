"""An outage of the token endpoint is not a logout: what is noticed, by whom, and how it heals."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.fakes.arrivals import until
from tests.fakes.authorization import Break, FakeAuthorizationServer, Raw, Reply, authorization_server
from tests.fakes.client import Answer, fetch
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.upstream import FakeUpstream, upstream_server

#: Gives up after the first failure.
AT_ONCE = {"retry_for": 0}


def html(status: int) -> Reply:
    return Reply(status, {"Content-Type": "text/html"}, b"<!doctype html><title>Sign in</title>")


def gave_up(daemon: RunningDaemon) -> list[dict[str, Any]]:
    """Return the loud lines of refreshes that were given up."""
    return [line for line in daemon.events("refresh.unavailable") if line["level"] == "error"]


async def heals(daemon: RunningDaemon) -> None:
    """After the cool-off, the next request is served."""
    daemon.pass_time(60)
    assert (await fetch(daemon.url)).status == 200


async def test_503_then_closed_then_429_then_fine_is_noticed_by_nobody(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"retry_for": "20s"}) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        authorization.next(Reply(503, {"Retry-After": "0"}), Reply(503))
        authorization.hold()
        asking = [asyncio.create_task(fetch(daemon.url)) for _ in range(30)]
        await until(lambda: daemon.session.parked == 30)
        await authorization.arrived(2)
        authorization.release()
        await authorization.arrived(3)
        authorization.close_listener()
        await until(lambda: any("refused" in line["problem"] for line in daemon.events("refresh.unavailable")))
        authorization.next(Reply(429, {"Retry-After": "1"}))
        await authorization.start()
        answers = await asyncio.gather(*asking)
    assert [answer.status for answer in answers] == [200] * 30
    assert authorization.count == 1 + 2 + 1 + 1
    assert authorization.reuses == 0


async def test_a_retry_never_comes_before_retry_after(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        authorization.next(Reply(429, {"Retry-After": "1"}))
        since = asyncio.get_running_loop().time()
        assert (await fetch(daemon.url)).status == 200
        assert asyncio.get_running_loop().time() - since >= 1.0
    assert authorization.count == 2


async def test_an_outage_longer_than_retry_for_says_so_and_the_session_comes_back_by_itself(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"retry_for": "300ms"}) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        authorization.close_listener()
        told = await fetch(daemon.url)
        assert (told.status, told.value("Reauth-Signal")) == (401, "logout;reason=refresh_unavailable")
        assert int(told.value("Retry-After") or 0) >= 1
        assert json.loads(told.content)["reason"] == "refresh_unavailable"
        await authorization.start()
        again = await fetch(daemon.url)
        assert again.value("Reauth-Signal") == "logout;reason=refresh_unavailable", "the cool-off is kept"
        await heals(daemon)
    assert authorization.count == 2


async def test_the_renewal_behind_the_scenes_brings_the_session_back_without_any_request(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.close_listener()
    async with running_daemon(authorization, upstream, refresh={"retry_for": 0, "background": True}) as daemon:
        await until(lambda: bool(daemon.events("refresh.unavailable")))
        await authorization.start()
        await until(lambda: daemon.session.generation == 1)
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 1


async def test_with_on_unavailable_clients_get_503_and_no_signal(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    refresh = {"retry_for": 0, "on_unavailable": "unavailable"}
    async with running_daemon(authorization, upstream, refresh=refresh) as daemon:
        authorization.close_listener()
        told = await fetch(daemon.url)
        assert (told.status, json.loads(told.content)["code"]) == (503, "refresh_unavailable")
        assert told.value("Reauth-Signal") is None
        assert int(told.value("Retry-After") or 0) >= 1
        await authorization.start()
        await heals(daemon)


async def test_while_the_present_token_works_nobody_notices(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh=AT_ONCE) as daemon:
        await fetch(daemon.url)
        authorization.close_listener()
        daemon.pass_time(295)
        for _ in range(5):
            assert (await fetch(daemon.url)).status == 200
        await until(lambda: bool(daemon.events("refresh.unavailable")))
        await authorization.start()


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (html(200), "HTML"),
        (html(403), "403"),
        (html(502), "502"),
        (Reply(200, {"Content-Type": "application/json"}, b'{"access_token":"CANARY-half'), "200"),
        (Reply(200), "200"),
        (Reply(204), "204"),
        (Reply(200, {}, b" " * 12_000_000), "longer than 1 MiB"),
        (Reply(500), "500"),
        (Reply(408), "408"),
        (Reply(404), "404"),
        (Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"), "broke off"),
        (Raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 500\r\n\r\n{"), "broke"),
        (Raw(b"SSH-2.0-CANARY\r\n\r\n"), "not HTTP"),
        (Raw(b""), "broke"),
        (Break(), "broke"),
    ],
)
async def test_whatever_else_it_answers_the_session_is_kept(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, reply: Reply | Raw | Break, problem: str
) -> None:
    async with running_daemon(authorization, upstream, refresh=AT_ONCE) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        authorization.next(reply, reply)
        told = await fetch(daemon.url)
        assert (told.status, told.value("Reauth-Signal")) == (401, "logout;reason=refresh_unavailable")
        lines = daemon.events("refresh.unavailable")
        assert problem in lines[0]["problem"]
        # A connection that broke is used again at once, and listened to though nobody waits any more.
        calls = 2 if problem == "broke" else 1
        await authorization.arrived(1 + calls)
        await until(lambda: len(gave_up(daemon)) == calls)
        assert authorization.count == 1 + calls
        authorization.forget_script()
        await heals(daemon)
    assert authorization.reuses == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_so_that_the_refresh_token_goes_nowhere_else(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, status: int
) -> None:
    async with running_daemon(authorization, upstream, refresh=AT_ONCE) as daemon:
        authorization.next(Reply(status, {"Location": f"{upstream.url}/public/token"}))
        assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=refresh_unavailable"
        (loud,) = gave_up(daemon)
        assert str(status) in loud["problem"]
        await heals(daemon)
    assert upstream.seen("/public/token") == []
    assert authorization.count == 2


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"access_token":null}',
        b'{"access_token":""}',
        b'{"access_token":{"CANARY":1}}',
        b'{"access_token":"CANARY a"}',
        b'{"access_token":"CANARY\\r\\nX-Injected: 1","expires_in":60}',
    ],
)
async def test_a_2xx_that_has_no_usable_token_is_no_refusal_and_not_asked_for_again(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, content: bytes
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        authorization.next(Reply(200, {"Content-Type": "application/json"}, content))
        assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=refresh_unavailable"
        assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=refresh_unavailable"
        (loud,) = gave_up(daemon)
        assert loud["misconfigured"]
        assert "CANARY" not in loud["problem"]
    assert authorization.count == 1
    assert all(received.token is None for received in upstream.requests)


@pytest.mark.parametrize(
    ("head", "before", "behind"),
    [
        (b"Content-Length: 5000", b"", b""),
        (b"Content-Encoding: gzip\r\nConnection: close", b"", b""),
        (b"Connection: close", b"<br />\n<b>Notice</b>: Undefined index\n", b""),
        (b"Connection: close", b")]}',\n", b"\n<!-- 12 ms -->"),
    ],
    ids=["wrong length", "wrong coding", "notice", "prefix and comment"],
)
async def test_a_rotated_token_in_a_spoiled_answer_goes_on_with_no_second_request(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, head: bytes, before: bytes, behind: bytes
) -> None:
    access, refresh = authorization.signed_in()
    content = json.dumps({"access_token": access, "refresh_token": refresh, "token_type": "JWT"}).encode()
    authorization.next(Raw(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + before + content + behind))
    async with running_daemon(authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 200
        assert authorization.count == 1
        authorization.revoke_access()
        assert (await fetch(daemon.url)).status == 200
    assert [call.refresh_token for call in authorization.calls] == [authorization.first, refresh]
    assert authorization.reuses == 0


async def test_a_session_whose_new_refresh_token_cannot_be_used_ends_with_its_access_token(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    access, _ = authorization.signed_in()
    content = json.dumps({"access_token": access, "refresh_token": "CANARY\n", "token_type": "Bearer"}).encode()
    authorization.next(Reply(200, {"Content-Type": "application/json"}, content))
    async with running_daemon(authorization, upstream) as daemon:
        assert [(await fetch(daemon.url)).status for _ in range(3)] == [200, 200, 200]
        (loud,) = daemon.events("refresh.unusable_token")
        assert loud["level"] == "error"
        authorization.revoke_access()
        told = [(await fetch(daemon.url)).value("Reauth-Signal") for _ in range(2)]
        assert told == ["logout;reason=refresh_denied"] * 2
        assert next(line["error"] for line in daemon.events("refresh.denied")) == "no_refresh_token"
    # The one that was used up is never sent again, nor is what stands in for the other.
    assert [call.refresh_token for call in authorization.calls] == [authorization.first]
    assert authorization.reuses == 0


async def test_a_lost_answer_with_a_rotated_token_is_asked_for_again_promptly() -> None:
    async with authorization_server(grace_uses=1) as authorization, upstream_server(authorization) as upstream:
        async with running_daemon(authorization, upstream) as daemon:
            authorization.next(Break(rotated=True))
            assert (await fetch(daemon.url)).status == 200
        assert [call.refresh_token for call in authorization.calls] == [authorization.first] * 2
        assert authorization.reuses == 0


async def test_a_call_that_takes_too_long_is_listened_to_and_no_second_one_starts(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"timeout": "50ms", "retry_for": "50ms"}) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        authorization.hold()
        told = [await fetch(daemon.url) for _ in range(3)]
        assert {answer.value("Reauth-Signal") for answer in told} == {"logout;reason=refresh_unavailable"}
        daemon.pass_time(30)
        assert (await fetch(daemon.url)).status == 401
        assert authorization.count == 2
        authorization.release()
        await until(lambda: daemon.session.generation == 2)
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 2
    assert authorization.reuses == 0


async def test_a_slow_answer_within_the_timeout_serves_everybody(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"timeout": "50ms", "retry_for": "20s"}) as daemon:
        authorization.hold()
        asking = [asyncio.create_task(fetch(daemon.url)) for _ in range(10)]
        await until(lambda: bool(daemon.events("refresh.unavailable")))
        authorization.release()
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * 10
    assert authorization.count == 1


async def test_a_request_waits_no_longer_than_park_timeout_and_the_refresh_goes_on(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"park_timeout": "50ms"}) as daemon:
        authorization.hold()
        told = await fetch(daemon.url)
        assert (told.status, json.loads(told.content)["code"]) == (503, "refresh_timeout")
        assert int(told.value("Retry-After") or 0) >= 1
        authorization.release()
        await until(lambda: daemon.session.generation == 1)
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 1


async def test_beyond_max_parked_the_answer_comes_at_once_and_those_who_wait_are_served(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, refresh={"max_parked": 2}) as daemon:
        authorization.hold()
        asking = [asyncio.create_task(fetch(daemon.url)) for _ in range(2)]
        await until(lambda: daemon.session.parked == 2)
        told: Answer = await fetch(daemon.url)
        assert (told.status, json.loads(told.content)["code"]) == (503, "too_many_parked")
        assert int(told.value("Retry-After") or 0) >= 1
        authorization.release()
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200, 200]
