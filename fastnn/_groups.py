"""The training of an ensemble's members: all here, or in groups that are each trained by a worker of an executor."""

from __future__ import annotations

import copy
import os
import platform
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastnn import _members, _stored, loop
from fastnn._members import Rows, Training, Wish
from fastnn._model import Member
from fastnn._public import counted
from fastnn._settings import count
from fastnn._terminal import say
from fastnn._threads import get_num_threads, num_threads
from fastnn.callbacks import Callback, CallbackList, History
from fastnn.callbacks.base import Logs

Validate = Callable[[int], Generator[Wish, None, Logs]]


@dataclass(frozen=True)
class Group:
    """Members that are trained together, with what ``fit`` was told of each.

    Attributes
    ----------
    models : list of Member
    hooks : list of CallbackList
    trained : list of Rows
        What each trains on.
    held : list of Rows or None
        What each is evaluated on after the epochs that are `due`.
    due : callable (epoch) -> bool
        Whether a validation follows an epoch, counted from 0.
    ends : list of int
        How many epochs each trains.
    shuffle : bool
    verbose : int
    """

    models: Sequence[Member]
    hooks: Sequence[CallbackList]
    trained: Sequence[Rows]
    held: Sequence[Rows] | None
    due: Callable[[int], bool]
    ends: Sequence[int]
    shuffle: bool
    verbose: int

    def __len__(self) -> int:
        return len(self.models)

    def part(self, members: slice) -> Group:
        """Return some of the members."""
        each = {name: getattr(self, name)[members] for name in ("models", "hooks", "trained", "ends")}
        return replace(self, **each, held=None if self.held is None else self.held[members])

    def train(self, lines: Lines | None, after_round: Callable[[], None] | None = None) -> list[History]:
        """Train the members, all at once, of whose epochs `lines` takes note; return their histories."""
        watched = self.held is not None or lines is not None or any(own.callbacks for own in self.hooks)
        histories, generators = [], []
        for k, (model, own, end) in enumerate(zip(self.models, self.hooks, self.ends, strict=True)):
            own.callbacks += [] if lines is None else [lines]
            training = Training(model, self.trained[k], self.shuffle)
            histories.append(model._begin(own, {"epochs": end, "steps": training.steps, "verbose": self.verbose}))
            run = loop.Epochs(model, own, 0, training.steps, end, None)
            validate = validation(model, None if self.held is None else self.held[k], self.due, own)
            generators.append(_members.fitted(run, training, end, len(self), watched, validate))
        _members.together(generators, after_round)
        return histories

    def train_here(self) -> list[History]:
        """Train the members, and print a line for each epoch unless `verbose` is 0."""
        lines = Lines(max(self.ends)) if self.verbose else None
        return self.train(lines, None if lines is None else lines.print)


def validation(model: Member, held: Rows | None, due: Callable[[int], bool], hooks: CallbackList) -> Validate:
    """Return the function that gives the validation after an epoch."""

    def validate(epoch: int) -> Generator[Wish, None, Logs]:
        return _members.not_validated() if held is None or not due(epoch) else _members.evaluated(model, held, hooks)

    return validate


class Lines(Callback):
    """Notes the losses of each epoch of all members, and prints a line for each."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._losses: dict[int, list[list[float]]] = {}  # by epoch, of each member that has come to its end

    def set_model(self, model: Any) -> None:
        """Keep none of the models."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Take note of the losses of one member."""
        losses = [value for name, value in (logs or {}).items() if name in ("loss", "val_loss")]
        self._losses.setdefault(epoch, []).append(losses)

    def add(self, other: Lines) -> None:
        """Take note of what another one has noted of other members."""
        for epoch, losses in other._losses.items():
            self._losses.setdefault(epoch, []).extend(losses)

    def print(self) -> None:
        """Print what has been noted since the last time."""
        for epoch, losses in sorted(self._losses.items()):
            means = ", validation ".join(f"{mean:.4f}" for mean in np.mean(losses, axis=0))
            say(f"Epoch {epoch + 1}/{self._epochs} - mean loss of {counted(len(losses), 'model')}: {means}")
        self._losses = {}


# ---- on the workers of an executor ----


class _Origin(NamedTuple):
    """The process that sends groups to workers.

    Attributes
    ----------
    host : str
    process : int
    threads : int
        How many threads a worker on the same host may use.
    setting : str or None
        OMP_NUM_THREADS there. A worker with another value was told by the executor how many threads it has.
    """

    host: str
    process: int
    threads: int
    setting: str | None

    @classmethod
    def here(cls, workers: int) -> _Origin:
        """Return this process, whose threads so many workers share."""
        share = max(1, get_num_threads() // workers)
        return cls(platform.node(), os.getpid(), share, os.environ.get("OMP_NUM_THREADS"))

    @property
    def is_here(self) -> bool:
        """Whether this is the process."""
        return (self.host, self.process) == (platform.node(), os.getpid())

    def threads_here(self) -> AbstractContextManager[None]:
        """Return a block with as many threads as the executor has said, or with the worker's share of this host's."""
        setting = os.environ.get("OMP_NUM_THREADS")
        if self.is_here:
            return nullcontext()
        if setting is not None and setting != self.setting:  # perhaps after the import of fastnn: workers are used anew
            return num_threads(int(setting)) if setting.isdecimal() and 0 < int(setting) <= 256 else nullcontext()
        return num_threads(self.threads) if self.host == platform.node() else nullcontext()


class _Trained(NamedTuple):
    """A member after its training on a worker.

    Attributes
    ----------
    model : Sequential
    callbacks : list of dict
        The attributes of each callback that it was given.
    history : dict
        The attributes of its history.
    stopped : bool
        Whether a callback has ended its training.
    """

    model: Any
    callbacks: list[dict[str, Any]]
    history: dict[str, Any]
    stopped: bool


def _attributes(callback: Callback) -> dict[str, Any]:
    """Return a callback's attributes as they go to another process: without functions, and without its model."""
    kept = {name: value for name, value in vars(callback).items() if not callable(value)}
    return kept | {"model": None} if "model" in vars(callback) else kept


def _sent(hooks: CallbackList) -> CallbackList:
    """Return callbacks as they go to a worker, without the model that an earlier fit has told them."""
    copies = [copy.copy(callback) for callback in hooks.callbacks]
    for one in copies:
        vars(one).pop("model", None)
    return CallbackList(copies)


def _train_there(group: Group, origin: _Origin) -> tuple[list[_Trained], Lines | None]:
    """Train a group in a worker; return its members, and what would be printed of them."""
    if origin.is_here:  # a thread: the caller's own members stay as they are until all groups are trained
        models, hooks = copy.deepcopy((group.models, group.hooks))
        group = replace(group, models=models, hooks=hooks)
    given = [list(own.callbacks) for own in group.hooks]
    lines = Lines(max(group.ends)) if group.verbose else None
    with origin.threads_here():
        histories = group.train(lines)
    trained = [
        _Trained(model, list(map(_attributes, own)), _attributes(history), model.stop_training)
        for model, own, history in zip(group.models, given, histories, strict=True)
    ]
    return trained, lines


def _take_over(model: Any, hooks: CallbackList, trained: _Trained) -> History:
    """Bring a member, and its callbacks, into the state that they had on the worker; return its history."""
    _stored.take_over(model, trained.model, "what a worker has trained")
    for callback, attributes in zip(hooks.callbacks, trained.callbacks, strict=True):
        vars(callback).update(attributes | {"model": model} if "model" in attributes else attributes)
    history = next((one for one in hooks.callbacks if isinstance(one, History)), History())
    vars(history).update(trained.history)
    model.stop_training, model.history = trained.stopped, history
    return history


def check_executor(executor: Any, groups: Any, members: int) -> int:
    """Return into how many groups an executor's members are cut; 0 without an executor.

    Raises
    ------
    TypeError, ValueError
        Where one of them cannot be used.
    """
    if executor is None:
        if groups is not None:
            raise ValueError("groups must be given with an executor alone, whose workers each train a group")
        return 0
    if not callable(getattr(executor, "submit", None)):
        raise TypeError(
            f"executor must have a method submit, as those of concurrent.futures have, got {type(executor).__name__}"
        )
    given = (_workers(executor) or members) if groups is None else count("groups", groups, 1)
    return min(given, members)


def _workers(executor: Any) -> int | None:
    """Return how many workers an executor has; None where it does not say it as those of the library and mpi4py do."""
    workers = getattr(executor, "_max_workers", None)
    return workers if isinstance(workers, int) and workers > 0 else None


def train_on_workers(group: Group, executor: Executor, groups: int) -> list[History]:
    """Train members in so many groups on the workers of an executor; all of them, or none where one fails."""
    bounds = [len(group) * k // groups for k in range(groups + 1)]
    sent = replace(group, hooks=[_sent(hooks) for hooks in group.hooks])
    origin = _Origin.here(min(groups, _workers(executor) or groups))
    futures = [executor.submit(_train_there, sent.part(slice(*pair)), origin) for pair in pairwise(bounds)]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future.done():
                future.result()  # which raises what has failed, while others may go on
        told = [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
    trained = [one for members, _ in told for one in members]
    histories = [_take_over(*each) for each in zip(group.models, group.hooks, trained, strict=True)]
    lines = Lines(max(group.ends))
    for _, of_group in told:
        if of_group is not None:
            lines.add(of_group)
    lines.print()
    return histories
