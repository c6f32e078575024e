"""Where a request's content ends in the bytes that come (RFC 9112 sections 6 and 7.1). Pure.

The parser judges the content; these only say which bytes to give it, so that what follows is taken on its own. Where
the framing is broken they give it everything, and it refuses.
"""

from __future__ import annotations

import re
from typing import Final

_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}")
#: A line that says how long a chunk is, and nothing else, is no longer: the digits, and CR.
_LONGEST: Final = 17


class Counted:
    """Content of a known length.

    Attributes:
        done: all of it has come.
        overhead: bytes around it that nobody needs; of this there are none.
    """

    __slots__ = ("_left", "done")
    overhead: Final = 0

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def end(self, data: bytes, start: int) -> int:
        """Return where the content ends in `data[start:]`, or the end of `data`."""
        end = min(len(data), start + self._left)
        self._left -= end - start
        self.done = self._left == 0
        return end


class Chunked:
    """Content in the chunked coding.

    Attributes:
        done: all of it has come, trailers included.
        overhead: bytes around it that nobody needs, chunk extensions and trailers, less those of content.
    """

    __slots__ = ("_left", "_length", "_line", "_trailers", "done", "overhead")

    def __init__(self) -> None:
        self._left = 0  # of a chunk, with the line end after it
        self._line = b""  # what has come of a line, as far as it matters
        self._length = 0  # how much that was
        self._trailers = False
        self.done = False
        self.overhead = 0

    def end(self, data: bytes, start: int) -> int:
        """Return where the content ends in `data[start:]`, or the end of `data`."""
        while start < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - start)
                self._left -= step
                self.overhead -= step
                start += step
                continue
            found = data.find(b"\n", start)
            rest = data[start : found if found >= 0 else len(data)]
            surplus = len(rest) if self._trailers else self._length + len(rest) - _LONGEST
            self.overhead += max(0, min(len(rest), surplus))
            line = (self._line + rest)[:_LONGEST]  # longer ones are extensions or trailers
            if found < 0:
                self._line = line
                self._length += len(rest)
                return len(data)
            self._line = b""
            self._length = 0
            start = found + 1
            if self._trailers:
                self.done = line == b"\r"
                continue
            size = _SIZE.match(line)
            if size is None:
                return len(data)  # broken: the parser will say so
            self._left = int(size[0], 16) + 2
            if self._left == 2:
                self._left = 0
                self._trailers = True
        return start
