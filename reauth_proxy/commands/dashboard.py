"""How a daemon is, in a few lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

_COLOURS: Final[Mapping[str, str]] = {"fresh": "green", "stale": "yellow", "refreshing": "yellow", "signed_out": "red"}
_WORDS: Final[Mapping[str, str]] = {"signed_out": "signed out"}
_BAR: Final = 24
_PARTS: Final = " ▏▎▍▌▋▊▉█"


def lines(status: Mapping[str, Any], width: int = 80) -> list[str]:
    """Return the lines.

    Args:
        status: what the control plane says of itself.
        width: of the terminal, in columns.
    """
    return [*_head(status), "", *_sessions(status), "", *_traffic(status, width)]


def _head(status: Mapping[str, Any]) -> Iterator[str]:
    ready = (
        click.style("ready", fg="green", bold=True)
        if status["ready"]
        else click.style("not ready", fg="red", bold=True)
    )
    up = lasting(status["now"] - status["started"])
    yield f"reauth-proxy {status['version']} at {status['listen']}: {ready}, up {up}"
    for name, why in status["problems"].items():
        yield f"  {click.style(name, bold=True)}: {why}"


def _sessions(status: Mapping[str, Any]) -> Iterator[str]:
    for one in status["credentials"]:
        state = click.style(_WORDS.get(one["state"], one["state"]), fg=_COLOURS[one["state"]], bold=True)
        yield f"{click.style(one['name'], bold=True)}  {state}  generation {one['generation']}"
        if one["expires_at"] is not None and one["issued_at"] is not None:
            left = max(0.0, one["expires_at"] - status["now"])
            whole = max(one["expires_at"] - one["issued_at"], 0.001)
            yield f"  {bar(left / whole)}  expires in {lasting(left)}" if left else f"  {bar(0)}  expired"
        counts = one["refreshes"]
        told = f"{counts['issued']} issued, {counts['denied']} denied, {counts['unavailable']} unavailable"
        yield f"  refreshes: {told}; {one['parked']} parked now; {one['logouts']} logouts"


def _traffic(status: Mapping[str, Any], width: int) -> Iterator[str]:
    traffic = status["traffic"]
    recent = traffic[-60:]
    yield f"{_per_second(recent[-1:]):g} requests/s now, {_per_second(recent):.1f} over the last minute"
    if any(second[1] for second in traffic):
        yield f"  {sparkline([second[1] for second in traffic][-max(10, min(width - 2, 120)) :])}"
    for upstream in status["upstreams"]:
        waiting = f", {upstream['waiting']} waiting" if upstream["waiting"] else ""
        yield f"  {upstream['name']}: {upstream['busy']} busy, {upstream['idle']} idle{waiting}"
    for request in status["notable"][-5:]:
        yield f"  {request['method']} {request['path'][:40]}  {request['status'] or '-'}  {request['why']}"


def _per_second(seconds: list[list[int]]) -> float:
    return sum(second[1] for second in seconds) / len(seconds) if seconds else 0.0


def bar(part: float) -> str:
    """Return a bar that is so full, from 0 to 1."""
    eighths = round(max(0.0, min(1.0, part)) * _BAR * 8)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (_PARTS[rest] if rest else "")
    return click.style(drawn, fg="green" if part >= 0.2 else "yellow") + "·" * (_BAR - len(drawn))


def sparkline(values: list[int]) -> str:
    """Return a line as high as the values."""
    top = max(values, default=0) or 1
    return "".join("▁▂▃▄▅▆▇█"[min(7, value * 8 // top)] if value else " " for value in values)


def lasting(seconds: float) -> str:
    """Say a duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
