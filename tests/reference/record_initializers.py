"""Initializers: statistics of large draws, and exact values where there is no chance."""

import keras
import numpy as np
from recorder import DTYPES, Recording, make, use

SHAPE = (500, 300)
NAMES = """
    GlorotUniform GlorotNormal HeUniform HeNormal LecunUniform LecunNormal VarianceScaling
    TruncatedNormal RandomNormal RandomUniform Orthogonal
""".split()  # noqa: SIM905 - a list of words reads best as words
RANDOM = {name: {"class_name": name, "config": {}} for name in NAMES} | {
    "TruncatedNormal moved": {"class_name": "TruncatedNormal", "config": {"mean": 1.0, "stddev": 0.5}},
    "RandomNormal moved": {"class_name": "RandomNormal", "config": {"mean": -1.0, "stddev": 2.0}},
    "RandomUniform moved": {"class_name": "RandomUniform", "config": {"minval": 1.0, "maxval": 3.0}},
    "Orthogonal gain": {"class_name": "Orthogonal", "config": {"gain": 1.5}},
    **{
        f"VarianceScaling {mode} {distribution}": {
            "class_name": "VarianceScaling",
            "config": {"scale": 3.0, "mode": mode, "distribution": distribution},
        }
        for mode in ("fan_in", "fan_out", "fan_avg")
        for distribution in ("truncated_normal", "untruncated_normal", "uniform")
    },
}
EXACT = {
    "Zeros": {"class_name": "Zeros", "config": {}},
    "Ones": {"class_name": "Ones", "config": {}},
    "Constant": {"class_name": "Constant", "config": {"value": 0.25}},
    "Identity": {"class_name": "Identity", "config": {"gain": 2.0}},
}


def statistics(values):
    """Return mean, standard deviation, smallest, largest, and the quantiles at 1/8, 2/8, ... 7/8."""
    values = np.asarray(values, np.float64)
    return np.array(
        [values.mean(), values.std(), values.min(), values.max(), *np.quantile(values, np.arange(1, 8) / 8)]
    )


def main():
    """Draw three times from each initializer: the mean over draws is nearer to the truth than one draw."""
    recording = Recording("initializers")
    recording.put("shape", np.array(SHAPE))
    for name, case in RANDOM.items():
        recording.case(name, random=True, **case)
        for dtype in DTYPES:
            use(dtype)
            for k in range(3):
                config = case["config"] | {"seed": k}
                draw = make(keras.initializers, case | {"config": config})(SHAPE)
                recording.put(f"{name}/{dtype}/{k}", statistics(draw).astype(np.float32))
    for name, case in EXACT.items():
        recording.case(name, random=False, **case)
        for dtype in DTYPES:
            values = make(keras.initializers, case)((4, 3), dtype=dtype)
            recording.put(f"{name}/{dtype}/values", np.asarray(values))
    recording.save()


if __name__ == "__main__":
    main()
