"""A search over parameters in which all candidates and folds are trained at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import joblib
import numpy as np
from joblib.parallel import ParallelBackendBase
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _fit_and_score
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from fastnn.sklearn._fits import Fit, fit_all, network_of

AT_ONCE = 256  # so many networks fill all threads, and fit into the memory
OF_OTHER_BACKENDS = ("n_jobs", "pre_dispatch")  # arguments of scikit-learn's searches that mean nothing here
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]  # a function and its arguments
SIGNATURE = inspect.signature(_fit_and_score)


class _Job:
    """What scikit-learn wants computed: calls of functions, one after the other."""

    def __init__(self, backend: _Together, calls: Sequence[Call]) -> None:
        self._backend, self.calls = backend, calls
        self.fits: list[Fit] = []

    def get(self) -> list[Any]:
        """Return what the calls return."""
        self._backend.fit_up_to(self)
        results = [function(*args, **kwargs) for function, args, kwargs in self.calls]
        for fit, result in zip(self.fits, results, strict=False):
            result["fit_time"] = fit.seconds
        self.fits = []
        return results


class _Together(ParallelBackendBase):
    """A backend of joblib in which the fits of a search are run together, and the rest of each call in its turn."""

    uses_threads = supports_sharedmem = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiting: list[_Job] = []

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return a number of jobs at which joblib asks a backend: it does the work of one job itself."""
        return 2

    def submit(self, func: Any, callback: Callable[[Any], None]) -> _Job:
        """Take a job; nothing is computed before a result is asked for."""
        job = _Job(self, func.items)
        self._waiting.append(job)
        callback(job)
        return job

    apply_async = submit  # the method's name in joblib before 1.5

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Forget the jobs that nobody will ask for."""
        self._waiting.clear()

    def fit_up_to(self, job: _Job) -> None:
        """Run the fits of jobs that wait, this one among them."""
        while job in self._waiting:
            jobs, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            rows: dict[int, tuple[Any, Any, Any]] = {}
            for one in jobs:
                one.fits = [
                    _fit_of(SIGNATURE.bind(*args, **kwargs).arguments, rows)
                    for function, args, kwargs in one.calls
                    if inspect.unwrap(function) is _fit_and_score
                ]
            fit_all([fit for one in jobs for fit in one.fits])


def _fit_of(arguments: Mapping[str, Any], rows: dict[int, tuple[Any, Any, Any]]) -> Fit:
    """Return the fit that a call of scikit-learn's is about to make, whose estimator then takes over what is fitted.

    `rows` has X, y and the arguments of ``fit`` for each fold so far.
    """
    given = arguments["estimator"]
    estimator = clone(given).set_params(**clone(arguments["parameters"] or {}, safe=False))
    train, X = arguments["train"], arguments["X"]  # noqa: N806
    if id(train) not in rows:
        params = _check_method_params(X, params=arguments["fit_params"] or {}, indices=train)
        rows[id(train)] = (*_safe_split(estimator, X, arguments["y"], train), params)
    fit = Fit(estimator, *rows[id(train)], context=arguments.get("callback_ctx"))

    def take_over(*args: Any, **kwargs: Any) -> Any:
        del given.fit
        if fit.error is not None:
            raise fit.error
        vars(given).update(vars(fit.estimator))
        return given

    given.fit = take_over
    return fit


class EnsembleSearchCV(BaseSearchCV):
    """A search over parameters by cross-validation, in which all candidates and folds are trained at once.

    It does what scikit-learn's ``GridSearchCV`` and ``RandomizedSearchCV`` do, in one process in which each thread
    trains a network. A fit ends with the bits that it has alone, so the scores are the same.

    Parameters
    ----------
    estimator : estimator
        One of :mod:`fastnn.sklearn`, also as the last step of a Pipeline or in a TransformedTargetRegressor.
    param_grid : dict or list of dict
        The values of each parameter, by its name. With `n_iter` a distribution with a method ``rvs`` may take the place
        of a list of values.
    n_iter : int, optional
        The number of candidates that are drawn. Default: all of the grid.
    scoring : str, callable, list, tuple or dict, optional
        What is measured, as in ``GridSearchCV``. Default: the estimator's ``score``.
    refit : bool, str or callable, default True
        Whether the best candidate is trained on all rows in the end; the name of the score by which it is the best; or
        a function that returns its index from ``cv_results_``.
    cv : int, splitter or iterable, optional
        The folds. Default: 5.
    verbose : int, default 0
        What is printed, as in ``GridSearchCV``; the times in its lines are those of scoring.
    random_state : int, RandomState or None
        What candidates are drawn from with `n_iter`.
    error_score : "raise" or float, default nan
        The score of a fit that fails.
    return_train_score : bool, default False
        Whether the rows that were trained on are scored as well.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        As of ``GridSearchCV``. The ``fit_time`` of a fit has that share of the common training which the fit has of
        its work: rows times weights.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, multimetric_, classes_, \
n_features_in_, feature_names_in_
        As of ``GridSearchCV``.

    Notes
    -----
    Steps of pipelines before the last one, and transformations of y, are fitted once where folds and settings are the
    same, so what they draw from no fixed seed is drawn once as well. Networks that an ensemble cannot hold are trained
    one after the other, each on all threads: those with L-BFGS, with losses or metrics in Python, or with callbacks
    that look at batches. So are candidates that are no networks.

    Callbacks of scikit-learn that go on to what is fitted are told of each epoch, of all fits side by side.

    References
    ----------
    The interface is that of scikit-learn's ``sklearn.model_selection.GridSearchCV``.

    Examples
    --------
    >>> from fastnn.sklearn import EnsembleSearchCV, MLPClassifier
    >>> net = MLPClassifier(solver="lbfgs", random_state=0)
    >>> search = EnsembleSearchCV(net, {"hidden_layer_sizes": [(2,), (32,)]}, cv=3)
    >>> float(search.fit([[0.0], [1.0]] * 9, ["no", "yes"] * 9).best_score_)
    1.0
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012  # scikit-learn reads it from the class
        **{name: of for name, of in BaseSearchCV._parameter_constraints.items() if name not in OF_OTHER_BACKENDS},
        "param_grid": [dict, list],
        "n_iter": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }
    n_jobs, pre_dispatch = None, "all"  # what the base asks of joblib

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        n_iter: int | None = None,
        scoring: Any = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        error_score: float | str = np.nan,
        return_train_score: bool = False,
    ) -> None:
        self.estimator, self.param_grid, self.n_iter, self.random_state = estimator, param_grid, n_iter, random_state
        self.scoring, self.refit, self.cv, self.verbose = scoring, refit, cv, verbose
        self.error_score, self.return_train_score = error_score, return_train_score

    def fit(self, X: Any, y: Any = None, **params: Any) -> EnsembleSearchCV:  # noqa: N803
        """Train and score all candidates on all folds, and the best one on all rows.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)
        y : array-like, shape (rows,) or (rows, targets)
        **params
            Arguments of the estimator's ``fit``, of the splitter (`groups`) and, with metadata routing, of the scorers.
            Those with a value for each row are split with the rows.

        Returns
        -------
        EnsembleSearchCV
            The search itself.
        """
        with joblib.parallel_config(_Together()):
            super().fit(X, y, **params)
        return self

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any = None) -> None:
        """Evaluate all candidates; newer versions of scikit-learn tell their callbacks of it."""
        if self.n_iter is None:
            candidates = list(ParameterGrid(self.param_grid))
        else:
            candidates = list(ParameterSampler(self.param_grid, self.n_iter, random_state=self.random_state))
        settings = (clone(self.estimator).set_params(**clone(one, safe=False)) for one in candidates)
        if not any(network_of(one) is not None for one in settings):
            raise TypeError(
                f"{type(self).__name__} trains the estimators of fastnn.sklearn, alone, as the last step of a "
                f"Pipeline or in a TransformedTargetRegressor, got {self.estimator!r}"
            )
        if callback_ctx is None:
            evaluate_candidates(candidates)
            return
        context = callback_ctx.subcontext(
            task_name="search", max_subtasks=len(candidates) * self.n_splits_, sequential_subtasks=False
        )
        context.call_on_fit_task_begin(estimator=self)
        evaluate_candidates(candidates, callback_ctx=context)
        context.call_on_fit_task_end(estimator=self)
