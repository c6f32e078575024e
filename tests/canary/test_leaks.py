"""The search for canaries finds them: what it does not find is not there."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from tests.fakes.files import write_secret
from tests.fakes.leaks import files_with_canaries, leaks

SECRET = "a-CANARY-1"


@pytest.mark.parametrize(
    "data",
    [
        SECRET,
        SECRET.lower(),
        f"…{SECRET}…",
        json.dumps([SECRET]),
        json.dumps(json.dumps([SECRET])),
        repr(SECRET.encode()),
        urlencode({"x": SECRET}),
        "".join(f"%{byte:02X}" for byte in SECRET.encode()),
        f"x={quote(SECRET)}",
        SECRET.encode().hex(),
        SECRET.encode("utf-16"),
        "".join(f"\\u{ord(character):04x}" for character in SECRET),
        *(base64.b64encode(b"x" * offset + SECRET.encode()) for offset in range(3)),
        *(base64.urlsafe_b64encode(b"web:" + b"x" * offset + SECRET.encode() + b"?>") for offset in range(3)),
    ],
)
def test_a_canary_is_found_however_it_is_written(data: bytes | str) -> None:
    assert leaks(data)


@pytest.mark.parametrize("data", ["", "canal", b"\xff\xfe", "{}", "100 % sure", "%43%41"])
def test_nothing_is_found_where_there_is_none(data: bytes | str) -> None:
    assert not leaks(data)


def test_files_are_found_with_their_permissions(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    write_secret(tmp_path / "a" / "b" / "leaky", SECRET, 0o644)
    write_secret(tmp_path / "a" / "kept", SECRET, 0o600)
    write_secret(tmp_path / "clean", "x")
    assert files_with_canaries(tmp_path) == {tmp_path / "a/b/leaky": "0644", tmp_path / "a/kept": "0600"}
