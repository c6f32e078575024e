"""What an answer's content holds, however badly it is wrapped: packed, behind notices, cut off. Pure.

A token that was issued is gone for good if its answer is thrown away, so that the content counts by its own syntax, and
what is said about it (length, coding, media type) does not.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

#: How far a text is looked through for JSON, in characters over all attempts; what each attempt counts besides, and one
#: that nests too deeply.
_EFFORT: Final = 4 * 1024 * 1024
_ATTEMPT: Final = 1024
_TOO_DEEP: Final = 128 * 1024
#: Objects and arrays within each other, in what was cut off.
_DEEPEST: Final = 64
#: Names, values and marks that are read of what was cut off.
_MOST_PIECES: Final = 50_000
#: Python does not read longer integers.
_MOST_DIGITS: Final = 4000
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZEROS: Final = {"000x": "utf-32-be", "x000": "utf-32-le", "0x0x": "utf-16-be", "x0x0": "utf-16-le"}
#: One piece of JSON: a string, a mark, or anything else that is certain to have ended.
_PIECE: Final = re.compile(
    r'[ \t\r\n]*(?:("[^"\\]*(?:\\.[^"\\]*)*")|([{}\[\],:])|([^\s"{}\[\],:]+)(?=[\s,}\]]))', re.DOTALL
)
#: What may stand behind a whole value.
_BEHIND: Final = re.compile(r"[ \t\r\n]*(?:[,}\]]|\Z)")
_REST: Final = re.compile(r'[ \t\r\n]*(?:"|[^\s"{}\[\],:]*\Z)')
_FORM: Final = re.compile(r"[A-Za-z0-9_.%+-]+=[^&\s<>{}\"]*(?:&[A-Za-z0-9_.%+-]+=[^&\s<>{}\"]*)*&?")
_CLOSING: Final = {"{": "}", "[": "]"}


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """JSON that breaks off.

    Attributes:
        document: the members and items that are whole; others are left out.
        path: names and indices that lead to the value that broke off; () where none did.
    """

    document: object
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Documents:
    """The JSON in a text.

    Attributes:
        whole: documents that are complete by their own syntax, in their order.
        parts: those that break off.
        goes_on: the text ends within a document.
    """

    whole: list[object] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    goes_on: bool = False


def _integer(digits: str) -> int | float:
    if len(digits) > _MOST_DIGITS:
        return float("inf")
    # So that an integer's text is its literal.
    return -0.0 if digits == "-0" else int(digits)


#: Control characters in strings are mistakes that some servers make, and harmless here.
_DECODER: Final = json.JSONDecoder(strict=False, parse_int=_integer)


def unpacked(body: bytes, coding: str, longest: int) -> bytes:
    """Return content as it was before it was packed, whatever its coding is said to be; of what broke off, the start.

    Args:
        coding: the field Content-Encoding (RFC 9110 section 8.4); only a hint.
        longest: so many bytes are unpacked at most.
    """
    if body[:2] == b"\x1f\x8b":
        form = 16 + zlib.MAX_WBITS
    elif "deflate" in coding.lower() and body[:1] == b"\x78" and int.from_bytes(body[:2], "big") % 31 == 0:
        form = zlib.MAX_WBITS
    elif "deflate" in coding.lower() and body and not (body[:3] == codecs.BOM_UTF8 or 0x09 <= body[0] < 0x7F):
        form = -zlib.MAX_WBITS
    else:
        return body
    reader = zlib.decompressobj(form)
    plain = bytearray()
    try:
        for start in range(0, len(body), 4096):  # so that an error costs no more than what is behind it
            plain += reader.decompress(reader.unconsumed_tail + body[start : start + 4096], longest - len(plain))
            if len(plain) >= longest or reader.eof:
                break
    except zlib.error:
        pass
    return bytes(plain) or body


def text(body: bytes) -> str:
    """Return content as text; what is no character of its encoding cannot be part of a token (a lone surrogate)."""
    encoding = next((name for mark, name in _BOMS if body.startswith(mark)), "") or _without_mark(body)
    try:
        errors = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
        return codecs.getincrementaldecoder(encoding)(errors).decode(body).removeprefix("\ufeff")
    except UnicodeDecodeError:
        return ""


def _without_mark(body: bytes) -> str:
    """Tell the encoding by the zeros among the first bytes: JSON begins with ASCII."""
    return _ZEROS.get("".join("x" if byte else "0" for byte in body[:4]), "utf-8")


def documents(text: str) -> Documents:
    """Find the JSON in a text: all of it, or objects behind notices and prefixes, and before anything else."""
    try:
        return Documents([_DECODER.decode(text)])
    except (ValueError, RecursionError):
        pass  # The error would drag the content along.
    found = Documents()
    effort = _EFFORT
    goes_on = False
    first = len(text) - len(text.lstrip())
    position = first if text[first : first + 1] == "[" else text.find("{")
    while 0 <= position < len(text) and effort > 0:
        try:
            value, end = _DECODER.raw_decode(text, position)
            found.whole.append(value)
            goes_on = False
        except (ValueError, RecursionError) as error:
            if isinstance(error, RecursionError):
                effort -= _TOO_DEEP
            # What is within it is no document of its own.
            part, end, goes_on = _part(text, position)
            if part is not None:
                found.parts.append(part)
            effort -= end - position
        effort -= end - position + _ATTEMPT
        position = text.find("{", end)
    return Documents(found.whole, found.parts, goes_on)


def is_whole(text: str) -> bool:
    """Tell whether a text ends with a JSON object or array with something in it."""
    if not text.rstrip().endswith(("}", "]")):
        return False
    found = documents(text)
    return not found.goes_on and any(isinstance(one, dict | list) and one for one in found.whole)


def holds_whole(text: str) -> bool:
    """Tell whether there is a JSON object or array with something in it in a text, whatever stands around it."""
    return any(isinstance(one, dict | list) and one for one in documents(text).whole)


def form(text: str, *, whole: bool = True) -> dict[str, str] | None:
    """Return the fields of content that is a form by its own syntax, None if it is none.

    Args:
        whole: False if its end may be missing; the last field is left out then.
    """
    text = text.strip()
    if not _FORM.fullmatch(text):
        return None
    if not whole:
        text = text.rpartition("&")[0]
    return dict(parse_qsl(text, errors="surrogateescape"))


@dataclass(slots=True)
class _Open:
    """An object or array that has not ended: what ends it, and the name or index of the value that is due."""

    closing: str
    name: str | None
    index: int = 0
    is_due: bool = False
    after_comma: bool = False


def _part(text: str, start: int) -> tuple[Part | None, int, bool]:
    """Read JSON that breaks off; return what it holds, where it ends, and whether the text ends within it."""
    stack: list[_Open] = []
    position, kept = start, (start, "")
    for _ in range(_MOST_PIECES):
        piece = _PIECE.match(text, position)
        if piece is None or len(stack) > _DEEPEST:
            break
        string, mark = piece[1], piece[2]
        if not stack and not (position == start and mark in ("{", "[")):
            break
        inner = stack[-1] if stack else None
        if mark in ("{", "["):
            if inner is not None and not inner.is_due:
                break
            array = mark == "["
            stack.append(_Open(_CLOSING[mark], "0" if array else None, is_due=array))
            position = piece.end()
            continue
        assert inner is not None
        if mark == ":":
            inner.is_due = inner.closing == "}" and inner.name is not None
        elif mark == ",":
            inner.index += 1
            array = inner.closing == "]"
            inner.name, inner.is_due, inner.after_comma = (str(inner.index) if array else None), array, True
        elif mark is not None:  # what closes
            if mark != inner.closing or inner.after_comma:
                break
            stack.pop()
        elif inner.is_due and not _BEHIND.match(text, piece.end()):
            break  # A quote within a string that was not escaped, perhaps.
        elif not inner.is_due:
            if string is None:
                break
            inner.name = _name(string)
            position = piece.end()
            continue
        position = piece.end()
        if mark in (":", ","):
            continue
        if stack:
            stack[-1].name, stack[-1].is_due, stack[-1].after_comma = None, False, False
        kept = (position, "".join(one.closing for one in reversed(stack)))
        if not stack:
            break
    goes_on = bool(stack) and piece is None and _REST.match(text, position) is not None
    path: list[str] = []
    for one in stack:
        if one.name is None:
            path = []
            break
        path.append(one.name)
    end, closing = kept
    if end == start:
        return (Part({}, tuple(path)) if path else None), max(position, start + 1), goes_on
    try:
        return Part(_DECODER.decode(text[start:end] + closing), tuple(path)), max(position, start + 1), goes_on
    except (ValueError, RecursionError):
        return None, max(position, start + 1), goes_on


def _name(string: str) -> str | None:
    try:
        return str(_DECODER.decode(string))
    except ValueError:
        return None
