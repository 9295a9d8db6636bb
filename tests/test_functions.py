"""Losses and metrics that are Python functions, beside the engine's own of the same formula."""

import copy
import pickle

import numpy as np
import pytest
from bits import same_on_any_threads
from functions import (
    FEATURES,
    ROWS,
    Scaled,
    Within,
    assert_same_weights,
    crossentropy,
    data,
    dense,
    error_of_batch,
    error_of_row,
    heads,
    model_of,
    normalized,
    penalized,
    plain,
    right,
    squared,
    squared_of_batch,
    wide,
)

import fastnn
from fastnn import layers, losses, metrics

OPTIMIZERS = {
    "adam": lambda: fastnn.optimizers.Adam(0.01),
    "clipped": lambda: fastnn.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=0.5),
    "accumulated": lambda: fastnn.optimizers.RMSprop(0.01, gradient_accumulation_steps=2),
    "averaged": lambda: fastnn.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", [plain, penalized, wide])
@pytest.mark.parametrize("function", [squared, squared_of_batch])
def test_a_function_trains_as_the_loss_of_its_formula(make, function, optimizer):
    x, y, _ = data()
    own = model_of(make, "mse", OPTIMIZERS[optimizer](), metrics=["mae"])
    custom = model_of(make, function, OPTIMIZERS[optimizer](), metrics=["mae", error_of_row, error_of_batch])
    settings = {"batch_size": 12, "epochs": 3, "verbose": 0, "validation_split": 0.25}
    wanted, found = own.fit(x, y, **settings).history, custom.fit(x, y, **settings).history
    for key in wanted:
        np.testing.assert_allclose(found[key], wanted[key], rtol=1e-9)
    for key in ("error_of_row", "error_of_batch"):
        np.testing.assert_allclose(found[key], wanted["mae"], rtol=1e-9)
        np.testing.assert_allclose(found[f"val_{key}"], wanted["val_mae"], rtol=1e-9)
    assert_same_weights(own, custom)


def test_noise_and_statistics_are_those_of_a_step():
    x, y, _ = data()
    own, custom = (model_of(normalized, loss, fastnn.optimizers.SGD(0.05)) for loss in ("mse", squared))
    for model in (own, custom):
        model.fit(x, y, batch_size=12, epochs=4, verbose=0)
    assert_same_weights(own, custom)
    np.testing.assert_allclose(custom.evaluate(x, y, verbose=0), own.evaluate(x, y, verbose=0), rtol=1e-9)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_weights_and_reductions(reduction):
    x, y, _ = data()
    weights = np.random.default_rng(3).uniform(0, 2, ROWS)
    own = model_of(plain, losses.MeanSquaredError(reduction=reduction), weighted_metrics=["mae"])
    custom = model_of(plain, losses.FunctionLoss(squared, reduction=reduction), weighted_metrics=[error_of_row])
    for model in (own, custom):
        model.fit(x, y, batch_size=16, epochs=3, verbose=0, sample_weight=weights)
    assert_same_weights(own, custom)
    # There is one batch, as the mean of the batches' weighted means is not the weighted mean over all rows.
    for call in ("test_on_batch", "train_on_batch"):
        wanted, found = (getattr(model, call)(x, y, sample_weight=weights) for model in (own, custom))
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert_same_weights(own, custom)
    standalone = losses.FunctionLoss(squared, reduction=reduction), losses.MeanSquaredError(reduction=reduction)
    found, wanted = (loss(y, own.predict(x), weights) for loss in standalone)
    assert found == pytest.approx(wanted, rel=1e-12)


def test_labels_and_class_weights():
    x, _, labels = data()
    own = model_of(plain, losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    custom = model_of(plain, losses.FunctionLoss(crossentropy, target_columns=0), metrics=["accuracy", right])
    settings = {"batch_size": 12, "epochs": 3, "verbose": 0, "class_weight": {0: 2.0, 2: 0.5}}
    wanted, found = own.fit(x, labels, **settings).history, custom.fit(x, labels, **settings).history
    np.testing.assert_allclose(found["loss"], wanted["loss"], rtol=1e-9)
    assert found["accuracy"] == found["right"] == wanted["accuracy"]
    assert_same_weights(own, custom)


def test_a_function_chooses_the_columns_of_its_targets():
    def first_two(y_true, y_pred):
        assert y_true.shape == (len(y_pred), 2)
        error = y_pred[:, :2] - y_true
        return (error**2).mean(axis=1), np.concatenate([error, np.zeros((len(error), 1))], axis=1)

    x, y, _ = data()
    model = model_of(plain, losses.FunctionLoss(first_two, target_columns=2), metrics=[lambda t, p: t[:, 0]])
    history = model.fit(x, y[:, :2], epochs=20, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    np.testing.assert_allclose(history["<lambda>"], y[:, 0].mean(), rtol=1e-12)
    with pytest.raises(ValueError, match=r"y must have shape \(40, 2\)"):
        model.fit(x, y, verbose=0)


def test_heads_of_both_kinds():
    x, y, labels = data()
    targets = {"a": y, "b": labels, "c": labels}
    sparse = losses.SparseCategoricalCrossentropy(from_logits=True)
    own_losses = {"a": "mse", "b": "sparse_categorical_crossentropy", "c": sparse}
    custom_losses = {**own_losses, "a": squared, "c": losses.FunctionLoss(crossentropy, target_columns=0)}
    own_metrics = {"a": ["mae"], "b": ["accuracy"], "c": ["accuracy"]}
    custom_metrics = {"a": ["mae", error_of_row], "b": [right, "accuracy"], "c": [right]}
    weights = {"a": 0.5, "c": 2.0}
    own = model_of(heads, own_losses, loss_weights=weights, metrics=own_metrics)
    custom = model_of(heads, custom_losses, loss_weights=weights, metrics=custom_metrics)
    given = {name: np.random.default_rng(k).uniform(0, 2, ROWS) for k, name in enumerate("abc")}
    for sample_weight in (None, given):
        settings = {"batch_size": 12, "epochs": 3, "verbose": 0, "sample_weight": sample_weight}
        wanted, found = own.fit(x, targets, **settings).history, custom.fit(x, targets, **settings).history
        for key in ("loss", "a_loss", "b_loss", "c_loss", "a_mae", "b_accuracy"):
            np.testing.assert_allclose(found[key], wanted[key], rtol=1e-9)
        np.testing.assert_allclose(found["a_error_of_row"], wanted["a_mae"], rtol=1e-9)
        assert found["b_right"] == wanted["b_accuracy"]
        assert found["c_right"] == wanted["c_accuracy"]
        assert_same_weights(own, custom)
    assert custom.metrics_names[-4:] == ["a_error_of_row", "b_right", "b_accuracy", "c_right"]


def test_functions_as_a_list_for_heads():
    x, y, _ = data()
    model = fastnn.Sequential([dense(4, input_shape=(FEATURES,)), layers.Heads({"a": [dense(3)], "b": [dense(3)]})])
    model.compile("sgd", [squared, "mse"], metrics=[[error_of_row], [error_of_batch]])
    found = model.evaluate(x, [y, y], verbose=0, return_dict=True)
    assert list(found) == ["loss", "a_loss", "b_loss", "a_error_of_row", "b_error_of_batch"]
    model.compile("sgd", squared)
    assert model.evaluate(x, [y, y], verbose=0)[0] == pytest.approx(found["loss"], rel=1e-12)


def test_the_gradient_is_that_of_the_loss():
    """Central differences of the loss by the weights, where a function and the engine's own losses are summed."""
    x, y, labels = data(rows=9)
    custom_losses = {"a": Scaled(3.0), "b": "sparse_categorical_crossentropy", "c": squared_of_batch}
    model = model_of(heads, custom_losses, loss_weights={"a": 0.5, "b": 1.5})
    targets = {"a": y, "b": labels, "c": y[::-1]}
    samples = model._samples("fit", x, targets, check_finite=True)
    engine = model._ready("fit")[0]

    def loss():
        return engine.batch_gradient(samples.x, samples.y)[0] / len(x)

    loss()
    gradient = engine.gradients.copy()
    parameters = engine.parameters
    for k in range(0, len(parameters), 3):
        kept, step = parameters[k], 1e-6
        parameters[k] = kept + step
        above = loss()
        parameters[k] = kept - step
        below = loss()
        parameters[k] = kept
        # Rounding gives 1e-16 of the loss, divided by twice the step; the error of step² times a third derivative is
        # smaller.
        assert gradient[k] == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-8)


def test_sparse_rows():
    from scipy import sparse as scipy_sparse

    x, y, _ = data()
    x[np.abs(x) < 0.7] = 0
    dense_model, sparse_model = (model_of(plain, squared, metrics=[error_of_row]) for _ in range(2))
    dense_model.fit(x, y, batch_size=12, epochs=2, verbose=0)
    sparse_model.fit(scipy_sparse.csr_matrix(x), y, batch_size=12, epochs=2, verbose=0)
    assert_same_weights(dense_model, sparse_model)


def test_lbfgs():
    x, y, _ = data()
    own, custom = (model_of(plain, loss, fastnn.optimizers.LBFGS()) for loss in ("mse", squared))
    wanted, found = (model.fit(x, y, epochs=15, verbose=0).history["loss"] for model in (own, custom))
    # The iterations are the same, and each line search enlarges the rounding.
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert found[-1] < 0.7 * found[0]


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_threads(dtype):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(96, 64)), generator.normal(size=(96, 2))

    def trained():
        ends = [fastnn.initializers.HeNormal(seed) for seed in (1, 2, 3)]
        model = fastnn.Sequential([fastnn.Input((64,), dtype=dtype)])
        for units, start in zip((300, 300, 2), ends, strict=True):
            model.add(layers.Dense(units, "tanh", kernel_initializer=start, dtype=dtype))
        model._seed = 5
        model.compile("adam", squared, metrics=[error_of_row])
        model.fit(x, y, epochs=2, verbose=0)
        return model.get_weights()

    assert all(array.dtype == dtype for array in same_on_any_threads(trained))


def test_what_a_function_is_given():
    seen = []

    def look(y_true, y_pred):
        seen.append((y_true, y_pred))
        values, gradient = squared(y_true, y_pred)
        y_true[...] = y_pred[...] = np.nan  # the function may write into its arrays, which are copies
        return values, gradient

    x, y, _ = data()
    kept = y.copy()
    own, custom = model_of(plain, "mse"), model_of(plain, look)
    before = own.predict(x)
    own.fit(x, y, batch_size=16, verbose=0, shuffle=False)
    custom.fit(x, y, batch_size=16, verbose=0, shuffle=False)
    assert_same_weights(own, custom)
    np.testing.assert_array_equal(y, kept)
    # the first batch calls the function twice
    assert [(len(t), len(p)) for t, p in seen] == [(16, 16), (16, 16), (16, 16), (8, 8)]
    assert before.dtype == seen[0][1].dtype == seen[0][0].dtype == np.float64


def test_denormals_are_numbers_to_a_function():
    found = []

    def look(y_true, y_pred):
        found.append(y_pred * 0 + 1e-310)  # a training step flushes such denormals to zero
        return squared(y_true, y_pred)

    x, y, _ = data()
    model_of(plain, look).fit(x, y, verbose=0)
    assert all((values > 0).all() for values in found)


def test_hooks_see_each_batch():
    x, y, _ = data()
    logs = []
    watch = fastnn.callbacks.LambdaCallback(on_train_batch_end=lambda batch, found: logs.append(dict(found)))
    model = model_of(plain, squared, metrics=[error_of_row])
    history = model.fit(x, y, batch_size=16, verbose=0, callbacks=[watch]).history
    assert len(logs) == 3
    assert logs[-1]["loss"] == history["loss"][0]
    assert logs[-1]["error_of_row"] == history["error_of_row"][0]
    assert model.evaluate(iter([(x, y)]), verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 7, 40, 64])
def test_evaluation_does_not_depend_on_the_batch_where_the_values_do_not(batch_size):
    x, y, _ = data()
    model = model_of(penalized, squared, metrics=[error_of_row, "mae"])
    wanted = model.test_on_batch(x, y)
    np.testing.assert_allclose(model.evaluate(x, y, batch_size=batch_size, verbose=0), wanted, rtol=1e-12)
    own = model_of(penalized, "mse", metrics=["mae"])
    np.testing.assert_allclose(own.evaluate(x, y, verbose=0), [wanted[0], wanted[2]], rtol=1e-12)


@pytest.mark.parametrize("get", [losses.get, metrics.get])
def test_lookup(get):
    found = get(squared)
    assert found.name == "squared"
    assert found.function is squared
    assert get(found) is found
    with pytest.raises(TypeError, match="must be the name of one of the known"):
        get(int)


def test_metrics_by_themselves():
    _, y, labels = data()
    _, p, _ = data(seed=1)
    metric = metrics.FunctionMetric(error_of_row)
    metric.update_state(y[:10], p[:10])
    metric.update_state(y[10:], p[10:])
    assert metric.result() == pytest.approx(np.abs(y - p).mean(), rel=1e-12)
    weights = np.arange(ROWS)
    metric.reset_state()
    wanted = (np.abs(y - p).mean(axis=1) * weights).sum() / weights.sum()
    assert metric(y, p, weights) == pytest.approx(wanted, rel=1e-12)
    assert metrics.FunctionMetric(right)(labels, p) == (p.argmax(axis=1) == labels).mean()
    assert losses.FunctionLoss(crossentropy, target_columns=0)(labels, p) == pytest.approx(
        losses.SparseCategoricalCrossentropy(from_logits=True)(labels, p), rel=1e-12
    )
    with pytest.raises(ValueError, match=r"sample_weight must hold one number a row, shape \(40,\)"):
        metric.update_state(y, p, weights[:3])


def test_callbacks_ask_for_the_direction_of_a_function():
    x, y, _ = data()
    model = model_of(plain, squared, metrics=[error_of_row, Within()])
    with pytest.raises(ValueError, match="mode='max' or mode='min'"):
        model.fit(x, y, verbose=0, callbacks=[fastnn.callbacks.EarlyStopping("error_of_row")])
    model.fit(x, y, verbose=0, callbacks=[fastnn.callbacks.EarlyStopping("Within")])


OBJECTS = {"squared": squared, "Scaled": Scaled, "error_of_row": error_of_row, "Within": Within}


def files():
    """Return models of one and of several heads, each once with a function and once with classes."""
    return [
        model_of(plain, squared, metrics=["mae", error_of_row], weighted_metrics=[Within(0.3)]),
        model_of(plain, Scaled(3.0, reduction="sum"), metrics=[Within(0.3, name="near")]),
        model_of(heads, {"a": squared, "b": "mse", "c": Scaled(2.0)}, metrics={"b": [error_of_row, "mae"]}),
    ]


@pytest.mark.parametrize("k", range(3))
def test_files_name_what_is_python(tmp_path, k):
    x, y, _ = data()
    y = {"a": y, "b": y, "c": y} if k == 2 else y
    model = files()[k]
    model.fit(x, y, epochs=2, verbose=0)
    path = tmp_path / "model.fastnn"
    model.save(path)
    with pytest.raises(fastnn.ModelFileError, match=r"give it to load_model as custom_objects=\{'(squared|Scaled)': "):
        fastnn.load_model(path)
    uncompiled = fastnn.load_model(path, compile=False)
    assert uncompiled.optimizer is None
    found, wanted = uncompiled.predict(x), model.predict(x)
    for name in ("a", "b", "c") if k == 2 else (slice(None),):
        np.testing.assert_array_equal(found[name], wanted[name])
    loaded = fastnn.load_model(path, custom_objects=OBJECTS)
    assert loaded.metrics_names == model.metrics_names
    assert loaded.get_compile_config() == model.get_compile_config()
    assert model.fit(x, y, epochs=2, verbose=0).history == loaded.fit(x, y, epochs=2, verbose=0).history
    with pytest.raises(TypeError, match="custom_objects must be a dict of name to function or class"):
        fastnn.load_model(path, custom_objects=[squared])
    with pytest.raises(ValueError, match="is in no configuration but by name"):
        model.compile_from_config(model.get_compile_config())


@pytest.mark.parametrize("k", range(3))
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_what_is_python(copied, k):
    x, y, _ = data()
    y = {"a": y, "b": y, "c": y} if k == 2 else y
    model = files()[k]
    model.fit(x, y, epochs=2, verbose=0)
    other = copied(model)
    assert model.fit(x, y, epochs=2, verbose=0).history == other.fit(x, y, epochs=2, verbose=0).history


def test_backups_go_on_with_functions(tmp_path):
    x, y, _ = data()
    whole = model_of(plain, squared, metrics=[error_of_row])
    wanted = whole.fit(x, y, epochs=4, verbose=0).history
    backup = fastnn.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    model_of(plain, squared, metrics=[error_of_row]).fit(x, y, epochs=2, verbose=0, callbacks=[backup])
    again = fastnn.callbacks.BackupAndRestore(tmp_path / "backup")
    found = model_of(plain, squared, metrics=[error_of_row]).fit(x, y, epochs=4, verbose=0, callbacks=[again]).history
    assert found["loss"] == wanted["loss"][2:]
    assert found["error_of_row"] == wanted["error_of_row"][2:]


@pytest.mark.thread_unsafe(reason="captures what the process prints")
def test_a_bar_shows_the_values_of_functions(capsys):
    x, y, _ = data()
    model = model_of(plain, squared, metrics=[error_of_row])
    history = model.fit(x, y, batch_size=8, verbose=2).history
    assert f"error_of_row: {history['error_of_row'][0]:.4f}" in capsys.readouterr().out
    model.fit(x, y, batch_size=8, verbose=1)
