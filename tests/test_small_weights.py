"""Frozen models whose kernels are rounded once, to bfloat16 or int8: what they answer, keep and say."""

import pickle
import threading

import numpy as np
import pytest

import fastnn
from fastnn import layers
from fastnn._small_weights import is_rounded, ordered, to_bfloat16, to_int8, unordered

KINDS = ["bfloat16", "int8"]


def network(widths, activation="relu", dtype="float32", seed=0):
    stack = [layers.Dense(n, activation) for n in widths[1:-1]]
    model = fastnn.Sequential([fastnn.Input((widths[0],), dtype=dtype), *stack, layers.Dense(widths[-1])])
    return filled(model, seed)


def filled(model, seed=0):
    """Weights with biases that are not zero, of about the size that keeps activations at one."""
    generator = np.random.default_rng(seed)
    for view in model.weights:
        scale = 1 / np.sqrt(view.shape[0]) if view.ndim == 2 else 0.1
        view[...] = scale * generator.normal(size=view.shape)
    return model


def widened(kernel, kind):
    """The float32 that a rounded kernel stands for."""
    if not is_rounded(*kernel.shape, kind):
        return kernel
    if kind == "bfloat16":
        return (to_bfloat16(kernel).astype(np.uint32) << np.uint32(16)).view(np.float32)
    numbers, scales = to_int8(kernel, len(kernel))
    return numbers.astype(np.float32) * scales


def with_widened(model, kind):
    """A model whose kernels of dense layers hold what `kind` rounds them to."""
    copy = fastnn.models.clone_model(model)
    copy.set_weights([widened(w, kind) if w.ndim == 2 else w for w in model.get_weights()])
    return copy


# ---- what is answered ----


@pytest.mark.parametrize("rows", [1, 2, 5, 13, 100])
@pytest.mark.parametrize("inputs", [1, 3, 64, 129, 1030])
@pytest.mark.parametrize("units", [9, 16, 128, 145])
def test_bfloat16_is_the_product_with_widened_weights(rows, inputs, units):
    """Sums go in the order of the inputs: the bits are those of float32 with weights that bfloat16 holds."""
    model = network((inputs, units, units), "tanh", seed=rows)
    x = np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)
    np.testing.assert_array_equal(model.freeze("bfloat16")(x), with_widened(model, "bfloat16").freeze()(x))


def int8_product(x, kernel, bias):
    """The formula of weights_int8.inc: rows of 16 bits, an exact sum, and one product in float64."""
    numbers, scales = to_int8(kernel, len(kernel))
    largest = np.abs(x).max(axis=1).astype(np.float64)
    unit = 2.0 ** (np.floor(np.log2(np.where(largest > 0, largest, 1))) - 14)
    q = np.minimum(np.rint(x / unit[:, None]), 32767).astype(np.int64)
    sums = (q @ numbers.astype(np.int64)).astype(np.float64)
    return (sums * (unit[:, None] * scales.astype(np.float64))).astype(np.float32) + bias


@pytest.mark.parametrize("rows", [1, 2, 6, 7, 50])
@pytest.mark.parametrize("inputs", [1, 7, 9, 64, 513, 1350, 9001])
@pytest.mark.parametrize("units", [5, 16, 130])
def test_int8_is_its_formula_bit_for_bit(rows, inputs, units):
    """Inputs: less than a step, more than 512, more than a tile's room for 6 rows and for 1."""
    model = network((inputs, units), seed=rows)
    x = np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)
    x *= 10.0 ** np.arange(-2, 3)[np.arange(rows) % 5, None]
    found = model.freeze("int8")(x)
    wanted = int8_product(x, *model.get_weights()) if is_rounded(inputs, units, "int8") else model.freeze()(x)
    np.testing.assert_array_equal(found, wanted)


def test_int8_sums_that_are_as_large_as_they_get():
    """All numbers at their bounds: no int32 overflows, whatever the sign."""
    model = fastnn.Sequential([fastnn.Input((20_000,)), layers.Dense(16)])
    signs = np.where(np.arange(16) % 2, -1.0, 1.0)
    model.set_weights([np.broadcast_to(signs, (20_000, 16)), np.zeros(16)])
    for value in (65535 / 65536, -65535 / 65536, -1.0, 1.0):
        x = np.full((1, 20_000), value, np.float32)
        for given in (x, np.repeat(x, 7, axis=0)):
            expected = int8_product(given, *model.get_weights())
            np.testing.assert_array_equal(model.freeze("int8")(given), expected)
            np.testing.assert_allclose(expected, 20_000 * value * np.broadcast_to(signs, expected.shape), rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_error_bounds(kind):
    """Rounding to bfloat16 is off by 2**-9 of each weight. int8 is off by half of a scale for each weight, and by
    2**-15 of the row's largest number for each input (weights_int8.inc); sums add what float32 sums do.
    """
    generator = np.random.default_rng(0)
    model = network((300, 40))
    x = generator.normal(size=(64, 300)).astype(np.float32)
    kernel, bias = (w.astype(np.float64) for w in model.get_weights())
    exact = x.astype(np.float64) @ kernel + bias
    magnitudes = np.abs(x.astype(np.float64))
    sums = 302 * np.finfo(np.float32).eps * (magnitudes @ np.abs(kernel) + np.abs(bias))
    if kind == "bfloat16":
        bound = magnitudes @ np.abs(kernel) * 2.0**-9
    else:
        half = np.abs(kernel).max(axis=0) / 254 * (1 + 1e-6)
        of_rows = magnitudes.max(axis=1, keepdims=True) * 2.0**-15
        bound = magnitudes.sum(axis=1, keepdims=True) * half + of_rows * (np.abs(kernel) + half).sum(axis=0)
    assert (np.abs(model.freeze(kind)(x) - exact) <= bound + sums).all()


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_and_numbers_that_are_none(kind):
    """A row that is not finite has no answer of finite numbers, and its neighbours know nothing of it."""
    model = network((70, 33))
    predictor, x = model.freeze(kind), np.random.default_rng(0).normal(size=(9, 70)).astype(np.float32)
    x[1] = 0
    x[3, 69], x[4, 0], x[5, 7] = np.nan, np.inf, -np.inf
    found = predictor(x)
    np.testing.assert_array_equal(found[1], model.get_weights()[1])
    assert np.isnan(found[3]).all()
    assert not np.isfinite(found[4:6]).any()
    if kind == "int8":
        assert np.isnan(found[4:6]).all()
    usual = [0, 1, 2, 6, 7, 8]
    np.testing.assert_array_equal(found[usual], np.stack([predictor(row) for row in x[usual]]))
    assert np.isfinite(found[usual]).all()


@pytest.mark.parametrize("scale", [2.0**-126, 1e-30, 1e30, 2.0**100])
def test_int8_of_tiny_and_huge_rows(scale):
    model = network((40, 20))
    model.set_weights([model.get_weights()[0], np.zeros(20)])
    x = np.random.default_rng(0).uniform(1, 2, size=(3, 40)).astype(np.float32)
    usual, found = model.freeze("int8")(x), model.freeze("int8")(x * np.float32(scale))
    if scale > 1e-37:  # a power of two or nearly so moves the unit with the row: each number rounds once more at most
        np.testing.assert_allclose(found / np.float32(scale), usual, atol=40 * 2.0**-13)
    else:  # the unit is 2**-127, half of a row's largest number here
        assert np.abs(found).max() <= 40 * 2.0**-125


@pytest.mark.thread_unsafe(reason="sets the number of threads")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("widths", [(784, 128, 128, 10), (50, 40, 3), (300, 1000, 700, 5)], ids=str)
def test_bits_do_not_depend_on_threads_or_on_other_rows(kind, widths):
    x = np.random.default_rng(0).normal(size=(200, widths[0])).astype(np.float32)
    predictor = network(widths).freeze(kind)
    with fastnn.num_threads(1):
        expected = predictor(x)
        np.testing.assert_array_equal(np.stack([predictor(row) for row in x[:30]]), expected[:30])
        for rows in (2, 3, 4, 5, 6, 7, 11, 12, 13, 25, 49):
            np.testing.assert_array_equal(predictor(x[:rows]), expected[:rows])
        np.testing.assert_array_equal(predictor(x[::-1]), expected[::-1])
    for threads in (2, 3):
        with fastnn.num_threads(threads):
            np.testing.assert_array_equal(predictor(x), expected)


# ---- what stands around dense layers ----

STACKS = {
    "normalized": lambda: [
        fastnn.Input((20,)),
        layers.Dense(32, "gelu"),
        layers.BatchNormalization(),
        layers.Dense(24),
        layers.LayerNormalization(),
        layers.Dense(12, "softmax"),
    ],
    "residual": lambda: [
        fastnn.Input((20,)),
        layers.Dense(16, "relu"),
        layers.Residual([layers.Dense(16, "tanh"), layers.Dense(16)]),
        layers.Dropout(0.5),
        layers.PReLU(),
        layers.Dense(10),
    ],
    "gated": lambda: [fastnn.Input((20,)), layers.Dense(32), layers.GLU(), layers.Dense(10, use_bias=False)],
    "of members": lambda: [
        fastnn.Input((20,)),
        layers.EnsembleScale(2),
        layers.EnsembleDense(12, 2),
        layers.EnsembleMean(2),
    ],
    "rescaled": lambda: [fastnn.Input((20,)), layers.Rescaling(0.5), layers.Dense(12), layers.UnitNormalization()],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stack", STACKS)
def test_layers_around(kind, stack):
    model = filled(fastnn.Sequential(STACKS[stack]()))
    x = np.random.default_rng(1).normal(size=(30, 20)).astype(np.float32)
    predictor, exact = model.freeze(kind), with_layers_widened(model, kind).freeze()(x)
    found = predictor(x)
    # int8 rounds activations to 16 bits besides: 2**-15 of a row's largest number, over a few layers
    np.testing.assert_allclose(found, exact, rtol=0, atol=0 if kind == "bfloat16" else 2e-3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predictor))(x), found)
    assert stack == "of members" or (found != model.freeze()(x)).any()


def with_layers_widened(model, kind):
    """Only kernels of Dense layers are rounded: those of other layers have two axes as well."""
    copy = fastnn.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in all_layers(copy.layers):
        if isinstance(layer, layers.Dense):
            layer.kernel[...] = widened(np.array(layer.kernel), kind)
    return copy


def all_layers(stack):
    for layer in stack:
        yield layer
        yield from all_layers(getattr(layer, "layers", []))


@pytest.mark.parametrize("kind", KINDS)
def test_branches_and_heads(kind):
    model = filled(
        fastnn.Sequential(
            [
                layers.Branches(
                    {
                        "a": [layers.Dense(16, "relu", input_shape=(5,))],
                        "b": [layers.Embedding(4, 3, input_shape=(1,)), layers.Flatten()],
                    }
                ),
                layers.Dense(24, "relu"),
                layers.Heads({"price": [layers.Dense(1)], "kind": [layers.Dense(10, "softmax")]}),
            ]
        )
    )
    generator = np.random.default_rng(0)
    x = {"a": generator.normal(size=(20, 5)).astype(np.float32), "b": generator.integers(0, 4, (20, 1))}
    predictor, exact = model.freeze(kind, rows=x), model.predict(x)
    found, again = predictor(x), pickle.loads(pickle.dumps(predictor))(x)
    changes = []
    for name in ("price", "kind"):
        np.testing.assert_array_equal(again[name], found[name])
        np.testing.assert_allclose(found[name], exact[name], atol=0.05)
        changes.append(np.abs(found[name].astype(np.float64) - exact[name]))
    report = predictor.report
    assert report["largest_change"] == max(change.max() for change in changes) > 0
    np.testing.assert_allclose(report["mean_change"], np.hstack(changes).mean())


# ---- what is kept, and what is said ----


@pytest.mark.parametrize("kind", KINDS)
def test_report(kind):
    model = network((100, 64, 32, 3))
    x = np.random.default_rng(0).normal(size=(50, 100)).astype(np.float32)
    predictor = model.freeze(kind, rows=x)
    changes = np.abs(predictor(x).astype(np.float64) - model.predict(x))
    report = predictor.report
    assert (report["largest_change"], report["mean_change"]) == (changes.max(), changes.mean())
    rest = 4 * (64 + 32 + 3 + 32 * 3)  # biases, and a kernel of 3 columns, which stays
    assert report["bytes_before"] == 4 * (100 * 64 + 64 * 32) + rest
    # int8: a byte a weight, and for each column a float32 and a float64
    small = 2 * (100 * 64 + 64 * 32) if kind == "bfloat16" else 100 * 64 + 64 * 32 + 12 * (64 + 32)
    assert report["bytes_after"] == small + rest
    assert len(pickle.dumps(predictor)) < report["bytes_after"] + 5000
    report["weights"] = "changed"  # a copy
    assert predictor.report["weights"] == pickle.loads(pickle.dumps(predictor)).report["weights"] == kind
    assert repr(predictor) == f"<Predictor: 100 -> 3, float32, weights of {kind}>"


def test_a_network_from_a_file_reports_its_buffer(tmp_path):
    path = tmp_path / f"{threading.get_ident()}.fnn"
    predictor = network((16, 16, 32)).freeze()
    predictor.save(path)
    assert fastnn.load_predictor(path).report == predictor.report  # sizes of which none leaves room behind it


def test_report_of_weights_that_are_not_rounded():
    model = network((4, 8, 2))
    expected = {"bytes_before": 4 * 58, "bytes_after": 4 * 58, "largest_change": None, "mean_change": None}
    assert model.freeze().report == {"weights": "float32"} | expected
    told = model.freeze("float32", rows=np.ones((3, 4))).report
    assert told == {"weights": "float32"} | expected | {"largest_change": 0.0, "mean_change": 0.0}
    assert network((4, 2), dtype="float64").freeze("float64").report["weights"] == "float64"


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_network_knows_nothing_of_the_model(kind):
    model = network((30, 20, 12))
    x = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    predictor = model.freeze(kind)
    before, after = predictor(x), model.predict(x)
    np.testing.assert_array_equal(model.predict(x), after)
    for view in model.weights:
        view += 1
    np.testing.assert_array_equal(predictor(x), before)
    out = np.empty((4, 12), np.float32)
    assert predictor(x, out=out) is out
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize(("inputs", "lanes"), [(2, 4), (2, 8), (2, 16), (4, 16)])
@pytest.mark.parametrize("shape", [(1, 9), (7, 17), (64, 128), (33, 300)])
def test_an_order_holds_the_whole_kernel(inputs, lanes, shape):
    """A pickle has the numbers in their own order, for a processor that multiplies in another."""
    kernel = model_kernel(shape)
    there = ordered(kernel, inputs, lanes)
    assert there.numbers.size >= kernel.numbers.size
    assert np.count_nonzero(there.numbers) == np.count_nonzero(kernel.numbers)
    back = unordered(there)
    np.testing.assert_array_equal(back.numbers, kernel.numbers)


def model_kernel(shape):
    from fastnn._small_weights import Rounded

    numbers, scales = to_int8(np.random.default_rng(0).normal(size=shape), shape[0])
    return Rounded(numbers, scales[0])


def test_what_cannot_be_frozen():
    model = network((20, 12, 2))
    with pytest.raises(ValueError, match=r"^weights must be one of 'float32', 'bfloat16', 'int8', got 'int16'; d"):
        model.freeze("int16")
    for bad in (8, np.int8, ["int8"]):
        with pytest.raises(ValueError, match=r"^weights must be one of 'float32', 'bfloat16', 'int8', got "):
            model.freeze(bad)
    with pytest.raises(ValueError, match=r"^weights='int8' needs a model of float32, and this one is float64$"):
        network((4, 12), dtype="float64").freeze("int8")
    with pytest.raises(ValueError, match="rows must"):
        model.freeze("int8", rows=np.ones((3, 5)))
    model.weights[0][1, 2] = np.nan
    with pytest.raises(ValueError, match=r"^weights='int8' needs finite weights, and the kernel of layer 'dense"):
        model.freeze("int8")
    assert np.isnan(model.freeze("bfloat16")(np.ones(20))).all()


def test_a_file_holds_exact_weights(tmp_path):
    with pytest.raises(ValueError, match=r"^the file of a frozen network holds float32 and float64, and these weights"):
        network((20, 12, 2)).freeze("int8").save(tmp_path / "network.fnn")


def test_a_policy_that_rounds():
    """Under mixed_bfloat16 large products round x as well; with rounded weights x stays float32."""
    stack = [layers.Dense(500, "relu", input_shape=(600,), dtype="mixed_bfloat16"), layers.Dense(12)]
    model = filled(fastnn.Sequential(stack))
    x = np.random.default_rng(0).normal(size=(30, 600)).astype(np.float32)
    for kind in KINDS:
        np.testing.assert_allclose(model.freeze(kind)(x), model.predict(x), atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_need_exact_weights(kind):
    predictor, x = network((4, 12, 9)).freeze(kind), np.ones((2, 4), np.float32)
    for differentiate in (
        lambda: predictor.vjp(x, np.ones((2, 9))),
        lambda: predictor.value_and_gradient(x),
        lambda: predictor.jacobian(x),
        lambda: predictor.jvp(x, x),
        lambda: predictor.hvp(x, x, np.ones((2, 9))),
        lambda: predictor.hessian(x),
    ):
        with pytest.raises(ValueError, match=rf"^derivatives need weights that are not rounded, and these are {kind}"):
            differentiate()


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
@pytest.mark.parametrize("units", [1, 4, 5, 8, 9, 16, 17, 33, 64])
def test_no_rounded_network_is_larger(kind, units):
    for inputs in (1, 2, 3, 5, 6, 7, 9, 40):
        model = network((inputs, units))
        report = model.freeze(kind, rows=np.zeros((1, inputs), "float32")).report
        assert report["bytes_after"] <= report["bytes_before"]
    assert is_rounded(40, 64, kind)
    assert is_rounded(6, 16, "int8")
    assert not is_rounded(2, 5, kind)
