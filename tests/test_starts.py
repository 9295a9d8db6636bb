"""Starts that follow from rows of data: against formulas in NumPy, in all kinds of networks; what bad input gets."""

import numpy as np
import pandas
import pytest
from scipy import sparse

import fastnn
from fastnn import layers
from fastnn.data import arrays

ROWS = 300


def table(rows=ROWS, seed=0):
    """Columns of different scales and means."""
    return np.random.default_rng(seed).normal(size=(rows, 5)) * [1, 10, 100, 0.1, 1] + [0, 5, 0, 0, 3]


def selu(x):
    return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))


def norm(x):
    centered = x - x.mean(axis=1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-3)


# A network of each kind, and the arguments x W of its Dense layers, in their order, in NumPy: of weights and x.


def chain(dtype):
    return [fastnn.Input((5,), dtype=dtype), layers.Dense(9, "selu"), layers.Dropout(0.3), layers.Dense(7, "tanh"),
            layers.Dense(2)]  # fmt: skip


def of_chain(w, x):
    first = x @ w[0]
    second = selu(first + w[1]) @ w[2]
    return first, second, np.tanh(second + w[3]) @ w[4]


def of_ntk(w, x):
    return of_chain([w[0] / 5**0.5, w[1], w[2] / 3, w[3], w[4], w[5]], x)


def ntk(dtype):
    return [fastnn.Input((5,), dtype=dtype), layers.Dense(9, "selu", parametrization="ntk"),
            layers.Dense(7, "tanh", parametrization="ntk"), layers.Dense(2)]  # fmt: skip


def residual(dtype):
    inner = layers.Residual([layers.Dense(6, "selu"), layers.Dense(8)])
    return [fastnn.Input((5,), dtype=dtype), layers.Dense(8), layers.Residual([layers.LayerNormalization(), inner]),
            layers.Activation("tanh"), fastnn.Sequential([layers.Dense(3, use_bias=False)])]  # fmt: skip


def of_residual(w, x):
    first = x @ w[0]
    y = first + w[1]
    z = norm(y) * w[2] + w[3]
    second = z @ w[4]
    third = selu(second + w[5]) @ w[6]
    return first, second, third, np.tanh(y + z + third + w[7]) @ w[8]


def parallel(dtype):
    stacks = {"a": [layers.Input((2,)), layers.Dense(4, "tanh")], "b": [layers.Input((3,)), layers.Scale("ones")]}
    heads = {"p": [layers.Dense(3, "tanh"), layers.Dense(1)], "q": [layers.Dense(2)]}
    return [layers.Branches(stacks, dtype=dtype), layers.Dense(6, "selu"), layers.Heads(heads)]


def of_parallel(w, x):
    first = x[:, :2] @ w[0]
    second = np.hstack([np.tanh(first + w[1]), x[:, 2:] * w[2]]) @ w[3]
    y = selu(second + w[4])
    third = y @ w[5]
    return first, second, third, np.tanh(third + w[6]) @ w[7], y @ w[9]


def blended(dtype):
    return [fastnn.Input((5,), dtype=dtype), layers.PeriodicEmbedding(4, 2, columns=[3, 0]), layers.Dense(9),
            layers.ParametricActivation("selu", fastnn.initializers.Constant(0.5)), layers.Dense(2)]  # fmt: skip


def of_blended(w, x):
    waves = np.cos(2 * np.pi * w[0] * x[:, [0, 3], None] + w[1].reshape(2, 4))
    made = [waves[:, k] @ w[2].reshape(2, 4, 2)[k] + w[3].reshape(2, 2)[k] for k in range(2)]
    first = np.hstack([x[:, [1, 2, 4, 0, 3]], *made]) @ w[4]
    y = first + w[5]
    return first, (y + w[6] * (selu(y) - y)) @ w[7]


NETWORKS = {"chain": (chain, of_chain), "ntk": (ntk, of_ntk), "residual": (residual, of_residual),
            "parallel": (parallel, of_parallel), "blended": (blended, of_blended)}  # fmt: skip
each = pytest.mark.parametrize(("make", "formula"), NETWORKS.values(), ids=NETWORKS)


def drawn(make, dtype):
    """Return a built model whose weights and seed are always the same: of others, terms of some units cancel."""
    model, generator = fastnn.Sequential(make(dtype)), np.random.default_rng(3)
    model.build((None, 5))
    model.set_weights([generator.normal(size=w.shape) if w.ndim == 2 else w for w in model.get_weights()])
    model._seed = 1
    return model


def wide(weights):
    return [np.asarray(w, np.float64) for w in weights]


@each
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
def test_the_variance_of_each_argument_is_one(make, formula, dtype):
    model = drawn(make, dtype)
    views, x = model.weights, table()
    x = x.astype("f4") if dtype != "float64" else x
    model.initialize(x)
    # sums of tens of products of relative error 2**-53 or 2**-24, and 2**-9 of operands that are rounded to bfloat16
    tolerance = {"float32": 1e-5, "float64": 1e-12, "mixed_bfloat16": 3e-2}[dtype]
    for z in formula(wide(model.get_weights()), wide([x])[0]):
        np.testing.assert_allclose(z.std(axis=0), 1, rtol=tolerance)
    for ours, theirs in zip(model.weights, views, strict=True):
        assert ours is theirs or np.shares_memory(ours, theirs)


@each
def test_kernels_and_biases_are_those_of_the_formula(make, formula):
    model, x = fastnn.Sequential(make("float64")), table()
    before, seed = model.get_weights(), model._seed
    model.initialize(x)
    after, generator = model.get_weights(), np.random.default_rng(seed)
    kernels = [k for k, w in enumerate(after) if w.ndim == 2 and (w != before[k]).any()]
    for z, k in zip(formula(after, x), kernels, strict=True):
        one = before[k] / after[k]  # the same factor in each row of the kernel
        np.testing.assert_allclose(one, np.broadcast_to(one[0], one.shape), rtol=1e-12)
        assert (one > 0).all()
        if k + 1 < len(after) and after[k + 1].ndim == 1 and len(after[k + 1]) == z.shape[1]:
            rows = generator.integers(0, len(x), (5, z.shape[1]))
            shares = generator.exponential(size=rows.shape)
            expected = -sum(shares[i] * z[rows[i], np.arange(z.shape[1])] for i in range(5)) / shares.sum(axis=0)
            np.testing.assert_allclose(after[k + 1], expected, rtol=1e-9, atol=1e-12)


def test_each_half_alone():
    model = fastnn.Sequential(chain("float64"))
    before = model.get_weights()
    model.initialize(table(), kernel=None, bias=None)
    assert all((ours == theirs).all() for ours, theirs in zip(model.get_weights(), before, strict=True))
    model.initialize(table(), bias=None)
    after = model.get_weights()
    assert [bool((ours == theirs).all()) for ours, theirs in zip(after, before, strict=True)] == [False, True] * 3
    model.initialize(table(), kernel=None)
    last = model.get_weights()
    assert [bool((ours == theirs).all()) for ours, theirs in zip(last, after, strict=True)] == [True, False] * 3


def test_the_models_seed_says_all():
    found = []
    for seed in (1, 1, 2):
        fastnn.utils.set_random_seed(seed)
        model = fastnn.Sequential([layers.Dense(4, kernel_initializer="ones"), layers.Dense(1)])
        model.initialize(table(), max_rows=100)
        found.append(model.get_weights())
    assert all((a == b).all() for a, b in zip(found[0], found[1], strict=True))
    assert (found[0][1] != found[2][1]).all()


def test_units_that_see_no_difference_and_layers_that_are_not_trained_stay():
    x = np.hstack([table(), np.full((ROWS, 1), 1e3)])
    model = fastnn.Sequential([fastnn.Input((6,)), layers.Dense(3, "relu"), layers.Dense(4), layers.Dense(1)])
    model.layers[2].trainable = False
    kernel = model.layers[1].kernel
    kernel[:, 0] = [0, 0, 0, 0, 0, 7]
    before = model.get_weights()
    model.initialize(x)
    np.testing.assert_array_equal(kernel[:, 0], before[0][:, 0])
    np.testing.assert_allclose(model.layers[1].bias[0], -7e3, rtol=1e-6)
    for k in (2, 3):
        np.testing.assert_array_equal(model.get_weights()[k], before[k])
    assert all(np.isfinite(w).all() for w in model.get_weights())
    np.testing.assert_allclose(np.std(model.predict(x)), 1, rtol=1e-5)


def test_terms_that_cancel_in_few_distinct_rows_do_not_make_huge_weights():
    x = np.repeat(table(2), 50, axis=0)  # the arguments of a unit are two numbers, which may be as good as equal
    model = fastnn.Sequential([fastnn.Input((5,)), layers.Dense(1000, use_bias=False)])
    before = model.get_weights()[0].astype(np.float64)
    model.initialize(x)
    kernel = model.get_weights()[0]
    uncorrelated = np.sqrt(np.square(x.std(axis=0)) @ before**2)
    deviation = np.maximum((x @ before).std(axis=0), uncorrelated / 10)
    assert (deviation * 10 == uncorrelated).sum() > 10
    np.testing.assert_allclose(kernel, before / deviation, rtol=1e-4)  # of differences of float32's sums


def test_duplicate_columns_of_opposite_weights_do_not_make_huge_weights():
    x = table()[:, [0, 0]]
    model = fastnn.Sequential([fastnn.Input((2,)), layers.Dense(1)])
    model.layers[-1].kernel[...] = [[1.0], [-0.99]]
    model.initialize(x)
    std = x[:, 0].std()
    np.testing.assert_allclose(model.layers[-1].kernel, np.array([[10.0], [-9.9]]) / std / np.hypot(1, 0.99), rtol=1e-4)


def test_a_sample_of_many_rows(monkeypatch):
    monkeypatch.setattr(arrays, "LARGE", 1)  # rows are converted when they are read
    found = []
    for x in (table(2000), table(2000).astype("f4")):
        fastnn.utils.set_random_seed(0)
        model = fastnn.Sequential([fastnn.Input((5,)), layers.Dense(4)])
        model.initialize(x, max_rows=500)
        found.append(model.get_weights())
        z = x @ model.layers[-1].kernel
        np.testing.assert_allclose(z.std(axis=0), 1, atol=0.2)  # six standard errors of 500 rows
    assert all((a == b).all() for a, b in zip(*found, strict=True))


def test_frames_text_and_missing_values():
    frame = pandas.DataFrame(table(), columns=list("abcde")).assign(kind=["x", "y", "z"] * 100)
    frame.loc[3, "a"] = np.nan
    kinds, impute = layers.CategoricalEmbedding(2, 3), layers.Impute()
    kinds.adapt(frame[["kind"]])
    impute.adapt(frame[["a", "b"]])
    stacks = {("a", "b"): [impute, layers.Dense(2)], "kind": [kinds]}
    model = fastnn.Sequential([layers.Branches(stacks), layers.Dense(4)])
    model.initialize(frame)
    assert model.built
    np.testing.assert_allclose((model.predict(frame) - model.layers[-1].bias).std(axis=0), 1, rtol=1e-5)
    named = fastnn.Sequential([layers.Dense(1)])
    named.initialize(frame[list("bcde")])
    assert named.feature_names == tuple("bcde")


def test_training_goes_on_and_backward_does_not():
    model, x = fastnn.Sequential(chain("float32")), table()
    model.compile("adam", "mse")
    model.forward(x)
    model.initialize(x)
    with pytest.raises(RuntimeError, match="forward"):
        model.backward(np.ones((ROWS, 2)))
    model.fit(x, np.zeros((ROWS, 2)), verbose=0)


BAD = {
    "kernel": (lambda x: (x, "norm"), ValueError, "^kernel must be 'std', or None, got 'norm'; "),
    "bias": (lambda x: (x, "std", "he5"), ValueError, r"^bias must be 'he\+5', or None, got 'he5'; did you mean"),
    "max_rows": (lambda x: (x, "std", None, 0), ValueError, "^max_rows must be at least 1, got 0"),
    "sparse": (lambda x: (sparse.csr_matrix(x),), TypeError, "^x is sparse, and initialize needs dense rows"),
    "NaN": (lambda x: (np.where(x < 0, np.nan, x),), ValueError, "^x must be finite, but the argument of the layer"),
    "one row": (lambda x: (x[:1],), ValueError, "^x must have at least two rows to initialize, got 1"),
    "text": (lambda x: ([["a"], ["b"]],), TypeError, "^x must hold real numbers, got text"),
    "a dict": (lambda x: ({"a": x},), TypeError, "^x is a dict, which needs a model that starts with Branches"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_failed_call_changes_nothing(case):
    given, error, sentence = BAD[case]
    open_, built = fastnn.Sequential([layers.Dense(2)]), fastnn.Sequential(chain("float32"))
    before = built.get_weights()
    for model in (open_, built):
        with pytest.raises(error, match=sentence):
            model.initialize(*given(table()))
    assert not open_.built
    assert open_.feature_names is None
    assert all((a == b).all() for a, b in zip(built.get_weights(), before, strict=True))
    with pytest.raises(ValueError, match=r"^x must have 5 features a row, as the model was built for, got 4"):
        built.initialize(table()[:, :4])
    with pytest.raises(ValueError, match="the model has no layer: add one"):
        fastnn.Sequential().initialize(table())
