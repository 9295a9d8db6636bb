"""fastnn beside everybody else, in one command: `python benchmarks/compare.py`.

Every workload runs against every peer that is installed (`pip install -r benchmarks/requirements.txt`), ours and the
peer's in turn, each in a process of its own. Writes RESULTS.md and plots/, beside this file or where `--output`
says, and fails where a bound is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also when this is run as a module

import alone
import curves
import machine
import peers
import quick
import report
import suites
import workloads
from driver import PeerError, Team


def table(context: suites.Context) -> dict:
    """id: function that gives the Result."""
    first, tabular = workloads.TRAINING[0], workloads.TRAINING[3]
    found = {w.id: lambda w=w: suites.train(context, w) for w in workloads.TRAINING}
    found["T5"] = lambda: suites.bf16(context, workloads.BF16)
    found["T6"] = lambda: suites.many(context, workloads.MANY)
    found |= {w.id: lambda w=w: suites.infer(context, w) for w in workloads.INFERENCE}
    found["I4"] = lambda: alone.memmap(context, workloads.MEMMAP)
    found["U1"] = lambda: suites.update(context, workloads.UPDATE)
    found |= {w.id: lambda w=w: suites.train_sparse(context, w) for w in workloads.SPARSE}
    found["F1"] = lambda: alone.costs(context, first)
    found["C1"] = lambda: alone.busy(context, first)
    found["C2"] = lambda: alone.scaling(context, first, tabular)
    found["S1"] = lambda: alone.importing(context)
    found["S2"] = lambda: alone.footprint(context)
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, the results alone: no clock is read")
    parser.add_argument("--only", default="", help="workloads, e.g. T1,I2; T2 means T2a and T2b; writes nothing")
    parser.add_argument("--peers", default="", help="some of them, e.g. torch,onnxruntime; writes nothing")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of runs against each peer")
    beside = Path(__file__).resolve().parent
    parser.add_argument("--output", type=Path, default=beside, help="the folder for RESULTS.md and plots/")
    parser.add_argument("--no-curves", action="store_true", help="leave out the growth curves")
    options = parser.parse_args()
    try:  # not after a run of half an hour
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output must be a folder: {error}")
    return options


def chosen(wanted: str, known: list[str]) -> list[str]:
    """The known names that the user asked for; all of them if he did not."""
    parts = [part for part in wanted.split(",") if part]
    for part in parts:
        if not any(name.startswith(part) for name in known):
            raise SystemExit(f"nothing is called {part}; there are {', '.join(known)}")
    return [name for name in known if not parts or name in parts or name[:-1] in parts]


def run(name: str, action, say) -> suites.Result:
    """The result, or a failed one in which fastnn says what it lacks."""
    start = time.perf_counter()
    try:
        result = action()
    except PeerError as error:
        result = suites.Result(name, name, checks=[(f"did not run: {error}", False)])
    for text, ok in result.checks:
        say(f"  {'ok  ' if ok else 'MISS'} {text}")
    if result.skipped:
        say(f"  {result.skipped}")
    say(f"  ({time.perf_counter() - start:.0f} s)")
    return result


def main() -> int:
    options, start = arguments(), time.perf_counter()

    def say(text: str) -> None:
        print(text, flush=True)

    wanted = [
        peers.OURS,
        *chosen(options.peers, [name for name in peers.PEERS if name not in peers.APART]),
    ]
    team = Team(wanted, say)
    try:
        say("peers: " + ", ".join(f"{name} {version}" for name, version in team.versions.items()))
        for name, reason in team.absent.items():
            say(f"{name}: {reason}")
        context = suites.Context(team, options.pairs, {} if options.quick else machine.measure(team.counts))
        actions = quick.table(context) if options.quick else table(context)
        results = []
        for name in chosen(options.only, list(actions)):
            say(f"{name}")
            results.append(run(name, actions[name], say))
        whole = not (options.quick or options.only or options.peers)
        if whole:
            drawn = None if options.no_curves else curves.measure(context)
            report.write(context, results, drawn, time.perf_counter() - start, options.output)
    finally:
        team.close()
    failed = [result.id for result in results if result.failed]
    seconds = time.perf_counter() - start
    say(f"{len(results) - len(failed)} of {len(results)} workloads reach their bounds ({seconds:.0f} s)")
    if failed:
        say(f"missed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
