"""What a store is to keep of a session. Pure."""

from __future__ import annotations

from reauth_proxy.session.book import Book
from reauth_proxy.session.lineage import Lineage
from reauth_proxy.session.schedule import expiry
from reauth_proxy.session.tokens import AccessToken, Instant, Issued, Secret, StoredSession


def record(book: Book) -> StoredSession:
    """Return what a store is to keep of the present facts."""
    if book.refresh_token is None:
        refused = book.refused if book.reason == "refresh_denied" else None
        return book.lineage.record(None, generation=book.generation, signed_out=book.reason, refused=refused)
    return _record(book.lineage, book.access, book.refresh_token, book.refresh_expires, book.generation)


def record_after(
    book: Book, issued: Issued, token: AccessToken, used: Secret, now: Instant, *, tried: bool
) -> StoredSession:
    """Return what a store is to keep once these tokens are in force; see :meth:`Book.issue`."""
    lineage = book.lineage.after(issued, used, tried=tried)
    return _record(lineage, token, issued.refresh_token or used, expiry(issued, now), token.generation)


def _record(
    lineage: Lineage, token: AccessToken | None, refresh_token: Secret, expires: Instant | None, generation: int
) -> StoredSession:
    refresh_expires_at = expires.wall if expires is not None else None
    if token is None:
        return lineage.record(refresh_token, generation=generation, refresh_expires_at=refresh_expires_at)
    return lineage.record(
        refresh_token,
        access_token=token.value,
        expires_at=token.expires.wall if token.expires is not None else None,
        generation=generation,
        refresh_expires_at=refresh_expires_at,
    )
