"""What a run found, as tables in Markdown."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from bench.peers import versions

OURS = "reauth-proxy"
#: The peers that all are compared with, and how much CPU time per request we may take of theirs.
COMPARED = ("Envoy", "Go ReverseProxy", "plain aiohttp")
LIMITS: Mapping[str, Mapping[str, float | None]] = {
    "small JSON, 64 connections": {"Envoy": 1.0, "Go ReverseProxy": 0.8, "plain aiohttp": 0.5},
    "browser-like fields": {"Envoy": 1.0, "Go ReverseProxy": 0.8, "plain aiohttp": 0.5},
    "16 KiB POST": {"Envoy": 1.0, "Go ReverseProxy": 0.8, "plain aiohttp": None},
    "TLS to the upstream": {"Envoy": 1.1, "Go ReverseProxy": 0.95, "plain aiohttp": None},
    "1 MiB answer": {"Envoy": 1.1, "Go ReverseProxy": 1.1, "plain aiohttp": None},
}


@dataclass
class Sample:
    """One measurement: CPU microseconds per request, requests per second, latencies in ms, peak memory in MB."""

    cpu: float
    rate: float
    p50: float
    p99: float
    memory: float


#: One scenario's samples: by peer, by round; a failed round is the reason instead.
Rounds = Mapping[str, Sequence[Sample | str]]


def median(samples: Sequence[Sample]) -> Sample:
    """Return the medians, figure by figure."""
    return Sample(*(statistics.median(values) for values in zip(*map(astuple, samples), strict=True)))


def ratio(rounds: Rounds, name: str, other: str) -> float | None:
    """Return the median of the rounds' own ratios of CPU time: what slows a whole round cancels out."""
    pairs = zip(rounds.get(name, ()), rounds.get(other, ()), strict=False)
    found = [ours.cpu / theirs.cpu for ours, theirs in pairs if isinstance(ours, Sample) and isinstance(theirs, Sample)]
    return statistics.median(found) if found else None


def verdict(found: float, limit: float) -> str:
    """Return whether what was aimed at was met."""
    return "met" if found <= limit else "**missed**"


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def table(
    scenario: str, rounds: Rounds, *, unit: str = "request", limits: Mapping[str, float | None] | None = None
) -> list[str]:
    """Return the lines of one scenario's table, and below it what failed and what was aimed at.

    Args:
        unit: what is counted.
        limits: peers that all are compared with, and what we may take of their CPU time, if that is limited.
    """
    if limits is None:
        limits = LIMITS.get(scenario, dict.fromkeys(COMPARED))
    others = [f"of {name.removesuffix(' ReverseProxy')}" for name in limits]
    head = ["peer", f"CPU µs/{unit}", *others, f"{unit}s/s", "p50 ms", "p99 ms", "peak RSS MB"]
    lines = [f"### {scenario}", "", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    notes = []
    for name, taken in rounds.items():
        good = [sample for sample in taken if isinstance(sample, Sample)]
        failures = [sample for sample in taken if isinstance(sample, str)]
        if failures:
            notes.append(f"- {name}: {len(failures)} of {len(taken)} rounds **failed** and are left out: {failures[0]}")
        if not good:
            lines.append(f"| {name} | failed |" + " - |" * (len(head) - 2))
            continue
        found = median(good)
        cells = [name, _cell(found.cpu, 1), *(_cell(ratio(rounds, name, other), 2) for other in limits)]
        cells += [_cell(found.rate, 0), _cell(found.p50, 2), _cell(found.p99, 2), _cell(found.memory, 0)]
        lines.append("| " + " | ".join(cells) + " |")
    for other, limit in limits.items():
        if limit is not None and (found_ratio := ratio(rounds, OURS, other)) is not None:
            notes.append(f"- at most {limit} of {other}: {found_ratio:.2f}, {verdict(found_ratio, limit)}")
    return [*lines, "", *notes, *([""] if notes else [])]


def machine() -> list[str]:
    """Return what the figures were measured on."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return [
        f"- {today}, {cpu[1] if cpu else 'unknown CPU'}, {os.cpu_count()} cores, Linux {platform.release()}",
        "- " + "; ".join(f"{name} {version}" for name, version in versions().items()),
    ]
