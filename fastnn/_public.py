"""What every public module and object has: a list of its names, sentences for names it lacks, and a repr."""

from __future__ import annotations

import inspect
import reprlib
import sys
from abc import ABCMeta
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from opcode import opmap
from types import FunctionType
from typing import Any, TypeVar

from fastnn._absent import AREAS, instead_of
from fastnn._registry import nearest_names

Self = TypeVar("Self", bound="Configured")


def hint(area: str, name: str, known: Sequence[str]) -> str:
    """Return the end of a message about a name that is not there: the name for Keras's name here, or the nearest names.

    Parameters
    ----------
    area : str
        A module or a class of Keras, one of the keys of :data:`fastnn._absent.AREAS`.
    name : str
    known : sequence of str
        The names that are there.
    """
    return instead_of(area, name) or nearest_names(name, list(known))


class AbsentNameError(AttributeError):
    """Says that nothing is there under a name; the message is made when it is read, so that hasattr need not wait.

    Parameters
    ----------
    what : str
        The beginning of the message.
    area, name, known
        The arguments of :func:`hint`, which returns the end of the message.
    """

    def __init__(self, what: str, area: str, name: str, known: Sequence[str]) -> None:
        # With obj set, Python would add a "Did you mean" of its own to the traceback.
        super().__init__(what, area, name, known, name=name, obj=None)

    def __str__(self) -> str:
        what, area, name, known = self.args
        return f"{what}; {hint(area, name, known)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


# ---- modules ----


def _imports_a_name() -> bool:
    """Return whether the module's ``__getattr__`` that calls this was called by ``from module import name``."""
    frame = sys._getframe(2)
    code, place = frame.f_code.co_code, frame.f_lasti
    # Python 3.10 points at the first EXTENDED_ARG
    while 0 <= place < len(code) and code[place] == opmap["EXTENDED_ARG"]:
        place += 2
    return 0 <= place < len(code) and code[place] == opmap["IMPORT_FROM"]


def publish(module: str, names: Sequence[str], later: Sequence[str] = ()) -> None:
    """Make a module list only its public names, and raise a sentence for a name that it lacks.

    Parameters
    ----------
    module : str
        The module's ``__name__``.
    names : sequence of str
        The module's ``__all__``.
    later : sequence of str
        Those of the names that are modules of the package and are imported when they are asked for.

    Notes
    -----
    The functions are set on the module from here (PEP 562): seeing a ``__getattr__`` in the source, a type checker
    would allow any name. Where ``from module import name`` meets an AttributeError, CPython raises "cannot import name"
    in its place and drops the sentence; it passes an ImportError on.
    """
    area = module.removeprefix("fastnn").removeprefix(".").removeprefix("keras").removeprefix(".") or "keras"
    namespace = vars(sys.modules[module])

    def absent(name: str) -> Any:
        if name in later:
            try:
                return import_module(f"{module}.{name}")
            except ImportError as error:  # it needs what is not installed; hasattr must be able to say so
                if _imports_a_name():
                    raise
                raise AttributeError(str(error)) from error
        if name.startswith("_"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if _imports_a_name():
            raise ImportError(f"cannot import name {name!r} from {module!r}; {hint(area, name, names)}", name=module)
        raise AbsentNameError(f"module {module!r} has no attribute {name!r}", area, name, names)

    namespace["__all__"] = list(names)
    namespace["__getattr__"] = absent
    namespace["__dir__"] = lambda: {*names, *(name for name in list(namespace) if name.startswith("__"))}


# ---- objects ----


def counted(number: int, what: str) -> str:
    """Return the number with the noun: ``"1 layer"``, ``"2 layers"``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def _class_name(given: str) -> str:
    """Return the name of a class without case and underscores: ``"glorot_uniform"`` gives ``"glorotuniform"``."""
    return given.replace("_", "").lower()


@cache
def defaults_of(kind: type) -> dict[str, Any]:
    """Return a constructor's arguments with their defaults: the class's own first, then those of its base classes."""
    found: dict[str, Any] = {}
    for ancestor in kind.__mro__:
        if "__init__" in vars(ancestor) and ancestor is not object:
            parameters = inspect.signature(vars(ancestor)["__init__"]).parameters.values()
            named = {p.name: p.default for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
            found = found | {name: value for name, value in named.items() if name not in found}
    found.pop("self", None)
    return found


def _shown(value: Any) -> str:
    """Return an argument of a constructor as a repr shows it, shortened where it is long."""
    if isinstance(value, Mapping) and isinstance(value.get("class_name"), str):
        name = value["class_name"]
        return f"{name}({arguments(value.get('config') or {}, {'name': name})})"
    return repr(value) if isinstance(value, (bool, int, float, Described)) else reprlib.repr(value)


def arguments(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return arguments of a constructor as one would write them, without those that are None or the default."""
    parts = []
    for name in [name for name in defaults if name in values] + [name for name in values if name not in defaults]:
        value, default, text = values[name], defaults.get(name), _shown(values[name])
        same = isinstance(value, (str, int, float)) and value == default
        if isinstance(default, str):  # a string may name the class that the value is of: "glorot_uniform", "adam"
            same = same or _class_name(default) in (_class_name(text.removesuffix("()")), _class_name(text[1:-1]))
        if value is not None and not same and text != repr(default):
            parts.append(f"{name}={text}")
    return ", ".join(parts)


def name_methods(kind: type, *bases: type) -> None:
    """Make Python's own messages about methods of these bases, as of a missing argument, name the class users know."""
    for base in bases:
        for name, member in vars(base).items():
            function = getattr(member, "__func__", member)  # the function of a class method
            if isinstance(function, FunctionType):
                function.__qualname__ = f"{kind.__name__}.{name}"


def _constructor_of(kind: type, inherited: FunctionType) -> FunctionType:
    """Return a copy of an inherited constructor, which messages name after the class, as its bases are not public."""
    code, globals_, closure = inherited.__code__, inherited.__globals__, inherited.__closure__
    copy = FunctionType(code, globals_, "__init__", inherited.__defaults__, closure)
    copy.__kwdefaults__, copy.__annotations__ = inherited.__kwdefaults__, inherited.__annotations__
    copy.__qualname__ = f"{kind.__name__}.__init__"
    return copy


class _Absent:
    """Stands for a name of Keras that a class lacks: whoever asks for the name gets the sentence.

    One ``__getattr__`` could stand for all these names, but CPython looks up every attribute of a class that has one in
    a slower way, attributes that exist too: a row through :meth:`fastnn.Sequential.predict` took an eighth longer.
    """

    def __init__(self, area: str, name: str) -> None:
        self.area, self.name = area, name

    def __get__(self, instance: Any, owner: type) -> Any:
        what = f"{owner.__name__!r} object has no attribute {self.name!r}"
        raise AbsentNameError(what, self.area, self.name, ())

    def __repr__(self) -> str:
        return f"<absent: {hint(self.area, self.name, ())}>"


def _is_there(kind: type, name: str) -> bool:
    return not isinstance(inspect.getattr_static(kind, name, None), _Absent)


class ListsWhatIsThere(ABCMeta):
    """The metaclass of the class of models, whose dir() leaves out names that only Keras has, as shells complete them.

    The metaclass is an ABCMeta, so that an abstract base may stand beside the class. Layers do not use it, as they
    would feel its slower isinstance.
    """

    def __dir__(cls) -> list[str]:
        return [name for name in super().__dir__() if _is_there(cls, name)]


class Described:
    """The base of public objects: a repr, sentences for names that only Keras has, constructors named by the class."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__module__.startswith("fastnn."):
            return
        inherited: Any = None if "__init__" in vars(cls) else cls.__init__
        if isinstance(inherited, FunctionType):
            cls.__init__ = _constructor_of(cls, inherited)  # type: ignore[method-assign]
        for missing in {name for row in AREAS.get(cls.__name__, ()) for name in row.names.split()} - set(dir(cls)):
            setattr(cls, missing, _Absent(cls.__name__, missing))

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name in vars(self) or _is_there(type(self), name)]

    def _facts(self) -> str | None:
        """Return what the repr says of the object; None lets the arguments of the constructor say it."""
        return None

    def __repr__(self) -> str:
        kind: type = type(self)
        held, own = vars(self), defaults_of(kind)
        facts = self._facts()
        if facts is not None:
            return f"<{kind.__name__}: {facts}>"
        get_config = getattr(kind, "get_config", None)
        values = {name: held[name] for name in own if name in held} if get_config is None else dict(get_config(self))
        for name, value in values.items():  # an object's repr is shorter than its configuration
            if isinstance(value, Mapping) and isinstance(held.get(name), Described):
                values[name] = held[name]
        return f"{kind.__name__}({arguments(values, own | {'name': kind.__name__})})"


class Configured(Described):
    """The base of the small descriptions, which :meth:`from_config` makes again from their configuration."""

    @classmethod
    def from_config(cls: type[Self], config: Mapping[str, Any]) -> Self:
        """Return an equal object from what ``get_config`` returned."""
        return cls(**config)
