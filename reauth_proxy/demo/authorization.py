"""A small authorization server: rotating refresh tokens with reuse detection, access tokens that soon expire."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

CLIENT_ID: Final = "demo"
#: Well known, so that a config file can hold it. Each use starts a session of its own: a proxy whose store is memory
#: comes back with it after every restart, and that is no reuse of a rotated token.
BOOTSTRAP: Final = "demo-refresh-token"


@dataclass(slots=True)
class Family:
    """One session: a chain of refresh tokens, of which only the newest may be used (RFC 9700 section 4.14.2)."""

    newest: str = ""
    used: set[str] = field(default_factory=set)
    revoked: bool = False


class Authorization:
    """The tokens of the demo, and a count of what happened.

    Args:
        lifetime: of access tokens, in seconds.
    """

    def __init__(self, lifetime: float) -> None:
        self.lifetime = lifetime
        self.refreshes = 0
        self.refusals = 0
        self.signed_out = False
        self._families: dict[str, Family] = {}  # by refresh token
        self._access: dict[str, tuple[Family, float]] = {}

    def valid(self, access_token: str) -> bool:
        """Tell whether an access token may be used now."""
        family, expires = self._access.get(access_token, (None, 0.0))
        return family is not None and not family.revoked and time.monotonic() < expires

    def revoke_everything(self) -> None:
        """End every session, and let the well-known token start none."""
        for family in self._families.values():
            family.revoked = True
        self.signed_out = True

    def new_session(self) -> str:
        """Return the first refresh token of a new session: somebody signed in."""
        self.signed_out = False
        return self._rotate(Family())

    async def token(self, request: web.Request) -> web.Response:
        """Answer a token request (RFC 6749 section 6)."""
        form = await request.post()
        if form.get("grant_type") != "refresh_token":
            return self._refuse("unsupported_grant_type")
        if form.get("client_id") != CLIENT_ID:
            return self._refuse("invalid_client")
        given = str(form.get("refresh_token", ""))
        family = Family() if given == BOOTSTRAP and not self.signed_out else self._families.get(given)
        if family is None or family.revoked:
            return self._refuse("invalid_grant")
        if given in family.used:
            family.revoked = True  # somebody has a copy
            return self._refuse("invalid_grant")
        self.refreshes += 1
        self._forget_expired()
        access = secrets.token_urlsafe(24)
        self._access[access] = (family, time.monotonic() + self.lifetime)
        return web.json_response(
            {
                "access_token": access,
                "token_type": "Bearer",
                "expires_in": self.lifetime,
                "refresh_token": self._rotate(family),
            },
            headers={"Cache-Control": "no-store"},
        )

    def _rotate(self, family: Family) -> str:
        if family.newest:
            family.used.add(family.newest)
        family.newest = secrets.token_urlsafe(24)
        self._families[family.newest] = family
        return family.newest

    def _forget_expired(self) -> None:
        now = time.monotonic()
        for access in [access for access, (_, expires) in self._access.items() if expires < now]:
            del self._access[access]

    def _refuse(self, error: str) -> web.Response:
        self.refusals += 1
        return web.json_response({"error": error}, status=400, headers={"Cache-Control": "no-store"})
