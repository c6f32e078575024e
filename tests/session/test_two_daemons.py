"""Random lives of two daemons with one store, two people and one authorization server: the promises hold for both."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import Any

import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reauth_proxy.session.state import IN_FLIGHT
from reauth_proxy.session.tokens import Secret
from tests.session.twins.daemons import Commands, Daemon
from tests.session.twins.families import Call, Family, Person
from tests.session.twins.pair import Pair
from tests.session.twins.shared import Trouble

WHICH = st.sampled_from([0, 1])
PEOPLE = st.sampled_from(["ann", "bob"])
NETWORK: list[Trouble] = ["away", "busy"]
DISK: list[Trouble] = ["full", "unlockable", "unreadable", "hung", "busy"]


@dataclass(eq=False)
class Deed:
    """A sign-in or a sign-out, which takes effect at some moment between its beginning and its end.

    Attributes:
        family: of a sign-in.
        token: that was rolled out, and is tried.
        ended: None while something of it may be under way.
    """

    family: Family | None
    token: Secret | None
    began: int
    ended: int | None = None
    vague: bool = False


class TwoDaemons(RuleBasedStateMachine):
    """Whatever happens in whatever order.

    Attributes:
        signed_out: families whose end was a sign-out that nothing kept from revoking them.
        step: counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.step = 0
        self.deeds: list[Deed] = []
        self.signed_out: set[Family | None] = set()
        self.stack = contextlib.ExitStack()
        self.logs = self.stack.enter_context(structlog.testing.capture_logs())

    @initialize(
        background=st.booleans(),
        retry_for=st.sampled_from([0.0, 10.0]),
        rotates=st.sampled_from([True, True, True, False]),
        lenient=st.booleans(),
        lifetime=st.sampled_from([60.0, 600.0]),
        medium=st.sampled_from([NETWORK, NETWORK, DISK]),
        configured=st.booleans(),
    )
    def begin(
        self,
        background: bool,
        retry_for: float,
        rotates: bool,
        lenient: bool,
        lifetime: float,
        medium: list[Trouble],
        configured: bool,
    ) -> None:
        self.medium = medium
        self.pair = Pair(
            background=background, retry_for=retry_for, rotates=rotates, lenient=lenient, lifetime=lifetime
        )
        self.world, self.store, self.server = self.pair.world, self.pair.store, self.pair.server
        self.daemons = self.pair.daemons
        first = self.server.sign_in("ann") if configured else None
        if first is not None:
            self._deed(first, first.current)
        self.pair.start(None if first is None else first.current)

    # Deeds.

    @property
    def firm(self) -> bool:
        """Whatever is done now is done at once, and in this order."""
        slow = any(daemon.access is not None and daemon.access.slow for daemon in self.daemons)
        stopped = any(daemon.process is not None and not daemon.up for daemon in self.daemons)
        return not (self.store.trouble or slow or stopped or self._unsettled() or self._unheard())

    def _unheard(self) -> bool:
        """Somebody does not know yet what the store holds."""
        if self.store.data is None:
            return False
        stored = self.pair.stored
        return any(daemon.session is not None and daemon.family is not stored for daemon in self.daemons)

    def _unsettled(self) -> bool:
        """Something that was decided before is still on its way to the store."""
        waits = any(d.access is not None and d.access.waiting for d in self.daemons)
        wanted = any(d.session is not None and d.session._ledger._holding.wanted is not None for d in self.daemons)
        return waits or wanted

    def _deed(self, family: Family | None, token: Secret | None = None) -> None:
        self.step += 1
        self.deeds.append(Deed(family, token, self.step))
        # Who has not heard of a sign-out before the next deed never will, and revokes nothing.
        self.signed_out -= {daemon.family for daemon in self.daemons if daemon.session is not None}
        if family is not None:
            self.signed_out.discard(family)
            self.server.brought(family.current)

    def _note_ends(self) -> None:
        """See which deeds are over: nothing of them is on its way any more."""
        self.step += 1
        if not self.firm:
            return
        books = [daemon.session._book for daemon in self.daemons if daemon.session is not None]
        tried = [book.candidate.refresh_token for book in books if book.candidate is not None]
        there = self.store.session
        roots = () if there is None else there.roots
        # One that nobody knows of is tried at the next start.
        tried += [d.configured for d in self.daemons if d.configured and d.configured.fingerprint() not in roots]
        for deed in self.deeds:
            if deed.token is not None and deed.token in tried:
                deed.ended = None
            elif deed.ended is None:
                deed.ended = self.step

    def _overtaken(self, family: Family) -> bool:
        """Tell whether there has been a deed that is not before the last one that was for this family."""
        began = max((deed.began for deed in self.deeds if deed.family is family), default=0)
        return any(deed.family is not family and (deed.ended or self.step) > began for deed in self.deeds)

    def _last(self) -> Deed | None:
        """Return the deed that all others were before; None where nobody can tell."""
        if not self.deeds:
            return None
        last = self.deeds[-1]
        clear = all((deed.ended or self.step) < last.began for deed in self.deeds[:-1])
        return last if clear and not last.vague else None

    def _bring(self, person: Person, again: bool, data: st.DataObject) -> Family:
        """Return whose refresh token somebody brings: a new one's, or the very same again."""
        mine = [family for family in self.server.families if family.person == person]
        if again and mine and self.firm:  # Else a slow save may put a token back that the other daemon has used up.
            return data.draw(st.sampled_from(mine))
        return self.server.sign_in(person)

    @rule(which=WHICH, person=PEOPLE, with_access=st.booleans(), again=st.booleans(), data=st.data())
    def somebody_signs_in(
        self, which: int, person: Person, with_access: bool, again: bool, data: st.DataObject
    ) -> None:
        daemon = self.daemons[which]
        if not daemon.up:
            return
        family = self._bring(person, again, data)
        access = self.server.access_token(family) if with_access and family.alive else None
        self._deed(family)
        self.server.forget_calls(daemon.process)
        under_way = [call.used for call in self.server.calls if self.server.family_of(call.used) is family]
        daemon.sign_in(under_way[0] if under_way else family.current, access)

    @rule(which=WHICH)
    def somebody_brings_a_refresh_token_that_is_used_up(self, which: int) -> None:
        daemon = self.daemons[which]
        if not daemon.up or daemon.family is None or not daemon.family.used:
            return
        if daemon.access is None or daemon.access.slow or self._unheard():
            return  # By the time that it counts somebody may have signed out: then it is tried.
        spent = [token for token in daemon.family.used if daemon.session._book.lineage.has_spent(token)]  # type: ignore[union-attr]
        if spent:
            daemon.sign_in(spent[-1], None)

    @rule(which=WHICH)
    def somebody_signs_out(self, which: int) -> None:
        daemon = self.daemons[which]
        if not daemon.up:
            return
        family, firm = daemon.family, self.firm
        self._deed(None)
        self.server.forget_calls(daemon.process)
        if family is not None and firm and daemon.right:
            self.signed_out.add(family)
        daemon.sign_out()

    def _would_forget(self) -> bool:
        """A command forgets what it cannot read: to a daemon that starts then, what is configured is news."""
        return self.store.trouble in ("unreadable", "hung") and not all(daemon.up for daemon in self.daemons)

    @rule(which=WHICH, person=PEOPLE, with_access=st.booleans())
    def the_command_signs_in(self, which: int, person: Person, with_access: bool) -> None:
        if self._would_forget():
            return
        family = self.server.sign_in(person)
        access = self.server.access_token(family) if with_access else None
        commands = Commands(self.world, self.server, self.store)
        if self.store.trouble not in ("away", "full", "hung"):
            self._deed(family)
        commands.login(self.daemons[which].configured, family.current, access)
        self.world.settle()
        commands.end()

    @rule(which=WHICH)
    def the_command_signs_out(self, which: int) -> None:
        if self._would_forget():
            return
        family, firm = self.pair.stored, self.firm
        commands = Commands(self.world, self.server, self.store)
        if self.store.trouble not in ("away", "full", "hung"):
            self._deed(None)
        if commands.logout(self.daemons[which].configured) and family is not None and firm:
            self.signed_out.add(family)
        self.world.settle()
        commands.end()

    # The configuration.

    def _may_be_tried(self, daemon: Daemon) -> bool:
        """Tell whether a refresh token that is configured does not take a session's place before it was issued against.

        It does where nobody is signed in, and where the session is refused: of another daemon's session too.
        """
        return daemon.up and not daemon.out and daemon.right and (daemon.family is None or daemon.family.alive)

    @rule(which=WHICH)
    def a_typo_is_configured_and_put_back(self, which: int) -> None:
        daemon = self.daemons[which]
        if self._may_be_tried(daemon):
            right = daemon.configured
            daemon.configure(Secret(f"CANARY-slip-{next(self.numbers)}"))
            daemon.configure(right)

    @rule(which=WHICH, number=st.integers(1, 2))
    def a_typo_is_configured(self, which: int, number: int) -> None:
        daemon = self.daemons[which]
        if self._may_be_tried(daemon) and self.store.data:
            self._withdraw(daemon)
            daemon.configure(Secret(f"CANARY-typo-{number}"))

    @rule(which=WHICH, person=PEOPLE, both=st.booleans())
    def a_refresh_token_is_rolled_out(self, which: int, person: Person, both: bool) -> None:
        chosen = [daemon for daemon in (self.daemons if both else [self.daemons[which]]) if daemon.up]
        if not all(daemon.right for daemon in chosen):  # As in `_may_be_tried`.
            return
        if not chosen or (not self.firm and any(daemon.out for daemon in chosen)):  # As in `_bring`.
            return
        family = self.server.sign_in(person)
        token = family.current
        self._deed(family, token)
        for daemon in chosen:
            self._withdraw(daemon)
            daemon.configure(token)

    def _withdraw(self, daemon: Daemon) -> None:
        """What is configured is replaced; it may never have been tried."""
        for deed in self.deeds:
            deed.vague = deed.vague or (deed.ended is None and deed.token == daemon.configured)

    @rule(which=WHICH, both=st.booleans(), right=st.booleans())
    def the_endpoint_is_configured(self, which: int, both: bool, right: bool) -> None:
        tried = any(one.session is not None and one.session._book.candidate for one in self.daemons)
        for daemon in self.daemons if both else [self.daemons[which]]:
            if daemon.up and daemon.right != right and not tried:  # As in `_may_be_tried`.
                daemon.adjust(right)
        self.world.settle()

    # Requests.

    @rule(
        which=WHICH,
        sending=st.booleans(),
        fresh=st.booleans(),
        held=st.booleans(),
        refusing=st.sampled_from([False, False, True]),
    )
    def a_request_comes(self, which: int, sending: bool, fresh: bool, held: bool, refusing: bool) -> None:
        daemon = self.daemons[which]
        if daemon.process is not None:  # While it is stopped, too.
            daemon.request(sending=sending, fresh=fresh, held=held, refusing=refusing)
            self.world.settle()

    @rule(which=WHICH)
    def the_client_or_the_api_goes_on(self, which: int) -> None:
        self.daemons[which].others_go_on()

    # The authorization server.

    @rule(pace=st.sampled_from(["at once", "answers wait", "calls wait"]))
    def the_endpoint_takes_its_time(self, pace: Any) -> None:
        self.server.pace = pace

    def _calls(self) -> list[Call]:
        return [call for call in self.server.calls if not call.future.done()]

    @precondition(lambda self: self._calls())
    @rule(
        data=st.data(),
        how=st.sampled_from(
            ["answer", "answer", "answer", "arrive", "lost before", "lost after", "503", "later", "garbled"]
        ),
    )
    def the_endpoint_answers(self, data: st.DataObject, how: str) -> None:
        call = data.draw(st.sampled_from(self._calls()))
        match how:
            case "answer":
                self.server.answer(call)
            case "arrive":
                self.server.process_call(call)
            case "lost before":
                self.server.lose(call)
            case "lost after":
                self.server.process_call(call)
                self.server.lose(call)
            case "503" | "later":
                if call.said is None:
                    self.server.turn_away(call, 20.0 if how == "later" else None)
            case "garbled":
                for deed in self.deeds:  # It may be used up, and is not tried again by itself.
                    deed.vague = deed.vague or deed.token == call.used
                self.server.garble(call)
        self.world.settle()

    @rule(which=WHICH)
    def the_server_revokes_the_session(self, which: int) -> None:
        daemon = self.daemons[which]
        tried = any(one.session is not None and one.session._book.candidate for one in self.daemons)
        if daemon.session is not None and daemon.family is not None and not tried:  # As in `_may_be_tried`.
            self.server.revoke_family(daemon.family)

    @rule(which=WHICH)
    def the_server_revokes_the_access_tokens(self, which: int) -> None:
        daemon = self.daemons[which]
        if daemon.session is not None and daemon.family is not None:
            daemon.family.access.clear()

    # Time.

    @rule(seconds=st.sampled_from([0.5, 1.5, 5, 12, 31, 61, 300]))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def the_laptop_sleeps(self) -> None:
        self.world.clock.slept += 3600

    @rule(seconds=st.integers(30, 100), answered=st.booleans())
    def everything_is_stopped_for_a_while(self, seconds: int, answered: bool) -> None:
        self.world.jump(seconds)
        if answered:
            for call in self._calls():
                self.server.answer(call)
        self.world.settle()

    @rule(which=WHICH)
    def a_daemon_is_stopped(self, which: int) -> None:
        if self.daemons[which].up:
            self.daemons[which].process.freeze()  # type: ignore[union-attr]

    @rule(which=WHICH)
    def a_daemon_goes_on(self, which: int) -> None:
        self._go_on(self.daemons[which])

    def _go_on(self, daemon: Daemon) -> None:
        if daemon.process is not None:
            daemon.process.thaw()
            self.world.settle()

    # Restarts.

    @rule(which=WHICH, kill=st.booleans())
    def a_daemon_restarts(self, which: int, kill: bool) -> None:
        daemon = self.daemons[which]
        if daemon.process is not None:
            for deed in self.deeds:
                deed.vague = deed.vague or deed.ended is None  # It may be lost with the process.
            if daemon.up and not kill:
                daemon.stop()
            else:
                daemon.crash()
        self._start(daemon)

    def _start(self, daemon: Daemon) -> None:
        before, firm = self.pair.stored, self.firm
        if daemon.configured is not None and self.server.family_of(daemon.configured) is None:
            daemon.right = True  # As in `_may_be_tried`.
        if not daemon.start():
            return
        stored = {before, self.pair.stored}
        if None not in stored and firm:
            assert daemon.in_force in stored, f"{daemon} begins with {daemon.in_force}, and not with {before}"
        self.world.settle()

    # The store.

    @rule(number=st.integers(0, 4))
    def the_store_is_in_trouble(self, number: int) -> None:
        trouble = self.medium[number % len(self.medium)]
        self.store.fail(trouble)
        self.world.settle()

    @rule()
    def the_store_is_well_again(self) -> None:
        self.store.fail("")
        self.world.settle()

    @rule(which=WHICH, slow=st.sampled_from(["", "before", "after"]))
    def the_store_is_slow(self, which: int, slow: Any) -> None:
        access = self.daemons[which].access
        if access is not None:
            access.slow = slow
            if not slow:
                access.go_on(99)
            self.world.settle()

    @rule(which=WHICH, number=st.integers(1, 3))
    def the_store_gets_on(self, which: int, number: int) -> None:
        access = self.daemons[which].access
        if access is not None:
            access.go_on(number)
            self.world.settle()

    # What always holds.

    @invariant()
    def nothing_happens_that_must_not(self) -> None:
        if not hasattr(self, "server"):
            return
        for daemon in self.daemons:
            daemon.reap()
            if daemon.up:
                session = daemon.session
                flies = session._book.state in IN_FLIGHT  # type: ignore[union-attr]
                assert flies is (session._in_flight is not None), f"{session} waits for no refresh"  # type: ignore[union-attr]
        assert not self.server.faults, self.server.faults
        for family in self.server.families:
            assert not family.reused or family.excuse, f"{family} died of reuse"
        wrong = [line for line in self.logs if "at" in line]
        assert not wrong, wrong
        assert "CANARY" not in str(self.logs)
        self.logs.clear()

    @invariant()
    def nobody_is_signed_out_without_a_reason(self) -> None:
        if not hasattr(self, "server"):
            return
        for daemon in self.daemons:
            if daemon.session is None:
                continue
            was, now = daemon.in_force, daemon.family
            daemon.in_force = now
            if was is None or was is now or self._overtaken(was):
                continue
            book = daemon.session._book
            assert daemon.out or not was.alive, f"{daemon}: {now} has taken the place of {was}"
            if not daemon.out:
                continue
            assert book.reason == "refresh_denied", f"{daemon}: {was} was signed out by nobody"
            assert not was.alive or not daemon.right, f"{daemon}: {was} was signed out, and lives"
        self._note_ends()

    # The end.

    def teardown(self) -> None:
        try:
            if hasattr(self, "server"):
                self._end()
        finally:
            self.stack.close()
            if hasattr(self, "pair"):
                self.pair.end()

    def _end(self) -> None:
        """All is well again: then both agree with each other, with the store and with the server."""
        self.server.pace = "at once"
        self.store.fail("")
        for daemon in self.daemons:
            if daemon.process is None:
                self._start(daemon)
            daemon.process.thaw()  # type: ignore[union-attr]
            daemon.access.slow = ""  # type: ignore[union-attr]
            daemon.access.go_on(99)  # type: ignore[union-attr]
        self.world.settle()
        for daemon in self.daemons:
            if not daemon.right:
                daemon.adjust(True)
            daemon.others_go_on()
        for call in self._calls():
            self.server.answer(call)
        self.world.pass_time(620)
        self._check()
        outcomes: list[list[str]] = []
        for _ in range(3):
            asked = [daemon.request() for daemon in self.daemons]
            self.world.pass_time(45)
            outcomes.append([task.result() for task in asked])
        self._check()
        self._agree(outcomes)
        self._stop()

    def _check(self) -> None:
        self.nothing_happens_that_must_not()
        self.nobody_is_signed_out_without_a_reason()

    def _agree(self, outcomes: list[list[str]]) -> None:
        a, b = self.daemons
        stored = self.pair.stored
        assert a.family is b.family is stored, f"A: {a.family}, B: {b.family}, store: {stored}"
        if stored is not None:
            assert outcomes[-1] == ["accepted", "accepted"], outcomes
        else:
            assert a.out, "A goes on with something that nobody knows"
            assert b.out, "B goes on with something that nobody knows"
        last = self._last()
        winner = None if last is None else last.family
        if last is not None and (winner is None or winner.alive):
            assert stored is None or stored is winner, f"{stored} is in force in the end, and not {winner}"
            gone = winner is None or not winner.alive
            assert stored is winner or gone, f"nobody is signed in in the end, and {winner} lives"
        if not self.store.tainted:
            alive = [one for one in self.signed_out if one is not None and one.alive and one.excuse is None]
            assert not alive, f"signed out, and alive at the server: {alive}"

    def _stop(self) -> None:
        for daemon in self.daemons:
            daemon.stop()
        assert not self.server.calls


#: Random sequences rarely go wrong by themselves: where there is time for it, there are many of them.
_EXAMPLES = settings.default.max_examples  # type: ignore[union-attr]

TestTwoDaemons = TwoDaemons.TestCase
TestTwoDaemons.settings = settings(
    max_examples=2 * _EXAMPLES if _EXAMPLES < 100 else 10 * _EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
