"""What people, networks and machines do to the daemons, each in a loop of its own, at random."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from random import Random

from tests.fakes.client import Answer
from tests.soak.issuer import CLIENT, Issuer, fingerprint
from tests.soak.judge import LAG, Family, Judge
from tests.soak.stage import Place, Replica
from tests.soak.traffic import ask

#: Seconds before something was lost in which a deed may be lost, too.
_LOOK_BACK = 60.0


class Chaos:
    """Everything that goes wrong.

    Args:
        speed: how often; 1 is about one disturbance every 4 seconds.
    """

    def __init__(
        self, replicas: list[Replica], place: Place, issuer: Issuer, judge: Judge, random: Random, speed: float
    ) -> None:
        self.replicas = replicas
        self.place = place
        self.issuer = issuer
        self.judge = judge
        self.random = random
        self.speed = speed
        self.trail: list[str] = []
        #: Held while the store is away, and while it is looked at what a kill has lost.
        self._store = asyncio.Lock()
        self._present: Family | None = issuer.families[0]
        #: Those whose tokens a daemon says that it has revoked, and when.
        self.left: list[tuple[Family, str]] = []

    async def run(self) -> None:
        """Go on for ever; cancelled, everything is mended."""
        loops: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (self._deed, 5.0),
            (self._expire, 1.2),
            (self._ask_for_refresh, 4.0),
            (self._kill, 25.0),
            (self._stop, 14.0),
            (self._endpoint, 10.0),
            (self._store_fails, 30.0),
            (self._configure, 20.0),
        ]
        try:
            async with asyncio.TaskGroup() as tasks:
                for act, mean in loops:
                    tasks.create_task(self._again(act, mean))
        finally:
            self.issuer.mode = "ok"

    async def _again(self, act: Callable[[], Awaitable[None]], mean: float) -> None:
        while True:
            await asyncio.sleep(min(self.random.expovariate(self.speed / mean), 4 * mean / self.speed))
            await act()

    def _note(self, what: str) -> None:
        self.judge.counts[f"chaos: {what.partition(':')[0]}"] += 1
        self.judge.counts["operations"] += 1
        self.trail.append(f"{time.monotonic():.3f} {what}")

    # People.

    async def _deed(self) -> None:
        out = self.random.random()
        if self._present is None or out < 0.55:
            await self._sign_in()
        elif out < 0.8:
            await self._sign_out()
        else:
            await self._bring_a_known_one()

    async def _sign_in(self) -> None:
        family = self.issuer.sign_in()
        if self.random.random() < 0.15:
            await self._command("login", family)
            return
        replica = self.random.choice(self.replicas)
        brought: dict[str, object] = {"refresh_token": family.root}
        if self.random.random() < 0.4:
            brought |= {"access_token": self.issuer.access_token(family), "expires_in": family.lifetime}
        self._note(f"PUT: person {family.person} at {replica.name}")
        await self._do(replica, family, "/session", "PUT", json.dumps(brought).encode())

    async def _sign_out(self) -> None:
        if self.random.random() < 0.2:
            await self._command("logout", None)
            return
        replica = self.random.choice(self.replicas)
        if self.random.random() < 0.5:
            self._note(f"DELETE: at {replica.name}")
            await self._do(replica, None, "/session", "DELETE")
        else:
            self._note(f"POST logout: at {replica.name}")
            await self._do(replica, None, "/_reauth/logout", "POST")

    async def _do(
        self, replica: Replica, family: Family | None, target: str, method: str, content: bytes = b""
    ) -> None:
        incarnation = replica.incarnation
        if not replica.url:
            return
        base = replica.url if target.startswith("/_reauth") else replica.control
        sure = self.judge.sure
        self.judge.deed_begins(family, time.monotonic())
        answer: Answer | None = None
        try:
            answer = await ask(base, target, method, content, patience=40.0)
        except (OSError, TimeoutError, EOFError) as error:
            self._note(f"deed without answer: {error!r}"[:80])
        done = answer is not None and answer.status < 300 and incarnation == replica.incarnation
        if answer is not None and answer.status >= 300:
            self.judge.violation("deed refused", time.monotonic(), status=answer.status, target=target)
        self.judge.deed_ends(family, replica.name, time.monotonic(), done=done)
        if done and sure is not None and sure[0] is not None and answer is not None and b'"revoked"' in answer.content:
            self.left.append((sure[0], f"{time.monotonic():.3f} by {incarnation}"))
        self._present = family
        self._note(f"deed over: {'out' if family is None else family.person} {'done' if done else 'unsure'}")

    async def _command(self, name: str, family: Family | None) -> None:
        """`reauth-proxy login --stdin` or `logout`, with the configuration of one of the daemons."""
        replica = self.random.choice(self.replicas)
        self._note(f"{name}: {'' if family is None else f'person {family.person}'} by the config of {replica.name}")
        self.judge.deed_begins(family, time.monotonic())
        arguments = [name, "--config", str(replica.config_path), *(["--stdin"] if family else [])]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reauth_proxy", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(replica._environ if self.random.random() < 0.5 else {})},
        )
        out, err = await process.communicate(b"" if family is None else family.root.encode())
        done = out.startswith((b"Signed in", b"Signed out"))
        if not done and not (self.judge.store.overlap(time.monotonic() - 5, time.monotonic())):
            problem = err.decode()[-300:]
            self.judge.violation("command failed", time.monotonic(), name=name, status=process.returncode, err=problem)
        if b"CANARY" in out + err or b"Traceback" in err:
            self.judge.violation("command output", time.monotonic(), name=name)
        self.judge.deed_ends(family, None, time.monotonic(), done=done)
        self._present = family
        self._note(f"command over: {'out' if family is None else family.person} {'done' if done else 'unsure'}")

    async def _bring_a_known_one(self) -> None:
        """The refresh token in force once more, or one before it, when everybody knows what is in force."""
        sure, now = self.judge.sure, time.monotonic()
        if sure is None or sure[0] is None or not sure[0].alive:
            return
        family, since = sure
        if any(self.judge.undisturbed(one.name, max(since, now - 3.0), now) < 2.9 for one in self.replicas):
            return
        replica = self.random.choice(self.replicas)
        used = [one for one in family.rotations.values() if one.saved][-8:]
        token = self.random.choice(used).used if used and self.random.random() < 0.5 else family.newest
        if token == family.newest and any(not one.saved for one in family.rotations.values()):
            return
        self._note(f"PUT known: {'used' if token != family.newest else 'in force'} at {replica.name}")
        with contextlib.suppress(OSError, TimeoutError, EOFError):
            await ask(replica.control, "/session", "PUT", json.dumps({"refresh_token": token}).encode(), patience=40.0)

    async def _ask_for_refresh(self) -> None:
        replica = self.random.choice(self.replicas)
        self._note(f"POST refresh: at {replica.name}")
        with contextlib.suppress(OSError, TimeoutError, EOFError):
            answer = await ask(replica.control, "/refresh", "POST", patience=40.0)
            self.judge.counts[f"POST /refresh: {answer.status}"] += 1
            if answer.status == 500:
                self.judge.violation("status 500", time.monotonic(), target="/refresh")

    # The authorization server.

    async def _expire(self) -> None:
        self._note("access tokens revoked")
        for family in self.issuer.families[-3:]:
            self.issuer.revoke_access(family)
        if self.random.random() < 0.01 and self._present is not None:
            self._note(f"family revoked: person {self._present.person}")
            self.issuer.end(self._present, "revoked by its administrator")

    async def _endpoint(self) -> None:
        issuer, random = self.issuer, self.random
        fault = random.choice(["unavailable", "closed", "hang", "late", "lost", "lost"])
        seconds = random.choice([random.uniform(0.2, 2.0), random.uniform(2.0, 12.0)])
        if fault == "lost":
            self._note("answer lost")
            issuer.loses = True
            return
        self._note(f"token endpoint {fault}: {seconds:.1f} s")
        issuer.mode = fault  # type: ignore[assignment]
        issuer.delay = random.choice([random.uniform(0.5, 4.0), random.uniform(3.0, 15.0)])
        await asyncio.sleep(seconds)
        issuer.mode = "ok"

    # Machines.

    async def _kill(self) -> None:
        replica = self.random.choice(self.replicas)
        number = signal.SIGKILL if self.random.random() < 0.8 else signal.SIGTERM
        async with replica.busy:
            await self._at_a_bad_moment(replica)
            now = time.monotonic()
            self._note(f"kill -{number.value}: {replica.incarnation}")
            replica.url = ""
            self.judge.away[replica.name].begin(now)
            process = replica.process
            assert process is not None
            self.judge.killed[replica.incarnation] = now
            await replica.kill(number)
            self.judge.killed[replica.incarnation] = time.monotonic()
            await self._what_is_lost()
            await asyncio.sleep(self.random.choice([0.0, self.random.uniform(0.0, 3.0)]))
            await replica.start()
            self.judge.away[replica.name].end(time.monotonic())

    async def _at_a_bad_moment(self, replica: Replica) -> None:
        """Half of the time: while a refresh goes on, or its answer is being saved."""
        if self.random.random() < 0.5:
            await self.issuer.asked_by(replica.name, within=3.0)
            await asyncio.sleep(self.random.uniform(0.0, 0.07))

    async def _what_is_lost(self) -> None:
        """A process is gone: did the store have everything?"""
        now = time.monotonic()
        try:
            stored = await self.place.read()
        except OSError:
            self.judge.doubt(now - _LOOK_BACK, now)
            return
        if stored is not None:
            self.issuer.stored(stored)
        sure = self.judge.sure
        if sure is not None:
            life = fingerprint(sure[0].root) if sure[0] is not None else None
            there = None if stored is None or stored.refresh_token is None else stored.life
            if there != life or self.judge.store.goes_on(now):
                self.judge.doubt(now - _LOOK_BACK, now)

    async def _stop(self) -> None:
        replica = self.random.choice(self.replicas)
        seconds = self.random.choice([self.random.uniform(0.1, 1.5), self.random.uniform(0.1, 15.0)])
        async with replica.busy:
            await self._at_a_bad_moment(replica)
            assert replica.process is not None
            self._note(f"SIGSTOP: {replica.incarnation} for {seconds:.1f} s")
            self.judge.stopped[replica.name].begin(time.monotonic())
            replica.process.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                replica.process.signal(signal.SIGCONT)
                self.judge.stopped[replica.name].end(time.monotonic())

    async def _store_fails(self) -> None:
        fault = self.random.choice(self.place.faults)
        seconds = self.random.choice([self.random.uniform(0.1, 2.0), self.random.uniform(1.0, 12.0)])
        self._note(f"store {fault}: for {seconds:.1f} s")
        began = time.monotonic()
        if fault == "forgets" and (self.judge.sure is None or self._somebody_lags(began)):
            self.judge.doubt(began - _LOOK_BACK, began)
        self.judge.store.begin(began)
        before = self.judge.sure
        await self.place.fail(fault)
        try:
            await asyncio.sleep(seconds)
        finally:
            await self.place.mend()
            now = time.monotonic()
            if fault == "forgets":
                self.judge.forgot_at = now
            self.judge.store.end(now)
        if (
            self.judge.sure is None
            or self.judge.sure is not before
            or (fault == "forgets" and self._somebody_lags(began))
        ):
            self.judge.doubt(began - (_LOOK_BACK if fault == "forgets" else 0.0), now)

    def _somebody_lags(self, now: float) -> bool:
        """Tell whether a daemon may not know what the store holds."""
        since = now if self.judge.sure is None else min(self.judge.sure[1], now - LAG)
        return any(self.judge.undisturbed(one.name, since, now) < LAG or one.busy.locked() for one in self.replicas)

    # Configurations.

    async def _configure(self) -> None:
        replica = self.random.choice(self.replicas)
        kind = self.random.choice(["same", "typo", "client", "strict client"])
        async with replica.busy:
            self._note(f"SIGHUP {kind}: {replica.name}")
            if kind == "same":
                replica.configure()
                return
            if kind == "typo":
                token = replica.settings["credential"]["refresh_token"]
                changed, back = {"refresh_token": token + "-typo"}, {"refresh_token": token}
            else:
                self.judge.wrong[replica.name].begin(time.monotonic())
                wrong = "wrong-strict" if kind == "strict client" else "wrong"
                changed, back = ({"token_endpoint": {"client_id": one}} for one in (wrong, CLIENT))
            replica.configure(credential=changed)
            try:
                await asyncio.sleep(self.random.uniform(0.5, 8.0))
            finally:
                replica.configure(credential=back)
                self._note(f"SIGHUP back: {replica.name}")
                if kind != "typo":
                    self.judge.wrong[replica.name].end(time.monotonic())
