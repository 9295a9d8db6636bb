"""How large a network can be: `python benchmarks/large.py`, which wants as much memory as 12.2 bytes a parameter are.

Builds layers of the same width and takes one step with Adam, each in a process of its own: the seconds to build on one
thread and on all, and the most memory that the process ever had above what it had before, a parameter. Prints a table,
and fails where a bound is missed; `--width 1024 --layers 2` is a short try.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

BYTES = 12.2  # a parameter at most: itself and Adam's two moments are 12; the rest are the activations of the batch
FASTER = 1.7  # times as fast on two threads, at least, as on one


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def build(width: int, layers: int, threads: int, batch: int) -> dict[str, float]:
    """Build the network, and take a step where the batch has rows."""
    import numpy as np

    import fastnn

    fastnn.set_num_threads(threads)
    before = peak()
    stack = [fastnn.layers.Dense(width, "relu") for _ in range(layers)]
    start = time.perf_counter()
    model = fastnn.Sequential([fastnn.Input((width,)), *stack])
    model.build((None, width))
    told = {"seconds": time.perf_counter() - start, "parameters": model.count_params()}
    if batch:
        x = np.random.default_rng(0).normal(size=(batch, width)).astype(np.float32)
        model.compile("adam", "mse")
        start = time.perf_counter()
        model.train_on_batch(x, x)
        told["first step"] = time.perf_counter() - start
        start = time.perf_counter()
        model.train_on_batch(x, x)
        told["step"] = time.perf_counter() - start
        told["bytes"] = (peak() - before) / model.count_params()
    return told


def alone(*arguments: int) -> dict[str, float]:
    """The same in a process of its own, which gives its memory back."""
    command = [sys.executable, __file__, "--alone", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=16384)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32, help="rows of the step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--alone", type=int, nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        print(json.dumps(build(*given.alone)))
        return
    built = {threads: alone(given.width, given.layers, threads, 0) for threads in (1, given.threads)}
    trained = alone(given.width, given.layers, given.threads, given.batch)
    faster = built[1]["seconds"] / built[given.threads]["seconds"]
    print(f"{trained['parameters']:,} parameters in {given.layers} layers of {given.width:,}")
    for threads, told in built.items():
        print(f"built on {threads} threads in {told['seconds']:.1f} s")
    print(f"on {given.threads} threads {faster:.2f} times as fast, must be >= {FASTER}")
    print(f"a step with Adam, {given.batch} rows: {trained['step']:.2f} s, the first one {trained['first step']:.2f}")
    print(f"{trained['bytes']:.2f} bytes a parameter, must be <= {BYTES}")
    if faster < FASTER or trained["bytes"] > BYTES:
        sys.exit("a bound is missed")


if __name__ == "__main__":
    main()
