"""One client of one authorization server: finds its endpoints, says who it is (RFC 6749 section 2.3), sends forms."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode

from reauth_proxy.errors import ConfigError
from reauth_proxy.issuers import client_auth
from reauth_proxy.issuers.discovery import Discovery, Endpoints
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.issuers.transport import Transport
from reauth_proxy.session.protocols import Confirm
from reauth_proxy.session.tokens import Secret, Unavailable

Grant = Literal["refresh_token", "client_credentials"]


@dataclass(frozen=True, slots=True)
class OAuth2Settings:
    """What an RFC 6749 authorization server is told, and where.

    Attributes:
        url, issuer: of the token endpoint, or whose; with `issuer`, discovery finds the endpoints.
        private_key, private_key_id, private_key_alg: for private_key_jwt; PEM or JWK, kid, JWS algorithm.
        params, headers: sent to the token endpoint besides; none of them replaces what the protocol says.
        grant: client_credentials (section 4.4) has no refresh token.
        authorization_url, device_authorization_url, revocation_url: instead of what discovery finds.
        authorization_params: of authorization requests besides.
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
    grant: Grant = "refresh_token"
    authorization_url: str | None = None
    device_authorization_url: str | None = None
    revocation_url: str | None = None
    authorization_params: Mapping[str, str | Secret] = field(default_factory=dict)


class Client:
    """Sends forms to an authorization server's endpoints, authenticated.

    Args:
        tls, connect_timeout, trust_env: see :class:`~reauth_proxy.issuers.transport.Transport`.
        allow_insecure: discovered endpoints may be plain HTTP on another machine.

    Raises ConfigError if the settings contradict themselves.
    """

    def __init__(
        self,
        settings: OAuth2Settings,
        tls: ssl.SSLContext | bool = True,
        connect_timeout: float = 5.0,
        *,
        trust_env: bool = False,
        allow_insecure: bool = False,
    ) -> None:
        self.settings = settings
        self._transport = Transport(tls, connect_timeout, trust_env=trust_env)
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

    async def endpoints(self) -> Endpoints | Unavailable:
        """Return where to ask, or why that is not known. What the settings say comes before what discovery finds."""
        settings = self.settings
        if self._discovery is None:
            assert settings.url is not None
            found: Endpoints | Unavailable = Endpoints(settings.url)
        else:
            found = await self._discovery.endpoints()
        if isinstance(found, Unavailable):
            return found
        return Endpoints(
            found.token,
            settings.authorization_url or found.authorization,
            settings.device_authorization_url or found.device_authorization,
            settings.revocation_url or found.revocation,
            found.issuer,
            found.names_issuer,
        )

    async def post(self, url: str, form: Mapping[str, str], confirm: Confirm | None = None) -> Answer | Unavailable:
        """Send a form, with what proves who the client is.

        Args:
            confirm: see :class:`~reauth_proxy.session.protocols.TokenEndpoint`.
        """
        try:
            headers, form = self._authenticated(url, dict(form))
        except ConfigError as error:
            return Unavailable(str(error), misconfigured=True)
        return await self._transport.send("POST", url, headers, urlencode(form).encode("ascii"), confirm=confirm)

    def doubt(self) -> None:
        """Look for the endpoints again next time: one that was found does not do."""
        if self._discovery is not None:
            self._discovery.forget()

    async def close(self) -> None:
        """Release the connections."""
        await self._transport.close()

    def _authenticated(self, url: str, form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        settings = self.settings
        headers = revealed(settings.headers)
        match settings.client_auth:
            case "client_secret_basic":
                _without(headers, "Authorization")["Authorization"] = client_auth.basic(
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
        _without(headers, "Content-Type")["Content-Type"] = "application/x-www-form-urlencoded"
        return headers, form


def revealed(values: Mapping[str, str | Secret]) -> dict[str, str]:
    """Return the texts that go on the wire."""
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in values.items()}


def _without(headers: dict[str, str], name: str) -> dict[str, str]:
    """Remove a field from the headers, however its name is written."""
    for key in [key for key in headers if key.lower() == name.lower()]:
        del headers[key]
    return headers
