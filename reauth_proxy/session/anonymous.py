"""What stands in for a session on a route that forwards without a token (`credential: none`)."""

from __future__ import annotations

from typing import Final

from reauth_proxy.session.state import Attempt, Decision, Relay
from reauth_proxy.session.tokens import AccessToken


class Anonymous:
    """Nobody: there is no token, and there never will be one."""

    generation: Final = 0
    life: Final = 0
    waits: Final = False
    name: Final = "none"
    accepted: Final = None

    def usable(self) -> AccessToken | None:
        """Return None: send without Authorization."""
        return None

    async def token(self, *, fresh: bool = False, life: int = 0) -> AccessToken | None:
        """Return None, without waiting."""
        return None

    def rejected(self, sent: Attempt) -> Decision:
        """Return Relay: the upstream's answer is passed on as it is."""
        return Relay()

    async def newer_token(self, decision: Decision, life: int) -> AccessToken:
        """There is none."""
        raise AssertionError("a route without a token replays nothing")

    def accept(self, token: AccessToken) -> None:
        """There is no token."""
