"""The client token: a secret that every request has to bring, where one is configured."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final

from reauth_proxy.errors import ClientDenied
from reauth_proxy.session.tokens import Secret

TOKEN: Final = b"reauth-client-token"
AUTHORIZATION: Final = b"authorization"


def password_of(authorization: bytes) -> bytes | None:
    """Return the password in Basic credentials (RFC 7617 section 2); None where there is none."""
    scheme, _, credentials = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user_and_password = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return user_and_password.partition(b":")[2]


def check(token: Secret, credentials: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuse a request that does not bring the client token, in constant time.

    Args:
        credentials: the request's Reauth-Client-Token and Authorization fields, names in lower case.

    Raises:
        ClientDenied: it is missing, wrong, or there are several.
    """
    expected = token.reveal().encode()
    brought = [value for name, value in credentials if name == TOKEN]
    if not brought:
        passwords = (password_of(value) for name, value in credentials if name == AUTHORIZATION)
        brought = [password for password in passwords if password is not None]
    if len(brought) != 1 or not hmac.compare_digest(brought[0], expected):
        raise ClientDenied(
            "Bring the client token (`access.client_token`) in Reauth-Client-Token, or as the password of Basic."
        )
