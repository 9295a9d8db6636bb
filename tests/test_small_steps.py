"""Calls with small arrays: what is settled once is what would be asked each time, and is asked anew after any change.

An array that the engine reads as it is takes a short way. A list of the same numbers, or a view with steps between its
columns, takes the long one.
"""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn
from fastnn import layers, losses, optimizers
from fastnn._engine import Engine

ROWS, FEATURES = 12, 4


def x_and_y(seed=0, outputs=2, dtype="float32"):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(ROWS, width)).astype(dtype) for width in (FEATURES, outputs)]


def network(loss="mse", optimizer="adam", dtype="float32", stack=None, metrics=(), seed=7):
    stack = [layers.Dense(5, "tanh"), layers.Dropout(0.2), layers.Dense(2)] if stack is None else stack
    model = fastnn.Sequential([fastnn.Input((FEATURES,), dtype=dtype), *stack])
    for k, view in enumerate(model.weights):
        view[...] = np.random.default_rng(k).normal(size=view.shape)
    model._seed = seed
    model.compile(optimizer, loss, metrics=list(metrics))
    return model


def as_list(array):
    return array.tolist()


def with_steps(array):
    wide = np.zeros((len(array), 2 * array.shape[1]), array.dtype)
    wide[:, ::2] = array
    return wide[:, ::2]


def by_columns(array):
    return np.asfortranarray(array)


def of_a_wider_type(array):
    return array.astype(np.float64 if array.dtype == np.float32 else np.longdouble)


def swapped(array):
    return array.astype(array.dtype.newbyteorder())


LONG_WAYS = [as_list, with_steps, by_columns, of_a_wider_type, swapped]


def parts(model, x, y):
    outputs = model.forward(x, training=True)
    dx = model.backward(np.asarray(y, outputs.dtype))
    model.apply_gradients()
    return [outputs, dx]


CALLS = {
    "train_on_batch": lambda model, x, y: [model.train_on_batch(x, y)],
    "test_on_batch": lambda model, x, y: [model.test_on_batch(x, y)],
    "evaluate": lambda model, x, y: [model.evaluate(x, y, verbose=0)],
    "fit": lambda model, x, y: [model.fit(x, y, batch_size=5, epochs=2, verbose=0).history["loss"]],
    "predict": lambda model, x, y: [model.predict(x)],
    "forward, backward, apply_gradients": parts,
}


@pytest.mark.parametrize("way", LONG_WAYS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "float64"},
        {"metrics": ["mae"], "optimizer": "sgd"},
        {"loss": "huber", "optimizer": optimizers.Adam(0.1, clipnorm=0.1, weight_decay=0.01)},
        {"loss": "log_cosh", "stack": [layers.BatchNormalization, lambda: layers.Dense(2)]},
    ],
    ids=str,
)
def test_the_short_way_leads_where_the_long_one_does(way, call, settings):
    settings = dict(settings)
    if "stack" in settings:
        settings["stack"] = [make() for make in settings["stack"]]
    x, y = x_and_y(dtype=settings.get("dtype", "float32"))
    short, long = network(**copy.deepcopy(settings)), network(**copy.deepcopy(settings))
    assert short._reads_both(x, y, True, True)
    assert not long._reads_both(way(x), way(y), True, True)
    for _ in range(3):
        found = CALLS[call](short, x, y), CALLS[call](long, way(x), way(y))
        for one, other in zip(*found, strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(short.get_weights(), long.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def damaged(which, where):
    def make(x, y):
        given = {"x": x.copy(), "y": y.copy()}
        given[which][3, 1] = where
        return given["x"], given["y"]

    return make


WRONG = {
    "a NaN in x": damaged("x", np.nan),
    "an infinity in x": damaged("x", -np.inf),
    "a NaN in y": damaged("y", np.nan),
    "columns of x": lambda x, y: (x[:, :3].copy(), y),
    "columns of y": lambda x, y: (x, y[:, :1].copy()),
    "rows": lambda x, y: (x, y[:-1]),
    "no rows": lambda x, y: (x[:0], y[:0]),
    "x of one axis": lambda x, y: (x[0], y),
    "x of three axes": lambda x, y: (x[None], y),
    "complex numbers": lambda x, y: (x.astype(complex), y),
    "text": lambda x, y: (x.astype(str), y),
    "no y": lambda x, y: (x, None),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("call", ["train_on_batch", "test_on_batch", "evaluate", "fit"])
def test_what_is_wrong_is_said_as_on_the_long_way(call, wrong):
    model = network()
    x, y = x_and_y()
    CALLS[call](model, x, y)  # settled
    before = model.get_weights()
    sentences = []
    bad = WRONG[wrong](x, y)
    for given in (bad, [list(part) if isinstance(part, np.ndarray) and part.size else part for part in bad]):
        with pytest.raises((ValueError, TypeError)) as caught:
            CALLS[call](model, *given)
        sentences.append((caught.type, str(caught.value).partition(", got")[0]))
    assert sentences[0] == sentences[1]
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_the_engine_reads_as_it_is():
    engine = network()._engine
    x, _ = x_and_y()
    assert engine.reads(x, FEATURES, True)
    assert engine.reads(x[2:5], FEATURES, True)
    infinite = np.where(x == x.max(), np.inf, x)
    assert engine.reads(infinite, FEATURES, False)
    assert not engine.reads(infinite, FEATURES, True)
    read_only = x.copy()
    read_only.setflags(write=False)
    assert engine.reads(read_only, FEATURES, True)

    class Own(np.ndarray):
        pass

    at_an_odd_place = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    others = [
        x[::2],
        x[:, :3],
        x.T,
        x[0],
        x[:0],
        x[None],
        at_an_odd_place,
        x.view(Own),
        np.ma.array(x),
        x.tolist(),
        None,
    ]
    others += [way(x) for way in LONG_WAYS] + [x.astype(np.int32), np.broadcast_to(x[0], x.shape)]
    for other in others:
        assert not engine.reads(other, FEATURES, False)


# ---- what is settled is asked anew after any change ----


def step(model):
    """Return what a step of training changes, which depends on all that the model is told."""
    x, y = x_and_y(1)
    loss = model.train_on_batch(x, y)
    return [np.asarray(loss), *model.get_weights()]


def with_rate(rate, **settings):
    return network(optimizer=optimizers.SGD(rate, **settings))


def with_decay(steps):
    return network(optimizer=optimizers.Adam(optimizers.schedules.CosineDecay(0.1, steps)))


CHANGES = {
    "learning_rate": (
        lambda: with_rate(0.1),
        lambda model: setattr(model.optimizer, "learning_rate", 0.7),
        lambda: with_rate(0.7),
    ),
    "momentum of the optimizer": (
        lambda: with_rate(0.1, momentum=0.5),
        lambda model: setattr(model.optimizer, "momentum", 0.9),
        lambda: with_rate(0.1, momentum=0.9),
    ),
    "clipping": (
        lambda: with_rate(0.1),
        lambda model: setattr(model.optimizer, "clipvalue", 1e-3),
        lambda: with_rate(0.1, clipvalue=1e-3),
    ),
    "a number within a schedule": (
        lambda: with_decay(100),
        lambda model: setattr(model.optimizer._schedule, "decay_steps", 2),
        lambda: with_decay(2),
    ),
    "weight decay, and what is excluded from it": (
        lambda: with_rate(0.1),
        lambda model: (
            setattr(model.optimizer, "weight_decay", 0.5),
            model.optimizer.exclude_from_weight_decay(var_names=["bias"]),
        ),
        lambda: with_rate(0.1, weight_decay=0.5, weight_decay_exclusions=["bias"]),
    ),
    "a number of the loss": (
        lambda: network(losses.Huber(1.0)),
        lambda model: setattr(model.loss, "delta", 0.01),
        lambda: network(losses.Huber(0.01)),
    ),
    "the rate of a layer": (
        network,
        lambda model: setattr(model.layers[-2], "rate", 0.0),
        lambda: network(stack=[layers.Dense(5, "tanh"), layers.Dropout(0.0), layers.Dense(2)]),
    ),
    "a layer that is not trained": (
        network,
        lambda model: setattr(model.layers[-1], "trainable", False),
        lambda: frozen(network()),
    ),
    "an activation": (
        network,
        lambda model: setattr(model.layers[-3], "activation", "relu"),
        lambda: network(stack=[layers.Dense(5, "relu"), layers.Dropout(0.2), layers.Dense(2)]),
    ),
    "another loss": (network, lambda model: model.compile(model.optimizer, "mae"), lambda: network("mae")),
    "another optimizer": (
        network,
        lambda model: setattr(model, "optimizer", optimizers.SGD(0.3)),
        lambda: with_rate(0.3),
    ),
}


def frozen(model):
    model.layers[-1].trainable = False
    return model


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_counts_from_the_next_step_on(change):
    make, apply, wanted = CHANGES[change]
    changed, fresh = make(), wanted()
    start = [w.copy() for w in changed.get_weights()]
    for _ in range(2):  # settled
        changed.forward(x_and_y(1)[0], training=True)
        changed.optimizer.hyperparameters()
        changed._convert("train_on_batch", *x_and_y(1), check_finite=True)
        changed._ready("train_on_batch")
    apply(changed)
    changed.set_weights(start)
    for _ in range(2):
        for one, other in zip(step(changed), step(fresh), strict=True):
            np.testing.assert_array_equal(one, other)


def test_more_layers_and_other_losses_change_what_x_and_y_must_be():
    model = network()
    x, y = x_and_y()
    model.train_on_batch(x, y)
    model.add(layers.Dense(3))
    with pytest.raises(ValueError, match=r"y must have shape \(12, 3\)"):
        model.train_on_batch(x, y)
    model.train_on_batch(x, x_and_y(outputs=3)[1])
    model.pop()
    model.train_on_batch(x, y)
    model.compile("adam", "binary_crossentropy")
    with pytest.raises(ValueError, match="y must"):
        model.train_on_batch(x, y)
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="one integer class a row"):
        model.train_on_batch(x, y)


def test_a_layer_that_looks_at_its_rows_goes_on_doing_so():
    model = network(stack=[layers.CategoryEncoding(3, "multi_hot"), layers.Dense(2)])
    x = np.zeros((ROWS, FEATURES), np.float32)
    model.train_on_batch(x, x_and_y()[1])
    x[2, 1] = 9
    with pytest.raises(ValueError, match="9"):
        model.train_on_batch(x, x_and_y()[1])


class Clipped(optimizers.SGD):
    """An optimizer of a user, with a number that fastnn knows nothing of."""

    limits = (1.0,)

    def hyperparameters(self):
        return super().hyperparameters()._replace(clipvalue=self.limits[0])


def test_a_users_optimizer_is_asked_each_time():
    model, plain = network(optimizer=Clipped(0.1)), with_rate(0.1, clipvalue=1e-3)
    model.optimizer.limits = limits = [1.0]
    start = model.get_weights()
    step(model)
    limits[0] = 1e-3  # which no attribute notices
    model.set_weights(start)
    model._engine.iterations = 0
    for one, other in zip(step(model), step(plain), strict=True):
        np.testing.assert_array_equal(one, other)


def test_hyperparameters_are_one_object_until_the_optimizer_changes():
    optimizer = optimizers.Adam(0.1)
    first = optimizer.hyperparameters()
    assert optimizer.hyperparameters() is first
    assert optimizer.setup is optimizer.setup
    optimizer.beta_1 = 0.8
    assert optimizer.hyperparameters().numbers[0] == 0.8
    for twin in (copy.copy(optimizer), copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        twin.learning_rate = 0.5
        assert twin.hyperparameters().schedule.numbers == (0.5,)
        assert optimizer.hyperparameters().schedule.numbers == (0.1,)


def test_what_is_settled_while_another_thread_changes_it_is_not_kept():
    optimizer = optimizers.SGD(0.0)
    rates = np.linspace(0, 1, 500).tolist()

    def change():
        for rate in rates:
            optimizer.learning_rate = rate

    def ask():
        found = 0.0
        while found < rates[-1]:
            told = optimizer.hyperparameters().schedule.numbers[0]
            assert told >= found  # rates only grow: an older one would have been kept too long
            found = told

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(call) for call in (ask, ask, change)]:
            done.result(60)


def test_an_engine_takes_each_of_two_optimizers_numbers_in_turn():
    """The engine keeps the numbers that it was told last: they are told by the object, not by its values."""
    model = network(optimizer=optimizers.SGD(0.1))
    engine: Engine = model._engine
    rates = [optimizers.SGD(rate).hyperparameters() for rate in (0.0, 0.5)]
    x, y = x_and_y()
    for told in (rates[0], rates[1], rates[0]):
        before = engine.parameters.copy()
        engine.train(x, y, None, ROWS, told)
        assert (engine.parameters == before).all() == (told is rates[0])


# ---- arguments that are checked once ----

ALIKE = {  # what equals a value that fit takes, and is another thing
    "epochs": (1, True, TypeError, "epochs must be an integer, got bool"),
    "initial_epoch": (0, False, TypeError, "initial_epoch must be an integer, got bool"),
    "batch_size": (4, 4.0, TypeError, "batch_size must be an integer, got float"),
    "shuffle": (True, 1, TypeError, "shuffle must be True or False, got 1"),
    "drop_remainder": (False, 0, TypeError, "drop_remainder must be True or False, got 0"),
    "mixup": (0.0, False, TypeError, "mixup must be a number, got bool"),
    "validation_freq": (1, 1.0, TypeError, "validation_freq must be an integer, got float"),
    "validation_steps": (2, [2], TypeError, "validation_steps must be an integer, got list"),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_only_equals_an_argument_that_was_checked_is_checked_itself(name):
    good, bad, kind, sentence = ALIKE[name]
    model = network()
    for _ in range(2):
        model.fit(*x_and_y(), verbose=0, **{name: good})
        before = model.get_weights()
        with pytest.raises(kind, match=sentence) as caught:
            model.fit(*x_and_y(), verbose=0, **{name: bad})
        assert caught.value.__context__ is None
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_list_of_epochs_may_change_between_two_fits():
    model, due = network(), [1]
    for wanted in ([1], [1, 2], []):
        due[:] = wanted
        seen = model.fit(*x_and_y(), epochs=2, verbose=0, validation_data=tuple(x_and_y(1)), validation_freq=due)
        assert len(seen.history.get("val_loss", [])) == len(wanted)


class Interrupted(fastnn.callbacks.Callback):
    """Fails in a hook, and notes whether it was told so."""

    told = 0

    def __init__(self, hook):
        setattr(self, hook, self.fail)

    def fail(self, *arguments):
        raise ZeroDivisionError

    def _interrupted(self):
        self.told += 1


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end"])
def test_an_error_in_a_hook_ends_the_fit_as_an_error_within_does(hook):
    model = network(optimizer=optimizers.SGD(0.1, use_ema=True))
    x, y = x_and_y()
    model.fit(x, y, verbose=0)
    callback = Interrupted(hook)
    with pytest.raises(ZeroDivisionError):
        model.fit(x, y, verbose=0, callbacks=[fastnn.callbacks.SwapEMAWeights(), callback])
    assert callback.told == 1
    assert model._run is None
    assert not model.optimizer._average_shown
    model.fit(x, y, verbose=0)
