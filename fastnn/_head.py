"""Losses and metrics as the engine knows them: names, constants and columns.

Names of rules are those of the enums in src_c: ``"huber"`` is FNN_HUBER. The engine alone knows their numbers.
"""

from __future__ import annotations

from typing import NamedTuple

DENSE, LABELS = 0, 1  # targets: a row of numbers like the output, or one class label
MAX_NUMBERS = 4


class Measure(NamedTuple):
    """A metric of a head.

    Attributes
    ----------
    metric : str
        The name of its rule (fnn_metric).
    weighted : bool
        Whether rows count with their weights.
    numbers : tuple of float
        At most four constants of the rule.
    vector : tuple of float
        More of them.
    loss : str
        The name of the loss whose mean it is, with the loss's numbers and vector; empty where it is none.
    """

    metric: str
    weighted: bool = False
    numbers: tuple[float, ...] = ()
    vector: tuple[float, ...] = ()
    loss: str = ""


class Head(NamedTuple):
    """What is minimised over some columns of the last op's output.

    Heads follow each other: together they take all columns of the output, of the targets and of the labels, in order.

    Attributes
    ----------
    loss : str
        The name of its rule (fnn_loss).
    columns : int
        Of the output.
    target_columns : int
        Of the targets; 0: one label a row instead.
    weight : float
        Of its loss in the sum of all heads'.
    reduction : str
        How the losses of a batch's rows become one (fnn_reduction).
    numbers, vector : tuple of float
        Constants of the rule, as for a metric.
    op : int
        The index of the op whose output these columns are; -1 is the last. The loss may compute its activation.
    measures : tuple of Measure
    """

    loss: str
    columns: int
    target_columns: int
    weight: float = 1.0
    reduction: str = "sum_over_batch_size"
    numbers: tuple[float, ...] = ()
    vector: tuple[float, ...] = ()
    op: int = -1
    measures: tuple[Measure, ...] = ()
