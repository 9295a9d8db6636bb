"""Losses and metrics as the engine knows them: codes, constants and columns."""

from __future__ import annotations

from typing import NamedTuple

DENSE, LABELS = 0, 1  # targets: a row of numbers like the output, or one class label
SUM_OVER_BATCH_SIZE, SUM, MEAN_WITH_SAMPLE_WEIGHT = 0, 1, 2
MAX_NUMBERS = 4


class Measure(NamedTuple):
    """A metric of a head.

    Attributes
    ----------
    metric : int
        The code of its rule.
    weighted : bool
        Whether rows count with their weights.
    numbers : tuple of float
        At most four constants of the rule.
    vector : tuple of float
        More of them.
    loss : int
        The code of the loss whose mean it is, with the loss's numbers and vector.
    """

    metric: int
    weighted: bool = False
    numbers: tuple[float, ...] = ()
    vector: tuple[float, ...] = ()
    loss: int = 0


class Head(NamedTuple):
    """What is minimised over some columns of the last op's output.

    Heads follow each other: together they take all columns of the output, of the targets and of the labels, in order.

    Attributes
    ----------
    loss : int
        The code of its rule.
    columns : int
        Of the output.
    target_columns : int
        Of the targets; 0: one label a row instead.
    weight : float
        Of its loss in the sum of all heads'.
    reduction : int
        How the losses of a batch's rows become one.
    numbers, vector : tuple of float
        Constants of the rule, as for a metric.
    op : int
        The index of the op whose output these columns are; -1 is the last. The loss may compute its activation.
    measures : tuple of Measure
    """

    loss: int
    columns: int
    target_columns: int
    weight: float = 1.0
    reduction: int = SUM_OVER_BATCH_SIZE
    numbers: tuple[float, ...] = ()
    vector: tuple[float, ...] = ()
    op: int = -1
    measures: tuple[Measure, ...] = ()
