"""Taking tokens out of an answer, so that a frontend can log in through the proxy without ever seeing one. Pure.

For a captured path: :func:`asked` is what the request is sent with, :func:`plain` undoes a compression that came all
the same, :func:`capture` finds the tokens by JSON Pointers (RFC 6901) and cuts them out of the text, and
:func:`answered` is what the answer is passed on with. Nothing is parsed and written again: what stays is byte for byte
what the upstream sent, its order, its numbers, its spaces and escapes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Final

from reauth_proxy.forward.fields import RawFields
from reauth_proxy.guard.endpoints import judge, refused_paths
from reauth_proxy.issuers import lifetimes, reply
from reauth_proxy.issuers.pointer import Pointer
from reauth_proxy.session.tokens import Secret

#: Objects and arrays within each other, on the way to a token.
_DEEPEST: Final = 100
#: Longer answers are not looked through, in bytes.
LONGEST: Final = 1024 * 1024
_SPACE: Final = " \t\n\r"
#: Not sent upstream: what could make the answer a compressed one, a part of one, or none (RFC 9110 sections 12.5.3,
#: 13.1 and 14.2).
_NOT_ASKED: Final = frozenset(
    {
        *(b"accept-encoding", b"range", b"if-range", b"if-match", b"if-none-match"),
        *(b"if-modified-since", b"if-unmodified-since"),
        *(b"connection", b"upgrade"),  # what comes through a tunnel is nobody's to read
    }
)
#: Not true any more of content that has changed (RFC 9110 section 8, RFC 9530).
_NOT_ANSWERED: Final = frozenset(
    {
        *(b"content-length", b"transfer-encoding", b"content-encoding", b"accept-ranges", b"etag"),
        *(b"content-md5", b"content-digest", b"repr-digest", b"digest"),
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Where the answer to a login has the tokens."""

    access_token: Pointer
    refresh_token: Pointer
    expires_in: Pointer | None = None


@dataclass(frozen=True, slots=True)
class Captured:
    """What was in the answer.

    Attributes:
        refresh_token, access_token: None where there is none that can be used; it is cut out all the same.
        lifetime: of the access token in seconds; None where unknown.
        content: the answer without them.
    """

    refresh_token: Secret | None
    access_token: Secret | None
    lifetime: float | None
    content: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Nobody can tell whether there are tokens in it: where it is said to be a success, it must not be passed on.

    Attributes:
        why: holds nothing of it.
    """

    why: str


class Paths:
    """The paths of logins at one upstream, each in every spelling that some server takes for it (`guard.endpoints`).

    Args:
        paths: as the upstream is asked for them.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(refused_paths(_HERE, [_HERE + path]) for path in paths)

    def match(self, target: bytes) -> int | None:
        """Return which login a target in origin-form is (RFC 9112 section 3.2.1), by number; None if it is none."""
        return next((number for number, path in enumerate(self._paths) if judge(target, path)), None)


_HERE: Final = "http://localhost"


def asked(lines: Iterable[bytes]) -> list[bytes]:
    """Return a request's field lines without those that would keep its answer from being read."""
    return [line for line in lines if line.partition(b":")[0].lower() not in _NOT_ASKED]


def answered(fields: RawFields, content: bytes) -> list[tuple[bytes, bytes]]:
    """Return an answer's fields as they are true of the content as it is now."""
    kept = [(name, value) for name, value in fields if name.lower() not in _NOT_ANSWERED]
    return [*kept, (b"Content-Length", str(len(content)).encode())]


def plain(content: bytes, codings: Sequence[bytes], limit: int = LONGEST) -> bytes | Unreadable:
    """Return content without its codings.

    Args:
        codings: the values of the answer's Content-Encoding fields.
        limit: bytes that it may have afterwards.
    """
    names = [name.strip().lower() for value in codings for name in value.split(b",")]
    for name in reversed([name for name in names if name not in (b"", b"identity")]):
        if name not in (b"gzip", b"x-gzip", b"deflate"):
            return Unreadable("its content coding is not one that can be undone")
        decoded = _inflated(content, limit, raw=False)
        if decoded is None and name == b"deflate":  # some servers leave out the zlib wrapper
            decoded = _inflated(content, limit, raw=True)
        if decoded is None:
            return Unreadable("its content coding is broken, or what comes out is too long")
        content = decoded
    return content if len(content) <= limit else Unreadable("it is too long")


def _inflated(content: bytes, limit: int, *, raw: bool) -> bytes | None:
    """Return the content, None if it is broken or too long. gzip may have several members (RFC 1952 section 2.2)."""
    found = bytearray()
    while content:
        decoder = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS | 32)
        try:
            found += decoder.decompress(content, limit + 1 - len(found))
        except zlib.error:
            return None
        if not decoder.eof or len(found) > limit:
            return None
        content = decoder.unused_data
    return bytes(found)


def capture(content: bytes, rule: Rule) -> Captured | Unreadable | None:
    """Find the tokens in an answer, and cut them out: None if it has none at these places.

    A member of an object goes with its comma; an element of an array becomes null: the others keep their places.
    Where a name is there twice the last one counts, as for most readers, and all are cut.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return Unreadable("it is not text in UTF-8")
    pointers = [pointer for pointer in (rule.access_token, rule.refresh_token, rule.expires_in) if pointer is not None]
    finder = _Finder(text, pointers)
    try:
        finder.document()
    except (ValueError, RecursionError, IndexError):
        # Raised anew elsewhere: the error holds the whole text.
        return Unreadable("it is not JSON") if text.strip(_SPACE + "\ufeff") else None
    if not finder.cuts:
        return None

    def at(pointer: Pointer | None) -> object:
        return None if pointer is None else finder.found.get(pointer)

    return Captured(
        reply.as_refresh_token(at(rule.refresh_token)),
        reply.as_access_token(at(rule.access_token)),
        lifetimes.expires_in(at(rule.expires_in)),
        _cut(text, finder.cuts).encode(),
    )


def _cut(text: str, cuts: list[tuple[int, int, str]]) -> str:
    """Return the text with pieces replaced; one that lies in another goes with it."""
    parts, end = [], 0
    for start, stop, instead in sorted(cuts, key=lambda cut: (cut[0], -cut[1])):
        if start >= end:
            parts += [text[end:start], instead]
            end = stop
    return "".join([*parts, text[end:]])


class _Finder:
    """Walks to the values that pointers lead to. Raises ValueError where the text is not JSON.

    Attributes:
        found: the values, by pointer.
        cuts: start, end and replacement of each piece to cut.
    """

    def __init__(self, text: str, pointers: Sequence[Pointer]) -> None:
        self._text = text
        self._pointers = pointers
        # Python refuses integers of thousands of digits; none of the numbers is written again.
        self._decoder = json.JSONDecoder(parse_int=float)
        self.found: dict[Pointer, object] = {}
        self.cuts: list[tuple[int, int, str]] = []

    def document(self) -> None:
        start = self._skip(1 if self._text.startswith("\ufeff") else 0)
        end = self._value(start, ())
        if () in self.found:
            self.cuts.append((start, end, "null"))
        if self._skip(end) != len(self._text):
            raise ValueError

    def _value(self, at: int, path: Pointer) -> int:
        """Read the value that begins there; return where it ends."""
        if len(path) > _DEEPEST:
            raise ValueError
        if path in self._pointers:
            self.found[path], end = self._decoder.raw_decode(self._text, at)
            return end
        if any(pointer[: len(path)] == path for pointer in self._pointers):
            if self._text[at] == "{":
                return self._object(at, path)
            if self._text[at] == "[":
                return self._array(at, path)
        return self._decoder.raw_decode(self._text, at)[1]

    def _object(self, at: int, path: Pointer) -> int:
        #: Start and end of each member, and whether it goes.
        members: list[tuple[int, int, bool]] = []
        at = self._skip(at + 1)
        while self._text[at] != "}":
            if members:
                at = self._skip(self._past(at, ","))
            name, end = scanstring(self._text, self._past(at, '"'), True)
            end = self._value(self._skip(self._past(self._skip(end), ":")), (*path, name))
            members.append((at, end, (*path, name) in self._pointers))
            at = self._skip(end)
        self._cut_members(members)
        return at + 1

    def _cut_members(self, members: list[tuple[int, int, bool]]) -> None:
        """Cut each run of members that go, with the comma before it; at the beginning, with the comma behind it."""
        for index, (start, end, goes) in enumerate(members):
            if not goes or (index > 0 and members[index - 1][2]):
                continue
            last = index
            while last + 1 < len(members) and members[last + 1][2]:
                last += 1
            end = members[last][1]
            if index > 0:
                start = members[index - 1][1]
            elif last + 1 < len(members):
                end = members[last + 1][0]
            self.cuts.append((start, end, ""))

    def _array(self, at: int, path: Pointer) -> int:
        number = 0
        at = self._skip(at + 1)
        while self._text[at] != "]":
            if number:
                at = self._skip(self._past(at, ","))
            here = (*path, str(number))
            end = self._value(at, here)
            if here in self._pointers:
                self.cuts.append((at, end, "null"))
            number += 1
            at = self._skip(end)
        return at + 1

    def _skip(self, at: int) -> int:
        while at < len(self._text) and self._text[at] in _SPACE:
            at += 1
        return at

    def _past(self, at: int, mark: str) -> int:
        if not self._text.startswith(mark, at):
            raise ValueError
        return at + 1
