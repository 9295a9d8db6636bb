"""The parts of a step, for loops of one's own; and whole buffers of weights and gradients."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import _ranks
from fastnn._engine import Locks, fill_all
from fastnn._settings import changes, flag, number
from fastnn.data import arrays, sparse
from fastnn.layers.base import copy_like
from fastnn.network import Network
from fastnn.training import Trainer

if TYPE_CHECKING:
    from fastnn._op import ParameterSpec
    from fastnn.plan import Plan

Array = npt.NDArray[Any]


class Stepper(Trainer):
    """A model whose training is taken apart; see :class:`fastnn.Sequential`."""

    # ---- the parts of a step, for loops of one's own ----

    def forward(self, x: Any, training: bool = False) -> Any:
        """Return the outputs for these rows; the activations stay for :meth:`backward`.

        Parameters
        ----------
        x : array-like, shape (rows, features)
            For a model with branches a dict of arrays or a data frame. An array that can be read in place is not
            copied, and :meth:`backward` reads it again: it must not change in between.
        training : bool, default False
            Whether to run as in a training step: with dropout and noise, and with batch normalization by the statistics
            of these rows, which also moves the moving statistics.

        Returns
        -------
        ndarray, shape (rows, outputs)
            For a model with heads a dict of such arrays by name.
        """
        if flag("training", training) and type(x) is not np.ndarray:
            with self._learning(x):
                return self._forward(self._learned(x), training)
        return self._forward(x, training)

    def _forward(self, x: Any, training: bool) -> Any:
        engine = self._need_engine("forward")
        engine.seed = self._seed
        if self._optimizer is not None and (training or self._changes_seen is not changes.last):
            self._ready("forward")  # the noise depends on the number of the optimizer's step
        else:
            self._heed_changes()
        rows, _ = self._inputs(x, engine.plan.dtype, check_finite=False, learns=training)
        return self._outputs(engine.forward(self._checked(rows), training))

    def backward(self, grad: Any, inputs: bool = True, weights: bool = True) -> Array | None:
        """Compute gradients from the gradient of any loss with respect to the outputs of the last :meth:`forward`.

        It may be called several times after one forward pass, for several losses, but not after the weights have
        changed: :meth:`apply_gradients` comes last. (Writing into :attr:`weights` goes unnoticed.)

        Parameters
        ----------
        grad : array-like, shape (rows, outputs)
            The gradient of the loss by the outputs; for a model with heads a dict of such arrays by name.
        inputs : bool, default True
            Whether to compute the gradient by the inputs, which takes the first layer another product.
        weights : bool, default True
            Whether to compute the gradients by the parameters; without them :attr:`gradients` stay as they are, and the
            pass takes about half the time. A policy learns so through a critic, which does not.

        Returns
        -------
        ndarray, shape (rows, features), or None
            The gradient by the inputs, in the order of `feature_names` (those of branches side by side); None where
            they were sparse, or without `inputs`. The gradients by the parameters are in :attr:`gradients`.

        Raises
        ------
        RuntimeError
            Without a forward pass, or when something has trained or changed the weights after it.
        ValueError, TypeError
            When grad cannot be used, or neither `inputs` nor `weights` is wanted.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1, kernel_initializer="ones")])
        >>> y = model.forward([[1.0, 2.0]])
        >>> model.backward([[0.5]], weights=False)
        array([[0.5, 0.5]], dtype=float32)
        """
        wanted = flag("inputs", inputs), flag("weights", weights)
        if not any(wanted):
            raise ValueError("backward needs inputs=True or weights=True: there is nothing to compute")
        engine = self._need_engine("backward")
        if self._heads is not None:
            grad = self._heads.joined(grad, "grad")
        if not engine.reads(grad, engine.plan.outputs, False):
            grad = arrays.gradient(grad, engine.plan.outputs, engine.plan.dtype)
        return engine.backward(grad, *wanted)

    def hvp(self, x: Any, v: Any, u: Any, accumulate: bool = False) -> tuple[Any, Array]:
        """Compute the gradients by the parameters of a slope: of uᵀ ∂y/∂x v, summed over the rows.

        A loss on derivatives, g = uᵀ ∂y/∂x, has the gradient of g · v by the parameters, where v is the derivative of
        the loss by g, held constant: WGAN-GP's penalty and Sobolev training come to this. It is exact, in float32 too.

        Parameters
        ----------
        x : array-like, shape (rows, features)
            As for :meth:`forward`, but not sparse.
        v : array-like, shape (rows, features)
            A direction of each row.
        u : array-like, shape (rows, outputs)
            What the outputs are multiplied with; for a model with heads a dict of such arrays by name.
        accumulate : bool, default False
            Whether to add to the :attr:`gradients` that are there, such as those of :meth:`backward` for another term
            of the loss; else they are replaced.

        Returns
        -------
        outputs : ndarray, shape (rows, outputs)
            As :meth:`forward` returns them, without dropout and noise; a dict for a model with heads.
        product : ndarray, shape (rows, features)
            ∂/∂x (uᵀ ∂y/∂x v), as of :meth:`fastnn.Predictor.hvp`.

        Raises
        ------
        TypeError, ValueError
            When x, v or u cannot be used.
        NotImplementedError
            When a layer that is trained has weights and is no Dense: such gradients are there for Dense layers alone.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1, kernel_initializer="ones")])
        >>> model.hvp([[1.0, 2.0]], v=[[3.0, 4.0]], u=[[1.0]])[1]
        array([[0., 0.]], dtype=float32)
        >>> model.gradients[0].ravel()
        array([3., 4.], dtype=float32)
        """
        engine, adds = self._need_engine("hvp"), flag("accumulate", accumulate)
        if sparse.is_sparse(x):
            raise TypeError("x is sparse, and hvp needs dense rows, as x.toarray() gives")
        self._heed_changes()
        plan = engine.plan
        others = {at for op in plan.ops if op.name != "dense" and not op.frozen for at in (op.kernel, op.bias)}
        for spec in plan.parameters:
            if spec.offset in others:
                raise NotImplementedError(
                    f"hvp fills the gradients of Dense layers alone, and layer {spec.layer!r} has {spec.name!r}, which "
                    "is trained: set the layer's trainable to False before the model is built, or leave it out"
                )
        rows = self._checked(self._inputs(x, plan.dtype, check_finite=False)[0])
        directions = arrays.of_shape(v, "v", (len(rows), plan.inputs), plan.dtype)
        names = None if self._heads is None else self._heads.outputs
        upstream = arrays.cotangent(u, (len(rows), plan.outputs), names, plan.dtype)
        outputs, product = engine.gradients_along(rows, directions, upstream, adds)
        return self._outputs(outputs), product

    @property
    def gradients(self) -> list[Array]:
        """Views of the gradients, in the order and the shapes of :attr:`weights`."""
        engine = self._need_engine("gradients")
        flat = engine.gradients
        return [spec.view(flat) for spec in engine.plan.parameters]

    def apply_gradients(self, gradients: npt.ArrayLike | None = None) -> None:
        """Take one optimizer step.

        Parameters
        ----------
        gradients : array-like, optional
            An array laid out as :attr:`flat_gradients`, which it takes the place of. Default: the :attr:`gradients`
            that are there, which no step clears: zeros before the first :meth:`backward`, and the same ones as before
            after a second call, or after ``backward(grad, weights=False)``.

        Raises
        ------
        RuntimeError, ValueError, TypeError
            Without an optimizer, or when the gradients cannot be used; nothing has changed then.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile(fastnn.optimizers.SGD(0.5))
        >>> model.apply_gradients(model.flat_weights)
        >>> model.layers[-1].kernel.ravel()
        array([0.5, 0.5], dtype=float32)
        """
        _ranks.current().refuse("apply_gradients")
        with self._home.lock:
            engine, _, optimizer = self._ready("apply_gradients")
            rates = optimizer.hyperparameters()
            if self._run is None:
                self._check_shares("apply_gradients knows no steps to come", rates)
            given = None if gradients is None else copy_like(engine.gradients, gradients, "gradients")
            engine.apply_gradients(rates, given)

    # ---- all parameters at once ----

    @property
    def flat_weights(self) -> Array:
        """A view of the buffer with all parameters, one after the other in the order of :attr:`weights`.

        Writing into it changes the model, as ``model.flat_weights[:] = theta`` does for an evolution strategy; setting
        the attribute copies an array into it. Each parameter begins at a multiple of 64 bytes. The elements between two
        parameters are part of no weight: they are zeros, and what is written there has no effect. The view lives as
        long as those of :attr:`weights`. As in :meth:`set_weights`, numbers need not be finite.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1, kernel_initializer="ones")])
        >>> model.flat_weights *= 3
        >>> model.layers[-1].kernel.ravel()
        array([3., 3.], dtype=float32)
        """
        return self._need_engine("flat_weights").parameters

    @flat_weights.setter
    def flat_weights(self, value: npt.ArrayLike) -> None:
        with self._home.setting_weights():
            flat = self._need_engine("flat_weights").parameters
            if value is not flat:  # as after ``model.flat_weights += step``
                fill_all([flat], [copy_like(flat, value, "flat_weights")])

    @property
    def flat_gradients(self) -> Array:
        """A view of the buffer with all :attr:`gradients`, laid out as :attr:`flat_weights`; it may be set likewise."""
        return self._need_engine("flat_gradients").gradients

    @flat_gradients.setter
    def flat_gradients(self, value: npt.ArrayLike) -> None:
        with self._home.lock:
            flat = self._need_engine("flat_gradients").gradients
            if value is not flat:
                fill_all([flat], [copy_like(flat, value, "flat_gradients")])

    def blend(self, other: Any, tau: float) -> None:
        """Move all weights towards those of another model: ``w = tau * other + (1 - tau) * w``, in one sweep.

        Reinforcement learning lets a target network follow the trained one so. The weights are all of :attr:`weights`,
        the moving statistics of normalizations among them. The states of optimizers, and what layers were adapted to,
        stay each model's own.

        Parameters
        ----------
        other : Sequential
            A built model whose parameters have the same names in their layers, the same shapes and the same dtype;
            names of layers may differ. No other thread changes it meanwhile.
        tau : float
            From 0 to 1; with 1 the weights become copies.

        Raises
        ------
        TypeError, ValueError
            When the models do not fit together, or tau lies elsewhere; no weight has changed then.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
        >>> target = fastnn.models.clone_model(model)
        >>> target.blend(model, 0.005)
        """
        self._blend(other, number("tau", tau, 0.0, 1.0), "blend")

    def copy_weights_from(self, other: Any) -> None:
        """Set all weights to those of another model, as :meth:`blend` with a tau of 1 does.

        Parameters
        ----------
        other : Sequential

        Raises
        ------
        TypeError, ValueError
            When the models do not fit together; no weight has changed then.

        Examples
        --------
        >>> import fastnn
        >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
        >>> target = fastnn.models.clone_model(model)
        >>> target.copy_weights_from(model)
        """
        self._blend(other, 1.0, "copy_weights_from")

    def _blend(self, other: Any, tau: float, action: str) -> None:
        if not isinstance(other, Network):
            raise TypeError(f"other must be a Sequential, got {type(other).__name__}")
        if other is self:
            return
        for model, name in ((self, action), (other, f"other in {action}")):
            model._need_engine(name)  # which may have to build it, and cannot while it is held to read
        with Locks([self._home.lock], [other._home.lock]):
            engine, source = self._engine, other._engine
            if engine is None or source is None:
                raise ValueError(f"{action} needs built models, and another thread has taken one apart")
            _check_alike(engine.plan, source.plan)
            engine.blend(source, tau)


def _check_alike(plan: Plan, other: Plan) -> None:
    """Raise unless the parameters of both plans lie in the same places of their buffers and are of one dtype."""
    if plan.dtype != other.dtype:
        raise ValueError(f"other must have weights of {plan.dtype}, as this model, got {other.dtype}")
    for mine, theirs in zip_longest(plan.parameters, other.parameters):
        if mine is None:
            raise ValueError(f"other must have this model's weights, but has {_told(theirs)} besides")
        if theirs is None:
            raise ValueError(f"other must have this model's weights, but lacks {_told(mine)}")
        if (mine.name, mine.shape) != (theirs.name, theirs.shape):
            raise ValueError(f"other must have this model's weights, but has {_told(theirs)} in place of {_told(mine)}")


def _told(spec: ParameterSpec) -> str:
    return f"{spec.name} of layer {spec.layer!r}, shape {spec.shape},"
