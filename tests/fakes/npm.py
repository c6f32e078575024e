"""What comes from npm: installed once, into a cache directory, when a test first needs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def installed(manifest: Path) -> Path:
    """Return the directory that has a package.json's packages in it.

    Skips the test without Node.js, or where nothing is to be had.

    Args:
        manifest: the package.json; it names one exact version.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are needed")
    ((name, version),) = json.loads(manifest.read_text())["dependencies"].items()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reauth-proxy-tests"
    target = cache / f"{name}-{version}"
    if not (target / "node_modules").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            shutil.copy(manifest, temporary)
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
            done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                pytest.skip(f"npm could not install {name} {version}: {done.stderr.strip()[-300:]}")
            if not target.exists():  # another run may have been quicker
                Path(temporary).rename(target)
                Path(temporary).mkdir()
    return target
