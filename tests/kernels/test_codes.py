"""The numbers by which Python and C name the same thing."""

import re
from pathlib import Path

import pytest

from fastnn import activations, losses, metrics, optimizers
from fastnn.layers import _op

HEADER = Path(__file__).parents[2] / "src_c" / "fastnn.h"


@pytest.mark.skipif(not HEADER.exists(), reason="needs the source beside the tests")
def test_codes_are_those_of_the_header():
    c = {name: int(value) for name, value in re.findall(r"FNN_(\w+) = (\d+)", HEADER.read_text())}
    python = {name: code for name, code in vars(_op).items() if name.startswith("OP_")}
    python |= {name.removeprefix("RULE_"): code for name, code in vars(_op).items() if name.startswith("RULE_")}
    python |= {name.upper(): activations.get(name).code for name in ("linear", "relu", "sigmoid", "tanh", "softmax")}
    for name in ("mean_squared_error", "half_mean_squared_error"):
        python[name.upper()] = losses.get(name).code
    for name in ("binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"):
        for logits in (False, True):
            description = losses.get({"class_name": name, "config": {"from_logits": logits}})
            python[name.upper() + "_LOGITS" * logits] = description.code
    for name in ("binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy"):
        python[name.upper()] = metrics.get(name).code
    for name in ("mean_squared_error", "mean_absolute_error"):
        python[f"METRIC_{name.upper()}"] = metrics.get(name).code
    sgd = optimizers.SGD
    python |= {"SGD": sgd().code, "SGD_MOMENTUM": sgd(momentum=0.5).code, "ADAM": optimizers.Adam().code}
    python["SGD_NESTEROV"] = sgd(momentum=0.5, nesterov=True).code
    assert {name: c.get(name) for name in python} == python
