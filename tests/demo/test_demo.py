"""``reauth-proxy demo`` as people run it, with what it tells them to try."""

from __future__ import annotations

import asyncio
import re
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT

import pytest

from tests.fakes.client import fetch
from tests.fakes.program import Program, program

pytestmark = pytest.mark.usefixtures("demo_ports")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_what_it_prints_works_and_ctrl_c_ends_it_well(how: signal.Signals) -> None:
    async with program("demo", "--port", "0") as demo:
        text = await demo.says("Ctrl-C ends it")
        commands = dict(re.findall(r"(curl[^\n]*?(http://127\.0\.0\.1:\d+/[a-z/]*))", text))
        proxy, servers = (
            next(url for url in commands.values() if url.endswith(end)).removesuffix(end)
            for end in ("/time", "/demo/revoke")
        )
        assert b'"time"' in (await fetch(proxy, "/time")).content

        burst = await asyncio.gather(*(fetch(proxy, "/orders") for _ in range(50)))
        assert [answer.status for answer in burst] == [200] * 50
        page = (await fetch(servers)).content.decode()
        assert re.search(r"refreshes +1\n", page), page
        assert re.search(r"API answers +51\n", page), page

        assert (await fetch(servers, "/demo/revoke", method="POST")).status == 200
        told = await fetch(proxy, "/time")
        assert (told.status, told.value("Reauth-Signal")) == (401, "logout;reason=refresh_denied")

        assert (await fetch(servers, "/demo/restore", method="POST")).status == 200
        assert (await fetch(proxy, "/time")).status == 200
        assert await demo.end(how) == 0
    for event in ("refresh.issued", "refresh.denied", "session.signed_out", "session.resumed", "server.drained"):
        assert event in demo.out
    assert "Traceback" not in demo.out


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process's limits can be read on Linux alone")
async def test_it_allows_itself_as_many_open_files_as_the_system_does() -> None:
    limited = 'ulimit -Sn 64 && exec "$0" -m reauth_proxy demo --port 0'
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", limited, sys.executable), stdout=PIPE, stderr=STDOUT, stdin=DEVNULL
    )
    demo = Program(process)
    await demo.says("Ctrl-C ends it")
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    assert await demo.end() == 0
    assert soft == hard > 64


async def test_two_demos_at_once_get_out_of_each_other_s_way() -> None:
    async with program("demo", "--port", "0") as one:
        await one.says("Ctrl-C ends it")
        async with program("demo", "--port", "0") as two:
            told = await two.says("Ctrl-C ends it")
            assert "is taken; using " in told
            assert await two.end() == 0
        assert await one.end() == 0


async def test_a_port_that_is_taken_is_told_without_a_traceback() -> None:
    async with program("demo", "--port", "0") as one:
        text = await one.says("Ctrl-C ends it")
        found = re.search(r"curl -s http://127\.0\.0\.1:(\d+)/time", text)
        assert found is not None
        async with program("demo", "--port", found[1]) as two:
            told = (await two.process.communicate())[0].decode()
        assert two.process.returncode == 1
        assert f"127.0.0.1:{found[1]}" in told
        assert "Traceback" not in told
        assert await one.end() == 0
