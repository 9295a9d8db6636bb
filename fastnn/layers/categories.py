"""Layers that turn numbers into categories, and categories into columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._registry import nearest_names
from fastnn._settings import listed
from fastnn.data.feeds import gathered
from fastnn.data.frames import real_array, row_pieces
from fastnn.layers.base import Layer, NotYetError, Shared, check_width

if TYPE_CHECKING:
    from typing_extensions import Unpack


ENCODINGS = ("one_hot", "multi_hot", "count")  # the engine's names: fnn_encoding in src_c
LARGEST = 2**24  # float32 holds every whole number up to this one
PIECE = 2**20  # up to this many numbers, adapt sorts a copy in memory
RANKS = 4096  # up to this many ranks, adapt finds the numbers of a larger array without sorting it


def check_output_mode(value: Any, *, whole_numbers: bool) -> str:
    """Return the name of a way to write categories; "int" is one where `whole_numbers` says so."""
    known = [*(["int"] if whole_numbers else []), *ENCODINGS]
    if not isinstance(value, str) or value not in known:
        near = nearest_names(value, known) if isinstance(value, str) else f"known are {', '.join(known)}"
        raise ValueError(f"output_mode {value!r} is unknown; {near}")
    return value


def encoded_width(output_mode: str, features: int, tokens: int) -> int:
    """Return the number of columns that `features` categories take."""
    return {"int": features, "one_hot": features * tokens}.get(output_mode, tokens)


def encode_op(output_mode: str, features: int, tokens: int, *, skips: bool = False) -> Op:
    """Return the op that writes categories as columns; with `skips` the category -1 sets no column."""
    width = encoded_width(output_mode, features, tokens)
    return Op("encode", "linear", features, width, mode=output_mode, numbers=(float(tokens), float(skips)))


class CategoryEncoding(Layer):
    """Turns categories (whole numbers from 0 to num_tokens - 1) into columns of zeros and ones.

    Parameters
    ----------
    num_tokens : int
        The number of categories, at most 2**24.
    output_mode : {"multi_hot", "one_hot", "count"}
        ``"one_hot"`` gives `num_tokens` columns for each column of the input, side by side (Keras puts those of several
        columns on an axis of their own). ``"multi_hot"`` gives `num_tokens` columns, which say whether the row holds
        the category at all; ``"count"`` gives columns that say how often it does.
    **shared
        See :class:`Layer`.

    Notes
    -----
    The first layer of a model raises for a number that is no category. Elsewhere, and in the frozen predictor, all
    columns that stand for such a number become NaN. For many categories an :class:`Embedding` is faster.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.CategoryEncoding(3, "one_hot")
    >>> fastnn.Sequential([fastnn.Input((1,)), layer]).predict([[2], [0]])
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """

    def __init__(
        self,
        num_tokens: int,
        output_mode: str = "multi_hot",
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self.num_tokens = check_width("num_tokens", num_tokens)
        if self.num_tokens > LARGEST:
            raise ValueError(f"num_tokens must be at most 2**24, got {num_tokens}")
        self.output_mode = check_output_mode(output_mode, whole_numbers=False)
        self._features = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs: `num_tokens`, or `num_tokens` for each input."""
        self._features = inputs
        return encoded_width(self.output_mode, inputs, self.num_tokens)

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        return [encode_op(self.output_mode, self._features, self.num_tokens)]

    def check_rows(self, rows: npt.NDArray[Any], name: str, first: int = 0) -> None:
        """Raise one sentence where a number is no category."""
        check_categories(rows, self.num_tokens, self, name, first)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"num_tokens": self.num_tokens, "output_mode": self.output_mode}


def check_categories(rows: npt.NDArray[Any], count: int, layer: Layer, name: str, first: int) -> None:
    """Raise where rows hold anything but whole numbers from 0 to count - 1; `first` is the number of the first row."""
    bad = ~((rows >= 0) & (rows < count) & (rows == np.floor(rows)))
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        raise ValueError(
            f"{name} must hold whole numbers from 0 to {count - 1} for {layer._called}, "
            f"but row {first + row} holds {rows[row][bad[row]][0]:g}"
        )


class Discretization(Layer):
    """Turns a number into the number of its bin: bin k goes from boundary k - 1 to below boundary k.

    Parameters
    ----------
    bin_boundaries : sequence of float, optional
        Boundaries in rising order; n boundaries make n + 1 bins, of which the first and the last have no end.
    num_bins : int, optional
        The number of bins that :meth:`adapt` makes, instead of `bin_boundaries`.
    epsilon : float, default 0.01
        How far the share of the data in a bin may be from 1 / num_bins: adapt looks at about 1 / epsilon quantiles.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        Whether the output is the number of the bin, or columns as those of :class:`CategoryEncoding`.
    **shared
        See :class:`Layer`.

    Notes
    -----
    All columns share the boundaries. A NaN has no bin: the output is NaN, in each column that could count it where bins
    become columns. (Keras puts NaN in the last bin.) An :class:`Embedding` may follow.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Discretization([0.0, 1.0])
    >>> fastnn.Sequential([fastnn.Input((3,)), layer]).predict([[-0.5, 0.0, 7.0]])
    array([[0., 1., 2.]], dtype=float32)
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        if bin_boundaries is None and num_bins is None:
            raise ValueError("Discretization needs bin_boundaries, or num_bins and a call of adapt")
        self.num_bins = None if num_bins is None else check_width("num_bins", num_bins)
        if self.num_bins is not None and self.num_bins > LARGEST:
            raise ValueError(f"num_bins must be at most 2**24, got {num_bins}")
        if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float, np.number)) or not 0 < epsilon < 1:
            raise ValueError(f"epsilon must lie between 0 and 1, got {epsilon!r}")
        self.epsilon = float(epsilon)
        self.output_mode = check_output_mode(output_mode, whole_numbers=True)
        self.bin_boundaries: tuple[float, ...] | None = None if bin_boundaries is None else _boundaries(bin_boundaries)
        # A configuration of a layer that was adapted has both arguments.
        if self.num_bins is not None and bin_boundaries is not None and len(self._bounds()) >= self.num_bins:
            raise ValueError(f"bin_boundaries must be fewer than num_bins={num_bins}, got {len(self._bounds())}")
        self._features = 0

    def _bounds(self) -> tuple[float, ...]:
        if self.bin_boundaries is None:
            raise NotYetError(f"{self._called} has no bin_boundaries yet: call adapt before the model is built")
        return self.bin_boundaries

    def adapt(self, data: Any) -> None:
        """Choose boundaries that share `data` out into `num_bins` bins of about the same size.

        Parameters
        ----------
        data : array-like, or iterable of array-likes
            Finite numbers, at least one; all of them count as one column. The data are read some rows at a time; the
            batches of a generator are held in memory together.

        Raises
        ------
        ValueError, TypeError
            When `data` cannot be used, in one sentence; the layer is as it was then.

        Notes
        -----
        The boundaries are those that Keras finds in one array: of the sorted numbers, each (epsilon n)-th stands for
        the numbers before it, and boundary k lies where the line through their shares of the data reaches k / num_bins.
        """
        if self.num_bins is None:
            raise ValueError(f"{self._called} was given its bin_boundaries: adapt() would have no effect")
        if self._built:
            raise ValueError(f"{self._called} belongs to a model that is built: call adapt before")
        array = np.atleast_1d(real_array(gathered(data, "data"), "data"))
        finite = all(np.isfinite(piece.astype(np.float32)).all() for _, piece in row_pieces(array))
        if not array.size or not finite:
            raise ValueError("data must hold at least one number, and only finite ones")
        vars(self)["bin_boundaries"] = tuple(_quantiles(array, self.num_bins, self.epsilon))

    def build(self, inputs: int) -> int:
        """Return the number of outputs: one for each input, or the columns of the bins."""
        self._features = inputs
        return encoded_width(self.output_mode, inputs, len(self._bounds()) + 1)

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the op that finds bins, and one more where bins become columns."""
        bounds = self._bounds()
        ops = [Op("discretize", "linear", self._features, self._features, vector=bounds)]
        if self.output_mode != "int":
            ops.append(encode_op(self.output_mode, self._features, len(bounds) + 1))
        return ops

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; `bin_boundaries` are the boundaries in use."""
        return super().get_config() | {
            "bin_boundaries": listed(self.bin_boundaries),
            "num_bins": self.num_bins,
            "epsilon": self.epsilon,
            "output_mode": self.output_mode,
        }


def _boundaries(values: Any) -> tuple[float, ...]:
    bounds = real_array(values, "bin_boundaries", "").astype(np.float64)
    if bounds.ndim != 1 or not np.isfinite(bounds).all() or (np.diff(bounds) < 0).any() or len(bounds) >= LARGEST:
        raise ValueError("bin_boundaries must be a list of fewer than 2**24 finite numbers that rise")
    return tuple(float(bound) for bound in bounds)


def _compressed(
    values: npt.NDArray[Any], weights: npt.NDArray[Any], share: float
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return values interpolated at each `share` of the total weight, and the weight from one value to the next."""
    if len(values) * share < 1:
        return values, weights
    sums = np.cumsum(weights)
    wanted, shares = share + np.arange(0.0, 1.0, share), sums / sums[-1]
    reached = np.interp(wanted, shares, sums)
    return np.interp(wanted, shares, values).astype(np.float32), np.diff(reached, prepend=0).astype(np.float32)


def _ordered(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.uint64]]:
    """Yield, piece by piece, uint64 keys made of the array's float32 bits; keys compare as the numbers do."""
    for _, piece in row_pieces(array):
        bits = piece.astype(np.float32).reshape(-1).view(np.uint32)
        yield np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)


def _in_order(array: npt.NDArray[Any], ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return ``sort(array)[ranks]`` in float32, where ranks count from 0, without a sorted copy of the array.

    Three passes over the array find the 32 bits of each number: the upper 11, the next 11, the last 10. Each pass
    counts which next bits follow the bits known so far, and the rank says which of them the number has.
    """
    known, left = np.zeros(len(ranks), np.uint64), ranks.copy()
    for width, shift in ((11, 21), (11, 10), (10, 0)):
        begun, place = np.unique(known, return_inverse=True)
        counts = np.zeros((len(begun), 2**width), np.int64)
        for bits in _ordered(array):
            beginning = bits >> np.uint64(shift + width)
            following = (bits >> np.uint64(shift)) & np.uint64(2**width - 1)
            at = np.minimum(np.searchsorted(begun, beginning), len(begun) - 1)
            there = begun[at] == beginning
            found = at[there] * 2**width + following[there].astype(np.int64)
            counts += np.bincount(found, minlength=counts.size).reshape(counts.shape)
        ends = counts.cumsum(axis=1)
        following = np.array([np.searchsorted(ends[k], rank, "right") for k, rank in zip(place, left, strict=True)])
        left -= ends[place, following] - counts[place, following]
        known = known << np.uint64(width) | following.astype(np.uint64)
    bits = known.astype(np.uint32)
    return np.where(bits >> 31, bits & np.uint32(0x7FFFFFFF), ~bits).view(np.float32)


def _quantiles(array: npt.NDArray[Any], bins: int, epsilon: float) -> list[float]:
    """Return the bins - 1 boundaries between `bins` bins."""
    step = max(array.size * epsilon, 1.0)
    ranks = np.arange(math.floor(step - 1), array.size, math.floor(step))
    few = array.size <= PIECE or len(ranks) > RANKS
    chosen = np.sort(array.astype(np.float32), axis=None)[ranks] if few else _in_order(array, ranks)
    weights = np.full(len(chosen), step, np.float32)
    bounds, _ = _compressed(*_compressed(chosen, weights, epsilon), 1.0 / bins)
    return [float(bound) for bound in bounds[:-1]]
