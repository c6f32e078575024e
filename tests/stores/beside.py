"""What a file store keeps in the directory of its file."""

from __future__ import annotations

from typing import Final

FILES: Final = frozenset(
    {
        "session.json",
        "session.json.backup",
        "session.json.lock",
        "session.json.turn",
        "session.json.users",
        "session.json.alone",
    }
)
