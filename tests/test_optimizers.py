"""Every optimizer beside its formula in NumPy: alone, with what all share, saved and resumed, on any threads."""

import copy
import signal
import threading

import numpy as np
import pytest
from bits import same_on_any_threads
from optimizer_formulas import RULES, muon

import fastnn
from fastnn import layers, optimizers
from fastnn.optimizers import schedules

# Arguments that all optimizers share, each alone and some together.
SHARED = [
    {},
    {"weight_decay": 0.1},
    {"clipvalue": 0.3},
    {"clipnorm": 1.5},
    {"global_clipnorm": 4.0},
    {"use_ema": True, "ema_momentum": 0.8},
    {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 3},
    {"global_clipnorm": 1.0, "gradient_accumulation_steps": 2, "weight_decay": 0.1, "use_ema": True},
    {
        "weight_decay": 0.1,
        "clipvalue": 0.3,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
    },
]


class Formula:
    """Applies an optimizer's formula with what all optimizers share, in Keras's order, in float64."""

    def __init__(self, rule, optimizer):
        self.rule, self.o, self.step = rule, optimizer, 0
        self.states, self.sums, self.averages = [], [], None

    def clipped(self, gradients):
        if self.o.clipvalue:
            return [np.clip(g, -self.o.clipvalue, self.o.clipvalue) for g in gradients]
        norms = [np.linalg.norm(g) for g in gradients]
        if self.o.clipnorm:
            return [g * min(1, self.o.clipnorm / norm) for g, norm in zip(gradients, norms, strict=True)]
        if self.o.global_clipnorm:
            return [g * min(1, self.o.global_clipnorm / np.linalg.norm(norms)) for g in gradients]
        return gradients

    def __call__(self, parameters, gradients):
        o, every = self.o, self.o.gradient_accumulation_steps or 1
        self.states = self.states or [{} for _ in parameters]
        self.sums = [s + g for s, g in zip(self.sums or [0.0] * len(parameters), gradients, strict=True)]
        rate, updates = o._schedule(self.step) if callable(o._schedule) else o.learning_rate, self.step // every
        if (self.step + 1) % every == 0:
            means, self.sums = self.clipped([s / every for s in self.sums]), []
            parameters = [p - p * (o.weight_decay or 0) * rate for p in parameters]
            parameters = [
                self.rule(o, p, g, s, rate, updates + 1) for p, g, s in zip(parameters, means, self.states, strict=True)
            ]
        if o.use_ema:
            momentum = o.ema_momentum if updates else 0.0
            old = self.averages or parameters
            self.averages = [momentum * a + (1 - momentum) * p for a, p in zip(old, parameters, strict=True)]
            if o.ema_overwrite_frequency and (updates + 1) % o.ema_overwrite_frequency == 0:
                parameters = self.averages
        self.step += 1
        return parameters


def model_of(shape, dtype, optimizer, **dense):
    model = fastnn.Sequential([fastnn.Input((shape[0],), dtype=dtype), layers.Dense(shape[1], **dense)])
    generator = np.random.default_rng(shape)
    for view in model.weights:
        view[...] = generator.normal(size=view.shape)
    model.compile(optimizer, "mse")
    return model


def run_beside(model, formula, steps, scale=1.0):
    """Take some steps with given gradients; return the engine's weights and the formula's."""
    generator = np.random.default_rng(7)
    expected = [w.astype(np.float64) for w in model.get_weights()]
    model._ready("test")
    for _ in range(steps):
        gradients = [scale * generator.normal(size=g.shape).astype(model.dtype) for g in model.gradients]
        for view, g in zip(model.gradients, gradients, strict=True):
            view[...] = g
        model.apply_gradients()
        expected = formula(expected, [g.astype(np.float64) for g in gradients])
    return model.get_weights(), expected


def near(actual, expected, dtype, rtol=None):
    # Ten steps of a few roundings each, of 6e-8 or 1e-16 of weights and steps of up to 1; those near 0 are differences.
    relative, absolute = (2e-5, 2e-6) if dtype == "float32" else (1e-12, 1e-14)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=rtol or relative, atol=absolute)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (31, 33), (130, 70)])
def test_ten_steps_are_the_formula(name, shape, dtype):
    rule, make = RULES[name]
    optimizer = make()
    near(*run_beside(model_of(shape, dtype, optimizer), Formula(rule, optimizer), 10), dtype)


@pytest.mark.parametrize("shared", SHARED[1:], ids=lambda s: "+".join(s))
@pytest.mark.parametrize("name", RULES)
def test_what_optimizers_share(name, shared):
    rule, make = RULES[name]
    optimizer = make(**shared)
    model, formula = model_of((9, 7), "float64", optimizer), Formula(rule, optimizer)
    near(*run_beside(model, formula, 10), "float64")
    if optimizer.use_ema:
        weights = model.get_weights()
        optimizer.swap_average_weights()
        near(model.get_weights(), formula.averages, "float64")
        optimizer.swap_average_weights()
        near(model.get_weights(), weights, "float64")
        optimizer.finalize_variable_values(model.trainable_weights)
        near(model.get_weights(), formula.averages, "float64")


def data_of(rows, inputs, outputs, dtype):
    generator = np.random.default_rng(rows)
    return generator.normal(size=(rows, inputs)).astype(dtype), generator.normal(size=(rows, outputs)).astype(dtype)


@pytest.mark.parametrize("shared", [SHARED[0], SHARED[-1], SHARED[-2]], ids=["plain", "shared", "stored"])
@pytest.mark.parametrize("name", RULES)
def test_the_update_fused_with_the_gradient_is_the_one_after_it(name, shared):
    x, y = data_of(24, 60, 40, "float32")
    fused, apart = (model_of((60, 40), "float32", RULES[name][1](**shared)) for _ in range(2))
    for step in range(4):
        rows = slice(6 * step, 6 * step + 6)
        fused.train_on_batch(x[rows], y[rows])
        engine, _, optimizer = apart._ready("test")
        engine.batch_gradient(x[rows], y[rows])
        engine.apply_gradients(optimizer.hyperparameters())
    for a, b in zip(fused.get_weights(), apart.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["adafactor", "muon", "clipnorm", "global_clipnorm"])
def test_norms_of_a_kernel_in_several_stripes(name):
    """The norm of a bias is taken with the first stripe of its kernel; the other stripes do not know the bias."""
    x, y = data_of(20, 4, 170, "float64")

    def model():
        optimizer = RULES[name][1]() if name in RULES else optimizers.SGD(0.1, **{name: 1e-2})
        model = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), layers.Dense(200, "tanh"), layers.Dense(170)])
        model.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in model.weights])
        model.compile(optimizer, "mse")
        return model

    fused, apart = model(), model()
    for _ in range(4):
        fused.train_on_batch(x, y)
        engine, _, optimizer = apart._ready("test")
        engine.batch_gradient(x, y)
        engine.apply_gradients(optimizer.hyperparameters())
    for a, b in zip(fused.get_weights(), apart.get_weights(), strict=True):
        # A norm is summed in pieces where the gradient comes in pieces.
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("shared", [SHARED[-1], SHARED[-2]], ids=["fused", "stored"])
@pytest.mark.parametrize("name", RULES)
def test_bits_do_not_depend_on_threads(name, shared):
    x, y = data_of(600, 120, 90, "float32")

    def trained():
        model = model_of((120, 90), "float32", RULES[name][1](**shared))
        model._seed = 1
        model.fit(x, y, batch_size=200, epochs=2, verbose=0)
        return model.get_weights()

    same_on_any_threads(trained)


@pytest.mark.parametrize("name", RULES)
def test_saved_and_resumed_training_is_uninterrupted_training(name, tmp_path):
    x, y = data_of(50, 6, 4, "float32")
    shared = SHARED[-1] | {"gradient_accumulation_steps": 3}
    models = [model_of((6, 4), "float32", RULES[name][1](**shared)) for _ in range(2)]
    models[0].optimizer.learning_rate = models[1].optimizer.learning_rate = schedules.CosineDecay(0.1, 20)
    for model in models:
        model._seed = 3
        for start in range(0, 25, 5):  # runs of 5 steps end in the middle of an accumulation
            model.train_on_batch(x[start : start + 5], y[start : start + 5])
    models[0].save(tmp_path / "model.fastnn")
    models[0] = fastnn.load_model(tmp_path / "model.fastnn")
    for model in models:
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert models[0].optimizer.get_config() == models[1].optimizer.get_config()


@pytest.mark.parametrize("name", RULES)
def test_an_optimizer_compiled_again_goes_on(name):
    x, y = data_of(50, 6, 4, "float32")
    models = [model_of((6, 4), "float32", RULES[name][1](**SHARED[-1])) for _ in range(3)]
    for k, model in enumerate(models):
        model._seed = 3
        model.fit(x, y, batch_size=10, verbose=0)
        if k:  # the second fit has the same instance, or an equal one
            model.compile(model.optimizer if k == 1 else optimizers.get(optimizers.serialize(model.optimizer)), "mse")
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    once, again, other = models
    for a, b in zip(once.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (once.optimizer.iterations, again.optimizer.iterations, other.optimizer.iterations) == (9, 9, 7)
    again.reset()
    again.train_on_batch(x, y)
    assert again._engine.iterations == 1


@pytest.mark.parametrize("name", RULES)
def test_configs_there_and_back(name):
    optimizer = RULES[name][1](**SHARED[-1], weight_decay_exclusions=["bias"])
    again = optimizers.get(optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert again.hyperparameters() == optimizer.hyperparameters()
    assert copy.deepcopy(optimizer).get_config() == optimizer.get_config()


def test_fit_ends_with_the_average():
    x, y = data_of(40, 5, 2, "float64")
    optimizer = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
    model, by_hand = model_of((5, 2), "float64", optimizer), model_of((5, 2), "float64", optimizers.SGD(0.1))
    model.fit(x, y, batch_size=10, epochs=2, shuffle=False, verbose=0)
    averages = None
    for start in [0, 10, 20, 30] * 2:
        by_hand.train_on_batch(x[start : start + 10], y[start : start + 10])
        weights = by_hand.get_weights()
        averages = [0.9 * a + 0.1 * w for a, w in zip(averages or weights, weights, strict=True)]
    near(model.get_weights(), averages, "float64")


def test_weight_decay_exclusions():
    optimizer = optimizers.SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = model_of((3, 2), "float64", optimizer)
    kernel, bias = model.get_weights()
    model.apply_gradients()  # updates with gradients that are zero
    np.testing.assert_allclose(model.get_weights()[0], kernel * 0.95, rtol=1e-15)
    np.testing.assert_array_equal(model.get_weights()[1], bias)


def test_learning_rate_multipliers(tmp_path):
    inner = layers.Dense(3, name="inner")
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layers.Residual([inner]), layers.Dense(2)])
    inner.learning_rate_multiplier, model.layers[1].learning_rate_multiplier = 3.0, 0.5
    model.layers[2].learning_rate_multiplier = 0.1
    model.compile(optimizers.SGD(0.1, weight_decay=0.2), "mse")
    model.save(tmp_path / "model.fastnn")
    model = fastnn.load_model(tmp_path / "model.fastnn")
    before = model.get_weights()
    for view in model.gradients:
        view[...] = 1.0
    model.apply_gradients()
    for now, old, rate in zip(model.get_weights(), before, (0.15, 0.15, 0.01, 0.01), strict=True):
        # A weight near 0 is a difference of larger numbers, and has their absolute error.
        np.testing.assert_allclose(now, old - old * 0.2 * rate - rate, rtol=1e-14, atol=1e-16)
    with pytest.raises(ValueError, match="learning_rate_multiplier must be at least 0"):
        model.layers[2].learning_rate_multiplier = -1


def steps_of(model, rates, decays):
    """Return the parameters after a step with gradients of 1 and a learning rate of 0.1, and what they should be."""
    before = model.get_weights()
    for view in model.gradients:
        view[...] = 1.0
    model.apply_gradients()
    wanted = [p - p * decay * rate - rate for p, rate, decay in zip(before, rates, decays, strict=True)]
    return model.get_weights(), wanted


def test_factors_of_single_parameters(tmp_path):
    inner = layers.Dense(3, name="inner")
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layers.Residual([inner]), layers.Dense(2)])
    inner.learning_rate_multiplier = {"bias": 0.1}
    inner.weight_decay_multiplier = {"kernel": 2.0, "bias": 0.0}
    model.layers[1].learning_rate_multiplier = {"inner/kernel": 3.0}
    model.layers[2].weight_decay_multiplier = 0.5
    model.compile(optimizers.SGD(0.1, weight_decay=0.2), "mse")
    model.save(tmp_path / "model.fastnn")
    for one in (model, fastnn.load_model(tmp_path / "model.fastnn"), fastnn.clone_model(model)):
        one.compile(optimizers.SGD(0.1, weight_decay=0.2), "mse")
        found, wanted = steps_of(one, (0.3, 0.01, 0.1, 0.1), (0.4, 0.0, 0.1, 0.1))
        for now, expected in zip(found, wanted, strict=True):
            np.testing.assert_allclose(now, expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("attribute", ["learning_rate_multiplier", "weight_decay_multiplier"])
def test_a_factor_names_a_parameter_that_is_there(attribute):
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match=rf"{attribute}\['kernel'\] must be at least 0"):
        setattr(model.layers[1], attribute, {"kernel": -1})
    with pytest.raises(TypeError, match="names of parameters as its keys, got 0"):
        setattr(model.layers[1], attribute, {0: 1.0})
    setattr(model.layers[1], attribute, {"kernl": 0.5})
    with pytest.raises(ValueError, match=f"{attribute} of layer 'dense' has no parameter 'kernl'.*'kernel'"):
        model.compile("sgd", "mse")


@pytest.mark.parametrize("kind", [optimizers.AdamW, optimizers.Adafactor, optimizers.Muon, optimizers.Lion])
def test_a_factor_of_weight_decay_is_that_decay(kind):
    """Half the weight decay of one parameter, in an optimizer that decays all, is half of it in one that has half."""
    found = []
    for decay, factor in ((0.4, 0.5), (0.2, 1.0)):
        model = fastnn.Sequential([fastnn.Input((8,), dtype="float64"), layers.Dense(8, kernel_initializer="ones")])
        model.layers[1].weight_decay_multiplier = factor
        model.compile(kind(0.1, weight_decay=decay), "mse")
        for view in model.gradients:
            view[...] = 1.0
        model.apply_gradients()
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)


SCHEDULES = {
    "exponential": (schedules.ExponentialDecay(0.1, 10, 0.5), lambda t: 0.1 * 0.5 ** (t / 10)),
    "staircase": (schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True), lambda t: 0.1 * 0.5 ** (t // 10)),
    "inverse": (schedules.InverseTimeDecay(0.1, 10, 0.5), lambda t: 0.1 / (1 + 0.5 * t / 10)),
    "pieces": (
        schedules.PiecewiseConstantDecay([5, 20], [0.3, 0.2, 0.1]),
        lambda t: 0.3 if t <= 5 else 0.2 if t <= 20 else 0.1,
    ),
    "polynomial": (
        schedules.PolynomialDecay(0.1, 25, 0.01, power=2.0),
        lambda t: 0.09 * (1 - min(t, 25) / 25) ** 2 + 0.01,
    ),
    "cycle": (
        schedules.PolynomialDecay(0.1, 10, 0.01, cycle=True),
        lambda t: 0.09 * (1 - t / (10 * max(1, np.ceil(t / 10)))) + 0.01,
    ),
    "cosine": (
        schedules.CosineDecay(0.1, 25, 0.1),
        lambda t: 0.1 * (0.9 * 0.5 * (1 + np.cos(np.pi * min(t, 25) / 25)) + 0.1),
    ),
    "warmup": (
        schedules.CosineDecay(0.01, 20, warmup_target=0.1, warmup_steps=8),
        lambda t: 0.01 + 0.09 * t / 8 if t < 8 else 0.05 * (1 + np.cos(np.pi * min(t - 8, 20) / 20)),
    ),
    "restarts": (
        schedules.CosineDecayRestarts(0.1, 7, t_mul=2.0, m_mul=0.5),
        lambda t: 0.05 * (1 + np.cos(np.pi * t / 7)) if t < 7 else 0.025 * (1 + np.cos(np.pi * (t - 7) / 14))
        if t < 21 else 0.0125 * (1 + np.cos(np.pi * (t - 21) / 28)),
    ),
    "even restarts": (
        schedules.CosineDecayRestarts(0.1, 7, t_mul=1.0, alpha=0.2),
        lambda t: 0.1 * (0.8 * 0.5 * (1 + np.cos(np.pi * (t % 7) / 7)) + 0.2),
    ),
    "one cycle": (
        schedules.OneCycle(0.1, 40, 0.25),
        lambda t: 0.052 - 0.048 * np.cos(np.pi * t / 10) if t < 10
        else 4e-7 + (0.1 - 4e-7) * 0.5 * (1 + np.cos(np.pi * min(t - 10, 30) / 30)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_their_formulas(name):
    schedule, formula = SCHEDULES[name]
    np.testing.assert_allclose([schedule(t) for t in range(49)], [formula(t) for t in range(49)], rtol=1e-12)
    again = schedules.deserialize(schedules.serialize(schedule))
    assert again.get_config() == schedule.get_config()
    assert again(17) == schedule(17)


def test_a_schedule_moves_within_one_epoch():
    schedule = schedules.ExponentialDecay(0.1, 3, 0.5)
    x, y = data_of(40, 5, 2, "float64")
    together, apart = model_of((5, 2), "float64", optimizers.SGD(schedule)), model_of((5, 2), "float64", "sgd")
    assert together.optimizer.learning_rate == 0.1
    together.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for step in range(5):
        apart.optimizer.learning_rate = schedule(step)
        apart.train_on_batch(x[8 * step : 8 * step + 8], y[8 * step : 8 * step + 8])
    for a, b in zip(together.get_weights(), apart.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert together.optimizer.learning_rate == schedule(5)
    assert together.optimizer.iterations == 5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optimizers.Adam(clipnorm=1.0, clipvalue=1.0), ValueError, "only one of clipnorm, clipvalue"),
        (lambda: optimizers.Adam(clipvalue=-1.0), ValueError, "clipvalue must be at least 0, got -1.0"),
        (lambda: optimizers.Adam(gradient_accumulation_steps=1), ValueError, "gradient_accumulation_steps must be at"),
        (lambda: optimizers.Adam(loss_scale_factor=2.0), ValueError, "loss_scale_factor must be None"),
        (lambda: optimizers.Adam(use_ema=1), TypeError, "use_ema must be True or False"),
        (lambda: optimizers.Adam(lambda: 0.1), TypeError, "learning_rate must be a number or one of"),
        (lambda: optimizers.AdamW(weight_decay=None), ValueError, "use Adam"),
        (lambda: optimizers.Adam().swap_average_weights(), ValueError, "use_ema=True"),
        (lambda: optimizers.Adam().exclude_from_weight_decay("bias"), ValueError, "name them in var_names"),
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), ValueError, "decay_steps must be at least 1"),
        (lambda: schedules.PiecewiseConstantDecay([3], [0.1]), ValueError, "one more number than boundaries"),
        (lambda: schedules.PiecewiseConstantDecay([3, 2], [1, 2, 3]), ValueError, "boundaries must rise"),
        (lambda: optimizers.get("rmsprob"), ValueError, "did you mean 'rmsprop'"),
        (lambda: optimizers.SGD(lr=0.1), TypeError, "SGD has no argument 'lr'; did you mean 'learning_rate'?"),
        (lambda: optimizers.Muon(ns_step=3), TypeError, "Muon has no argument 'ns_step'; did you mean 'ns_steps'?"),
        (
            lambda: setattr(optimizers.SGD(), "lr", 0),
            AttributeError,
            "no attribute 'lr'; did you mean 'learning_rate'?",
        ),
        (lambda: setattr(optimizers.SGD(), "momentun", 0), AttributeError, "did you mean 'momentum'"),
        (lambda: optimizers.SGD(nesterov="False"), TypeError, "nesterov must be True or False, got 'False'"),
        (lambda: setattr(optimizers.Adam(), "amsgrad", "no"), TypeError, "amsgrad must be True or False, got 'no'"),
        (lambda: optimizers.RMSprop(centered=0), TypeError, "centered must be True or False, got 0"),
        (lambda: optimizers.Muon(ns_steps=21), ValueError, "ns_steps must be at least 0 and below 21, got 21"),
        (lambda: optimizers.Adam(beta_1=1.0), ValueError, "beta_1 must be from 0 to below 1, got 1.0"),
        (lambda: optimizers.Lion(beta_1=0), ValueError, "beta_1 must be greater than 0 and at most 1, got 0"),
        (lambda: optimizers.Adafactor(beta_2_decay=1), ValueError, "beta_2_decay must be at most 0, got 1"),
        (lambda: schedules.ExponentialDecay(0.1, 2, 0.5, "no"), TypeError, "staircase must be True or False, got 'no'"),
        (lambda: optimizers.SGD(schedules.LearningRateSchedule()), TypeError, "got [A-Z][A-Za-z]*, which has no rule"),
        (lambda: optimizers.get(optimizers.Optimizer), TypeError, "optimizer must be .* got Optimizer, which has no"),
        (lambda: optimizers.get(type("Mine", (optimizers.Optimizer,), {})(0.1)), TypeError, "Mine has none: derive"),
    ],
)
def test_bad_arguments_get_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_flags_may_be_numpys_and_subclasses_have_attributes_of_their_own():
    assert optimizers.Adam(use_ema=np.bool_(True), amsgrad=np.bool_(True)).get_config()["use_ema"] is True
    mine = type("Mine", (optimizers.SGD,), {})(0.1)
    mine.note = "warm"
    assert copy.deepcopy(mine).note == "warm"


def test_a_schedule_is_not_replaced_by_a_number():
    optimizer = optimizers.Adam(schedules.CosineDecay(0.1, 10))
    with pytest.raises(TypeError, match="learning_rate cannot be set to a number"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = schedules.CosineDecay(0.2, 10)
    assert optimizer.learning_rate == 0.2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adafactor_leaves_alone_what_has_no_gradient(dtype):
    """Between two layers whose units rest, r and c are epsilon_1, and their product is smaller than any float32."""
    model = model_of((6, 5), dtype, optimizers.Adafactor(0.05))
    model._ready("test")
    kernel, bias = model.get_weights()
    for view, ones in zip(model.gradients, (np.ones((6, 5)), np.ones(5)), strict=True):
        view[...] = ones
    model.gradients[0][2], model.gradients[0][:, 3], model.gradients[1][3] = 0, 0, 0
    model.apply_gradients()
    new_kernel, new_bias = model.get_weights()
    moved = np.ones((6, 5), bool)
    moved[2], moved[:, 3] = False, False
    np.testing.assert_array_equal(new_kernel != kernel, moved)
    np.testing.assert_array_equal(new_bias != bias, moved[0])
    assert np.isfinite(new_kernel).all()
    assert np.isfinite(new_bias).all()


@pytest.mark.parametrize("shape", [(300, 70), (70, 300), (130, 130), (1, 40), (40, 1), (33, 32)])
def test_muon_over_shapes(shape):
    optimizer = optimizers.Muon(0.01, weight_decay=None, adam_weight_decay=None)
    # Five iterations multiply a small singular value, and the float64 rounding with it, by 3.4 each.
    near(*run_beside(model_of(shape, "float64", optimizer), Formula(muon, optimizer), 3), "float64", rtol=1e-9)


@pytest.mark.slow
@pytest.mark.thread_unsafe(reason="sends this process a signal")
def test_ctrl_c_gives_up_a_long_step_of_muon_without_a_trace(ctrl_c):
    def network():
        stack = [layers.Dense(1024, "relu", kernel_initializer=fastnn.initializers.HeNormal(k)) for k in range(3)]
        model = fastnn.Sequential([fastnn.Input((1024,)), *stack])
        model.compile(optimizers.Muon(0.01), "mse")
        return model

    x = np.random.default_rng(0).normal(size=(2000, 1024)).astype("float32")
    model, twin = network(), network()
    model.fit(x[:8], x[:8], batch_size=8, shuffle=False, verbose=0)
    timer = threading.Timer(1.0, signal.raise_signal, [ctrl_c])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, x, batch_size=8, shuffle=False, verbose=0)
    steps = model.optimizer.iterations
    assert steps < 250
    twin.fit(x[:8], x[:8], batch_size=8, shuffle=False, verbose=0)
    if steps > 1:
        twin.fit(x[: 8 * (steps - 1)], x[: 8 * (steps - 1)], batch_size=8, shuffle=False, verbose=0)
    for view, other in zip(model.weights, twin.weights, strict=True):
        np.testing.assert_array_equal(view, other)
    np.testing.assert_array_equal(model._engine.slots[0], twin._engine.slots[0])


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("name", ["Adam", "Adafactor", "Muon"])
def test_a_backward_pass_on_more_threads_than_its_forward_pass(name):
    """A backward pass, whose work may be worth more threads, finds the activations where the forward pass left them."""
    gradients = []
    for threads in (1, 3):
        fastnn.set_num_threads(threads)
        generator = np.random.default_rng(0)
        stack = [layers.Dense(70, "tanh", kernel_regularizer="orthogonal_regularizer"), layers.Dense(50)]
        model = fastnn.Sequential([fastnn.Input((60,), dtype="float64"), *stack])
        for view in model.weights:
            view[...] = generator.normal(size=view.shape)
        model.compile(getattr(optimizers, name)(0.1), "mse")
        model._ready("fit")
        x, output_gradient = generator.normal(size=(100, 60)), generator.normal(size=(100, 50))
        model.forward(x, training=True)
        model.backward(output_gradient)
        gradients.append([g.copy() for g in model.gradients])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_array_equal(a, b)


def test_variables_are_views_of_the_slots():
    optimizer = optimizers.Adam()
    assert optimizer.variables == []
    model = model_of((3, 2), "float32", optimizer)
    model.train_on_batch(np.ones((4, 3)), np.zeros((4, 2)))
    assert len(optimizer.variables) == len(optimizer.slots) == 2
    assert all(np.shares_memory(a, b) for a, b in zip(optimizer.variables, model._engine.slots, strict=True))
    assert optimizer.variables[1].any()
