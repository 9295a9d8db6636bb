"""Fits of many estimators, whose networks are trained together."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import joblib
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing

from fastnn import num_threads
from fastnn._fitting import Fitting
from fastnn.ensemble import train_together
from fastnn.sklearn._callbacks import telling_of_steps
from fastnn.sklearn._estimator import NetworkEstimator
from fastnn.sklearn._task import Task


def network_of(estimator: Any) -> NetworkEstimator | None:
    """Return the estimator of a network that is given itself, or in pipelines and transformations of y; else None.

    A class of a user's, which fits in a way of its own, is none whose network could be trained for it.
    """
    while type(estimator) in (Pipeline, TransformedTargetRegressor):
        estimator = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator.regressor
    if isinstance(estimator, NetworkEstimator) and type(estimator).fit.__module__.startswith("fastnn.sklearn."):
        return estimator
    return None


class Fit:
    """The fit of one estimator, in two parts: what comes before its network is trained, and what comes after.

    Parameters
    ----------
    estimator : estimator
        Nobody else has it, and it is fitted when :meth:`end` has returned.
    X, y, params
        The arguments of its ``fit``.
    context : sklearn.callback.CallbackContext, optional
        The task of the search that the fit is; callbacks of the search that go on to what it fits are told of it.

    Attributes
    ----------
    estimator : estimator
    fitting : Fitting or None
        The training of its network; None before and after, and where there is nothing to be trained.
    error : Exception or None
        What the fit has failed with.
    seconds : float
        The time that it has taken.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, params: dict[str, Any], context: Any = None) -> None:  # noqa: N803
        self.estimator, self._arguments, self._context = estimator, (X, y, params), context
        self.fitting: Fitting | None = None
        self.error: Exception | None = None
        self.seconds = 0.0
        self._parts: Iterator[Task] = iter(())

    @contextmanager
    def _measured(self) -> Iterator[None]:
        """Add the time of the block to that of the fit, and take note of what the block fails with."""
        start = time.perf_counter()
        try:
            yield
        except Exception as error:  # noqa: BLE001  # the search says what becomes of it
            self.error, self.fitting = error, None
        self.seconds += time.perf_counter() - start

    def begin(self, heads: Heads) -> None:
        """Do what comes before training; an estimator without a network is fitted then."""
        with self._measured():
            self._parts = self._told(_parts(self.estimator, *self._arguments, heads))
            task = next(self._parts, None)
            self.fitting = None if task is None else task.model._fitting(**task.arguments())

    def _told(self, parts: Iterator[Task]) -> Iterator[Task]:
        """Go on with the parts of the fit while its estimator has the callbacks of the search."""
        with nullcontext() if self._context is None else self._context.propagate_callback_context(self.estimator):
            yield from parts

    def train(self, fitting: Fitting) -> None:
        """Train the network by itself."""
        with self._measured():
            fitting.train()

    def end(self) -> None:
        """Do what comes after training."""
        if self.error is None:
            with self._measured():
                next(self._parts, None)
        self._parts, self.fitting = iter(()), None


def _parts(estimator: Any, X: Any, y: Any, params: dict[str, Any], heads: Heads) -> Iterator[Task]:  # noqa: N803
    """Fit an estimator; where it has a network, yield what that is to be trained on first."""
    if network_of(estimator) is None:
        estimator.fit(X, y, **params)
    elif isinstance(estimator, Pipeline):
        with telling_of_steps(estimator, X, y, lambda: heads.fitted(estimator, X, y, params)) as (steps, rows, own):
            yield from _parts(estimator.steps[-1][1], rows, y, own, heads)
            estimator.steps = [*steps, estimator.steps[-1]]
    elif isinstance(estimator, TransformedTargetRegressor):
        fitted, numbers, own = heads.transformed(estimator, X, y, params)
        vars(estimator).update(fitted, regressor_=clone(estimator.regressor))
        yield from _parts(estimator.regressor_, X, numbers, own, heads)
        if hasattr(estimator.regressor_, "feature_names_in_"):
            estimator.feature_names_in_ = estimator.regressor_.feature_names_in_
    else:
        with estimator._fitting(X, y, **params) as task:
            yield task


class _Params(NamedTuple):
    """The arguments of a pipeline's ``fit``: all, those of the steps before the last, those of the last by method."""

    all: dict[str, Any]
    before: dict[str, Any]
    last: dict[str, dict[str, Any]]


def _params_of_steps(pipeline: Pipeline, params: dict[str, Any]) -> _Params:
    """Return which arguments of a pipeline's ``fit`` its steps take."""
    last = pipeline.steps[-1][0]
    if not get_config()["enable_metadata_routing"]:
        own = {name.removeprefix(f"{last}__"): value for name, value in params.items() if name.startswith(f"{last}__")}
        before = {name: value for name, value in params.items() if not name.startswith(f"{last}__")}
        return _Params(params, before, {"fit": own})
    if not params:
        return _Params({}, {}, {"fit": {}})
    routed = process_routing(pipeline, "fit", **params)
    taken = [one for name, _ in pipeline.steps[:-1] for method in routed[name].values() for one in method.values()]
    before = {name: value for name, value in params.items() if any(value is one for one in taken)}
    return _Params(params, before, {"fit": dict(routed[last].fit)})


class _Receiver(BaseEstimator):
    """Stands for a regressor where another estimator fits it, and keeps what that would be fitted to."""

    def __init__(self, regressor: Any) -> None:
        self.regressor = regressor

    def __sklearn_clone__(self) -> _Receiver:
        return self

    def get_metadata_routing(self) -> Any:
        """Return what the regressor asks for."""
        return get_routing_for_object(self.regressor)

    def fit(self, X: Any, y: Any, **params: Any) -> _Receiver:  # noqa: N803
        """Keep y and the arguments."""
        self.received = y, params
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Return what the regressor answers."""
        return self.regressor.predict(X)


class Heads:
    """What comes before networks: steps of pipelines and transformations of y, shared by equal ones on the same rows.

    Two are equal that are so to joblib, which is what a pipeline's `memory` goes by as well.
    """

    def __init__(self) -> None:
        self._done: dict[Any, Any] = {}
        self._kept: list[Any] = []  # what the keys are made of: no other object gets its place in memory

    def fitted(self, pipeline: Pipeline, X: Any, y: Any, params: dict[str, Any]) -> tuple[list[Any], Any, Any]:  # noqa: N803
        """Return the fitted steps before a pipeline's last one, the rows that they make, and arguments of the last."""
        taken, head = _params_of_steps(pipeline, params), pipeline[:-1]
        routing = get_config()["enable_metadata_routing"]
        if (not head.steps and taken.before) or (pipeline.transform_input and not routing):
            pipeline.fit(X, y, **params)  # which scikit-learn refuses in a sentence
        if not head.steps:
            return [], X, taken.last["fit"]
        head.transform_input = pipeline.transform_input

        def fit() -> tuple[list[Any], Any, Any]:
            rows = head.fit_transform(X, y, **taken.before)
            whole = Pipeline([*head.steps, pipeline.steps[-1]], transform_input=pipeline.transform_input)
            own = whole._get_metadata_for_step(step_idx=len(head.steps), step_params=taken.last, all_params=taken.all)
            return head.steps, rows, own["fit"]

        return self._once(fit, head, X, y, taken.before, taken.last["fit"])

    def transformed(
        self,
        estimator: TransformedTargetRegressor,
        X: Any,  # noqa: N803
        y: Any,
        params: dict[str, Any],
    ) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        """Return what a transformation of y learns, the y that its regressor gets, and the regressor's arguments."""
        settings = {name: value for name, value in estimator.get_params(deep=False).items() if name != "regressor"}

        def fit() -> tuple[dict[str, Any], Any, dict[str, Any]]:
            receiver = _Receiver(estimator.regressor)
            one = TransformedTargetRegressor(receiver, **settings).fit(X, y, **params)
            arguments = one.get_params(deep=False)
            learned = {name: value for name, value in vars(one).items() if name not in (*arguments, "regressor_")}
            return learned, *receiver.received

        return self._once(fit, settings, X, y, params, {})

    def _once(self, fit: Callable[[], Any], what: Any, X: Any, y: Any, *params: dict[str, Any]) -> Any:  # noqa: N803
        """Return what `fit` returns, or has returned for an equal `what` with the same rows and arguments."""
        try:
            key = joblib.hash(what), id(X), id(y), tuple(_ids(one) for one in params)
        except (TypeError, AttributeError, ValueError, pickle.PicklingError):  # it cannot be compared
            key = None
        if key is None or key not in self._done:
            self._done[key] = fit()
            self._kept.append((X, y, params))
        return self._done[key]


def _ids(params: dict[str, Any]) -> tuple[Any, ...]:
    return tuple((name, id(params[name])) for name in sorted(params))


def fit_all(fits: Sequence[Fit]) -> None:
    """Run many fits; what each has failed with is its `error`.

    Their networks are trained at once, except those which an ensemble cannot hold: these are trained by themselves.
    """
    heads = Heads()
    for fit in fits:
        fit.begin(heads)
    begun = [(fit, fit.fitting) for fit in fits if fit.fitting is not None]
    with _threads_of(fits):
        for fit, fitting in begun:
            if not fitting.is_plain:
                fit.train(fitting)
        _train_together([(fit, fitting) for fit, fitting in begun if fitting.is_plain])
    for fit in fits:
        fit.end()


def _train_together(begun: Sequence[tuple[Fit, Fitting]]) -> None:
    """Train networks at once; each fit has the share of the time that it has of the work: rows times weights."""
    start = time.perf_counter()
    errors = train_together([fitting for _, fitting in begun])
    seconds = time.perf_counter() - start
    work = [fitting.rows_trained * fitting.model._need_engine("fit").parameters.size for _, fitting in begun]
    for (fit, _), error, own in zip(begun, errors, work, strict=True):
        fit.seconds += seconds * own / max(sum(work), 1)
        fit.error = error


def _threads_of(fits: Sequence[Fit]) -> AbstractContextManager[None]:
    """Return a block with the fewest threads that an estimator asks for."""
    asked = [getattr(network_of(fit.estimator), "num_threads", None) for fit in fits]
    counts = [count for count in asked if count is not None]
    return num_threads(min(counts)) if counts else nullcontext()
