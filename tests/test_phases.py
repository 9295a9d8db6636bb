"""The life of a step: which phases it has, in which order. `src_c/engine/run/phases.inc` lists them."""

import numpy as np
import pytest
from functions import squared

import fastnn
from fastnn import constraints, layers, optimizers, regularizers

ITERATION = ["gram", "polynomial", "iterate"]


def model_of(body, *, inputs=8, optimizer="adam", loss="mse"):
    """Return a model of these layers and one output."""
    model = fastnn.Sequential([fastnn.Input((inputs,)), *body, layers.Dense(1)])
    model.compile(optimizer, loss)
    return model, np.random.default_rng(0).normal(size=(32, inputs)).astype("float32")


def phases(body, **options):
    """Return the phases of a step of that model."""
    model, x = model_of(body, **options)
    model.train_on_batch(x, x[:, :1])
    return model._engine._phases()


def small(**options):
    return [layers.Dense(8, "relu", **options)]


UPDATES = {
    "adam": ("adam", []),
    "clipped": (optimizers.SGD(clipnorm=1.0), ["update"]),
    "adafactor": (optimizers.Adafactor(), ["moments", "moments of columns", "changes", "update"]),
    "muon": (optimizers.Muon(ns_steps=2), ["momentum", *ITERATION, *ITERATION, "update"]),
}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_that_needs_all_gradients_follows_them(name):
    optimizer, after = UPDATES[name]
    assert phases(small(), optimizer=optimizer) == ["turn", "gradients", *after]


def test_a_function_is_asked_between_the_loss_and_the_way_back():
    assert phases(small(), loss=squared) == ["loss", "return", "gradients"]


def test_penalties_of_cosines_come_before_the_gradients_and_norms_after_them():
    body = small(kernel_regularizer=regularizers.OrthogonalRegularizer(), kernel_constraint=constraints.MaxNorm())
    assert phases(body) == ["turn", "cosines", "gradients", "norms", "constrain"]


def test_a_wide_kernel_is_shared_out_by_its_inputs():
    assert phases(small(), inputs=8192) == ["forward, in parts", "turn", "gradients"]


def test_a_large_kernel_and_a_batch_normalization_are_split():
    body = [*small(), layers.Dense(512), layers.Dense(512, "relu"), layers.BatchNormalization()]
    assert phases(body) == [
        *["forward, by rows", "forward, split", "forward, split", "turn"],
        *["backward, split", "backward, split", "backward, by rows", "gradients"],
    ]


@pytest.mark.parametrize("clipping", [{}, {"clipnorm": 1.0}])
def test_a_step_of_ones_own_has_its_phases_in_three_calls(clipping):
    model, x = model_of(small(), optimizer=optimizers.SGD(**clipping))
    seen = []
    output = model.forward(x)
    seen.append(model._engine._phases())
    model.backward(output)
    seen.append(model._engine._phases())
    model.apply_gradients()
    seen.append(model._engine._phases())
    assert seen == [["turn"], ["turn", "gradients"], [*(["prepare"] if clipping else []), "update"]]
