"""The training of the members of a table's estimator: which rows, how long, and which epoch is the best."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._terminal import say
from fastnn._warnings import warn
from fastnn.callbacks import Callback
from fastnn.callbacks._screens import screen
from fastnn.callbacks.base import Logs
from fastnn.callbacks.reporter import format_duration
from fastnn.ensemble import Ensemble
from fastnn.models import Sequential

Array = npt.NDArray[Any]
clock = time.monotonic
TRIAL = 2  # epochs of a trial that tells how long an epoch takes: the first of them also makes what a training needs
MARGIN = 0.95  # of the time that is left is planned for
SAME = 1e-6  # scores that differ by no more are equal: rows of hardly any weight decide nothing


class Split(NamedTuple):
    """The rows of a member.

    Attributes
    ----------
    rows : ndarray of int
        The numbers of the rows that are trained on.
    held : ndarray of int or None
        The numbers of the rows that are held back; None where the user gives rows for that.
    """

    rows: Array
    held: Array | None


def _groups(labels: Array | None, rows: int, random: np.random.Generator) -> list[Array]:
    """Return the numbers of the rows of each class in a random order; without classes those of all rows."""
    if labels is None:
        return [random.permutation(rows)]
    return [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]


def one_split(labels: Array | None, rows: int, share: float, random: np.random.Generator) -> Split:
    """Return rows of which a share is held back, the same share of each class.

    At least one row is held back; a class of one row keeps it. Where no row can be held back, all of them take both
    parts.
    """
    groups = _groups(labels, rows, random)
    held = [group[: min(round(share * len(group)), len(group) - 1)] for group in groups]
    if not any(map(len, held)):
        longest = max(range(len(groups)), key=lambda place: len(groups[place]))
        held[longest] = groups[longest][: min(1, len(groups[longest]) - 1)]
    chosen = np.sort(np.concatenate(held))
    left = np.setdiff1d(np.arange(rows), chosen)
    return Split(left, chosen if len(chosen) else left)


def folds(labels: Array | None, rows: int, count: int, random: np.random.Generator) -> list[Split]:
    """Return `count` splits, each row being held back by one of them; rows of a class are shared out evenly."""
    order = np.concatenate(_groups(labels, rows, random))
    parts = [np.sort(order[first::count]) for first in range(count)]
    return [Split(np.setdiff1d(np.arange(rows), part), part) for part in parts]


class Work(NamedTuple):
    """What the members of a training share.

    Attributes
    ----------
    samples : tuple (x, y, weights)
    held : tuple (x, y, weights) or None
        The rows that all members are validated on; None where each holds back rows of its own.
    metric : str
        What tells the best epoch.
    random : numpy.random.Generator
        Of which weights and orders of rows are drawn.
    deadline : float or None
        The time, as of :data:`clock`, from which on no epoch begins.
    """

    samples: tuple[Any, ...]
    held: Any
    metric: str
    random: np.random.Generator
    deadline: float | None


class BestEpoch(Callback):
    """Keeps the weights of the best epoch, of equal ones those of the last, and gives them back at the end.

    Parameters
    ----------
    more : bool
        Whether more of the score is better.
    patience : int or None
        The number of epochs without a better one after which training ends.
    deadline : float or None
        The time, as of :data:`clock`, from which on no epoch begins.

    Attributes
    ----------
    score : float or None
    epoch, epochs : int
        The best epoch and the number of epochs, counted from 1.
    """

    def __init__(self, more: bool, patience: int | None, deadline: float | None) -> None:
        self._sign, self._patience, self._deadline = (1 if more else -1), patience, deadline
        self.score: float | None = None
        self.epoch = self.epochs = 0
        self._weights: Any = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the score."""
        found = float((logs or {})["val_score"])
        self.epochs = epoch + 1
        if self.score is None or self._sign * (found - self.score) >= -SAME * max(1.0, abs(self.score)):
            better = max if self._sign > 0 else min
            self.score = found if self.score is None else better(found, self.score)
            self.epoch, self._weights = epoch + 1, self.model.get_weights()
        late = self._deadline is not None and clock() >= self._deadline
        if late or (self._patience is not None and epoch + 1 - self.epoch >= self._patience):
            self.model.stop_training = True

    @property
    def loss(self) -> float:
        """The score, of which less is better."""
        return float("inf") if self.score is None else -self._sign * self.score

    def restore(self) -> None:
        """Give the model the weights of its best epoch."""
        if self._weights is not None:
            self.model.set_weights(self._weights)
            self._weights = None


class Watch(Callback):
    """Notes when epochs end.

    Attributes
    ----------
    ends : list of float
        Times of :data:`clock`.
    """

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the time."""
        self.ends.append(clock())

    def epochs_until(self, deadline: float, share: float) -> int:
        """Return how many epochs like the last one end before a share of the time until the deadline is over, or 1."""
        now = clock()
        each = self.ends[-1] - self.ends[-2] if len(self.ends) > 1 else float("inf")  # Ctrl-C has ended the trial
        return max(1, int(MARGIN * share * (deadline - now) / max(each, 1e-9)))


class Race:
    """What members of a search know of each other: at some epochs the worse half of them is told to stop.

    Parameters
    ----------
    members : list of BestEpoch
    epochs : int
        Of a whole training. Halves stop after 1/5 and 7/15 of it, where RealMLP's learning rate is at 0 (Jamieson and
        Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, 2016); but the first member
        goes on to its end.
    """

    WORK = 3 / 15 + (7 / 15 - 3 / 15) / 2 + (1 - 7 / 15) / 4  # of what members would do that do not stop

    def __init__(self, members: Sequence[BestEpoch], epochs: int) -> None:
        self.members, self._alive = list(members), set(range(len(members)))
        self._rungs = {round(epochs * share) for share in (3 / 15, 7 / 15)}
        self._arrived: set[int] = set()

    def arrived(self, place: int, epoch: int) -> bool:
        """Return whether a member goes on, which has ended an epoch, counted from 1."""
        if epoch in self._rungs and place in self._alive:
            self._arrived.add(place)
            if self._arrived == self._alive:
                order = sorted(self._alive, key=lambda one: self.members[one].loss)
                self._alive, self._arrived = {0, *order[: -(-len(order) // 2)]}, set()
        return place in self._alive


class Racer(Callback):
    """A member of a :class:`Race`.

    Parameters
    ----------
    race : Race
    place : int
    """

    def __init__(self, race: Race, place: int) -> None:
        self._race, self._place = race, place

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Stop where half of the others are better."""
        if not self._race.arrived(self._place, epoch + 1):
            self.model.stop_training = True


class Bar(Callback):
    """One bar for a whole training, with the time that is left.

    Parameters
    ----------
    title : str
    epochs : int
    """

    def __init__(self, title: str, epochs: int) -> None:
        self._title, self._epochs = title, epochs
        self._screen = screen()
        self._begun = self._shown = clock()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Move the bar, at most ten times a second."""
        now = clock()
        if self._screen is None or now - self._shown < 0.1:
            return
        self._shown, share = now, (epoch + 1) / self._epochs
        left = (now - self._begun) * (1 / share - 1)
        score = f"validation: {(logs or {})['val_score']:.4g}"
        self._screen.show(
            f"{self._title}: epoch {epoch + 1}/{self._epochs}", share, [f"{format_duration(left)} left", score]
        )

    def close(self, text: str) -> None:
        """Show a last line in the place of the bar."""
        if self._screen is not None:
            self._screen.final(text)
        else:
            say(text)


def train(
    models: Sequence[Sequential],
    samples: tuple[Array, Array, Array | None],
    splits: Sequence[Split],
    held: Any,
    *,
    batch: int,
    epochs: int,
    whole: bool,
    callbacks: Sequence[Sequence[Callback]],
) -> None:
    """Train each member on its rows, all at once; Ctrl-C ends that early.

    Parameters
    ----------
    models : sequence of Sequential
        Compiled.
    samples : tuple (x, y, weights)
    splits : sequence of Split
    held : tuple (x, y, weights) or None
        The rows that all members are validated on; None where each holds back rows of its own.
    batch, epochs : int
    whole : bool
        Whether the last batch of an epoch is left out where it is not full.
    callbacks : sequence of sequence of Callback
    """
    x, y, weights = samples
    try:
        if len(models) == 1:
            _train_one(models[0], samples, splits[0], held, batch, epochs, whole, list(callbacks[0]))
            return
        own = held is None and splits[0].held is not None
        Ensemble(models).fit(
            x,
            y,
            batch_size=[min(batch, len(split.rows)) for split in splits],
            epochs=epochs,
            verbose=0,
            callbacks=callbacks,
            sample_weight=weights,
            check_finite=False,
            drop_remainder=whole,
            rows=[split.rows for split in splits],
            validation_data=held,
            validation_rows=[split.held for split in splits] if own else None,
        )
    except KeyboardInterrupt:
        warn("Training interrupted by user.")


def _train_one(
    model: Sequential,
    samples: tuple[Any, ...],
    split: Split,
    held: Any,
    batch: int,
    epochs: int,
    whole: bool,
    callbacks: list[Any],
) -> None:
    """Train a single member, which all threads share."""
    x, y, weights = (None if each is None else each[split.rows] for each in samples)
    if held is None and split.held is not None:
        held = tuple(each[split.held] for each in samples if each is not None)
    model.fit(
        x,
        y,
        batch_size=min(batch, len(split.rows)),
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
        sample_weight=weights,
        validation_data=held,
        check_finite=False,
        drop_remainder=whole,
    )
