"""Logins through a person's browser: `login` sends it to the authorization server, which sends it to `callback`.

The authorization code grant with PKCE, as for the command. The state says which login an answer belongs to; a cookie,
that it is the same browser that began it (RFC 6819 section 4.4.1.8): nobody can sign others in as somebody else.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import structlog

from reauth_proxy.errors import BadRequest, LoginFailed, NoRoute, RefreshUnavailable
from reauth_proxy.forward.own import CALLBACK
from reauth_proxy.guard.origins import origin_of, own_origin
from reauth_proxy.issuers import authorization_code
from reauth_proxy.issuers.authorization_code import Attempt, Code, Refused, Stray
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.session.protocols import TokenEndpoint
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.tokens import Denied, Issued, Secret, TokenReply, Unavailable

log = structlog.get_logger(__name__)

#: Logins under way; the oldest gives way to a new one.
MOST: Final = 64
#: Seconds that a person may take.
LASTS: Final = 600
#: Seconds for each call to the authorization server.
TIMEOUT: Final = 30.0
_PATH: Final = CALLBACK.decode().rstrip("?")
_LONGEST: Final = 2048
#: A path on this origin; nothing that a browser takes for another host, and nothing that ends a field line.
_LOCAL: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
_VISIBLE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e]+")


@dataclass(frozen=True, slots=True)
class Going:
    """Where a browser comes from, and wants to be afterwards.

    Attributes:
        host: its Host field, which the proxy answers to.
        return_to: as it asked.
        listed: the origins that it may be sent to.
    """

    host: bytes | None
    return_to: str | None
    listed: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Step:
    """Where the browser goes next, and the cookie that it gets."""

    location: str
    cookie: str


@dataclass(frozen=True, slots=True)
class _Pending:
    attempt: Attempt
    session: Session
    endpoint: OAuth2Endpoint
    return_to: str
    proof: Secret
    until: float


def destination(going: Going) -> str:
    """Return where a login ends: a path here, or a page of a listed origin.

    Raises:
        BadRequest: neither.
    """
    wanted = "/" if going.return_to is None else going.return_to
    if len(wanted) <= _LONGEST and _LOCAL.fullmatch(wanted):
        return wanted
    if len(wanted) <= _LONGEST and _VISIBLE.fullmatch(wanted) and origin_of(wanted.encode()) in going.listed:
        return wanted
    raise BadRequest(
        "`return_to` is a path that begins with one slash, or an address of an origin in `access.origins`."
    )


class SignIn:
    """The logins under way."""

    def __init__(self) -> None:
        self._pending: dict[str, _Pending] = {}
        #: Strong references: a code is redeemed once, whether or not the browser waits for it.
        self._tasks: set[asyncio.Task[TokenReply]] = set()

    async def begin(self, session: Session, endpoint: TokenEndpoint, going: Going) -> Step:
        """Begin a login.

        Raises:
            BadRequest: it would end nowhere.
            NoRoute: the credential has no authorization endpoint.
            RefreshUnavailable: nobody can tell, for discovery fails.
        """
        return_to = destination(going)
        if not isinstance(endpoint, OAuth2Endpoint) or endpoint.client.settings.grant != "refresh_token":
            raise NoRoute("This credential has no page to log in at.")
        try:
            async with asyncio.timeout(TIMEOUT):
                endpoints = await endpoint.client.endpoints()
        except TimeoutError:
            raise RefreshUnavailable("The authorization server does not answer.", 1.0) from None
        if isinstance(endpoints, Unavailable):
            log.warning("login.failed", credential=session.name, problem=endpoints.cause)
            raise RefreshUnavailable("The authorization server's metadata cannot be read; the log says why.", 1.0)
        if endpoints.authorization is None:
            raise NoRoute("This credential has no page to log in at; see `authorization_url`.")
        redirect_uri = own_origin(going.host or b"localhost").decode("ascii") + _PATH
        attempt = authorization_code.begin(endpoints, endpoint.client.settings, redirect_uri)
        proof = Secret(secrets.token_urlsafe(32))
        state = attempt.state.reveal()
        now = asyncio.get_running_loop().time()
        for old in [known for known, pending in self._pending.items() if pending.until <= now]:
            del self._pending[old]
        while len(self._pending) >= MOST:
            del self._pending[next(iter(self._pending))]
        self._pending[state] = _Pending(attempt, session, endpoint, return_to, proof, now + LASTS)
        return Step(attempt.url, f"{_cookie(state)}={proof.reveal()}; {_ATTRIBUTES}; Max-Age={LASTS}")

    async def finish(self, query: str, cookies: str) -> Step:
        """Redeem the code that a browser brings, and put the tokens in force.

        Args:
            query: of the address that it was sent to.
            cookies: its Cookie field.

        Raises:
            BadRequest: no login that was begun here waits for it.
            LoginFailed: the authorization server did not sign the person in, or issued nothing that can be kept.
            RefreshUnavailable: it does not answer.
        """
        state = _state(query)
        pending = self._pending.get(state)
        if (
            pending is None
            or pending.until <= asyncio.get_running_loop().time()
            or not _proves(cookies, state, pending)
        ):
            raise BadRequest("No login waits for this in this browser; it may have taken too long. Begin it again.")
        verdict = authorization_code.judge(query, pending.attempt)
        if isinstance(verdict, Stray):
            raise BadRequest("This is no answer to a login.")
        del self._pending[state]  # good for one answer
        if isinstance(verdict, Refused):
            log.warning("login.failed", credential=pending.session.name, problem=verdict.error)
            raise LoginFailed(f"The authorization server did not sign you in ({verdict.error}).")
        await self._redeem(pending, verdict)
        return Step(pending.return_to, f"{_cookie(state)}=; {_ATTRIBUTES}; Max-Age=0")

    async def _redeem(self, pending: _Pending, code: Code) -> None:
        task = asyncio.create_task(_keep(pending, code), name="redeem a login's code")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        reply = await asyncio.shield(task)
        if isinstance(reply, Denied | Unavailable):
            problem = reply.error if isinstance(reply, Denied) else reply.cause
            log.warning("login.failed", credential=pending.session.name, problem=problem)
        if isinstance(reply, Denied):
            raise LoginFailed(f"The token endpoint refused the login ({reply.error}).")
        if isinstance(reply, Unavailable):
            raise RefreshUnavailable("The token endpoint is unavailable; begin the login again.", 1.0)
        if reply.refresh_token is None:
            raise LoginFailed(
                "The authorization server issued no refresh token, and without one there is nothing to keep;"
                " see `scope` and `authorization_params`."
            )

    async def close(self) -> None:
        """Let codes that are being redeemed come to their end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=TIMEOUT)
            for task in self._tasks:
                task.cancel()


async def _keep(pending: _Pending, code: Code) -> TokenReply:
    """Redeem a code; returns once the tokens are in force, and the store was tried."""
    try:
        async with asyncio.timeout(TIMEOUT):
            reply = await authorization_code.exchange(pending.endpoint, pending.attempt, code)
    except TimeoutError:
        return Unavailable(f"no answer within {TIMEOUT:g} s")
    if isinstance(reply, Issued) and reply.refresh_token is not None:
        await pending.session.sign_in(reply.refresh_token, reply.access_token, reply.lifetime)
    return reply


#: Sent only with the redirect that brings the browser back, which comes from another site.
_ATTRIBUTES: Final = f"Path={_PATH}; HttpOnly; SameSite=Lax"


def _cookie(state: str) -> str:
    """Return the name of a login's cookie: several tabs may log in at once, and localhost's ports share cookies."""
    return f"reauth-login-{Secret(state).fingerprint()[:16]}"


def _state(query: str) -> str:
    try:
        return dict(parse_qsl(query, max_num_fields=32)).get("state", "")
    except ValueError:
        return ""


def _proves(cookies: str, state: str, pending: _Pending) -> bool:
    """Tell whether the browser is the one that began the login."""
    found = re.search(rf"(?:^|;\s*){re.escape(_cookie(state))}=([^;\s]*)", cookies)
    return found is not None and hmac.compare_digest(found[1].encode(), pending.proof.reveal().encode())
