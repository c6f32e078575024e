"""The listener that the browser comes back to: one answer, and pages for whatever else arrives."""

from __future__ import annotations

import asyncio
import html
import socket
from urllib.parse import urlencode

import pytest

from reauth_proxy.errors import LoginError
from reauth_proxy.issuers.authorization_code import Attempt, Code, Refused
from reauth_proxy.issuers.loopback import Loopback, listening
from reauth_proxy.session.tokens import Secret
from tests.fakes.client import Answer, connect, fetch

STATE = "state-CANARY"


def attempt(loopback: Loopback) -> Attempt:
    return Attempt("u", loopback.redirect_uri, Secret(STATE), Secret("v"))


def origin(loopback: Loopback) -> str:
    return loopback.redirect_uri.removesuffix("/callback")


def callback(**parameters: str) -> str:
    return "/callback?" + urlencode({"state": STATE, **parameters})


async def waiting(loopback: Loopback) -> asyncio.Task[Code | Refused]:
    task = asyncio.create_task(loopback.answer(attempt(loopback)))
    await asyncio.sleep(0)
    return task


def safe(page: Answer) -> None:
    """The page runs nothing, loads nothing, is kept by nobody, and tells nobody its address; no secret is in it."""
    assert page.value(
        "Content-Security-Policy",
    ).startswith("default-src 'none'")  # type: ignore[union-attr]
    assert page.value("Referrer-Policy") == "no-referrer"
    assert page.value("Cache-Control") == "no-store"
    assert page.value("Content-Type") == "text/html; charset=utf-8"
    assert b"<script" not in page.content
    assert b"CANARY" not in page.content


async def test_the_browser_brings_the_code_and_is_told_whether_the_login_worked() -> None:
    async with listening() as loopback:
        answering = await waiting(loopback)
        browser = asyncio.create_task(fetch(origin(loopback), callback(code="code-CANARY")))
        assert await answering == Code(Secret("code-CANARY"))
        assert not browser.done(), "it waits for the outcome"
        await loopback.tell("Signed in", "Close this <window>.")
        page = await browser
    assert page.status == 200
    assert html.escape("Close this <window>.").encode() in page.content
    safe(page)


async def test_an_error_is_brought_and_shown_too() -> None:
    async with listening() as loopback:
        answering = await waiting(loopback)
        browser = asyncio.create_task(fetch(origin(loopback), callback(error="access_denied", code="code-CANARY")))
        assert await answering == Refused("access_denied")
        await loopback.tell("Not signed in", "access_denied")
        page = await browser
    assert page.status == 400
    assert b"access_denied" in page.content
    safe(page)


@pytest.mark.parametrize(
    ("target", "method", "host", "status"),
    [
        ("/callback?code=code-CANARY&state=wrong", "GET", None, 400),
        ("/callback", "GET", None, 400),
        ("/callback/?" + urlencode({"state": STATE, "code": "c"}), "GET", None, 404),
        ("/Callback?" + urlencode({"state": STATE, "code": "c"}), "GET", None, 404),
        ("/%63allback?" + urlencode({"state": STATE, "code": "c"}), "GET", None, 404),
        ("/favicon.ico", "GET", None, 404),
        (callback(code="c"), "POST", None, 404),
        (callback(code="c"), "HEAD", None, 404),
        (callback(code="c"), "GET", "evil.example", 421),
        (callback(code="c"), "GET", "localhost:{port}", 421),
        (callback(code="c"), "GET", "127.0.0.1", 421),
    ],
)
async def test_what_is_not_the_answer_gets_a_page(target: str, method: str, host: str | None, status: int) -> None:
    async with listening() as loopback:
        answering = await waiting(loopback)
        port = origin(loopback).rpartition(":")[2]
        async with await connect(origin(loopback)) as client:
            client.host = host.format(port=port) if host else client.host
            await client.request(target, method=method)
            page = await client.answer(to=method)
        assert page.status == status
        if method != "HEAD":
            safe(page)
        assert not answering.done()
        browser = asyncio.create_task(fetch(origin(loopback), callback(code="code-CANARY")))
        assert await answering == Code(Secret("code-CANARY"))
        await loopback.tell("a", "b")
        assert (await browser).status == 200


async def test_one_answer_is_taken_and_no_other() -> None:
    async with listening() as loopback:
        answering = await waiting(loopback)
        first = asyncio.create_task(fetch(origin(loopback), callback(code="first")))
        assert await answering == Code(Secret("first"))
        for code in ("first", "second"):
            page = await fetch(origin(loopback), callback(code=code))
            assert page.status == 410
        await loopback.tell("a", "b")
        assert (await first).status == 200


async def test_a_browser_that_leaves_holds_nothing_up() -> None:
    async with listening() as loopback:
        answering = await waiting(loopback)
        host, _, port = origin(loopback).removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {callback(code='c')} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        assert await answering == Code(Secret("c"))
        writer.transport.abort()
        await loopback.tell("a", "b")


async def test_what_is_not_http_does_not_show_in_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    async with listening() as loopback, await connect(origin(loopback)) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: CANARY\r\n\r\n")
        assert (await client.answer()).status == 400
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


async def test_it_is_there_for_this_machine_alone_and_gone_afterwards() -> None:
    async with listening() as loopback:
        port = int(origin(loopback).rpartition(":")[2])
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.2", port)) != 0
        assert loopback.redirect_uri == f"http://127.0.0.1:{port}/callback"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_chosen_port_is_used_and_a_taken_one_is_told() -> None:
    async with listening() as other:
        port = int(origin(other).rpartition(":")[2])
        with pytest.raises(LoginError, match=f"cannot listen on 127.0.0.1:{port} for the browser: .*; free the port"):
            async with listening(port):
                pass
    async with listening(port) as loopback:
        assert loopback.redirect_uri == f"http://127.0.0.1:{port}/callback"
