"""Frozen estimators for tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._public import Described, counted


class FrozenTable(Described):
    """A fitted estimator for tables that cannot change, for the fastest answers to raw rows.

    Parameters
    ----------
    estimator : TabularClassifier or TabularRegressor
        A fitted estimator, which may be fitted again: what is frozen stays as it was.

    Examples
    --------
    >>> from fastnn.tabular import TabularRegressor
    >>> rows = [[1.0, "red"], [2.0, "blue"]] * 10
    >>> frozen = TabularRegressor("plain", random_state=0).fit(rows, [1.0, 3.0] * 10).freeze()
    >>> frozen.predict([[1.0, "red"]]).round()
    array([1.])
    """

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator._twin()
        self._predictors = [model.freeze() for model in estimator.models_]

    def _facts(self) -> str:
        return f"{type(self._estimator).__name__} of {counted(len(self._predictors), 'network')}"

    def _outputs(self, X: Any) -> Any:
        estimator = self._estimator
        x = estimator.preparation_(estimator._table_of(X, reset=False))
        return estimator._together(np.stack([predictor(x) for predictor in self._predictors]))

    def predict(self, X: Any) -> Any:
        """Return what the estimator's ``predict`` returns.

        Parameters
        ----------
        X : frame or array-like, shape (rows, columns)
        """
        return self._estimator._targets.answers(self._outputs(X), self._estimator._link)

    def predict_proba(self, X: Any) -> Any:
        """Return what the estimator's ``predict_proba`` returns; a regressor has none.

        Parameters
        ----------
        X : frame or array-like, shape (rows, columns)
        """
        if not self._estimator._is_of_classes:
            raise AttributeError("predict_proba is there for classes, and this was frozen from a TabularRegressor")
        return self._estimator._targets.probabilities(self._outputs(X), self._estimator._link)
