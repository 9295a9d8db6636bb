"""Registries find a description by instance, class, name or saved config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from fastnn import _installation as _installation  # raises where another project's files are mixed with ours

T = TypeVar("T")


def nearest_names(name: str, known: list[str]) -> str:
    """Return the end of a message: the nearest known names (for lr also learning_rate), or all known names."""
    import difflib

    near = [full for full in known if "_" in full and "".join(word[:1] for word in full.split("_")) == name.lower()]
    near = near or difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {', '.join(sorted(known))}"


def by_name(values: Any, names: Sequence[str], argument: str, default: Any = None) -> list[Any]:
    """Return one value for each name, from a dict by name or a list in order.

    Parameters
    ----------
    values : Mapping, list, tuple or None
    names : sequence of str
    argument : str
        The name of the argument in error messages.
    default : optional
        The value of a name that a dict leaves out; without a default that is an error.

    Raises
    ------
    TypeError, ValueError
        When values and names do not fit; the message has the nearest known name.
    """
    if values is None:
        values = {}
    if isinstance(values, Mapping):
        for key in values:
            if key not in names:
                raise ValueError(f"{argument} names {key!r}, which is no head; {nearest_names(str(key), list(names))}")
        missing = [name for name in names if name not in values]
        if missing and default is None:
            raise ValueError(f"{argument} has nothing for {missing[0]!r}: it needs {', '.join(map(repr, names))}")
        return [values.get(name, default) for name in names]
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{argument} must be a dict by head or a list in their order, got {type(values).__name__}")
    if len(values) != len(names):
        raise ValueError(f"{argument} must have an entry for each of {', '.join(map(repr, names))}, got {len(values)}")
    return list(values)


def check_known_method(member: object, method: str, argument: str, instead: str = "") -> None:
    """Raise where the member's class overrides `method`, as the engine would run its own formula and not that method.

    `instead` is the end of the message: what to do.
    """
    own = getattr(type(member), method, None)
    if own is not None and not str(own.__module__).startswith("fastnn."):
        raise TypeError(
            f"{argument} must be one of fastnn's own, which the engine computes; {type(member).__name__} has a "
            f"{method} in Python, which it cannot call{instead}"
        )


def _public_name(kind: type) -> str:
    """Return where users find a class: fastnn.losses.CustomLoss for the class in losses/_function.py."""
    return f"{kind.__module__.split('._')[0]}.{kind.__name__}"


class Registry(Generic[T]):
    """Descriptions of one kind (losses, optimizers, ...) under their names.

    Parameters
    ----------
    kind : str
        What error messages call a member, e.g. ``"loss"``.
    base : type
        The class of every member.
    others : sequence of str
        Names that the module's own ``get`` knows besides the registered ones, for error messages.
    computed : sequence of str
        Methods whose formulas the engine computes: an instance whose class overrides one is refused.
    custom : type, optional
        The class to derive from to compute a formula in Python.
    """

    def __init__(
        self,
        kind: str,
        base: type[T],
        others: Sequence[str] = (),
        computed: Sequence[str] = (),
        custom: type[T] | None = None,
    ) -> None:
        self.kind = kind
        self.base = base
        self.others = tuple(others)
        self.computed = tuple(computed)
        self.custom = custom
        self._members: dict[str, type[T] | T] = {}

    def register(self, member: type[T] | T, *names: str) -> None:
        """Make a class (or an instance) known under its own name and the names given."""
        own = member.__name__ if isinstance(member, type) else str(getattr(member, "name", ""))
        for name in (own, *names):
            self._members[name.lower()] = member

    def members(self) -> list[type[T] | T]:
        """Return every member once, in the order in which they were registered."""
        return list(dict.fromkeys(self._members.values()))

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._members

    def kind_of(self, config: Mapping[str, Any]) -> type[T] | None:
        """Return the class that a dict names; None where no member has that name."""
        name = config.get("class_name")
        member = self._members.get(name.lower()) if isinstance(name, str) else None
        return member if isinstance(member, type) else None

    def get(self, identifier: Any, argument: str | None = None) -> T:
        """Return the member that `identifier` means.

        Parameters
        ----------
        identifier : instance, class, str or dict
            A dict is ``{"class_name": ..., "config": ...}``, as :meth:`serialize` makes it.
        argument : str, optional
            The name of the user's argument in error messages; default: the kind.

        Raises
        ------
        ValueError
            When nothing is registered under the name.
        TypeError
            When the identifier is none of the above, has no formula, or overrides one that the engine computes.
        """
        argument = argument or self.kind
        config: dict[str, Any] = {}
        given = identifier if isinstance(identifier, type) else type(identifier)
        if given in (self.base, self.custom):
            raise self._without_rule(argument, given)
        if isinstance(identifier, type) and issubclass(identifier, self.base):
            identifier = identifier()
        if isinstance(identifier, self.base):
            self._check_computed(identifier, argument)
            return identifier
        if isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
            config = identifier.get("config") or {}
            identifier = identifier["class_name"]
        if not isinstance(identifier, str):
            raise TypeError(
                f"{argument} must be the name of one of the known {self.kind} classes or an instance of one, "
                f"got {type(identifier).__name__}"
            )
        member = self._members.get(identifier.lower())
        if member is None:
            near = nearest_names(identifier, [*self._members, *self.others])
            raise ValueError(f"{argument} {identifier!r} is unknown; {near}")
        if isinstance(member, type):
            return member(**config)
        if config:
            raise ValueError(f"{argument} {identifier!r} takes no configuration, got {config!r}")
        return member

    def _check_computed(self, member: T, argument: str) -> None:
        if self.custom is None or not isinstance(member, self.custom):
            instead = f": derive from {_public_name(self.custom)}" if self.custom else ""
            for method in self.computed:
                check_known_method(member, method, argument, instead)
        if self.custom is not None and not hasattr(member, "engine_name"):
            raise self._without_rule(argument, type(member))

    def _without_rule(self, argument: str, given: type) -> TypeError:
        own = f" or derive from {_public_name(self.custom)}" if self.custom else ""
        return TypeError(
            f"{argument} must be one of the known {self.kind} classes{own}, got {given.__name__}, which has no rule"
        )

    def serialize(self, member: T) -> dict[str, Any]:
        """Return a JSON-able dict from which :meth:`get` makes an equal member."""
        name = (
            str(getattr(member, "name", ""))
            if not isinstance(self._members.get(type(member).__name__.lower()), type)
            else type(member).__name__
        )
        config = member.get_config() if hasattr(member, "get_config") else {}
        return {"class_name": name, "config": config}
