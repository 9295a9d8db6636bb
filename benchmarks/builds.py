"""Two builds of fastnn against each other: what a change of the code costs or gains.

    python benchmarks/builds.py OLD NEW [--pairs 15] [--threads 1] [--only T1,I1]

OLD and NEW are folders with a built checkout each (a git worktree, `python setup.py build_ext --inplace`). Both build
every workload in a process of their own and run it in turn, for some tenths of a second each time, so that a neighbour
or a change of the processor's clock meets both alike. The table has the median of the pairs' ratios, new time by old,
and the quartiles between which half of them lie.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from workloads import INFERENCE, MANY, TRAINING, Workload, make_data, make_weights

SHORT = {"T1": 8192, "T2a": 16_384, "T2b": 16_384, "T3": 20_000, "T4": 512}  # rows of a run
WORKLOADS = {workload.id: workload for workload in (*TRAINING, MANY, *INFERENCE)}
SECONDS = 0.15  # of inference a run


def network(workload: Workload):
    import fastnn
    from fastnn import layers

    hidden = [layers.Dense(width, "relu") for width in workload.widths[1:-1]]
    last = layers.Dense(workload.widths[-1], workload.output)
    model = fastnn.Sequential([fastnn.Input((workload.widths[0],)), *hidden, last])
    losses = {"softmax": "sparse_categorical_crossentropy", "sigmoid": "binary_crossentropy", "linear": "mse"}
    model.compile("adam", losses[workload.output])
    model.set_weights(make_weights(workload))
    return model


def training(workload: Workload) -> Callable[[], object]:
    import fastnn

    workload = dataclasses.replace(workload, rows=SHORT.get(workload.id, workload.rows))
    x, y = make_data(workload)
    if workload.members > 1:
        ensemble = fastnn.Ensemble([network(workload) for _ in range(workload.members)])
        return lambda: ensemble.fit(x, y, batch_size=workload.batch, verbose=0)
    model = network(workload)
    return lambda: model.fit(x, y, batch_size=workload.batch, verbose=0)


def inference(workload: Workload) -> Callable[[], object]:
    predictor = network(workload).freeze()
    x = np.ascontiguousarray(make_data(workload)[0][: workload.batch])

    def calls() -> None:
        for _ in range(workload.calls):
            predictor(x)

    return calls


def work(threads: int) -> None:
    """Answer each workload's name with the seconds of a run; the first one builds it."""
    import fastnn

    fastnn.set_num_threads(threads)
    built = {}
    for line in sys.stdin:
        workload = WORKLOADS[line.strip()]
        if workload.id not in built:
            built[workload.id] = (inference if workload.calls else training)(workload)
            built[workload.id]()
        runs, started = 0, time.perf_counter()
        while runs == 0 or time.perf_counter() - started < SECONDS:
            built[workload.id]()
            runs += 1
        print((time.perf_counter() - started) / runs, flush=True)


def worker(folder: str, threads: int) -> Callable[[str], float]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--work", "--threads", str(threads)],
        env=os.environ | {"PYTHONPATH": str(Path(folder).resolve())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(name: str) -> float:
        process.stdin.write(name + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    return ask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="OLD NEW")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default=",".join(WORKLOADS))
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.threads)
        return
    if len(given.folders) != 2:
        parser.error("needs two folders, the old build and the new one")
    ask = [worker(folder, given.threads) for folder in given.folders]
    print(f"{'':4} {'new / old':>9} {'quartiles':>15} {'old':>10} {'new':>10}  {given.threads} thread(s)")
    for name in given.only.split(","):
        pairs = []
        for turn in range(given.pairs):
            first = ask[turn % 2](name)
            second = ask[1 - turn % 2](name)
            pairs.append((first, second) if turn % 2 == 0 else (second, first))
        ratios = [new / old for old, new in pairs]
        low, median, high = statistics.quantiles(ratios, n=4)
        old, new = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
        print(f"{name:4} {median:9.3f} {low:7.3f} {high:7.3f} {old:7.2f} ms {new:7.2f} ms", flush=True)


if __name__ == "__main__":
    main()
