"""L-BFGS: it converges, its epochs are iterations, and it says no to what makes no sense."""

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, layers, optimizers


def problem(dtype="float64", **dense):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(80, 4)).astype(dtype)
    y = np.tanh(x @ generator.normal(size=(4, 2))).astype(dtype)
    model = fastnn.Sequential(
        [
            fastnn.Input((4,), dtype=dtype),
            layers.Dense(8, "tanh", kernel_initializer=fastnn.initializers.GlorotUniform(1)),
            layers.Dense(2, kernel_initializer=fastnn.initializers.GlorotUniform(2), **dense),
        ]
    )
    model.compile(optimizers.LBFGS(), "mse", metrics=["mae"])
    return model, x, y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_converges_where_adam_has_hardly_begun(dtype):
    model, x, y = problem(dtype)
    history = model.fit(x, y, epochs=200, validation_split=0.1, verbose=0).history
    adam, _, _ = problem(dtype)
    adam.compile("adam", "mse")
    adam.fit(x, y, epochs=200, batch_size=80, verbose=0)
    assert history["loss"][-1] < 1e-3
    assert history["loss"][-1] < 0.1 * adam.evaluate(x, y, verbose=0)
    assert all(b <= a * 1.0001 for a, b in zip(history["loss"], history["loss"][1:], strict=False))
    assert set(history) == {"loss", "mae", "val_loss", "val_mae"}


def test_the_history_is_that_of_iterations():
    model, x, y = problem()
    history = model.fit(x, y, epochs=7, verbose=0)
    assert history.epoch == list(range(7))
    assert model.optimizer.iterations == 7
    assert history.history["loss"][-1] == pytest.approx(model.evaluate(x, y, verbose=0)[0], rel=1e-12)


@pytest.mark.parametrize(
    ("limit", "epochs", "why"),
    [
        ({"gradient_tolerance": 1e-2}, 2000, "CONVERGENCE"),
        ({}, 3, "ITERATIONS"),
        ({"max_evaluations": 5}, 2000, "LIMIT"),
    ],
)
def test_it_says_why_it_ended(limit, epochs, why):
    model, x, y = problem()
    model.compile(optimizers.LBFGS(**limit), "mse")
    assert (model.optimizer.converged, model.optimizer.message) == (None, "")
    model.fit(x, y, epochs=epochs, verbose=0)
    assert model.optimizer.converged is (why == "CONVERGENCE")
    assert why in model.optimizer.message


def test_the_penalty_is_minimized_too():
    model, x, y = problem(kernel_regularizer=fastnn.regularizers.L2(0.1))
    model.compile(optimizers.LBFGS(function_tolerance=0, gradient_tolerance=1e-4), "mse")
    # fewer epochs than asked for: a small gradient ended the training
    assert len(model.fit(x, y, epochs=2000, verbose=0).epoch) < 2000
    engine, _, _ = model._ready("test")
    engine.batch_gradient(x, y)
    assert max(np.abs(g).max() for g in model.gradients) <= 1e-4


def test_a_callback_stops_it_and_non_negative_kernels_stay_so():
    class Stop(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    model, x, y = problem(kernel_constraint="non_neg")
    model.layers[2].kernel[...] = np.abs(model.layers[2].kernel)
    history = model.fit(x, y, epochs=50, callbacks=[Stop()], verbose=0)
    assert len(history.epoch) == 3
    assert model.layers[2].kernel.min() >= 0


def test_layers_that_are_not_trained_stay():
    model, x, y = problem()
    model.layers[1].trainable = False
    model.compile("lbfgs", "mse")
    before = model.get_weights()
    model.fit(x, y, epochs=5, verbose=0)
    assert [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)] == [1, 1, 0, 0]


def test_configs_there_and_back(tmp_path):
    model, x, y = problem()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.fastnn")
    again = fastnn.load_model(tmp_path / "model.fastnn")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    again.fit(x, y, epochs=2, verbose=0)


def with_layer(layer):
    model, x, y = problem()
    model.add(layer)
    model.compile("lbfgs", "mse")
    return model.fit(x, y, verbose=0)


class Batches(callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x, y: m.train_on_batch(x, y), ValueError, "LBFGS looks at all rows"),
        (lambda m, x, y: m.fit(x, y, batch_size=8, verbose=0), ValueError, "batch_size and steps_per_epoch must be"),
        (lambda m, x, y: m.fit(iter([(x, y)]), verbose=0), ValueError, "x must be an array"),
        (lambda m, x, y: m.fit(x, y, callbacks=[Batches()], verbose=0), ValueError, "LBFGS has no batches"),
        (lambda m, x, y: with_layer(layers.Dropout(0.5)), ValueError, "layer of noise"),
        (lambda m, x, y: with_layer(layers.BatchNormalization()), ValueError, "BatchNormalization"),
        (
            lambda m, x, y: with_layer(layers.Dense(2, kernel_constraint="max_norm")),
            ValueError,
            "but NonNeg",
        ),
        (lambda m, x, y: m.optimizer.learning_rate, AttributeError, "no learning_rate"),
        (lambda m, x, y: optimizers.LBFGS(0), ValueError, "max_corrections must be at least 1"),
    ],
)
def test_what_makes_no_sense_gets_one_sentence(call, error, message):
    model, x, y = problem()
    before = model.get_weights()
    with pytest.raises(error, match=message):
        call(model, x, y)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("wrong", [{"batch_size": 8}, {"steps_per_epoch": 2}, {"callbacks": [Batches()]}])
def test_a_first_fit_that_makes_no_sense_builds_nothing(wrong):
    _, x, y = problem()
    model = fastnn.Sequential([layers.Dense(2)])
    model.compile("lbfgs", "mse")
    with pytest.raises(ValueError, match="LBFGS"):
        model.fit(x, y, verbose=0, **wrong)
    assert not model.built


@pytest.mark.parametrize("watched", [False, True])
def test_an_optimum_from_the_start_is_one_epoch(watched):
    model = fastnn.Sequential([layers.Dense(1, input_shape=(2,), kernel_initializer="zeros")])
    model.compile(fastnn.optimizers.LBFGS(), "mse")
    hooks = []
    watcher = fastnn.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: hooks.append(("begin", epoch)),
        on_epoch_end=lambda epoch, logs: hooks.append(("end", epoch)),
    )
    x = np.ones((5, 2))
    history = model.fit(x, np.zeros(5), epochs=3, verbose=0, callbacks=watcher, validation_data=(x, x[:, 0]))
    assert history.history == {"loss": [0.0], "val_loss": [1.0]}
    assert hooks == [("begin", 0), ("end", 0)]


def test_every_epoch_that_begins_ends():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3))
    model = fastnn.Sequential([layers.Dense(1, input_shape=(3,))])
    model.compile(fastnn.optimizers.LBFGS(), "mse")
    begun = []
    watcher = fastnn.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))
    assert model.fit(x, x[:, 0], epochs=50, verbose=0, callbacks=watcher).epoch == begun
    assert len(begun) < 50
