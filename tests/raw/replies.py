"""Answers of a hostile upstream, as plain data. RFC 9112 says what may become of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

#: Bounds of an upstream's header section, as the README has them.
HEAD_BYTES: Final = 256 << 10
HEAD_FIELDS: Final = 512

Asked = Literal["GET", "HEAD", "websocket"]


@dataclass(frozen=True)
class Reply:
    """What an upstream sends instead of an answer.

    Attributes:
        asked: what the client asks for.
        codes: the proxy's own answer has one of these.
        cut: the client may also get the beginning of an answer that never becomes whole.
        served: the answer is good up to its end, and the client gets it with this content; what follows is not.
        ends: the upstream closes afterwards.
        again: sent again and again, until the proxy closes.
    """

    name: str
    data: bytes
    asked: Asked = "GET"
    codes: frozenset[str] = frozenset({"upstream_malformed"})
    cut: bool = False
    served: bytes | None = None
    ends: bool = False
    again: bytes = b""


REPLIES: list[Reply] = []

_OK: Final = b"HTTP/1.1 200 OK\r\n"
#: An answer to nobody: no client must ever see it.
EVIL: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
_NONE: Final = frozenset[str]()
_BROKEN: Final = frozenset({"upstream_unreachable"})


def _malformed(name: str, data: bytes, *, asked: Asked = "GET", again: bytes = b"") -> None:
    REPLIES.append(Reply(name, data, asked, again=again))


def _head(*lines: bytes, content: bytes = b"hello") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", content))


def _status(line: bytes) -> bytes:
    return line + b"\r\nContent-Length: 5\r\n\r\nhello"


# -- two ways to frame (RFC 9112 section 6.3) ------------------------------------------------------------------------

_CL, _TE, _CHUNKS = b"Content-Length: 5", b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"
_malformed("length-then-coding", _head(_CL, _TE, content=_CHUNKS))
_malformed("coding-then-length", _head(_TE, _CL, content=_CHUNKS))
_malformed("length-twice-the-same", _head(_CL, _CL))
_malformed("length-twice-different", _head(_CL, b"Content-Length: 6"))
_malformed("length-list-the-same", _head(b"Content-Length: 5, 5"))
_malformed("length-list-different", _head(b"Content-Length: 5, 6"))
for _name, _value in {
    "plus": b"+5",
    "minus": b"-1",
    "hexadecimal": b"0x5",
    "underscore": b"1_0",
    "arabic-digits": "٥".encode(),
    "empty": b"",
    "space-inside": b"1 0",
    "fraction": b"5.0",
    "2**64": b"18446744073709551616",
    "10**40": b"1" + b"0" * 40,
    "10**5000": b"1" + b"0" * 5000,
    "nul-after": b"5\x00",
    "vertical-tab-before": b"\x0b5",
}.items():
    _malformed(f"length-{_name}", _head(b"Content-Length: " + _value))
for _name, _value in {
    "gzip": b"gzip",
    "gzip-chunked": b"gzip, chunked",
    "chunked-identity": b"chunked, identity",
    "chunked-chunked": b"chunked, chunked",
    "identity": b"identity",
    "xchunked": b"xchunked",
    "parameter": b"chunked;q=1",
    "quoted": b'"chunked"',
    "empty": b"",
    "vertical-tab-before": b"\x0bchunked",
    "kelvin-sign": "chun\u212aed".encode(),
}.items():
    _malformed(f"coding-{_name}", _head(b"Transfer-Encoding: " + _value, content=_CHUNKS))
_malformed("coding-twice", _head(_TE, _TE, content=_CHUNKS))
_malformed("coding-twice-gzip-first", _head(b"Transfer-Encoding: gzip", _TE, content=_CHUNKS))
_malformed("coding-on-http-1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKS)
_malformed("coding-space-before-colon", _head(b"Transfer-Encoding : chunked", content=_CHUNKS))
_malformed("length-space-before-colon", _head(b"Content-Length : 5"))

# -- lines, names and values (RFC 9112 section 2.2, 5) ---------------------------------------------------------------

_malformed("fold", _head(b"X: a\r\n b", _CL))
_malformed("fold-by-tab", _head(b"X: a\r\n\tb", _CL))
_malformed("fold-in-coding", _head(b"Transfer-Encoding:\r\n chunked", content=_CHUNKS))
_malformed("fold-before-the-first-field", _head(b" X: a", _CL))
_malformed("lf-for-every-line-end", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello")
_malformed("lf-after-the-status-line", b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello")
_malformed("lf-after-a-field", _head(b"X: y\nContent-Length: 5"))
_malformed("lf-at-the-end-of-the-head", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello")
_malformed("cr-in-a-value", _head(b"X: a\rb", _CL))
_malformed("cr-in-a-value-making-a-field", _head(b"X: a\rSet-Cookie: evil=1", _CL))
_malformed("cr-after-the-status-line", b"HTTP/1.1 200 OK\rX: y\r\nContent-Length: 5\r\n\r\nhello")
_malformed("cr-in-the-reason", _status(b"HTTP/1.1 200 O\rK"))
_malformed("lf-in-the-reason", _status(b"HTTP/1.1 200 O\nK"))
for _byte in [0x00, 0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F]:
    _control = bytes([_byte])
    _malformed(f"value-with-{_byte:#04x}", _head(b"X: a" + _control + b"b", _CL))
    _malformed(f"name-with-{_byte:#04x}", _head(b"X" + _control + b"Y: z", _CL))
    _malformed(f"reason-with-{_byte:#04x}", _status(b"HTTP/1.1 200 O" + _control + b"K"))
_malformed("space-before-colon", _head(b"X : y", _CL))
_malformed("space-in-a-name", _head(b"X Y: z", _CL))
_malformed("at-sign-in-a-name", _head(b"X@Y: z", _CL))
_malformed("name-in-latin-1", _head(b"Na\xefve: z", _CL))
_malformed("empty-name", _head(b": y", _CL))
_malformed("no-colon", _head(b"X-Nothing", _CL))

# -- status lines (RFC 9112 section 4) -------------------------------------------------------------------------------

for _name, _line in {
    "no-status": b"HTTP/1.1 OK",
    "empty-status": b"HTTP/1.1  OK",
    "status-000": b"HTTP/1.1 000 Nothing",
    "status-0": b"HTTP/1.1 0 Nothing",
    "status-99": b"HTTP/1.1 99 Few",
    "status-099": b"HTTP/1.1 099 Few",
    "status-20": b"HTTP/1.1 20 Few",
    "status-1000": b"HTTP/1.1 1000 Many",
    "status-2000": b"HTTP/1.1 2000 Many",
    "status-minus": b"HTTP/1.1 -200 OK",
    "status-plus": b"HTTP/1.1 +200 OK",
    "status-hexadecimal": b"HTTP/1.1 0x200 OK",
    "status-letters": b"HTTP/1.1 2OO OK",
    "status-arabic": "HTTP/1.1 ٢٠٠ OK".encode(),
    "status-no-space-behind": b"HTTP/1.1 200OK",
    "two-spaces-before-status": b"HTTP/1.1  200 OK",
    "tab-before-status": b"HTTP/1.1\t200 OK",
    "space-before": b" HTTP/1.1 200 OK",
    "lower-case": b"http/1.1 200 OK",
    "version-0.9": b"HTTP/0.9 200 OK",
    "version-2.0": b"HTTP/2.0 200 OK",
    "version-2": b"HTTP/2 200 OK",
    "version-3.0": b"HTTP/3.0 200 OK",
    "version-01.1": b"HTTP/01.1 200 OK",
    "version-1.10": b"HTTP/1.10 200 OK",
    "no-version": b"HTTP 200 OK",
    "rtsp": b"RTSP/1.0 200 OK",
    "icecast": b"ICY 200 OK",
    "ssh": b"SSH-2.0-OpenSSH_9.7",
    "a-request": b"GET / HTTP/1.1",
}.items():
    _malformed(f"line-{_name}", _status(_line))
_malformed("page-without-a-head", b"<html><h1>It works!</h1></html>\r\n\r\n")
_malformed("http-2-settings", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04\x00\x01\x00\x00")
_malformed("tls-alert", b"\x15\x03\x01\x00\x02\x02\x46")
_malformed("nul-bytes", bytes(64))

# -- floods ----------------------------------------------------------------------------------------------------------

_malformed("too-many-fields", _head(*(b"X-%d: y" % number for number in range(HEAD_FIELDS + 1)), _CL))
_malformed("fields-too-long-together", _head(*[b"X: " + b"y" * (HEAD_BYTES // 100)] * 300, _CL))
_malformed("fields-that-never-end", _OK, again=b"X: y\r\n" * 100)
_malformed("value-that-never-ends", _OK + b"X: ", again=b"y" * 10_000)
_malformed("name-that-never-ends", _OK, again=b"X" * 10_000)
_malformed("reason-that-never-ends", b"HTTP/1.1 200 ", again=b"O" * 10_000)
_malformed("spaces-that-never-end", _OK + b"X:", again=b" " * 10_000)
_malformed("empty-lines-that-never-end", b"\r\n", again=b"\r\n" * 1000)
_malformed("continue-for-ever", b"", again=b"HTTP/1.1 100 Continue\r\n\r\n" * 10)
_malformed("early-hints-for-ever", b"", again=b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 10)
_malformed("processing-for-ever", b"", again=b"HTTP/1.1 102 Processing\r\n\r\n")
_malformed("interim-with-control", b"HTTP/1.1 103 Early\x01Hints\r\n\r\n" + _head(_CL))
_malformed("interim-with-fold", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n b\r\n\r\n" + _head(_CL))
_malformed("interim-with-control-in-a-value", b"HTTP/1.1 103 Early Hints\r\nLink: a\x01b\r\n\r\n" + _head(_CL))
_malformed("interim-too-many-fields", b"HTTP/1.1 103 E\r\n" + b"X: y\r\n" * (HEAD_FIELDS + 1) + b"\r\n" + _head(_CL))

# -- switching protocols (RFC 9110 section 7.8, 15.2.2) --------------------------------------------------------------

_SWITCH: Final = b"HTTP/1.1 101 Switching Protocols\r\n"
_UPGRADE: Final = b"Connection: Upgrade\r\nUpgrade: "
_malformed("switch-unasked", _SWITCH + _UPGRADE + b"websocket\r\n\r\n")
_malformed("switch-unasked-to-h2c", _SWITCH + _UPGRADE + b"h2c\r\n\r\n")
_malformed("switch-unasked-to-nothing", _SWITCH + b"\r\n")
_malformed("switch-unasked-then-an-answer", _SWITCH + _UPGRADE + b"websocket\r\n\r\n" + EVIL)
_malformed("switch-unasked-to-head", _SWITCH + _UPGRADE + b"websocket\r\n\r\n", asked="HEAD")
_malformed("switch-to-another-protocol", _SWITCH + _UPGRADE + b"h2c\r\n\r\n", asked="websocket")
_malformed("switch-to-nothing", _SWITCH + b"\r\n", asked="websocket")
_malformed("switch-to-two-protocols", _SWITCH + _UPGRADE + b"websocket, h2c\r\n\r\n", asked="websocket")
_malformed("switch-by-two-fields", _SWITCH + _UPGRADE + b"websocket\r\nUpgrade: h2c\r\n\r\n", asked="websocket")
_malformed("switch-with-control", _SWITCH + _UPGRADE + b"websocket\r\nX: a\x01b\r\n\r\n", asked="websocket")
_malformed(
    "switch-with-control-in-its-reason", b"HTTP/1.1 101 \x01\r\n" + _UPGRADE + b"websocket\r\n\r\n", asked="websocket"
)
_malformed("upgrade-in-an-answer-that-is-no-switch", b"HTTP/1.1 200 \x01\r\n" + _UPGRADE + b"h2c\r\n\r\n")


# -- good up to its end; what follows belongs to nobody (RFC 9112 section 6.3, 9.2) ----------------------------------


def _followed(name: str, data: bytes, content: bytes = b"hello", asked: Asked = "GET") -> None:
    REPLIES.append(Reply(name, data, asked, _NONE, served=content))


_CHUNKED: Final = _head(_TE, content=_CHUNKS)
_followed("an-answer-after-the-end", _head(_CL) + EVIL)
_followed("an-answer-after-the-last-chunk", _CHUNKED + EVIL)
_followed("garbage-after-the-end", _head(_CL) + b"\x00\x01\x02")
_followed("garbage-after-the-last-chunk", _CHUNKED + b"garbage")
_followed("more-content-than-its-length", _head(_CL, content=b"hello world"))
_followed("an-answer-after-no-content", _head(b"Content-Length: 0", content=b"") + EVIL, b"")
_followed("an-interim-answer-after-the-end", _head(_CL) + b"HTTP/1.1 103 Early Hints\r\n\r\n")
_followed("two-answers-after-the-end", _head(_CL) + EVIL + EVIL)
_followed("content-in-204", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", b"")
_followed("chunks-in-204", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKS, b"")
_followed("an-answer-after-204", b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL, b"")
_followed("content-in-304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", b"")
_followed("an-answer-after-304", b"HTTP/1.1 304 Not Modified\r\n\r\n" + EVIL, b"")
_followed("content-to-head", _head(_CL), b"", "HEAD")
_followed("chunks-to-head", _CHUNKED, b"", "HEAD")
_followed("an-answer-after-one-to-head", _head(_CL, content=b"") + EVIL, b"", "HEAD")


# -- chunks, when the head may have been passed on (RFC 9112 section 7.1) --------------------------------------------


def _broken(name: str, content: bytes, *, again: bytes = b"") -> None:
    REPLIES.append(Reply(name, _head(_TE, content=content), cut=True, again=again))


for _name, _size in {
    "plus": b"+5",
    "minus": b"-5",
    "hexadecimal": b"0x5",
    "underscore": b"0_5",
    "space-before": b" 5",
    "space-after": b"5 ",
    "empty": b"",
    "letters": b"five",
    "nul-after": b"5\x00",
    "2**64": b"10000000000000000",
    "2**64+5": b"10000000000000005",
    "100-digits": b"f" * 100,
}.items():
    _broken(f"chunk-size-{_name}", _size + b"\r\nhello\r\n0\r\n\r\n")
_broken("chunk-longer-than-its-size", b"5\r\nhello!\r\n0\r\n\r\n")
_broken("chunk-shorter-than-its-size", b"6\r\nhello\r\n0\r\n\r\n")
_broken("chunk-without-its-end", b"5\r\nhello0\r\n\r\n")
_broken("chunk-ending-in-lf", b"5\r\nhello\n0\r\n\r\n")
_broken("chunk-size-ending-in-lf", b"5\nhello\r\n0\r\n\r\n")
_broken("last-chunk-ending-in-lf", b"5\r\nhello\r\n0\n\r\n")
_broken("body-ending-in-lf", b"5\r\nhello\r\n0\r\n\n")
_broken("extension-with-lf", b"5;a\nb\r\nhello\r\n0\r\n\r\n")
_broken("extension-with-nul", b"5;a\x00b\r\nhello\r\n0\r\n\r\n")
_broken("extension-that-never-ends", b"5;", again=b"a" * 10_000)
_broken("chunk-size-of-zeros-that-never-ends", b"0", again=b"0" * 10_000)
_broken("trailer-folded", b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n")
_broken("trailer-without-colon", b"5\r\nhello\r\n0\r\nX-Nothing\r\n\r\n")
_broken("trailer-with-nul", b"5\r\nhello\r\n0\r\nX: y\x00\r\n\r\n")
_broken("trailers-that-never-end", b"5\r\nhello\r\n0\r\n", again=b"X: y\r\n" * 100)
_broken("trailer-that-never-ends", b"5\r\nhello\r\n0\r\nX: ", again=b"y" * 10_000)
_broken("an-answer-instead-of-the-last-chunk", b"5\r\nhello\r\n" + EVIL)

# -- broken off (RFC 9112 section 8) ---------------------------------------------------------------------------------

for _name, _data, _cut in [
    ("nothing", b"", False),
    ("half-a-status-line", b"HTTP/1.1 20", False),
    ("half-a-head", b"HTTP/1.1 200 OK\r\nContent-Len", False),
    ("a-head-without-its-end", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r", False),
    ("interim-only", b"HTTP/1.1 103 Early Hints\r\n\r\n", False),
    ("half-the-content", _head(b"Content-Length: 10"), True),
    ("no-content", _head(b"Content-Length: 10", content=b""), True),
    ("half-a-chunk", _head(_TE, content=b"a\r\nhello"), True),
    ("no-last-chunk", _head(_TE, content=b"5\r\nhello\r\n"), True),
    ("half-the-last-chunk", _head(_TE, content=b"5\r\nhello\r\n0\r\n"), True),
    ("half-a-trailer", _head(_TE, content=b"5\r\nhello\r\n0\r\nX: "), True),
]:
    REPLIES.append(Reply(f"broken-off-{_name}", _data, codes=_BROKEN, cut=_cut, ends=True))
