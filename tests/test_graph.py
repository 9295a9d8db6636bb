"""Branches and heads: formulas, gradients by central differences, bits over threads, files, frozen models."""

import numpy as np
import pytest
from bits import same_on_any_threads
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers, regularizers

WIDTHS = {"numbers": 5, "kind": 2, "text": 100}


def block(width):
    return layers.Residual([layers.LayerNormalization(), layers.Dense(9, "tanh"), layers.Dense(width)])


# The layers that a branch or a head may start with, given the width of its input; and the layers that may follow.
STACKS = {
    "empty": lambda width: [],
    "dense": lambda width: [layers.Dense(4, "tanh")],
    "wide": lambda width: [layers.Dense(330, "tanh")],
    "wide twice": lambda width: [layers.Dense(330, "tanh"), layers.Dense(100, "sigmoid")],
    "softmax": lambda width: [layers.Dense(330, "softmax")],
    "activation": lambda width: [layers.Activation("tanh")],
    "nothing": lambda width: [layers.Activation("linear")],
    "dropout": lambda width: [layers.Dropout(0.3)],
    "batch": lambda width: [layers.BatchNormalization()],
    "wide batch": lambda width: [layers.Dense(330), layers.BatchNormalization(), layers.Activation("tanh")],
    "layer": lambda width: [layers.LayerNormalization(), layers.Dense(3)],
    "gelu": lambda width: [layers.Dense(5, "gelu")],
    "glu": lambda width: [layers.Dense(8), layers.GLU("silu")],
    "prelu": lambda width: [layers.PReLU()],
    "scale": lambda width: [layers.Scale()],
    "parametric": lambda width: [layers.ParametricActivation("silu")],
    "members": lambda width: [
        layers.EnsembleScale(3),
        *(layers.EnsembleDense(4, 3, "softmax", s) for s in ("adapted", "none")),
    ],
    "linear embedding": lambda width: [layers.LinearEmbedding(3, "tanh"), layers.Dense(4)],
    "waves beside x": lambda width: [layers.PeriodicEmbedding(5, 2, 0.2, "tanh", columns=[width - 1])],
    "waves": lambda width: [layers.PeriodicEmbedding(3, phases=False, densely_connected=False, share_weights=True)],
    "targets": lambda width: [layers.TargetScaling(0.5, 2.0, clip=False)],
    "columns": lambda width: [layers.Normalization(mean=0.5, variance=2.0, columns=[width - 1, 0])],
    "bins": lambda width: [layers.PiecewiseLinearEncoding(columns=[width - 1], bin_edges=[[-0.7, 0.1, 0.6]])],
    "residual": lambda width: [block(width)],
    "residuals": lambda width: [layers.Residual([block(width), layers.Dense(width)]), layers.Dense(3)],
    "plain residual": lambda width: [layers.Residual([layers.Activation("linear")])],
    "noise then dense": lambda width: [layers.GaussianNoise(0.2), layers.Dense(6)],
    "activity": lambda width: [layers.ActivityRegularization(0.02, 0.01), layers.Dense(4), layers.Activation("tanh")],
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
    "wide": lambda: [layers.Dense(330, "tanh")],
    "linear": lambda: [layers.Dense(7)],
    "batch": lambda: [layers.BatchNormalization()],
    "dropout": lambda: [layers.Dense(7), layers.Dropout(0.2)],
    "split": lambda: [
        layers.Dense(7, "tanh"),
        layers.Branches({"a": [layers.Input((3,)), layers.Dense(100)], "b": [layers.Input((4,)), block(4)]}),
    ],
}


def penalize(stack, generator):
    """Give most layers a penalty of their outputs."""
    for layer in stack:
        if layer.takes_activity_regularizer and generator.random() < 0.7:
            layer.activity_regularizer = regularizers.L1L2(*(0.1 * generator.random(2)))
        penalize(getattr(layer, "layers", ()), generator)


def network(branches, trunk, heads, dtype="float32", seed=0, penalties=None):
    """Return a model whose branch "kind" looks numbers up in a table; `heads` may be empty.

    `penalties`: a seed for those of outputs, or None for none.
    """
    chooser = None if penalties is None else np.random.default_rng(penalties)
    stacks = {}
    for (name, width), kind in zip(WIDTHS.items(), branches, strict=True):
        inner = [layers.Embedding(6, 3)] if name == "kind" else []
        stacks[name] = [layers.Input((width,)), *inner, *BRANCHES[kind](6 if name == "kind" else width)]
    body = [layers.Branches(stacks, dtype=dtype), *TRUNKS[trunk]()]
    if chooser:
        penalize(body, chooser)
    model = fastnn.Sequential(body)
    if heads:
        width = model._engine.plan.outputs
        last = layers.Heads({f"head {k}": STACKS[kind](width) for k, kind in enumerate(heads)})
        if chooser:
            penalize([last], chooser)
        model.add(last)
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


def joined(output):
    """Return what the engine computed: the columns of all heads."""
    return np.concatenate(list(output.values()), axis=1) if isinstance(output, dict) else output


def named(model, output):
    """Return the columns of each head under its name, where there are heads."""
    return output if model._heads is None else model._heads.split(output)


# The branch "kind" starts with an Embedding, which nested branches, as they must be first, cannot follow.
PARTS = st.tuples(*(st.sampled_from(sorted(STACKS if name == "kind" else BRANCHES)) for name in WIDTHS))
HEADS = st.lists(st.sampled_from(sorted(STACKS)), max_size=3)
TRUNK = st.sampled_from(sorted(TRUNKS))


@settings(max_examples=60)
@example(("dropout", "wide batch", "activation"), "batch", ["wide batch"], True, 2, 1)  # three of two rows
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
        result = float((joined(model.forward(x, training=training)) * dy).sum())
        for view, kept in zip(model.non_trainable_weights, fixed, strict=True):
            view[...] = kept  # a training pass moved the statistics
        return result

    value()
    dx = model.backward(named(model, dy))
    gradients = [g.copy() for g in model.gradients]
    moving = {id(view) for view in model.non_trainable_weights}
    assert not dx[:, 5:7].any()  # whole numbers have no gradient
    columns = np.r_[0:5, 7 : x.shape[1]]
    pairs = [(v, g) for v, g in zip(model.weights, gradients, strict=True) if id(v) not in moving]
    for array, gradient in [(x, dx), *pairs]:
        for index in zip(*(generator.integers(0, n, 2) for n in array.shape), strict=True):
            if array is x:
                index = index[0], generator.choice(columns)
            kept, slopes = array[index], []
            for step in (1e-5, 1e-7):
                array[index] = kept + step
                above = value()
                array[index] = kept - step
                below = value()
                array[index] = kept
                slopes.append(pytest.approx((above - below) / (2 * step), rel=3e-4, abs=3e-5))
            # A batch of two rows has columns whose deviation is small beside epsilon's root: second derivatives to 1e4,
            # and more where one normalization follows another, which takes the smaller step.
            assert gradient[index] in slopes


@settings(max_examples=60)
@given(
    branches=PARTS,
    trunk=TRUNK,
    heads=HEADS,
    training=st.booleans(),
    rows=st.sampled_from([2, 5, 33]),
    threads=st.sampled_from([1, 2, 3]),
    seed=st.integers(0, 99),
)
@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_gradients_of_losses_with_penalties_of_outputs(branches, trunk, heads, training, rows, threads, seed):
    """The loss of a batch, with penalties of the outputs of any layers, and its gradient by the weights."""
    fastnn.set_num_threads(threads)
    model = network(branches, trunk, heads, "float64", penalties=seed)
    generator = np.random.default_rng(rows)
    x = rows_of_x(rows, "float64")
    y = generator.normal(size=(rows, model._engine.plan.outputs))
    model.compile("sgd", "mse")
    engine, _, _ = model._ready("fit")
    fixed = [view.copy() for view in model.non_trainable_weights]

    def value():
        result = engine.batch_gradient(x, y, training)[0] / rows
        for view, kept in zip(model.non_trainable_weights, fixed, strict=True):
            view[...] = kept  # a training pass moved the statistics
        return result

    def slope(view, index, step):
        kept = view[index]
        view[index] = kept + step
        above = value()
        view[index] = kept - step
        below = value()
        view[index] = kept
        return (above - below) / (2 * step)

    first = value()
    if not training:
        assert engine.evaluate(x, y)[0] / rows == pytest.approx(first, rel=1e-12)
    moving = {id(view) for view in model.non_trainable_weights}
    gradients = [g.copy() for g in model.gradients]
    for view, gradient in zip(model.weights, gradients, strict=True):
        for index in zip(*(generator.integers(0, n, 2) for n in view.shape), strict=True):
            if id(view) not in moving:
                # Roundings are as above. At a kink, where an output changes its sign within the step, a smaller step is
                # taken.
                wanted = [pytest.approx(slope(view, index, step), rel=3e-4, abs=3e-5) for step in (1e-5, 1e-7)]
                assert gradient[index] in wanted


@settings(max_examples=25)
@example(("activation", "wide", "wide twice"), "batch", ["activation"], 7, 0)  # penalties of rows cut apart
@given(
    branches=PARTS,
    trunk=TRUNK,
    heads=HEADS.filter(bool),
    batch=st.sampled_from([7, 32, 300]),
    penalties=st.sampled_from([None, 0, 1]),
)
@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_bits_do_not_depend_on_threads(assert_same_rows, branches, trunk, heads, batch, penalties):
    x = rows_of_x(320)

    def trained():
        model = network(branches, trunk, heads, penalties=penalties)
        y = [np.random.default_rng(k).normal(size=(320, n)) for k, n in enumerate(model._heads.outputs.values())]
        model.compile("adam", "mse", loss_weights=[1.0, 0.5, 2.0][: len(heads)])
        losses = model.fit(x, y, batch_size=batch, epochs=2, verbose=0).history["loss"]
        predicted, frozen = joined(model.predict(x)), joined(model.freeze()(x))
        np.testing.assert_array_equal(frozen, predicted)
        np.testing.assert_array_equal(joined(model.forward(x)), predicted)
        np.testing.assert_array_equal(joined(model.predict(x[:3])), joined(model.predict(x[:20]))[:3])
        # Normalizations enlarge what rounding has changed, by more the less a row or a column varies.
        assert_same_rows(joined(model.predict(x[:3])), predicted[:3], tolerance=2e-3)
        return [*model.get_weights(), losses, model.evaluate(x, y, verbose=0), predicted]

    same_on_any_threads(trained)


@pytest.mark.parametrize("batch", [16, 130])
@pytest.mark.parametrize("features", [40, 1100])
@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_branches_and_heads_of_any_size_are_their_formula(batch, features):
    """Kernels are shared out by inputs, by columns and by rows, each kind first and last and beside each other kind."""
    generator = np.random.default_rng(0)
    x = {"a": generator.normal(size=(2 * batch, features)), "b": generator.normal(size=(2 * batch, 7))}
    y = {"wide": generator.integers(0, 1000, 2 * batch), "narrow": generator.integers(0, 2, (2 * batch, 3))}
    results = []
    for threads in (1, 3):
        fastnn.set_num_threads(threads)
        branches = layers.Branches(
            {"a": [layers.Dense(600, "relu")], "b": [layers.Dense(5, "tanh"), layers.Dense(900, "tanh")]},
            dtype="float64",
        )
        heads = layers.Heads({"wide": [layers.Dense(1000, "softmax")], "narrow": [layers.Dense(3, "sigmoid")]})
        model = fastnn.Sequential([branches, heads])
        model.build({"a": features, "b": (None, 7)})
        weights = np.random.default_rng(1)
        for view in model.weights:
            view[...] = weights.normal(size=view.shape) / np.sqrt(len(view))
        a, a0, b, b0, c, c0, wide, wide0, narrow, narrow0 = model.get_weights()
        hidden = np.concatenate([np.maximum(x["a"] @ a + a0, 0), np.tanh(np.tanh(x["b"] @ b + b0) @ c + c0)], axis=1)
        z = hidden @ wide + wide0
        z = np.exp(z - z.max(axis=1, keepdims=True))
        expected = {"wide": z / z.sum(axis=1, keepdims=True), "narrow": 1 / (1 + np.exp(-hidden @ narrow - narrow0))}
        for output in (model.predict(x), model.forward(x)):
            for name, values in expected.items():
                # Float64 sums of a thousand terms in another order.
                np.testing.assert_allclose(output[name], values, rtol=1e-10, atol=1e-13)
        model.compile("sgd", {"wide": "sparse_categorical_crossentropy", "narrow": "bce"}, {"narrow": 3.0})
        losses = model.evaluate(x, y, verbose=0)
        cross = -np.log(expected["wide"][np.arange(2 * batch), y["wide"]]).mean()
        p = expected["narrow"]
        binary = -np.where(y["narrow"], np.log(p), np.log(1 - p)).mean()
        np.testing.assert_allclose(losses, [cross + 3 * binary, cross, binary], rtol=1e-9)
        history = model.fit(x, y, batch_size=batch, epochs=2, shuffle=False, verbose=0).history
        results.append([*model.get_weights(), *map(np.array, history.values())])
        assert history["loss"][-1] < losses[0]
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
