"""Exchanges on a connection of their own: what is whole by its own syntax counts, whatever its framing says."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from reauth_proxy.issuers.client import OAuth2Settings
from reauth_proxy.issuers.direct import request
from reauth_proxy.issuers.json_api import JsonEndpoint, JsonSettings
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.issuers.transport import Transport
from reauth_proxy.session.tokens import Denied, Issued, Secret, TokenReply, Unavailable
from tests.issuers.endpoints import ACCESS, REFRESH, RawEndpoint, certificate, raw_endpoint, resets, sends

STATUS = b"HTTP/1.1 200 OK\r\n"
HEAD = STATUS + b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MEMBERS = {"access_token": "access-CANARY-1", "expires_in": 60, "refresh_token": "refresh-CANARY-2", "scope": "a b"}
TOKENS = json.dumps(MEMBERS).encode()
PRETTY = json.dumps(MEMBERS, indent=2).replace("\n", "\r\n").replace('"scope"', '\r\n  "scope"').encode()
ISSUED = Issued(Secret("access-CANARY-1"), Secret("refresh-CANARY-2"), 60.0)
#: Within the access token, and within the refresh token.
EDGES = [0, 25, 80, len(TOKENS)]


def length(size: int) -> bytes:
    return b"Content-Length: %d\r\n" % size


def chunks(more: int = 0, end: bytes = b"0\r\n\r\n", line: bytes = b"\r\n") -> bytes:
    """Cut the tokens into chunks whose sizes are wrong by `more`."""
    pieces = [TOKENS[a:b] for a, b in pairwise(EDGES)]
    return b"".join(b"%x%s%s%s" % (len(piece) + more, line, piece, line) for piece in pieces) + end


FAULTS = {
    "Content-Length too small": HEAD + length(len(TOKENS) - 30) + b"\r\n" + TOKENS,
    "Content-Length of 0": HEAD + length(0) + b"\r\n" + TOKENS,
    "Content-Length too large": HEAD + length(len(TOKENS) + 9) + b"\r\n" + TOKENS,
    "Content-Length in words": HEAD + b"Content-Length: long\r\n\r\n" + TOKENS,
    "Content-Length twice": HEAD + length(3) + length(9999) + b"\r\n" + TOKENS,
    "Content-Length without a number": HEAD + b"Content-Length:\r\n\r\n" + TOKENS,
    "both, and chunked": HEAD + CHUNKED + length(40) + b"\r\n" + chunks(),
    "both the other way, and chunked": HEAD + length(40) + CHUNKED + b"\r\n" + chunks(),
    "both, and not chunked": HEAD + CHUNKED + length(len(TOKENS)) + b"\r\n" + TOKENS,
    "both, not chunked, and too small": HEAD + length(5) + CHUNKED + b"\r\n" + TOKENS,
    "said to be chunked": HEAD + CHUNKED + b"\r\n" + TOKENS,
    "not said to be chunked": HEAD + b"\r\n" + chunks(),
    "chunked, with its length": HEAD + length(len(chunks())) + b"\r\n" + chunks(),
    "chunks that are too small": HEAD + CHUNKED + b"\r\n" + chunks(-3),
    "chunks that are too large": HEAD + CHUNKED + b"\r\n" + chunks(7),
    "chunks that are much too large": HEAD + CHUNKED + b"\r\n" + chunks(70_000),
    "chunk sizes beyond all bounds": HEAD + CHUNKED + b"\r\n" + b"f" * 20 + b"\r\n" + TOKENS,
    "chunk sizes in words": HEAD + CHUNKED + b"\r\nlong\r\n" + TOKENS + b"\r\n0\r\n\r\n",
    "chunks with bare line feeds": HEAD + CHUNKED + b"\r\n" + chunks(0, b"0\n\n", b"\n"),
    "text after the last chunk": HEAD + CHUNKED + b"\r\n" + chunks() + b"<!-- cached -->",
    "text instead of trailers": HEAD + CHUNKED + b"\r\n" + chunks(0, b"0\r\n") + b"<!-- cached -->",
    "tokens after the last chunk": HEAD + CHUNKED + b"\r\n0\r\n\r\n" + TOKENS,
    "no last chunk": HEAD + CHUNKED + b"\r\n" + chunks(0, b""),
    "content after a 204": b"HTTP/1.1 204 No Content\r\n\r\n" + TOKENS,
    "chunks after a 204": b"HTTP/1.1 204 No Content\r\n" + CHUNKED + b"\r\n" + chunks(),
    "content after a 205": b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n" + TOKENS,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + TOKENS,
    "HTTP/2 in the status line": b"HTTP/2 200\r\n\r\n" + TOKENS,
    "until the end": HEAD + b"\r\n" + TOKENS,
    "bare line feeds": (HEAD + length(len(TOKENS)) + b"\r\n").replace(b"\r", b"") + TOKENS,
    "line ends before it": b"\r\n\r\n" + HEAD + length(len(TOKENS)) + b"\r\n" + TOKENS,
    "a warning in the head": HEAD + b"Warning: x in y\r\nNotice in token.php\r\n" + length(9) + b"\r\n" + TOKENS,
    "a byte order mark as a field": STATUS + b"\xef\xbb\xbfX: y\r\n" + length(len(TOKENS)) + b"\r\n" + TOKENS,
    "no blank line": HEAD + PRETTY,
    "interim responses": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    + (HEAD + length(7) + b"\r\n" + TOKENS),
    "an upgrade that nobody asked for": STATUS
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    + length(9)
    + b"\r\n"
    + TOKENS,
}


async def by_oauth2(url: str, tls: ssl.SSLContext | bool = True) -> TokenReply:
    issuer = OAuth2Endpoint(OAuth2Settings("web", url, client_auth="none"), ssl=tls)
    try:
        async with asyncio.timeout(10):
            # Half of what silence would take.
            return await issuer.refresh(REFRESH, ACCESS)
    finally:
        await issuer.close()


async def by_json_api(url: str, tls: ssl.SSLContext | bool = True) -> TokenReply:
    pointers = {"access_token": "/access_token", "refresh_token": "/refresh_token", "expires_in": "/expires_in"}
    settings = JsonSettings(url, body={"token": "{refresh_token}"}, **pointers)  # type: ignore[arg-type]
    issuer = JsonEndpoint(settings, ssl=tls)
    try:
        async with asyncio.timeout(10):
            return await issuer.refresh(REFRESH, ACCESS)
    finally:
        await issuer.close()


both = pytest.mark.parametrize("refresh", [by_oauth2, by_json_api], ids=["oauth2", "json"])
Refresh = Callable[..., Awaitable[TokenReply]]


def split(answer: bytes, edges: list[int]) -> list[bytes]:
    return [answer[a:b] for a, b in pairwise(sorted({0, *(edge for edge in edges if edge < len(answer)), len(answer)}))]


@pytest.fixture(params=[False, True], ids=["closed", "kept open"])
def stay(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@both
@pytest.mark.parametrize("fault", FAULTS)
async def test_tokens_are_issued_whatever_their_framing_says(refresh: Refresh, fault: str, stay: bool) -> None:
    if stay and fault == "no blank line":
        return  # there might be another field
    async with raw_endpoint(sends(FAULTS[fault]), stay=stay) as endpoint:
        assert await refresh(endpoint.url) == ISSUED
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_tokens_are_issued_if_each_byte_of_their_wrong_framing_comes_alone(fault: str) -> None:
    async with raw_endpoint(sends(*(bytes([byte]) for byte in FAULTS[fault]))) as endpoint:
        assert await by_oauth2(endpoint.url) == ISSUED
    assert len(endpoint.requests) == 1


@both
@pytest.mark.parametrize("fault", FAULTS)
async def test_tokens_are_issued_over_tls_whatever_their_framing_says(
    refresh: Refresh, fault: str, secure: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server, client = secure
    async with tls_endpoint(sends(FAULTS[fault]), server) as endpoint:
        assert await refresh(endpoint.url.replace("http:", "https:"), client) == ISSUED
    assert len(endpoint.requests) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(FAULTS)),
    st.lists(st.integers(1, 500), max_size=8),
    st.sampled_from([by_oauth2, by_json_api]),
)
async def test_tokens_are_issued_however_their_wrong_framing_is_split(
    fault: str, edges: list[int], refresh: Refresh
) -> None:
    async with raw_endpoint(sends(*split(FAULTS[fault], edges))) as endpoint:
        assert await refresh(endpoint.url) == ISSUED
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_start_of_an_answer_yields_a_token_that_is_not_whole(fault: str) -> None:
    whole, at = FAULTS[fault], 0

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(whole[:at])

    async with raw_endpoint(behave) as endpoint:
        for at in range(len(whole)):
            reply = await by_oauth2(endpoint.url)
            if isinstance(reply, Issued):
                assert reply.access_token == ISSUED.access_token
                held = reply.refresh_token.reveal() if reply.refresh_token is not None else None
                assert held in (None, "refresh-CANARY-2") or held.startswith("reauth-proxy:lost:"), at
            else:
                assert isinstance(reply, Unavailable)
                assert reply.broken or reply.answered
                assert reply.refresh_token in (None, ISSUED.refresh_token)
                assert "CANARY" not in repr(reply)
    assert len(endpoint.requests) == len(whole)


@pytest.mark.parametrize("more", [-3, 7])
async def test_a_refusal_counts_whatever_its_framing_says(more: int) -> None:
    refusal = b'{"error": "invalid_grant"}'
    head = b"HTTP/1.1 400 Bad Request\r\n"
    for answer in (
        head + length(len(refusal) + more) + b"\r\n" + refusal,
        head + CHUNKED + b"\r\n%x\r\n" % (len(refusal) + more) + refusal + b"\r\n0\r\n\r\n",
        head + CHUNKED + b"\r\n" + refusal,
    ):
        async with raw_endpoint(sends(answer)) as endpoint:
            reply = await by_oauth2(endpoint.url)
        assert isinstance(reply, Denied), reply


async def test_an_error_with_mistakes_in_its_framing_is_not_waited_for() -> None:
    page = b"HTTP/1.1 502 Bad Gateway\r\n" + CHUNKED + b"\r\n<h1>CANARY</h1>"
    async with raw_endpoint(sends(page), stay=True) as endpoint:
        reply = await by_oauth2(endpoint.url)
    assert isinstance(reply, Unavailable)
    assert "CANARY" not in reply.cause


@pytest.mark.parametrize("content", [b"", b"ok", b"<p>done</p>", b"access_token=access-CANARY-1&refresh_token=r"])
async def test_an_answer_that_is_complete_is_not_waited_for_even_if_the_connection_stays_open(content: bytes) -> None:
    async with raw_endpoint(sends(HEAD + length(len(content)) + b"\r\n" + content), stay=True) as endpoint:
        began = time.monotonic()
        transport = Transport(moment=0.01)
        answer = await transport.send("POST", endpoint.url, {}, b"x")
    assert isinstance(answer, Answer)
    assert (answer.body, answer.cut) == (content, "")
    assert time.monotonic() - began < 10


async def test_a_form_of_the_right_length_is_whole_though_it_is_said_to_be_chunked() -> None:
    form = b"access_token=access-CANARY-1&expires_in=60&refresh_token=refresh-CANARY-2"
    async with raw_endpoint(sends(HEAD + CHUNKED + length(len(form)) + b"\r\n" + form)) as endpoint:
        assert await by_oauth2(endpoint.url) == ISSUED


async def test_what_came_before_a_reset_is_kept() -> None:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + length(len(TOKENS) + 20) + b"\r\n" + TOKENS)
        await writer.drain()
        await resets(writer)

    async with raw_endpoint(behave) as endpoint:
        assert await by_oauth2(endpoint.url) == ISSUED


async def test_an_endpoint_that_says_nothing_is_waited_for_and_hung_up_on_when_the_call_is_cancelled() -> None:
    for said in (b"", STATUS, HEAD + length(9) + b"\r\n"):
        asked, gone = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes = said) -> None:
            await reader.readuntil(b"\r\n\r\nx")
            writer.write(said)
            asked.set()  # noqa: B023
            with suppress(ConnectionError):
                await reader.read()
            gone.set()  # noqa: B023
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = Transport()
        call = asyncio.create_task(transport.send("POST", f"http://127.0.0.1:{port}/", {}, b"x"))
        await asked.wait()
        await transport.close()
        assert not call.done(), "a request under way goes on when the transport is closed"
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(5):
            await gone.wait()
        server.close()


async def test_a_call_that_is_cancelled_during_the_handshake_hangs_up() -> None:
    accepted, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        accepted.set()
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    call = asyncio.create_task(
        Transport().send("POST", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, b"x")
    )
    await accepted.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(5):
        await gone.wait()
    server.close()


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000,
        b"HTTP/1.1 200 OK" * 500,
        b"A: b\r\n",
        b"\r\n" * 5000,
        b"HTTP/1.1 100 C\r\n\r\n" * 500,
    ],
    ids=["fields", "status lines", "no HTTP", "line ends", "interim responses"],
)
async def test_a_head_without_end_is_no_http(flood: bytes) -> None:
    async def behave(writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(flood)
            await writer.drain()
            await asyncio.sleep(0)

    async with raw_endpoint(behave) as endpoint:
        reply = await by_oauth2(endpoint.url)
    assert isinstance(reply, Unavailable)
    assert "not HTTP" in reply.cause
    assert reply.answered


@pytest.mark.parametrize("host", ["[::1]", "localhost", "127.0.0.1"])
async def test_an_endpoint_is_reached_by_either_family(host: str) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(HEAD + length(len(TOKENS)) + b"\r\n" + TOKENS)
        writer.close()

    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    server = await asyncio.start_server(serve, "::1" if host == "[::1]" else "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await by_oauth2(f"http://{host}:{port}/token") == ISSUED
    server.close()
    assert len(seen) == 1
    assert f"\r\nHost: {host}:{port}\r\n".encode() in seen[0]


async def test_a_connection_that_a_machine_closes_in_the_handshake_sent_nothing() -> None:
    async with raw_endpoint(sends()) as endpoint:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reply = await by_oauth2(f"https://127.0.0.1:{port}/token")
        server.close()
    assert isinstance(reply, Unavailable)
    assert reply.cause.startswith(f"cannot connect to 127.0.0.1:{port}: ")
    assert not reply.broken
    assert not endpoint.requests


async def test_a_certificate_that_does_not_fit_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    server, client = certificate(tmp_path, address="127.0.0.9")
    async with tls_endpoint(sends(HEAD + b"\r\n" + TOKENS), server) as endpoint:
        reply = await by_oauth2(endpoint.url.replace("http:", "https:"), client)
    assert isinstance(reply, Unavailable)
    assert "certificate was not accepted (IP address mismatch" in reply.cause
    assert not reply.broken
    assert not endpoint.requests


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("https://id.example", "/", "id.example"),
        ("https://id.example:443/t", "/t", "id.example"),
        ("http://id.example:80/t", "/t", "id.example"),
        ("http://ID.example:8080/a b?x=ü&y=%2F#z", "/a%20b?x=%C3%BC&y=/", "id.example:8080"),
        ("https://user:CANARY@id.example/t", "/t", "id.example"),
        ("https://bücher.example/t", "/t", "xn--bcher-kva.example"),
        ("http://[::1]:8080/t", "/t", "[::1]:8080"),
        ("http://[::1]/t", "/t", "[::1]"),
    ],
)
def test_a_request_says_where_it_goes(url: str, line: str, host: str) -> None:
    data = request("POST", URL(url), {"Accept": "x"}, b"abc")
    assert data == (
        f"POST {line} HTTP/1.1\r\nHost: {host}\r\nAccept: x\r\nContent-Type: application/octet-stream\r\n"
        "Content-Length: 3\r\nConnection: close\r\n\r\nabc"
    ).encode("ascii")


@pytest.mark.parametrize(
    "fields", [{"X": "a\r\nb"}, {"X": "a\0"}, {"X y": "b"}, {"X:": "b"}, {"": "b"}, {"X": "\ud800"}]
)
async def test_a_field_that_cannot_be_sent_is_a_misconfiguration(fields: dict[str, str]) -> None:
    async with raw_endpoint(sends(HEAD + b"\r\n" + TOKENS)) as endpoint:
        reply = await Transport().send("POST", endpoint.url, fields, b"x")
    assert isinstance(reply, Unavailable)
    assert reply.misconfigured
    assert not endpoint.requests


async def test_fields_that_are_given_come_instead_of_ours_and_none_of_them_says_where_content_ends() -> None:
    given = {
        "accept": "a/b",
        "USER-AGENT": "me",
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        "Content-Type": "c/d",
    }
    async with raw_endpoint(sends(HEAD + b"\r\n" + TOKENS)) as endpoint:
        assert isinstance(await Transport().send("POST", endpoint.url, given, b"x" * 5), Answer)
    lines = sorted(endpoint.requests[0].partition(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    assert lines == sorted(
        [
            *(b"Host: 127.0.0.1:%d" % endpoint.port, b"accept: a/b", b"USER-AGENT: me", b"Accept-Encoding: identity"),
            *(b"Content-Type: c/d", b"Content-Length: 5", b"Connection: close"),
        ]
    )


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return certificate(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def tls_endpoint(
    behave: Callable[[asyncio.StreamWriter], Awaitable[None]], context: ssl.SSLContext
) -> AsyncIterator[RawEndpoint]:
    endpoint = RawEndpoint(behave)
    server = await asyncio.start_server(endpoint._accept, "127.0.0.1", 0, ssl=context)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()
