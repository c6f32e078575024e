"""The token endpoint of RFC 6749: refreshing (section 6), asking for oneself (section 4.4), and what a login brings."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping

from reauth_proxy.issuers import reply
from reauth_proxy.issuers.client import Client, OAuth2Settings, revealed
from reauth_proxy.issuers.judged import Judged, is_lost
from reauth_proxy.issuers.remarks import told
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.session.protocols import Confirm
from reauth_proxy.session.tokens import STAND_IN, Denied, Secret, TokenReply, Unavailable


class OAuth2Endpoint:
    """A :class:`~reauth_proxy.session.protocols.TokenEndpoint` that speaks RFC 6749.

    Args:
        ssl, connect_timeout, trust_env: see :class:`~reauth_proxy.issuers.transport.Transport`.
        allow_insecure: a discovered token endpoint may be plain HTTP on another machine.

    Attributes:
        client: asks the other endpoints of the same authorization server, too.

    Raises ConfigError if the settings contradict themselves.
    """

    def __init__(
        self,
        settings: OAuth2Settings,
        *,
        ssl: ssl.SSLContext | bool = True,
        connect_timeout: float = 5.0,
        trust_env: bool = False,
        allow_insecure: bool = False,
    ) -> None:
        self.client = Client(settings, ssl, connect_timeout, trust_env=trust_env, allow_insecure=allow_insecure)

    async def refresh(
        self, refresh_token: Secret, access_token: Secret | None, confirm: Confirm | None = None
    ) -> TokenReply:
        """Get an access token by the grant of the settings. The present access token is not sent."""
        settings = self.client.settings
        scope = {"scope": settings.scope} if settings.scope else {}
        if settings.grant == "client_credentials":
            return await self.redeem({"grant_type": "client_credentials", **scope}, own=True)
        if refresh_token == STAND_IN or is_lost(refresh_token):
            return Denied("no_refresh_token")  # it stood in for one: under another grant, or for one that was lost
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal(), **scope}
        judged = await self._judged(form, reply.from_oauth2, confirm)
        return judged if isinstance(judged, Unavailable) else judged.with_stand_in()

    async def ask(self, form: Mapping[str, str], confirm: Confirm | None = None) -> Answer | Unavailable:
        """Make a token request; return the answer as it comes.

        Args:
            confirm: see :class:`~reauth_proxy.session.protocols.TokenEndpoint`.
        """
        endpoints = await self.client.endpoints()
        if isinstance(endpoints, Unavailable):
            return endpoints
        return await self.client.post(endpoints.token, {**revealed(self.client.settings.params), **form}, confirm)

    async def redeem(self, form: Mapping[str, str], *, own: bool = False) -> TokenReply:
        """Make a token request, such as that of a login.

        Args:
            own: the client asks for itself, so that a refusal is no word on a session.
        """
        judged = await self._judged(form, reply.from_client_credentials if own else reply.from_oauth2)
        return judged if isinstance(judged, Unavailable) else judged.reply

    async def _judged(
        self, form: Mapping[str, str], judge: Callable[[Answer, float], Judged], confirm: Confirm | None = None
    ) -> Judged | Unavailable:
        answer = await self.ask(form, confirm)
        if isinstance(answer, Unavailable):
            return answer
        judged = judge(answer, time.time())
        verdict = told(judged)
        if isinstance(verdict, Unavailable) and verdict.misconfigured:
            self.client.doubt()
        return judged

    async def close(self) -> None:
        """Release the connections."""
        await self.client.close()
