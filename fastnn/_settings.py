"""What a user sets of a description: numbers and flags are checked, and objects that are made change in one way."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._public import Described, hint


def number(
    name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False
) -> float:
    """Return `value` as a finite float from `low` to `high`, without an open end; raise an error that says so."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    outside = not low <= value <= high or not math.isfinite(value)
    if outside or (open_low and value == low) or (open_high and value == high):
        raise ValueError(f"{name} must be {_range(low, high, open_low, open_high)}, got {value}")
    return float(value)


def _range(low: float, high: float, open_low: bool, open_high: bool) -> str:
    """Return the words for a range of numbers."""
    above = "" if math.isinf(low) else f"{'greater than' if open_low else 'at least'} {low:g}"
    below = "" if math.isinf(high) else f"{'below' if open_high else 'at most'} {high:g}"
    if above and below and not open_low:
        return f"from {low:g} to {'below ' if open_high else ''}{high:g}"
    return " and ".join(filter(None, (above, below))) or "finite"


def flag(name: str, value: Any) -> bool:
    """Return `value` as a bool; raise an error where it is only truthy, as the string "False" is."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def count(name: str, value: Any, low: int, limit: int = 2**31) -> int:
    """Return `value` as an integer within [low, limit); raise an error that says what is needed."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if not low <= value < limit:
        raise ValueError(f"{name} must be at least {low}{f' and below {limit}' if value >= limit else ''}, got {value}")
    return int(value)


def listed(value: Any) -> Any:
    """Return a sequence that a description holds as a new list, for ``get_config``; anything else as it is.

    Descriptions hold tuples and read-only arrays, as a change within a list would go unnoticed.
    """
    return list(value) if isinstance(value, tuple) else value.tolist() if isinstance(value, np.ndarray) else value


def finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return a read-only float64 copy of an array; raise where its elements are not finite numbers."""
    if values.dtype.kind not in "fiu":
        raise TypeError(f"value must be a number or an array of numbers, got dtype {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError("value must hold finite numbers alone")
    held = values.astype(np.float64)
    held.flags.writeable = False
    return held


class _Checked:
    """An attribute whose value is checked whenever it is set.

    A descriptor without ``__get__``: Python itself reads the value in the object's dict, as fast as any attribute.
    """

    name: str

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    if TYPE_CHECKING:

        def __get__(self, instance: Any, owner: type) -> Any: ...

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.name] = self.checked(value)

    def checked(self, value: Any) -> Any:
        """Return the value as it is held; raise an error that names the attribute."""
        raise NotImplementedError


class Flag(_Checked):
    """An attribute that is True or False."""

    def checked(self, value: Any) -> bool:
        """Return the flag; raise an error that names the attribute."""
        return flag(self.name, value)


class Setting(_Checked):
    """An attribute that holds a number.

    Parameters
    ----------
    low, high : float, default 0 and infinity
        The number lies from `low` to `high`.
    open_low, open_high : bool, default False
        Whether the number must not be that end itself.
    optional : bool, default False
        Whether None is allowed too.
    whole : bool, default False
        Whether the number must be an integer.
    """

    def __init__(
        self,
        low: float = 0.0,
        high: float = math.inf,
        *,
        open_low: bool = False,
        open_high: bool = False,
        optional: bool = False,
        whole: bool = False,
    ) -> None:
        self.low, self.high, self.open_low, self.open_high = low, high, open_low, open_high
        self.optional, self.whole = optional, whole

    def checked(self, value: Any) -> float | None:
        """Return the number; raise an error that names the attribute."""
        if value is None and self.optional:
            return None
        if self.whole:
            return count(self.name, value, int(self.low), 2**31 if math.isinf(self.high) else int(self.high) + 1)
        return number(self.name, value, self.low, self.high, open_low=self.open_low, open_high=self.open_high)


class Factors(_Checked):
    """An attribute that holds a number for all parameters of a layer, or a dict with one for some of them, else 1.

    The dict that is read is a copy: a change within it would go unnoticed, so that it changes nothing.
    """

    def __get__(self, instance: Any, owner: type) -> Any:
        held = self if instance is None else instance.__dict__[self.name]
        return dict(held) if isinstance(held, tuple) else held

    def checked(self, value: Any) -> Any:
        """Return the number, or the names and numbers of a dict; raise an error that names the attribute."""
        if not isinstance(value, Mapping):
            return number(self.name, value, 0)
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{self.name} must have names of parameters as its keys, got {name!r}")
        return tuple((name, number(f"{self.name}[{name!r}]", factor, 0)) for name, factor in value.items())


def factor_of(factors: float | dict[str, float], parameter: str) -> float:
    """Return the factor of one parameter from the value of an attribute that :class:`Factors` describes."""
    return factors.get(parameter, 1.0) if isinstance(factors, dict) else factors


def _spelled_out(kind: type, function: Any, parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Return a constructor's parameters, with those that ``**shared: Unpack[Shared]`` stands for in its place.

    These parameters are the keys of Shared, with the defaults that the common base of the classes gives them, so that
    help and completion show them.
    """
    told = str(parameters[-1].annotation) if parameters else ""
    if not told.startswith("Unpack["):
        return parameters
    keys = function.__globals__[told.removeprefix("Unpack[").removesuffix("]")].__optional_keys__
    base: Any = next(c for c in reversed(kind.__mro__) if issubclass(c, Description) and "__init__" in vars(c))
    own = {parameter.name for parameter in parameters}
    shared = [p for p in inspect.signature(base.__init__).parameters.values() if p.name in keys - own]
    return [*parameters[:-1], *(p.replace(kind=p.KEYWORD_ONLY) for p in shared)]


class _Making(type):
    """The metaclass of descriptions, also of a user's: it marks an object as made once the constructor has ended."""

    if not TYPE_CHECKING:  # type checkers and help look at the constructor, as for every class

        def __call__(cls, *arguments: Any, **named: Any) -> Any:
            made = super().__call__(*arguments, **named)
            vars(made)["_made"] = True
            return made

        @property
        def __signature__(cls) -> inspect.Signature:
            function = cls.__init__ if cls.__init__ is not object.__init__ else lambda self: None
            signature = inspect.signature(function)
            return signature.replace(parameters=_spelled_out(cls, function, list(signature.parameters.values())[1:]))


class Description(Described, metaclass=_Making):
    """The base of what tells the engine what to do: layers, losses, regularizers, ...

    A constructor's arguments are attributes that may be set later. A new value is checked, and counts from the next
    call of a model on, as if the object had been made with it: so a file, which holds the description, always says what
    the engine does.
    """

    _area = ""  # the area of fastnn._absent with the names that only Keras has
    _made = False

    def __setattr__(self, name: str, value: Any) -> None:
        if not self._made or name.startswith("_") or self._is_users(name):
            object.__setattr__(self, name, value)
        else:
            self._change(name, value)

    def _change(self, name: str, value: Any) -> None:
        """Set a public attribute after the constructor has ended."""
        vars(self).update(vars(self._made_with(name, value)))
        changes.note()

    def _made_with(self, name: str, value: Any) -> Any:
        """Return an object like this one but for one constructor argument, which the constructor has checked."""
        kind: Any = known_class(type(self))
        arguments, config = arguments_of(kind), kind.get_config(self)
        if name not in arguments or isinstance(getattr(kind, name, None), property):
            raise self._not_settable(name)
        held = {key: vars(self).get(key, config.get(key)) for key in arguments if key in vars(self) or key in config}
        return kind(**(held | {name: value}))

    def _not_settable(self, name: str) -> AttributeError:
        kind = type(self).__name__
        if hasattr(self, name):
            return AttributeError(f"{name} of {kind} cannot be set: it follows from what a {kind} is made with")
        return AttributeError(f"{kind} has no attribute {name!r}; {hint(self._area, name, self._argument_names())}")

    @classmethod
    def _argument_names(cls) -> list[str]:
        """Return the names of the constructor's arguments, for messages."""
        return list(arguments_of(known_class(cls)))

    def _is_users(self, name: str) -> bool:
        """Return whether the attribute is one that a user's class adds to those of fastnn's classes."""
        known = known_class(type(self))
        return known is not type(self) and not hasattr(known, name) and name not in arguments_of(known)


class _Changes:
    """The last change of any description after it was made; a model compares it with the last change it has seen.

    Each change is marked by a new object, as a number that several threads count up could come twice.
    """

    def __init__(self) -> None:
        self.last = object()

    def note(self) -> None:
        """Note that a description has changed."""
        self.last = object()


changes = _Changes()


def known_class(kind: type) -> type:
    """Return the class itself where it is fastnn's, else the nearest of its bases that is."""
    return next(parent for parent in kind.__mro__ if parent.__module__.startswith("fastnn."))


@functools.cache
def arguments_of(kind: type) -> tuple[str, ...]:
    """Return the names of the arguments of a class's constructor."""
    named = inspect.signature(kind).parameters.values()
    return tuple(p.name for p in named if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
