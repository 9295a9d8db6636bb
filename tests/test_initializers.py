"""Initializers: their distributions, their seeds, their configs, and functions in their place."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import fastnn
from fastnn import _draws, initializers, layers

CLASSES = initializers._registry.members()
RANDOM = [c for c in CLASSES if c.random]
SHAPE = (400, 300)
# The standard deviation that Keras's documentation promises for SHAPE.
DEVIATIONS = {
    "RandomNormal": 0.05,
    "RandomUniform": 0.1 / math.sqrt(12),
    "TruncatedNormal": 0.05 * _draws.TRUNCATED_STDDEV,
    "VarianceScaling": math.sqrt(1 / 400),
    "GlorotUniform": math.sqrt(2 / 700),
    "GlorotNormal": math.sqrt(2 / 700),
    "HeUniform": math.sqrt(2 / 400),
    "HeNormal": math.sqrt(2 / 400),
    "LecunUniform": math.sqrt(1 / 400),
    "LecunNormal": math.sqrt(1 / 400),
    "RandomSign": 1.0,
    "Orthogonal": math.sqrt(1 / 400),  # 300 columns of 400 rows have length one
}


@pytest.mark.parametrize("kind", RANDOM, ids=lambda c: c.__name__)
def test_moments(kind):
    values = kind(seed=3)(SHAPE, "float64")
    deviation = DEVIATIONS[kind.__name__]
    # 120,000 numbers: standard errors 0.003 of the deviation for the mean, 0.002 for the deviation; four of them.
    assert abs(values.mean()) < 0.012 * deviation
    assert values.std() == pytest.approx(deviation, rel=0.008)


@pytest.mark.parametrize(
    "kind", [c for c in RANDOM if issubclass(c, initializers._scaling.Preset)], ids=lambda c: c.__name__
)
def test_no_value_lies_beyond_the_cut(kind):
    furthest = np.abs(kind(seed=3)(SHAPE, "float64")).max() / DEVIATIONS[kind.__name__]
    limit = math.sqrt(3) if kind.__name__.endswith("Uniform") else 2 / _draws.TRUNCATED_STDDEV
    assert 0.99 * limit < furthest <= limit * (1 + 1e-12)


def test_variance_scaling_over_its_arguments():
    fans = {"fan_in": 400, "fan_out": 300, "fan_avg": 350}
    for mode, fan in fans.items():
        for distribution in ("truncated_normal", "untruncated_normal", "uniform"):
            values = initializers.VarianceScaling(3.0, mode, distribution, seed=1)(SHAPE, "float64")
            assert values.std() == pytest.approx(math.sqrt(3 / fan), rel=0.008)
    beyond = np.abs(initializers.VarianceScaling(distribution="untruncated_normal", seed=1)(SHAPE)) > 2 / 20
    # this share of a normal distribution lies beyond two deviations
    assert beyond.mean() == pytest.approx(0.0455, abs=0.003)
    turned = initializers.VarianceScaling(seed=1, input_axes=[1], output_axes=[0])(SHAPE, "float64")
    assert turned.std() == pytest.approx(math.sqrt(1 / 300), rel=0.008)
    assert initializers.VarianceScaling(seed=1)((5, 4, 3), "float64").shape == (5, 4, 3)


def test_signs():
    layer = layers.EnsembleScale(3, scale_initializer="random_sign")
    model = fastnn.Sequential([fastnn.Input((50,)), layer, layers.EnsembleMean(3)])
    assert set(np.unique(model.get_weights()[0])) == {-1.0, 1.0}
    with pytest.raises(ValueError, match="export_keras cannot write the initializer RandomSign: Keras has no such"):
        fastnn.Sequential([layers.Dense(1, kernel_initializer="random_sign", input_shape=(2,))]).export_keras("a.keras")


def test_fans_of_other_shapes():
    fans = initializers.VarianceScaling()._fans
    assert [fans(shape) for shape in ((), (7,), (2, 3), (5, 2, 3))] == [(1, 1), (7, 7), (2, 3), (10, 15)]


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 200), (200, 3), (130, 150), (2, 65, 70), (0, 4)])
def test_orthogonal(shape):
    matrix = initializers.Orthogonal(2.0, seed=1)(shape, "float64").reshape(-1, shape[-1]) / 2
    gram = matrix @ matrix.T if len(matrix) < shape[-1] else matrix.T @ matrix
    if matrix.size:
        # Each is a sum of up to 200 terms of about 1/200: a few ulp of 1.
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=2e-15)


def test_orthogonal_is_the_q_of_lapack():
    numbers = np.random.Generator(np.random.Philox(1)).standard_normal((150, 170))
    q, r = np.linalg.qr(numbers.T)
    expected = q * np.sign(np.diag(r))
    # The condition number of a normal matrix of this shape is about 30.
    np.testing.assert_allclose(initializers.Orthogonal(seed=1)((170, 150), "float64"), expected, atol=1e-13)


@pytest.mark.slow
def test_no_bit_depends_on_the_threads_of_blas():
    program = "import fastnn.initializers as i; print(hash(i.Orthogonal(seed=1)((300, 700), 'float64').tobytes()))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n, "PYTHONHASHSEED": "0"},
            capture_output=True,
            check=True,
        ).stdout
        for n in ("1", "2")
    }
    assert len(answers) == 1


def test_constants():
    np.testing.assert_array_equal(initializers.Zeros()((2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(initializers.Ones()((2,)), [1, 1])
    np.testing.assert_array_equal(initializers.Constant(2.5)((2,)), [2.5, 2.5])
    np.testing.assert_array_equal(initializers.Identity(3.0)((2, 3)), [[3, 0, 0], [0, 3, 0]])


@pytest.mark.parametrize("kind", RANDOM, ids=lambda c: c.__name__)
def test_seeds(kind):
    seeded = kind(seed=5)
    np.testing.assert_array_equal(seeded((30, 20)), seeded((30, 20)))
    np.testing.assert_array_equal(seeded((30, 20)), kind(seed=5)((30, 20), "float64").astype("float32"))
    assert (kind(seed=6)((30, 20)) != seeded((30, 20))).any()
    free = kind()
    assert (free((30, 20)) != free((30, 20))).any()
    drawn = []
    for _ in range(2):
        fastnn.utils.set_random_seed(1)
        drawn.append(kind()((30, 20)))
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_config_there_and_back(kind, dtype, tmp_path):
    one = kind(seed=4) if kind.random else kind()
    other = initializers.get(initializers.serialize(one))
    assert type(other) is kind
    assert other.get_config() == one.get_config()
    np.testing.assert_array_equal(one((6, 4), dtype), other((6, 4), dtype))
    assert one((0, 4), dtype).shape == (0, 4)
    model = fastnn.Sequential([fastnn.Input((6,), dtype=dtype), layers.Dense(4, kernel_initializer=one)])
    np.testing.assert_array_equal(model.weights[0], one((6, 4), dtype))
    model.save(tmp_path / "model")
    assert fastnn.load_model(tmp_path / "model").get_config() == model.get_config()


def test_names_are_those_of_keras():
    for name in ("zero", "one", "normal", "uniform", "IdentityInitializer", "OrthogonalInitializer", "lecun_uniform"):
        assert isinstance(initializers.get(name), initializers.Initializer)
    assert isinstance(initializers.get(initializers.HeNormal), initializers.HeNormal)


def test_a_function_in_the_place_of_an_initializer(tmp_path):
    def ramp(shape, dtype):
        return np.arange(math.prod(shape), dtype=dtype).reshape(shape)

    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(2, kernel_initializer=ramp)])
    np.testing.assert_array_equal(model.weights[0], [[0, 1], [2, 3], [4, 5]])
    path = tmp_path / "model"
    with pytest.raises(TypeError, match=r"kernel_initializer is the Python function 'ramp', which has no config"):
        model.save(path)
    assert not path.exists()
    with pytest.raises(ValueError, match=r"bias_initializer must return an array of numbers of shape \(2,\), got"):
        fastnn.Sequential([fastnn.Input((3,)), layers.Dense(2, bias_initializer=lambda shape, dtype: [1.0])])


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: initializers.VarianceScaling(0), ValueError, "scale must be greater than 0, got 0"),
        (lambda: initializers.VarianceScaling("x"), TypeError, "scale must be a number, got str"),
        (lambda: initializers.RandomNormal(stddev=-1.0), ValueError, "stddev must be at least 0, got -1.0"),
        (lambda: initializers.TruncatedNormal(mean="x"), TypeError, "mean must be a number, got str"),
        (lambda: initializers.RandomUniform(1, -1), ValueError, "minval must be at most maxval, got 1 and -1"),
        (lambda: initializers.Constant(math.nan), ValueError, "value must be finite, got nan"),
        (lambda: initializers.Orthogonal(math.inf), ValueError, "gain must be finite, got inf"),
        (lambda: initializers.get(initializers.Initializer()), TypeError, "got [A-Z][A-Za-z]*, which has no rule"),
        (lambda: initializers.VarianceScaling(mode="fan"), ValueError, "mode must be 'fan_in', .* got 'fan'"),
        (lambda: initializers.VarianceScaling(distribution="x"), ValueError, "distribution must be .* got 'x'"),
        (lambda: initializers.VarianceScaling(input_axes=[0]), ValueError, "both or neither"),
        (lambda: initializers.GlorotUniform(None, 0, 1), TypeError, "input_axes must be a list of integers"),
        (lambda: initializers.HeNormal(0, [0], [5])((2, 2)), ValueError, r"must be axes of the parameter.*\(2, 2\)"),
        (lambda: initializers.Identity()((3,)), ValueError, r"Identity needs .* two axes, got one of shape \(3,\)"),
        (lambda: initializers.Orthogonal()((3,)), ValueError, r"Orthogonal needs .* got one of shape \(3,\)"),
        (lambda: initializers.get("he_norm"), ValueError, "'he_norm' is unknown; did you mean 'he_normal'"),
        (lambda: initializers.get(3), TypeError, "initializer must be the name .* got int"),
    ],
)
def test_bad_arguments_get_one_sentence(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


@pytest.mark.parametrize("shape", [(2,), (3, 2)])
def test_a_constant_may_be_an_array(shape):
    values = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    constant = initializers.Constant(values)
    np.testing.assert_array_equal(constant((3, 2)), np.broadcast_to(values, (3, 2)))
    copy = initializers.get(json.loads(json.dumps(initializers.serialize(constant))))
    np.testing.assert_array_equal(copy((3, 2)), constant((3, 2)))
    layer = layers.Dense(2, kernel_initializer=constant)
    model = fastnn.Sequential([fastnn.Input((3,)), layer])
    np.testing.assert_array_equal(layer.kernel, np.broadcast_to(values, (3, 2)))
    assert model.get_config()["layers"][1]["config"]["kernel_initializer"]["config"] == {"value": values.tolist()}


def test_an_array_that_cannot_be_the_parameter():
    with pytest.raises(ValueError, match=r"value of Constant has shape \(3,\), the parameter \(3, 2\)"):
        initializers.Constant([1.0, 2.0, 3.0])((3, 2))
    with pytest.raises(ValueError, match="finite"):
        initializers.Constant([1.0, np.nan])
    with pytest.raises(TypeError, match="got dtype"):
        initializers.Constant(["a"])


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("kind", RANDOM, ids=lambda c: c.__name__)
def test_what_is_not_drawn_leaves_later_draws_as_they_are(kind, seed):
    drawn = []
    for undrawn in (False, True):
        fastnn.utils.set_random_seed(0)
        if undrawn:
            with _draws.undrawn():
                assert not kind(seed=seed)((4, 3)).any()
        else:
            assert kind(seed=seed)((4, 3)).any()
        drawn.append(kind()((4, 3)))
    np.testing.assert_array_equal(*drawn)


def test_a_model_that_is_loaded_draws_no_weights_and_takes_their_seeds(tmp_path):
    def model():
        return fastnn.Sequential([fastnn.Input((4,)), layers.Dense(3, "relu"), layers.Dense(2)])

    model().save(tmp_path / "model.fastnn")
    later = []
    for make in (model, lambda: fastnn.load_model(tmp_path / "model.fastnn")):
        fastnn.utils.set_random_seed(0)
        make()
        later.append(model().get_weights()[0])
    np.testing.assert_array_equal(*later)


@pytest.mark.thread_unsafe(reason="sets the number of threads, and the size of a piece")
@pytest.mark.parametrize("kind", RANDOM, ids=lambda c: c.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pieces_do_not_depend_on_threads(monkeypatch, kind, dtype):
    monkeypatch.setattr(_draws, "PIECE", 1000)
    values = kind(seed=5)((70, 50), dtype)  # four pieces, the last of 500 numbers
    for threads in (1, 3):
        with fastnn.num_threads(threads):
            np.testing.assert_array_equal(kind(seed=5)((70, 50), dtype), values)
    pieces = values.reshape(-1)[:3000].reshape(3, 1000)
    assert len(np.unique(pieces, axis=0)) == 3  # a stream that was used twice would repeat its numbers
    assert len(np.unique(values)) > 3400 or kind is initializers.RandomSign


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_a_parameter_is_filled_in_place_with_what_a_call_returns(kind):
    initializer = kind(seed=5) if kind.random else kind()
    parameter = np.zeros((6, 6), np.float32)
    initializer.into(parameter)
    np.testing.assert_array_equal(parameter, initializer((6, 6)))


@pytest.mark.thread_unsafe(reason="sets the size of a piece")
def test_a_piece_is_the_beginning_of_a_stream(monkeypatch):
    monkeypatch.setattr(_draws, "PIECE", 1000)
    values = initializers.RandomUniform(0, 1, seed=5)((2500,), "float64")
    for k, piece in enumerate(np.split(values, [1000, 2000])):
        stream = np.random.Generator(np.random.Philox(5).jumped(k))
        np.testing.assert_array_equal(piece, stream.uniform(0, 1, len(piece)))


@pytest.mark.thread_unsafe(reason="sets the size of a piece")
def test_an_error_in_a_piece_ends_the_drawing(monkeypatch):
    monkeypatch.setattr(_draws, "PIECE", 10)

    def draw(own, count):
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        _draws.fill(np.empty(100), _draws.source(1), draw)
