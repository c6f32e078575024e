"""An authorization server with families of refresh tokens, rotation and reuse detection; and who may be blamed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from reauth_proxy.session.tokens import Denied, Issued, Secret, TokenReply, Unavailable
from tests.session.twins.worlds import Process, World

Person = Literal["ann", "bob"]


@dataclass(eq=False)
class Family:
    """What grew from one sign-in.

    Attributes:
        access: the access tokens that are good, with their expiry on the wall clock.
        used: the refresh tokens that were rotated away, with what came of it.
        replaced: those of them that nobody presented: a lenient server gave another one for the token before.
        excuse: why nobody can be blamed for its end, or for its going on: None where somebody can.
    """

    name: str
    person: Person
    current: Secret
    alive: bool = True
    access: dict[Secret, float] = field(default_factory=dict)
    used: dict[Secret, Use] = field(default_factory=dict)
    replaced: set[Secret] = field(default_factory=set)
    reused: bool = False
    excuse: str | None = None

    def __repr__(self) -> str:
        return f"<{self.name}{'' if self.alive else ' †'}>"


@dataclass(eq=False)
class Use:
    """A presentation that was answered with a new refresh token.

    Attributes:
        taken_at: when the process that asked had the answer; None while it is under way, or lost.
    """

    successor: Secret
    by: Process
    taken_at: float | None = None


@dataclass(eq=False)
class Call:
    """A request to the token endpoint.

    Attributes:
        said: what the server has answered already, and has not arrived.
    """

    process: Process
    used: Secret
    right: bool
    future: asyncio.Future[TokenReply]
    said: TokenReply | None = None
    use: Use | None = None
    forgotten: bool = False


class Server:
    """The one authorization server.

    Args:
        saved: tells whether a refresh token has ever been in the store.
        outage_since: when the store last could not be reached, or is.
        stopped: tells whether a process lost the store's lock while it was stopped.

    Attributes:
        pace: whether calls are answered at once, or arrive at once and are answered later, or wait to arrive.
        faults: what must not have happened.
    """

    def __init__(
        self,
        world: World,
        *,
        rotates: bool,
        lenient: bool,
        lifetime: float,
        saved: Callable[[Secret], bool],
        outage_since: Callable[[], float],
        stopped: Callable[[Process], bool],
        forgotten: Callable[[Secret], bool],
    ) -> None:
        self.world = world
        self.rotates = rotates
        self.lenient = lenient
        self.lifetime = lifetime
        self.pace: Literal["at once", "answers wait", "calls wait"] = "at once"
        self.families: list[Family] = []
        self.calls: list[Call] = []
        self.faults: list[str] = []
        self.refused: set[tuple[Process, Secret, bool]] = set()
        self.presented = 0
        self.repeated = 0
        self._numbers = itertools.count(1)
        self._saved = saved
        self._outage_since = outage_since
        self._stopped = stopped
        self._forgotten = forgotten

    def sign_in(self, person: Person) -> Family:
        """Somebody signs in with a browser: a family begins."""
        number = next(self._numbers)
        family = Family(f"{person}-{number}", person, Secret(f"CANARY-refresh-{person}-{number}.0"))
        self.families.append(family)
        return family

    def access_token(self, family: Family) -> Secret:
        access = Secret(f"CANARY-access-{family.name}-{next(self._numbers)}")
        family.access[access] = self.world.clock.wall + self.lifetime
        return access

    def family_of(self, token: Secret | None) -> Family | None:
        """Return the family of a refresh token or an access token, whether it is any good or not."""
        if token is None:
            return None
        for family in self.families:
            if token == family.current or token in family.used or token.reveal().startswith(self._prefix(family)):
                return family
        return None

    @staticmethod
    def _prefix(family: Family) -> str:
        return f"CANARY-access-{family.name}-"

    def accepts(self, access: Secret) -> bool:
        family = self.family_of(access)
        return family is not None and family.alive and family.access.get(access, 0.0) > self.world.clock.wall

    def revoke(self, refresh_token: Secret | None, access_token: Secret | None, *, right: bool) -> None:
        """RFC 7009; a refresh token that was rotated away revokes nothing."""
        for family in self.families:
            if not right:
                if refresh_token == family.current or family is self.family_of(access_token):
                    family.excuse = family.excuse or "revocation by a client that the server does not know"
                continue
            if refresh_token is not None and refresh_token == family.current:
                family.alive = False
            if access_token is not None:
                family.access.pop(access_token, None)

    async def refresh(self, process: Process, right: bool, used: Secret) -> TokenReply:
        """What a process' token endpoint does."""
        if process.dead:
            raise asyncio.CancelledError
        family = self.family_of(used)
        fresh = family is None or (self.rotates and family.excuse is None)
        if fresh and (process, used, right) in self.refused:
            self.faults.append(f"{process} presents {used.reveal()} again, which was refused")
        call = Call(process, used, right, process.loop.create_future())
        self.calls.append(call)
        if self.pace == "at once":
            self.answer(call)
        elif self.pace == "answers wait":
            self.process_call(call)
        try:
            reply = await call.future
        except asyncio.CancelledError:
            self._lost(call)
            raise
        finally:
            self.calls.remove(call)
        if call.use is not None and isinstance(reply, Issued) and not call.forgotten:
            call.use.taken_at = self.world.clock.now
        # While the store is away, nobody knows whether it was used up meanwhile: then it is asked for again.
        known = self._outage_since() < self.world.clock.now
        if isinstance(reply, Denied) and not call.forgotten and known:
            self.refused.add((process, used, right))
        return reply

    def forget_calls(self, process: Process | None) -> None:
        """What comes of the calls that run is of no interest to their process any more."""
        for call in self.calls:
            call.forgotten = call.forgotten or call.process is process

    # What becomes of a call.

    def process_call(self, call: Call) -> None:
        """The request arrives; the answer takes its time."""
        if call.said is None:
            call.said = self._present(call)

    def answer(self, call: Call) -> None:
        self.process_call(call)
        assert call.said is not None
        if not call.future.done():
            call.future.set_result(call.said)

    def lose(self, call: Call) -> None:
        """The connection breaks, before or after the request arrived."""
        self._lost(call)
        call.future.set_result(Unavailable("reset", broken=True))

    def turn_away(self, call: Call, retry_after: float | None) -> None:
        self._lost(call)
        call.future.set_result(Unavailable("503", retry_after=retry_after))

    def garble(self, call: Call) -> None:
        """A 2xx of which nothing can be read."""
        self.process_call(call)
        self._lost(call)
        call.future.set_result(call.said if isinstance(call.said, Denied) else Unavailable("garbage", answered=True))

    def _lost(self, call: Call) -> None:
        family = self.family_of(call.used)
        if call.said is not None and isinstance(call.said, Issued) and family is not None:
            call.use = None
            family.excuse = family.excuse or "an answer was lost"

    def revoke_family(self, family: Family) -> None:
        family.alive = False

    def brought(self, token: Secret) -> None:
        """Somebody brought a refresh token: that it was refused once counts no more."""
        self.refused = {one for one in self.refused if one[1] != token}

    def ask_again(self, process: Process) -> None:
        """Its configuration is another one: that something was refused counts no more."""
        self.refused = {one for one in self.refused if one[0] is not process}

    # The server's own rules.

    def _present(self, call: Call) -> TokenReply:
        self.presented += 1
        family = self.family_of(call.used)
        if not call.right or family is None:
            return Denied("invalid_grant")
        if call.used != family.current:
            self._judge(family, call)
        if not family.alive:
            return Denied("invalid_grant")
        if call.used != family.current:
            self.repeated += 1
            if not (self.lenient and family.used[call.used].successor == family.current):
                family.alive, family.reused = False, True
                return Denied("invalid_grant")
            superseded: Secret | None = family.current
        else:
            superseded = None
        access = self.access_token(family)
        if not self.rotates:
            return Issued(access, None, self.lifetime)
        successor = Secret(f"CANARY-refresh-{family.name}.{next(self._numbers)}")
        call.use = family.used[call.used] = Use(successor, call.process)
        if superseded is not None:
            family.used[superseded] = call.use
            family.replaced.add(superseded)
        family.current = successor
        return Issued(access, successor, self.lifetime)

    def _judge(self, family: Family, call: Call) -> None:
        """A refresh token that was used up is presented: by whose fault?"""
        if call.used in family.replaced:
            return  # Nobody used it: it was judged when the one before was presented twice.
        use, process = family.used[call.used], call.process
        whose = f"{process} presents {call.used.reveal()}, which {use.by} used up"
        if self._stopped(process):
            family.excuse = family.excuse or "a process that was stopped went on"
        elif self._saved(use.successor) and call.used.reveal().endswith(".0") and self._forgotten(call.used):
            family.excuse = family.excuse or "a sign-in whose process did not know of it has made the store forget it"
        elif self._saved(use.successor):
            self.faults.append(f"{whose}; its successor has been saved")
        elif use.taken_at is None:
            family.excuse = family.excuse or "an answer was lost"
        elif use.by is process:
            self.faults.append(f"{whose}; it had the answer")
        elif use.by.dead or use.by.ends or not use.by.runs or use.by.thawed_at >= use.taken_at:
            family.excuse = family.excuse or "the process that had the answer was stopped"
        elif self._outage_since() >= use.taken_at:
            family.excuse = family.excuse or "the answer could not be saved"
        else:
            self.faults.append(f"{whose}; the answer was there, and about to be saved")
