"""A typed reply with what is odd about it, and what stands in for a refresh token that was lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from reauth_proxy.session.tokens import Issued, Secret, TokenReply

#: Begins what stands in for a refresh token that was issued and cannot be used; no server ever sees it.
_LOST: Final = "reauth-proxy:lost:"


@dataclass(frozen=True, slots=True)
class OddTokenType:
    """The token is of a type that is not known, and is sent as Bearer.

    Attributes:
        text: the type is a string at all.
        name: of the type in lower case, if it is one that servers are known to write; else it could be a secret.
    """

    text: bool
    name: str | None


@dataclass(frozen=True, slots=True)
class UnusableToken:
    """A new refresh token came that cannot be used; `problem` holds nothing of it."""

    problem: str


Remark = OddTokenType | UnusableToken


@dataclass(frozen=True, slots=True)
class Judged:
    """What an answer means.

    Attributes:
        lost: a new refresh token was issued, and cannot be used; the one that was sent is used up all the same.
    """

    reply: TokenReply
    remarks: tuple[Remark, ...] = ()
    lost: bool = False

    def with_stand_in(self) -> TokenReply:
        """Return the reply to a refresh; where its new refresh token is lost, with what stands in for it.

        The session lives as long as the access token, and the refresh token that was sent is never sent again: the
        stand-in replaces it, and :func:`is_lost` tells it from a refresh token.
        """
        if self.lost and isinstance(self.reply, Issued):
            stand_in = Secret(f"{_LOST}{self.reply.access_token.fingerprint()}", watched=False)
            return replace(self.reply, refresh_token=stand_in)
        return self.reply


def is_lost(refresh_token: Secret) -> bool:
    """Tell whether this stands in for a refresh token that was lost; it must not be sent."""
    return refresh_token.reveal().startswith(_LOST)
