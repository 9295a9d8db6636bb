"""Layers beyond Dense beside values recorded from Keras 3 (tests/reference/record_layers.py)."""

from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import layers

FILE = Path(__file__).parent / "reference" / "layers.npz"
CASES = {
    "layer": lambda: layers.LayerNormalization(),
    "layer_plain": lambda: layers.LayerNormalization(epsilon=0.1, center=False, scale=False),
    "rms": lambda: layers.RMSNormalization(),
    "batch": lambda: layers.BatchNormalization(),
    "batch_plain": lambda: layers.BatchNormalization(momentum=0.5, epsilon=0.1, center=False, scale=False),
}


@pytest.mark.skipif(not FILE.exists(), reason="needs the recorded values beside the tests")
@pytest.mark.parametrize("name", CASES)
def test_layer_equals_keras(name):
    recorded = np.load(FILE)
    x, dy = recorded["x"], recorded["dy"]
    model = fastnn.Sequential([fastnn.Input((x.shape[1],), dtype="float32"), CASES[name]()])
    count = sum(key.startswith(f"{name}/before") for key in recorded.files)
    model.set_weights([recorded[f"{name}/before{k}"] for k in range(count)])
    # 1e-5: float32 sums of a dozen terms in another order, and gradients that are differences of such sums.
    close = {"rtol": 1e-5, "atol": 3e-6}
    for mode in ("inference", "training"):
        np.testing.assert_allclose(model.forward(x, training=mode == "training"), recorded[f"{name}/{mode}/y"], **close)
        np.testing.assert_allclose(model.backward(dy), recorded[f"{name}/{mode}/gradient0"], **close)
        for k in range(len(model.trainable_weights)):
            np.testing.assert_allclose(model.gradients[k], recorded[f"{name}/{mode}/gradient{k + 1}"], **close)
    for k, view in enumerate(model.weights):
        np.testing.assert_allclose(view, recorded[f"{name}/after{k}"], **close)
