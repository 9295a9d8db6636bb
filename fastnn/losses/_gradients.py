"""Checks whether the gradient that a loss in Python returns is the derivative of the loss that it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._warnings import warn
from fastnn.losses._function import CustomLoss, FunctionLoss

Array = npt.NDArray[Any]

_SIGNIFICANT = 300  # a change of the loss counts above this many times its rounding
_WRONG = 0.1  # a gradient is wrong where it is off by more than this share of the change


def sample(loss: CustomLoss, rows: int = 4, outputs: int = 3) -> tuple[Array, Array]:
    """Return targets and outputs that most losses take: probabilities, and classes where the loss wants classes."""
    generator = np.random.default_rng(0)
    columns = loss.target_columns(outputs)
    targets = generator.uniform(0.1, 0.9, (rows, columns)) if columns else np.arange(rows, dtype=np.int32) % outputs
    return targets, generator.uniform(0.1, 0.9, (rows, outputs))


def largest_error(loss: Any, y_true: Any = None, y_pred: Any = None, tolerance: float = 1e-3) -> float:
    """Return the largest relative error of the gradient; see :func:`fastnn.utils.check_gradient`."""
    checked = loss if isinstance(loss, CustomLoss) else FunctionLoss(loss)
    targets, outputs = sample(checked)
    if (y_true is None) != (y_pred is None):
        raise ValueError("y_true and y_pred must be given together, or neither of them")
    if y_pred is not None:
        outputs, targets = np.array(y_pred, np.float64), np.array(y_true)
        if outputs.ndim != 2 or len(targets) != len(outputs):
            raise ValueError(
                f"y_pred must have shape (rows, outputs) and y_true as many rows, got {outputs.shape} and "
                f"{targets.shape}"
            )
    targets = targets.astype(np.float64) if checked.target_columns(outputs.shape[1]) else targets.astype(np.int32)

    def total(at: Array) -> float:
        return float(checked.evaluated(targets.copy(), at.copy())[0].sum())

    gradient = np.array(checked.evaluated(targets.copy(), outputs.copy())[1], np.float64)
    measured = np.empty_like(gradient)
    for place in np.ndindex(outputs.shape):
        # the cube root of a rounding: with it central differences have the least error
        step = 6e-6 * max(abs(outputs[place]), 0.1)
        above, below = outputs.copy(), outputs.copy()
        above[place] += step
        below[place] -= step
        measured[place] = (total(above) - total(below)) / (above[place] - below[place])
    sizes = np.maximum(np.abs(gradient), np.abs(measured))
    errors = np.abs(gradient - measured) / np.maximum(sizes, max(1e-3 * sizes.max(initial=0), np.finfo(float).tiny))
    worst = np.unravel_index(np.argmax(np.where(np.isnan(errors), np.inf, errors)), errors.shape)
    if not errors[worst] <= tolerance:
        raise ValueError(
            f"loss {checked.name!r} has a wrong gradient: by y_pred[{', '.join(map(str, worst))}] it is "
            f"{gradient[worst]:.6g}, and central differences of the loss give {measured[worst]:.6g}"
        )
    return float(errors[worst])


def warn_of_wrong_gradient(
    loss: CustomLoss, copies: Callable[[], tuple[Array, Array]], found: tuple[npt.NDArray[np.float64], Array]
) -> None:
    """Warn where a loss grows otherwise than its gradient says, along the direction of the gradient's signs.

    Parameters
    ----------
    loss : CustomLoss
    copies : callable
        Returns the targets and outputs of a batch, as copies that the loss may write to.
    found : tuple of ndarray
        What the loss has returned for these targets and outputs.

    Notes
    -----
    For a right gradient g the check costs one call, at outputs y + s: the loss has changed by
    s · (g(y) + g(y + s)) / 2, up to an error of the third power of s, and with a kink between y and y + s by at
    most the change of g more. There is no warning where the check cannot know: where the loss differs from call to
    call, jumps, is flat here, raises, or changes by no more than roundings.
    """
    now, gradient, outputs = float(found[0].sum()), np.asarray(found[1], np.float64), copies()[1]
    if not (np.isfinite(now) and np.isfinite(gradient).all() and outputs.size):
        return
    sizes = np.abs(outputs.astype(np.float64))
    scales = np.maximum(sizes, sizes.mean()) if sizes.any() else np.ones_like(sizes)
    direction = np.where(gradient < 0, -scales, scales)
    noise = _SIGNIFICANT * float(np.finfo(outputs.dtype).eps) * abs(now)

    def moved(step: float) -> tuple[float, float, float]:
        """Return by how much the loss changes for a step, by how much the gradients say, and what a kink may add."""
        targets, at = copies()
        at += (step * direction).astype(at.dtype)
        shift = at.astype(np.float64) - outputs
        values, there = loss.evaluated(targets, at)
        bent = float(np.abs((there - gradient) * shift).sum())
        return float(values.sum()) - now, float(((gradient + there) / 2 * shift).sum()), bent

    try:
        with np.errstate(all="ignore"):
            step = 1e-3
            change, said, bent = moved(step)
            if max(abs(change), abs(said)) < 10 * noise:
                step = 3e-2
                change, said, bent = moved(step)
            right = abs(change - said) <= _WRONG * max(abs(change), abs(said)) + bent + noise
            if right or not change or not np.isfinite([change, said, bent]).all():
                return
            loose = _WRONG * abs(change) + bent + noise
            if abs(change + moved(-step)[0]) > loose or abs(change - 2 * moved(step / 2)[0]) > loose:
                return  # the loss jumps
            if float(loss.evaluated(*copies())[0].sum()) != now:
                return  # the change is noise
    except Exception:  # noqa: BLE001  # outputs that the model did not give are no fault of the loss
        return
    warn(
        f"the gradient of loss {loss.name!r} seems to be wrong: where it says that the first batch's loss changes by "
        f"{said:.4g}, it changes by {change:.4g}; fastnn.utils.check_gradient looks at each element"
    )
