"""How the time of a step grows with width, depth, batch, rows and threads: ours, PyTorch, JAX and the roofline."""

from __future__ import annotations

import dataclasses

import machine
import peers
import workloads
from driver import PeerError
from suites import Context
from workloads import Workload

BESIDE = (peers.OURS, "torch", "jax-scan")
ROOFLINE = "roofline"
BASE = Workload("curve", "784-128-128-10, batch 32", workloads.DIGITS, 32, 6400)
SHORT = 0.15  # seconds of one timed run


def sized(**changes) -> Workload:
    """The base network with some changes, and rows for a run that is neither long nor two steps."""
    workload = dataclasses.replace(BASE, **changes)
    if "rows" not in changes:
        steps = max(8, min(200, int(4e9 / workloads.gemm_flops(workload))))
        workload = dataclasses.replace(workload, rows=steps * workload.batch)
    return workload


def axes() -> dict[str, list[tuple[int, Workload, int]]]:
    """Name: (value, workload, threads)."""
    most = machine.cpus()
    threads = sorted({1, *(2**k for k in range(1, 8) if 2**k < most), most})
    return {
        "width": [(w, sized(widths=(784, w, w, 10)), most) for w in (16, 64, 256, 1024, 2048)],
        "depth": [(d, sized(widths=(784, *[128] * d, 10)), most) for d in (1, 2, 4, 8, 16)],
        "batch": [(b, sized(batch=b), most) for b in (1, 8, 32, 128, 512, 2048)],
        "rows": [(r, sized(rows=r), most) for r in (320, 3200, 32_000, 320_000)],
        "threads": [(t, sized(rows=32_000), t) for t in threads],
    }


def step_seconds(context: Context, name: str, workload: Workload, threads: int) -> float:
    worker = context.team.prepare(name, threads, workload, "train")
    worker.ask("warm")
    seconds = worker.ask("run")["seconds"]
    repeats = max(1, int(SHORT / seconds))
    seconds = min(worker.ask("run", repeats=repeats)["seconds"] for _ in range(3))
    worker.ask("release")
    return seconds / workload.steps


def measure(context: Context) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """axis: who: (value, seconds of a step); a peer has the better of one and all threads, except on that axis."""
    found: dict = {}
    names = [name for name in BESIDE if name in context.team.versions]
    for axis, points in axes().items():
        context.say(f"curve: {axis}")
        found[axis] = {name: [] for name in (*names, ROOFLINE)}
        for value, workload, threads in points:
            for name in names:
                counts = (threads,) if axis == "threads" else context.team.counts
                try:
                    best = min(step_seconds(context, name, workload, count) for count in counts)
                except PeerError as error:
                    context.say(f"    {name}: {error}")
                    continue
                found[axis][name].append((value, best))
            if str(threads) in context.rates["flops"]["float32"]:
                found[axis][ROOFLINE].append((value, workloads.roofline(workload, context.rates, threads)))
            context.say(
                f"    {value:>7}  " + "  ".join(f"{k} {v[-1][1] * 1e6:.1f} us" for k, v in found[axis].items() if v)
            )
    return found
