"""Process-wide defaults."""

from __future__ import annotations

_DTYPES = ("float32", "float64")
_floatx = "float32"


def check_dtype(dtype: object, argument: str = "dtype") -> str:
    """The name of a supported element type, or a ValueError that says which there are."""
    name = str(getattr(dtype, "__name__", dtype))
    if name not in _DTYPES:
        raise ValueError(f"{argument} must be 'float32' or 'float64', got {dtype!r}")
    return name


def floatx() -> str:
    """The element type of models that name none: ``"float32"`` unless changed."""
    return _floatx


def set_floatx(value: str) -> None:
    """Set the element type of models that name none.

    Parameters
    ----------
    value : {"float32", "float64"}
    """
    global _floatx
    _floatx = check_dtype(value, "value")
