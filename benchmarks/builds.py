"""Two builds of fastnn against each other: what a change of the code costs or gains.

    python benchmarks/builds.py OLD NEW [--pairs 15] [--threads 1] [--only T1,I1]

OLD and NEW are folders with a built checkout each (a git worktree, `python setup.py build_ext --inplace`). Each build
has a worker of its own, as every peer has, and the two run each workload in turn, so that a neighbour or a change of
the processor's clock meets both alike. The table has the median of the pairs' ratios, new time by old, and the least
and the greatest of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

import peers
from driver import SHORTEST, Contender, Worker, clock, pairwise
from workloads import INFERENCE, MANY, TRAINING, Workload

SHORT = {"T1": 8192, "T2a": 16_384, "T2b": 16_384, "T3": 20_000, "T4": 512}  # rows of a run
WORKLOADS = {workload.id: workload for workload in (*TRAINING, MANY, *INFERENCE)}


def contender(worker: Worker, workload: Workload) -> Contender:
    """Prepare the workload, and run it once; a run takes some tenths of a second from then on."""
    task = "infer" if workload.calls else "many" if workload.members > 1 else "train"
    worker.ask("prepare", workload=workload.as_json(), threads=worker.threads, task=task)
    worker.ask("warm")
    one = Contender(worker, worker.ask("run")["seconds"])
    one.repeats = max(1, math.ceil(SHORTEST / (one.seconds * max(1, workload.calls))))
    return one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default=",".join(WORKLOADS))
    given = parser.parse_args()
    folders = given.old, given.new
    workers = [Worker(peers.OURS, given.threads, PYTHONPATH=str(folder.resolve())) for folder in folders]
    print(f"{given.threads} thread(s): new / old, median (least to greatest); old, new")
    for name in given.only.split(","):
        workload = dataclasses.replace(WORKLOADS[name], rows=SHORT.get(name, WORKLOADS[name].rows))
        old, new = (contender(worker, workload) for worker in workers)
        ratio = pairwise(old.run, new.run, given.pairs)
        print(f"{name:4} {ratio}; {clock(ratio.first)}, {clock(ratio.second)}", flush=True)
    for worker in workers:
        worker.close()


if __name__ == "__main__":
    main()
