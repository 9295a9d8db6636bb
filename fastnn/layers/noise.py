"""Layers that put noise on rows while training, and do nothing otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._op import Op
from fastnn._schedules import LearningRateSchedule, configured, number_and_schedule, number_or_schedule
from fastnn.activations import SELU_ALPHA, SELU_SCALE
from fastnn.layers.base import Layer, SharedWithPenalty

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Noise(Layer):
    """The base of the layers of noise: a seed, and rows that keep their width.

    The numbers are drawn by Philox4x32-10 (Salmon et al. 2011) from the seed, the optimizer's step, the row in the
    batch and the column, so the same training gives the same bits on any number of threads.
    """

    keeps_axes = takes_activity_regularizer = True

    def __init__(
        self,
        seed: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
        if seed is not None and not (whole and 0 <= seed < 2**63):
            raise ValueError(f"seed must be an integer from 0 to 2**63 - 1 or None, got {seed!r}")
        self.seed = None if seed is None else int(seed)
        self._features = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs."""
        self._features = inputs
        return inputs

    def _op(self, name: str, kind: str, rate: float | LearningRateSchedule, *numbers: float) -> list[Op]:
        """Return one op for a kind of noise, with its rate and further numbers (fnn_noise_kind in src_c/fastnn.h).

        At no noise there is none, unless a penalty of the outputs needs an op to stand at.
        """
        first, schedule = number_and_schedule(rate)
        told = ("linear", self._features, self._features)
        if not first and schedule is None:
            return [Op("activation", *told)] if self.activity_regularizer is not None else []
        seed = -1 if self.seed is None else self.seed
        return [Op(name, *told, mode=kind, numbers=(first, *numbers), seed=seed, schedule=schedule)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"seed": self.seed}


class _Rate(Noise):
    """A layer of noise that has a rate."""

    def __init__(
        self,
        rate: float | LearningRateSchedule,
        seed: int | None = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(seed, **shared)
        self.rate = number_or_schedule("rate", rate, 1, open_high=True)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"rate": configured(self.rate)}


class Dropout(_Rate):
    """Sets each element to zero with probability `rate` while training, and divides the others by 1 - rate.

    16 random bits decide on an element, so its probability is the rate to the nearest 2**-16. Srivastava et al.,
    Dropout: a simple way to prevent neural networks from overfitting, JMLR 15, 2014.

    Parameters
    ----------
    rate : float or LearningRateSchedule
        The share of elements that are set to zero, from 0 to below 1; a schedule of ``fastnn.optimizers.schedules``
        lets it depend on the step.
    seed : int, optional
        Default: a seed made from the model's seed and the place of the layer.
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dropout(0.5), fastnn.layers.Dense(1)])
    """

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return one op, or none at rate 0."""
        return self._op("dropout", "dropout", self.rate)


class AlphaDropout(_Rate):
    """Dropout for ``selu``: keeps mean 0 and variance 1 of its input while training.

    The rate is rounded as that of :class:`Dropout` is. Klambauer et al., Self-normalizing neural networks, 2017.

    Parameters
    ----------
    rate : float or LearningRateSchedule
        The share of elements that are set to the value ``selu`` saturates at, from 0 to below 1.
    seed : int, optional
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.AlphaDropout(0.1)])
    >>> model.predict([[1.0, 3.0]])
    array([[1., 3.]], dtype=float32)
    """

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return one op, or none at rate 0."""
        return self._op("dropout", "alpha_dropout", self.rate, -SELU_ALPHA * SELU_SCALE)


class GaussianDropout(_Rate):
    """Multiplies each element by a normal number with mean 1 and variance rate / (1 - rate) while training.

    Parameters
    ----------
    rate : float or LearningRateSchedule
        From 0 to below 1, as for :class:`Dropout`.
    seed : int, optional
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.GaussianDropout(0.1)])
    >>> model.predict([[1.0, 3.0]])
    array([[1., 3.]], dtype=float32)
    """

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return one op, or none at rate 0."""
        return self._op("gaussian", "gaussian_dropout", self.rate)


class GaussianNoise(Noise):
    """Adds a normal number with mean 0 to each element while training.

    Parameters
    ----------
    stddev : float or LearningRateSchedule
        The standard deviation of that number, at least 0.
    seed : int, optional
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.GaussianNoise(0.1)])
    >>> model.predict([[1.0, 3.0]])
    array([[1., 3.]], dtype=float32)
    """

    def __init__(
        self,
        stddev: float | LearningRateSchedule,
        seed: int | None = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(seed, **shared)
        self.stddev = number_or_schedule("stddev", stddev)

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return one op, or none at standard deviation 0."""
        return self._op("gaussian", "gaussian_noise", self.stddev)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"stddev": configured(self.stddev)}
