"""What a browser is started with."""

from __future__ import annotations

import pytest

from reauth_proxy.commands import browser


def test_a_browser_gets_what_it_needs_and_nothing_else() -> None:
    needed = {"PATH": "/bin", "DISPLAY": ":0", "XDG_RUNTIME_DIR": "/run", "LC_ALL": "C", "BROWSER": "firefox"}
    secrets = {"REFRESH_TOKEN": "CANARY", "AWS_SECRET_ACCESS_KEY": "CANARY", "TERM": "xterm", "PYTHONSTARTUP": "CANARY"}
    assert browser.cleaned({**needed, **secrets}) == needed


async def test_a_python_that_is_not_there_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser.sys, "executable", "/nowhere/python")
    assert await browser.open_page("http://127.0.0.1:1/") is False


async def test_a_browser_that_stays_in_the_foreground_counts_as_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "_OPEN", "import time; time.sleep(60)")
    monkeypatch.setattr(browser, "_PATIENCE", 0.2)
    assert await browser.open_page("http://127.0.0.1:1/") is True
