"""scikit-learn's callbacks, which it has from 1.9 on: ``set_callbacks`` of estimators, and what callbacks are told."""

from __future__ import annotations

from collections.abc import Iterator
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
            self._end_callbacks()

    @with_callbacks
    def _end_callbacks(self) -> None:
        """Do nothing: scikit-learn tears the callbacks down at the end of whatever is decorated so."""


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
