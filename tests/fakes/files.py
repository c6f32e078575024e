"""Files as a careful person keeps them, and as a careless one does."""

from __future__ import annotations

from pathlib import Path


def write_secret(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    """Write a file that only its owner may read, or as open as `mode` says; return its path."""
    path.touch()
    path.chmod(mode)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
