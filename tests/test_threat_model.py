"""Every row of the threat model has tests, and they are there under the names that it gives."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = (ROOT / "docs" / "threat-model.md").read_text()
ROWS: Final = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
NAMED: Final = [re.findall(r"`(tests/[^`]+)`", tests) for *_, tests in ROWS]


def test_the_rows_are_numbered_and_there_are_many() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 40
    assert len(ROWS) == len(re.findall(r"^\| \d+ ", PAGE, re.MULTILINE)), "a row that cannot be read"


def test_each_row_says_what_stops_the_threat_and_names_tests_of_its_own() -> None:
    threats = [threat for _, threat, *_ in ROWS]
    assert len(set(threats)) == len(threats)
    assert all(stops.strip() for *_, stops, _ in ROWS)
    assert all(NAMED)


@pytest.mark.process
def test_every_test_that_is_named_is_there() -> None:
    """pytest itself is asked, for it knows which cases a test has; it fails if it cannot find one."""
    names = sorted({name for names in NAMED for name in names})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = done.stdout.splitlines()
    missing = [name for name in names if not any(line == name or line.startswith(f"{name}[") for line in found)]
    assert not missing


def test_the_readme_leads_here_and_to_how_to_report() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "docs/threat-model.md" in readme
    assert "SECURITY.md" in readme
