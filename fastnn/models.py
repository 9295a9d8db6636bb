"""Models from files, from descriptions and from other libraries."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastnn import _frozen, _stored, goals
from fastnn._draws import undrawn
from fastnn._foreign import owner_of
from fastnn._pruning import best_together, ends_of_members, part_of
from fastnn._public import publish
from fastnn._settings import flag
from fastnn.layers import Rescaling, serialize
from fastnn.layers.base import check_width
from fastnn.predictor import Predictor, _thaw
from fastnn.sequential import Sequential

__all__ = [
    "Sequential",
    "clone_model",
    "from_sklearn",
    "from_torch",
    "load_keras",
    "load_model",
    "load_onnx",
    "load_predictor",
    "load_torch",
    "load_transformers_head",
    "model_from_json",
    "prune_members",
    "save_model",
]


def model_from_json(json_string: str) -> Sequential:
    """Return a new model, with new weights, from what :meth:`Sequential.to_json` returned, or Keras's ``to_json``.

    Parameters
    ----------
    json_string : str

    Raises
    ------
    TypeError, ValueError
        When the text is no such description, or describes what fastnn cannot do.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
    >>> fastnn.models.model_from_json(model.to_json()).count_params()
    3
    """
    if not isinstance(json_string, (str, bytes)):
        raise TypeError(f"json_string must be a string, as to_json gives it, got {type(json_string).__name__}")
    described = json.loads(json_string)
    name = described.get("class_name") if isinstance(described, dict) else None
    if name != "Sequential":
        raise ValueError(f"json_string must describe a Sequential, as to_json gives it, got {name or described!r:.60}")
    return Sequential.from_config(described.get("config"))


def clone_model(model: Sequential) -> Sequential:
    """Return a new model of the same layers, with weights of its own, not compiled.

    Parameters
    ----------
    model : Sequential

    Returns
    -------
    Sequential

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
    >>> fastnn.clone_model(model).count_params()
    3
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model must be a Sequential model, got {type(model).__name__}")
    clone = Sequential.from_config(model.get_config())
    if model._engine is not None and not clone.built:
        clone.build((None, model._engine.plan.inputs))
    return clone


def prune_members(model: Sequential, x: Any, y: Any, members: int | None = None) -> Sequential:
    """Return a new model of some of the members of an ensemble that shares its weights: those that do best together.

    The members are chosen one after the other: each time the one with which the mean of the members chosen so far has
    the least loss (Gorishniy, Kotelnikov and Babenko, TabM, 2024, whose appendix prunes so).

    Parameters
    ----------
    model : Sequential
        Compiled and trained; an :class:`EnsembleScale` begins its ensemble, and an :class:`EnsembleMean` ends it.
    x, y : array-like
        Rows to judge by, which the model was not trained on.
    members : int, optional
        How many members stay; default: as many as lower the loss.

    Returns
    -------
    Sequential
        Not compiled, as :func:`clone_model` returns it.

    Raises
    ------
    TypeError, ValueError
        When the model is no such ensemble, or has weights between its ends that are of no layer of ensembles.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import layers
    >>> stack = [layers.EnsembleScale(8), layers.EnsembleDense(1, 8, sharing="none"), layers.EnsembleMean(8)]
    >>> model = fastnn.Sequential([fastnn.Input((2,)), *stack])
    >>> model.compile("adam", "mse")
    >>> fastnn.models.prune_members(model, [[1.0, 2.0], [0.0, 1.0]], [1.0, 3.0], members=3).layers[1].members
    3
    """
    first, last = ends_of_members(model)
    config, inputs = model.get_config(), model._need_engine("prune_members").plan.inputs
    count = config["layers"][last]["config"]["members"]
    most = count if members is None else check_width("members", members)
    if most > count:
        raise ValueError(f"members must be at most {count}, as many as the model has, got {members}")
    before = part_of(config["layers"][:last], inputs)
    for own, layer in zip(before.layers, model.layers, strict=False):
        own.set_weights(layer.get_weights())
    outputs = before.predict(x, verbose=0)
    each = outputs.reshape(len(outputs), count, -1)
    judge = part_of(config["layers"][last + 1 :] or [serialize(Rescaling(1.0))], each.shape[2])
    judge.compile("sgd", model.loss)
    chosen = best_together(
        each, most, lambda mean: float(judge.evaluate(mean, y, verbose=0)), exact=members is not None
    )
    for described in config["layers"][first : last + 1]:
        if "members" in described["config"]:
            described["config"]["members"] = len(chosen)
    pruned = part_of(config["layers"], inputs)
    for own, layer in zip(pruned.layers, model.layers, strict=True):
        own.set_weights(layer.weights_of(chosen) if hasattr(layer, "weights_of") else layer.get_weights())
    pruned.feature_names = model.feature_names
    return pruned


def save_model(model: Sequential, filepath: str | os.PathLike[str], training: bool = True) -> None:
    """Write a model to one file: configuration, weights and optimizer state, so that training resumes exactly.

    Parameters
    ----------
    model : Sequential
    filepath : path-like
        By convention ``*.fastnn``. A file that exists is replaced only once the new one is whole and on the disk.
    training : bool, default True
        Whether to write what :meth:`fastnn.Sequential.compile` was told, and the state of the optimizer.

    Raises
    ------
    ValueError
        When the name is one of another format, as ``model.keras``: the file would not be what its name says.
    OSError
        When the file cannot be written; an existing one is as it was.
    ValueError
        When no model could be made of the file, as with a layer whose class is the user's.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> fastnn.saving.save_model(model, "model.fastnn")
    """
    _stored.save(model, filepath, training)


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,  # noqa: A002  # Keras's name
) -> Sequential:
    """Return the model of a file: one that :meth:`fastnn.Sequential.save` wrote, or one of another program.

    Whose file it is, its content says, not its name. Keras's are read by :func:`load_keras`, ONNX's by
    :func:`load_onnx`, weights of PyTorch by :func:`load_torch`.

    Parameters
    ----------
    filepath : path-like
    custom_objects : dict, optional
        The Python functions and the classes that were losses or metrics of the model, by their names: a file holds none
        of their code.
    compile : bool, default True
        Whether to compile the model as it was and to read the state of its optimizer.

    Returns
    -------
    Sequential
        A compiled model if the saved one was; further training gives the bits that uninterrupted training would have
        given.

    Raises
    ------
    ModelFileError
        When the bytes are not a whole, unchanged model, whatever they are; or when `custom_objects` lacks a function
        that the file names; or when fastnn cannot do what a file of another program describes.
    OSError
        When the file cannot be read.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.save("model.fastnn")
    >>> fastnn.load_model("model.fastnn").count_params()
    3
    """
    objects = _checked_objects(custom_objects)
    read = _READERS.get(owner_of(filepath))
    if read is not None:
        return read(filepath, custom_objects=objects, compile=compile)

    def compiled(config: dict[str, Any]) -> dict[str, Any]:
        return goals.with_objects(config, objects)

    return _stored.load(filepath, Sequential, compiled if compile else None)


def load_predictor(filepath: str | os.PathLike[str]) -> Predictor:
    """Return the frozen network of a file that :meth:`fastnn.Predictor.save` wrote; its answers have the same bits.

    Parameters
    ----------
    filepath : path-like

    Returns
    -------
    Predictor

    Raises
    ------
    ModelFileError
        When the bytes are no whole, unchanged frozen network, whatever they are.
    OSError
        When the file cannot be read.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)]).freeze().save("network.fnn")
    >>> fastnn.load_predictor("network.fnn")
    <Predictor: 2 -> 1, float32>
    """
    return _thaw(*_frozen.load(filepath))


def _checked_objects(custom_objects: Any) -> Mapping[str, Any]:
    objects = {} if custom_objects is None else custom_objects
    if not isinstance(objects, Mapping) or not all(isinstance(name, str) for name in objects):
        raise TypeError(f"custom_objects must be a dict of name to function or class, got {custom_objects!r}")
    return objects


def load_keras(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,  # noqa: A002  # Keras's name
) -> Sequential:
    """Return the model of a file of Keras 3, Keras 2 or tf.keras: ``.keras`` or ``.h5``; Keras itself is not needed.

    A graph of layers becomes a stack with :class:`fastnn.layers.Branches`, :class:`fastnn.layers.Residual` and
    :class:`fastnn.layers.Heads`, where these can say it. The outputs are Keras's to float32's rounding, and training
    goes on with the optimizer's next step. Nothing in the file is run.

    Parameters
    ----------
    filepath : path-like
        A file of ``model.save``, recognized by its content. (:meth:`Sequential.load_weights` reads those of
        ``model.save_weights``.)
    custom_objects : dict, optional
        The Python functions and the classes that were losses or metrics of the model, by their names: a file holds none
        of their code. A loss here returns its gradient too, see :class:`fastnn.losses.FunctionLoss`.
    compile : bool, default True
        Whether to compile the model as it was, and to read the state of its optimizer where the file has it.

    Returns
    -------
    Sequential

    Raises
    ------
    ModelFileError
        When the file is damaged or something else; or when fastnn cannot do what it describes: the message names the
        layer, the loss, the metric or the optimizer, and why.
    OSError
        When the file cannot be read.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.export_keras("model.keras")
    >>> fastnn.load_keras("model.keras").count_params()
    3
    """
    from fastnn.exchange import _keras_files

    return _keras_files.load(filepath, Sequential, _checked_objects(custom_objects) if compile else None)


def load_onnx(filepath: str | os.PathLike[str], output: str | Sequence[str] | None = None) -> Sequential:
    """Return the network of an ONNX file, with its weights: dense graphs as PyTorch, Keras and scikit-learn write them.

    Parameters
    ----------
    filepath : path-like
        An ONNX file of opset 7 to 28. Numbers that lie beside it are read from its own folder alone.
    output : str or list of str, optional
        The names of the outputs that are wanted; more than one become :class:`fastnn.layers.Heads` of these names.
        Default: all but those that hold labels of classes, so that of a classifier the probabilities are taken.

    Returns
    -------
    Sequential
        A model that is not compiled, of element type float64 where the graph's matrices or inputs are, else float32.
        Several inputs are branches, by their names; several outputs are heads.

    Raises
    ------
    ModelFileError
        When the bytes are no whole ONNX model; or when a node computes what no layer does: the message names the node,
        its operator and why.
    OSError
        When the file cannot be read.

    Notes
    -----
    The onnx package is not needed. Activations and normalizations that an exporter has written as arithmetic are found
    by their formulas. Outputs have one axis besides that of the rows: an output of shape (rows,) becomes a column.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(3, "gelu")])
    >>> model.export_onnx("network.onnx")
    >>> fastnn.load_onnx("network.onnx")
    <Sequential: 'sequential', 2 layers, 2 -> 3, 9 parameters>
    """
    from fastnn.exchange import _onnx

    return _onnx.load(filepath, _made_of, output)


def from_sklearn(estimator: Any) -> Sequential:
    """Return the network of a fitted multilayer perceptron of scikit-learn, with the preprocessing before it.

    Parameters
    ----------
    estimator : object
        A fitted MLPClassifier or MLPRegressor of scikit-learn, or a Pipeline that ends in one. Before it may stand
        StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, SimpleImputer, OneHotEncoder, OrdinalEncoder,
        TargetEncoder, and at the start a ColumnTransformer of these. The estimators of :mod:`fastnn.sklearn`, which may
        take the perceptron's place, hold a model: this is a copy of it. Of a search, its ``best_estimator_`` counts; of
        a TransformedTargetRegressor its regressor and, as its transformer, one of the scalers.

    Returns
    -------
    Sequential
        A model of the estimator's element type (float64, unless it was fitted to float32) that is not compiled. It
        takes the rows that the pipeline takes; of a ColumnTransformer that was fitted to a data frame, a frame or a
        dict of columns. It gives what ``predict_proba`` gives, in the order of ``classes_``, or ``predict``, in shape
        (rows, outputs). For two classes that is one column: the probability of ``classes_[1]``.

    Raises
    ------
    TypeError, ValueError
        When the object is none of these, is not fitted, or holds a step that no layer does; the sentence names it.

    Notes
    -----
    Where an encoder raises for a value that it does not know (``handle_unknown="error"``), all of the row's outputs are
    NaN. scikit-learn need not be installed where the model is used.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import fastnn
    >>> pipeline = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(2,), solver="lbfgs"))
    >>> fitted = pipeline.fit([[0.0], [9.0]], [1.0, 2.0])
    >>> fastnn.from_sklearn(fitted).predict([[4.0], [5.0]]).shape
    (2, 1)
    """
    from fastnn.exchange import _scikit_learn

    found = _scikit_learn.read(estimator)
    return copy.deepcopy(found) if isinstance(found, Sequential) else _made_of(found)


def from_torch(module: Any, input_shape: Any = None) -> Sequential:
    """Return a model of a module of PyTorch, with its weights.

    Parameters
    ----------
    module : torch.nn.Module
        A ``nn.Sequential``, or a module whose ``forward`` runs its children one after the other, with functions such as
        ``relu``, ``flatten`` or ``dropout`` between them, and sums x + f(x). Known are Linear, BatchNorm1d, LayerNorm,
        RMSNorm, Embedding, PReLU, Dropout, AlphaDropout, Flatten, Unflatten, Identity, GLU and the activations that
        both have. The module stays as it is.
    input_shape : tuple of int, optional
        The shape of a row, which is needed where no child says how many features it reads, or where a row has several
        axes.

    Returns
    -------
    Sequential
        A model in evaluation's numbers, not compiled; of element type float64 where all parameters are, else float32.

    Raises
    ------
    TypeError
        When the object is no module.
    ValueError
        When a child has no twin here, or the module answers something else on random rows than its children do one
        after the other; the sentence names what differs.

    Notes
    -----
    Kernels are transposed, and ``momentum`` of a BatchNorm1d becomes 1 - momentum, as Keras counts it. In training,
    BatchNorm1d keeps the unbiased variance of batches and BatchNormalization the biased one. A PReLU of one slope gets
    one for each feature, and the row `padding_idx` of an Embedding is trained as any other.

    Examples
    --------
    >>> import fastnn
    >>> from torch import nn  # doctest: +SKIP
    >>> fastnn.from_torch(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)))  # doctest: +SKIP
    <Sequential: 'sequential', 2 layers, 4 -> 1, 49 parameters>
    """
    from fastnn.exchange import _torch

    found = _torch.read(module, input_shape)
    model = _made_of(found)
    _torch.check(module, model.predict, found)
    return model


def load_torch(
    path: str | os.PathLike[str],
    model: Sequential | None = None,
    activation: Any = None,
    output_activation: Any = None,
) -> Sequential:
    """Return a model with the weights of a PyTorch ``state_dict`` in a file.

    Parameters
    ----------
    path : path-like
        A file of safetensors, which is read without PyTorch; or one of ``torch.save``, of any version, which is read by
        ``torch.load(weights_only=True)`` where PyTorch is installed. Weights of 16 bits become float32.
    model : Sequential, optional
        A built model of the same layers, which gets the weights. Modules belong to layers by their names where all
        names are those of layers (``encoder.fc1`` is that of ``encoder_fc1`` too), else by their shapes, and several of
        one shape in their order. Default: linear layers one after the other, as the shapes say.
    activation, output_activation : str, ActivationFunction or config, optional
        Without a model: what follows each linear layer but the last one, and the last one. A file does not say.

    Returns
    -------
    Sequential
        The model given, or a new one that is not compiled.

    Raises
    ------
    ModelFileError
        When the file is damaged or none of these.
    ValueError
        When tensors and layers do not belong to each other, or in more than one way; the model is as it was.
    ImportError
        When the file is one of ``torch.save``, and PyTorch is not installed.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(8, "relu"), fastnn.layers.Dense(1)])
    >>> text = model.export_torch("net.safetensors")
    >>> fastnn.load_torch("net.safetensors", activation="relu").count_params()
    49
    """
    from fastnn.exchange import _state_dict

    state = _state_dict.State(path)
    if model is None:
        return _made_of(_state_dict.derived(state, activation, output_activation))
    if not isinstance(model, Sequential):
        raise TypeError(f"model must be a Sequential, got {type(model).__name__}")
    if activation is not None or output_activation is not None:
        raise ValueError("activation and output_activation are those of a new model: give them or model, not both")
    model._need_engine("load_torch")
    model.set_weights(_state_dict.arrays_for(state, model.layers))
    return model


def load_transformers_head(
    path: str | os.PathLike[str],
    activation: Any = None,
    output_activation: Any = None,
    pooler: bool = False,
) -> tuple[Sequential, tuple[str, ...] | None]:
    """Return the classification head of a checkpoint of Hugging Face transformers, and the names of its labels.

    The head is what ``AutoModelForSequenceClassification`` puts on an encoder: it takes rows of hidden states or
    sentence embeddings, and gives logits. Nothing but its tensors is read of a checkpoint of any size.

    Parameters
    ----------
    path : path-like
        The folder that ``save_pretrained`` has written, or its file of safetensors. Heads are known by the names of
        BERT, ALBERT and DeBERTa (``classifier``), RoBERTa and ELECTRA (``classifier.dense``, ``classifier.out_proj``),
        DistilBERT (``pre_classifier``, ``classifier``), BART (``classification_head``), GPT-2 and Llama (``score``).
    activation : str, ActivationFunction or config, optional
        What lies between the two layers of a head. Default: that of the kind of model which ``config.json`` names.
    output_activation : str, ActivationFunction or config, optional
        What follows, as ``"softmax"`` or, for labels that do not exclude each other, ``"sigmoid"``. Default: logits.
    pooler : bool, default False
        Whether the encoder's pooler, a dense layer with tanh (DeBERTa: with gelu, or as ``config.json`` says), comes
        first: BERT's head takes what that gives, and with it the hidden state of the first token.

    Returns
    -------
    model : Sequential
        Not compiled; of float32, unless the tensors are float64.
    labels : tuple of str, or None
        The labels in the order of the outputs, ``id2label`` of the ``config.json`` beside the file; None without one.

    Raises
    ------
    ModelFileError
        When a file is damaged, or holds no such head.
    ValueError
        When the activation is not known, or there is no pooler.
    OSError
        When the file cannot be read.

    Examples
    --------
    >>> import fastnn
    >>> try:
    ...     head, labels = fastnn.load_transformers_head("checkpoint", output_activation="softmax")
    ... except FileNotFoundError:
    ...     print("there is no such folder")
    there is no such folder
    """
    from fastnn.exchange import _transformers

    found, labels = _transformers.read(path, activation, output_activation, flag("pooler", pooler))
    return _made_of(found), labels


def _made_of(found: Any) -> Sequential:
    """Return a model of what a reader of :mod:`fastnn.exchange` has found."""
    with undrawn():
        model = Sequential(found.layers)
    found.fill()
    if found.feature_names is not None:
        model.feature_names = found.feature_names
    return model


def _load_onnx(filepath: str | os.PathLike[str], **of_training: Any) -> Sequential:
    """Return the network of an ONNX file, which holds nothing of a training."""
    return load_onnx(filepath)


def _load_torch(filepath: str | os.PathLike[str], **of_training: Any) -> Sequential:
    """Return the linear layers of a file of weights, which holds nothing of a training."""
    return load_torch(filepath)


# who reads the files of other programs, by whose they are: each takes what load_model takes
_READERS: dict[str, Callable[..., Sequential]] = {
    "Keras": load_keras,
    "ONNX": _load_onnx,
    "PyTorch": _load_torch,
    "safetensors": _load_torch,
}


publish(__name__, __all__)
