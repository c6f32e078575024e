"""A release of aiohttp that was not tested is refused, before a name is used that it may not have."""

from __future__ import annotations

import sys

import aiohttp
import pytest

from reauth_proxy import cli
from reauth_proxy.system.compatibility import is_within, require_tested_aiohttp


def test_the_installed_release_is_fine() -> None:
    require_tested_aiohttp()


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("3.14.4", True),
        ("3.14.5", True),
        ("3.14.5.post1", True),
        ("3.14.5+debian.1", True),
        ("3.14.3", False),
        ("3.14", False),
        ("3.14.6", False),
        ("3.14.10", False),
        ("3.15.0", False),
        ("4.0.0a2.dev0", False),
        ("3.14.5rc1", False),
        ("3.9.99", False),
        ("3", False),
        ("", False),
        ("of today", False),
    ],
)
def test_what_lies_in_a_range(version: str, fits: bool) -> None:
    assert is_within(version, "3.14.4", "3.14.6") is fits


def test_a_zero_at_the_end_makes_no_difference() -> None:
    assert is_within("3.14.0", "3.14", "3.15")
    assert is_within("3.14", "3.14.0", "3.15")
    assert not is_within("3.15.0", "3.14", "3.15")


@pytest.mark.parametrize("arguments", [["--config", "no-such-file.yaml"], ["demo"]], ids=["daemon", "demo"])
def test_the_daemon_and_the_demo_do_not_start_with_another(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(aiohttp, "__version__", "3.15.0")
    monkeypatch.setattr(sys, "argv", ["reauth-proxy", *arguments])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 1
    assert capsys.readouterr().err == (
        "reauth-proxy: aiohttp 3.15.0 is installed, but this release works only with aiohttp>=3.14.4,<3.14.6; "
        "run: pip install 'aiohttp>=3.14.4,<3.14.6'\n"
    )
