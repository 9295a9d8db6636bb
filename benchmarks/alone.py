"""The workloads that need no peer: rows from a file, a busy machine, threads, import, size."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import numpy as np
import peers
from driver import PeerError, Ratio, clock, pairwise
from suites import Context, Result
from workloads import Workload

ROOT = Path(__file__).resolve().parent.parent


def write_rows(path: Path, rows: int, features: int) -> None:
    """Random rows; the same block again and again, as only its size matters."""
    block = np.random.default_rng(0).random((10_000, features), np.float32)
    with path.open("wb") as file:
        for start in range(0, rows, len(block)):
            block[: rows - start].tofile(file)


def read_pass(path: Path, threads: int) -> float:
    """Seconds of reading the mapped file once, as fast as the threads can."""
    data = np.memmap(path, np.float32, "r")
    library, sink = machine.load(), np.zeros(16 * threads, np.float32)
    count = data.size // threads // 1024 * 1024
    start = data.ctypes.data

    def part(k: int) -> float:
        return library.read_floats(start + 4 * count * k, count, 1, sink[16 * k :].ctypes.data)

    return 4.0 * count * threads / machine.rate(threads, part, 1)


def memmap(context: Context, workload: Workload) -> Result:
    """A file larger than most caches, mapped and predicted in one call."""
    result = Result(workload.id, workload.title)
    size = 4 * workload.rows * workload.widths[0]
    with tempfile.TemporaryDirectory(prefix="fastnn-") as folder:
        if shutil.disk_usage(folder).free < size + (1 << 30):
            result.skipped = f"not run: {tempfile.gettempdir()} has no room for {size / 1e9:.1f} GB"
            return result
        path = Path(folder) / "rows.f32"
        write_rows(path, workload.rows, workload.widths[0])
        threads = context.team.counts[-1]
        worker = context.team.prepare(peers.OURS, threads, workload, "stream", path=str(path))
        worker.ask("timed_pass", name="file")  # the first pass maps the pages
        worker.ask("timed_pass", name="memory")
        times: dict[str, list[float]] = {"read": [], "memory": [], "file": []}
        grown = 0
        for _ in range(min(5, context.pairs)):
            times["read"].append(read_pass(path, threads))
            times["memory"].append(worker.ask("timed_pass", name="memory")["seconds"] * 5)
            answer = worker.ask("timed_pass", name="file")
            times["file"].append(answer["seconds"])
            grown = max(grown, answer["grown"])
        worker.ask("release")
    read, memory, file = (statistics.median(times[name]) for name in ("read", "memory", "file"))
    result.header = ("pass over 1,000,000 rows", "time", "rate")
    for name, seconds in (
        ("reading the file only", read),
        ("from an array in memory", memory),
        ("from the file", file),
    ):
        result.rows.append((name, clock(seconds), f"{size / seconds / 1e9:.2f} GB/s"))
        context.say(f"    {name:<26} {clock(seconds)}")
    result.check("of what products and reading allow", 100 * max(read, memory) / file, 90, unit=" %")
    result.check("own memory grew by", grown / 2**20, 64, low=False, unit=" MiB")
    result.notes.append(
        f"{threads} threads; an array of a fifth of the rows stands for memory. The page cache was warm."
    )
    return result


@contextlib.contextmanager
def neighbours(count: int):
    """Processes that never rest; yields functions that wake them and put them to sleep."""
    team = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]

    def tell(what: int) -> None:
        for process in team:
            process.send_signal(what)
        time.sleep(0.05)

    tell(signal.SIGSTOP)
    try:
        yield lambda: tell(signal.SIGCONT), lambda: tell(signal.SIGSTOP)
    finally:
        for process in team:
            process.kill()
            process.wait()


def busy(context: Context, workload: Workload) -> Result:
    """T1 beside a neighbour on every core."""
    result = Result("C1", f"{workload.title}: a busy neighbour on every core")
    workers = {count: context.team.prepare(peers.OURS, count, workload, "train") for count in context.team.counts}
    most = context.team.counts[-1]
    for worker in workers.values():
        worker.ask("warm")
    times: dict[tuple[str, int], list[float]] = {(w, n): [] for w in ("quiet", "busy") for n in workers}
    with neighbours(machine.cpus()) as (wake, halt):
        for _ in range(context.pairs):
            for count, worker in workers.items():
                times["quiet", count].append(worker.ask("run", repeats=2)["seconds"])
            wake()
            for count, worker in workers.items():
                times["busy", count].append(worker.ask("run", repeats=2)["seconds"])
            halt()
    medians = {key: statistics.median(values) for key, values in times.items()}
    result.header = ("threads", "quiet", "busy", "slow-down")
    for count in workers:
        quiet, loaded = medians["quiet", count], medians["busy", count]
        result.rows.append((str(count), clock(quiet), clock(loaded), f"{loaded / quiet:.2f}"))
        context.say(f"    {count} threads: quiet {clock(quiet)}, busy {clock(loaded)}")
    result.check("slow-down", medians["busy", most] / medians["quiet", most], 2.5, low=False)
    against = statistics.median(a / b for a, b in zip(times["busy", most], times["busy", 1], strict=True))
    # Two medians of the same thing differ by this much on a busy machine.
    result.check(f"time on {most} threads over that on 1, both busy", against, 1.05, low=False)
    return result


def scaling(context: Context, digits: Workload, tabular: Workload) -> Result:
    """T1 and T3 on one thread and on two, in turn in one process."""
    result = Result("C2", "one thread and two")
    if machine.cpus() < 2:
        result.skipped = "not run: this machine has one CPU"
        return result
    result.header = ("workload", "1 thread", "2 threads", "times faster: median (min to max)")
    for workload, bound in ((digits, 1.6), (tabular, 1.0)):
        ratio = featured_pairs(context, workload, 2, [peers.ONE_THREAD])[peers.ONE_THREAD]
        result.rows.append((workload.id, clock(ratio.second), clock(ratio.first), str(ratio)))
        context.say(f"    {workload.id}: 1 thread {clock(ratio.second)}, 2 threads {clock(ratio.first)}, {ratio}")
        result.check(f"{workload.id} on 2 threads against 1", ratio.median, bound)
    return result


# What a thing more may cost on T1. It moves few bytes, but a batch normalization, which waits for whole columns.
COSTS = {
    "Dropout": 1.15,
    "GaussianNoise": 1.15,
    "BatchNormalization": 1.3,
    "LayerNormalization": 1.15,
    "L2": 1.15,
    "activity_regularizer": 1.15,
    "MaxNorm": 1.15,
    "weight_decay": 1.15,
    "clipvalue": 1.15,
    "clipnorm": 1.15,
    "global_clipnorm": 1.15,
    "use_ema": 1.15,
    "class_weight": 1.15,
    "sample_weight": 1.15,
    "accuracy": 1.15,
}


def featured_pairs(context: Context, workload: Workload, threads: int, features: list[str]) -> dict[str, Ratio]:
    """Epochs without and with each of the features, in turn in one process: more pairs than against a peer, as they are
    short and close to each other."""
    worker = context.team.prepare(peers.OURS, threads, workload, "costs", features=["", *features])

    def epoch(feature: str) -> float:
        return worker.ask("feature_epoch", feature=feature)["seconds"]

    ratios = {}
    epoch("")
    for feature in features:
        epoch(feature)
        ratios[feature] = pairwise(lambda: epoch(""), lambda feature=feature: epoch(feature), 5 * context.pairs)
    worker.ask("release")
    return ratios


def costs(context: Context, workload: Workload) -> Result:
    """T1 with a thing more."""
    result = Result("F1", f"what a thing more costs: {workload.title}")
    result.header = ("with", "T1", "T1 with it", "times slower: median (min to max)")
    for feature, ratio in featured_pairs(context, workload, context.team.counts[-1], list(COSTS)).items():
        result.rows.append((feature, clock(ratio.first), clock(ratio.second), str(ratio)))
        context.say(f"    {feature:<20} {clock(ratio.second):>9}   T1 {clock(ratio.first):>9}   {ratio}")
        result.check(f"with {feature}", ratio.median, COSTS[feature], low=False)
    return result


def python(code: str, folder: str | None = None) -> tuple[float, str]:
    """Seconds of a fresh interpreter that runs this, and what it printed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as pip leaves it
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=env, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise PeerError("Failed", f"`{code}` failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return seconds, done.stdout


def importing(context: Context) -> Result:
    """What `import fastnn` costs beyond `import numpy`."""
    result = Result("S1", "import", ("import", "time of a fresh process"))
    modules = ("numpy", "fastnn")
    for name in modules:
        python(f"import {name}")
    times = [tuple(python(f"import {name}")[0] for name in modules) for _ in range(max(11, context.pairs))]
    extra = statistics.median(b - a for a, b in times)
    for name, column in zip(modules, zip(*times, strict=True), strict=True):
        result.rows.append((name, clock(statistics.median(column))))
        context.say(f"    import {name:<8} {clock(statistics.median(column))}")
    result.check("beyond NumPy's own, median of the differences", extra * 1e3, 60, low=False, unit=" ms")
    return result


RESIDENT = "print('\\n', next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')))"
DEMO = "import sys, runpy\nsys.modules['matplotlib'] = None\nsys.argv = ['fastnn', 'demo', '--epochs', '2']\n"
DEMO += "runpy.run_module('fastnn', run_name='__main__')\n"


def wheel_bytes() -> int:
    """The wheel, built from a copy of the checkout."""
    with tempfile.TemporaryDirectory(prefix="fastnn-") as folder:
        source, target = Path(folder) / "source", Path(folder) / "wheels"
        source.mkdir()
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
            shutil.copy(ROOT / name, source)
        for name in ("fastnn", "src_c"):
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", target, source]
        try:
            import Cython  # noqa: F401

            command.insert(-1, "--no-build-isolation")
        except ImportError:
            pass
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerError("Failed", f"the wheel was not built: {done.stderr.strip().splitlines()[-1]}")
        return next(target.glob("*.whl")).stat().st_size


def footprint(context: Context) -> Result:
    """What fastnn takes on disk and in memory."""
    result = Result("S2", "size", ("what", "size"))
    size = wheel_bytes()
    with tempfile.TemporaryDirectory(prefix="fastnn-") as folder:
        numpy = int(python(f"import numpy\n{RESIDENT}")[1].split()[-1]) / 1024
        demo = int(python(DEMO + RESIDENT, folder)[1].split()[-1]) / 1024
    for name, value in (
        ("wheel", f"{size / 2**20:.2f} MiB"),
        ("resident after `import numpy`", f"{numpy:.1f} MiB"),
        ("resident after the demo, two epochs, without matplotlib", f"{demo:.1f} MiB"),
    ):
        result.rows.append((name, value))
        context.say(f"    {name}: {value}")
    result.check("wheel", size / 2**20, 3, low=False, unit=" MiB")
    result.check("demo above NumPy", demo - numpy, 40, low=False, unit=" MiB")
    return result
