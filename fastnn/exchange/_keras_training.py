"""What Keras compiled a model with, and the state of its optimizer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastnn import losses, metrics, optimizers
from fastnn._file import ModelFileError
from fastnn._model import Kept, Progress
from fastnn._public import defaults_of
from fastnn._schedules import Constant
from fastnn.exchange._hdf5 import Variable
from fastnn.exchange._keras_layers import Node
from fastnn.exchange._keras_weights import expected, leaves

_WITHOUT = "load_keras(path, compile=False) reads the network without"
# arguments that mean nothing here, or that say what is so anyway
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "axis": (-1,),
    "decay": (0, 0.0, None),
    "dtype": (None, "float32", "float64"),
    "is_legacy_optimizer": (True, False, None),
    "jit_compile": (True, False, None),
    "loss_scale_factor": (None,),
    "reduction": ("auto",),
    "thresholds": (None,),
}
# rules of Keras before 2.11 that add epsilon elsewhere
_OTHER_RULES = ("Adagrad", "Adadelta", "Ftrl", "Nadam", "RMSprop")


def _config_of(value: Any, what: str) -> tuple[str, dict[str, Any]]:
    """Return the class and the configuration of something that was serialized."""
    kind, config = value.get("class_name"), value.get("config")
    if not isinstance(kind, str) or not isinstance(config, (dict, type(None))):
        raise ModelFileError(f"{what} has no class_name and config")
    return kind.rpartition(">")[2], dict(config or {})


def _arguments(kind: type, config: dict[str, Any], what: str) -> dict[str, Any]:
    """Return what a constructor takes of a configuration of Keras; raise where the rest means something else here."""
    known = defaults_of(kind)
    found = {}
    for key, value in config.items():
        if isinstance(value, dict) and value.get("class_name") in ("DTypePolicy", "Policy"):
            value = (value.get("config") or {}).get("name")
        if key in known and not (key == "reduction" and value == "auto"):
            found[key] = value
        elif key not in ("fn", "name") and value not in _NEUTRAL.get(key, ()):
            raise ModelFileError(f"{what} says {key}={str(value)[:80]!r}, which it cannot do here; {_WITHOUT}")
    return found


def _not_own(name: str, what: str) -> str:
    """Return the message about a loss or a metric that is the user's own, or that is not here."""
    return f"{what} {name[:80]!r} is none of fastnn's own: give custom_objects={{{name[:80]!r}: ...}}; {_WITHOUT}"


def _one(value: Any, module: Any, objects: Mapping[str, Any], what: str) -> Any:
    """Return a loss or a metric, or its name, from a name or from what Keras wrote."""
    if isinstance(value, Mapping) and value.get("class_name") == "function":
        value = value.get("config")
    if isinstance(value, str):
        return _named(value, module, objects, what)
    kind, config = _config_of(value, what)
    if kind in objects:
        return objects[kind](**config)
    if kind in ("LossFunctionWrapper", "MeanMetricWrapper"):
        return _wrapped(config, module, objects, what)
    member = module._registry.kind_of({"class_name": kind})
    if member is None:
        raise ModelFileError(_not_own(kind, what))
    arguments = _arguments(member, config, f"{what} {kind!r}")
    try:
        return member(**arguments)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{what} {kind!r} cannot be made here: {error}; {_WITHOUT}") from error


def _named(name: str, module: Any, objects: Mapping[str, Any], what: str) -> Any:
    if name in objects:
        return objects[name]
    if name not in module._registry and name not in getattr(module, "_BY_LOSS", ()):
        raise ModelFileError(_not_own(name, what))
    return name


def _wrapped(config: dict[str, Any], module: Any, objects: Mapping[str, Any], what: str) -> Any:
    """Return what Keras 2 wraps: a function, under a name of its own."""
    function, name = config.get("fn"), config.get("name")
    if isinstance(function, Mapping):
        function = function.get("config")
    if not isinstance(function, str):
        raise ModelFileError(f"{what} is a function without a name; {_WITHOUT}")
    if name in ("acc", "accuracy") and function.endswith("accuracy"):
        return name
    if function in module._registry and isinstance(name, str):  # "mae", or "price_mae" of the output "price"
        parts, kind = name[:99].split("_"), type(module.get(function))
        for given in ("_".join(parts[k:]) for k in range(len(parts))):
            if given in module._registry and type(module.get(given)) is kind and function not in objects:
                return given
    return _named(function, module, objects, what)


def _each(value: Any, module: Any, objects: Mapping[str, Any], what: str) -> Any:
    """Return losses or metrics in the structure in which Keras wrote them: one, a list, or a dict by output."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_each(one, module, objects, what) for one in value if one is not None]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _each(one, module, objects, what) for key, one in value.items() if one is not None}
    if not isinstance(value, (str, dict)):
        raise ModelFileError(f"{what} must be a name or a description, got {str(value)[:80]}")
    return _one(value, module, objects, what)


def _of_outputs(value: Any, places: Sequence[int]) -> Any:
    """Return what a list says of each output, as losses and their weights, in the order of the heads."""
    if len(places) > 1 and isinstance(value, list) and len(value) == len(places):
        return [value[place] for place in places]
    return value


def _metrics(value: Any, objects: Mapping[str, Any], version: str, places: Sequence[int]) -> Any:
    """Return the metrics of one output as one list, and those of several in a list for each, or by name."""
    if len(places) > 1 and isinstance(value, list):
        if version.startswith(("1.", "2.")) and all(isinstance(one, str) or _is_described(one) for one in value):
            value = [value] * len(places)  # Keras 2 then has all of them for each output
        value = _of_outputs([[] if one is None else one for one in value], places)
    found = _each(value, metrics, objects, "its metric")
    nested = isinstance(found, list) and len(found) == 1 and isinstance(found[0], list)
    return found[0] if nested and len(places) == 1 else found


def _is_described(value: Any) -> bool:
    return isinstance(value, dict) and "class_name" in value


def _optimizer(value: Any, legacy: bool) -> optimizers.Optimizer:
    """Return the optimizer that Keras described."""
    if isinstance(value, str):
        value = {"class_name": value, "config": {}}
    if not isinstance(value, dict):
        raise ModelFileError("its optimizer is not described")
    kind, config = _config_of(value, "its optimizer")
    member = optimizers._registry.kind_of({"class_name": kind})
    if member is None:
        raise ModelFileError(f"its optimizer is {kind[:80]}, which fastnn has not; {_WITHOUT}")
    if legacy and member.__name__ in _OTHER_RULES:
        raise ModelFileError(f"its optimizer is {kind} of Keras before 2.11, which has another rule; {_WITHOUT}")
    if "lr" in config and "learning_rate" not in config:
        config["learning_rate"] = config.pop("lr")
    rate, decay = config.get("learning_rate"), config.pop("decay", 0)
    if isinstance(rate, dict):
        schedule, described = _config_of(rate, "its learning rate")
        named = {key: one for key, one in described.items() if key != "name"}
        config["learning_rate"] = {"class_name": schedule, "config": named}
    elif decay and legacy:
        described = {"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay}
        config["learning_rate"] = {"class_name": "InverseTimeDecay", "config": described}
    excluded = config.get("exclude_layers") or ()
    if not isinstance(excluded, (list, tuple)) or any(re.escape(str(one)) != str(one) for one in excluded):
        raise ModelFileError(
            f"its optimizer {kind} says exclude_layers by expressions, and here names count; {_WITHOUT}"
        )
    if config.get("epsilon", 0) is None:
        config["epsilon"] = 1e-7
    name = config.get("name")
    arguments = _arguments(member, config, f"its optimizer {kind}")
    try:
        made = member(**arguments)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"its optimizer {kind} cannot be made here: {error}; {_WITHOUT}") from error
    if isinstance(name, str):
        made.name = name
    return made


def _is_legacy(value: Any, version: str) -> bool:
    """Return whether an optimizer is one of Keras before 2.11, which later versions call legacy."""
    if not isinstance(value, dict):
        return False
    module, kind = value.get("module"), value.get("class_name")
    if isinstance(module, str):
        return "legacy" in module
    return version.startswith(("1.", "2.")) and isinstance(kind, str) and not kind.startswith("Custom>")


def compile_as_told(
    model: Kept, config: dict[str, Any], version: str, objects: Mapping[str, Any], places: Sequence[int]
) -> bool:
    """Compile a model as a file says; return whether its optimizer is one of Keras before 2.11.

    `places` has, for each output, its place in Keras's lists with an entry for each of them.
    """
    described = config.get("optimizer", config.get("optimizer_config"))
    told = {
        "loss": _each(_of_outputs(config.get("loss"), places), losses, objects, "its loss"),
        "metrics": _metrics(config.get("metrics"), objects, version, places),
        "weighted_metrics": _metrics(config.get("weighted_metrics"), objects, version, places),
        "loss_weights": _of_outputs(config.get("loss_weights"), places),
        "steps_per_execution": config.get("steps_per_execution") or 1,
    }
    if told["loss"] is None:
        told |= {"metrics": None, "weighted_metrics": None, "loss_weights": None}
    legacy = _is_legacy(described, version)
    model.compile(_optimizer(described, legacy), **told)
    return legacy


def _trained(nodes: Sequence[Node]) -> list[tuple[Node, str, tuple[int, ...]]]:
    """Return layer, name and shape of each parameter that has state in an optimizer, in Keras's order."""
    return [
        (node, name, shape)
        for node in leaves(nodes)
        for name, shape in expected(node)
        if node.layer is not None and name not in node.layer.non_trainable()
    ]


def _groups(optimizer: optimizers.Optimizer, version: str, legacy: bool) -> list[tuple[str, ...]]:
    """Return the slots in the order in which Keras makes them: those of a group follow each other in each parameter."""
    rule = tuple(slot.name for slot in optimizer.rule_slots())
    own = tuple(slot.name for slot in optimizer.slots if slot.name not in rule)  # of averages and of sums
    first = [own] if version.startswith("3.0") and own else [(name,) for name in own]
    if legacy or isinstance(optimizer, optimizers.RMSprop):
        return [*first, *((name,) for name in rule)]
    late = tuple(name for name in rule if name == "velocity_hat")
    return [*first, *(group for group in (rule[: len(rule) - len(late)], late) if group)]


def restore(model: Kept, nodes: Sequence[Node], state: Sequence[Variable], version: str, *, legacy: bool) -> None:
    """Put the state of Keras's optimizer into a compiled model: slots, the number of steps and the learning rate.

    Raises
    ------
    ModelFileError
        When the file has other arrays than the optimizer needs.
    """
    if not state:
        return
    ready = model._ready("load_keras")
    engine, optimizer = ready.engine, ready.optimizer
    steps = _number(state[0], "the number of steps")
    if steps != int(steps) or not 0 <= steps < 2**53:
        raise ModelFileError(f"the number of steps must be a whole number from 0, got {steps}")
    rest = list(state[1:])
    if rest and not rest[0].shape and isinstance(optimizer._schedule, Constant):
        optimizer.learning_rate = _number(rest.pop(0), "the learning rate")
    trained = _trained(nodes)
    arrays = [variable for variable in rest if variable.shape]
    if arrays and not (optimizer.slots or len(arrays) != len(trained)):
        arrays = []  # Keras 2 keeps a momentum for SGD without momentum
    if arrays:
        _fill_slots(optimizer, engine, trained, arrays, _groups(optimizer, version, legacy))
    product = 1.0
    if isinstance(optimizer, optimizers.Nadam):  # Keras's files do not hold the product of the momenta
        powers = 0.96 ** np.arange(1.0, min(steps, 1e5) + 1)
        product = float(np.prod(optimizer.beta_1 * (1 - 0.5 * powers)))
    before = model._progress
    model._progress = Progress(int(steps), product, before.seed, before.epochs_done, average_swapped=False)


def _number(variable: Variable, what: str) -> float:
    value = variable.read()
    if value.shape or not np.isfinite(value):
        raise ModelFileError(f"{what} must be a number, and {variable.path[:80]!r} has shape {value.shape}")
    return float(value)


def _has(optimizer: optimizers.Optimizer, slot: str, path: str, shape: tuple[int, ...]) -> bool:
    """Return whether Keras has a slot for the parameter ``layer/name``."""
    if isinstance(optimizer, optimizers.Muon) and slot == "velocity":
        return optimizer.uses_second_rule(path, shape)
    # its second moment of matrices is there in Keras, and never used
    of_adafactor = isinstance(optimizer, optimizers.Adafactor) and slot == "velocity"
    return of_adafactor or 0 not in optimizer.slot_shape(slot, shape)


def _fill_slots(
    optimizer: optimizers.Optimizer,
    engine: Any,
    trained: Sequence[tuple[Node, str, tuple[int, ...]]],
    arrays: Sequence[Variable],
    groups: Sequence[tuple[str, ...]],
) -> None:
    """Read the arrays of an optimizer into the slots of a model."""
    slots = {slot.name: flat for slot, flat in zip(optimizer.slots, engine.slots, strict=True)}
    specs = {spec.view(engine.parameters).ctypes.data: spec for spec in engine.plan.parameters}
    left = iter(arrays)
    for group in groups:
        for node, name, shape in trained:
            assert node.layer is not None
            spec = specs[node.layer._weight(name).ctypes.data]
            for slot in group:
                kept = optimizer.slot_shape(slot, shape)
                if not _has(optimizer, slot, f"{spec.layer}/{spec.name}", shape):
                    continue
                variable = next(left, None)
                wanted = shape if 0 in kept else kept
                if variable is None or variable.shape != wanted:
                    raise ModelFileError(
                        f"the state of its {type(optimizer).__name__} does not fit {node.name[:80]!r}: {slot} of shape "
                        f"{wanted} is not where Keras writes it"
                    )
                if 0 not in kept:
                    spec._replace(shape=kept).view(slots[slot])[...] = variable.read()
    if next(left, None) is not None:
        raise ModelFileError(f"it holds more state than its {type(optimizer).__name__} has for these layers")
