"""A ``fit`` between the look at its arguments and the training."""

from __future__ import annotations

from typing import NamedTuple

from fastnn import goals, loop
from fastnn._model import Member
from fastnn.callbacks import BackupAndRestore, CallbackList, History
from fastnn.callbacks.base import TEST_BATCH_HOOKS, TRAIN_BATCH_HOOKS
from fastnn.data.arrays import Deferred
from fastnn.data.feeds import ArrayFeed
from fastnn.optimizers import LBFGS, Optimizer


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
    check : FiniteCheck
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
    check: loop.FiniteCheck
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
        return in_memory and steps == {None} and not (asks or goes_on or minimizes or self.check.waits)

    @property
    def rows_trained(self) -> int:
        """The number of rows that all epochs so far have gone over, where the fit is plain."""
        feed = self.feed
        rows = min(len(feed.samples), feed.steps * feed.batch) if isinstance(feed, ArrayFeed) else 0
        return len(self.history.epoch) * rows
