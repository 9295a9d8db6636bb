"""Losses and metrics as the engine knows them: names, constants and columns.

Names of losses and metrics are those of the enums in src_c: ``"huber"`` is FNN_HUBER. Only the engine knows numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastnn._op import Schedule

DENSE, LABELS = 0, 1  # kinds of targets: a row of numbers like the output, or one class label
MAX_NUMBERS = 4


class Measure(NamedTuple):
    """A metric of a head.

    Attributes
    ----------
    metric : str
        The engine's name for the metric (fnn_metric).
    weighted : bool
        Whether each row counts with its weight.
    numbers : tuple of float
        At most four constants of the metric.
    vector : tuple of float
        Further constants of the metric.
    loss : str
        The name of the loss whose mean the metric is, with that loss's numbers and vector; empty for other metrics.
    """

    metric: str
    weighted: bool = False
    numbers: tuple[float, ...] = ()
    vector: tuple[float, ...] = ()
    loss: str = ""


class Head(NamedTuple):
    """What is minimised over some columns of the output.

    Heads follow each other: together they take all columns of the output, of the targets and of the labels, in order.

    Attributes
    ----------
    loss : str
        The engine's name for the loss (fnn_loss).
    columns : int
        The number of columns of the output that the head takes.
    target_columns : int
        The number of columns of the targets that the head takes; 0: one label a row instead.
    weight : float
        The factor of this head's loss in the sum of all heads' losses.
    reduction : str
        The engine's name for how the losses of a batch's rows become one number (fnn_reduction).
    numbers, vector : tuple of float
        Constants of the loss, as for a metric.
    smoothing : Schedule or None
        The schedule of the label smoothing, which stands first among the numbers; None: it is the same at each step.
    op : int
        The index of the op whose output has these columns; -1 is the last. The loss may compute that op's activation.
    measures : tuple of Measure
    """

    loss: str
    columns: int
    target_columns: int
    weight: float = 1.0
    reduction: str = "sum_over_batch_size"
    numbers: tuple[float, ...] = ()
    vector: tuple[float, ...] = ()
    smoothing: Schedule | None = None
    op: int = -1
    measures: tuple[Measure, ...] = ()
