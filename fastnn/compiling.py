"""What a model is compiled for (an optimizer, losses and metrics), and the engine's set-up for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from fastnn import goals, losses, optimizers, plan
from fastnn._engine import Engine
from fastnn._functions import Functions
from fastnn._head import Head
from fastnn._model import Ready
from fastnn._op import ParameterSettings
from fastnn._settings import changes, count
from fastnn.data.feeds import Order, Samples
from fastnn.goals import Goal
from fastnn.layers.base import Layer
from fastnn.optimizers.base import Hyperparameters
from fastnn.reading import Reader


class Compiled(Reader):
    """A network with a loss, metrics and an optimizer; see :class:`fastnn.Sequential`."""

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        self._optimizer: optimizers.Optimizer | None = None
        self._goals: tuple[Goal, ...] = ()
        self._layout = goals.Layout([], [])  # how to read the engine's sums, as it is set up
        # the optimizer whose state the engine holds, and its rule
        self._state_of: tuple[optimizers.Optimizer, Any] | None = None
        self._last_ready: Ready | None = None  # what :meth:`_ready` has returned last
        self._looked_at: goals.Layout | None = None  # the layout whose metrics have seen the first rows of the run
        self._set_up_for: tuple[
            Any, ...
        ] = ()  # the heads, settings of parameters and names of logs that the engine has
        self._steps_per_execution = 1
        self._course = (0, 0)  # the first step and the number of steps of the fit that goes on, or of the last one
        self._by_share = False  # whether a rate of noise or a label smoothing goes by the share of these steps
        super().__init__(layers, name)

    @property
    def optimizer(self) -> optimizers.Optimizer | None:
        """The optimizer that :meth:`compile` was given, or that was set here since: it counts from the next call on."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, value: Any) -> None:
        chosen = optimizers.get(value)
        self._need_optimizer("optimizer")
        with self._home.lock:
            self._optimizer, self._compiled_code = chosen, None

    @property
    def loss(self) -> losses.Loss | dict[str, losses.Loss] | None:
        """The loss that :meth:`compile` was given; a model with heads has a dict by their names."""
        return goals.losses_of(self._goals)

    def compile(
        self,
        optimizer: Any = None,
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        steps_per_execution: int = 1,
        run_eagerly: bool = False,
        jit_compile: str | bool = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how to train. A built model is set up for it at once, and stays as it was where that fails.

        Parameters
        ----------
        optimizer : str or Optimizer
            ``"adam"``, ``"sgd"``, or an instance with its own arguments. The model's own instance, given again, keeps
            its state.
        loss : str, Loss or function, or dict or list of them, optional
            None is enough for :meth:`apply_gradients`, in a loop of one's own. A function (y_true, y_pred) -> (loss,
            gradient) is called once a batch, see :class:`fastnn.losses.FunctionLoss`. A model with heads takes a loss
            for each head: a dict by name, a list in their order, or one loss for all.
        loss_weights : float, or dict or list of floats, optional
            The factor of each loss in the sum that is minimised; default 1.
        metrics : sequence of str, Metric or function, or dict or list of such, optional
            ``"accuracy"`` becomes the kind of accuracy that fits the loss. A function (y_true, y_pred) -> value is
            called once a batch, see :class:`fastnn.metrics.FunctionMetric`. A model with heads takes a list for each
            head.
        weighted_metrics : the same, optional
            Metrics in which rows count with their weights.
        steps_per_execution : int, default 1
            The number of batches that are one call into the engine; batch hooks of callbacks are called once for them.
        run_eagerly, jit_compile, auto_scale_loss : bool
            Accepted as in Keras, without a meaning here: the engine is compiled beforehand, and its gradients need no
            scaled loss.
        """
        if optimizer is None:
            raise ValueError("compile needs optimizer=..., e.g. compile(optimizer='adam', loss='mse')")
        chosen = optimizers.get(optimizer)
        if loss is not None:
            wanted = goals.of(self._head_names(), loss, loss_weights, metrics, weighted_metrics)
        elif loss_weights is None and not metrics and not weighted_metrics:
            wanted = ()
        else:
            raise ValueError("metrics, weighted_metrics and loss_weights need loss=..., e.g. loss='mse', got None")
        steps = count("steps_per_execution", steps_per_execution, 1)
        with self._home.lock:  # a run in another thread ends as it began
            before = self._optimizer, self._goals, self._steps_per_execution
            self._optimizer, self._goals, self._steps_per_execution = chosen, wanted, steps
            self._compiled_code = None
            try:
                if self._engine is not None:
                    self._ready("compile")
            except BaseException:
                self._optimizer, self._goals, self._steps_per_execution = before
                self._compiled_code = None
                raise

    def _head_names(self) -> list[str]:
        return [] if self._heads is None else list(self._heads.outputs)

    @property
    def metrics_names(self) -> list[str]:
        """The names ``loss``, with several heads each head's loss, and the metrics, in the order of ``evaluate``."""
        return goals.log_names(self._goals)

    def _need_optimizer(self, action: str) -> optimizers.Optimizer:
        if self._optimizer is None:
            raise RuntimeError(f"{action} needs a compiled model: call compile(optimizer=..., loss=...) first")
        if self._goals and [goal.name for goal in self._goals if goal.name] != self._head_names():
            raise RuntimeError(f"{action} needs a loss for each head, and the heads have changed: call compile again")
        return self._optimizer

    def _need_goals(self, action: str) -> None:
        self._need_optimizer(action)
        if not self._goals:
            raise RuntimeError(
                f"{action} needs a loss, and the model was compiled without: call compile(..., loss=...)"
            )

    def _widths(self, outputs: int) -> list[int]:
        """Return the number of columns of each output of the engine."""
        return [outputs] if self._heads is None else list(self._heads.outputs.values())

    def _ready(self, action: str) -> Ready:
        """Return the engine, set up for the losses, metrics and optimizer as they are; and how to read its sums."""
        with self._home.lock:
            optimizer, engine = self._optimizer, self._engine
            settled = optimizer is not None and self._compiled_code is optimizer.setup and not self._stale
            if not settled or self._changes_seen is not changes.last or optimizer is None or engine is None:
                optimizer, engine = self._need_optimizer(action), self._need_engine(action)
                setup = optimizer.setup
                if self._heed_changes() or self._compiled_code != setup:
                    self._set_up(engine, optimizer)
                else:
                    self._compiled_code = setup
            engine.seed, engine.course = self._seed, self._course
            ready = self._last_ready
            if ready is None or ready[0] is not engine or ready[1] is not self._layout or ready[2] is not optimizer:
                ready = self._last_ready = Ready(engine, self._layout, optimizer)
            return ready

    def _check_shares(self, action: str, rates: Hyperparameters) -> None:
        """Raise where a schedule goes by the share of a fit's steps, and there is no fit, or nobody knows its steps."""
        if not (rates.schedule.shares or rates.weight_decay.shares or self._by_share):
            return
        names = {
            "learning_rate": rates.schedule.shares,
            "weight_decay": rates.weight_decay.shares,
            "a layer's rate or a loss's label_smoothing": self._by_share,
        }
        name = next(name for name, by_share in names.items() if by_share)
        raise ValueError(
            f"{action}, and {name} is a schedule by the share of a fit's steps: give the schedule its own number of "
            f"steps"
        )

    def _look_at_first_rows(self, ready: Ready, samples: Samples, batch: int, order: Order | None = None) -> None:
        """Raise before the first step of a run where a metric cannot take the first rows, or their outputs.

        Where there is such a metric, this costs a forward pass of one batch.
        """
        layout = ready.layout
        if self._looked_at is not layout and any(metric.may_refuse for metric, _ in layout.metrics):
            first = samples.part(slice(0, batch)) if order is None else samples
            some = None if order is None else order[:batch]
            sums = ready.engine.evaluate(first.x, first.y, None, first.weights, batch, False, some)
            layout.logs(sums, len(first if some is None else some))
        self._looked_at = layout

    def _set_up(self, engine: Engine, optimizer: optimizers.Optimizer) -> None:
        before, self._compiled_code = self._compiled_code, None
        if before is None:
            goals.warn_of_constants(self._goals, self._widths(engine.plan.outputs))
        of_members = any(op.name == "mean" for op in engine.plan.ops)
        if of_members and any(isinstance(goal.loss, losses.CustomLoss) for goal in self._goals):
            raise ValueError(
                "loss must be one of fastnn's own beside an EnsembleMean, for which it is that of each member"
            )
        ops = [-1] if self._heads is None else engine.plan.joined()
        heads, measured = goals.engine_heads(self._goals, self._widths(engine.plan.outputs), ops)
        self._check_scaling(engine.plan, heads)
        settings, names = self._parameter_settings(), self.metrics_names
        schedules = [op.schedule for op in engine.plan.ops] + [head.smoothing for head in heads]
        self._by_share = any(schedule is not None and schedule.shares for schedule in schedules)
        if before is not None and self._set_up_for == (heads, settings, names) and self._has_state_of(optimizer):
            self._compiled_code = optimizer.setup  # what has changed is no part of this model
            return
        engine.compile(heads)
        engine.functions = Functions(self._goals, heads, measured, engine.states) or None
        goes_on, state_of = self._has_state_of(optimizer), (optimizer, optimizer.setup[:2])
        # the state goes on, as in Keras, where the optimizer is the same
        engine.set_optimizer(optimizer.engine_name, optimizer.slots, settings, goes_on)
        self._state_of = state_of
        optimizer.attach(engine)
        states = [(metric, engine.states[index]) for metric, index in measured]
        self._set_up_for = heads, settings, names
        self._compiled_code, self._layout = optimizer.setup, goals.Layout(names, states)

    def _check_scaling(self, lowered: plan.Plan, heads: list[Head]) -> None:
        """Raise where a TargetScaling is the last layer, and the loss cannot be that of scaled targets."""
        for goal, head in zip(self._goals, heads, strict=True) if heads else ():
            op = lowered.ops[head.op]
            if op.name != "unscale":
                continue
            if not goal.loss.of_differences:
                raise ValueError(
                    f"TargetScaling needs a loss of differences, as mean_squared_error, and {goal.loss.name} is none: "
                    f"Normalization(invert=True) leaves the loss in the units of y"
                )
            means, deviations = op.vector[: op.outputs], op.vector[op.outputs : 2 * op.outputs]
            if head.target_columns != head.columns and (len({*means}) > 1 or len({*deviations}) > 1):
                raise ValueError(
                    f"TargetScaling must have one mean and one deviation for the outputs of {goal.loss.name}, which "
                    f"has one target for all of them"
                )

    def _forget_weights(self) -> None:
        """Forget the weights, and with them the optimizer's state, which starts anew."""
        if self._optimizer is not None and self._optimizer._engine is self._engine:
            self._optimizer.detach()
        self._last_ready = None
        super()._forget_weights()

    @contextmanager
    def _building_anew(self) -> Iterator[Any]:
        """Build anew as a :class:`Network` does; after an error the optimizer has its state again."""
        optimizer = self._optimizer
        engine = None if optimizer is None else optimizer._engine
        try:
            with super()._building_anew() as features:
                yield features
            self._last_ready = None  # which would keep the engine before in memory
        except BaseException:
            if optimizer is not None and engine is not None:
                optimizer.attach(engine)
            raise

    def _has_state_of(self, optimizer: optimizers.Optimizer) -> bool:
        """Return whether the engine's slots and step count are those of this optimizer, as it is now."""
        before, form = self._state_of or (None, None)
        return before is optimizer and form == optimizer.setup[:2] and optimizer._engine is self._engine

    def _parameter_settings(self) -> list[ParameterSettings]:
        """Return how each of the parameters is trained."""
        return plan.parameter_settings(self._layers, self._need_engine("fit").plan.parameters, self.optimizer)

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return a JSON-able description of what :meth:`compile` was told; None before it was called."""
        return self._compile_config()

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as :meth:`get_compile_config` says; the optimizer's state starts anew.

        Parameters
        ----------
        config : dict

        Raises
        ------
        ValueError
            When a loss or a metric is a Python function, of which the configuration has only the name.
        """
        self.compile(**goals.with_objects(config, {}))

    def _metric_direction(self, key: str) -> str | None:
        """Return ``"up"`` or ``"down"``, where a log is better; None where its metric does not say."""
        names, measured = self._layout
        of_metrics = names[len(names) - len(measured) :]
        metric = next((m for name, (m, _) in zip(of_metrics, measured, strict=True) if name == key), None)
        return None if metric is None else metric.direction

    def _compile_config(self) -> dict[str, Any] | None:
        if self.optimizer is None:
            return None
        config = {"optimizer": optimizers.serialize(self.optimizer)} | goals.serialize(self._goals)
        return config if self._steps_per_execution == 1 else config | {"steps_per_execution": self._steps_per_execution}
