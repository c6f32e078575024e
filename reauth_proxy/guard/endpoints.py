"""Token endpoints behind the proxy itself: clients must not be able to call them with the session's own token. Pure.

With a hand-made API the token endpoint is as a rule on the upstream's host. A client could then send it a request that
the proxy would complete with a fresh access token, and read new tokens in the answer. So requests for its path are
refused. A path is refused in any reading that some server may give it: they differ in how often they decode, when they
resolve dots, whether `//` and `\\` are `/`, what `;` begins, and whether case matters.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

#: How often a path may be decoded on its way: by a gateway, a container, an application, and once more.
_DECODINGS: Final = 4
#: Ports of one site, as a rule: http is redirected to https, or serves the same.
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: A path without any of these has one reading, but for case and slashes at its end.
_AMBIGUOUS: Final = re.compile(rb"[%;\\\x80-\xff]|//|/\.|\.(?:/|$)")
_SLASHES: Final = re.compile(r"/{2,}")
#: Also what an escaped question mark begins, for whoever decodes before taking a target apart.
_PARAMETER: Final = re.compile(r";[^/]*|[?#].*", re.DOTALL)
_SUFFIX: Final = re.compile(r"(?<=[^/])\.[a-z0-9]{1,8}$")
#: What some servers drop from a segment's end.
_DROPPED: Final = " .\0\t\n\v\f\r"


class Sealed:
    """The paths at one upstream that lead to token endpoints.

    Args:
        upstream: its URL; its path stands in front of every target.
        endpoints: URLs of token endpoints, and of what else answers with tokens or takes them, wherever they are.
    """

    def __init__(self, upstream: str, endpoints: Iterable[str]) -> None:
        self._base = urlsplit(upstream).path.rstrip("/").encode()
        self.paths: Final = refused_paths(upstream, endpoints)

    def refuses(self, target: bytes) -> bool:
        """Tell whether a request's target, in origin-form (RFC 9112 section 3.2.1), leads to one of them."""
        return bool(self.paths) and judge(self._base + target, self.paths)

    def __repr__(self) -> str:
        return f"<Sealed {sorted(self.paths)}>"


def refused_paths(upstream: str, endpoints: Iterable[str]) -> frozenset[str]:
    """Return the paths of those endpoints that the upstream serves, in every form that :func:`judge` compares."""
    here = _site(upstream)
    return frozenset(
        form
        for url in endpoints
        if here is not None and _site(url) == here
        for text in _decoded(_path(url).encode())
        for form in _resolved(text)
    )


def judge(path: bytes, refused: frozenset[str]) -> bool:
    """Tell whether a path with the upstream's base in front, and maybe a query behind, is one of those refused."""
    path = path.partition(b"?")[0]
    if _AMBIGUOUS.search(path) is None:
        plain = path.decode("ascii").lower().rstrip("/") or "/"
        return plain in refused or ("." in plain and _SUFFIX.sub("", plain) in refused)
    # In every reading the last segment stands there as it is: servers cut, and put nothing together.
    ends = [form.rpartition("/")[2] for form in refused]
    return any(
        form in refused or _SUFFIX.sub("", form) in refused
        for text in _decoded(path)
        if any(end in text for end in ends)
        for form in _resolved(text)
    )


def _decoded(path: bytes) -> Iterator[str]:
    """Return a path as it is after each decoding, without regard to case and to other spellings of one character."""
    text = path.decode("utf-8", "surrogateescape")
    before = None
    for _ in range(_DECODINGS):
        if text == before:
            return
        yield unicodedata.normalize("NFKC", text).casefold()
        before, text = text, unquote(text, errors="surrogateescape")


def _resolved(text: str) -> Iterator[str]:
    """Return every reading of a decoded path, without regard to slashes at its end.

    Slashes may be merged before dots are resolved, parameters cut off, backslashes taken for slashes.
    """
    for merged, parameters, backslashes in itertools.product((False, True), repeat=3):
        form = text.replace("\\", "/") if backslashes else text
        form = _PARAMETER.sub("", form) if parameters else form
        form = _SLASHES.sub("/", form) if merged else form
        segments: list[str] = []
        for segment in form.split("/")[1:]:
            if segment == "..":
                del segments[-1:]
            elif segment != ".":
                segments.append(segment.rstrip(_DROPPED))
        yield "/" + "/".join(segment for segment in segments if segment)


def _path(url: str) -> str:
    return urlsplit(url).path or "/"


def _site(url: str) -> tuple[str, int] | None:
    """Return what two URLs of one site have in common, None for a URL without a host, such as ``unix:/path``."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    if not host or parts.scheme not in _DEFAULT_PORTS:
        return None
    try:
        address = ipaddress.ip_address(host)
        host = "localhost" if address.is_loopback else str(address)
    except ValueError:
        host = "localhost" if host.endswith(".localhost") else host
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return host, 443 if port in _DEFAULT_PORTS.values() else port
