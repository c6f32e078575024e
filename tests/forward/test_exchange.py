"""What may be said of a request, and how far it has come; the rest shows in tests/forward/test_forwarder.py."""

from __future__ import annotations

import pytest

from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.forward.exchange import PARKED, Exchange, path_of
from reauth_proxy.http1.request import Request
from tests.fakes.arrivals import until
from tests.forward.harness import bench


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b?access_token=CANARY", "/a/b"),
        ("/a@b/c", "/a@b/c"),
        ("/?", "/"),
        ("*", "*"),
        ("http://x/a?CANARY", "http://x/a"),
        ("http://user:CANARY@x/a@b", "http://x/a@b"),
        ("http://user:CANARY@x", "http://x"),
        ("http://CANARY@CANARY@x/", "http://x/"),
        ("user:CANARY@x:443", "x:443"),
        ("x:443", "x:443"),
        ("", ""),
    ],
)
def test_a_query_and_a_password_are_left_out(target: str, path: str) -> None:
    assert path_of(target) == path


async def test_its_repr_says_how_far_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Exchange] = []

    class Noted(Exchange):
        def __init__(self, request: Request, connection: ClientConnection, *rest: object) -> None:
            super().__init__(request, connection, *rest)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr("reauth_proxy.forward.forwarder.Exchange", Noted)
    async with bench() as run:
        run.session.gate.hold()
        reader, _ = await run.client(b"GET /p?token=CANARY HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream, writer = await run.upstream()
        await upstream.readuntil(b"\r\n\r\n")
        (exchange,) = made
        assert repr(exchange) == "<Exchange id-1 GET sent upstream route='/' status=0>"
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: exchange.phase is PARKED)
        assert repr(exchange) == "<Exchange id-1 GET parked for a token route='/' status=0>"
        run.session.gate.release()
        await upstream.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: not run.forwarder.active)
        assert repr(exchange) == "<Exchange id-1 GET ended route='/' status=204>"
