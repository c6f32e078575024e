"""Which Host a request may name. A name that an attacker made resolve to 127.0.0.1 is not among them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from reauth_proxy.errors import HostDenied

#: What every listener answers to.
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

#: A host and an optional port, and nothing that needs to be decoded.
_HOST: Final = re.compile(rb"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{0,5})?", re.IGNORECASE)
#: How many spellings (ports, capitals) are remembered.
_REMEMBERED: Final = 256


def in_brackets(host: str) -> str:
    """Return a host as a Host field has it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


class Hosts:
    """The names to answer to: compared as a whole, in any case, with any port.

    Args:
        names: hosts besides the loopback ones; IPv6 addresses in brackets.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = LOOPBACK | {name.lower() for name in names}
        #: Spellings that have passed.
        self.known: set[bytes | None] = {None}

    def check(self, host: bytes | None) -> None:
        """Refuse a Host that is not on the list.

        Args:
            host: the field's value; None where there is none, as HTTP/1.0 allows, which no browser speaks.

        Raises:
            HostDenied: it is another.
        """
        if host is None or host in self.known:
            return
        match = _HOST.fullmatch(host)
        if match is None or match[1].decode("ascii").lower() not in self._names:
            raise HostDenied("This name is not one that the proxy answers to; `access.hosts` lists more.")
        if len(self.known) < _REMEMBERED:
            self.known.add(host)
