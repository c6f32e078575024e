"""Durations, sizes, whole numbers and switches, as people write them. Pure.

Each function takes a scalar of the file, or the value itself from code, and raises ValueError with the whole sentence.
"""

from __future__ import annotations

import math
import re
from typing import Final

from reauth_proxy.config.problems import expected

#: Longest duration, in seconds: a year. Beyond it is a slip, and clocks may overflow.
LONGEST: Final = 366 * 86_400.0
#: Largest size, in bytes: 1 TiB.
LARGEST: Final = 1 << 40

_AMOUNT: Final = r"(?P<amount>[0-9]{1,20}(?:\.[0-9]{1,20})?|\.[0-9]{1,20})"
DURATION: Final = re.compile(rf"{_AMOUNT} ?(?P<unit>ms|s|m|h|d)?", re.ASCII)
SIZE: Final = re.compile(rf"{_AMOUNT} ?(?P<unit>[kmg]i?b|b)?", re.ASCII | re.IGNORECASE)
_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,2}(?:_[0-9]{3})*|[1-9][0-9]{0,17}", re.ASCII)

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SWITCHES: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

_A_DURATION: Final = "a duration such as 10s"
_A_SIZE: Final = "a size such as 64KiB"


def seconds(value: object) -> float:
    """Return a duration in seconds: ``500ms``, ``10s``, ``5m``, ``1h``, ``1d``, or a number of seconds."""
    if isinstance(value, str):
        match = DURATION.fullmatch(value)
        if match is None:
            raise expected(_A_DURATION, value)
        number = float(match["amount"]) * _SECONDS[match["unit"] or "s"]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if not abs(value) > LONGEST else math.copysign(math.inf, 1 if value > 0 else -1)
    else:
        raise expected(_A_DURATION, value)
    if not number >= 0:
        raise expected(_A_DURATION, value)
    if number > LONGEST:
        raise expected("a duration of at most 366d", value)
    return number


def positive_seconds(value: object) -> float:
    """Return a duration that is not zero."""
    number = seconds(value)
    if number == 0:
        raise expected("a duration longer than 0s", value)
    return number


def size(value: object) -> int:
    """Return a size in bytes: ``64KiB``, ``8MiB``, ``1GiB``, ``10kB``, ``1MB``, or a number of bytes."""
    if isinstance(value, str):
        match = SIZE.fullmatch(value)
        if match is None:
            raise expected(_A_SIZE, value)
        number = float(match["amount"]) * _BYTES[(match["unit"] or "b").lower()]
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        raise expected(_A_SIZE, value)
    if number > LARGEST:
        raise expected("a size of at most 1024GiB", value)
    if number < 0 or number != int(number):
        raise expected("a whole number of bytes, 0 or more, such as 64KiB", value)
    return int(number)


def whole(value: object, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`: ``10000`` or ``10_000``; no octal, no sexagesimal."""
    number: int | None = None
    if isinstance(value, str):
        number = int(value) if _WHOLE.fullmatch(value) else None
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number is None or not least <= number <= most:
        raise expected(f"a whole number from {least} to {most}", value)
    return number


def switch(value: object) -> bool:
    """Return a boolean: true, yes, on; false, no, off."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _SWITCHES:
        return _SWITCHES[value.lower()]
    raise expected("true or false", value)
