"""The model: a stack of layers, trained and served by the engine."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import config, data, layers, losses, metrics, optimizers, plan, utils
from fastnn._engine import Engine
from fastnn.callbacks import Callback, CallbackList, History, Logs, Reporter
from fastnn.layers.base import Layer
from fastnn.predictor import Predictor

Array = npt.NDArray[Any]


def count_argument(name: str, value: Any, low: int) -> int:
    """`value` as an integer of at least `low`, or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return int(value)


class Sequential:
    """A stack of layers, with Keras's interface.

    Parameters
    ----------
    layers : iterable of Layer, optional
    name : str, default "sequential"

    Attributes
    ----------
    layers : list of Layer
    optimizer, loss : Optimizer, Loss
        After :meth:`compile`; the optimizer's numbers may be changed at any time.
    stop_training : bool
        A callback sets it to end ``fit`` after this epoch.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
    >>> model.predict([[1.0, 2.0]], verbose=0).shape
    (1, 1)
    """

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        self.name = name or "sequential"
        self.layers: list[Layer] = []
        self.optimizer: optimizers.Optimizer | None = None
        self.loss: losses.Loss | None = None
        self.stop_training = False
        self.history: History | None = None
        self._metrics: list[Any] = []
        self._engine: Engine | None = None
        self._views: dict[tuple[str, str], Array] = {}
        self._compiled_code = -1
        self._first: Layer | None = None
        self._seed = utils.next_seed()
        self._epochs_done = 0
        for layer in layers or ():
            self._append(layer)
        self._build_if_known()

    # ---- building ----

    def add(self, layer: Layer) -> None:
        """Put a layer on top; the model is built anew, with new weights."""
        self._append(layer)
        self._forget_weights()
        self._build_if_known()

    def pop(self) -> Layer:
        """Take the last layer off and return it; the model is built anew, with new weights."""
        if not self.layers:
            raise ValueError("pop needs a layer, but the model has none")
        layer = self.layers.pop()
        layer.attach(None)
        self._forget_weights()
        self._build_if_known()
        return layer

    def _append(self, layer: Layer) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"layers must be fastnn layers, got {type(layer).__name__}")
        if layer._model is not None or layer._parent is not None:
            raise ValueError(f"layer {layer.name!r} belongs to a model already; make a new one for this model")
        if isinstance(layer, layers.InputLayer) and self.layers:
            raise ValueError("Input must come first in the model")
        taken = {other.name for other in self.layers}
        if layer.name is None:
            base = "input" if isinstance(layer, layers.InputLayer) else type(layer).__name__.lower()
            numbered = (base if not k else f"{base}_{k}" for k in range(len(self.layers) + 1))
            layer.name = next(name for name in numbered if name not in taken)
        elif layer.name in taken:
            raise ValueError(f"name {layer.name!r} is taken: layer names must be unique in a model")
        dtypes = {other.dtype for other in self.layers if other.dtype} | ({layer.dtype} if layer.dtype else set())
        if len(dtypes) > 1:
            raise ValueError(f"dtype must be the same for all layers of a model, got {' and '.join(sorted(dtypes))}")
        layer.attach(self)
        self.layers.append(layer)

    def _forget_weights(self) -> None:
        self._engine = None
        self._views = {}
        self._compiled_code = -1

    def _build_if_known(self) -> None:
        computing = any(not isinstance(layer, layers.InputLayer) for layer in self.layers)
        if computing and self.layers[0].input_features is not None:
            self._build(self.layers[0].input_features)

    def build(self, input_shape: Any) -> None:
        """Create the weights for rows of this shape.

        Parameters
        ----------
        input_shape : tuple
            ``(None, features)`` as in Keras, or ``(features,)``.
        """
        shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else (input_shape,)
        features = layers.base.features_of(shape[1:] if len(shape) == 2 else shape, "input_shape")
        known = self.layers[0].input_features if self.layers else None
        if known is not None and features != known:
            raise ValueError(f"input_shape says {features} features, but the first layer was made for {known}")
        self._build(features)

    def _checked(self, rows: Array, name: str = "x") -> Array:
        """The rows, once the first layer has found in them what it needs."""
        if self._first is not None:
            self._first.check_rows(rows, name)
        return rows

    def _build(self, features: int) -> None:
        policy = self._policy()
        dtype = config.variable_dtype(policy)
        lowered = plan.lower(self.layers, features, policy)
        self.layers[0].dtype = policy  # so that a saved configuration does not depend on the default of the day
        engine = Engine(lowered)
        views = {}
        for spec, initializer in zip(
            lowered.parameters, [p[2] for layer in self.layers for p in layer.parameters()], strict=True
        ):
            size = int(np.prod(spec.shape))
            view = engine.parameters[spec.offset : spec.offset + size].reshape(spec.shape)
            view[...] = initializer(spec.shape, dtype)
            views[spec.layer, spec.name] = view
        last = self.layers[-1]
        if lowered.outputs == 1 and getattr(getattr(last, "activation", None), "name", "") == "softmax":
            warnings.warn("softmax over one unit is always 1: use sigmoid, or two units", UserWarning, stacklevel=4)
        self._engine, self._views, self._compiled_code = engine, views, -1
        self._first = self._choosy_layer()

    def _choosy_layer(self) -> Layer | None:
        """The layer that gets x first, where it takes only some numbers."""
        first = next((layer for layer in self.layers if not isinstance(layer, layers.InputLayer)), None)
        return first if isinstance(first, layers.Embedding) else None

    def _policy(self) -> str:
        return next((layer.dtype for layer in self.layers if layer.dtype), None) or config.dtype_policy()

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return self._engine is not None

    @property
    def dtype(self) -> str:
        """Element type of weights and results; ``"float32"`` with the policy ``"mixed_bfloat16"`` too."""
        return str(self._need_engine("dtype").plan.dtype)

    def _need_engine(self, action: str) -> Engine:
        if self._engine is None:
            raise ValueError(
                f"{action} needs a built model: give the first layer input_shape=(features,), call build, or fit first"
            )
        return self._engine

    # ---- weights ----

    def _weight(self, layer: str, name: str) -> Array:
        return self._views[layer, name]

    @property
    def weights(self) -> list[Array]:
        """Views of all parameters, in the order of the layers: writing to one changes the model."""
        return list(self._views.values())

    def _weights_that(self, trainable: bool) -> list[Array]:
        """Views of the parameters that training changes by their gradients, or of the others."""
        fixed = {(str(layer.name), name) for layer in self.layers for name in layer.non_trainable()}
        return [view for key, view in self._views.items() if (key not in fixed) == trainable]

    @property
    def trainable_weights(self) -> list[Array]:
        """Views of the parameters that training changes by their gradients."""
        return self._weights_that(True)

    @property
    def non_trainable_weights(self) -> list[Array]:
        """Views of the others: moving statistics, and parameters of layers whose ``trainable`` is False."""
        return self._weights_that(False)

    def get_weights(self) -> list[Array]:
        """Copies of all parameters, in the order of the layers."""
        return [view.copy() for view in self._views.values()]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Set all parameters.

        Parameters
        ----------
        weights : sequence of array-like
            As :meth:`get_weights` gives them.

        Raises
        ------
        ValueError
            When their number or a shape is wrong; no weight has changed then.
        """
        self._need_engine("set_weights")
        arrays = [np.asarray(w) for w in weights]
        if len(arrays) != len(self._views):
            raise ValueError(f"weights must hold {len(self._views)} arrays, got {len(arrays)}")
        for (key, view), array in zip(self._views.items(), arrays, strict=True):
            if array.shape != view.shape:
                raise ValueError(f"weights for {'/'.join(key)} must have shape {view.shape}, got {array.shape}")
            if array.dtype.kind not in "fiub":
                raise TypeError(f"weights for {'/'.join(key)} must hold real numbers, got dtype {array.dtype}")
        for view, array in zip(self._views.values(), arrays, strict=True):
            view[...] = array

    def count_params(self) -> int:
        """The number of parameters."""
        self._need_engine("count_params")
        return sum(view.size for view in self._views.values())

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print the layers with their output shapes and numbers of parameters.

        Parameters
        ----------
        print_fn : callable, optional
            Gets each line; default ``print``.
        """
        rows, features = [], self._engine.plan.inputs if self._engine else None
        for layer in self.layers:
            features = None if features is None else layer.build(features)
            shape = f"(None, {features or '?'})"
            activation = getattr(getattr(layer, "activation", None), "name", "")
            rows.append((f"{layer.name} ({type(layer).__name__})", shape, activation, f"{layer.count_params():,}"))
        titles = ("Layer (type)", "Output shape", "Activation", "Parameters")
        widths = [max(len(row[k]) for row in [titles, *rows]) for k in range(4)]

        def line(cells: Sequence[str]) -> str:
            left = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
            return "  ".join([*left, cells[3].rjust(widths[3])])

        rule = "─" * (sum(widths) + 6)
        total = sum(view.size for view in self._views.values())
        size = sum(view.nbytes for view in self._views.values())
        closing = f"Parameters: {total:,} ({size / 1024:,.1f} KiB)" if self._engine else "Not built yet"
        out = print_fn or print
        for text in (f"Model: {self.name}", rule, line(titles), rule, *map(line, rows), rule, closing):
            out(text)

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
        self._compiled_code = -1

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
        code = self.optimizer.code
        if self._compiled_code != code:
            resolved = [self._resolve_metric(m, self.loss, engine.plan.outputs).code for m in self._metrics]
            lowered = plan.lower(self.layers, engine.plan.inputs, self._policy())
            engine.set_frozen([op.frozen for op in lowered.ops])
            engine.compile(self.loss.code, self.loss.targets, resolved, code)
            self._compiled_code = code
        engine.seed = self._seed
        return engine, self.loss, self.optimizer

    def _convert(
        self, action: str, x: Any, y: Any, *, check_finite: bool, names: tuple[str, str] = ("x", "y")
    ) -> tuple[Array, Array]:
        """X and y as the engine reads them, building the model from x where that is still to be done."""
        if self.loss is None or self.optimizer is None:
            raise RuntimeError(f"{action} needs a compiled model: call compile(optimizer=..., loss=...) first")
        engine = self._engine
        dtype = engine.plan.dtype if engine else config.variable_dtype(self._policy())
        rows = data.inputs(x, engine.plan.inputs if engine else None, dtype, check_finite=check_finite, name=names[0])
        if not len(rows):
            raise ValueError(f"{names[0]} must have at least one row, got shape {rows.shape}")
        first = self._choosy_layer()
        if first is not None:
            first.check_rows(rows, names[0])
        outputs = engine.plan.outputs if engine else plan.lower(self.layers, rows.shape[1], dtype).outputs
        wanted = data.targets(y, len(rows), outputs, self.loss, dtype, check_finite=check_finite, name=names[1])
        if engine is None:
            self._build(rows.shape[1])
        return rows, wanted

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
        hooks = CallbackList([*given, history], self, {"epochs": epochs, "steps": steps, "verbose": shown})
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
        self, x: Array, y: Array, given: Any, fraction: float, check_finite: bool
    ) -> tuple[tuple[Array, Array], tuple[Array, Array] | None]:
        """The rows to train on, and those to validate on, if any."""
        if given is not None:
            if not isinstance(given, (tuple, list)) or len(given) != 2:
                raise ValueError("validation_data must be a pair (x, y)")
            names = ("validation_data's x", "validation_data's y")
            return (x, y), self._convert("fit", *given, check_finite=check_finite, names=names)
        return data.split(x, y, fraction) if fraction else ((x, y), None)

    def _run_epoch(
        self, x: Array, y: Array, batch: int, shuffle: bool, epoch: int, hooks: CallbackList, reporter: Reporter
    ) -> Logs:
        """One pass over the data: one call into the engine, or one a batch where a callback looks in."""
        rows = len(x)
        order = data.epoch_order(rows, self._seed, self._epochs_done) if shuffle else None
        engine, _, optimizer = self._ready("fit")

        def progress(steps_done: int, sums: npt.NDArray[np.float64]) -> None:
            reporter.update(steps_done, (sums / max(1, min(steps_done * batch, rows))).tolist())

        if not hooks.wants_batches:
            sums, bad = engine.train(
                x, y, order, batch, optimizer.hyperparameters(), progress if reporter.verbose == 1 else None
            )
        else:
            order = np.arange(rows, dtype=np.int64) if order is None else order
            sums, bad = np.zeros(1 + len(self._metrics)), -1
            for step, start in enumerate(range(0, rows, batch)):
                part = order[start : start + batch]
                hooks.call("on_train_batch_begin", step, {})
                engine, _, optimizer = self._ready("fit")
                seen, nonfinite = engine.train(x, y, part, len(part), optimizer.hyperparameters())
                sums += seen
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
        return dict(zip(self.metrics_names, (sums / rows).tolist(), strict=True))

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

    # ---- evaluation and inference ----

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

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: str | int = 0, check_finite: bool = False
    ) -> Array:
        """The network's outputs.

        Parameters
        ----------
        x : array-like, shape (rows, features)
        batch_size : int, optional
            Accepted as in Keras; the engine chooses its own tiles.
        verbose : {"auto", 0, 1, 2}
            Accepted as in Keras; nothing is printed.
        check_finite : bool, default False
            Raise on NaN and infinity in x, instead of letting them through to the outputs.

        Returns
        -------
        ndarray, shape (rows, outputs)
        """
        engine = self._engine
        if engine is None:
            engine = self._need_engine("predict")
        if batch_size is not None:
            count_argument("batch_size", batch_size, 1)
        if verbose not in (0, 1):
            self._verbosity(verbose)
        rows = self._checked(data.inputs(x, engine.plan.inputs, engine.plan.dtype, check_finite=check_finite))
        out = np.empty((len(rows), engine.plan.outputs), engine.plan.dtype)
        engine.predict(rows, out)
        return out

    predict_on_batch = predict

    def freeze(self) -> Predictor:
        """A frozen copy for the fastest answers, see :class:`fastnn.Predictor`; this model may go on training."""
        return Predictor(self._need_engine("freeze"))

    def __call__(self, x: Any) -> Array:
        """The same as :meth:`predict`."""
        return self.predict(x)

    # ---- the pieces, for those who write their own loop ----

    def forward(self, x: Any, training: bool = False) -> Array:
        """The outputs for these rows; the activations stay for :meth:`backward`.

        Parameters
        ----------
        x : array-like, shape (rows, features)
        training : bool, default False
            Run as in a training step: with dropout and noise, and batch normalization by the statistics of these rows,
            which also move its moving statistics.
        """
        engine = self._need_engine("forward")
        engine.seed = self._seed
        rows = data.inputs(x, engine.plan.inputs, engine.plan.dtype, check_finite=False)
        return engine.forward(self._checked(rows), bool(training))

    def backward(self, grad: npt.ArrayLike) -> Array:
        """Gradients from the gradient of any loss by the outputs of the last :meth:`forward`.

        Parameters
        ----------
        grad : array-like, shape (rows, outputs)

        Returns
        -------
        ndarray, shape (rows, features)
            The gradient by the inputs; those by the parameters are in :attr:`gradients`.
        """
        engine = self._need_engine("backward")
        return engine.backward(np.ascontiguousarray(grad, engine.plan.dtype))

    @property
    def gradients(self) -> list[Array]:
        """Views of the gradients, like :attr:`weights`."""
        engine = self._need_engine("gradients")
        flat = engine.gradients
        return [
            flat[spec.offset : spec.offset + int(np.prod(spec.shape))].reshape(spec.shape)
            for spec in engine.plan.parameters
        ]

    def apply_gradients(self) -> None:
        """One optimizer step from :attr:`gradients`."""
        engine, _, optimizer = self._ready("apply_gradients")
        engine.apply_gradients(optimizer.hyperparameters())

    # ---- configuration and files ----

    def get_config(self) -> dict[str, Any]:
        """A JSON-able description of the layers, without weights."""
        return {"name": self.name, "layers": [layers.serialize(layer) for layer in self.layers]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sequential:
        """A new model, with new weights, from :meth:`get_config`."""
        return cls([layers.deserialize(layer) for layer in config["layers"]], name=config["name"])

    def _compile_config(self) -> dict[str, Any] | None:
        if self.loss is None or self.optimizer is None:
            return None
        chosen = [m if isinstance(m, str) else metrics.log_key(m) for m in self._metrics]
        return {
            "optimizer": optimizers.serialize(self.optimizer),
            "loss": losses.serialize(self.loss),
            "metrics": chosen,
        }

    def save(self, path: Any) -> None:
        """Write weights, configuration and optimizer state to one file; see :func:`fastnn.load_model`."""
        from fastnn import saving

        saving.save_model(self, path)


def clone_model(model: Sequential) -> Sequential:
    """A new model of the same layers, with weights of its own, not compiled.

    Parameters
    ----------
    model : Sequential

    Returns
    -------
    Sequential

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
    >>> fastnn.clone_model(model).count_params()
    3
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model must be a Sequential model, got {type(model).__name__}")
    clone = Sequential.from_config(model.get_config())
    if model._engine is not None and not clone.built:
        clone.build((None, model._engine.plan.inputs))
    return clone
