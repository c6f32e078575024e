"""One session for many replicas, on many machines: a store in Redis or Valkey.

The lock is a lease that is renewed while it is held; it passes on when its holder dies, is stopped, or is cut off. Each
grant of it has a number, the fence, and a save is refused once a higher number has been granted: compare and set, in
one script. Whoever saves or lets go says so on a channel, so that nobody has to ask again and again.

While Redis is away nobody can know what the others do with the refresh token: nothing is refreshed, and what was
refreshed just before is saved first when Redis is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from reauth_proxy.errors import StoreAway, StoreBusy, StoreEnded, StoreError, StoreSuperseded
from reauth_proxy.session.ending import end
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.codec import Codec
from reauth_proxy.stores.redis_client import RedisTls, client, place, why
from reauth_proxy.stores.redis_scripts import ACQUIRE, RELEASE, RENEW, SAVE
from reauth_proxy.stores.worker import TIMEOUT

T = TypeVar("T")

#: Seconds after which a holder that does not renew its lease loses it.
LEASE: Final = 5.0
#: Seconds of silence on the channel after which it is asked whether anybody is there.
_SILENCE: Final = 3.0
#: Seconds between two attempts for a lock of which nobody says that it is free.
_LONGEST_PAUSE: Final = 0.5
#: Parts of the lease: how often it is renewed, and how soon again if that failed.
_RENEW: Final = 0.2
_RENEW_AGAIN: Final = 0.05
#: Once Redis is back, holders of a lease that it forgot and those who have something to save come first: others ask for
#: the lock so much later. A part of the lease too, and longer than between two renewals.
_PRECEDENCE: Final = 0.3
#: Pauses between attempts to listen again grow up to this many seconds.
_LONGEST_RETRY: Final = 1.0


@dataclass(slots=True)
class _Lease:
    """A grant of the lock: who, and its number."""

    holder: str
    fence: int


class RedisStore:
    """A :class:`~reauth_proxy.session.protocols.Store` in Redis.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with user name and password where Redis wants them.
        key: of the session; a lock and a channel have names that begin with it.
        codec: what a session looks like there.
        tls: what to verify ``rediss`` with.
        lock_timeout: seconds to wait for another process that holds the lock.
        lease: seconds after which a holder that was stopped, or cut off, loses it.
        timeout: seconds that Redis may take for one command, a connection included.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(
        self,
        url: Secret,
        key: str,
        codec: Codec | None = None,
        *,
        tls: RedisTls | None = None,
        lock_timeout: float = 30.0,
        lease: float = LEASE,
        timeout: float = TIMEOUT,
    ) -> None:
        self._codec = codec or Codec()
        # Braces keep the names of one session on one node of a cluster.
        name = key if "{" in key else f"{{{key}}}"
        self._session, self._lock, self._channel = name, f"{name}:lock", f"{name}:news"
        self._lock_timeout = lock_timeout
        self._lease = lease
        self._timeout = timeout
        self._redis = client(url, tls, timeout)
        self._place = place(self._redis)
        #: The grant of the lock that is in use, and the one before it once it is not.
        self._held: _Lease | None = None
        self._last: _Lease | None = None
        #: Set when the channel says something; those who wait for the lock listen.
        self._said = asyncio.Event()
        #: When Redis was last found away, in loop time, and whether a save is owed since.
        self._away_at: float | None = None
        self._owes = False
        #: The highest fence that this process has been granted.
        self._granted = 0
        #: Strong references.
        self._releases: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<RedisStore {self._session} at {self._place}>"

    async def check(self) -> None:
        """Raise StoreError, with the mend, unless a session can be written there."""
        probe = f"{self._session}:check:{secrets.token_hex(8)}"
        try:
            await self._do(self._redis.set(probe, b"", px=1000))
        except StoreError as error:
            raise StoreError(f"{error}; start it, or correct `store.url`") from None

    async def load(self) -> StoredSession | None:
        """Return what was saved last, None if nothing was. Raises StoreAway, StoreCorrupt."""
        data = await self._do(cast(Awaitable[bytes | None], self._redis.hget(self._session, "data")))
        if data is None:
            return None
        try:
            return self._codec.decode(data)
        except StoreError as error:
            raise type(error)(f"{self._place} {self._session}: {error}") from None

    async def load_backup(self) -> StoredSession | None:
        """Redis writes a value whole or not at all; there is no second copy."""
        return None

    async def save(self, session: StoredSession, *, over: str | None = None) -> None:
        """Return once Redis has it; how stable that is, Redis' own persistence and replication say.

        Raises StoreAway; StoreSuperseded if the lock was lost, and somebody else has had it since; StoreEnded if Redis
        holds another line than `over`.
        """
        # A deed belongs to no refresh, and so to no lock.
        held = (None if over is None else self._held) or _Lease("", 0)
        arguments = (self._codec.encode(session), held.holder, held.fence, self._channel, session.line, over or "")
        try:
            saved = await self._run(SAVE, (self._session, self._lock), *arguments)
        except StoreAway:
            self._owes = session.used_at is None or self._owes
            raise
        self._owes = self._owes and session.used_at is not None
        if saved < 0:
            raise StoreEnded(f"{self._place}: somebody signed in or out meanwhile")
        if not saved:
            raise StoreSuperseded(f"{self._place}: this process lost its lease, and another one went on")

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Hold off other processes. Raises StoreBusy if one of them holds the lock for too long, StoreAway."""
        return self._locked()

    async def confirm(self) -> None:
        """Raise StoreSuperseded if the lock was held, and somebody else has had it since; StoreAway."""
        held = self._held
        if held is not None and not await self._renewed(held):
            raise StoreSuperseded(f"{self._place}: this process lost its lease, and another one went on")

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever somebody saved, and when the channel can be heard again after it could not."""
        pause = 0.1
        while True:
            listener = self._redis.pubsub()
            try:
                await listener.subscribe(self._channel)
                async with contextlib.aclosing(self._listen(listener)) as heard:
                    async for news in heard:
                        pause = 0.1
                        self._said.set()
                        self._said = asyncio.Event()
                        if news:
                            yield
            except (RedisError, OSError, TimeoutError):
                self._note_away()
            finally:
                with contextlib.suppress(RedisError, OSError):
                    await listener.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_RETRY)

    async def close(self) -> None:
        """Close the connections."""
        if self._releases:
            await asyncio.wait(self._releases, timeout=self._timeout)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._redis.aclose()

    async def _listen(self, listener: PubSub) -> AsyncGenerator[bool, None]:
        """Yield True where there may be news, False where the lock may be free."""
        asked = False
        while True:
            message = await listener.get_message(timeout=min(_SILENCE, self._timeout))
            if message is None and asked:
                raise TimeoutError
            asked = message is None
            if message is None:
                # Silence: is anybody there? What was said on a connection that died is lost.
                await listener.ping()
            elif message["type"] == "subscribe":
                yield True
            elif message["type"] == "message":
                yield message["data"] != b"free"

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        lease = await self._acquire()
        self._held = self._last = lease
        renewing = asyncio.create_task(self._renew(lease), name=f"lease of {self._session}")
        try:
            yield
        finally:
            self._held = None
            releasing = self._let_go(lease.holder)
            await end([renewing])
            await asyncio.wait([releasing])

    async def _acquire(self) -> _Lease:
        holder = secrets.token_hex(16)
        try:
            if self._owes and self._last is not None and await self._renewed(self._last):
                return self._last
            await self._give_precedence()
            async with asyncio.timeout(self._lock_timeout):
                while True:
                    said = self._said
                    names = (self._session, self._lock)
                    fence, left = await self._run(ACQUIRE, names, holder, int(self._lease * 1000))
                    if fence > self._granted:
                        self._granted = fence
                        return _Lease(holder, fence)
                    if fence:
                        # Redis went back to an older state while nobody looked; a lease may be among what it forgot.
                        await self._let_go(holder)
                        self._granted = 0
                        self._note_away()
                        await self._give_precedence()
                        continue
                    pause = min(max(left / 1000, 0.01), _LONGEST_PAUSE)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await said.wait()
        except TimeoutError:
            raise StoreBusy(
                f"{self._place}: another process has held the lock {self._lock} for {self._lock_timeout:g} s; "
                "end it, or give each instance a key of its own"
            ) from None
        except BaseException:
            self._let_go(holder)  # The grant may be on its way.
            raise

    async def _give_precedence(self) -> None:
        """Just after Redis was away, let those go first who were cut off with a token that only they have."""
        if self._away_at is not None and not self._owes:
            await self._do(cast(Awaitable[Any], self._redis.ping()))
            await asyncio.sleep(self._lease * _PRECEDENCE)
        self._away_at = None

    async def _renew(self, lease: _Lease) -> None:
        """Keep the lease alive. One that is lost is not worth telling: a save that matters will be refused."""
        part = _RENEW
        while True:
            await asyncio.sleep(self._lease * part)
            try:
                await self._renewed(lease)
                part = _RENEW
            except StoreError:
                part = _RENEW_AGAIN

    async def _renewed(self, lease: _Lease) -> bool:
        names = (self._session, self._lock)
        return bool(await self._run(RENEW, names, lease.holder, int(self._lease * 1000), lease.fence))

    def _let_go(self, holder: str) -> asyncio.Task[None]:
        """Release the lock, whoever is cancelled meanwhile; a lease that cannot be released ends by itself."""

        async def release() -> None:
            with contextlib.suppress(StoreError):
                await self._run(RELEASE, (self._lock,), holder, self._channel)

        task = asyncio.create_task(release(), name=f"release of {self._lock}")
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)
        return task

    async def _run(self, script: str, names: tuple[str, ...], *arguments: str | bytes | int) -> Any:
        return await self._do(self._redis.eval(script, len(names), *names, *arguments))

    async def _do(self, command: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                return await command
        except (RedisError, OSError, TimeoutError) as error:
            self._note_away()
            raise StoreAway(f"{self._place}: {why(error)}") from None

    def _note_away(self) -> None:
        self._away_at = asyncio.get_running_loop().time()
