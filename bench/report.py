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

COMPARED = ("Envoy", "Go ReverseProxy", "plain aiohttp")
HEADER = [
    "| peer | CPU µs/request | of Envoy | of Go | of plain aiohttp | requests/s | p50 ms | p99 ms | peak RSS MB |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
]


@dataclass
class Sample:
    """One measurement: CPU microseconds per request, requests per second, latencies in ms, peak memory in MB."""

    cpu: float
    rate: float
    p50: float
    p99: float
    memory: float


def median(samples: Sequence[Sample]) -> Sample:
    """Return the medians, figure by figure."""
    return Sample(*(statistics.median(values) for values in zip(*map(astuple, samples), strict=True)))


def table(scenario: str, medians: Mapping[str, Sample]) -> list[str]:
    """Return the lines of one scenario's table."""
    lines = [f"### {scenario}", "", *HEADER]
    for name, sample in medians.items():
        ratios = [f"{sample.cpu / medians[other].cpu:.2f}" if other in medians else "-" for other in COMPARED]
        cells = [name, f"{sample.cpu:.1f}", *ratios, f"{sample.rate:.0f}", f"{sample.p50:.2f}", f"{sample.p99:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{sample.memory:.0f}"]) + " |")
    return [*lines, ""]


def machine() -> list[str]:
    """Return what the figures were measured on."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        f"- {today}, {cpu[1] if cpu else 'unknown CPU'}, {os.cpu_count()} cores, Linux {platform.release()}",
        f"- Python {platform.python_version()}",
    ]
    return lines + [f"- {name}: {version}" for name, version in versions().items()]
