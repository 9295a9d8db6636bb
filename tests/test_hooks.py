"""What user's code does to its own model in the middle of a run, at random: the run ends, and the model works.

Under ``.ci/sanitize`` a read or write out of bounds ends the process.
"""

import random
from contextlib import suppress

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, layers, losses

ROWS, FEATURES, CLASSES = 24, 6, 3
HOOKS = [f"on_{when}" for when in ("epoch_begin", "epoch_end", "train_begin", "train_end", "test_begin", "test_end")]
BATCH_HOOKS = ["on_train_batch_begin", "on_train_batch_end", "on_test_batch_begin", "on_test_batch_end"]


class Scene:
    """A model, its data, and the things that may happen to them."""

    def __init__(self, choose):
        self.choose = choose
        generator = np.random.default_rng(choose.randrange(2**32))
        self.x = generator.normal(size=(ROWS, FEATURES)).astype(np.float32)
        if choose.random() < 0.3:
            sparse = pytest.importorskip("scipy.sparse")
            self.x = sparse.random(ROWS, FEATURES, 0.4, "csr", dtype=np.float32, random_state=generator)
        self.y = generator.integers(0, CLASSES, ROWS).astype(np.int32)
        self.weights = np.ones(ROWS, np.float32) if choose.random() < 0.3 else None
        self.model = fastnn.Sequential(
            [fastnn.Input((FEATURES,)), layers.Dense(5, "relu"), layers.Dense(CLASSES, "softmax")]
        )
        self.compile()

    def compile(self):
        names = ["sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy(ignore_class=1), self.loss]
        loss = self.choose.choice([*names, "mse", "categorical_crossentropy"] if self.model.optimizer else names)
        metrics = self.choose.choice([[], ["accuracy"]])
        self.model.compile(self.choose.choice(["sgd", "adam"]), loss, metrics=metrics)

    def loss(self, labels, p):
        self.act(0.05)
        rows, labels = (
            np.arange(len(labels)),
            np.clip(labels.reshape(len(labels), -1)[:, 0].astype(int), 0, CLASSES - 1),
        )
        gradient = np.zeros_like(p)
        gradient[rows, labels] = -1 / np.maximum(p[rows, labels], 1e-7)
        return -np.log(np.maximum(p[rows, labels], 1e-7)), gradient

    def act(self, share=0.2):
        """Do one of the things, now and then."""
        if self.choose.random() < share:
            getattr(self, self.choose.choice(self.ACTIONS))()

    def add(self):
        self.model.add(layers.Dense(self.choose.randint(1, 4)))

    def pop(self):
        self.model.pop()

    def reset(self):
        self.model.reset()

    def freeze_a_layer(self):
        self.choose.choice(self.model.layers).trainable = self.choose.random() < 0.5

    def set_weights(self):
        self.model.set_weights([w + 1 for w in self.model.get_weights()])

    def odd_labels(self):
        self.y[self.choose.randrange(ROWS)] = self.choose.choice([-1, CLASSES, 255, 2**31 - 1, -(2**31)])

    def odd_rows(self):
        if isinstance(self.x, np.ndarray):
            self.x[self.choose.randrange(ROWS)] = self.choose.choice([np.nan, np.inf, 1e30])
        elif self.x.nnz:
            array = self.choose.choice([self.x.indices, self.x.indptr])
            array[self.choose.randrange(len(array))] = self.choose.choice([-1, FEATURES, 2**30])

    def odd_weights(self):
        if self.weights is not None:
            self.weights[:] = self.choose.choice([0, np.nan, 1e30])

    def predict(self):
        self.model.predict(self.x)

    def evaluate(self):
        self.model.evaluate(self.x, self.y, verbose=0)

    def fit(self):
        self.model.fit(self.x, self.y, verbose=0)

    def loop_of_ones_own(self):
        self.model.backward(self.model.forward(self.x, training=True))
        self.model.apply_gradients()

    def other_optimizer(self):
        self.model.optimizer = self.choose.choice(["sgd", "adam", "rmsprop"])

    def another_number_of_threads(self):
        fastnn.set_num_threads(self.choose.randint(1, 3))

    def raise_something(self):
        raise RuntimeError("on purpose")

    ACTIONS = (
        "compile", "add", "pop", "reset", "freeze_a_layer", "set_weights", "odd_labels", "odd_rows", "odd_weights",
        "predict", "evaluate", "fit", "loop_of_ones_own", "other_optimizer", "another_number_of_threads",
        "raise_something",
    )  # fmt: skip

    def run(self):
        """Run a fit in which things happen; any sentence may end it."""
        hooks = HOOKS + BATCH_HOOKS * (self.choose.random() < 0.5)
        chosen = {hook: lambda *_: self.act() for hook in hooks}
        given = [callbacks.LambdaCallback(**chosen)]
        validation = (self.x, self.y) if self.choose.random() < 0.5 else None
        rows = {"sample_weight": self.weights, "validation_data": validation}
        with suppress(ValueError, TypeError, RuntimeError, AttributeError):
            self.model.fit(self.x, self.y, batch_size=8, epochs=3, verbose=0, callbacks=given, **rows)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(20))
def test_whatever_hooks_and_losses_do_to_their_model_it_works_afterwards(seed):
    choose = random.Random(seed)
    for _ in range(10):
        scene = Scene(choose)
        scene.run()
        model = fastnn.Sequential.from_config(scene.model.get_config()) if not scene.model.layers else scene.model
        if not model.built:
            continue
        model.set_weights([np.ones_like(w) for w in model.get_weights()])
        model.compile("sgd", "mse")
        x = np.ones((ROWS, FEATURES), np.float32)
        outputs = model.predict(x)
        assert np.isfinite(outputs).all()
        model.fit(x, outputs, verbose=0)
        assert np.isfinite(model.predict(x)).all()
