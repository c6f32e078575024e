"""Everything that runs during a bench: the origin, the token endpoint, and each peer, with and without TLS."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.load import Failed, Scenario
from bench.origin import certificate, files, start_token_endpoint
from bench.peers import HOW_TO_GET, PEERS, Site, find
from bench.processes import end, pinned


def free_port() -> int:
    """Return a port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_listener(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()
            raise Failed(f"ended with {process.returncode} when started: {said[-1] if said else 'it said nothing'}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise Failed("does not listen after 20 s")


def _ask(port: int, scenario: Scenario) -> tuple[int, bytes]:
    """Send the scenario's request once, plainly; return the status and the content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        method = "POST" if scenario.content else "GET"
        connection.request(method, scenario.path, body=b"x" * scenario.content or None, headers=scenario.fields)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"does not answer {scenario.path}: {error!r}") from error
    finally:
        connection.close()


@dataclass(frozen=True)
class Running:
    """A peer that listens."""

    port: int
    pid: int
    log: Path

    def check(self, scenario: Scenario, expected: bytes) -> None:
        """See that the peer's answer is the origin's, byte for byte: who does less is not faster.

        Raises:
            Failed: it is not.
        """
        status, content = _ask(self.port, scenario)
        if (status, content) != (200, expected):
            raise Failed(f"{scenario.path} was answered with {status} and {len(content)} bytes of {len(expected)}")

    def trim(self) -> None:
        """Empty its log: an access line for each request would fill a disk."""
        with contextlib.suppress(OSError):
            self.log.open("wb").close()


@dataclass
class Stage:
    """Use it with `with`: all of it ends with the block.

    Args:
        names: of the peers.
        origin: writes what the origin needs, and returns how it is started on a port, and on one with TLS.
        tls: whether to start each peer a second time, speaking TLS to the origin.

    Attributes:
        running: what could be started, by name and by whether it speaks TLS to the origin.
        missing: what could not, and why.
    """

    names: list[str]
    origin: Callable[[Path, int, int], list[str]] = files
    tls: bool = True
    running: dict[tuple[str, bool], Running] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.root = Path(tempfile.mkdtemp(prefix="reauth-bench-"))
            stack.callback(shutil.rmtree, self.root, ignore_errors=True)
            self.root.chmod(0o755)  # nginx reads it as another user
            self._processes: list[subprocess.Popen[bytes]] = []
            stack.callback(lambda: end(self._processes))
            endpoint = start_token_endpoint()
            stack.callback(endpoint.server_close)
            stack.callback(endpoint.shutdown)
            self._origin()
            for name in self.names:
                for tls in (False, True) if self.tls else (False,):
                    try:
                        self._peer(name, tls, endpoint.server_port)
                    except Failed as error:
                        self.missing[name] = str(error)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()

    def notes(self) -> list[str]:
        """Return what is missing, for a report."""
        found = [f"- {name} {why}" for name, why in self.missing.items()]
        return [*found, ""] if found else []

    def _start(self, name: str, command: list[str], core: int, port: int) -> tuple[subprocess.Popen[bytes], Path]:
        path = self.root / f"{name.replace(' ', '-')}-{port}.log"
        with path.open("ab") as log:  # appending, so that it can be emptied below its writer
            process = subprocess.Popen([*pinned(core), *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._processes.append(process)
        _await_listener(port, process, path)
        return process, path

    def _origin(self) -> None:
        self._ports = {tls: free_port() for tls in (False, True)}
        certificate(self.root)
        command = self.origin(self.root, self._ports[False], self._ports[True])
        self._start("origin", command, 0, self._ports[False])

    def _peer(self, name: str, tls: bool, token_port: int) -> None:
        origin = f"{'https' if tls else 'http'}://127.0.0.1:{self._ports[tls]}"
        site = Site(self.root, free_port(), origin, self._ports[tls], token_port)
        try:
            command = PEERS[name](site)
        except subprocess.CalledProcessError as error:
            raise Failed(f"does not build: {(error.stderr or b'').decode(errors='replace').strip()}") from error
        if command is None:
            raise Failed(f"is not installed. {HOW_TO_GET.get(name, '')}".strip())
        process, log = self._start(name, command, 1, site.port)
        self.running[name, tls] = Running(site.port, process.pid, log)


def lacking() -> list[str]:
    """Return what is missing for any measurement at all, as advice; nothing is missing when it is empty."""
    needed = {
        "wrk": "makes the load. Debian: apt-get install wrk",
        "nginx": "is the origin. Debian: apt-get install nginx",
    }
    return [f"{program} is not installed; it {why}" for program, why in needed.items() if find(program) is None]
