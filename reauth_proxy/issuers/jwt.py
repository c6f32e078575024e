"""How long a JWT says that it lives (RFC 7519 section 4.1), read without verification. Pure.

Only a hint about when to refresh: nothing is granted or refused because of it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Final

#: Longer tokens are not looked into, in characters.
LONGEST: Final = 64 * 1024
#: A lifetime beyond ten years, in seconds, is a mistake and counts as unknown.
LONGEST_LIFETIME: Final = 10 * 366 * 86_400.0


def lifetime(token: str, now: float) -> float | None:
    """Return the seconds that an access token has to live, None where it is opaque, malformed or does not say.

    Where the token says when it was issued (``iat``), the lifetime is counted from there, so that a wrong clock on
    this machine does no harm. One that has expired by our clock is unknown: a token that is issued is not expired.
    Never raises.

    Args:
        now: wall clock, epoch seconds.
    """
    claims = _claims(token)
    expiry, issued = _number(claims.get("exp")), _number(claims.get("iat"))
    if expiry is None or expiry <= now:
        return None
    seconds = expiry - (now if issued is None else issued)
    return seconds if 0 < seconds <= LONGEST_LIFETIME else None


def _claims(token: str) -> dict[str, object]:
    parts = token.split(".") if len(token) <= LONGEST else []
    if len(parts) != 3:
        return {}
    payload = parts[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
