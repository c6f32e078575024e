"""The container's recipe and the Makefile, as far as they can be tried without an engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reauth_proxy

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instruction(name: str) -> list[str]:
    """Return the arguments of each instruction with this name, lines joined."""
    joined = re.sub(r"\\\n", " ", DOCKERFILE)
    return re.findall(rf"^{name}\s+(.*)$", joined, re.MULTILINE)


@pytest.mark.slow
def test_the_build_steps_leave_a_program_that_runs_and_nothing_to_build_with(tmp_path: Path) -> None:
    (steps, _) = instruction("RUN")
    prefix = tmp_path / "venv"
    for source in [*instruction("COPY")[0].split()[:-1], "reauth_proxy"]:
        assert (ROOT / source).exists()
    script = steps.replace("/opt/reauth-proxy", str(prefix)).replace("python -m venv", f"{sys.executable} -m venv")
    subprocess.run(["bash", "-euc", script], cwd=ROOT, check=True, capture_output=True)
    program = prefix / "bin" / "reauth-proxy"
    # The image has the environment at another path; here its own is right.
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    assert reauth_proxy.__version__ in done.stdout
    assert not list((prefix / "lib").rglob("site-packages/pip/__init__.py"))
    assert list((prefix / "lib").rglob("site-packages/reauth_proxy/py.typed"))


def test_the_health_check_asks_the_daemon_of_the_same_file() -> None:
    command = json.loads(instruction("HEALTHCHECK")[0].partition("CMD ")[2])
    assert command[:2] == ["reauth-proxy", "status"]
    assert command[2:] == json.loads(instruction("CMD")[0])


def test_the_container_runs_as_nobody_special_and_keeps_its_session_in_a_volume() -> None:
    assert instruction("USER") == ["10001"]
    assert "/var/lib/reauth-proxy" in instruction("VOLUME")[0]
    assert any("XDG_STATE_HOME=/var/lib" in found for found in instruction("ENV"))
    assert instruction("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(instruction("ENTRYPOINT")[0]) == ["reauth-proxy"]


def test_make_alone_says_what_there_is() -> None:
    done = subprocess.run(["make", "-C", str(ROOT)], check=True, capture_output=True, text=True)
    for target in ("demo", "test", "lint", "bench"):
        assert re.search(rf"^make {target} +\w", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("python", "anew"),
    [(sys.executable, False), ("/nonexistent/python", True), (None, True)],
    ids=["there", "gone", "none"],
)
def test_an_environment_is_made_and_filled_anew_where_its_interpreter_is_gone(
    tmp_path: Path, python: str | None, anew: bool
) -> None:
    """As after an update of the system's Python: the link leads nowhere, and what make noted is there still."""
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    if python is not None:
        (environment / "bin" / "python").symlink_to(python)
    newest = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "requirements/dev.txt"))
    for age, name in enumerate((".made", ".test-locked")):
        (environment / name).touch()
        os.utime(environment / name, (newest + 1 + age, newest + 1 + age))
    command = ["make", "-C", str(ROOT), "--dry-run", f"VENV={environment}", "test"]
    env = {"PATH": os.environ["PATH"]}
    steps = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    assert ("-m venv --clear" in steps) is anew
    assert ("--require-hashes" in steps) is anew
    assert "-m pytest" in steps


def test_the_changelog_and_the_version_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{reauth_proxy.__version__}]" in changelog
