"""Whether a browser sends a request for a page that may: Origin, Sec-Fetch-Site and Referer, for every method.

A page decides about none of the three fields (Fetch Standard, "forbidden request-header"; Fetch Metadata Request
Headers, section 2.3), so one that says "foreign" settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from reauth_proxy.errors import OriginDenied

ORIGIN: Final = b"origin"
SITE: Final = b"sec-fetch-site"
REFERER: Final = b"referer"

#: Sec-Fetch-Site of what the proxy's own pages, and a person at the address bar, ask for.
_OURS: Final = frozenset({b"same-origin", b"none"})

#: How many verdicts are remembered, and for how many bytes of fields at most.
_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 512

_DENIED: Final = "A page of another origin asked for this; `access.origins` lists those that may."


def own_origin(host: bytes) -> bytes:
    """Return the origin of pages that come through the proxy itself, as their browser writes it."""
    return b"http://" + host.lower().removesuffix(b":80").removesuffix(b":")


def origin_of(referer: bytes) -> bytes:
    """Return the origin of a Referer, in lower case; b"" where it has none."""
    scheme, slashes, rest = referer.partition(b"://")
    if not slashes:
        return b""
    authority = rest.partition(b"/")[0].partition(b"?")[0].partition(b"#")[0]
    return (scheme + slashes + authority).lower()


def _read(marks: Sequence[bytes]) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Return a request's Origin, Sec-Fetch-Site, and the origin of its Referer. Raises OriginDenied for repeats."""
    found: dict[bytes, bytes] = {}
    for name, value in zip(marks[::2], marks[1::2], strict=True):
        lower = name.lower()
        if lower in found:
            raise OriginDenied("A request has one Origin, Sec-Fetch-Site and Referer at most.")
        found[lower] = value
    referer = found.get(REFERER)
    return found.get(ORIGIN), found.get(SITE), origin_of(referer) if referer else None


class Origins:
    """The origins whose pages may call, besides the proxy's own.

    Args:
        listed: such as ``http://localhost:5173``, in lower case and without a default port.
    """

    def __init__(self, listed: Iterable[str] = ()) -> None:
        self.listed = frozenset(origin.encode("ascii") for origin in listed)
        #: Verdicts by host and marks, each short: the same few pages ask again and again.
        self._judged: dict[tuple[bytes | None, ...], bytes] = {}

    def judge(self, host: bytes | None, marks: Sequence[bytes]) -> bytes | None:
        """Return the listed origin that a request comes from; None: from no browser, or from the proxy's own pages.

        Args:
            host: the Host field's value, which the proxy answers to.
            marks: names and values, in turn, of the request's Origin, Sec-Fetch-Site and Referer fields.

        Raises:
            OriginDenied: it comes from another page.
        """
        key = (host, *marks)
        verdict = self._judged.get(key)
        if verdict is None:
            verdict = self._judge(host, *_read(marks))
            if verdict is None:
                raise OriginDenied(_DENIED)
            if sum(map(len, marks)) <= _LONGEST_REMEMBERED:
                if len(self._judged) >= _REMEMBERED:
                    self._judged.clear()
                self._judged[key] = verdict
        return verdict or None

    def _judge(
        self, host: bytes | None, origin: bytes | None, site: bytes | None, referer: bytes | None
    ) -> bytes | None:
        """Return a listed origin, b"" for the proxy's own pages, None for any other."""
        own = None if host is None else own_origin(host)
        if origin is not None:
            if origin in self.listed:
                return origin
            if origin != own:
                return None
        if site is not None and site not in _OURS:
            # A page that is listed loads an image or a script: no Origin, but its browser says where it is.
            return referer if origin is None and referer in self.listed else None
        if referer is None or referer == own:
            return b""
        return referer if origin is None and referer in self.listed else None
