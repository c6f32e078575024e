"""The requests that a connection is receiving (RFC 9112): what httptools' parser says of them, judged. No I/O.

The parser is given one header section, or content of one request, at a time: what comes behind a request can wait until
that is answered, and nothing that is wrong with it takes an earlier one with it.
"""

from __future__ import annotations

import re
from typing import Final

import httptools

from reauth_proxy.errors import BadRequest, FieldsTooLarge, Refusal, VersionNotSupported
from reauth_proxy.http1.body import Body
from reauth_proxy.http1.extent import Chunked, Counted
from reauth_proxy.http1.wire import Fields

_END: Final = b"\r\n\r\n"
#: RFC 9112 section 3, after empty lines (section 2.2); methods are those in capitals that a registry may have.
_VERSION: Final = re.compile(rb"(?:\r\n)*[A-Z][A-Z_-]{0,31} [\x21-\x7e\x80-\xff]+ HTTP/([0-9]\.[0-9])")
_REQUEST_LINE: Final = re.compile(_VERSION.pattern + rb"\r\n")
_SUPPORTED: Final = frozenset({b"1.0", b"1.1"})
_VERSIONS: Final = {b"%d.%d" % (major, minor): (major, minor) for major in range(10) for minor in range(10)}
#: Kept by a connection that waits.
_NONE: Final[Fields] = []
_BLANKS: Final = b" \t"
_NOT_VALID: Final = "This is not a valid HTTP/1.1 request."


class Request:
    """A request's header section, and its content.

    Attributes:
        target: as it came.
        version: major and minor.
        fields: as they came, without blanks around values.
        persistent: the connection may carry another request after this one (RFC 9112 section 9.3).
        upgrade: it asks for another protocol.
        chunked: its content comes in the chunked transfer coding.
    """

    __slots__ = ("body", "chunked", "fields", "method", "persistent", "target", "upgrade", "version")

    def __init__(self, method: str, target: bytes, version: tuple[int, int], fields: Fields, body: Body) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.body = body
        self.persistent = True
        self.upgrade = self.chunked = False

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of the fields of a name, which is given in lower case."""
        return [value for found, value in self.fields if found.lower() == name]

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.body!r}>"


class RequestReader:
    """Makes requests of bytes; the methods called `on_...` are httptools' callbacks.

    Args:
        body: of each request in turn.
        header_bytes: how long a header section may be, and how much longer than the content what is around it.
        header_fields: how many fields there may be.

    Attributes:
        head: what has come of a header section that is not whole yet, or was refused.
    """

    __slots__ = (
        "_body",
        "_content",
        "_fields",
        "_head_done",
        "_parser",
        "_persistent",
        "_target",
        "_trailers",
        "_upgrade",
        "_whole",
        "head",
        "header_bytes",
        "header_fields",
    )

    def __init__(self, body: Body, header_bytes: int, header_fields: int) -> None:
        self._body = body
        self.header_bytes = header_bytes
        self.header_fields = header_fields
        self.head = b""
        #: None: the next request needs a new one.
        self._parser: httptools.HttpRequestParser | None = None
        #: Where the content that comes now will end.
        self._content: Counted | Chunked | None = None
        self._target = b""
        self._fields: Fields = []
        self._trailers = 0
        self._head_done = self._persistent = self._upgrade = self._whole = False

    def take_head(self, data: bytes, start: int) -> tuple[int, Request | None]:
        """Take a header section, or a part of one.

        Returns:
            Where what follows begins in `data`; and the request, once its header section is whole.

        Raises:
            BadRequest, FieldsTooLarge, VersionNotSupported: it is refused.
        """
        end = self._end_of_head(data, start)
        part = data if end - start == len(data) else data[start:end]
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        if not self.head:
            self._begin()
        head = self.head = self.head + part if self.head else part
        try:
            parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            self._parser = None  # It takes what follows for another protocol.
        except httptools.HttpParserError:
            raise self._refused() from None
        if len(head) > self.header_bytes:
            raise self._too_long()
        if len(self._fields) > self.header_fields:
            raise FieldsTooLarge("There are more fields than `limits.header_fields` allows.")
        if not self._head_done:
            return end, None
        line = _REQUEST_LINE.match(head)
        if line is None:  # The parser takes two spaces for one, and RTSP for HTTP.
            raise BadRequest("The request line is not valid.")
        if b" \r\n" in head or b"\t\r\n" in head:  # The parser leaves blanks behind values.
            self._fields = [(name, value.rstrip(_BLANKS)) for name, value in self._fields]
        request = self._request(parser, _VERSIONS[line[1]])
        self.head = b""
        return end, request

    def _begin(self) -> None:
        self._target = b""
        self._fields = []
        self._head_done = self._whole = False
        self._trailers = 0
        self._body.begin()

    def _end_of_head(self, data: bytes, start: int) -> int:
        """Return where the header section ends, or all ends; its end may have begun in what came before."""
        if self.head and not start:
            before = self.head[-3:]
            found = (before + data).find(_END) + len(_END) - len(before)
            return found if found > 0 and found + len(before) > 3 else len(data)
        found = data.find(_END, start)
        return found + len(_END) if found >= 0 else len(data)

    def _request(self, parser: httptools.HttpRequestParser, version: tuple[int, int]) -> Request:
        request = Request(parser.get_method().decode(), self._target, version, self._fields, self._body)
        self._target, self._fields = b"", _NONE
        request.persistent, request.upgrade = self._persistent, self._upgrade
        if self._upgrade and request.method != "CONNECT":
            self._expect_content(request)
        if self._whole:
            self._body.finish()
        else:
            lengths = request.values(b"content-length")
            request.chunked = not lengths
            self._content = Counted(int(lengths[0])) if lengths else Chunked()
        return request

    def _expect_content(self, request: Request) -> None:
        """Have a new parser take the content of a request with Upgrade; httptools says that there is none.

        It has not judged the framing then, either.
        """
        framing = [field for field in request.fields if field[0].lower() in (b"content-length", b"transfer-encoding")]
        if framing:
            self._begin()
            self._parser = httptools.HttpRequestParser(self)
            lines = [b"%b: %b\r\n" % field for field in framing]
            try:
                self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: h\r\n%b\r\n" % b"".join(lines))
            except httptools.HttpParserError:
                raise BadRequest(_NOT_VALID) from None

    def take_content(self, data: bytes, start: int) -> int:
        """Take content of the newest request; return where what follows begins in `data`.

        Raises:
            BadRequest: its framing is not valid, or too much.
        """
        content = self._content
        assert content is not None, "there is content to come"
        assert self._parser is not None
        end = content.end(data, start)
        if content.overhead > self.header_bytes:
            raise BadRequest("There is too much framing around the content.")
        try:
            self._parser.feed_data(data if end - start == len(data) else data[start:end])
        except httptools.HttpParserUpgrade:
            self._parser = None
        except httptools.HttpParserError:
            raise BadRequest("The content's framing is not valid.") from None
        if content.done != self._whole:  # The parser reads the framing in another way, as of a trailer that ends in LF.
            raise BadRequest("The content's framing is not valid.")
        if content.done:
            self._content = None
            self._body.finish()
        return end

    def forget(self) -> None:
        """No more comes: end the cycle of references through the parser."""
        self._parser = None
        self.head = b""

    def _refused(self) -> Refusal:
        found = _VERSION.match(self.head)
        if found is not None and found[1] not in _SUPPORTED:
            return VersionNotSupported("Only HTTP/1.1 and HTTP/1.0 are supported.")
        return self._too_long() if len(self.head) > self.header_bytes else BadRequest(_NOT_VALID)

    def _too_long(self) -> FieldsTooLarge:
        return FieldsTooLarge(
            f"The header section is longer than the {self.header_bytes} bytes that `limits.header_bytes` allows."
        )

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:  # A trailer, which is dropped (RFC 9110 section 6.5.1).
            self._trailers += 1
            if self._trailers > self.header_fields:
                raise httptools.HttpParserError("too many trailers")
            return
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self._head_done = True
        self._persistent = self._parser.should_keep_alive()
        self._upgrade = self._parser.should_upgrade()

    def on_body(self, data: bytes) -> None:
        self._body.feed(data)

    def on_message_complete(self) -> None:
        self._whole = True
