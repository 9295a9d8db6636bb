"""What is measured: networks, their data and initial weights, and the arithmetic that says what a machine could do."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

ADAM = {"lr": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "eps": 1e-7}
ADAM_FLOPS = 12  # a parameter: two moments (3 + 4), root, sum, quotient, product, difference
ADAM_BYTES = 28  # a parameter: weight, both moments and the gradient are read, all but the last are written


@dataclass(frozen=True)
class Workload:
    """A network, its rows and how they are fed; the worker gets it as JSON."""

    id: str
    title: str
    widths: tuple[int, ...]
    batch: int
    rows: int
    output: str = "softmax"  # softmax: integer labels; sigmoid: 0 or 1; linear: mean squared error
    precision: str = "float32"
    calls: int = 0  # inference: calls in one run
    members: int = 1  # networks trained in one run
    together: bool = True  # those networks in one call, where the peer can
    entries: int = 0  # of a row that are not zero; 0: all

    @property
    def parameters(self) -> int:
        return sum((a + 1) * b for a, b in itertools.pairwise(self.widths))

    @property
    def products(self) -> int:
        return sum(a * b for a, b in itertools.pairwise(self.widths))

    @property
    def steps(self) -> int:
        return -(-self.rows // self.batch)

    def quick(self) -> Workload:
        """The same in small, for a check of the results; in bfloat16 still wide enough for it to be used."""
        large, widest = len(self.widths) == 5, 256 if self.precision == "float32" else 1024
        batch = min(self.batch, 256)
        widths = (min(self.widths[0], 3000), *self.widths[1:]) if self.entries else self.widths
        return dataclasses.replace(
            self,
            widths=tuple(min(width, widest) if large else width for width in widths),
            batch=batch,
            rows=min(self.rows, 1600 if self.batch < 256 else 2 * batch + 40),
            calls=min(self.calls, 8),
            members=min(self.members, 5),
        )

    def as_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict) -> Workload:
        return cls(**{**fields, "widths": tuple(fields["widths"])})


DIGITS = (784, 128, 128, 10)
TABULAR = (30, 64, 64, 1)
LARGE = (1024, 2048, 2048, 2048, 1000)

TRAINING = (
    Workload("T1", "784-128-128-10, batch 32, 60,000 rows", DIGITS, 32, 60_000),
    Workload("T2a", "784-128-128-10, batch 256, 60,000 rows", DIGITS, 256, 60_000),
    Workload("T2b", "784-128-128-10, batch 1,024, 60,000 rows", DIGITS, 1024, 60_000),
    Workload("T3", "tabular: 30-64-64-1, batch 32, 100,000 rows", TABULAR, 32, 100_000, "sigmoid"),
    Workload("T4", "large: 1024-2048-2048-2048-1000, batch 512, 4,096 rows", LARGE, 512, 4096),
)
BF16 = Workload("T5", "T4 in mixed_bfloat16", LARGE, 512, 4096, precision="mixed_bfloat16")
MANY = Workload("T6", "100 networks 20-32-32-1, batch 32, 2,000 rows", (20, 32, 32, 1), 32, 2000, "linear", members=100)
INFERENCE = (
    Workload("I1", "one row through 784-128-128-10", DIGITS, 1, 1000, calls=2000),
    Workload("I2", "one row through 32-64-64-1", (32, 64, 64, 1), 1, 1000, "linear", calls=5000),
    Workload("I3a", "32 rows through 784-128-128-10", DIGITS, 32, 3200, calls=1000),
    Workload("I3b", "1,024 rows through 784-128-128-10", DIGITS, 1024, 8192, calls=64),
)
GRADIENTS = (
    Workload("G1", "value and gradient of one row through 32-64-64-1", (32, 64, 64, 1), 1, 1000, "linear", calls=5000),
    Workload("G2", "values and gradients of 1,024 rows through 784-128-128-10", DIGITS, 1024, 8192, calls=64),
)
JACOBIAN = Workload("J1", "outputs and Jacobian of one row through 784-128-128-10", DIGITS, 1, 1000, calls=1000)
MEMMAP = Workload("I4", "1,000,000 rows x 784 from a file through 784-128-128-10", DIGITS, 1_000_000, 1_000_000)
SPARSE = (
    Workload("X1", "sparse: 10,000 columns, 64 hidden, batch 32, 20,000 rows", (10_000, 64, 1), 32, 20_000, "sigmoid",
             entries=100),
    Workload("X2", "sparse: 100,000 columns, 64 hidden, batch 32, 2,000 rows", (100_000, 64, 1), 32, 2000, "sigmoid",
             entries=100),
)  # fmt: skip
UPDATE = Workload("U1", "Adam over 100 million parameters", (10_000, 10_000), 1, 1, "linear")


def make_weights(workload: Workload, seed: int = 1) -> list[np.ndarray]:
    """Kernel (inputs, outputs), bias, kernel, bias, ...: the same for every peer."""
    generator = np.random.default_rng(seed)
    arrays = []
    for fan_in, fan_out in itertools.pairwise(workload.widths):
        arrays.append(generator.standard_normal((fan_in, fan_out), np.float32) * np.float32(np.sqrt(2 / fan_in)))
        arrays.append(generator.standard_normal(fan_out, np.float32) * np.float32(0.01))
    return arrays


def make_data(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and targets that a random linear teacher sets, so that there is something to learn."""
    generator = np.random.default_rng(0)
    x = generator.random((workload.rows, workload.widths[0]), np.float32)
    x -= np.float32(0.5)
    teacher = generator.standard_normal((workload.widths[0], workload.widths[-1]), np.float32)
    scores = x @ teacher
    if workload.output == "softmax":
        return x, scores.argmax(1)
    if workload.output == "sigmoid":
        return x, (scores > 0).astype(np.float32)
    return x, np.tanh(scores)


def make_sparse_data(workload: Workload) -> tuple[Any, np.ndarray]:
    """Rows like those of texts: few words, some of them far more frequent than others, each row of length 1."""
    from scipy.sparse import csr_matrix

    generator = np.random.default_rng(0)
    rows, columns, count = workload.rows, workload.widths[0], workload.rows * workload.entries
    frequency = 1 / np.arange(1, columns + 1) ** 0.9  # Zipf's law
    words = generator.permutation(columns)[generator.choice(columns, count, p=frequency / frequency.sum())]
    values = generator.random(count, np.float32)
    x = csr_matrix((values, words, np.arange(0, count + 1, workload.entries)), (rows, columns))
    x.sum_duplicates()
    x.data /= np.sqrt(np.repeat(np.add.reduceat(x.data**2, x.indptr[:-1]), np.diff(x.indptr)))
    scores = x @ generator.standard_normal(columns, np.float32)
    return x, (scores > 0).astype(np.float32)[:, None]


def outputs(workload: Workload, weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The network in NumPy: what every peer must answer."""
    for k in range(0, len(weights), 2):
        x = x @ weights[k] + weights[k + 1]
        if k < len(weights) - 2:
            x = np.maximum(x, 0)
    if workload.output == "softmax":
        x = np.exp(x - x.max(1, keepdims=True))
        return x / x.sum(1, keepdims=True)
    return 1 / (1 + np.exp(-x)) if workload.output == "sigmoid" else x


def derivatives(workload: Workload, weights: list[np.ndarray], x: np.ndarray, wanted: int) -> np.ndarray:
    """The gradients of the first `wanted` outputs of each row, (rows, wanted, inputs), in float64."""
    made, signs = x.astype(np.float64), []
    for k in range(0, len(weights) - 2, 2):
        made = made @ weights[k] + weights[k + 1]
        signs.append(made > 0)
        made = np.maximum(made, 0)
    gradients = np.repeat(np.eye(workload.widths[-1])[None, :wanted], len(x), axis=0)
    if workload.output == "softmax":  # dy_j / dz_k = y_j (1 where j = k, else 0, less y_k)
        y = outputs(workload, weights, x).astype(np.float64)
        gradients = y[:, :wanted, None] * (gradients - y[:, None, :])
    for k in reversed(range(0, len(weights), 2)):
        gradients = gradients @ weights[k].T
        if k:
            gradients *= signs.pop()[:, None, :]
    return gradients


def answers(task: str, workload: Workload, weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """What a task must give: outputs, the gradients of output 0, or Jacobians."""
    if task == "infer":
        return outputs(workload, weights, x)
    return derivatives(workload, weights, x, 1 if task == "gradient" else workload.widths[-1])


def loss(workload: Workload, weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    """The mean loss of these weights over the data: one judge for every peer."""
    guess = outputs(workload, weights, x).astype(np.float64)
    if workload.output == "softmax":
        return float(-np.log(np.maximum(guess[np.arange(len(y)), y], 1e-30)).mean())
    if workload.output == "sigmoid":
        guess = np.clip(guess, 1e-7, 1 - 1e-7)
        return float(-(y * np.log(guess) + (1 - y) * np.log(1 - guess)).mean())
    return float(((guess - y) ** 2).mean())


def learning_rates(workload: Workload) -> np.ndarray:
    """One for each member of T6."""
    return np.geomspace(3e-4, 3e-3, workload.members)


def gemm_flops(workload: Workload) -> float:
    """Of one training step: three products a layer, less the first layer's gradient by its input."""
    return 2.0 * workload.batch * (3 * workload.products - workload.widths[0] * workload.widths[1])


def roofline(workload: Workload, machine: dict, threads: int) -> float:
    """Seconds of one training step, were the machine used to the full; RESULTS.md states the formula."""
    flops = gemm_flops(workload) + ADAM_FLOPS * workload.parameters
    state = 16 * workload.parameters  # weight, gradient and both moments
    moved = ADAM_BYTES * workload.parameters / bandwidth(machine, state, threads)
    moved += (
        4.0 * workload.batch * workload.widths[0] / bandwidth(machine, 4 * workload.rows * workload.widths[0], threads)
    )
    return max(flops / peak(machine, threads), moved)


def inference_roofline(workload: Workload, machine: dict, threads: int) -> float:
    """Seconds of one call."""
    moved = 4.0 * (workload.parameters + workload.batch * workload.widths[0])
    return max(
        2.0 * workload.batch * workload.products / peak(machine, threads),
        moved / bandwidth(machine, int(moved), threads),
    )


def peak(machine: dict, threads: int, kind: str = "float32") -> float:
    """Measured FLOP/s."""
    return machine["flops"][kind][str(threads)]


def bandwidth(machine: dict, size: int, threads: int) -> float:
    """Measured bytes/s of reading a working set of this size again and again, shared among the threads."""
    levels = machine["read"][str(threads)]
    for limit in sorted(levels, key=int):
        if size <= int(limit) < 1 << 60:
            return levels[limit]
    return max(levels[max(levels, key=int)], machine["triad"][str(threads)])
