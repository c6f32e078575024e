"""The response that a connection is receiving (RFC 9112): what httptools' parser says of it, judged. No I/O.

What the parser lets through and a lenient peer could read two ways is refused here, by raising: the parser then fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import httptools

from reauth_proxy.http1.body import Body, Source
from reauth_proxy.http1.wire import Fields

#: Bounds of a header section: fields, and 1xx responses before the final one.
MAX_HEAD_FIELDS: Final = 512
MAX_INFORMATIONAL: Final = 32

_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

#: Lengths of the names that matter here.
_SIZES: Final = frozenset({len("Date"), len("Content-Length"), len("Transfer-Encoding")})

#: Takes status, reason and fields of an interim response as it comes (RFC 9110 section 15.2).
Interim = Callable[[int, bytes, Fields], None]


class ResponseMessage:
    """One response after the other; the methods are httptools' callbacks.

    Attributes:
        status, reason, fields: the final response's header section, once `head_done`.
        length: its Content-Length, or None; `bodiless`: it has no content whatever its fields say.
        body: its content.
        reusable: the connection may carry another exchange after this one.
        dated: it has a Date.
        continued: the upstream said 100 Continue.
        switched: it said 101, and from now on bytes are WebSocket's.
    """

    __slots__ = (
        "_asked_to_switch",
        "_counted",
        "_expect_none",
        "_framing",
        "_informational",
        "_interim",
        "_parser",
        "_trailers",
        "_until_close",
        "bodiless",
        "body",
        "continued",
        "dated",
        "fields",
        "head_done",
        "length",
        "reason",
        "reusable",
        "status",
        "switched",
    )

    def __init__(self, source: Source) -> None:
        self.body = Body(source)
        #: None: the next bytes need a new one.
        self._parser: httptools.HttpResponseParser | None = None
        self.switched = False

    def _expect(self, *, expect_none: bool, switch: bool, interim: Interim | None) -> None:
        """Make ready for the next response; `expect_none`: to a HEAD; `switch`: 101 is an answer."""
        self._interim = interim
        self.status = 0
        self.reason = b""
        self.fields: Fields = []
        self.length: int | None = None
        self.bodiless = False
        self.head_done = False
        self.body.begin()
        self.reusable = False
        self.continued = False
        self._expect_none = expect_none
        self._asked_to_switch = switch
        self._informational = 0
        self._trailers = 0
        self._framing = 0  # bytes since the last one of content
        self._until_close = self._counted = False
        self.dated = False

    @property
    def complete(self) -> bool:
        """Whether every byte of the message has been received."""
        return self.body.complete

    def on_message_begin(self) -> None:
        if self.complete:
            raise httptools.HttpParserError("a response that nobody asked for")
        self.fields = []
        self.reason = b""

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:
            # A trailer: never merged into the header section (RFC 9110 section 6.5.1), and dropped here.
            self._trailers += 1
            if self._trailers > MAX_HEAD_FIELDS:
                raise httptools.HttpParserError("too many trailers")
            return
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        if len(self.fields) > MAX_HEAD_FIELDS:
            raise httptools.HttpParserError("too many fields")
        version = parser.get_http_version()
        if version != "1.1" and version != "1.0":
            raise httptools.HttpParserError("neither HTTP/1.1 nor HTTP/1.0")
        status = parser.get_status_code()
        if status == 101 and self._asked_to_switch:
            self._on_switch()
            return
        if status < 200:
            self._on_informational(status)
            return
        if _CONTROLS.search(self.reason):
            raise httptools.HttpParserError("control characters in the reason phrase")
        self.status = status
        self.reusable = parser.should_keep_alive()
        coding: bytes | None = None
        for name, value in self.fields:
            if len(name) not in _SIZES:  # most of them, for the price of one look
                continue
            lower = name.lower()
            if lower == b"content-length":
                self.length = int(value)
            elif lower == b"date":
                self.dated = True
            elif lower == b"transfer-encoding":
                coding = value if coding is None else coding + b"," + value
        if self._expect_none or status in (204, 304):
            self.bodiless = True
            if status == 204 and self.length is not None:
                # RFC 9110 section 8.6: a 204 has no length; a client might wait for the content.
                self.fields = [field for field in self.fields if field[0].lower() != b"content-length"]
            if self._expect_none:
                # llhttp cannot know that it answers a HEAD and would wait for content: it gets a successor.
                self._parser = None
                self.body.finish()
        elif coding is not None:
            if coding.strip().lower() != b"chunked" or version == "1.0":  # RFC 9112 section 6.1
                raise httptools.HttpParserError("a transfer coding that there is not")
        else:
            self._until_close = self.length is None
            self._counted = not self._until_close  # from here on, a number says all
        self.head_done = True

    def _on_switch(self) -> None:
        upgrades = [value.lower() for name, value in self.fields if name.lower() == b"upgrade"]
        if upgrades != [b"websocket"] or _CONTROLS.search(self.reason):
            raise httptools.HttpParserError("a switch to another protocol than the one asked for")
        self.status = 101
        self.bodiless = True
        self.switched = self.head_done = True

    def _on_informational(self, status: int) -> None:
        self._informational += 1
        if status == 101 or self._informational > MAX_INFORMATIONAL:
            raise httptools.HttpParserError("an unwanted 1xx response")
        if status == 100:
            self.continued = True
        elif self._interim is not None:
            if status < 100 or _CONTROLS.search(self.reason):
                raise httptools.HttpParserError("not a status line")
            self._interim(status, self.reason, self.fields)

    def on_body(self, data: bytes) -> None:
        if self.complete:
            raise httptools.HttpParserError("content in the answer to a HEAD")
        self.body.feed(data)
        self._framing = 0

    def on_message_complete(self) -> None:
        if self.head_done and not self.switched:
            self.body.finish()
