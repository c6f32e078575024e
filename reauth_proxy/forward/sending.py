"""How a route's upstream wants its access token: in which field, with which scheme, or as a cookie. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_LINE_END: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class Send:
    """How a token is sent.

    Attributes:
        header: the field that brings it.
        scheme: what stands before it (RFC 9110 section 11.4); "" for the bare value.
        cookie: the cookie that brings it instead (RFC 6265 section 4.2), or None.
    """

    header: str = "Authorization"
    scheme: str = "Bearer"
    cookie: str | None = None

    def value(self, token: str) -> bytes:
        """Return what brings a token: a field's value, or a cookie's pair."""
        if self.cookie is not None:
            return f"{self.cookie}={token}".encode("ascii")
        return f"{self.scheme} {token}".strip().encode("ascii")

    def line(self, value: bytes, cookies: bytes = b"") -> bytes:
        """Return the field line, with its end.

        Args:
            value: as :meth:`value` returned it; b"" for no token.
            cookies: the client's own ones, if a cookie brings the token.
        """
        if self.cookie is not None:
            pairs = b"; ".join(part for part in (cookies, value) if part)
            return b"Cookie: " + pairs + _LINE_END if pairs else b""
        return self.header.encode() + b": " + value + _LINE_END if value else b""

    def without_client_s(self, tail: bytes) -> tuple[bytes, bytes]:
        """Take from a request's field lines what only the proxy may send.

        Args:
            tail: field lines, joined by line ends.

        Returns:
            The other lines; and the client's other cookies, if a cookie brings the token.
        """
        if self.cookie is None:
            own = _plain(self.header.encode())
            return _LINE_END.join(line for line in tail.split(_LINE_END) if _plain(_name(line)) != own), b""
        kept, cookies = [], []
        for line in tail.split(_LINE_END):
            if _plain(_name(line)) != b"cookie":
                kept.append(line)
                continue
            pairs = (pair.strip(b" \t") for pair in line.partition(b":")[2].split(b";"))
            cookies += [pair for pair in pairs if pair and pair.partition(b"=")[0].strip() != self.cookie.encode()]
        return _LINE_END.join(kept), b"; ".join(cookies)


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0]


def _plain(name: bytes) -> bytes:
    """Return a name as an application may read it that maps "_" to "-", as CGI does."""
    return name.lower().replace(b"_", b"-")


#: RFC 6750 section 2.1.
BEARER: Final = Send()
