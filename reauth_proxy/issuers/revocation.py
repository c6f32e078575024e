"""Telling an authorization server that tokens are needed no more (RFC 7009)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl

from reauth_proxy.issuers import reply
from reauth_proxy.issuers.judged import is_lost
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.session.protocols import TokenEndpoint
from reauth_proxy.session.tokens import STAND_IN, Secret, Unavailable

Hint = Literal["refresh_token", "access_token"]


@dataclass(frozen=True, slots=True)
class Revocation:
    """What became of the tokens.

    Attributes:
        outcome: `revoked`; `unsupported`: there is no endpoint for it; `failed`: they may be good still.
        problem: why, for people; holds nothing that the endpoint sent. None where they are revoked.
    """

    outcome: Literal["revoked", "unsupported", "failed"]
    problem: str | None = None


REVOKED: Final = Revocation("revoked")
UNSUPPORTED: Final = Revocation("unsupported", "no revocation endpoint is known")


async def revoke(
    endpoint: TokenEndpoint, refresh_token: Secret | None, access_token: Secret | None, timeout: float
) -> Revocation:
    """Revoke the refresh token, then the access token, at the authorization server of a token endpoint.

    Never raises for what the network or the server does, so that nobody keeps a token because of it. A server that
    cannot revoke access tokens, as many, counts as one that has (section 2.2.1): they end by themselves.

    Args:
        timeout: seconds for everything.
    """
    if not isinstance(endpoint, OAuth2Endpoint):
        return UNSUPPORTED
    try:
        async with asyncio.timeout(timeout):
            if refresh_token is not None and (refresh_token == STAND_IN or is_lost(refresh_token)):
                refresh_token = None
            return await _revoke(endpoint, refresh_token, access_token)
    except TimeoutError:
        return Revocation("failed", f"no answer within {timeout:g} s")


async def _revoke(endpoint: OAuth2Endpoint, refresh_token: Secret | None, access_token: Secret | None) -> Revocation:
    endpoints = await endpoint.client.endpoints()
    if isinstance(endpoints, Unavailable):
        return Revocation("failed", endpoints.cause)
    if endpoints.revocation is None:
        return UNSUPPORTED
    first: str | None = None
    if refresh_token is not None:
        first = await _ask(endpoint, endpoints.revocation, refresh_token, "refresh_token")
    if access_token is not None:
        second = await _ask(endpoint, endpoints.revocation, access_token, "access_token")
        first = first or second
    return REVOKED if first is None else Revocation("failed", first)


async def _ask(endpoint: OAuth2Endpoint, url: str, token: Secret, hint: Hint) -> str | None:
    """Return what went wrong, None if nothing (RFC 7009 section 2.2)."""
    from authlib.oauth2.rfc7009 import prepare_revoke_token_request

    body, _ = prepare_revoke_token_request(token.reveal(), hint)
    answer = await endpoint.client.post(url, dict(parse_qsl(body)))
    if isinstance(answer, Unavailable):
        return answer.cause
    if 200 <= answer.status < 300:
        return None
    error = reply.error_code(answer)
    if hint == "access_token" and error == "unsupported_token_type":
        return None
    return f"the revocation endpoint answered {answer.status}{f' {error}' if error else ''}"
