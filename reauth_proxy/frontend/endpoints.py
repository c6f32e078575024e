"""Who answers what below ``/_reauth/``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol
from urllib.parse import parse_qs

from reauth_proxy.clients.writing import CLOSED, OPEN, Sent
from reauth_proxy.errors import BadRequest, MethodNotSupported, NoRoute
from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.forward.own import HERE
from reauth_proxy.frontend import replies, signin
from reauth_proxy.http1.wire import LAST_CHUNK, as_chunk
from reauth_proxy.session.protocols import TokenEndpoint
from reauth_proxy.session.refresher import Session

#: Seconds of silence on an event stream.
HEARTBEAT: Final = 15.0
_MOST_PARAMETERS: Final = 32
#: A login's steps are addresses that nobody else has to know.
_PRIVATE: Final = "Referrer-Policy: no-referrer"
_NOTHING: Final = "There is nothing of that name below /_reauth/; there is session, logout, events, login and callback."


class Keeper(Protocol):
    """Keeps the credentials."""

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The sessions by the names of their credentials."""
        ...

    def endpoint(self, name: str) -> TokenEndpoint:
        """Return the token endpoint of a credential."""
        ...

    async def sign_out(self, name: str) -> object:
        """End a credential's session here, in the store, and at the authorization server."""
        ...


class Asked:
    """One request below ``/_reauth/``.

    Attributes:
        query: its parameters, the first of each name.
        more: field lines that CORS adds to the answer.
    """

    def __init__(self, exchange: Exchange, *, keep_alive: bool) -> None:
        self.exchange = exchange
        self.keep_alive = keep_alive
        self.path, _, raw = exchange.target.decode("latin-1").partition("?")
        self.raw_query = raw
        try:
            found = parse_qs(raw, max_num_fields=_MOST_PARAMETERS)
        except ValueError:
            raise BadRequest("There are too many parameters.") from None
        self.query = {name: values[0] for name, values in found.items()}
        self.more = exchange.plan.guard.answer_lines(exchange.page)

    def reply(self, status: int, content: bytes | None = None, *fields: str) -> Sent:
        """Send an answer."""
        self.exchange.status = status
        head = self.exchange.method == "HEAD"
        keep_alive, old = self.keep_alive, self.exchange.old
        data = replies.answer(status, content, fields=fields, more=self.more, head=head, keep_alive=keep_alive, old=old)
        self.exchange.connection.write(data)
        return OPEN if keep_alive else CLOSED


class Endpoints:
    """Answers frontends.

    Args:
        keeper: of the sessions.
        heartbeat: seconds of silence on an event stream.
    """

    def __init__(self, keeper: Keeper, heartbeat: float = HEARTBEAT) -> None:
        self._keeper = keeper
        self._heartbeat = heartbeat
        self._sign_in = signin.SignIn()
        self._known: dict[str, tuple[str, Callable[[Asked], Awaitable[Sent]]]] = {
            "session": ("GET, HEAD", self._session),
            "logout": ("POST", self._logout),
            "events": ("GET", self._events),
            "login": ("GET", self._login),
            "callback": ("GET", self._callback),
        }

    async def answer(self, exchange: Exchange, *, keep_alive: bool) -> Sent:
        """Answer one request.

        Raises:
            NoRoute, MethodNotSupported: there is no such thing.
            BadRequest, LoginFailed, RefreshUnavailable: a login came to nothing.
        """
        asked = Asked(exchange, keep_alive=keep_alive)
        name = asked.path.removeprefix(HERE.decode())
        if name not in self._known:
            raise NoRoute(_NOTHING)
        methods, handler = self._known[name]
        if exchange.method not in methods.split(", "):
            raise MethodNotSupported(f"/_reauth/{name} knows {methods}.", methods)
        return await handler(asked)

    def drain(self) -> None:
        """End every event stream: who listens comes back, to whoever is there then."""
        for session in self._keeper.sessions.values():
            session.news.close()

    async def close(self) -> None:
        """End the logins that are being finished."""
        await self._sign_in.close()

    def _chosen(self, asked: Asked) -> tuple[str, Session]:
        """Return the credential that is meant: the one of `?credential=`, or the first."""
        sessions = self._keeper.sessions
        name = asked.query.get("credential", next(iter(sessions), ""))
        if name not in sessions:
            raise NoRoute("There is no credential of that name; see `credentials`.")
        asked.exchange.generation = sessions[name].generation
        return name, sessions[name]

    async def _session(self, asked: Asked) -> Sent:
        return asked.reply(200, replies.session(self._chosen(asked)[1].news.look()))

    async def _logout(self, asked: Asked) -> Sent:
        name, _ = self._chosen(asked)
        await self._keeper.sign_out(name)
        return asked.reply(204)

    async def _login(self, asked: Asked) -> Sent:
        name, session = self._chosen(asked)
        origins = asked.exchange.plan.guard.origins.listed
        going = signin.Going(asked.exchange.found.host, asked.query.get("return_to"), origins)
        step = await self._sign_in.begin(session, self._keeper.endpoint(name), going)
        return asked.reply(303, None, f"Location: {step.location}", f"Set-Cookie: {step.cookie}", _PRIVATE)

    async def _callback(self, asked: Asked) -> Sent:
        cookies = [value.decode("utf-8", "surrogateescape") for value in asked.exchange.request.values(b"cookie")]
        step = await self._sign_in.finish(asked.raw_query, "; ".join(cookies))
        return asked.reply(303, None, f"Location: {step.location}", f"Set-Cookie: {step.cookie}", _PRIVATE)

    async def _events(self, asked: Asked) -> Sent:
        """Stream what happens to a session until the client leaves, or the proxy or the credential ends.

        The first event says how it is: who was away for a while knows what was missed.
        """
        _, session = self._chosen(asked)
        connection, old = asked.exchange.connection, asked.exchange.old
        asked.exchange.status = 200

        async def send(data: bytes) -> None:
            asked.exchange.size += len(data)
            connection.write(data if old else as_chunk(data))
            if connection.writing_paused:
                await connection.drain()

        with session.news.listening() as ear:
            connection.write(replies.stream(more=asked.more, old=old))
            await send(replies.RETRY + replies.event("session", session.news.look()))
            while True:
                try:
                    async with asyncio.timeout(self._heartbeat):
                        told = await ear.get()
                except TimeoutError:
                    await send(replies.HEARTBEAT)
                    continue
                if told is None:
                    break
                await send(replies.event(told.event, told.snapshot))
        if not old:
            connection.write(LAST_CHUNK)
        return CLOSED
