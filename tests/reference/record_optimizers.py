"""Optimizers: ten steps of each rule with its options; schedules: the rate at each step."""

import keras
import numpy as np
from recorder import ROWS, Recording, make, normal, train, use

# Name -> class, config. Keras rounds some constants of an optimizer to float32 even when all else is float64: the cases
# other than DEFAULTS have constants that float32 holds exactly.
COMMON = {
    "weight_decay": {"weight_decay": 0.0625},
    "clipnorm": {"clipnorm": 0.125},
    "clipvalue": {"clipvalue": 0.015625},
    "global_clipnorm": {"global_clipnorm": 0.125},
    "accumulation": {"gradient_accumulation_steps": 3},
    "ema": {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 4},
    "ema_at_end": {"use_ema": True, "ema_momentum": 0.75},
}
MOMENTS = {"beta_1": 0.875, "beta_2": 0.96875}
DEFAULTS = {
    "sgd": ("SGD", {"learning_rate": 0.1}),
    "adam": ("Adam", {"learning_rate": 0.01}),
    "adamw": ("AdamW", {"learning_rate": 0.01}),
    "nadam": ("Nadam", {"learning_rate": 0.01}),
    "adamax": ("Adamax", {"learning_rate": 0.01}),
    "rmsprop": ("RMSprop", {"learning_rate": 0.01}),
    "adagrad": ("Adagrad", {"learning_rate": 0.05}),
    "adadelta": ("Adadelta", {"learning_rate": 1.0}),
    "lion": ("Lion", {"learning_rate": 0.003}),
    "adafactor": ("Adafactor", {"learning_rate": 0.05}),
    "muon": ("Muon", {"learning_rate": 0.01}),
}
RULES = {
    "sgd_momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.875}),
    "sgd_nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.875, "nesterov": True}),
    "adam_numbers": ("Adam", {"learning_rate": 0.02, **MOMENTS, "epsilon": 2.0**-10}),
    "adam_amsgrad": ("Adam", {"learning_rate": 0.01, "beta_1": 0.875, "beta_2": 0.75, "amsgrad": True}),
    "adamw_numbers": ("AdamW", {"learning_rate": 0.01, **MOMENTS, "weight_decay": 0.0625}),
    "adamw_amsgrad": (
        "AdamW",
        {"learning_rate": 0.01, "beta_1": 0.875, "beta_2": 0.75, "weight_decay": 0.125, "amsgrad": True},
    ),
    "nadam_numbers": ("Nadam", {"learning_rate": 0.01, **MOMENTS}),
    "adamax_numbers": ("Adamax", {"learning_rate": 0.01, **MOMENTS}),
    "rmsprop_momentum": ("RMSprop", {"learning_rate": 0.01, "rho": 0.875, "momentum": 0.5}),
    "rmsprop_centered": ("RMSprop", {"learning_rate": 0.01, "centered": True, "rho": 0.75}),
    "rmsprop_all": (
        "RMSprop",
        {"learning_rate": 0.01, "centered": True, "rho": 0.875, "momentum": 0.5, "epsilon": 2.0**-13},
    ),
    "adagrad_accumulator": ("Adagrad", {"learning_rate": 0.05, "initial_accumulator_value": 0.015625}),
    "adadelta_numbers": ("Adadelta", {"learning_rate": 0.5, "rho": 0.875, "epsilon": 2.0**-13}),
    "lion_numbers": ("Lion", {"learning_rate": 0.003, "beta_1": 0.75, "beta_2": 0.875}),
    "adafactor_absolute": ("Adafactor", {"learning_rate": 0.05, "relative_step": False, "clip_threshold": 0.5}),
    "muon_plain": ("Muon", {"learning_rate": 0.01, "nesterov": False, "weight_decay": 0.125, "ns_steps": 3}),
}
CASES = DEFAULTS | RULES | {
    f"{name}_{option}": (rule[0], rule[1] | config)
    for name, rule in {
        "sgd": DEFAULTS["sgd"],
        "sgd_momentum": RULES["sgd_momentum"],
        "adam": ("Adam", {"learning_rate": 0.01, **MOMENTS}),
        "rmsprop": ("RMSprop", {"learning_rate": 0.01, "rho": 0.875}),
        "lion": RULES["lion_numbers"],
    }.items()
    for option, config in COMMON.items()
} | {
    f"{name}_weight_decay": (RULES[rule][0], RULES[rule][1] | COMMON["weight_decay"])
    for name, rule in {
        "nadam": "nadam_numbers", "adamax": "adamax_numbers", "adagrad": "adagrad_accumulator",
        "adadelta": "adadelta_numbers", "adafactor": "adafactor_absolute",
    }.items()
} | {
    "adam_everything": (
        "Adam",
        {"learning_rate": 0.01, **MOMENTS, "weight_decay": 0.0625, "global_clipnorm": 0.125,
         "gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 2},
    ),
}  # fmt: skip
SCHEDULES = {
    "exponential": ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5}),
    "exponential_staircase": (
        "ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5, "staircase": True},
    ),
    "inverse_time": ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5}),
    "inverse_time_staircase": (
        "InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5, "staircase": True},
    ),
    "piecewise": ("PiecewiseConstantDecay", {"boundaries": [3, 7], "values": [0.1, 0.05, 0.01]}),
    "polynomial": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 6, "end_learning_rate": 0.01}),
    "polynomial_power": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 6, "power": 2.0}),
    "polynomial_cycle": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 6, "cycle": True}),
    "cosine": ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 6, "alpha": 0.1}),
    "cosine_warmup": (
        "CosineDecay", {"initial_learning_rate": 0.01, "decay_steps": 6, "warmup_target": 0.1, "warmup_steps": 3},
    ),
    "cosine_restarts": ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4}),
    "cosine_restarts_numbers": (
        "CosineDecayRestarts",
        {"initial_learning_rate": 0.1, "first_decay_steps": 3, "t_mul": 1.5, "m_mul": 0.8, "alpha": 0.05},
    ),
}  # fmt: skip
STACK = [["Dense", {"units": 6, "activation": "tanh"}], ["Dense", {"units": 2}]]


def main():
    """Record the same small regression for every optimizer."""
    generator = np.random.default_rng(8)
    x = normal(generator, ROWS, 5)
    y = normal(generator, ROWS, 2)
    recording = Recording("optimizers")
    recording.put("x", x)
    recording.put("y", y)
    for name, (class_name, config) in CASES.items():
        case = {"class_name": class_name, "config": config}
        recording.case(name, stack=STACK, defaults=name in DEFAULTS, **case)
        compiled = {"optimizer": lambda case=case: make(keras.optimizers, case), "loss": "mse"}
        train(recording, name, STACK, x, y, compiled)
    recording.save()

    recording = Recording("schedules")
    recording.put("x", x)
    recording.put("y", y)
    for name, (class_name, config) in SCHEDULES.items():
        case = {"class_name": class_name, "config": config}
        recording.case(name, stack=STACK, **case)
        for dtype in ("float32", "float64"):
            use(dtype)
            schedule = make(keras.optimizers.schedules, case)
            rates = [float(schedule(step)) for step in range(30)]
            recording.put(f"{name}/{dtype}/rates", np.array(rates, dtype))
        compiled = {
            "optimizer": lambda case=case: keras.optimizers.Adam(make(keras.optimizers.schedules, case), **MOMENTS),
            "loss": "mse",
        }
        train(recording, name, STACK, x, y, compiled)
    recording.save()


if __name__ == "__main__":
    main()
