"""Requests that no proxy may pass on as they are, as plain data. RFC 9110 and RFC 9112 say what is allowed.

Each is sent to ``localhost``. `REFUSED` are answered with a refusal and the end of the connection; `SANITISED` are
answered with 200, and the upstream sees them without what a client must not say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: limits.header_bytes and limits.header_fields as they are by default.
HEADER_BYTES: Final = 32 << 10
HEADER_FIELDS: Final = 128


@dataclass(frozen=True)
class Refused:
    """One hostile connection.

    Attributes:
        statuses: what its last answer may be.
        seen: how many requests the upstream sees, and how many answers with 200 come before the refusal.
        ends: the client ends its side after `data`; then the proxy may say nothing at all.
    """

    name: str
    data: bytes
    statuses: frozenset[int]
    seen: int = 0
    ends: bool = False


@dataclass(frozen=True)
class Sanitised:
    """One request that is answered with 200.

    Attributes:
        hidden: what must not be in the header section that the upstream sees; lower case.
        shown: what must be in it; as sent.
        content: what the upstream gets as content.
        refusable: it is valid, or nearly so, but one of the parsers has doubts: 400 is as good.
    """

    name: str
    data: bytes
    hidden: tuple[bytes, ...] = ()
    shown: tuple[bytes, ...] = ()
    content: bytes = b""
    refusable: bool = False


REFUSED: list[Refused] = []
SANITISED: list[Sanitised] = []


def _refused(name: str, data: bytes, *statuses: int, seen: int = 0, ends: bool = False) -> None:
    REFUSED.append(Refused(name, data, frozenset(statuses or (400,)), seen, ends))


def _get(*lines: bytes, target: bytes = b"/case", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join((b"GET " + target + b" " + version, b"Host: localhost", *lines, b"", b""))


def _post(*lines: bytes, content: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST /case HTTP/1.1", b"Host: localhost", *lines, b"", content))


def _line(line: bytes) -> bytes:
    return line + b"\r\nHost: localhost\r\n\r\n"


def _host(*values: bytes, target: bytes = b"/case") -> bytes:
    return b"\r\n".join((b"GET " + target + b" HTTP/1.1", *(b"Host: " + value for value in values), b"", b""))


def _chunked(content: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked", content=content)


GOOD: Final = b"GET /good HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: A request that hides in another's content; the upstream must never see it.
HIDDEN: Final = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"

# -- two ways to frame (RFC 9112 section 6.1, 6.3) -------------------------------------------------------------------

_CL, _TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"
_refused("length-then-coding", _post(_CL, _TE, content=b"0\r\n\r\n"))
_refused("coding-then-length", _post(_TE, _CL, content=b"0\r\n\r\n"))
_refused("coding-then-length-zero", _post(_TE, b"Content-Length: 0", content=b"0\r\n\r\n"))
_refused("length-and-coding-hiding-a-request", _post(b"Content-Length: 4", _TE, content=b"0\r\n\r\n" + HIDDEN))
_refused(
    "length-and-coding-in-other-cases", _post(b"content-LENGTH: 5", b"TRANSFER-encoding: cHuNkEd", content=b"0\r\n\r\n")
)
_refused("length-and-unknown-coding", _post(_CL, b"Transfer-Encoding: identity", content=b"hello"), 400, 501)

_refused("length-twice-the-same", _post(_CL, _CL, content=b"hello"))
_refused("length-twice-different", _post(_CL, b"Content-Length: 6", content=b"hello!"))
_refused("length-twice-zero-first", _post(b"Content-Length: 0", b"Content-Length: %d" % len(HIDDEN), content=HIDDEN))
_refused("length-twice-in-other-cases", _post(_CL, b"content-length: 5", content=b"hello"))
_refused("length-list-the-same", _post(b"Content-Length: 5, 5", content=b"hello"))
_refused("length-list-different", _post(b"Content-Length: 5, 6", content=b"hello!"))
_refused("length-list-empty-member", _post(b"Content-Length: 5,", content=b"hello"))
for _name, _value in {
    "plus": b"+5",
    "minus": b"-1",
    "minus-zero": b"-0",
    "hexadecimal": b"0x5",
    "bare-hexadecimal": b"a",
    "underscore": b"1_0",
    "arabic-digits": "٥".encode(),
    "full-width-digits": "５".encode(),
    "superscript": "²".encode(),
    "empty": b"",
    "blank": b"   ",
    "space-inside": b"1 0",
    "fraction": b"5.0",
    "exponent": b"5e0",
    "quoted": b'"5"',
    "parameter": b"5;x=1",
    "text": b"five",
    "nul-after": b"5\x00",
    "vertical-tab-before": b"\x0b5",
    "form-feed-after": b"5\x0c",
    "no-break-space": b"\xa05",
    "bytes-unit": b"5 bytes",
}.items():
    _refused(f"length-{_name}", _post(b"Content-Length: " + _value, content=b"hello"))
_refused("length-2**63", _post(b"Content-Length: 9223372036854775808", content=b"hello"), 400, 413)
_refused("length-2**64", _post(b"Content-Length: 18446744073709551616", content=b"hello"), 400, 413)
_refused("length-2**64+5", _post(b"Content-Length: 18446744073709551621", content=b"hello"), 400, 413)
_refused("length-10**40", _post(b"Content-Length: 1" + b"0" * 40, content=b"hello"), 400, 413)
_refused("length-10**5000", _post(b"Content-Length: 1" + b"0" * 5000, content=b"hello"), 400, 413)
_refused("length-beyond-the-limit", _post(b"Content-Length: 1073741825", content=b"hello"), 413)
_refused("length-on-a-get-broken-off", _get(b"Content-Length: 10") + b"hello", ends=True)
_refused("length-space-before-colon", _post(b"Content-Length : 5", content=b"hello"))
_refused("length-tab-before-colon", _post(b"Content-Length\t: 5", content=b"hello"))

# -- transfer codings (RFC 9112 section 6.1) -------------------------------------------------------------------------

for _name, _value, _statuses in [
    ("gzip-chunked", b"gzip, chunked", (501,)),
    ("gzip", b"gzip", (400, 501)),
    ("identity", b"identity", (400, 501)),
    ("chunked-chunked", b"chunked, chunked", (400, 501)),
    ("chunked-identity", b"chunked, identity", (400,)),
    ("chunked-gzip", b"chunked, gzip", (400,)),
    ("identity-chunked", b"identity, chunked", (400, 501)),
    ("xchunked", b"xchunked", (400, 501)),
    ("chunkedx", b"chunkedx", (400, 501)),
    ("chunked-with-space", b"chun ked", (400, 501)),
    ("parameter", b"chunked;q=1", (400, 501)),
    ("quoted", b'"chunked"', (400, 501)),
    ("single-quoted", b"'chunked'", (400, 501)),
    ("empty", b"", (400, 501)),
    ("empty-member-before", b", chunked", (400, 501)),
    ("empty-member-after", b"chunked,", (400, 501)),
    ("vertical-tab-before", b"\x0bchunked", (400,)),
    ("form-feed-before", b"\x0cchunked", (400,)),
    ("nul-after", b"chunked\x00", (400,)),
    ("delete-after", b"chunked\x7f", (400,)),
    ("no-break-space-before", b"\xa0chunked", (400, 501)),
    ("kelvin-sign", "chun\u212aed".encode(), (400, 501)),
    ("long-s", "\u017fhunked".encode(), (400, 501)),
    ("bare-cr-after", b"chunked\r", (400,)),
]:
    _refused(f"coding-{_name}", _post(b"Transfer-Encoding: " + _value, content=b"0\r\n\r\n"), *_statuses)
_refused("coding-twice-chunked", _post(_TE, _TE, content=b"0\r\n\r\n"))
_refused("coding-twice-gzip-first", _post(b"Transfer-Encoding: gzip", _TE, content=b"0\r\n\r\n"), 400, 501)
_refused("coding-twice-identity-last", _post(_TE, b"Transfer-Encoding: identity", content=b"0\r\n\r\n"))
_refused("coding-twice-in-other-cases", _post(_TE, b"transfer-encoding: chunked", content=b"0\r\n\r\n"))
_refused("coding-on-http-1.0", b"POST /case HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
_refused("coding-space-before-colon", _post(b"Transfer-Encoding : chunked", content=b"0\r\n\r\n"))
_refused("coding-tab-before-colon", _post(b"Transfer-Encoding\t: chunked", content=b"0\r\n\r\n"))
_refused("coding-space-before-name", _post(b" Transfer-Encoding: chunked", content=b"0\r\n\r\n"))
_refused("coding-behind-a-bare-lf", _post(b"X: y\nTransfer-Encoding: chunked", content=b"0\r\n\r\n"))
_refused("coding-behind-a-bare-cr", _post(b"X: y\rTransfer-Encoding: chunked", content=b"0\r\n\r\n"))
_refused("coding-with-a-nul-in-its-name", _post(b"Transfer-Encoding\x00: chunked", content=b"0\r\n\r\n"))

# -- line folding (RFC 9112 section 5.2) -----------------------------------------------------------------------------

_refused("fold-in-host", b"GET /case HTTP/1.1\r\nHost: local\r\n host\r\n\r\n")
_refused("fold-before-host-s-value", b"GET /case HTTP/1.1\r\nHost:\r\n localhost\r\n\r\n")
_refused("fold-in-coding", _post(b"Transfer-Encoding:\r\n chunked", content=b"0\r\n\r\n"))
_refused("fold-in-coding-by-tab", _post(b"Transfer-Encoding:\r\n\tchunked", content=b"0\r\n\r\n"))
_refused("fold-in-coding-list", _post(b"Transfer-Encoding: chunked\r\n , identity", content=b"0\r\n\r\n"))
_refused("fold-in-length", _post(b"Content-Length:\r\n 5", content=b"hello"))
_refused("fold-in-another-field", _get(b"X-Long: a\r\n b"))
_refused("fold-by-tab", _get(b"X-Long: a\r\n\tb"))
_refused("fold-of-nothing", _get(b"X-Long: a\r\n "))
_refused("fold-before-the-first-field", b"GET /case HTTP/1.1\r\n Host: localhost\r\n\r\n")
_refused("fold-by-tab-before-the-first-field", b"GET /case HTTP/1.1\r\n\tX: y\r\nHost: localhost\r\n\r\n")

# -- line ends (RFC 9112 section 2.2) --------------------------------------------------------------------------------

_refused("lf-for-every-line-end", b"GET /case HTTP/1.1\nHost: localhost\n\n")
_refused("lf-after-the-request-line", b"GET /case HTTP/1.1\nHost: localhost\r\n\r\n")
_refused("lf-after-a-field", b"GET /case HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n")
_refused("lf-at-the-end-of-the-head", b"GET /case HTTP/1.1\r\nHost: localhost\r\n\n")
_refused("lf-lf-at-the-end-of-the-head", b"GET /case HTTP/1.1\r\nHost: localhost\n\n")
_refused("lf-in-a-value", _get(b"X: a\nb"))
_refused("lf-in-a-value-making-a-field", _get(b"X: a\nContent-Length: 5"))
_refused("lf-cr-for-line-ends", b"GET /case HTTP/1.1\n\rHost: localhost\n\r\n\r" + HIDDEN)
_refused("cr-for-every-line-end", b"GET /case HTTP/1.1\rHost: localhost\r\r" + HIDDEN)
_refused("cr-after-the-request-line", b"GET /case HTTP/1.1\rHost: localhost\r\n\r\n")
_refused("cr-cr-lf-after-the-request-line", b"GET /case HTTP/1.1\r\r\nHost: localhost\r\n\r\n")
_refused("cr-in-a-value", _get(b"X: a\rb"))
_refused("cr-in-a-value-making-a-field", _get(b"X: a\rContent-Length: 5"))
_refused("cr-at-the-end-of-a-value", _get(b"X: a\r"))
_refused("cr-in-a-name", _get(b"X\rY: a"))
_refused("cr-at-the-end-of-the-head", b"GET /case HTTP/1.1\r\nHost: localhost\r\n\rX\r\n\r\n")
_refused("cr-before-the-request-line", b"\rGET /case HTTP/1.1\r\nHost: localhost\r\n\r\n")

# -- names and values (RFC 9110 section 5.1, 5.5; RFC 9112 section 5.1) ----------------------------------------------

_refused("space-before-colon", _get(b"X : y"))
_refused("tab-before-colon", _get(b"X\t: y"))
_refused("host-space-before-colon", b"GET /case HTTP/1.1\r\nHost : localhost\r\n\r\n")
_refused("space-in-a-name", _get(b"X Y: z"))
_refused("empty-name", _get(b": y"))
_refused("only-a-colon", _get(b":"))
_refused("no-colon", _get(b"X-Nothing"))
_refused("a-request-line-among-the-fields", _get(b"GET /hidden HTTP/1.1"))
for _character in b'"(),/;<=>?@[\\]{}':
    _refused(f"name-with-{chr(_character)}", _get(b"X" + bytes([_character]) + b"Y: z"))
_refused("name-in-utf-8", _get("Naïve: z".encode()))
_refused("name-in-latin-1", _get(b"Na\xefve: z"))
for _byte in [*range(0x20), 0x7F]:
    _control = bytes([_byte])
    if _control not in b"\t\r\n":
        _refused(f"value-with-{_byte:#04x}", _get(b"X: a" + _control + b"b"))
    if _control not in b"\r\n":
        _refused(f"name-with-{_byte:#04x}", _get(b"X" + _control + b"Y: z"))
        _refused(f"target-with-{_byte:#04x}", _line(b"GET /ca" + _control + b"se HTTP/1.1"))
_refused("value-of-one-nul", _get(b"X: \x00"))
_refused("value-ending-in-nul", _get(b"X: y\x00"))

# -- Host (RFC 9112 section 3.2, RFC 9110 section 7.2) ---------------------------------------------------------------

_refused("host-missing", b"GET /case HTTP/1.1\r\n\r\n")
_refused("host-missing-with-other-fields", b"GET /case HTTP/1.1\r\nX: y\r\n\r\n")
_refused("host-missing-in-absolute-form", b"GET http://localhost/case HTTP/1.1\r\n\r\n")
_refused("host-twice-the-same", _host(b"localhost", b"localhost"))
_refused("host-twice-different", _host(b"localhost", b"evil.example"))
_refused("host-twice-in-other-cases", b"GET /case HTTP/1.1\r\nHost: localhost\r\nhOST: localhost\r\n\r\n")
_refused("host-empty-in-absolute-form", _host(b"", target=b"http://localhost/case"), 400, 421)
for _name, _value in {
    "userinfo": b"user@localhost",
    "userinfo-and-password": b"user:secret@localhost",
    "empty-userinfo": b"@localhost",
    "port-of-letters": b"localhost:http",
    "port-of-hexadecimal": b"localhost:0x50",
    "port-with-plus": b"localhost:+80",
    "port-with-minus": b"localhost:-1",
    "port-too-big": b"localhost:65536",
    "port-much-too-big": b"localhost:4294967376",
    "port-twice": b"localhost:80:80",
    "port-in-arabic-digits": "localhost:٨٠".encode(),
    "space": b"local host",
    "tab": b"local\thost",
    "path": b"localhost/",
    "path-and-more": b"localhost/case?x",
    "query": b"localhost?x",
    "fragment": b"localhost#x",
    "backslash": b"localhost\\evil.example",
    "comma-and-another": b"localhost, evil.example",
    "scheme": b"http://localhost",
    "angle-brackets": b"<localhost>",
    "quotes": b'"localhost"',
    "bracket-open": b"[::1",
    "bracket-closed": b"::1]",
    "no-brackets": b"::1",
    "brackets-and-more": b"[::1]x",
    "zone": b"[fe80::1%eth0]",
    "percent-half": b"local%host",
    "control": b"local\x01host",
    "nul": b"localhost\x00",
    "delete": b"localhost\x7f",
    "utf-8": "löcalhost".encode(),
    "latin-1": b"l\xf6calhost",
}.items():
    _refused(f"host-{_name}", _host(_value))

# -- targets (RFC 9112 section 3.2) ----------------------------------------------------------------------------------

for _name, _target in {
    "at-sign": b"@evil.example",
    "at-sign-and-path": b"@evil.example/case",
    "authority": b"evil.example:80",
    "backslash": b"\\evil.example",
    "no-slash": b"case",
    "dot": b".",
    "query": b"?x=y",
    "percent": b"%2f",
    "fragment-only": b"#x",
    "fragment": b"/case#x",
    "fragment-after-query": b"/case?x#y",
    "asterisk-and-more": b"*/case",
    "http-one-slash": b"http:/case",
    "http-no-slash": b"http:localhost/case",
    "http-three-slashes": b"http:///case",
    "http-nothing": b"http://",
    "http-backslashes": b"http:\\\\localhost\\case",
    "http-userinfo": b"http://user@localhost/case",
    "http-empty-userinfo": b"http://@localhost/case",
    "http-bad-brackets": b"http://[::1/case",
    "http-fragment": b"http://localhost/case#x",
    "ftp": b"ftp://localhost/case",
    "file": b"file:///etc/passwd",
    "javascript": b"javascript:alert(1)",
    "data": b"data:,x",
    "unix": b"unix:/run/x.sock",
    "scheme-relative-to-nothing": b"://localhost/case",
}.items():
    _refused(f"target-{_name}", _line(b"GET " + _target + b" HTTP/1.1"))
_refused("target-asterisk-get", _line(b"GET * HTTP/1.1"))
_refused("target-asterisk-options", _line(b"OPTIONS * HTTP/1.1"))
for _name, _target in {
    "foreign": b"http://evil.example/case",
    "foreign-port": b"http://localhost:81/case",
    "foreign-userinfo": b"http://localhost@evil.example/case",
    "foreign-backslash": b"http://evil.example\\@localhost/case",
    "foreign-suffix": b"http://localhost.evil.example/case",
}.items():
    _refused(f"target-{_name}", _line(b"GET " + _target + b" HTTP/1.1"), 400, 421)
# RFC 9110 section 7.4: a resource of https must not be asked for without TLS.
_refused("target-https-without-tls", _line(b"GET https://localhost/case HTTP/1.1"), 400, 421)
_refused("target-with-a-space", _line(b"GET /ca se HTTP/1.1"))
_refused("target-with-a-version", _line(b"GET /hidden HTTP/1.1 HTTP/1.1"))
_refused("target-empty", _line(b"GET  HTTP/1.1"))

# -- request lines (RFC 9112 section 3) ------------------------------------------------------------------------------

_refused("method-empty", _line(b" /case HTTP/1.1"))
_refused("method-lower-case", _line(b"get /case HTTP/1.1"), 400, 501)
_refused("method-mixed-case", _line(b"Get /case HTTP/1.1"), 400, 501)
_refused("method-of-300-letters", _line(b"A" * 300 + b" /case HTTP/1.1"), 400, 501)
_refused("method-of-70000-letters", _line(b"A" * 70_000 + b" /case HTTP/1.1"), 400, 431, 501)
for _name, _method in {
    "at-sign": b"G@T",
    "parenthesis": b"G(ET",
    "comma": b"GET,",
    "braces": b"{GET}",
    "quotes": b'"GET"',
    "slash": b"G/ET",
    "colon": b"GET:",
    "nul": b"GET\x00",
    "escape": b"\x1bGET",
    "utf-8": "GÉT".encode(),
    "latin-1": b"G\xc9T",
    "byte-order-mark": b"\xef\xbb\xbfGET",
}.items():
    _refused(f"method-with-{_name}", _line(_method + b" /case HTTP/1.1"))
_refused("connect", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", 405)
_refused("connect-and-then-bytes", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n" + HIDDEN, 405)
_refused("connect-to-a-path", _line(b"CONNECT /case HTTP/1.1"), 400, 405)
_refused("connect-to-nothing", _line(b"CONNECT  HTTP/1.1"), 400, 405, 505)
_refused("trace", _line(b"TRACE /case HTTP/1.1"), 405)
_refused("trace-with-content", b"TRACE /case HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 400, 405)
_refused("two-spaces-before-the-target", _line(b"GET  /case HTTP/1.1"))
_refused("two-spaces-before-the-version", _line(b"GET /case  HTTP/1.1"))
_refused("tab-before-the-target", _line(b"GET\t/case HTTP/1.1"))
_refused("tab-before-the-version", _line(b"GET /case\tHTTP/1.1"))
_refused("space-before-the-method", _line(b" GET /case HTTP/1.1"))
_refused("space-after-the-version", _line(b"GET /case HTTP/1.1 "))
_refused("tab-after-the-version", _line(b"GET /case HTTP/1.1\t"))
_refused("words-after-the-version", _line(b"GET /case HTTP/1.1 x"))

# -- versions and other protocols (RFC 9110 section 2.5) -------------------------------------------------------------

_refused("http-0.9", b"GET /case\r\n", 400, 505, ends=True)
_refused("http-0.9-with-an-empty-line", b"GET /case\r\n\r\n", 400, 505)
_refused("http-0.9-with-fields", b"GET /case\r\nHost: localhost\r\n\r\n", 400, 505)
_refused("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 400, 505)
for _version in ["0.9", "1.2", "1.9", "2.0", "3.0", "9.9"]:
    _refused(f"version-{_version}", _get(version=b"HTTP/" + _version.encode()), 400, 505)
for _name, _version in {
    "01.1": b"HTTP/01.1",
    "1.01": b"HTTP/1.01",
    "1.10": b"HTTP/1.10",
    "10.1": b"HTTP/10.1",
    "1": b"HTTP/1",
    "2": b"HTTP/2",
    "1-dot": b"HTTP/1.",
    "dot-1": b"HTTP/.1",
    "11": b"HTTP/11",
    "1,1": b"HTTP/1,1",
    "minus-1.1": b"HTTP/-1.1",
    "arabic-1.1": "HTTP/١.١".encode(),
    "lower-case": b"http/1.1",
    "mixed-case": b"Http/1.1",
    "space-inside": b"HTTP/1. 1",
    "space-before-slash": b"HTTP /1.1",
    "other-letters": b"HTTQ/1.1",
    "nothing-before": b"/1.1",
    "letters-before": b"XHTTP/1.1",
    "letters-after": b"HTTP/1.1x",
    "nul-after": b"HTTP/1.1\x00",
}.items():
    _refused(f"version-{_name}", _get(version=_version), 400, 505)
_refused("rtsp", _line(b"OPTIONS /case RTSP/1.0"), 400, 505)
_refused("rtsp-1.1", _line(b"OPTIONS /case RTSP/1.1"), 400, 505)
_refused("rtsp-describe", _line(b"DESCRIBE /case RTSP/1.0"), 400, 501, 505)
_refused("icecast", _line(b"SOURCE /case ICE/1.0"), 400, 501, 505)
_refused(
    "tls-hello",
    b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(range(256))[:193] + b"\r\n\r\n",
)
_refused("tls-hello-of-version-2", b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10\x01\x00\x80\r\n\r\n")
_refused("socks-4", b"\x04\x01\x00\x50\x7f\x00\x00\x01user\x00\r\n\r\n")
_refused("socks-5", b"\x05\x02\x00\x02\r\n\r\n")
_refused("proxy-protocol-1", b"PROXY TCP4 6.6.6.6 127.0.0.1 1 80\r\n" + HIDDEN)
_refused("proxy-protocol-2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12) + HIDDEN)
_refused("ssh-banner", b"SSH-2.0-OpenSSH_9.7\r\n\r\n")
_refused("smtp", b"EHLO localhost\r\n\r\n")
_refused("redis", b"*1\r\n$4\r\nPING\r\n\r\n")
_refused("a-response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

# -- too much (RFC 6585 section 5) -----------------------------------------------------------------------------------

_refused("request-line-too-long", _get(target=b"/" + b"a" * HEADER_BYTES), 431)
_refused("request-line-that-never-ends", b"GET /" + b"a" * 2 * HEADER_BYTES, 431)
_refused("field-too-long", _get(b"X: " + b"a" * HEADER_BYTES), 431)
_refused("field-that-never-ends", b"GET /case HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2 * HEADER_BYTES, 431)
_refused("name-too-long", _get(b"X" * (HEADER_BYTES + 1) + b": y"), 431)
_refused("name-that-never-ends", b"GET /case HTTP/1.1\r\nHost: localhost\r\n" + b"X" * 2 * HEADER_BYTES, 431)
_refused("one-field-too-many", _get(*(b"X-%d: y" % number for number in range(HEADER_FIELDS))), 431)
_refused("the-same-field-too-often", _get(*[b"X: y"] * HEADER_FIELDS), 431)
_refused("a-thousand-fields", _get(*(b"X-%d:" % number for number in range(1000))), 431)
_refused("fields-too-long-together", _get(*(b"X-%d: %b" % (number, b"a" * 500) for number in range(100))), 431)
_refused("cookies-too-long-together", _get(*[b"Cookie: a=" + b"b" * 8000] * 5), 431)
_refused("host-too-long", _host(b"a" * (HEADER_BYTES + 1)), 400, 431)
_refused("spaces-that-never-end", b"GET /case HTTP/1.1\r\nHost: localhost\r\nX:" + b" " * 2 * HEADER_BYTES, 400, 431)

# -- chunks (RFC 9112 section 7.1) -----------------------------------------------------------------------------------

for _name, _size in {
    "plus": b"+5",
    "minus": b"-5",
    "hexadecimal": b"0x5",
    "underscore": b"0_5",
    "space-before": b" 5",
    "tab-before": b"\t5",
    "space-after": b"5 ",
    "tab-after": b"5\t",
    "space-inside": b"0 5",
    "empty": b"",
    "extension-only": b";a=b",
    "letters": b"five",
    "quoted": b'"5"',
    "fraction": b"5.0",
    "arabic-digits": "٥".encode(),
    "nul-before": b"\x005",
    "nul-after": b"5\x00",
    "vertical-tab-after": b"5\x0b",
    "letter-behind": b"5g",
    "comma": b"5,5",
}.items():
    _refused(f"chunk-size-{_name}", _chunked(_size + b"\r\nhello\r\n0\r\n\r\n"))
for _name, _size in {
    "2**64": b"10000000000000000",
    "2**64+5": b"10000000000000005",
    "17-digits": b"fffffffffffffffff",
    "100-digits": b"f" * 100,
}.items():
    _refused(f"chunk-size-{_name}", _chunked(_size + b"\r\nhello\r\n0\r\n\r\n"), 400, 413, ends=True)
_refused("chunk-size-2**32+5", _chunked(b"100000005\r\nhello\r\n0\r\n\r\n"), 400, 413, ends=True)
_refused("chunk-size-2**63", _chunked(b"8000000000000000\r\nhello\r\n0\r\n\r\n"), 400, 413, ends=True)
for _name, _size in {"minus": b"-0", "plus": b"+0", "hexadecimal": b"0x0", "empty": b""}.items():
    _refused(f"last-chunk-{_name}", _chunked(b"5\r\nhello\r\n" + _size + b"\r\n\r\n"))
_refused("chunk-longer-than-its-size", _chunked(b"5\r\nhello!\r\n0\r\n\r\n"))
_refused("chunk-shorter-than-its-size", _chunked(b"6\r\nhello\r\n0\r\n\r\n"))
_refused("chunk-without-its-end", _chunked(b"5\r\nhello0\r\n\r\n"))
_refused("chunk-ending-in-lf", _chunked(b"5\r\nhello\n0\r\n\r\n"))
_refused("chunk-ending-in-cr", _chunked(b"5\r\nhello\r0\r\n\r\n"))
_refused("chunk-ending-in-two-other-bytes", _chunked(b"5\r\nhelloXX0\r\n\r\n"))
_refused("chunk-size-ending-in-lf", _chunked(b"5\nhello\r\n0\r\n\r\n"))
_refused("chunk-size-ending-in-cr", _chunked(b"5\rhello\r\n0\r\n\r\n"))
_refused("chunk-size-ending-in-cr-cr-lf", _chunked(b"5\r\r\nhello\r\n0\r\n\r\n"))
_refused("last-chunk-ending-in-lf", _chunked(b"5\r\nhello\r\n0\n\r\n"))
_refused("last-chunk-and-body-ending-in-lf", _chunked(b"5\r\nhello\r\n0\n\n"))
_refused("body-ending-in-lf", _chunked(b"5\r\nhello\r\n0\r\n\n"))
_refused("body-without-its-end-hiding-a-request", _chunked(b"0\r\n" + HIDDEN))
_refused("extension-with-lf", _chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"))
_refused("extension-ending-in-lf", _chunked(b"5;a=b\nhello\r\n0\r\n\r\n"))
_refused("extension-with-lf-hiding-a-chunk", _chunked(b"0;\n5\r\n\r\n" + HIDDEN))
_refused("extension-with-cr", _chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"))
_refused("extension-with-nul", _chunked(b"5;a\x00b\r\nhello\r\n0\r\n\r\n"))
for _coding in (b"gzip", b"chunked, gzip", b"xchunked"):
    _refused(
        f"coding-{_coding.decode()}-behind-an-upgrade",
        _post(b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: " + _coding, content=HIDDEN),
        *(400, 501),
    )
_refused(
    "extensions-with-a-byte-of-content-each",
    _chunked((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 100 + b"0\r\n\r\n"),
    *(400, 431),
)
_refused("extension-with-quoted-lf", _chunked(b'5;a="\n"\r\nhello\r\n0\r\n\r\n'))
_refused("extension-that-never-ends", _chunked(b"5;" + b"a" * 4 * HEADER_BYTES), 400, 413, 431)
_refused("quoted-extension-that-never-ends", _chunked(b'5;a="' + b"b" * 4 * HEADER_BYTES), 400, 413, 431)
_refused("chunk-size-of-zeros-that-never-ends", _chunked(b"0" * 4 * HEADER_BYTES), 400, 413, 431)
_refused("garbage-for-a-chunk", _chunked(b"\xff\xfe\xfd\r\n\r\n"))
_refused("trailer-without-colon", _chunked(b"5\r\nhello\r\n0\r\nX-Nothing\r\n\r\n"))
_refused("trailer-space-before-colon", _chunked(b"5\r\nhello\r\n0\r\nX : y\r\n\r\n"))
_refused("trailer-empty-name", _chunked(b"5\r\nhello\r\n0\r\n: y\r\n\r\n"))
_refused("trailer-folded", _chunked(b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"))
_refused("trailer-with-nul", _chunked(b"5\r\nhello\r\n0\r\nX: y\x00\r\n\r\n"))
_refused("trailer-ending-in-lf", _chunked(b"5\r\nhello\r\n0\r\nX: y\n\r\n\r\n"))
_refused("trailer-with-cr", _chunked(b"5\r\nhello\r\n0\r\nX: y\rz\r\n\r\n"))
_refused(
    "too-many-trailers", _chunked(b"0\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n"), 400, 431
)
_refused("trailer-too-long", _chunked(b"0\r\nX: " + b"a" * 2 * HEADER_BYTES + b"\r\n\r\n"), 400, 431)
_refused("trailers-that-never-end", _chunked(b"0\r\n" + b"X: y\r\n" * 20_000), 400, 431)

# -- broken off (RFC 9112 section 8) ---------------------------------------------------------------------------------

_refused("length-broken-off", _post(b"Content-Length: 10", content=b"hello"), ends=True)
_refused("length-broken-off-at-once", _post(b"Content-Length: 10"), ends=True)
_refused("long-length-broken-off", _post(b"Content-Length: 10000000", content=b"x" * 100_000), ends=True)
_refused("chunk-broken-off", _chunked(b"a\r\nhello"), ends=True)
_refused("chunk-size-broken-off", _chunked(b"5\r\nhello\r\n5"), ends=True)
_refused("chunks-without-a-last", _chunked(b"5\r\nhello\r\n"), ends=True)
_refused("last-chunk-without-its-end", _chunked(b"5\r\nhello\r\n0\r\n"), ends=True)
_refused("last-chunk-with-half-its-end", _chunked(b"5\r\nhello\r\n0\r\n\r"), ends=True)
_refused("head-broken-off", b"GET /case HTTP/1.1\r\nHost: localhost\r\n", ends=True)
_refused("head-broken-off-in-its-end", b"GET /case HTTP/1.1\r\nHost: localhost\r\n\r", ends=True)
_refused("request-line-broken-off", b"GET /case HT", ends=True)

# -- expectations and upgrades (RFC 9110 section 10.1.1, 7.8) --------------------------------------------------------

for _name, _lines in {
    "unknown": (b"Expect: 200-ok",),
    "list": (b"Expect: 100-continue, 200-ok",),
    "twice-unknown-last": (b"Expect: 100-continue", b"Expect: 200-ok"),
    "twice-unknown-first": (b"Expect: 200-ok", b"Expect: 100-continue"),
    "parameter": (b"Expect: 100-continue;q=1",),
    "value": (b"Expect: 100-continue=1",),
    "letters-behind": (b"Expect: 100-continued",),
}.items():
    _refused(f"expectation-{_name}", _post(*_lines, b"Content-Length: 5", content=b"hello"), 417)
_refused("expectation-unknown-and-chunks", _post(b"Expect: x", _TE, content=b"5\r\nhello\r\n0\r\n\r\n"), 417)
_WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: websocket")
_refused("upgrade-with-length-and-coding", _get(*_WEBSOCKET, _CL, _TE) + b"0\r\n\r\n")
_refused("upgrade-with-length-twice", _get(*_WEBSOCKET, b"Content-Length: 0", _CL) + b"hello")
_refused("upgrade-with-a-bad-chunk", _get(*_WEBSOCKET, _TE) + b"0x5\r\nhello\r\n0\r\n\r\n")
_refused("upgrade-without-host", b"GET /case HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")

# -- one after the other (RFC 9112 section 9.3) ----------------------------------------------------------------------

_BAD: Final = b"GET /hidden HTTP/1.1\r\nHost : localhost\r\n\r\n"
_refused("good-then-bad", _get() + _BAD, seen=1)
_refused("good-then-bad-framing", _get() + _post(_CL, _TE, content=b"0\r\n\r\n"), seen=1)
_refused("good-then-garbage", _get() + b"\x00\x01\x02\x03\r\n\r\n", seen=1)
_refused("good-then-no-host", _get() + b"GET /hidden HTTP/1.1\r\n\r\n", seen=1)
_refused("good-then-too-long", _get() + _get(target=b"/" + b"a" * 2 * HEADER_BYTES), 431, seen=1)
_refused("content-then-bad", _post(_CL, content=b"hello") + _BAD, seen=1)
_refused("content-then-more-than-its-length", _post(_CL, content=b"hello world\r\n\r\n"), seen=1)
_refused("chunks-then-bad", _chunked(b"5\r\nhello\r\n0\r\n\r\n") + _BAD, seen=1)
_refused("content-without-framing", _post(content=b"hello=world\r\n\r\n"), seen=1)
_refused("ten-good-then-bad", b"".join(_get(target=b"/case/%d" % number) for number in range(10)) + _BAD, seen=10)
_refused("bad-then-good", _BAD + HIDDEN)
_refused("bad-framing-then-good", _post(_CL, _TE, content=b"0\r\n\r\n") + HIDDEN)
_refused("no-host-then-good", b"GET /case HTTP/1.1\r\n\r\n" + HIDDEN)
_refused("bad-chunk-then-good", _chunked(b"0x0\r\n\r\n") + HIDDEN)
_refused("trace-then-good", _line(b"TRACE /case HTTP/1.1") + HIDDEN, 405)
_refused("expectation-then-good", _get(b"Expect: x") + HIDDEN, 417)
_refused("too-long-then-good", _get(b"X: " + b"a" * HEADER_BYTES) + HIDDEN, 431)
_refused("unknown-coding-then-good", _post(b"Transfer-Encoding: gzip, chunked", content=b"0\r\n\r\n") + HIDDEN, 501)
_refused("good-then-bad-then-good", _get() + _BAD + HIDDEN, seen=1)


# -- served, without what the client must not say --------------------------------------------------------------------


def _served(
    name: str,
    data: bytes,
    *hidden: bytes,
    shown: tuple[bytes, ...] = (),
    content: bytes = b"",
    refusable: bool = False,
) -> None:
    SANITISED.append(Sanitised(name, data, hidden, shown, content, refusable))


_served("underscore-length", _get(b"Content_Length: 99"), b"content_length")
_served("underscore-coding", _get(b"Transfer_Encoding: chunked"), b"transfer_encoding")
_served("underscore-host", _get(b"Host_: evil.example"), b"\r\nhost: evil.example")
_served("underscore-forwarded-for", _get(b"X_Forwarded_For: 6.6.6.6"), b"6.6.6.6")
_served("half-underscore-forwarded-for", _get(b"X-Forwarded_For: 6.6.6.6"), b"6.6.6.6")
_served("underscore-forwarded-host", _get(b"X_FORWARDED_HOST: evil.example"), b"evil.example")
_served("underscore-forwarded-proto", _get(b"x_forwarded_proto: gopher"), b"gopher")
_served("underscore-proxy-authorization", _get(b"Proxy_Authorization: Basic eA=="), b"ea==")
_served("underscore-reauth", _get(b"Reauth_Signal: logout"), b"reauth_")
_served("underscore-request-id", _get(b"X_Request_Id: evil"), b"x_request_id")
_served("forwarded-for", _get(b"X-Forwarded-For: 6.6.6.6"), b"6.6.6.6")
_served("forwarded-anything", _get(b"X-Forwarded-User: root"), b"root")
_served("forwarded", _get(b"Forwarded: for=6.6.6.6"), b"6.6.6.6")
_served("authorization", _get(b"Authorization: Bearer evil"), b"evil")
_served("authorization-twice", _get(b"Authorization: Bearer evil", b"AUTHORIZATION: Basic evil"), b"evil")
_served("proxy-authorization", _get(b"Proxy-Authorization: Basic eA=="), b"ea==")
_served("proxy-connection", _get(b"Proxy-Connection: keep-alive"), b"proxy-connection")
_served("keep-alive", _get(b"Keep-Alive: timeout=99999"), b"keep-alive")
_served("te", _get(b"TE: trailers, chunked"), b"\r\nte:")
_served("reauth", _get(b"Reauth-Client-Token: x"), b"\r\nreauth-")
_served(
    "upgrade-to-h2c",
    _get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    b"upgrade",
    b"settings",
)
_served("upgrade-to-tls", _get(b"Connection: Upgrade", b"Upgrade: TLS/1.0"), b"upgrade")
_served("upgrade-to-something", _get(b"Connection: Upgrade", b"Upgrade: x, websocket"), b"upgrade")
_served("upgrade-that-connection-does-not-name", _get(b"Upgrade: websocket"), b"upgrade")
_served("websocket-with-content", _get(*_WEBSOCKET, _CL) + b"hello", b"upgrade", content=b"hello")
_served("websocket-with-chunks", _get(*_WEBSOCKET, _TE) + b"5\r\nhello\r\n0\r\n\r\n", b"upgrade", content=b"hello")
_served("websocket-by-post", _post(*_WEBSOCKET, _CL, content=b"hello"), b"upgrade", content=b"hello")
_served(
    "websocket-on-http-1.0",
    b"GET /case HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"upgrade",
)
_served("connection-naming-a-field", _get(b"Connection: X-Hop", b"X-Hop: evil"), b"x-hop", b"evil")
_served("connection-naming-in-another-case", _get(b"Connection: x-hOP , ,", b"X-Hop: evil"), b"x-hop", b"evil")
_served("connection-naming-authorization", _get(b"Connection: Authorization"), shown=(b"\r\nAuthorization: Bearer ",))
_served("connection-naming-host", _get(b"Connection: Host"), shown=(b"\r\nHost: ",))
_served(
    "connection-naming-length",
    _post(b"Connection: Content-Length", _CL, content=b"hello"),
    shown=(_CL,),
    content=b"hello",
)
_served(
    "connection-naming-coding",
    _post(b"Connection: Transfer-Encoding", _TE, content=b"5\r\nhello\r\n0\r\n\r\n"),
    content=b"hello",
)
_served(
    "connection-naming-what-we-set",
    _get(b"Connection: X-Forwarded-For, Via, X-Request-Id"),
    shown=(b"\r\nX-Forwarded-For: ", b"\r\nVia: ", b"\r\nX-Request-Id: "),
)
_served("trailers", _chunked(b"5\r\nhello\r\n0\r\nX-Trailer: evil\r\n\r\n"), b"x-trailer", content=b"hello")
_served(
    "trailers-that-identify",
    _chunked(b"5\r\nhello\r\n0\r\nHost: evil.example\r\nAuthorization: Bearer evil\r\n\r\n"),
    b"evil",
    content=b"hello",
    refusable=True,
)
_served(
    "trailer-announced",
    _post(b"Trailer: Authorization", _TE, content=b"0\r\nAuthorization: Bearer evil\r\n\r\n"),
    b"trailer",
    b"evil",
)
_served("chunk-extensions", _chunked(b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'), b"a=b", content=b"hello")
_served("chunk-size-in-upper-case", _chunked(b"A\r\nhellohello\r\n0\r\n\r\n"), content=b"hellohello")
_served(
    "coding-in-mixed-case", _post(b"Transfer-Encoding: cHunkeD", content=b"5\r\nhello\r\n0\r\n\r\n"), content=b"hello"
)
_served(
    "coding-with-spaces-around",
    _post(b"Transfer-Encoding:  chunked  ", content=b"5\r\nhello\r\n0\r\n\r\n"),
    content=b"hello",
)
_served(
    "coding-with-tabs-around",
    _post(b"Transfer-Encoding:\tchunked\t", content=b"5\r\nhello\r\n0\r\n\r\n"),
    content=b"hello",
    refusable=True,
)
_served("length-with-blanks-around", _post(b"Content-Length: \t 5 \t", content=b"hello"), content=b"hello")
_served("length-zero-and-no-content", _post(b"Content-Length: 0"))
_served("content-on-a-get", _get(_CL) + b"hello", content=b"hello")
_served("a-request-in-the-content", _post(b"Content-Length: %d" % len(HIDDEN), content=HIDDEN), content=HIDDEN)
_served(
    "absolute-form",
    _line(b"GET http://localhost/case?x HTTP/1.1"),
    b"http://localhost",
    shown=(b"GET /case?x HTTP/1.1\r\n",),
)
_served(
    "absolute-form-in-other-cases", _line(b"GET HTTP://LOCALHOST/case HTTP/1.1"), shown=(b"GET /case HTTP/1.1\r\n",)
)
_served("absolute-form-without-a-path", _line(b"GET http://localhost?x HTTP/1.1"), shown=(b"GET /?x HTTP/1.1\r\n",))
_served("double-slash", _line(b"GET //evil.example/case HTTP/1.1"), shown=(b"GET //evil.example/case HTTP/1.1\r\n",))
_served("dots", _line(b"GET /a/../../case HTTP/1.1"), shown=(b"GET /a/../../case HTTP/1.1\r\n",))
_served(
    "escaped-line-ends",
    _line(b"GET /case%0d%0aX-Evil:%20y HTTP/1.1"),
    b"\r\nx-evil",
    shown=(b"GET /case%0d%0aX-Evil:%20y HTTP/1.1\r\n",),
)
_served(
    "a-url-in-the-query",
    _line(b"GET /case?u=http://evil.example/ HTTP/1.1"),
    shown=(b"GET /case?u=http://evil.example/ HTTP/1.1\r\n",),
)
_served("at-sign-in-the-path", _line(b"GET /@evil.example HTTP/1.1"), shown=(b"GET /@evil.example HTTP/1.1\r\n",))
_served("empty-lines-before", b"\r\n\r\n" + _get())
_served("no-host-on-http-1.0", b"GET /case HTTP/1.0\r\n\r\n", shown=(b" HTTP/1.1\r\nHost: ",))
_served("host-with-an-empty-port", _host(b"localhost:"))
_served("empty-value", _get(b"X-Empty:"), shown=(b"\r\nX-Empty: \r\n",))
_served("tab-in-a-value", _get(b"X: a\tb"), shown=(b"\r\nX: a\tb\r\n",))
_served("latin-1-in-a-value", _get(b"X: caf\xe9"), shown=(b"\r\nX: caf\xe9\r\n",))
_served("expectation-in-mixed-case", _post(b"Expect: 100-Continue", _CL, content=b"hello"), content=b"hello")
_served(
    "as-many-fields-as-allowed",
    _get(*(b"X-%d: y" % number for number in range(HEADER_FIELDS - 1))),
    shown=(b"\r\nX-126: y\r\n",),
)
