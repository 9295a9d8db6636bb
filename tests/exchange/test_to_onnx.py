"""Every layer and every activation as ONNX: ONNX Runtime answers as the model does."""

import numpy as np
import pytest
from onnx_answers import CLOSE, answers, assert_same_answers, exported, session_of
from onnx_cases import CASES, NO_LAYERS, PAIRS, X, built

import fastnn
from fastnn import _engine, activations, layers
from fastnn.exchange import _to_onnx
from fastnn.exchange._to_onnx_activations import ACTIVATIONS


def test_every_layer_has_a_case():
    assert set(layers.__all__) == CASES.keys() | NO_LAYERS.keys()


def test_every_op_and_every_activation_of_the_engine_can_be_written():
    assert _engine._ENUMS["op"].keys() == _to_onnx.KNOWN
    assert _engine._ENUMS["activation"].keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize(("dtype", "opset"), [("float32", 18), ("float64", _to_onnx.OLDEST)])
@pytest.mark.parametrize(("name", "k"), PAIRS, ids=[f"{name}-{k}" for name, k in PAIRS])
def test_a_layer(name, k, dtype, opset):
    model, x = built(name, k, dtype)
    assert_same_answers(model, x, opset=opset)


# ---- activations ----

SPECIAL = np.array([[0.0, -0.0, 1e-3, -1e-3, 1.0, -1.0, 3.0, -3.0, 8.0, -8.0, 40.0, -40.0, 1e4, -1e4, np.nan]])
INFINITE = np.array([[np.inf, -np.inf, 1.0, 0.0]])
ALL = {
    **{name: activations.get(name) for name in activations.__all__ if name.islower() and name not in (
        "get", "serialize", "deserialize", "glu")},
    "relu_of_three": activations.ReLU(0.1, 2.0, 0.5),
    "leaky": activations.LeakyReLU(0.3),
    "elu_of_alpha": activations.ELU(0.3),
    "celu_of_alpha": activations.CELU(0.3),
    "squareplus_of_b": activations.Squareplus(0.5),
    "smooth_clip_of_limit": activations.SmoothClip(1.5),
    "gelu_tanh": activations.GELU(True),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ALL)
def test_an_activation(name, dtype):
    f = ALL[name]
    for x in (SPECIAL[:, :-1] / 5, SPECIAL, INFINITE) if f.elementwise else (X, SPECIAL[:, :-1]):
        x = np.where(np.abs(x) == 1e4, 5 * np.sign(x), x) if name in ("cos", "exponential") else x
        model = fastnn.Sequential([fastnn.Input(x.shape[1:]), layers.Activation(f, dtype=dtype)])
        session = session_of(exported(model))
        with np.errstate(all="ignore"):
            expected = model.predict(x, check_finite=False, verbose=0)
        np.testing.assert_allclose(answers(session, x)["y"], expected, **CLOSE[dtype])
