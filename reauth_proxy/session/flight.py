"""One refresh, from first call to verdict: reload; adopt, or mark, call and save; publish; retry while unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import structlog

from reauth_proxy.errors import StoreError, StoreSuperseded
from reauth_proxy.session.book import Book
from reauth_proxy.session.calls import Calls, where
from reauth_proxy.session.history import Outcome
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.schedule import LONGEST_RETRY_AFTER, backoff
from reauth_proxy.session.state import BackOff, SignedOut
from reauth_proxy.session.tokens import (
    AccessToken,
    Instant,
    Issued,
    Secret,
    StoredSession,
    TokenReply,
    Unavailable,
)
from reauth_proxy.session.verdicts import Verdict

_log = structlog.get_logger()

Cause = Literal["rejected", "expired", "renewal", "interrupted", "asked"]

_UNANSWERED: Final = "an earlier request with this refresh token got no answer that was saved"
_ROTATION_LOST: Final = f"rotation probably lost: {_UNANSWERED}, and the authorization server does not take it twice"
_REFUSED: Final = "the refresh token was refused: revoked, expired, or used by somebody else"
#: How often a process that was stopped for too long asks for the lock again, to save what it got.
_LATE_ATTEMPTS: Final = 3


class Flight:
    """The one refresh of a session. Runs in a task of the session's own, so no request that leaves can stop it.

    Args:
        cause: what asked for it.
        settle: called once with the verdict when it is known, before anybody wakes; called once before that with a
            BackOff if the refresh is given up while its last call is still listened to.
    """

    def __init__(
        self,
        name: str,
        cause: Cause,
        book: Book,
        ledger: Ledger,
        calls: Calls,
        clock: Callable[[], Instant],
        random: Callable[[], float],
        settle: Callable[[Verdict], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._name = name
        self._cause = cause
        self._book = book
        self._ledger = ledger
        self._calls = calls
        self._clock = clock
        self._random = random
        self._settle = settle
        self._superseded = loop.create_future()
        self._hurried = loop.create_future()
        self._nudged = asyncio.Event()
        self._store_away = False
        #: Loop time at which those who wait are told that it is unavailable; None before the first failure.
        self._deadline: float | None = None
        self._gave_up = False
        self._settled = False
        self._repeated = False
        self._attempt = 0
        #: Loop time at which the present attempt began.
        self._began = loop.time()
        #: Issued, and not saved because the lock was lost meanwhile.
        self._late: tuple[Issued, Secret] | None = None

    def __repr__(self) -> str:
        story = [f"attempt {self._attempt + 1}"]
        story += [word for word, true in (("listening", self._gave_up), ("superseded", self.superseded)) if true]
        return f"<Flight {self._cause}, {', '.join(story)}>"

    @property
    def superseded(self) -> bool:
        """What it was for is gone: another refresh token came, or somebody signed out. Its verdict counts no more."""
        return self._superseded.done()

    def supersede(self) -> None:
        """Let go of the running call, and touch the session no more."""
        if not self._superseded.done():
            self._superseded.set_result(None)

    def hurry(self) -> None:
        """Wait for the running call, but start no other."""
        if not self._hurried.done():
            self._hurried.set_result(None)

    def nudge(self) -> None:
        """Pause no longer between two attempts: the store has news, or is back."""
        self._nudged.set()

    async def run(self) -> None:
        """Refresh until there is a verdict, or nobody wants it any more."""
        if self._cause == "interrupted":
            # Authorization servers that allow for lost answers do so for a short while only.
            _log.warning("refresh.interrupted", **self._who())
        _log.info("refresh.started", cause=self._cause, **self._who())
        try:
            while (unavailable := await self._try()) is not None:
                pause = self._pause_after(unavailable)
                if pause is None:
                    self._give_up(unavailable)
                    return
                await self._pause(pause)
                if self.superseded:
                    return
                if self._hurried.done():
                    self._give_up(unavailable)
                    return
                self._attempt += 1
        except Exception as error:
            _log.error("refresh.failed", **self._who(), **where(error))
            if not self._settled and not self.superseded:
                self._give_up(Unavailable("an unexpected error in this program; the log says where"))

    async def _pause(self, seconds: float) -> None:
        """Wait, unless there is a reason not to; a nudge counts only where the store is what was unavailable."""
        self._nudged.clear()
        nudged = asyncio.ensure_future(self._nudged.wait())
        enough = {self._superseded, self._hurried} | ({nudged} if self._store_away else set())
        try:
            await asyncio.wait(enough, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudged.cancel()

    async def _try(self) -> Unavailable | None:
        """Try once, with the store locked. None: settled or superseded."""
        self._store_away = False
        self._began = asyncio.get_running_loop().time()
        try:
            try:
                async with self._ledger.lock():
                    unavailable = await self._locked()
            except StoreSuperseded:
                unavailable = await self._after_losing_the_lock()
        except StoreError as error:
            if self._settled:
                _log.error("store.failed", to_be="unlocked", error=str(error), **self._who())
                return None
            unavailable = Unavailable(str(error))
            self._store_away = True
        if self.superseded:
            return None
        if unavailable is not None:
            self._note(unavailable)
        return unavailable

    async def _locked(self) -> Unavailable | None:
        denials = 0
        used: Secret | None = None
        doubted = False
        while not self.superseded:
            news = await self._ledger.news(ours_is_dead=denials > 0)
            if self.superseded or (news is not None and self._adopt(news)):
                return None
            if used is not None and (used == self._book.refresh_token or denials > 1):
                await self._deny(used, doubted=doubted)
                return None
            used = self._book.refresh_token
            assert used is not None, "a session that refreshes has a refresh token"
            doubted = self._ledger.doubts(used)
            if doubted:
                _log.warning("refresh.repeated", detail=_UNANSWERED, **self._who())
            await self._ledger.mark(self._book.record(), self._clock())
            reply = await self._reply(used) if not self.superseded else None
            if reply is None:
                return None
            if isinstance(reply, Issued):
                await self._issue(reply, used)
                return None
            if isinstance(reply, Unavailable):
                if not reply.broken and not doubted:
                    await self._ledger.unmark(self._book.record())
                return reply
            self._book.stats.denied += 1
            self._record("denied", reply.error)
            _log.warning("refresh.denied", error=reply.error, **self._who())
            # Another process may have rotated it meanwhile (read the store once more), before it means the end.
            denials += 1
        return None

    async def _reply(self, refresh_token: Secret) -> TokenReply | None:
        """Call, and listen for as long as the call lasts. None: superseded."""
        access = self._book.access
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        call = self._calls.join(refresh_token, access.value if access is not None else None)
        timeout = self._book.policy.timeout
        if self._deadline is None:
            await self._wait_for(call, timeout)
            if not call.done() and not self.superseded:
                self._note(Unavailable(f"no answer within {timeout:g} s; still listening"))
        if self._deadline is not None and not self._gave_up:
            await self._wait_for(call, self._deadline - loop.time())
            if not call.done() and not self.superseded:
                self._give_up(Unavailable("no answer yet"), listening=True)
        await self._wait_for(call, None)
        if self.superseded:
            return None
        return Unavailable("the call was cancelled", broken=True) if call.cancelled() else call.result()

    async def _wait_for(self, call: asyncio.Task[TokenReply], seconds: float | None) -> None:
        if not call.done():
            timeout = None if seconds is None else max(seconds, 0.0)
            await asyncio.wait({call, self._superseded}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    def _adopt(self, news: StoredSession) -> bool:
        """Take over what another process stored; tell whether that settles the refresh."""
        resumed = self._gave_up
        verdict = self._book.adopt(news, self._clock(), self._random())
        if isinstance(verdict, AccessToken):
            _log.info("refresh.adopted", **self._who())
            self._publish(verdict, resumed=resumed)
        elif verdict is not None:
            _log.warning("session.signed_out", reason=verdict.reason, adopted=True, **self._who())
            self._finish(verdict)
        return verdict is not None

    async def _after_losing_the_lock(self) -> Unavailable | None:
        """Another process took over while this one was stopped: see what it made of the session, then save ours or not.

        If it rotated the token too, its session is what everybody shares. If it was refused, because ours is the newer
        token, ours counts.
        """
        if self._late is None:
            return Unavailable("another process took the lock over")
        (issued, used), self._late = self._late, None
        for _ in range(_LATE_ATTEMPTS):
            try:
                async with self._ledger.lock():
                    news = await self._ledger.news(ours_is_dead=True)
                    if self.superseded:
                        return None
                    if news is not None and news.refresh_token is not None and news.refresh_token != used:
                        _log.warning("refresh.discarded", problem="another process refreshed meanwhile", **self._who())
                        return None if self._adopt(news) else await self._locked()
                    await self._issue(issued, used)
                    return None
            except StoreSuperseded:
                continue
            except StoreError:
                break
        self._ledger.keep(self._publish_issued(issued, used))
        return None

    async def _issue(self, issued: Issued, used: Secret) -> None:
        """Save, then publish: a rotated refresh token that is lost in a crash ends the session."""
        token = self._book.token(issued, self._clock(), self._random())
        try:
            await self._ledger.save(self._book.record_with(token, issued.refresh_token or used))
        except StoreSuperseded:
            self._late = issued, used
            raise
        if not self.superseded:  # Else whoever superseded it saves what is in force now, after us.
            self._publish_issued(issued, used, token)

    def _publish_issued(self, issued: Issued, used: Secret, token: AccessToken | None = None) -> StoredSession:
        book, now = self._book, self._clock()
        token = token or book.token(issued, now, self._random())
        refresh_token = issued.refresh_token or used
        resumed = self._gave_up
        book.issue(token, refresh_token, now, asked=self._cause == "rejected")
        self._record("issued")
        _log.info("refresh.issued", rotated=refresh_token != used, expires_in=issued.lifetime, **self._who())
        self._publish(token, resumed=resumed)
        return book.record()

    async def _deny(self, used: Secret, *, doubted: bool) -> None:
        self._book.deny(used)
        detail = _ROTATION_LOST if doubted else _REFUSED
        _log.warning("session.signed_out", reason="refresh_denied", detail=detail, **self._who())
        record = self._book.record()
        self._finish(SignedOut("refresh_denied"))
        await self._ledger.save(record)

    def _publish(self, token: AccessToken, *, resumed: bool) -> None:
        if resumed:
            _log.info("session.resumed", **self._who())
        self._finish(token)

    def _finish(self, verdict: Verdict) -> None:
        self._settled = True
        self._settle(verdict)

    def _note(self, unavailable: Unavailable) -> None:
        """One failed attempt: count it, log it, and let the time run out from the first one on."""
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._book.policy.retry_for
        self._book.stats.unavailable += 1
        self._record("unavailable", unavailable.cause)
        _log.warning("refresh.unavailable", problem=unavailable.cause, attempt=self._attempt + 1, **self._who())

    def _pause_after(self, unavailable: Unavailable) -> float | None:
        """Return the seconds until the next attempt, None if there is to be none."""
        if unavailable.misconfigured or self._gave_up or self._hurried.done():
            return None
        assert self._deadline is not None, "the failure was noted"
        if unavailable.broken and not self._repeated:
            # The answer may have been lost with a rotated token in it; servers allow for that, but not for long.
            self._repeated = True
            pause = 0.0
        else:
            pause = backoff(self._attempt, self._random())
        if unavailable.retry_after is not None:
            pause = max(pause, min(unavailable.retry_after, LONGEST_RETRY_AFTER))
        left = max(self._deadline - asyncio.get_running_loop().time(), 0.0)
        return pause if pause <= left else None

    def _give_up(self, unavailable: Unavailable, *, listening: bool = False) -> None:
        pause = self._book.give_up(
            unavailable.cause, self._clock(), unavailable.retry_after, self._random(), listening=listening
        )
        self._gave_up = True
        _log.error(
            "refresh.unavailable",
            problem=unavailable.cause,
            gave_up=True,
            misconfigured=unavailable.misconfigured,
            cool_off=round(pause, 1),
            **self._who(),
        )
        self._settled = not listening
        self._settle(BackOff(pause))

    def _record(self, outcome: Outcome, problem: str | None = None) -> None:
        seconds = asyncio.get_running_loop().time() - self._began
        self._book.history.note(self._clock().wall, outcome, seconds, self._cause, problem)

    def _who(self) -> dict[str, object]:
        return {"credential": self._name, "generation": self._book.generation}
