"""What a session's store is known to hold, and what it is to hold. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from reauth_proxy.session.tokens import StoredSession

#: So many records are remembered, the newest ones.
_REMEMBERED: Final = 64


class Reading(Enum):
    """What a reading of the store says."""

    #: What it is known to hold, or something older that what is owed comes after.
    NOTHING_NEW = "nothing new"
    #: Somebody else put it there, and after what is known here.
    NEWS = "news"
    #: It has a refresh token again that this life has used up or signed out of, or an earlier life.
    WENT_BACK = "went back"


@dataclass(slots=True)
class Holding:
    """What is known of a store.

    Attributes:
        known: what it held when it was last read or written; anything else in it is somebody's news.
        seen: its line as it was last seen, "" for none: what is saved follows from that.
        wanted: what it is to hold, until it does.
        deliberate: somebody's deed, a sign-in or a sign-out, wants it: it replaces what there was before.
        issued: there is in it what a refresh brought, and is nowhere else.
        before: the lines that the store may hold from before that deed.
        past: traces of what it is known to have held before.
    """

    known: StoredSession | None = None
    seen: str = ""
    wanted: StoredSession | None = field(default=None)
    deliberate: bool = False
    issued: bool = False
    before: set[str] = field(default_factory=set)
    past: dict[int, None] = field(default_factory=dict)

    @property
    def owes_a_deed(self) -> bool:
        """Whether somebody's deed is not in the store yet."""
        return self.wanted is not None and self.deliberate

    @property
    def owes_tokens(self) -> bool:
        """Whether there are tokens that no other process can know of."""
        return self.wanted is not None and self.issued

    def opened(self, stored: StoredSession | None) -> None:
        """It holds this at the start, as far as can be read."""
        self._know(stored)
        self.seen = "" if stored is None else stored.line

    def want(self, record: StoredSession, *, begins: bool = False, issued: bool = False) -> None:
        """It is to hold this, unless there is something newer.

        Args:
            begins: it begins a life, and comes after whatever there was before.
            issued: a refresh brought it.
        """
        issued = issued or (self.issued and self.wanted is not None)
        if begins or self.owes_a_deed:
            self.want_deed(record)  # What comes of a deed that the store could not take yet is as deliberate.
        else:
            self.wanted, self.deliberate = record, False
        self.issued = issued

    def want_deed(self, record: StoredSession) -> None:
        """It is to hold this instead of whatever there was before."""
        if not self.owes_a_deed:
            self.before.clear()
        elif self.wanted is not None and self.wanted.line != record.line:
            self.before.add(self.wanted.line)  # The deed before this one may have landed unseen.
        self.before.add(self.seen)
        self.wanted, self.deliberate, self.issued = record, True, False

    def saved(self, record: StoredSession) -> None:
        """It holds this now."""
        self._know(record)
        self.seen = record.line
        if self.wanted == record:
            self.wanted, self.deliberate = None, False

    def heard(self, news: StoredSession) -> None:
        """The session goes by the news now."""
        self._know(news)
        self.seen = news.line
        self.wanted, self.deliberate = None, False

    def drop(self) -> None:
        """What it was to hold is of no use any more."""
        self.wanted, self.deliberate = None, False

    def lost(self) -> StoredSession | None:
        """It holds nothing that can be read; return what is to be put there again, None for nothing."""
        return self.known if self.wanted is None else None

    def read(self, stored: StoredSession, *, ours_is_dead: bool) -> Reading:
        """Tell what a reading says.

        Args:
            ours_is_dead: what we have is worth nothing.
        """
        self.seen = stored.line
        wanted = self.wanted
        if wanted is not None and self.deliberate:
            before = stored.line in self.before and stored.line != wanted.line
            if before or self._is_from_before(stored, wanted):
                return Reading.NOTHING_NEW  # A deed of ours comes after that.
            self.deliberate = False  # It is there, or somebody else's came later.
        if stored == wanted:
            self.saved(stored)  # A save that took too long for anybody to wait for it.
        if stored == self.known or self._is_known_end(stored):
            return Reading.NOTHING_NEW
        # What is known was left out above; what else comes from before is an older state of the store.
        ours = wanted or self.known
        if ours is not None and self._is_from_before(stored, ours):
            return Reading.WENT_BACK if wanted is None else Reading.NOTHING_NEW  # It is going to be put there.
        if ours_is_dead or self.known is None or ours is None or stored.line != ours.line:
            return Reading.NEWS
        if wanted is not None:
            return Reading.NEWS if _is_newer(stored, wanted) else Reading.NOTHING_NEW
        if stored.refresh_token is not None and stored.refresh_token.fingerprint() in self.known.spent:
            return Reading.WENT_BACK
        return Reading.NEWS

    def is_deed(self, stored: StoredSession) -> bool:
        """Tell whether somebody else signed in or out, by what the store holds.

        A refusal of the same life is none: a refresh that runs may know better.
        """
        known = self.wanted or self.known
        if known is None or stored == self.known or stored.line == known.line or self._is_known_end(stored):
            return False
        if self.owes_a_deed and stored.line in self.before:
            return False
        if self._is_from_before(stored, known):
            return False
        return stored.signed_out != "refresh_denied" or stored.life != known.life

    def _is_known_end(self, stored: StoredSession) -> bool:
        """Tell whether this is the sign-out, with more said of it, after which something else is to be there."""
        known = self.known
        if known is None or self.wanted is None or known.refresh_token is not None:
            return False
        # Whoever signed out of what is to be there knows of it.
        return stored.line == known.line != self.wanted.line and self.wanted.life not in stored.roots

    def _is_from_before(self, stored: StoredSession, ours: StoredSession) -> bool:
        """Tell whether the store is back at an earlier life that ours knows of, or before the sign-out of this one.

        A new sign-in with an old refresh token, or a sign-out that was never seen before, is none of that; a denial of
        the earlier life is.
        """
        if None in (stored.life, ours.life):
            return False
        seen, newest = _trace(stored) in self.past, stored.refresh_token
        fresh = _is_fresh(stored)
        if stored.life != ours.life:
            return (seen or not fresh) and stored.life in ours.roots and ours.life not in stored.roots
        if ours.signed_out != "signed_out" or newest is None or fresh:
            return False  # The same refresh token may have been brought again, and makes the same record.
        mark = newest.fingerprint()
        return mark in ours.spent and (seen or mark != stored.life)

    def _know(self, record: StoredSession | None) -> None:
        if self.known is not None:
            trace = _trace(self.known)
            self.past.pop(trace, None)
            self.past[trace] = None
            if len(self.past) > _REMEMBERED:
                del self.past[next(iter(self.past))]
        self.known = record


def _is_fresh(stored: StoredSession) -> bool:
    """Tell whether this may be somebody's deed just now: a sign-out, or a sign-in of which nothing has come yet."""
    if stored.refresh_token is None:
        return stored.signed_out != "refresh_denied"
    return stored.access_token is None and not stored.spent


def _trace(record: StoredSession) -> int:
    """Return what tells a record from others, and says nothing of it; a mark is no difference."""
    return hash(replace(record, used_at=None, answered=None))


def _is_newer(stored: StoredSession, ours: StoredSession) -> bool:
    """Tell whether what is stored comes after what we still have to save, in the same life."""
    if stored.refresh_token is None or ours.refresh_token is None:
        return stored.refresh_token is not None
    if ours.refresh_token.fingerprint() in stored.spent:
        return True
    if stored.refresh_token.fingerprint() in ours.spent:
        return False
    # Both were refreshed while the store was away: theirs, which is stored, is what the others use by now.
    return stored.generation >= ours.generation
