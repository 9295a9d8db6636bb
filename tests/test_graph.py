"""Branches and heads: formulas, gradients by central differences, bits over threads, files, frozen models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers

WIDTHS = {"numbers": 5, "kind": 2, "text": 100}


def block(width):
    return layers.Residual([layers.LayerNormalization(), layers.Dense(9, "tanh"), layers.Dense(width)])


# What a branch or a head may start with, given the width of what it reads; and what may follow.
STACKS = {
    "empty": lambda width: [],
    "dense": lambda width: [layers.Dense(4, "tanh")],
    "wide": lambda width: [layers.Dense(130, "tanh")],
    "wide twice": lambda width: [layers.Dense(130, "tanh"), layers.Dense(90, "sigmoid")],
    "softmax": lambda width: [layers.Dense(90, "softmax")],
    "activation": lambda width: [layers.Activation("tanh")],
    "nothing": lambda width: [layers.Activation("linear")],
    "dropout": lambda width: [layers.Dropout(0.3)],
    "batch": lambda width: [layers.BatchNormalization()],
    "wide batch": lambda width: [layers.Dense(120), layers.BatchNormalization(), layers.Activation("tanh")],
    "layer": lambda width: [layers.LayerNormalization(), layers.Dense(3)],
    "prelu": lambda width: [layers.PReLU()],
    "residual": lambda width: [block(width)],
    "residuals": lambda width: [layers.Residual([block(width), layers.Dense(width)]), layers.Dense(3)],
    "plain residual": lambda width: [layers.Residual([layers.Activation("linear")])],
    "noise then dense": lambda width: [layers.GaussianNoise(0.2), layers.Dense(6)],
}
NESTED = {
    "nested": lambda width: [
        layers.Branches({"a": [layers.Input((width - 1,)), layers.Dense(3, "tanh")], "b": [layers.Input((1,))]}),
        layers.Dense(5, "tanh"),
    ],
    "nested alone": lambda width: [
        layers.Branches({"a": [layers.Input((1,)), layers.Dense(70, "tanh")], "b": [layers.Input((width - 1,))]})
    ],
}
BRANCHES = STACKS | NESTED
TRUNKS = {
    "none": list,
    "dense": lambda: [layers.Dense(8, "tanh")],
    "wide": lambda: [layers.Dense(130, "tanh")],
    "linear": lambda: [layers.Dense(7)],
    "batch": lambda: [layers.BatchNormalization()],
    "dropout": lambda: [layers.Dense(7), layers.Dropout(0.2)],
}


def network(branches, trunk, heads, dtype="float32", seed=0):
    """A model whose branch "kind" looks numbers up in a table; `heads` may be empty."""
    stacks = {}
    for (name, width), kind in zip(WIDTHS.items(), branches, strict=True):
        inner = [layers.Embedding(6, 3)] if name == "kind" else []
        stacks[name] = [layers.Input((width,)), *inner, *BRANCHES[kind](6 if name == "kind" else width)]
    model = fastnn.Sequential([layers.Branches(stacks, dtype=dtype), *TRUNKS[trunk]()])
    if heads:
        width = model._engine.plan.outputs
        model.add(layers.Heads({f"head {k}": STACKS[kind](width) for k, kind in enumerate(heads)}))
    generator = np.random.default_rng(seed)
    for view in model.weights:
        view[...] = 0.5 + generator.random(view.shape) if view.ndim == 1 else generator.normal(size=view.shape) / 3
    model._seed = seed
    return model


def rows_of_x(rows, dtype="float32", seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, sum(WIDTHS.values())))
    x[:, 5:7] = generator.integers(0, 6, (rows, 2))
    return x.astype(dtype)


# "kind" has an Embedding before it: nested branches need to be the first.
PARTS = st.tuples(*(st.sampled_from(sorted(STACKS if name == "kind" else BRANCHES)) for name in WIDTHS))
HEADS = st.lists(st.sampled_from(sorted(STACKS)), max_size=3)
TRUNK = st.sampled_from(sorted(TRUNKS))


@settings(max_examples=60)
@given(
    branches=PARTS,
    trunk=TRUNK,
    heads=HEADS,
    training=st.booleans(),
    rows=st.sampled_from([2, 5, 33]),
    threads=st.sampled_from([1, 2, 3]),
)
@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_gradients_by_central_differences(branches, trunk, heads, training, rows, threads):
    fastnn.set_num_threads(threads)
    model = network(branches, trunk, heads, "float64")
    generator = np.random.default_rng(rows)
    x, dy = rows_of_x(rows, "float64"), generator.normal(size=(rows, model._engine.plan.outputs))
    fixed = [view.copy() for view in model.non_trainable_weights]

    def value():
        result = float((model.forward(x, training=training) * dy).sum())
        for view, kept in zip(model.non_trainable_weights, fixed, strict=True):
            view[...] = kept  # a training pass moved the statistics
        return result

    value()
    dx = model.backward(dy)
    gradients = [g.copy() for g in model.gradients]
    moving = {id(view) for view in model.non_trainable_weights}
    assert not dx[:, 5:7].any()  # whole numbers have no gradient
    step = 1e-5
    columns = np.r_[0:5, 7 : x.shape[1]]
    pairs = [(v, g) for v, g in zip(model.weights, gradients, strict=True) if id(v) not in moving]
    for array, gradient in [(x, dx), *pairs]:
        for index in zip(*(generator.integers(0, n, 2) for n in array.shape), strict=True):
            if array is x:
                index = index[0], generator.choice(columns)
            kept = array[index]
            array[index] = kept + step
            above = value()
            array[index] = kept - step
            below = value()
            array[index] = kept
            # A batch of two rows has columns whose deviation is small beside epsilon's root: second derivatives to 1e4.
            assert gradient[index] == pytest.approx((above - below) / (2 * step), rel=3e-4, abs=3e-5)
