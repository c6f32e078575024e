"""A refusal is final: what everybody is told, byte for byte, and how a session comes back."""

from __future__ import annotations

import asyncio
import re

import pytest

from reauth_proxy.session.tokens import Secret
from tests.fakes.arrivals import until
from tests.fakes.authorization import FakeAuthorizationServer, oauth_error
from tests.fakes.client import Answer, connect, fetch
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.upstream import Exchange, FakeUpstream

DETAIL = "The session has ended: the token endpoint refused the refresh token. Log in again."
CONTENT = (
    '{"type":"about:blank","title":"Logged out","status":401,"code":"logged_out","signal":"logout",'
    f'"reason":"refresh_denied","detail":"{DETAIL}"}}'
).encode()
HEAD = (
    "HTTP/1.1 401 Unauthorized\r\n"
    f'WWW-Authenticate: Bearer error="invalid_token", error_description="{DETAIL}"\r\n'
    "Reauth-Signal: logout;reason=refresh_denied\r\n"
    f'Proxy-Status: reauth-proxy; error=http_request_denied; details="{DETAIL}"\r\n'
    "Cache-Control: no-store\r\n"
    "Content-Type: application/problem+json\r\n"
    "Date: (now)\r\n"
    f"Content-Length: {len(CONTENT)}\r\n"
    "\r\n"
).encode()


def plain(answer: Answer) -> tuple[bytes, bytes]:
    return re.sub(rb"Date: [^\r]*", b"Date: (now)", answer.head), answer.content


async def sign_out(authorization: FakeAuthorizationServer, daemon: RunningDaemon) -> None:
    """Have the session refused."""
    await fetch(daemon.url)
    authorization.revoke_access()
    authorization.revoke_refresh()
    daemon.pass_time(60)
    assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=refresh_denied"


async def test_every_parked_request_gets_the_logout_answer_byte_for_byte_and_nobody_asks_again(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        authorization.revoke_access()
        authorization.revoke_refresh()
        authorization.hold()
        asking = [asyncio.create_task(fetch(daemon.url)) for _ in range(50)]
        await until(lambda: daemon.session.parked == 50)
        authorization.release()
        assert {plain(answer) for answer in await asyncio.gather(*asking)} == {(HEAD, CONTENT)}
        later = [await fetch(daemon.url) for _ in range(10)]
        assert {plain(answer) for answer in later} == {(HEAD, CONTENT)}
        assert authorization.count == 2
        assert len(daemon.events("session.signed_out")) == 1
    assert upstream.count == 1 + 50 + 10


async def test_the_logout_answer_to_head_has_the_fields_and_no_content_and_the_connection_goes_on(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await sign_out(authorization, daemon)
        async with await connect(daemon.url) as client:
            for _ in range(2):
                await client.request(method="HEAD")
                assert plain(await client.answer(to="HEAD")) == (HEAD, b"")


async def test_signed_out_requests_go_upstream_without_authorization_so_that_public_pages_work(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await sign_out(authorization, daemon)
        answer = await fetch(daemon.url, "/public/page", fields=[("Authorization", "Bearer of-the-client")])
    assert answer.status == 200
    assert upstream.seen("/public/page")[0].values("authorization") == []


async def test_with_no_refresh_token_at_all_public_pages_work_and_the_reason_is_no_session(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, credential={"refresh_token": None}) as daemon:
        assert (await fetch(daemon.url, "/public/page")).status == 200
        answer = await fetch(daemon.url, "/private")
        assert (answer.status, answer.value("Reauth-Signal")) == (401, "logout;reason=no_session")
        assert answer.value("Retry-After") is None
    assert authorization.count == 0


async def test_somebody_signs_out_and_everybody_who_waits_is_told(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        authorization.hold()
        asking = [asyncio.create_task(fetch(daemon.url)) for _ in range(5)]
        await until(lambda: daemon.session.parked == 5)
        await authorization.arrived(1)
        await daemon.session.sign_out()
        answers = await asyncio.gather(*asking)
        assert {answer.value("Reauth-Signal") for answer in answers} == {"logout;reason=signed_out"}
        authorization.release()
        assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=signed_out"
    assert authorization.count == 1


async def test_a_new_refresh_token_brings_the_session_back(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await sign_out(authorization, daemon)
        assert await daemon.session.sign_in(Secret(authorization.login()))
        assert (await fetch(daemon.url)).status == 200
        assert len(daemon.events("session.resumed")) == 1
    assert authorization.reuses == 0


async def test_the_refused_refresh_token_is_tried_again_each_time_that_somebody_brings_it(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.revoke_refresh()
    async with running_daemon(authorization, upstream) as daemon:
        assert (await fetch(daemon.url)).status == 401
        for number in range(3):
            assert (await fetch(daemon.url)).status == 401
            assert authorization.count == 1 + number
            assert await daemon.session.sign_in(Secret(authorization.first))
            assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=refresh_denied"
    assert authorization.count == 4


async def test_reuse_of_a_rotated_token_by_somebody_else_ends_the_session(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        await fetch(daemon.url)
        stolen = {"grant_type": "refresh_token", "refresh_token": authorization.first}
        form = "&".join(f"{name}={value}" for name, value in stolen.items()).encode()
        thief = await fetch(authorization.url, "/token", method="POST", content=form)
        assert (thief.status, authorization.reuses) == (400, 1)
        authorization.revoke_access()
        assert (await fetch(daemon.url)).value("Reauth-Signal") == "logout;reason=refresh_denied"


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"])
async def test_a_misconfiguration_is_no_logout_and_is_loud_in_the_log(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, code: str
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        authorization.next(oauth_error(code))
        answer = await fetch(daemon.url)
        assert (answer.status, answer.value("Reauth-Signal")) == (401, "logout;reason=refresh_unavailable")
        assert int(answer.value("Retry-After") or 0) >= 1
        assert authorization.count == 1, "no retries"
        (loud,) = [line for line in daemon.events("refresh.unavailable") if line["level"] == "error"]
        assert code in loud["problem"]
        daemon.pass_time(60)
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 2


async def test_an_upstream_cannot_say_the_signal(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async def liar(exchange: Exchange) -> None:
        await exchange.answer(200, b"", ("Reauth-Signal", "logout;reason=refresh_denied"), ("X-Other", "1"))

    upstream.on["/liar"] = liar
    async with running_daemon(authorization, upstream) as daemon:
        answer = await fetch(daemon.url, "/liar")
    assert (answer.value("X-Other"), answer.value("Reauth-Signal")) == ("1", None)
