"""Who multiplies large matrices: fastnn's kernels or the BLAS that SciPy brings (fastnn.config.set_products)."""

import os
import subprocess
import sys

import numpy as np
import pytest
from bits import same_on_any_threads

import fastnn
from fastnn import _blas, _engine, layers

try:
    _blas.load()
    HAS_BLAS = True
except OSError:
    HAS_BLAS = False
needs_blas = pytest.mark.skipif(not HAS_BLAS, reason="SciPy's BLAS is not OpenBLAS")
# Widths and a batch whose products have tiles of every kind: whole ones, and less in rows, in columns, in both.
SHAPES = {"large": ((600, 700, 520), 300), "many rows": ((257, 300, 260), 160), "parts": ((256, 400, 3), 128)}


@pytest.fixture(autouse=True)
def products():
    before = fastnn.config.products()
    yield
    fastnn.config.set_products(before)


def trained(widths, batch, dtype, last="relu", **compiled):
    """Weights after three steps over shuffled rows, of which the last is short."""
    fastnn.utils.set_random_seed(1)
    units = [layers.Dense(width, "relu") for width in widths[1:-1]]
    model = fastnn.Sequential([fastnn.Input((widths[0],), dtype=dtype), *units, layers.Dense(widths[-1], last)])
    model.compile(**({"optimizer": "sgd", "loss": "mse"} | compiled))
    generator = np.random.default_rng(0)
    rows = 2 * batch + 40
    x, y = generator.normal(size=(rows, widths[0])), generator.normal(size=(rows, widths[-1]))
    model.fit(x, y, batch_size=batch, epochs=1, verbose=0)
    return model.get_weights()


@needs_blas
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_of_blas_have_the_same_bits_on_any_number_of_threads(shape, dtype):
    fastnn.config.set_products("blas")
    same_on_any_threads(lambda: trained(*SHAPES[shape], dtype), threads=(1, 2, 3, 8))


@needs_blas
@pytest.mark.parametrize("last", ["softmax", "relu"])
def test_rows_of_an_op_that_is_not_split_keep_out_of_blas(last):
    fastnn.config.set_products("blas")
    same_on_any_threads(lambda: trained((300, 1000), 130, "float64", last), threads=(1, 2, 3, 8))


@needs_blas
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-12)])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_of_blas_are_those_of_fastnn_to_rounding(shape, dtype, tolerance):
    results = {}
    for choice in ("own", "blas"):
        fastnn.config.set_products(choice)
        results[choice] = trained(*SHAPES[shape], dtype)
    different = False
    for own, other in zip(results["own"], results["blas"], strict=True):
        np.testing.assert_allclose(own, other, rtol=tolerance, atol=tolerance)
        different |= not np.array_equal(own, other)
    assert different  # else none was BLAS's


@needs_blas
def test_threads_of_blas_are_as_before_after_a_run_and_after_one_that_fails():
    blas = _blas.load()
    before = blas.get_threads()
    seen = []

    def loss(y, z):
        seen.append(blas.get_threads())
        raise KeyError

    fastnn.config.set_products("blas")
    try:
        blas.set_threads(2)
        trained(*SHAPES["large"], "float64")
        assert blas.get_threads() == 2
        with pytest.raises(KeyError):
            trained(*SHAPES["large"], "float64", loss=loss)
        assert blas.get_threads() == 2
        assert seen == [1]
    finally:
        blas.set_threads(before)


@needs_blas
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("by_depth", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("most", [1 << 30, 7, 1])
def test_products_that_one_call_of_blas_does_not_take_are_split(dtype, by_depth, transposed, even, most):
    generator = np.random.default_rng(0)
    a, b, bias = (generator.normal(size=size).astype(dtype) for size in ((23, 31), (31, 17), 17))
    c = np.full((23, 17), np.nan, dtype)
    _engine._packed_product(
        np.ascontiguousarray(a.T if by_depth else a),
        np.ascontiguousarray(b.T if transposed else b),
        c,
        by_depth=by_depth,
        transposed=transposed,
        bias=bias,
        relu=True,
        blas=most,
        even=even,
    )
    exact = np.maximum(a.astype("f8") @ b + bias, 0)
    np.testing.assert_allclose(c, exact, rtol=1e-4 if dtype == "f4" else 1e-12, atol=1e-4 if dtype == "f4" else 1e-12)


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


LATE = """
import sys, numpy as np, fastnn
model = fastnn.Sequential([fastnn.layers.Dense({inputs}, input_shape=({inputs},))])
model.compile("sgd", "mse")
model.fit(np.zeros((30, {inputs}), "f4"), np.zeros((30, {inputs}), "f4"), verbose=0)
print("scipy.linalg.cython_blas" in sys.modules)
"""


@needs_blas
@pytest.mark.parametrize(
    ("choice", "inputs", "loaded"), [("blas", 20, False), ("own", 600, False), ("blas", 600, True)]
)
def test_the_blas_is_loaded_when_a_product_goes_there(choice, inputs, loaded):
    assert run(LATE.format(inputs=inputs), FASTNN_PRODUCTS=choice).stdout.strip() == str(loaded)


def test_the_environment_sets_the_choice_and_is_checked():
    code = "import fastnn; print(fastnn.config.products())"
    assert run(code, FASTNN_PRODUCTS="own").stdout.strip() == "own"
    assert run(code, FASTNN_PRODUCTS="").stdout.strip() == "auto"
    assert "FASTNN_PRODUCTS must be one of auto, own, blas, got 'mkl'" in run(code, FASTNN_PRODUCTS="mkl").stderr


def test_another_choice_is_named():
    with pytest.raises(ValueError, match="choice must be one of 'auto', 'own', 'blas', got 'mkl'"):
        fastnn.config.set_products("mkl")
    assert fastnn.config.products() == "auto"


def test_a_blas_whose_threads_cannot_be_limited_is_refused(monkeypatch):
    monkeypatch.setattr(_blas, "_AFFIXES", ())
    monkeypatch.setattr(_blas, "load", _blas.load.__wrapped__)
    monkeypatch.setattr(fastnn.config, "load", _blas.load)
    with pytest.raises(ValueError, match="products cannot be 'blas': SciPy's BLAS is not OpenBLAS"):
        fastnn.config.set_products("blas")


def test_info_says_what_goes_where():
    fastnn.config.set_products("own")
    assert _engine.describe_products().startswith("own: fastnn's own")
    if HAS_BLAS:
        fastnn.config.set_products("blas")
        assert "large ones of training in float32 and float64 by OpenBLAS" in _engine.describe_products()
