"""Keras's public names and their arguments, for the page that goes through them (docs/keras.md, tests/test_docs.py).

They are written as JSON, not as arrays: names.json is {"keras": version, "names": {area: {name: arguments or null}}}.
"""

import inspect
import json
from pathlib import Path

import keras

AREAS = {
    "layers": keras.layers,
    "activations": keras.activations,
    "initializers": keras.initializers,
    "regularizers": keras.regularizers,
    "constraints": keras.constraints,
    "optimizers": keras.optimizers,
    "optimizers.schedules": keras.optimizers.schedules,
    "losses": keras.losses,
    "metrics": keras.metrics,
    "callbacks": keras.callbacks,
    "models": keras.models,
    "saving": keras.saving,
    "utils": keras.utils,
    "config": keras.config,
    "random": keras.random,
    "mixed_precision": keras.mixed_precision,
    "datasets": keras.datasets,
    "keras": keras,
    "Sequential": keras.Sequential,
    "Layer": keras.layers.Layer,
    "Optimizer": keras.optimizers.SGD,
    "Loss": keras.losses.Loss,
    "Metric": keras.metrics.Metric,
}
HIDDEN = {"legacy", "src"}


def arguments(member):
    """Return the names of a callable's arguments; None where Python cannot tell them."""
    if not callable(member):
        return None
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    try:
        parameters = inspect.signature(member).parameters.values()
    except (TypeError, ValueError):
        return None
    return [p.name for p in parameters if p.kind not in kinds and p.name != "self"]


def main():
    """Record the names of every area."""
    names = {
        area: {
            name: arguments(getattr(holder, name))
            for name in dir(holder)
            if not name.startswith("_") and name not in HIDDEN
        }
        for area, holder in AREAS.items()
    }
    text = json.dumps({"keras": keras.__version__, "names": names}, indent=0, sort_keys=True)
    Path(__file__).with_name("names.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
