"""The last line of defence: no secret, and nothing that looks like one, leaves in a log line. Pure.

Secrets hide themselves already; this catches what arrives inside of exception texts, tracebacks, URLs and foreign log
records: the secrets that this process holds, by their exact text and its usual encodings, and others by their shape.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

from reauth_proxy.session.tokens import watched

HIDDEN: Final = "[hidden]"
#: Shorter secrets would be found in places where they are none.
SHORTEST: Final = 8
_URL_SAFE: Final = str.maketrans("+/", "-_")

_NAMES: Final = (
    r"access[_-]?token|refresh[_-]?token|id[_-]?token|client[_-]?secret|client[_-]?assertion|assertion|password|passwd|secret|"
    r"private[_-]?key|encryption[_-]?key|api[_-]?key|authorization|cookie|code[_-]?verifier|token"
)
#: Keys of a log line whose value is hidden, whatever it is.
_KEY: Final = re.compile(rf"(?:.*[_-])?(?:{_NAMES}|set-cookie)", re.IGNORECASE)
_PATTERNS: Final = (
    # Authorization: Bearer abc, in whatever quotes; Basic likewise
    (re.compile(r"(?i)\b(bearer|basic|dpop)(\s+)[\w~+/.=:-]{6,}"), rf"\1\2{HIDDEN}"),
    # a URL's query and fragment, whatever is in them
    (re.compile(r"(?i)(\b(?:https?|wss?)://[^\s?#\"'<>]+[?#])[^\s\"'<>]+"), rf"\1{HIDDEN}"),
    # an authorization code in a target without its origin (RFC 6749 section 4.1.2)
    (re.compile(r"(?i)([?&](?:code|device_code|user_code)=)[^\s\"'&#]+"), rf"\1{HIDDEN}"),
    # access_token=abc, "refresh_token": "abc", client_secret='abc'
    (re.compile(rf"""(?i)\b((?:{_NAMES})\\?["']?\s*[=:]\s*\\?["']?)[^\s"'&,;}}\]]+"""), rf"\1{HIDDEN}"),
    # a JWT, wherever it stands
    (re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),
    # https://user:password@host
    (re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^/\s@]*@"), rf"\1{HIDDEN}@"),
)
#: Keys that look like secrets' and are not.
_HARMLESS: Final = frozenset({"new_refresh_token", "expects_token", "token_endpoint"})
_DEEPEST: Final = 8


def looks_secret(name: str) -> bool:
    """Tell whether a key, a field or a parameter of this name holds a secret, as far as its name says."""
    return name.lower() not in _HARMLESS and _KEY.fullmatch(name) is not None


def spellings(value: str) -> Iterator[str]:
    """Return how a secret may be written: as it is, in JSON, in a form or URL, and in base64 at any offset."""
    if len(value) < SHORTEST:
        return
    yield value
    yield json.dumps(value)[1:-1]
    data = value.encode("utf-8", "backslashreplace")
    yield quote_plus(data)
    yield quote(data, safe="")
    for offset in range(3):
        # The first and the last characters have bits of what stands before and behind.
        spelt = base64.b64encode(bytes(offset) + data).decode()
        inner = spelt[-(-8 * offset // 6) : (offset + len(data)) * 8 // 6]
        yield inner
        yield inner.translate(_URL_SAFE)


class Watch:
    """The secrets that this process holds, in all their spellings.

    They are spelt out anew only when there are others: a line is looked through in microseconds.
    """

    def __init__(self) -> None:
        self._numbers: tuple[int, ...] = ()
        self._spelt: list[str] = []

    def hide(self, value: str) -> str:
        """Return `value` without them."""
        held = watched()
        if tuple(held) != self._numbers:
            self._numbers = tuple(held)
            found = {spelt for secret in held.values() for spelt in spellings(secret.reveal())}
            self._spelt = sorted(found, key=len, reverse=True)  # one may begin like another
        for spelt in self._spelt:
            if spelt in value:
                value = value.replace(spelt, HIDDEN)
        return value


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
    return not (value is None or isinstance(value, bool | int | float)) and looks_secret(key)


def processor(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Hide in one log line what looks secret; a structlog processor, behind those that turn exceptions into text."""
    hidden: dict[str, Any] = anything(event)
    return hidden


_watch: Final = Watch()


def line(_logger: Any, _method: str, written: Any) -> str:
    """Hide the secrets that this process holds in a line as it will be written; the last structlog processor."""
    try:
        return _watch.hide(written)
    except Exception as error:  # whoever logs is in the middle of something that matters more
        return json.dumps({"event": "log.failed", "level": "error", "error": type(error).__name__})
