"""Fits of many estimators, whose networks are trained together."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import joblib
from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing

from fastnn import num_threads
from fastnn._fitting import Fitting
from fastnn.ensemble import train_together
from fastnn.sklearn._estimator import NetworkEstimator
from fastnn.sklearn._task import Task


def network_of(estimator: Any) -> NetworkEstimator | None:
    """Return the estimator of a network that is the last step of a pipeline, or that is given itself; else None.

    A class of a user's, which fits in a way of its own, is none whose network could be trained for it.
    """
    while type(estimator) is Pipeline and not getattr(estimator, "transform_input", None):
        estimator = estimator.steps[-1][1]
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

    def __init__(self, estimator: Any, X: Any, y: Any, params: dict[str, Any]) -> None:  # noqa: N803
        self.estimator, self._arguments = estimator, (X, y, params)
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
            self._parts = _parts(self.estimator, *self._arguments, heads)
            task = next(self._parts, None)
            self.fitting = None if task is None else task.model._fitting(**task.arguments())

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
        before, own = _params_of_steps(estimator, params)
        steps, rows = heads.fitted(estimator, X, y, before)
        yield from _parts(estimator.steps[-1][1], rows, y, own, heads)
        estimator.steps = [*steps, estimator.steps[-1]]
    else:
        with estimator._fitting(X, y, **params) as task:
            yield task


def _params_of_steps(pipeline: Pipeline, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return which arguments of a pipeline's ``fit`` its steps before the last take, and those of its last step."""
    last = pipeline.steps[-1][0]
    if not get_config()["enable_metadata_routing"]:
        own = {name.removeprefix(f"{last}__"): value for name, value in params.items() if name.startswith(f"{last}__")}
        return {name: value for name, value in params.items() if not name.startswith(f"{last}__")}, own
    if not params:
        return {}, {}
    routed = process_routing(pipeline, "fit", **params)
    taken = [one for name, _ in pipeline.steps[:-1] for method in routed[name].values() for one in method.values()]
    before = {name: value for name, value in params.items() if any(value is one for one in taken)}
    return before, dict(routed[last].fit)


class Heads:
    """The fitted steps before the last of pipelines; pipelines with equal ones share them where their rows are shared.

    Two such steps are equal that are so to joblib, which is what a pipeline's `memory` goes by as well.
    """

    def __init__(self) -> None:
        self._done: dict[Any, tuple[list[Any], Any]] = {}
        self._kept: list[Any] = []  # what the keys are made of: no other object gets its place in memory

    def fitted(self, pipeline: Pipeline, X: Any, y: Any, params: dict[str, Any]) -> tuple[list[Any], Any]:  # noqa: N803
        """Return the fitted steps before a pipeline's last one, and the rows that they make."""
        head = pipeline[:-1]
        if not head.steps:
            if params:  # no step takes them, which scikit-learn says in a sentence
                pipeline.fit(X, y, **params)
            return [], X
        key = self._key(head, X, y, params)
        if key is None or key not in self._done:
            rows = head.fit_transform(X, y, **params)
            self._done[key] = head.steps, rows
            self._kept.append((X, y, params))
        return self._done[key]

    def _key(self, head: Pipeline, X: Any, y: Any, params: dict[str, Any]) -> Any:  # noqa: N803
        """Return what is equal where the fitted steps are; None where that cannot be said."""
        try:
            steps = joblib.hash(head)
        except (TypeError, AttributeError, ValueError, pickle.PicklingError):
            return None
        return steps, id(X), id(y), tuple((name, id(value)) for name, value in sorted(params.items()))


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
