"""The last line of defence: nothing that looks like a token leaves in a log line. Pure.

Secrets hide themselves already; this catches what arrives inside of exception texts, URLs and foreign log records.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

HIDDEN: Final = "[hidden]"

_NAMES: Final = (
    r"access_?token|refresh_?token|id_?token|client_?secret|client_?assertion|assertion|password|passwd|secret|"
    r"private_?key|api_?key|authorization|cookie|code_?verifier|token"
)
#: Keys of a log line whose value is hidden, whatever it is.
_KEY: Final = re.compile(rf"(?:.*[_-])?(?:{_NAMES}|set-cookie)", re.IGNORECASE)
_PATTERNS: Final = (
    # Authorization: Bearer abc, in whatever quotes; Basic likewise
    (re.compile(r"(?i)\b(bearer|basic|dpop)(\s+)[\w~+/.=:-]{6,}"), rf"\1\2{HIDDEN}"),
    # access_token=abc, "refresh_token": "abc", client_secret='abc'
    (re.compile(rf"""(?i)\b((?:{_NAMES})["']?\s*[=:]\s*["']?)[^\s"'&,;}}\]]+"""), rf"\1{HIDDEN}"),
    # a JWT, wherever it stands
    (re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),
    # https://user:password@host
    (re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^/\s@]*@"), rf"\1{HIDDEN}@"),
)
#: Keys that look like secrets' and are not.
_HARMLESS: Final = frozenset({"new_refresh_token", "expects_token", "token_endpoint"})
_DEEPEST: Final = 8


def text(value: str) -> str:
    """Return `value` with everything hidden that looks like a token or a password."""
    for pattern, replacement in _PATTERNS:
        value = pattern.sub(replacement, value)
    return value


def anything(value: Any, depth: int = 0) -> Any:
    """Return plain data with the same hidden in it, at any depth."""
    if isinstance(value, str):
        return text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN if _hides(str(key), item) else anything(item, depth + 1) for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [anything(item, depth + 1) for item in value]
    return text(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))


def _hides(key: str, value: Any) -> bool:
    return (
        key.lower() not in _HARMLESS
        and not (value is None or isinstance(value, bool | int | float))
        and _KEY.fullmatch(key) is not None
    )


def processor(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Hide secrets in one log line; a structlog processor."""
    hidden: dict[str, Any] = anything(event)
    return hidden
