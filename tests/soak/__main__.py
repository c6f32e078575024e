"""Play chaos to two daemons on one store, and see whether a session is lost, refreshed twice, or somebody else's.

``python -m tests.soak --minutes 20 --store file --seed 1`` starts two real daemons on one store (a file on a disk that
hangs or is full, or a real redis-server), an authorization server with rotation and reuse detection, an API, and
clients. It stops by itself, prints what happened as JSON, and exits with 1 if something did that must not.

A violation is: a request with the token of somebody who was not signed in between its start and its end, or with the
tokens of two people; a refresh token that is used again, or a sign-out, without one of the excuses below; a request
that takes longer than twice `park_timeout` (for a token, and after a rejected answer) and 5 s; an answer 500, or none
from a daemon that runs; a Traceback, an unexpected error or a token in a log; and, once everything works again,
daemons, store and authorization server that do not agree.

What is nobody's fault:

- **An answer is lost** on its way, or because the process that asked was killed, or stopped (SIGSTOP), before it could
  save it; or because the store was away or full then. The refresh token is used up, and nobody has the next one. The
  authorization server takes it once more for 30 s, with the same answer, as Okta and Auth0 do ("grace"). Where
  the daemons come too late, because they or the store were away for that long, or where the store did not hold
  even the token before, the family dies ("lost for good"). Each of these is counted, with its reason.
- **A request arrives late**, whose process was killed after it had sent it: the other one, which found its mark, has
  repeated it meanwhile.
- **A store that is away** keeps a sign-in or sign-out from the other daemon, and a kill meanwhile loses it. One that
  could not be stored is stored later, and may so come after the next one, at the other daemon. A Redis that comes back
  empty may be given what a daemon holds that was stopped, and so has not heard of the last sign-in.
  Until the next one nobody can tell who is signed in ("doubts").
- **A daemon with a wrong client** is refused, and signs out for as long.

Whoever is stopped is not slow, and whoever was killed answers nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.fakes.leaks import leaks
from tests.soak.chaos import Chaos
from tests.soak.issuer import CLIENT, Issuer, fingerprint, owner_of
from tests.soak.judge import Judge
from tests.soak.stage import PARK_TIMEOUT, Place, Replica, a_place
from tests.soak.traffic import ask, client, served


@dataclass(frozen=True)
class Play:
    """What is played.

    Attributes:
        clients: at each daemon.
        pause: between two requests of a client, on average.
        speed: how often something goes wrong; 1 is about once per second.
        rest: seconds until everything has come to rest at the end.
    """

    store: str
    seconds: float
    seed: int
    clients: int = 3
    pause: float = 0.2
    speed: float = 1.0
    rest: float = 20.0


def settings(issuer: Issuer, place: Place, *, background: bool) -> dict[str, Any]:
    """Return a daemon's configuration."""
    return {
        "listen": "127.0.0.1:0",
        "upstream": issuer.url,
        "credential": {
            "refresh_token": issuer.families[0].root,
            "token_endpoint": {
                "url": f"{issuer.url}/token",
                "revocation_url": f"{issuer.url}/revoke",
                "client_id": CLIENT,
                "client_auth": "none",
            },
        },
        "store": place.settings,
        "refresh": {
            "background": background,
            "ahead": "2s",
            "timeout": "3s",
            "retry_for": "4s",
            "park_timeout": PARK_TIMEOUT,
            "min_interval": "1s",
        },
        "drain_timeout": "1s",
        "log": {"level": "debug", "format": "json"},
        "control": {"listen": "127.0.0.1:0"},
    }


async def soak(play: Play, directory: Path) -> dict[str, Any]:
    """Play, and return the summary."""
    random = Random(play.seed)
    judge = Judge(["one", "two"], PARK_TIMEOUT, lambda found: _append(directory / "violations.jsonl", found))
    replicas: list[Replica] = []

    def owner(port: int, ours: int) -> str | None:
        running = [one for one in replicas if one.process is not None and one.process.process is not None]
        return owner_of(port, ours, {one.incarnation: one.process.pid for one in running if one.process})

    issuer = Issuer(judge, Random(play.seed + 1), owner)
    await issuer.start()
    judge.deed_begins(issuer.sign_in(), time.monotonic())
    trail = [f"{time.monotonic():.3f} wall {time.time():.3f}"]
    async with a_place(play.store, directory) as place:
        for name in judge.daemons:
            made = settings(issuer, place, background=name == "one")
            replicas.append(Replica(name, directory / name, made, judge, place.environ))
        try:
            for one in replicas:
                await one.start()
            chaos = Chaos(replicas, place, issuer, judge, random, play.speed)
            chaos.trail = trail
            asking = [
                asyncio.create_task(client(one, issuer, judge, Random(random.random()), play.pause))
                for one in replicas
                for _ in range(play.clients)
            ]
            looking = asyncio.create_task(_look(place, issuer, replicas))
            tasks = [*asking, looking]
            running = asyncio.create_task(chaos.run())
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
            try:
                done, _ = await asyncio.wait([running, *tasks], timeout=play.seconds, return_when="FIRST_COMPLETED")
                for one in done:
                    if not one.cancelled():
                        one.result()
            finally:
                await _end([running])
            for family, when in chaos.left:
                if family.alive:
                    judge.counts["signed out, and not revoked"] += 1
                    judge.notes.append(f"person {family.person} signed out at {when}, and lives")
            await _at_rest(replicas, place, issuer, judge, play.rest)
            await _end(tasks)
        finally:
            for one in replicas:
                if one.process is not None and one.process.process is not None:
                    if one.process.process.returncode is None:
                        await one.kill()
                    if leaks(one.process.log_path.read_bytes() + one.process.out_path.read_bytes()):
                        judge.violation("a token in the log", time.monotonic(), daemon=one.incarnation)
            await issuer.stop()
            (directory / "trail.log").write_text("\n".join(trail) + "\n")
    return {
        "play": play.__dict__,
        "counts": dict(sorted(judge.counts.items())),
        "longest_request": round(judge.longest, 2),
        "notes": judge.notes,
        "violations": judge.violations,
        "directory": str(directory),
    }


def _append(path: Path, found: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(found, default=str) + "\n")


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _look(place: Place, issuer: Issuer, replicas: list[Replica]) -> None:
    """See what is in the store, and in the logs."""
    while True:
        with contextlib.suppress(OSError):
            stored = await place.read()
            if stored is not None:
                issuer.stored(stored)
        for one in replicas:
            one.scan()
        await asyncio.sleep(0.1)


async def _at_rest(replicas: list[Replica], place: Place, issuer: Issuer, judge: Judge, rest: float) -> None:
    """Chaos is over: everybody is back, and one more person signs in. In the end all agree."""
    for one in replicas:
        async with one.busy:
            assert one.process is not None
            if not one.process._ended and one.started != one.number:
                await one.kill()  # Chaos ended while it began.
            if one.process._ended:
                await one.start()
    for name in judge.daemons:
        for spans in (judge.away[name], judge.stopped[name], judge.wrong[name]):
            if spans.goes_on(time.monotonic()):
                spans.end(time.monotonic())
    if judge.store.goes_on(time.monotonic()):
        await place.mend()
    await asyncio.sleep(rest)
    family = issuer.sign_in()
    judge.deed_begins(family, time.monotonic())
    content = json.dumps({"refresh_token": family.root}).encode()
    answer = await ask(replicas[0].control, "/session", "PUT", content)
    judge.deed_ends(family, replicas[0].name, time.monotonic(), done=answer.status == 204)
    await asyncio.sleep(5.0)
    for one in replicas:
        await ask(one.control, "/refresh", "POST")
    await asyncio.sleep(2.0)
    for one in replicas:
        good = await served(one, 5.0)
        person = None if good is None else json.loads(good.content)["person"]
        if person != family.person:
            says = json.loads((await ask(one.control, "/session", "GET")).content)
            judge.violation("no agreement", time.monotonic(), daemon=one.name, is_=person, due=family.person, says=says)
    stored = await place.read()
    there = None if stored is None or stored.refresh_token is None else stored
    if there is None or there.refresh_token is None or there.refresh_token.reveal() != family.newest:
        judge.violation("the store does not agree", time.monotonic(), empty=there is None)
    elif there.life != fingerprint(family.root) or not family.alive:
        judge.violation("the store has another life", time.monotonic(), ended=family.ended)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--store", choices=["file", "redis"], default="file")
    parser.add_argument("--seed", type=int, default=None, help="of what happens; by default another one each time")
    parser.add_argument("--clients", type=int, default=3, help="at each daemon")
    parser.add_argument("--speed", type=float, default=1.0, help="how often something goes wrong")
    parser.add_argument("--keep", type=Path, default=None, help="a directory for the logs; by default a temporary one")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else time.time_ns() % 1_000_000
    print(f"seed {seed}", file=sys.stderr)
    directory = given.keep or Path(tempfile.mkdtemp(prefix="soak"))
    directory.mkdir(parents=True, exist_ok=True)
    play = Play(given.store, given.minutes * 60, seed, clients=given.clients, speed=given.speed)
    summary = asyncio.run(soak(play, directory))
    print(json.dumps(summary, indent=1, default=str))
    return 1 if summary["counts"].get("violations") else 0


if __name__ == "__main__":
    sys.exit(main())
