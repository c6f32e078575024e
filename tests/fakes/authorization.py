"""An authorization server with rotation, reuse detection, gates and a script."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from aiohttp import web

from tests.fakes.arrivals import Arrivals, Gate

CANARY = "CANARY"


@dataclass
class TokenCall:
    """One call as it arrived."""

    path: str
    headers: dict[str, str]
    form: dict[str, str]
    refresh_token: str


@dataclass
class Reply:
    """What a call gets instead of tokens. The refresh token that it brought is not used up."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Raw:
    """Bytes that a call gets as its whole answer; then the connection is closed."""

    data: bytes


@dataclass
class Break:
    """A reset connection, before or after the refresh token was used up (`rotated`)."""

    rotated: bool = False


@dataclass
class Family:
    """One session: the newest refresh token, those that were used, and what it issued."""

    number: int
    newest: str = ""
    before: str = ""
    used: set[str] = field(default_factory=set)
    revoked: bool = False
    grace: int = 0
    rotations: int = 0


def oauth_error(code: str, status: int = 400) -> Reply:
    """An error answer as of RFC 6749 section 5.2."""
    return Reply(status, {"Content-Type": "application/json"}, json.dumps({"error": code}).encode())


class FakeAuthorizationServer:
    """POST /token is the refresh grant of RFC 6749; POST /json/refresh is a hand-made API. Real HTTP on loopback.

    Args:
        rotate: issue a new refresh token each time, and end the family if an old one comes back.
        lifetime: of access tokens in seconds; None leaves expires_in out.
        grace_uses: how often each refresh token may come back all the same while it is the one before the newest.
        tls: to speak https with.
    """

    def __init__(
        self,
        *,
        rotate: bool = True,
        lifetime: float | None = 300.0,
        grace_uses: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        #: More members of each answer with tokens.
        self.more: dict[str, object] = {}
        self.rotate = rotate
        self.lifetime = lifetime
        self.grace_uses = grace_uses
        self.calls: list[TokenCall] = []
        self.issued = 0
        #: Refresh tokens that came back after they were used, and ended their family.
        self.reuses = 0
        self.gate = Gate()
        #: Holds answers that are issued already.
        self.on_the_way = Gate()
        #: The only client that gets tokens; any other one is told invalid_grant, which ends no family.
        self.client_id: str | None = None
        #: Accept access tokens so many seconds after they were issued.
        self.late = 0.0
        #: Counts access tokens issued; for tests that act at that very moment.
        self.rotations = Arrivals()
        self.port = 0
        self._arrivals = Arrivals()
        self._script: deque[Reply | Raw | Break] = deque()
        self._families: dict[str, Family] = {}
        self._access: dict[str, tuple[Family, float]] = {}
        self._issued_to: dict[str, int] = {}
        self._web = web.Server(self._answer, access_log=None)
        self._server: asyncio.Server | None = None
        self.first = self.login()

    @property
    def count(self) -> int:
        """How many calls there were."""
        return len(self.calls)

    @property
    def url(self) -> str:
        return f"{self._origin}/token"

    @property
    def json_url(self) -> str:
        return f"{self._origin}/json/refresh"

    @property
    def _origin(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, "127.0.0.1", self.port, ssl=self.tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    def close_listener(self) -> None:
        """Refuse connections until :meth:`start`."""
        assert self._server is not None
        self._server.close()

    async def stop(self) -> None:
        self.gate.release()
        self.on_the_way.release()
        if self._server is not None:
            self._server.close()
        await self._web.shutdown(1.0)

    def login(self) -> str:
        """Start a family; return its first refresh token."""
        family = Family(len({id(known) for known in self._families.values()}) + 1, grace=self.grace_uses)
        return self._rotated(family)

    def signed_in(self) -> tuple[str, str]:
        """Return an access token and the newest refresh token of somebody who has just logged in."""
        token = self.login()
        granted = self._grant(token)
        assert granted is not None
        return granted[0], granted[1] or token

    def next(self, *replies: Reply | Raw | Break) -> None:
        """Answer the next calls with these, in order."""
        self._script.extend(replies)

    def forget_script(self) -> None:
        """Answer as usual again."""
        self._script.clear()

    def hold(self) -> None:
        """Let calls arrive, and wait."""
        self.gate.hold()

    def release(self) -> None:
        self.gate.release()

    async def arrived(self, number: int) -> None:
        """Return once so many calls have arrived since the start."""
        await self._arrivals.reached(number)

    def valid(self, access_token: str) -> bool:
        """Tell whether an upstream is to accept this access token."""
        family, expires = self._access.get(access_token, (None, 0.0))
        now = time.monotonic()
        return family is not None and now < expires and now >= expires - self._lifetime + self.late

    def whose(self, access_token: str | None) -> int | None:
        """Return the number of the family that an access token was issued to, whether or not it is good still."""
        return None if access_token is None else self._issued_to.get(access_token)

    def family(self, refresh_token: str) -> int:
        """Return the number of the family that a refresh token belongs to."""
        return self._families[refresh_token].number

    def lives(self, number: int) -> bool:
        """Tell whether a family has not been revoked, nor has been ended for a refresh token that came twice."""
        return all(not family.revoked for family in self._families.values() if family.number == number)

    def revoke_access(self) -> None:
        """From now on no access token that was issued so far is good."""
        self._access.clear()

    def revoke_refresh(self) -> None:
        """From now on no refresh token that was issued so far is good."""
        for family in self._families.values():
            family.revoked = True

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        text = await request.text()
        hand_made = request.path == "/json/refresh"
        form = {} if hand_made else {name: values[0] for name, values in parse_qs(text).items()}
        token = json.loads(text)["token"] if hand_made else form.get("refresh_token", "")
        self.calls.append(TokenCall(request.path, dict(request.headers), form, token))
        scripted = self._script.popleft() if self._script else None
        self._arrivals.add()
        await self.gate.passed()
        if isinstance(scripted, Reply):
            return web.Response(status=scripted.status, headers=scripted.headers, body=scripted.body)
        if isinstance(scripted, Raw):
            _transport(request).write(scripted.data)
            _transport(request).close()
            return web.Response()
        if isinstance(scripted, Break) and not scripted.rotated:
            reset(_transport(request))
            return web.Response()
        if hand_made:
            answer = self._json_api(token)
        elif request.path == "/token":
            answer = self._oauth(form)
        else:
            answer = self._other(request, form)
        if isinstance(scripted, Break):
            reset(_transport(request))
        await self.on_the_way.passed()
        return answer

    def _other(self, request: web.BaseRequest, form: dict[str, str]) -> web.Response:
        return web.Response(status=404)

    def _oauth(self, form: dict[str, str]) -> web.Response:
        if form.get("grant_type") != "refresh_token":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        if self.client_id not in (None, form.get("client_id")):
            return web.json_response({"error": "invalid_grant"}, status=400)
        return self._tokens(self._grant(form.get("refresh_token", "")))

    def _tokens(self, granted: tuple[str, str | None] | None) -> web.Response:
        if granted is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        access, refresh = granted
        content: dict[str, object] = {"access_token": access, "token_type": "Bearer", **self.more}
        if refresh is not None:
            content["refresh_token"] = refresh
        if self.lifetime is not None:
            content["expires_in"] = self.lifetime
        return web.json_response(content, headers={"Cache-Control": "no-store"})

    def _json_api(self, token: str) -> web.Response:
        granted = self._grant(token)
        if granted is None:
            return web.json_response({"message": "no"}, status=401)
        content = {"accessToken": granted[0], "refreshToken": granted[1] or token, "expiresIn": self.lifetime}
        return web.json_response(content | self.more)

    def _grant(self, token: str) -> tuple[str, str | None] | None:
        family = self._families.get(token)
        if family is None or family.revoked:
            return None
        if token in family.used:
            if token != family.before or not family.grace:
                family.revoked = True
                self.reuses += 1
                return None
            family.grace -= 1
        else:
            family.grace = self.grace_uses
        self.issued += 1
        access = f"access-{CANARY}-{self.issued}"
        self._access[access] = (family, self._expiry())
        self._issued_to[access] = family.number
        refresh = self._rotated(family) if self.rotate else None
        self.rotations.add()
        return access, refresh

    @property
    def _lifetime(self) -> float:
        return self.lifetime or 3600.0

    def _expiry(self) -> float:
        return time.monotonic() + self._lifetime

    def _rotated(self, family: Family) -> str:
        if family.newest:
            family.used.add(family.newest)
            family.before = family.newest
        family.rotations += 1
        family.newest = f"refresh-{CANARY}-{family.number}-{family.rotations}"
        self._families[family.newest] = family
        return family.newest


def _transport(request: web.BaseRequest) -> asyncio.Transport:
    assert request.transport is not None, "the caller left before its scripted answer"
    return request.transport


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with RST."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@asynccontextmanager
async def authorization_server(
    *,
    rotate: bool = True,
    lifetime: float | None = 300.0,
    grace_uses: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[FakeAuthorizationServer]:
    """Run one."""
    server = FakeAuthorizationServer(rotate=rotate, lifetime=lifetime, grace_uses=grace_uses, tls=tls)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
