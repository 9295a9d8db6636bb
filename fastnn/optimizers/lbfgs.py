"""L-BFGS for small data: SciPy's algorithm, over all trained parameters and all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._engine import op_traits
from fastnn._settings import Setting
from fastnn.optimizers.base import Hyperparameters, Optimizer

if TYPE_CHECKING:
    from fastnn._engine import Engine
    from fastnn._op import Op, ParameterSettings, ParameterSpec
    from fastnn.data.feeds import Samples

Array = npt.NDArray[Any]


class LBFGS(Optimizer):
    """L-BFGS (Liu and Nocedal 1989), for data and models small enough that every step can look at all rows.

    ``fit(epochs=n)`` runs up to n iterations over all rows at once. Each epoch of the history is an iteration; ``fit``
    ends early once the iterations have converged. SciPy's ``L-BFGS-B`` chooses the steps, so that there is no learning
    rate. Keras has no such optimizer.

    Parameters
    ----------
    max_corrections : int, default 10
        The number of pairs of a step and its change of the gradient that are remembered.
    function_tolerance : float, default 2.2e-9
        The search has converged when an iteration lowers the loss by less than this share of the loss,
    gradient_tolerance : float, default 1e-5
        or when no element of the gradient is larger than this.
    max_line_search : int, default 20
        The most evaluations of the loss in an iteration.
    max_evaluations : int, optional
        The most evaluations of the loss in one ``fit``; an iteration that is running ends before the limit counts.
    name : str, optional
        Accepted as for other optimizers, without a meaning here.

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = fastnn.Sequential([fastnn.Input((1,), dtype="float64"), fastnn.layers.Dense(1)])
    >>> model.compile(fastnn.optimizers.LBFGS(), "mse")
    >>> round(min(model.fit(x, 2 * x - 1, epochs=20, verbose=0).history["loss"]), 6)
    0.0
    """

    max_corrections = Setting(low=1, whole=True)
    function_tolerance = Setting()
    gradient_tolerance = Setting()
    max_line_search = Setting(low=1, whole=True)
    max_evaluations = Setting(low=1, whole=True, optional=True)
    _FIELDS = ("max_corrections", "function_tolerance", "gradient_tolerance", "max_line_search", "max_evaluations")

    def __init__(
        self,
        max_corrections: int = 10,
        function_tolerance: float = 2.2e-9,
        gradient_tolerance: float = 1e-5,
        max_line_search: int = 20,
        max_evaluations: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(1.0, name=name)
        self.max_evaluations = max_evaluations
        self.max_corrections, self.max_line_search = max_corrections, max_line_search
        self.function_tolerance, self.gradient_tolerance = function_tolerance, gradient_tolerance
        self._outcome: tuple[bool | None, str] = None, ""

    @property
    def converged(self) -> bool | None:
        """Whether the last ``fit`` ended because the loss or the gradient met a tolerance; None before."""
        return self._outcome[0]

    @property
    def message(self) -> str:
        """Why the last ``fit`` ended, in SciPy's words."""
        return self._outcome[1]

    @property
    def engine_name(self) -> str:
        """The engine's name for gradient descent, of which the engine takes no step here."""
        return "sgd"

    @property
    def learning_rate(self) -> float:
        """Raise: L-BFGS has no learning rate."""
        raise AttributeError("LBFGS has no learning_rate: a line search chooses each step")

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError("LBFGS has no learning_rate: a line search chooses each step")

    def hyperparameters(self) -> Hyperparameters:
        """Raise: L-BFGS makes no step from one batch."""
        raise ValueError("LBFGS looks at all rows in every step: train with fit, on arrays")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name} | {field: getattr(self, field) for field in self._FIELDS}

    def check(
        self, ops: Iterable[Op], parameters: Iterable[ParameterSpec], parameter_settings: Iterable[ParameterSettings]
    ) -> None:
        """Raise where a layer makes the loss differ from call to call, or a parameter asks for what L-BFGS lacks."""
        for op in ops:
            traits = op_traits(op.name)
            if traits.is_noise:
                raise ValueError("LBFGS needs a loss that is the same at each call: the model has a layer of noise")
            if traits.uses_batch and not op.frozen:
                raise ValueError("LBFGS cannot train a BatchNormalization: its moving statistics follow single steps")
        for spec, settings in zip(parameters, parameter_settings, strict=True):
            if settings.constraint not in ("unconstrained", "non_negative"):
                raise ValueError(f"LBFGS knows no constraint but NonNeg, and {spec.layer}/{spec.name} has another")
            if settings.multiplier != 1:
                raise ValueError(f"LBFGS knows no learning_rate_multiplier, and layer {spec.layer!r} has one")

    def minimize(
        self,
        engine: Engine,
        parameter_settings: list[ParameterSettings],
        samples: Samples,
        iterations: int,
        before: Callable[[], None],
        ready: Callable[[], None],
        after: Callable[[Array], bool],
    ) -> None:
        """Run up to `iterations` iterations, at least one; one that finds nothing better keeps the parameters it had.

        `before` is called at the start of each iteration; `after` at its end, with the engine's sums for its
        parameters, and returns whether to stop. In between the engine's lock is held, as the weights are those of a
        trial. `ready` is called once the lock is taken, and raises where the engine is not what it was. Where a
        callback or another thread has changed the weights since the last iteration, the search begins anew from these.
        An exception leaves the parameters of the last whole iteration.
        """
        search = _Search(engine, parameter_settings, samples, before, ready, after)
        options = {
            "maxcor": self.max_corrections,
            "ftol": self.function_tolerance,
            "gtol": self.gradient_tolerance,
            "maxls": self.max_line_search,
        }
        moved = True
        while moved and search.done < iterations:
            left = iterations - search.done
            evaluations = left * (self.max_line_search + 1) + 1
            if self.max_evaluations is not None:
                evaluations = min(evaluations, max(1, self.max_evaluations - search.evaluations))
            moved = search.run(options | {"maxiter": left, "maxfun": evaluations})
        self._outcome = search.outcome


class _Search:
    """One call of :meth:`LBFGS.minimize`.

    Attributes
    ----------
    done : int
        The number of iterations so far.
    evaluations : int
        The number of evaluations of the loss so far.
    outcome : tuple of bool and str
        Whether it has converged, and what SciPy says of the end.
    """

    def __init__(
        self,
        engine: Engine,
        parameter_settings: list[ParameterSettings],
        samples: Samples,
        before: Callable[[], None],
        ready: Callable[[], None],
        after: Callable[[Array], bool],
    ) -> None:
        self._engine, self._samples = engine, samples
        self._before, self._ready, self._after = before, ready, after
        self._trained = [
            (spec.place, settings.constraint == "non_negative")
            for spec, settings in zip(engine.plan.parameters, parameter_settings, strict=True)
            if settings.trainable
        ]
        low = np.concatenate(
            [np.full(part.stop - part.start, 0.0 if bound else -np.inf) for part, bound in self._trained]
        )
        self._bounds = np.stack([low, np.full(low.size, np.inf)], axis=1) if np.isfinite(low).any() else None
        self._begun = self._held = False  # whether an iteration has begun, and whether the lock is held
        self._best: Array = np.zeros(0)  # the parameters of the last iteration
        self._left: Array = self._best  # the engine's parameters, as the search has left them
        self._gradient: Array = self._best  # of the last call
        # the parameters of the last call, and the sums for them
        self._seen: tuple[Array, Array] = self._best, np.zeros(1)
        self.done = self.evaluations = 0
        self.outcome = False, ""

    def run(self, options: dict[str, Any]) -> bool:
        """Run from the weights as they are to the end; return True if others have changed the weights before."""
        from scipy.optimize import minimize

        with self._engine.lock:
            self._best = self._gathered(self._engine.parameters)
            self._left = self._engine.parameters.copy()
        try:
            result = minimize(
                self._loss,
                self._best,
                jac=lambda _: self._gradient,  # asked for after the loss, at the same place
                method="L-BFGS-B",
                bounds=self._bounds,
                callback=self._iterated,
                options=options,
            )
            self.outcome = result.status == 0, str(result.message)
            if self._begun:  # nothing better was found: the search began at an optimum
                self._end()
        except _MovedError:
            return True
        finally:
            self._let_go()
        return False

    def _gathered(self, flat: Array) -> Array:
        return np.concatenate([flat[part] for part, _ in self._trained], dtype=np.float64)

    def _place(self, values: Array) -> None:
        at = 0
        for part, _ in self._trained:
            size = part.stop - part.start
            self._engine.parameters[part] = values[at : at + size]
            at += size

    def _hold(self) -> None:
        """Take the lock for an iteration."""
        if not self._begun:
            self._before()
            self._begun = True
        if self._held:
            return
        engine = self._engine
        with engine.lock:
            self._ready()
            if not _same_bits(engine.parameters, self._left):
                raise _MovedError
            engine.lock.acquire()
            self._held = True

    def _let_go(self) -> None:
        """Put the parameters of the last iteration in place, and release the lock."""
        if self._held:
            try:
                self._place(self._best)
                self._left[...] = self._engine.parameters
            finally:
                self._held = False
                self._engine.lock.release()

    def _loss(self, values: Array) -> float:
        self._hold()
        self._place(values)
        self.evaluations += 1
        samples = self._samples
        sums = self._engine.batch_gradient(samples.x, samples.y, False, samples.weights)
        self._seen = values.copy(), sums
        self._gradient = self._gathered(self._engine.gradients)
        return float(sums[0]) / len(samples)

    def _iterated(self, values: Array) -> None:
        self._best = values.copy()
        self._engine.iterations += 1
        if self._end():
            raise StopIteration

    def _end(self) -> bool:
        """End an iteration; return whether it is the last one."""
        if not np.array_equal(self._seen[0], self._best):  # the line search went back to earlier parameters
            self._loss(self._best)
        self.done += 1
        self._let_go()
        self._begun = False
        return self._after(self._seen[1])


def _same_bits(first: Array, second: Array) -> bool:
    """Return whether two arrays of floats of one dtype have the same bits, NaN among them."""
    whole = f"u{first.itemsize}"
    return np.array_equal(first.view(whole), second.view(whole))


class _MovedError(Exception):
    """Says that the weights are not those that the search has left."""
