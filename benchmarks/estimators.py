"""fastnn's estimators beside scikit-learn's multilayer perceptrons: the time of each setting, and the scores.

    python benchmarks/estimators.py                      # some minutes; writes benchmarks/ESTIMATORS.md
    python benchmarks/estimators.py --quick              # small sizes, the results alone: no clock is read
    python benchmarks/estimators.py --only digits --threads 1     # some settings, on the screen alone

A process for each number of threads, which both have: ours and scikit-learn's run in turn in it. The command fails
where a setting misses its bound, or scores differ by more than their spread over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also when this is run as a module

import machine
from driver import clock
from estimator_report import best_ratio, write
from estimator_scores import compare_scores
from estimator_settings import SETTINGS, Setting, pair_of

SETTLE = 0.04  # seconds: the threads of a BLAS that spin after their last task are asleep before the other one starts
SHORTEST = 0.02  # seconds of one timed run; shorter ones are repeated
WHY = {  # what stands between fastnn and a bound that it has missed
    "20 rows of numbers, 1 epoch": "making a network costs more than one step of it",
    "pickle.dumps": "the network is written as a model's file, with a checksum of all of it",
    "pickle.loads": "the file is checked whole before a network is built of it, and nothing that it holds is executed",
}
BUDGET = 1.5  # seconds of all pairs of a setting, of which there are three at least


def timed(action, repeats: int) -> tuple[float, float]:
    """Seconds of a call, and seconds of the processor in all threads."""
    time.sleep(SETTLE)
    begun, used = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - begun) / repeats, (time.process_time() - used) / repeats


def repeats_of(action) -> int:
    """How many calls take long enough for a clock; the action is warm after this."""
    repeats, seconds = 1, timed(action, 1)[0]
    while seconds * repeats < SHORTEST:
        repeats = max(2 * repeats, int(SHORTEST / max(seconds, 1e-9)))
        seconds = timed(action, repeats)[0]
    return repeats


def measure(setting: Setting, pairs: int) -> dict:
    """Pairs of runs: the median, the least and the greatest of the ratios, and that of processor times."""
    ours, theirs = pair_of(setting, small=False)
    counts = repeats_of(ours), repeats_of(theirs)
    times, end = [], time.perf_counter() + (BUDGET if not pairs else 3600)
    while len(times) < (pairs or 3) or (not pairs and time.perf_counter() < end and len(times) < 25):
        first = timed(ours, counts[0])
        times.append((first, timed(theirs, counts[1])))
    ratios = [b[0] / a[0] for a, b in times]
    used = [b[1] / max(a[1], 1e-9) for a, b in times]
    return {
        "name": setting.name,
        "ours": statistics.median(a[0] for a, _ in times),
        "theirs": statistics.median(b[0] for _, b in times),
        "median": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "processor": statistics.median(used),
        "pairs": len(times),
    }


def inside(names: list[str], pairs: int) -> None:
    """In a process with a number of threads: a line of JSON for each setting."""
    for setting in SETTINGS:
        if setting.name in names:
            print(json.dumps(measure(setting, pairs)), flush=True)


def measure_all(names: list[str], counts: list[int], pairs: int) -> dict[int, dict[str, dict]]:
    """The results of each number of threads by the names of settings, on the screen as they come."""
    found: dict[int, dict[str, dict]] = {}
    for threads in counts:
        kinds = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        child = subprocess.Popen(
            [sys.executable, __file__, "--inside", json.dumps(names), "--pairs", str(pairs)],
            env=os.environ | dict.fromkeys(kinds, str(threads)), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        found[threads] = {}
        for line in child.stdout:
            one = json.loads(line)
            found[threads][one["name"]] = one
            print(
                f"{threads} thread(s)  {one['name']:44} {clock(one['ours']):>8}  {clock(one['theirs']):>8}  "
                f"{one['median']:6.2f} ({one['least']:.2f} to {one['most']:.2f}), processor {one['processor']:.2f}",
                flush=True,
            )
        if child.wait():
            raise SystemExit(f"the process with {threads} thread(s) failed")
    return found


def quick(names: list[str]) -> int:
    """All settings in small, without shuffling: both give the same numbers. The number of those that do not."""
    failed = 0
    for setting in SETTINGS:
        if setting.name not in names:
            continue
        ours, theirs = pair_of(setting, small=True)
        error = setting.difference(ours(), theirs())
        ok = error <= setting.tolerance
        failed += not ok
        print(f"  {'ok  ' if ok else 'MISS'} {setting.name}: results differ by {error:.1e}", flush=True)
    return failed


def below_bounds(found: dict[int, dict[str, dict]]) -> list[str]:
    """What is missed: no setting may be slower on as many threads; a bound is for the threads that suit each best."""
    missed = []
    for setting in SETTINGS:
        measured = {threads: results[setting.name] for threads, results in found.items() if setting.name in results}
        for threads, one in measured.items():
            if one["median"] < 1:
                why = f"; {WHY[setting.name]}" if setting.name in WHY else ""
                missed.append(f"{setting.name}, {threads} thread(s): {one['median']:.2f} times as fast, must be 1{why}")
        if measured and setting.bound > 1 and (ratio := best_ratio(measured)) < setting.bound:
            missed.append(f"{setting.name}, best threads of each: {ratio:.2f} times as fast, must be {setting.bound:g}")
    return missed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, the results alone: no clock is read")
    parser.add_argument("--only", default="", help="settings whose names have one of these words; writes nothing")
    parser.add_argument("--threads", default="", help="numbers of threads, e.g. 1,2; writes nothing")
    parser.add_argument("--pairs", type=int, default=0, help="pairs of runs; default: as many as fit, three at least")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of the scores; 0 leaves them out, writes nothing")
    parser.add_argument("--california", type=Path, help="a CSV file of California's housing, the target last")
    parser.add_argument("--output", type=Path, help="the page's folder; written to with --threads and --only too")
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    given, start = arguments(), time.perf_counter()
    warnings.simplefilter("ignore")  # of fits that end before they have converged
    if given.inside:
        inside(given.inside, given.pairs)
        return 0
    words = [word for word in given.only.split(",") if word]
    names = [s.name for s in SETTINGS if not words or any(word in s.name for word in words)]
    if not names:
        raise SystemExit(f"no setting has {given.only!r} in its name; there are {', '.join(s.name for s in SETTINGS)}")
    if given.quick:
        failed = quick(names)
        print(f"{len(names) - failed} of {len(names)} settings give scikit-learn's numbers")
        return bool(failed)
    all_counts = sorted({1, machine.cpus()})
    counts = [int(word) for word in given.threads.split(",") if word] or all_counts
    found = measure_all(names, counts, given.pairs)
    whole = not words and counts == all_counts and given.seeds
    folder = given.output or (Path(__file__).resolve().parent if whole else None)
    scores = compare_scores(given.seeds, given.california) if given.seeds and not words else []
    missed = below_bounds(found)
    missed += [f"the scores of {one.name}" for one in scores if not one.same]
    if folder:
        write(folder, found, scores, missed, time.perf_counter() - start)
    print("\n".join(["missed:", *missed]) if missed else "every bound is reached")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
