"""Two daemons that share a store and an authorization server."""

from __future__ import annotations

from reauth_proxy.session.state import RefreshPolicy
from reauth_proxy.session.tokens import Secret
from tests.session.twins.daemons import Daemon
from tests.session.twins.families import Family, Server
from tests.session.twins.shared import SharedStore
from tests.session.twins.worlds import Process, World


class Pair:
    """Daemons A and B, not started yet, and what they share."""

    def __init__(
        self,
        *,
        background: bool = False,
        retry_for: float = 0.0,
        rotates: bool = True,
        lenient: bool = False,
        lifetime: float = 60.0,
    ) -> None:
        self.world = World()
        self.store = SharedStore(self.world)
        self.server = Server(
            self.world,
            rotates=rotates,
            lenient=lenient,
            lifetime=lifetime,
            saved=lambda token: token in self.store.saved,
            outage_since=self.store.last_outage,
            stopped=self._stopped,
            forgotten=lambda token: token.fingerprint() in self.store.lost_roots,
        )
        policy = RefreshPolicy(background=background, retry_for=retry_for)
        self.a, self.b = (Daemon(name, self.world, self.server, self.store, policy) for name in ("A", "B"))

    @property
    def daemons(self) -> list[Daemon]:
        return [self.a, self.b]

    def start(self, configured: Secret | None = None) -> None:
        """Start both with the same configuration."""
        for daemon in self.daemons:
            daemon.configured = configured
        for daemon in self.daemons:
            assert daemon.start()
        self.world.settle()

    def end(self) -> None:
        """Kill what is left of them."""
        for process in list(self.world.processes):
            process.kill()

    @property
    def stored(self) -> Family | None:
        """Whose session is in the store."""
        there = self.store.session
        return None if there is None else self.server.family_of(there.refresh_token)

    def _stopped(self, process: Process) -> bool:
        return any(access.process is process and access.lost_its_lock for access in self.store.accesses)
