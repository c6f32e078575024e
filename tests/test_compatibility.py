"""A release of aiohttp that was not tested is refused before anything is imported from it."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import NoReturn

import pytest

from reauth_proxy import cli, compatibility
from reauth_proxy.compatibility import UnsupportedLibrary, is_within, require_tested_aiohttp


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
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "3.15.0")
    monkeypatch.setattr(sys, "argv", ["reauth-proxy", *arguments])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 1
    assert capsys.readouterr().err == (
        "reauth-proxy: aiohttp 3.15.0 is installed, but this release works only with aiohttp>=3.14.4,<3.14.6; "
        "run: pip install 'aiohttp>=3.14.4,<3.14.6'\n"
    )


def test_none_at_all_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> NoReturn:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(compatibility.importlib.metadata, "version", missing)
    with pytest.raises(UnsupportedLibrary, match="aiohttp is not installed; run: pip install"):
        require_tested_aiohttp()
