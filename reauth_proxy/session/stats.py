"""Plain counters of a session in this process."""

from __future__ import annotations

from dataclasses import dataclass, field

from reauth_proxy.errors import LogoutReason


@dataclass(slots=True)
class Stats:
    """Plain counters of a session's life in this process.

    Attributes:
        issued, denied, unavailable: calls to the token endpoint by their outcome; a timed-out one is unavailable.
        adopted: refreshes that another process, through the store, made unnecessary.
        replays: rejected answers that got a newer token.
        late: those of them for which the newer token was at hand already.
        relayed: rejected answers passed on as they are.
        logouts: how often the session ended.
        ended: the same, by reason.
    """

    issued: int = 0
    denied: int = 0
    unavailable: int = 0
    adopted: int = 0
    replays: int = 0
    late: int = 0
    relayed: int = 0
    logouts: int = 0
    ended: dict[LogoutReason, int] = field(default_factory=dict)
