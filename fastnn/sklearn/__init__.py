"""Estimators with scikit-learn's interface, on fastnn's engine.

Examples
--------
>>> from fastnn.sklearn import MLPClassifier
>>> MLPClassifier(hidden_layer_sizes=(32, 32), dropout=0.1)
MLPClassifier(dropout=0.1, hidden_layer_sizes=(32, 32))
"""

try:
    from sklearn.utils.validation import validate_data as _  # noqa: F401  # scikit-learn has it from 1.6 on
except ImportError as error:
    raise ImportError("fastnn.sklearn needs scikit-learn 1.6 or newer: pip install 'fastnn-cpu[sklearn]'") from error

from fastnn._public import publish as _publish
from fastnn.sklearn._perceptron import MLPClassifier, MLPRegressor
from fastnn.sklearn._search import EnsembleSearchCV
from fastnn.sklearn._sequential import SequentialClassifier, SequentialRegressor

__all__ = ["EnsembleSearchCV", "MLPClassifier", "MLPRegressor", "SequentialClassifier", "SequentialRegressor"]

_publish(__name__, __all__)
