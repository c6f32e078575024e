"""What `PUT /session` brings, checked. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from reauth_proxy.errors import BadRequest
from reauth_proxy.issuers.reply import as_access_token, as_refresh_token
from reauth_proxy.session.tokens import Secret

_MEMBERS: Final = frozenset({"refresh_token", "access_token", "expires_in"})
_LONGEST_LIFETIME: Final = 10 * 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Offered:
    """A session from outside.

    Attributes:
        lifetime: of the access token in seconds; None where nobody says.
    """

    refresh_token: Secret
    access_token: Secret | None = None
    lifetime: float | None = None


def read(content: bytes) -> Offered:
    """Read it.

    Raises:
        BadRequest: something is wrong with it; the text says what, and repeats none of it.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise BadRequest("The content is not JSON.") from None
    if not isinstance(found, dict):
        raise BadRequest("The content is not a JSON object.")
    if not found.keys() <= _MEMBERS:
        raise BadRequest("There is a member besides refresh_token, access_token and expires_in.")
    refresh_token = as_refresh_token(found.get("refresh_token"))
    if refresh_token is None:
        raise BadRequest("refresh_token is missing, or not a token: text of visible characters, 64 KiB at most.")
    access_token = as_access_token(found.get("access_token"))
    if access_token is None and found.get("access_token") is not None:
        raise BadRequest("access_token is not a token as of RFC 6750 section 2.1.")
    lifetime = found.get("expires_in")
    if lifetime is None:
        return Offered(refresh_token, access_token)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime <= _LONGEST_LIFETIME:
        raise BadRequest("expires_in is not a number of seconds above 0.")
    if access_token is None:
        raise BadRequest("expires_in says how long the access_token lives, and there is none.")
    return Offered(refresh_token, access_token, float(lifetime))
