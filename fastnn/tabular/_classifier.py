"""The classifier for tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets

from fastnn.sklearn._estimator import NetworkClassifier, validation_of
from fastnn.sklearn._targets import ManyClasses, Targets, places_of
from fastnn.tabular import _presets
from fastnn.tabular._estimator import Array, TabularEstimator
from fastnn.tabular._files import labels_as_json, labels_of_json


class TabularClassifier(NetworkClassifier, TabularEstimator):
    """A network for tables that tells classes: raw columns in, answers out.

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
    eval_metric : {"log_loss", "error"}, optional
        What is best is told by; default "log_loss": that of the logits over the temperature that suits them best, which
        is how ``predict_proba`` has them (Berta et al., Rethinking early stopping: refine, then calibrate, 2025).
    class_weight : dict of class to float, or "balanced", optional
        What the rows of a class weigh.
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
    classes_ : ndarray
    models_ : list of Sequential
        The networks.
    temperature_ : float
        What logarithms of probabilities are divided by, as fits the validation rows best (Guo et al., On calibration of
        modern neural networks, 2017).
    leaderboard_ : dict of list
        The networks, with their scores on rows that they have not seen, as the columns of a table.
    candidates_ : dict of list
        With `tune`: what was tried, the given preset first, with the scores on the validation rows.
    history_ : list of dict
        The logs of each network's epochs.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> from fastnn.tabular import TabularClassifier
    >>> rows = [[1.0, "red"], [2.0, "blue"], [3.0, "red"]] * 10
    >>> TabularClassifier(random_state=0).fit(rows, ["no", "yes", "yes"] * 10).predict([[1.0, "red"]])
    array(['no'], dtype='<U3')
    """

    _metrics = _presets.OF_CLASSES
    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        **TabularEstimator._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        preset: str = "realmlp-td",
        *,
        n_ensemble: int = 1,
        bagging: str = "folds",
        validation: float = 0.2,
        eval_metric: str | None = None,
        class_weight: Any = None,
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
    ) -> TabularClassifier:
        """Train.

        Parameters
        ----------
        X : frame or array-like, shape (rows, columns)
            Numbers, of which NaN is a missing one and infinities may be there; strings, categories and booleans; dates.
        y : array-like, shape (rows,)
            Labels of any kind.
        sample_weight : array-like, shape (rows,), optional
        X_val, y_val, sample_weight_val : optional
            Rows to validate on, in the place of a share of those in X.

        Returns
        -------
        TabularClassifier
            The estimator itself.
        """
        held = validation_of(None, X_val=X_val, y_val=y_val, sample_weight_val=sample_weight_val)
        return self._fit_table(X, y, sample_weight, held)

    @property
    def _is_of_classes(self) -> bool:
        return True

    def _targets_of(self, y: Array, classes: Any) -> Targets:
        check_classification_targets(y)
        if y.ndim > 1:
            raise ValueError(f"y must be one label a row, got shape {y.shape}")
        found = np.unique(y)
        if len(found) < 2:
            raise ValueError(f"y must have at least two classes, got one class, {found.tolist()[0]!r}")
        return ManyClasses(found)

    def _labels(self, y: Array) -> Array | None:
        return y

    def _encoded(self, y: Array) -> Array:
        return np.eye(self._targets.outputs, dtype=np.float32)[places_of(y, self.classes_)]

    def _together(self, outputs: Array) -> Array:
        logs = outputs.astype(np.float64)
        if len(logs) > 1:
            logs = logsumexp(log_softmax(logs, axis=2), axis=0, keepdims=True) - np.log(len(logs))
        return logs[0] / self.temperature_

    def _scale_targets(self, y: Array) -> None:
        self.temperature_ = 1.0  # until the validation rows have told it

    def _learn_of_validation(self, outputs: Array, y: Array, weights: Array | None) -> None:
        places = places_of(y, self.classes_)

        doubt = 1 / (len(y) + 2)  # of each label, as in Platt (1999): a few rows that are all right make nobody sure

        def loss(log_temperature: float) -> float:
            logs = log_softmax(outputs / np.exp(log_temperature), axis=1)
            of_rows = (1 - doubt) * logs[np.arange(len(y)), places] + doubt * logs.mean(axis=1)
            return -float(np.average(of_rows, weights=weights))

        self.temperature_ = float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))

    def _error(self, outputs: Array, targets: Array, metric: str) -> float:
        places = targets.argmax(axis=1)
        if metric == "error":
            return float(np.mean(outputs.argmax(axis=1) != places))
        return -float(np.mean(log_softmax(outputs, axis=1)[np.arange(len(places)), places]))

    def _as_learned(self) -> tuple[dict[str, Any], dict[str, Array]]:
        learned, arrays = super()._as_learned()
        return learned | {"classes": labels_as_json(self.classes_), "temperature": self.temperature_}, arrays

    def _take_learned(self, learned: dict[str, Any], arrays: dict[str, Array]) -> None:
        super()._take_learned(learned, arrays)
        self._targets = ManyClasses(labels_of_json(learned["classes"]))
        self.temperature_ = float(learned["temperature"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        tags.classifier_tags.multi_label = False
        return tags
