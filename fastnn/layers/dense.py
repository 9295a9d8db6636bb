"""The fully connected layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from fastnn import activations, initializers
from fastnn._op import Op
from fastnn._registry import nearest_names
from fastnn._settings import flag
from fastnn.constraints import Constraint
from fastnn.layers.base import Layer, Parameter, Shared, check_width
from fastnn.regularizers import Regularizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

PARAMETRIZATIONS = ("standard", "ntk")


class Dense(Layer):
    """y = f(x W + b), with x of shape (rows, inputs), W (inputs, units) and b (units,): every output sees every input.

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str, ActivationFunction or config, optional
        f, such as ``"gelu"`` or ``activations.LeakyReLU(0.1)``; default linear.
    use_bias : bool, default True
    kernel_initializer : str or Initializer, default "glorot_uniform"
    bias_initializer : str or Initializer, default "zeros"
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        A penalty that is added to the loss.
    activity_regularizer : str or Regularizer, optional
        A penalty of the outputs, which is divided by the rows of the batch and added to the loss.
    kernel_constraint, bias_constraint : str or Constraint, optional
        What the engine holds the parameter to after each step.
    **shared
        See :class:`Layer`.
    input_dim : int, optional
        Another way to write ``input_shape=(input_dim,)``.
    parametrization : {"standard", "ntk"}, default "standard"
        With "ntk" y = f(x W / sqrt(inputs) + b), for a W that starts with a variance of 1 (Jacot, Gabriel and Hongler,
        Neural tangent kernel, 2018): a step of one size then changes y alike in narrow and in wide layers. Not for a
        sparse x.

    Attributes
    ----------
    kernel : ndarray, shape (inputs, units)
        A view of the model's parameters: writing to it changes the model.
    bias : ndarray, shape (units,)
        A view like `kernel`; None without a bias.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Sequential([fastnn.layers.Dense(3, input_shape=(2,))]).count_params()
    9
    """

    takes_activity_regularizer = True
    kernel_regularizer: Regularizer | None
    bias_regularizer: Regularizer | None
    kernel_constraint: Constraint | None
    bias_constraint: Constraint | None

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        input_dim: int | None = None,
        parametrization: str = "standard",
        **shared: Unpack[Shared],
    ) -> None:
        if input_dim is not None:
            if shared.get("input_shape") is not None:
                raise ValueError("input_dim means input_shape=(input_dim,): only one of the two may be given")
            shared["input_shape"] = (check_width("input_dim", input_dim),)
        super().__init__(activity_regularizer=activity_regularizer, **shared)
        self.units = check_width("units", units)
        self.activation = activations.get(activation)
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self._set_penalties(
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        if parametrization not in PARAMETRIZATIONS:
            nearest = nearest_names(str(parametrization), list(PARAMETRIZATIONS))
            raise ValueError(f"parametrization must name a way to scale the kernel, got {parametrization!r}; {nearest}")
        self.parametrization = parametrization
        self._inputs = 0

    @property
    def takes_sparse(self) -> bool:  # type: ignore[override]
        """Whether the layer's input may be sparse rows."""
        return self.parametrization == "standard"

    def build(self, inputs: int) -> int:
        """Settle the kernel's shape, (inputs, units), and return `units`."""
        self._inputs = inputs
        return self.units

    def parameters(self) -> list[Parameter]:
        """Return the kernel, and the bias if there is one."""
        kernel = [Parameter("kernel", (self._inputs, self.units), self.kernel_initializer)]
        bias = [Parameter("bias", (self.units,), self.bias_initializer)] if self.use_bias else []
        return [*kernel, *bias]

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return one dense op with its activation, after an op with the factor where that lies outside the kernel."""
        inputs, function = self._inputs, self.activation
        kernel, bias = offsets["kernel"], offsets.get("bias", -1)
        dense = Op("dense", function.engine_name, inputs, self.units, kernel, bias, function.numbers)
        if self.parametrization == "standard":
            return [dense]
        return [Op("columns", "linear", inputs, inputs, mode="scale", numbers=(0.0, inputs**-0.5, 0.0)), dense]

    @property
    def kernel(self) -> npt.NDArray[Any]:
        """The weights, a view of shape (inputs, units)."""
        return self._weight("kernel")

    @property
    def bias(self) -> npt.NDArray[Any] | None:
        """The bias, a view of shape (units,), or None."""
        return self._weight("bias") if self.use_bias else None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        ntk = {} if self.parametrization == "standard" else {"parametrization": self.parametrization}
        return (
            super().get_config()
            | {
                "units": self.units,
                "activation": activations.serialize(self.activation),
                "use_bias": self.use_bias,
                "kernel_initializer": initializers.serialize(self.kernel_initializer),
                "bias_initializer": initializers.serialize(self.bias_initializer),
            }
            | ntk
        )
