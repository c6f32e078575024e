"""Why a connection to an upstream came to nothing, as far as that decides whether a request may be sent again."""

from __future__ import annotations

from reauth_proxy.errors import UpstreamUnreachable


class ConnectionBroken(UpstreamUnreachable):
    """The upstream closed or reset the connection before its message was whole.

    Attributes:
        stale: it was a kept-alive connection and not one byte of an answer had come: the upstream may have closed it
            before the request reached it (RFC 9110 section 9.2.2 and RFC 9112 section 9.3.1 decide what that allows).
        unsent: not one byte of the request was written; any may be sent again.
    """

    def __init__(self, detail: str, *, stale: bool, unsent: bool = False) -> None:
        super().__init__(detail)
        self.stale = stale
        self.unsent = unsent
