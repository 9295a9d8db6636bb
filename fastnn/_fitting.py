"""A ``fit`` between the look at its arguments and the training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn import goals, loop
from fastnn._arguments import optional_count, validation_due, verbosity
from fastnn._engine import build_info, get_products
from fastnn._model import Kept, Member
from fastnn._seeds import set_seed
from fastnn._settings import count, flag, number
from fastnn._sparse_rows import SparseRows
from fastnn._version import __version__
from fastnn.callbacks import BackupAndRestore, CallbackList, History
from fastnn.callbacks.base import TEST_BATCH_HOOKS, TRAIN_BATCH_HOOKS
from fastnn.data.arrays import Deferred
from fastnn.data.feeds import ArrayFeed, BatchFeed, Batching
from fastnn.optimizers import LBFGS, Optimizer


@functools.lru_cache(maxsize=64, typed=True)  # typed: True is no 1 here
def _batchings(rows: Any, steps: Any, held_rows: Any, held_steps: Any) -> tuple[Batching, Batching]:
    batching = Batching(optional_count("batch_size", rows), optional_count("steps_per_epoch", steps))
    held = optional_count("validation_batch_size", held_rows) or batching.rows
    return batching, Batching(held, optional_count("validation_steps", held_steps))


@functools.lru_cache(maxsize=64, typed=True)
def _wanted(first: Any, end: Any, frequency: Any, drop: Any, mixup: Any, verbose: Any, shuffle: Any) -> Wanted:
    return Wanted(
        count("initial_epoch", first, 0),
        count("epochs", end, 0),
        validation_due(frequency),
        flag("drop_remainder", drop),
        number("mixup", mixup, 0.0),
        verbosity(verbose),
        flag("shuffle", shuffle),
    )


def _settled(check: Any, told: tuple[Any, ...]) -> Any:
    """Return what `check` says of arguments; the same ones, which loops of small fits give, are checked once."""
    try:
        return check(*told)
    except TypeError:  # one of them cannot be used, or is a list, which may hold something else when it is seen next
        pass
    return check.__wrapped__(*told)


class Wanted(NamedTuple):
    """Numbers and flags that ``fit`` was given, once they have been checked.

    Attributes
    ----------
    first, epochs : int
        The numbers of the first epoch, and of the one that comes after the last.
    due : callable
        Says of an epoch, counted from 0, whether a validation follows it.
    drop : bool
        Whether the last batch of an epoch is left out where it is not full.
    mixup : float
    shown : int
        What is printed.
    shuffle : bool
    """

    first: int
    epochs: int
    due: Callable[[int], bool]
    drop: bool
    mixup: float
    shown: int
    shuffle: bool


def batchings(*told: Any) -> tuple[Batching, Batching]:
    """Return the batches of the rows that a ``fit`` is to train on, and of those that are held back for validations.

    `told` are batch_size, steps_per_epoch, validation_batch_size and validation_steps. Raise where one cannot be used.
    """
    found: tuple[Batching, Batching] = _settled(_batchings, told)
    return found


def wanted(*told: Any) -> Wanted:
    """Return what else a ``fit`` is told: arguments in the order of :class:`Wanted`. Raise where one cannot be used."""
    found: Wanted = _settled(_wanted, told)
    return found


class Fitting(NamedTuple):
    """A ``fit`` whose arguments have been checked, and of which its callbacks know.

    Attributes
    ----------
    model : Member
    optimizer : Optimizer
    run : Epochs
        The epochs, with what happens around them.
    feed : feed
    steps : int or None
        The number of batches of an epoch; None: all of them.
    first, epochs : int
        The numbers of the first epoch, and of the one that comes after the last.
    check : FiniteCheck or None
    validation : Validation or None
    hooks : CallbackList
    history : History
        What ``fit`` returns.
    """

    model: Member
    optimizer: Optimizer
    run: loop.Epochs
    feed: loop.Feed
    steps: int | None
    first: int
    epochs: int
    check: loop.FiniteCheck | None
    validation: loop.Validation | None
    hooks: CallbackList
    history: History

    def train(self) -> None:
        """Train the model by itself."""
        if isinstance(self.optimizer, LBFGS):
            self.run.minimize(self.optimizer, self.feed, self.first)
        else:
            self.run.train(self.feed, self.steps, self.first, self.check)

    @property
    def is_plain(self) -> bool:
        """Whether each epoch is a pass over rows in memory, which the engine makes without asking Python.

        Only such fits can be trained together.
        """
        steps, feeds = {self.steps}, [self.feed]
        if self.validation is not None:
            steps.add(self.validation.steps)
            feeds.append(self.validation.feed)
        in_memory = all(isinstance(one, ArrayFeed) and not isinstance(one.samples.x, Deferred) for one in feeds)
        asks = goals.called(self.model._goals) or self.hooks.wants(*TRAIN_BATCH_HOOKS, *TEST_BATCH_HOOKS)
        goes_on = self.first > 0 or any(isinstance(one, BackupAndRestore) for one in self.hooks.callbacks)
        minimizes = isinstance(self.optimizer, LBFGS)
        return (
            in_memory
            and steps == {None}
            and not (asks or goes_on or minimizes or (self.check is not None and self.check.waits))
        )

    @property
    def rows_trained(self) -> int:
        """The number of rows that all epochs so far have gone over, where the fit is plain."""
        feed = self.feed
        rows = min(len(feed.samples), feed.steps * feed.batch) if isinstance(feed, ArrayFeed) else 0
        return len(self.history.epoch) * rows


# ---- what ranks that train together must have been given alike ----


def check_together(aims: Sequence[goals.Goal], optimizer: Optimizer | None, feed: loop.Feed) -> None:
    """Raise where several ranks cannot train a model together."""
    called = goals.called(aims)
    reason = ""
    if isinstance(optimizer, LBFGS):
        reason = "LBFGS looks at all rows in every step, on one process"
    elif called:
        reason = f"{called} is a Python function, which would see the rows of one rank alone"
    elif feed.mixup:
        reason = "mixup mixes rows that different ranks hold"
    if reason:
        raise ValueError(f"data_parallel cannot share out this fit: {reason}")


def facts_of_fit(
    model: Kept,
    feed: loop.Feed,
    validation: loop.Feed | None,
    validation_steps: int | None,
    first: int,
    epochs: int,
    steps: int | None,
    shuffle: bool,
    class_weight: Any,
) -> dict[str, Any]:
    """Return, JSON-able, what a fit was given: the model, its data and its arguments."""
    held = None if validation is None else facts_of_data(validation) | {"steps": validation_steps}
    return facts_of_model(model) | {
        "set_random_seed": set_seed(),
        "compile": model._compile_config(),
        "x": facts_of_data(feed),
        "validation": held,
        "initial_epoch": first,
        "epochs": epochs,
        "steps_per_epoch": steps,
        "shuffle": shuffle,
        "class_weight": repr(class_weight),
    }


def facts_of_model(model: Kept) -> dict[str, Any]:
    """Return, JSON-able, the version and the model of this rank, with what its bits depend on."""
    return {
        "version of fastnn": __version__,
        "instruction set": build_info()["isa"],
        "products": get_products(),
        "dtype": model.dtype,
        "layers": _of_json(model.get_config()["layers"]),
    }


def facts_of_data(feed: loop.Feed) -> dict[str, Any]:
    """Return, JSON-able, what rows a feed gives; of an iterable, what its first batch has."""
    batches, batch = isinstance(feed, BatchFeed), None if isinstance(feed, BatchFeed) else feed.batch
    samples = feed.first if isinstance(feed, BatchFeed) else feed.samples
    x, targets = samples.x, samples.y if isinstance(samples.y, tuple) else (samples.y,)
    return {
        "kind": "batches" if batches else "sparse rows" if isinstance(x, SparseRows) else "rows",
        "rows": None if batches else len(samples),
        "batches": feed.steps,
        "rows of a batch": batch,
        "columns": x.shape[1],
        "columns of y": [[str(y.dtype), *y.shape[1:]] for y in targets if y is not None],
        "sample_weight": samples.weights is not None,
    }


def _of_json(value: Any) -> Any:
    """Return the part of a configuration that JSON holds, with arrays as lists and without the names of layers."""
    if isinstance(value, dict):
        return {str(key): _of_json(one) for key, one in value.items() if key != "name"}
    if isinstance(value, (list, tuple)):
        return [_of_json(one) for one in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
