"""Initializers draw a parameter's first values from NumPy's Philox generator: they do not depend on threads."""

from __future__ import annotations

from typing import Any

from fastnn._public import publish
from fastnn._registry import Registry
from fastnn.initializers._base import Initializer, PythonFunction
from fastnn.initializers._drawn import Orthogonal, RandomNormal, RandomSign, RandomUniform, TruncatedNormal
from fastnn.initializers._fixed import Constant, Identity, Ones, Zeros
from fastnn.initializers._scaling import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
)

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "IdentityInitializer",
    "Initializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "OrthogonalInitializer", "RandomNormal",
    "RandomSign", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros", "constant", "get", "glorot_normal",
    "glorot_uniform", "he_normal", "he_uniform", "identity", "lecun_normal", "lecun_uniform", "ones", "orthogonal",
    "random_normal", "random_sign", "random_uniform", "serialize", "truncated_normal", "variance_scaling", "zeros",
]  # fmt: skip

# Names that Keras has for the same classes.
zeros, ones, constant = Zeros, Ones, Constant
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
random_sign = RandomSign
glorot_normal, glorot_uniform, he_normal, he_uniform = GlorotNormal, GlorotUniform, HeNormal, HeUniform
lecun_normal, lecun_uniform, variance_scaling = LecunNormal, LecunUniform, VarianceScaling
orthogonal = OrthogonalInitializer = Orthogonal
identity = IdentityInitializer = Identity

_registry: Registry[Initializer] = Registry("initializer", Initializer)
for _name in __all__:
    _member = globals().get(_name)  # None for the functions of __all__, which are defined below
    if isinstance(_member, type) and _member is not Initializer:
        _registry.register(_member, _name)
for _class, _name in ((Zeros, "zero"), (Ones, "one"), (RandomNormal, "normal"), (RandomUniform, "uniform")):
    _registry.register(_class, _name)


def get(identifier: Any, argument: str = "initializer") -> Initializer:
    """Return the initializer that a name, class or config means; a Python function (shape, dtype) -> array becomes one.

    Parameters
    ----------
    identifier : str, Initializer, class, dict or callable
        A name, as ``"he_normal"``; an instance; what :func:`serialize` made; a function.
    argument : str
        The name of the argument in error messages.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.get("ones")((2,))
    array([1., 1.], dtype=float32)
    """
    if callable(identifier) and not isinstance(identifier, (Initializer, type)):
        return PythonFunction(identifier, argument)
    return _registry.get(identifier, argument)


def serialize(initializer: Initializer) -> dict[str, Any]:
    """A JSON-able dict from which :func:`get` makes an equal initializer.

    Parameters
    ----------
    initializer : Initializer

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.serialize(fastnn.initializers.Constant(0.5))
    {'class_name': 'Constant', 'config': {'value': 0.5}}
    """
    return _registry.serialize(initializer)


publish(__name__, __all__)
