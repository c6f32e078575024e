"""What a token endpoint says by a status or an error code alone. Pure."""

from __future__ import annotations

from typing import Final

from reauth_proxy.session.tokens import Denied, Unavailable

#: RFC 6749 section 5.2 without invalid_grant: trying again cannot help until somebody mends the configuration.
_MISTAKES: Final = {
    "invalid_request": "the request lacks something; see params and client_auth",
    "invalid_client": "check client_id, client_secret and client_auth",
    "unauthorized_client": "the client is not allowed to use this grant",
    "unsupported_grant_type": "the token endpoint does not know this grant; check url",
    "invalid_scope": "check scope",
}
#: RFC 6749 section 4.1.2.1 codes that some servers use at the token endpoint too.
_TRANSIENT: Final = frozenset({"temporarily_unavailable", "server_error"})
#: What GitHub and Slack answer for invalid_grant, with a 200.
_REFUSALS: Final = frozenset({"invalid_grant", "bad_refresh_token", "invalid_refresh_token"})


def by_status(status: int, wait: float | None) -> Unavailable | None:
    """Return the verdict of a status that speaks for itself, whatever the content says.

    Args:
        wait: what Retry-After asks for, in seconds.
    """
    if 300 <= status < 400:
        return misconfigured(f"the token endpoint answered {status}, and redirects are not followed; check url", wait)
    if status in (404, 405, 415):
        return misconfigured(f"the token endpoint answered {status}; check url", wait)
    if status in (408, 429) or not 200 <= status < 500:
        return Unavailable(f"the token endpoint answered {status}", wait)
    return None


def by_error(error: object, status: int, wait: float | None) -> Denied | Unavailable | None:
    """Return the verdict of an error code (RFC 6749 section 5.2), None if it says nothing.

    Args:
        status, wait: of the answer, and what its Retry-After asks for in seconds.
    """
    if not isinstance(error, str):
        return None
    if error in _REFUSALS:
        return Denied(error)
    if error in _MISTAKES:
        return misconfigured(f"the token endpoint answered {status} {error}: {_MISTAKES[error]}", wait)
    if error in _TRANSIENT:
        return Unavailable(f"the token endpoint answered {status} {error}", wait)
    return None


def misconfigured(cause: str, wait: float | None) -> Unavailable:
    """Return the reply that trying again cannot help."""
    return Unavailable(cause, wait, misconfigured=True)
