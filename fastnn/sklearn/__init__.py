"""Estimators with scikit-learn's interface, on fastnn's engine.

Examples
--------
>>> from fastnn.sklearn import MLPClassifier
>>> MLPClassifier(hidden_layer_sizes=(32, 32), dropout=0.1)
MLPClassifier(dropout=0.1, hidden_layer_sizes=(32, 32))
"""

from fastnn._public import publish as _publish
from fastnn.sklearn._perceptron import MLPClassifier, MLPRegressor
from fastnn.sklearn._sequential import SequentialClassifier, SequentialRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "SequentialClassifier", "SequentialRegressor"]

_publish(__name__, __all__)
