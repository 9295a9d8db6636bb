"""Regularizers and constraints: values, gradients, and training with them."""

import keras
import numpy as np
import tensorflow as tf
from recorder import DTYPES, ROWS, Recording, make, normal, train, use

REGULARIZERS = {
    "l1": ("L1", {"l1": 0.03125}),
    "l2": ("L2", {"l2": 0.03125}),
    "l1_l2": ("L1L2", {"l1": 0.015625, "l2": 0.03125}),
    "orthogonal_rows": ("OrthogonalRegularizer", {"factor": 0.03125}),
    "orthogonal_columns": ("OrthogonalRegularizer", {"factor": 0.03125, "mode": "columns"}),
}
CONSTRAINTS = {
    "max_norm": ("MaxNorm", {"max_value": 0.8}),
    "max_norm_rows": ("MaxNorm", {"max_value": 0.8, "axis": 1}),
    "non_neg": ("NonNeg", {}),
    "unit_norm": ("UnitNorm", {}),
    "unit_norm_rows": ("UnitNorm", {"axis": 1}),
    "min_max_norm": ("MinMaxNorm", {"min_value": 0.5, "max_value": 0.9}),
    "min_max_norm_rate": ("MinMaxNorm", {"min_value": 0.5, "max_value": 0.9, "rate": 0.3}),
}
ACTIVITY = ("l1", "l2", "l1_l2")  # the other regularizers are for kernels, and Keras has them in float32 only


def both(config):
    """Return configs of a layer of six units with these arguments, then of a layer of two units."""
    return [["Dense", {"units": 6, "activation": "tanh", **config}], ["Dense", {"units": 2}]]


def main():
    """Record each on a matrix alone, then ten steps with it on a kernel (where possible, on bias and outputs)."""
    generator = np.random.default_rng(9)
    x, y, matrix = normal(generator, ROWS, 5), normal(generator, ROWS, 2), normal(generator, 5, 4)
    matrix[0, 0] = matrix[:, 3] = 0  # a kink of the penalties, and a column of length 0
    compiled = {"optimizer": lambda: keras.optimizers.SGD(0.1), "loss": "mse"}

    recording = Recording("regularizers")
    for name, array in (("x", x), ("y", y), ("matrix", matrix)):
        recording.put(name, array)
    for name, (class_name, config) in REGULARIZERS.items():
        case = {"class_name": class_name, "config": config}
        stacks = {"kernel": both({"kernel_regularizer": case})}
        if name in ACTIVITY:
            stacks |= {
                "both": both({"kernel_regularizer": case, "bias_regularizer": case}),
                "activity": both({"activity_regularizer": case}),
                "layer": [["ActivityRegularization", config], *both({}), ["ActivityRegularization", config]],
            }
        recording.case(name, stacks=stacks, **case)
        dtypes = DTYPES if name in ACTIVITY else DTYPES[:1]
        for dtype in dtypes:
            use(dtype)
            variable = tf.Variable(matrix.astype(dtype) if name in ACTIVITY else matrix[:, :3].astype(dtype))
            with tf.GradientTape() as tape:
                value = make(keras.regularizers, case)(variable)
            recording.put(f"{name}/{dtype}/value", np.asarray(value))
            recording.put(f"{name}/{dtype}/gradient", np.asarray(tape.gradient(value, variable)))
        for place, stack in stacks.items():
            train(recording, f"{name}/{place}", stack, x, y, compiled, dtypes=dtypes)
    recording.save()

    recording = Recording("constraints")
    for name, array in (("x", x), ("y", y), ("matrix", matrix)):
        recording.put(name, array)
    for name, (class_name, config) in CONSTRAINTS.items():
        case = {"class_name": class_name, "config": config}
        extra = {"kernel_constraint": case}
        if "axis" not in config:
            extra["bias_constraint"] = case
        recording.case(name, stack=both(extra), **case)
        for dtype in DTYPES:
            use(dtype)
            recording.put(f"{name}/{dtype}/matrix", np.asarray(make(keras.constraints, case)(matrix.astype(dtype))))
        train(recording, name, both(extra), x, y, compiled)
    recording.save()


if __name__ == "__main__":
    main()
