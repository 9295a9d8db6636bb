"""Activation functions: what the engine calls them, and their formulas in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._public import Configured, arguments, defaults_of, publish
from fastnn._registry import Registry
from fastnn._settings import Description, flag, number

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "ActivationFunction",
    "LeakyReLU",
    "ReLU",
    "SmoothClip",
    "Squareplus",
    "celu",
    "cos",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "smooth_clip",
    "softmax",
    "softplus",
    "softsign",
    "squareplus",
    "swish",
    "tanh",
]

FloatArray = npt.NDArray[np.floating[Any]]


class ActivationFunction(Description, Configured):
    """A function that the engine can apply to the result of a layer.

    Attributes
    ----------
    name : str
        The name by which :func:`get` finds it.
    engine_name : str
        The engine's name for the function: fnn_activation in src_c.
    numbers : tuple of float
        The function's constants, as the engine takes them (src_c/kernels/activation.inc).
    elementwise : bool
        Whether an element of the result depends on one element of x alone.

    Examples
    --------
    >>> from fastnn import activations
    >>> activations.relu([-1.0, 2.0])
    array([0., 2.])
    >>> activations.LeakyReLU(0.5)([-1.0, 2.0])
    array([-0.5,  2. ])
    """

    name: str
    engine_name: str
    numbers: tuple[float, ...] = ()
    elementwise: ClassVar[bool] = True

    def _change(self, name: str, value: Any) -> None:
        """Raise: layers share an activation, and have read its constants."""
        if not hasattr(self, name):
            raise self._not_settable(name)
        raise AttributeError(f"{name} of the activation {self.name!r} cannot be set: give the layer another activation")

    def __call__(self, x: npt.ArrayLike, *arguments: Any, **constants: Any) -> FloatArray:
        """Return f(x); floating dtypes are kept, others become float64.

        Further arguments take the place of the activation's constants, as in ``leaky_relu(x, negative_slope=0.1)``.
        """
        if arguments or constants:
            return type(self)(*arguments, **constants)(x)
        values = np.asarray(x)
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        return self._formula(values)

    def _formula(self, x: FloatArray) -> FloatArray:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the constants, by the names of the constructor's arguments."""
        return {}

    def __repr__(self) -> str:
        constants = arguments(self.get_config(), defaults_of(type(self)))
        return f"<activation {self.name}{constants and f'({constants})'}>"


class _Fixed(ActivationFunction):
    """An activation without constants that a user could set."""

    def __init__(
        self,
        name: str,
        formula: Callable[[FloatArray], FloatArray],
        numbers: tuple[float, ...] = (),
        engine_name: str | None = None,
    ) -> None:
        self.name, self.engine_name, self.numbers = name, engine_name or name, numbers
        self._function = formula

    def __call__(self, x: npt.ArrayLike, *arguments: Any, **constants: Any) -> FloatArray:
        """Return f(x); floating dtypes are kept, others become float64."""
        if arguments or constants:
            raise TypeError(f"{self.name} takes no argument but x, got {arguments or constants}")
        return super().__call__(x)

    def _formula(self, x: FloatArray) -> FloatArray:
        return self._function(x)


class _OfRows(_Fixed):
    """An activation of whole rows: an element of the result depends on the whole last axis of x."""

    elementwise = False


class ReLU(ActivationFunction):
    """x above the threshold, but at most `max_value`; below it `negative_slope` (x - `threshold`).

    Parameters
    ----------
    negative_slope : float, default 0.0
    max_value : float, optional
        The greatest result; default: no limit.
    threshold : float, default 0.0

    Raises
    ------
    ValueError
        When one of them is negative: then the engine could not tell the derivative from the result.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.ReLU(max_value=1.0)([-1.0, 0.5, 2.0])
    array([0. , 0.5, 1. ])
    """

    name = "relu"

    def __init__(self, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> None:
        self.negative_slope = number("negative_slope", negative_slope, 0)
        self.max_value = None if max_value is None else number("max_value", max_value, 0)
        self.threshold = number("threshold", threshold, 0)
        plain = self.max_value is None and self.threshold == 0
        self.engine_name = "clipped_relu" if not plain else "leaky_relu" if self.negative_slope else "relu"
        highest = math.inf if self.max_value is None else self.max_value
        self.numbers = (self.negative_slope, self.threshold, highest) if self.engine_name != "relu" else ()

    def _formula(self, x: FloatArray) -> FloatArray:
        below = self.negative_slope * (x - self.threshold) if self.negative_slope else np.zeros_like(x)
        return np.where(x <= self.threshold, below, np.minimum(x, self.max_value) if self.max_value is not None else x)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"negative_slope": self.negative_slope, "max_value": self.max_value, "threshold": self.threshold}


class LeakyReLU(ActivationFunction):
    """x above 0, `negative_slope` x (default 0.2, not negative) below (Maas, Hannun and Ng 2013).

    Parameters
    ----------
    negative_slope : float, default 0.2

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.LeakyReLU(0.1)([-1.0, 2.0])
    array([-0.1,  2. ])
    """

    name = engine_name = "leaky_relu"

    def __init__(self, negative_slope: float = 0.2) -> None:
        self.negative_slope = number("negative_slope", negative_slope, 0)
        self.numbers = (self.negative_slope,)

    def _formula(self, x: FloatArray) -> FloatArray:
        return np.where(x > 0, x, self.negative_slope * x)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"negative_slope": self.negative_slope}


class ELU(ActivationFunction):
    """x above 0, `alpha` (exp(x) - 1) (default 1, not negative) below (Clevert, Unterthiner and Hochreiter 2016).

    Parameters
    ----------
    alpha : float, default 1

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.ELU(0.5)([-1.0, 2.0]).round(4)
    array([-0.3161,  2.    ])
    """

    name = engine_name = "elu"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = number("alpha", alpha, 0)
        self.numbers = (1.0, self.alpha, 1.0)

    def _formula(self, x: FloatArray) -> FloatArray:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"alpha": self.alpha}


class CELU(ActivationFunction):
    """x above 0, `alpha` (exp(x / `alpha`) - 1) (default 1, positive) below: smooth for any alpha (Barron 2017).

    Parameters
    ----------
    alpha : float, default 1

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.CELU(0.5)([-1.0, 2.0]).round(4)
    array([-0.4323,  2.    ])
    """

    name, engine_name = "celu", "elu"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = number("alpha", alpha, 0)
        if self.alpha == 0:
            raise ValueError("alpha must be positive, got 0")
        self.numbers = (1.0, self.alpha, 1 / self.alpha)

    def _formula(self, x: FloatArray) -> FloatArray:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0) / self.alpha))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"alpha": self.alpha}


class Squareplus(ActivationFunction):
    """(x + sqrt(x^2 + `b`)) / 2 (default 4, positive): as smooth as softplus, without exp (Barron 2021).

    Parameters
    ----------
    b : float, default 4

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.Squareplus()([-1.0, 2.0]).round(4)
    array([0.618 , 2.4142])
    """

    name = engine_name = "squareplus"

    def __init__(self, b: float = 4.0) -> None:
        self.b = number("b", b, 0)
        if self.b == 0:
            raise ValueError("b must be positive, got 0: take relu")
        self.numbers = (self.b,)

    def _formula(self, x: FloatArray) -> FloatArray:
        root = np.hypot(x, math.sqrt(self.b)).astype(x.dtype)
        return np.where(x < 0, self.b / 2 / (root + np.abs(x)), x / 2 + root / 2).astype(x.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's argument."""
        return {"b": self.b}


class SmoothClip(ActivationFunction):
    """x / sqrt(1 + (x / `limit`)^2): near x where x is small, and always between -`limit` and `limit` (default 3).

    For columns with outliers (Holzmüller, Grinsztajn and Steinwart, Better by default, 2024).

    Parameters
    ----------
    limit : float, default 3
        Positive.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.SmoothClip()([-1.0, 4.0, 1000.0]).round(4)
    array([-0.9487,  2.4   ,  3.    ])
    """

    name = engine_name = "smooth_clip"

    def __init__(self, limit: float = 3.0) -> None:
        self.limit = number("limit", limit, 0)
        if self.limit == 0:
            raise ValueError("limit must be positive, got 0")
        self.numbers = (self.limit, 1 / self.limit)

    def _formula(self, x: FloatArray) -> FloatArray:
        far = min(2.0**60 * self.limit, float(np.finfo(x.dtype).max))  # infinity / infinity would be no number
        bounded = np.clip(x, -far, far)
        return (bounded / np.hypot(1, bounded / self.limit)).astype(x.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's argument."""
        return {"limit": self.limit}


class GELU(ActivationFunction):
    """x F(x), F the normal distribution; `approximate` (default False): F by a tanh (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    approximate : bool, default False

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.GELU()([-1.0, 2.0]).round(4)
    array([-0.1587,  1.9545])
    """

    name = "gelu"

    def __init__(self, approximate: bool = False) -> None:
        self.approximate = flag("approximate", approximate)
        self.engine_name = "gelu_tanh" if self.approximate else "gelu"

    def _formula(self, x: FloatArray) -> FloatArray:
        if self.approximate:
            return x * _sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))
        from scipy.special import ndtr

        return x * ndtr(x)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"approximate": self.approximate}


def _sigmoid(x: FloatArray) -> FloatArray:
    e = np.exp(-np.abs(x))  # exp of a number that is not positive never overflows
    return np.where(x < 0, e, 1) / (1 + e)


def _softmax(x: FloatArray) -> FloatArray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _log_softmax(x: FloatArray) -> FloatArray:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _selu(x: FloatArray) -> FloatArray:
    return np.where(x > 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(x, 0)))


def _hard_sigmoid(x: FloatArray) -> FloatArray:
    return np.clip(x / 6 + 0.5, 0, 1)


# With these two numbers, mean 0 and variance 1 are a fixed point (Klambauer et al. 2017, eq. 14).
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

linear = _Fixed("linear", lambda x: x.copy())
relu = ReLU()
sigmoid = _Fixed("sigmoid", _sigmoid)
tanh = _Fixed("tanh", np.tanh)
softmax = _OfRows("softmax", _softmax)
log_softmax = _OfRows("log_softmax", _log_softmax)
leaky_relu = LeakyReLU()
relu6 = _Fixed("relu6", lambda x: np.clip(x, 0, 6), (0.0, 0.0, 6.0), "clipped_relu")
elu = ELU()
selu = _Fixed("selu", _selu, (SELU_SCALE, SELU_SCALE * SELU_ALPHA, 1.0), "elu")
celu = CELU()
softplus = _Fixed("softplus", lambda x: np.logaddexp(x, np.zeros_like(x)))
hard_sigmoid = _Fixed("hard_sigmoid", _hard_sigmoid)
exponential = _Fixed("exponential", np.exp)
hard_tanh = _Fixed("hard_tanh", lambda x: np.clip(x, -1, 1))
log_sigmoid = _Fixed("log_sigmoid", lambda x: -np.logaddexp(-x, np.zeros_like(x)))
gelu = GELU()
silu = swish = _Fixed("silu", lambda x: x * _sigmoid(x))
mish = _Fixed("mish", lambda x: x * np.tanh(np.logaddexp(x, np.zeros_like(x))))
hard_silu = hard_swish = _Fixed("hard_silu", lambda x: x * _hard_sigmoid(x))
squareplus = Squareplus()
smooth_clip = SmoothClip()
cos = _Fixed("cos", np.cos)
softsign = _Fixed("softsign", lambda x: x / (1 + np.abs(x)))

_registry: Registry[ActivationFunction] = Registry("activation", ActivationFunction)
for _member, *_names in (
    (linear,),
    (ReLU,),
    (sigmoid,),
    (tanh,),
    (softmax,),
    (log_softmax,),
    (LeakyReLU, "leaky_relu"),
    (relu6,),
    (ELU,),
    (selu,),
    (CELU,),
    (softplus,),
    (hard_sigmoid,),
    (exponential,),
    (hard_tanh,),
    (log_sigmoid,),
    (GELU,),
    (silu, "swish"),
    (mish,),
    (hard_silu, "hard_swish"),
    (softsign,),
    (Squareplus,),
    (SmoothClip, "smooth_clip"),
    (cos,),
):
    _registry.register(_member, *_names)


def glu(x: npt.ArrayLike, axis: int = -1) -> FloatArray:
    """The gated linear unit a sigmoid(b), where a and b are the halves of x along the axis (Dauphin et al. 2017).

    The result has half the width of x, so in a model the function is the layer :class:`fastnn.layers.GLU`.

    Parameters
    ----------
    x : array-like
    axis : int, default -1

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.glu([1.0, 2.0, 0.0, 0.0])
    array([0.5, 1. ])
    """
    a, b = np.split(np.asarray(x), 2, axis)
    return a * sigmoid(b)


def get(identifier: Any) -> ActivationFunction:
    """Return the activation that a name, class, instance or config means; ``None`` is linear.

    Parameters
    ----------
    identifier : str, ActivationFunction, class, dict or None
        What names the activation; None means ``linear``.

    Raises
    ------
    ValueError
        When no activation has that name, or its constants are out of range.
    TypeError
        When the identifier is none of these: the engine cannot run a Python function.

    Examples
    --------
    >>> from fastnn import activations
    >>> activations.get({"class_name": "elu", "config": {"alpha": 0.5}})
    <activation elu(alpha=0.5)>
    """
    if identifier is None:
        return linear
    if identifier is glu or (isinstance(identifier, str) and identifier.lower() in ("glu", "swiglu")):
        raise ValueError("activation 'glu' halves the width of a row: use the layer fastnn.layers.GLU")
    return _registry.get(identifier)


def serialize(activation: ActivationFunction) -> str | dict[str, Any]:
    """Return the name of an activation, or a JSON-able dict with its constants where they are not the defaults.

    Parameters
    ----------
    activation : ActivationFunction

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.serialize(fastnn.activations.tanh)
    'tanh'
    """
    config = activation.get_config()
    return activation.name if config == get(activation.name).get_config() else _registry.serialize(activation)


def deserialize(config: str | dict[str, Any]) -> ActivationFunction:
    """Return the activation that :func:`serialize` described.

    Parameters
    ----------
    config : str or dict
        What :func:`serialize` made.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.activations.deserialize("tanh").name
    'tanh'
    """
    return get(config)


publish(__name__, __all__)
