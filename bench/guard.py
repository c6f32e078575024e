"""What the guard costs: a request's fields filtered and judged, against the same fields under names that nobody judges.

In one process, without a network: its part of a request is too small to be seen beside one. CPU time, the best of
several rounds, in microseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.load import BROWSER_FIELDS
from reauth_proxy.forward.fields import FieldChanges, RequestRules
from reauth_proxy.guard.guard import Guard
from reauth_proxy.guard.hosts import Hosts
from reauth_proxy.guard.origins import Origins
from reauth_proxy.guard.paths import PathRules
from reauth_proxy.session.tokens import Secret

#: Microseconds that it may cost, with the settings that a frontend needs.
LIMIT = 3.0
_TIMES, _ROUNDS = 5_000, 15
_HOST = b"localhost:8080"
_PAGE = "http://localhost:5173"

Fields = list[tuple[bytes, bytes]]


def _fields(*more: tuple[bytes, bytes]) -> Fields:
    found = [(name.encode(), value.encode()) for name, value in BROWSER_FIELDS.items()]
    return [(b"Host", _HOST), *found, *more]


def _unjudged(fields: Fields) -> Fields:
    """Return the fields with names of the same length that the guard does not look for."""
    judged = (b"origin", b"referer", b"sec-fetch-site", b"reauth-client-token")
    return [(b"x" * len(name) if name.lower() in judged else name, value) for name, value in fields]


def _microseconds(function: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        since = time.process_time()
        for _ in range(_TIMES):
            function()
        best = min(best, time.process_time() - since)
    return best / _TIMES * 1e6


def cost(guard: Guard, fields: Fields, target: bytes = b"/api/orders/17?page=2") -> float:
    """Return what the guard adds to one request, in microseconds."""
    rules = RequestRules(FieldChanges())
    unjudged = _unjudged(fields)

    def judged() -> None:
        found = rules.filter(fields)
        guard.page(found.host, found.marks)
        if guard.client_token is not None:
            guard.client(found.credentials)
        if guard.paths is not None:
            guard.path("GET", target)

    return _microseconds(judged) - _microseconds(lambda: rules.filter(unjudged))


def lines() -> list[str]:
    """Return the figures for a report."""
    hosts, origins, token = Hosts(), Origins([_PAGE]), Secret("0123456789abcdef" * 4)
    curl: Fields = [(b"Host", _HOST), (b"User-Agent", b"curl/8"), (b"Accept", b"*/*")]
    frontend = cost(Guard(hosts, origins), _fields())
    brings = (b"Reauth-Client-Token", token.reveal().encode())
    rules = PathRules(["GET /api/**", "POST /api/orders"], ["* /api/admin/**"])
    verdict = "met" if frontend <= LIMIT else "**missed**"
    return [
        f"- curl: {cost(Guard(hosts), curl):.2f} µs",
        f"- a listed page's request: {frontend:.2f} µs; at most {LIMIT:g}, {verdict}",
        f"- with a client token, too: {cost(Guard(hosts, origins, token), _fields(brings)):.2f} µs",
        f"- with three path rules, too: {cost(Guard(hosts, origins, token, rules), _fields(brings)):.2f} µs",
    ]
