"""What the outside may see of a session at one moment. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from reauth_proxy.errors import LogoutReason
from reauth_proxy.session.book import Book
from reauth_proxy.session.state import OUT, State, seconds_between
from reauth_proxy.session.tokens import Instant

Condition = Literal["fresh", "stale", "refreshing", "signed_out"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session at one moment, for status pages and readiness. Holds no secret.

    Attributes:
        expires_in: seconds until the access token expires; None where there is none, or nobody said.
        reason: why requests that the upstream rejects are answered with a logout now, None if they are not.
        store_failed: the store fails: the newest tokens may not survive this process, or others hold newer ones.
        problem: why the last refresh was given up, for people; None once one worked.
        usable: there is an access token that may be sent, and that no upstream has rejected since it was last accepted.
        rejected: an upstream has rejected it, and none has accepted it since.
        untried: no token request has been answered yet.
    """

    state: Condition
    generation: int
    expires_in: float | None
    reason: LogoutReason | None
    parked: int
    store_failed: bool
    problem: str | None
    usable: bool = True
    rejected: bool = False
    untried: bool = False

    def shown(self) -> dict[str, Any]:
        """Return what is told of it as JSON."""
        hidden = ("rejected", "untried")  # they are in `state`, `usable` and the problems
        return {name: value for name, value in asdict(self).items() if name not in hidden}

    def __str__(self) -> str:
        story = [f"generation {self.generation}", f"{self.parked} parked"]
        story += [f"expires in {self.expires_in:.1f} s"] if self.expires_in is not None else []
        story += [self.reason] if self.reason else []
        story += [f"problem: {self.problem}"] if self.problem else []
        story += ["store failed"] if self.store_failed else []
        return ", ".join(story)


def take_snapshot(book: Book, now: Instant, *, parked: int, store_failed: bool, problem: str | None) -> Snapshot:
    """Return what the session looks like now."""
    expires = book.access.expires if book.access is not None else None
    expires_in = max(0.0, seconds_between(now, expires)) if expires is not None else None
    condition, reason = _condition(book, now)
    usable = book.usable(now) is not None and not book.rejected
    return Snapshot(
        condition,
        book.generation,
        expires_in,
        reason,
        parked,
        store_failed,
        problem,
        usable,
        book.rejected,
        book.issued_at is None,
    )


def _condition(book: Book, now: Instant) -> tuple[Condition, LogoutReason | None]:
    if book.state in OUT:
        return "signed_out", book.reason
    if book.state is State.REFRESHING:
        return "refreshing", None
    token = book.usable(now)
    if token is None or book.rejected:
        return "stale", "refresh_unavailable" if book.state in (State.COOLING, State.LISTENING) else None
    return ("stale" if token.renew is not None and token.renew.reached(now) else "fresh"), None
