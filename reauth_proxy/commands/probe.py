"""`reauth-proxy check --probe`: really asks the upstreams, the authorization servers and the stores."""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp
import click

from reauth_proxy.daemon import sessions
from reauth_proxy.errors import ReauthError
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.session.tokens import Unavailable

if TYPE_CHECKING:
    from reauth_proxy.config.address import Url
    from reauth_proxy.config.model import Config

#: Seconds for each.
TIMEOUT: Final = 10.0
_ERASE: Final = "\r\033[K"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of asking one of them.

    Attributes:
        what: that was asked.
        problem: why it cannot be used, None if it can.
        told: what it said.
    """

    what: str
    told: str
    problem: bool = False


async def probe(config: Config, *, stores: bool = True) -> AsyncIterator[Finding | str]:
    """Ask each; yield what is asked now, and then what came of it. No token is sent to anybody.

    Args:
        stores: whether to look at the stores, too.

    Raises:
        ConfigError: a file that the configuration names cannot be used.
    """
    tls = sessions.tls_context(config.tls)
    for upstream in dict.fromkeys(route.upstream for route in config.each_route):
        yield (what := f"upstream {upstream.shown}")
        yield await _timed(what, _answers(upstream, tls))
    for name, credential in config.each_credential.items():
        endpoint = credential.token_endpoint
        yield (what := f"token endpoint of {name}")
        if endpoint.type == "oauth2" and endpoint.issuer is not None:
            yield await _timed(what, _discovered(config, name, tls))
        elif endpoint.url is not None:
            yield await _timed(what, _answers(endpoint.url, tls))
        if stores:
            yield (what := f"store of {name}")
            yield await _timed(what, _stores(config, name))


async def tell(findings: AsyncIterator[Finding | str]) -> int:
    """Print what is found, as it is found; return 1 if there is a problem, else 0."""
    status = 0
    terminal = sys.stdout.isatty()
    async for found in findings:
        if isinstance(found, Finding):
            mark = click.style("✗", fg="red") if found.problem else click.style("✓", fg="green")
            click.echo(f"{_ERASE if terminal else ''}  {mark} {found.what}: {found.told}")
            status = 1 if found.problem else status
        elif terminal:
            click.echo(f"  … {found}", nl=False)
    return status


async def _timed(what: str, asked: Awaitable[str]) -> Finding:
    since = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT):
            told = await asked
    except TimeoutError:
        return Finding(what, f"no answer within {TIMEOUT:g} s", problem=True)
    except (ReauthError, aiohttp.ClientError, OSError) as error:
        return Finding(what, _why(error), problem=True)
    return Finding(what, f"{told} ({(time.monotonic() - since) * 1000:.0f} ms)")


async def _answers(url: Url, tls: ssl.SSLContext) -> str:
    """Ask for it without a token; any answer will do."""
    connector: aiohttp.BaseConnector
    if url.socket is not None:
        connector, target = aiohttp.UnixConnector(url.socket), "http://localhost/"
    else:
        connector, target = aiohttp.TCPConnector(ssl=tls), str(url)
    async with (
        aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
        session.get(target, allow_redirects=False) as response,
    ):
        return f"answers, with {response.status}"


async def _discovered(config: Config, name: str, tls: ssl.SSLContext) -> str:
    endpoint = sessions.token_endpoint(config, name, tls)
    try:
        assert isinstance(endpoint, OAuth2Endpoint)
        found = await endpoint.client.endpoints()
        if isinstance(found, Unavailable):
            raise ReauthError(found.cause)
        known = {
            "token": found.token,
            "authorization": found.authorization,
            "device": found.device_authorization,
            "revocation": found.revocation,
        }
        return "discovered: " + ", ".join(name for name, url in known.items() if url is not None)
    finally:
        await endpoint.close()


async def _stores(config: Config, name: str) -> str:
    store = sessions.store(config, name, lambda event, **fields: None, settle=False)  # `check` has told
    try:
        await store.check()
        return "can be written, and holds a session" if await store.load() else "can be written, and is empty"
    finally:
        await store.close()


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not accepted: {error.certificate_error}; see `tls.ca_file`"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {error.os_error.strerror or error.os_error}"
    return str(error) or type(error).__name__
