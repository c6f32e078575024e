"""``reauth-proxy …`` as a process of its own, forked from one that has imported everything: no interpreter starts.

Half of the time of a daemon's start is imports, and hundreds of tests want a daemon. What is about the start itself
(the interpreter's options, its memory, its time) takes a real one: ``sys.executable -m reauth_proxy``.

The fork server (``python -m tests.fakes.preloaded SOCKET``) lives as long as its standard input is open. For each
connection it makes a process that waits for the program, and tells its number and then its exit status on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Final, NoReturn

#: What the program imports sooner or later.
MODULES: Final = (
    *(
        "reauth_proxy.daemon.server",
        "reauth_proxy.demo.stage",
        "reauth_proxy.issuers.json_api",
        "reauth_proxy.issuers.oauth2",
    ),
    *("reauth_proxy.stores.memory", "reauth_proxy.stores.redis", "reauth_proxy.telemetry.metrics"),
    *(f"reauth_proxy.commands.{name}" for name in ("check", "init", "login", "logout", "probe", "status")),
)
_LONGEST: Final = 1 << 20


class Process:
    """As :class:`asyncio.subprocess.Process`, as far as tests use it.

    Attributes:
        stdout, stderr: what it writes, if piped.
        returncode: its exit status, negative for a signal; None while it runs.
    """

    def __init__(
        self, pid: int, status: asyncio.StreamReader, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader | None
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._ending = asyncio.create_task(self._end(status))

    async def _end(self, status: asyncio.StreamReader) -> None:
        line = await status.readline()
        self.returncode = int(line) if line else -signal.SIGKILL  # who waited for it was killed, too

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        await asyncio.shield(self._ending)
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return what it still writes until it has ended."""
        streams = [self.stdout] if self.stderr is None else [self.stdout, self.stderr]
        out, *told = await asyncio.gather(*(stream.read() for stream in streams))
        await self.wait()
        return out, b"".join(told)


class ForkServer:
    """The one of this test run; started when it is first needed."""

    def __init__(self) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._path = ""

    def start(self) -> None:
        if self._process is not None:
            return
        self._directory = tempfile.TemporaryDirectory()
        self._path = str(Path(self._directory.name) / "fork")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self._path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent.parent,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        """End it; what was forked goes on."""
        if self._process is not None:
            self._process.communicate()
        if self._directory is not None:
            self._directory.cleanup()

    async def launch(
        self, *arguments: str, env: dict[str, str], stdin: bytes = b"", stdout: int = PIPE, stderr: int = PIPE
    ) -> Process:
        """Run ``reauth-proxy`` with these arguments.

        Args:
            stdin: what it can read.
            stdout, stderr: as for ``create_subprocess_exec``: PIPE, STDOUT for the latter, or a descriptor.
        """
        self.start()
        with contextlib.ExitStack() as ours:
            given = ours.enter_context(tempfile.TemporaryFile())  # a pipe may hold less
            given.write(stdin)
            given.seek(0)
            out, outs = await _stream(ours, stdout)
            err, errs = (out, outs) if stderr == STDOUT else await _stream(ours, stderr)
            connection = socket.socket(socket.AF_UNIX)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, self._path)
            reader, writer = await asyncio.open_unix_connection(sock=connection)
            request = json.dumps({"arguments": arguments, "env": env, "cwd": str(Path.cwd())}).encode() + b"\n"
            socket.send_fds(connection, [b"\0"], [given.fileno(), outs, errs])
        writer.write(request)
        pid = int(await reader.readline())
        process = Process(pid, reader, out, None if stderr == STDOUT else err)
        process._ending.add_done_callback(lambda _: writer.close())
        return process


async def _stream(ours: contextlib.ExitStack, wanted: int) -> tuple[asyncio.StreamReader, int]:
    """Return a reader, and the descriptor to write to; its end here is closed when `ours` ends."""
    reader = asyncio.StreamReader()
    if wanted != PIPE:
        reader.feed_eof()
        return reader, wanted
    read_end, write_end = os.pipe()
    ours.callback(os.close, write_end)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(read_end, "rb", 0))
    return reader, write_end


FORK_SERVER: Final = ForkServer()


def main() -> None:
    """Fork whenever asked, until standard input ends."""
    import gc
    import importlib

    from reauth_proxy import cli
    from reauth_proxy.system.process import spare_certificates
    from reauth_proxy.telemetry import access

    with spare_certificates():
        for module in MODULES:
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for a program is waited for by nobody
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(128)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        ready = select.select([listener, sys.stdin], [], [])[0]
        if listener in ready:
            connection = listener.accept()[0]
            if os.fork() == 0:
                listener.close()
                break
            connection.close()
        elif sys.stdin in ready:
            return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    descriptors = socket.recv_fds(connection, 1, 3)[1]
    with connection.makefile("rb") as file:
        request = json.loads(file.readline(_LONGEST))
    if (pid := os.fork()) != 0:
        _wait(connection, pid, descriptors)
    connection.close()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    access._PREFIX = secrets.token_hex(4)  # what the module drew as it was imported is another one in each process
    sys.argv = ["reauth-proxy", *request["arguments"]]
    cli.main()


def _wait(connection: socket.socket, pid: int, descriptors: list[int]) -> NoReturn:
    """Tell the program's number, and then its exit status."""
    for descriptor in (0, 1, *descriptors):
        os.close(descriptor)
    with contextlib.suppress(OSError):  # nobody wants to know any more
        connection.sendall(f"{pid}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(f"{status}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    main()
