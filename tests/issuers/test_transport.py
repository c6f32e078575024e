"""What the network may do to a call, with real sockets."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from reauth_proxy import __version__
from reauth_proxy.errors import StoreError
from reauth_proxy.issuers.causes import describe
from reauth_proxy.issuers.receiving import LONGEST_ANSWER
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.issuers.transport import Transport
from reauth_proxy.session.tokens import Unavailable
from tests.issuers.endpoints import certificate, http_endpoint, raw_endpoint, resets, sends

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BAD = HEAD.replace(b"200 OK", b"400 Bad Request")


async def call(url: str, method: str = "POST", tls: ssl.SSLContext | bool = True) -> Answer | Unavailable:
    transport = Transport(tls, connect_timeout=2.0)
    try:
        return await transport.send(method, url, {}, b"refresh_token=CANARY" if method != "GET" else None)
    finally:
        await transport.close()


async def failed(url: str, method: str = "POST", tls: ssl.SSLContext | bool = True) -> Unavailable:
    answer = await call(url, method, tls)
    assert isinstance(answer, Unavailable)
    assert "CANARY" not in repr(answer)
    return answer


async def test_a_whole_answer_is_read() -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.Response(
            body=b"x", status=429, content_type="text/html", charset="utf-8", headers={"Retry-After": "3"}
        )
        answer = await call(endpoint.url())
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body, answer.content_type, answer.retry_after) == (429, b"x", "text/html", "3")
    assert answer.date is not None


async def test_a_request_has_our_user_agent_and_nothing_of_clients_cookies_or_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.Response(headers={"Set-Cookie": "a=CANARY; Path=/"})
        transport = Transport()
        for _ in range(2):
            assert isinstance(await transport.send("POST", endpoint.url(), {}, b"x"), Answer)
        await transport.close()
    names = {name.lower() for name in endpoint.asked[1][2]}
    assert endpoint.asked[1][2]["User-Agent"] == f"reauth-proxy/{__version__}"
    assert names == {"host", "user-agent", "accept", "accept-encoding", "content-length", "content-type", "connection"}


async def test_redirects_are_not_followed() -> None:
    async with http_endpoint() as endpoint:
        endpoint.answer = lambda _: web.Response(status=307, headers={"Location": endpoint.url("/elsewhere")})
        answer = await call(endpoint.url())
    assert isinstance(answer, Answer)
    assert (answer.status, len(endpoint.asked)) == (307, 1)


async def test_a_refused_connection_has_sent_nothing() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reply = await failed(f"http://127.0.0.1:{port}/token")
    assert reply == Unavailable(f"cannot connect to 127.0.0.1:{port}: connection refused")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "CANARY"), "connection refused"),
        (ConnectionResetError(), "connection reset"),
        (socket.gaierror(-2, "CANARY"), "its name could not be resolved"),
        (OSError(errno.ENETUNREACH, "CANARY"), "network is unreachable"),
        (OSError(None, "Multiple exceptions: CANARY"), "the connection failed"),
        (ssl.SSLError(1, "CANARY"), "the TLS handshake failed; is it https?"),
        (ssl.CertificateError("CANARY"), "its certificate was not accepted"),
    ],
)
def test_why_there_is_no_connection_is_said_in_our_words(error: Exception, words: str) -> None:
    assert describe(error).startswith(words)
    assert "CANARY" not in describe(error)


async def test_a_name_with_several_addresses_that_all_refuse_says_so() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reply = await failed(f"http://localhost:{port}/token")
    assert reply == Unavailable(f"cannot connect to localhost:{port}: connection refused")


async def test_a_url_that_cannot_be_called_is_a_misconfiguration() -> None:
    for url in ("http://", "http://127.1/token", "id.example/token"):
        assert (await failed(url)).misconfigured


async def test_a_name_that_does_not_resolve_has_sent_nothing() -> None:
    reply = await failed("http://nowhere.invalid/token")
    assert reply.cause == "cannot connect to nowhere.invalid:80: its name could not be resolved"
    assert not reply.broken


async def test_a_peer_that_does_not_accept_in_time_has_been_sent_nothing() -> None:
    # The listener's kernel accepts, but no TLS handshake ever comes.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = Transport(connect_timeout=0.1)
        reply = await transport.send("POST", f"https://127.0.0.1:{silent.getsockname()[1]}/", {}, b"x")
        await transport.close()
    assert isinstance(reply, Unavailable)
    assert "no answer within 0.1 s" in reply.cause
    assert not reply.broken


async def test_https_is_verified(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)
    async with http_endpoint(server) as endpoint:
        url = endpoint.url().replace("http:", "https:")
        assert isinstance(await call(url, tls=client), Answer)
        assert isinstance(await call(url, tls=False), Answer)
        reply = await failed(url)
        assert "certificate was not accepted (self-signed certificate)" in reply.cause
        assert not reply.broken
        assert len(endpoint.asked) == 2


@pytest.mark.parametrize(
    ("days", "address", "problem"), [(-1, "127.0.0.1", "expired"), (1, "127.0.0.9", "IP address mismatch")]
)
async def test_certificate_problems_are_named(tmp_path: Path, days: int, address: str, problem: str) -> None:
    server, client = certificate(tmp_path, days=days, address=address)
    async with http_endpoint(server) as endpoint:
        reply = await failed(endpoint.url().replace("http:", "https:"), tls=client)
    assert problem in reply.cause


async def test_http_where_https_was_due_has_sent_nothing() -> None:
    async with http_endpoint() as endpoint:
        reply = await failed(endpoint.url().replace("http:", "https:"))
    assert "TLS handshake failed" in reply.cause
    assert not reply.broken


@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
@pytest.mark.parametrize(
    "behave",
    [
        sends(),
        resets,
        sends(b"HTTP/1.1 200 O"),
        sends(HEAD),
        sends(BAD + b"Content-Length: 100\r\n\r\n{"),
        sends(BAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"CAN\r\n'),
    ],
    ids=["nothing", "reset", "half a line", "half a head", "half an error", "half a chunked error"],
)
async def test_an_answer_that_breaks_off_is_broken_and_asked_for_once(method: str, behave: object) -> None:
    async with raw_endpoint(behave) as endpoint:  # type: ignore[arg-type]
        reply = await failed(endpoint.url, method)
    assert reply.broken
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    ("behave", "body"),
    [
        (sends(HEAD + b"Content-Length: 100\r\n\r\n"), b""),
        (sends(HEAD + b'Content-Length: 100\r\n\r\n{"CAN'), b'{"CAN'),
        (sends(HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"CAN\r\n'), b'{"CAN'),
    ],
    ids=["no content", "half a body", "half a chunked body"],
)
async def test_what_came_of_a_2xx_that_breaks_off_is_handed_on(method: str, behave: object, body: bytes) -> None:
    async with raw_endpoint(behave) as endpoint:  # type: ignore[arg-type]
        answer = await call(endpoint.url, method)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body, answer.cut) == (200, body, "broke off")
    assert len(endpoint.requests) == 1


async def test_an_error_that_is_whole_by_its_syntax_is_no_broken_answer() -> None:
    async with raw_endpoint(sends(BAD + b'Content-Length: 100\r\n\r\n{"error":"invalid_grant"}')) as endpoint:
        answer = await call(endpoint.url)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.cut) == (400, "")


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("head", [HEAD, BAD], ids=["200", "400"])
async def test_12_mib_are_not_read(framing: str, head: bytes) -> None:
    size = 12 * LONGEST_ANSWER
    chunk = b"x" * 65536

    async def flood(writer: asyncio.StreamWriter) -> None:
        field = {"length": b"Content-Length: %d\r\n" % size, "chunked": b"Transfer-Encoding: chunked\r\n"}
        writer.write(head + field.get(framing, b"Connection: close\r\n") + b"\r\n")
        for _ in range(size // len(chunk)):
            writer.write(b"10000\r\n" + chunk + b"\r\n" if framing == "chunked" else chunk)
            await writer.drain()

    async with raw_endpoint(flood) as endpoint:
        answer = await call(endpoint.url)
    if head == HEAD:
        assert isinstance(answer, Answer)
        assert (len(answer.body), answer.cut) == (LONGEST_ANSWER, "is longer than 1 MiB")
    else:
        assert isinstance(answer, Unavailable)
        assert "longer than 1 MiB" in answer.cause
        assert not answer.broken


async def test_exactly_1_mib_is_read() -> None:
    body = b"x" * LONGEST_ANSWER
    async with raw_endpoint(sends(HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body)) as endpoint:
        answer = await call(endpoint.url)
    assert isinstance(answer, Answer)
    assert len(answer.body) == LONGEST_ANSWER


async def test_a_compressed_bomb_is_unpacked_to_no_more_than_1_mib() -> None:
    import gzip

    bomb = gzip.compress(b"\0" * (64 * LONGEST_ANSWER))
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with raw_endpoint(sends(head + bomb)) as endpoint:
        answer = await call(endpoint.url)
    assert isinstance(answer, Answer)
    assert (len(answer.body), answer.cut) == (LONGEST_ANSWER, "is longer than 1 MiB")


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-CANARY\r\n\r\n", b"HTTP/1.1 200 OK\r\nCANARY\r\n\r\n", HEAD + b"Content-Length: CANARY\r\n\r\n"],
)
async def test_what_is_not_http_is_named_without_repeating_it(answer: bytes) -> None:
    async with raw_endpoint(sends(answer)) as endpoint:
        reply = await failed(endpoint.url)
    assert "not HTTP" in reply.cause
    # It may have used the token up, whoever it was.
    assert (reply.answered, reply.broken) == (True, False)


async def test_long_fields_are_read_within_bounds() -> None:
    answer = HEAD + b"Set-Cookie: a=%s\r\nContent-Length: 2\r\n\r\n{}"
    async with raw_endpoint(sends(answer % (b"x" * 40_000))) as endpoint:
        assert isinstance(await call(endpoint.url), Answer)
    async with raw_endpoint(sends(answer % (b"x" * 200_000))) as endpoint:
        await failed(endpoint.url)


async def test_a_connection_is_used_once() -> None:
    async with http_endpoint() as endpoint:
        transport = Transport()
        assert isinstance(await transport.send("POST", endpoint.url(), {}, b"x"), Answer)
        assert endpoint.asked[0][2]["Connection"] == "close"
        await transport.close()


async def test_a_cancelled_call_hangs_up_and_says_so() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def behave(writer: asyncio.StreamWriter) -> None:
        asked.set()
        try:
            while True:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            gone.set()

    async with raw_endpoint(behave) as endpoint:
        transport = Transport()
        task = asyncio.create_task(transport.send("POST", endpoint.url, {}, b"x"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await gone.wait()
        await transport.close()


async def test_nothing_is_logged_even_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for behave in (sends(b"HTTP/1.1 CANARY\r\n\r\nCANARY"), resets, sends(HEAD + b"CANARY")):
        async with raw_endpoint(behave) as endpoint:
            await failed(endpoint.url)
    assert "CANARY" not in caplog.text


async def test_closing_twice_or_unused_is_fine() -> None:
    transport = Transport()
    await transport.close()
    await transport.close()


async def test_a_request_under_way_ends_well_when_the_transport_is_closed_and_nothing_is_left_open() -> None:
    arrived, gate = asyncio.Event(), asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.Response:
        arrived.set()
        await gate.wait()
        return web.Response(body=b"x")

    async with http_endpoint() as endpoint:
        endpoint.answer = answer
        transport = Transport()
        sending = asyncio.create_task(transport.send("POST", endpoint.url(), {}, b""))
        await arrived.wait()
        await transport.close()
        gate.set()
        first = await sending
        assert isinstance(first, Answer)
        assert first.status == 200
        later = await transport.send("POST", endpoint.url(), {}, b"")
        assert isinstance(later, Answer), "what was begun with it may need more than one request"
        assert transport._session is None


async def test_nothing_is_sent_where_it_must_not_be_any_more_and_the_connection_is_closed() -> None:
    async def no_more() -> None:
        raise StoreError("the lock has passed on")

    async with http_endpoint() as endpoint:
        transport = Transport()
        answer = await transport.send("POST", endpoint.url(), {}, b"token=CANARY", confirm=no_more)
        await transport.close()
        assert answer == Unavailable("the lock has passed on")
        assert endpoint.asked == []
