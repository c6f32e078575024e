"""A daemon whose every secret is a canary, and what must be true of all that can be seen of it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes.arrivals import PATIENCE
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import Answer, connect, fetch
from tests.fakes.daemon import INTERPRETER, DaemonProcess, cared_for, settings
from tests.fakes.files import write_secret
from tests.fakes.leaks import files_with_canaries, leaks
from tests.fakes.upstream import FakeUpstream

#: What a client brings of its own, which is none of anybody's business either.
CLIENT = [
    ("Authorization", "Bearer CANARY-client"),
    ("Cookie", "session=CANARY-cookie"),
    ("X-Api-Key", "CANARY-client-key"),
    ("Proxy-Authorization", f"Basic {base64.b64encode(b'CANARY:CANARY').decode()}"),
]
#: A JWT, as id_token (OpenID Connect Core section 2).
ID_TOKEN = ".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
    for part in ({"alg": "none"}, {"sub": "CANARY", "exp": 9_999_999_999}, "CANARY")
)
CLIENT_SECRET = 'CANARY/client+"secret é'


class Exercised(DaemonProcess):
    """A daemon process; `answers` holds what its clients got, that none of them had sent."""

    def __init__(self, directory: Path, settings: dict[str, Any], **more: Any) -> None:
        super().__init__(directory, settings, **more)
        self.answers: list[Answer] = []
        self.scratch = directory / "scratch"
        self.scratch.mkdir(exist_ok=True)
        self.environ |= {"CLIENT_SECRET": CLIENT_SECRET, "TMPDIR": str(self.scratch)}

    async def ask(self, target: str = "/status/200", *, method: str = "GET", content: bytes = b"") -> Answer:
        """Ask as a client that brings secrets of its own, in fields, query and content."""
        query = "&" if "?" in target else "?"
        target += f"{query}access_token=CANARY-query&code=CANARY-code"
        answer = await fetch(self.url, target, method=method, fields=CLIENT, content=content)
        self.answers.append(answer)
        return answer

    async def garbage(self, data: bytes) -> bytes:
        """Send bytes that are no good request; return all that comes back."""
        async with await connect(self.url) as client:
            await client.send(data)
            async with asyncio.timeout(PATIENCE):
                answer = await client.reader.read()
        self.answers.append(Answer(answer, b""))
        return answer

    def look(self) -> None:
        """See that nothing of a running daemon shows a canary: command line, children, open temporary files."""
        process = Path(f"/proc/{self.pid}")
        assert not leaks((process / "cmdline").read_bytes())
        assert not leaks((process / "comm").read_bytes())
        children = [task.joinpath("children").read_text().split() for task in (process / "task").iterdir()]
        assert children == [[]] * len(children), "nobody inherits its environment"

    def inspect(self) -> None:
        """See that nothing that it said or left behind shows a canary to others than its owner."""
        assert not leaks(self.log)
        assert not leaks(self.out_path.read_bytes())
        for answer in self.answers:
            assert not leaks(answer.head + answer.content), answer
        # Python tries by a file of its own, with nothing in it, whether a directory will do; a kill may leave that.
        assert files_with_canaries(self.scratch) == {}
        kept = files_with_canaries(self.directory)
        assert {*kept.values()} <= {"0600"}, kept
        strangers = {path for path in kept if path.parent not in (self.directory, self.store_path.parent)}
        assert not strangers
        assert not [*self.directory.rglob("core*"), *Path.cwd().glob("core*")]


def secrets_of(kind: str, directory: Path, authorization: FakeAuthorizationServer) -> dict[str, Any]:
    """Return a credential of that kind of token endpoint, with each secret given in another way."""
    first = write_secret(directory / "refresh-token", authorization.first + "\n")
    if kind == "oauth2":
        endpoint: dict[str, Any] = {
            "url": authorization.url,
            "client_id": "web",
            "client_auth": "client_secret_basic",
            "client_secret": {"env": "CLIENT_SECRET"},
            "params": {"api_key": "CANARY-parameter"},
            "headers": {"X-Api-Key": "CANARY-endpoint-key"},
        }
    else:
        endpoint = {
            "type": "json",
            "url": authorization.json_url + "?key=CANARY-query",
            "body": {"token": "{refresh_token}", "client_secret": "${CLIENT_SECRET}"},
            "headers": {"X-Api-Key": "CANARY-endpoint-key", "X-Old": "{access_token}"},
            "response": {"access_token": "/accessToken", "refresh_token": "/refreshToken", "expires_in": "/expiresIn"},
        }
    return {"refresh_token": {"file": str(first)}, "token_endpoint": endpoint}


@asynccontextmanager
async def exercised(
    directory: Path,
    authorization: FakeAuthorizationServer,
    upstream: FakeUpstream,
    *,
    kind: str = "oauth2",
    command: tuple[str, ...] = INTERPRETER,  # its command line is looked at
    **overrides: Any,
) -> AsyncIterator[Exercised]:
    """Run a daemon at debug level whose every secret is a canary; look at it while it runs, and after its end."""
    authorization.more = {"id_token": ID_TOKEN, "scope": "CANARY"}
    made = settings(
        authorization,
        upstream,
        headers={"request": {"set": {"X-Upstream-Key": "CANARY-upstream-key"}}},
        refresh={"min_interval": 0, "retry_for": 0},
        limits={"header_timeout": "1s"},
        replay={"memory": "1KiB"},
        **overrides,
    )
    made["credential"] = secrets_of(kind, directory, authorization)
    daemon = Exercised(directory, made, command=command)
    async with cared_for(daemon):
        await daemon.start()
        yield daemon
        daemon.look()
        await daemon.stop()
    daemon.inspect()
    assert files_with_canaries(directory), "the search finds where they belong"
