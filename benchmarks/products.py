"""Training with fastnn's own products and with those of SciPy's BLAS, in turn, on each instruction set that runs here.

    python benchmarks/products.py            # writes benchmarks/PRODUCTS.md
    python benchmarks/products.py --pairs 3  # a quick look, on the screen alone

A set runs with the kernels that OpenBLAS would take on a processor which has no more than that (OPENBLAS_CORETYPE).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from workloads import TRAINING, Workload, make_data

CORES = {"baseline": ("Nehalem", "Sandybridge"), "avx2": ("Haswell",), "avx512": ("SkylakeX",)}
ROWS = {"T1": 4096, "T2b": 8192, "T4": 512}  # of T4 one step
TYPES = ("float32", "float64")
HEAD = "| network | type | instruction set | OpenBLAS's kernels | threads | own | BLAS | times faster |"


def prepared(workload: Workload, dtype: str):
    """A pass over the rows, as a function of the choice."""
    import fastnn

    inputs, *hidden, outputs = workload.widths
    units = [fastnn.layers.Dense(width, "relu") for width in hidden]
    model = fastnn.Sequential([fastnn.Input((inputs,), dtype=dtype), *units, fastnn.layers.Dense(outputs, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = make_data(workload)
    x = x.astype(dtype)

    def run(choice: str) -> float:
        fastnn.config.set_products(choice)
        start = time.perf_counter()
        model.fit(x, y, batch_size=workload.batch, verbose=0)
        return time.perf_counter() - start

    for choice in ("own", "blas"):
        run(choice)
    return run


def measure(pairs: int) -> None:
    """In a process with one instruction set: a line of JSON for each network and type."""
    import fastnn

    for workload in (replace(w, rows=ROWS[w.id]) for w in TRAINING if w.id in ROWS):
        for dtype in TYPES:
            run = prepared(workload, dtype)
            times: dict[str, list[float]] = {"own": [], "blas": []}
            for pair in range(pairs):
                for choice in ("own", "blas") if pair % 2 else ("blas", "own"):
                    times[choice].append(run(choice))
            own, blas = (statistics.median(seconds) for seconds in times.values())
            ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
            row = [workload.id, dtype, fastnn.get_num_threads(), f"{own:.3f} s", f"{blas:.3f} s", f"{ratio:.2f}"]
            print(json.dumps(row), flush=True)


def table(pairs: int) -> list[str]:
    """All lines of the table."""
    import fastnn
    from fastnn._engine import build_info

    lines = [HEAD, "|---" * HEAD.count(" |") + "|"]
    for isa in build_info()["isas_available"]:
        for core in CORES.get(isa, ()):
            for threads in (fastnn.get_num_threads(),):
                environment = {"FASTNN_ISA": isa, "OPENBLAS_CORETYPE": core, "OMP_NUM_THREADS": str(threads)}
                answers = subprocess.run(
                    [sys.executable, __file__, "--inside", "--pairs", str(pairs)],
                    env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True,
                ).stdout.splitlines()  # fmt: skip
                for network, dtype, count, *rest in map(json.loads, answers):
                    lines.append(f"| {' | '.join([network, dtype, isa, core, str(count), *rest])} |")
                    print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=0, help="runs of each (default: 5, and the file is written)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        measure(given.pairs)
        return
    lines = table(given.pairs or 5)
    if not given.pairs:
        text = [
            "# Products: fastnn's own, and by the BLAS that SciPy brings",
            "",
            "Written by `python benchmarks/products.py`: passes over some rows, both ways in turn; medians.",
            "T1 and T2b have no kernel that is large enough for BLAS, so both ways are the same code there: their",
            "ratios show how noisy the machine was. `auto` takes BLAS for the set baseline: in float64, and where the",
            "processor has AVX (Sandybridge's kernels) in float32 too.",
            "",
            *lines,
        ]
        Path(__file__).with_name("PRODUCTS.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
