"""Whatever was done to a model before: what a file, a pickle or a copy makes of it answers and trains as it does."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import fastnn
from fastnn import layers, optimizers

GENERATOR = np.random.default_rng(0)
X, Y = GENERATOR.normal(size=(20, 3)).astype("f"), GENERATOR.random((20, 2)).astype("f")

OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.05, amsgrad=True),
    "adadelta": lambda: optimizers.Adadelta(0.5),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, use_ema=True, ema_momentum=0.5),
    "nadam": lambda: optimizers.Nadam(0.02, gradient_accumulation_steps=2),
    "decaying": lambda: optimizers.AdamW(optimizers.schedules.ExponentialDecay(0.1, 3, 0.5), clipnorm=0.5),
}
SETTINGS = [
    ("dropout", "rate", 0.0),
    ("dropout", "rate", 0.4),
    ("hidden", "trainable", False),
    ("hidden", "trainable", True),
    ("hidden", "activation", "relu"),
    ("hidden", "activation", "tanh"),
    ("hidden", "kernel_regularizer", "l2"),
    ("hidden", "kernel_regularizer", None),
    ("batch", "momentum", 0.5),
    ("batch", "learning_rate_multiplier", 3.0),
]


def fresh():
    stack = [layers.Dense(5, "tanh"), layers.BatchNormalization(), layers.Dropout(0.2), layers.Dense(2)]
    return fastnn.Sequential([fastnn.Input((3,)), *stack])


def state_after_two_more_epochs(model):
    """Return the model's answer, noise included; then that of two more epochs, and its weights."""
    now = [model.predict(X), model.forward(X[:4], training=True)]
    if model.optimizer is None:
        return [*now, *model.get_weights()]
    losses = model.fit(X, Y, batch_size=8, epochs=2, verbose=0).history["loss"]
    return [*now, np.array(losses), np.array(model.optimizer.iterations), *model.get_weights()]


def copies(model, path):
    model.save(path)
    return fastnn.load_model(path), fastnn.load_model(path), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)


def assert_all_agree(model, path):
    """Check a model against itself in other places, one against another; the model itself is not changed."""
    twin, *others = copies(model, path)
    assert {other.optimizer and other.optimizer.iterations for other in (twin, *others)} == {
        model.optimizer and model.optimizer.iterations
    }
    expected = state_after_two_more_epochs(twin)
    for other in others:
        assert other.get_config() == model.get_config()
        assert other.get_compile_config() == model.get_compile_config()
        for a, b in zip(expected, state_after_two_more_epochs(other), strict=True):
            np.testing.assert_array_equal(a, b)
    return expected


class Sequences(RuleBasedStateMachine):
    """Makes calls in any order; in the end the model is compared with what its files and copies do."""

    @initialize()
    def make(self):
        self.model = fresh()
        self.kinds = {"hidden": 1, "batch": 2, "dropout": 3}

    def compiled(self):
        return self.model.optimizer is not None

    @rule(kind=st.sampled_from(sorted(OPTIMIZERS)), loss=st.sampled_from(["mse", "mae"]))
    def compile_anew(self, kind, loss):
        self.model.compile(OPTIMIZERS[kind](), loss, metrics=["mae"])

    @rule()
    @precondition(compiled)
    def compile_with_its_own_optimizer(self):
        self.model.compile(self.model.optimizer, "mse")

    @rule(kind=st.sampled_from(sorted(OPTIMIZERS)))
    @precondition(compiled)
    def replace_the_optimizer(self, kind):
        self.model.optimizer = OPTIMIZERS[kind]()

    @rule(ema=st.booleans())
    @precondition(compiled)
    def change_the_form_of_the_optimizers_state(self, ema):
        self.model.optimizer.use_ema = ema

    @rule(epochs=st.integers(1, 2))
    @precondition(compiled)
    def fit(self, epochs):
        self.model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0)

    @rule()
    @precondition(compiled)
    def train_on_batch(self):
        self.model.train_on_batch(X[:7], Y[:7])

    @rule()
    @precondition(lambda self: self.compiled() and self.model.optimizer.use_ema)
    def swap_the_average(self):
        self.model.train_on_batch(X, Y)
        self.model.optimizer.swap_average_weights()

    @rule(change=st.sampled_from(SETTINGS))
    def set_an_attribute(self, change):
        layer, name, value = change
        setattr(self.model.layers[self.kinds[layer]], name, value)

    @rule(name=st.sampled_from(["one", "two"]))
    def rename(self, name):
        self.model.layers[1].name = name

    @rule()
    def add_a_layer(self):
        if len(self.model.layers) < 7:
            self.model.add(layers.Dense(2))

    @rule()
    def pop_a_layer(self):
        if len(self.model.layers) > 5:
            self.model.pop()

    @rule()
    def reset(self):
        self.model.reset()

    @rule(way=st.sampled_from([0, 2, 3]))
    def go_on_with_a_copy(self, way):
        self.model = copies(self.model, self.path)[way]

    @rule()
    @precondition(compiled)
    def go_on_from_a_backup(self):
        self.model.save(self.path)
        other = copy.deepcopy(self.model)
        other.reset()
        other._restore(self.path)
        self.model = other

    @rule()
    def go_on_from_the_configuration(self):
        weights, compiled = self.model.get_weights(), self.model.get_compile_config()
        self.model = fastnn.Sequential.from_config(self.model.get_config())
        self.model.set_weights(weights)
        if compiled is not None:
            self.model.compile_from_config(compiled)

    @invariant()
    def copies_count_the_same_steps(self):
        if hasattr(self, "model") and self.compiled():
            loaded = pickle.loads(pickle.dumps(self.model))
            assert loaded.optimizer.iterations == self.model.optimizer.iterations

    def teardown(self):
        if not hasattr(self, "model"):
            return
        expected = assert_all_agree(self.model, self.path)
        for a, b in zip(expected, state_after_two_more_epochs(self.model), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.thread_unsafe(
    reason="hypothesis compiles code of its own, which CPython 3.11 does not do in several threads"
)
def test_memory_and_file_agree_after_any_sequence_of_calls(tmp_path):
    class InThisFolder(Sequences):
        path = tmp_path / "m.fastnn"

    run_state_machine_as_test(InThisFolder, settings=settings(max_examples=12, stateful_step_count=10))


@pytest.mark.slow
def test_memory_and_file_agree_after_any_long_sequence_of_calls(tmp_path):
    class InThisFolder(Sequences):
        path = tmp_path / "m.fastnn"

    run_state_machine_as_test(InThisFolder, settings=settings(max_examples=100, stateful_step_count=30))
