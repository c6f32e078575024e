"""More clients than there is room for: some are served, the others are told or closed, and nothing dies."""

from __future__ import annotations

import asyncio
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
        for _ in range(20):
            assert (await fetch(daemon.url)).status == 200, "there is room again"


async def test_with_256_open_files_and_600_clients_it_neither_dies_nor_hangs_and_serves_again_afterwards(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    allow_files(4096)
    few_files = ("/bin/sh", "-c", 'ulimit -n 256 && exec "$0" -m reauth_proxy "$@"', sys.executable)
    async with loaded_daemon(tmp_path, authorization, upstream, command=few_files) as daemon:
        assert (await fetch(daemon.url)).status == 200
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
        assert became["hanging"] == 0, became
        assert became.keys() <= {"200", "502", "503", "closed"}, became
        assert became["200"] >= 20, became
        assert daemon.process is not None
        assert daemon.process.returncode is None
        await soon(lambda: len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())) < 100, "its files are closed")
        for _ in range(20):
            assert (await fetch(daemon.url)).status == 200
        assert await daemon.stop() == 0
