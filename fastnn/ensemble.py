"""Many small models trained at once: one to a thread, so that none of them waits for another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import goals
from fastnn._arguments import verbosity
from fastnn._engine import train_many
from fastnn._model import Member
from fastnn._public import Described, counted
from fastnn._settings import count, flag
from fastnn._terminal import say
from fastnn.callbacks import History
from fastnn.data.arrays import Rows
from fastnn.data.feeds import Samples
from fastnn.models import Sequential

Pair = tuple[Rows, npt.NDArray[Any]]  # x and y as the engine reads them


def _train_epoch(
    members: Sequence[Member], pairs: Sequence[Pair], shuffles: list[tuple[int, int] | None], batch: int
) -> list[dict[str, float]]:
    """Train every member for an epoch, in one call into the engine; return the logs of each.

    `shuffles` has for each member the seed and the number of its order of rows; None takes the rows as they lie.
    """
    with ExitStack() as running:
        # All ensembles enter their members in one order, so that no two of them wait for each other.
        for model in sorted(members, key=id):
            running.enter_context(model._home.lock)
        ready = [model._ready("fit") for model in members]
        for model, one, pair in zip(members, ready, pairs, strict=True):
            model._look_at_first_rows(one, Samples(*pair), batch)
        engines = [one.engine for one in ready]
        rates = [one.optimizer.hyperparameters() for one in ready]
        results = train_many(engines, pairs, shuffles, batch, rates)
    return [one.layout.logs(sums, len(rows)) for one, (sums, _), (rows, _) in zip(ready, results, pairs, strict=True)]


class Ensemble(Described):
    """Compiled models that are trained on the same rows in one engine call an epoch.

    A network of a few thousand weights is too small to be shared among threads, but several networks are not. Each
    member trains exactly as it would alone: with its own seed, order of rows, optimizer, loss and shape, to the same
    bits.

    Parameters
    ----------
    models : sequence of Sequential
        Compiled models, which remain usable by themselves.

    Attributes
    ----------
    models : list of Sequential

    Examples
    --------
    >>> import fastnn
    >>> models = [fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))]) for _ in range(3)]
    >>> for rate, model in zip((0.1, 0.01, 0.001), models):
    ...     model.compile(fastnn.optimizers.Adam(rate), "mse")
    >>> histories = fastnn.Ensemble(models).fit([[0.0, 1.0]], [[1.0]], verbose=0)
    """

    def __init__(self, models: Sequence[Sequential]) -> None:
        self.models = list(models)
        if not self.models:
            raise ValueError("models must hold at least one model")
        for model in self.models:
            if not isinstance(model, Sequential):
                raise TypeError(f"models must hold Sequential models, got {type(model).__name__}")
        if len({id(model) for model in self.models}) < len(self.models):
            raise ValueError("models must be different objects: one of them is there twice")

    def _facts(self) -> str:
        return counted(len(self.models), "model")

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        shuffle: bool = True,
        check_finite: bool = True,
    ) -> list[History]:
        """Train every member, `epochs` times over the data.

        Parameters
        ----------
        x, y : array-like
            Data as for :meth:`Sequential.fit`; y must suit the loss of every member.
        batch_size : int, default 32
        epochs : int, default 1
        verbose : {"auto", 0, 1, 2}
            Accepted as in Keras; unless it is 0, a line with the mean loss is printed for each epoch.
        shuffle : bool, default True
            Whether each member has an order of rows of its own, as alone.
        check_finite : bool, default True

        Returns
        -------
        list of History
            One history for each member.

        Raises
        ------
        ValueError, TypeError, RuntimeError
            When an argument cannot be used; the message is one sentence, and no member has changed.
        KeyboardInterrupt
            After Ctrl-C; every member has the weights of its last finished step.
        """
        batch = 32 if batch_size is None else count("batch_size", batch_size, 1)
        epochs = count("epochs", epochs, 0)
        shown, shuffle = verbosity(verbose), flag("shuffle", shuffle)
        members: Sequence[Member] = self.models
        for model in members:
            if name := goals.called(model._goals):
                raise ValueError(
                    f"Ensemble trains in one engine call an epoch, which cannot call the Python function {name!r}: "
                    f"train a model with one by its own fit"
                )
        pairs = self._convert(x, y, check_finite)
        histories = [History() for _ in members]
        for epoch in range(epochs):
            shuffles = [(model._seed, model._epochs_done) if shuffle else None for model in members]
            for history, logs in zip(histories, _train_epoch(members, pairs, shuffles, batch), strict=True):
                history.on_epoch_end(epoch, logs)
            for model in members:
                model._epochs_done += int(shuffle)
            if shown:
                mean = float(np.mean([history.history["loss"][-1] for history in histories]))
                say(f"Epoch {epoch + 1}/{epochs} - mean loss of {len(self.models)} models: {mean:.4f}")
        return histories

    def _convert(self, x: Any, y: Any, check_finite: bool) -> list[Pair]:
        """Return X and y for each member; members that want the same form share one conversion and one check."""
        done: dict[Any, Pair] = {}
        pairs = []
        members: Sequence[Member] = self.models
        with ExitStack() as kept:
            for model in sorted(members, key=id):
                kept.enter_context(model._as_it_was_on_error(x))
            for model in members:
                key = model._form()
                pair = done.get(key) if key else None
                if pair is not None:
                    model._learned(x)
                    model._checked(pair[0])
                else:
                    pair = model._convert("fit", x, y, check_finite=check_finite)
                    if key:
                        done[key] = pair
                pairs.append(pair)
        return pairs

    def predict(self, x: Any) -> Any:
        """Return the outputs of every member, shape (members, rows, outputs); all must have the same number of outputs.

        For members with heads this is a dict of such arrays by name.

        Parameters
        ----------
        x : array-like
            Rows as for :meth:`Sequential.predict`.
        """
        outputs = [model.predict(x) for model in self.models]
        if isinstance(outputs[0], dict):
            return {name: np.stack([output[name] for output in outputs]) for name in outputs[0]}
        return np.stack(outputs)

    def evaluate(self, x: Any, y: Any) -> list[Any]:
        """Return what :meth:`Sequential.evaluate` returns, for every member.

        Parameters
        ----------
        x, y : array-like
            Data as for :meth:`fit`.
        """
        return [model.evaluate(x, y, verbose=0) for model in self.models]
