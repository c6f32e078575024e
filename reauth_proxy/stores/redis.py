"""One session for many replicas, on many machines: a store in Redis or Valkey.

The lock is a lease that is renewed while it is held; it passes on when its holder dies, is stopped, or is cut off. Each
grant of it has a number, the fence, and a save is refused once a higher number has been granted: compare and set, in
one script. Whoever saves or lets go says so on a channel, so that nobody has to ask again and again.

While Redis is away nobody can know what the others do with the refresh token: nothing is refreshed. What is done once
it is back, and who goes first, :mod:`reauth_proxy.stores.redis_recovery` decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar, cast

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from reauth_proxy.errors import StoreAway, StoreBusy, StoreEnded, StoreError, StoreSuperseded
from reauth_proxy.session.ending import end
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores import redis_recovery as recovery
from reauth_proxy.stores.codec import Codec
from reauth_proxy.stores.redis_client import RedisTls, client, place, why
from reauth_proxy.stores.redis_recovery import Ask, Event, HoldBack, Lease, Probe, Standing, TakeUp
from reauth_proxy.stores.redis_scripts import ACQUIRE, RELEASE, RENEW, SAVE
from reauth_proxy.stores.worker import TIMEOUT

T = TypeVar("T")

#: Seconds after which a holder that does not renew its lease loses it.
LEASE: Final = 5.0
#: Seconds of silence on the channel after which it is asked whether anybody is there.
_SILENCE: Final = 3.0
#: Seconds between two attempts for a lock of which nobody says that it is free.
_LONGEST_PAUSE: Final = 0.5
#: Pauses between attempts to listen again grow up to this many seconds.
_LONGEST_RETRY: Final = 1.0


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
        #: The grant of the lock that is in use.
        self._held: Lease | None = None
        #: How this process stands with Redis.
        self._standing = Standing()
        #: Set when the channel says something; those who wait for the lock listen.
        self._said = asyncio.Event()
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
        deed = over is None
        held = (None if deed else self._held) or Lease("", 0)
        follows = (session.line, int(deed), over or "")
        arguments = (self._codec.encode(session), held.holder, held.fence, self._channel, *follows)
        # A mark that cannot be saved is no loss: the refresh that it announces is not made then.
        matters = session.used_at is None
        try:
            saved = await self._run(SAVE, (self._session, self._lock), *arguments)
        except StoreAway:
            if matters:
                self._note(Event.OWED)
            raise
        if matters:
            self._note(Event.SETTLED)
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

    async def claim(self) -> bool:
        """Nobody is ever alone with a Redis: what cannot be read there belongs to others, too."""
        return False

    def share(self) -> None:
        """There is nothing to give back."""

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever somebody saved, and when the channel can be heard again after it could not."""
        pause, again = 0.1, False
        while True:
            listener = self._redis.pubsub()
            listened = False
            try:
                async with asyncio.timeout(self._timeout):
                    await listener.subscribe(self._channel)
                async with contextlib.aclosing(self._listen(listener)) as heard:
                    async for news in heard:
                        if again and not listened:
                            self._note(Event.FAILED)  # Nobody knows how often, since it was heard last.
                        pause, listened = 0.1, True
                        self._note(Event.ANSWERED)
                        self._said.set()
                        self._said = asyncio.Event()
                        if news:
                            yield
            except (RedisError, OSError, TimeoutError):
                # Where nobody may listen, or nothing is ever heard, that is no outage: commands tell.
                if listened:
                    self._note(Event.FAILED)
            finally:
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    async with asyncio.timeout(self._timeout):
                        await listener.aclose()  # type: ignore[no-untyped-call]
            again = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_RETRY)

    async def close(self) -> None:
        """Close the connections, within the time that one command may take."""
        if self._releases:
            await asyncio.wait(self._releases, timeout=self._timeout / 2)
            await end(self._releases)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout / 2):
                await self._redis.aclose()

    async def _listen(self, listener: PubSub) -> AsyncGenerator[bool, None]:
        """Yield True where there may be news, False where the lock may be free."""
        silence = min(_SILENCE, self._timeout)
        asked = False
        while True:
            # A connection that broke is made anew in here, before that is told.
            async with asyncio.timeout(silence + self._timeout):
                message = await listener.get_message(timeout=silence)
            if message is None and asked:
                raise TimeoutError
            asked = message is None
            if message is None:
                # Silence: is anybody there? What was said on a connection that died is lost.
                async with asyncio.timeout(self._timeout):
                    await listener.ping()
            elif message["type"] == "subscribe":
                yield True
            elif message["type"] == "message":
                yield message["data"] != b"free"

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        lease = self._held = await self._acquire()
        renewing = asyncio.create_task(self._renew(lease), name=f"lease of {self._session}")
        left = Event.BROKEN_OFF
        try:
            yield
            left = Event.LEFT
        finally:
            self._held = None
            self._note(left)
            releasing = self._let_go(lease.holder) if recovery.lets_go(self._standing) else None
            await end([renewing])
            if releasing is not None:
                await asyncio.wait([releasing])

    async def _acquire(self) -> Lease:
        holder = secrets.token_hex(16)
        held_back, refused = 0.0, False
        try:
            async with asyncio.timeout(self._lock_timeout):
                while True:
                    step = recovery.next_step(
                        self._standing, self._now(), self._lease, held_back=held_back, refused=refused
                    )
                    match step:
                        case Probe():
                            await self._probe()
                        case HoldBack(seconds):
                            held_back += seconds
                            await asyncio.sleep(seconds)
                            await self._probe()
                        case TakeUp(lease):
                            if await self._renewed(lease):
                                return self._granted(lease)
                            refused = True
                        case Ask(enough):
                            if enough:
                                self._note(Event.HELD_BACK)
                            fence = await self._ask(holder)
                            if fence and self._trusts(fence, held_back):
                                return self._granted(Lease(holder, fence))
                            if fence:
                                self._standing = self._standing.distrusted(fence, self._now())
                                refused = False
                                await self._let_go(holder, useless=fence)
                                holder = secrets.token_hex(16)
        except TimeoutError:
            self._let_go(holder)  # The grant may be on its way.
            raise StoreBusy(
                f"{self._place}: another process has held the lock {self._lock} for {self._lock_timeout:g} s; "
                "end it, or give each instance a key of its own"
            ) from None
        except BaseException:
            self._let_go(holder)
            raise

    def _granted(self, lease: Lease) -> Lease:
        self._standing = self._standing.granted(lease, self._now())
        return lease

    def _trusts(self, fence: int, held_back: float) -> bool:
        return recovery.trusted(self._standing, fence, self._now(), self._lease, held_back=held_back)

    async def _probe(self) -> None:
        await self._do(cast(Awaitable[Any], self._redis.ping()))

    async def _ask(self, holder: str) -> int:
        """Ask for the lock once; return the fence. 0: it is held, and some time has passed, or somebody has let go."""
        said = self._said
        times = int(self._lease * 1000), int(self._lease * recovery.PRECEDENCE * 1000)
        fence, left = await self._run(ACQUIRE, (self._session, self._lock), holder, *times)
        if not fence:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(left / 1000, 0.01), _LONGEST_PAUSE)):
                    await said.wait()
        return int(fence)

    async def _renew(self, lease: Lease) -> None:
        """Keep the lease alive. One that is lost is not worth telling: a save that matters will be refused."""
        part = recovery.RENEW
        while True:
            await asyncio.sleep(self._lease * part)
            try:
                await self._renewed(lease)
                part = recovery.RENEW
            except StoreError:
                part = recovery.RENEW_AGAIN

    async def _renewed(self, lease: Lease) -> bool:
        names = (self._session, self._lock)
        return bool(await self._run(RENEW, names, lease.holder, int(self._lease * 1000), lease.fence))

    def _let_go(self, holder: str, *, useless: int = 0) -> asyncio.Task[None]:
        """Release the lock, whoever is cancelled meanwhile; a lease that cannot be released ends by itself.

        Args:
            useless: the number of a grant that was not used.
        """

        async def release() -> None:
            with contextlib.suppress(StoreError):
                await self._run(RELEASE, (self._session, self._lock), holder, self._channel, useless)

        task = asyncio.create_task(release(), name=f"release of {self._lock}")
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)
        return task

    async def _run(self, script: str, names: tuple[str, ...], *arguments: str | bytes | int) -> Any:
        return await self._do(self._redis.eval(script, len(names), *names, *arguments))

    async def _do(self, command: Awaitable[T]) -> T:
        began = self._now()
        try:
            async with asyncio.timeout(self._timeout):
                answer = await command
        except (RedisError, OSError, TimeoutError) as error:
            self._note(Event.FAILED)
            raise StoreAway(f"{self._place}: {why(error)}") from None
        if recovery.slow(self._now() - began, self._lease):
            self._note(Event.FAILED)
        self._note(Event.ANSWERED)
        return answer

    def _note(self, event: Event) -> None:
        self._standing = self._standing.after(event, self._now())

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
