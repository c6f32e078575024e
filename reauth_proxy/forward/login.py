"""Logins that an upstream answers with tokens: they fill a session, and the client gets the answer without them.

Such a request goes upstream without a token, and a 401 to it means a wrong password: it is passed on, and starts no
refresh.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import structlog

from reauth_proxy.errors import UpstreamMalformed
from reauth_proxy.forward.capture import LONGEST, Captured, Paths, Rule, Unreadable, answered, capture, plain
from reauth_proxy.forward.route import Route
from reauth_proxy.session.anonymous import Anonymous
from reauth_proxy.session.refresher import Session
from reauth_proxy.upstream.exchange import Response, finished

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Login:
    """One login.

    Attributes:
        path: at its upstream.
        rule: where the answer has the tokens.
        session: that they fill.
    """

    path: str
    rule: Rule
    session: Session

    async def take(self, route: Route, response: Response) -> Response:
        """Return the answer without tokens, once the session has them.

        Raises:
            UpstreamMalformed: nobody can tell what is in it, or there is no refresh token; it is not passed on.
        """
        if response.bodiless:
            return response
        succeeded = 200 <= response.status < 300
        content = await _content(route, response)
        found = self._read(content, response)
        if isinstance(found, Unreadable):
            if succeeded:
                log.warning("capture.failed", credential=self.session.name, problem=found.why)
                raise UpstreamMalformed(f"The login's answer is not passed on, for it may hold tokens: {found.why}.")
        elif found is not None:
            content = found.content
            response.fields = answered(response.fields, content)
            response.length = len(content)
            if succeeded:
                await self._fill(found)
        response.body = content
        return response

    def _read(self, content: bytes, response: Response) -> Captured | Unreadable | None:
        codings = [value for name, value in response.fields if name.lower() == b"content-encoding"]
        decoded = plain(content, codings)
        return decoded if isinstance(decoded, Unreadable) else capture(decoded, self.rule)

    async def _fill(self, found: Captured) -> None:
        """Put the tokens in force, and into the store."""
        if found.refresh_token is not None:
            await self.session.sign_in(found.refresh_token, found.access_token, found.lifetime)
        elif found.access_token is not None:
            problem = "it holds no refresh token where `capture` says"
            log.warning("capture.failed", credential=self.session.name, problem=problem)
            raise UpstreamMalformed(f"The login's answer is not passed on: {problem}.")


async def _content(route: Route, response: Response) -> bytes:
    """Return all of an answer's content."""
    connection = response.connection
    if connection is None:
        return response.body
    if connection.broken is not None:
        raise connection.broken
    content = bytearray(connection.body.take())
    try:
        while data := await connection.body.read():
            content += data
            if len(content) > LONGEST:
                raise UpstreamMalformed(f"The login's answer is longer than {LONGEST} bytes; it is not passed on.")
    except BaseException:
        connection.close()
        raise
    finished(route.pool, response)
    return bytes(content)


class Logins:
    """The logins behind one route.

    Args:
        route: of requests that are none.
    """

    def __init__(self, route: Route, logins: Iterable[Login]) -> None:
        known = tuple(logins)
        self._base = route.base
        self._paths = Paths(login.path for login in known)
        self._routes = tuple(
            replace(route, session=Anonymous(), statuses=frozenset(), logins=None, login=login) for login in known
        )

    def match(self, target: bytes) -> Route | None:
        """Return the route of a login, None for what is none.

        Args:
            target: in origin-form, as it is sent behind the route's base.
        """
        number = self._paths.match(self._base + target)
        return None if number is None else self._routes[number]
