"""What small calls from Python cost above the engine's own step: a batch of 32 rows through 32-64-64-1, with Adam.

    python benchmarks/steps.py                # half a minute; the machine must have nothing else to do
    python benchmarks/steps.py --rounds 50    # the least time of more rounds

The engine's own step, and its pass forward, are those of one long call. Beside them stand the calls of loops of one's
own; and a step of PyTorch, eager and with its fused Adam, and `train_on_batch` of Keras, where these are installed. All
run on one thread, in turn.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn

ROWS, WIDTHS = 32, (32, 64, 64, 1)
CALLS = 100  # of each function in a round
LONG = 1000  # steps of the long call
STEP, PASS = "the engine's own step", "the engine's own pass forward"  # of one long call, divided by its batches
AFTER_PASS = (PASS, "evaluate", "test_on_batch", "predict")  # what a pass forward is the least time of


def data() -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(ROWS, WIDTHS[0])).astype("f4"), generator.normal(size=(ROWS, WIDTHS[-1])).astype("f4")


def ours(x: Any, y: Any) -> dict[str, Callable[[], Any]]:
    """Our calls by what they are called in the table."""
    hidden = [fastnn.layers.Dense(width, "relu") for width in WIDTHS[1:-1]]
    model = fastnn.Sequential([fastnn.Input((WIDTHS[0],)), *hidden, fastnn.layers.Dense(WIDTHS[-1])])
    model.compile("adam", "mse")
    many_x, many_y = np.tile(x, (LONG, 1)), np.tile(y, (LONG, 1))

    def parts() -> None:
        errors = model.forward(x, training=True) - y
        model.backward(errors * np.float32(2 / ROWS), inputs=False)
        model.apply_gradients()

    return {
        STEP: lambda: model.fit(many_x, many_y, batch_size=ROWS, shuffle=False, verbose=0),
        "train_on_batch": lambda: model.train_on_batch(x, y),
        "forward, backward, apply_gradients": parts,
        "fit of one batch": lambda: model.fit(x, y, verbose=0),
        PASS: lambda: model.evaluate(many_x, many_y, verbose=0),
        "evaluate": lambda: model.evaluate(x, y, verbose=0),
        "test_on_batch": lambda: model.test_on_batch(x, y),
        "predict": lambda: model.predict(x),
    }


def of_torch(x: Any, y: Any) -> dict[str, Callable[[], Any]]:
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(1)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)

    def step(fused: bool) -> Callable[[], None]:
        stack: list[Any] = []
        for before, after in itertools.pairwise(WIDTHS):
            stack += [torch.nn.Linear(before, after), torch.nn.ReLU()]
        model = torch.nn.Sequential(*stack[:-1])
        optimizer = torch.optim.Adam(model.parameters(), fused=fused)

        def run() -> None:
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()

        return run

    return {f"PyTorch {torch.__version__}": step(False), "PyTorch, fused Adam": step(True)}


def of_keras(x: Any, y: Any) -> dict[str, Callable[[], Any]]:
    try:
        import keras
    except ImportError:
        return {}
    hidden = [keras.layers.Dense(width, "relu") for width in WIDTHS[1:-1]]
    model = keras.Sequential([keras.Input((WIDTHS[0],)), *hidden, keras.layers.Dense(WIDTHS[-1])])
    model.compile("adam", "mse")
    name = f"Keras {keras.__version__} on {keras.backend.backend()}"
    return {f"{name}: train_on_batch": lambda: model.train_on_batch(x, y)}


def seconds(call: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often each call is measured; the least time counts")
    given = parser.parse_args()
    fastnn.set_num_threads(1)
    calls = ours(*data()) | of_torch(*data()) | of_keras(*data())
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(given.rounds):
        for name, call in calls.items():
            found = seconds(call, 1) / LONG if name in (STEP, PASS) else seconds(call, CALLS)
            least[name] = min(least[name], found)
    for name, one in least.items():
        own = least[PASS if name in AFTER_PASS else STEP]
        print(f"{name:40} {1e6 * one:8.1f} us   {1e6 * (one - own):+8.1f} us above {one / own:6.1f} times")


if __name__ == "__main__":
    main()
