"""What a refresh asks, and for how long: its one call, its waits, its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reauth_proxy.session.book import Book
from reauth_proxy.session.calls import Calls
from reauth_proxy.session.chronicle import Cause, Chronicle
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.progress import Phase, Progress, Step
from reauth_proxy.session.state import BackOff
from reauth_proxy.session.stopped import wait_for
from reauth_proxy.session.tokens import Instant, Issued, Secret, TokenReply, Unavailable
from reauth_proxy.session.verdicts import Verdict


class Asking:
    """The half of a refresh that asks; :class:`~reauth_proxy.session.refresh.Refresh` is the one that decides.

    Args:
        cause: what asked for it.
        settle: called once with the verdict when it is known, before anybody wakes, None where there is none for those
            who wait; called once before that with a BackOff if its last call is still listened to.

    Attributes:
        orphan: what it was issued, and is not in force, and the refresh token that was used.
        leftover: a refresh and an access token to be revoked: whoever signed out did not know of them.
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
        settle: Callable[[Verdict | None], None],
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
        self._progress = Progress()
        self._superseded = loop.create_future()
        self._hurried = loop.create_future()
        self._nudged = asyncio.Event()
        #: Somebody wants a call repeated that got a 2xx of which nothing could be read.
        self._repeats = ledger.marked.rests(book.refresh_token, book.lineage.endpoint)
        #: The store is what was unavailable.
        self._store_failed = False
        self._chronicle = Chronicle(name, cause, book, clock)
        self.orphan: tuple[Issued, Secret] | None = None
        self._tried = False
        #: Fingerprint of the token endpoint's configuration that the last call went by.
        self._endpoint = ""
        self.leftover: tuple[Secret, Secret | None] | None = None

    def __repr__(self) -> str:
        return f"<Refresh {self._cause}, attempt {self._progress.attempt + 1}, {self._progress.phase.value}>"

    @property
    def phase(self) -> Phase:
        """Where it is."""
        return self._progress.phase

    @property
    def superseded(self) -> bool:
        """What it was for is gone: another refresh token came, or somebody signed out. Its verdict counts no more."""
        return self._superseded.done()

    def supersede(self) -> None:
        """Let go of the running call, and touch the session no more."""
        if not self._superseded.done():
            self._superseded.set_result(None)
            self._progress.move(Step.SUPERSEDED)

    def hurry(self) -> None:
        """Wait for the running call, but start no other."""
        if not self._hurried.done():
            self._hurried.set_result(None)

    def nudge(self, *, by_the_store: bool) -> None:
        """Pause no longer between two attempts: the configuration has changed, or the store has news, or is back.

        Args:
            by_the_store: it counts only where the store is what was unavailable.
        """
        if self._store_failed or not by_the_store:
            self._nudged.set()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless there is a reason not to."""
        nudged = asyncio.ensure_future(self._nudged.wait())
        try:
            enough = {self._superseded, self._hurried, nudged}
            await asyncio.wait(enough, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudged.cancel()

    async def _reply(self, refresh_token: Secret) -> TokenReply | None:
        """Call, and listen for as long as the call lasts. None: superseded."""
        access = self._book.access
        loop = asyncio.get_running_loop()
        self._chronicle.begins()
        call = self._calls.join(refresh_token, None if access is None else access.value, self._ledger.confirm)
        self._endpoint = self._calls.asked(call)
        timeout = self._book.policy.timeout
        if self._progress.deadline is None:
            await self._wait_for(call, timeout)
            if not call.done() and not self.superseded:
                self._note(Unavailable(f"no answer within {timeout:g} s; still listening"))
        if self._progress.deadline is not None and self.phase is Phase.ASKING:
            await self._wait_for(call, self._progress.deadline - loop.time())
            if not call.done() and not self.superseded:
                self._tell(Unavailable("no answer yet"))
        await self._wait_for(call, None)
        if self.superseded:
            return None
        return Unavailable("the call was cancelled", broken=True) if call.cancelled() else call.result()

    async def _wait_for(self, call: asyncio.Task[TokenReply], seconds: float | None) -> None:
        if not call.done():
            await wait_for({call, self._superseded}, None if seconds is None else max(seconds, 0.0))

    def _finish(self, verdict: Verdict | None) -> None:
        self._progress.move(Step.SETTLED)
        self._settle(verdict)

    def _note(self, unavailable: Unavailable) -> None:
        """One failed attempt: let the time run out from the first one on."""
        self._progress.failed(asyncio.get_running_loop().time(), self._book.policy.retry_for)
        self._chronicle.unavailable(unavailable, self._progress.attempt + 1)

    def _tell(self, unavailable: Unavailable) -> None:
        """Tell those who wait; the call goes on."""
        pause = self._book.tell(unavailable.cause, self._clock(), unavailable.retry_after, self._random())
        self._progress.move(Step.TOLD)
        self._chronicle.gave_up(unavailable, pause)
        self._settle(BackOff(pause))

    def _give_up(self, unavailable: Unavailable) -> None:
        pause = self._book.give_up(unavailable.cause, self._clock(), unavailable.retry_after, self._random())
        self._chronicle.gave_up(unavailable, pause)
        self._finish(BackOff(pause))
