"""The regressor for tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from fastnn._warnings import warn
from fastnn.sklearn._estimator import validation_of
from fastnn.sklearn._targets import Numbers, Targets
from fastnn.tabular import _presets
from fastnn.tabular._estimator import Array, TabularEstimator


class TabularRegressor(RegressorMixin, TabularEstimator):
    """A network for tables that expects numbers: raw columns in, answers out.

    Parameters
    ----------
    preset : str, default "realmlp-td"
        What is trained, and how.
    n_ensemble : int, default 1
        The number of networks, which are trained at once and answer together.
    bagging : {"folds", "seeds"}, default "folds"
        Whether each of several networks holds back another part of the rows, or all the same part.
    validation : float, default 0.2
        The share of the rows that is held back, and tells the best epoch, where ``fit`` is given no other rows.
    eval_metric : {"rmse", "mae"}, optional
        What is best is told by; default "rmse".
    refit : bool, default False
        Whether the networks are trained anew on all rows, for as many epochs as were best.
    tune : int, default 0
        The number of other presets, drawn from the published search space of RealMLP in TabArena, that are tried beside
        the given one, all at once; the worse half ends after a fifth of the epochs, and of the others half after 7/15.
        The best on the validation rows is taken; the given one is trained to its end, so that none is worse.
    time_limit : float, optional
        Seconds. A trial of two epochs tells how many epochs, at most the preset's, let the schedules end before that
        time; no epoch begins after it.
    random_state : int, RandomState or None
    num_threads : int, optional
        The most threads of the engine, in the whole process, while a method runs. Default: as many as before.
    verbose : bool or int, default False
        Whether a bar shows how long training will take.

    Attributes
    ----------
    models_ : list of Sequential
        The networks.
    leaderboard_ : dict of list
        The networks, with their scores on rows that they have not seen, as the columns of a table. Scores are of y
        over its standard deviation.
    candidates_ : dict of list
        With `tune`: what was tried, the given preset first, with the scores on the validation rows.
    history_ : list of dict
        The logs of each network's epochs.
    residuals_ : ndarray, shape (rows, targets)
        What y has more than the answers, of the rows that were held back, each column sorted.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    Networks learn y minus its mean, over its standard deviation, and no answer lies outside of the range of y in
    ``fit``.

    Examples
    --------
    >>> from fastnn.tabular import TabularRegressor
    >>> rows = [[1.0, "red"], [2.0, "blue"]] * 10
    >>> TabularRegressor("plain", random_state=0).fit(rows, [1.0, 3.0] * 10).predict([[1.0, "red"]]).round()
    array([1.])
    """

    _metrics = _presets.OF_NUMBERS

    def __init__(
        self,
        preset: str = "realmlp-td",
        *,
        n_ensemble: int = 1,
        bagging: str = "folds",
        validation: float = 0.2,
        eval_metric: str | None = None,
        refit: bool = False,
        tune: int = 0,
        time_limit: float | None = None,
        random_state: Any = None,
        num_threads: int | None = None,
        verbose: bool | int = False,
    ) -> None:
        self._take_arguments(locals())

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> TabularRegressor:
        """Train.

        Parameters
        ----------
        X : frame or array-like, shape (rows, columns)
            Numbers, of which NaN is a missing one and infinities may be there; strings, categories and booleans; dates.
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional
        X_val, y_val, sample_weight_val : optional
            Rows to validate on, in the place of a share of those in X.

        Returns
        -------
        TabularRegressor
            The estimator itself.
        """
        held = validation_of(None, X_val=X_val, y_val=y_val, sample_weight_val=sample_weight_val)
        return self._fit_table(X, y, sample_weight, held)

    def predict(self, X: Any) -> Array:
        """Return the numbers that the networks expect.

        Parameters
        ----------
        X : frame or array-like, shape (rows, columns)

        Returns
        -------
        ndarray, shape (rows,) or (rows, targets)
        """
        outputs = self._outputs(X)
        return self._targets.answers(outputs, False)

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = (0.1, 0.5, 0.9)) -> Array:
        """Return quantiles of y: the answers, and what y has more than them in rows that were held back.

        Parameters
        ----------
        X : frame or array-like, shape (rows, columns)
        quantiles : sequence of float, default (0.1, 0.5, 0.9)

        Returns
        -------
        ndarray, shape (rows, quantiles) or (rows, targets, quantiles)
        """
        levels = np.asarray(quantiles, np.float64)
        if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"quantiles must be numbers between 0 and 1, got {quantiles!r}")
        outputs = self._outputs(X)
        shifts = np.quantile(self.residuals_, levels, axis=0).T  # (targets, quantiles)
        found = outputs[:, :, None] + shifts
        return found[:, 0] if self._targets.flat else found

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Array:
        """Return for each row the ends of an interval that has y within it with the probability `coverage`.

        The interval is the answer, more and less the quantile of the absolute residuals of n rows that were held back
        whose level is ceil((n + 1) coverage) / n: it covers new rows of the same distribution at least as often as
        `coverage` says (Vovk, Gammerman and Shafer, Algorithmic learning in a random world, 2005).

        Parameters
        ----------
        X : frame or array-like, shape (rows, columns)
        coverage : float, default 0.9

        Returns
        -------
        ndarray, shape (rows, 2) or (rows, targets, 2)
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must lie between 0 and 1, got {coverage!r}")
        outputs = self._outputs(X)
        sizes, rows = np.sort(np.abs(self.residuals_), axis=0), len(self.residuals_)
        at = int(np.ceil((rows + 1) * coverage)) - 1
        if at >= rows:
            many = f"more than {rows} rows that were held back"
            warn(f"a coverage of {coverage:g} needs {many}: the largest residual is taken")
        reach = sizes[min(at, rows - 1)]
        found = np.stack([outputs - reach, outputs + reach], axis=2)
        return found[:, 0] if self._targets.flat else found

    @property
    def _is_of_classes(self) -> bool:
        return False

    _targets: Numbers

    def _targets_of(self, y: Array, classes: Any) -> Targets:
        return Numbers(1 if y.ndim == 1 else y.shape[1], y.ndim == 1, "mse")

    def _labels(self, y: Array) -> Array | None:
        return None

    def _scale_targets(self, y: Array) -> None:
        columns = y.reshape(len(y), -1).astype(np.float64)
        self._range = columns.min(axis=0), columns.max(axis=0)
        if (self._range[0] == self._range[1]).any():
            same = columns[0, int(np.argmax(self._range[0] == self._range[1]))]
            raise ValueError(f"y must hold different numbers, got {same:g} in all rows")
        self._mean, self._spread = columns.mean(axis=0), columns.std(axis=0)

    def _encoded(self, y: Array) -> Array:
        return ((y.reshape(len(y), -1) - self._mean) / self._spread).astype(np.float32)

    def _together(self, outputs: Array) -> Array:
        values = outputs.mean(axis=0, dtype=np.float64) * self._spread + self._mean
        return np.clip(values, *self._range)

    def _learn_of_validation(self, outputs: Array, y: Array, weights: Array | None) -> None:
        self.residuals_ = np.sort(y.reshape(len(y), -1) - outputs, axis=0)

    def _error(self, outputs: Array, targets: Array, metric: str) -> float:
        off = (outputs - self._mean) / self._spread - targets
        return float(np.abs(off).mean() if metric == "mae" else np.sqrt((off**2).mean()))

    def _as_learned(self) -> tuple[dict[str, Any], dict[str, Array]]:
        learned, arrays = super()._as_learned()
        own = {
            "residuals": self.residuals_,
            "range": np.array(self._range),
            "scale": np.array([self._mean, self._spread]),
        }
        return learned | {"flat": self._targets.flat}, arrays | own

    def _take_learned(self, learned: dict[str, Any], arrays: dict[str, Array]) -> None:
        super()._take_learned(learned, arrays)
        self.residuals_ = arrays["residuals"]
        self._range = tuple(arrays["range"])
        self._mean, self._spread = arrays["scale"]
        self._targets = Numbers(len(self._mean), bool(learned["flat"]), "mse")
