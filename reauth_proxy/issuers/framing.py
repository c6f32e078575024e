"""What an answer holds whose framing is wrong: a head with mistakes, content among the sizes of chunks. Pure."""

from __future__ import annotations

import re
from typing import Final

_STATUS: Final = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+([1-9]\d\d)(?![0-9A-Za-z])")
_BLANK: Final = re.compile(rb"\r?\n\r?\n")
#: JSON where a field was due: the blank line before it is missing.
_JSON: Final = re.compile(rb"\n[ \t]*(?=[{\[])")
#: What stands before a chunk (RFC 9112 section 7.1). No size has more digits that could be meant.
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")
#: One and not several: the line behind a size is content, even if it is a piece of a token in hexadecimal digits.
_BETWEEN: Final = re.compile(rb"(?:\A|\r?\n)[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\r\n]*)?\r?\n")
_END: Final = re.compile(rb"(?:\r\n?|\n)(?:[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\r\n]*)?\r?)?\Z")


def end_of_head(data: bytes | bytearray, start: int) -> int:
    """Return where the content begins: behind the first blank line at or after `start`, or -1."""
    found = _BLANK.search(data, start)
    return found.end() if found else -1


def head(data: bytes) -> tuple[int, dict[str, str], bytes] | None:
    """Read a head with mistakes in it; return status, fields, and what of the content is in it. None if it is none.

    What is no field is left out. Names are in lower case, and the first of several fields of one name counts.
    """
    status = _STATUS.match(data)
    if status is None:
        return None
    content = _JSON.search(data)
    section = data if content is None else data[: content.start()]
    fields: dict[str, str] = {}
    for line in section.split(b"\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            fields.setdefault(name.strip().lower().decode("latin-1"), value.strip().decode("latin-1"))
    return int(status[1]), fields, b"" if content is None else data[content.end() :]


def unchunked(data: bytes) -> bytes:
    """Return content without the sizes of chunks among it: by the sizes as long as they are right, then by their form.

    A line of nothing but hexadecimal digits is taken for a size unless it is behind one; there is none in JSON with
    tokens. One at the end goes, too, even if it is not whole: it would look like the end of a number that broke off.
    """
    plain = bytearray()
    position = 0
    while size := _SIZE.match(data, position):
        end = size.end() + int(size[1], 16)
        behind = 2 if data[end : end + 2] == b"\r\n" else 1 if data[end : end + 1] == b"\n" else 0
        if end == size.end() or not behind or not (end + behind == len(data) or _SIZE.match(data, end + behind)):
            break
        plain += data[size.end() : end]
        position = end + behind
    rest = data[position:]
    return bytes(plain) + _END.sub(b"", _BETWEEN.sub(b"", rest)) if rest else bytes(plain)
