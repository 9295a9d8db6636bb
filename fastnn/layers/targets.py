"""The last layer of a regression: from the units of the network to those of the targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._settings import flag, listed, number
from fastnn.data.feeds import gathered
from fastnn.data.frames import real_array
from fastnn.layers.base import Layer, NotYetError, Shared

if TYPE_CHECKING:
    from typing_extensions import Unpack

_STATISTICS = ("mean", "deviation", "low", "high")


class TargetScaling(Layer):
    """y_j = mean_j + deviation_j x_j, drawn to [low_j, high_j] outside training: outputs in the units of the targets.

    As the last layer of a model or of a head it lets the network learn standardized targets, while predictions,
    metrics and y itself keep the user's units. The loss is that of x and (y - mean) / deviation, so it has no unit, and
    rates that suit one regression suit another; Keras's ``Normalization(invert=True)`` has the loss in the units of y.
    Predictions do not leave the range of the targets that :meth:`adapt` has seen, as those of a tree cannot.

    Parameters
    ----------
    mean, deviation, low, high : float or sequence of float, optional
        One number for all outputs, or one for each; :meth:`adapt` finds them.
    clip : bool, default True
        Whether outputs are drawn to [low, high] in ``predict``, in ``evaluate`` and in validations.
    **shared
        See :class:`Layer`.

    Notes
    -----
    The loss must be one of differences between outputs and targets: MeanSquaredError, HalfMeanSquaredError,
    MeanAbsoluteError, Huber, LogCosh or Quantile. The numbers are constants of the model: they are not trained, and are
    part of its configuration, in files too. y is read in the model's dtype: where the mean is more than 10^5
    deviations, that should be float64.

    Examples
    --------
    >>> import fastnn
    >>> scaling = fastnn.layers.TargetScaling()
    >>> scaling.adapt([[100.0], [300.0]])
    >>> model = fastnn.Sequential([fastnn.Input((1,)), scaling])
    >>> model.predict([[0.5], [2.0]])
    array([[250.],
           [300.]], dtype=float32)
    """

    def __init__(
        self,
        mean: float | Sequence[float] | None = None,
        deviation: float | Sequence[float] | None = None,
        low: float | Sequence[float] | None = None,
        high: float | Sequence[float] | None = None,
        clip: bool = True,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        given = {"mean": mean, "deviation": deviation, "low": low, "high": high}
        found = {name: None if value is None else _numbers(name, value) for name, value in given.items()}
        self.mean, self.deviation, self.low, self.high = (found[name] for name in _STATISTICS)
        self.clip = flag("clip", clip)
        _check(found)
        self._features = 0

    def adapt(self, data: Any) -> None:
        """Find mean, standard deviation, least and greatest value of each target; a target that never varies has 1.

        Parameters
        ----------
        data : array-like, shape (rows, outputs), or (rows,) of one output, or iterable of such batches
            The targets of the training; the batches of a generator are held in memory together.

        Raises
        ------
        ValueError, TypeError
            When `data` cannot be used, in one sentence; the layer is as it was then.
        """
        if self._built:
            raise ValueError(f"{self._called} belongs to a model that is built: call adapt before")
        array = real_array(gathered(data, "data"), "data")
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or not array.size:
            raise ValueError(f"data must have shape (rows, outputs) and at least one row, got {array.shape}")
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise ValueError(f"data must be finite, but row {row} is {array[row, column]} in column {column}")
        mean, deviation = array.mean(axis=0), array.std(axis=0)
        found = mean, np.where(deviation > 0, deviation, 1.0), array.min(axis=0), array.max(axis=0)
        for name, values in zip(_STATISTICS, found, strict=True):
            vars(self)[name] = tuple(map(float, values))

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs."""
        self._statistics(inputs)
        self._features = inputs
        return inputs

    def _statistics(self, outputs: int) -> tuple[float, ...]:
        """Return the numbers of all outputs: means, deviations, lows, highs."""
        found: list[float] = []
        for name in _STATISTICS:
            values = getattr(self, name)
            if name in ("low", "high") and not self.clip:
                values = (-math.inf if name == "low" else math.inf,)
            if values is None:
                raise NotYetError(f"{self._called} has no {name} yet: call adapt with the targets before")
            if len(values) not in (1, outputs):
                raise ValueError(f"{self._called} has {name} for {len(values)} outputs, its input has {outputs}")
            found += values * outputs if len(values) == 1 else values
        return tuple(found)

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        return [Op("unscale", "linear", self._features, self._features, vector=self._statistics(self._features))]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, with the numbers in use."""
        own = {name: listed(getattr(self, name)) for name in _STATISTICS}
        return super().get_config() | own | {"clip": self.clip}


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    """Return one number or several as they are held; raise an error that names the argument."""
    several = isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str)
    values: npt.NDArray[Any] | list[Any] = np.asarray(value).ravel() if several else [value]
    if not len(values):
        raise ValueError(f"{name} must be a number or one for each output, got {value!r}")
    return tuple(
        number(name, one, 0.0, open_low=True) if name == "deviation" else number(name, one, -math.inf) for one in values
    )


def _check(found: dict[str, tuple[float, ...] | None]) -> None:
    """Raise where a low is above its high."""
    low, high = found["low"] or (), found["high"] or ()
    for one, other in zip(low * max(1, len(high)) if len(low) == 1 else low, high, strict=False):
        if one > other:
            raise ValueError(f"low must be at most high, got {one} and {other}")
