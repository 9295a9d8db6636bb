"""What goes wrong with losses and metrics that are Python functions: it is said, and the model stays whole."""

import pickle
import signal

import numpy as np
import pytest
from functions import (
    ROWS,
    crossentropy,
    data,
    error_of_batch,
    error_of_row,
    model_of,
    normalized,
    plain,
    squared,
    squared_of_batch,
)

import fastnn
from fastnn import layers, losses, metrics


def fails_at(step, error):
    """Return a loss that fails in a given step; the first step calls a loss twice, to check its gradient."""
    calls = []

    def loss(y_true, y_pred):
        calls.append(1)
        if len(calls) == step + 1:
            raise error
        return squared(y_true, y_pred)

    return loss


def test_an_exception_leaves_the_last_whole_step():
    x, y, _ = data()
    settings = {"batch_size": 10, "epochs": 1, "verbose": 0, "shuffle": False}
    failing = model_of(normalized, fails_at(3, ZeroDivisionError("of the function")))
    with pytest.raises(ZeroDivisionError, match="of the function"):
        failing.fit(x, y, **settings)
    whole = model_of(normalized, squared)
    whole.fit(x[:20], y[:20], **settings)
    for found, wanted in zip(failing.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert failing.optimizer.iterations == 2
    failing.fit(x[20:], y[20:], **settings)  # the third call, which fails, is over: training goes on
    whole.fit(x[20:], y[20:], **settings)
    for found, wanted in zip(failing.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_an_exception_of_a_metric_or_in_evaluation():
    def broken(y_true, y_pred):
        raise LookupError("no metric")

    x, y, _ = data()
    model = model_of(plain, "mse", metrics=[broken])
    before = model.get_weights()
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(LookupError, match="no metric"):
            call(x, y)
    for found, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.thread_unsafe(reason="sends the process a signal, which the main thread gets")
def test_ctrl_c_within_a_function(ctrl_c):
    calls = []

    def interrupted(y_true, y_pred):
        calls.append(1)
        if len(calls) == 4:  # the first batch calls the loss twice
            signal.raise_signal(ctrl_c)
        return squared(y_true, y_pred)

    x, y, _ = data()
    model = model_of(plain, interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=8, epochs=5, verbose=0)
    assert model.optimizer.iterations == 2


CHANGES = {
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "fit": lambda model, x, y: model.fit(x, y, verbose=0),
    "evaluate": lambda model, x, y: model.evaluate(x, y, verbose=0),
    "forward": lambda model, x, y: model.forward(x),
    "apply_gradients": lambda model, x, y: model.apply_gradients(),
    "compile": lambda model, x, y: model.compile("adam", "mae"),
    "add": lambda model, x, y: model.add(layers.Dense(3)),
    "pop": lambda model, x, y: model.pop(),
    "build": lambda model, x, y: model.build((None, 5)),
    "reset": lambda model, x, y: model.reset(),
    "set_weights": lambda model, x, y: model.set_weights([w * 0 for w in model.weights]),
    "layer.set_weights": lambda model, x, y: model.layers[-1].set_weights([w * 0 for w in model.layers[-1].weights]),
    "save": lambda model, x, y: model.save("model.fastnn"),
    "pickle": lambda model, x, y: pickle.dumps(model),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_loss_cannot_run_or_change_its_own_model(change, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y, _ = data()

    def changes_itself(y_true, y_pred):
        CHANGES[change](model, x, y)
        return squared(y_true, y_pred)

    model = model_of(plain, changes_itself)
    before = model.get_weights()
    with pytest.raises(RuntimeError, match="running in this thread already"):
        model.fit(x, y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)


def test_a_loss_can_predict_with_models_and_its_own():
    x, y, _ = data()
    other = model_of(plain, "mse")
    seen = []

    def asks(y_true, y_pred):
        other.predict(x)
        seen.append(model.predict(x))
        seen.append(model.freeze()(x))
        np.testing.assert_array_equal(model.get_weights()[-1], model.layers[-1].get_weights()[-1])
        return squared(y_true, y_pred)

    model, alone = model_of(plain, asks), model_of(plain, squared)
    alone.set_weights(model.get_weights())
    alone._seed = model._seed
    for _ in range(2):
        now = model.predict(x)
        model.train_on_batch(x, y)
        np.testing.assert_array_equal(seen[-2:], [now, now])
        alone.train_on_batch(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), alone.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("returned", "error", "match"),
    [
        (lambda t, p: 1.0, TypeError, r"must return a pair \(loss, gradient\), got float"),
        (lambda t, p: (1.0, p, p), TypeError, r"must return a pair \(loss, gradient\), got 3 values"),
        (lambda t, p: ("much", p), TypeError, "must be real numbers, got dtype <U4"),
        (lambda t, p: (1.0, p + 1j), TypeError, "must be real numbers, got dtype complex128"),
        (lambda t, p: (1.0, None), TypeError, "the gradient that '<lambda>' returns must be real numbers"),
        (lambda t, p: (p, p), ValueError, r"a number for each row, shape \(40,\), or one for the batch, got shape"),
        (lambda t, p: (np.zeros((40, 1)), p), ValueError, r"got shape \(40, 1\)"),
        (lambda t, p: (1.0, p[:, :1]), ValueError, r"the shape of y_pred, \(40, 3\), got \(40, 1\)"),
    ],
)
def test_a_loss_that_returns_something_else(returned, error, match):
    x, y, _ = data()
    model = model_of(plain, returned)
    before = model.get_weights()
    with pytest.raises(error, match=match):
        model.fit(x, y, batch_size=ROWS, verbose=0)
    for found, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_one_number_for_rows_with_weights():
    x, y, _ = data()
    model = model_of(plain, squared_of_batch)
    for settings in ({"sample_weight": np.ones(ROWS)}, {"class_weight": {0: 2.0}}):
        with pytest.raises(ValueError, match="rows cannot have weights: return a loss for each row"):
            model.fit(x, y, verbose=0, **settings)
    model = model_of(plain, "mse", weighted_metrics=[error_of_batch])
    model.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="rows cannot have weights: return a value for each row"):
        model.fit(x, y, verbose=0, sample_weight=np.ones(ROWS))


def test_a_loss_that_is_not_finite_is_told():
    def broken(y_true, y_pred):
        return np.full(len(y_pred), np.nan), np.zeros_like(y_pred)

    x, y, _ = data()
    stopper = fastnn.callbacks.TerminateOnNaN()
    with pytest.warns(RuntimeWarning, match="the loss is not finite from epoch 1, step 1 on"):
        history = model_of(plain, broken).fit(x, y, verbose=0, epochs=3, callbacks=[stopper])
    assert np.isnan(history.history["loss"]).all()


def test_classes_that_the_engine_cannot_call_are_told_where_to_derive_from():
    class OldLoss(losses.Loss):
        def call(self, y_true, y_pred):
            return ((y_true - y_pred) ** 2).mean(axis=1)

    class OldMetric(metrics.MeanSquaredError):
        def update_state(self, y_true, y_pred, sample_weight=None):
            raise AssertionError

    class Named(losses.MeanSquaredError):
        """A subclass of one of fastnn's losses that adds no code of its own."""

    with pytest.raises(TypeError, match=r"OldLoss has a call in Python, .*: derive from fastnn.losses.CustomLoss"):
        model_of(plain, OldLoss())
    with pytest.raises(TypeError, match=r"OldMetric has a update_state .*: derive from fastnn.metrics.CustomMetric"):
        model_of(plain, "mse", metrics=[OldMetric()])
    model_of(plain, Named())


def test_labels_for_a_function_without_target_columns():
    x, _, labels = data()
    with pytest.raises(ValueError, match="other targets need target_columns"):
        model_of(plain, crossentropy).fit(x, labels, verbose=0)


def test_an_ensemble_has_no_functions():
    x, y, _ = data()
    models = [model_of(plain, "mse"), model_of(plain, "mse", metrics=[error_of_row])]
    with pytest.raises(ValueError, match="cannot call the Python function 'error_of_row'"):
        fastnn.Ensemble(models).fit(x, y, verbose=0)
