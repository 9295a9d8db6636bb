"""What MLPClassifier and MLPRegressor share: a network of their arguments, trained as scikit-learn does."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from fastnn import layers, optimizers, regularizers
from fastnn._draws import undrawn
from fastnn._seeds import seeds_from
from fastnn._warnings import warn
from fastnn.callbacks import Callback
from fastnn.models import Sequential
from fastnn.sklearn._estimator import NOT_FINITE, NetworkEstimator
from fastnn.sklearn._stopping import Record, StoppingRule
from fastnn.sklearn._targets import SeveralTargets, Targets, TwoClasses, link_of
from fastnn.sklearn._task import Task, link_of_model

Array = npt.NDArray[Any]
ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}  # scikit-learn's names for ours
OUT_ACTIVATIONS = {"linear": "identity", "sigmoid": "logistic", "exponential": "exp"}
NORMALIZATIONS = {"batch": layers.BatchNormalization, "layer": layers.LayerNormalization}
# What a network is built of; training that goes on cannot change it.
ARCHITECTURE = ("activation", "dropout", "hidden_layer_sizes", "loss", "normalization", "output_activation")


def is_stochastic(estimator: MultilayerPerceptron) -> bool:
    """Return whether the solver goes over batches; raise AttributeError where it does not, as scikit-learn does."""
    if _is_lbfgs(estimator.solver):
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


def _is_lbfgs(solver: Any) -> bool:
    return isinstance(solver, optimizers.LBFGS) or (isinstance(solver, str) and solver.lower() == "lbfgs")


class MultilayerPerceptron(NetworkEstimator):
    """The base of MLPClassifier and MLPRegressor."""

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012  # scikit-learn reads it from the class
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [str, "array-like", callable, HasMethods("get_config")],
        "solver": [str, HasMethods("get_config")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither"), HasMethods("get_config")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like", HasMethods("get_config")],
        "normalization": [StrOptions(set(NORMALIZATIONS)), None],
        "output_activation": [str, callable, HasMethods("get_config"), None],
        "kernel_initializer": [str, HasMethods("get_config"), None],
        "bias_initializer": [str, HasMethods("get_config"), None],
        "callbacks": [Callback, list, tuple, None],
        "match_columns": ["boolean"],
        "num_threads": [Interval(Integral, 1, 256, closed="both"), None],
    }

    # The arguments of the constructors, which these only keep, as scikit-learn asks.
    hidden_layer_sizes: Any
    activation: Any
    solver: Any
    alpha: float
    batch_size: int | str
    learning_rate: str
    learning_rate_init: Any
    power_t: float
    max_iter: int
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    loss: Any
    dropout: Any
    normalization: str | None
    output_activation: Any
    kernel_initializer: Any
    bias_initializer: Any

    # ---- the network ----

    def _sizes(self) -> list[int]:
        given = self.hidden_layer_sizes
        sizes = list(given) if hasattr(given, "__iter__") else [given]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _a_layer(self, argument: str, count: int) -> list[Any]:
        """Return what an argument says of each hidden layer: one value for all, or a list with one for each."""
        given = getattr(self, argument)
        if not isinstance(given, (list, tuple, np.ndarray)):
            return [given] * count
        if len(given) != count:
            raise ValueError(f"{argument} must have a value for each of {count} hidden layers, got {len(given)}")
        return list(given)

    def _dense(self, units: int, activation: Any, penalty: float) -> layers.Dense:
        options = {
            "kernel_initializer": self.kernel_initializer,
            "bias_initializer": self.bias_initializer,
        }
        return layers.Dense(
            units,
            activation,
            kernel_regularizer=regularizers.L2(penalty) if penalty else None,
            **{name: copy.deepcopy(value) for name, value in options.items() if value is not None},
        )

    def _layers(self, targets: Targets, penalty: float) -> list[Any]:
        """Return the layers, with the factor of their penalty."""
        sizes, stack = self._sizes(), list[Any]()
        dropout, activations = self._a_layer("dropout", len(sizes)), self._a_layer("activation", len(sizes))
        for units, activation, rate in zip(sizes, activations, dropout, strict=True):
            function = ACTIVATIONS.get(activation, activation) if isinstance(activation, str) else activation
            if self.normalization is None:
                stack.append(self._dense(units, copy.deepcopy(function), penalty))
            else:
                stack += [self._dense(units, None, penalty), NORMALIZATIONS[self.normalization]()]
                stack.append(layers.Activation(copy.deepcopy(function)))
            if rate:
                stack.append(layers.Dropout(copy.deepcopy(rate)))
        if isinstance(targets, SeveralTargets):
            heads = zip(targets.names, targets.columns, strict=True)
            stack.append(layers.Heads({n: [self._dense(one.outputs, self._last(one), penalty)] for n, one in heads}))
        else:
            stack.append(self._dense(targets.outputs, self._last(targets), penalty))
        return stack

    def _last(self, targets: Targets) -> Any:
        """Return the activation of the last layer."""
        if self.output_activation is not None:
            given = self.output_activation
            return ACTIVATIONS.get(given, given) if isinstance(given, str) else copy.deepcopy(given)
        loss = targets.loss(self._loss_given())
        return "linear" if link_of(loss) else targets.activation

    def _loss_given(self) -> Any:
        return self.loss

    def _optimizer(self) -> Any:
        rate = copy.deepcopy(self.learning_rate_init)
        if self.solver == "adam":
            return optimizers.Adam(rate, self.beta_1, self.beta_2, self.epsilon)
        if self.solver == "sgd":
            if self.learning_rate != "constant" and not isinstance(rate, Real):
                raise ValueError(
                    f"learning_rate={self.learning_rate!r} changes learning_rate_init, which must be a number then, "
                    f"got {type(rate).__name__}"
                )
            return optimizers.SGD(rate, self.momentum, nesterov=self.nesterovs_momentum)
        if self.solver == "lbfgs":
            return optimizers.LBFGS(gradient_tolerance=self.tol, max_evaluations=self.max_fun)
        if isinstance(self.solver, str):
            try:
                return optimizers.get({"class_name": self.solver, "config": {"learning_rate": rate}})
            except ValueError as error:
                raise ValueError(f"solver must be 'adam', 'sgd', 'lbfgs' or an optimizer's name: {error}") from None
        return copy.deepcopy(self.solver)

    def _build(self, x: Any, targets: Targets, dtype: str, random: np.random.RandomState) -> tuple[Sequential, Targets]:
        drawn = self.kernel_initializer is None and self.bias_initializer is None  # by _initialize, all of them
        seed = 0 if drawn else int(random.randint(2**31 - 1))
        penalty = self._penalty(x.shape[0])  # unless rows have weights, or are held back
        with seeds_from(seed), undrawn() if drawn else nullcontext():
            model = Sequential([layers.Input((x.shape[1],), dtype=dtype), *self._layers(targets, penalty)])
        if self.kernel_initializer is None:
            self._initialize(model, random)
        self._built = {name: getattr(self, name) for name in ARCHITECTURE}
        return model, targets

    def _compile(self, model: Sequential, targets: Targets) -> None:
        """Compile a network; a new one once the factor of its penalty is known, so that the engine is set up once."""
        given = self._loss_given()
        weight, measures = targets.loss_weight(given), targets.measures(given)
        model.compile(self._optimizer(), targets.loss(given), loss_weights=weight, weighted_metrics=measures)

    def _initialize(self, model: Sequential, random: np.random.RandomState) -> None:
        """Draw the weights as scikit-learn does, from the same numbers: uniform within Glorot and Bengio's bound."""
        factor = 2.0 if isinstance(self.activation, str) and self.activation == "logistic" else 6.0
        for layer in _dense_layers(model):
            bound = np.sqrt(factor / sum(layer.kernel.shape))
            kernel = random.uniform(-bound, bound, layer.kernel.shape)
            bias = random.uniform(-bound, bound, layer.bias.shape)
            layer.kernel[...] = kernel
            if self.bias_initializer is None:
                layer.bias[...] = bias

    # ---- training ----

    def _plan(self, task: Task, random: np.random.RandomState, *, incremental: bool) -> None:
        if not task.is_new:
            self._go_on(task, incremental)
        stochastic = not _is_lbfgs(self.solver)
        if self.early_stopping and stochastic and task.held is None:
            if incremental:
                raise ValueError("partial_fit does not support early_stopping=True without validation_data")
            self._hold_back(task, random)
        if task.is_new:
            task.model._seed = int(random.randint(2**31 - 1))
        rows = task.x.shape[0]
        if stochastic and not isinstance(self.batch_size, str) and self.batch_size > rows:
            warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        task.batch_size = self._rows_of_a_batch(rows) if stochastic else None
        task.epochs = 1 if incremental else self.max_iter
        self._set_penalty(task, rows)
        if task.is_new:
            self._compile(task.model, task.targets)
        own = self._own_callbacks()
        task.callbacks = [self._rule(task, rows, stochastic, incremental), *own]
        if own and task.held is not None:  # they may ask for val_loss; the rule has the score
            task.options["validation_data"] = task.validation()

    def _go_on(self, task: Task, incremental: bool) -> None:
        """Give the network of an earlier call the settings of this one; its optimizer keeps its state.

        Raises
        ------
        ValueError
            When the network would have to be another one.
        """
        for name, before in self._built.items():
            now = getattr(self, name)
            if now is not before and not np.array_equal(np.asarray(now, object), np.asarray(before, object)):
                raise ValueError(
                    f"training that goes on cannot change {name}, which was {before!r}, to {now!r}: fit anew, without "
                    f"warm_start"
                )
        wanted = self._optimizer()
        optimizer: Any = task.model.optimizer
        if type(wanted) is not type(optimizer):  # a copy changes, as a call that fails leaves the network as it was
            task.model = copy.deepcopy(task.model)
            self._compile(task.model, task.targets)
            return
        settings = {name: getattr(wanted, name) for name in type(wanted)._FIELDS}
        if isinstance(self.solver, str) and isinstance(self.learning_rate_init, Real) and self.solver != "lbfgs":
            # The rate that the last call has ended with goes on in partial_fit, and begins anew in fit.
            began, ended = self._rates
            goes_on = incremental and self.learning_rate_init == began
            settings["learning_rate"] = ended if goes_on else wanted.learning_rate
        changed = {name: value for name, value in settings.items() if getattr(optimizer, name) != value}
        if changed:
            task.model = copy.deepcopy(task.model)
            for name, value in changed.items():
                setattr(task.model.optimizer, name, value)

    def _hold_back(self, task: Task, random: np.random.RandomState) -> None:
        """Hold rows back for validation, those that scikit-learn would: two classes in proportion."""
        y, weights = task.y, task.weights
        stratify = y if isinstance(task.targets, TwoClasses) else None
        kept, held = train_test_split(
            np.arange(len(y)), random_state=random, test_size=self.validation_fraction, stratify=stratify
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        task.held = task.x[held], y[held], None if weights is None else weights[held]
        task.x, task.y, task.weights = task.x[kept], y[kept], None if weights is None else weights[kept]
        task.rows = kept

    def _rows_of_a_batch(self, rows: int) -> int:
        """Return how many of so many rows are a batch; L-BFGS looks at all of them."""
        batch = rows if _is_lbfgs(self.solver) else 200 if isinstance(self.batch_size, str) else int(self.batch_size)
        return min(batch, rows)

    def _penalty(self, rows: int, mean_weight: float = 1.0) -> float:
        """Return the factor of the penalty: alpha / 2 over the sum of the weights of a batch's rows."""
        return self.alpha / (2 * self._rows_of_a_batch(rows) * mean_weight)

    def _set_penalty(self, task: Task, rows: int) -> None:
        """Set the factor of the penalty, where it is another one."""
        factor = self._penalty(rows, task.mean_weight)
        for layer in _dense_layers(task.model):
            penalty = layer.kernel_regularizer
            before = 0.0 if penalty is None else penalty.l2
            if before == factor:
                continue
            if penalty is None:
                layer.kernel_regularizer = regularizers.L2(factor)
                task.undo.append(partial(setattr, layer, "kernel_regularizer", None))
            else:
                penalty.l2 = factor
                task.undo.append(partial(setattr, penalty, "l2", before))

    def _rule(self, task: Task, rows: int, stochastic: bool, incremental: bool) -> StoppingRule:
        record = Record() if task.is_new else self._record.copy()
        score = None
        if task.held is not None:
            x, y, weights = task.held
            targets, model, link = task.targets, task.model, link_of_model(task.model)
            score = lambda: targets.score(model.predict(x, verbose=0), y, weights, link)  # noqa: E731
        scaled = self.solver == "sgd" and self.learning_rate == "invscaling"
        return StoppingRule(
            record,
            rows if stochastic else 0,
            incremental=incremental,
            tol=self.tol,
            patience=self.n_iter_no_change if stochastic else np.inf,
            score=score,
            early_stopping=self.early_stopping and stochastic,
            next_rate=(lambda r: self.learning_rate_init / (r.t + 1) ** self.power_t) if scaled else None,
            lower_rate=self.solver == "sgd" and self.learning_rate == "adaptive",
            loss_of=task.targets.loss_of(self._loss_given(), task.y, task.weights),
            verbose=bool(self.verbose),
        )

    def _finish(self, task: Task) -> None:
        rule, model = task.callbacks[0], task.model
        record = rule.record
        # Calls of partial_fit go on from where they are, until they have stopped.
        if rule.early_stopping and record.best_weights is not None and (record.stopped or not rule.incremental):
            model.set_weights(record.best_weights)
        elif not np.isfinite(record.loss_curve[-1:]).all():  # an update may leave weights finite that are not right
            raise ValueError(f"Solver produced a loss that is not finite. {NOT_FINITE}")
        if not (record.stopped or rule.incremental or model.stop_training):
            self._warn_of_an_early_end(model.optimizer, record)
        self._record = record
        self._rates = self.learning_rate_init, getattr(model.optimizer, "learning_rate", None)

    def _warn_of_an_early_end(self, optimizer: Any, record: Record) -> None:
        """Warn where training has ended at a limit."""
        if not isinstance(optimizer, optimizers.LBFGS):
            if record.n_iter == self.max_iter:
                warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                    f"converged yet.",
                    ConvergenceWarning,
                )
        elif not optimizer.converged:
            warn(
                f"lbfgs failed to converge after {record.n_iter} iteration(s), {optimizer.message!r}: scale the "
                f"columns of X, or increase max_iter={self.max_iter} or max_fun={self.max_fun}",
                ConvergenceWarning,
            )

    # ---- state ----

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes as plain values, arrays and bytes, so that whoever reads them runs nothing."""
        state = super().__getstate__()
        return state | {"_record": dict(vars(state["_record"]))} if "_record" in state else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_record" in state:
            state = state | {"_record": Record(**state["_record"])}
        super().__setstate__(state)

    # ---- attributes ----

    def _kept(self, name: str) -> Any:
        check_is_fitted(self)
        return getattr(self._record, name)

    @property
    def coefs_(self) -> list[Array]:
        """The kernel of each dense layer, shape (inputs, outputs)."""
        check_is_fitted(self)
        return [layer.kernel for layer in _dense_layers(self.model_)]

    @property
    def intercepts_(self) -> list[Array]:
        """The bias of each dense layer, shape (outputs,)."""
        check_is_fitted(self)
        return [layer.bias for layer in _dense_layers(self.model_)]

    @property
    def n_layers_(self) -> int:
        """The number of layers, that of the inputs with them."""
        return len(self.coefs_) + 1

    @property
    def n_outputs_(self) -> int:
        """The number of outputs."""
        check_is_fitted(self)
        return self._targets.outputs

    @property
    def out_activation_(self) -> str:
        """The name of the last layer's activation."""
        check_is_fitted(self)
        logits = self._link in ("sigmoid", "softmax")
        name = self._targets.activation if logits else _dense_layers(self.model_)[-1].activation.name
        return OUT_ACTIVATIONS.get(name, name)

    @property
    def n_iter_(self) -> int:
        """The number of epochs of the last call to ``fit``."""
        return self._kept("n_iter")

    @property
    def t_(self) -> int:
        """The number of rows that all epochs together have trained on."""
        return self._kept("t")

    @property
    def stopped_(self) -> bool:
        """Whether the last call ended because the loss, or with early stopping the score, no longer improved."""
        return self._kept("stopped")

    @property
    def loss_(self) -> float:
        """The loss of the last epoch; NaN where none has ended."""
        return self._kept("loss_curve")[-1] if self._kept("loss_curve") else math.nan

    @property
    def loss_curve_(self) -> list[float]:
        """The loss of each epoch, with the penalty on weights."""
        return self._kept("loss_curve")

    @property
    def best_loss_(self) -> float | None:
        """The least loss of an epoch; None with early stopping."""
        return self._kept("best_loss")

    @property
    def validation_scores_(self) -> list[float] | None:
        """The score on the validation rows after each epoch; None where there are no such rows."""
        return self._kept("validation_scores")

    @property
    def best_validation_score_(self) -> float | None:
        """The best of the scores with early stopping, whose weights were kept; else None."""
        return self._kept("best_validation_score")


def _dense_layers(model: Sequential) -> Sequence[Any]:
    """Return the dense layers in order; those of heads last."""
    found = [layer for layer in model.layers if isinstance(layer, layers.Dense)]
    for heads in (layer for layer in model.layers if isinstance(layer, layers.Heads)):
        found += [layer for stack in heads.layers for layer in getattr(stack, "layers", ())]
    return found
