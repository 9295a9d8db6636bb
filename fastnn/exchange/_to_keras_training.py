"""What a model was compiled with, and how far its training is, as Keras's files say it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import losses, metrics, optimizers
from fastnn._schedules import Constant, LearningRateSchedule
from fastnn._settings import known_class
from fastnn.exchange._keras_layers import snake_case
from fastnn.exchange._to_keras_graph import valid_name
from fastnn.exchange._to_keras_writer import described, without

if TYPE_CHECKING:
    from fastnn._model import Exported
    from fastnn._op import ParameterSpec
    from fastnn.exchange._to_keras_graph import Graph, Variable
    from fastnn.goals import Goal

Array = npt.NDArray[Any]

_METRIC_NAMES = ("bce", "mae", "mape", "mse", "msle")  # those that Keras finds beside the names of classes
_LOSSES_OF_OURS = (losses.Quantile, losses.GaussianNLL)
_SCHEDULES = (
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "CosineDecay",
    "CosineDecayRestarts",
)
# The slots that Keras keeps side by side for each parameter; the other ones it keeps one after the other.
_SIDE_BY_SIDE = (
    ("momentum", "velocity"),
    ("momentum", "norm"),
    ("accumulated_grad", "accumulated_delta_var"),
    ("r", "c", "velocity"),
)


# ---- losses and metrics ----


def _loss(loss: losses.Loss, outputs: int) -> tuple[dict[str, Any], float]:
    """Return a loss of so many outputs as Keras writes it, and the factor that it needs there."""
    kind = known_class(type(loss))
    if isinstance(loss, losses.CustomLoss):
        raise without(
            f"the loss {loss.name!r}", "it is a function in Python, which no file holds; training=False leaves it out"
        )
    if isinstance(loss, _LOSSES_OF_OURS):
        raise without(f"the loss {kind.__name__}", "Keras has no such loss; training=False leaves it out")
    config = loss.get_config() | {"reduction": loss.reduction}
    for key, value in config.items():
        if isinstance(value, dict):
            raise without(
                f"the schedule of {key} in the loss {kind.__name__}",
                "in Keras it is a number; training=False leaves the loss out",
            )
    if isinstance(loss, losses.Poisson) and "epsilon" in config:
        raise without("the loss Poisson with its own epsilon", "Keras's is always 1e-7; training=False leaves it out")
    if isinstance(loss, losses.HalfMeanSquaredError):
        return described("losses", {"class_name": "MeanSquaredError", "config": config}), outputs / 2
    return described("losses", {"class_name": kind.__name__, "config": config}), 1.0


def _metric(identifier: Any, goal: Goal) -> Any:
    """Return a metric as Keras writes it: the names that mean what fits the loss, else an instance."""
    if isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc"):
        return identifier
    metric = metrics.get(identifier, goal.loss)
    if isinstance(metric, metrics.CustomMetric):
        raise without(
            f"the metric {metric.name!r}",
            "it is a function in Python, which no file holds; training=False leaves it out",
        )
    if isinstance(identifier, str) and identifier in (*_METRIC_NAMES, snake_case(type(metric).__name__)):
        return identifier
    name = identifier if isinstance(identifier, str) else metric.name
    serialized = metrics.serialize(metric)
    return described("metrics", serialized | {"config": {"name": name} | serialized["config"]})


def compile_config(model: Exported, graph: Graph) -> dict[str, Any]:
    """Return the arguments of Keras's ``compile``."""
    optimizer: Any = model.optimizer
    found: dict[str, Any] = {"optimizer": _optimizer(model, graph), "loss": None, "loss_weights": None}
    found |= {"metrics": None, "weighted_metrics": None, "run_eagerly": False, "jit_compile": "auto"}
    found["steps_per_execution"] = model._steps_per_execution
    _check_settings(model, optimizer)
    by_name: dict[str, dict[str, Any]] = {key: {} for key in ("loss", "loss_weights", "metrics", "weighted_metrics")}
    for goal in model._goals:
        loss, factor = _loss(goal.loss, graph.outputs[goal.name].width)
        given = (
            loss,
            goal.weight * factor,
            *([_metric(one, goal) for one in some] for some in (goal.metrics, goal.weighted)),
        )
        for key, value in zip(by_name, given, strict=True):
            by_name[key][goal.name] = value
    if not model._goals:
        return found
    if set(by_name["loss_weights"].values()) == {1}:
        del by_name["loss_weights"]  # the first of Keras 3 take none for one output
    if model._goals[0].name:
        return found | by_name
    return found | {key: values[""] for key, values in by_name.items()}


def _check_settings(model: Exported, optimizer: optimizers.Optimizer) -> None:
    """Raise where a parameter is trained as Keras cannot train it."""
    decays = optimizer.weight_decay is not None and optimizer.weight_decay != 0
    engine: Any = model._engine
    for spec, settings in zip(engine.plan.parameters, model._parameter_settings(), strict=True):
        if not settings.trainable:
            continue
        if settings.multiplier != 1:
            raise without(
                f"the learning_rate_multiplier of {spec.layer}/{spec.name}",
                "Keras trains all parameters at one rate; training=False leaves the optimizer out",
            )
        if decays and settings.decay != 1:
            raise without(
                f"the weight decay of {spec.layer}/{spec.name}",
                "Keras's files know one for all parameters; training=False leaves the optimizer out",
            )


# ---- optimizers ----


def _schedule(schedule: LearningRateSchedule) -> Any:
    if isinstance(schedule, Constant):
        return schedule.learning_rate
    kind = known_class(type(schedule)).__name__
    if kind not in _SCHEDULES:
        raise without(f"the schedule {kind}", "Keras has no such schedule; training=False leaves the optimizer out")
    config = schedule.get_config()
    if schedule.lowered.shares:
        raise without(
            f"the schedule {kind} by the share of a training",
            "Keras counts steps: give it a whole number of them, or training=False",
        )
    return described("optimizers.schedules", {"class_name": kind, "config": config})


def _optimizer(model: Exported, graph: Graph) -> dict[str, Any]:
    """Return the optimizer as Keras writes it."""
    optimizer: Any = model.optimizer
    kind = known_class(type(optimizer))
    if kind is optimizers.LBFGS:
        raise without("the optimizer LBFGS", "Keras has no such optimizer; training=False leaves it out")
    if optimizer._average_shown:
        raise without(
            "a model that shows the average of its weights",
            "it would train on from that: call model.optimizer.swap_average_weights() before, or give training=False",
        )
    if isinstance(optimizer.weight_decay, LearningRateSchedule):
        raise without("a schedule of weight_decay", "in Keras it is a number; training=False leaves the optimizer out")
    config = {k: v for k, v in optimizer.get_config().items() if k != "weight_decay_exclusions"}
    config["learning_rate"] = _schedule(optimizer._schedule)
    if kind is optimizers.Muon:
        config |= _muon_rules(optimizer, model, graph)
    return described("optimizers", {"class_name": kind.__name__, "config": config})


def _muon_rules(optimizer: optimizers.Muon, model: Exported, graph: Graph) -> dict[str, Any]:
    """Return the arguments by which Keras's Muon lets the same parameters follow Adam as here.

    Keras looks for regular expressions in the paths of variables, which may begin with the name of the model. Where the
    strings of `exclude_layers` would find other parameters there than here, the paths themselves are named.
    """
    engine: Any = model._engine
    shapes = {f"{spec.layer}/{spec.name}": spec.shape for spec in engine.plan.parameters}
    here: dict[str, bool] = {}
    for path, variable in _trained(graph):
        own = str(variable.parameter)
        here[path] = optimizer.uses_second_rule(own, shapes[own])
        if not here[path] and variable.values.ndim != 2:
            raise without(f"the optimizer Muon for {own}", "in Keras it has another number of axes, and follows Adam")
    plain = [re.escape(name) for name in optimizer.exclude_layers]
    matrices = [path for path, variable in _trained(graph) if variable.values.ndim == 2]

    def found(path: str) -> bool:
        embedding = optimizer.exclude_embeddings and "embedding" in path.lower()
        return embedding or any(re.search(name, path) for name in plain)

    if all(found(path) == found(f"{valid_name(model.name)}/{path}") == here[path] for path in matrices):
        return {"exclude_layers": plain}
    return {
        "exclude_layers": [f"(^|/){re.escape(path)}$" for path in matrices if here[path]],
        "exclude_embeddings": False,
    }


# ---- the optimizer's state ----


def _trained(graph: Graph) -> list[tuple[str, Variable]]:
    """Return what the optimizer changes, each with the name of its layer and its own, in Keras's order."""
    return [
        (f"{node.name}/{variable.name}", variable)
        for node in graph.in_order()
        for variable in node.variables
        if variable.trained
    ]


def _groups(names: list[str]) -> list[tuple[str, ...]]:
    """Return slots of a rule as Keras keeps them: those of a group side by side for each parameter."""
    together = next((group for group in _SIDE_BY_SIDE if tuple(names[: len(group)]) == group), ())
    return [group for group in (together, *((name,) for name in names[len(together) :])) if group]


class _State:
    """The state of an optimizer, parameter by parameter."""

    def __init__(self, model: Exported) -> None:
        engine: Any = model._engine
        optimizer: Any = model.optimizer
        self.optimizer: optimizers.Optimizer = optimizer
        self.specs: dict[str, ParameterSpec] = {f"{spec.layer}/{spec.name}": spec for spec in engine.plan.parameters}
        self.flat = dict(zip([slot.name for slot in self.optimizer.slots], engine.slots, strict=True))

    def of(self, slot: str, variable: Variable) -> list[Array]:
        """Return what Keras keeps in this slot for a variable: one array, or none."""
        spec, shape = self.specs[str(variable.parameter)], variable.values.shape
        if isinstance(self.optimizer, optimizers.Muon) and slot == "velocity":
            adam = self.optimizer.uses_second_rule(str(variable.parameter), spec.shape)
            return [spec.view(self.flat[slot]).reshape(shape)] if adam else []
        if not isinstance(self.optimizer, optimizers.Adafactor) or slot not in ("r", "c", "velocity"):
            return [spec.view(self.flat[slot]).reshape(shape)]
        if spec.shape != shape:
            raise without(f"the optimizer Adafactor for {variable.parameter}", "in Keras it has other axes")
        if len(shape) == 2 and slot == "velocity":
            return [np.zeros(shape, variable.values.dtype)]
        if len(shape) < 2 and slot != "velocity":
            return [np.zeros((), np.int32)]  # Keras keeps a place for the means of a vector, which has none
        return [spec._replace(shape=self.optimizer.slot_shape(slot, spec.shape)).view(self.flat[slot])]


def optimizer_state(model: Exported, graph: Graph) -> dict[str, Array]:
    """Return the variables of the optimizer by their place in the file.

    These are the number of steps, the learning rate unless there is a schedule, and the slots: the average and the
    gathered gradients of all parameters first, then those of the rule.
    """
    optimizer: Any = model.optimizer
    state, trained = _State(model), [variable for _, variable in _trained(graph)]
    progress = model._progress
    found: list[Array] = [np.array(progress.iterations, np.int64)]
    if isinstance(optimizer._schedule, Constant):
        found.append(np.array(optimizer.learning_rate))  # float64, of which Keras reads as much as it holds
    own = [slot.name for slot in optimizer.rule_slots()]
    shared = [slot.name for slot in optimizer.slots if slot.name not in own]
    for group in [*((name,) for name in shared), *_groups(own)]:
        for variable in trained:
            for slot in group:
                found += state.of(slot, variable)
    if isinstance(optimizer, optimizers.Nadam):
        found.append(np.array(progress.momentum_product, model.dtype))
    return {f"optimizer/vars/{k}": array for k, array in enumerate(found)}
