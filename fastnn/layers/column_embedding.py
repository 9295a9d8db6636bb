"""Layers that make several numbers of each column of numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastnn import activations
from fastnn._op import Op
from fastnn._settings import flag, number
from fastnn.activations import ActivationFunction
from fastnn.initializers import RandomNormal, RandomUniform
from fastnn.layers._columns import OfColumns, side_by_side
from fastnn.layers.base import Parameter, SharedWithPenalty, check_width

if TYPE_CHECKING:
    from typing_extensions import Unpack


def like_torch(inputs: int) -> RandomUniform:
    """Return how PyTorch's linear layers of so many inputs begin, and with them the layers of the papers."""
    limit = inputs**-0.5
    return RandomUniform(-limit, limit)


def _expand(columns: int, each: int, kernel: int, bias: int, factor: float, f: ActivationFunction) -> Op:
    """Return the op f(factor x_j w_jk + b_jk), which makes `each` numbers of each column."""
    shape = (columns, each, columns * each)
    return Op("expand", f.engine_name, columns, shape[2], kernel, bias, f.numbers, vector=(*shape, factor, each))


def groups(inputs: int, outputs: int, count: int, maps: int, kernel: int, bias: int, f: ActivationFunction) -> Op:
    """Return the op f(x_g W_g + b_g) for `count` groups of columns, of which each has a map, or all share one."""
    each, units = inputs // count, outputs // count
    vector = (maps * each, units, maps * units, count)
    return Op("groups", f.engine_name, inputs, outputs, kernel, bias, f.numbers, vector=vector)


def elementwise(activation: Any, layer: str) -> ActivationFunction:
    """Return the activation of a layer of this class; raise where it needs whole rows."""
    f = activations.get(activation)
    if not f.elementwise:
        raise ValueError(f"activation must work element by element in a {layer}, got {f.name!r}")
    return f


class LinearEmbedding(OfColumns):
    """y_jk = f(x_j w_jk + b_jk): `units` numbers of each column x_j, side by side.

    Gorishniy, Rubachev and Babenko, On embeddings for numerical features in tabular deep learning, 2022: the embedding
    "L", or "LR" with ``activation="relu"``.

    Parameters
    ----------
    units : int
        Numbers of a column.
    activation : str, ActivationFunction or config, optional
        f, which must work element by element; default linear.
    columns : sequence of int or str, optional
        The columns x_j, by index or by a frame's names. The others come first in the result, as they are. Default: all.
    **shared
        See :class:`Layer`.

    Notes
    -----
    The parameters are ``"kernel"``, of shape (columns, units), and ``"bias"``, of shape (columns * units,). Both start
    uniform between -1 / sqrt(units) and 1 / sqrt(units).

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((3,)), fastnn.layers.LinearEmbedding(4, "relu")])
    >>> model.output_shape
    (None, 12)
    """

    takes_activity_regularizer = True
    keeps_width = False

    def __init__(
        self,
        units: int,
        activation: Any = None,
        columns: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(columns, **shared)
        self.units = check_width("units", units)
        self.activation = elementwise(activation, "LinearEmbedding")
        self._columns = 0

    def build_taken(self, inputs: int) -> int:
        """Return the number of outputs, `units` for each of the inputs."""
        self._columns = inputs
        return inputs * self.units

    def parameters(self) -> list[Parameter]:
        """Return the kernel and the bias."""
        start = like_torch(self.units)
        shape = (self._columns, self.units)
        return [Parameter("kernel", shape, start), Parameter("bias", (math.prod(shape),), start)]

    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        return [_expand(self._columns, self.units, offsets["kernel"], offsets["bias"], 1.0, self.activation)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {"units": self.units, "activation": activations.serialize(self.activation)}
        return super().get_config() | config


class PeriodicEmbedding(OfColumns):
    """Waves of each column x_j, of frequencies that are learned, from which a linear map makes `units` numbers.

    The waves are h_j = cos(2 pi w_j x_j + b_j), or without `phases` cos(2 pi w_j x_j) and sin(2 pi w_j x_j) side by
    side. A map of its own makes of them y_j = f(h_j W_j + b'_j). The result is y_1, y_2, ... side by side, after x
    itself where the layer is `densely_connected`. So a network learns functions that bend often, as those of tables do.

    As it stands the layer is the embedding "PBLD" of RealMLP (Holzmüller, Grinsztajn and Steinwart, Better by default,
    2024). ``PeriodicEmbedding(48, 24, 0.01, "relu", phases=False, densely_connected=False)`` is "PLR" (Gorishniy,
    Rubachev and Babenko, On embeddings for numerical features in tabular deep learning, 2022), without the activation
    "PL".

    Parameters
    ----------
    frequencies : int, default 16
        Numbers w of a column.
    units : int, default 3
        Numbers y of a column.
    sigma : float, default 0.1
        The standard deviation of the frequencies at the start, in turns per unit of x. It decides how fast what the
        network learns may bend: worth a search between 0.01 and 1.
    activation : str, ActivationFunction or config, optional
        f, which must work element by element; default linear.
    phases : bool, default True
        Whether b is learned, in the place of the sines.
    densely_connected : bool, default True
        Whether x stands before the numbers of its columns.
    share_weights : bool, default False
        Whether all columns share one map W and b'; each has frequencies of its own even so.
    columns : sequence of int or str, optional
        The columns x_j, by index or by a frame's names. The others come first in the result, as they are. Default: all.
    **shared
        See :class:`Layer`.

    Notes
    -----
    The parameters, for ``learning_rate_multiplier={"frequencies": 0.1, ...}`` too, with m the number of waves of a
    column, `frequencies` or twice as many:

    - ``"frequencies"``, w of shape (columns, frequencies), starts normal with the deviation `sigma`;
    - ``"phases"``, b of shape (columns * frequencies,), starts uniform between -pi and pi;
    - ``"kernel"``, of shape (columns * m, units), has W_1, W_2, ... one below the other, or is the one of shape
      (m, units); ``"bias"`` has the shape (columns * units,) or (units,). Both start uniform between -1 / sqrt(m) and
      1 / sqrt(m).

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((5,)), fastnn.layers.PeriodicEmbedding()])
    >>> model.output_shape
    (None, 20)
    """

    takes_activity_regularizer = True
    keeps_width = False

    def __init__(
        self,
        frequencies: int = 16,
        units: int = 3,
        sigma: float = 0.1,
        activation: Any = None,
        *,
        phases: bool = True,
        densely_connected: bool = True,
        share_weights: bool = False,
        columns: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(columns, **shared)
        self.frequencies = check_width("frequencies", frequencies)
        self.units = check_width("units", units)
        self.sigma = number("sigma", sigma, 0)
        self.activation = elementwise(activation, "PeriodicEmbedding")
        self.phases = flag("phases", phases)
        self.densely_connected = flag("densely_connected", densely_connected)
        self.share_weights = flag("share_weights", share_weights)
        self._columns = 0

    @property
    def _waves(self) -> int:
        """The number of waves of a column."""
        return self.frequencies if self.phases else 2 * self.frequencies

    def build_taken(self, inputs: int) -> int:
        """Return the number of outputs: `units` for each of the inputs, and these too where they stand beside."""
        self._columns = inputs
        return inputs * (self.units + self.densely_connected)

    def parameters(self) -> list[Parameter]:
        """Return the parameters in the order of the class's notes."""
        columns, maps, start = self._columns, 1 if self.share_weights else self._columns, like_torch(self._waves)
        phases = Parameter("phases", (columns * self.frequencies,), RandomUniform(-math.pi, math.pi))
        return [
            Parameter("frequencies", (columns, self.frequencies), RandomNormal(0.0, self.sigma)),
            *([phases] if self.phases else []),
            Parameter("kernel", (maps * self._waves, self.units), start),
            Parameter("bias", (maps * self.units,), start),
        ]

    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return the ops of the waves and of the maps, and beside them, where x is wanted too, a copy and a join."""
        columns, m, f = self._columns, self._waves, self.activation
        maps = 1 if self.share_weights else columns
        function, phases = activations.cos if self.phases else activations.linear, offsets.get("phases", -1)
        waves = [_expand(columns, self.frequencies, offsets["frequencies"], phases, 2 * math.pi, function)]
        if not self.phases:
            waves.append(Op("waves", "linear", waves[0].outputs, columns * m, numbers=(self.frequencies,)))
        mapped = groups(columns * m, columns * self.units, columns, maps, offsets["kernel"], offsets["bias"], f)
        made = [*waves, mapped]
        copy = Op("activation", "linear", columns, columns)
        return side_by_side([[copy], made], [0, 0]) if self.densely_connected else made

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "frequencies": self.frequencies,
            "units": self.units,
            "sigma": self.sigma,
            "activation": activations.serialize(self.activation),
            "phases": self.phases,
            "densely_connected": self.densely_connected,
            "share_weights": self.share_weights,
        }
