"""HTTP towards token endpoints: one request, one whole answer within bounds, or why there is none."""

from __future__ import annotations

import errno
import math
import os
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from reauth_proxy import __version__
from reauth_proxy.errors import StoreError
from reauth_proxy.issuers.places import proxy_for
from reauth_proxy.issuers.receiving import TOO_LONG, receive
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.session.protocols import Confirm
from reauth_proxy.session.tokens import Unavailable

_LONGEST_FIELD: Final = 64 * 1024


class _Broken(Exception):
    """The connection broke after the request may have been sent."""


class Transport:
    """A client for one credential's token endpoint, apart from everything that clients and upstreams use.

    It has no cookies, no netrc, no proxies unless it is told to, no redirects, no connection that is used twice (one
    that the endpoint has closed meanwhile would look like a lost answer), no retries (the session decides about those)
    and no time limit but the one for connecting. What a 2xx brings is handed on even if it breaks off: the token that
    was sent is used up by then.

    Args:
        tls: the context to verify https with; True for the system's, False for no verification.
        connect_timeout: seconds for name resolution, connecting and the TLS handshake together.
        trust_env: go by the proxies that the environment names now.
        moment: seconds that content which is complete by its own syntax waits for the end that its framing is due.
        silence: seconds without a byte after which content that has begun is taken as it is, of a 2xx.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | bool = True,
        connect_timeout: float = 5.0,
        *,
        trust_env: bool = False,
        moment: float = 0.25,
        silence: float = 20.0,
    ) -> None:
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._proxies = urllib.request.getproxies_environment() if trust_env else {}
        self._moment = moment
        self._silence = silence
        self._session: aiohttp.ClientSession | None = None
        #: Requests under way, and whether nothing is to be left open after the last of them.
        self._under_way = 0
        self._closed = False

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        *,
        confirm: Confirm | None = None,
    ) -> Answer | Unavailable:
        """Send a request and read the answer.

        Never raises for what the network or the endpoint does. Causes name the endpoint's host and port, and nothing
        that it sent or was sent.

        Args:
            confirm: awaited just before it is sent; where it raises StoreError nothing is.
        """
        session = self._session = self._session or self._connect()
        self._under_way += 1
        try:
            if confirm is not None:
                await confirm()
            return await self._send(session, method, url, headers, content)
        except StoreError as error:
            return Unavailable(str(error))
        finally:
            self._under_way -= 1
            if self._closed:
                await self.close()

    async def _send(
        self, session: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> Answer | Unavailable:
        place = _place(url)
        proxy: URL | None = None
        fields: dict[str, str] | None = None
        if self._proxies:
            try:
                proxy, fields = proxy_for(url, self._proxies) or (None, None)
            except ValueError as error:
                return Unavailable(f"cannot connect to {place}: {error}", misconfigured=True)
        try:
            async with session.request(
                method,
                url,
                headers=headers,
                data=content,
                allow_redirects=False,
                middlewares=(_no_retry,),
                proxy=proxy,
                proxy_headers=fields,
            ) as response:
                return await self._read(response, place)
        except aiohttp.ConnectionTimeoutError:
            return Unavailable(f"cannot connect to {place}: no answer within {self._connect_timeout:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return Unavailable(f"cannot connect to {place}: {describe(error.certificate_error)}")
        except aiohttp.ClientProxyConnectionError as error:
            return Unavailable(f"cannot connect to the environment's proxy for {place}: {describe(error.os_error)}")
        except aiohttp.ClientConnectorError as error:
            return Unavailable(f"cannot connect to {place}: {describe(error.os_error)}")
        except aiohttp.InvalidURL:
            return Unavailable("the token endpoint's URL is not one that can be called", misconfigured=True)
        except aiohttp.ClientHttpProxyError as error:
            return Unavailable(f"the environment's proxy refused to connect to {place}: it answered {error.status}")
        except aiohttp.ClientResponseError:
            # Whoever it was may have used the token up; and of what came, nothing can be had.
            cause = f"{place} answered with something that is not HTTP, or with a mistake in it, as in Content-Length"
            return Unavailable(cause, answered=True)
        except (_Broken, aiohttp.ClientError, OSError):
            return _broke(place)

    async def close(self) -> None:
        """Close the connections, once no request is under way: a configuration may be replaced at any time.

        A revocation, or a login that a person is in the midst of, ends with what it began with.
        """
        self._closed = True
        if self._session is not None and not self._under_way:
            session, self._session = self._session, None
            await session.close()

    async def _read(self, response: aiohttp.ClientResponse, place: str) -> Answer | Unavailable:
        good = 200 <= response.status < 300
        body, cut = await receive(response, self._moment, self._silence if good else math.inf)
        if cut:
            response.close()
        if cut and not good:
            return Unavailable(f"{place} sent an answer longer than 1 MiB") if cut == TOO_LONG else _broke(place)
        fields = response.headers
        media_type = fields.get("Content-Type", "").partition(";")[0].strip().lower()
        return Answer(response.status, body, media_type, fields.get("Retry-After"), fields.get("Date"), cut)

    def _connect(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, force_close=True, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
            headers={
                "User-Agent": f"reauth-proxy/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            trust_env=False,
            # A coding is not always what an answer says it is.
            auto_decompress=False,
            # Some identity providers set cookies by the dozen, and longer than aiohttp takes.
            max_line_size=_LONGEST_FIELD,
            max_field_size=_LONGEST_FIELD,
        )


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


def _broke(place: str) -> Unavailable:
    return Unavailable(f"the connection to {place} broke before its answer was complete", broken=True)


def _place(url: str) -> str:
    """Return host and port; a URL's path and query may hold secrets."""
    try:
        parsed = URL(url)
        host = parsed.raw_host or "?"
        return f"[{host}]:{parsed.port}" if ":" in host else f"{host}:{parsed.port}"
    except ValueError:
        return "the token endpoint"


def describe(error: Exception) -> str:
    """Say in a few words why there is no connection; nothing of it comes from the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted ({getattr(error, 'verify_message', 'no reason given')})"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed; is it https?"
    if isinstance(error, socket.gaierror):
        return "its name could not be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return "the connection failed"
