"""Which HTTP fields a configuration may name, and what it may put into them (RFC 9110 section 5). Pure."""

from __future__ import annotations

import re
from typing import Final, TypeVar

from reauth_proxy.config.problems import expected

V = TypeVar("V")

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
#: What frames a message and says where it goes.
_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding"})
#: What says other things than who asks.
_TAKEN: Final = frozenset({"expect", "forwarded", "origin", "referer", "via", "x-request-id"})
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    }
)


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise expected("the name of an HTTP field such as X-Api-Version", value)
    return str(value)


def _refuse(value: object) -> ValueError:
    return ValueError(f"{value} belongs to the proxy and cannot be changed")


def removable(value: object) -> str:
    """Return the name of a field that may be removed: any but those that frame a message."""
    name = _name(value)
    if name.lower() in _FRAMING:
        raise _refuse(value)
    return name


def for_endpoint(value: object) -> str:
    """Return the name of a field that may be sent to a token endpoint."""
    name = removable(value)
    if name.lower() in _HOP_BY_HOP:
        raise _refuse(value)
    return name


def for_token(value: object) -> str:
    """Return the name of a field that may bring an access token to an upstream."""
    name = for_endpoint(value)
    if name.lower() == "cookie":
        raise ValueError("for a cookie, write `cookie: NAME`")
    if name.lower() in _TAKEN or name.lower().startswith(("reauth-", "x-forwarded-")):
        raise _refuse(value)
    return name


def settable(value: object) -> str:
    """Return the name of a field that may be set on forwarded messages: not Authorization, not our signals."""
    name = for_endpoint(value)
    if name.lower() == "authorization" or name.lower().startswith("reauth-"):
        raise _refuse(value)
    return name


def read_scheme(value: object) -> str:
    """Return an authentication scheme (RFC 9110 section 11.1), or "" for none."""
    if value != "" and (not isinstance(value, str) or not _NAME.fullmatch(value)):
        raise expected('a scheme such as Bearer, or "" for none', value)
    return str(value)


def read_cookie(value: object) -> str:
    """Return the name of a cookie (RFC 6265 section 4.1.1)."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise expected("the name of a cookie such as access_token", value)
    return str(value)


def check_value(value: str) -> None:
    """Raise ValueError, without the value, unless it can stand in a field as it is."""
    if not _VALUE.fullmatch(value):
        raise ValueError("expected printable ASCII, without a line end, and without a space in front or behind")


def distinct(fields: dict[str, V]) -> dict[str, V]:
    """Return the fields if each is there once; names do not differ by case."""
    if len({name.lower() for name in fields}) != len(fields):
        raise ValueError("the same field twice; upper and lower case make no difference in names")
    return fields
