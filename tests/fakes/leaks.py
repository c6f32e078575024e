"""Looks for canaries, however they are written."""

from __future__ import annotations

import base64
import stat
from pathlib import Path
from urllib.parse import unquote_to_bytes

from tests.fakes.authorization import CANARY

_PLAIN = CANARY.encode()
#: What of base64 does not depend on what stands before and behind, at each of the three offsets.
_IN_BASE64 = [
    base64.b64encode(bytes(offset) + _PLAIN)[-(-8 * offset // 6) : (offset + len(_PLAIN)) * 8 // 6]
    for offset in range(3)
]
_SPELT = {
    "plain": _PLAIN,
    "reversed": _PLAIN[::-1],
    "hex": _PLAIN.hex().encode(),
    "UTF-16": CANARY.encode("utf-16-le"),
    "escaped": b"".join(rb"\x%02x" % byte for byte in _PLAIN),
    "escaped as in JSON": b"".join(rb"\u%04x" % byte for byte in _PLAIN),
    **{f"base64 at offset {offset}": spelt for offset, spelt in enumerate(_IN_BASE64)},
}


def leaks(data: bytes | str) -> list[str]:
    """Return how canaries are spelt in what should hold none; nothing where it holds none."""
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    found = [name for name, spelt in _SPELT.items() if spelt.lower() in raw.lower()]
    return found or (["percent-encoded"] if b"%" in raw and _PLAIN in unquote_to_bytes(raw) else [])


def files_with_canaries(directory: Path) -> dict[Path, str]:
    """Return the files below a directory that hold canaries, each with its permissions."""
    return {
        path: f"{stat.S_IMODE(path.stat().st_mode):04o}"
        for path in directory.rglob("*")
        if path.is_file() and leaks(path.read_bytes())
    }
