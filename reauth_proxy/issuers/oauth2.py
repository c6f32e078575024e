"""The token endpoint of RFC 6749: section 6, refreshing an access token."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from reauth_proxy.errors import ConfigError
from reauth_proxy.issuers import client_auth, reply
from reauth_proxy.issuers.discovery import Discovery
from reauth_proxy.issuers.transport import Transport
from reauth_proxy.session.tokens import Secret, TokenReply, Unavailable


@dataclass(frozen=True, slots=True)
class OAuth2Settings:
    """What an RFC 6749 token endpoint is told.

    Attributes:
        url, issuer: one of them; with `issuer`, discovery finds the URL.
        private_key, private_key_id, private_key_alg: for private_key_jwt; PEM or JWK, kid, JWS algorithm.
        params, headers: sent besides; none of them replaces what the protocol says.
    """

    client_id: str
    url: str | None = None
    issuer: str | None = None
    client_secret: Secret | None = None
    client_auth: client_auth.Method = "client_secret_basic"
    private_key: Secret | None = None
    private_key_id: str | None = None
    private_key_alg: str | None = None
    scope: str | None = None
    params: Mapping[str, str | Secret] = field(default_factory=dict)
    headers: Mapping[str, str | Secret] = field(default_factory=dict)


class OAuth2Endpoint:
    """A :class:`~reauth_proxy.session.protocols.TokenEndpoint` that speaks RFC 6749.

    Args:
        ssl, connect_timeout, trust_env: see :class:`~reauth_proxy.issuers.transport.Transport`.
        allow_insecure: a discovered token endpoint may be plain HTTP on another machine.

    Raises ConfigError if the settings contradict themselves.
    """

    def __init__(
        self,
        settings: OAuth2Settings,
        *,
        ssl: ssl.SSLContext | bool = True,
        connect_timeout: float = 5.0,
        trust_env: bool = False,
        allow_insecure: bool = False,
    ) -> None:
        self._settings = settings
        self._transport = Transport(ssl, connect_timeout, trust_env=trust_env)
        self._discovery: Discovery | None = None
        if settings.url is None:
            if settings.issuer is None:
                raise ConfigError("a token endpoint of type oauth2 needs url or issuer")
            self._discovery = Discovery(settings.issuer, self._transport, allow_insecure=allow_insecure)
        self._signer: client_auth.Signer | None = None
        if settings.client_auth == "private_key_jwt":
            if settings.private_key is None:
                raise ConfigError("client_auth private_key_jwt needs private_key")
            self._signer = client_auth.Signer(settings.private_key, settings.private_key_id, settings.private_key_alg)
        elif settings.client_auth != "none" and settings.client_secret is None:
            raise ConfigError(f"client_auth {settings.client_auth} needs client_secret; a public client has none")

    async def refresh(self, refresh_token: Secret, access_token: Secret | None) -> TokenReply:
        """Exchange the refresh token (RFC 6749 section 6). The access token is not sent."""
        url = self._settings.url if self._discovery is None else await self._discovery.token_endpoint()
        if isinstance(url, Unavailable):
            return url
        assert url is not None
        try:
            headers, form = self._request(url, refresh_token)
        except ConfigError as error:
            return Unavailable(str(error), misconfigured=True)
        answer = await self._transport.send("POST", url, headers, urlencode(form).encode("ascii"))
        if isinstance(answer, Unavailable):
            return answer
        result = reply.from_oauth2(answer, time.time())
        if self._discovery is not None and isinstance(result, Unavailable) and result.misconfigured:
            self._discovery.forget()
        return result

    async def close(self) -> None:
        """Release the connections."""
        await self._transport.close()

    def _request(self, url: str, refresh_token: Secret) -> tuple[dict[str, str], dict[str, str]]:
        settings = self._settings
        headers = {name: revealed(value) for name, value in settings.headers.items()}
        form = {name: revealed(value) for name, value in settings.params.items()}
        if settings.scope:
            form["scope"] = settings.scope
        form |= {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
        match settings.client_auth:
            case "client_secret_basic":
                without(headers, "Authorization")["Authorization"] = client_auth.basic(
                    settings.client_id, settings.client_secret
                )
            case "client_secret_post":
                secret = settings.client_secret
                form |= {"client_id": settings.client_id, "client_secret": secret.reveal() if secret else ""}
            case "private_key_jwt":
                assert self._signer is not None
                form |= {
                    "client_id": settings.client_id,
                    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    "client_assertion": self._signer.assertion(settings.client_id, url),
                }
            case "none":
                form["client_id"] = settings.client_id
        without(headers, "Content-Type")["Content-Type"] = "application/x-www-form-urlencoded"
        return headers, form


def revealed(value: str | Secret) -> str:
    """Return the text that goes on the wire."""
    return value.reveal() if isinstance(value, Secret) else value


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    """Remove a field from the headers, however its name is written."""
    for key in [key for key in headers if key.lower() == name.lower()]:
        del headers[key]
    return headers
