"""Random networks as plain C, run under the sanitizers of addresses and of undefined behaviour, beside the models.

    python tests/fuzz_c.py --seed 1 --networks 100

Every buffer has exactly the size that the header says, and begins as NaN: what is read before it is written, or lies
outside, ends the run or is a wrong answer. Outputs and gradients are those of the model, whose weights are as the file
has them.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn import activations, layers
from fastnn.exchange._to_c_constants import Constants
from fastnn.exchange._to_c_network import Network

ROWS = 3
FLAGS = ["-std=c99", "-O0", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
# exp of exp of a network's outputs is a number of any size, whose last digits nobody can compare
ACTIVATIONS = [f for f in map(activations.get, activations._registry.members()) if f.name != "exponential"]
NORMALIZATIONS = [
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.BatchNormalization,
    layers.UnitNormalization,
]
WEIGHTS = [None, None, "bfloat16", "int8"]
RUN = """
static float *nans(size_t n) {
    float *room = malloc(n * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        room[i] = NAN;
    }
    return room;
}
static void print(const float *values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        printf("%.9g ", (double)values[i]);
    }
}
"""
ROW = """
static void run{k}(const float *given) {{
    float *x = nans(NET{k}_INPUTS), *dx = nans(NET{k}_INPUTS), *y = nans(NET{k}_OUTPUTS), *dy = nans(NET{k}_OUTPUTS);
    float *workspace = nans(NET{k}_WORKSPACE), *more = nans(NET{k}_GRADIENT_WORKSPACE);
    memcpy(x, given, NET{k}_INPUTS * sizeof(float));
    memcpy(dy, given + NET{k}_INPUTS, NET{k}_OUTPUTS * sizeof(float));
    net{k}_predict(x, y, workspace);
    print(y, NET{k}_OUTPUTS);
    net{k}_gradient(x, dy, y, dx, more);
    print(y, NET{k}_OUTPUTS);
    print(dx, NET{k}_INPUTS);
    free(x), free(dx), free(y), free(dy), free(workspace), free(more);
}}
"""


class Maker:
    """Makes random networks of numbers."""

    def __init__(self, seed: int) -> None:
        self._draws = np.random.default_rng(seed)

    def _one_of(self, choices: Any) -> Any:
        return choices[int(self._draws.integers(len(choices)))]

    def stack(self, width: int, depth: int = 0) -> tuple[list[layers.Layer], int]:
        """Return some layers for rows of this width, and the width of the result."""
        found: list[layers.Layer] = []
        for _ in range(self._draws.integers(1, 4)):
            kinds = [self._dense, self._dense, self._plain, self._some_columns, self._gate]
            kinds += [self._residual, self._members] if depth < 2 else []
            more, width = self._one_of(kinds)(width, depth)
            found += more
        return found, width

    def _dense(self, width: int, depth: int) -> tuple[list[layers.Layer], int]:
        units = self._one_of([2, 3, 4, 7, 16, 17, 33])
        return [layers.Dense(units, self._one_of(ACTIVATIONS), use_bias=self._one_of([True, False]))], units

    def _plain(self, width: int, depth: int) -> tuple[list[layers.Layer], int]:
        one = self._one_of(
            [*NORMALIZATIONS, layers.PReLU, layers.Scale, self._activation, self._parametric, self._noise]
        )
        return [one()], width

    def _activation(self) -> layers.Layer:
        return layers.Activation(self._one_of(ACTIVATIONS))

    def _parametric(self) -> layers.Layer:
        return layers.ParametricActivation(self._one_of(["relu", "mish", "tanh"]))

    def _noise(self) -> layers.Layer:
        return layers.Dropout(0.3)

    def _some_columns(self, width: int, depth: int) -> tuple[list[layers.Layer], int]:
        columns = sorted(self._draws.choice(width, self._draws.integers(1, width + 1), replace=False).tolist())
        if self._one_of([True, False]):
            return [layers.Normalization(mean=0.3, variance=2.0, columns=columns)], width
        edges = [[-1.0, 0.0, 0.5, 1.0]] * len(columns)
        return [layers.PiecewiseLinearEncoding(bin_edges=edges, columns=columns)], width + 2 * len(columns)

    def _gate(self, width: int, depth: int) -> tuple[list[layers.Layer], int]:
        return [layers.Dense(2 * width), layers.GLU(self._one_of(["sigmoid", "gelu", "linear"]))], width

    def _residual(self, width: int, depth: int) -> tuple[list[layers.Layer], int]:
        within, _ = self.stack(width, depth + 1)
        return [layers.Residual([layers.Stack(within), layers.Dense(width)])], width

    def _members(self, width: int, depth: int) -> tuple[list[layers.Layer], int]:
        sharing, f = self._one_of(["none", "full", "adapted"]), self._one_of(["relu", "softmax"])
        return [layers.EnsembleScale(3), layers.EnsembleDense(2, 3, f, sharing=sharing)], 6

    def model(self) -> fastnn.Sequential:
        """Return a network, which may have branches or heads."""
        if self._one_of([True, False, False]):
            branches, width = {}, 0
            for name in "abc"[: self._draws.integers(1, 4)]:
                inputs = int(self._draws.integers(1, 6))
                within, outputs = self.stack(inputs, 1) if self._one_of([True, True, False]) else ([], inputs)
                branches[name], width = [layers.Input((inputs,)), *within], width + outputs
            first: layers.Layer = layers.Branches(branches)
        else:
            width = int(self._draws.integers(1, 7))
            first = layers.Input((width,))
        found, _ = self.stack(width)
        heads = {"p": [layers.Dense(2, "softmax")], "q": [], "r": [layers.Dense(3), layers.ReLU()]}
        model = fastnn.Sequential([first, *found, *([layers.Heads(heads)] if self._one_of([True, False]) else [])])
        fill(model, 0.7)
        return model


def fill(model: fastnn.Sequential, scale: float = 1.0) -> None:
    """Give every weight numbers of its own, of which none is special."""
    generator = np.random.default_rng(3)
    for spec, weight in zip(model._engine.plan.parameters, model.weights, strict=True):
        drawn = scale * generator.normal(size=weight.shape) / math.sqrt(weight.shape[0])
        weight[...] = np.abs(drawn) + 0.5 if "variance" in spec.name else drawn


def store(model: fastnn.Sequential, weights: str) -> None:
    """Give a model the weights that its C has."""
    engine = model._engine
    constants = Constants(np.array(engine.parameters), np.float32, weights)
    Network(engine.plan, constants).forward()
    engine.parameters[...] = constants.as_stored


def answers(model: fastnn.Sequential, x: Any) -> tuple[Any, Any, Any]:
    """Return the outputs for rows, a gradient by them, and the gradient by the rows that follows from it."""
    given: Any = x
    if isinstance(model.input_shape, dict):
        ends = np.cumsum([width for _, width in model.input_shape.values()])
        given = dict(zip(model.input_shape, np.split(x, ends[:-1], axis=1), strict=True))
    y = model.forward(given)
    rows = np.hstack(list(y.values())) if isinstance(y, dict) else np.array(y)
    dy = np.random.default_rng(5).normal(size=rows.shape).astype(rows.dtype)
    return rows, dy, np.array(model.backward(model._heads.split(dy) if model._heads else dy))


def run(models: list[fastnn.Sequential], folder: Path, compiler: str) -> list[str]:
    """Return a sentence for each network whose C answers something else than the model."""
    includes, calls, wanted = [], [], []
    for k, model in enumerate(models):
        weights = WEIGHTS[k % len(WEIGHTS)]
        model.export_c(folder / f"net{k}.c", weights=weights, gradient=True)
        if weights is not None:
            store(model, weights)
        x = np.random.default_rng(k).normal(size=(ROWS, model._engine.plan.inputs)).astype(np.float32)
        y, dy, dx = answers(model, x)
        includes.append(f'#include "net{k}.c"\n{ROW.format(k=k)}')
        given = (", ".join(f"{value!r}f" for value in row) for row in np.hstack([x, dy]).tolist())
        calls += [f"    run{k}((const float[]){{{numbers}}});\n" for numbers in given]
        calls.append('    printf("\\n");\n')
        wanted.append(np.hstack([y, y, dx]).astype(float))
    headers = "".join(f"#include <{name}.h>\n" for name in ("math", "stdio", "stdlib", "string"))
    main = ["int main(void) {\n", *calls, "    return 0;\n}\n"]
    (folder / "main.c").write_text("".join([headers, RUN, *includes, *main]))
    subprocess.run([compiler, *FLAGS, "main.c", "-o", "main", "-lm"], check=True, cwd=folder)
    told = subprocess.run([folder / "main"], check=True, capture_output=True, text=True).stdout.splitlines()
    return [
        f"network {k} ({', '.join(type(layer).__name__ for layer in models[k].layers)}): {apart}"
        for k, (line, rows) in enumerate(zip(told, wanted, strict=True))
        if (apart := difference(np.array(line.split(), float).reshape(rows.shape), rows))
    ]


def difference(ours: Any, theirs: Any) -> str:
    """Return how far answers are apart, where that is too far: 2e-4 of the largest, as layers enlarge rounding."""
    tolerance = 2e-4 * max(1.0, float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0)))
    close = np.isclose(ours, theirs, rtol=2e-4, atol=tolerance, equal_nan=True)
    return "" if close.all() else f"{ours[~close][0]} should be {theirs[~close][0]}"


def main() -> None:
    """Make networks, and end with 1 where one of them is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--compiler", default="cc")
    told = parser.parse_args()
    maker = Maker(told.seed)
    with tempfile.TemporaryDirectory() as folder:
        wrong = run([maker.model() for _ in range(told.networks)], Path(folder), told.compiler)
    sys.stdout.write("\n".join([*wrong, f"{told.networks} networks, {len(wrong)} of them wrong\n"]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
