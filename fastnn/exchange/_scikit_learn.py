"""Fitted perceptrons of scikit-learn, with the preprocessing before them, as layers.

Nothing here imports scikit-learn: an object of it brings its modules along. A fitted step is known by the name of its
class, and what it has learned is read from its public attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import layers
from fastnn.exchange._encoders import kind_of
from fastnn.exchange._network import Found
from fastnn.exchange._preprocessing import SCALERS, Columns, center_and_factor, in_branches, in_one_row
from fastnn.layers.base import Layer
from fastnn.layers.container import Stackable

Array = npt.NDArray[Any]
HIDDEN = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
OUTPUT = HIDDEN | {"softmax": "softmax", "exp": "exponential"}


def read(estimator: Any) -> Any:
    """Return the network of a fitted estimator, a :class:`Found`; or the model that one of fastnn.sklearn holds.

    Raises
    ------
    TypeError
        When the object is no such estimator, or holds a step that has no twin here.
    ValueError
        When it is not fitted, or a step of it does what no layer does.
    """
    steps = _steps(estimator)
    targets = [_of_targets(steps.pop())] if isinstance(steps[-1], _Targets) else []
    last = steps.pop()
    model = _own_model(last)
    if model is not None and not steps and not targets:
        return model
    if model is None and kind_of(last) not in ("MLPClassifier", "MLPRegressor"):
        raise TypeError(
            f"estimator must be an MLPClassifier, an MLPRegressor or a Pipeline that ends in one, got "
            f"{type(estimator).__name__}" + ("" if last is estimator else f" that ends in {type(last).__name__}")
        )
    if model is None and not hasattr(last, "coefs_"):
        raise ValueError(f"estimator must be fitted, but this {type(last).__name__} has no weights: call fit first")
    dtype = str(model.dtype) if model is not None else str(np.asarray(last.coefs_[0]).dtype)
    first = steps[0] if steps else last
    columns, names = _before(steps, last, dtype)
    found: list[tuple[Layer, Sequence[Array]]] = []
    network = _perceptron(last, columns, found) if model is None else [_behind(model, columns)]
    named = getattr(first, "feature_names_in_", None)
    feature_names = tuple(map(str, named)) if named is not None and names is None else None
    return Found([*columns.layers, *network, *filter(None, targets)], [*columns.weights, *found], feature_names)


class _Targets(NamedTuple):
    """What a TransformedTargetRegressor has done to the targets, whose inverse comes after the network."""

    transformer: Any


def _of_targets(targets: _Targets) -> Layer | None:
    """Return the layer that gives the targets' own units; None where they were left as they are."""
    transformer, kind = targets.transformer, kind_of(targets.transformer)
    if kind == "FunctionTransformer" and transformer.func is None and transformer.inverse_func is None:
        return None
    if kind not in SCALERS:
        raise TypeError(
            f"estimator has a TransformedTargetRegressor with {type(transformer).__name__}, whose inverse no layer "
            f"does; known are {', '.join(SCALERS)}"
        )
    center, factor = center_and_factor(transformer, kind, int(transformer.n_features_in_))
    return layers.TargetScaling(center.tolist(), (1 / factor).tolist(), clip=False)


def _steps(estimator: Any) -> list[Any]:
    """Return the steps of a pipeline in their order, those of pipelines within it too; any other object alone.

    Of a search the steps are those of the best estimator that it has found.
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    if kind_of(estimator) == "TransformedTargetRegressor":
        if not hasattr(estimator, "regressor_"):
            raise ValueError("estimator must be fitted, but its TransformedTargetRegressor is not: call fit first")
        return [*_steps(estimator.regressor_), _Targets(estimator.transformer_)]
    if kind_of(estimator) != "Pipeline":
        return [estimator]
    steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
    found = [one for step in steps for one in _steps(step)]
    if not found:
        raise TypeError("estimator must be a Pipeline that ends in an MLPClassifier or an MLPRegressor, got no steps")
    return found


def _own_model(estimator: Any) -> Any:
    """Return the model of an estimator of fastnn.sklearn; None where the object is none."""
    modules = [kind.__module__ for kind in type(estimator).__mro__]
    if any(module.startswith("fastnn.tabular") for module in modules):
        raise TypeError(
            f"estimator must have one network that reads raw rows, and a {type(estimator).__name__} prepares rows for "
            f"its networks itself: its save writes it to a file, and its freeze gives a predictor"
        )
    if not any(module.startswith("fastnn.sklearn") for module in modules):
        return None
    model = getattr(estimator, "model_", None)
    if model is None:
        raise ValueError(f"estimator must be fitted, but this {type(estimator).__name__} has no model_: call fit first")
    if not isinstance(model, Stackable):
        raise TypeError(f"estimator must have one model_, got {type(estimator).__name__} with {type(model).__name__}")
    return model


def _before(steps: list[Any], last: Any, dtype: str) -> tuple[Columns, Any]:
    """Return the layers before the perceptron, and the names of the columns that branches take, None without such."""
    if steps and kind_of(steps[0]) == "ColumnTransformer":
        transformer = steps[0]
        names = getattr(transformer, "feature_names_in_", None)
        columns = in_one_row(transformer, dtype, _steps) if names is None else in_branches(transformer, dtype, _steps)
        columns.apply(steps[1:])
        return columns, names
    columns = Columns.of(int((steps[0] if steps else last).n_features_in_), dtype)
    columns.apply(steps)
    return columns, None


def _perceptron(mlp: Any, columns: Columns, found: list[tuple[Layer, Sequence[Array]]]) -> list[Layer]:
    """Return the layers of a multilayer perceptron; their weights are added to `found`."""
    kernels, biases = [np.asarray(one) for one in mlp.coefs_], [np.asarray(one) for one in mlp.intercepts_]
    activations = [_named(mlp.activation, HIDDEN, "activation")] * (len(kernels) - 1)
    activations.append(_named(mlp.out_activation_, OUTPUT, "out_activation_"))
    kernels[0] = columns.rows_for(kernels[0])
    for kernel, bias, activation in zip(kernels, biases, activations, strict=True):
        layer = layers.Dense(kernel.shape[1], activation)
        found.append((layer, [kernel, bias]))
    return [layer for layer, _ in found]


def _named(name: Any, known: dict[str, str], argument: str) -> str:
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"estimator has the {argument} {name!r}, which is none of {', '.join(known)}")
    return known[name]


def _behind(model: Any, columns: Columns) -> Layer:
    """Return a model as a layer behind preprocessing, which must give its columns in the order of scikit-learn's."""
    if not columns.in_order:
        raise ValueError(
            "estimator has an encoder before a network of fastnn.sklearn, whose columns lie in another order here: "
            "give the model a CategoricalEmbedding of its own, or train scikit-learn's MLP behind the encoder"
        )
    return layers.Stack(model)
