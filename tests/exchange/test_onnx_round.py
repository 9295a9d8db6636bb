"""Models go out as ONNX and come in again: with the same answers, or with a sentence that says what no layer has."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from onnx_answers import CLOSE
from onnx_cases import PAIRS, built

import fastnn

# what comes in again, in one form at least
RETURNING = {
    "Activation", "ActivityRegularization", "AlphaDropout", "BatchNormalization", "Branches", "Dense", "Dropout", "ELU",
    "Embedding", "Flatten", "GLU", "GaussianDropout", "GaussianNoise", "Heads", "Input", "LayerNormalization",
    "LeakyReLU", "LinearEmbedding", "Normalization", "PReLU", "ParametricActivation", "RMSNormalization", "Rescaling",
    "Reshape", "Residual", "Scale", "Softmax", "Stack", "TargetScaling", "UnitNormalization",
}  # fmt: skip


def returned(model):
    """Return the model that load_onnx makes of the exported one; None where it says that no layer does the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "round.onnx"
        model.export_onnx(path)
        try:
            return fastnn.load_onnx(path)
        except ValueError as error:
            if "computes what no model of fastnn does" in str(error):
                return None
            raise


@pytest.mark.parametrize("name", sorted({name for name, _ in PAIRS}))
def test_a_layer_comes_back_or_is_refused(name):
    found = []
    for k in [k for other, k in PAIRS if other == name]:
        model, x = built(name, k, "float32")
        back = returned(model)
        found.append(back is not None)
        if back is not None and back.built:  # nothing is left of a layer that only trains
            before, after = model.predict(x, verbose=0), back.predict(x, verbose=0)
            pairs = zip(before.values(), after.values(), strict=True) if isinstance(before, dict) else [(before, after)]
            for one, other in pairs:
                np.testing.assert_allclose(one, other, **CLOSE["float32"])
    assert any(found) >= (name in RETURNING)
