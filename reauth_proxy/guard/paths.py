"""Path rules: which methods and paths pass, judged on the one path that everybody will read in the target.

What is forwarded stays byte for byte; the rules read a decoded copy. Where upstreams might disagree about what a path
means, and there are rules, it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from reauth_proxy.errors import PathDenied

T = TypeVar("T")

_METHOD: Final = re.compile(r"\*|[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
#: Escapes of what has a meaning of its own in a target: slash, backslash, percent, question mark, hash.
_ESCAPED_MARK: Final = re.compile(rb"%(?:2f|5c|25|3f|23)", re.IGNORECASE)
#: Controls, backslashes and path parameters, which some servers cut off before they look.
_STRANGE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\;]")

#: How many paths are remembered, and how long they may be.
_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 512

_DENIED: Final = "This path is not allowed; `access.allow` and `access.deny` say which are."
_SEVERAL: Final = "This path can be read in more than one way, and there are rules for paths (`access.allow`, `.deny`)."


@dataclass(frozen=True, slots=True)
class Rule:
    """A method, or ``*`` for any, and the segments of a glob."""

    method: str
    segments: tuple[str, ...]


def parse(text: str) -> Rule:
    """Return the rule in ``GET /api/**``.

    ``*`` stands for anything within a segment, ``**`` for any number of segments. GET means HEAD, too.

    Raises:
        ValueError: it is none; the text says why.
    """
    method, space, glob = text.partition(" ")
    if not space or not _METHOD.fullmatch(method) or not glob.startswith("/"):
        raise ValueError('expected a method and a path, such as "GET /api/**"; "* /api/**" for any method')
    if any(mark in glob for mark in "?#;\\") or re.search("%[0-9A-Fa-f]{2}", glob):
        raise ValueError("write the path alone and as people read it: no query, no percent escapes, no ; or \\")
    segments = tuple(glob[1:].split("/"))
    if any("**" in segment and segment != "**" for segment in segments):
        raise ValueError("** stands for whole segments: write it between slashes")
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        raise ValueError("a path here has no empty segments, and none that is . or ..")
    return Rule(method.upper(), segments)


def one_reading(target: bytes) -> str | None:
    """Return the decoded path of a request target, None where there is more than one way to read it.

    Args:
        target: in origin-form (RFC 9112 section 3.2.1).
    """
    raw = target.partition(b"?")[0]
    if _BAD_ESCAPE.search(raw) or _ESCAPED_MARK.search(raw):
        return None
    try:
        path = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        return None
    segments = path[1:].split("/")
    if _STRANGE.search(path) or "" in segments[:-1] or not {".", ".."}.isdisjoint(segments):
        return None
    return path


def _wild(pattern: Sequence[T], text: Sequence[T], star: T, same: Callable[[T, T], bool]) -> bool:
    """Match with wildcards; going back to the latest one is enough, so the time is at most len times len."""
    at = here = 0
    back: tuple[int, int] | None = None
    while here < len(text):
        if at < len(pattern) and pattern[at] == star:
            back = (at, here)
            at += 1
        elif at < len(pattern) and same(pattern[at], text[here]):
            at += 1
            here += 1
        elif back is not None:
            back = (back[0], back[1] + 1)
            at, here = back[0] + 1, back[1]
        else:
            return False
    return all(part == star for part in pattern[at:])


def _segment(pattern: str, segment: str) -> bool:
    if pattern == "*":
        return segment != ""
    return _wild(pattern, segment, "*", lambda one, other: one == other)


def matches(rule: Rule, method: str, path: str) -> bool:
    """Tell whether a rule is about a method and a decoded path."""
    if rule.method not in ("*", method) and not (rule.method == "GET" and method == "HEAD"):
        return False
    return _wild(rule.segments, path[1:].split("/"), "**", _segment)


class PathRules:
    """The rules of a configuration: what is denied is refused, and so is what is not allowed where anything is.

    Args:
        allow: rules such as ``GET /api/**``; none allows all.
        deny: likewise. They hold in any case of letters, and with or without a slash at the end: some upstreams do
            not tell these apart.

    Raises:
        ValueError: see :func:`parse`.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow = [parse(text) for text in allow]
        self._deny = [parse(text.casefold()) for text in deny]
        #: Short paths that have passed; to judge one takes 10 µs.
        self._passed: set[tuple[str, bytes]] = set()

    def check(self, method: str, target: bytes) -> None:
        """Refuse what the rules do not let through.

        Raises:
            PathDenied: it is denied, not allowed, or can be read in more than one way.
        """
        raw = target.partition(b"?")[0]
        if (method, raw) in self._passed:
            return
        self._judge(method, raw)
        if len(raw) <= _LONGEST_REMEMBERED:
            if len(self._passed) >= _REMEMBERED:
                self._passed.clear()
            self._passed.add((method, raw))

    def _judge(self, method: str, target: bytes) -> None:
        path = one_reading(target)
        if path is None:
            raise PathDenied(_SEVERAL)
        method = method.upper()
        folded = path.casefold()
        spellings = {folded, folded.rstrip("/") or "/", folded + "/"}
        if any(matches(rule, method, spelling) for rule in self._deny for spelling in spellings):
            raise PathDenied(_DENIED)
        if self._allow and not any(matches(rule, method, path) for rule in self._allow):
            raise PathDenied(_DENIED)
