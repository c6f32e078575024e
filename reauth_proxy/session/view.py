"""What may be seen of a session from outside, at any moment and without waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from reauth_proxy.session.book import Book
from reauth_proxy.session.history import History
from reauth_proxy.session.ledger import Ledger
from reauth_proxy.session.parking import ParkingLot
from reauth_proxy.session.refresh import Refresh
from reauth_proxy.session.snapshot import Snapshot, take_snapshot
from reauth_proxy.session.state import RefreshPolicy, State, Wait, decide_send
from reauth_proxy.session.stats import Stats
from reauth_proxy.session.tokens import Instant
from reauth_proxy.session.verdicts import Verdict

_UNREAD: Final = "its last answer could not be read, and may have used the refresh token up; only a request asks again"


class View:
    """The read-only half of a session; :class:`~reauth_proxy.session.refresher.Session` sets what it looks at."""

    name: str
    _book: Book
    _ledger: Ledger
    _lot: ParkingLot[Verdict]
    _policy: RefreshPolicy
    _clock: Callable[[], Instant]
    _in_flight: Refresh | None
    _closing: bool

    def __repr__(self) -> str:
        story = [str(self.snapshot(self._clock()))] + [repr(self._in_flight)] * bool(self._in_flight)
        story += ["closing"] * self._closing
        return f"<Session {self.name} {self._book.state.value}: {', '.join(story)}>"

    @property
    def state(self) -> State:
        """Where the session is in its life."""
        return self._book.state

    @property
    def generation(self) -> int:
        """The generation of the newest access token; 0 before the first."""
        return self._book.generation

    @property
    def parked(self) -> int:
        """How many requests wait for a refresh."""
        return len(self._lot)

    @property
    def stats(self) -> Stats:
        """Counters, live."""
        return self._book.stats

    @property
    def history(self) -> History:
        """What the token endpoint was asked, live."""
        return self._book.history

    @property
    def lifetime(self) -> tuple[float, float] | None:
        """When the access token was issued and when it expires, in epoch seconds; None where nobody can tell."""
        token, issued = self._book.access, self._book.issued_at
        if token is None or token.expires is None or issued is None:
            return None
        return issued.wall, token.expires.wall

    @property
    def store_failed(self) -> bool:
        """Whether the store fails now: what was refreshed would not survive this process, or others know better."""
        return self._ledger.problem is not None

    @property
    def waits(self) -> bool:
        """Whether a request that asks for a token now would have to wait for a refresh."""
        return isinstance(decide_send(self._book, self._clock(), needs_fresh=False), Wait)

    @property
    def life(self) -> int:
        """The number of the present life, 0 while nobody is signed in; a request belongs to the one it began in."""
        return self._book.life

    def snapshot(self, now: Instant) -> Snapshot:
        """Return what the session looks like now."""
        problem = self._book.problem or (_UNREAD if self.rests else None)
        return take_snapshot(self._book, now, parked=self.parked, store_failed=self.store_failed, problem=problem)

    @property
    def rests(self) -> bool:
        """Whether the last token request got a 2xx of which nothing could be read: only a request asks again."""
        return self._ledger.marked.rests(self._book.refresh_token, self._book.lineage.endpoint)
