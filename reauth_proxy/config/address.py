"""Where to listen, and where upstreams and token endpoints are. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal

from reauth_proxy.config.problems import expected

_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII | re.IGNORECASE)
_NUMERIC: Final = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\.?", re.ASCII | re.IGNORECASE)
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?P<fragment>#.*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_AUTHORITY: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{0,5}))?", re.ASCII)
#: RFC 3986 section 3.3 and 3.4.
_REST: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*", re.ASCII)
#: The shortest limit of a Unix socket's path among systems, in bytes.
_UNIX_PATH: Final = 103

_A_LISTEN: Final = "host:port such as 127.0.0.1:8080, [::1]:8080 in quotes, or unix:/path"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where clients connect.

    Attributes:
        host: a name or an address, without brackets; empty for a Unix socket.
        port: 0 lets the system choose.
        path: of the Unix socket.
    """

    kind: Literal["tcp", "unix"]
    host: str = ""
    port: int = 0
    path: str | None = None

    @property
    def remote(self) -> bool:
        """Tell whether other machines can connect."""
        return self.kind == "tcp" and not is_loopback(self.host)

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """An http or https URL without user name, password or fragment.

    Attributes:
        host: in lower case, without brackets.
        port: the scheme's own where none is written.
        path: as written; empty or with a slash in front.
        query: as written, with its question mark; empty where there is none.
        text: the whole as written; issuers are compared by it (RFC 8414 section 3.3).
        socket: path of the Unix socket behind which it is, instead of host and port.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str
    text: str
    socket: str | None = None

    @property
    def authority(self) -> str:
        """Host and port as in a Host field: the scheme's own port is left out (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL for people: without its query, in which some token endpoints want an API key."""
        return self.text.partition("?")[0] + ("?…" if self.query else "")

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Url {self.shown}>"


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine: localhost and names below it (RFC 6761 section 6.3), 127.0.0.0/8, ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")


def is_wildcard(host: str) -> bool:
    """Tell whether to listen at a host means at every address, so that it is no name for clients."""
    return host in ("0.0.0.0", "::")  # noqa: S104  # compared, not bound


def host_of(ipv6: str | None, host: str | None) -> str | None:
    """Return the host of an authority in lower case, None if it is none."""
    try:
        if ipv6 is not None:
            if "%" in ipv6:  # a zone means something on one machine only (RFC 4007)
                return None
            return str(ipaddress.IPv6Address(ipv6))
        if host is None or len(host) > 253 or not _NAME.fullmatch(host):
            return None
        if _NUMERIC.fullmatch(host.rpartition(".")[2] if not host.endswith(".") else host[:-1].rpartition(".")[2]):
            return str(ipaddress.IPv4Address(host))  # 127.1 and 0x7f000001 mean different things to different programs
    except ValueError:
        return None
    return host.lower()


def _unix_path(value: str) -> str:
    """Return the path in ``unix:/path``; ValueError says what is wrong."""
    path = value.removeprefix("unix:")
    if not path.startswith("/") or "\0" in path or path.endswith("/"):
        raise expected("unix: and an absolute path such as unix:/run/reauth-proxy.sock", value)
    if len(path.encode("utf-8", "surrogateescape")) > _UNIX_PATH:
        raise ValueError(f"the path of a Unix socket may have at most {_UNIX_PATH} bytes")
    return path


def parse_upstream(value: object) -> Url:
    """Return the parts of an upstream's URL, or of ``unix:/path``; ValueError says what is wrong."""
    if isinstance(value, str) and value.startswith("unix:"):
        return Url("http", "localhost", 80, "", "", str(value), _unix_path(value))
    return parse_url(value)


def parse_listen(value: object) -> Listen:
    """Return the address in ``127.0.0.1:8080``, ``[::1]:8080`` or ``unix:/path``; ValueError says what is wrong."""
    if isinstance(value, Listen):
        return value
    if not isinstance(value, str):
        raise expected(_A_LISTEN, value)
    if value.startswith("unix:"):
        return Listen("unix", path=_unix_path(value))
    match = _AUTHORITY.fullmatch(value)
    host = host_of(match["ipv6"], match["host"]) if match else None
    if match is None or host is None or not match["port"] or int(match["port"]) > 65_535:
        raise expected(_A_LISTEN, value)
    return Listen("tcp", host, int(match["port"]))


def parse_url(value: object, *, query: bool = False) -> Url:
    """Return the parts of an http or https URL; ValueError says what is wrong.

    Args:
        query: whether a query may stand in it.
    """
    if isinstance(value, Url):
        return value
    what = "a URL such as https://api.example.com"
    match = _URL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _expected(what, value)
    if "@" in match["authority"]:
        raise ValueError("a URL here must not hold a user name or password; remove what stands before the @")
    authority = _AUTHORITY.fullmatch(match["authority"])
    host = host_of(authority["ipv6"], authority["host"]) if authority else None
    if authority is None or host is None:
        raise _expected("a URL with a host name or an address (ASCII; names beyond it in their xn-- form)", value)
    scheme = match["scheme"].lower()
    port = int(authority["port"]) if authority["port"] else {"http": 80, "https": 443}[scheme]
    if not 1 <= port <= 65_535:
        raise _expected("a URL with a port from 1 to 65535", value)
    if match["fragment"] is not None:
        raise ValueError("a URL here must not have a fragment; remove the # and what follows it")
    if match["query"] is not None and not query:
        raise ValueError("a URL here must not have a query; remove the ? and what follows it")
    path, search = match["path"] or "", match["query"] or ""
    if not _REST.fullmatch(path + search):
        raise ValueError("a URL may hold only ASCII letters, digits and marks; write the rest as percent escapes")
    return Url(scheme, host, port, path, search, str(value))


def _expected(what: str, value: object) -> ValueError:
    """Return the error, without a value that may hold a password before an @, or a key behind a question mark."""
    hides = isinstance(value, str) and ("@" in value or "?" in value)
    return ValueError(f"expected {what}") if hides else expected(what, value)
