"""Layers that prepare columns of numbers, without parameters that are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._settings import flag, number
from fastnn.data.frames import real_array
from fastnn.initializers import Initializer
from fastnn.layers._columns import OfColumns, Taken
from fastnn.layers.base import Layer, Parameter, Shared, check_axis

if TYPE_CHECKING:
    from typing_extensions import Unpack


SMALLEST_DEVIATION = 1e-7  # the least number that a column is divided by, as in Keras


class Values(Initializer):
    """Given numbers as the initializer of a column's statistics; one number stands for all columns."""

    random = False

    def __init__(self, values: npt.NDArray[np.float64]) -> None:
        super().__init__()
        self.values = values

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        values[...] = np.broadcast_to(self.values, values.shape)


def _statistic(name: str, values: Any) -> npt.NDArray[np.float64]:
    """Return the numbers given as `mean` or `variance`; raise an error that names the argument where they are none."""
    array = np.atleast_1d(np.squeeze(real_array(values, name, "").astype(np.float64)))
    if array.ndim != 1 or not np.isfinite(array).all() or (name == "variance" and (array < 0).any()):
        kind = "finite numbers of at least 0" if name == "variance" else "finite numbers"
        raise ValueError(f"{name} must be one of the {kind} or one for each feature, got shape {np.shape(values)}")
    return array


def _moments(taken: Taken) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the mean and the (biased) variance of each column of finite numbers.

    In each piece of rows, numbers are taken relative to the first row, so that numbers far larger than their
    differences lose no digits, and equal numbers have variance 0. Pieces are merged as Chan, Golub and LeVeque do
    (1983).
    """
    mean = squares = np.zeros(len(taken.places))
    for first, wide in taken.pieces():
        origin = wide[0].copy()
        wide -= origin
        center = wide.mean(axis=0)
        apart, rows = origin + center - mean, len(wide)
        wide -= center
        squares = squares + (wide * wide).sum(axis=0) + apart**2 * (first * rows / (first + rows))
        mean = mean + apart * (rows / (first + rows)) if first else origin + center
    return mean, squares / len(taken.array)


class Normalization(OfColumns):
    """y = (x - mean) / deviation, column by column, with statistics that :meth:`adapt` takes from data.

    Parameters
    ----------
    axis : int, default -1
        The axis of the features; a row has no other axis.
    mean, variance : float or array-like of shape (features,), optional
        The statistics; give both or neither. Default: 0 and 1 until :meth:`adapt` is called.
    invert : bool, default False
        Whether the layer computes y = mean + x deviation instead.
    columns : sequence of int or str, optional
        The columns that are normalized, by index or by a frame's names; the others stay as they are. Default: all.
    **shared
        See :class:`Layer`.

    Attributes
    ----------
    mean, variance : ndarray of shape (1, features), or None
        The statistics in use, None before :meth:`adapt`; float64 as long as the layer has not been built.

    Notes
    -----
    A column whose values are all equal has variance 0; its deviation counts as 1, as in scikit-learn: the column
    becomes 0, and later changes of it are passed on as they are. (Keras divides them by 1e-7.) Any other deviation is
    at least 1e-7, as in Keras.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Normalization()
    >>> layer.adapt([[1.0], [3.0]])
    >>> layer.mean, layer.variance
    (array([[2.]]), array([[1.]]))
    >>> fastnn.Sequential([fastnn.Input((1,)), layer]).predict([[5.0]])
    array([[3.]], dtype=float32)
    """

    keeps_width = True
    _KEPT = OfColumns._KEPT | {"_mean", "_variance", "_adapted", "_given"}

    def __init__(
        self,
        axis: int = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        columns: Any = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(columns, **shared)
        check_axis(axis)
        if (mean is None) != (variance is None):
            missing = "variance" if variance is None else "mean"
            raise ValueError(f"{missing} is missing: give both mean and variance, or neither and call adapt")
        self.invert = flag("invert", invert)
        self._given = mean is not None
        self._mean = _statistic("mean", 0.0 if mean is None else mean)
        self._variance = _statistic("variance", 1.0 if variance is None else variance)
        self._features = 0
        self._adapted = False

    @property
    def mean(self) -> npt.NDArray[Any] | None:
        """The mean of each feature in use, a copy of shape (1, features) as in Keras; None before there is a mean."""
        return self._in_use("mean", self._mean)

    @property
    def variance(self) -> npt.NDArray[Any] | None:
        """The variance of each feature in use, a copy of shape (1, features); None before there is a variance."""
        return self._in_use("variance", self._variance)

    def _in_use(self, name: str, found: npt.NDArray[np.float64]) -> npt.NDArray[Any] | None:
        if self._built:
            return self._weight(name)[None, :].copy()
        return found[None, :].copy() if self._adapted or self._given else None

    def get_weights(self) -> list[npt.NDArray[Any]]:
        """Return copies of mean and variance; before the model is built those that :meth:`adapt` found, or none."""
        if self._built:
            return super().get_weights()
        return [self._mean.copy(), self._variance.copy()] if self._adapted else []

    def adapt(self, data: Any) -> None:
        """Take mean and (biased) variance of each column of `data`, in place of the statistics so far.

        Parameters
        ----------
        data : array-like, shape (rows, features), or (rows,) of one feature, or iterable of such batches
            At least one row of finite numbers. (In Keras a NaN makes its whole column NaN.) The data are read some rows
            at a time, so that they may be a file that is larger than memory (numpy.memmap); the batches of a generator
            are held in memory together. A data frame's columns are known by their names from then on, in the layer's
            model too, see :attr:`Sequential.feature_names`.

        Raises
        ------
        ValueError, TypeError
            When `data` cannot be used, in one sentence; the layer is as it was then.
        """
        if self._given:
            raise ValueError(f"{self._called} was given its mean and variance: adapt() would have no effect")
        taken = self.taken_from(data)
        if self._features and len(taken.places) != self._features:
            raise ValueError(f"data must have {self._features} features a row, got {len(taken.places)}")
        with np.errstate(over="ignore", invalid="ignore"):
            mean, variance = _moments(taken)
        if not np.isfinite(variance).all():
            column = taken.called[int(np.argmin(np.isfinite(variance)))]
            raise ValueError(f"data must have variances within float64's range: scale column {column} down first")
        self._mean, self._variance, self._adapted = mean, variance, True
        self._column_names, self._taken_names = taken.names, taken.own_names
        if self._built:
            self._weight("mean")[...] = self._mean
            self._weight("variance")[...] = self._variance

    def build_taken(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs; raise where statistics are of another number."""
        for name, values in (("mean", self._mean), ("variance", self._variance)):
            if len(values) not in (1, inputs):
                raise ValueError(f"{self._called} has a {name} for {len(values)} features, its input has {inputs}")
        self._features = inputs
        return inputs

    def parameters(self) -> list[Parameter]:
        """Return mean and variance, which are not trained."""
        shape = (self._features,)
        return [Parameter("mean", shape, Values(self._mean)), Parameter("variance", shape, Values(self._variance))]

    def non_trainable(self) -> frozenset[str]:
        """Return the names of mean and variance."""
        return frozenset({"mean", "variance"})

    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        mode = "multiply" if self.invert else "divide"
        numbers, variance = (SMALLEST_DEVIATION, 1.0, 0.0), offsets["variance"]
        op = Op("columns", "linear", self._features, self._features, mode=mode, numbers=numbers, variance=variance)
        # An inverted layer adds the mean at the end, as a bias is added, but one that training leaves alone.
        return [op._replace(bias=offsets["mean"], frozen=True) if self.invert else op._replace(mean=offsets["mean"])]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; statistics that adapt found are kept with the weights."""
        given = {"mean": self._mean.tolist(), "variance": self._variance.tolist()} if self._given else {}
        return super().get_config() | {"axis": -1, "invert": self.invert} | given


class Rescaling(Layer):
    """y = x scale + offset, for each element x.

    Parameters
    ----------
    scale : float
    offset : float, default 0
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Sequential([fastnn.Input((1,)), fastnn.layers.Rescaling(0.5)]).predict([[3.0]])
    array([[1.5]], dtype=float32)
    """

    keeps_axes = True

    def __init__(
        self,
        scale: float,
        offset: float = 0.0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self.scale = number("scale", scale, -np.inf, np.inf)
        self.offset = number("offset", offset, -np.inf, np.inf)
        self._features = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs."""
        self._features = inputs
        return inputs

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        numbers = (0.0, self.scale, self.offset)
        return [Op("columns", "linear", self._features, self._features, mode="scale", numbers=numbers)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"scale": self.scale, "offset": self.offset}
