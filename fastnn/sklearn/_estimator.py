"""What all estimators share: reading X and y, a network that is built and trained, its answers, and its state."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_X_y
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _check_sample_weight,
    _get_feature_names,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from fastnn import losses, num_threads
from fastnn._engine import all_finite
from fastnn._warnings import warn
from fastnn.callbacks.base import CallbackList
from fastnn.data import frames
from fastnn.models import Sequential
from fastnn.saving import from_bytes, to_bytes
from fastnn.sklearn._callbacks import TellsCallbacks
from fastnn.sklearn._plain import FLOATS, TEXT_IN_X, check_kind, is_plain, is_plain_column, plain_rows, random_numbers
from fastnn.sklearn._targets import (
    MARGINS,
    Numbers,
    SeveralTargets,
    Targets,
    same_classes,
    targets_of_classes,
    targets_of_state,
    weights_of_classes,
)
from fastnn.sklearn._task import Task, as_it_was_on_error, dtype_of, link_of_model

Array = npt.NDArray[Any]
NOT_FINITE = "The input data may contain large values and need to be preprocessed."


class _Header:
    """The columns of a frame alone, as a scikit-learn asks for them that does not know the frame's library."""

    def __init__(self, frame: Any) -> None:
        self._names = frames.column_names(frame)
        self.shape = len(frame), len(self._names)

    def __dataframe__(self) -> _Header:
        return self

    def column_names(self) -> list[Any]:
        """Return the names."""
        return self._names


class NetworkEstimator(TellsCallbacks, BaseEstimator):
    """The base of all estimators.

    An estimator says how its network is built (``_build``), how it is trained (``_plan``), and what is remembered of
    that (``_finish``). Each call to ``fit`` works on a twin of the estimator, whose attributes are taken over in one
    step: a failed call leaves the estimator as it was, and no other thread sees half of one.

    Attributes
    ----------
    model_ : Sequential
        The network.
    callbacks_ : list of Callback
        The copies of `callbacks` that the last training called; a pickle does not have them.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        The names of the columns, where X was a frame whose columns have strings as names.
    """

    shuffle: bool
    random_state: Any
    match_columns: bool
    num_threads: int | None
    callbacks: Any

    def _take_arguments(self, given: dict[str, Any]) -> None:
        """Keep the arguments of the constructor, as they are."""
        self.__dict__.update({name: given[name] for name in self._get_param_names()})

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> list[str]:
        """Return the names of the constructor's arguments; looking at its signature takes as long as a prediction."""
        return super()._get_param_names()

    @classmethod
    @functools.cache
    def _defaults(cls) -> dict[str, Any]:
        """Return the defaults of the constructor's arguments."""
        named = inspect.signature(cls.__init__).parameters.items()
        return {name: one.default for name, one in named if one.default is not one.empty}

    def _validate_params(self) -> None:
        """Check the constructor's arguments as scikit-learn does, but for defaults: all take as long as an epoch."""
        defaults = self._defaults()
        given = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in defaults or value is not defaults[name]
        }
        validate_parameter_constraints(self._parameter_constraints, given, caller_name=type(self).__name__)

    # ---- what an estimator says ----

    def _build(self, x: Any, targets: Targets, dtype: str, random: np.random.RandomState) -> tuple[Sequential, Targets]:
        """Return the network, and what y is to it; where it is not compiled yet, ``_plan`` compiles it."""
        raise NotImplementedError

    def _targets_of(self, y: Array, classes: Any) -> Targets:
        """Return what y is."""
        raise NotImplementedError

    def _plan(self, task: Task, random: np.random.RandomState, *, incremental: bool) -> None:
        """Complete the task: the rows that are held back, the size of a batch, the number of epochs, callbacks."""
        raise NotImplementedError

    def _finish(self, task: Task) -> None:
        """Set the attributes that say how training went."""
        raise NotImplementedError

    # ---- training ----

    def _twin(self) -> Any:
        """Return another estimator with the same attributes."""
        twin = object.__new__(type(self))
        twin.__dict__ = dict(vars(self))
        return twin

    def _fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        validation_data: Any = None,
        classes: Any = None,
        **others: Any,
    ) -> Any:
        with self._fitting(X, y, sample_weight, validation_data, classes, **others) as task, self._threads():
            self._train(task)
        return self

    @contextmanager
    def _fitting(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        validation_data: Any = None,
        classes: Any = None,
        *,
        incremental: bool = False,
        **apart: Any,
    ) -> Iterator[Task]:
        """Fit in two parts: yield the task between them, for whoever runs this to train its network.

        `apart` are the arguments that may stand in the place of `validation_data`.
        """
        twin = self._twin()
        self._validate_params()
        random = random_numbers(self.random_state)
        given = X, y, sample_weight, validation_of(validation_data, **apart), classes
        task = twin._task(*given, random, incremental=incremental)
        with as_it_was_on_error(task):
            twin._plan(task, random, incremental=incremental)
            task.y = task.targets.encoded(task.y, task.model.loss, dtype_of(task.model))
            with self._telling(twin, task, X, y, sample_weight):
                yield task
                twin._finish(task)
                if not all_finite(task.model._need_engine("fit").parameters):
                    raise ValueError(f"Solver produced non-finite parameter weights. {NOT_FINITE}")
        twin.model_, twin._targets = task.model, task.targets
        self.__dict__ = twin.__dict__

    def _task(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any,
        validation_data: Any,
        classes: Any,
        random: np.random.RandomState,
        *,
        incremental: bool,
    ) -> Task:
        """Return the task of one call to ``fit``, which ``_plan`` is to complete."""
        again = hasattr(self, "model_") and (incremental or getattr(self, "warm_start", False))
        x, y = self._read(X, y, reset=not again)
        targets = self._targets if again else self._targets_of(y, classes)
        if again or classes is not None:
            targets.check(y, all_of_them=again and not incremental)
        weights, mean_weight = self._weights(sample_weight, x, y)
        if not again:
            dtype = str(x.dtype) if getattr(x, "dtype", None) in FLOATS else "float32"
            self.model_, targets = self._build(x, targets, dtype, random)
        held = None if validation_data is None else self._read_validation(validation_data, targets)
        return Task(self.model_, x, y, weights, mean_weight, targets, held, None, 1, self.shuffle, is_new=not again)

    def _train(self, task: Task) -> None:
        """Train the network of a task; Ctrl-C ends that early, with the weights of the last finished step."""
        try:
            task.model.fit(**task.arguments())
        except KeyboardInterrupt:
            warn("Training interrupted by user.")

    def _if_it_ended(self, task: Task) -> dict[str, Any]:
        """Return the attributes that the estimator would have if the training that is going on ended now."""
        ended, model = self._twin(), copy.deepcopy(task.model)
        model.stop_training, model.history = True, task.model.history
        ended._finish(replace(task, model=model))
        model.history = None
        # what the training goes on changing is copied
        new = {name: value for name, value in vars(ended).items() if vars(self).get(name) is not value}
        known = {name: value for name, value in vars(self).items() if name not in new}
        return known | copy.deepcopy(new) | {"model_": model, "_targets": task.targets}

    def _own_callbacks(self) -> list[Any]:
        """Return copies of the callbacks, kept as ``callbacks_``: training changes no argument of the constructor."""
        self.callbacks_ = copy.deepcopy(CallbackList(self.callbacks).callbacks)
        return self.callbacks_

    @contextmanager
    def _threads(self) -> Iterator[None]:
        with nullcontext() if self.num_threads is None else num_threads(self.num_threads):
            yield

    # ---- X and y ----

    def _read(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Array]:  # noqa: N803
        """Return X and y, checked as scikit-learn checks them."""
        if is_plain(X) and is_plain_column(y) and len(X) == len(y) and (reset or self._knows_columns(X)):
            if reset:
                self.n_features_in_ = X.shape[1]
                self.__dict__.pop("feature_names_in_", None)
            return X, y
        check_kind(X, "X")
        check_kind(y, "y", "" if isinstance(self, RegressorMixin) else None)
        options = {
            "accept_sparse": "csr",
            "multi_output": True,
            "y_numeric": isinstance(self, RegressorMixin),
            "dtype": FLOATS,
        }
        if frames.is_frame(X) and y is not None:
            array = self._of_frame(X, reset=reset)
            x, y = check_X_y(array, y, estimator=self, **options)
        else:
            x, y = validate_data(self, X, y, reset=reset, **options)
        y = y.toarray() if hasattr(y, "toarray") else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return x, y

    def _read_rows(self, X: Any) -> Any:  # noqa: N803
        """Return the X of a later call, checked as scikit-learn checks it."""
        check_is_fitted(self)
        rows = plain_rows(X)
        if rows is not None and self._knows_columns(rows):
            return rows
        if frames.is_frame(X):
            array = self._of_frame(X, reset=False)
            return check_array(array, dtype=FLOATS, estimator=self, input_name="X")
        check_kind(X, "X")
        return validate_data(self, X, accept_sparse="csr", dtype=FLOATS, reset=False)

    def _knows_columns(self, x: Array) -> bool:
        """Return whether x has the columns of ``fit``, which had no names."""
        return x.shape[1] == getattr(self, "n_features_in_", 0) and not hasattr(self, "feature_names_in_")

    def _in_order_of_fit(self, frame: Any, *, reset: bool) -> Any:
        """Return a frame of its own library, with its columns in the order of the frame that ``fit`` was given."""
        frame = frames.native(frame)  # scikit-learn asks it for its names
        known = None if reset else getattr(self, "feature_names_in_", None)
        if known is not None:
            names = frames.column_names(frame)
            if names == known.tolist():  # nothing is left for scikit-learn to check, which takes as long as a few rows
                return frame
            if self.match_columns and set(names) == set(known):
                frame = frames.in_order(frame, known)
        known_library = (
            hasattr(type(frame), "iloc")  # pandas is known to all versions
            or _get_feature_names(frame) is not None
            or frames.text_names(frame, "X") is None
        )
        validate_data(self, frame if known_library else _Header(frame), reset=reset, skip_check_array=True)
        return frame

    def _of_frame(self, frame: Any, *, reset: bool) -> Array:
        """Return a frame's columns as an array of numbers, in the order of the frame that ``fit`` was given."""
        return frames.real_array(self._in_order_of_fit(frame, reset=reset), "X", TEXT_IN_X)

    def _weights(self, sample_weight: Any, x: Any, y: Array) -> tuple[Array | None, float]:
        """Return the weight of each row, with that of its class, over their average, and the average.

        The weights are None where all are 1.
        """
        class_weight = getattr(self, "class_weight", None)
        if sample_weight is None and class_weight is None:
            return None, 1.0
        weights = _check_sample_weight(sample_weight, x, dtype=np.float64)
        if class_weight is not None:
            weights = weights * weights_of_classes(class_weight, y, weights)
        mean = float(weights.mean())
        if not mean > 0:
            raise ValueError(f"sample_weight must have a sum above 0, got {weights.sum():g}")
        return weights / mean, mean

    def _read_validation(self, given: Any, targets: Targets) -> tuple[Any, Array, Array | None]:
        """Return X, y and weights of `validation_data`."""
        if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
            raise ValueError("validation_data must be (X, y) or (X, y, sample_weight)")
        x, y, weights = (*given, None)[:3]
        x, y = self._read(x, y, reset=False)
        targets.check(y)
        return x, y, None if weights is None else _check_sample_weight(weights, x)

    # ---- answers ----

    def _outputs(self, X: Any) -> Any:  # noqa: N803
        """Return the network's outputs."""
        rows = self._read_rows(X)
        with self._threads():
            return self.model_.predict(rows, verbose=0)

    @property
    def _link(self) -> Any:
        return link_of_model(self.model_)

    # ---- state ----

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes as plain values, arrays and bytes, so that whoever reads them runs nothing.

        The network is the bytes of a model's file. What remains are the arguments of the constructor, as they are.
        """
        state = dict(super().__getstate__())
        state.pop("callbacks_", None)
        if "model_" in state:
            state |= {"model_": to_bytes(state["model_"]), "_targets": state["_targets"].state()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "model_" in state:
            state["model_"] = from_bytes(state["model_"], Sequential)
            state["_targets"] = targets_of_state(state["_targets"])
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags


def validation_of(together: Any, *, X_val: Any = None, y_val: Any = None, sample_weight_val: Any = None) -> Any:  # noqa: N803
    """Return the rows to validate on, which a user gives `together` in a tuple, or as arguments of their own."""
    apart = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
    given = [name for name, value in apart.items() if value is not None]
    if not given:
        return together
    if together is not None:
        raise ValueError(f"validation_data must be None where {given[0]} is given")
    if X_val is None or y_val is None:
        raise ValueError(f"X_val and y_val must be given together, got {' and '.join(given)} alone")
    return X_val, y_val, sample_weight_val


def _has_margins(estimator: Any) -> bool:
    """Return whether an estimator's loss asks for outputs that are above 0 for yes, and no probabilities."""
    model, given = vars(estimator).get("model_"), estimator.loss
    if model is None:  # what a function is going to compile, nobody knows
        return given is not None and isinstance(losses.get(given), MARGINS)
    link = link_of_model(model)
    return "margin" in (link.values() if isinstance(link, dict) else (link,))


def _gives_margins(estimator: Any) -> bool:
    """Return whether there is a ``decision_function``; raise AttributeError where there is none."""
    if not _has_margins(estimator):
        raise AttributeError(
            f"decision_function is there with a hinge loss, got loss={estimator.loss!r}: use predict_proba"
        )
    return True


def _gives_probabilities(estimator: Any) -> bool:
    """Return whether there are probabilities; raise AttributeError where there are none."""
    if _has_margins(estimator):
        raise AttributeError(
            f"predict_proba needs outputs that are probabilities, which those of loss={estimator.loss!r} are not: use "
            f"decision_function, or CalibratedClassifierCV around this"
        )
    return True


class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """The base of classifiers.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray for several targets of several classes
    """

    loss: Any

    def _targets_of(self, y: Array, classes: Any) -> Targets:
        return targets_of_classes(y, classes, self.loss)

    def _first_classes(self, classes: Any) -> None:
        """Raise where the classes that ``partial_fit`` is given are missing, or others than before."""
        fitted = hasattr(self, "model_")
        if classes is None and not fitted:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None and fitted and not same_classes(classes, self.classes_):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )

    @property
    def classes_(self) -> Any:
        """The classes, in the order of the columns of ``predict_proba``."""
        targets = vars(self).get("_targets")
        if targets is None:
            raise AttributeError(f"{type(self).__name__} has no classes_ before fit")
        return targets.classes

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)

        Returns
        -------
        ndarray, shape (rows,) or (rows, targets)
        """
        outputs = self._outputs(X)
        return self._targets.answers(outputs, self._link)

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)

        Returns
        -------
        ndarray, shape (rows, classes)
            Rows sum to 1; for targets of 0 and 1 of which any may hold, each column is a probability of its own. A list
            of such arrays for several targets of several classes.
        """
        outputs = self._outputs(X)
        return self._targets.probabilities(outputs, self._link)

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X: Any) -> Any:  # noqa: N803
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)

        Returns
        -------
        ndarray, shape (rows, classes), or list of ndarray
        """
        outputs = self._outputs(X)
        with np.errstate(divide="ignore"):
            return self._targets.log_probabilities(outputs, self._link)

    @available_if(_gives_margins)
    def decision_function(self, X: Any) -> Any:  # noqa: N803
        """Return how far each row is on the side of each class; there with hinge losses, which give no probabilities.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)

        Returns
        -------
        ndarray, shape (rows,) or (rows, classes)
            Of two classes one number, which is above 0 for the second. A list of such arrays for several targets of
            several classes.
        """
        outputs = self._outputs(X)
        return self._targets.margins(outputs)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the share of rows whose classes are all right.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional
        """
        if self.__sklearn_is_fitted__() and isinstance(self._targets, SeveralTargets):
            hits = (self.predict(X) == np.asarray(y)).all(axis=1)
            return float(np.average(hits, weights=sample_weight))
        return float(super().score(X, y, sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """The base of regressors."""

    loss: Any

    def _targets_of(self, y: Array, classes: Any) -> Targets:
        targets = Numbers(1 if y.ndim == 1 else y.shape[1], y.ndim == 1, self._loss_given())
        targets.check(y)
        return targets

    def _loss_given(self) -> Any:
        return "squared_error" if self.loss is None else self.loss

    def predict(self, X: Any, return_std: bool = False) -> Any:  # noqa: N803
        """Return the numbers that the network expects: with quantiles the one nearest the median.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)
        return_std : bool, default False
            Whether to return the standard deviations beside them, which needs ``loss="gaussian_nll"``.

        Returns
        -------
        ndarray, shape (rows,) or (rows, targets), or a tuple of two such
        """
        if return_std and self.__sklearn_is_fitted__() and not self._targets.has_variance:
            raise ValueError(f"return_std needs loss='gaussian_nll', got loss={self.loss!r}")
        outputs = self._outputs(X)
        answers = self._targets.answers(outputs, False)
        return (answers, self._targets.deviations(outputs)) if return_std else answers

    @available_if(lambda estimator: estimator._needs_loss(losses.Quantile, "predict_quantiles", "quantile"))
    def predict_quantiles(self, X: Any) -> Array:  # noqa: N803
        """Return the quantiles, of which none is below a lower one.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)

        Returns
        -------
        ndarray, shape (rows, quantiles) or (rows, targets, quantiles)
        """
        return self._targets.all_quantiles(self._outputs(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        poisson = isinstance(self.loss, losses.Poisson) or (isinstance(self.loss, str) and self.loss == "poisson")
        tags.target_tags.positive_only = poisson
        return tags

    def _needs_loss(self, kind: type, method: str, name: str) -> bool:
        """Return True; raise AttributeError where the loss is not of the kind that a method needs."""
        if not isinstance(losses.get({"squared_error": "mse"}.get(self.loss, self.loss)), kind):
            raise AttributeError(f"{method} needs loss={name!r}, got loss={self.loss!r}")
        return True
