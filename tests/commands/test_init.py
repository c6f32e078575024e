"""`reauth-proxy init`, answered at a real terminal, and with options."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import click
import pexpect
import pytest

from reauth_proxy.config.load import load
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import fetch
from tests.fakes.daemon import DaemonProcess, cared_for
from tests.fakes.login import login_server
from tests.fakes.program import program
from tests.fakes.upstream import FakeUpstream

ISSUER = ("--kind", "issuer", "--endpoint", "https://id.example.com", "--client-id", "web")


async def made(directory: Path, *options: str) -> tuple[int, str]:
    """Run it with no terminal; return exit status and what it said."""
    async with program("init", "--output", str(directory / "config.yaml"), *options) as running:
        return await running.ended(), running.out


def answered(directory: Path, dialogue: list[tuple[str, str]], *options: str) -> str:
    """Answer its questions at a terminal; return what was on the screen."""
    arguments = ["-m", "reauth_proxy", "init", "--output", str(directory / "config.yaml"), *options]
    child = pexpect.spawn(sys.executable, arguments, encoding="utf-8", timeout=20, env={**os.environ, "TERM": "xterm"})
    screen = ""
    try:
        for question, answer in dialogue:
            child.expect_exact(question)
            screen += str(child.before) + question
            child.sendline(answer)
        child.expect(pexpect.EOF)
        child.wait()
        screen += str(child.before)
        assert child.exitstatus == 0, screen
    finally:
        child.close(force=True)
    return click.unstyle(screen)


async def test_answered_at_a_terminal_it_gives_a_configuration_that_runs(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    dialogue = [
        ("The API's URL", upstream.url),
        ("Which", "2"),
        ("The token endpoint's URL", authorization.url),
        ("The client's id", "web"),
        ("The environment variable with the client's secret", ""),
        ("Scopes to ask for", ""),
        ("Which", "2"),
        ("The variable's name", "TOKEN"),
        ("whether they are there?", "y"),
    ]
    screen = await asyncio.to_thread(answered, tmp_path, dialogue, "--listen", "127.0.0.1:0")
    assert f"✓ upstream {upstream.url}: answers, with 401" in screen
    assert "✓ token endpoint of default: answers, with" in screen
    assert f"reauth-proxy --config {tmp_path / 'config.yaml'}" in screen
    assert authorization.first not in screen
    written = tmp_path / "config.yaml"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    text = written.read_text().replace("127.0.0.1:8181", "127.0.0.1:0") + "store: {type: memory}\n"
    written.write_text(text)
    async with cared_for(DaemonProcess(tmp_path, {})) as daemon:
        daemon.environ["TOKEN"] = authorization.first
        daemon.environ["REAUTH_PROXY_LOG"] = "json"
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200


async def test_a_hand_made_api_is_asked_about_in_its_own_words(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    dialogue = [
        ("The API's URL", upstream.url),
        ("Which", "3"),
        ("The token endpoint's URL", authorization.json_url),
        ("What does the request call the refresh token?", "token"),
        ("Where is the access token in the answer", ""),
        ("Where is the refresh token in the answer", ""),
        ("Where is the lifetime in seconds in the answer", "/expiresIn"),
        ("Which", "2"),
        ("The file's path", "the-token"),
        ("whether they are there?", "n"),
    ]
    await asyncio.to_thread(answered, tmp_path, dialogue)
    (tmp_path / "the-token").write_text(authorization.first)
    (tmp_path / "the-token").chmod(0o600)
    config = load(tmp_path / "config.yaml")
    assert config.credential is not None
    endpoint = config.credential.token_endpoint
    assert endpoint.type == "json"
    assert endpoint.body == {"token": "{refresh_token}"}
    assert config.credential.configured is not None


async def test_with_options_nothing_is_asked(tmp_path: Path) -> None:
    code, out = await made(
        tmp_path, "--upstream", "https://api.example.com", *ISSUER, "--origin", "http://localhost:5173"
    )
    assert code == 0, out
    assert "reauth-proxy login" in out
    config = load(tmp_path / "config.yaml")
    assert config.access.origins == ("http://localhost:5173",)
    async with program("check", "--config", str(tmp_path / "config.yaml")) as running:
        assert await running.ended() == 0, running.out


async def test_what_is_missing_is_named_where_nobody_can_be_asked(tmp_path: Path) -> None:
    code, out = await made(tmp_path, "--kind", "issuer")
    assert code == 2
    assert "--upstream" in out
    assert not (tmp_path / "config.yaml").exists()


async def test_an_answer_that_cannot_be_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    code, out = await made(tmp_path, "--upstream", "http://api.example.com", *ISSUER)
    assert code == 2
    assert "upstream" in out
    assert "Traceback" not in out
    assert not (tmp_path / "config.yaml").exists()


async def test_a_file_that_is_there_is_kept_unless_force_is_used(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine")
    code, out = await made(tmp_path, "--upstream", "https://api.example.com", *ISSUER)
    assert code == 1
    assert "--force" in out
    assert (tmp_path / "config.yaml").read_text() == "mine"
    code, out = await made(tmp_path, "--upstream", "https://api.example.com", *ISSUER, "--force")
    assert code == 0
    assert "issuer: https://id.example.com" in (tmp_path / "config.yaml").read_text()


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    code, out = await made(tmp_path / "nowhere", "--upstream", "https://api.example.com", *ISSUER)
    assert code == 1
    assert "cannot be written: no such file or directory" in out


@pytest.mark.parametrize("probe", [True, False])
async def test_it_probes_where_it_may_and_sends_no_token(upstream: FakeUpstream, tmp_path: Path, probe: bool) -> None:
    async with login_server() as server:
        options = ("--kind", "issuer", "--endpoint", server.issuer, "--client-id", "web")
        code, out = await made(tmp_path, "--upstream", upstream.url, *options, "--probe" if probe else "--no-probe")
        assert code == 0, out
        assert ("discovered: token" in out) is probe
        assert upstream.count == int(probe)
        assert not any(received.token for received in upstream.seen("/"))
        assert "/token" not in server.paths()
