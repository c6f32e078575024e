"""Which route a request takes: the longest path prefix wins, on whole segments. Pure.

The target is compared as it was sent, byte for byte: what is not a prefix letter by letter goes to the next shorter
route, and is forwarded as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reauth_proxy.errors import NoRoute
from reauth_proxy.forward.route import Route


def covers(prefix: bytes, target: bytes) -> bool:
    """Tell whether a target is at or below a prefix.

    Args:
        prefix: without a slash at its end; b"" covers everything.
        target: in origin-form (RFC 9112 section 3.2.1).
    """
    return target.startswith(prefix) and target[len(prefix) : len(prefix) + 1] in (b"/", b"?", b"")


class Routes:
    """The routes of a configuration.

    Args:
        routes: in any order; no two have the same prefix.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(sorted(routes, key=lambda route: len(route.prefix), reverse=True))
        #: The route that takes everything, where there is no other to compare with.
        self._only = self._routes[0] if len(self._routes) == 1 and not self._routes[0].prefix else None

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def match(self, target: bytes) -> Route:
        """Return the route of a target. Raises NoRoute."""
        if self._only is not None:
            return self._only
        for route in self._routes:
            if not route.prefix or covers(route.prefix, target):
                return route
        raise NoRoute("No route leads there; `routes` lists those that there are.")
