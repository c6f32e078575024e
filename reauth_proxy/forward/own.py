"""What is asked of the proxy itself on the main listener, and who answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from reauth_proxy.clients.writing import Sent
    from reauth_proxy.forward.exchange import Exchange

#: Paths that are answered here, and never forwarded.
HERE: Final = b"/_reauth/"
#: Where an authorization server sends a browser back to: from another site, and with a proof of its own.
CALLBACK: Final = b"/_reauth/callback?"


class Own(Protocol):
    """Answers what frontends ask the proxy itself."""

    async def answer(self, exchange: Exchange, *, keep_alive: bool) -> Sent:
        """Answer one request below :data:`HERE`, which the guard has let in. Raises Refusal."""
        ...
