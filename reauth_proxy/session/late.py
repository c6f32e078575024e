"""What calls bring whose refresh is no more: somebody has signed in or out since they were made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reauth_proxy.session.book import Book
from reauth_proxy.session.calls import Calls
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.records import record
from reauth_proxy.session.refresh import Refresh
from reauth_proxy.session.tokens import Denied, Issued, Secret, TokenReply, Unavailable


class Late:
    """Heeds what such calls bring: nothing of it is thrown away that is somebody's, and nothing is asked for twice.

    Args:
        name: of the credential, for the tasks.
        refresh: returns the refresh in flight, if any.
        start: starts it, unless it runs.
        discard: has tokens revoked.

    Attributes:
        tasks: those that listen still.
    """

    def __init__(
        self,
        name: str,
        book: Book,
        ledger: Ledger,
        calls: Calls,
        refresh: Callable[[], Refresh | None],
        start: Callable[[], None],
        discard: Callable[[Secret | None, Secret | None], None],
    ) -> None:
        self._name = name
        self._book = book
        self._ledger = ledger
        self._calls = calls
        self._refresh = refresh
        self._start = start
        self._discard = discard
        self.tasks: set[asyncio.Task[None]] = set()  # strong references
        #: The calls that are listened to; with whether somebody signed out since they were made.
        self._ended: dict[asyncio.Task[TokenReply], bool] = {}

    def see_off(self, *, ended: bool) -> None:
        """Mind the calls that go on for nobody, or have brought what nobody has heeded.

        Args:
            ended: somebody signed out, and what they bring is to be revoked.
        """
        for used, call in self._calls.all():
            listened = call in self._ended
            self._ended[call] = ended or self._ended.get(call, False)
            if not listened:
                task = asyncio.create_task(self._outlive(used, call), name=f"farewell to a call of {self._name}")
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    async def _outlive(self, used: Secret, call: asyncio.Task[TokenReply]) -> None:
        try:
            await asyncio.wait({call})
        finally:
            ended = self._ended.pop(call)
        reply = None if call.cancelled() else call.result()
        in_force = self._book.refresh_token
        if isinstance(reply, Denied) and used != in_force:
            self._book.lineage.refuse(used, self._calls.asked(call))
            self._keep()
        if reply is None or not self._calls.has(used):
            return  # Or somebody has joined the call, and heeded what it brought.
        if used == in_force:
            self._start()  # It belongs to whoever has signed in with that refresh token.
        elif isinstance(reply, Unavailable) and reply.refresh_token is None:
            self._book.lineage.refuse(used, self._calls.asked(call))  # It may be used up.
            self._keep()
            self._calls.heeded(used)
        else:
            self._take_note(reply, used, ended)

    def _take_note(self, reply: TokenReply, used: Secret, ended: bool) -> None:
        """A refresh token has been used up for nobody."""
        new = reply.refresh_token if isinstance(reply, Issued | Unavailable) else None
        in_force = self._book.refresh_token
        if ended and (in_force is None or in_force != new):
            self._discard(new or used, reply.access_token if isinstance(reply, Issued) else None)
        if ended or in_force == new:
            self._calls.heeded(used)
        else:
            self._calls.set_aside(used)
        if in_force is None or in_force != new:
            self._used_up(used)

    def _used_up(self, refresh_token: Secret) -> None:
        if not self._book.lineage.knows(refresh_token):
            self._book.withdraw(refresh_token)
        self._keep()

    def _keep(self) -> None:
        if self._refresh() is None:
            self._ledger.keep(record(self._book))  # Else the refresh that runs saves it.
