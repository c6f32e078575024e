"""WebSockets through the daemon, with a client and a server that know the protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.upstream import FakeUpstream


class Echo:
    """A WebSocket server that wants a valid token, says every message back, and keeps its connections in view."""

    def __init__(self, authorization: FakeAuthorizationServer) -> None:
        self._authorization = authorization
        self.handshakes: list[Headers] = []
        self.ended: asyncio.Queue[tuple[int | None, str]] = asyncio.Queue()

    def judge(self, _: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request.headers)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path == "/forbidden":
            return Response(HTTPStatus.FORBIDDEN, "Forbidden", Headers({"Content-Length": "2"}), b"no")
        if not self._authorization.valid(token):
            return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", Headers({"Content-Length": "0"}), b"")
        return None

    async def answer(self, connection: ServerConnection) -> None:
        try:
            async for message in connection:
                if message == "close with 4401":
                    await connection.close(4401, "who are you?")
                await connection.send(message)
        except ConnectionClosed:
            pass
        self.ended.put_nowait((connection.close_code, connection.close_reason or ""))


@asynccontextmanager
async def echo(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, **overrides: Any
) -> AsyncIterator[tuple[Echo, RunningDaemon]]:
    """Run the server behind a daemon."""
    behaviour = Echo(authorization)
    server: Server
    async with serve(
        behaviour.answer,
        "127.0.0.1",
        0,
        process_request=behaviour.judge,
        select_subprotocol=lambda _, offered: offered[0] if offered else None,
        max_size=None,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        async with running_daemon(authorization, upstream, upstream=f"http://127.0.0.1:{port}", **overrides) as daemon:
            yield behaviour, daemon


def through(daemon: RunningDaemon, path: str = "/ws", **options: Any) -> connect:
    return connect(daemon.url.replace("http", "ws") + path, max_size=None, proxy=None, **options)


async def said_back(socket: ClientConnection, message: str | bytes) -> None:
    await socket.send(message)
    async with asyncio.timeout(10):
        assert await socket.recv() == message


async def test_messages_of_every_kind_and_size_come_back(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with echo(authorization, upstream) as (_, daemon), through(daemon) as socket:
        for message in ("", "hello", "ß" * 1000, b"", os.urandom(5_000_000), "x" * 16_000_000):
            await said_back(socket, message)
        await socket.send([b"in ", b"three ", b"fragments"])
        assert await socket.recv() == b"in three fragments"
        for number in range(2000):
            await socket.send(str(number))
        assert [await socket.recv() for _ in range(2000)] == [str(number) for number in range(2000)]


async def test_compression_subprotocols_and_pings_are_between_client_and_server(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with echo(authorization, upstream) as (behaviour, daemon):
        async with through(daemon, subprotocols=[Subprotocol("v1")], compression="deflate") as socket:
            assert socket.subprotocol == "v1"
            assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
            await said_back(socket, "compressed " * 10_000)
            async with asyncio.timeout(5):
                await (await socket.ping(b"payload"))
        async with through(daemon, compression=None) as socket:
            assert socket.subprotocol is None
            assert "Sec-WebSocket-Extensions" not in socket.response.headers
        assert [headers.get("Sec-WebSocket-Protocol") for headers in behaviour.handshakes] == ["v1", None]


async def test_close_codes_and_reasons_pass_both_ways(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with echo(authorization, upstream) as (behaviour, daemon):
        async with through(daemon) as socket:
            await socket.close(3000, "that is all")
        assert await asyncio.wait_for(behaviour.ended.get(), 5) == (3000, "that is all")
        async with through(daemon) as socket:
            await socket.send("close with 4401")
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 5)
            assert (socket.close_code, socket.close_reason) == (4401, "who are you?")


async def test_a_handshake_with_a_rejected_token_is_replayed_and_the_client_sees_nothing_of_it(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with echo(authorization, upstream) as (behaviour, daemon):
        async with through(daemon) as socket:
            await said_back(socket, "first")
        authorization.revoke_access()
        sockets = await asyncio.gather(*(through(daemon) for _ in range(20)))
        for socket in sockets:
            await said_back(socket, "again")
            await socket.close()
        assert authorization.count == 2
        assert len(behaviour.handshakes) == 1 + 20 + 20
        keys = [headers["Sec-WebSocket-Key"] for headers in behaviour.handshakes]
        assert len(set(keys)) == 21, "each replayed handshake is the client's own"


async def test_a_refused_handshake_is_the_server_s_answer_and_a_logout_is_the_proxy_s(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with echo(authorization, upstream) as (_, daemon):
        with pytest.raises(InvalidStatus) as refused:
            await through(daemon, "/forbidden")
        assert (refused.value.response.status_code, refused.value.response.body) == (403, b"no")
        authorization.revoke_access()
        authorization.revoke_refresh()
        with pytest.raises(InvalidStatus) as ended:
            await through(daemon)
        assert ended.value.response.status_code == 401
        assert ended.value.response.headers["Reauth-Signal"] == "logout;reason=refresh_denied"


async def test_a_client_that_vanishes_takes_the_tunnel_with_it(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with echo(authorization, upstream) as (behaviour, daemon):
        socket = await through(daemon)
        await said_back(socket, "hello")
        socket.transport.abort()
        assert (await asyncio.wait_for(behaviour.ended.get(), 5))[0] == 1006


async def test_a_tunnel_outlives_its_token_and_by_default_its_session(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with echo(authorization, upstream) as (_, daemon), through(daemon) as socket:
        authorization.revoke_access()
        await daemon.session.sign_out()
        await said_back(socket, "still here")


async def test_a_tunnel_ends_with_its_session_where_that_is_chosen(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    chosen = {"on_logout": "close", "idle_timeout": "1s"}
    async with echo(authorization, upstream, websocket=chosen) as (_, daemon), through(daemon) as socket:
        await said_back(socket, "hello")
        await daemon.session.sign_out()
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 5)


async def test_tunnels_have_until_the_time_to_drain_is_over(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with echo(authorization, upstream, drain_timeout="500ms") as (behaviour, daemon):
        finishing, staying = await through(daemon), await through(daemon)
        stopping = asyncio.create_task(daemon.stop())
        await said_back(finishing, "one more")
        await finishing.close()
        assert (await asyncio.wait_for(behaviour.ended.get(), 5))[0] == 1000
        with pytest.raises(ConnectionClosed) as ended:
            await asyncio.wait_for(staying.recv(), 5)
        assert not isinstance(ended.value, ConnectionClosedOK)
        await stopping
