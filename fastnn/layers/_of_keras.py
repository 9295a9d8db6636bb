"""Configurations of layers as Keras writes them, turned into the arguments that the same layers have here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastnn._public import defaults_of
from fastnn._registry import nearest_names

# Arguments of Keras that no layer here has, with the values that mean what the layer does here anyway.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "autocast": (True,),
    "axis": (-1, 1),  # the axis of the features, in rows of one axis
    "batch_input_shape": (None,),
    "batch_shape": (None,),
    "batch_size": (None,),
    "build_input_shape": (None,),
    "epsilon": (0.01,),  # of a Discretization: the precision of the boundaries that adapt finds
    "fused": (True, False, None),
    "idf_weights": (None,),
    "input_length": (None,),
    "lora_alpha": (None,),
    "lora_rank": (None,),
    "mask_zero": (False,),
    "noise_shape": (None,),
    "optional": (False,),
    "oov_method": ("floormod",),
    "quantization_config": (None,),
    "quantization_mode": (None,),
    "ragged": (False,),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": (0.99, None),
    "rms_scaling": (False,),
    "salt": (None,),
    "shared_axes": (None,),
    "sparse": (False,),
    "synchronized": (False,),
    "virtual_batch_size": (None,),
    "vocabulary_dtype": ("int64", "string"),
    "weights": (None,),
}
_RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}  # arguments that Keras 2 has under another name
_PREPARING = ("CategoryEncoding", "Discretization", "IntegerLookup", "StringLookup")


def _plain(value: Any) -> Any:
    """Return a value without the wrappers that Keras puts around tuples, arrays, dtype policies and functions."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind in ("DTypePolicy", "Policy", "FloatDTypePolicy") and isinstance(config, dict):
        return config.get("name")
    if kind == "__tuple__":
        return _plain(value.get("items"))
    if kind == "__numpy__" and isinstance(config, dict):
        return config.get("value")
    if kind == "function" and isinstance(config, str):
        return config
    return {key: _plain(one) for key, one in value.items() if not (kind and key in ("module", "registered_name"))}


def _without_rows(shape: Any) -> Any:
    """Return the shape of a row from a shape of Keras, whose first axis counts the rows."""
    return shape[1:] if isinstance(shape, list) and len(shape) > 1 and shape[0] in (None, 1) else shape


def arguments_of(kind: type, given: dict[str, Any], attributes: Iterable[str]) -> dict[str, Any]:
    """Return the arguments of a layer's constructor from its configuration, which may be one of Keras.

    Parameters
    ----------
    kind : type
        The layer's class.
    given : dict
        The configuration: one of fastnn, which is returned as it is, of Keras 3 or of Keras 2.
    attributes : iterable of str
        Keys that are no arguments of the constructor, but may be in the configuration.

    Raises
    ------
    ValueError
        When an argument says something that the layer cannot do here.
    """
    known = defaults_of(kind)
    found = {key: _plain(value) for key, value in given.items()}
    if kind.__name__ in _PREPARING and found.get("dtype") in ("int32", "int64", "string"):
        del found["dtype"]  # the dtype of the layer's output; here all numbers have the model's dtype
    for key in list(found):
        if (kind.__name__, key) in _RENAMED:
            found[_RENAMED[kind.__name__, key]] = found.pop(key)
    found.pop("vocabulary_size", None)  # the size of a vocabulary that lies in another file
    if isinstance(found.get("axis"), list) and len(found["axis"]) == 1:  # a Normalization has its axis in a list
        found["axis"] = found["axis"][0]
    for key in ("batch_shape", "batch_input_shape", "build_input_shape"):
        if found.get(key) is not None:
            shape = _without_rows(found.pop(key))
            if isinstance(shape, list) and (None in shape or not shape):
                continue  # it does not say how wide a row is
            found["shape" if "shape" in known else "input_shape"] = shape
            if "shape" in known:
                found.pop("dtype", None)  # the dtype of x, which is not the layers' dtype
    length = found.get("input_length")
    if length is not None and found.setdefault("input_shape", [length]) in ([length], length):
        del found["input_length"]  # Keras 2 has it beside the shape that says the same
    for key in [key for key in found if key not in known and key not in attributes]:
        value = found.pop(key)
        if key not in _NEUTRAL or value not in _NEUTRAL[key]:
            names = sorted(known)
            hint = "which it cannot do here" if key in _NEUTRAL else f"which it has not; {nearest_names(key, names)}"
            raise ValueError(f"the configuration of a {kind.__name__} says {key}={value!r}, {hint}")
    return found
