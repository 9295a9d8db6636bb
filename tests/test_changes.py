"""Attributes of what a model was made of: what is set counts at once, in memory and in the file, or raises."""

import contextlib
import copy
import inspect

import numpy as np
import pytest

import fastnn
from fastnn import constraints, initializers, layers, losses, metrics, optimizers, regularizers
from fastnn._settings import arguments_of
from fastnn.optimizers import schedules

GENERATOR = np.random.default_rng(0)
X, Y = GENERATOR.normal(size=(24, 4)), GENERATOR.random((24, 3))
WORDS = np.array([["a"], ["b"], ["c"], ["b"]] * 6)


def arrays(predicted):
    """Return what a model predicts as a list of arrays, also for a model with heads."""
    return list(predicted.values()) if isinstance(predicted, dict) else [predicted]


def trained_state(model, x, y):
    """Return predictions, then the losses of two further epochs and the weights after them."""
    before = arrays(model.predict(x))
    history = model.fit(x, y, epochs=2, batch_size=9, verbose=0).history
    return [*before, *(np.array(values) for values in history.values()), *model.get_weights()]


def assert_file_and_memory_agree(model, x, y, folder, objects=None):
    """Check that a model loaded from a file answers and trains as the one in memory does."""
    model.save(folder / "m.fastnn")
    loaded = fastnn.load_model(folder / "m.fastnn", objects)
    assert loaded.get_config() == model.get_config()
    assert loaded.get_compile_config() == model.get_compile_config()
    for ours, theirs in zip(trained_state(model, x, y), trained_state(loaded, x, y), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def error_of_setting(thing, name, value):
    """Return the message of the error on setting an attribute; empty where it could be set."""
    try:
        setattr(thing, name, value)
    except (AttributeError, TypeError, ValueError) as error:
        return str(error)
    return ""


# ---- layers ----

# A layer of each class, and another value for each argument of its constructor.
SHARED = {
    "name": "other", "dtype": "float64", "input_shape": (9,), "activity_regularizer": "l2", "seed": 5, "rate": 0.9,
    "axis": 1, "epsilon": 0.3, "units": 5, "use_bias": False, "input_dim": 7, "output_dim": 3, "output_mode": "one_hot",
    "num_tokens": 5, "momentum": 0.5, "center": False, "scale": False, "stddev": 2.0, "max_tokens": 9, "num_bins": 7,
    "num_oov_indices": 2, "mask_token": "a", "oov_token": "?", "vocabulary": ["c", "b"], "invert": True,
    "pad_to_max_tokens": True, "encoding": "latin-1", "target_shape": (4, 1), "data_format": "channels_last",
    "alpha": 0.5, "negative_slope": 0.4, "max_value": 0.7, "threshold": 0.1, "l1": 0.3, "l2": 0.4, "mean": 2.0,
    "variance": 3.0, "bin_boundaries": [-1.0, 0.5], "shape": (9,), "layers": [], "branches": {}, "columns": {},
    "heads": {}, "offset": 3.0, "activation": "tanh", "parametrization": "ntk",
    "frequencies": 5, "sigma": 0.5, "phases": False, "densely_connected": False, "share_weights": True, "members": 4,
    "sharing": "none",
    "linear": True, "clip": None, "factor": [3.0] * 4, "quantiles": 5, "knots": [[0.0, 0.2]] * 4, "bins": 5,
    "bin_edges": [[0.1, 0.2, 0.9]] * 4,
    "one_hot_limit": 1, "binary": "one_hot", "vocabularies": [["b", "a"], ["c", "b", "a"]],
}  # fmt: skip
LAYERS = {
    "Dense": lambda: layers.Dense(6, "relu"),
    "Activation": lambda: layers.Activation("sigmoid"),
    "ActivityRegularization": lambda: layers.ActivityRegularization(0.1),
    "AlphaDropout": lambda: layers.AlphaDropout(0.2),
    "CategoryEncoding": lambda: layers.CategoryEncoding(3, "count"),
    "Discretization": lambda: layers.Discretization([0.0, 0.25]),
    "Impute": lambda: layers.Impute("constant"),
    "Dropout": lambda: layers.Dropout(0.5),
    "ELU": layers.ELU,
    "Embedding": lambda: layers.Embedding(5, 2),
    "Flatten": layers.Flatten,
    "GLU": layers.GLU,
    "EnsembleDense": lambda: layers.EnsembleDense(3, 2, "relu"),
    "EnsembleMean": lambda: layers.EnsembleMean(2),
    "EnsembleScale": lambda: layers.EnsembleScale(2),
    "LinearEmbedding": lambda: layers.LinearEmbedding(3),
    "ParametricActivation": lambda: layers.ParametricActivation("relu"),
    "PeriodicEmbedding": lambda: layers.PeriodicEmbedding(4, 2),
    "GaussianDropout": lambda: layers.GaussianDropout(0.2),
    "GaussianNoise": lambda: layers.GaussianNoise(0.2),
    "InputLayer": lambda: layers.Input((4,)),
    "IntegerLookup": lambda: layers.IntegerLookup(vocabulary=[1, 2], num_oov_indices=1, output_mode="count"),
    "Normalization": lambda: layers.Normalization(mean=0.5, variance=2.0),
    "RobustNormalization": lambda: layers.RobustNormalization(center=[0.5] * 4, factor=[2.0] * 4),
    "QuantileNormalization": lambda: layers.QuantileNormalization(knots=[[0.0, 0.5, 1.0]] * 4),
    "PiecewiseLinearEncoding": lambda: layers.PiecewiseLinearEncoding(units=2, bin_edges=[[0.0, 0.5, 1.0]] * 4),
    "Rescaling": lambda: layers.Rescaling(2.0),
    "Reshape": lambda: layers.Reshape((-1,)),
    "Residual": lambda: layers.Residual([layers.Dense(4, "tanh")]),
    "Stack": lambda: layers.Stack([layers.Dense(4, "tanh")]),
    "StringLookup": lambda: layers.StringLookup(vocabulary=["a", "b"], output_mode="count"),
    "CategoricalEmbedding": lambda: layers.CategoricalEmbedding(2, 4, vocabularies=[["a", "b"], ["a", "b", "c"]]),
    "Branches": lambda: layers.Branches({"a": [fastnn.Input((4,)), layers.Dense(2)]}),
    "Heads": lambda: layers.Heads({"a": [layers.Dense(3)]}),
    "TargetScaling": lambda: layers.TargetScaling(0.5, 2.0, -1.0, 1.0),
}
LAYERS = {kind.__name__: kind for kind in layers._registry.members()} | LAYERS  # those that need no argument
# Arguments on which the shape of another weight or output depends, that have only one value, or that say where a layer
# stands.
RAISE = {
    "units", "use_bias", "center", "input_dim", "output_dim", "num_tokens", "num_bins", "dtype", "input_shape", "shape",
    "target_shape", "output_mode", "vocabulary", "mean", "variance", "max_tokens", "num_oov_indices",
    "pad_to_max_tokens", "layers", "branches", "heads", "columns", "invert", "bin_boundaries", "add_indicator",
    "one_hot_limit", "binary", "frequencies", "phases", "densely_connected", "share_weights", "linear",
    "members", "sharing",
}  # fmt: skip
EVERYWHERE = {"trainable": False, "learning_rate_multiplier": 3.0, "weight_decay_multiplier": 3.0}


def value_for(kind, name):
    found = {("IntegerLookup", "oov_token"): 7, ("Rescaling", "scale"): 4.0}
    found |= {("IntegerLookup", "vocabulary"): [2, 3, 4], ("StringLookup", "vocabulary"): ["c", "b", "a"]}
    found |= {("RobustNormalization", "center"): [0.2] * 4, ("QuantileNormalization", "noise"): 0.5}
    found |= {("Discretization", "bin_boundaries"): [-1.0], ("Reshape", "target_shape"): (2, 2)}
    found |= {("GLU", "activation"): "relu", ("StringLookup", "mask_token"): "z", ("IntegerLookup", "mask_token"): 9}
    found |= {("Impute", "strategy"): "mean", ("Impute", "fill_value"): 2.0, ("Impute", "add_indicator"): True}
    found |= {("TargetScaling", "deviation"): 3.0, ("TargetScaling", "low"): -0.5, ("TargetScaling", "high"): 2.0}
    found |= {("TargetScaling", "clip"): False}
    if (kind, name) in found:
        return found[kind, name]
    if name.endswith("_initializer"):
        return initializers.Constant(2.0)
    if name.endswith(("_constraint", "_regularizer")):
        return "non_neg" if name.endswith("_constraint") else "l2"
    return SHARED[name] if name in SHARED else EVERYWHERE[name]


def model_with(kind):
    """Return a compiled model with a layer of that class, trained a little; the layer, x and y."""
    layer = LAYERS[kind]()
    x, y = X, Y
    if kind in ("StringLookup", "IntegerLookup"):
        x = WORDS if kind == "StringLookup" else np.arange(24).reshape(-1, 1) % 4
        stack = [fastnn.Input((1,)), layer, layers.Dense(3)]
    elif kind == "CategoricalEmbedding":
        x = np.hstack([WORDS, np.roll(WORDS, 1)])
        stack = [fastnn.Input((2,)), layer, layers.Dense(3)]
    elif kind in ("Embedding", "CategoryEncoding"):
        x = np.arange(96).reshape(24, 4) % 3
        stack = [fastnn.Input((4,)), layer, layers.Dense(3)]
    elif kind == "InputLayer":
        stack = [layer, layers.Dense(3)]
    elif kind == "Branches":
        x, stack = {"a": X}, [layer, layers.Dense(3)]
    elif kind == "EnsembleMean":
        stack = [fastnn.Input((4,)), layers.Dense(6), layer]
    elif kind == "Heads":
        y, stack = {"a": Y}, [fastnn.Input((4,)), layers.Dense(2), layer]
    else:
        stack = [fastnn.Input((4,)), layer, layers.Dense(3)]
    model = fastnn.Sequential(stack)
    model.compile(optimizers.Adam(0.05), "mse", metrics={"a": ["mae"]} if kind == "Heads" else ["mae"])
    model.fit(x, y, verbose=0)
    return model, layer, x, y


CASES = [(kind, name) for kind in LAYERS for name in (*arguments_of(getattr(layers, kind)), *EVERYWHERE)]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_layers_attribute_counts_at_once_or_raises(kind, name, tmp_path):
    model, layer, x, y = model_with(kind)
    before, answer = layer.get_config(), arrays(model.predict(x))
    refused = error_of_setting(layer, name, value_for(kind, name))
    if refused:
        assert name in RAISE or kind.endswith("Normalization") or "takes no activity_regularizer" in refused, refused
        assert layer.get_config() == before
        for ours, theirs in zip(arrays(model.predict(x)), answer, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    else:
        assert layer.get_config() != before or name in ("data_format", "axis")  # an argument of one meaning only
    assert_file_and_memory_agree(model, x, y, tmp_path)


# ---- what layers, compile and fit are given ----

OTHERS = {
    "seed": 5, "name": "other", "l1": 0.3, "l2": 0.4, "factor": 0.5, "mode": "columns", "axis": 1, "max_value": 0.1,
    "min_value": 0.3, "rate": 0.5, "value": 0.3, "mean": 0.4, "stddev": 0.2, "minval": -0.4, "maxval": 0.3,
    "distribution": "uniform", "gain": 2.0, "scale": 0.5, "reduction": "sum", "from_logits": True,
    "label_smoothing": 0.2, "gamma": 1.0, "alpha": 0.6, "apply_class_balancing": True, "ignore_class": 1, "delta": 0.2,
    "quantiles": [0.2, 0.5, 0.7], "full": True, "eps": 0.2, "thresholds": [0.2, 0.7], "threshold": 0.3, "top_k": 2,
    "class_id": 1, "k": 2, "num_thresholds": 7, "curve": "PR", "summation_method": "majoring", "multi_label": True,
    "num_labels": 3, "label_weights": [0.2, 0.3, 0.5], "average": "macro", "beta": 2.0, "num_classes": 4,
    "target_class_ids": [0, 1], "specificity": 0.3, "sensitivity": 0.3, "precision": 0.3, "recall": 0.3,
    "class_aggregation": "variance_weighted_average", "num_regressors": 1, "dtype": "float32", "target_columns": 3,
    "learning_rate": 0.003, "initial_learning_rate": 0.07, "decay_steps": 5, "decay_rate": 0.4, "staircase": True,
    "end_learning_rate": 0.002, "power": 2.0, "cycle": True, "warmup_target": 0.2, "warmup_steps": 3,
    "first_decay_steps": 2, "t_mul": 1.5, "m_mul": 0.5, "boundaries": [2], "values": [0.3, 0.2], "weight_decay": 0.2,
    "clipnorm": 0.01, "clipvalue": 0.01, "global_clipnorm": 0.01, "use_ema": True, "ema_momentum": 0.4,
    "ema_overwrite_frequency": 2, "muon_b": -4.7, "muon_a": 3.0, "max_learning_rate": 0.05, "total_steps": 30,
    "gradient_accumulation_steps": 2, "weight_decay_exclusions": ["bias"], "cycles": 2,
}  # fmt: skip
"""Another value for each argument of a constructor; numbers of optimizers that are not here are halved."""


def the_members(module, base):
    return [member for member in module._registry.members() if isinstance(member, type) and issubclass(member, base)]


def instance(kind):
    """Return an instance of the class, with the arguments that its constructor needs."""
    needed = {
        "decay_steps": 10, "decay_rate": 0.5, "initial_learning_rate": 0.1, "first_decay_steps": 3, "boundaries": [4],
        "values": [0.1, 0.05], "quantiles": [0.1, 0.5, 0.9], "num_classes": 3, "target_class_ids": [0],
        "specificity": 0.5, "sensitivity": 0.5, "precision": 0.5, "recall": 0.5, "max_learning_rate": 0.1,
        "total_steps": 20, "value": 0.1,
    }  # fmt: skip
    parameters = inspect.signature(kind).parameters.values()
    return kind(**{p.name: needed[p.name] for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD})


def model_trained_with(thing):
    """Return a compiled model that uses the description, trained a little; x and y."""
    stack = [fastnn.Input((4,)), layers.Dense(6, "tanh"), layers.Dense(3, "sigmoid")]
    loss, measured, optimizer, y = "mse", [], optimizers.Adam(0.05), Y
    if isinstance(thing, regularizers.Regularizer):
        stack[1] = layers.Dense(6, "tanh", kernel_regularizer=thing)
    elif isinstance(thing, constraints.Constraint):
        stack[1] = layers.Dense(6, "tanh", kernel_constraint=thing)
    elif isinstance(thing, initializers.Initializer):
        stack[1] = layers.Dense(6, "tanh", kernel_initializer=thing)
    elif isinstance(thing, losses.Loss):
        loss = thing
        y = np.arange(24) % 3 if thing.targets == losses.LABELS else Y
        y = Y[:, :1] if isinstance(thing, losses.Quantile) else y
        y = 2 * np.round(Y) - 1 if isinstance(thing, (losses.Hinge, losses.SquaredHinge)) else y
        stack[2] = layers.Dense(6) if isinstance(thing, losses.GaussianNLL) else stack[2]
    elif isinstance(thing, metrics.Metric):
        measured, y = [thing], np.eye(3)[np.arange(24) % 3]
        if thing.targets == losses.LABELS:
            loss, y = "sparse_categorical_crossentropy", np.arange(24) % 3
        if isinstance(thing, metrics.IoU) and thing.sparse_y_pred:
            stack[2], loss, y = layers.Dense(1, "sigmoid"), "mse", np.arange(24)[:, None] % 2
    elif isinstance(thing, schedules.LearningRateSchedule):
        optimizer = optimizers.SGD(thing)
    else:
        optimizer = thing
    model = fastnn.Sequential(stack)
    model.compile(optimizer, loss, metrics=measured)
    model.fit(X, y, batch_size=24 if isinstance(thing, optimizers.LBFGS) else 9, verbose=0)
    return model, X, y


KINDS = [
    *the_members(regularizers, regularizers.Regularizer),
    *the_members(constraints, constraints.Constraint),
    *the_members(initializers, initializers.Initializer),
    *the_members(losses, losses.Loss),
    *the_members(metrics, metrics.Metric),
    *the_members(schedules, schedules.LearningRateSchedule),
    *(kind for kind in the_members(optimizers, optimizers.Optimizer) if kind is not optimizers.LBFGS),
]


# Changes that make the metric one for another number of outputs than the model has.
UNFIT = [
    *((kind, "sparse_y_pred") for kind in (metrics.IoU, metrics.MeanIoU, metrics.OneHotMeanIoU)),
    (metrics.OneHotMeanIoU, "num_classes"),
]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in KINDS for name in arguments_of(kind)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_attribute_of_what_a_model_was_given_counts_at_once_or_raises(kind, name, tmp_path):
    thing = instance(kind)
    model, x, y = model_trained_with(thing)
    before = thing.get_config()
    held = before.get(name)
    value = OTHERS[name] if name in OTHERS else not held if isinstance(held, bool) else (held or 0.2) / 2
    refused = error_of_setting(thing, name, value)
    assert (thing.get_config() == before) == bool(refused), refused
    if (kind, name) in UNFIT:
        for call in (lambda: model.fit(x, y, verbose=0), lambda: model.save(tmp_path / "m.fastnn")):
            with pytest.raises(ValueError, match="outputs"):  # the metric no longer fits the model
                call()
        return
    assert_file_and_memory_agree(model, x, y, tmp_path)


# ---- lists, dicts and arrays of a description: changed in place ----

NUMBERS = [
    lambda given: layers.Discretization(given([0.0, 1.0])),
    lambda given: layers.IntegerLookup(vocabulary=given([1, 2])),
    lambda given: layers.Impute("constant", given([1.0, 2.0])),
    lambda given: layers.Normalization(mean=given([0.5, 1.0]), variance=given([2.0, 1.0])),
    lambda given: layers.Normalization(mean=0.5, variance=2.0, columns=given([0, 1])),
    lambda given: layers.RobustNormalization(center=given([0.5, 1.0]), factor=given([2.0, 1.0])),
    lambda given: layers.QuantileNormalization(knots=given([[0.5, 1.0], [0.0, 2.0]])),
    lambda given: layers.PiecewiseLinearEncoding(bin_edges=given([[0.5, 1.0], [0.0, 2.0]])),
    lambda given: initializers.Constant(given([0.1, 0.2])),
    lambda given: losses.Quantile(given([0.1, 0.9])),
    lambda given: losses.CategoricalFocalCrossentropy(alpha=given([0.1, 0.9])),
    lambda given: metrics.AUC(thresholds=given([0.1, 0.9])),
    lambda given: metrics.AUC(multi_label=True, label_weights=given([0.1, 0.9])),
    lambda given: metrics.Precision(given([0.1, 0.9])),
    lambda given: metrics.IoU(3, given([0, 2])),
    lambda given: schedules.PiecewiseConstantDecay(given([3, 4]), given([0.3, 0.2, 0.1])),
]
LISTS = [
    lambda given: layers.StringLookup(vocabulary=given(["a", "b"])),
    lambda given: layers.CategoricalEmbedding(vocabularies=given([["a", "b"], [1, 2]])),
    lambda given: layers.Reshape(given([2, 2])),
    lambda given: layers.Input(given([2, 2])),
    lambda given: layers.Branches({"a": [layers.Dense(2)]}, columns={"a": given(["p", "q"])}),
    lambda given: optimizers.Adam(weight_decay_exclusions=given(["bias"])),
    lambda given: optimizers.Muon(exclude_layers=given(["out"])),
]


def spoil(value):
    """Change a held value in place, where it allows that."""
    if isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = value.ravel()[::-1].reshape(value.shape) if value.size > 1 else 7
    elif isinstance(value, list):
        for inner in value:
            spoil(inner)
        value.append("spoiled")
    elif isinstance(value, dict):
        for inner in value.values():
            spoil(inner)
        value["spoiled"] = 1
    elif isinstance(value, tuple):
        for inner in value:
            spoil(inner)


def public_values(thing):
    """Return the values of a description's attributes that can be read without a model."""
    found = {}
    for name in dir(thing):
        with contextlib.suppress(AttributeError, ValueError):
            found[name] = None if name.startswith("_") else getattr(thing, name)
    return {name: value for name, value in found.items() if name[0] != "_" and not callable(value)}


@pytest.mark.parametrize(
    ("make", "given"),
    [
        *((make, given) for make in NUMBERS for given in (list, np.array)),
        *((make, list) for make in LISTS),
        *((lambda _, made=made: made(), list) for made in LAYERS.values()),
        *((lambda _, kind=kind: instance(kind), list) for kind in KINDS),
    ],
)
def test_what_a_description_holds_cannot_be_changed_within(make, given):
    """A boundary, word or threshold that is changed in place would go unnoticed by the engine, but not by files."""
    told = []
    thing = make(lambda values: told.append(given(values)) or told[-1])
    before, config = copy.deepcopy(public_values(thing)), copy.deepcopy(thing.get_config())
    for value in (*told, *public_values(thing).values(), thing.get_config()):
        spoil(value)
    assert thing.get_config() == config
    assert repr(public_values(thing)) == repr(before)
    # sequences are lists, as JSON has them
    assert "(" not in str({key: value for key, value in config.items() if key != "target_shape"})


# ---- names, and the list of layers ----


def nested():
    """Return a compiled model with layers in a block, in a branch and in a head."""
    block = layers.Residual([layers.Dense(4, "tanh", name="a"), layers.Dense(4, name="b")], name="block")
    branches = layers.Branches({"left": [fastnn.Input((4,)), layers.Dense(4, name="in")]}, name="branches")
    heads = layers.Heads({"right": [layers.Dense(3, name="out")]}, name="heads")
    model = fastnn.Sequential([branches, block, heads])
    model.compile("adam", "mse")
    model.fit({"left": X}, {"right": Y}, verbose=0)
    return model


PLACES = {
    "model": lambda model: model.get_layer("block"),
    "block": lambda model: model.get_layer("block").layers[0],
    "branch": lambda model: model.layers[0].layers[0].layers[0],
    "head": lambda model: model.layers[-1].layers[0].layers[0],
}


@pytest.mark.parametrize("place", PLACES)
def test_a_renamed_layer_keeps_its_weights_and_state_and_is_saved(place, tmp_path):
    model = nested()
    before, layer = model.get_weights(), PLACES[place](model)
    kernel = layer.weights[0]
    layer.name = "renamed"
    assert layer.weights[0].base is kernel.base
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any("renamed" in "/".join(key) for key in model._home.views)
    assert model.optimizer.iterations == 1
    assert_file_and_memory_agree(model, {"left": X}, {"right": Y}, tmp_path)


@pytest.mark.parametrize(
    ("place", "name", "message"),
    [
        (PLACES["model"], "heads", "name 'heads' is taken: layer names must be unique in a model"),
        (PLACES["model"], "optimizer", "name 'optimizer' is taken"),
        (PLACES["block"], "b", "name 'b' is taken: layer names must be unique in a block"),
        (PLACES["block"], "b/c", "non-empty string without '/'"),
        (PLACES["head"], None, "non-empty string"),
        (lambda model: model.layers[0].layers[0], "other", "name of 'left' in layer 'branches' cannot be set"),
        (lambda model: model.layers[-1].layers[0], "other", "name of 'right' in layer 'heads' cannot be set"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_changes_nothing(place, name, message, tmp_path):
    model = nested()
    before = model.get_config()
    with pytest.raises(ValueError, match=message):
        place(model).name = name
    assert model.get_config() == before
    assert_file_and_memory_agree(model, {"left": X}, {"right": Y}, tmp_path)


@pytest.mark.parametrize("holder", [lambda model: model, lambda model: model.get_layer("block")])
def test_a_changed_list_of_layers_changes_no_model(holder, tmp_path):
    model = nested()
    for change in (lambda held: held.pop(), lambda held: held.append(layers.Dense(2)), lambda held: held.clear()):
        change(holder(model).layers)
    with pytest.raises(AttributeError):
        holder(model).layers = []
    assert len(model.layers) == 3
    assert_file_and_memory_agree(model, {"left": X}, {"right": Y}, tmp_path)


def test_a_layer_of_one_model_is_refused_by_another():
    model = nested()
    with pytest.raises(ValueError, match="belongs to a model already"):
        fastnn.Sequential([model.get_layer("block")])
    with pytest.raises(ValueError, match="belongs to a model already"):
        layers.Residual([PLACES["block"](model)])


def test_save_refuses_what_could_not_be_loaded(tmp_path):
    class Mine(layers.Dense):
        pass

    model = fastnn.Sequential([fastnn.Input((4,)), Mine(3)])
    with pytest.raises(ValueError, match=r"cannot be saved, as load_model would refuse .*: layer 'mine' is unknown"):
        model.save(tmp_path / "m.fastnn")
    assert not list(tmp_path.iterdir())
    model.save_weights(tmp_path / "w.fastnn")  # weights alone need no description
    model.load_weights(tmp_path / "w.fastnn")


def test_a_model_that_was_never_compiled_is_saved_with_a_layer_at_rest(tmp_path):
    model = fastnn.Sequential([fastnn.Input((4,)), layers.Dense(3), layers.Dense(2)])
    model.layers[1].trainable = False
    model.save(tmp_path / "m.fastnn")
    assert not fastnn.load_model(tmp_path / "m.fastnn").layers[1].trainable


# ---- what else a change could leave behind ----


def test_views_of_weights_live_through_a_reset():
    model, _, _, _ = model_with("Dense")
    view = model.weights[0]
    before = view.copy()
    model.reset()
    assert not np.array_equal(view, before)
    view[...] = 0
    assert not model.get_weights()[0].any()
    assert model.optimizer.iterations == 0
    assert not any(gradient.any() for gradient in model.gradients)


def test_a_refused_compile_leaves_the_training_as_it_was():
    model, _, x, y = model_with("Dense")
    before = model.optimizer, model.loss, model.metrics_names, model.optimizer.iterations
    with pytest.raises(ValueError, match="target columns"):
        model.compile("sgd", losses.Quantile([0.1, 0.5, 0.9]), metrics=["mae"])
    assert (model.optimizer, model.loss, model.metrics_names, model.optimizer.iterations) == before
    model.fit(x, y, verbose=0)
    assert model.optimizer.iterations == 2 * before[3]


def test_a_predictor_and_an_ensemble_heed_what_was_set():
    model, layer, x, y = model_with("Dense")
    frozen = model.freeze()
    before = frozen(x.astype("f"))
    layer.activation = "sigmoid"
    np.testing.assert_array_equal(frozen(x.astype("f")), before)  # the frozen model holds a copy of the description
    np.testing.assert_allclose(model.freeze()(x.astype("f")), model.predict(x), rtol=1e-6)
    twin = fastnn.Sequential.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    layer.trainable = False
    kept = layer.get_weights()[0]
    fastnn.Ensemble([model]).fit(x, y, verbose=0)
    np.testing.assert_array_equal(layer.get_weights()[0], kept)


@pytest.mark.parametrize(
    ("thing", "name", "message"),
    [
        (layers.Dense(3), "unit", "did you mean 'units'"),
        (losses.Huber(), "dleta", "did you mean 'delta'"),
        (regularizers.L2(), "l1", "l1 of L2 cannot be set"),
        (optimizers.Adam(), "lr", "learning_rate"),
        (metrics.AUC(), "treshold", "Metric|num_thresholds"),
        (fastnn.activations.relu, "negative_slope", "layers share|give the layer another"),
    ],
)
def test_a_name_that_means_nothing_is_not_set_in_silence(thing, name, message):
    with pytest.raises(AttributeError, match=message):
        setattr(thing, name, 1.0)


# ---- which parameters decay ----


@pytest.mark.parametrize(
    ("names", "decay"),
    [
        (["bias"], [True, False]),
        (["bias$", "nothing"], [True, False]),
        (["^k"], [False, True]),
        (["bias_net"], [True, True]),  # a layer's name is no name of a parameter, as in Keras
        (["bias_net/"], [False, False]),
        (["^bias_net/kernel$"], [False, True]),
        ([], [True, True]),
    ],
)
def test_weight_decay_exclusions_are_patterns_of_names(names, decay):
    ones = {"kernel_initializer": "ones", "bias_initializer": "ones"}
    model = fastnn.Sequential([layers.Dense(1, name="bias_net", input_shape=(2,), **ones)])
    optimizer = optimizers.AdamW(0.1, weight_decay=0.5, epsilon=1e30)  # with this epsilon Adam itself moves nothing
    model.compile(optimizer, "mse")
    optimizer.exclude_from_weight_decay(var_names=names)
    model.fit(np.zeros((4, 2)), np.zeros((4, 1)), batch_size=4, verbose=0)
    assert [bool(weight.flat[0] < 1) for weight in model.get_weights()] == decay


def test_exclusions_that_are_no_patterns_are_refused():
    optimizer = optimizers.AdamW(weight_decay_exclusions=["bias"])
    with pytest.raises(ValueError, match="must hold regular expressions"):
        optimizer.exclude_from_weight_decay(var_names=["(bias"])
    assert optimizer.weight_decay_exclusions == ("bias",)


def test_no_change_is_overlooked_for_others_that_are_noted_at_the_same_time():
    """With a mark that two threads count up, a later change could have the mark of one the model has seen."""
    from fastnn._settings import changes

    marks = [changes.last]
    for _ in range(3):
        changes.note()
        marks.append(changes.last)
    assert len({id(mark) for mark in marks}) == len(marks)
    model = fastnn.Sequential([fastnn.Input((4,)), layers.LeakyReLU(0.5)])
    before = model.predict(-np.ones((1, 4)))
    changes.last = marks[0]  # the mark of the slower thread comes last
    model.layers[1].negative_slope = 0.25
    np.testing.assert_array_equal(model.predict(-np.ones((1, 4))), before / 2)
