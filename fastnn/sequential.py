"""The model: a stack of layers, trained and served by the engine."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import _ranks, _small_weights, _starts, _stored, config, goals, layers, loop
from fastnn._arguments import no_arguments_of_arrays, optional_count, verbosity
from fastnn._fitting import facts_of_model
from fastnn._foreign import owner_of
from fastnn._public import name_methods
from fastnn._seeds import next_seed
from fastnn.callbacks import Callback, CallbackList
from fastnn.callbacks.reporter import Reporter
from fastnn.compiling import Compiled
from fastnn.data import arrays, sparse
from fastnn.data.feeds import ArrayFeed, BatchFeed, Batching, Samples, gives_batches
from fastnn.exports import Exports
from fastnn.layers._preparation import preparation, raw_reader
from fastnn.layers.base import check_width, row_axes
from fastnn.network import Network
from fastnn.predictor import Predictor
from fastnn.reading import Reader
from fastnn.stepping import Stepper
from fastnn.training import Trainer

__all__ = ["Sequential"]

Array = npt.NDArray[Any]


class Sequential(Exports):
    """A stack of layers, with Keras's interface.

    Parameters
    ----------
    layers : iterable of Layer, optional
    name : str, default "sequential"

    Attributes
    ----------
    layers : list of Layer
        A new list, as in Keras: changing it does not change the model, which :meth:`add` and :meth:`pop` do.
    optimizer, loss : Optimizer, Loss
        What :meth:`compile` was given. The optimizer may be replaced, and any of its arguments changed, at any time:
        that counts from the next call on.
    feature_names : tuple of str or None
        The names of the columns of x in their order, which the first data frame said; see :attr:`feature_names`.
    column_names : dict of str to tuple of str
        The names of the columns of frames in other places than x, such as ``"y"``; see :attr:`column_names`.
    stop_training : bool
        A callback sets it to end ``fit`` after this epoch.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
    >>> model.predict([[1.0, 2.0]], verbose=0).shape
    (1, 1)
    """

    # ---- inference ----

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        check_finite: bool = False,
    ) -> Any:
        """Return the network's outputs.

        Parameters
        ----------
        x : array-like, shape (rows, features), or iterable of batches
            Rows as for :meth:`fit`; where batches are tuples, their first part counts.
        batch_size : int, optional
            The number of rows of a batch, for `steps` and for callbacks with batch hooks; results do not depend on it.
            Default: 32, or with `steps` as many as let `steps` batches hold all rows.
        verbose : {"auto", 0, 1, 2}
            A bar (1), a line at the end (2) or nothing (auto, 0): a call for a few rows takes microseconds.
        steps : int, optional
            The number of batches to predict. Default: all of them.
        callbacks : Callback or sequence of Callback, optional
        check_finite : bool, default False
            Raise on NaN and infinity in x, instead of letting them through to the outputs.

        Returns
        -------
        ndarray, shape (rows, outputs)
            For a model with heads a dict of such arrays by name, which are views of one array.
        """
        engine = self._engine
        if engine is None:
            engine = self._need_engine("predict")
        batch = optional_count("batch_size", batch_size)
        shown = 0 if verbose == "auto" else verbosity(verbose)
        if callbacks is None and steps is None and not shown and (type(x) is np.ndarray or not gives_batches(x)):
            ranks = _ranks.current()
            if ranks.shares_rows:
                return self._outputs(self._predicted_together(x, check_finite, ranks))
            return self._outputs(loop.predict_rows(self, self._rows_to_predict(x, check_finite)))

        wanted = optional_count("steps", steps)
        hooks = CallbackList(callbacks)
        feed: loop.Feed
        if gives_batches(x):
            no_arguments_of_arrays(x, batch_size=batch_size)
            feed = BatchFeed(x, lambda given, name: self._batch_to_predict(given, f"{name}'s x", check_finite))
        else:
            rows = self._rows_to_predict(x, check_finite)
            feed = ArrayFeed(Samples(rows), Batching(batch, wanted).rows_of_a_batch(len(rows)))
        steps_shown = feed.steps if wanted is None else wanted
        hooks.attach(self, {"epochs": 1, "steps": steps_shown, "verbose": shown})
        reporter = Reporter(shown, steps_shown)
        reporter.begin("Predict")
        try:
            outputs = loop.predict(self, feed, wanted, hooks, reporter)
            reporter.end({})
        finally:
            reporter.close()
        return self._outputs(outputs)

    def _predicted_together(self, x: Any, check_finite: bool, ranks: _ranks.Ranks) -> Array:
        with ranks.call("predict"):
            rows = self._rows_to_predict(x, check_finite)
            ranks.agree(self, facts_of_model(self) | {"rows of x": len(rows)})
            return loop.predict_together(self, rows, ranks)

    def _rows_to_predict(self, x: Any, check_finite: bool, name: str = "x") -> Any:
        engine = self._need_engine("predict")
        rows, _ = self._inputs(x, engine.plan.dtype, check_finite=check_finite, name=name, defer=True)
        return self._checked(rows, name)

    def _batch_to_predict(self, batch: Any, name: str, check_finite: bool) -> Samples:
        rows = self._rows_to_predict(batch[0] if isinstance(batch, (tuple, list)) else batch, check_finite, name)
        return Samples(rows)

    def predict_on_batch(self, x: Any) -> Any:
        """Return what :meth:`predict` returns, for rows in memory.

        Parameters
        ----------
        x : array-like
        """
        return self.predict(x)

    def freeze(self, weights: str | None = None, rows: Any = None) -> Predictor:
        """Return a frozen copy for the fastest answers, a :class:`fastnn.Predictor`; this model may train on.

        Parameters
        ----------
        weights : {"float32", "float64", "bfloat16", "int8"}, optional
            How the kernels of dense layers are kept. By default as the model has them. ``"bfloat16"`` needs half the
            memory of ``"float32"``, and ``"int8"``, with a scale for each column, a quarter: a row through a network
            that is larger than a processor's nearest cache is answered the sooner. Weights are rounded once, here;
            biases and all other parameters stay float32, and so do kernels of fewer than 9 columns (of 5, for int8),
            which would not be smaller. The rows that pass through stay float32; for a product with int8 they are
            rounded to 16 bits, by a scale for each row.
        rows : array-like, shape (rows, features), optional
            Rows for which the ``report`` says how far `weights` changes the outputs.

        Returns
        -------
        Predictor
            Its ``report`` says what the weights need, and by how much the outputs changed.

        Raises
        ------
        ValueError
            When the model is not built; when `weights` is none of these, or rounds and the model is float64; when
            weights to become int8 are not finite.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((64,)), fastnn.layers.Dense(32)])
        >>> report = model.freeze("int8").report
        >>> report["bytes_before"], report["bytes_after"]
        (8320, 2560)
        """
        branches, heads = self._branches, self._heads
        engine = self._need_engine("freeze")
        given = None
        if rows is not None:
            if sparse.is_sparse(rows):
                raise TypeError(
                    "rows is sparse, and freeze needs dense rows: a few hundred, as rows[:500].toarray() gives"
                )
            read = self._inputs(rows, engine.plan.dtype, check_finite=True, name="rows")[0]
            given = np.asarray(self._checked(read, "rows"))
        axes = row_axes(self._layers, self._told_axes)
        named = () if branches is None else (branches.columns, branches.built_widths, branches.axes)
        first, with_missing = self._first_layer(), () if branches is None else tuple(branches.with_missing)
        missing = first is not None and first.takes_missing
        reader = arrays.RowReader(axes, *named)._replace(missing=missing, with_missing=with_missing)
        reader = reader._replace(names=self.feature_names, column_names=self.column_names)
        stacks = {"": self._layers} if branches is None else {str(s.name): s._layers for s in branches._layers}
        prepare = {name: preparation(stack) for name, stack in stacks.items() if raw_reader(stack) is not None}
        if prepare:
            reader = reader._replace(prepare=prepare, together=() if branches is None else branches.together)
        kept, report = _small_weights.freeze(engine, weights, given, Predictor)
        return Predictor(kept, reader, None if heads is None else heads.outputs, report)

    def __call__(self, x: Any, training: bool | None = False) -> Any:
        """Return what :meth:`predict` returns, or with `training` what :meth:`forward` does."""
        return self.forward(x, training=True) if training else self.predict(x)

    # ---- starting over ----

    def reset(self) -> None:
        """Start over with fresh weights and optimizer state, and another order of rows; the configuration stays.

        The learning rate and the other numbers of the optimizer stay as they are, and views of weights remain views.
        """
        with self._home.lock:
            engine = self._need_engine("reset")
            specs = engine.plan.parameters
            fresh = [draw(spec.shape, self.dtype) for spec, draw in zip(specs, self._initializers(), strict=True)]
            for view, values in zip(self._home.views.values(), fresh, strict=True):
                view[...] = values
            engine.forget()
            self._seed, self._epochs_done, self.history, self._course = next_seed(), 0, None, (0, 0)
            if self._optimizer is not None:
                self._optimizer.detach()
                self._compiled_code = None
                self._ready("reset")

    def initialize(self, x: Any, kernel: str | None = "std", bias: str | None = "he+5", max_rows: int = 10_000) -> None:
        """Let rows of data say how the kernels and biases of the Dense layers start.

        From the first layer to the last, wherever in the network, each unit's column of the kernel is divided by the
        standard deviation that its argument x W has on these rows, as the network before it is by then: with a
        parametrization other than the standard one, the factor outside the kernel counts. Then the biases are set.

        Parameters
        ----------
        x : array-like, shape (rows, features)
            At least two rows, as for :meth:`fit`. A model that is not built yet is built for them.
        kernel : {"std", None}, default "std"
            Whether kernels are scaled, so that the variance of each unit's argument is 1. A unit whose argument is the
            same in all rows keeps its weights; one whose terms cancel each other, so that it varies by less than a
            tenth of what uncorrelated columns would make, has a smaller variance, in place of huge weights.
            Initializers say what is scaled: ``"random_normal"``, for example.
        bias : {"he+5", None}, default "he+5"
            Whether biases are set: to minus the mean of the argument in five of the rows, of random weights, so that an
            activation bends within the data.
        max_rows : int, default 10,000
            Of more rows, so many are taken at random.

        Raises
        ------
        TypeError, ValueError
            When x cannot be used, as for :meth:`fit`, or is sparse; the model is as it was then.

        Notes
        -----
        These are the starts of RealMLP (Holzmüller, Grinsztajn and Steinwart, Better by default, 2024), whose biases
        are those of Steinwart, A sober look at neural network initializations (2019). What is drawn depends on the
        model's seed alone. The rows go through the network as in :meth:`predict`, without dropout and noise. Layers
        that are not trainable keep their weights; the optimizer's state stays.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((1,)), fastnn.layers.Dense(3, use_bias=False)])
        >>> model.initialize([[-10.0], [30.0]])
        >>> abs(model.layers[-1].kernel * 20).round(3)
        array([[1., 1., 1.]], dtype=float32)
        """
        _starts.check_start("kernel", kernel, _starts.KERNELS)
        _starts.check_start("bias", bias, _starts.BIASES)
        most = check_width("max_rows", max_rows)
        if sparse.is_sparse(x):
            raise TypeError("x is sparse, and initialize needs dense rows: a few thousand, as x[:5000].toarray() gives")
        with self._as_it_was_on_error(x):
            rows = self._rows_to_start(x)
            generator = np.random.default_rng(self._seed)
            if len(rows) > most:
                chosen = np.sort(generator.choice(len(rows), most, replace=False))
                rows = rows.read(chosen) if isinstance(rows, arrays.Deferred) else rows[chosen]
            with self._home.setting_weights():
                engine = self._need_engine("initialize")
                self._heed_changes()
                told = engine.plan, self._layers, engine.parameters
                engine.parameters[...] = _starts.started(*told, rows, kernel, bias, generator)

    def _rows_to_start(self, x: Any) -> Any:
        """Return x as the engine reads it; build the model for it where that is still to be done."""
        dtype = self._engine.plan.dtype if self._engine else config.variable_dtype(self._policy())
        rows, features = self._inputs(self._learned(x), dtype, check_finite=False, defer=True, learns=True)
        if len(rows) < 2:
            raise ValueError(f"x must have at least two rows to initialize, got {len(rows)}")
        if self._engine is None:
            self._build(features)
        return self._checked(rows)

    # ---- configuration and files ----

    def get_config(self) -> dict[str, Any]:
        """Return a JSON-able description of the layers and of the columns' names, without weights."""
        config = {"name": self.name, "layers": [layers.serialize(layer) for layer in self._layers]}
        if self.feature_names is not None:
            config["feature_names"] = list(self.feature_names)
        known = self._home.column_names
        return config | ({"column_names": {place: list(names) for place, names in known.items()}} if known else {})

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sequential:
        """Return a new model, with new weights, from the result of :meth:`get_config`.

        Parameters
        ----------
        config : dict
            A configuration of fastnn, or one that Keras 2 or 3 gives for a Sequential of layers that fastnn has.

        Raises
        ------
        TypeError, ValueError
            When `config` is no such description, or describes what fastnn cannot do.
        """
        if not isinstance(config, dict):
            raise TypeError(f"config must be a dict, as get_config gives it, got {type(config).__name__}")
        if not isinstance(config.get("layers"), (list, tuple)):
            held = ", ".join(map(repr, config)) or "nothing"
            raise ValueError(f"config must have a list of layers under 'layers', as get_config gives it, got {held}")
        model = cls([layers.deserialize(layer) for layer in config["layers"]], name=config.get("name"))
        # the shape with which Keras built a model without an Input
        if config.get("build_input_shape") is not None and not model.built:
            model.build(config["build_input_shape"])
        if config.get("feature_names") is not None:
            model.feature_names = config["feature_names"]
        if config.get("column_names") is not None:
            model.column_names = config["column_names"]
        return model

    def to_json(self, **options: Any) -> str:
        """Return the configuration as JSON, from which :func:`fastnn.models.model_from_json` makes such a model.

        Parameters
        ----------
        options
            Arguments of ``json.dumps``, such as ``indent``.
        """
        return json.dumps({"class_name": "Sequential", "config": self.get_config()}, **options)

    def save(self, filepath: Any) -> None:
        """Write weights, configuration and optimizer state to one file; see :func:`fastnn.load_model`.

        Parameters
        ----------
        filepath : path-like
            The path of the file; an existing file is replaced as a whole, or not at all.
        """
        _stored.save(self, filepath)

    def save_weights(self, filepath: Any) -> None:
        """Write weights and configuration to one file, without the state of training; see :meth:`load_weights`.

        Parameters
        ----------
        filepath : path-like
        """
        _stored.save(self, filepath, training=False)

    def load_weights(self, filepath: Any) -> None:
        """Set all weights from a file that :meth:`save` or :meth:`save_weights` wrote, here or in Keras.

        Parameters
        ----------
        filepath : path-like
            Keras's are ``.weights.h5``, ``.h5`` and ``.keras``. A stack of layers takes them in their order, as in
            Keras; a model with branches, residual blocks or heads by the names of the layers.

        Raises
        ------
        fastnn.ModelFileError
            When the file is no whole model, or its weights do not fit this model; no weight has changed then.
        OSError
            When the file cannot be read.
        """
        if owner_of(filepath) == "Keras":
            from fastnn.exchange import _keras_files

            _keras_files.load_weights(self, filepath)
        else:
            _stored.load_weights(self, filepath)

    def _restore(self, path: str | os.PathLike[str]) -> None:
        """Take over the whole state that a file holds of a model like this one."""
        _stored.restore(self, path, Sequential)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickle and deepcopy need: the bytes of the model's file, and its Python losses and metrics."""
        functions = goals.arguments(self._goals) if goals.called(self._goals) else None
        return _stored.from_bytes, (_stored.to_bytes(self), type(self), functions)


name_methods(Sequential, Exports, Stepper, Trainer, Compiled, Reader, Network)
