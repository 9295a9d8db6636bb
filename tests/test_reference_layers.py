"""Layers beyond Dense beside values recorded from Keras 3 (tests/reference/record_layers.py)."""

from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import layers

FILE = Path(__file__).parent / "reference" / "layers.npz"
# Read once: np.load parses each array's header with ast, which threads of CPython 3.11 cannot do side by side.
RECORDED = dict(np.load(FILE)) if FILE.exists() else {}
CASES = {
    "layer": lambda: layers.LayerNormalization(),
    "layer_plain": lambda: layers.LayerNormalization(epsilon=0.1, center=False, scale=False),
    "rms": lambda: layers.RMSNormalization(),
    "batch": lambda: layers.BatchNormalization(),
    "batch_plain": lambda: layers.BatchNormalization(momentum=0.5, epsilon=0.1, center=False, scale=False),
}


@pytest.mark.skipif(not RECORDED, reason="needs the recorded values beside the tests")
@pytest.mark.parametrize("name", CASES)
def test_layer_equals_keras(name):
    x, dy = RECORDED["x"], RECORDED["dy"]
    model = fastnn.Sequential([fastnn.Input((x.shape[1],), dtype="float32"), CASES[name]()])
    count = sum(key.startswith(f"{name}/before") for key in RECORDED)
    model.set_weights([RECORDED[f"{name}/before{k}"] for k in range(count)])
    # 1e-5: float32 sums of a dozen terms in another order, and gradients that are differences of such sums.
    close = {"rtol": 1e-5, "atol": 3e-6}
    for mode in ("inference", "training"):
        np.testing.assert_allclose(model.forward(x, training=mode == "training"), RECORDED[f"{name}/{mode}/y"], **close)
        np.testing.assert_allclose(model.backward(dy), RECORDED[f"{name}/{mode}/gradient0"], **close)
        for k in range(len(model.trainable_weights)):
            np.testing.assert_allclose(model.gradients[k], RECORDED[f"{name}/{mode}/gradient{k + 1}"], **close)
    for k, view in enumerate(model.weights):
        np.testing.assert_allclose(view, RECORDED[f"{name}/after{k}"], **close)
