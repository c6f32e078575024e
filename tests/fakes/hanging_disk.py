"""A disk that hangs, for a real process: calls below one directory wait for as long as a flag is set."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_suffix(".c")


class HangingDisk:
    """What is below `path` hangs as it is told.

    Args:
        directory: for the library and the flags; not on the disk itself.
        path: the directory on the disk.

    Attributes:
        environ: what a process needs to be on this disk.
    """

    def __init__(self, directory: Path, path: Path) -> None:
        self._flags = directory / "flags"
        self._flags.mkdir()
        self.environ = {
            "LD_PRELOAD": str(_library(directory)),
            "HANGING_DISK": str(path),
            "HANGING_DISK_FLAGS": str(self._flags),
        }

    def hang(self, call: str) -> None:
        """From now on, let each such call hang: open, stat, fsync, rename, utime, flock or watch."""
        (self._flags / call).touch()

    def fill(self) -> None:
        """From now on, let no file be made: the disk is full."""
        (self._flags / "full").touch()

    def hangs(self, call: str) -> bool:
        """Whether a call has come that hangs."""
        return (self._flags / f"{call}.hangs").exists()

    def go_on(self) -> None:
        """Let everything go on."""
        for flag in self._flags.iterdir():
            flag.unlink(missing_ok=True)


def _library(directory: Path) -> Path:
    """Compile it; skip the test where that cannot be."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler for a library that Linux preloads")
    library = directory / "hanging_disk.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"the C compiler cannot make the library: {done.stderr.strip()[:200]}")
    return library
