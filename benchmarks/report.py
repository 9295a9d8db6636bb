"""RESULTS.md and the plots."""

from __future__ import annotations

import datetime
from pathlib import Path

import machine
import peers
from suites import Context, Result

FORMULAS = """A training step of batch B does 2 B (3 Σ in·out - in₀·out₀) FLOPs in its products, where the first layer
needs no gradient by its input, and 12 a parameter in Adam. It moves 28 bytes a parameter (weight, both moments and
gradient read, all but the gradient written) at the bandwidth measured for a working set of 16 bytes a parameter, and
4 B·in bytes of rows at the bandwidth measured for all rows. The roofline's time is the greater of FLOPs / peak and
bytes / bandwidth. A prediction does 2 B Σ in·out FLOPs and reads its weights and rows. Peak and bandwidth are those of
as many threads; a working set counts for the smallest cache that holds it. The peak is that of float32's fused
multiply-adds: products in a matrix unit (AMX), six of bfloat16 for one of float32, may pass it."""

METHOD = """Ours and a peer's run in turn, each in a process of its own, while the other sleeps; "times faster" is the
median of the ratios of neighbouring runs, with the least and the greatest. Each has the number of threads that suits it
best, of one and all. Initial weights, rows, batches and Adam's numbers are the same (lr 1e-3, betas 0.9 and 0.999, eps
1e-7); each shuffles and gathers in its own way, within the time. The first epoch or pass is not timed. Losses are
those after the first epoch, over the first 2,048 rows, by one NumPy program; `--quick` holds everybody to one loss."""


# What stands between fastnn and a bound that it has missed: the sentence follows the figures, where they miss it.
WHY = {
    "T1": "beside the products, the update passes every parameter and its moments through the second-level cache",
    "T2a": "each row is read twice, forward and for the gradient, which the peers pay as well",
    "T2b": "as T2a, with less overhead to win from anybody",
    "T3": "products are half of a step, and alone take most of the time that is asked for, at the peak rate",
    "T4": "packing the operands and passing the result on take the rest",
    "I1": "a row reads all weights, so the second-level cache sets the pace",
    "I3a": "waking a second thread costs a good part of a call",
    "I3b": "nearly all of it is products, which ONNX Runtime computes at nearly the same rate",
    "F1": "norms and batch normalization add phases to a step, each with a wait",
    "C2": "in each phase of a step a thread waits for what the other has just computed, and for its cache lines",
}


def table(header, rows) -> list[str]:
    if not rows:
        return []
    return [f"| {' | '.join(line)} |" for line in (header, ("---",) * len(header), *rows)]


def section(result: Result) -> list[str]:
    lines = [f"### {result.id}: {result.title}", ""]
    if result.skipped:
        return [*lines, result.skipped[0].upper() + result.skipped[1:] + ".", ""]
    lines += [*table(result.header, result.rows), ""] if result.rows else []
    lines += [f"- {'reached' if ok else '**missed**'}: {text}" for text, ok in result.checks]
    lines += [f"- {note}" for note in result.notes]
    return [*lines, ""]


def behind(results: list[Result]) -> list[str]:
    """In words, where somebody is faster, or a bound is missed; a line a workload."""
    lines = []
    for result in results:
        words = []
        for name, ratio in result.ratios.items():
            if ratio.median < 1:
                words.append(f"{name} is {1 / ratio.median:.2f} times as fast as fastnn")
            elif ratio.least < 1:
                words.append(f"{name} won a run or more (median ratio {ratio.median:.2f})")
        missed = [f"missed {text}" for text, ok in result.checks if not ok]
        words += [*missed, *([WHY[result.id]] if missed and result.id in WHY else [])]
        lines += [f"- {result.id}, {result.title}: {'; '.join(words)}."] if words else []
    return lines or ["Nowhere, on this machine: every peer is slower in every run, and every bound is reached."]


def slower_on_curves(drawn: dict) -> list[str]:
    """Points of the curves at which a peer is faster."""
    lines = []
    for axis, series in drawn.items():
        ours = dict(series[peers.OURS])
        for name, points in series.items():
            if name in (peers.OURS, "roofline"):
                continue
            lost = [f"{v:,} ({ours[v] / s:.2f} times)" for v, s in points if v in ours and s < ours[v]]
            if lost:
                lines.append(f"- the curve of {axis}: {name} is faster at {', '.join(lost)}.")
    return lines


def rates(context: Context) -> list[str]:
    rows = []
    for threads in map(str, context.team.counts):
        flops, read = context.rates["flops"], context.rates["read"][threads]
        levels = [read[size] for size in sorted(read, key=int)]
        rows.append((
            threads, f"{flops['float32'][threads] / 1e9:.0f}", f"{flops['bfloat16'][threads] / 1e9:.0f}",
            *(f"{level / 1e9:.0f}" for level in levels), f"{context.rates['triad'][threads] / 1e9:.0f}",
        ))  # fmt: skip
    names = [name for name in context.rates["caches"] if name in ("L1", "L2", "L3")]
    rounded = "bfloat16 GFLOP/s by AVX512-BF16's dot products, without AMX"
    header = ("threads", "float32 GFLOP/s", rounded, *(f"{n} read GB/s" for n in (*names, "memory")))
    return table((*header, "triad GB/s"), rows)


def curve_table(axis: str, series: dict) -> list[str]:
    """The figures of one plot, in microseconds a step."""
    values = [value for value, _ in series[peers.OURS]]
    known = {name: dict(points) for name, points in series.items()}
    rows = [(f"{v:,}", *(f"{points[v] * 1e6:.1f}" if v in points else "" for points in known.values())) for v in values]
    return ["", *table((axis, *(f"{name}, us" for name in known)), rows)]


def plot(drawn: dict, folder: Path) -> bool:
    """One PNG an axis into the folder; False where matplotlib is missing."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(exist_ok=True)
    for axis, series in drawn.items():
        figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
        for name, points in series.items():
            if points:
                axes.loglog(*zip(*points, strict=True), "k:" if name == "roofline" else "o-", label=name, markersize=4)
        axes.set(xlabel=axis, ylabel="seconds a step", title=f"784-128-128-10, batch 32: {axis}")
        axes.set_xticks([v for v, _ in series[peers.OURS]], [f"{v:,}" for v, _ in series[peers.OURS]])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(folder / f"{axis}.png", dpi=90)
        plt.close(figure)
    return True


def write(context: Context, results: list[Result], drawn: dict | None, seconds: float, folder: Path) -> None:
    """RESULTS.md and plots/ into the folder, which is there."""
    described = {**machine.describe(), **context.team.versions, **context.team.absent}
    reached = sum(not result.failed for result in results)
    lines = [
        "# Results", "",
        (f"Written by `python benchmarks/compare.py` on {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}, "
        f"in {seconds / 60:.0f} minutes. {reached} of {len(results)} workloads reach their bounds."),
        "", METHOD, "", "## Where a peer is faster, or a bound is missed", "",
        *behind(results), *(slower_on_curves(drawn) if drawn else []),
        "", "## Machine and versions", "", *table(("what", "which"), list(described.items())), "",
        *rates(context), "", "The roofline. " + FORMULAS, "", "## Workloads", "",
        *(line for result in results for line in section(result)),
    ]  # fmt: skip
    if drawn:
        lines += [
            "## Growth",
            "",
            "Seconds of one step; the better of one and all threads, except on the last plot.",
            "",
        ]
        shown = plot(drawn, folder / "plots")
        for axis, series in drawn.items():
            lines += [
                f"### {axis}",
                "",
                *([f"![{axis}](plots/{axis}.png)"] if shown else []),
                *curve_table(axis, series),
                "",
            ]
    (folder / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")
