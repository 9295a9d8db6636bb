"""The base of callbacks, the simple ones, and the list that calls their hooks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._model import Model
from fastnn._public import Described, counted
from fastnn._ranks import ALONE, Ranks, current
from fastnn._registry import nearest_names
from fastnn._settings import flag
from fastnn._terminal import say
from fastnn.callbacks._logs import plain

if TYPE_CHECKING:
    from fastnn.models import Sequential

Logs = dict[str, Any]


class Callback(Described):
    """The base of all callbacks: override the hooks that are of interest.

    A batch hook that is overridden makes ``fit`` run batch by batch; without one an epoch is one call into the engine.
    Set ``self.model.stop_training = True`` to end training after this epoch.

    Attributes
    ----------
    model : Sequential
    params : dict
        ``epochs``, ``steps``, ``verbose``.
    first_rank_only : bool
        Whether its hooks are called on rank 0 alone where several ranks train together, as those of a callback that
        writes to a place of its own; default False. See :func:`fastnn.distributed.data_parallel`.

    Examples
    --------
    >>> class Printer(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, logs["loss"])
    """

    model: Sequential
    params: dict[str, Any]
    first_rank_only = False
    _of_all_ranks = False  # whether its hooks wait for other ranks, so that each rank must have it
    _reads_state = True  # whether a hook may read the state of the optimizer
    _comes_last = False  # whether it is called after all other callbacks, to see what these have done
    _writes = False  # whether it writes to a place of its own, which two trainings at once cannot share
    _warned = False  # whether a warning has said that a log it needs will not come
    _validated = False  # whether at least one epoch of this training is followed by a validation
    _adds_logs: tuple[str, ...] = ()  # the names of the logs that it adds

    def get_state(self) -> dict[str, Any]:
        """Return what the callback must know to go on in another process, for :class:`BackupAndRestore`.

        Returns
        -------
        dict
            What JSON can hold, and NumPy arrays. Empty where there is nothing to remember.
        """
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from the result of :meth:`get_state`; called after ``on_train_begin`` of a resumed training.

        Parameters
        ----------
        state : dict
            The state, which is not empty.
        """

    def _check_logs(self, model: Model, of_epochs: Sequence[str], of_batches: Sequence[str]) -> None:
        """Raise or warn, before the first step, where the callback needs a log that no epoch or batch will have."""

    def _between_validations(self, logs: Logs) -> bool:
        """Return whether these logs are of an epoch without a validation, in a training that has validations."""
        return self._validated and not any(name.startswith("val_") for name in logs)

    def _interrupted(self) -> None:
        """Called where an error or Ctrl-C ends a training; Keras's hooks are not called then."""

    def set_model(self, model: Any) -> None:
        """Called first, with the model."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called first, with the parameters of ``fit``."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called after the last epoch, with its logs; not where an error or Ctrl-C ended training, as in Keras."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch (counted from 0)."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch and its validation; `logs` holds ``loss``, the metrics and their ``val_`` twins."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of :meth:`on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of :meth:`on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a training batch (or ``steps_per_execution`` of them)."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a training batch; `logs` holds the means of the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before ``evaluate``, and before the validation of an epoch."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after ``evaluate``, and after the validation of an epoch, with the results."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch is evaluated."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch was evaluated; `logs` holds the means so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before ``predict``."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after ``predict``."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before the outputs of a batch are computed."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after the outputs of a batch were computed; `logs` holds them as ``outputs``."""


class History(Callback):
    """Collects the logs of each epoch; ``fit`` returns one.

    Attributes
    ----------
    epoch : list of int
    history : dict of str to list of float
        The logs of each epoch; a metric with a value for each class has a list of lists, so that ``json.dumps`` takes
        all.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> list(model.fit([[1.0]], [[2.0]], verbose=0).history)
    ['loss']
    """

    _reads_state = False

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def _facts(self) -> str:
        return f"{', '.join([counted(len(self.epoch), 'epoch'), *self.history])}"

    def set_model(self, model: Any) -> None:
        """Keep no reference: the model holds its history, and a circle would keep both in memory."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start with an empty list of epochs; the history goes on, as in Keras."""
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Append the logs."""
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(plain(value))

    def plot(self, keys: str | Sequence[str] | None = None, axes: Any = None) -> Any:
        """Draw the loss and the metrics against the epochs, those of validation dashed; this needs matplotlib.

        Parameters
        ----------
        keys : str or sequence of str, optional
            Which of the logs to draw. Default: the loss and every metric that is one number an epoch.
        axes : matplotlib Axes or sequence of these, optional
            One for each key. Default: a new figure.

        Returns
        -------
        numpy.ndarray of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            When there is nothing to draw, when a key names no log, or when axes are not as many as keys.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(1,))])
        >>> model.compile("sgd", "mse")
        >>> draw = model.fit([[1.0]], [[2.0]], epochs=3, verbose=0).plot  # draw("loss")
        """
        drawn = self._drawn(keys)
        if axes is None:
            from matplotlib import pyplot

            axes = pyplot.subplots(1, len(drawn), figsize=(4.5 * len(drawn), 3.5), layout="constrained")[1]
        axes = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        if len(axes) != len(drawn):
            raise ValueError(f"axes must be one for each of {', '.join(drawn)}, got {len(axes)}")
        for axis, key in zip(axes, drawn, strict=True):
            for name, label, dashes in ((key, "training", "-"), (f"val_{key}", "validation", "--")):
                values = self.history.get(name)
                if values:
                    axis.plot(range(1, len(values) + 1), values, dashes, label=label)
            axis.set(xlabel="epoch", ylabel=key)
            axis.grid(alpha=0.3)
            axis.legend()
        return axes

    def _drawn(self, keys: str | Sequence[str] | None) -> list[str]:
        """Return the keys of the logs to draw."""
        one_number = [key for key, values in self.history.items() if not isinstance(values[0], list)]
        known = [key for key in one_number if not key.startswith("val_")]
        chosen = known if keys is None else [keys] if isinstance(keys, str) else list(keys)
        for key in chosen:
            if key not in one_number:
                raise ValueError(
                    f"keys must name logs with one number an epoch, got {key!r}: {nearest_names(key, one_number)}"
                )
        if not chosen:
            raise ValueError("there is nothing to draw: no epoch has ended")
        return chosen


class LambdaCallback(Callback):
    """A callback of functions, each called as the hook of its name.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable (epoch, logs), optional
    on_train_begin, on_train_end : callable (logs), optional
    on_train_batch_begin, on_train_batch_end : callable (batch, logs), optional
    **kwargs : callable
        Functions for other hooks, under the hooks' names.

    Examples
    --------
    >>> printer = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Callable[..., Any],
    ) -> None:
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        known = [name for name in vars(Callback) if name.startswith("on_")]
        for name, function in (given | kwargs).items():
            if name not in known:
                raise TypeError(f"{name} is no hook of callbacks; {nearest_names(name, known)}")
            if function is not None:
                if not callable(function):
                    raise TypeError(f"{name} must be a function, got {type(function).__name__}")
                setattr(self, name, function)


class TerminateOnNaN(Callback):
    """Ends training at the batch whose loss is NaN or infinite; it makes ``fit`` run batch by batch.

    Parameters
    ----------
    raise_error : bool, default False
        Whether to raise RuntimeError instead of ending training.

    Examples
    --------
    >>> guard = TerminateOnNaN()
    """

    _reads_state = False

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = flag("raise_error", raise_error)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End training where the loss is not finite."""
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"the loss of batch {batch} is {loss}: training ends here")
        say(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True


class SwapEMAWeights(Callback):
    """Puts the moving average of the weights into the model for evaluations, and takes it out for training.

    The optimizer must have been made with ``use_ema=True``. An error or Ctrl-C also takes the average out.

    Parameters
    ----------
    swap_on_epoch : bool, default False
        Whether to swap at the end of each epoch too, so that callbacks after this one, as a ModelCheckpoint, see the
        average.

    Examples
    --------
    >>> swapper = SwapEMAWeights()
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = flag("swap_on_epoch", swap_on_epoch)

    def _show(self, average: bool) -> None:
        optimizer: Any = self.model.optimizer
        optimizer._show_average(average)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Raise where the optimizer keeps no average."""
        if not getattr(self.model.optimizer, "use_ema", False):
            raise ValueError("SwapEMAWeights needs an optimizer made with use_ema=True")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Put the weights into the model for training."""
        self._show(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """With `swap_on_epoch`, show the average to the callbacks that follow."""
        if self.swap_on_epoch:
            self._show(True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Put the average into the model for the evaluation."""
        self._show(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Take the average out again."""
        self._show(False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Put the average into the model for the prediction."""
        self._show(True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Take the average out again."""
        self._show(False)


def _flat(callbacks: Any) -> Iterator[Callback]:
    """Yield the callbacks in a callback, or in lists of callbacks."""
    if callbacks is None:
        return
    if isinstance(callbacks, (list, tuple)):
        for inner in callbacks:
            yield from _flat(inner)
        return
    if not isinstance(callbacks, Callback):
        raise TypeError(f"callbacks must hold fastnn callbacks, got {type(callbacks).__name__}")
    yield callbacks


def _may_add_any_log(callback: Callback) -> bool:
    """Return whether a user's function gets the logs of epochs or of validations, to which it may add."""
    hooks = vars(callback).keys() & {"on_epoch_end", "on_test_end"}
    return bool(hooks) or not type(callback).__module__.startswith("fastnn.")


class CallbackList:
    """Calls the hooks of several callbacks in their order; a :class:`BackupAndRestore` comes last.

    Parameters
    ----------
    callbacks : Callback, or list of Callback, or None

    Attributes
    ----------
    callbacks : list of Callback
        All of them.
    given : list of Callback
        Those that were given, without a History of ``fit`` itself.
    ranks : Ranks
        Who trains together in the call that makes this list: the call asks once, and its loops ask the list.
    """

    def __init__(self, callbacks: Callback | Iterable[Any] | None) -> None:
        self.ranks: Ranks = current()
        self.callbacks: list[Callback] = []
        self.given = self.callbacks
        if callbacks is not None:
            self.callbacks = self.given = sorted(_flat(callbacks), key=lambda callback: callback._comes_last)

    def with_history(self) -> History:
        """Return the History among the callbacks; where there is none, a new one joins them."""
        for callback in self.given:
            if isinstance(callback, History):
                return callback
        history = History()
        self.callbacks = [*self.given, history]
        return history

    def attach(self, model: Model, params: dict[str, Any]) -> None:
        """Tell every callback the model and the parameters of the call."""
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)

    def check_logs(self, model: Model, validated: bool) -> None:
        """Let the callbacks say which log they need in vain, unless a user's callback may add it.

        Parameters
        ----------
        model : Model
            A compiled model; the callbacks may not know it yet.
        validated : bool
            Whether at least one epoch is followed by a validation, whose logs have ``val_`` before the other logs'
            names.
        """
        if not self.callbacks:
            return
        names = model.metrics_names
        for callback in self.callbacks:
            callback._warned, callback._validated = False, validated
        if any(_may_add_any_log(callback) for callback in self.callbacks):
            return
        of_epochs = [*names, *(f"val_{name}" for name in names if validated)]
        of_epochs += [name for callback in self.callbacks for name in callback._adds_logs]
        for callback in self.callbacks:
            callback._check_logs(model, of_epochs, names)

    def wants(self, *hooks: str) -> bool:
        """Return whether a callback overrides one of the hooks, in its class or as an attribute of its own."""
        for callback in self.given:
            kind, own = type(callback), vars(callback)
            for hook in hooks:
                if hook in own or getattr(kind, hook) is not getattr(Callback, hook):
                    return True
        return False

    def _named(self) -> Iterator[tuple[str, Callback]]:
        """Yield each callback under its class and its number among the callbacks of that class."""
        seen: dict[str, int] = {}
        for callback in self.callbacks:
            kind = type(callback).__name__
            seen[kind] = seen.get(kind, 0) + 1
            yield f"{kind} {seen[kind]}", callback

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the states that :meth:`resume` gives back to the callbacks."""
        states = {name: callback.get_state() for name, callback in self._named()}
        return {name: state for name, state in states.items() if state}

    def resume(self, states: dict[str, dict[str, Any]]) -> None:
        """Let each callback go on from the state under its class and number; a callback without a state begins anew."""
        for name, callback in self._named():
            if name in states and self.ranks.calls(callback):
                callback.set_state(states[name])

    def call(self, hook: str, *arguments: Any) -> None:
        """Call one hook of every callback."""
        if self.ranks is ALONE:
            for callback in self.callbacks:
                getattr(callback, hook)(*arguments)
            return
        ranks = self.ranks
        ranks.ready_for(hook)
        with ranks.alone():
            for callback in filter(ranks.calls, self.callbacks):
                getattr(callback, hook)(*arguments)


TRAIN_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TEST_BATCH_HOOKS = ("on_test_batch_begin", "on_test_batch_end")
PREDICT_BATCH_HOOKS = ("on_predict_batch_begin", "on_predict_batch_end")
