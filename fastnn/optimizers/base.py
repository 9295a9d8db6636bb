"""What all optimizers share: their arguments, their state, and what the engine asks them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypedDict, TypeVar

import numpy.typing as npt

from fastnn import _schedules
from fastnn._engine import scheduled
from fastnn._op import Schedule, constant
from fastnn._public import hint
from fastnn._schedules import Constant, LearningRateSchedule, ScheduledSetting, configured
from fastnn._settings import Description, Flag, Setting, changes, known_class, listed, number

if TYPE_CHECKING:
    from fastnn._engine import Engine

T = TypeVar("T")


class SharedWithoutDecay(TypedDict, total=False):
    """The keyword arguments that all optimizers share, but weight_decay; :class:`Optimizer` describes them."""

    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    weight_decay_exclusions: Sequence[str]
    name: str | None


class Shared(SharedWithoutDecay, total=False):
    """The keyword arguments that all optimizers share."""

    weight_decay: float | LearningRateSchedule | None


class Slot(NamedTuple):
    """A state that is kept for each parameter, and the value it starts from."""

    name: str
    initial: float = 0.0


@functools.cache
def zeros(*names: str) -> tuple[Slot, ...]:
    """Return slots of these names that start from zeros, made once: a model asks for them in each call."""
    return tuple(map(Slot, names))


class Hyperparameters(NamedTuple):
    """The numbers of an optimizer that the engine needs for a run: fnn_hyperparameters in src_c/fastnn.h."""

    numbers: tuple[float, ...]
    schedule: Schedule
    weight_decay: Schedule
    clipnorm: float
    global_clipnorm: float
    clipvalue: float
    accumulation_steps: int
    ema_momentum: float
    ema_overwrite_frequency: int


class Optimizer(Description):
    """The base of all optimizers. Their arguments may be changed at any time, which counts from the next step on.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
    weight_decay : float or LearningRateSchedule, optional
        ``p -= p * weight_decay * learning_rate`` before each update (Loshchilov and Hutter 2019).
    clipnorm : float, optional
        The gradient of each parameter is scaled down to at most this Euclidean norm.
    clipvalue : float, optional
        Each element of a gradient is cut off at -clipvalue and clipvalue.
    global_clipnorm : float, optional
        All gradients together are scaled down to at most this norm. Only one of the three kinds of clipping may be
        given.
    use_ema : bool, default False
        Whether to keep an exponential moving average of the weights, which replaces them at the end of ``fit``.
    ema_momentum : float, default 0.99
        ``average = ema_momentum * average + (1 - ema_momentum) * weights`` after each step.
    ema_overwrite_frequency : int, optional
        Also replace the weights by their average after every so many steps.
    loss_scale_factor : None
        Gradients are float32 or float64 here, so there is nothing to scale: anything else raises.
    gradient_accumulation_steps : int, optional
        The number of steps, at least 2, whose mean gradient is applied at the last of them.
    weight_decay_exclusions : sequence of str, default ()
        The parameters that do not decay, as for :meth:`exclude_from_weight_decay`. Keras lacks this argument: there
        only the method says so, and a saved optimizer has forgotten it.
    name : str, optional
        Accepted as in Keras, without a meaning here.

    Attributes
    ----------
    learning_rate : float
        The learning rate of the next step. Writable, unless a schedule was given.
    iterations : int
        The number of updates done by the model that the optimizer is compiled into.

    Examples
    --------
    >>> import fastnn
    >>> optimizer = fastnn.optimizers.SGD(0.1, clipnorm=1.0)
    >>> optimizer.learning_rate = 0.05
    """

    _area = "Optimizer"
    _kept: dict[str, tuple[object, Any]]  # what :meth:`_settled` has returned, each with the last change it knew of
    name: str | None = None
    use_ema = Flag()
    weight_decay_exclusions: tuple[str, ...] = ()
    weight_decay = ScheduledSetting(optional=True)
    clipnorm = Setting(optional=True)
    clipvalue = Setting(optional=True)
    global_clipnorm = Setting(optional=True)
    ema_momentum = Setting(high=1.0)
    ema_overwrite_frequency = Setting(low=1, optional=True, whole=True)
    gradient_accumulation_steps = Setting(low=2, optional=True, whole=True)

    _FIELDS: ClassVar[tuple[str, ...]] = ()  # the names of the arguments that a class adds
    # arguments by which parameters are treated differently
    _RULES: ClassVar[tuple[str, ...]] = ("weight_decay_exclusions",)

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule,
        *,
        weight_decay: float | LearningRateSchedule | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        weight_decay_exclusions: Sequence[str] = (),
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        for argument in unknown:
            near = hint("Optimizer", argument, self._argument_names())
            raise TypeError(f"{type(self).__name__} has no argument {argument!r}; {near}")
        self._engine: Engine | None = None
        self._schedule = self._checked_schedule(learning_rate)
        self.name = name if name is not None else type(self).__name__.lower()
        self.weight_decay = weight_decay
        given = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        named = [key for key, value in given.items() if value is not None]
        if len(named) > 1:
            raise ValueError(
                f"only one of clipnorm, clipvalue and global_clipnorm may be given, got {' and '.join(named)}"
            )
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema = use_ema
        self.ema_momentum, self.ema_overwrite_frequency = ema_momentum, ema_overwrite_frequency
        if loss_scale_factor is not None:
            raise ValueError(
                f"loss_scale_factor must be None: gradients are float32 or float64 here, which need no scaled loss, "
                f"got {loss_scale_factor!r}"
            )
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.weight_decay_exclusions = self._checked_exclusions(weight_decay_exclusions)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        vars(self)["_kept"] = {}  # a new dict: another thread may be keeping in the old one what was true before

    def _settled(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returns, and keep it as long as neither this optimizer nor any other description changes.

        A step asks for it, and a step may take microseconds. A user's class, which may compute it from anything, is
        asked each time.
        """
        kept, seen = self._kept, changes.last
        value = make()
        described = [one for one in (self, self._schedule, self.weight_decay) if isinstance(one, Description)]
        if all(known_class(type(one)) is type(one) for one in described):
            kept[name] = seen, value
        return value

    def _change(self, name: str, value: Any) -> None:
        """Set an attribute, which counts from the next call on; raise where no optimizer could be made with the value.

        State of another form, such as one with an average, starts anew.
        """
        found = getattr(type(self), name, None)
        if isinstance(found, property) and found.fset is not None:
            object.__setattr__(self, name, value)
            return
        made = vars(self._made_with(name, value))
        before = self._setup()[:2]
        vars(self)[name] = made[name]
        if self._setup()[:2] != before:
            self.detach()

    def _made_with(self, name: str, value: Any) -> Any:
        """Return an optimizer like this one, but for one attribute."""
        known: Any = known_class(type(self))
        config = known.get_config(self)
        if "learning_rate" in config:
            config["learning_rate"] = self._schedule
        if name not in (*config, *self._RULES) or name not in vars(self):
            raise self._not_settable(name)
        return known(**(config | {name: value}))

    # ---- the learning rate ----

    @staticmethod
    def _checked_schedule(value: Any) -> LearningRateSchedule:
        if isinstance(value, (LearningRateSchedule, dict)):
            return _schedules.get(value, "learning_rate")
        if callable(value):
            raise TypeError(
                "learning_rate must be a number or one of fastnn.optimizers.schedules, which the engine evaluates at "
                f"each step, got {type(value).__name__}"
            )
        return Constant(number("learning_rate", value, 0.0))

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        if isinstance(self._schedule, Constant):
            return self._schedule.learning_rate
        course, step = ((0, 0), 0) if self._engine is None else (self._engine.course, self._engine.iterations)
        return scheduled(self._schedule.lowered, course, step)

    @learning_rate.setter
    def learning_rate(self, value: float | LearningRateSchedule) -> None:
        checked = self._checked_schedule(value)
        if isinstance(checked, Constant) and not isinstance(self._schedule, Constant):
            raise TypeError(
                "learning_rate cannot be set to a number: the optimizer was made with "
                f"{type(self._schedule).__name__}; set it to a schedule, or make the optimizer with a number"
            )
        self._schedule = checked

    # ---- what the engine asks ----

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule: fnn_optimizer in src_c."""
        raise NotImplementedError

    def rule_slots(self) -> tuple[Slot, ...]:
        """The state that the rule keeps for each parameter."""
        return ()

    @property
    def setup(self) -> tuple[Any, ...]:
        """What an engine is set up for: the rule, its slots (which hold its state), and how parameters differ."""
        found = self._kept.get("setup")
        if found is None or found[0] is not changes.last:
            return self._settled("setup", self._setup)
        setup: tuple[Any, ...] = found[1]
        return setup

    def _setup(self) -> tuple[Any, ...]:
        return (self.engine_name, self.slots, *[getattr(self, name) for name in self._RULES])

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The state that is kept for each parameter: the rule's slots, the average and the accumulated gradient."""
        average = zeros("average") if self.use_ema else ()
        accumulated = zeros("gradient_accumulator") if self.gradient_accumulation_steps else ()
        return (*self.rule_slots(), *average, *accumulated)

    def numbers(self) -> tuple[float, ...]:
        """The rule's numbers, in the order in which src_c/engine/update/step.c reads them."""
        return ()

    def hyperparameters(self) -> Hyperparameters:
        """Return all numbers that the engine needs."""
        found = self._kept.get("hyperparameters")
        if found is None or found[0] is not changes.last:
            return self._settled("hyperparameters", self._hyperparameters)
        told: Hyperparameters = found[1]
        return told

    def _hyperparameters(self) -> Hyperparameters:
        decay = self.weight_decay
        return Hyperparameters(
            numbers=self.numbers(),
            schedule=self._schedule.lowered,
            weight_decay=decay.lowered if isinstance(decay, LearningRateSchedule) else constant(decay or 0.0),
            clipnorm=self.clipnorm or 0.0,
            global_clipnorm=self.global_clipnorm or 0.0,
            clipvalue=self.clipvalue or 0.0,
            accumulation_steps=self.gradient_accumulation_steps or 1,
            ema_momentum=self.ema_momentum,
            ema_overwrite_frequency=(self.ema_overwrite_frequency or 0) if self.use_ema else 0,
        )

    def attach(self, engine: Engine) -> None:
        """Take note of the engine of the model that the optimizer is compiled into."""
        self._engine = engine

    def detach(self) -> None:
        """Take note that the engine no longer holds the optimizer's state, which starts anew."""
        self._engine = None

    @property
    def iterations(self) -> int:
        """The number of updates done by the model that the optimizer is compiled into."""
        steps = 0 if self._engine is None else int(self._engine.iterations)
        return steps // (self.gradient_accumulation_steps or 1)

    @property
    def variables(self) -> list[npt.NDArray[Any]]:
        """Views of the optimizer's state: for each of :attr:`slots` one array, with all parameters one after the other.

        None before the optimizer is compiled into a model.
        """
        return [] if self._engine is None else list(self._engine.slots)

    # ---- weight decay and averages ----

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Iterable[str] | None = None) -> None:
        """Leave parameters out of the weight decay, from the next step on.

        Parameters
        ----------
        var_list : None
            Accepted as in Keras and refused: arrays have no names here, so that `var_names` must name them.
        var_names : iterable of str
            Regular expressions. A parameter does not decay where one of them is found in its name:
            ``["bias", "^gamma$"]``. An expression with a ``/`` is searched for in ``layer/name``
            instead: ``["^dense_1/"]``.
        """
        if var_list is not None:
            raise ValueError("var_list must be None: weights are plain arrays here; name them in var_names")
        self.weight_decay_exclusions = self._checked_exclusions(var_names)

    @staticmethod
    def _checked_exclusions(var_names: Any) -> tuple[str, ...]:
        names = () if var_names is None else tuple(var_names)
        if isinstance(var_names, str) or not all(isinstance(name, str) and name for name in names):
            raise TypeError(f"var_names must be a list of non-empty strings, got {var_names!r}")
        try:
            for name in names:
                re.compile(name)
        except re.error as error:
            raise ValueError(f"var_names must hold regular expressions, and {name!r} is none: {error}") from None
        return names

    def decays(self, path: str) -> bool:
        """Return whether weight decay counts for the parameter ``layer/name``."""
        name = path.rpartition("/")[2]
        return not any(re.search(found, path if "/" in found else name) for found in self.weight_decay_exclusions)

    def uses_second_rule(self, path: str, shape: tuple[int, ...]) -> bool:
        """Return whether the parameter ``layer/name`` follows the second rule, in an optimizer that has two."""
        return False

    def slot_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what a slot holds for a parameter of this shape."""
        return shape

    def finalize_variable_values(self, var_list: Any = None) -> None:
        """Replace the model's weights by their moving average, if there is one; ``fit`` does so at its end.

        Parameters
        ----------
        var_list : optional
            Ignored; accepted for compatibility with Keras. The weights are those of the model that the optimizer is
            compiled into.
        """
        if self.use_ema and self._engine is not None:
            self._show_average(False)
            self._engine.use_average(swap=False)

    def swap_average_weights(self) -> None:
        """Exchange the model's weights with their moving average; a second call takes the exchange back.

        Raises
        ------
        ValueError
            Without ``use_ema=True``, or before the model was compiled.
        """
        if not self.use_ema or self._engine is None:
            raise ValueError("swap_average_weights needs a compiled model whose optimizer was made with use_ema=True")
        self._engine.use_average(swap=True)

    @property
    def _average_shown(self) -> bool:
        """Whether the moving average stands in the place of the model's weights."""
        return self._engine is not None and self._engine.average_swapped

    def _show_average(self, wanted: bool) -> None:
        """Put the moving average into the model or, as for training, its weights; do nothing where they are there."""
        if self._average_shown != wanted:
            self.swap_average_weights()

    # ---- configuration ----

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        rate: Any = self._schedule
        config = {
            "name": self.name,
            "learning_rate": rate.learning_rate if isinstance(rate, Constant) else _schedules.serialize(rate),
            "weight_decay": configured(self.weight_decay),
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": None,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }
        if self.weight_decay_exclusions:
            config["weight_decay_exclusions"] = listed(self.weight_decay_exclusions)
        own = {field: getattr(self, field) for field in self._FIELDS}
        return config | {field: listed(value) for field, value in own.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """Return an equal optimizer from the result of :meth:`get_config`."""
        return cls(**config)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copies: without the engine, which cannot be copied."""
        return self.__dict__ | {"_engine": None, "_kept": {}}
