"""The formulas of the optimizers in NumPy, in the precision of the arrays: tests hold the engine to them.

Each takes the optimizer, the parameter, its gradient, a dict that keeps the slots, the learning rate and the number of
the update from 1 on, and returns the new parameter.
"""

import numpy as np

from fastnn import optimizers


def sgd(o, p, g, s, rate, t):
    if not o.momentum:
        return p - rate * g
    s["m"] = o.momentum * s.get("m", 0) - rate * g
    return p + (o.momentum * s["m"] - rate * g if o.nesterov else s["m"])


def moments(o, g, s):
    s["m"] = o.beta_1 * s.get("m", 0) + (1 - o.beta_1) * g
    s["v"] = o.beta_2 * s.get("v", 0) + (1 - o.beta_2) * g * g


def adam(o, p, g, s, rate, t):
    moments(o, g, s)
    s["top"] = np.maximum(s.get("top", 0), s["v"])
    correction = np.sqrt(1 - o.beta_2**t) / (1 - o.beta_1**t)
    return p - rate * correction * s["m"] / (np.sqrt(s["top" if o.amsgrad else "v"]) + o.epsilon)


def nadam(o, p, g, s, rate, t):
    moments(o, g, s)
    u, after = (o.beta_1 * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
    s["u"] = s.get("u", 1.0) * u
    m = after * s["m"] / (1 - s["u"] * after) + (1 - u) * g / (1 - s["u"])
    return p - rate * m / (np.sqrt(s["v"] / (1 - o.beta_2**t)) + o.epsilon)


def adamax(o, p, g, s, rate, t):
    s["m"] = o.beta_1 * s.get("m", 0) + (1 - o.beta_1) * g
    s["u"] = np.maximum(o.beta_2 * s.get("u", 0), np.abs(g))
    return p - rate / (1 - o.beta_1**t) * s["m"] / (s["u"] + o.epsilon)


def rmsprop(o, p, g, s, rate, t):
    s["v"] = o.rho * s.get("v", 0) + (1 - o.rho) * g * g
    s["a"] = o.rho * s.get("a", 0) + (1 - o.rho) * g
    variance = s["v"] - s["a"] ** 2 if o.centered else s["v"]
    s["m"] = o.momentum * s.get("m", 0) + rate * g / np.sqrt(variance + o.epsilon)
    return p - s["m"]


def adagrad(o, p, g, s, rate, t):
    s["a"] = s.get("a", o.initial_accumulator_value) + g * g
    return p - rate * g / np.sqrt(s["a"] + o.epsilon)


def adadelta(o, p, g, s, rate, t):
    s["a"] = o.rho * s.get("a", 0) + (1 - o.rho) * g * g
    change = g * np.sqrt(s.get("d", 0) + o.epsilon) / np.sqrt(s["a"] + o.epsilon)
    s["d"] = o.rho * s.get("d", 0) + (1 - o.rho) * change**2
    return p - rate * change


def lion(o, p, g, s, rate, t):
    step = np.sign(o.beta_1 * s.get("m", 0) + (1 - o.beta_1) * g)
    s["m"] = o.beta_2 * s.get("m", 0) + (1 - o.beta_2) * g
    return p - rate * step


def rms(x):
    return np.sqrt(np.mean(x * x))


def adafactor(o, p, g, s, rate, t):
    beta, squares = 1 - t**o.beta_2_decay, g * g + o.epsilon_1
    if p.ndim == 2:
        s["r"] = beta * s.get("r", 0) + (1 - beta) * squares.mean(axis=1)
        s["c"] = beta * s.get("c", 0) + (1 - beta) * squares.mean(axis=0)
        s["v"] = np.outer(s["r"] / s["r"].mean(), s["c"])
    else:
        s["v"] = beta * s.get("v", 0) + (1 - beta) * squares
    u = g / np.sqrt(s["v"])
    u = u / max(1, rms(u) / o.clip_threshold)
    return p - max(o.epsilon_2, rms(p)) * min(rate, 1 / np.sqrt(t)) * u


def muon(o, p, g, s, rate, t):
    if p.ndim != 2:
        adam_of = optimizers.Adam(rate, o.adam_beta_1, o.adam_beta_2, o.epsilon)
        return adam(adam_of, p, g, s, rate * o.adam_lr_ratio, t)
    s["m"] = o.momentum * s.get("m", 0) + g
    x = g + o.momentum * s["m"] if o.nesterov else s["m"]
    x = x.T if p.shape[0] > p.shape[1] else x
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(o.ns_steps):
        gram = x @ x.T
        x = o.muon_a * x + (o.muon_b * gram + o.muon_c * gram @ gram) @ x
    scale = 1 if o.rms_rate is None else o.rms_rate * np.sqrt(max(p.shape))
    return p - rate * scale * (x.T if p.shape[0] > p.shape[1] else x)


RULES = {
    "sgd": (sgd, lambda **k: optimizers.SGD(0.05, **k)),
    "momentum": (sgd, lambda **k: optimizers.SGD(0.05, 0.9, **k)),
    "nesterov": (sgd, lambda **k: optimizers.SGD(0.05, 0.9, True, **k)),
    "adam": (adam, lambda **k: optimizers.Adam(0.01, **k)),
    "amsgrad": (adam, lambda **k: optimizers.Adam(0.01, beta_2=0.5, amsgrad=True, **k)),
    "adamw": (adam, lambda **k: optimizers.AdamW(0.01, **({"weight_decay": 0.1} | k))),
    "nadam": (nadam, lambda **k: optimizers.Nadam(0.01, **k)),
    "adamax": (adamax, lambda **k: optimizers.Adamax(0.01, **k)),
    "rmsprop": (rmsprop, lambda **k: optimizers.RMSprop(0.01, **k)),
    "rmsprop_momentum": (rmsprop, lambda **k: optimizers.RMSprop(0.01, momentum=0.8, **k)),
    "rmsprop_centered": (rmsprop, lambda **k: optimizers.RMSprop(0.01, centered=True, **k)),
    "rmsprop_both": (rmsprop, lambda **k: optimizers.RMSprop(0.01, momentum=0.8, centered=True, **k)),
    "adagrad": (adagrad, lambda **k: optimizers.Adagrad(0.05, **k)),
    "adadelta": (adadelta, lambda **k: optimizers.Adadelta(0.5, **k)),
    "lion": (lion, lambda **k: optimizers.Lion(0.01, **k)),
    "adafactor": (adafactor, lambda **k: optimizers.Adafactor(0.05, **k)),
    "adafactor_clipped": (adafactor, lambda **k: optimizers.Adafactor(0.05, clip_threshold=0.5, **k)),
    "muon": (
        muon,
        lambda **k: optimizers.Muon(0.01, adam_weight_decay=k.get("weight_decay"), **({"weight_decay": None} | k)),
    ),
    "muon_plain": (
        muon,
        lambda **k: optimizers.Muon(
            0.01,
            nesterov=False,
            ns_steps=2,
            rms_rate=None,
            adam_lr_ratio=0.5,
            adam_weight_decay=k.get("weight_decay"),
            **({"weight_decay": None} | k),
        ),
    ),
}
