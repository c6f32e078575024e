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
        start: starts it, unless it runs, and returns it; None once the session closes.
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
        start: Callable[[], Refresh | None],
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

    def see_off(self, *, ended: bool) -> None:
        """Mind the calls that go on for nobody.

        Args:
            ended: somebody signed out, and what they still bring is to be revoked.
        """
        for used, call in self._calls.running():
            task = asyncio.create_task(self._outlive(used, call, ended), name=f"farewell to a call of {self._name}")
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def came(self, issued: Issued, used: Secret, *, ended: bool) -> None:
        """Heed tokens that came.

        They belong to whoever has signed in with the refresh token that was used, if anybody has.
        """
        in_force = self._book.refresh_token
        if in_force is not None and in_force == used:
            refresh = self._start()
            if refresh is not None:
                refresh.take(issued, used)
            return
        if in_force is not None and in_force == issued.refresh_token:
            return
        if ended:
            self._discard(issued.refresh_token or used, issued.access_token)
        self._used_up(used)

    async def _outlive(self, used: Secret, call: asyncio.Task[TokenReply], ended: bool) -> None:
        await asyncio.wait({call})
        reply = None if call.cancelled() else call.result()
        if isinstance(reply, Issued):
            self.came(reply, used, ended=ended)
        elif isinstance(reply, Unavailable) and reply.refresh_token is not None:
            if ended:
                self._discard(reply.refresh_token, None)
            self._used_up(used)
        elif isinstance(reply, Denied) and used != self._book.refresh_token:
            self._book.lineage.refuse(used, self._calls.asked(call))
            self._keep()

    def _used_up(self, refresh_token: Secret) -> None:
        if not self._book.lineage.knows(refresh_token):
            self._book.withdraw(refresh_token)
        self._keep()

    def _keep(self) -> None:
        if self._refresh() is None:
            self._ledger.keep(record(self._book))  # Else the refresh that runs saves it.
