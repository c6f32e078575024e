"""What becomes of a client's connection after an answer, and who is told when the client has gone."""

from __future__ import annotations

from enum import Enum
from typing import Final

#: Seconds in which a client that was refused may end its side of the connection.
LINGER: Final = 2.0


class Sent(Enum):
    """An answer was written, and the connection ..."""

    OPEN = "stays open for the next request"
    CLOSED = "is closed"
    #: To close a connection while bytes come would reset it, and might take the answer from the client before it could
    #: read it (RFC 9112 section 9.6).
    LINGERING = "is closed on our side, and read for a while: the client may still be sending"


OPEN: Final = Sent.OPEN
CLOSED: Final = Sent.CLOSED
LINGERING: Final = Sent.LINGERING


class ClientGone(ConnectionError):
    """The client closed its connection; there is nobody to answer."""
