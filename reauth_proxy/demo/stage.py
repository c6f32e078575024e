"""Puts the demo together: its servers, the real daemon in front of them, and what to try."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import click
from aiohttp import web

from reauth_proxy.config.load import parse
from reauth_proxy.config.model import Config
from reauth_proxy.demo.api import make_application
from reauth_proxy.demo.authorization import BOOTSTRAP, CLIENT_ID, Authorization
from reauth_proxy.errors import ReauthError
from reauth_proxy.session.tokens import Secret
from reauth_proxy.telemetry import logs

#: Where the servers listen; config.example.yaml points there.
SERVERS_PORT: Final = 8490
DAEMON_PORT: Final = 8080
CONTROL_PORT: Final = 8181
LIFETIME: Final = 10.0

_CONFIG: Final = """
listen: 127.0.0.1:{port}
control: {{listen: "127.0.0.1:{control}"}}
upstream: http://127.0.0.1:{servers}/api
credential:
  refresh_token: {token}
  token_endpoint: {{url: "http://127.0.0.1:{servers}/oauth2/token", client_id: {client}, client_auth: none}}
store: {{type: memory}}
access: {{origins: ["http://localhost:5173"]}}
"""

_TRY: Final = """
  The proxy listens on {url}; the API behind it wants tokens that live for {lifetime:g} s.
  Try, in another terminal:

    curl -s {url}/time                                       an API answer, and no token in sight
    seq 50 | xargs -P 50 -I{{}} curl -s {url}/orders          a burst of 50: still one refresh for each expiry
    curl -s {servers}/                                       what the servers counted
    curl -s -X POST {servers}/demo/revoke                    the authorization server ends the session …
    curl -i {url}/time                                       … and this is the logout answer
    curl -s -X POST {servers}/demo/restore                   sign in again
    curl -s {control}/session                                how the session is
    {control}/                                               … and the same in a browser, live

  Ctrl-C ends it.
"""

_SERVERS_ONLY: Final = """
  The demo's servers listen on {servers}; tokens live for {lifetime:g} s.
  Try your config against them, such as the example:

    reauth-proxy --config config.example.yaml

  Ctrl-C ends them.
"""


def run(servers_only: bool, port: int | None) -> int:
    """Run the demo until SIGINT or SIGTERM; return the exit status."""
    from reauth_proxy.daemon.server import runner
    from reauth_proxy.system.process import raise_file_limit

    logs.configure("info", "auto")
    raise_file_limit()
    try:
        with runner() as loop:
            loop.run(_perform(servers_only, port))
    except ReauthError as error:
        click.echo(f"reauth-proxy demo: {error}", err=True)
        return 1
    return 0


async def _perform(servers_only: bool, port: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    authorization = Authorization(LIFETIME)
    if servers_only:
        async with _servers(authorization, None, SERVERS_PORT if port is None else port) as servers:
            click.echo(_SERVERS_ONLY.format(servers=servers, lifetime=LIFETIME))
            await stop.wait()
        return
    from reauth_proxy.daemon.server import Daemon

    daemon: Daemon | None = None

    async def restore(refresh_token: str) -> None:
        assert daemon is not None, "the servers answer nobody before the daemon runs"
        await daemon.session.sign_in(Secret(refresh_token))

    async with _servers(authorization, restore, _free(SERVERS_PORT)) as servers:
        daemon = Daemon(_config(port if port is not None else _free(DAEMON_PORT), _free(CONTROL_PORT), servers))
        await daemon.start()
        try:
            urls = {"url": daemon.url, "control": daemon.control_url, "servers": servers}
            click.echo(_TRY.format(**urls, lifetime=LIFETIME))
            await stop.wait()
        finally:
            await daemon.stop()


def _config(port: int, control: int, servers: str) -> Config:
    text = _CONFIG.format(
        port=port, control=control, servers=servers.rpartition(":")[2], token=BOOTSTRAP, client=CLIENT_ID
    )
    return parse(text, "demo", {}, Path())


@contextlib.asynccontextmanager
async def _servers(
    authorization: Authorization, restore: Callable[[str], Awaitable[None]] | None, port: int
) -> AsyncIterator[str]:
    """Run the authorization server and the API; yield their URL."""
    runner = web.AppRunner(make_application(authorization, restore), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise ReauthError(f"port {port} is taken; end what listens there (another demo?)") from error
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _free(port: int) -> int:
    """Return `port`, or the next one that nothing listens on."""
    for candidate in range(port, port + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        if candidate != port:
            click.echo(f"  Port {port} is taken; using {candidate}.")
        return candidate
    raise ReauthError(f"no free port between {port} and {port + 49}")
