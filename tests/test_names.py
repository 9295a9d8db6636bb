"""Public names: what modules list, what is said of a name that is not there, and how objects show themselves."""

import abc
import copy
import importlib
import inspect
import json
import pickle
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import _public, callbacks, layers, losses, metrics, optimizers
from fastnn._absent import AREAS, instead_of

NAMES = json.loads((Path(__file__).parent / "reference" / "names.json").read_text())["names"]
MODULES = (
    "activations", "callbacks", "config", "constraints", "datasets", "initializers", "layers", "losses", "metrics",
    "models", "optimizers", "optimizers.schedules", "regularizers", "saving", "utils",
)  # fmt: skip
PATHS = ["fastnn", "fastnn.keras", *(f"{package}.{name}" for package in ("fastnn", "fastnn.keras") for name in MODULES)]


def model():
    built = fastnn.Sequential([layers.Dense(3, "relu", input_shape=(4,)), layers.Dense(1)])
    built.compile("adam", "mse")
    return built


# ---- modules ----


@pytest.mark.parametrize("path", PATHS)
def test_dir_of_a_module_is_what_is_public(path):
    module = importlib.import_module(path)
    listed = {name for name in dir(module) if not name.startswith("_")}
    assert listed == {name for name in module.__all__ if not name.startswith("_")}
    own = {
        name
        for name, member in vars(module).items()
        if not name.startswith("_") and getattr(member, "__module__", "") == path and hasattr(member, "__doc__")
    }
    internal = {
        "ActivationFunction",
        "check_dtype",
        "check_policy",
        "variable_dtype",
        "fit_to",
    }
    internal |= {"log_key", "log_keys"}
    assert own - listed - internal == set()
    assert not any(
        isinstance(getattr(module, name), types.ModuleType) for name in listed - set(fastnn.__all__) - {"schedules"}
    )


@pytest.mark.parametrize("name", MODULES)
def test_keras_has_the_same_objects(name):
    here, twin = importlib.import_module(f"fastnn.{name}"), importlib.import_module(f"fastnn.keras.{name}")
    assert twin.__all__ == here.__all__
    for public in set(here.__all__) - {"schedules"}:
        assert getattr(twin, public) is getattr(here, public)


def test_keras_has_every_name_of_the_package():
    assert set(fastnn.keras.__all__) - {"__version__"} == set(fastnn.__all__) - {
        "distributed",
        "keras",
        "sklearn",
        "tabular",
    }
    assert fastnn.keras.Sequential is fastnn.Sequential
    assert fastnn.models.load_model is fastnn.keras.models.load_model is fastnn.load_model


MODULE_AREAS = [area for area in NAMES if area == "keras" or f"fastnn.{area}" in PATHS]


@pytest.mark.parametrize("package", ["fastnn", "fastnn.keras"])
@pytest.mark.parametrize("area", MODULE_AREAS)
def test_every_name_of_a_module_of_keras_is_there_or_explained(area, package):
    path = package if area == "keras" else f"{package}.{area}"
    module = importlib.import_module(path)
    for name in NAMES[area]:
        if name == "schedules" or hasattr(module, name):
            continue
        sentence = instead_of(area, name)
        assert sentence, name
        with pytest.raises(AttributeError) as raised:
            getattr(module, name)
        assert str(raised.value) == f"module {path!r} has no attribute {name!r}; {sentence}"
        with pytest.raises(ImportError) as raised:
            exec(f"from {path} import {name}", {})
        assert str(raised.value) == f"cannot import name {name!r} from {path!r}; {sentence}"


def test_a_misspelt_import_names_what_is_near():
    with pytest.raises(ImportError, match=r"^cannot import name 'Dence' from 'fastnn.layers'; did you mean 'Dense'"):
        from fastnn.layers import Dence  # noqa: F401


def test_the_import_of_a_name_is_told_from_the_use_of_one_in_a_long_module():
    names = "\n".join(f"v{k} = {k}" for k in range(600))  # with 600 names, the number of a name takes two bytes of code
    with pytest.raises(ImportError, match="no convolutions here"):
        exec(f"{names}\nfrom fastnn.keras.layers import Conv2D", {})


@pytest.mark.parametrize("module", [fastnn, layers, fastnn.models], ids=lambda module: module.__name__)
def test_modules_answer_those_who_only_ask(module):
    assert not hasattr(module, "Conv2D")
    assert getattr(module, "Conv2D", None) is None
    assert not hasattr(module, "__wrapped__")
    assert dict(inspect.getmembers(module))["__name__"] == module.__name__
    assert importlib.import_module(module.__name__) is module


def test_the_error_crosses_processes():
    with pytest.raises(AttributeError) as raised:
        losses.mean_squared_error  # noqa: B018
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    assert raised.value.name == "mean_squared_error"


@pytest.mark.thread_unsafe(reason="starts processes of its own")
def test_python_adds_no_second_guess_to_the_sentence():
    result = subprocess.run(
        [sys.executable, "-c", "import fastnn; fastnn.Sequentail"], capture_output=True, text=True, check=False
    )
    assert result.stderr.lower().count("did you mean") == 1


# ---- objects ----

CLASS_AREAS = {
    "Sequential": model,
    "Layer": lambda: model().layers[0],
    "Optimizer": lambda: model().optimizer,
    "Loss": lambda: model().loss,
    "Metric": metrics.AUC,
}


@pytest.mark.parametrize("area", CLASS_AREAS)
def test_every_name_of_a_class_of_keras_is_there_or_explained(area):
    holder = CLASS_AREAS[area]()
    for name in NAMES[area]:
        if hasattr(holder, name):
            continue
        sentence = instead_of(area, name)
        assert sentence, name
        with pytest.raises(AttributeError) as raised:
            getattr(holder, name)
        assert str(raised.value) == f"{type(holder).__name__!r} object has no attribute {name!r}; {sentence}"


@pytest.mark.parametrize(
    ("area", "name", "sentence"),
    [
        ("Sequential", "fit_generator", "take fit (they take generators)"),
        ("Sequential", "predict_classes", "take predict (classes are predict(x).argmax(axis=1))"),
        ("Optimizer", "apply_gradients", "take fastnn.Sequential.apply_gradients "),
        ("layers", "Add", "take Residual (y = x + f(x), for f a stack of layers)"),
        ("keras", "Layer", "take fastnn.layers.Layer (in their packages)"),
        ("metrics", "Mean", "NumPy, over what predict gives"),
        ("utils", "plot_model", "take fastnn.Sequential.plot"),
        ("layers", "Dense", ""),
        ("no area", "Dense", ""),
    ],
)
def test_the_sentence_names_what_to_take(area, name, sentence):
    assert instead_of(area, name).startswith(sentence)
    assert bool(instead_of(area, name)) == bool(sentence)


def test_every_row_says_something():
    assert [row for rows in AREAS.values() for row in rows if row.instead == "—" and not row.note] == []


@pytest.mark.parametrize("unknown", ["decay", "lr", "momentun"])
def test_an_argument_and_an_attribute_of_an_optimizer_get_the_same_hint(unknown):
    with pytest.raises(TypeError) as argument:
        optimizers.SGD(**{unknown: 0.1})
    with pytest.raises(AttributeError) as attribute:
        setattr(optimizers.SGD(), unknown, 0.1)
    hint = str(argument.value).partition("; ")[2]
    assert hint == str(attribute.value).partition("; ")[2]
    assert "weight_decay" not in hint


@pytest.mark.parametrize("area", CLASS_AREAS)
def test_dir_of_an_object_has_no_name_that_is_not_there(area):
    holder = CLASS_AREAS[area]()
    assert [name for name in dir(holder) if not hasattr(holder, name)] == []
    assert "get_config" in dir(holder)


def test_dir_of_the_model_class_has_no_name_that_is_not_there():
    """An interactive shell completes names from dir() of an instance and of its class."""
    assert [name for name in dir(fastnn.Sequential) if not hasattr(fastnn.Sequential, name)] == []
    assert "fit" in dir(fastnn.Sequential)


def test_a_class_of_the_user_may_have_a_name_that_is_not_there():
    class Deep(fastnn.Sequential, abc.ABC):
        def call(self, x):
            return self.predict(x)

    deep = Deep([layers.Dense(1, input_shape=(2,))])
    deep.metrics = "mine"
    assert deep.call([[1.0, 2.0]]).shape == (1, 1)
    assert {"call", "metrics"} <= set(dir(deep))
    assert "call" in dir(Deep)
    assert "losses" not in dir(deep)


@pytest.mark.parametrize("holder", [model, lambda: optimizers.Adam(0.5), lambda: losses.Huber(2.0), callbacks.History])
def test_objects_are_copied_and_pickled(holder):
    assert repr(copy.deepcopy(holder())) == repr(pickle.loads(pickle.dumps(holder()))) == repr(holder())


def test_asking_for_a_name_costs_no_search(monkeypatch):
    searched = []
    monkeypatch.setattr(_public, "hint", lambda area, name, known: searched.append(name) or "a hint")
    assert not hasattr(layers.Dense(3), "losses")
    assert not hasattr(layers, "Conv2D")
    assert searched == []
    with pytest.raises(AttributeError, match="'Dense' object has no attribute 'losses'; a hint"):
        layers.Dense(3).losses  # noqa: B018


@pytest.mark.parametrize("name", ["variables", "trainable_variables", "non_trainable_variables"])
def test_variables_are_weights(name):
    built = model()
    built.layers[0].trainable = False
    for holder in (built, built.layers[0], built.layers[1]):
        weights = getattr(holder, name.replace("variables", "weights"))
        assert len(getattr(holder, name)) == len(weights)
        assert all(a is b or np.shares_memory(a, b) for a, b in zip(getattr(holder, name), weights, strict=True))


def test_shapes_of_a_model():
    assert (model().input_shape, model().output_shape) == ((None, 4), (None, 1))
    images = fastnn.Sequential([layers.Flatten(input_shape=(2, 3)), layers.Dense(1)])
    assert images.input_shape == (None, 2, 3)
    named = fastnn.Sequential(
        [
            layers.Branches({"a": [layers.Dense(2, input_shape=(3,))], "b": [layers.Dense(2, input_shape=(5,))]}),
            layers.Heads({"p": [layers.Dense(1)], "q": [layers.Dense(4)]}),
        ]
    )
    assert named.input_shape == {"a": (None, 3), "b": (None, 5)}
    assert named.output_shape == {"p": (None, 1), "q": (None, 4)}


@pytest.mark.parametrize("x", [np.ones((2, 4)), layers.Input((4,))], ids=["array", "Input"])
def test_a_layer_that_is_called_says_what_to_do(x):
    with pytest.raises(TypeError, match=r"^Dense is no function, .*Sequential\(\[\.\.\., Dense\(\.\.\.\)\]\)\(x\)"):
        layers.Dense(3)(x)


# ---- how objects show themselves ----

REGISTRIES = (
    "activations",
    "constraints",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "optimizers.schedules",
    "regularizers",
)
ARGUMENTS = {  # arguments that constructors require
    "Activation": ("relu",), "ParametricActivation": ("relu",), "Dense": (3,), "Embedding": (5, 2),
    "LinearEmbedding": (3,), "EnsembleDense": (3, 2), "EnsembleMean": (2,), "EnsembleScale": (2,),
    "Dropout": (0.5,), "AlphaDropout": (0.5,),
    "GaussianDropout": (0.5,), "GaussianNoise": (0.5,), "Rescaling": (2.0,), "Reshape": ((2, 2),),
    "Residual": ([layers.Dense(3)],), "Stack": ([layers.Dense(3)],),
    "Branches": ({"a": [layers.Dense(3)]},), "Heads": ({"a": [layers.Dense(3)]},),
    "InputLayer": ((4,),), "CategoryEncoding": (3,), "Discretization": ([1.0, 2.0],), "Quantile": ([0.1, 0.9],),
    "IoU": (2, [0]), "MeanIoU": (2,), "OneHotMeanIoU": (2,), "PrecisionAtRecall": (0.5,), "RecallAtPrecision": (0.5,),
    "SensitivityAtSpecificity": (0.5,), "SpecificityAtSensitivity": (0.5,), "ExponentialDecay": (0.1, 10, 0.5),
    "InverseTimeDecay": (0.1, 10, 0.5), "PiecewiseConstantDecay": ([5], [0.1, 0.01]), "PolynomialDecay": (0.1, 10),
    "CosineDecay": (0.1, 10), "CosineDecayRestarts": (0.1, 10), "OneCycle": (0.1, 10), "FlatCosine": (0.1,),
    "CosineLog": (0.1,), "CSVLogger": ("log.csv",),
    "ModelCheckpoint": ("m.fastnn",), "BackupAndRestore": ("backup",), "LearningRateScheduler": (lambda epoch: 0.1,),
}  # fmt: skip


def every_description():
    for path in REGISTRIES:
        for member in importlib.import_module(f"fastnn.{path}")._registry.members():
            kind = member if isinstance(member, type) else type(member)
            yield pytest.param(member, id=f"{path}.{getattr(member, 'name', None) or kind.__name__}")
    for name in callbacks.__all__:
        member = getattr(callbacks, name)
        if (
            isinstance(member, type)
            and issubclass(member, callbacks.Callback)
            and name not in ("TensorBoard", "MLflowLogger")
        ):
            yield pytest.param(member, id=f"callbacks.{name}")


@pytest.mark.parametrize("member", list(every_description()))
def test_every_description_says_what_it_is(member, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = repr(member(*copy.deepcopy(ARGUMENTS.get(member.__name__, ()))) if isinstance(member, type) else member)
    name = member.__name__ if isinstance(member, type) else member.name
    assert name.lower() in shown.lower().replace("_", "") or name in shown
    assert " object at 0x" not in shown.replace("<function <lambda> at 0x", "")
    assert len(shown) < 200


SHOWN = {
    "Dense(units=3, activation='relu', kernel_regularizer=L2())": lambda: layers.Dense(
        3, "relu", kernel_regularizer="l2"
    ),
    "HeNormal(seed=3)": lambda: fastnn.initializers.HeNormal(3),
    "Huber(delta=2.0)": lambda: losses.Huber(2.0),
    "Adam(learning_rate=0.1, clipnorm=1.0)": lambda: optimizers.Adam(0.1, clipnorm=1.0),
    "EarlyStopping(patience=3)": lambda: callbacks.EarlyStopping(patience=3),
    "<activation elu(alpha=0.5)>": lambda: fastnn.activations.ELU(0.5),
    "<activation relu>": lambda: fastnn.activations.relu,
    "<Residual: Dense(units=3, activation='linear')>": lambda: layers.Residual([layers.Dense(3)]),
    "<Sequential: 'sequential', 2 layers, 4 -> 1, 19 parameters>": model,
    "<Sequential: 'sequential', 0 layers, not built>": fastnn.Sequential,
    "<History: 0 epochs>": callbacks.History,
    "<Predictor: 4 -> 1, float32>": lambda: model().freeze(),
    "<Ensemble: 1 model>": lambda: fastnn.Ensemble([model()]),
}


@pytest.mark.parametrize("shown", SHOWN)
def test_reprs(shown):
    assert repr(SHOWN[shown]()) == shown


def test_a_history_shows_its_keys():
    history = model().fit(np.ones((4, 4)), np.ones(4), epochs=2, verbose=0)
    assert repr(history) == "<History: 2 epochs, loss>"


def test_configurations_make_equal_objects():
    for given in (losses.Huber(2.0), metrics.AUC(num_thresholds=5), fastnn.regularizers.l2(0.5), optimizers.Lion(0.5)):
        assert type(given).from_config(given.get_config()).get_config() == given.get_config()


@pytest.mark.parametrize("member", [member for member in every_description() if isinstance(member.values[0], type)])
def test_messages_of_python_name_the_class_that_was_called(member):
    if member is callbacks.LambdaCallback:
        pytest.skip("it has a sentence of its own")
    called = getattr(member, "loss_class", member)  # a metric passes its arguments on to its loss
    with pytest.raises(TypeError, match=rf"\b{called.__name__}\b"):
        member(*copy.deepcopy(ARGUMENTS.get(member.__name__, ())), no_such_argument=1)


@pytest.mark.parametrize("kind", [*layers._registry.members(), *optimizers._registry.members()])
def test_help_and_completion_show_what_a_class_shares_with_others(kind):
    parameters = inspect.signature(kind).parameters
    assert not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
    shared = {"name", "dtype"} if issubclass(kind, layers.Layer) else {"name"}
    assert shared <= {*parameters}
    assert ("activity_regularizer" in parameters) == (
        issubclass(kind, layers.Layer) and kind.takes_activity_regularizer and kind is not layers.ActivityRegularization
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: layers.Flatten(activity_regularizer="l2"),
            "Flatten has no argument 'activity_reg",
        ),
        (lambda: layers.Heads({"a": []}, input_shape=(3,)), "Heads has no argument 'input_shape'; known are"),
        (lambda: layers.Dropout(0.5, nam="a"), "Dropout has no argument 'nam'; did you mean 'name'"),
        (lambda: optimizers.AdamW(clipnorms=1.0), "AdamW has no argument 'clipnorms'; did you mean 'clipnorm'"),
    ],
)
def test_what_a_class_does_not_share_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_messages_of_python_name_sequential():
    for name in [name for name in dir(fastnn.Sequential) if not name.startswith("_")]:
        method = getattr(fastnn.Sequential, name, None)
        if inspect.isfunction(method) or inspect.ismethod(method):
            assert method.__qualname__ == f"Sequential.{name}"
    with pytest.raises(TypeError, match=r"^Sequential\.fit\(\) got an unexpected keyword argument 'nb_epoch'"):
        model().fit(np.ones((4, 4)), np.ones(4), nb_epoch=3)
