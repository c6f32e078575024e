"""One answer of a token endpoint as it comes: what httptools' parser says of it, and the bytes if it gives up. No I/O.

Nothing but the answer comes on its connection, so that it may be read as leniently as it was made: no byte of it could
be taken for another answer.
"""

from __future__ import annotations

from typing import Final

import httptools

from reauth_proxy.issuers import framing
from reauth_proxy.issuers.receiving import LONGEST_ANSWER

#: Bounds of a head in bytes: one line, and all of it with the interim responses before it.
LONGEST_LINE: Final = 64 * 1024
LONGEST_HEAD: Final = 256 * 1024
#: What is kept of content with everything that its framing adds.
_MOST_BYTES: Final = 8 * LONGEST_ANSWER
_START: Final = b"HTTP/"


class _Head:
    """What the parser says of one head and the content behind it; the methods are httptools' callbacks."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.read = False
        self.complete = False
        self.content = bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.read:
            self.fields.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self.read = True

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.content += data

    def on_message_complete(self) -> None:
        self.complete = True


class Message:
    """The answer to one request.

    Attributes:
        status, fields: of the final response, once `head_done`. Names are in lower case.
        mistaken: there are mistakes in the head; `faulty`: there or in the framing, so that no end can be told.
        nonsense: this is no HTTP, or its head is too long.
        complete: the content is all that its framing says; `beyond`: there is more.
    """

    def __init__(self) -> None:
        self.status = 0
        self.fields: dict[str, str] = {}
        self.head_done = self.mistaken = self.faulty = self.nonsense = self.complete = self.beyond = False
        self._before = bytearray()  # the head
        self._begun = 0  # where its last line begins, as far as it has come
        self._earlier = 0  # bytes before this head
        self._behind = bytearray()
        self._head = _Head()
        self._parser: httptools.HttpResponseParser | None = None

    @property
    def size(self) -> int:
        """How much has come behind the head."""
        return len(self._behind)

    @property
    def too_long(self) -> bool:
        """Tell whether this is longer than any answer that is read."""
        content = self._head.content if self._by_chunks and not self.faulty else self._behind
        return len(content) > LONGEST_ANSWER or len(self._behind) > _MOST_BYTES

    @property
    def until_close(self) -> bool:
        """Tell whether the content ends with the connection (RFC 9112 section 6.3)."""
        by_length = "content-length" in self.fields and "transfer-encoding" not in self.fields
        return self.head_done and not (self.faulty or self._by_chunks or by_length)

    @property
    def _by_chunks(self) -> bool:
        # As the parser takes it: the coding that was applied last.
        return self.fields.get("transfer-encoding", "").rpartition(",")[2].strip().lower() == "chunked"

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        if self.nonsense:
            return
        if self.head_done:
            self._take(data)
            return
        self._before += data
        while not (self.head_done or self.nonsense):
            if self._begun == 0:
                while self._before.startswith((b"\r", b"\n")):  # RFC 9112 section 2.2
                    del self._before[:1]
                    self._earlier += 1
            end = framing.end_of_head(self._before, max(0, self._begun - 2))
            if end < 0:
                self._begun = self._before.rfind(b"\n") + 1
                self._judge_beginning()
                return
            head = bytes(self._before[:end])
            del self._before[:end]
            self._begun = 0
            self._judge_head(head)
        if self.head_done:
            self._take(bytes(self._before))
            self._before.clear()

    def end(self) -> None:
        """Note that nothing more comes: of a head without its end, there may be JSON right behind the fields."""
        if not self.head_done and not self.nonsense:
            found = framing.head(bytes(self._before))
            if found is not None and found[2]:
                self._mistake(bytes(self._before))

    def readings(self) -> tuple[bytes, ...]:
        """Return what the content may be, as it was sent, likeliest first; the last is what else it is taken for."""
        plain, raw, content = framing.unchunked(bytes(self._behind)), bytes(self._behind), bytes(self._head.content)
        if not self._by_chunks or (self.faulty and self.complete):
            return raw, plain, raw
        if self.faulty:
            return plain, raw, plain
        if self.complete:
            return (content, plain) if self.beyond else (content,)
        return plain, content

    def _judge_beginning(self) -> None:
        start, last = self._before[: len(_START)], len(self._before) - self._begun
        too_long = last > LONGEST_LINE or self._earlier + len(self._before) > LONGEST_HEAD
        self.nonsense = too_long or not _START.startswith(start)

    def _judge_head(self, head: bytes) -> None:
        self._earlier += len(head)
        if self._earlier > LONGEST_HEAD or any(len(line) > LONGEST_LINE for line in head.split(b"\n")):
            self.nonsense = True
            return
        said = self._head = _Head()
        parser = httptools.HttpResponseParser(said)
        # As aiohttp reads answers, and more.
        parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_chunked_length=True,
            lenient_version=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            said.complete = True  # nobody asked for another protocol
        except httptools.HttpParserError:
            said.read = False
        if not said.read or not head.startswith(_START):
            self._mistake(head)
            return
        status = parser.get_status_code()
        if status < 200 and status != 101:
            return
        self.status, self.fields, self._parser = status, said.fields, parser
        self.head_done, self.complete = True, said.complete

    def _mistake(self, head: bytes) -> None:
        found = framing.head(head)
        if found is None:
            self.nonsense = True
            return
        self.status, self.fields, content = found
        self.head_done = self.mistaken = self.faulty = True
        self._take(content)

    def _take(self, data: bytes) -> None:
        if not data:
            return
        self._behind += data
        if self.complete:
            self.beyond = self.beyond or not data.isspace()
            return
        if not self.faulty:
            assert self._parser is not None
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                # After the end of a message, too, it has no use for more.
                self.faulty = not self._head.complete
                self.beyond = self._head.complete
            self.complete = self._head.complete
        if self.faulty:
            # Where a middlebox took the chunks away and left the field, the length is right.
            self.complete = self.fields.get("content-length") == str(self.size)
