"""Estimators around a function that builds any network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, check_X_y
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from fastnn import layers, losses
from fastnn._registry import nearest_names
from fastnn._seeds import seeds_from
from fastnn.callbacks import Callback
from fastnn.data import arrays, frames
from fastnn.models import Sequential
from fastnn.sklearn._estimator import NetworkClassifier, NetworkEstimator, NetworkRegressor
from fastnn.sklearn._plain import FLOATS, TEXT_IN_X, check_kind
from fastnn.sklearn._targets import ManyClasses, SeveralTargets, Targets, TwoClasses, link_of
from fastnn.sklearn._task import Task

Array = npt.NDArray[Any]
GIVEN = ("inputs", "outputs", "columns", "dtype", "x")  # what a builder is told, if it has parameters of these names


def one_hidden_layer(inputs: int, outputs: int, activation: str, dtype: str) -> Sequential:
    """Return a network with a hidden layer of 100 units: what the estimators build where they are given no function."""
    return Sequential(
        [
            layers.Input((inputs,), dtype=dtype),
            layers.Dense(100, "relu"),
            layers.Dense(outputs, activation),
        ]
    )


def _takes_names(model: Sequential) -> bool:
    """Return whether the network reads columns by their names."""
    return any(isinstance(layer, layers.Branches) for layer in model.layers)


def _features(x: Any) -> int:
    """Return the number of columns."""
    return len(frames.column_names(x)) if frames.has_names(x) else int(x.shape[1])


def _last_activation(stack: Sequence[Any]) -> str:
    """Return the name of the activation of the last of some layers that has one."""
    for layer in reversed(stack):
        if isinstance(layer, layers.Softmax):
            return "softmax"
        inner = getattr(layer, "layers", None)
        if inner:
            return _last_activation(inner)
        if hasattr(layer, "activation"):
            return str(layer.activation.name)
    return "linear"


class SequentialEstimator(NetworkEstimator):
    """The base of SequentialClassifier and SequentialRegressor."""

    build: Callable[..., Sequential] | None
    optimizer: Any
    loss: Any
    batch_size: int | str
    epochs: int
    validation_split: float
    verbose: int
    warm_start: bool

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012  # scikit-learn reads it from the class
        "build": [callable, None],
        "optimizer": [str, HasMethods("get_config"), None],
        "loss": [str, callable, HasMethods("get_config"), None],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "validation_split": [Interval(Real, 0, 1, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "callbacks": [Callback, list, tuple, None],
        "match_columns": ["boolean"],
        "num_threads": [Interval(Integral, 1, 256, closed="both"), None],
    }

    # ---- the function's arguments, which are the estimator's too ----

    def _take_builder_arguments(self, given: dict[str, Any]) -> None:
        """Keep arguments of the function, each as an attribute; ``fit`` looks whether the function has them."""
        for name, value in given.items():
            setattr(self, name, value)

    def _builder_parameters(self) -> dict[str, inspect.Parameter]:
        """Return the parameters of the function that only the user can give."""
        if not callable(self.build):
            return {}
        parameters = inspect.signature(self.build).parameters
        own = (*GIVEN, *self._get_param_names())
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {name: one for name, one in parameters.items() if one.kind in named and name not in own}

    def _builder_arguments(self) -> dict[str, Any]:
        """Return the arguments of the function: its defaults, and those that were given."""
        parameters = self._builder_parameters()
        missing = inspect.Parameter.empty
        defaults = {name: one.default for name, one in parameters.items() if one.default is not missing}
        own = self._get_param_names()
        given = {
            name: value
            for name, value in vars(self).items()
            if name not in own and not name.startswith("_") and not name.endswith("_")
        }
        return defaults | given

    def _check_builder_arguments(self) -> None:
        """Raise TypeError for an argument that neither the estimator nor its function has."""
        known = self._builder_parameters()
        for name in self._builder_arguments():
            if name not in known:
                nearest = nearest_names(name, [*known, *self._get_param_names()])
                raise TypeError(f"{type(self).__name__} and its function have no argument {name!r}; {nearest}")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the estimator's arguments and those of its function.

        Parameters
        ----------
        deep : bool, default True
            Whether the arguments of arguments that are estimators are returned too.
        """
        return dict(super().get_params(deep)) | self._builder_arguments()

    def set_params(self, **params: Any) -> Any:
        """Set arguments of the estimator and of its function.

        Parameters
        ----------
        **params
            Arguments by name.

        Returns
        -------
        estimator
            The estimator itself.
        """
        if "build" in params:  # the other arguments may be those of the new function
            super().set_params(build=params.pop("build"))
        for name in [name for name in params if name in self._builder_parameters()]:
            setattr(self, name, params.pop(name))
        super().set_params(**params)
        return self

    # ---- the network ----

    def _build(self, x: Any, targets: Targets, dtype: str, random: np.random.RandomState) -> tuple[Sequential, Targets]:
        self._check_builder_arguments()
        with seeds_from(int(random.randint(2**31 - 1))):
            model = self._built(x, targets, dtype)
            if not isinstance(model, Sequential):
                raise TypeError(f"build must return a Sequential, got {type(model).__name__}")
            if not model.built and not _takes_names(model):
                model.build((None, _features(x)))
        targets = self._targets_for(model, targets)
        self._compile(model, targets)
        return model, targets

    def _targets_for(self, model: Sequential, targets: Targets) -> Targets:
        """Return what y is to this network; raise where the network has not the outputs for it."""
        width = model.output_shape[-1] if model.built and not targets.names else targets.outputs
        if width != targets.outputs:
            raise ValueError(f"build must return a network of {targets.outputs} outputs for this y, got {width}")
        return targets

    def _built(self, x: Any, targets: Targets, dtype: str) -> Any:
        """Return what the function builds."""
        inputs = _features(x)
        if self.build is None:
            link = "" if self.loss is None else link_of(losses.get(self.loss))
            return one_hidden_layer(inputs, targets.outputs, "linear" if link else targets.activation, dtype)
        columns = frames.column_names(x) if frames.has_names(x) else None
        told = {"inputs": inputs, "outputs": targets.outputs, "columns": columns, "dtype": dtype, "x": x}
        own = self.get_params(deep=False)
        parameters = inspect.signature(self.build).parameters
        return self.build(**{name: (told | own)[name] for name in parameters if name in told | own})

    def _compile(self, model: Sequential, targets: Targets) -> None:
        """Compile the network, as far as the function has not done so."""
        compiled = model.optimizer is not None
        if compiled and not (self.optimizer is None and self.loss is None):
            raise ValueError("build compiles the network: loss and optimizer must be None")
        if not compiled:
            model.compile("adam" if self.optimizer is None else self.optimizer, self._fitting_loss(model, targets))

    def _fitting_loss(self, model: Sequential, targets: Targets) -> Any:
        """Return the loss that was given, or the one that fits the network's last activation."""
        raise NotImplementedError

    # ---- X, which may be a frame that the network reads by column ----

    def _read(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Array]:  # noqa: N803
        by_name = frames.has_names(X) if reset else frames.has_names(X) and _takes_names(self.model_)
        if not by_name or y is None:
            return super()._read(X, y, reset=reset)
        x = self._named(X, reset=reset)
        rows = np.zeros((len(next(iter(x.values()))) if isinstance(x, dict) else len(x), 1))
        numeric = isinstance(self, RegressorMixin)
        check_kind(y, "y", "" if numeric else None)
        _, y = check_X_y(rows, y, multi_output=True, y_numeric=numeric, estimator=self)
        return x, y

    def _named(self, X: Any, *, reset: bool) -> Any:  # noqa: N803
        """Return a frame or a dict of arrays as it is, once its columns are those of ``fit``."""
        return self._in_order_of_fit(X, reset=reset) if frames.is_frame(X) else X

    def _read_rows(self, X: Any) -> Any:  # noqa: N803
        check_is_fitted(self)
        if frames.has_names(X) and _takes_names(self.model_):
            return self._named(X, reset=False)
        return super()._read_rows(X)

    # ---- training ----

    def _plan(self, task: Task, random: np.random.RandomState, *, incremental: bool) -> None:
        if frames.is_frame(task.x) and not _takes_names(task.model):
            task.x = check_array(
                frames.real_array(task.x, "X", TEXT_IN_X), dtype=FLOATS, estimator=self, input_name="X"
            )
        rows = len(task.y)
        task.batch_size = min(200, rows) if isinstance(self.batch_size, str) else self.batch_size
        task.epochs = 1 if incremental else self.epochs
        task.callbacks = self._own_callbacks()
        task.options = {"verbose": int(self.verbose), "validation_split": float(self.validation_split)}
        if task.held is not None:
            task.options["validation_data"] = task.validation()
        elif self.validation_split:
            task.rows = np.arange(arrays.split_at(rows, self.validation_split))

    def _finish(self, task: Task) -> None:
        self.history_ = dict(task.model.history.history) if task.model.history else {}

    @property
    def n_iter_(self) -> int:
        """The number of epochs of the last call."""
        check_is_fitted(self)
        return len(self.history_["loss"])


def _loss_of(targets: Targets, activation: str) -> Any:
    """Return the crossentropy that fits outputs of this activation."""
    logits = activation == "linear"
    if isinstance(targets, ManyClasses) and activation in ("softmax", "linear"):
        return losses.SparseCategoricalCrossentropy(from_logits=logits)
    if activation in ("sigmoid", "linear"):
        return losses.BinaryCrossentropy(from_logits=logits)
    raise ValueError(f"loss must be given for a network whose last activation is {activation!r}")


class SequentialClassifier(NetworkClassifier, SequentialEstimator):
    """A network of any layers, which a function builds, as a classifier of scikit-learn.

    Parameters
    ----------
    build : callable, optional
        Returns a Sequential, compiled or not. It is told, by the names of its parameters, what it asks for: `inputs`
        (the number of columns), `outputs` (the number of outputs that y needs), `columns` (a frame's names, or None),
        `dtype` (that of X), `x` (the rows, for a layer's ``adapt``), and any argument of the estimator. Its other
        parameters are arguments of the estimator, as in ``SequentialClassifier(build, units=32)``, and take part in
        searches. Default: one hidden layer of 100 units.
    optimizer : str or Optimizer, optional
        Default: "adam". Must be None, as must `loss`, where the function compiles the network.
    loss : str or Loss, optional
        Default: the crossentropy that fits the last activation, of logits where that is linear.
    batch_size : int or "auto", default "auto"
        The rows of a batch; "auto" is 200, or all rows where they are fewer.
    epochs : int, default 100
    shuffle : bool, default True
    validation_split : float, default 0
        This share of the last rows is held back and evaluated after each epoch.
    callbacks : Callback or sequence of Callback, optional
        Callbacks of :mod:`fastnn.callbacks`, which the network's training calls. They are copied first.
    verbose : int, default 0
        As for :meth:`fastnn.Sequential.fit`.
    warm_start : bool, default False
        Whether ``fit`` goes on from the last call's weights and the optimizer's state.
    random_state : int, RandomState or None
        What weights, orders of rows and noise are drawn from.
    match_columns : bool, default True
        Whether a later frame's columns may have another order than those of ``fit``, and are matched by name; False
        raises scikit-learn's sentence.
    num_threads : int, optional
        The most threads of the engine, in the whole process, while a method runs. Default: as many as before.
    class_weight : dict of class to float, "balanced", or list of such, optional
        What the rows of a class weigh.
    **arguments
        Arguments of the function.

    Attributes
    ----------
    model_ : Sequential
        The network.
    history_ : dict of list
        The logs of each epoch, as of :meth:`fastnn.Sequential.fit`.
    n_iter_ : int
        The number of epochs of the last call.
    callbacks_ : list of Callback
        The copies of `callbacks` that the last training called; a pickle does not have them.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    classes_ : ndarray, or list of ndarray
        The classes; a list for several targets of several classes.

    Notes
    -----
    A network that begins with :class:`fastnn.layers.Branches` gets a frame, or a dict of arrays, as it is, with its
    text and its categories; other networks get numbers.
    For two classes the network may have one output or two; for several targets of several classes it ends in
    :class:`fastnn.layers.Heads`, a head for each column of y, in their order.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn.sklearn import SequentialClassifier
    >>> def build(inputs, outputs, units=8):
    ...     return fastnn.Sequential([fastnn.Input((inputs,)), fastnn.layers.Dense(units, "relu"),
    ...                               fastnn.layers.Dense(outputs)])
    >>> SequentialClassifier(build, units=16, epochs=5).fit([[0.0], [1.0]] * 9, ["no", "yes"] * 9).classes_
    array(['no', 'yes'], dtype='<U3')
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        **SequentialEstimator._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        build: Callable[..., Sequential] | None = None,
        *,
        optimizer: Any = None,
        loss: Any = None,
        batch_size: int | str = "auto",
        epochs: int = 100,
        shuffle: bool = True,
        validation_split: float = 0.0,
        callbacks: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        random_state: Any = None,
        match_columns: bool = True,
        num_threads: int | None = None,
        class_weight: Any = None,
        **arguments: Any,
    ) -> None:
        self._take_arguments(locals())
        self._take_builder_arguments(arguments)

    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        validation_data: Any = None,
        *,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> SequentialClassifier:
        """Build the network and train it.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features), or dict of arrays
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Rows that are evaluated after each epoch.
        X_val, y_val, sample_weight_val : array-like, optional
            The same rows as arguments of their own, so that a Pipeline with ``transform_input=["X_val"]`` transforms
            them.

        Returns
        -------
        SequentialClassifier
            The estimator itself.
        """
        apart = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        return self._fit(X, y, sample_weight, validation_data, **apart)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> SequentialClassifier:  # noqa: N803
        """Train for one epoch, going on from the last call.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features), or dict of arrays
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional
        classes : array-like, shape (classes,), or list of such for several targets
            All labels of all calls; needed in the first call.

        Returns
        -------
        SequentialClassifier
            The estimator itself.
        """
        self._first_classes(classes)
        return self._fit(X, y, sample_weight, classes=classes, incremental=True)

    def _targets_for(self, model: Sequential, targets: Targets) -> Targets:
        heads = [layer for layer in model.layers if isinstance(layer, layers.Heads)]
        if isinstance(targets, SeveralTargets):
            names = list(heads[0].outputs) if heads else []
            if len(names) != len(targets.columns):
                count = len(targets.columns)
                raise ValueError(f"build must return a network of {count} heads for this y, got {len(names)}")
            return targets.under(names)
        if isinstance(targets, TwoClasses) and model.built and model.output_shape[-1] == 2:
            return ManyClasses(targets.classes)
        return super()._targets_for(model, targets)

    def _fitting_loss(self, model: Sequential, targets: Targets) -> Any:
        if self.loss is not None:
            return targets.loss(self.loss)
        if not isinstance(targets, SeveralTargets):
            return _loss_of(targets, _last_activation(model.layers))
        heads = next(layer for layer in model.layers if isinstance(layer, layers.Heads))
        each = zip(heads.outputs, targets.columns, heads.layers, strict=True)
        return {name: _loss_of(one, _last_activation([stack])) for name, one, stack in each}


class SequentialRegressor(NetworkRegressor, SequentialEstimator):
    """A network of any layers, which a function builds, as a regressor of scikit-learn.

    Parameters
    ----------
    build : callable, optional
        Returns a Sequential, compiled or not. It is told, by the names of its parameters, what it asks for: `inputs`
        (the number of columns), `outputs` (the number of outputs that y needs), `columns` (a frame's names, or None),
        `dtype` (that of X), `x` (the rows, for a layer's ``adapt``), and any argument of the estimator. Its other
        parameters are arguments of the estimator, as in ``SequentialRegressor(build, units=32)``, and take part in
        searches. Default: one hidden layer of 100 units.
    optimizer : str or Optimizer, optional
        Default: "adam". Must be None, as must `loss`, where the function compiles the network.
    loss : str or Loss, optional
        Default: the mean squared error.
    batch_size : int or "auto", default "auto"
        The rows of a batch; "auto" is 200, or all rows where they are fewer.
    epochs : int, default 100
    shuffle : bool, default True
    validation_split : float, default 0
        This share of the last rows is held back and evaluated after each epoch.
    callbacks : Callback or sequence of Callback, optional
        Callbacks of :mod:`fastnn.callbacks`, which the network's training calls. They are copied first.
    verbose : int, default 0
        As for :meth:`fastnn.Sequential.fit`.
    warm_start : bool, default False
        Whether ``fit`` goes on from the last call's weights and the optimizer's state.
    random_state : int, RandomState or None
        What weights, orders of rows and noise are drawn from.
    match_columns : bool, default True
        Whether a later frame's columns may have another order than those of ``fit``, and are matched by name; False
        raises scikit-learn's sentence.
    num_threads : int, optional
        The most threads of the engine, in the whole process, while a method runs. Default: as many as before.
    **arguments
        Arguments of the function.

    Attributes
    ----------
    model_ : Sequential
        The network.
    history_ : dict of list
        The logs of each epoch, as of :meth:`fastnn.Sequential.fit`.
    n_iter_ : int
        The number of epochs of the last call.
    callbacks_ : list of Callback
        The copies of `callbacks` that the last training called; a pickle does not have them.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    A network that begins with :class:`fastnn.layers.Branches` gets a frame, or a dict of arrays, as it is, with its
    text and its categories; other networks get numbers.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn.sklearn import SequentialRegressor
    >>> def build(inputs, outputs, units=8):
    ...     return fastnn.Sequential([fastnn.Input((inputs,)), fastnn.layers.Dense(units, "relu"),
    ...                               fastnn.layers.Dense(outputs)])
    >>> SequentialRegressor(build, units=16, epochs=5).get_params()["units"]
    16
    """

    def __init__(
        self,
        build: Callable[..., Sequential] | None = None,
        *,
        optimizer: Any = None,
        loss: Any = None,
        batch_size: int | str = "auto",
        epochs: int = 100,
        shuffle: bool = True,
        validation_split: float = 0.0,
        callbacks: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        random_state: Any = None,
        match_columns: bool = True,
        num_threads: int | None = None,
        **arguments: Any,
    ) -> None:
        self._take_arguments(locals())
        self._take_builder_arguments(arguments)

    def _loss_given(self) -> Any:
        return "mse" if self.loss is None else self.loss

    def _fitting_loss(self, model: Sequential, targets: Targets) -> Any:
        return targets.loss(self._loss_given())

    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        validation_data: Any = None,
        *,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> SequentialRegressor:
        """Build the network and train it.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features), or dict of arrays
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Rows that are evaluated after each epoch.
        X_val, y_val, sample_weight_val : array-like, optional
            The same rows as arguments of their own, so that a Pipeline with ``transform_input=["X_val"]`` transforms
            them.

        Returns
        -------
        SequentialRegressor
            The estimator itself.
        """
        apart = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        return self._fit(X, y, sample_weight, validation_data, **apart)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> SequentialRegressor:  # noqa: N803
        """Train for one epoch, going on from the last call.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features), or dict of arrays
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional

        Returns
        -------
        SequentialRegressor
            The estimator itself.
        """
        return self._fit(X, y, sample_weight, incremental=True)
