"""ESTIMATORS.md."""

from __future__ import annotations

import datetime
import statistics
from pathlib import Path

import machine
import sklearn
from driver import clock
from estimator_scores import Scores
from estimator_settings import SETTINGS
from report import table

from fastnn._engine import build_info

METHOD = """A process for each number of threads, which is that of fastnn and of the BLAS of NumPy and SciPy. In it ours
and scikit-learn's run in turn, each after a rest; a run that is short is repeated until a clock can see it. Times are
medians; "times faster" is the median of the ratios of neighbouring runs, with the least and the greatest; "of
processor" is the same ratio of the processor's time in all threads, which a neighbour on the machine changes less. X is
float64 where nothing else is said, the data is named first, and `random_state=0`. Both go on to `max_iter`, or stop by
the same rule. `--quick` holds both, without shuffling, to the same numbers."""
NOWHERE = "Nowhere: every setting is at least as fast, on every number of threads, and every bound is reached."
SAME = """The scores of a quarter of the rows, which are held back, for {seeds} seeds, on columns of mean 0 and
deviation 1. Means are the same where they differ by no more than one estimator's scores do from seed to seed."""


def best_ratio(measured: dict[int, dict]) -> float:
    """How many times faster a setting is, each with the number of threads that suits it best."""
    ours, theirs = (min(measured.values(), key=lambda one: one[whose]) for whose in ("ours", "theirs"))
    return ours["median"] if ours is theirs else theirs["theirs"] / ours["ours"]


def headlines(found: dict[int, dict[str, dict]]) -> list[str]:
    """The table of the settings that have a bound."""
    rows = []
    for setting in SETTINGS:
        measured = {threads: results[setting.name] for threads, results in found.items() if setting.name in results}
        if setting.bound > 1 and measured:
            best = [min(one[whose] for one in measured.values()) for whose in ("theirs", "ours")]
            rows.append((setting.name, *map(clock, best), f"{best_ratio(measured):.2f}", f"{setting.bound:g}"))
    return table(("fit", "scikit-learn", "fastnn", "times faster", "at least"), rows)


def timings(found: dict[int, dict[str, dict]]) -> list[str]:
    """The table of all settings."""
    counts = list(found)
    header = ["setting"]
    for threads in counts:
        plural = "thread" if threads == 1 else "threads"
        header += [f"scikit-learn, {threads} {plural}", "fastnn", "times faster", "of processor"]
    rows = []
    for name in found[counts[0]]:
        row = [name]
        for threads in counts:
            one = found[threads][name]
            ratio = f"{one['median']:.2f} ({one['least']:.2f} to {one['most']:.2f})"
            row += [clock(one["theirs"]), clock(one["ours"]), ratio, f"{one['processor']:.2f}"]
        rows.append(tuple(row))
    return table(tuple(header), rows)


def score_table(scores: list[Scores]) -> list[str]:
    """The table of all data sets."""
    rows = [
        (
            one.name, one.measure, f"{statistics.mean(one.ours):.4f}", f"{statistics.mean(one.theirs):.4f}",
            f"{one.difference:+.4f}", f"{one.spread:.4f}", "yes" if one.same else "**no**",
        )
        for one in scores
    ]  # fmt: skip
    return table(("data", "score", "fastnn", "scikit-learn", "difference", "spread over seeds", "within it"), rows)


def write(
    folder: Path, found: dict[int, dict[str, dict]], scores: list[Scores], missed: list[str], seconds: float
) -> None:
    """ESTIMATORS.md into the folder, which is there."""
    about = machine.describe()
    lines = [
        "# Estimators: fastnn.sklearn beside scikit-learn's multilayer perceptrons", "",
        f"Written by `python benchmarks/estimators.py` on {datetime.date.today()}, in {seconds / 60:.0f} minutes.",
        f"{about['CPU']}, {about['CPUs']} CPUs ({about['vector instructions']}), {about['system']}.",
        f"Instruction set {build_info()['isa']}; Python {about['Python']}, scikit-learn {sklearn.__version__}.", "",
        METHOD, "",
        "## Where scikit-learn is faster, or a bound is missed", "",
        *[f"- {line}." for line in missed or [NOWHERE.rstrip(".")]], "",
        "## Fits at the defaults, each with the number of threads that suits it best", "", *headlines(found), "",
        "## All settings", "", *timings(found), "",
        *(["## Scores", "", SAME.format(seeds=len(scores[0].ours)), "", *score_table(scores), ""] if scores else []),
    ]  # fmt: skip
    (folder / "ESTIMATORS.md").write_text("\n".join(lines))
