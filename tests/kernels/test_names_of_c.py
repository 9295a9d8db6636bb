"""The names by which Python and C mean the same: each description has one of src_c's, and each of those is used."""

import copy
import inspect

import pytest

import fastnn
from fastnn import _engine, activations, constraints, layers, losses, metrics, optimizers
from fastnn._op import ParameterSettings, Schedule
from fastnn._small_weights import SMALL
from fastnn.losses._base import _REDUCTIONS
from fastnn.optimizers import schedules

LAYERS = [
    [layers.Activation("softmax"), layers.Dense(4), layers.PReLU(), layers.Dropout(0.5), layers.GaussianNoise(0.5)],
    [layers.EnsembleScale(2), layers.EnsembleDense(3, 2), layers.EnsembleMean(2)],
    [layers.ParametricActivation("relu"), layers.PeriodicEmbedding(), layers.PeriodicEmbedding(phases=False)],
    [layers.LayerNormalization(), layers.BatchNormalization(), layers.Residual([layers.Dense(4)]), layers.GLU()],
    [layers.AlphaDropout(0.5), layers.GaussianDropout(0.5), layers.TargetScaling(0.0, 1.0, clip=False)],
    [layers.Discretization([0.5]), layers.Embedding(2, 3)],
    [layers.Impute("constant"), layers.Rescaling(2.0), layers.Normalization(mean=0.0, variance=1.0)],
    [layers.Normalization(mean=0.0, variance=1.0, invert=True, columns=[1])],
    [layers.RobustNormalization([1], center=[0.0], factor=[1.0])],
    [layers.QuantileNormalization(columns=[1], knots=[[0.0, 1.0]])],
    [layers.PiecewiseLinearEncoding(columns=[1], bin_edges=[[0.0, 1.0]])],
    [layers.Branches({"a": [layers.Dense(2, input_shape=(3,))], "b": [layers.Dense(2, input_shape=(1,))]})],
    *([layers.CategoryEncoding(4, output_mode=mode)] for mode in ("one_hot", "multi_hot", "count")),
]
ACTIVATIONS = [activations.GELU(True), activations.ReLU(0.1), activations.ReLU(max_value=1.0)]
LOSSES = [losses.CustomLoss(), losses.Quantile([0.1])]
OPTIMIZERS = [
    *(optimizers.SGD(momentum=0.5, nesterov=nesterov) for nesterov in (False, True)),
    *(optimizers.RMSprop(momentum=m, centered=c) for m in (0.0, 0.5) for c in (False, True)),
    optimizers.Adam(amsgrad=True),
]
NORMS = [constraints.MaxNorm(axis=0), constraints.UnitNorm(axis=1), constraints.MinMaxNorm(axis=[0, 1])]
OF_C_ALONE = {"divide_by_root"}  # used by the engine alone, for batch normalization


def members(registry):
    """Return an instance of each registered kind that needs no argument."""
    kinds = [kind for kind in registry._registry.members() if kind is not losses.Quantile]
    return [kind() if isinstance(kind, type) else kind for kind in kinds]


def with_logits(loss):
    return [loss, type(loss)(from_logits=True)] if hasattr(loss, "from_logits") else [loss]


def plain_layers():
    """Each layer that needs neither an argument nor to be adapted, in a model of its own."""
    for kind in layers._registry.members():
        needed = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty and p.kind < 2]
        if not needed and not hasattr(kind, "adapt") and kind is not layers.InputLayer:
            yield [kind()]


def lowered():
    for stack in [*LAYERS, *plain_layers()]:
        inputs = [] if isinstance(stack[0], layers.Branches) else [fastnn.Input((4,))]
        yield from fastnn.Sequential([*inputs, *copy.deepcopy(stack)])._engine.plan.ops


def names_in_python():
    ops = list(lowered())
    return {
        "op": {op.name for op in ops},
        "column_factor": {op.mode for op in ops if op.name == "columns"},
        "encoding": {op.mode for op in ops if op.name == "encode"},
        "noise_kind": {op.mode for op in ops if op.name in ("dropout", "gaussian")},
        "activation": {f.engine_name for f in members(activations) + ACTIVATIONS},
        "loss": {found.engine_name for loss in members(losses) + LOSSES for found in with_logits(loss)},
        "metric": {metric.engine_name for metric in {*metrics._registry.members(), metrics.CustomMetric}},
        "reduction": set(_REDUCTIONS.values()),
        "optimizer": {optimizer.engine_name for optimizer in members(optimizers) + OPTIMIZERS},
        "schedule": {schedules.LearningRateSchedule.engine_name}
        | {schedule.engine_name for schedule in schedules._registry.members()},
        "constraint": {ParameterSettings().constraint, constraints.NonNeg().engine_name((2, 2))}
        | {norm.engine_name((2, 2)) for norm in NORMS},
        "weights": set(SMALL),
    }


def test_python_and_c_have_the_same_names():
    c = {enum: names.keys() - OF_C_ALONE for enum, names in _engine._ENUMS.items()}
    del c["status"], c["sparse_form"], c["exchanged"]  # fields that the engine fills in
    assert names_in_python() == c


@pytest.mark.parametrize("enum", _engine._ENUMS)
def test_every_name_has_a_number_of_its_own(enum):
    numbers = list(_engine._ENUMS[enum].values())
    assert sorted(numbers) == list(range(len(numbers)))


def test_a_name_that_c_has_not_is_one_sentence():
    model = fastnn.Sequential([fastnn.Input((2,)), layers.Dense(1)])
    plan = model._engine.plan
    op = plan.ops[0]._replace(name="dence")
    with pytest.raises(ValueError, match=r"^the engine has no op named 'dence'; did you mean 'dense'"):
        _engine.Engine(type(plan)(**plan.__dict__ | {"ops": (op,)}))
    with pytest.raises(ValueError, match=r"^the engine has no schedule named 'one_cycel'; did you mean 'one_cycle'"):
        _engine.scheduled(Schedule("one_cycel", ()), (0, 0), 0)


@pytest.mark.parametrize("op", _engine._ENUMS["op"])
def test_every_op_has_a_row_in_the_table_of_ops(op):
    assert sum(_engine.op_traits(op)) <= 1  # without a row, asking would end the process
