"""Where a session comes from: the refresh tokens that it grew from, and those that have been refused. Pure.

A refresh token that rotates must never be sent twice, and one that merely turned up in the configuration may be one
that was used long ago: what is remembered here, by fingerprints, tells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from reauth_proxy.errors import LogoutReason
from reauth_proxy.session.tokens import Issued, Secret, StoredSession

#: So many fingerprints of each kind are remembered, the newest ones.
REMEMBERED: Final = 32


def _with(known: tuple[str, ...], *new: str) -> tuple[str, ...]:
    """Return what is remembered with more of it, which is the newest."""
    return (*(one for one in known if one not in new), *dict.fromkeys(new))[-REMEMBERED:]


@dataclass(slots=True)
class Lineage:
    """Fingerprints.

    Attributes:
        endpoint: of the token endpoint's configuration, which a denial belongs to.
        life: of the refresh token that the present life began with; None before the first.
        configured: of the configured refresh token that was dealt with last.
        roots: of refresh tokens that lives began with, or that were configured; one of them is no news.
        spent: of refresh tokens that the present life was rotated away from.
        denials: of refresh tokens that were refused, each with an ``@`` and what `endpoint` was.
    """

    endpoint: str = ""
    life: str | None = None
    configured: str | None = None
    roots: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    denials: tuple[str, ...] = ()

    def knows(self, refresh_token: Secret) -> bool:
        """Tell whether a session grew from this refresh token."""
        fingerprint = refresh_token.fingerprint()
        # The configured one must not come back by itself at the next start, however many have signed in meanwhile.
        return fingerprint in (*self.roots, *self.spent, self.configured)

    def has_spent(self, refresh_token: Secret) -> bool:
        """Tell whether the present life used this refresh token up; it is not the one in force."""
        fingerprint = refresh_token.fingerprint()
        if self.life is None and fingerprint in self.roots:
            return True  # The first version did not say which of them it began with.
        return fingerprint == self.life or fingerprint in self.spent

    def settled(self, refresh_token: Secret) -> bool:
        """Tell whether this refresh token is no news: a session grew from it, or it was refused."""
        return self.knows(refresh_token) or self.refused(refresh_token)

    def refused(self, refresh_token: Secret) -> bool:
        """Tell whether this refresh token was refused by the token endpoint as it is configured now."""
        return self._denial(refresh_token) in self.denials

    def same_denial(self, news: StoredSession, refresh_token: Secret) -> bool:
        """Tell whether another process was refused with this refresh token, by the same token endpoint."""
        return self._denial(refresh_token) in news.denials

    def configure(self, refresh_token: Secret) -> None:
        """Remember that this refresh token was configured, and is dealt with."""
        self.configured = refresh_token.fingerprint()
        self.roots = _with(self.roots, self.configured)

    def use_up(self, refresh_token: Secret) -> None:
        """Remember that tokens were issued for this refresh token, which are of no use to anybody."""
        self.roots = _with(self.roots, refresh_token.fingerprint())

    def begin(self, refresh_token: Secret) -> None:
        """A life begins with this refresh token; what refused it before counts no more."""
        self.life = refresh_token.fingerprint()
        self.roots = _with(self.roots, self.life)
        self.spent = ()
        self.denials = tuple(one for one in self.denials if one.partition("@")[0] != self.life)

    def end(self, refresh_token: Secret) -> None:
        """A life ended with this refresh token, which whoever ended it has revoked."""
        self.spent = _with(self.spent, refresh_token.fingerprint())

    def refuse(self, refresh_token: Secret, endpoint: str) -> None:
        """The token endpoint refused this refresh token, when `endpoint` was its configuration's fingerprint."""
        self.denials = _with(self.denials, f"{refresh_token.fingerprint()}@{endpoint}")

    def learn(self, record: StoredSession) -> None:
        """Take over what a store knows, besides what is known already."""
        self.life, self.spent = record.life, record.spent
        self.configured = record.configured or self.configured
        self.roots = _with(self.roots, *record.roots)
        ours = tuple(one for one in self.denials if one.partition("@")[0] != record.life)
        self.denials = _with(ours, *record.denials)

    def heed(self, record: StoredSession) -> None:
        """Take over what others were refused, and nothing else."""
        self.denials = _with(self.denials, *record.denials)

    def also_spent(self, spent: tuple[str, ...], refresh_token: Secret | None) -> None:
        """This life used up these as well."""
        more = () if refresh_token is None else (refresh_token.fingerprint(),)
        self.spent = _with((), *spent, *more, *self.spent)

    def after(self, issued: Issued, used: Secret, *, tried: bool) -> Lineage:
        """Return what it is once tokens were issued for `used`.

        Args:
            tried: it was no token of this life, and so begins another.
        """
        lineage = replace(self)
        if tried:
            lineage.configure(used)
            lineage.begin(used)
        if issued.refresh_token is not None and issued.refresh_token != used:
            newest = issued.refresh_token.fingerprint()
            lineage.spent = tuple(one for one in _with(lineage.spent, used.fingerprint()) if one != newest)
        return lineage

    def record(
        self,
        refresh_token: Secret | None,
        *,
        access_token: Secret | None = None,
        expires_at: float | None = None,
        generation: int = 0,
        signed_out: LogoutReason | None = None,
        refused: Secret | None = None,
        refresh_expires_at: float | None = None,
    ) -> StoredSession:
        """Return what a store is to keep; see :class:`StoredSession`."""
        return StoredSession(
            refresh_token,
            access_token,
            expires_at,
            generation,
            self.life,
            self.configured,
            self.roots,
            self.spent,
            signed_out,
            refused,
            self.denials,
            refresh_expires_at,
        )

    def _denial(self, refresh_token: Secret) -> str:
        return f"{refresh_token.fingerprint()}@{self.endpoint}"
