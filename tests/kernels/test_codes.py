"""The numbers by which Python and C name the same thing."""

import re
from pathlib import Path

import pytest

from fastnn import _op, losses, metrics, optimizers

OPTIMIZERS = {
    "SGD": optimizers.SGD(),
    "SGD_MOMENTUM": optimizers.SGD(momentum=0.5),
    "SGD_NESTEROV": optimizers.SGD(momentum=0.5, nesterov=True),
    "ADAM": optimizers.Adam(),
    "ADAM_AMSGRAD": optimizers.Adam(amsgrad=True),
    "NADAM": optimizers.Nadam(),
    "ADAMAX": optimizers.Adamax(),
    "RMSPROP": optimizers.RMSprop(),
    "RMSPROP_MOMENTUM": optimizers.RMSprop(momentum=0.5),
    "RMSPROP_CENTERED": optimizers.RMSprop(centered=True),
    "RMSPROP_CENTERED_MOMENTUM": optimizers.RMSprop(momentum=0.5, centered=True),
    "ADAGRAD": optimizers.Adagrad(),
    "ADADELTA": optimizers.Adadelta(),
    "LION": optimizers.Lion(),
    "ADAFACTOR": optimizers.Adafactor(),
    "MUON": optimizers.Muon(),
}
SOURCES = Path(__file__).parents[2] / "src_c"
HEADERS = [SOURCES / "fastnn.h", SOURCES / "kernels" / "table.h"]


@pytest.mark.skipif(not SOURCES.exists(), reason="needs the source beside the tests")
def test_codes_are_those_of_the_header():
    c = {
        name: int(value)
        for name, value in re.findall(r"FNN_(\w+) = (\d+)", "".join(header.read_text() for header in HEADERS))
    }
    python = {name: code for name, code in vars(_op).items() if name.startswith("OP_")}
    python |= {name.removeprefix("RULE_"): code for name, code in vars(_op).items() if name.startswith("RULE_")}
    for member in set(losses._registry._members.values()):
        name = {"huber_loss": "huber", "gaussian_nll": "gaussian_likelihood"}.get(member.name, member.name).upper()
        for k, code in enumerate(getattr(member, "codes", [member().code])):
            python[name + "_LOGITS" * k] = code
    for name, member in {
        "BINARY_ACCURACY": metrics.BinaryAccuracy,
        "CATEGORICAL_ACCURACY": metrics.SparseCategoricalAccuracy,
        "TOP_K_ACCURACY": metrics.TopKCategoricalAccuracy,
        "MEAN_LOSS": metrics.MeanSquaredError,
        "THRESHOLD_COUNTS": metrics.AUC,
        "CLASS_COUNTS": metrics.F1Score,
        "SQUARES": metrics.R2Score,
        "CLASS_MATRIX": metrics.MeanIoU,
        "FUNCTION_METRIC": metrics.CustomMetric,
        "FUNCTION_LOSS": losses.CustomLoss,
    }.items():
        python[name] = member.code
    python |= {name: optimizer.code for name, optimizer in OPTIMIZERS.items()}
    for name in ("ExponentialDecay", "InverseTimeDecay", "PiecewiseConstantDecay", "PolynomialDecay", "CosineDecay",
                 "CosineDecayRestarts", "OneCycle"):  # fmt: skip
        python[re.sub("(?<=[a-z])(?=[A-Z])", "_", name).upper()] = getattr(optimizers.schedules, name).code
    assert {name: c.get(name) for name in python} == python
