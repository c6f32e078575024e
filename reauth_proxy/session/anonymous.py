"""What stands in for a session on a route that forwards without a token (`credential: none`)."""

from __future__ import annotations

from typing import Final

from reauth_proxy.session.tokens import AccessToken


class Anonymous:
    """Nobody: there is no token, and there never will be one."""

    generation: Final = 0
    logouts: Final = 0
    waits: Final = False
    name: Final = "none"

    def usable(self) -> AccessToken | None:
        """Return None: send without Authorization."""
        return None

    def parks(self, sent_generation: int) -> bool:
        """Return False."""
        return False

    async def token(self, *, fresh: bool = False) -> AccessToken | None:
        """Return None, without waiting."""
        return None

    async def replace(self, sent_generation: int) -> AccessToken | None:
        """Return None: the upstream's answer is relayed as it is."""
        return None
