"""Frozen networks with rounded weights beside float32 and ONNX Runtime: `python benchmarks/small_weights.py`.

Everybody runs in turn in this process, on one thread, and gets the same rows. ONNX Runtime has its input and output
bound, and as int8 the weights of its `quantize_dynamic`. Writes SMALL_WEIGHTS.md beside this file; `--quick` compares
the outputs with float32's, and reads no clock.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastnn
from fastnn._engine import build_info

WIDTHS = [(784, 128, 128, 10), (256, 256, 256, 1), (1000, 500, 500, 10), (32, 64, 64, 1)]
ROWS = [1, 8, 32, 1024]
PEERS = ["onnxruntime", "onnxruntime int8"]
OWN = ["float32", "bfloat16", "int8"]
ROUNDS, SHORTEST, WARM = 15, 0.004, 0.2
Call = Callable[[], object]


def network(widths: tuple[int, ...]) -> fastnn.Sequential:
    stack = [fastnn.layers.Dense(units, "relu") for units in widths[1:-1]]
    return fastnn.Sequential([fastnn.Input((widths[0],)), *stack, fastnn.layers.Dense(widths[-1])])


def sessions(model: fastnn.Sequential) -> dict[str, object]:
    """ONNX Runtime's sessions of a model, as float32 and as int8; none where it is not installed."""
    try:
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        return {}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        exact, small = (str(Path(folder, name)) for name in ("exact.onnx", "small.onnx"))
        model.export_onnx(exact)
        quantize_dynamic(exact, small, weight_type=QuantType.QInt8, per_channel=True)
        return {
            name: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for name, path in zip(PEERS, (exact, small), strict=True)
        }


def bound(session, x: np.ndarray) -> Call:
    """A call of a session that copies nothing."""
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, x)
    binding.bind_output(session.get_outputs()[0].name)
    return lambda: session.run_with_iobinding(binding)


def calls(predictors, peers, x: np.ndarray) -> dict[str, Call]:
    given = x[0] if len(x) == 1 else x
    found = {name: lambda predictor=predictor: predictor(given) for name, predictor in predictors.items()}
    return found | {name: bound(session, x) for name, session in peers.items()}


def in_turn(todo: dict[str, Call]) -> dict[str, float]:
    """The median seconds of each call, of rounds in which all take their turn."""
    counts, seconds = {}, {name: [] for name in todo}
    end = time.perf_counter() + WARM
    while time.perf_counter() < end:
        for call in todo.values():
            call()
    for name, call in todo.items():
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < SHORTEST or count < 2:
            call()
            count += 1
        counts[name] = count
    for _ in range(ROUNDS):
        for name, call in todo.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            seconds[name].append((time.perf_counter() - start) / counts[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


def clock(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} us" if seconds < 1e-4 else f"{seconds * 1e6:.0f} us"


def measure(widths: tuple[int, ...], quick: bool) -> list[str]:
    model = network(widths)
    x = np.random.default_rng(0).random((max(ROWS), widths[0]), np.float32)
    predictors = {weights: model.freeze(weights, rows=x) for weights in OWN}
    title = "-".join(map(str, widths))
    if quick:
        for weights, predictor in predictors.items():
            limit = 0.0 if weights == "float32" else 0.05
            assert predictor.report["largest_change"] <= limit, (title, weights, predictor.report)
        return []
    peers = sessions(model)
    names = [*OWN, *peers]
    lines = [f"## {title}", ""]
    for weights, predictor in predictors.items():
        report = predictor.report
        change = f"; outputs change by {report['largest_change']:.2g} at most, {report['mean_change']:.2g} on average"
        lines.append(f"- {weights}: {report['bytes_after']:,} bytes{'' if weights == 'float32' else change}")
    lines += ["", f"| rows | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for rows in ROWS:
        seconds = in_turn(calls(predictors, peers, x[:rows]))
        cells = [clock(seconds[name]) for name in names]
        for place, name in enumerate(names):
            if name in ("bfloat16", "int8"):
                cells[place] += f" ({seconds['float32'] / seconds[name]:.2f} x float32)"
            elif name in peers:
                own = seconds["int8" if name.endswith("int8") else "float32"]
                cells[place] += f" (int8 here {seconds[name] / seconds['int8']:.1f} x"
                cells[place] += ")" if name.endswith("int8") else f", float32 {seconds[name] / own:.1f} x)"
        lines.append(f"| {rows:,} | {' | '.join(cells)} |")
        print(title, lines[-1], flush=True)
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="compare outputs, and read no clock")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("SMALL_WEIGHTS.md"))
    given = parser.parse_args()
    today = datetime.datetime.now(tz=datetime.timezone.utc)
    head = (
        f"Written by `python benchmarks/small_weights.py` on {today:%Y-%m-%d}: instruction set "
        f"{build_info()['isa']}, one thread, medians of rounds in which everybody takes a turn. Hidden layers are "
        "relu. Of a peer the brackets say how many times our time it takes."
    )
    lines = ["# Small weights", "", head, ""]
    with fastnn.num_threads(1):
        for widths in WIDTHS:
            lines += measure(widths, given.quick)
    if not given.quick:
        given.output.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
