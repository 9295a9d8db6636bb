"""scikit-learn's callbacks, which it has from 1.9 on: ``set_callbacks`` of estimators, and what callbacks are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.utils import _safe_indexing

from fastnn.callbacks import Callback, History
from fastnn.callbacks.base import Logs

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an older scikit-learn: estimators have no set_callbacks, so that nobody is told anything

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Adds nothing to an estimator."""

    def with_callbacks(method: Any) -> Any:
        """Return the method."""
        return method


class TellsCallbacks(CallbackSupportMixin):
    """The part of an estimator that tells scikit-learn's callbacks how training goes on."""

    @contextmanager
    def _telling(self, twin: Any, task: Any, X: Any, y: Any, sample_weight: Any) -> Iterator[None]:  # noqa: N803
        """Tell the callbacks, if there are any, of the training in the block and of each of its epochs.

        Parameters
        ----------
        twin : NetworkEstimator
            The estimator that is trained; the callbacks know it by this one.
        task : Task
        X, y, sample_weight : array-like
            What the user trains on. The callbacks see the rows that are not held back for validation.
        """
        if not getattr(self, "_skl_callbacks", None):
            yield
            return
        x, targets, weights = (
            each if each is None or task.rows is None else _safe_indexing(each, task.rows)
            for each in (X, y, sample_weight)
        )
        told = {
            "estimator": self,
            "X": x,
            "y": targets,
            "metadata": None if weights is None else {"sample_weight": weights},
            "reconstruction_attributes": lambda: twin._if_it_ended(task),
        }
        try:
            fit = self._init_callback_context(max_subtasks=task.epochs)
            fit.call_on_fit_task_begin(**told)
            task.callbacks += [History(), EpochTasks(fit, told)]  # a network's own history comes after all callbacks
            yield
            fit.call_on_fit_task_end(**told)
        finally:
            _end_callbacks(self)


@with_callbacks
def _end_callbacks(estimator: Any) -> None:
    """Do nothing: scikit-learn tears an estimator's callbacks down at the end of whatever is decorated so."""


@contextmanager
def telling_of_steps(pipeline: Any, X: Any, y: Any, fit_steps: Callable[[], Any]) -> Iterator[Any]:  # noqa: N803
    """Yield what `fit_steps` returns, with callbacks told of a pipeline's fit as its own ``fit`` tells them.

    Parameters
    ----------
    pipeline : Pipeline
        Its last step is fitted in the block.
    X, y : array-like
        What the pipeline is fitted to.
    fit_steps : callable
        Fits the steps before the last one, or knows them from another pipeline, and returns a tuple of them, of the
        rows that they make, and of the arguments of the last step.
    """
    if not isinstance(pipeline, CallbackSupportMixin):  # an older scikit-learn
        yield fit_steps()
        return
    try:
        fit = pipeline._init_callback_context(max_subtasks=len(pipeline.steps))
        fit.call_on_fit_task_begin(estimator=pipeline, X=X, y=y)
        found = _, rows, _ = fit_steps()
        for name, _ in pipeline.steps[:-1]:
            step = fit.subcontext(task_name=f"fit-transform-{name}")
            step.call_on_fit_task_begin(estimator=pipeline, X=X, y=y)
            step.call_on_fit_task_end(estimator=pipeline, X=X, y=y)
        last = fit.subcontext(task_name="fit-final-estimator")
        with last.propagate_callback_context(pipeline.steps[-1][1]):
            last.call_on_fit_task_begin(estimator=pipeline, X=rows, y=y)
            yield found
            last.call_on_fit_task_end(estimator=pipeline, X=rows, y=y)
        fit.call_on_fit_task_end(estimator=pipeline, X=rows, y=y)
    finally:
        _end_callbacks(pipeline)


class EpochTasks(Callback):
    """Tells scikit-learn's callbacks of each epoch as a task of its own, and ends training where one of them says so.

    Parameters
    ----------
    fit : sklearn.callback.CallbackContext
        The task that the epochs are parts of.
    told : dict
        What the callbacks are told.
    """

    _comes_last = True  # the estimator of an epoch has what the other callbacks have made of it

    def __init__(self, fit: Any, told: dict[str, Any]) -> None:
        self._fit, self._told = fit, told
        self._epoch: Any = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begin a task."""
        self._epoch = self._fit.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._told)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """End the task."""
        if self._epoch.call_on_fit_task_end(**self._told):
            self.model.stop_training = True
