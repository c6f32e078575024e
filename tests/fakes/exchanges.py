"""Requests that have ended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from reauth_proxy.forward.exchange import Exchange


def exchange(**what: Any) -> Exchange:
    """Return a request that has ended; an Exchange as far as telemetry looks at it."""
    known: dict[str, Any] = {
        "where": "/",
        "method": "GET",
        "status": 200,
        "outcome": "forwarded",
        "parked": 0.0,
        "replayed": False,
        "detail": None,
        "id": "id-1",
        "path": "/a",
        "generation": 3,
        "size": 99,
        "route": SimpleNamespace(statuses=frozenset({401})),
    }
    return cast(Exchange, SimpleNamespace(**{**known, **what}))
