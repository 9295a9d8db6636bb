"""Training and evaluation: what a model does with targets."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from fastnn import config, data, losses, metrics, optimizers, plan
from fastnn._engine import Engine
from fastnn.callbacks import Callback, CallbackList, History, Logs, Reporter
from fastnn.layers.base import Layer
from fastnn.network import Network

if TYPE_CHECKING:
    from fastnn.models import Sequential

Array = npt.NDArray[Any]


def count_argument(name: str, value: Any, low: int) -> int:
    """`value` as an integer of at least `low`, or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return int(value)


class Trainer(Network):
    """A network with a loss, metrics and an optimizer; see :class:`fastnn.Sequential`."""

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        self.optimizer: optimizers.Optimizer | None = None
        self.loss: losses.Loss | None = None
        self.stop_training = False
        self.history: History | None = None
        self._metrics: list[Any] = []
        self._measured: list[metrics.Metric] = []
        self._epochs_done = 0
        super().__init__(layers, name)

    # ---- compiling ----

    def compile(self, optimizer: Any = None, loss: Any = None, metrics: Sequence[Any] | None = None) -> None:
        """Say how to train.

        Parameters
        ----------
        optimizer : str or Optimizer
            ``"adam"``, ``"sgd"``, or an instance with its numbers.
        loss : str or Loss
        metrics : sequence of str or Metric, optional
            ``"accuracy"`` becomes the kind that fits the loss.
        """
        if optimizer is None or loss is None:
            missing = "optimizer" if optimizer is None else "loss"
            raise ValueError(f"compile needs {missing}=..., e.g. compile(optimizer='adam', loss='mse')")
        if isinstance(metrics, str):
            raise TypeError(f"metrics must be a list, got the string {metrics!r}: write metrics=[{metrics!r}]")
        chosen_optimizer, chosen_loss, chosen = optimizers.get(optimizer), losses.get(loss), list(metrics or ())
        for metric in chosen:
            self._resolve_metric(metric, chosen_loss, 2)
        self.optimizer, self.loss, self._metrics = chosen_optimizer, chosen_loss, chosen
        self._compiled_code = None

    @staticmethod
    def _resolve_metric(identifier: Any, loss: losses.Loss, outputs: int) -> metrics.Metric:
        metric = metrics.get(identifier, loss, outputs)
        if metric.targets != loss.targets:
            needs = "integer labels" if metric.targets == losses.LABELS else "targets shaped like the output"
            raise ValueError(f"metric {metric.name!r} needs {needs}, which the loss {loss.name!r} does not use")
        return metric

    @property
    def metrics_names(self) -> list[str]:
        """``loss`` and the names of the metrics, in the order of ``evaluate``."""
        return ["loss", *(metrics.log_key(metric) for metric in self._metrics)]

    def _ready(self, action: str) -> tuple[Engine, losses.Loss, optimizers.Optimizer]:
        """The engine, set up for the loss, the metrics and the optimizer as they are now."""
        if self.loss is None or self.optimizer is None:
            raise RuntimeError(f"{action} needs a compiled model: call compile(optimizer=..., loss=...) first")
        engine = self._need_engine(action)
        code = (self.optimizer.code, self.optimizer.slots)
        if self._compiled_code != code:
            self._measured = [self._resolve_metric(m, self.loss, engine.plan.outputs) for m in self._metrics]
            measures = [metric.measure() for metric in self._measured]
            lowered = plan.lower(self.layers, engine.plan.inputs, self._policy())
            engine.set_frozen([op.frozen for op in lowered.ops])
            engine.compile([self.loss.head(engine.plan.outputs, measures)])
            engine.set_optimizer(*code, plan.training_rules(self.layers, engine.plan.parameters, self.optimizer.decays))
            self.optimizer.attach(engine)
            self._compiled_code = code
        engine.seed = self._seed
        return engine, self.loss, self.optimizer

    def _convert(
        self, action: str, x: Any, y: Any, *, check_finite: bool, names: tuple[str, str] = ("x", "y")
    ) -> tuple[data.Rows, Array]:
        """X and y as the engine reads them, building the model from x where that is still to be done."""
        if self.loss is None or self.optimizer is None:
            raise RuntimeError(f"{action} needs a compiled model: call compile(optimizer=..., loss=...) first")
        engine = self._engine
        dtype = engine.plan.dtype if engine else config.variable_dtype(self._policy())
        rows = data.inputs(x, engine.plan.inputs if engine else None, dtype, check_finite=check_finite, name=names[0])
        if not len(rows):
            raise ValueError(f"{names[0]} must have at least one row, got shape {rows.shape}")
        first = self._first_layer()
        if first is not None:
            first.check_input(rows, names[0])
        outputs = engine.plan.outputs if engine else plan.lower(self.layers, rows.shape[1], dtype).outputs
        wanted = data.targets(y, len(rows), outputs, self.loss, dtype, check_finite=check_finite, name=names[1])
        if engine is None:
            self._build(rows.shape[1])
        return rows, wanted

    def _compile_config(self) -> dict[str, Any] | None:
        if self.loss is None or self.optimizer is None:
            return None
        chosen = [m if isinstance(m, str) else metrics.log_key(m) for m in self._metrics]
        return {
            "optimizer": optimizers.serialize(self.optimizer),
            "loss": losses.serialize(self.loss),
            "metrics": chosen,
        }

    # ---- training ----

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
        check_finite: bool = True,
    ) -> History:
        """Train, `epochs` times over the data.

        Parameters
        ----------
        x : array-like, shape (rows, features)
            Used in place where it has the model's dtype and contiguous rows, else converted once.
        y : array-like
            Labels (rows,) for sparse losses, else (rows, outputs).
        batch_size : int, default 32
            Rows of one optimizer step; the last batch of an epoch may have fewer.
        epochs : int, default 1
            The number of the last epoch, counted from `initial_epoch`.
        verbose : {"auto", 0, 1, 2}
            A bar (auto, 1), a line an epoch (2), nothing (0).
        callbacks : sequence of Callback, optional
        validation_split : float, default 0
            This share of the last rows (before shuffling) is held back and evaluated after each epoch.
        validation_data : tuple (x, y), optional
        shuffle : bool, default True
            A new order of rows each epoch.
        initial_epoch : int, default 0
        check_finite : bool, default True
            Look for NaN and infinity in x and y, once.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError, RuntimeError
            In one sentence, before anything changes.
        KeyboardInterrupt
            After Ctrl-C, with the weights of the last finished step.
        """
        batch = 32 if batch_size is None else count_argument("batch_size", batch_size, 1)
        epochs, first = count_argument("epochs", epochs, 0), count_argument("initial_epoch", initial_epoch, 0)
        shown = self._verbosity(verbose)
        given = list(callbacks or ())
        for callback in given:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks must hold fastnn callbacks, got {type(callback).__name__}")
        built = self.built
        xs, ys = self._convert("fit", x, y, check_finite=check_finite)
        try:
            (xs, ys), held = self._hold_back(xs, ys, validation_data, validation_split, check_finite)
        except (TypeError, ValueError):
            if not built:  # a failed call leaves the model as it was
                self._forget_weights()
            raise
        engine, _, _ = self._ready("fit")

        steps = -(-len(xs) // batch)
        history = History()
        hooks = CallbackList(
            [*given, history], cast("Sequential", self), {"epochs": epochs, "steps": steps, "verbose": shown}
        )
        self.stop_training, self.history = False, history
        logs: Logs = {}
        hooks.call("on_train_begin", {})
        try:
            for epoch in range(first, epochs):
                hooks.call("on_epoch_begin", epoch, {})
                reporter = Reporter(shown, steps, self.metrics_names)
                reporter.begin(f"Epoch {epoch + 1}/{epochs}")
                try:
                    logs = self._run_epoch(xs, ys, batch, shuffle, epoch, hooks, reporter)
                    if held is not None:
                        sums = engine.evaluate(*held)
                        logs |= {f"val_{k}": v for k, v in self._means(sums, len(held[0])).items()}
                    reporter.end(logs)
                finally:
                    reporter.close()
                hooks.call("on_epoch_end", epoch, logs)
                if self.stop_training:
                    break
        finally:
            hooks.call("on_train_end", logs)
        return history

    def _hold_back(
        self, x: data.Rows, y: Array, given: Any, fraction: float, check_finite: bool
    ) -> tuple[tuple[data.Rows, Array], tuple[data.Rows, Array] | None]:
        """The rows to train on, and those to validate on, if any."""
        if given is not None:
            if not isinstance(given, (tuple, list)) or len(given) != 2:
                raise ValueError("validation_data must be a pair (x, y)")
            names = ("validation_data's x", "validation_data's y")
            return (x, y), self._convert("fit", *given, check_finite=check_finite, names=names)
        return data.split(x, y, fraction) if fraction else ((x, y), None)

    def _run_epoch(
        self, x: data.Rows, y: Array, batch: int, shuffle: bool, epoch: int, hooks: CallbackList, reporter: Reporter
    ) -> Logs:
        """One pass over the data: one call into the engine, or one a batch where a callback looks in."""
        rows = len(x)
        order = data.epoch_order(rows, self._seed, self._epochs_done) if shuffle else None
        engine, _, optimizer = self._ready("fit")

        def progress(steps_done: int, sums: npt.NDArray[np.float64]) -> None:
            reporter.update(steps_done, list(self._means(sums, max(1, min(steps_done * batch, rows))).values()))

        if not hooks.wants_batches:
            sums, bad = engine.train(
                x, y, order, batch, optimizer.hyperparameters(), progress if reporter.verbose == 1 else None
            )
        else:
            order = np.arange(rows, dtype=np.int64) if order is None else order
            sums, bad = np.zeros(1), -1
            for step, start in enumerate(range(0, rows, batch)):
                part = order[start : start + batch]
                hooks.call("on_train_batch_begin", step, {})
                engine, _, optimizer = self._ready("fit")
                seen, nonfinite = engine.train(x, y, part, len(part), optimizer.hyperparameters())
                sums = sums + seen
                bad = step if bad < 0 <= nonfinite else bad
                hooks.call("on_train_batch_end", step, self._means(sums, start + len(part)))
                progress(step + 1, sums)
        self._epochs_done += int(shuffle)
        if bad >= 0 and not getattr(hooks, "warned", False):
            hooks.warned = True  # type: ignore[attr-defined]
            warnings.warn(
                f"the loss is not finite from epoch {epoch + 1}, step {bad + 1} on: try a smaller learning rate",
                RuntimeWarning,
                stacklevel=3,
            )
        return self._means(sums, rows)

    def _means(self, sums: npt.NDArray[np.float64], rows: int) -> Logs:
        """The loss and the metrics from the engine's sums."""
        states = [] if self._engine is None else self._engine.states
        values = [metric.value(sums[state]) for metric, state in zip(self._measured, states, strict=True)]
        return dict(zip(self.metrics_names, [float(sums[0] / rows), *values], strict=True))

    @staticmethod
    def _verbosity(verbose: str | int) -> int:
        if verbose == "auto":
            return 1
        if verbose not in (0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
        return int(verbose)

    def _result(self, sums: npt.NDArray[np.float64], rows: int, return_dict: bool) -> Any:
        means = self._means(sums, rows)
        if return_dict:
            return means
        values = list(means.values())
        return values if len(values) > 1 else values[0]

    def train_on_batch(self, x: Any, y: Any, return_dict: bool = False, check_finite: bool = True) -> Any:
        """One optimizer step on these rows; returns this batch's loss, or [loss, *metrics]."""
        xs, ys = self._convert("train_on_batch", x, y, check_finite=check_finite)
        engine, _, optimizer = self._ready("train_on_batch")
        sums, _ = engine.train(xs, ys, None, len(xs), optimizer.hyperparameters())
        return self._result(sums, len(xs), return_dict)

    # ---- evaluation ----

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        return_dict: bool = False,
        check_finite: bool = True,
    ) -> Any:
        """The loss, or a list of the loss and the metrics, as means over all rows.

        Parameters
        ----------
        x, y : array-like
            As for :meth:`fit`.
        batch_size : int, optional
            Accepted as in Keras; the result does not depend on it.
        verbose : {"auto", 0, 1, 2}
        return_dict : bool, default False
            Return a dict with the names as keys.
        check_finite : bool, default True
        """
        batch = 32 if batch_size is None else count_argument("batch_size", batch_size, 1)
        shown = self._verbosity(verbose)
        self._need_engine("evaluate")
        xs, ys = self._convert("evaluate", x, y, check_finite=check_finite)
        engine, _, _ = self._ready("evaluate")
        reporter = Reporter(shown, -(-len(xs) // batch), self.metrics_names)
        reporter.begin("Evaluate")
        try:
            sums = engine.evaluate(xs, ys)
            reporter.end(self._means(sums, len(xs)))
        finally:
            reporter.close()
        return self._result(sums, len(xs), return_dict)

    def test_on_batch(self, x: Any, y: Any, return_dict: bool = False, check_finite: bool = True) -> Any:
        """As :meth:`evaluate`, without printing."""
        return self.evaluate(x, y, verbose=0, return_dict=return_dict, check_finite=check_finite)
