"""Multilayer perceptrons with scikit-learn's arguments and attributes, and more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if

from fastnn import losses
from fastnn.sklearn._estimator import NetworkClassifier, NetworkRegressor
from fastnn.sklearn._multilayer import MultilayerPerceptron, is_stochastic


class MLPClassifier(NetworkClassifier, MultilayerPerceptron):
    """A multilayer perceptron that tells classes, with the arguments and attributes of scikit-learn's class.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default (100,)
        The widths of the hidden layers.
    activation : str, Activation or list, default "relu"
        "identity", "logistic", "tanh", "relu" or any of :mod:`fastnn.activations`; a list has one a layer.
    solver : {"adam", "sgd", "lbfgs"}, str or Optimizer, default "adam"
        scikit-learn's three, or any optimizer of :mod:`fastnn.optimizers`: a name takes `learning_rate_init`, an object
        has its own.
    alpha : float, default 0.0001
        The penalty: alpha/2 times the sum of the squares of all kernels, over the rows of a batch.
    batch_size : int or "auto", default "auto"
        The rows of a batch; "auto" is 200, or all rows where they are fewer. L-BFGS looks at all rows.
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        How "sgd" changes its learning rate after an epoch: not; to ``learning_rate_init / t_**power_t``; to a fifth of
        it, where the loss or the score would end training.
    learning_rate_init : float or LearningRateSchedule, default 0.001
    power_t : float, default 0.5
    max_iter : int, default 200
        The most epochs, or iterations of L-BFGS.
    shuffle : bool, default True
    random_state : int, RandomState or None
        What weights, orders of rows, dropout and the rows held back are drawn from. The weights are those that
        scikit-learn draws.
    tol : float, default 1e-4
        Training ends after more than `n_iter_no_change` epochs in which the loss, or with `early_stopping` the score of
        the validation rows, has not improved by this.
    verbose : bool, default False
        Whether a line an epoch is printed.
    warm_start : bool, default False
        Whether ``fit`` goes on from the last call's weights and the optimizer's state.
    momentum : float, default 0.9
    nesterovs_momentum : bool, default True
    early_stopping : bool, default False
        Whether `validation_fraction` of the rows, or `validation_data`, decide when training ends, and the weights of
        the best epoch are kept.
    validation_fraction : float, default 0.1
    beta_1, beta_2, epsilon : float, default 0.9, 0.999, 1e-8
        Of Adam.
    n_iter_no_change : int, default 10
    max_fun : int, default 15000
        The most evaluations of the loss by L-BFGS.
    loss : str or Loss, optional
        Default: the log loss, as in scikit-learn. Any of :mod:`fastnn.losses`.
    class_weight : dict of class to float, "balanced", or list of such, optional
        What the rows of a class weigh; a list has one for each of several targets.
    dropout : float, LearningRateSchedule, or list of such, default 0
        The rate of dropout after each hidden layer.
    normalization : {"batch", "layer"} or None
        What normalises the arguments of the hidden layers' activations.
    output_activation : str or Activation, optional
        Default: the one that fits y and the loss.
    kernel_initializer, bias_initializer : str or Initializer, optional
        Default: scikit-learn's, uniform within Glorot and Bengio's bound.
    callbacks : Callback or sequence of Callback, optional
        Callbacks of :mod:`fastnn.callbacks`, which the network's training calls. They are copied first.
    match_columns : bool, default True
        Whether a later frame's columns may have another order than those of ``fit``, and are matched by name; False
        raises scikit-learn's sentence.
    num_threads : int, optional
        The most threads of the engine, in the whole process, while a method runs. Default: as many as before.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
        The classes; a list for several targets of several classes.
    model_ : Sequential
        The network.
    coefs_, intercepts_ : list of ndarray
        Its kernels (inputs, outputs) and biases (outputs,), as views.
    stopped_ : bool
        Whether the last call ended because the loss or the score no longer improved.
    n_iter_, t_, n_layers_, n_outputs_, out_activation_, loss_, loss_curve_, best_loss_, validation_scores_, \
best_validation_score_
        As in scikit-learn.
    callbacks_ : list of Callback
        The copies of `callbacks` that the last training called; a pickle does not have them.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    y may be labels (rows,), columns of 0 and 1 (rows, labels) of which any may hold, or several columns of labels
    (rows, targets), each of which gets a head of its own.

    References
    ----------
    The interface is that of scikit-learn's ``sklearn.neural_network.MLPClassifier``.

    Examples
    --------
    >>> from fastnn.sklearn import MLPClassifier
    >>> MLPClassifier((8,), tol=0.01, random_state=0).fit([[0.0], [1.0]] * 9, ["no", "yes"] * 9).classes_
    array(['no', 'yes'], dtype='<U3')
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        **MultilayerPerceptron._parameter_constraints,
        "loss": [str, callable, HasMethods("get_config"), None],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: Any = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = None,
        class_weight: Any = None,
        dropout: Any = 0.0,
        normalization: str | None = None,
        output_activation: Any = None,
        kernel_initializer: Any = None,
        bias_initializer: Any = None,
        callbacks: Any = None,
        match_columns: bool = True,
        num_threads: int | None = None,
    ) -> None:
        self._take_arguments(locals())

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
    ) -> MLPClassifier:
        """Train.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)
            Trained in float32 where that is its dtype, else in float64.
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Rows whose score is recorded after each epoch, and decides with `early_stopping`.
        X_val, y_val, sample_weight_val : array-like, optional
            The same rows as arguments of their own, so that a Pipeline with ``transform_input=["X_val"]`` transforms
            them.

        Returns
        -------
        MLPClassifier
            The estimator itself.
        """
        apart = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        return self._fit(X, y, sample_weight, validation_data, **apart)

    @available_if(is_stochastic)
    def partial_fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        validation_data: Any = None,
        *,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Train for one epoch, going on from the last call.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional
        classes : array-like, shape (classes,), or list of such for several targets
            All labels of all calls; needed in the first call.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Rows whose score is recorded. With `early_stopping` it is needed, and a call after which the score has not
            improved for more than `n_iter_no_change` calls puts the best weights back: ``stopped_`` says so.
        X_val, y_val, sample_weight_val : array-like, optional
            The same rows as arguments of their own, so that a Pipeline with ``transform_input=["X_val"]`` transforms
            them.

        Returns
        -------
        MLPClassifier
            The estimator itself.
        """
        self._first_classes(classes)
        apart = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        return self._fit(X, y, sample_weight, validation_data, classes, incremental=True, **apart)


class MLPRegressor(NetworkRegressor, MultilayerPerceptron):
    """A multilayer perceptron that expects numbers, with the arguments and attributes of scikit-learn's class.

    Parameters
    ----------
    loss : str or Loss, default "squared_error"
        "squared_error" and "poisson" as in scikit-learn; "quantile" and "gaussian_nll", which have more than one output
        for each target; or any of :mod:`fastnn.losses`.
    hidden_layer_sizes : sequence of int, default (100,)
        The widths of the hidden layers.
    activation : str, Activation or list, default "relu"
        "identity", "logistic", "tanh", "relu" or any of :mod:`fastnn.activations`; a list has one a layer.
    solver : {"adam", "sgd", "lbfgs"}, str or Optimizer, default "adam"
        scikit-learn's three, or any optimizer of :mod:`fastnn.optimizers`: a name takes `learning_rate_init`, an object
        has its own.
    alpha : float, default 0.0001
        The penalty: alpha/2 times the sum of the squares of all kernels, over the rows of a batch.
    batch_size : int or "auto", default "auto"
        The rows of a batch; "auto" is 200, or all rows where they are fewer. L-BFGS looks at all rows.
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        How "sgd" changes its learning rate after an epoch: not; to ``learning_rate_init / t_**power_t``; to a fifth of
        it, where the loss or the score would end training.
    learning_rate_init : float or LearningRateSchedule, default 0.001
    power_t : float, default 0.5
    max_iter : int, default 200
        The most epochs, or iterations of L-BFGS.
    shuffle : bool, default True
    random_state : int, RandomState or None
        What weights, orders of rows, dropout and the rows held back are drawn from. The weights are those that
        scikit-learn draws.
    tol : float, default 1e-4
        Training ends after more than `n_iter_no_change` epochs in which the loss, or with `early_stopping` the score of
        the validation rows, has not improved by this.
    verbose : bool, default False
        Whether a line an epoch is printed.
    warm_start : bool, default False
        Whether ``fit`` goes on from the last call's weights and the optimizer's state.
    momentum : float, default 0.9
    nesterovs_momentum : bool, default True
    early_stopping : bool, default False
        Whether `validation_fraction` of the rows, or `validation_data`, decide when training ends, and the weights of
        the best epoch are kept.
    validation_fraction : float, default 0.1
    beta_1, beta_2, epsilon : float, default 0.9, 0.999, 1e-8
        Of Adam.
    n_iter_no_change : int, default 10
    max_fun : int, default 15000
        The most evaluations of the loss by L-BFGS.
    quantiles : sequence of float, default (0.1, 0.5, 0.9)
        The quantiles with ``loss="quantile"``.
    dropout : float, LearningRateSchedule, or list of such, default 0
        The rate of dropout after each hidden layer.
    normalization : {"batch", "layer"} or None
        What normalises the arguments of the hidden layers' activations.
    output_activation : str or Activation, optional
        Default: the one that fits y and the loss.
    kernel_initializer, bias_initializer : str or Initializer, optional
        Default: scikit-learn's, uniform within Glorot and Bengio's bound.
    callbacks : Callback or sequence of Callback, optional
        Callbacks of :mod:`fastnn.callbacks`, which the network's training calls. They are copied first.
    match_columns : bool, default True
        Whether a later frame's columns may have another order than those of ``fit``, and are matched by name; False
        raises scikit-learn's sentence.
    num_threads : int, optional
        The most threads of the engine, in the whole process, while a method runs. Default: as many as before.

    Attributes
    ----------
    model_ : Sequential
        The network.
    coefs_, intercepts_ : list of ndarray
        Its kernels (inputs, outputs) and biases (outputs,), as views.
    stopped_ : bool
        Whether the last call ended because the loss or the score no longer improved.
    n_iter_, t_, n_layers_, n_outputs_, out_activation_, loss_, loss_curve_, best_loss_, validation_scores_, \
best_validation_score_
        As in scikit-learn.
    callbacks_ : list of Callback
        The copies of `callbacks` that the last training called; a pickle does not have them.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    The interface is that of scikit-learn's ``sklearn.neural_network.MLPRegressor``.

    Examples
    --------
    >>> from fastnn.sklearn import MLPRegressor
    >>> MLPRegressor(solver="lbfgs", random_state=0).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]).predict([[1.0]]).shape
    (1,)
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        **MultilayerPerceptron._parameter_constraints,
        "loss": [str, callable, HasMethods("get_config")],
        "quantiles": ["array-like"],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: Any = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        dropout: Any = 0.0,
        normalization: str | None = None,
        output_activation: Any = None,
        kernel_initializer: Any = None,
        bias_initializer: Any = None,
        callbacks: Any = None,
        match_columns: bool = True,
        num_threads: int | None = None,
    ) -> None:
        self._take_arguments(locals())

    def _loss_given(self) -> Any:
        return losses.Quantile(list(self.quantiles)) if self.loss in ("quantile", "pinball") else self.loss

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
    ) -> MLPRegressor:
        """Train.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)
            Trained in float32 where that is its dtype, else in float64.
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Rows whose score is recorded after each epoch, and decides with `early_stopping`.
        X_val, y_val, sample_weight_val : array-like, optional
            The same rows as arguments of their own, so that a Pipeline with ``transform_input=["X_val"]`` transforms
            them.

        Returns
        -------
        MLPRegressor
            The estimator itself.
        """
        apart = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        return self._fit(X, y, sample_weight, validation_data, **apart)

    @available_if(is_stochastic)
    def partial_fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        validation_data: Any = None,
        *,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Train for one epoch, going on from the last call.

        Parameters
        ----------
        X : array-like, sparse matrix or frame, shape (rows, features)
        y : array-like, shape (rows,) or (rows, targets)
        sample_weight : array-like, shape (rows,), optional
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Rows whose score is recorded. With `early_stopping` it is needed, and a call after which the score has not
            improved for more than `n_iter_no_change` calls puts the best weights back: ``stopped_`` says so.
        X_val, y_val, sample_weight_val : array-like, optional
            The same rows as arguments of their own, so that a Pipeline with ``transform_input=["X_val"]`` transforms
            them.

        Returns
        -------
        MLPRegressor
            The estimator itself.
        """
        apart = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        return self._fit(X, y, sample_weight, validation_data, incremental=True, **apart)
