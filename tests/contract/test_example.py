"""config.example.yaml runs as it is against the demo's servers, as its first lines say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.client import fetch
from tests.fakes.program import program

pytestmark = pytest.mark.usefixtures("demo_ports")

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


async def free(port: int) -> None:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return
    writer.close()
    pytest.skip(f"something listens on 127.0.0.1:{port}, which config.example.yaml uses")


async def test_the_example_runs_as_it_is_and_a_restarted_proxy_is_signed_in_again() -> None:
    for port in (8080, 8490):
        await free(port)
    async with program("demo", "--servers-only") as servers:
        assert "reauth-proxy --config config.example.yaml" in await servers.says("Ctrl-C ends")
        for refreshes in (1, 2):
            async with program("--config", str(EXAMPLE)) as proxy:
                await proxy.says("server.started")
                answers = [await fetch("http://127.0.0.1:8080", "/time") for _ in range(3)]
                assert [answer.status for answer in answers] == [200] * 3
                assert await proxy.end() == 0
            page = (await fetch("http://127.0.0.1:8490")).content.decode().split("\n")
            assert page[1].split() == ["refreshes", str(refreshes)]
        assert await servers.end() == 0
