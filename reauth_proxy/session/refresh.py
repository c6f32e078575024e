"""One refresh, from first call to verdict: reload; adopt, or mark, call and save; publish; retry while unavailable.

Its phases are in :mod:`reauth_proxy.session.progress`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from reauth_proxy.errors import StoreError, StoreSuperseded
from reauth_proxy.session.asking import Asking
from reauth_proxy.session.chronicle import REFUSED, ROTATION_LOST
from reauth_proxy.session.progress import Phase, Step
from reauth_proxy.session.records import record, record_after
from reauth_proxy.session.state import SignedOut
from reauth_proxy.session.tokens import (
    AccessToken,
    Denied,
    Issued,
    Secret,
    StoredSession,
    Unavailable,
)

#: How often a process that was stopped for too long asks for the lock again, to save what it got.
_LATE_ATTEMPTS: Final = 3


class Refresh(Asking):
    """The one refresh of a session. Runs in a task of the session's own, so no request that leaves can stop it."""

    async def run(self) -> None:
        """Refresh until there is a verdict, or nobody wants it any more."""
        self._chronicle.started()
        try:
            while (unavailable := await self._try()) is not None:
                pause = self._progress.pause_after(unavailable, asyncio.get_running_loop().time(), self._random())
                if pause is None or self._hurried.done():
                    self._give_up(unavailable)
                    return
                self._progress.move(Step.FAILED)
                await self._pause(pause)
                if self.superseded:
                    return
                if self._hurried.done():
                    self._give_up(unavailable)
                    return
                self._progress.move(Step.TRIED_AGAIN)
        except Exception as error:
            self._chronicle.failed(error)
            if self.phase not in (Phase.SETTLED, Phase.SUPERSEDED):
                self._give_up(Unavailable("an unexpected error in this program; the log says where"))

    async def _try(self) -> Unavailable | None:
        """Try once, with the store locked. None: settled or superseded."""
        self._chronicle.begins()
        self._store_failed = False
        self._nudged.clear()
        try:
            try:
                async with self._ledger.lock():
                    unavailable = await self._locked()
            except StoreSuperseded:
                unavailable = await self._after_losing_the_lock()
        except StoreError as error:
            if self.phase is Phase.SETTLED:
                self._chronicle.still_locked(error)
                return None
            unavailable = Unavailable(str(error))
            self._store_failed = True
        if self.superseded:
            return None
        if unavailable is not None:
            self._note(unavailable)
        return unavailable

    async def _locked(self) -> Unavailable | None:
        denials = 0
        denied: Secret | None = None
        doubted = False
        while not self.superseded:
            news = await self._ledger.look(ours_is_dead=denied is not None)
            if self.superseded or (news is not None and self._adopt(news)):
                return None
            if denied is not None and (denied == self._book.refresh_token or denials > 1):
                await self._deny(denied, doubted=doubted)
                return None
            used = self._book.due(self._clock())
            assert used is not None, "a session that refreshes has a refresh token"
            if used != self._book.refresh_token:
                return await self._try_candidate(used)
            if not self._repeats and self._ledger.marked.rests(used, self._book.lineage.endpoint):
                return Unavailable("a 2xx of which nothing could be read, which another process got", answered=True)
            doubted = self._ledger.marked.doubts(used)
            if doubted:
                self._chronicle.repeated()
            await self._ledger.mark(record(self._book), self._clock())
            reply = await self._reply(used) if not self.superseded else None
            if reply is None:
                return None
            if isinstance(reply, Issued):
                await self._issue(reply, used, tried=False)
                return None
            if isinstance(reply, Unavailable):
                await self._save_what_came(reply, used, doubted=doubted)
                return reply
            self._chronicle.denied(reply)
            if self._endpoint != self._book.lineage.endpoint:
                self._book.lineage.refuse(used, self._endpoint)  # By another endpoint, which is configured no more.
                continue
            # Another process may have rotated it meanwhile (read the store once more), before it means the end.
            denied, denials = used, denials + 1
        return None

    async def _try_candidate(self, used: Secret) -> Unavailable | None:
        """Use a refresh token that is no session's yet; whatever else comes of it, the session goes on."""
        await self._ledger.mark(record(self._book), None)
        reply = await self._reply(used) if not self.superseded else None
        if reply is None:
            return None
        book, wanted = self._book, self._book.trying(used)
        if isinstance(reply, Issued) and wanted:
            await self._issue(reply, used, tried=True)
            return None
        if isinstance(reply, Issued):
            book.withdraw(used)
        elif isinstance(reply, Denied):
            self._chronicle.denied(reply)
            self._chronicle.refused(reply)
            book.refuse(used, self._endpoint)
        else:
            self._note(reply)
            if reply.refresh_token is not None:
                book.hold(reply.refresh_token, used)
            if wanted and book.candidate is not None:
                if reply.answered and reply.refresh_token is None:
                    book.refuse(used, self._endpoint)  # It may be used up: another configuration may read more.
                elif not reply.broken or book.candidate.pause:
                    book.candidate.postpone(self._clock())
                else:
                    book.candidate.postpone(self._clock(), at_once=True)
        await self._end_trial(used)
        return None

    async def _end_trial(self, used: Secret) -> None:
        await self._ledger.save(record(self._book))
        if not self.superseded:
            self._calls.heeded(used)
            self._book.keep()
            self._finish(None)

    async def _save_what_came(self, reply: Unavailable, used: Secret, *, doubted: bool) -> None:
        """Save what a call that was of no use says of the refresh token."""
        if reply.refresh_token is not None:
            self._book.hold(reply.refresh_token, used)
            await self._ledger.save(record(self._book), issued=True)
            self._calls.heeded(used)
        elif reply.answered:
            await self._ledger.rest(record(self._book), self._endpoint)
            self._calls.heeded(used)
        elif not reply.broken and not doubted:
            await self._ledger.unmark(record(self._book))

    def _adopt(self, news: StoredSession) -> bool:
        """Take over what another process stored; tell whether that settles the refresh."""
        life, ours = self._book.life, self._book.tokens()
        self._ledger.heard(news)
        verdict = self._book.adopt(news, self._clock(), self._random())
        if isinstance(verdict, SignedOut):
            self._chronicle.signed_out(verdict.reason, adopted=True)
            if verdict.reason == "signed_out":
                self._leave(ours, news)
        elif verdict is not None and self._book.life == life:
            self._chronicle.adopted()
        if verdict is None and self._book.life == life:
            return False
        self._finish(verdict)
        return True

    def _leave(self, ours: tuple[Secret, Secret | None] | None, news: StoredSession) -> None:
        """Somebody else signed out, and has revoked what the store held."""
        if self.orphan is not None:
            issued, used = self.orphan
            self.leftover = issued.refresh_token or used, issued.access_token
        elif ours is not None and ours[0].fingerprint() not in news.spent:
            self.leftover = ours

    async def _after_losing_the_lock(self) -> Unavailable | None:
        """Another process went on meanwhile: see what it made of the session, then save ours or not.

        If it rotated the token too, its session is what everybody shares. If it was refused, because ours is the newer
        token, ours counts. If somebody signed in or out, ours is over.
        """
        if self.phase is Phase.SETTLED:
            return None
        if self.orphan is None:
            return Unavailable("another process changed the session")
        for _ in range(_LATE_ATTEMPTS):
            try:
                async with self._ledger.lock():
                    return await self._save_late()
            except StoreSuperseded:
                continue
            except StoreError:
                break
        if not self.superseded and self.orphan is not None:
            (issued, used), self.orphan = self.orphan, None
            self._ledger.keep(self._publish(issued, used, tried=self._tried))
            self._calls.heeded(used)
        return None

    async def _save_late(self) -> Unavailable | None:
        assert self.orphan is not None
        (issued, used), tried = self.orphan, self._tried
        news = await self._ledger.look(ours_is_dead=True)
        if self.superseded:
            return None
        if news is not None and self._over(news, used, tried=tried):
            if news.refresh_token != used:  # Else it belongs to who has signed in with that.
                self._chronicle.discarded()
                self._calls.heeded(used)
            return None if self._adopt(news) else await self._locked()
        if news is not None:
            self._ledger.heard(news)
        if news is not None and tried:
            self._book.lineage.learn(news)  # All else of it ends with its life.
        if tried and not self._book.trying(used):
            self._book.withdraw(used)
            await self._end_trial(used)
            return None
        await self._issue(issued, used, tried=tried)
        return None

    def _over(self, news: StoredSession, used: Secret, *, tried: bool) -> bool:
        """Tell whether what another process stored leaves no place for what was issued for `used`.

        Args:
            tried: it begins a life of its own.
        """
        if news.life != self._book.lineage.life:
            return True
        if news.refresh_token is None:
            return news.signed_out != "refresh_denied"
        return not tried and news.refresh_token != used

    async def _issue(self, issued: Issued, used: Secret, *, tried: bool) -> None:
        """Save, then publish: a rotated refresh token that is lost in a crash ends the session."""
        now = self._clock()
        token = self._book.token(issued, now, self._random())
        self.orphan, self._tried = (issued, used), tried
        saved = record_after(self._book, issued, token, used, now, tried=tried)
        await self._ledger.save(saved, begins=tried, issued=True)
        if not self.superseded:  # Else whoever superseded it saves what is in force now, after us.
            self.orphan = None
            self._publish(issued, used, token, tried=tried)
            self._calls.heeded(used)

    def _publish(self, issued: Issued, used: Secret, token: AccessToken | None = None, *, tried: bool) -> StoredSession:
        book, now = self._book, self._clock()
        listened = self.phase is Phase.LISTENING
        token = token or book.token(issued, now, self._random())
        token = book.issue(issued, token, used, now, tried=tried, asked=self._cause == "rejected")
        self._chronicle.issued(issued, rotated=issued.refresh_token not in (None, used), resumed=listened)
        self._finish(token)
        return record(book)

    async def _deny(self, used: Secret, *, doubted: bool) -> None:
        self._book.deny(used)
        self._chronicle.signed_out("refresh_denied", detail=ROTATION_LOST if doubted else REFUSED)
        ended = record(self._book)
        self._finish(SignedOut("refresh_denied"))
        await self._ledger.save(ended)
