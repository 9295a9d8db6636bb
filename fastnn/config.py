"""Settings of the whole process: the dtype policy of models that name none, and who multiplies large matrices."""

from __future__ import annotations

from fastnn._blas import load
from fastnn._engine import PRODUCTS, choose_products, get_products
from fastnn._public import publish

__all__ = ["dtype_policy", "floatx", "products", "set_dtype_policy", "set_floatx", "set_products"]

_DTYPES = ("float32", "float64")
MIXED = "mixed_bfloat16"
_policy = "float32"


def check_dtype(dtype: object, argument: str = "dtype") -> str:
    """Return the name of a supported element type; raise ValueError with the supported ones for another name."""
    name = str(getattr(dtype, "__name__", dtype))
    if name not in _DTYPES:
        raise ValueError(f"{argument} must be 'float32' or 'float64', got {dtype!r}")
    return name


def check_policy(policy: object, argument: str = "dtype") -> str:
    """Return the name of a supported dtype policy; raise ValueError with the supported ones for another name."""
    name = str(getattr(policy, "__name__", policy))
    if name not in (*_DTYPES, MIXED):
        raise ValueError(f"{argument} must be 'float32', 'float64' or {MIXED!r}, got {policy!r}")
    return name


def variable_dtype(policy: str) -> str:
    """Return the element type in which a model of this policy keeps its weights and takes its data."""
    return "float32" if policy == MIXED else policy


def floatx() -> str:
    """Return the element type of models that name none: ``"float32"`` unless it was changed.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.config.floatx()
    'float32'
    """
    return variable_dtype(_policy)


def set_floatx(value: str) -> None:
    """Set the element type of models that name none.

    Parameters
    ----------
    value : {"float32", "float64"}

    Examples
    --------
    >>> import fastnn
    >>> fastnn.config.set_floatx("float32")
    """
    global _policy
    _policy = check_dtype(value, "value")


def dtype_policy() -> str:
    """Return the policy of models that name none: ``"float32"`` unless it was changed.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.config.dtype_policy()
    'float32'
    """
    return _policy


def set_dtype_policy(policy: str) -> None:
    """Set the policy of models that name none; a layer's own ``dtype=`` takes precedence.

    Parameters
    ----------
    policy : {"float32", "float64", "mixed_bfloat16"}
        With ``"mixed_bfloat16"`` weights, activations, gradients and optimizer state are float32; the products of large
        kernels (2**18 elements and more) round their two operands to bfloat16 and sum in float32. Processors with
        AVX512-BF16 or a matrix unit (Intel AMX) do that up to twice as fast as float32, the rest at the rate of
        float32. On the former, training does so with smaller kernels as well, of at least 2**13 elements and 32 inputs
        and units, where a batch has 128 rows or more. Other products stay float32, and so does what a model with no
        large kernel predicts.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.config.set_dtype_policy("float32")
    """
    global _policy
    _policy = check_policy(policy, "policy")


def products() -> str:
    """Return who multiplies large matrices: ``"auto"`` unless it was changed.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.config.products()
    'auto'
    """
    return get_products()


def set_products(choice: str) -> None:
    """Set who multiplies large matrices in training, from the next step of every model on.

    It counts for kernels of 2**18 elements and more, and from 128 rows a batch for those with 256 inputs and outputs
    and more. Predictions and all smaller products are fastnn's own. With any choice, results do not depend on the
    number of threads; between the choices they differ by rounding.

    Parameters
    ----------
    choice : {"auto", "own", "blas"}
        ``"own"``: fastnn's kernels. ``"blas"``: the BLAS that SciPy brings, one thread a call, if its threads can be
        limited, as those of OpenBLAS. ``"auto"``: BLAS where that was measured to be faster, which is on processors
        without AVX2, and elsewhere fastnn's. ``FASTNN_PRODUCTS`` in the environment sets it at import;
        ``python -m fastnn info`` says what it comes to.

    Raises
    ------
    ValueError
        For another choice, or ``"blas"`` where there is no such BLAS.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.config.set_products("auto")
    """
    if choice not in PRODUCTS:
        raise ValueError(f"choice must be one of {', '.join(map(repr, PRODUCTS))}, got {choice!r}")
    if choice == "blas":
        try:
            load()
        except OSError as error:
            raise ValueError(f"products cannot be 'blas': {error}") from error
    choose_products(choice)


publish(__name__, __all__)
