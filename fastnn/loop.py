"""The loops over epochs and batches: feeds go into the engine, callbacks and bars see what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from fastnn import goals
from fastnn._engine import NotFiniteError
from fastnn._model import Model
from fastnn._ranks import ALONE, Exchange, Ranks
from fastnn._sparse_rows import SparseRows
from fastnn._totals import Totals, warn_if_nonfinite
from fastnn.callbacks.base import PREDICT_BATCH_HOOKS, TEST_BATCH_HOOKS, TRAIN_BATCH_HOOKS, CallbackList, Logs
from fastnn.callbacks.reporter import EpochReporter, Reporter
from fastnn.data.arrays import pieces, require_finite
from fastnn.data.feeds import ArrayFeed, BatchFeed, Chunk, warn_of_end

if TYPE_CHECKING:
    from fastnn._engine import Engine
    from fastnn.optimizers import LBFGS

CHECKED_AT_ONCE = 2**22  # bytes of x: looking through fewer bytes takes a fraction of a millisecond
# x with fewer times the bytes that must be copied is checked at once, as copying takes longer than that
COPIES_WORTH = 8
Feed = ArrayFeed | BatchFeed
Array = npt.NDArray[Any]


_SILENT = EpochReporter(0, None, 0)  # which shows nothing, and is told nothing


def _with_hooks(
    model: Model, chunks: Iterator[Chunk], hooks: CallbackList, kind: str, logs: Callable[[], Logs], step: int = 0
) -> Iterator[Chunk]:
    """Yield the chunks until a hook says stop; call a batch hook before and after each group of steps.

    `step` is the number of the first step.
    """
    group, ranks = model._steps_per_execution, hooks.ranks
    stop = {"train": "stop_training", "test": "stop_evaluating", "predict": "stop_predicting"}[kind]
    for chunk in chunks:
        if step % group == 0:
            hooks.call(f"on_{kind}_batch_begin", step, {})
        yield chunk
        step += chunk.steps
        if step % group == 0:
            hooks.call(f"on_{kind}_batch_end", step - 1, logs())
            if ranks.any(getattr(model, stop)):
                setattr(model, stop, True)
                return
    if step % group:  # the last group may be short; the number in its hook is that of a whole group, as in Keras
        hooks.call(f"on_{kind}_batch_end", step - step % group + group - 1, logs())


class weights_as_before:  # noqa: N801
    """Leaves in the model the weights or their average, whichever was there, where an error or Ctrl-C ends the block.

    A callback such as SwapEMAWeights may have put the other one in, and its hook that takes it out is not called.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def __enter__(self) -> None:
        optimizer = self._model.optimizer
        self._shown = optimizer is not None and optimizer._average_shown

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is not None and self._model.optimizer is not None:
            self._model.optimizer._show_average(self._shown)


class FiniteCheck:
    """The check of one call for NaN and infinity in x, which the engine may make as it reads x.

    It reads all of x then, and nobody sees the steps that are taken back. Other calls check x as they convert it.

    Parameters
    ----------
    model : Model
        Where its training meets such a number, the model gets back the state that it has now.

    Attributes
    ----------
    waits : bool
        Whether the engine is to look, in the pass over x that comes next.
    """

    def __init__(self, model: Model) -> None:
        self._model, self._before = model, (model.history, model.stop_training, model._course)
        self.waits = False

    @staticmethod
    def is_small(x: Any) -> bool:
        """Return whether x is an array that is looked through before the call runs, whatever the model."""
        return type(x) is np.ndarray and 8 * x.size < CHECKED_AT_ONCE  # of at most 8 bytes a number

    def settle(self, feed: Feed, engine: Engine, copied: int) -> None:
        """Check a feed's x, which nobody has checked, or leave it to the engine where x is large.

        `copied` is the number of bytes that must be copied then, to be able to go back to the state before.
        """
        if isinstance(feed, BatchFeed):  # a BatchFeed checks each batch itself
            return
        x = feed.samples.x
        size = len(x) * x.shape[1] * x.dtype.itemsize
        worth = size >= max(CHECKED_AT_ONCE, COPIES_WORTH * copied)
        self.waits = worth and engine.functions is None and not isinstance(x, SparseRows)
        if not self.waits:
            require_finite(x, "x")

    @contextmanager
    def taking_back(self, feed: Feed) -> Iterator[None]:
        """Return the context of the epoch in which the engine checks x; a number that is not finite restores the model.

        Nobody else looks at the model meanwhile, so nobody has seen what is taken back.
        """
        model = self._model
        with model._home.lock:
            engine = model._need_engine("fit")
            snapshot = engine.snapshot()
            try:
                yield
            except NotFiniteError as error:
                engine.restore(snapshot)
                model.history, model.stop_training, model._course = self._before
                raise self._named(error, feed) from None
        self.waits = False

    def evaluated(self, engine: Engine, chunk: Chunk, feed: Feed) -> Array:
        """Return the sums of the losses over a chunk of the feed, whose x the engine checks as it goes."""
        samples = chunk.samples
        try:
            return engine.evaluate(samples.x, samples.y, None, samples.weights, chunk.batch, check_finite=True)
        except NotFiniteError as error:
            raise self._named(error, feed) from None

    def _named(self, error: NotFiniteError, feed: Feed) -> ValueError:
        """Return the engine's error with the sentence that :func:`require_finite` would raise."""
        try:
            require_finite(cast("ArrayFeed", feed).samples.x, "x")
        except ValueError as named:
            return named
        return error  # x has been changed by somebody meanwhile


def train_epoch(
    model: Model,
    feed: Feed,
    steps: int | None,
    hooks: CallbackList,
    reporter: Reporter,
    totals: Totals,
    check_finite: bool = False,
) -> None:
    """Run one epoch: one call into the engine, or one a batch where a callback looks in.

    `totals` hold the epoch's first part already, where that was trained before an interruption. With `check_finite` a
    row of x that is not finite raises NotFiniteError, some steps later.
    """
    ranks, live = totals.ranks, reporter.live
    watched = bool(hooks.given) and hooks.wants(*TRAIN_BATCH_HOOKS)
    alone, exchange = ranks is ALONE, None
    if not alone:
        watched, exchange = ranks.any(watched), ranks.exchange
    passes = feed.passes
    left = steps if steps is None else steps - totals.steps
    chunks = feed.epoch(left, model._steps_per_execution if watched else None)
    if not alone and isinstance(feed, BatchFeed):
        chunks = ranks.batches(chunks)
    if totals.steps and model.stop_training:  # a hook said so before the interruption
        chunks = iter(())
    for chunk in _with_hooks(model, chunks, hooks, "train", totals.means, totals.steps) if watched else chunks:
        _train(model, chunk, totals, totals.watcher(chunk, reporter) if live else None, check_finite, exchange)
        if watched and live:
            reporter.update(totals.steps, totals.shown)
    if reporter.verbose:
        reporter.done = totals.steps
    if not alone:
        totals.first_nonfinite = ranks.earliest(totals.first_nonfinite)
    if feed.shuffled:
        with model._home.lock:
            model._epochs_done += feed.passes - passes or int(model.stop_training)


def _train(
    model: Model,
    chunk: Chunk,
    totals: Totals,
    progress: Callable[[int, Array], None] | None,
    check_finite: bool,
    exchange: Exchange | None,
) -> None:
    """Run the steps of one chunk."""
    samples = chunk.samples
    with model._home.lock:
        ready = model._ready("fit")
        totals.read_by(ready.layout)
        rates = ready.optimizer.hyperparameters()
        if model._looked_at is not ready.layout:
            model._look_at_first_rows(ready, samples, chunk.batch)
        sums, bad = ready.engine.train(
            samples.x,
            samples.y,
            chunk.order,
            chunk.batch,
            rates,
            progress,
            samples.weights,
            check_finite,
            chunk.mixup,
            exchange,
        )
    totals.add(chunk, sums, bad)


class Validation(NamedTuple):
    """What the epochs of a fit are validated on, and when.

    Attributes
    ----------
    feed : feed
    steps : int or None
        The number of batches of a validation; None: all of them.
    due : callable
        Says of an epoch, counted from 0, whether a validation follows it.
    """

    feed: Feed
    steps: int | None
    due: Callable[[int], bool]


class _Around:
    """The context of :meth:`Epochs.around`."""

    def __init__(self, run: Epochs) -> None:
        self._run, self._model, self._hooks = run, run._model, run._hooks

    def __enter__(self) -> None:
        run, model = self._run, self._model
        optimizer = model.optimizer
        self._shown = optimizer is not None and optimizer._average_shown
        self._outer, self._course, model._run = model._run, model._course, run
        try:
            steps = run._steps or 0  # not known: nothing goes by the share of them
            model._course = int(model._need_engine("fit").iterations) - run._epoch * steps, run._epochs * steps
            self._hooks.call("on_train_begin", {})
            if self._hooks.given:  # a callback may compile, or show the average
                optimizer = model.optimizer
            if optimizer is not None and (self._shown or self._hooks.given):
                optimizer._show_average(False)  # training changes the weights, not their average
        except BaseException as error:
            self._end(error)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                run, optimizer = self._run, self._model.optimizer
                if run._reporter.verbose:
                    run._reporter.close()
                if run._logs and optimizer is not None:  # epochs have run; a callback may save next
                    optimizer.finalize_variable_values()
                self._hooks.call("on_train_end", run._logs)
        except BaseException as late:
            error = late
            raise
        finally:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Leave the model as it is between two fits; an error tells the callbacks that training was interrupted."""
        model = self._model
        try:
            if error is not None:
                if model.optimizer is not None:
                    model.optimizer._show_average(self._shown)
                self._hooks.call("_interrupted")
        finally:
            if error is not None:
                self._run._reporter.close()
            model._run = self._outer
            if self._outer is not None:  # a callback has called fit
                model._course = self._course


class Epochs:
    """The epochs of a fit, with what happens around each of them.

    Parameters
    ----------
    model : Model
    hooks : CallbackList
    verbose : int
        What the reporter shows.
    steps : int or None
        The steps of an epoch that it shows, where they are known.
    epochs : int
        The number of the last one.
    validation : Validation or None
    """

    def __init__(
        self,
        model: Model,
        hooks: CallbackList,
        verbose: int,
        steps: int | None,
        epochs: int,
        validation: Validation | None,
    ) -> None:
        self._model, self._hooks, self._epochs, self._validation = model, hooks, epochs, validation
        self._ranks = hooks.ranks
        self._steps = steps
        shows = verbose and self._ranks.rank == 0
        self._reporter = EpochReporter(verbose, steps, epochs) if shows else _SILENT
        self._warned = False
        self._logs: Logs = {}
        self._feed: Feed | None = None
        self._epoch = 0  # the number of the epoch that runs, or of the next one
        self._totals: Totals | None = None  # the totals of the epoch that runs

    def around(self, feed: Feed | None, first: int) -> AbstractContextManager[None]:
        """Return the context of all epochs, which calls the hooks before and after them.

        An error leaves the weights in the model, and loggers closed.
        """
        self._feed, self._epoch = feed, first
        return _Around(self)

    def train(self, feed: Feed, steps: int | None, first: int, check: FiniteCheck | None) -> None:
        """Run the epochs from `first` (or where :meth:`resume` says) on, each a pass over the feed."""
        with self.around(feed, first):
            if self._ranks is not ALONE:
                self._ranks.check_start(self._epoch, int(self._model._need_engine("fit").iterations))
            for epoch in range(self._epoch, self._epochs):
                totals = self.begin(epoch)
                if check is not None and check.waits:
                    with check.taking_back(feed):
                        train_epoch(self._model, feed, steps, self._hooks, self._reporter, totals, check_finite=True)
                else:
                    train_epoch(self._model, feed, steps, self._hooks, self._reporter, totals)
                if not totals.steps:  # a generator has ended
                    break
                if self._end(epoch, totals):
                    break

    def minimize(self, optimizer: LBFGS, feed: Feed, first: int) -> None:
        """Run the epochs as iterations of L-BFGS, each over all rows."""
        model = self._model
        samples = next(feed.epoch()).samples

        def before() -> None:
            self.begin(self._epoch)

        def after(sums: Array) -> bool:
            totals = Totals(self._ranks, ready.layout)
            totals.add(Chunk(samples, None, len(samples), 1, len(samples)), sums)
            if self._reporter.verbose:
                self._reporter.done = 1
            return self._end(self._epoch, totals)

        def check() -> None:
            now = model._ready("fit")
            if any(one is not other for one, other in zip(now, ready, strict=True)):
                raise RuntimeError("the model was compiled or built anew in the middle of a fit with LBFGS: fit again")

        with self.around(feed, first):
            if self._epoch < self._epochs:
                with model._home.lock:
                    ready = model._ready("fit")
                    settings = model._parameter_settings()
                    model._look_at_first_rows(ready, samples, len(samples))
                optimizer.minimize(ready.engine, settings, samples, self._epochs - self._epoch, before, check, after)

    def begin(self, epoch: int) -> Totals:
        """Call the hooks at the start of an epoch, and start its bar; return its totals so far."""
        self._epoch, self._totals = epoch, self._totals or Totals(self._ranks)
        self._hooks.call("on_epoch_begin", epoch, {})
        if self._reporter.verbose:
            self._reporter.begin_epoch(epoch)
        return self._totals

    def _end(self, epoch: int, totals: Totals) -> bool:
        """Validate, and log an epoch; return whether it was the last one."""
        held = self._validation
        if held is None or not held.due(epoch):
            return self.end(epoch, totals, {})
        return self.end(epoch, totals, evaluate(self._model, held.feed, held.steps, self._hooks, _SILENT))

    def end(self, epoch: int, totals: Totals, seen: Logs) -> bool:
        """Log an epoch and what its validation has seen; return whether it was the last one."""
        self._warned = self._warned or warn_if_nonfinite(totals, epoch)
        self._logs = totals.means()
        for key, value in seen.items():
            self._logs[f"val_{key}"] = value
        if self._reporter.verbose:
            self._reporter.end(self._logs)
        self._epoch, self._totals = epoch + 1, None
        self._hooks.call("on_epoch_end", epoch, self._logs)
        if self._ranks is not ALONE:
            self._model.stop_training = self._ranks.any(self._model.stop_training)
        return self._model.stop_training

    # ---- going on after an interruption ----

    def state(self) -> dict[str, Any]:
        """Return where the run is, in JSON's types and arrays; with the model's state, all that the rest depends on."""
        return {
            "epoch": self._epoch,
            "totals": None if self._totals is None else self._totals.state(),
            "feed": None if self._feed is None else self._feed.position(),
            "validation": None if self._validation is None else self._validation.feed.position(),
            "logs": self._logs,
            "warned": self._warned,
            "stopped": self._model.stop_training,
            "callbacks": self._hooks.states(),
            "ranks": self._ranks.state(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a state, instead of from the first epoch; for a hook of ``on_train_begin``."""
        self._ranks.check(state.get("ranks", {}))
        self._epoch, self._logs, self._warned = state["epoch"], state["logs"], state["warned"]
        self._totals = state["totals"] and Totals.resumed(
            state["totals"], self._model._ready("fit").layout, self._ranks
        )
        held = None if self._validation is None else self._validation.feed
        for feed, position in ((self._feed, state["feed"]), (held, state["validation"])):
            if feed is not None and position is not None:
                feed.resume(position)
        self._model.stop_training = state["stopped"]
        if state["stopped"] and self._totals is None:  # no epoch was to come
            self._epochs = self._epoch
        self.resume_callbacks(state)

    def resume_callbacks(self, state: dict[str, Any]) -> None:
        """Give the callbacks back what they knew, once the model is as it was; this fit may have more steps."""
        self._model._course = self._model._course[0], self._epochs * (self._steps or 0)
        self._hooks.resume(state["callbacks"])


def evaluate(
    model: Model,
    feed: Feed,
    steps: int | None,
    hooks: CallbackList,
    reporter: Reporter,
    check: FiniteCheck | None = None,
) -> Logs:
    """Return the loss and the metrics of a feed, from its first batch on: one call into the engine, or one a batch.

    The engine is called once a batch where a callback looks in, or the mean of batches' losses is no mean over all
    rows. Ranks share the batches out in consecutive parts, one for each shard; where a callback looks in, or where an
    iterable gives the batches, each rank evaluates all that it was given.
    """
    ranks = hooks.ranks
    watched = ranks.any(hooks.wants(*TEST_BATCH_HOOKS))
    weighted = isinstance(feed, ArrayFeed) and feed.samples.weights is not None
    most = model._steps_per_execution if watched else None
    most = 1 if goals.depend_on_batches(model._goals, weighted) else most
    feed.rewind()  # each epoch is validated on the same rows
    model.stop_evaluating = False
    shared = ranks.shares_rows and isinstance(feed, ArrayFeed) and not watched
    parts: list[Totals] = []
    with weights_as_before(model):
        hooks.call("on_test_begin", {})
        done = 0
        for chunks in _parts(feed, steps, most, ranks) if shared else [feed.epoch(steps, most)]:
            parts.append(totals := Totals(ALONE))
            chunks = _with_hooks(model, chunks, hooks, "test", totals.means) if watched else chunks
            done += _evaluate(model, feed, chunks, totals, reporter, check)
        if reporter.verbose:
            reporter.done = done
        if shared or ranks.sharded:
            layout = model._ready("evaluate").layout
            logs = layout.logs(*ranks.united(layout, [(part.sums, part.rows) for part in parts]))
        else:
            logs = parts[0].means()
        hooks.call("on_test_end", logs)
    return logs


def _parts(feed: Feed, steps: int | None, most: int | None, ranks: Ranks) -> Iterator[Iterator[Chunk]]:
    """Yield the chunks of each of this rank's shards of the batches; a shard may have none."""
    whole = cast("int", feed.steps)
    wanted = whole if steps is None else min(steps, whole)
    if steps is not None and steps > whole:
        warn_of_end(steps - whole)
    for shard in ranks.shards:
        first, end = (wanted * k // ranks.all_shards for k in (shard, shard + 1))
        feed.resume({"at": first})
        yield feed.epoch(end - first, most)
    feed.rewind()


def _evaluate(
    model: Model, feed: Feed, chunks: Iterator[Chunk], totals: Totals, reporter: Reporter, check: FiniteCheck | None
) -> int:
    """Add the sums of some chunks to the totals; return the number of their steps."""
    for chunk in chunks:
        samples = chunk.samples
        with model._home.lock:
            ready = model._ready("evaluate")
            totals.read_by(ready.layout)
            if check is not None and check.waits:
                sums = check.evaluated(ready.engine, chunk, feed)
            else:
                sums = ready.engine.evaluate(samples.x, samples.y, None, samples.weights, chunk.batch)
        totals.add(chunk, sums)
        if reporter.live:
            reporter.update(totals.steps, totals.means)
    return totals.steps


def predict(model: Model, feed: Feed, steps: int | None, hooks: CallbackList, reporter: Reporter) -> Array:
    """Return the outputs for a feed."""
    engine = model._need_engine("predict")
    watched = hooks.wants(*PREDICT_BATCH_HOOKS)
    outputs: list[Array] = []
    seen = 0
    model.stop_predicting = False
    with weights_as_before(model):
        hooks.call("on_predict_begin", {})
        chunks = feed.epoch(steps, model._steps_per_execution if watched else None)
        if watched:
            chunks = _with_hooks(model, chunks, hooks, "predict", lambda: {"outputs": model._outputs(outputs[-1])})
        for chunk in chunks:
            out = np.empty((chunk.rows, engine.plan.outputs), engine.plan.dtype)
            engine.predict(chunk.samples.x, out)
            outputs.append(out)
            seen += chunk.steps
            reporter.update(seen, dict)
        hooks.call("on_predict_end", {})
    outputs = outputs or [np.empty((0, engine.plan.outputs), engine.plan.dtype)]
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def predict_rows(model: Model, rows: Any) -> Array:
    """Return the outputs for rows in memory, or for deferred rows piece by piece."""
    engine = model._need_engine("predict")
    out = np.empty((len(rows), engine.plan.outputs), engine.plan.dtype)
    for start, piece in pieces(rows):
        engine.predict(piece, out[start : start + len(piece)])
    return out


def predict_together(model: Model, rows: Any, ranks: Ranks) -> Array:
    """Return what :func:`predict_rows` does, on each rank, of which each has computed some of the rows."""
    out = np.empty((len(rows), model._need_engine("predict").plan.outputs), model._need_engine("predict").plan.dtype)
    part = ranks.predicted(len(rows))
    if part.stop > part.start:
        out[part] = predict_rows(model, rows[part])
    ranks.outputs(out)
    return out
