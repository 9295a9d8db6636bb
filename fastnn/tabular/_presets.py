"""What a preset is: the numbers of a network and of its training, and the network that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import initializers, layers, losses, metrics, optimizers
from fastnn.layers import embedding as embeddings
from fastnn.models import Sequential
from fastnn.optimizers import schedules


@dataclass(frozen=True)
class Preset:
    """The numbers of a network for tables, and of its training.

    Attributes
    ----------
    activation : tuple of str
        For classes, and for numbers.
    rate : tuple of float
        The learning rate for classes, and for numbers.
    scaling : str
    limit : float or None
        As for :meth:`fastnn.tabular._preparation.Preparation.learned`.
    one_hot_limit : int
        Columns of at most so many values become columns of zeros and ones.
    embedding : int
        The width of the embedding of other columns.
    hidden : tuple of int
    periodic : bool
        Whether numbers have a periodic embedding.
    parametric : bool
        Whether the strength of activations is learned.
    fits_data : bool
        Whether kernels and biases start as fits the data, else normal, and the last ones at 0.
    dropout, decay, smoothing : float
        The rate of dropout, the weight decay, and the label smoothing.
    falls : bool
        Whether the label smoothing goes in waves, as the learning rate does.
    sigma : float
        The deviation of the frequencies of periodic embeddings at the start.
    waves, front, first : float
        Factors of the learning rate: of periodic embeddings, of the factors of columns, of the first kernel.
    beta_2 : float
        Of Adam.
    batch : int
        Rows of a step.
    epochs : tuple of int
        For classes, and for numbers.
    full_rows : int, optional
        Of more rows there are fewer epochs, down to a third, so that all epochs together are of as many rows.
    patience : int, optional
        Epochs without a better one after which training ends.
    tangent : bool
        Whether layers have the parametrization of the neural tangent kernel, and are trained as RealMLP's are.
    members : int
        The members of an ensemble that shares its weights; 0 for a network of one.
    rounds : bool
        Whether training rounds the operands of its products to bfloat16, where the processor multiplies that faster.
    """

    activation: tuple[str, str]
    rate: tuple[float, float]
    scaling: str = "robust"
    limit: float | None = 3.0
    one_hot_limit: int = 8
    embedding: int = 8
    hidden: tuple[int, ...] = (256, 256, 256)
    periodic: bool = False
    parametric: bool = False
    fits_data: bool = False
    dropout: float = 0.0
    decay: float = 0.0
    smoothing: float = 0.1
    falls: bool = False
    sigma: float = 0.1
    waves: float = 0.1
    front: float = 6.0
    first: float = 1.0
    beta_2: float = 0.95
    batch: int = 256
    epochs: tuple[int, int] = (256, 256)
    full_rows: int | None = None
    patience: int | None = None
    tangent: bool = True
    members: int = 0
    rounds: bool = False

    def settings(self, epochs: int) -> dict[str, Any]:
        """Return how a training of so many epochs takes batches, as :func:`fastnn.tabular._training.train` is told."""
        return {"batch": self.batch, "epochs": epochs, "whole": self.tangent}

    def for_rows(self, rows: int) -> Preset:
        """Return the preset with as many epochs as so many rows of training want."""
        if self.full_rows is None or rows <= self.full_rows:
            return self
        classes, numbers = (max(1, epochs // 3, epochs * self.full_rows // rows) for epochs in self.epochs)
        return replace(self, epochs=(classes, numbers))

    def epochs_of(self, *, classes: bool) -> int:
        """Return the number of epochs."""
        return self.epochs[not classes]

    def steps(self, rows: int) -> int:
        """Return the steps of an epoch over so many rows; RealMLP leaves a last batch out that is not full."""
        batch = min(self.batch, rows)
        return rows // batch if self.tangent else -(-rows // batch)


PRESETS = {
    # Holzmüller, Grinsztajn and Steinwart, Better by default: strong pre-tuned MLPs and boosted trees on tabular data,
    # 2024, arXiv 2407.04491, with the numbers of the authors' package pytabkit 1.7.3, where "missing" is one of nine
    # values of a column
    "realmlp-td": Preset(
        ("selu", "mish"),
        (0.04, 0.2),
        periodic=True,
        parametric=True,
        fits_data=True,
        dropout=0.15,
        decay=0.02,
        full_rows=3000,  # here, as in "fast", and not in pytabkit: 48 epochs of 6,000 rows are 1.01 of the error of 256
        rounds=True,
    ),
    # half as wide, for fewer epochs: of benchmarks/tables.py's sets classes need no more than 64, numbers twice as many
    "fast": Preset(
        ("selu", "mish"),
        (0.04, 0.2),
        hidden=(128, 128, 128),
        periodic=True,
        parametric=True,
        fits_data=True,
        dropout=0.15,
        decay=0.02,
        epochs=(64, 128),
        full_rows=3000,
        rounds=True,
    ),
    "realmlp-td-s": Preset(("selu", "mish"), (0.04, 0.07), one_hot_limit=2**20),
    # Gorishniy, Kotelnikov and Babenko, TabM: advancing tabular deep learning with parameter-efficient ensembling,
    # 2024, arXiv 2410.24210, with half of its members of half the width, for the time of a CPU
    "tabm-mini": Preset(
        ("relu", "relu"),
        (2e-3, 2e-3),
        hidden=(256, 256),
        one_hot_limit=20,
        dropout=0.1,
        decay=3e-4,
        smoothing=0.0,
        batch=64,
        epochs=(100, 200),
        patience=16,
        tangent=False,
        members=16,
    ),
    "plain": Preset(
        ("relu", "relu"),
        (2e-3, 2e-3),
        scaling="standard",
        limit=None,
        one_hot_limit=20,
        dropout=0.1,
        decay=0.01,
        smoothing=0.0,
        epochs=(100, 100),
        patience=16,
        tangent=False,
    ),
}


def network(
    preset: Preset, widths: tuple[int, int, int], entries: int, outputs: int, steps: int, *, classes: bool
) -> Sequential:
    """Return the network, which reads the matrix of a preparation.

    Parameters
    ----------
    preset : Preset
    widths : tuple of int
        The numbers of columns of numbers, of columns that stand for few categories, and of columns of many.
    entries : int
        The number of embeddings of all the last ones.
    outputs : int
    steps : int
        Of the whole training, which the schedule of dropout goes by.
    classes : bool
        Whether the outputs are logits of classes.
    """
    numbers, few, many = widths
    branches: dict[str, list[Any]] = {}
    if numbers:
        waves = [trained(layers.PeriodicEmbedding(16, 3, preset.sigma), preset.waves)] if preset.periodic else []
        branches["numbers"] = [layers.Input((numbers,)), *waves]
    if few:
        branches["few"] = [layers.Input((few,))]
    if many:
        start: Any = initializers.RandomNormal(0.0, 1.0) if preset.tangent else "uniform"
        branches["many"] = [layers.Input((many,)), layers.Embedding(entries, preset.embedding, start)]
    first = layers.Branches(branches, dtype="mixed_bfloat16" if preset.rounds else "float32")
    stack: list[Any] = [first, *([trained(layers.Scale(), preset.front)] if preset.tangent else [])]
    if preset.members:
        return Sequential([*stack, *_sharing(preset, outputs, preset.activation[not classes])])
    for place, units in enumerate(preset.hidden):
        stack += _block(preset, units, preset.activation[not classes], steps, 1.0 if place else preset.first)
    last = _dense(preset, outputs, initializers.RandomNormal(0.0, 1.0) if preset.fits_data else "zeros")
    return Sequential([*stack, last])


def fill_unseen(model: Sequential, codes: npt.NDArray[Any], sizes: Sequence[int]) -> None:
    """Give the embeddings that no row of training has the mean of those of their column.

    Parameters
    ----------
    model : Sequential
        A network that :func:`network` returned, with embeddings.
    codes : ndarray, shape (rows, columns)
        Which embeddings the rows have that it was trained on: the last columns of what the network reads.
    sizes : sequence of int
        The number of embeddings of each of these columns.
    """
    branches: Any = model.layers[0]
    embedding = branches.layers[-1].layers[-1]
    (table,) = embedding.get_weights()
    embeddings.fill_unseen(table, codes, sizes)
    embedding.set_weights([table])


def _sharing(preset: Preset, outputs: int, activation: str) -> list[Any]:
    """Return an ensemble that shares all weights but the factors at its start and the maps at its end."""
    stack: list[Any] = [layers.EnsembleScale(preset.members)]
    for units in preset.hidden:
        stack += [layers.EnsembleDense(units, preset.members, activation, "full"), layers.Dropout(preset.dropout)]
    heads = layers.EnsembleDense(outputs, preset.members, sharing="none")
    return [*stack, heads, layers.EnsembleMean(preset.members)]


def _block(preset: Preset, units: int, activation: str, steps: int, factor: float) -> list[Any]:
    """Return a hidden layer, with a factor of its learning rate, and its activation and its dropout."""
    dense = _dense(preset, units, initializers.RandomNormal(0.0, 1.0), factor)
    bent = trained(layers.ParametricActivation(activation), 0.1) if preset.parametric else layers.Activation(activation)
    rate: Any = schedules.FlatCosine(preset.dropout, steps) if preset.tangent else preset.dropout
    return [dense, bent, *([layers.Dropout(rate)] if preset.dropout else [])]


def _dense(preset: Preset, units: int, start: Any, factor: float = 1.0) -> layers.Dense:
    """Return a layer of linear functions."""
    if not preset.tangent:
        return layers.Dense(units)
    layer = layers.Dense(units, kernel_initializer=start, bias_initializer=start, parametrization="ntk")
    layer.learning_rate_multiplier, layer.weight_decay_multiplier = {"bias": 0.1 * factor}, {"bias": 0.0}
    if factor != 1:
        layer.learning_rate_multiplier |= {"kernel": factor}
    return layer


def trained(layer: Any, rate: float) -> Any:
    """Return a layer that is trained at a rate of its own.

    The weight decay of pytabkit has this rate twice as a factor: that of the optimizer, and once more.
    """
    layer.learning_rate_multiplier = layer.weight_decay_multiplier = rate
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
        smoothing: Any = schedules.CosineLog(preset.smoothing, 4, steps) if preset.falls else preset.smoothing
        loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    model.compile(_optimizer(preset, steps, preset.rate[not classes]), loss, weighted_metrics=[METRICS[metric][0]()])


def _optimizer(preset: Preset, steps: int, rate: float) -> optimizers.Optimizer:
    if not preset.tangent:
        return optimizers.AdamW(schedules.CosineDecay(rate, steps), weight_decay=preset.decay)
    decay: Any = schedules.FlatCosine(preset.decay, steps)
    return optimizers.AdamW(schedules.CosineLog(rate, 4, steps), weight_decay=decay, beta_2=preset.beta_2, epsilon=1e-8)


SEARCHED = ("hidden", "rate", "dropout", "decay", "smoothing", "sigma", "waves", "front", "first", "beta_2")


def sampled(preset: Preset, random: np.random.Generator, *, classes: bool) -> Preset:
    """Return a preset of the published search space of RealMLP in TabArena (arXiv 2506.16791), without its large ones.

    Numbers are those of the space ``tabarena`` of pytabkit 1.7.3, whose widths are 256, 384 and 512: here 1, 1.5 and 2
    times that of the preset. What the preset has not, such as periodic embeddings, has no numbers.
    """

    def between(low: float, high: float) -> float:
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    width = int(preset.hidden[0] * random.choice([1.0, 1.5, 2.0]))
    smooth = random.random() < 0.5
    rate = between(2e-2, 3e-1)
    return replace(
        preset,
        hidden=(width,) * int(random.integers(2, 5)),
        activation=("mish", "mish"),
        rate=(rate, rate),
        dropout=float(random.uniform(0, 0.5)),
        decay=between(1e-3, 5e-2),
        smoothing=between(5e-3, 1e-1) if smooth and classes else 0.0,
        falls=smooth and classes,
        sigma=between(1e-2, 50),
        waves=between(5e-2, 3e-1),
        front=between(2, 10),
        first=between(0.3, 1.5),
        beta_2=1 - between(5e-3, 5e-2),
    )


# for each metric what makes it, and whether more of it is better; the key of its log is its name
METRICS: dict[str, tuple[Any, bool]] = {
    "error": (lambda: metrics.CategoricalAccuracy(name="score"), True),
    "log_loss": (lambda: metrics.TemperatureScaledCrossentropy(name="score", from_logits=True), False),
    "rmse": (lambda: metrics.RootMeanSquaredError(name="score"), False),
    "mae": (lambda: metrics.MeanAbsoluteError(name="score"), False),
}
OF_CLASSES, OF_NUMBERS = ("log_loss", "error"), ("rmse", "mae")
