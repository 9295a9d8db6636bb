"""The cross-entropy over the temperature that suits the outputs best."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._settings import flag
from fastnn.metrics._base import EITHER, Array, Metric, State

_LOGARITHMS = np.linspace(-2.25, 2.25, 16)  # of the temperatures; steps of 0.3 are fine enough for a parabola
_EPSILON = 1e-7


class TemperatureScaledCrossentropy(Metric):
    """The categorical cross-entropy of the logits over the one temperature that suits all rows best.

    Of two networks the one with the lower value tells classes apart better, however sure either is of them: how sure it
    is one temperature mends afterwards (Guo et al., On calibration of modern neural networks, 2017). So on validation
    rows this is what to stop by (Berta et al., Rethinking early stopping: refine, then calibrate, arXiv:2501.19195).

    Parameters
    ----------
    name : str, default "temperature_scaled_crossentropy"
    from_logits : bool, default False
        Whether outputs are logits; else they are probabilities, whose logarithms are logits.

    Notes
    -----
    The cross-entropy is summed for 16 temperatures from 0.1 to 9.5, and is a parabola of their logarithms near the best
    one. That is chosen for targets with a doubt of 1 / (rows + 2), as in Platt (1999), so that no temperature is the
    better the lower it is where all rows are right.

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.TemperatureScaledCrossentropy(from_logits=True)
    >>> metric.update_state([0, 0, 1, 1], [[9.0, 0.0], [5.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    >>> round(metric.result(), 2)
    0.6
    """

    name, engine_name, targets = "temperature_scaled_crossentropy", "temperatures", EITHER
    compares_outputs = True

    def __init__(self, name: str | None = None, from_logits: bool = False) -> None:
        super().__init__(name)
        self.from_logits = flag("from_logits", from_logits)

    def _update(self, t: Array, y: Array, w: State) -> State:
        from scipy.special import log_softmax

        y = y.astype(np.float64)
        logits = y if self.from_logits else np.log(np.clip(y, _EPSILON, 1 - _EPSILON))
        sums = []
        for logarithm in _LOGARITHMS:
            losses = -log_softmax(logits / np.exp(logarithm), axis=1)
            sums.append([w @ (t * losses).sum(axis=1), w @ losses.mean(axis=1)])
        return np.r_[np.transpose(sums).reshape(-1), w.sum()]

    def value(self, state: State) -> float:
        """Return the cross-entropy over the best temperature."""
        weights = state[-1]
        if not weights:
            return 0.0
        of_targets, of_doubt = state[:-1].reshape(2, -1) / weights
        doubt = 1 / (weights + 2)
        doubted = (1 - doubt) * of_targets + doubt * of_doubt
        at = min(max(int(doubted.argmin()), 1), len(doubted) - 2)
        before, here, after = doubted[at - 1 : at + 2]
        bend = before - 2 * here + after
        place = min(max((before - after) / 2 / bend, -1.0), 1.0) if bend > 0 else 0.0
        before, here, after = of_targets[at - 1 : at + 2]
        return float(here + (after - before) / 2 * place + (before - 2 * here + after) / 2 * place**2)

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (float(self.from_logits),), tuple(np.exp(-_LOGARITHMS).tolist())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"from_logits": self.from_logits, **super().get_config()}
