"""A refresh token that is tried before it replaces a session. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from reauth_proxy.session.tokens import Instant, Secret

#: Seconds until a refresh token that was only tried is tried again; then twice as long, up to the last of them.
_TRIED_AGAIN: Final = (10.0, 300.0)


@dataclass(slots=True)
class Candidate:
    """A refresh token that merely turned up in the configuration, and is tried before it replaces a session.

    Attributes:
        origin: what was configured; the same, unless a useless answer brought a newer one.
        not_before: when it may be tried; None at once.
        pause: seconds between the last two attempts.
    """

    refresh_token: Secret = field(repr=False)
    origin: Secret = field(repr=False)
    not_before: Instant | None = None
    pause: float = 0.0

    def postpone(self, now: Instant, *, at_once: bool = False) -> None:
        """It could not be tried: neither issued against nor refused.

        Args:
            at_once: its answer may have been lost, which authorization servers allow for, but not for long.
        """
        first, longest = _TRIED_AGAIN
        self.pause = min(self.pause * 2, longest) if self.pause else first
        self.not_before = now.after(0.0 if at_once else self.pause)

    def due(self, now: Instant) -> bool:
        """Tell whether it may be tried now."""
        return self.not_before is None or self.not_before.reached(now)

    def hurry(self) -> None:
        """The configuration has changed: it may be tried at once."""
        self.not_before = None
