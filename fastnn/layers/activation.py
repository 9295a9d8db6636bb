"""Activations as layers of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn import activations
from fastnn._op import Op
from fastnn.activations import ActivationFunction
from fastnn.layers.base import Layer, SharedWithPenalty

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Activation(Layer):
    """y = f(x), without parameters. After a linear :class:`Dense` it costs nothing: the two run as one.

    Parameters
    ----------
    activation : str, ActivationFunction or config
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Sequential([fastnn.layers.Activation("relu", input_shape=(2,))]).predict([[-1.0, 2.0]], verbose=0)
    array([[0., 2.]], dtype=float32)
    """

    takes_activity_regularizer = True

    def __init__(
        self,
        activation: Any,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        self.activation = activations.get(activation)
        self._features = 0

    @property
    def keeps_axes(self) -> bool:  # type: ignore[override]
        """Whether each number is mapped by itself, so that rows may have several axes; a softmax needs whole rows."""
        return "softmax" not in self.activation.name

    def build(self, inputs: int) -> int:
        """Return the number of outputs, which is the number of inputs."""
        self._features = inputs
        return inputs

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return one activation op."""
        return [
            Op(
                "activation",
                self.activation.engine_name,
                self._features,
                self._features,
                numbers=self.activation.numbers,
            )
        ]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"activation": activations.serialize(self.activation)}


class _Named(Activation):
    """A layer of one activation; its own arguments are the activation's constants."""

    if not TYPE_CHECKING:  # seeing __getattr__, a type checker would allow any name

        def __getattr__(self, name: str) -> Any:
            """Return one of the activation's constants."""
            constants = vars(self)["activation"].get_config() if "activation" in vars(self) else {}
            if name not in constants:
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            return constants[name]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        del config["activation"]
        return config | self.activation.get_config()


class ReLU(_Named):
    """y = x above `threshold`, but at most `max_value`; below it `negative_slope` (x - `threshold`).

    Parameters
    ----------
    max_value : float, optional
        Default: no limit.
    negative_slope : float, default 0.0
    threshold : float, default 0.0
        None of the three is negative.
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.ReLU(max_value=1, negative_slope=0.5, input_shape=(3,))
    >>> fastnn.Sequential([layer]).predict([[-1.0, 0.5, 2.0]], verbose=0)
    array([[-0.5,  0.5,  1. ]], dtype=float32)
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(activations.ReLU(negative_slope, max_value, threshold), **shared)


class LeakyReLU(_Named):
    """y = x above 0, `negative_slope` x below (Maas, Hannun and Ng 2013).

    Parameters
    ----------
    negative_slope : float, default 0.3
        Not negative. As in Keras, the activation ``"leaky_relu"`` has another default, 0.2.
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.LeakyReLU(0.1)])
    >>> model.predict([[-1.0, 2.0]]).round(3)
    array([[-0.1,  2. ]], dtype=float32)
    """

    def __init__(
        self,
        negative_slope: float = 0.3,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(activations.LeakyReLU(negative_slope), **shared)


class ELU(_Named):
    """y = x above 0, `alpha` (exp(x) - 1) below (Clevert, Unterthiner and Hochreiter 2016).

    Parameters
    ----------
    alpha : float, default 1.0
        Not negative.
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.ELU(0.5)])
    >>> model.predict([[-1.0, 2.0]]).round(3)
    array([[-0.316,  2.   ]], dtype=float32)
    """

    def __init__(
        self,
        alpha: float = 1.0,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(activations.ELU(alpha), **shared)


class Softmax(_Named):
    """y_j = exp(x_j) / sum_k exp(x_k) over the features of a row.

    Parameters
    ----------
    axis : {-1, 1}, default -1
        The axis of the features; a softmax over the rows of a batch is refused.
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Softmax()])
    >>> model.predict([[0.0, 0.0]])
    array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(
        self,
        axis: int = -1,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        if axis not in (-1, 1):
            raise ValueError(f"axis must be -1 or 1, the features of a row, got {axis!r}")
        super().__init__("softmax", **shared)
        self.axis = int(axis)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"axis": self.axis}


class GLU(Layer):
    """y = a f(b), where a and b are the first and the second half of x: a gated linear unit, half as wide as its input.

    f is ``"sigmoid"`` in the gated linear unit of Dauphin et al. 2017 (as in ``keras.activations.glu``), ``"silu"`` in
    SwiGLU, ``"gelu"`` in GEGLU, ``"relu"`` in ReGLU and ``"linear"`` in the bilinear unit (Shazeer 2020). The layer
    before the GLU makes both halves: ``Dense(2 * width)``.

    Parameters
    ----------
    activation : str, ActivationFunction or config, default "sigmoid"
        The function f, which must work element by element.
    **shared
        See :class:`Layer`.

    Raises
    ------
    ValueError
        When f needs whole rows, as softmax does, or the layer before the GLU has an odd number of outputs.

    Examples
    --------
    >>> import fastnn
    >>> swiglu = [fastnn.layers.Dense(2 * 8, input_shape=(4,)), fastnn.layers.GLU("silu"), fastnn.layers.Dense(4)]
    >>> fastnn.Sequential(swiglu).count_params()
    116
    """

    takes_activity_regularizer = True

    def __init__(
        self,
        activation: Any = "sigmoid",
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        self.activation: ActivationFunction = activations.get(activation)
        if not self.activation.elementwise:
            raise ValueError(f"activation must work element by element in a GLU, got {self.activation.name!r}")
        self._outputs = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs, half the number of inputs."""
        if inputs % 2:
            raise ValueError(f"layer {self.name!r} halves the width of its input, which must be even, got {inputs}")
        self._outputs = inputs // 2
        return self._outputs

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return one glu op."""
        f = self.activation
        return [Op("glu", f.engine_name, 2 * self._outputs, self._outputs, numbers=f.numbers)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"activation": activations.serialize(self.activation)}
