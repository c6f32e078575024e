"""`python -m bench`: interleaved rounds of wrk against each peer; prints CPU time per request, and ratios."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import report
from bench.origin import start_origin, start_token_endpoint
from bench.peers import HOW_TO_GET, PEERS, Site, find
from bench.report import Sample
from bench.storm import storm

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
    "Sec-Fetch-Site": "same-origin",
}


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process tree in nanoseconds, from the scheduler's own count."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                with contextlib.suppress(OSError):
                    total += int((task / "schedstat").read_text().split()[0])
    return total


def memory_mb(pid: int) -> float:
    """Return the peak resident memory of a process tree in MB."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
            total += int(found[1]) if found else 0
    return total / 1000


def pinned(core: int) -> list[str]:
    """Return what starts a program on one core, where there are two."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (os.cpu_count() or 1) >= 2 else []


def wait_for(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    for _ in range(400):
        if process.poll() is not None:
            sys.exit(f"{name} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    sys.exit(f"{name} does not listen")


def milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]


def load(root: Path, scenario: Scenario, port: int, seconds: float) -> tuple[int, float, float, float]:
    """Run wrk; return requests, requests per second, p50 and p99 in ms."""
    command = [*pinned(0), "wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds:g}s", "--latency"]
    if scenario.content:
        script = root / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {scenario.content})\n')
        command += ["-s", str(script)]
    for name, value in scenario.fields.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{scenario.path}"], capture_output=True, text=True, check=True
    )
    out = done.stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"errors under {scenario.name}:\n{out}")
    requests = int(re.search(r"(\d+) requests in", out)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])  # type: ignore[index]
    p50 = milliseconds(re.search(r"50%\s+(\S+)", out)[1])  # type: ignore[index]
    p99 = milliseconds(re.search(r"99%\s+(\S+)", out)[1])  # type: ignore[index]
    return requests, rate, p50, p99


def measure(root: Path, scenario: Scenario, port: int, pid: int, seconds: float) -> Sample:
    load(root, scenario, port, 1)  # warm up
    before = cpu_ns(pid)
    requests, rate, p50, p99 = load(root, scenario, port, seconds)
    return Sample((cpu_ns(pid) - before) / requests / 1000, rate, p50, p99, memory_mb(pid))


@contextlib.contextmanager
def stage(names: list[str]) -> Iterator[tuple[Path, dict[tuple[str, bool], tuple[int, int]]]]:
    """Run the origin and each peer, plain and with TLS to the origin; yield their ports and process ids."""
    root = Path(tempfile.mkdtemp(prefix="reauth-bench-"))
    root.chmod(0o755)  # nginx reads it as another user
    processes: list[subprocess.Popen[bytes]] = []
    nginx = find("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None or shutil.which("wrk") is None:
        sys.exit("The bench needs wrk, and nginx as the origin. Debian: apt-get install wrk nginx-light")
    plain, secure, token = free_port(), free_port(), free_port()
    running: dict[tuple[str, bool], tuple[int, int]] = {}
    endpoint = start_token_endpoint(token)
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        processes.append(start_origin(root, nginx, plain, secure))
        wait_for(plain, processes[-1], "the origin")
        if prefix := pinned(0):
            subprocess.run([*prefix[:1], "-apc", "0", str(processes[-1].pid)], check=False, capture_output=True)
            for child in tree(processes[-1].pid):
                subprocess.run(["taskset", "-pc", "0", str(child)], check=False, capture_output=True)
        for name in names:
            for tls in (False, True):
                scheme, origin_port = ("https", secure) if tls else ("http", plain)
                site = Site(root, free_port(), f"{scheme}://127.0.0.1:{origin_port}", origin_port, token)
                command = PEERS[name](site)
                if command is None:
                    continue
                log = (root / f"{site.port}.log").open("wb")
                processes.append(subprocess.Popen([*pinned(1), *command], stdout=log, stderr=log))
                wait_for(site.port, processes[-1], name)
                running[name, tls] = (site.port, processes[-1].pid)
        yield root, running
    finally:
        endpoint.shutdown()
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--seconds", type=float, default=3, help="seconds of load for each measurement (3)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 seconds")
    parser.add_argument("--peers", help="comma-separated, of: " + ", ".join(PEERS))
    parser.add_argument("--scenarios", help="comma-separated words that names hold, or storm")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    options = parser.parse_args()
    rounds, seconds = (2, 2.0) if options.quick else (options.rounds, options.seconds)
    wanted = options.peers.split(",") if options.peers else list(PEERS)
    words = options.scenarios.split(",") if options.scenarios else [""]
    scenarios = [scenario for scenario in SCENARIOS if any(word in scenario.name for word in words)]
    how = f"- medians of {rounds} interleaved rounds of {seconds:g} s, one worker each, our access log on"
    where = "- the proxy on one core, load and origin on the other; every line of a table is from the same run"
    lines = ["# Results", "", *report.machine(), how, where, ""]
    samples: dict[str, dict[str, list[Sample]]] = {}
    with stage(wanted) if scenarios else contextlib.nullcontext((Path(), {})) as (root, running):
        for name in wanted:
            if scenarios and (name, False) not in running:
                print(f"{name} is not installed. {HOW_TO_GET.get(name, '')}")
        for scenario in scenarios:
            found = samples.setdefault(scenario.name, {})
            for number in range(rounds):
                for name in wanted:
                    if (name, scenario.tls) not in running:
                        continue
                    port, pid = running[name, scenario.tls]
                    print(f"\r{scenario.name}: round {number + 1} of {rounds}, {name}".ljust(78), end="", flush=True)
                    found.setdefault(name, []).append(measure(root, scenario, port, pid, seconds))
            print("\r".ljust(78))
            part = report.table(scenario.name, {name: report.median(taken) for name, taken in found.items()})
            print("\n".join(part))
            lines += part
    if not options.scenarios or "storm" in options.scenarios:
        lines += ["### refresh storm", ""]
        for count in (2_000, 10_000):
            outcome = asyncio.run(storm(count))
            print(outcome)
            lines.append(f"- {outcome}")
        lines.append("")
    if options.write:
        (Path(__file__).parent / "RESULTS.md").write_text("\n".join(lines))
    if options.json:
        plain = {s: {n: [vars(x) for x in taken] for n, taken in peers.items()} for s, peers in samples.items()}
        options.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
