"""An authorization server with many families, rotation, reuse detection and faults; and the API that it signs in to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, Literal
from urllib.parse import parse_qs

from reauth_proxy.session.tokens import Secret, StoredSession
from tests.fakes.authorization import CANARY
from tests.fakes.client import parse_fields, read_content
from tests.soak.judge import Delivery, Family, Judge, Rotation

#: Seconds for which a refresh token whose answer was lost is taken again.
GRACE: Final = 30.0
CLIENT: Final = "web"

Mode = Literal["ok", "unavailable", "closed", "hang", "late"]


def fingerprint(token: str) -> str:
    """Return what a store remembers of a token."""
    return Secret(token, watched=False).fingerprint()


class Issuer:
    """POST /token and /revoke, and the API at everything else.

    Args:
        owner: says which process holds the other end of a connection from this port.

    Attributes:
        mode: how the token endpoint fails now.
        delay: how long it hangs.
        loses: the next answer with tokens is lost.
        seen: whose tokens came to the API, by the request's number.
    """

    def __init__(self, judge: Judge, random: Random, owner: Callable[[int, int], str | None]) -> None:
        self.judge = judge
        self.mode: Mode = "ok"
        self.delay = 0.0
        self.loses = False
        self.port = 0
        self.families: list[Family] = []
        self.seen: dict[str, list[Family | None]] = {}
        self._random = random
        self._owner = owner
        self._tokens: dict[str, Family] = {}
        self._access: dict[str, tuple[Family, float]] = {}
        self._by_fingerprint: dict[str, Rotation] = {}
        self._asks: dict[str, asyncio.Event] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        while self._writers:
            await asyncio.sleep(0.01)

    def hang_up(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def asked_by(self, daemon: str, within: float) -> None:
        """Return when a daemon asks for tokens, or after so many seconds."""
        event = self._asks[daemon] = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await event.wait()

    # What people do there.

    def sign_in(self) -> Family:
        """Somebody signs in: a new person each time."""
        person = len(self.families)
        family = Family(person, self._token("refresh", person), self._random.choice([3.0, 6.0, 12.0, 25.0]))
        family.newest = family.root
        self._tokens[family.root] = family
        self.families.append(family)
        return family

    def access_token(self, family: Family) -> str:
        token = self._token("access", family.person)
        self._access[token] = (family, time.monotonic() + family.lifetime)
        return token

    def revoke_access(self, family: Family) -> None:
        """Its access tokens are good no more."""
        self._access = {token: one for token, one in self._access.items() if one[0] is not family}

    def end(self, family: Family, why: str) -> None:
        """The family dies, with all of its tokens."""
        if family.alive:
            family.ended = why
            self.judge.counts[f"families died: {why}"] += 1
            self.revoke_access(family)

    def stored(self, session: StoredSession) -> None:
        """Note what the store was seen with: those answers are lost no more."""
        if session.refresh_token is not None:
            family = self._tokens.get(session.refresh_token.reveal())
            for rotation in family.rotations.values() if family is not None else ():
                rotation.saved = rotation.saved or rotation.successor == session.refresh_token.reveal()
        for one in session.spent:
            if one in self._by_fingerprint:
                self._by_fingerprint[one].saved = True

    def family_of(self, session: StoredSession) -> Family | None:
        return None if session.refresh_token is None else self._tokens.get(session.refresh_token.reveal())

    def accepts(self, token: str, family: Family) -> bool:
        """Tell whether an access token is good, and a family's."""
        found = self._access.get(token)
        return found is not None and found[0] is family and found[1] > time.monotonic()

    @staticmethod
    def _token(kind: str, person: int) -> str:
        return f"{CANARY}-{kind}-{person}-{secrets.token_hex(8)}"

    # HTTP.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        caller: str | None = None
        asked = False
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    path = head.split(b" ", 2)[1].decode()
                    fields = parse_fields(head)
                    if path not in ("/token", "/revoke"):
                        await read_content(reader, fields, until_closed=False)
                        await self._api(fields, writer)
                        continue
                    if self.mode == "closed":
                        return  # Whatever came: nobody has read it.
                    content = (await read_content(reader, fields, until_closed=False)).decode()
                    form = {name: values[0] for name, values in parse_qs(content).items()}
                    if not asked:
                        asked, caller = True, self._owner(writer.get_extra_info("peername")[1], self.port)
                    if path == "/revoke":
                        await self._revoke(form, writer)
                    elif not await self._refresh(form, caller, reader, writer):
                        return
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _api(self, fields: list[tuple[str, str]], writer: asyncio.StreamWriter) -> None:
        """Say whose token came; an expired one is somebody's, too."""
        values = {name.lower(): value for name, value in fields}
        token = values.get("authorization", "").removeprefix("Bearer ")
        family = self._families_by_access(token)
        self.seen.setdefault(values.get("x-soak", "?"), []).append(family)
        found = self._access.get(token)
        if found is None or found[1] <= time.monotonic():
            await self._say(writer, 401, {}, 'WWW-Authenticate: Bearer error="invalid_token"')
        else:
            await self._say(writer, 200, {"person": found[0].person})

    def _families_by_access(self, token: str) -> Family | None:
        """Return whose token it is, or was."""
        parts = token.split("-")
        return self.families[int(parts[2])] if len(parts) == 4 and parts[0] == CANARY else None

    async def _revoke(self, form: dict[str, str], writer: asyncio.StreamWriter) -> None:
        if self.mode == "unavailable":
            await self._say(writer, 503, {})
            return
        token = form.get("token", "")
        family = self._tokens.get(token)
        if family is not None and family.newest != token:
            self.judge.counts["revoked with a token that was used up"] += 1  # It says 200 (RFC 7009), and does nothing.
        elif family is not None:
            self.end(family, "revoked")
        self._access.pop(token, None)
        await self._say(writer, 200, {})

    async def _refresh(
        self, form: dict[str, str], caller: str | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one; tell whether the connection lives on."""
        self.judge.counts["token requests"] += 1
        self.judge.counts["token requests of unknown processes"] += caller is None
        began = time.monotonic()
        if caller is not None and (event := self._asks.get(caller.partition("#")[0])) is not None:
            event.set()
        if self.mode == "unavailable":
            await self._say(writer, 503, {"error": "temporarily_unavailable"})
            return True
        if self.mode == "late":
            await asyncio.sleep(self.delay)
        hangs = self.delay if self.mode == "hang" else self._random.uniform(0.0, 0.05)
        client = form.get("client_id", "")
        token = form.get("refresh_token", "")
        if client != CLIENT:
            strict = client.endswith("strict")
            self.judge.counts["wrong clients refused"] += 1
            await self._say(writer, 400 if strict else 401, {"error": "invalid_grant" if strict else "invalid_client"})
            return True
        delivery = Delivery(caller, began)
        answer = self._exchange(token, delivery)
        if answer is None:
            await self._say(writer, 400, {"error": "invalid_grant"})
            return True
        loses, self.loses = self.loses, False
        await asyncio.sleep(hangs)
        if loses:
            delivery.lost, delivery.at = "lost by the server", time.monotonic()
            self.judge.counts["answers lost after issuing"] += 1
            return False
        if reader.at_eof() or writer.is_closing():
            delivery.lost, delivery.at = "hung up", time.monotonic()
            if caller is not None and caller not in self.judge.killed:
                self.judge.counts["hung up, though it lives"] += 1
            return False
        delivery.at = time.monotonic()
        writer.write(answer)
        await writer.drain()
        return True

    def _exchange(self, token: str, delivery: Delivery) -> bytes | None:
        """Issue; None: refused."""
        now, judge = time.monotonic(), self.judge
        family = self._tokens.get(token)
        if family is None:
            judge.counts["unknown tokens refused"] += 1
            return None
        if not family.alive:
            judge.counts["tokens of dead families refused"] += 1
            return None
        rotation = family.rotations.get(token)
        if rotation is not None:
            return self._again(rotation, delivery, now)
        successor = self._token("refresh", family.person)
        self._tokens[successor] = family
        issued = {"access_token": self.access_token(family), "token_type": "Bearer", "expires_in": family.lifetime}
        answer = _answer(200, {**issued, "refresh_token": successor})
        family.rotations[token] = Rotation(family, token, successor, answer, now, [delivery])
        family.newest = successor
        self._by_fingerprint[fingerprint(token)] = family.rotations[token]
        judge.counts["refreshes"] += 1
        return answer

    def _again(self, rotation: Rotation, delivery: Delivery, now: float) -> bytes | None:
        judge, family = self.judge, rotation.family
        why = judge.again(rotation, delivery.to, now)
        age = round(now - rotation.at, 2)
        evidence = {"person": family.person, "by": delivery.to, "first": [one.to for one in rotation.deliveries]}
        newest = rotation.successor == family.newest
        if not why:
            configured = family.root == rotation.used and family is self.families[0]
            if configured and judge.forgot_at > rotation.at:
                judge.counts["configured token used again after the store forgot"] += 1
            else:
                kind = "configured token used again" if configured else "used again"
                judge.violation(kind, now, age=age, newest=newest, saved=rotation.saved, **evidence)
            self.end(family, "reuse")
            return None
        judge.counts[f"used again: {why}"] += 1
        if age <= GRACE and newest:
            judge.counts["grace"] += 1
            rotation.deliveries.append(delivery)
            return rotation.answer
        judge.notes.append(f"{now:.3f} lost for good, {why}: {evidence}, {age} s old, newest {newest}")
        self.end(family, f"lost, {why}")
        return None

    @staticmethod
    async def _say(writer: asyncio.StreamWriter, status: int, content: dict[str, object], *fields: str) -> None:
        writer.write(_answer(status, content, *fields))
        await writer.drain()


def _answer(status: int, content: dict[str, object], *fields: str) -> bytes:
    data = json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} Whatever", "Content-Type: application/json", f"Content-Length: {len(data)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def owner_of(port: int, ours: int, pids: dict[str, int]) -> str | None:
    """Return which process has the connection from `port` to `ours`, None where none of them has."""
    inode = None
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if int(parts[1].split(":")[1], 16) == port and int(parts[2].split(":")[1], 16) == ours:
            inode = parts[9]
    for name, pid in pids.items():
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if str(Path(entry.path).readlink()) == f"socket:[{inode}]":
                        return name
    return None
