"""Asks the control plane of a daemon that runs, over TCP or a Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any, Final

from reauth_proxy.config.address import Listen, is_wildcard
from reauth_proxy.errors import ReauthError
from reauth_proxy.session.tokens import Secret

#: Seconds that it may take; it has nothing to wait for.
TIMEOUT: Final = 3.0


class NotRunning(ReauthError):
    """Nobody answers at `control.listen`, or it is somebody else."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class Asking:
    """Where the control plane is, and what it wants to see."""

    listen: Listen
    client_token: Secret | None = None

    def status(self) -> dict[str, Any]:
        """Return how the daemon is.

        Raises:
            NotRunning: with the mend.
        """
        connection = self._connection()
        fields = {} if self.client_token is None else {"Reauth-Client-Token": self.client_token.reveal()}
        try:
            connection.request("GET", "/status", headers=fields)
            answer = connection.getresponse()
            content = answer.read(16 << 20)
        except (OSError, http.client.HTTPException) as error:
            why = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
            raise NotRunning(f"no daemon answers at {self.listen} ({why}); start it, or see `control.listen`") from None
        finally:
            connection.close()
        try:
            found = json.loads(content)
        except ValueError:
            raise NotRunning(f"what answers at {self.listen} is not reauth-proxy; see `control.listen`") from None
        if answer.status != 200:
            raise NotRunning(f"the daemon at {self.listen} does not tell: {found.get('detail', answer.status)}")
        return dict(found)

    def _connection(self) -> http.client.HTTPConnection:
        listen = self.listen
        if listen.path is not None:
            return _UnixConnection(listen.path)
        host = listen.host
        if is_wildcard(host):
            host = "::1" if ":" in host else "127.0.0.1"
        return http.client.HTTPConnection(host, listen.port, timeout=TIMEOUT)
