"""RFC 9112 section 9.8: content that ends with a TLS connection is whole only if the upstream said that it ended.

Anybody on the way can end a TCP connection; only the upstream can send a close_notify.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from reauth_proxy.upstream.broken import ConnectionBroken
from reauth_proxy.upstream.connection import Connection
from reauth_proxy.upstream.deadlines import Deadlines
from reauth_proxy.upstream.dial import Origin, dial
from tests.fakes.certificates import Authority


def answer(listener: socket.socket, context: ssl.SSLContext, *, notify: bool) -> None:
    """Answer one request with content that ends with the connection."""
    accepted, _ = listener.accept()
    with context.wrap_socket(accepted, server_side=True) as wrapped:
        wrapped.recv(1000)
        wrapped.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        if notify:
            wrapped.unwrap().close()


async def ask(port: int, context: ssl.SSLContext) -> bytes:
    lost = asyncio.Event()
    origin = Origin("127.0.0.1", port, context)
    loop = asyncio.get_running_loop()
    connection = await dial(origin, lambda: Connection(loop, lambda _: lost.set(), 5, Deadlines(loop)), 5)
    content = b""
    try:
        connection.begin(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", head=False)
        async with asyncio.timeout(10):
            await connection.response()
            while data := await connection.body.read():
                content += data
    finally:
        connection.close()
        await lost.wait()
    return content


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("notify", [True, False], ids=["close_notify", "cut off"])
def test_rfc9112_9_8_content_that_ends_without_a_close_notify_is_not_whole(
    tmp_path: Path, notify: bool, new_loop: Callable[[], asyncio.AbstractEventLoop], version: ssl.TLSVersion
) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=str(authority.file))
    context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = (listener, authority.server("127.0.0.1"))
        server = threading.Thread(target=answer, args=arguments, kwargs={"notify": notify})
        server.start()
        with asyncio.Runner(loop_factory=new_loop) as runner:
            port = listener.getsockname()[1]
            if notify:
                assert runner.run(ask(port, context)) == b"all of it"
            else:
                with pytest.raises(ConnectionBroken):
                    runner.run(ask(port, context))
        server.join()
