"""A token endpoint with a gate, a store that records, and an event loop whose time passes when nothing else can."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import selectors
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from reauth_proxy.errors import StoreBusy, StoreEnded, StoreError, StoreSuperseded
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import LAGS, Attempt, RefreshPolicy, Relay
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret, StoredSession, TokenReply

WALL = 1_800_000_000.0


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Instead of waiting for a timer, moves the loop's time to it."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("everything waits and no timer is set: a deadlock")
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours of waiting take no time, and every run is the same. No place for threads and sockets."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 1000.0
        #: How far the wall clock has run ahead of the monotonic one: how long the laptop slept.
        self.slept = 0.0
        self.complaints: list[dict[str, Any]] = []
        super().__init__(selector)
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return self.now


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in virtual time; afterwards no task is left, and nothing went unretrieved."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(test(*args, **kwargs))
            left = asyncio.all_tasks(loop)
            assert not left, f"tasks left behind: {left}"
        gc.collect()
        assert not loop.complaints, loop.complaints

    return wrapper


def now() -> Instant:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return Instant(loop.time(), WALL + loop.time() + loop.slept)


def sleep_laptop(seconds: float) -> None:
    """Let the wall clock run on while the monotonic one stands still."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.slept += seconds


async def turns(count: int = 20) -> None:
    """Let everything that is ready run; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


class Endpoint:
    """A rotating token endpoint: answers from `script`, else issues; holds each answer until `gate` is open.

    Attributes:
        used: the refresh token of each call, in order.
        running: how many calls run now; `most` at once ever.
    """

    def __init__(self, *script: TokenReply | Exception, lifetime: float | None = 300.0) -> None:
        self.script = list(script)
        self.lifetime = lifetime
        self.gate = asyncio.Event()
        self.gate.set()
        self.rotates = True
        self.used: list[str] = []
        self.times: list[float] = []
        self.running: list[str] = []
        self.cancelled = 0
        self.log: list[str] = []

    @property
    def calls(self) -> int:
        return len(self.used)

    async def refresh(self, refresh_token: Secret, access_token: Secret | None, confirm: object = None) -> TokenReply:
        used = refresh_token.reveal()
        assert used not in self.running, "two calls with one refresh token at once"
        self.used.append(used)
        self.times.append(asyncio.get_running_loop().time())
        self.running.append(used)
        number = self.calls
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running.remove(used)
        reply = self.script.pop(0) if self.script else self.issued(number)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def issued(self, number: int) -> Issued:
        return Issued(secret(f"access-{number}"), secret(f"refresh-{number}") if self.rotates else None, self.lifetime)

    async def close(self) -> None:
        pass


class RecordingStore:
    """Keeps its session in memory, counts, and can be told to fail or to hold a save back."""

    def __init__(self, session: StoredSession | None = None) -> None:
        self.session = session
        self.saved: list[StoredSession] = []
        self.loads = 0
        self.failing = False
        self.busy = False
        self.unlockable = False
        self.unreadable = False
        self.buggy = False
        self.taken_over = False
        #: Whether another process uses it; and whether this one is alone.
        self.shared = False
        self.claimed = False
        self.backup: StoredSession | None = None
        #: How often a token request was marked.
        self.marks = 0
        self.news = asyncio.Event()
        self.locked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def check(self) -> None:
        if self.failing:
            raise StoreError("the store is not writable: make it so")

    async def load(self) -> StoredSession | None:
        self.loads += 1
        await asyncio.sleep(0)
        if self.unreadable:
            raise StoreError("the store is not readable")
        return self.session

    async def load_backup(self) -> StoredSession | None:
        return self.backup

    async def save(self, session: StoredSession, *, over: str | None = None) -> None:
        if session.used_at is None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.failing:
            raise StoreError("no space left on the device")
        if self.taken_over:
            raise StoreSuperseded("another process took the lock over")
        if over is not None and self.session is not None and self.session.line != over:
            raise StoreEnded("somebody signed in or out meanwhile")
        self.session = session
        if session.used_at is None:
            self.saved.append(session)
        else:
            self.marks += 1

    async def confirm(self) -> None:
        if self.taken_over:
            raise StoreSuperseded("another process took the lock over")

    async def claim(self) -> bool:
        self.claimed = not self.shared
        return self.claimed

    def share(self) -> None:
        self.claimed = False

    async def changes(self) -> AsyncGenerator[None, None]:
        while True:
            await self.news.wait()
            self.news.clear()
            yield

    def put(self, session: StoredSession | None) -> None:
        """Another process saves, and everybody hears of it."""
        self.session = session
        self.news.set()

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        if self.buggy:
            raise KeyError("a bug")
        if self.busy:
            raise StoreBusy("another process holds the lock")
        if self.unlockable:
            raise StoreError("the lock cannot be made: no space left on the device")
        assert not self.locked, "locked twice"
        self.locked += 1
        try:
            yield
        finally:
            self.locked -= 1

    async def close(self) -> None:
        pass


def secret(name: str) -> Secret:
    return Secret(f"CANARY-{name}")


def names(*tokens: AccessToken | None) -> list[str | None]:
    return [token and token.value.reveal().removeprefix("CANARY-") for token in tokens]


#: Nothing happens behind the scenes, and every pause is exact.
QUIET = RefreshPolicy(background=False)


@asynccontextmanager
async def a_session(
    endpoint: Endpoint,
    store: RecordingStore | None = None,
    policy: RefreshPolicy = QUIET,
    configured: str | None = "refresh-0",
    clock: Callable[[], Instant] = now,
    discard: Callable[[Secret | None, Secret | None], None] = lambda refresh_token, access_token: None,
) -> AsyncIterator[Session]:
    """A started session, closed at the end, with nobody parked."""
    session = Session(
        "default",
        endpoint,
        store or RecordingStore(),
        policy,
        configured=secret(configured) if configured else None,
        clock=clock,
        random=lambda: 0.0,
        discard=discard,
    )
    await session.start()
    try:
        yield session
    finally:
        await session.close()
        assert session.parked == 0


#: The life that :func:`a_session` begins with.
LIFE = secret("refresh-0").fingerprint()


def theirs(refresh_token: Secret | None, *more: Any, life: str | None = LIFE, **fields: Any) -> StoredSession:
    """Return what another process stores that goes on in the same life."""
    return StoredSession(refresh_token, *more, life=life, **fields)


def tokens(session: StoredSession | None) -> StoredSession | None:
    """Return a stored session without where it comes from."""
    bare: dict[str, Any] = {"life": None, "roots": (), "spent": (), "denials": (), "refused": None}
    return None if session is None else dataclasses.replace(session, **bare)


async def replace(session: Session, generation: int, *, late: bool = False) -> AccessToken | None:
    """Do what the forwarder does after an answer that rejected the token of this generation; None: relay it.

    Args:
        late: the API may not know the token yet; False for one that had all the time.
    """
    sent = Attempt(generation, session.life if generation else 0, pauses=0 if late else len(LAGS))
    decision = session.rejected(sent)
    return None if isinstance(decision, Relay) else await session.newer_token(decision, sent.life)
