"""How mistakes are worded. Pure. No value that came from the environment, and no secret, is ever part of a message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

Path = tuple[str | int, ...]

#: Characters of a wrong value that are shown.
_SHOWN: Final = 40
#: Numbers from here on are not spelt out.
_HUGE: Final = 10**_SHOWN
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)


class Text(str):
    """A scalar of the file.

    Attributes:
        plain: it stood without quotes, so that where any JSON value may stand it can be a number, true or null.
        hidden: part of it came from the environment, so that it must not be shown.
        interpolated: it has a variable in it, so that it is not written out in the file; a default is a stand-in.
    """

    __slots__ = ("hidden", "interpolated", "plain")

    def __new__(cls, value: str, *, plain: bool = False, hidden: bool = False, interpolated: bool = False) -> Text:
        text = super().__new__(cls, value)
        text.plain = plain
        text.hidden = hidden
        text.interpolated = interpolated
        return text

    plain: bool
    hidden: bool
    interpolated: bool


def quoted(text: str, limit: int = _SHOWN) -> str:
    """Return a text in quotes on one line, cut where it is long; what cannot be printed is escaped."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    plain = json.dumps(cut, ensure_ascii=False)
    return plain if plain.isprintable() else json.dumps(cut)


def got(value: object) -> str:
    """Return the end of a sentence that says what stood there instead: ``got "soon"``."""
    if isinstance(value, Text) and value.hidden:
        return "got something else from the environment"
    if isinstance(value, str):
        return f"got {quoted(value)}"
    if value is None:
        return "got nothing"
    if isinstance(value, bool):
        return f"got {str(value).lower()}"
    if isinstance(value, int | float):
        return f"got {value}" if not abs(value) >= _HUGE else "got a number beyond measure"
    if isinstance(value, Mapping):
        return "got a mapping"
    return "got a list" if isinstance(value, list | tuple) else "got something else"


def expected(what: str, value: object) -> ValueError:
    """Return the error that names what should have stood there, and what did."""
    return ValueError(f"expected {what}, {got(value)}")


def dotted(path: Path) -> str:
    """Return a path as people write it: ``refresh.statuses[1]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_KEY.fullmatch(part) else quoted(part))
    return text


def shown(text: str) -> str:
    """Return a text that may hold anything, such as a path, on one line."""
    return text if text.isprintable() else quoted(text, 4096)


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them: ``a, b or c``."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
