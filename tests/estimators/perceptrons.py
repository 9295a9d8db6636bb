"""What the tests of the perceptrons share: the classes under test, and small data.

The classes are fastnn's. ``FASTNN_TEST_PERCEPTRONS=sklearn.neural_network`` runs the same tests on scikit-learn's own,
which proves that what they assert is what scikit-learn does. Tests of what only fastnn has are marked `ours`.
"""

import importlib
import os

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

from sklearn.datasets import load_digits, load_iris, make_regression
from sklearn.preprocessing import MinMaxScaler, scale

MODULE = os.environ.get("FASTNN_TEST_PERCEPTRONS", "fastnn.sklearn")
MLPClassifier, MLPRegressor = (getattr(importlib.import_module(MODULE), n) for n in ("MLPClassifier", "MLPRegressor"))

ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]
both = pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor], ids=["classifier", "regressor"])
ours = pytest.mark.skipif(not MODULE.startswith("fastnn"), reason="scikit-learn does otherwise: docs/sklearn.md")


def has_weights_and_counts(regressor):
    """Marks a test of what that class of perceptrons may lack."""
    return pytest.mark.skipif(
        "loss" not in regressor().get_params(), reason="scikit-learn has sample_weight and the Poisson loss from 1.7 on"
    )


weights_and_counts = has_weights_and_counts(MLPRegressor)
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def diverging(test):
    """Marks a test whose training diverges; NumPy warns of that in scikit-learn, fastnn in its own."""
    for message in ("overflow encountered", "invalid value encountered", "the loss is not finite"):
        test = pytest.mark.filterwarnings(f"ignore:{message}:RuntimeWarning")(test)
    return test


def digits(classes, rows=200):
    """The first `rows` images of the digits 0 to `classes` - 1, each pixel between 0 and 1."""
    x, y = load_digits(n_class=classes, return_X_y=True)
    return MinMaxScaler().fit_transform(x[:rows]), y[:rows]


def iris():
    """Standardized iris: the values, and the three species, which serve as numbers too."""
    x, y = load_iris(return_X_y=True)
    return scale(x), y


def numbers(targets=1):
    """200 rows of ten columns and a number that follows them nearly: standardized, so that a perceptron learns it."""
    x, y = make_regression(200, 10, bias=20.0, noise=100.0, random_state=7, n_targets=targets)
    return x, scale(y)


def weights_of(model):
    """All kernels, then all biases, as one vector: what scikit-learn's L-BFGS walks over."""
    return np.concatenate([np.ravel(array) for array in [*model.coefs_, *model.intercepts_]])
