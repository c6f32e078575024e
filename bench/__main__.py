"""`python -m bench`: interleaved rounds of wrk against each peer; prints CPU time per request, and ratios."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import guard, origin, report, resting, slow, sse, websocket
from bench.load import SCENARIOS, Failed, Scenario, measure
from bench.origin import CONTENT
from bench.peers import PEERS
from bench.report import Sample
from bench.stage import Running, Stage, lacking
from bench.storm import storm

STORMS = (2_000, 10_000)
#: What is not wrk's: by the word that chooses it.
SPECIAL = ("guard", "websocket", "sse", "slow", "storm", "resting")

#: One scenario's samples, by peer.
Taken = dict[str, list[Sample | str]]


def tell(text: str) -> None:
    """Show where the run is, on a terminal only."""
    if sys.stdout.isatty():
        print(f"\r{text:<78}\r", end="", flush=True)


def rounds_of(
    stage: Stage, title: str, rounds: int, measured: Callable[[Running], Sample], *, tls: bool = False
) -> Taken:
    """Measure every peer once, and then again; a failure is noted in the sample's place."""
    taken: Taken = {name: [] for name in stage.names if (name, tls) in stage.running}
    for number in range(rounds):
        for name, samples in taken.items():
            tell(f"{title}: round {number + 1} of {rounds}, {name}")
            peer = stage.running[name, tls]
            try:
                samples.append(measured(peer))
            except Failed as error:
                samples.append(str(error))
            finally:
                peer.trim()
    tell("")
    return taken


def play(stage: Stage, scenario: Scenario, rounds: int, seconds: int) -> Taken:
    """Measure a scenario with wrk."""

    def measured(peer: Running) -> Sample:
        peer.check(scenario, CONTENT[scenario.path])
        return measure(stage.root, scenario, peer.port, peer.pid, seconds)

    return rounds_of(stage, scenario.name, rounds, measured, tls=scenario.tls)


def tunnels(stage: Stage, rounds: int, seconds: int, samples: dict[str, Taken]) -> Iterator[list[str]]:
    """Measure WebSocket tunnels."""
    for count in websocket.TUNNELS:
        title = f"websocket, {count:,} tunnels"
        taken = rounds_of(stage, title, rounds, lambda peer, count=count: websocket.measure(peer, count, seconds))
        samples[title] = {name: found for name, found in taken.items() if name in websocket.PEERS}
        yield report.table(title, samples[title], unit="message", limits=websocket.LIMITS)


def streams(stage: Stage, rounds: int, seconds: int, samples: dict[str, Taken]) -> Iterator[list[str]]:
    """Measure event streams."""
    title = f"sse, {sse.STREAMS} streams"
    samples[title] = rounds_of(stage, title, rounds, lambda peer: sse.measure(peer, seconds))
    lines = report.table(title, samples[title], unit="event")
    good = [sample for sample in samples[title].get(report.OURS, ()) if isinstance(sample, Sample)]
    if good:
        p50 = report.median(good).p50
        lines += [f"- a median of at most {sse.LIMIT:g} ms: {p50:.2f} ms, {report.verdict(p50, sse.LIMIT)}", ""]
    yield lines


def dribbles(stage: Stage) -> Iterator[list[str]]:
    """Measure good requests beside slow clients; the proxy only: the peers have other limits, or none."""
    tell("slow clients")
    title = f"### slow clients, {slow.DRIBBLERS} that dribble fields and {slow.DRIBBLERS} that dribble content"
    try:
        lines = slow.slow(stage.running[report.OURS, False]).lines()
    except Failed as error:
        lines = [f"- **failed**: {error}"]
    tell("")
    yield [title, "", *lines, ""]


def storms() -> list[str]:
    """Run the refresh storms; return a line for each."""
    lines = []
    for count in STORMS:
        tell(f"refresh storm: {count} requests")
        try:
            lines.append(f"- {asyncio.run(storm(count))}")
        except (Failed, TimeoutError) as error:
            lines.append(f"- {count} parked: **failed**: {error or 'not done in time'}")
    tell("")
    return ["### refresh storm", "", *lines, ""]


def chosen(options: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[list[str], list[Scenario], list[str]]:
    """Return the peers, wrk's scenarios, and the special ones."""
    names = options.peers.split(",") if options.peers else list(PEERS)
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"no peer is called {unknown[0]!r}; there are: {', '.join(PEERS)}")
    if not options.scenarios:
        return names, SCENARIOS, list(SPECIAL)
    words = options.scenarios.split(",")
    for word in words:
        if word not in SPECIAL and not any(word in scenario.name for scenario in SCENARIOS):
            there = "; ".join([*(scenario.name for scenario in SCENARIOS), *SPECIAL])
            parser.error(f"no scenario's name holds {word!r}; there are: {there}")
    wanted = [s for s in SCENARIOS if any(word in s.name for word in words if word not in SPECIAL)]
    return names, wanted, [word for word in SPECIAL if word in words]


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--seconds", type=int, default=3, help="whole seconds of load for each measurement (3)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 seconds")
    parser.add_argument("--peers", help="comma-separated, of: " + ", ".join(PEERS))
    parser.add_argument("--scenarios", help="comma-separated words that names hold, or " + ", ".join(SPECIAL))
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    return parser


def measured(
    wanted: tuple[list[str], list[Scenario], list[str]], rounds: int, seconds: int, samples: dict[str, Taken]
) -> Iterator[list[str]]:
    """Run everything that was chosen; yield the report part by part."""
    names, scenarios, special = wanted
    if scenarios:
        with Stage(names) as stage:
            yield stage.notes()
            for scenario in scenarios:
                samples[scenario.name] = play(stage, scenario, rounds, seconds)
                yield report.table(scenario.name, samples[scenario.name])
    if "guard" in special:
        yield ["### the guard's part of a request", "", *guard.lines(), ""]
    if "websocket" in special:
        with Stage([name for name in names if name in websocket.PEERS], origin.echo, tls=False) as stage:
            yield stage.notes()
            yield from tunnels(stage, rounds, seconds, samples)
    if "sse" in special:
        with Stage(names, origin.echo, tls=False) as stage:
            yield stage.notes()
            yield from streams(stage, rounds, seconds, samples)
    if "slow" in special:
        with Stage([report.OURS], origin.echo, tls=False) as stage:
            yield from dribbles(stage)
    if "storm" in special:
        yield storms()
    if "resting" in special:
        tell("start, first request, idle connections")
        try:
            lines = asyncio.run(resting.resting())
        except (Failed, TimeoutError) as error:
            lines = [f"- **failed**: {error or 'not done in time'}"]
        tell("")
        yield ["### at rest", "", *lines, ""]


def main() -> None:
    """Run the bench; see the module."""
    parser = arguments()
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through every `finally`: nothing stays behind
    rounds, seconds = (2, 2) if options.quick else (options.rounds, options.seconds)
    if min(rounds, seconds) < 1:
        parser.error("--rounds and --seconds are at least 1")
    names, scenarios, special = chosen(options, parser)
    if scenarios and (missing := lacking()):
        print("\n".join(missing), file=sys.stderr)
        scenarios = []
        if not special:
            sys.exit(1)
    lines = [
        "# Results",
        "",
        *report.machine(),
        f"- medians of {rounds} interleaved rounds of {seconds} s, one worker each, our access log on; "
        + ("the proxy on one core, load and origin on the other" if (os.cpu_count() or 1) > 1 else "all on one core"),
        "",
    ]
    print("\n".join(lines), flush=True)
    samples: dict[str, Taken] = {}
    told: set[str] = set()
    for part in measured((names, scenarios, special), rounds, seconds, samples):
        if part and "\n".join(part) not in told:  # what is missing is told once
            told.add("\n".join(part))
            print("\n".join(part), flush=True)
            lines += part
    if options.write:
        (Path(__file__).parent / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")
    if options.json:
        plain = {
            scenario: {
                name: [sample if isinstance(sample, str) else vars(sample) for sample in taken]
                for name, taken in peers.items()
            }
            for scenario, peers in samples.items()
        }
        options.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
