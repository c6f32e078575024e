"""Exchanges with a token endpoint through a proxy that the environment names, by aiohttp's client."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping

import aiohttp
from yarl import URL

from reauth_proxy.issuers.causes import broke, cut_short, describe, no_url, not_http, too_slow, unreachable
from reauth_proxy.issuers.message import LONGEST_LINE
from reauth_proxy.issuers.receiving import LONGEST_ANSWER, receive
from reauth_proxy.issuers.reply import Answer, media_type
from reauth_proxy.session.tokens import Unavailable


class _Broken(Exception):
    """The connection broke after the request may have been sent."""


class _Incoming:
    """Content as aiohttp hands it on."""

    complete = beyond = faulty = news = False

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.coding = response.headers.get("Content-Encoding", "")
        self._content = response.content
        self._body = bytearray()

    @property
    def size(self) -> int:
        return len(self._body)

    @property
    def too_long(self) -> bool:
        return len(self._body) > LONGEST_ANSWER

    async def more(self) -> bool:
        chunk = await self._content.readany()
        self._body += chunk
        return bool(chunk)

    def readings(self) -> tuple[bytes, ...]:
        return (bytes(self._body),)


def connect(tls: ssl.SSLContext | bool, connect_timeout: float) -> aiohttp.ClientSession:
    """Return a client that uses each connection once, and does nothing that it is not told."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, force_close=True, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout),
        trust_env=False,
        # A coding is not always what an answer says it is.
        auto_decompress=False,
        # Some identity providers set cookies by the dozen, and longer than aiohttp takes.
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )


async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    fields: Mapping[str, str],
    content: bytes | None,
    *,
    proxy: URL,
    proxy_fields: Mapping[str, str],
    place: str,
    connect_timeout: float,
    moment: float,
    silence: float,
) -> Answer | Unavailable:
    """Send a request through a proxy and read the answer; never raises for what the network or the peer does.

    Args:
        proxy_fields: only for the proxy.
        place: how causes name the endpoint.
        connect_timeout, moment, silence: see :class:`~reauth_proxy.issuers.transport.Transport`.
    """
    try:
        async with session.request(
            method,
            url,
            headers=fields,
            data=content,
            allow_redirects=False,
            middlewares=(_no_retry,),
            proxy=proxy,
            proxy_headers=proxy_fields,
        ) as response:
            return await _read(response, place, moment, silence)
    except aiohttp.ConnectionTimeoutError:
        return too_slow(place, connect_timeout)
    except aiohttp.ClientConnectorCertificateError as error:
        return unreachable(place, error.certificate_error)
    except aiohttp.ClientProxyConnectionError as error:
        return Unavailable(f"cannot connect to the environment's proxy for {place}: {describe(error.os_error)}")
    except aiohttp.ClientConnectorError as error:
        return unreachable(place, error.os_error)
    except aiohttp.InvalidURL:
        return no_url()
    except aiohttp.ClientHttpProxyError as error:
        return Unavailable(f"the environment's proxy refused to connect to {place}: it answered {error.status}")
    except aiohttp.ClientResponseError:
        return not_http(place)
    except (_Broken, aiohttp.ClientError, OSError):
        return broke(place)


async def _read(response: aiohttp.ClientResponse, place: str, moment: float, silence: float) -> Answer | Unavailable:
    good = 200 <= response.status < 300
    body, cut = await receive(_Incoming(response), moment, silence if good else math.inf)
    if cut:
        response.close()
    if cut and not good:
        return cut_short(place, cut)
    fields = response.headers
    content_type = media_type(fields.get("Content-Type", ""))
    return Answer(response.status, body, content_type, fields.get("Retry-After"), fields.get("Date"), cut)


async def _no_retry(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending an idempotent request again by itself: a rotating token must not be used twice.

    Tells apart, on the way, a connection that never was from one that broke.
    """
    try:
        return await handler(request)
    except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError, aiohttp.ClientConnectorCertificateError):
        raise
    except (OSError, aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        raise _Broken from None
