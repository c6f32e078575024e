"""More clients than there is room for: some are served, the others are told or closed, and nothing dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import RawClient, connect, fetch
from tests.fakes.upstream import FakeUpstream
from tests.load.traffic import HANGING, allow_files, loaded_daemon, soon

pytestmark = pytest.mark.slow


async def ask(url: str, target: str, kept: list[RawClient] | None = None) -> str:
    """Send a request on a connection of its own; return its status, or how the connection ended.

    Args:
        kept: gets the connection, where it is to stay open.
    """
    client = None
    try:
        async with asyncio.timeout(2 * HANGING):
            client = await connect(url)
            await client.request(target)
            answer = await client.answer()
            if answer.status == 503:
                assert answer.value("Connection") == "close"
                assert await client.reader.read() == b""
            if kept is not None:
                kept.append(client)
                client = None
            return str(answer.status)
    except (ConnectionError, asyncio.IncompleteReadError):
        return "closed"
    except TimeoutError:
        return "hanging"
    finally:
        if client is not None:
            client.close()


async def test_of_200_clients_with_room_for_50_fifty_are_served_and_the_others_are_turned_away_at_once(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with loaded_daemon(tmp_path, authorization, upstream, limits={"connections": 50}) as daemon:
        upstream.hold()
        asking = [asyncio.create_task(ask(daemon.url, "/held")) for _ in range(200)]
        # While fifty wait for the upstream, the others have their answer already.
        await soon(lambda: sum(task.done() for task in asking) >= 150, "150 are turned away")
        await upstream.arrived(50)
        assert Counter(task.result() for task in asking if task.done()).keys() <= {"503", "closed"}
        assert upstream.count == 50
        upstream.release()
        became = Counter(await asyncio.gather(*asking))
        assert became["200"] == 50, became
        assert became["hanging"] == 0, became
        async with asyncio.timeout(HANGING):
            while (await fetch(daemon.url)).status != 200:
                pass  # the daemon has still to notice that they left
        for _ in range(20):
            assert (await fetch(daemon.url)).status == 200, "there is room again"


@pytest.mark.parametrize("revoked", [False, True], ids=["with a token", "with a refresh meanwhile"])
async def test_with_256_files_and_600_clients_those_let_in_are_served(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, *, revoked: bool
) -> None:
    allow_files(4096)
    few_files = ("/bin/sh", "-c", 'ulimit -n 256 && exec "$0" -m reauth_proxy "$@"', sys.executable)
    async with loaded_daemon(tmp_path, authorization, upstream, command=few_files) as daemon:
        assert (await fetch(daemon.url)).status == 200
        if revoked:
            authorization.revoke_access()
        kept: list[RawClient] = []
        asking = [asyncio.create_task(ask(daemon.url, "/", kept)) for _ in range(600)]
        # Those that are served stay; when no more can be, they make room.
        done = 0
        while not all(task.done() for task in asking):
            await asyncio.wait(asking, timeout=1.0)
            if done == (done := sum(task.done() for task in asking)):
                for client in kept:
                    client.close()
                kept.clear()
        became = Counter(task.result() for task in asking)
        for client in kept:
            client.close()
        assert daemon.process is not None
        assert daemon.process.returncode is None
        assert became["hanging"] == 0, became
        assert became.keys() <= {"200", "503", "closed"}, became
        assert became["200"] >= 50, became
        files = Path(f"/proc/{daemon.pid}/fd")
        if os.geteuid() == 0:  # a daemon that keeps its memory private shows its files to root alone
            await soon(lambda: len(list(files.iterdir())) < 100, "its files are closed")
        for _ in range(20):
            assert (await fetch(daemon.url)).status == 200
        assert await daemon.stop() == 0
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200, "the rotated refresh token is stored"
    assert authorization.count == (2 if revoked else 1)
    assert authorization.reuses == 0


SLOW = [
    pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", id="fields"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n", id="content to be kept"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n", id="streamed content"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n", id="a chunk"),
]


@pytest.mark.parametrize("head", SLOW)
async def test_a_hundred_that_dribble_are_told_so_at_their_deadline_and_good_ones_go_on(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, head: bytes
) -> None:
    time = asyncio.get_running_loop().time

    async def dribble(url: str) -> tuple[bytes, float]:
        """Send a byte now and then; return what came back, and after how long."""
        got = b""
        async with await connect(url) as client:
            since = time()
            await client.send(head)
            reading = asyncio.create_task(client.reader.read(4096))
            with contextlib.suppress(ConnectionError):
                while not (await asyncio.wait([reading], timeout=0.1))[0]:
                    await client.send(b"z")
                after = time() - since
                while data := await reading:
                    got += data
                    reading = asyncio.create_task(client.reader.read(4096))
            return got, after

    limits = {"header_timeout": "1s", "content_rate": 240}
    async with loaded_daemon(tmp_path, authorization, upstream, limits=limits) as daemon:
        assert (await fetch(daemon.url)).status == 200
        dribbling = [asyncio.create_task(dribble(daemon.url)) for _ in range(100)]
        good = 0
        while not all(task.done() for task in dribbling):
            async with asyncio.timeout(2):
                assert (await fetch(daemon.url)).status == 200
            good += 1
        assert good > 20
        for answer, after in [task.result() for task in dribbling]:
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert answer.count(b"HTTP/1.1 ") == 1
            assert 0.9 < after < 4
        assert (await fetch(daemon.url)).status == 200
