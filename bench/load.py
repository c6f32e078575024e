"""The scenarios, and wrk: one measurement of one peer."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import cpu_ns, forget_peak, peak_memory, pinned
from bench.report import Sample

WARM_UP = 1  # seconds; wrk takes whole ones only

BROWSER_FIELDS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537",
    "Accept": "application/json, text/plain, */*",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Cache-Control": "no-cache",
    "Cookie": "theme=dark; sid=0123456789abcdef0123456789abcdef; _ga=GA1.1.1234567890.1700000000; consent=yes",
    "DNT": "1",
    "Pragma": "no-cache",
    "Priority": "u=1, i",
    "Referer": "http://localhost:5173/dashboard/orders?page=3",
    "Sec-CH-UA": '"Chromium";v="140", "Not=A?Brand";v="24"',
    "Sec-CH-UA-Mobile": "?0",
    "Sec-CH-UA-Platform": '"Linux"',
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-site",
    "Origin": "http://localhost:5173",
}


class Failed(Exception):
    """A measurement that does not count, and why."""


@dataclass(frozen=True)
class Scenario:
    """One kind of load."""

    name: str
    path: str
    connections: int = 64
    tls: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    content: int = 0


SCENARIOS = [
    Scenario("small JSON, 64 connections", "/small"),
    Scenario("small JSON, 1 connection", "/small", connections=1),
    Scenario("browser-like fields", "/browser", fields=BROWSER_FIELDS),
    Scenario("TLS to the upstream", "/small", tls=True),
    Scenario("16 KiB POST", "/post", content=16 * 1024),
    Scenario("1 MiB answer", "/big", connections=16),
]


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m|h)", text)
    if found is None:
        raise Failed(f"wrk said {text!r} where a time was expected")
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}[found[2]]


def read(out: str) -> tuple[int, float, float, float]:
    """Read wrk's output: requests, requests per second, p50 and p99 in ms.

    Raises:
        Failed: an answer was not a 2xx, a connection broke, or the output is not what was expected.
    """
    errors = re.findall(r"(?m)^\s*((?:Socket errors|Non-2xx).*)$", out)
    if errors:
        raise Failed("; ".join(errors))
    # "50%" anchored to its line: the table above it has percentages, too.
    patterns = (r"^\s*(\d+) requests in", r"^Requests/sec:\s+([\d.]+)", r"^\s*50%\s+(\S+)", r"^\s*99%\s+(\S+)")
    found = [re.search(pattern, out, re.MULTILINE) for pattern in patterns]
    requests, rate, p50, p99 = (match[1] if match else "" for match in found)
    if not (requests and rate) or int(requests) == 0:
        raise Failed("wrk completed no request")
    return int(requests), float(rate), _milliseconds(p50), _milliseconds(p99)


def run(root: Path, scenario: Scenario, port: int, seconds: int) -> tuple[int, float, float, float]:
    """Run wrk; see :func:`read`."""
    command = [*pinned(0), "wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency"]
    if scenario.content:
        script = root / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {scenario.content})\n')
        command += ["-s", str(script)]
    for name, value in scenario.fields.items():
        command += ["-H", f"{name}: {value}"]
    url = f"http://127.0.0.1:{port}{scenario.path}"
    try:
        done = subprocess.run([*command, url], capture_output=True, text=True, check=False, timeout=seconds + 30)
    except subprocess.TimeoutExpired as error:
        raise Failed("wrk did not come back") from error
    if done.returncode:
        raise Failed(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return read(done.stdout)


def measure(root: Path, scenario: Scenario, port: int, pid: int, seconds: int) -> Sample:
    """Warm one peer up, and measure it.

    Raises:
        Failed: it did not answer everything well.
    """
    run(root, scenario, port, WARM_UP)
    forget_peak(pid)
    before = cpu_ns(pid)
    requests, rate, p50, p99 = run(root, scenario, port, seconds)
    return Sample((cpu_ns(pid) - before) / requests / 1000, rate, p50, p99, peak_memory(pid))
