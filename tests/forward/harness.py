"""The forwarding path between a raw client and a raw upstream, with a session that does what the test says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from reauth_proxy.clients.limits import Limits
from reauth_proxy.clients.listener import Listener
from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.forward.fields import FieldChanges, RequestRules, ResponseRules
from reauth_proxy.forward.forwarder import Forwarder
from reauth_proxy.forward.plan import Plan
from reauth_proxy.forward.route import Route
from reauth_proxy.forward.routes import Routes
from reauth_proxy.forward.spool import Keeping
from reauth_proxy.forward.tunnel import Tunnels
from reauth_proxy.guard.guard import Guard
from reauth_proxy.guard.hosts import Hosts
from reauth_proxy.session.state import Attempt, Decision, Relay, Wait
from reauth_proxy.session.tokens import AccessToken, Secret
from reauth_proxy.upstream.dial import Origin
from reauth_proxy.upstream.pool import Pool, PoolLimits
from tests.fakes.arrivals import Gate
from tests.upstream.peers import RawPeer, raw_peer


def token(generation: int) -> AccessToken:
    return AccessToken(Secret(f"CANARY-{generation}"), generation, None, None)


class ScriptedSession:
    """Gives the tokens it was told to give; an exception among them is raised."""

    def __init__(self) -> None:
        self.current: AccessToken | None = token(1)
        self.asked: list[bool] = []
        self.replaced: list[int] = []
        self.newer: AccessToken | BaseException | None = token(2)
        self.waits = True
        self.life = 0
        self.accepted: AccessToken | None = None
        #: While it is held, a rejected token's successor takes its time.
        self.gate = Gate()

    def begin(self, *, life: int) -> None:
        """Somebody signs in; whoever was signed in is not any more."""
        self.life = life
        self.current = token(1).in_life(life)

    def usable(self) -> AccessToken | None:
        return self.current

    async def token(self, *, fresh: bool = False, life: int = 0) -> AccessToken | None:
        self.asked.append(fresh)
        return self.current

    def rejected(self, sent: Attempt) -> Decision:
        self.replaced.append(sent.generation)
        return Relay() if self.newer is None or sent.replayed else Wait(start=True)

    async def newer_token(self, decision: Decision, life: int) -> AccessToken:
        await self.gate.passed()
        if isinstance(self.newer, BaseException):
            raise self.newer
        assert self.newer is not None
        return self.newer

    def accept(self, token: AccessToken) -> None:
        self.accepted = token


class Lines(list[dict[str, Any]]):
    """An access log that keeps its lines."""

    enabled = True

    def finished(self, exchange: Exchange, seconds: float) -> None:
        names = ("id", "method", "path", "status", "generation", "outcome", "size")
        self.append({"duration": seconds, **{name: getattr(exchange, name) for name in names}})


class Bench:
    """What a test holds in its hands."""

    def __init__(
        self,
        peer: RawPeer,
        forwarder: Forwarder,
        front: Listener,
        session: ScriptedSession,
        lines: Lines,
        port: int,
    ) -> None:
        self.peer = peer
        self.forwarder = forwarder
        self.front = front
        self.session = session
        self.log = lines
        self.port = port
        self.writers: list[asyncio.StreamWriter] = []

    async def client(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, and send `data`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=16 * 1024 * 1024)
        self.writers.append(writer)
        writer.write(data)
        return reader, writer

    async def upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the next connection that the proxy made."""
        async with asyncio.timeout(5):
            end = await self.peer.accepted.get()
        self.writers.append(end[1])
        return end


@asynccontextmanager
async def bench(
    *,
    keep: int = 1024,
    response_timeout: float = 5.0,
    keeping: Keeping | None = None,
    limits: Limits | None = None,
    pool_limits: PoolLimits | None = None,
    idle_timeout: float = 0.0,
    on_logout: Literal["keep", "close"] = "keep",
    expect_timeout: float = 1.0,
) -> AsyncIterator[Bench]:
    """Run the forwarding path; it ends with every request ended and every connection closed."""
    async with raw_peer() as peer:
        session = ScriptedSession()
        lines = Lines()
        pool = Pool(Origin("127.0.0.1", peer.port), pool_limits or PoolLimits())
        route = Route(pool, session, b"/base", b"api.example", frozenset({401}), response_timeout, expect_timeout)  # type: ignore[arg-type]
        numbers = iter(range(1, 1_000_000))
        plan = Plan(
            Routes([route]),
            RequestRules(FieldChanges()),
            ResponseRules(FieldChanges()),
            limits or Limits(),
            Guard(Hosts(["h"])),
            keeping or Keeping(memory=keep, limit=keep),
        )
        tunnels = Tunnels(idle_timeout, on_logout)
        forwarder = Forwarder(
            plan,
            tunnels=tunnels,
            access=lines,
            request_id=lambda given: given.decode() if given else f"id-{next(numbers)}",
        )
        front = Listener(forwarder.handle, plan.limits)
        server = await asyncio.get_running_loop().create_server(front, "127.0.0.1", 0)
        held = Bench(peer, forwarder, front, session, lines, server.sockets[0].getsockname()[1])
        try:
            yield held
        finally:
            server.close()
            for writer in held.writers:
                writer.close()
            await front.shutdown(1)
            tunnels.close()
            forwarder.close()
            while pool.open or forwarder.active:
                await asyncio.sleep(0)


async def head(reader: asyncio.StreamReader) -> bytes:
    """Read one header section; the Date that the proxy adds where an answer has none is left out."""
    async with asyncio.timeout(10):
        return re.sub(rb"Date: [^\r]*\r\n", b"", await reader.readuntil(b"\r\n\r\n"))
