"""What CI and the image install is what was locked: each package in one version, each archive by its hash."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parent.parent
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME: Final = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEV: Final = [Requirement(text) for text in PROJECT["project"]["optional-dependencies"]["dev"]]
GROUPS: Final = {name: [Requirement(text) for text in listed] for name, listed in PROJECT["dependency-groups"].items()}
FILES: Final = {
    "runtime": RUNTIME,
    "build": GROUPS["build"],
    "dev": [*RUNTIME, *DEV, *GROUPS["build"], *GROUPS["editable"]],
    "ci": GROUPS["ci"],
}

_ENTRY: Final = re.compile(
    r"^(?P<requirement>[^#\s][^\\\n]*?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)
_COMMENT: Final = re.compile(r" *#.*\n")


@dataclass(frozen=True)
class Locked:
    """One entry of a lock."""

    requirement: Requirement
    hashes: int

    @property
    def version(self) -> str:
        (pin,) = self.requirement.specifier
        assert pin.operator == "=="
        return pin.version


def lock(name: str) -> dict[str, list[Locked]]:
    """Return a lock's entries by package; several, where Pythons differ."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    found: dict[str, list[Locked]] = {}
    for entry in _ENTRY.finditer(text):
        requirement = Requirement(entry["requirement"])
        locked = Locked(requirement, entry["hashes"].count("--hash"))
        found.setdefault(canonicalize_name(requirement.name), []).append(locked)
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_lock_is_pinned_entries_with_hashes_and_nothing_else(name: str) -> None:
    """Not where archives come from, either: that is for the machine to say that installs them."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert _COMMENT.sub("", _ENTRY.sub("", text)) == ""
    assert "://" not in text
    entries = [entry for entries in lock(name).values() for entry in entries]
    assert entries
    assert all(entry.version and entry.hashes for entry in entries)


@pytest.mark.parametrize("name", FILES)
def test_a_lock_is_within_the_ranges_of_the_project(name: str) -> None:
    locked = lock(name)
    for wanted in FILES[name]:
        for entry in locked[canonicalize_name(wanted.name)]:
            assert wanted.specifier.contains(entry.version), f"{wanted} and {entry.version}: make lock"


@pytest.mark.parametrize("name", FILES)
def test_a_lock_holds_whatever_its_packages_need(name: str) -> None:
    """As far as they are installed here, and say so themselves."""
    locked = lock(name)
    extras = {canonicalize_name(wanted.name): wanted.extras for wanted in FILES[name]}
    looked_at = 0
    for package in locked:
        try:
            needs = importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        looked_at += 1
        for need in map(Requirement, needs):
            contexts = [{"extra": extra} for extra in ("", *extras.get(package, ()))]
            if need.marker is None or any(need.marker.evaluate(context) for context in contexts):
                assert canonicalize_name(need.name) in locked, f"{package} needs {need}: make lock"
    assert looked_at or name in ("build", "ci")


def test_the_locks_agree_with_each_other() -> None:
    everything = lock("dev")
    for name in ("runtime", "build"):
        for package, entries in lock(name).items():
            assert {entry.version for entry in entries} == {entry.version for entry in everything[package]}
    for package, entries in lock("ci").items():
        assert {entry.version for entry in entries} == {entry.version for entry in everything.get(package, entries)}


def test_a_package_that_is_needed_with_an_extra_is_locked_with_it() -> None:
    """Older releases of pip take no other entry for it, and want the newest instead, which has no hash here."""
    extras = {
        (package, extra)
        for package, entries in lock("ci").items()
        for entry in entries
        for extra in entry.requirement.extras
    }
    assert ("cachecontrol", "filecache") in extras, "pip-audit needs it so; `make lock` keeps extras"
    assert ("jsonschema", "format-nongpl") in extras, "cyclonedx-python-lib needs it so; `make lock` keeps extras"


@pytest.mark.parametrize("package", ["aiohttp", "httptools", "pydantic-core", "cryptography", "uvloop"])
def test_a_compiled_package_has_an_archive_for_every_python_and_processor(package: str) -> None:
    """Three Pythons on two processors, and the source."""
    (entry,) = lock("runtime")[package]
    assert entry.hashes >= 7


def test_what_builds_the_package_is_what_is_locked_for_it() -> None:
    assert [Requirement(text) for text in PROJECT["build-system"]["requires"]] == GROUPS["build"]


def test_the_image_installs_nothing_without_its_hash() -> None:
    installs = re.findall(r"pip (?:install|wheel) [^\n\\]*", (ROOT / "Dockerfile").read_text())
    assert len(installs) == 4
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install, install
        assert "--no-deps" not in install or "--no-index" in install or "--no-build-isolation" in install, install


def test_ci_installs_from_the_lock_and_looks_for_known_vulnerabilities_in_it() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"pip-audit --require-hashes .*\\\n *--requirement requirements/dev\.txt", script)
    assert "make sbom" in script


def test_ci_tests_both_ends_of_the_ranges_besides_the_lock() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for name, command in (
        ("locked", "make test SLOW=1"),
        ("lowest", '.ci/ranges lowest "$oldest"'),
        ("newest", '.ci/ranges newest "$newest"'),
    ):
        assert re.search(rf'^say "tests of the {name} set"\n(?:.+\n)*?.*{re.escape(command)}', script, re.MULTILINE)
    ranges = (ROOT / ".ci" / "ranges").read_text()
    for step in ("check --config", "demo --port 0", "tests/forward tests/raw tests/config", "lowest-direct"):
        assert step in ranges


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_installs_from_the_lock_unless_told_otherwise(target: str) -> None:
    def steps(*arguments: str) -> str:
        command = ["make", "-C", str(ROOT), "--dry-run", "VENV=/nonexistent", "SHELL=/bin/sh", *arguments, target]
        # What this run itself was told by `make` is not passed on.
        env = {"PATH": os.environ["PATH"]}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout

    lock_of = {"demo": "runtime", "test": "dev"}[target]
    for told in ([], ["LOCKED=1"]):
        assert f"install --require-hashes --requirement requirements/{lock_of}.txt" in steps(*told)
    for told in (["LOCKED="], ["LOCKED=0"]):
        assert "--require-hashes" not in steps(*told)
        assert "install --upgrade --upgrade-strategy eager --editable" in steps(*told)
