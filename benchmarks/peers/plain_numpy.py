"""NumPy by hand: one flat buffer of parameters, every array made once, products by its BLAS."""

from __future__ import annotations

import dataclasses

import numpy as np
from workloads import ADAM

from . import Inference, Job, Training


def version() -> str:
    return np.__version__


class Flat:
    """Arrays that are views of one buffer, so that the update is one sweep."""

    def __init__(self, shapes):
        sizes = [int(np.prod(shape)) for shape in shapes]
        self.flat = np.zeros(sum(sizes), np.float32)
        ends = np.cumsum(sizes)
        self.arrays = [
            self.flat[end - size : end].reshape(shape) for end, size, shape in zip(ends, sizes, shapes, strict=True)
        ]


def forward(weights, x, hidden):
    """The last layer's sums; `hidden` gets every layer's outputs."""
    for k in range(0, len(weights), 2):
        z = hidden[k // 2][: len(x)]
        np.dot(x, weights[k], out=z)
        z += weights[k + 1]
        if k < len(weights) - 2:
            np.maximum(z, 0, out=z)
        x = z
    return x


def finish(kind, z):
    """Probabilities, in place."""
    if kind == "softmax":
        z -= z.max(1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(1, keepdims=True)
    elif kind == "sigmoid":
        np.negative(z, out=z)
        np.exp(z, out=z)
        z += 1
        np.reciprocal(z, out=z)
    return z


def buffers(job: Job):
    return [np.empty((job.workload.batch, width), np.float32) for width in job.workload.widths[1:]]


def train(job: Job, rate: float = ADAM["lr"]) -> Training:
    shapes = [array.shape for array in job.weights]
    weights, gradients = Flat(shapes), Flat(shapes)
    first, second = np.zeros_like(weights.flat), np.zeros_like(weights.flat)
    scratch, hidden, deltas = np.empty_like(weights.flat), buffers(job), buffers(job)
    for mine, given in zip(weights.arrays, job.weights, strict=True):
        mine[...] = given
    kind, batch, orders = job.workload.output, job.workload.batch, job.orders()
    numbers = np.arange(batch)
    time = [0]

    def backward(x, y):
        w, g, rows = weights.arrays, gradients.arrays, len(x)
        delta = finish(kind, forward(w, x, hidden))
        if kind == "softmax":
            delta[numbers[:rows], y] -= 1
        else:
            delta -= y
        delta *= (2.0 if kind == "linear" else 1.0) / (rows * (1 if kind == "softmax" else delta.shape[1]))
        for k in range(len(shapes) // 2 - 1, -1, -1):
            below = hidden[k - 1][:rows] if k else x
            np.dot(below.T, delta, out=g[2 * k])
            np.sum(delta, axis=0, out=g[2 * k + 1])
            if k:
                upward = deltas[k - 1][:rows]
                np.dot(delta, w[2 * k].T, out=upward)
                np.multiply(upward, below > 0, out=upward)
                delta = upward

    def update():
        time[0] += 1
        b1, b2, g = ADAM["beta_1"], ADAM["beta_2"], gradients.flat
        root = np.sqrt(1 - b2 ** time[0])
        step = rate * root / (1 - b1 ** time[0])
        epsilon = ADAM["eps"] * (root if job.options.get("textbook") else 1)
        np.multiply(g, g, out=scratch)
        np.multiply(scratch, np.float32(1 - b2), out=scratch)
        np.multiply(second, np.float32(b2), out=second)
        np.add(second, scratch, out=second)
        np.multiply(g, np.float32(1 - b1), out=g)
        np.multiply(first, np.float32(b1), out=first)
        np.add(first, g, out=first)
        np.sqrt(second, out=scratch)
        np.add(scratch, np.float32(epsilon), out=scratch)
        np.divide(first, scratch, out=scratch)
        np.multiply(scratch, np.float32(step), out=scratch)
        np.subtract(weights.flat, scratch, out=weights.flat)

    def epoch():
        order = orders()
        for start in range(0, len(order), batch):
            index = order[start : start + batch]
            backward(job.x[index], job.y[index])
            update()

    return Training(epoch, lambda: [array.copy() for array in weights.arrays])


def train_sparse(job: Job) -> Training:
    """Of dense rows: what the others' results are held to, in small."""
    job.x = job.x.toarray()
    return train(job)


def many(job: Job, members: list[list[np.ndarray]], rates: np.ndarray) -> Training:
    """One network after the other."""
    team = [train(dataclasses.replace(job, weights=w), float(r)) for w, r in zip(members, rates, strict=True)]

    def epoch():
        for member in team:
            member.epoch()

    return Training(epoch, lambda: [array for member in team for array in member.weights()])


def infer(job: Job) -> Inference:
    hidden, kind, weights = buffers(job), job.workload.output, job.weights
    return Inference(np.ascontiguousarray, lambda rows: finish(kind, forward(weights, rows, hidden)), np.array)
