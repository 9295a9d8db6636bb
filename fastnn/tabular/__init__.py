"""Estimators for tables: raw columns in, answers out, with scikit-learn's interface.

Examples
--------
>>> from fastnn.tabular import TabularClassifier
>>> TabularClassifier(n_ensemble=8)
TabularClassifier(n_ensemble=8)
"""

from fastnn import sklearn as _sklearn  # noqa: F401  # says what is missing where scikit-learn is
from fastnn._public import publish as _publish
from fastnn.tabular._classifier import TabularClassifier
from fastnn.tabular._frozen import FrozenTable
from fastnn.tabular._regressor import TabularRegressor

__all__ = ["FrozenTable", "TabularClassifier", "TabularRegressor"]

_publish(__name__, __all__)
