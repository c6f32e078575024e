"""From an issuer to its endpoints (RFC 8414, OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from reauth_proxy.issuers import lifetimes
from reauth_proxy.issuers.places import is_safe
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.issuers.transport import Transport
from reauth_proxy.session.tokens import Unavailable

_OAUTH: Final = "/.well-known/oauth-authorization-server"
_OPENID: Final = "/.well-known/openid-configuration"


def document_urls(issuer: str) -> tuple[str, ...]:
    """Return where an issuer's metadata may be: RFC 8414 section 3.1, then OpenID Connect Discovery 1.0 section 4."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return (f"{origin}{_OAUTH}{path}", f"{origin}{path}{_OPENID}")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where an authorization server is asked for what; all but the token endpoint may be missing.

    Attributes:
        issuer: as it calls itself; None where nobody said.
        names_issuer: it says in each authorization response who it is (RFC 9207).
    """

    token: str
    authorization: str | None = None
    device_authorization: str | None = None
    revocation: str | None = None
    issuer: str | None = None
    names_issuer: bool = False


class Discovery:
    """Finds an issuer's endpoints once, and remembers them.

    Args:
        issuer: exactly as the authorization server writes it.
        allow_insecure: endpoints may be plain HTTP on another machine.
    """

    def __init__(self, issuer: str, transport: Transport, *, allow_insecure: bool = False) -> None:
        self._issuer = issuer
        self._transport = transport
        self._allow_insecure = allow_insecure
        self._found: Endpoints | None = None

    async def endpoints(self) -> Endpoints | Unavailable:
        """Return the endpoints, or why they are not known."""
        if self._found is not None:
            return self._found
        problems: list[Unavailable] = []
        for url in document_urls(self._issuer):
            answer = await self._transport.send("GET", url, {})
            if isinstance(answer, Unavailable):
                # Nothing has been spent by a call that only reads, even if it broke.
                return Unavailable(f"discovery: {answer.cause}", answer.retry_after, answer.misconfigured)
            found = self._judge(answer)
            if isinstance(found, Endpoints):
                self._found = found
                return found
            if answer.status == 200:
                problems.insert(0, found)  # A document with a mistake says more than one that is missing.
            else:
                problems.append(found)
        # A server that is down for a moment must not look like a mistake.
        return next((problem for problem in problems if not problem.misconfigured), problems[0])

    def forget(self) -> None:
        """Look again next time: the endpoints may have moved."""
        self._found = None

    def _judge(self, answer: Answer) -> Endpoints | Unavailable:
        if answer.status in (408, 429) or answer.status >= 500:
            wait = lifetimes.retry_after(answer.retry_after, time.time())
            return Unavailable(f"discovery: {self._issuer} answered {answer.status}", wait)
        if answer.status != 200:
            return self._mistake(f"its metadata document answered {answer.status}; check issuer")
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            return Unavailable(f"discovery: {self._issuer} sent a metadata document that is not JSON")
        if not isinstance(document, dict):
            return self._mistake("its metadata document is not a JSON object")
        issuer = document.get("issuer")
        if issuer != self._issuer:
            slash = isinstance(issuer, str) and issuer.rstrip("/") == self._issuer.rstrip("/")
            hint = "they differ in the slash at the end" if slash else "check issuer"
            return self._mistake(f"its metadata document names another issuer; {hint}")

        def at(name: str) -> str | None:
            url = document.get(name)
            return url if isinstance(url, str) and is_safe(url, allow_insecure=self._allow_insecure) else None

        token = at("token_endpoint")
        if token is None:
            return self._mistake("its metadata document has no token_endpoint with https; see tls.allow_insecure")
        return Endpoints(
            token,
            at("authorization_endpoint"),
            at("device_authorization_endpoint"),
            at("revocation_endpoint"),
            self._issuer,
            document.get("authorization_response_iss_parameter_supported") is True,
        )

    def _mistake(self, what: str) -> Unavailable:
        return Unavailable(f"discovery: {self._issuer}: {what}", misconfigured=True)
