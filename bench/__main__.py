"""`python -m bench`: interleaved rounds of wrk against each peer; prints CPU time per request, and ratios."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from bench import report
from bench.load import SCENARIOS, Failed, Scenario, measure
from bench.origin import CONTENT
from bench.peers import PEERS
from bench.report import Sample
from bench.stage import Stage, lacking
from bench.storm import storm

STORMS = (2_000, 10_000)


def tell(text: str) -> None:
    """Show where the run is, on a terminal only."""
    if sys.stdout.isatty():
        print(f"\r{text:<78}\r", end="", flush=True)


def play(stage: Stage, scenario: Scenario, rounds: int, seconds: int) -> dict[str, list[Sample | str]]:
    """Measure every peer once, and then again; a failure is noted in the sample's place."""
    taken: dict[str, list[Sample | str]] = {name: [] for name in stage.names if (name, scenario.tls) in stage.running}
    for number in range(rounds):
        for name, samples in taken.items():
            tell(f"{scenario.name}: round {number + 1} of {rounds}, {name}")
            peer = stage.running[name, scenario.tls]
            try:
                peer.check(scenario, CONTENT[scenario.path])
                samples.append(measure(stage.root, scenario, peer.port, peer.pid, seconds))
            except Failed as error:
                samples.append(str(error))
            finally:
                peer.trim()
    tell("")
    return taken


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


def chosen(options: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[list[str], list[Scenario], bool]:
    """Return the peers, the scenarios, and whether there is to be a storm."""
    names = options.peers.split(",") if options.peers else list(PEERS)
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"no peer is called {unknown[0]!r}; there are: {', '.join(PEERS)}")
    if not options.scenarios:
        return names, SCENARIOS, True
    words = options.scenarios.split(",")
    for word in words:
        if word != "storm" and not any(word in scenario.name for scenario in SCENARIOS):
            parser.error(f"no scenario's name holds {word!r}; there are: {'; '.join(s.name for s in SCENARIOS)}; storm")
    return names, [s for s in SCENARIOS if any(word in s.name for word in words)], "storm" in words


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--seconds", type=int, default=3, help="whole seconds of load for each measurement (3)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 seconds")
    parser.add_argument("--peers", help="comma-separated, of: " + ", ".join(PEERS))
    parser.add_argument("--scenarios", help="comma-separated words that names hold, or storm")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    return parser


def main() -> None:
    """Run the bench; see the module."""
    parser = arguments()
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through every `finally`: nothing stays behind
    rounds, seconds = (2, 2) if options.quick else (options.rounds, options.seconds)
    if min(rounds, seconds) < 1:
        parser.error("--rounds and --seconds are at least 1")
    names, scenarios, stormy = chosen(options, parser)
    if scenarios and (missing := lacking()):
        print("\n".join(missing), file=sys.stderr)
        scenarios = []
        if not stormy:
            sys.exit(1)
    lines = [
        "# Results",
        "",
        *report.machine(),
        f"- medians of {rounds} interleaved rounds of {seconds} s, one worker each, our access log on; "
        + ("the proxy on one core, load and origin on the other" if (os.cpu_count() or 1) > 1 else "all on one core"),
        "",
    ]
    print("\n".join(lines))
    samples: dict[str, dict[str, list[Sample | str]]] = {}
    if scenarios:
        with Stage(names) as stage:
            notes = [f"- {name} {why}" for name, why in stage.missing.items()]
            if notes:
                lines += [*notes, ""]
                print("\n".join([*notes, ""]))
            for scenario in scenarios:
                samples[scenario.name] = play(stage, scenario, rounds, seconds)
                part = report.table(scenario.name, samples[scenario.name])
                print("\n".join(part), flush=True)
                lines += part
    if stormy:
        part = storms()
        print("\n".join(part))
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
