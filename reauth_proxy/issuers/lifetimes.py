"""Times as token endpoints write them: expires_in, expires_at, Retry-After, Date. Pure.

Endpoints are sloppy with these, and none of it is worth losing a session over: what cannot be read is None, which
means unknown.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

#: Ten years in seconds; longer lifetimes are cut to it.
LONGEST: Final = 10 * 366 * 86_400.0
#: Epoch times from here on are milliseconds: as seconds this would be the year 5138, as milliseconds it is 1973.
_MILLISECONDS_FROM: Final = 1e11
_NUMBER: Final = re.compile(r"\s*([+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,3})?)\s*", re.ASCII)
#: A Date that differs less than this from our clock, in seconds, tells nothing: it has whole seconds and travelled.
_SKEW: Final = 30.0


def number(value: object) -> float | None:
    """Return a finite number given as a number or as a numeric string (``3600``, ``"3600"``, ``"3600.0"``)."""
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        value = float(match[1]) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def expires_in(value: object) -> float | None:
    """Return a lifetime in seconds (RFC 6749 section 5.1): above 0, at most ten years.

    0 or less is unknown: a token that is issued is not expired, and nobody wants one that is.
    """
    seconds = number(value)
    return None if seconds is None or seconds <= 0 else min(seconds, LONGEST)


def expires_at(value: object, now: float) -> float | None:
    """Return the lifetime in seconds of what expires at `value`: epoch seconds or milliseconds, or RFC 3339.

    A date and time without an offset is unknown, because it may mean any time zone; so is one that has passed.
    """
    moment = number(value)
    if moment is None:
        moment = _rfc3339(value) if isinstance(value, str) else None
    elif moment >= _MILLISECONDS_FROM:
        moment /= 1000
    return None if moment is None else expires_in(moment - now)


def _rfc3339(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip().upper())
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for: delta-seconds or an HTTP date (RFC 9110 section 10.2.3)."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,10}\s*", value, re.ASCII):
        return float(value)
    moment = http_date(value)
    return None if moment is None else max(0.0, moment - now)


def http_date(value: str | None) -> float | None:
    """Return the epoch seconds of an HTTP date (RFC 9110 section 5.6.7)."""
    if value is None or len(value) > 64:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def their_now(date: str | None, now: float) -> float:
    """Return the time by the endpoint's clock if it is clearly another than ours, else ours.

    An absolute expiry is compared with the clock that it was made by.

    Args:
        date: the answer's Date field.
    """
    theirs = http_date(date)
    return now if theirs is None or abs(theirs - now) < _SKEW else theirs
