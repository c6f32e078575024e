"""Signing in through a browser: the authorization code grant (RFC 6749 section 4.1) with PKCE (RFC 7636).

Three steps, for a command with a loopback redirect as for a proxy with a callback of its own: :func:`begin` makes the
request that the browser takes to the authorization server, :func:`judge` reads what the browser brings back, and
:func:`exchange` turns the code into tokens. The first two do no I/O.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from reauth_proxy.issuers.client import OAuth2Settings, revealed
from reauth_proxy.issuers.discovery import Endpoints
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.session.tokens import Secret, TokenReply

#: Longer codes are none, in characters.
_LONGEST_CODE: Final = 8192
_MOST_PARAMETERS: Final = 32
#: What an error's code and description may hold (RFC 6749 section 4.1.2.1).
_FOREIGN: Final = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_LONGEST_DESCRIPTION: Final = 300


@dataclass(frozen=True, slots=True)
class Attempt:
    """One login under way; good for one answer.

    Attributes:
        url: where the browser is to go.
        redirect_uri: where it is to come back to.
        issuer: who has to answer, where that is known.
        names_issuer: the answer has to say who it is from (RFC 9207 section 2.4).
    """

    url: str = field(repr=False)
    redirect_uri: str
    state: Secret
    verifier: Secret
    issuer: str | None = None
    names_issuer: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """The authorization server issued a code."""

    value: Secret


@dataclass(frozen=True, slots=True)
class Refused:
    """The attempt has ended without a code.

    Attributes:
        error: a code such as ``access_denied``.
        description: what the authorization server says about it, in visible ASCII, or "".
    """

    error: str
    description: str = ""

    def __str__(self) -> str:
        return f"{self.error}: {self.description}" if self.description else self.error


@dataclass(frozen=True, slots=True)
class Stray:
    """No answer to this attempt; whoever sent it, the attempt goes on. `why` holds nothing of it."""

    why: str


def begin(endpoints: Endpoints, settings: OAuth2Settings, redirect_uri: str) -> Attempt:
    """Return a new attempt, with a state and a code verifier of its own (RFC 7636 section 4.1, S256).

    Args:
        endpoints: with an authorization endpoint.
    """
    from authlib.common.urls import add_params_to_uri
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

    assert endpoints.authorization is not None
    state, verifier = Secret(secrets.token_urlsafe(32)), Secret(secrets.token_urlsafe(48))
    challenge = create_s256_code_challenge(verifier.reveal())
    url: str = prepare_grant_uri(
        add_params_to_uri(endpoints.authorization, list(revealed(settings.authorization_params).items())),
        settings.client_id,
        "code",
        redirect_uri,
        settings.scope,
        state.reveal(),
        code_challenge=challenge,
        code_challenge_method="S256",
    )
    return Attempt(url, redirect_uri, state, verifier, endpoints.issuer, endpoints.names_issuer)


def judge(query: str, attempt: Attempt) -> Code | Refused | Stray:
    """Read what came back in the redirect's query (RFC 6749 section 4.1.2)."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return Stray("there are too many parameters")
    found = dict(pairs)
    if len(found) != len(pairs):
        return Stray("a parameter is there twice")  # RFC 6749 section 3.1
    if not hmac.compare_digest(found.get("state", "").encode(), attempt.state.reveal().encode()):
        return Stray("its state is not the one of this login")
    # From here on it is an answer to this attempt. First, who gave it (RFC 9207 section 2.4).
    issuer = found.get("iss")
    if (issuer is None and attempt.names_issuer) or (issuer and attempt.issuer and issuer != attempt.issuer):
        return Refused("wrong_issuer", "the answer does not come from the authorization server that was asked")
    if "error" in found:
        return Refused(_plain(found["error"])[:64] or "error", _plain(found.get("error_description", "")))
    code = found.get("code", "")
    if not code or len(code) > _LONGEST_CODE:
        return Refused("no_code", "the answer holds neither a code nor an error")
    return Code(Secret(code))


async def exchange(endpoint: OAuth2Endpoint, attempt: Attempt, code: Code) -> TokenReply:
    """Redeem the code (RFC 6749 section 4.1.3, RFC 7636 section 4.5). Once: a code that comes twice ends a session."""
    from authlib.oauth2.rfc6749.parameters import prepare_token_request

    form = prepare_token_request(
        "authorization_code",
        redirect_uri=attempt.redirect_uri,
        code=code.value.reveal(),
        code_verifier=attempt.verifier.reveal(),
    )
    return await endpoint.redeem(dict(parse_qsl(form)))


def _plain(text: str) -> str:
    return _FOREIGN.sub("?", text)[:_LONGEST_DESCRIPTION]
