"""From an issuer to its token endpoint (RFC 8414, OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import json
import time
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


class Discovery:
    """Finds an issuer's token endpoint once, and remembers it.

    Args:
        issuer: exactly as the authorization server writes it.
        allow_insecure: the token endpoint may be plain HTTP on another machine.
    """

    def __init__(self, issuer: str, transport: Transport, *, allow_insecure: bool = False) -> None:
        self._issuer = issuer
        self._transport = transport
        self._allow_insecure = allow_insecure
        self._found: str | None = None

    async def token_endpoint(self) -> str | Unavailable:
        """Return the token endpoint's URL, or why it is not known."""
        if self._found is not None:
            return self._found
        problems: list[Unavailable] = []
        for url in document_urls(self._issuer):
            answer = await self._transport.send("GET", url, {})
            if isinstance(answer, Unavailable):
                # Nothing has been spent by a call that only reads, even if it broke.
                return Unavailable(f"discovery: {answer.cause}", answer.retry_after, answer.misconfigured)
            found = self._judge(answer)
            if isinstance(found, str):
                self._found = found
                return found
            if answer.status == 200:
                problems.insert(0, found)  # A document with a mistake says more than one that is missing.
            else:
                problems.append(found)
        # A server that is down for a moment must not look like a mistake.
        return next((problem for problem in problems if not problem.misconfigured), problems[0])

    def forget(self) -> None:
        """Look again next time: the token endpoint may have moved."""
        self._found = None

    def _judge(self, answer: Answer) -> str | Unavailable:
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
        endpoint = document.get("token_endpoint")
        if not isinstance(endpoint, str) or not is_safe(endpoint, allow_insecure=self._allow_insecure):
            return self._mistake("its metadata document has no token_endpoint with https; see tls.allow_insecure")
        return endpoint

    def _mistake(self, what: str) -> Unavailable:
        return Unavailable(f"discovery: {self._issuer}: {what}", misconfigured=True)
