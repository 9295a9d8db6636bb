"""What a preset is: the numbers of a network and of its training, and the network that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import initializers, layers, losses, metrics, optimizers
from fastnn.models import Sequential
from fastnn.optimizers import schedules


@dataclass(frozen=True)
class Preset:
    """The numbers of a network for tables, and of its training.

    Attributes
    ----------
    activation, rate : tuple
        For classes, and for numbers.
    scaling : str
    limit : float or None
        As for :class:`fastnn.tabular._preparation.Preparation`.
    one_hot_limit : int or None
        Columns of at most so many codes become a column for each; None stands for all columns.
    embedding : int
        The width of the embedding of other columns.
    hidden : tuple of int
    dropout, decay, smoothing : float
        The rate of dropout, the weight decay, and the label smoothing.
    batch, epochs, patience : int
        Rows of a step; epochs; epochs without a better one after which training ends.
    tangent : bool
        Whether layers have the parametrization of the neural tangent kernel, and are trained as RealMLP's are.
    """

    activation: tuple[str, str]
    rate: tuple[float, float]
    scaling: str = "robust"
    limit: float | None = 3.0
    one_hot_limit: int | None = None
    embedding: int = 8
    hidden: tuple[int, ...] = (256, 256, 256)
    dropout: float = 0.0
    decay: float = 0.0
    smoothing: float = 0.1
    batch: int = 256
    epochs: int = 256
    patience: int | None = None
    tangent: bool = True


PRESETS = {
    # Holzmueller, Grinsztajn and Steinwart, Better by default: strong pre-tuned MLPs and boosted trees on tabular data,
    # 2024, arXiv 2407.04491, and the defaults of the authors' package pytabkit 1.7.3
    "realmlp-td-s": Preset(("selu", "mish"), (0.04, 0.07)),
    "plain": Preset(
        ("relu", "relu"),
        (2e-3, 2e-3),
        scaling="standard",
        limit=None,
        one_hot_limit=20,
        dropout=0.1,
        decay=0.01,
        smoothing=0.0,
        batch=256,
        epochs=100,
        patience=16,
        tangent=False,
    ),
}


def network(preset: Preset, numbers: int, vocabularies: Sequence[int], outputs: int, *, classes: bool) -> Sequential:
    """Return the network, which reads the matrix of a preparation.

    Parameters
    ----------
    preset : Preset
    numbers : int
        The number of columns of numbers.
    vocabularies : sequence of int
        The number of codes of each column of categories, with that of what is unknown.
    outputs : int
    classes : bool
        Whether the outputs are logits of classes.
    """
    front = [_trained(layers.Scale(), 6.0)] if preset.tangent else []
    stack: list[Any] = [layers.Branches(_inputs(preset, numbers, vocabularies)), *front]
    for units in preset.hidden:
        stack.append(_dense(preset, units, preset.activation[not classes]))
        stack += [layers.Dropout(preset.dropout)] if preset.dropout else []
    return Sequential([*stack, _dense(preset, outputs, None)])


def _inputs(preset: Preset, numbers: int, vocabularies: Sequence[int]) -> dict[str, list[Any]]:
    """Return the branches of the network: the numbers, and each column of categories."""
    branches: dict[str, list[Any]] = {"numbers": [layers.Input((numbers,))]} if numbers else {}
    for place, size in enumerate(vocabularies):
        few = preset.one_hot_limit is None or size <= preset.one_hot_limit
        layer = layers.CategoryEncoding(size, "one_hot") if few else layers.Embedding(size, preset.embedding)
        branches[f"category_{place}"] = [layers.Input((1,)), layer]
    return branches


def _dense(preset: Preset, units: int, activation: str | None) -> layers.Dense:
    """Return a dense layer; without an activation it is the last."""
    if not preset.tangent:
        return layers.Dense(units, activation)
    start: Any = initializers.RandomNormal(0.0, 1.0) if activation else "zeros"
    layer = layers.Dense(units, activation, kernel_initializer=start, bias_initializer=start, parametrization="ntk")
    return _trained(layer, {"bias": 0.1})


def _trained(layer: Any, rate: Any, decay: Any = 1.0) -> Any:
    """Return a layer whose parameters are trained at a rate, and shrink by a decay, of their own."""
    layer.learning_rate_multiplier, layer.weight_decay_multiplier = rate, decay
    return layer


def compile_for(model: Sequential, preset: Preset, steps: int, metric: str, *, classes: bool) -> None:
    """Compile a network for a number of steps.

    Parameters
    ----------
    model : Sequential
    preset : Preset
    steps : int
        Of the whole training.
    metric : str
        The metric that tells the best epoch, a key of :data:`METRICS`.
    classes : bool
        Whether the outputs are logits of classes.
    """
    loss: Any = losses.MeanSquaredError()
    if classes:
        loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=preset.smoothing)
    model.compile(_optimizer(preset, steps, preset.rate[not classes]), loss, weighted_metrics=[METRICS[metric][0]()])


def _optimizer(preset: Preset, steps: int, rate: float) -> optimizers.Optimizer:
    if not preset.tangent:
        return optimizers.AdamW(schedules.CosineDecay(rate, steps), weight_decay=preset.decay)
    share = np.arange(steps) / steps
    rates = rate * 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * share)))
    schedule: Any = schedules.PiecewiseConstantDecay(list(range(steps - 1)), rates.tolist()) if steps > 1 else rate
    return optimizers.Adam(schedule, beta_2=0.95, epsilon=1e-8)


# for each metric what makes it, and whether more of it is better; the key of its log is its name
METRICS: dict[str, tuple[Any, bool]] = {
    "error": (lambda: metrics.CategoricalAccuracy(name="score"), True),
    "log_loss": (lambda: metrics.CategoricalCrossentropy(name="score", from_logits=True), False),
    "rmse": (lambda: metrics.RootMeanSquaredError(name="score"), False),
    "mae": (lambda: metrics.MeanAbsoluteError(name="score"), False),
}
OF_CLASSES, OF_NUMBERS = ("error", "log_loss"), ("rmse", "mae")
