"""What a model is trained for: for each output a loss, its weight and metrics; and targets with names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import losses, metrics
from fastnn._head import Head
from fastnn._registry import by_name
from fastnn._settings import known_class
from fastnn._warnings import warn
from fastnn.data import frames, row_weights
from fastnn.losses import _targets

Array = npt.NDArray[Any]


class Goal(NamedTuple):
    """What is wanted of one output: a loss, and metrics.

    Attributes
    ----------
    name : str
        The name of the head; empty where the model has one output without a name.
    loss : Loss
    weight : float
        The factor of this loss in the sum of all heads' losses.
    metrics : list
        The metrics: names, as the user gave them, and instances.
    weighted : list
        The metrics in which rows count with their weights, in the same form.
    """

    name: str
    loss: losses.Loss
    weight: float
    metrics: list[Any]
    weighted: list[Any]


class Layout(NamedTuple):
    """How the sums of a run, as the engine returns them, become logs.

    Attributes
    ----------
    names : list of str
        The names of the logs: the losses, then the metrics.
    metrics : list of tuple (Metric, slice)
        The metrics in the order of their names, each with the place of its state in the sums.
    """

    names: list[str]
    metrics: list[tuple[metrics.Metric, slice]]

    def merged(self, sums: npt.NDArray[np.float64], more: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the sums over both sets of rows; `sums` may be a single 0, which stands for no rows."""
        total = sums + more
        if len(sums) == len(more):
            for metric, state in self.metrics:
                total[state] = metric.merged(sums[state], more[state])
        return total

    def logs(self, sums: npt.NDArray[np.float64], rows: int) -> dict[str, float]:
        """Return the losses and the metrics of `rows` rows."""
        if not self.metrics:
            return {name: loss / rows for name, loss in zip(self.names, sums.tolist(), strict=True)}
        values: list[Any] = [loss / rows for loss in sums[: len(self.names) - len(self.metrics)].tolist()]
        values += [metric.value(sums[state]) for metric, state in self.metrics]
        return dict(zip(self.names, values, strict=True))


def _weight(value: Any, argument: str) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{argument} must be a number, got {value!r}; metrics are passed as metrics=[...]")
    if not np.isfinite(value):
        raise ValueError(f"{argument} must be finite, got {value}")
    return float(value)


def _metric_list(values: Any, argument: str) -> list[Any]:
    if isinstance(values, str):
        raise TypeError(f"{argument} must be a list, got the string {values!r}: write {argument}=[{values!r}]")
    listed = values if isinstance(values, (list, tuple)) else [values] if values is not None else []
    return [one if isinstance(one, str) else metrics.get(one) for one in listed]


def _of_the_output(value: Any, argument: str) -> Any:
    """Return what is given for the output of a model without heads, for which a dict may have any one name."""
    if not isinstance(value, Mapping) or "class_name" in value:
        return value
    if len(value) != 1:
        raise ValueError(f"{argument} must hold one entry for the model's one output, got {len(value)}: {list(value)}")
    (one,) = value.values()
    return [one] if isinstance(one, str) and argument != "loss" else one


def of(
    names: Sequence[str], loss: Any, loss_weights: Any = None, chosen: Any = None, weighted: Any = None
) -> tuple[Goal, ...]:
    """Return the goals that the arguments of ``compile`` mean.

    Parameters
    ----------
    names : sequence of str
        The names of the heads; empty for a model without heads.
    loss : str, Loss or function, or dict or list of them
        One loss stands for every head.
    loss_weights : number, or dict or list of numbers, optional
        Default 1.
    chosen, weighted : sequence of str, Metric or function, or dict or list of such, optional
        The metrics, and the metrics in which rows count with their weights. In a dict one metric may stand for a list
        of one.
    """
    if not names:
        weight = loss_weights[0] if isinstance(loss_weights, (list, tuple)) and len(loss_weights) == 1 else loss_weights
        weight = 1.0 if weight is None else _weight(weight, "loss_weights")
        given = {"metrics": chosen, "weighted_metrics": weighted}
        lists = [_metric_list(_of_the_output(value, argument), argument) for argument, value in given.items()]
        found = [Goal("", losses.get(_of_the_output(loss, "loss")), weight, *lists)]
    else:
        each = by_name(loss, names, "loss") if isinstance(loss, (Mapping, list, tuple)) else [loss] * len(names)
        weights = by_name(loss_weights, names, "loss_weights", 1.0)
        lists_by_name = [
            [
                _metric_list([m] if isinstance(m, str) and isinstance(given, Mapping) else m, f"{argument}[{name!r}]")
                for name, m in zip(names, by_name(given, names, argument, ()), strict=True)
            ]
            for given, argument in ((chosen, "metrics"), (weighted, "weighted_metrics"))
        ]
        found = [
            Goal(name, losses.get(one), _weight(w, f"loss_weights[{name!r}]"), *both)
            for name, one, w, *both in zip(names, each, weights, *lists_by_name, strict=True)
        ]
    for goal in found:
        for metric in (*goal.metrics, *goal.weighted):
            metrics.fit_to(metric, goal.loss, None)
    return tuple(found)


def log_names(goals: Sequence[Goal]) -> list[str]:
    """Return Keras's keys: ``loss``, with several heads the loss of each, then the metrics, then the weighted ones.

    A weighted metric with the name of another metric has ``weighted_`` before its name.
    """
    several = len(goals) > 1
    names = ["loss", *(f"{goal.name}_loss" for goal in goals if several)]
    plain = [metrics.log_keys(goal.metrics) for goal in goals]
    for goal, keys in zip(goals, plain, strict=True):
        names += [f"{goal.name}_" * several + key for key in keys]
    for goal, taken in zip(goals, map(set, plain), strict=True):
        weighted = [f"weighted_{key}" if key in taken else key for key in metrics.log_keys(goal.weighted)]
        names += [f"{goal.name}_" * several + key for key in weighted]
    return names


def engine_heads(
    goals: Sequence[Goal], outputs: Sequence[int], ops: Sequence[int]
) -> tuple[list[Head], list[tuple[metrics.Metric, int]]]:
    """Return what the engine computes for each output, given the number of its columns and the index of its last op.

    Also return the metrics in the order of their log names, each with the index of its state in the engine.
    """
    heads: list[Head] = []
    plain: list[tuple[metrics.Metric, int]] = []
    weighted: list[tuple[metrics.Metric, int]] = []
    states = 0
    # a model compiled without a loss has no goals
    for goal, columns, op in zip(goals, outputs, ops, strict=True) if goals else ():
        measures = []
        for identifiers, measured in ((goal.metrics, plain), (goal.weighted, weighted)):
            for identifier in identifiers:
                metric = metrics.fit_to(identifier, goal.loss, columns)
                measures.append(metric.measure(measured is weighted))
                measured.append((metric, states))
                states += 1
        heads.append(goal.loss.head(columns, measures)._replace(weight=goal.weight, op=op))
    return heads, plain + weighted


def warn_of_constants(goals: Sequence[Goal], outputs: Sequence[int]) -> None:
    """Warn of losses and metrics that compare outputs where there is only one, as Keras does."""
    for goal, columns in zip(goals, outputs, strict=True) if goals else ():
        given = [metrics.fit_to(identifier, goal.loss, columns) for identifier in (*goal.metrics, *goal.weighted)]
        parts: list[Any] = [goal.loss, *given]
        for part in parts:
            if columns == 1 and part.compares_outputs:
                of = f" in head {goal.name!r}" if goal.name else ""
                warn(
                    f"{part.name} compares outputs with each other, and there is one{of}: it is the same for all rows, "
                    f"and teaches nothing; use a binary loss or metric, or two units"
                )


def depend_on_batches(goals: Sequence[Goal], weighted: bool) -> bool:
    """Return whether the mean of the batches' losses, each counted with its rows, depends on which rows share a batch.

    `weighted` says whether rows have weights.
    """
    reductions = {goal.loss.reduction for goal in goals}
    ignoring = any(getattr(goal.loss, "ignore_class", None) is not None for goal in goals)
    return ignoring or "sum" in reductions or (weighted and "mean_with_sample_weight" in reductions)


def targets(
    y: Any,
    rows: int,
    goals: Sequence[Goal],
    outputs: Sequence[int],
    dtype: str,
    *,
    check_finite: bool,
    names: tuple[str, str] = ("x", "y"),
) -> Any:
    """Return Y as the engine reads it: targets side by side, labels side by side, or a pair of both.

    `names` are what messages call x and y.

    Raises
    ------
    TypeError, ValueError
        When y cannot be used; the message is one sentence, and nothing has changed.
    """
    beside, name = names
    told: dict[str, Any] = {"check_finite": check_finite, "beside": beside}
    if not goals[0].name:
        return _targets.targets(y, rows, outputs[0], goals[0].loss, dtype, name=name, **told)
    if y is None:
        raise ValueError(f"{name} is missing: it must be a dict with {', '.join(repr(goal.name) for goal in goals)}")
    heads, found = [goal.name for goal in goals], []
    for goal, one, columns in zip(goals, by_name(frames.by_column(y, heads, name), heads, name), outputs, strict=True):
        found.append(_targets.targets(one, rows, columns, goal.loss, dtype, name=f"{name}[{goal.name!r}]", **told))
    dense = [array for goal, array in zip(goals, found, strict=True) if goal.loss.targets != losses.LABELS]
    labels = [array for goal, array in zip(goals, found, strict=True) if goal.loss.targets == losses.LABELS]
    if not labels:
        return np.concatenate(dense, axis=1)
    side_by_side = np.stack(labels, axis=1) if len(labels) > 1 else labels[0]
    return (np.concatenate(dense, axis=1), side_by_side) if dense else side_by_side


def sample_weights(
    weights: Any, rows: int, goals: Sequence[Goal], dtype: str, *, check_finite: bool, name: str = "sample_weight"
) -> Array | None:
    """Return a weight for each row, or for each row and head; a head that a dict or a frame leaves out weighs 1.

    Raises
    ------
    TypeError, ValueError
        When the weights cannot be used; the message is one sentence.
    """
    names = [goal.name for goal in goals]
    weights = frames.by_column(weights, names, name) if goals[0].name else weights
    listed = isinstance(weights, (list, tuple)) and len(weights) > 0 and np.ndim(weights[0]) > 0
    if not goals[0].name or not (listed or isinstance(weights, Mapping)):
        return row_weights.sample_weights(weights, rows, dtype, check_finite=check_finite, name=name)
    ones = np.ones(rows, dtype)
    found = []
    for goal, given in zip(goals, by_name(weights, names, name, ones), strict=True):
        key = f"{name}[{goal.name!r}]"
        converted = row_weights.sample_weights(given, rows, dtype, check_finite=check_finite, name=key)
        found.append(ones if converted is None else converted)
    return np.stack(found, axis=1)


def losses_of(goals: Sequence[Goal]) -> Any:
    """Return the ``loss`` of a model with these goals: one loss, a dict by head, or None."""
    if not goals:
        return None
    return {goal.name: goal.loss for goal in goals} if goals[0].name else goals[0].loss


def arguments(goals: Sequence[Goal]) -> dict[str, Any]:
    """Return the arguments of ``compile`` that mean these goals."""
    if not goals:
        return {"loss": None}
    if not goals[0].name:
        goal = goals[0]
        return {
            "loss": goal.loss,
            "loss_weights": goal.weight,
            "metrics": goal.metrics,
            "weighted_metrics": goal.weighted,
        }
    return {
        "loss": {goal.name: goal.loss for goal in goals},
        "loss_weights": {goal.name: goal.weight for goal in goals},
        "metrics": {goal.name: goal.metrics for goal in goals},
        "weighted_metrics": {goal.name: goal.weighted for goal in goals},
    }


def serialize(goals: Sequence[Goal]) -> dict[str, Any]:
    """Return the same arguments, JSON-able; Python functions and classes are named, see :func:`with_objects`."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, list):
            return [plain(one) for one in value]
        if isinstance(value, losses.Loss):
            return losses.serialize(value)
        return metrics.serialize(value) if isinstance(value, metrics.Metric) else value

    return {key: plain(value) for key, value in arguments(goals).items()}


def check_serialized(goals: Sequence[Goal]) -> None:
    """Raise where what :func:`serialize` returns for fastnn's own losses and metrics would not make them again."""
    for goal in goals:
        for part in (goal.loss, *goal.metrics, *goal.weighted):
            if isinstance(part, (str, losses.FunctionLoss, metrics.FunctionMetric)):
                continue
            module: Any = losses if isinstance(part, losses.Loss) else metrics
            if known_class(type(part)) is type(part):
                module.get(module.serialize(part))


def called(goals: Sequence[Goal]) -> str:
    """Return the name of a loss or a metric that is written in Python; empty where there is none."""
    for goal in goals:
        for part in (goal.loss, *goal.metrics, *goal.weighted):
            if isinstance(part, (losses.CustomLoss, metrics.CustomMetric)):
                return part.name
    return ""


def with_objects(config: Mapping[str, Any], objects: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`serialize` returned, with the user's functions and classes in place of their names.

    Raises
    ------
    ValueError
        When a name is not among `objects`.
    """
    found = dict(config)
    for key in ("loss", "metrics", "weighted_metrics"):
        if key in found:
            found[key] = _with_objects(found[key], objects, losses if key == "loss" else metrics)
    return found


def _with_objects(value: Any, objects: Mapping[str, Any], module: Any) -> Any:
    if isinstance(value, list):
        return [_with_objects(one, objects, module) for one in value]
    if not isinstance(value, dict):
        return value
    name = value.get("class_name")
    if not isinstance(name, str):
        return {key: _with_objects(one, objects, module) for key, one in value.items()}
    config = dict(value.get("config") or {})
    wrapper = {"FunctionLoss": losses.FunctionLoss, "FunctionMetric": metrics.FunctionMetric}.get(name)
    wanted = str(config.pop("function", "")) if wrapper else name
    if wanted in objects:
        return wrapper(objects[wanted], **config) if wrapper else objects[wanted](**config)
    if wrapper or name not in module._registry:
        kind = "function" if wrapper else "class"
        raise ValueError(
            f"the Python {kind} {wanted!r} is in no configuration but by name: give it to load_model as "
            f"custom_objects={{{wanted!r}: ...}}, or load without compile"
        )
    return value
