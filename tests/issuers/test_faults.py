"""Answers that are wrong in every way but one: the tokens are in them. Each is issued, and asked for once."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reauth_proxy.issuers import device
from reauth_proxy.issuers.client import OAuth2Settings
from reauth_proxy.issuers.json_api import JsonEndpoint, JsonSettings
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.issuers.reply import Answer, from_oauth2
from reauth_proxy.issuers.transport import Transport
from reauth_proxy.session.tokens import Denied, Issued, Secret, TokenReply, Unavailable
from tests.issuers.endpoints import ACCESS, REFRESH, RawEndpoint, raw_endpoint, sends

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]

STATUS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TOKENS = json.dumps(
    {
        "access_token": "access-CANARY-1",
        "token_type": "Bearer",
        "expires_in": 60,
        "refresh_token": "refresh-CANARY-2",
        "scope": "a b",
    }
).encode()
ISSUED = Issued(Secret("access-CANARY-1"), Secret("refresh-CANARY-2"), 60.0)
NOTICE = b"<br />\n<b>Notice</b>:  Undefined index: {x} in <b>/srv/token.php</b> on line <b>12</b><br />\n"


async def by_oauth2(endpoint: RawEndpoint, held: Secret = REFRESH) -> TokenReply:
    issuer = OAuth2Endpoint(OAuth2Settings("web", endpoint.url, client_auth="none"))
    try:
        async with asyncio.timeout(10):
            return await issuer.refresh(held, ACCESS)
    finally:
        await issuer.close()


async def by_json_api(endpoint: RawEndpoint, held: Secret = REFRESH) -> TokenReply:
    pointers = {"access_token": "/access_token", "refresh_token": "/refresh_token", "expires_in": "/expires_in"}
    issuer = JsonEndpoint(JsonSettings(endpoint.url, body={"token": "{refresh_token}"}, **pointers))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(10):
            return await issuer.refresh(held, ACCESS)
    finally:
        await issuer.close()


both = pytest.mark.parametrize("refresh", [by_oauth2, by_json_api], ids=["oauth2", "json"])


def sized(content: bytes, length: int | None = None, fields: bytes = b"") -> bytes:
    return STATUS + fields + b"Content-Length: %d\r\n\r\n" % (len(content) if length is None else length) + content


def chunked(content: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return STATUS + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(content), content) + end


def replaced(**members: object) -> bytes:
    return sized(json.dumps(json.loads(TOKENS) | members).encode())


#: Those that are kept open are so until the other side closes.
FAULTS: dict[str, Behaviour] = {
    "none": sends(sized(TOKENS)),
    "an odd token_type": sends(replaced(token_type="JWT")),
    "a token_type that is no text": sends(replaced(token_type=7)),
    "a Bearer before the token": sends(replaced(access_token="bearer access-CANARY-1")),
    "Content-Length too large": sends(sized(TOKENS, len(TOKENS) + 100)),
    "Content-Length too large, kept open": sends(sized(TOKENS, len(TOKENS) + 100)),
    "no last chunk": sends(chunked(TOKENS, b"")),
    "no last chunk, kept open": sends(chunked(TOKENS, b"")),
    "half a last chunk": sends(chunked(TOKENS, b"0\r\n")),
    "no end but whole, kept open": sends(STATUS + b"\r\n" + TOKENS),
    "gzip that is plain": sends(sized(TOKENS, fields=b"Content-Encoding: gzip\r\n")),
    "deflate that is plain": sends(sized(TOKENS, fields=b"Content-Encoding: deflate\r\n")),
    "br that is plain": sends(sized(TOKENS, fields=b"Content-Encoding: br\r\n")),
    "gzip that nobody asked for": sends(sized(gzip.compress(TOKENS), fields=b"Content-Encoding: gzip\r\n")),
    "gzip that is not named": sends(sized(gzip.compress(TOKENS))),
    "deflate that nobody asked for": sends(sized(zlib.compress(TOKENS), fields=b"Content-Encoding: deflate\r\n")),
    "gzip without its end, kept open": sends(chunked(gzip.compress(TOKENS)[:-8], b"")),
    "a notice before it": sends(sized(NOTICE + TOKENS)),
    "a notice before it, as HTML": sends(sized(NOTICE + TOKENS).replace(b"application/json", b"text/html")),
    "a notice before it, kept open": sends(chunked(NOTICE + TOKENS, b"")),
    "a byte order mark": sends(sized(b"\xef\xbb\xbf" + TOKENS)),
    "a prefix against inclusion": sends(sized(b")]}',\n" + TOKENS)),
    "garbage behind it": sends(sized(TOKENS + b"\n<!-- cached -->")),
    "a brace behind it": sends(sized(TOKENS + b"}")),
    "bytes that are no UTF-8": sends(sized(TOKENS[:-1] + b', "name": "M\xfcller"}')),
    "cut behind the tokens": sends(sized(TOKENS[:-5], 300)),
    "cut behind the tokens, in a chunk": sends(chunked(TOKENS[:-5], b"")),
    "gzip that is cut behind the tokens": sends(sized(gzip.compress(TOKENS)[:-10], 300)),
    "a comma too many": sends(sized(TOKENS[:-1] + b",}")),
    "2 MiB of something else behind the tokens": sends(sized(TOKENS[:-1] + b', "a": "' + b"x" * 2_000_000 + b'"}')),
}


@both
@pytest.mark.parametrize("fault", FAULTS)
async def test_tokens_are_issued_whatever_is_wrong_with_their_answer(
    refresh: Callable[[RawEndpoint], Awaitable[TokenReply]], fault: str
) -> None:
    async with raw_endpoint(FAULTS[fault], stay=fault.endswith("kept open")) as endpoint:
        assert await refresh(endpoint) == ISSUED
    assert len(endpoint.requests) == 1


@both
async def test_tokens_within_a_content_length_that_is_too_small_are_issued(
    refresh: Callable[[RawEndpoint], Awaitable[TokenReply]],
) -> None:
    received = asyncio.Event()

    async def behave(writer: asyncio.StreamWriter) -> None:
        whole = sized(TOKENS, len(TOKENS) - 5)
        # What is beyond does not come in time; the tokens are whole without it.
        writer.write(whole[:-5])
        await writer.drain()
        await received.wait()
        writer.write(whole[-5:])

    async with raw_endpoint(behave) as endpoint:
        assert await refresh(endpoint) == ISSUED
        received.set()
    assert len(endpoint.requests) == 1


@both
async def test_a_whole_answer_without_an_end_is_waited_for_a_moment_only(
    refresh: Callable[[RawEndpoint], Awaitable[TokenReply]],
) -> None:
    async with raw_endpoint(sends(chunked(TOKENS, b"")), stay=True) as endpoint:
        began = time.monotonic()
        assert await refresh(endpoint) == ISSUED
    assert time.monotonic() - began < 2


async def test_a_form_is_issued_whatever_its_media_type() -> None:
    form = b"access_token=access-CANARY-1&refresh_token=refresh-CANARY-2&expires_in=60"
    for answer in (sized(form), sized(form + b"\n"), chunked(form), sized(form + b"&scope=a+b", 300)):
        async with raw_endpoint(sends(answer)) as endpoint:
            assert await by_oauth2(endpoint) == ISSUED


@both
async def test_numbers_are_taken_as_they_are_written(refresh: Callable[[RawEndpoint], Awaitable[TokenReply]]) -> None:
    content = b'{"access_token": 12345678901234567890123, "refresh_token": 98765432109876543210987, "expires_in": 60}'
    async with raw_endpoint(sends(sized(content))) as endpoint:
        reply = await refresh(endpoint)
    assert reply == Issued(Secret("12345678901234567890123"), Secret("98765432109876543210987"), 60.0)


@both
@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (sized(b"", 100), None),
        (sized(b'{"access_token": "acc', 100), None),
        (sized(b'{"refresh_token": "r-CANARY", "access_token": "acc', 100), Secret("r-CANARY")),
        (chunked(b'{"refresh_token": "r-CANARY", "exp', b""), Secret("r-CANARY")),
        (sized(b""), None),
        (sized(b"sorry"), None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
    ],
    ids=["only the head", "half a token", "half a member", "half a name", "no content", "no JSON", "204"],
)
async def test_a_2xx_without_an_access_token_is_answered_and_not_to_be_repeated(
    refresh: Callable[[RawEndpoint], Awaitable[TokenReply]], answer: bytes, kept: Secret | None
) -> None:
    async with raw_endpoint(sends(answer)) as endpoint:
        reply = await refresh(endpoint)
    assert isinstance(reply, Unavailable)
    assert (reply.answered, reply.broken, reply.misconfigured) == (True, False, False)
    assert reply.refresh_token == kept
    assert "CANARY" not in repr(reply)
    assert len(endpoint.requests) == 1


@both
async def test_a_login_page_in_place_of_the_endpoint_has_answered_nothing(
    refresh: Callable[[RawEndpoint], Awaitable[TokenReply]],
) -> None:
    page = b'<!doctype html><script>var state = {"user": {"name": "CANARY"}};</script><p>Log in to the Wi-Fi</p>'
    async with raw_endpoint(sends(sized(page).replace(b"application/json", b"text/html"))) as endpoint:
        reply = await refresh(endpoint)
    assert reply == Unavailable("the token endpoint answered 200 with HTML where JSON was due")


@both
async def test_an_unusable_refresh_token_ends_the_session_with_its_access_token_and_is_never_sent(
    refresh: Callable[..., Awaitable[TokenReply]],
) -> None:
    with capture_logs() as logs:
        async with raw_endpoint(sends(replaced(refresh_token="a\nCANARY"))) as endpoint:
            reply = await refresh(endpoint)
            assert isinstance(reply, Issued)
            assert reply.access_token == Secret("access-CANARY-1")
            assert reply.refresh_token is not None
            assert await refresh(endpoint, reply.refresh_token) == Denied("no_refresh_token")
    assert len(endpoint.requests) == 1
    assert [(line["event"], line["log_level"]) for line in logs] == [("refresh.unusable_token", "error")]
    assert "CANARY" not in repr(logs)


@both
async def test_a_refresh_token_without_its_end_is_not_taken_and_the_spent_one_is_not_kept(
    refresh: Callable[..., Awaitable[TokenReply]],
) -> None:
    content = b'{"access_token": "access-CANARY-1", "refresh_token": "refresh-CAN'
    async with raw_endpoint(sends(sized(content, 200))) as endpoint:
        reply = await refresh(endpoint)
        assert isinstance(reply, Issued)
        assert reply.refresh_token is not None
        assert "CAN" not in reply.refresh_token.reveal()
        assert await refresh(endpoint, reply.refresh_token) == Denied("no_refresh_token")
    assert len(endpoint.requests) == 1


async def test_an_odd_type_is_told_without_repeating_what_could_be_a_secret() -> None:
    with capture_logs() as logs:
        for scheme in ("JWT", "CANARY 7", ["CANARY"]):
            async with raw_endpoint(sends(replaced(token_type=scheme))) as endpoint:
                assert await by_oauth2(endpoint) == ISSUED
    assert [(line["log_level"], line["event"], line["text"], line["token_type"]) for line in logs] == [
        ("warning", "refresh.odd_token_type", True, "jwt"),
        ("warning", "refresh.odd_token_type", True, None),
        ("warning", "refresh.odd_token_type", False, None),
    ]


async def test_a_login_with_an_unusable_refresh_token_brings_none() -> None:
    async with raw_endpoint(sends(replaced(refresh_token=True))) as endpoint:
        issuer = OAuth2Endpoint(OAuth2Settings("web", endpoint.url, client_auth="none"))
        reply = await issuer.redeem({"grant_type": "authorization_code", "code": "c"})
        await issuer.close()
    assert reply == Issued(Secret("access-CANARY-1"), None, 60.0)


async def test_a_device_gets_its_tokens_whatever_is_wrong_with_their_answer() -> None:
    async with raw_endpoint(sends(chunked(NOTICE + TOKENS, b"")), stay=True) as endpoint:
        issuer = OAuth2Endpoint(OAuth2Settings("web", endpoint.url, client_auth="none"))
        code = device.DeviceCode(Secret("d"), "CODE", "https://id.example", None, 60.0, 0.0)
        assert await device.wait(issuer, code) == ISSUED
        await issuer.close()
    assert len(endpoint.requests) == 1


async def test_an_answer_that_falls_silent_is_taken_as_far_as_it_came() -> None:
    async with raw_endpoint(sends(chunked(TOKENS[:-5], b"")), stay=True) as endpoint:
        transport = Transport(moment=0.01, silence=0.05)
        answer = await transport.send("POST", endpoint.url, {}, b"x")
        await transport.close()
    assert isinstance(answer, Answer)
    assert (answer.body, answer.cut) == (TOKENS[:-5], "stopped before its end")
    assert from_oauth2(answer, time.time()).reply == ISSUED


async def test_an_answer_whose_content_has_not_begun_is_waited_for() -> None:
    go = asyncio.Event()

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(STATUS + b"Content-Length: %d\r\n\r\n" % len(TOKENS))
        await writer.drain()
        await go.wait()
        writer.write(TOKENS)

    async with raw_endpoint(behave) as endpoint:
        transport = Transport(moment=0.001, silence=0.001)
        call = asyncio.create_task(transport.send("POST", endpoint.url, {}, b"x"))
        await asyncio.wait({call}, timeout=0.1)
        assert not call.done()
        go.set()
        answer = await call
        await transport.close()
    assert isinstance(answer, Answer)
    assert (answer.body, answer.cut) == (TOKENS, "")


async def test_a_whole_answer_that_goes_on_with_spaces_is_not_waited_for() -> None:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(chunked(TOKENS, b""))
        while not writer.is_closing():
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(0)

    async with raw_endpoint(behave) as endpoint:
        transport = Transport(moment=0.02)
        answer = await transport.send("POST", endpoint.url, {}, b"x")
        await transport.close()
    assert isinstance(answer, Answer)
    assert from_oauth2(answer, time.time()).reply == ISSUED


def tokens_of(reply: TokenReply) -> tuple[str | None, str | None]:
    refresh_token = None if isinstance(reply, Denied) else reply.refresh_token
    access_token = reply.access_token if isinstance(reply, Issued) else None
    return (
        None if access_token is None else access_token.reveal(),
        None if refresh_token is None else refresh_token.reveal(),
    )


token = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


@given(token, token, st.permutations(["access_token", "refresh_token", "expires_in", "nested"]), st.data())
def test_wherever_an_answer_breaks_off_no_token_is_another_than_the_whole_one(
    access_token: str, refresh_token: str, order: list[str], data: st.DataObject
) -> None:
    nested = {"access_token": "other", "refresh_token": "other"}
    members = {"access_token": f"a{access_token}", "refresh_token": refresh_token, "expires_in": 60, "nested": nested}
    content = json.dumps({name: members[name] for name in order}).encode()
    content = data.draw(st.sampled_from([b"", b")]}',\n", NOTICE])) + content
    cut = content[: data.draw(st.integers(0, len(content)))]
    reply = from_oauth2(Answer(200, cut, "application/json", cut="" if cut == content else "broke off"), 0.0).reply
    assert tokens_of(reply)[0] in (f"a{access_token}", None)
    assert tokens_of(reply)[1] in (refresh_token, None)
    if cut == content:
        assert tokens_of(reply) == (f"a{access_token}", refresh_token)


@given(token, token, st.data())
def test_wherever_a_form_breaks_off_no_token_is_another_than_the_whole_one(
    access_token: str, refresh_token: str, data: st.DataObject
) -> None:
    from urllib.parse import urlencode

    content = urlencode({"access_token": access_token, "refresh_token": refresh_token, "scope": "a"}).encode()
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    reply = from_oauth2(Answer(200, cut, "", cut="broke off"), 0.0).reply
    assert tokens_of(reply)[0] in (access_token, None)
    assert tokens_of(reply)[1] in (refresh_token, None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, len(TOKENS) + 120), max_size=6),
    st.integers(0, len(TOKENS)),
    st.sampled_from(["length", "chunked", "close"]),
    st.sampled_from([by_oauth2, by_json_api]),
)
async def test_however_an_answer_is_split_and_cut_on_its_way_no_token_is_another(
    splits: list[int], length: int, framing: str, refresh: Callable[[RawEndpoint], Awaitable[TokenReply]]
) -> None:
    content = TOKENS[:length]
    whole = {
        "length": sized(content, len(TOKENS)),
        "chunked": chunked(content, b"0\r\n\r\n" if length == len(TOKENS) else b"") if content else STATUS,
        "close": STATUS + b"Connection: close\r\n\r\n" + content,
    }[framing]
    edges = sorted({0, *(split for split in splits if split < len(whole)), len(whole)})
    async with raw_endpoint(sends(*(whole[a:b] for a, b in pairwise(edges)))) as endpoint:
        reply = await refresh(endpoint)
    if length == len(TOKENS):
        assert reply == ISSUED
    access_token, refresh_token = tokens_of(reply)
    assert access_token in ("access-CANARY-1", None)
    assert refresh_token in ("refresh-CANARY-2", None) or refresh_token.startswith("reauth-proxy:lost:")
    assert len(endpoint.requests) == 1
