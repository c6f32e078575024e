"""A small model of Redis: what its scripts do, said again in Python; a server of it that fails; a client for it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from reauth_proxy.stores.redis_scripts import ACQUIRE, RELEASE, RENEW, SAVE
from tests.session.fakes import VirtualLoop

Result = int | list[int]


def sha1(data: str) -> str:
    return hashlib.sha1(data.encode()).hexdigest()


@dataclass
class Keys:
    """What Redis holds of one session; times are in milliseconds.

    Attributes:
        session: the hash.
        lock, until: the string that expires, and when.
        news: what was published.
        saves: fence and holder of each save that succeeded with the lock: what this history has seen.
        deed: the line of what replaced whatever was there, and the fence then.
        broken: promises.
    """

    session: dict[str, str] = field(default_factory=dict)
    lock: str | None = None
    until: float = 0.0
    news: tuple[str, ...] = ()
    saves: tuple[tuple[int, str], ...] = ()
    deed: tuple[str, int] = ("", 0)
    broken: tuple[str, ...] = ()

    def copy(self) -> Keys:
        return replace(self, session=dict(self.session))

    @property
    def fence(self) -> int:
        return int(self.session.get("fence", "0"))

    def held(self, now: float) -> str | None:
        if self.lock is not None and self.until <= now:
            self.lock = None
        return self.lock

    def grant(self, fence: int, holder: str) -> None:
        if fence < self.fence:
            self.broken = (*self.broken, f"the fence went from {self.fence} to {fence}")
        self.session.update(fence=str(fence), holder=holder)
        self.session.pop("free", None)
        self.session.pop("spared", None)

    def judge(self, holder: str, fence: int, line: str, *, deed: bool) -> None:
        """Look at a save that is about to succeed. Deeds have no lock, also those that are saved late."""
        if deed or not holder:
            self.deed = line, self.fence
        elif line != self.deed[0] and fence <= self.deed[1]:
            self.broken = (*self.broken, f"{line} was saved over {self.deed[0]}")
        if holder:
            last = self.saves[-1] if self.saves else (0, holder)
            if last[0] > fence or (last[0] == fence and last[1] != holder):
                self.broken = (*self.broken, f"a save with {fence} came after one with {last[0]}")
            self.saves = (*self.saves, (fence, holder))

    def line(self) -> str | None:
        """Return the line of the data; None where nobody knows it."""
        data, line = self.session.get("data"), self.session.get("line")
        known = data is not None and line is not None and line[:41] == f"{sha1(data)} "
        return line[41:] if known and line is not None else None


def acquire(keys: Keys, now: float, holder: str, lease: int, spare: int) -> Result:
    if keys.held(now) is not None:
        return [0, int(keys.until - now)]
    last = keys.session.get("holder")
    if last is not None and last not in (keys.session.get("free"), keys.session.get("spared")):
        keys.lock, keys.until = last, now + spare
        keys.session["spared"] = last
        return [0, spare]
    keys.lock, keys.until = holder, now + lease
    keys.grant(keys.fence + 1, holder)
    return [keys.fence, 0]


def renew(keys: Keys, now: float, holder: str, lease: int, mine: int) -> Result:
    held = keys.held(now)
    if held == holder:
        keys.session.pop("spared", None)
        keys.until = now + lease
        return 1
    if held is not None or keys.fence > mine:
        return 0
    if keys.fence == mine and (keys.session.get("holder") != holder or keys.session.get("free") == holder):
        return 0
    if keys.fence < mine:
        keys.session.pop("line", None)
    keys.lock, keys.until = holder, now + lease
    keys.grant(mine, holder)
    return 1


def save(keys: Keys, data: str, holder: str, mine: int, line: str, *, deed: bool, over: str) -> Result:
    if holder and (keys.fence > mine or (keys.fence == mine and keys.session.get("holder") != holder)):
        return 0
    newer = bool(holder) and keys.fence < mine
    if not deed and not newer and keys.line() not in (None, over):
        return -1
    keys.judge(holder, mine, line, deed=deed)
    if holder:
        keys.session.update(fence=str(mine), holder=holder)
    keys.session.update(data=data, line=f"{sha1(data)} {line}")
    keys.news = (*keys.news, "news")
    return 1


def release(keys: Keys, now: float, holder: str, useless: int) -> Result:
    held, last = keys.held(now) == holder, keys.session.get("holder") == holder
    if held:
        keys.lock = None
    if last and keys.session.get("fence") == str(useless):
        keys.session["fence"] = str(keys.fence - 1)
        del keys.session["holder"]
        keys.news = (*keys.news, "news")
    elif held or last:
        keys.session["free"] = holder
    else:
        return 0
    keys.news = (*keys.news, "free")
    return 1


def run(keys: Keys, now: float, script: str, names: list[str], arguments: list[Any]) -> Result:
    """Do what Redis does with this script."""
    text = [one.decode() if isinstance(one, bytes) else str(one) for one in arguments]
    if script == ACQUIRE:
        return acquire(keys, now, text[0], int(text[1]), int(text[2]))
    if script == RENEW:
        return renew(keys, now, text[0], int(text[1]), int(text[2]))
    if script == SAVE:
        return save(keys, text[0], text[1], int(text[2]), text[4], deed=text[5] == "1", over=text[6])
    assert script == RELEASE
    return release(keys, now, text[0], int(text[2]))


class Server:
    """A Redis that is killed, hangs, is cut off from some, forgets, and goes back to what it held before.

    Args:
        changed: called after each script.

    Attributes:
        cut: who cannot reach it.
        deaf: whose next command is done, and its answer lost.
        unlucky: whose next save is lost, with its connection.
        silent: nobody may listen.
        waiting: what it was told while it hangs, to be done when it goes on, whoever has stopped waiting for it.
        since: when it was last started, or went on.
        hung_at: since when it hangs, or hung last.
        forgot: it started last with less than it held.
    """

    def __init__(self, loop: VirtualLoop, changed: Callable[[], None]) -> None:
        self.loop, self.changed = loop, changed
        self.keys = Keys()
        self.up, self.hangs = True, False
        self.cut: set[int] = set()
        self.deaf: set[int] = set()
        self.unlucky: set[int] = set()
        self.silent = False
        self.waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self.listeners: dict[ModelPubSub, None] = {}
        self.outages: list[float] = []
        self.since = self.hung_at = loop.now
        self.forgot = False

    @property
    def now(self) -> float:
        return self.loop.now

    async def call(self, who: int, work: Callable[[], Any]) -> Any:
        if not self.up or who in self.cut:
            raise RedisConnectionError("refused")
        if self.hangs:
            answer = asyncio.get_running_loop().create_future()
            self.waiting.append((work, answer))
            result = await answer
        else:
            result = work()
            await asyncio.sleep(0)
        lost = who in self.deaf
        self.deaf.discard(who)
        if lost or who in self.cut or not self.up:
            raise RedisConnectionError("reset")
        return result

    def publish(self, before: int) -> None:
        for text in self.keys.news[before:]:
            for listener in self.listeners:
                listener.hear("message", text.encode())

    def end(self) -> None:
        """Die: whoever is connected hears of it."""
        self.up, self.hangs = False, False
        self.outages.append(self.now)
        for _, answer in self.waiting:
            if not answer.done():
                answer.set_exception(RedisConnectionError("reset"))
        self.waiting.clear()
        self.disconnect(None)

    def disconnect(self, who: int | None) -> None:
        for listener in list(self.listeners):
            if who in (None, listener.who):
                listener.hear("broken")

    def start(self, held: Keys, *, forgot: bool) -> None:
        """Start, holding this."""
        self.forgot = forgot
        self.keys, self.up = held.copy(), True
        self.since = self.now

    def take_over(self, held: Keys) -> None:
        """Hold this from now on, and nobody sees that."""
        self.outages.append(self.now)
        self.start(held, forgot=True)

    def hang(self) -> None:
        if self.up and not self.hangs:
            self.hangs, self.hung_at = True, self.now

    def go_on(self, order: Callable[[list[Any]], list[Any]]) -> None:
        """Hang no more: do what there is to do, in some order."""
        self.hangs, self.since = False, self.now
        self.outages.append(self.now)
        waiting, self.waiting = self.waiting, []
        for work, answer in order(waiting):
            result = work()
            if not answer.done():
                answer.set_result(result)


class ModelRedis:
    """As much of a client as a store uses."""

    def __init__(self, server: Server, who: int) -> None:
        self.server, self.who = server, who
        self.connection_pool = SimpleNamespace(connection_kwargs={"path": "a model"})

    async def eval(self, script: str, count: int, *rest: Any) -> Any:
        def work() -> Result:
            keys = self.server.keys
            before = len(keys.news)
            result = run(keys, self.server.now * 1000, script, list(rest[:count]), list(rest[count:]))
            self.server.publish(before)
            self.server.changed()
            return result

        if script == SAVE and self.who in self.server.unlucky:
            self.server.unlucky.discard(self.who)
            raise RedisConnectionError("reset")
        return await self.server.call(self.who, work)

    async def hget(self, name: str, key: str) -> bytes | None:
        def work() -> bytes | None:
            value = self.server.keys.session.get(key)
            return None if value is None else value.encode()

        got: bytes | None = await self.server.call(self.who, work)
        return got

    async def ping(self) -> bool:
        await self.server.call(self.who, lambda: True)
        return True

    async def set(self, *arguments: Any, **options: Any) -> bool:
        return await self.ping()

    def pubsub(self) -> ModelPubSub:
        return ModelPubSub(self.server, self.who)

    async def aclose(self) -> None:
        pass


class ModelPubSub:
    """One connection that listens."""

    def __init__(self, server: Server, who: int) -> None:
        self.server, self.who = server, who
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def hear(self, kind: str, data: bytes = b"") -> None:
        self.heard.put_nowait({"type": kind, "data": data})

    async def subscribe(self, channel: str) -> None:
        if self.server.silent:
            raise RedisConnectionError("reset")

        def work() -> None:
            self.server.listeners[self] = None
            self.hear("subscribe")

        await self.server.call(self.who, work)

    async def get_message(self, timeout: float) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(timeout):
                message = await self.heard.get()
        except TimeoutError:
            return None
        if message["type"] == "broken":
            raise RedisConnectionError("reset")
        return message

    async def ping(self) -> None:
        if not self.server.hangs and self in self.server.listeners:
            self.hear("pong")

    async def aclose(self) -> None:
        self.server.listeners.pop(self, None)
