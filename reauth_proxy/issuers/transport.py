"""HTTP towards token endpoints: one request, one whole answer within bounds, or why there is none."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from reauth_proxy import __version__
from reauth_proxy.errors import StoreError
from reauth_proxy.issuers import direct
from reauth_proxy.issuers.causes import place_of
from reauth_proxy.issuers.places import proxy_for
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.session.protocols import Confirm
from reauth_proxy.session.tokens import Unavailable

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

#: What a request has unless it is given something else.
_FIELDS: Final = {
    "User-Agent": f"reauth-proxy/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}


class Transport:
    """A client for one credential's token endpoint, apart from everything that clients and upstreams use.

    It has no cookies, no netrc, no proxies unless it is told to, no redirects, no connection that is used twice (one
    that the endpoint has closed meanwhile would look like a lost answer), no retries (the session decides about those)
    and no time limit but the one for connecting. What a 2xx brings is handed on even if it breaks off, and whatever is
    wrong with its framing: the token that was sent is used up by then. (Through a proxy of the environment, aiohttp's
    parser refuses some of the wrong framings.)

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
        self._under_way += 1
        try:
            return await self._send(method, url, headers, content, confirm)
        except StoreError as error:
            return Unavailable(str(error))
        finally:
            self._under_way -= 1
            if self._closed:
                await self.close()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, confirm: Confirm | None
    ) -> Answer | Unavailable:
        place = place_of(url)
        given = {name.lower() for name in headers}
        fields = {name: value for name, value in _FIELDS.items() if name.lower() not in given} | dict(headers)
        found: tuple[URL, dict[str, str]] | None = None
        if self._proxies:
            try:
                found = proxy_for(url, self._proxies)
            except ValueError as error:
                return Unavailable(f"cannot connect to {place}: {error}", misconfigured=True)
        if found is None:
            return await direct.exchange(
                method,
                url,
                fields,
                content,
                place=place,
                tls=self._tls,
                connect_timeout=self._connect_timeout,
                moment=self._moment,
                silence=self._silence,
                confirm=confirm,
            )
        from reauth_proxy.issuers import proxied  # only here, for aiohttp's client takes long to load

        if confirm is not None:
            await confirm()
        session = self._session = self._session or proxied.connect(self._tls, self._connect_timeout)
        return await proxied.exchange(
            session,
            method,
            url,
            fields,
            content,
            proxy=found[0],
            proxy_fields=found[1],
            place=place,
            connect_timeout=self._connect_timeout,
            moment=self._moment,
            silence=self._silence,
        )

    async def close(self) -> None:
        """Close the connections, once no request is under way: a configuration may be replaced at any time.

        A revocation, or a login that a person is in the midst of, ends with what it began with.
        """
        self._closed = True
        if self._session is not None and not self._under_way:
            session, self._session = self._session, None
            await session.close()
