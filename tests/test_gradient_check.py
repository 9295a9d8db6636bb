"""A loss in Python whose gradient is not its derivative: it is found, and a right one is left alone."""

import warnings

import numpy as np
import pytest

import fastnn
from fastnn import layers, losses
from fastnn.utils import check_gradient

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 5)).astype(np.float32)


def squared(y_true, y_pred):
    error = y_pred - y_true
    return (error**2).mean(axis=1), 2 * error / error.shape[1]


def absolute(y_true, y_pred):
    error = y_pred - y_true
    return np.abs(error).mean(axis=1), np.sign(error) / error.shape[1]


def huber(y_true, y_pred):
    error = y_pred - y_true
    small = np.abs(error) < 1
    return np.where(small, error**2 / 2, np.abs(error) - 0.5).sum(axis=1), np.where(small, error, np.sign(error))


def quantile(y_true, y_pred):
    error = y_true - y_pred
    return np.maximum(0.9 * error, -0.1 * error).sum(axis=1), np.where(error > 0, -0.9, 0.1)


def hinge(y_true, y_pred):
    margin = 1 - (2 * (y_true > 0) - 1) * y_pred
    return np.maximum(margin, 0).sum(axis=1), np.where(margin > 0, -(2 * (y_true > 0) - 1), 0)


def of_the_batch(y_true, y_pred):
    error = y_pred - y_true
    return (error**2).mean(), 2 * error / error.size


def between_rows(y_true, y_pred):  # a loss of a row depends on other rows
    error = y_pred - y_pred.mean(axis=0) - y_true
    return (error**2).sum(axis=1), 2 * (error - error.mean(axis=0))


def flat_here(y_true, y_pred):  # a step function, with the gradient of a smooth function in its place
    return (y_pred > 1e3).sum(axis=1) + 1.0, y_pred - y_true


def crossentropy(y_true, y_pred):
    p, t = np.clip(y_pred, 1e-7, 1 - 1e-7), y_true > 0
    return -np.where(t, np.log(p), np.log(1 - p)).sum(axis=1), np.where(t, -1 / p, 1 / (1 - p))


def unclipped(y_true, y_pred):
    if (y_pred <= 0).any() or (y_pred >= 1).any():
        raise ValueError("y_pred must be probabilities")
    return crossentropy(y_true, y_pred)


def noisy(y_true, y_pred, generator=np.random.default_rng(5)):  # noqa: B008 (its state is the point)
    values, gradient = squared(y_true, y_pred)
    return values * generator.uniform(0.2, 5, len(values)), gradient


def growing(y_true, y_pred, calls=[]):  # noqa: B006 (its state is the point)
    calls.append(1)
    values, gradient = squared(y_true, y_pred)
    return values * len(calls), gradient * len(calls)


def jumping(y_true, y_pred):
    values, gradient = squared(y_true, y_pred)
    return values + 100 * (y_pred.sum(axis=1) > 0), gradient


def not_finite(y_true, y_pred):
    values, gradient = squared(y_true, y_pred)
    return values * np.nan, gradient


RIGHT = [squared, absolute, huber, quantile, hinge, of_the_batch, between_rows]
UNKNOWN = [flat_here, noisy, growing, jumping, not_finite]
PROBABILITIES = [crossentropy, unclipped]


def fit(loss, scale=1.0, dtype="float32", activation=None, rows=64, kernel="glorot_uniform", **arguments):
    model = fastnn.Sequential([fastnn.Input((5,), dtype=dtype), layers.Dense(3, activation, kernel_initializer=kernel)])
    model.compile(fastnn.optimizers.SGD(0.0), loss)
    y = scale * np.random.default_rng(1).normal(size=(rows, 3))
    model.fit(X[:rows], y, batch_size=32, verbose=0, **arguments)
    return model


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", ["glorot_uniform", "zeros"])
@pytest.mark.parametrize("loss", RIGHT + UNKNOWN)
def test_a_right_gradient_is_left_alone(loss, scale, dtype, kernel):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the gradient of loss")
        warnings.filterwarnings("ignore", message="the loss is not finite")
        fit(loss, scale, dtype, kernel=kernel)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("kernel", ["glorot_uniform", "zeros", "ones"])
@pytest.mark.parametrize("loss", PROBABILITIES)
def test_a_right_gradient_of_probabilities_is_left_alone(loss, activation, kernel):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(loss, activation=activation, kernel=kernel)


def wrong(name, loss, change):
    def changed(y_true, y_pred):
        values, gradient = loss(y_true, y_pred)
        return values, change(np.asarray(gradient, y_pred.dtype))

    changed.__name__ = name
    return changed


WRONG = [
    wrong("twice", squared, lambda g: 2 * g),
    wrong("half", huber, lambda g: g / 2),
    wrong("negative", squared, lambda g: -g),
    wrong("columns", absolute, lambda g: g * g.shape[1]),
    wrong("rows", of_the_batch, lambda g: g * len(g)),
    wrong("one_column", squared, lambda g: g * [1, 1, 3]),
]


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", WRONG, ids=lambda loss: loss.__name__)
def test_a_wrong_gradient_is_named_once(loss, dtype, scale):
    with pytest.warns(UserWarning, match=f"the gradient of loss '{loss.__name__}' seems to be wrong") as caught:
        model = fit(loss, scale, dtype, epochs=3)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, X[:, :3], verbose=0)  # the gradient is checked once after compile


def test_a_wrong_gradient_of_a_head_is_named():
    model = fastnn.Sequential(
        [layers.Dense(4, input_shape=(5,)), layers.Heads({"a": [layers.Dense(2)], "b": [layers.Dense(3)]})]
    )
    model.compile("sgd", {"a": squared, "b": WRONG[0]})
    with pytest.warns(UserWarning, match="loss 'twice'") as caught:
        model.fit(X, {"a": X[:, :2], "b": X[:, :3]}, verbose=0)
    assert len(caught) == 1


def test_a_warning_that_is_an_error_leaves_the_model_as_it_was():
    model = fastnn.Sequential([layers.Dense(3, input_shape=(5,))])
    model.compile("sgd", WRONG[0])
    before = model.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="twice"):
            model.fit(X, X[:, :3], verbose=0)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


# ---- check_gradient ----


@pytest.mark.parametrize("loss", [*RIGHT, crossentropy, unclipped])
def test_check_gradient_gives_the_largest_error(loss):
    assert check_gradient(loss) < 1e-5
    y_true, y_pred = RNG.uniform(0.1, 0.9, (2, 6, 2))
    assert check_gradient(loss, y_true, y_pred) < 1e-5
    assert check_gradient(losses.FunctionLoss(loss)) < 1e-5


@pytest.mark.parametrize("loss", WRONG, ids=lambda loss: loss.__name__)
def test_check_gradient_names_the_element(loss):
    sentence = rf"loss '{loss.__name__}' has a wrong gradient: by y_pred\[\d, \d\] it is .*, and central differences"
    with pytest.raises(ValueError, match=sentence):
        check_gradient(loss)
    assert check_gradient(loss, tolerance=np.inf) > 0.4


def test_check_gradient_finds_a_gradient_of_zeros():
    with pytest.raises(ValueError, match="loss 'zero' has a wrong gradient"):
        check_gradient(wrong("zero", squared, lambda g: 0 * g))


def test_check_gradient_finds_one_wrong_element():
    def almost(y_true, y_pred):
        values, gradient = squared(y_true, y_pred)
        gradient[1, 0] *= 1.01
        return values, gradient

    with pytest.raises(ValueError, match=r"by y_pred\[1, 0\]"):
        check_gradient(almost)


def test_check_gradient_takes_integer_classes():
    def of_classes(y_true, y_pred):
        assert y_true.dtype == np.int32
        rows = np.arange(len(y_true))
        gradient = np.zeros_like(y_pred)
        gradient[rows, y_true] = -1 / y_pred[rows, y_true]
        return -np.log(y_pred[rows, y_true]), gradient

    assert check_gradient(losses.FunctionLoss(of_classes, target_columns=0)) < 1e-6
    assert check_gradient(losses.FunctionLoss(of_classes, target_columns=0), [1, 0], [[0.2, 0.8], [0.5, 0.5]]) < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mse",), "function must be a function"),
        ((squared, [[1.0]]), "y_true and y_pred must be given together"),
        ((squared, [[1.0]], [1.0]), "y_pred must have shape"),
        ((squared, [[1.0], [2.0]], [[1.0]]), "as many rows"),
        ((not_finite,), "loss 'not_finite' has a wrong gradient"),
        ((lambda y_true, y_pred: 1.0,), "must return a pair"),
    ],
)
def test_check_gradient_says_what_it_needs(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        check_gradient(*arguments)
