"""The access log: one line of JSON for each request, in order, whatever a client put into its path."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.telemetry import access
from reauth_proxy.telemetry.access import AccessLog, quoted, request_id
from tests.fakes.exchanges import exchange


def note(log: AccessLog, number: int = 1, path: str = "/") -> None:
    log.finished(exchange(id=f"id-{number}", path=path, generation=7), 0.0123456)


async def test_a_line_says_what_became_of_a_request() -> None:
    out: list[str] = []
    log = AccessLog(out.append)
    note(log, path='/a"b\\c\n')
    log.close()
    (line,) = "".join(out).splitlines()
    found = json.loads(line)
    stamp = found.pop("timestamp")
    assert len(stamp) == 24
    assert stamp.endswith("Z")
    assert found == {
        "event": "request.finished",
        "request_id": "id-1",
        "method": "GET",
        "path": '/a"b\\c\n',
        "status": 200,
        "duration": 0.012346,
        "generation": 7,
        "outcome": "forwarded",
        "bytes_out": 99,
        "level": "info",
    }


async def test_lines_wait_for_their_neighbours_but_not_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "DELAY", 0.01)
    written = asyncio.Event()
    out: list[str] = []

    def write(text: str) -> None:
        out.append(text)
        written.set()

    log = AccessLog(write)
    for number in range(3):
        note(log, number)
    assert out == []
    await written.wait()
    assert len(out) == 1
    assert out[0].count("\n") == 3


async def test_many_lines_do_not_wait() -> None:
    out: list[str] = []
    log = AccessLog(out.append)
    for number in range(access.TOGETHER):
        note(log, number)
    assert len("".join(out).splitlines()) == access.TOGETHER
    log.close()


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=30))
def test_any_text_becomes_valid_json_on_one_line(text: str) -> None:
    shown = quoted(text)
    assert json.loads(shown) == text
    assert "\n" not in shown
    shown.encode("ascii" if not text.isascii() else "utf-8")


@pytest.mark.parametrize("given_id", [b"abc", b"A.b_c:d/e+f=g@h-1", b"x" * 128])
def test_a_sane_request_id_is_taken(given_id: bytes) -> None:
    assert request_id(given_id) == given_id.decode()


@pytest.mark.parametrize("given_id", [None, b"", b"a b", b"x" * 129, b'"', b"\xff", b"a\x00"])
def test_any_other_is_replaced(given_id: bytes | None) -> None:
    made = request_id(given_id)
    assert made != request_id(given_id)
    assert made.isascii()
    assert made.replace("-", "").isalnum()
