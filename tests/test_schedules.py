"""Schedules by the share of a training, and numbers other than the learning rate that are schedules."""

import numpy as np
import pytest
from trainings import KilledError, all_state

import fastnn
from fastnn import callbacks, layers, losses, optimizers
from fastnn.optimizers import schedules

pytestmark = pytest.mark.thread_unsafe(reason="models of the same seed: that is the process's")

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 3))
Y = np.eye(3)[RNG.integers(0, 3, 40)]
BATCH, STEPS = 8, 5  # the rows of a batch, the steps of an epoch


def half_wave(share):
    return (1 + np.cos(np.pi * share)) / 2


# Each schedule by share, and its formula of t, the share of the training that is done.
FORMULAS = {
    "flat cosine": (schedules.FlatCosine(0.3), lambda t: 0.3 if t <= 0.5 else 0.15 * (1 + np.cos(np.pi * (2 * t - 1)))),
    "coslog4": (schedules.CosineLog(0.3), lambda t: 0.15 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t)))),
    "coslog1": (schedules.CosineLog(0.3, cycles=1), lambda t: 0.15 * (1 - np.cos(2 * np.pi * np.log2(1 + t)))),
    "exponential": (schedules.ExponentialDecay(0.3, None, 0.1), lambda t: 0.3 * 0.1**t),
    "staircase": (schedules.ExponentialDecay(0.3, 0.25, 0.5, staircase=True), lambda t: 0.3 * 0.5 ** (4 * t // 1)),
    "inverse": (schedules.InverseTimeDecay(0.3, 0.5, 0.1), lambda t: 0.3 / (1 + 0.2 * t)),
    "pieces": (
        schedules.PiecewiseConstantDecay([0.25, 0.75], [0.3, 0.2, 0.1]),
        lambda t: 0.3 if t <= 0.25 else 0.2 if t <= 0.75 else 0.1,
    ),
    "polynomial": (schedules.PolynomialDecay(0.3, end_learning_rate=0.1), lambda t: 0.3 - 0.2 * t),
    "cosine": (schedules.CosineDecay(0.3), lambda t: 0.3 * half_wave(t)),
    "half a cosine": (schedules.CosineDecay(0.3, 0.5), lambda t: 0.3 * half_wave(min(2 * t, 1))),
    "warm-up by share": (
        schedules.CosineDecay(0.1, warmup_target=0.3, warmup_steps=0.25),
        lambda t: 0.1 + 0.8 * t if t < 0.25 else 0.3 * half_wave((t - 0.25) / 0.75),
    ),
    "warm-up in steps": (  # 10 of 40 steps
        schedules.CosineDecay(0.1, warmup_target=0.3, warmup_steps=10),
        lambda t: 0.1 + 0.8 * t if t < 0.25 else 0.3 * half_wave((t - 0.25) / 0.75),
    ),
    "restarts": (schedules.CosineDecayRestarts(0.3, 0.25, t_mul=1.0), lambda t: 0.3 * half_wave(4 * t % 1)),
    "one cycle": (
        schedules.OneCycle(0.3, warmup_fraction=0.25, initial_divisor=3.0, final_divisor=10.0),
        lambda t: 0.3 - 0.2 * half_wave(4 * t) if t < 0.25 else 0.01 + 0.29 * half_wave((t - 0.25) / 0.75),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_a_schedule_by_share_is_its_formula(name):
    schedule, formula = FORMULAS[name]
    steps = 40  # a quarter is a whole number of them, so that no rounding decides between two pieces
    found = [schedule(step, steps) for step in range(steps + 1)]
    np.testing.assert_allclose(found, [formula(step / steps) for step in range(steps + 1)], rtol=1e-12, atol=1e-15)
    assert schedule(steps + 3, steps) == found[-1]  # the training is over
    assert max(found) <= schedule.highest
    again = schedules.deserialize(schedules.serialize(schedule))
    assert again.get_config() == schedule.get_config()
    assert again(17, steps) == found[17]
    with pytest.raises(ValueError, match=r"steps is missing: this .* goes by the share of the training's steps"):
        schedule(3)


@pytest.mark.parametrize(("kind", "arguments"), [(schedules.FlatCosine, ()), (schedules.CosineLog, (2,))])
def test_what_is_made_for_shares_also_takes_a_number_of_steps(kind, arguments):
    by_share, in_steps = kind(0.2, *arguments), kind(0.2, *arguments, decay_steps=20)
    assert [in_steps(step) for step in range(21)] == [by_share(step, 20) for step in range(21)]
    assert in_steps(30) == by_share(20, 20)


def network(optimizer, rate=0.3, smoothing=0.1, noise=layers.Dropout, seed=3):
    fastnn.utils.set_random_seed(seed)
    stack = [fastnn.Input((3,), dtype="float64"), layers.Dense(6, "tanh"), noise(rate), layers.Dense(3, "softmax")]
    model = fastnn.Sequential(stack)
    model.compile(optimizer, losses.CategoricalCrossentropy(label_smoothing=smoothing))
    return model


def fit(model, epochs=2, **given):
    return model.fit(X, Y, epochs=epochs, verbose=0, **{"batch_size": BATCH, "shuffle": False} | given)


def step_by_step(model, set_numbers, steps):
    """Train as :func:`fit` does, with numbers that are set before each step."""
    for step in range(steps):
        set_numbers(step)
        rows = slice(BATCH * (step % STEPS), BATCH * (step % STEPS + 1))
        model.train_on_batch(X[rows], Y[rows])


def numbers_of(schedule, steps):
    return [schedule(step, steps) for step in range(steps)]


KINDS = {
    "learning rate": (lambda s: network(optimizers.Adam(s)), lambda m, v: setattr(m.optimizer, "learning_rate", v)),
    "weight decay": (
        lambda s: network(optimizers.AdamW(0.05, weight_decay=s)), lambda m, v: setattr(m.optimizer, "weight_decay", v),
    ),
    "weight decay of Muon": (
        lambda s: network(optimizers.Muon(0.05, weight_decay=s)), lambda m, v: setattr(m.optimizer, "weight_decay", v),
    ),
    "label smoothing": (
        lambda s: network(optimizers.SGD(0.2), smoothing=s), lambda m, v: setattr(m.loss, "label_smoothing", v),
    ),
    **{
        noise.__name__: (
            lambda s, noise=noise: network(optimizers.SGD(0.2), s, noise=noise),
            lambda m, v, name=name: setattr(m.layers[-2], name, v),
        )
        for noise, name in ((layers.Dropout, "rate"), (layers.AlphaDropout, "rate"), (layers.GaussianDropout, "rate"),
                            (layers.GaussianNoise, "stddev"))
    },
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "schedule", [schedules.FlatCosine(0.3), schedules.CosineDecay(0.3, 20)], ids=["share", "steps"]
)
def test_a_schedule_is_the_number_of_each_step(name, schedule):
    make, set_number = KINDS[name]
    together, apart = make(schedule), make(0.2)
    fit(together)
    numbers = numbers_of(schedule, 2 * STEPS)
    step_by_step(apart, lambda step: set_number(apart, numbers[step]), 2 * STEPS)
    assert all_state(together)[:2] == all_state(apart)[:2]


@pytest.mark.parametrize("kind", [losses.BinaryCrossentropy, losses.CategoricalFocalCrossentropy,
                                  losses.BinaryFocalCrossentropy])  # fmt: skip
def test_every_loss_with_label_smoothing_takes_a_schedule(kind):
    schedule = schedules.FlatCosine(0.3)
    found = []
    for smoothing in (schedule, 0.1):
        model = network("sgd")
        model.compile(optimizers.SGD(0.1), kind(label_smoothing=smoothing))
        found.append(model)
    fit(found[0], epochs=1)
    numbers = numbers_of(schedule, STEPS)
    step_by_step(found[1], lambda step: setattr(found[1].loss, "label_smoothing", numbers[step]), STEPS)
    assert all_state(found[0])[:2] == all_state(found[1])[:2]
    assert found[0].loss(Y, Y * 0.8 + 0.05) == kind(label_smoothing=0.3)(Y, Y * 0.8 + 0.05)  # that of the first step


def test_a_validation_has_the_label_smoothing_of_its_step():
    schedule = schedules.CosineDecay(0.4)  # at the end of the first of two epochs half of that
    model = network(optimizers.SGD(0.0), rate=0.0, smoothing=schedule)
    plain = losses.CategoricalCrossentropy(label_smoothing=0.2)(Y, model.predict(X))
    history = fit(model, validation_data=(X, Y)).history
    np.testing.assert_allclose(history["val_loss"][0], plain, rtol=1e-12)
    np.testing.assert_allclose(history["val_loss"][1], losses.CategoricalCrossentropy()(Y, model.predict(X)))
    assert model.evaluate(X, Y, verbose=0) == history["val_loss"][1]


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16"])
def test_every_policy_trains_with_schedules(policy):
    fastnn.utils.set_random_seed(0)
    stack = [fastnn.Input((3,), dtype=policy), layers.Dense(64, "relu"), layers.Dropout(schedules.FlatCosine(0.5))]
    model = fastnn.Sequential([*stack, layers.Dense(3, "softmax")])
    decay, smoothing = schedules.FlatCosine(0.02), schedules.FlatCosine(0.1)
    model.compile(
        optimizers.AdamW(schedules.CosineLog(0.04), weight_decay=decay),
        losses.CategoricalCrossentropy(label_smoothing=smoothing),
    )
    found = fit(model, epochs=30).history["loss"]
    assert found[-1] < 0.8 * found[0]


def by_share(seed=3, **optimizer):
    return network(
        optimizers.AdamW(schedules.CosineLog(0.1), weight_decay=schedules.FlatCosine(0.1), **optimizer),
        schedules.FlatCosine(0.3),
        schedules.FlatCosine(0.2),
        seed=seed,
    )


def test_a_second_fit_begins_anew():
    model = by_share()
    fit(model, epochs=3)
    assert model.optimizer.learning_rate == pytest.approx(0.0, abs=1e-15)
    rates = []
    watch = callbacks.LambdaCallback(on_train_batch_begin=lambda *_: rates.append(model.optimizer.learning_rate))
    fit(model, epochs=2, callbacks=[watch])
    assert rates == numbers_of(schedules.CosineLog(0.1), 2 * STEPS)
    assert model.optimizer.iterations == 5 * STEPS


def test_initial_epoch_is_a_later_part_of_the_same_training(tmp_path):
    whole = by_share()
    fit(whole, epochs=4)
    parts = by_share()
    stop = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(parts, "stop_training", epoch == 1))
    fit(parts, epochs=4, callbacks=[stop])
    parts.save(tmp_path / "half.fastnn")
    fit(parts, epochs=4, initial_epoch=2)
    assert all_state(parts) == all_state(whole)
    loaded = fastnn.load_model(tmp_path / "half.fastnn")
    assert loaded.optimizer.learning_rate == schedules.CosineLog(0.1)(10, 20)
    assert loaded.get_config() == parts.get_config()
    assert loaded.get_compile_config() == parts.get_compile_config()
    fit(loaded, epochs=4, initial_epoch=2)
    assert all_state(loaded) == all_state(whole)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_epoch_end"])
def test_a_training_that_goes_on_after_it_was_killed_has_the_same_shares(tmp_path, hook):
    def keeper():
        return callbacks.BackupAndRestore(tmp_path, save_freq=1)

    whole, killed, resumed = by_share(), by_share(), by_share(seed=9)
    for model in (whole, killed):
        fit(model, epochs=2)  # an earlier fit, so that the first step is not 0
    fit(whole, epochs=4)
    with pytest.raises(KilledError):
        fit(killed, epochs=4, callbacks=[keeper(), callbacks.LambdaCallback(**{hook: lambda *_: raise_at(killed, 20)})])
    fit(resumed, epochs=4, callbacks=[keeper()])
    assert all_state(resumed) == all_state(whole)


def raise_at(model, step):
    if model._engine.iterations == step:
        raise KilledError


def test_the_members_of_an_ensemble_have_shares_of_their_own():
    together, alone = [[by_share(seed) for seed in (1, 2)] for _ in range(2)]
    fastnn.Ensemble(together).fit(X, Y, batch_size=[8, 20], epochs=[2, 3], verbose=0)
    for model, batch, epochs in zip(alone, (8, 20), (2, 3), strict=True):
        fit(model, epochs=epochs, batch_size=batch, shuffle=True)
    assert list(map(all_state, together)) == list(map(all_state, alone))


@pytest.mark.parametrize("given", [{"use_ema": True}, {"gradient_accumulation_steps": 2}])
def test_shares_count_every_step_beside_averages_and_accumulation(given):
    model = by_share(**given)
    fit(model, epochs=2, callbacks=[callbacks.SwapEMAWeights()] if "use_ema" in given else None)
    assert model._engine.course == (0, 2 * STEPS)
    assert model.optimizer.learning_rate == pytest.approx(0.0, abs=1e-15)


def test_a_fit_within_a_fit_has_its_own_shares():
    model, seen = by_share(), []

    def inner(epoch, logs):
        if epoch == 0 and not seen:
            seen.append(model._course)
            fit(model, epochs=1)
            seen.append(model._course)

    fit(model, epochs=2, callbacks=[callbacks.LambdaCallback(on_epoch_end=inner)])
    assert seen == [(0, 10), (0, 10)]


def test_what_has_no_steps_to_come_says_so():
    model = by_share()
    for call, action in (
        (lambda: model.train_on_batch(X, Y), "train_on_batch knows no steps to come"),
        (lambda: model.apply_gradients(), "apply_gradients knows no steps to come"),
        (lambda: model.fit(((X, Y) for _ in range(3)), verbose=0), "fit needs steps_per_epoch"),
    ):
        before = all_state(model)
        with pytest.raises(ValueError, match=f"^{action}, and learning_rate is a schedule by the share of a fit's"):
            call()
        assert all_state(model) == before
    model.fit(((X, Y) for _ in range(9)), steps_per_epoch=3, epochs=2, verbose=0)
    assert model._course == (0, 6)
    dropping = network(optimizers.SGD(0.1), schedules.FlatCosine(0.3))
    with pytest.raises(
        ValueError, match=r"^train_on_batch .* a layer's rate or a loss's label_smoothing is a schedule"
    ):
        dropping.train_on_batch(X, Y)
    np.testing.assert_array_equal(
        dropping.forward(X, training=True), network(optimizers.SGD(0.1), 0.3).forward(X, training=True)
    )  # before the first fit t is 0


def test_a_callback_may_train_in_between():
    model = by_share()
    train = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: model.train_on_batch(X, Y))
    fit(model, epochs=1, callbacks=[train])
    assert model.optimizer.iterations == STEPS + 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: layers.Dropout(schedules.FlatCosine(1.0)), ValueError, "rate must be below 1, and this FlatCosine"),
        (lambda: layers.Dropout(schedules.ExponentialDecay(0.1, 9, 2.0)), ValueError, "goes up to inf"),
        (lambda: losses.BinaryCrossentropy(label_smoothing=schedules.CosineDecay(1.5, 9)), ValueError,
         "label_smoothing must be at most 1, and this CosineDecay goes up to 1.5"),
        (lambda: layers.Dropout("flat"), TypeError, "rate must be a number, got str"),
        (lambda: layers.Dropout({"class_name": "FlatCosin", "config": {}}), ValueError, "did you mean 'flatcosine'"),
        (lambda: schedules.CosineDecay(0.1, 1.5), ValueError,
         "decay_steps must be a whole number of steps, or a share of the training from 0 to 1, got 1.5"),
        (lambda: schedules.FlatCosine(0.1, 0.0), ValueError, "decay_steps must be a whole number of steps, or a share"),
        (lambda: schedules.PiecewiseConstantDecay([0.5, 2.0], [1, 2, 3]), ValueError, "boundaries must be from 0 to 1"),
        (lambda: schedules.CosineLog(0.1, cycles=0), ValueError, "cycles must be at least 1, got 0"),
        (lambda: network(optimizers.LBFGS(), 0.0, schedules.FlatCosine(0.1)).fit(X, Y, verbose=0), ValueError,
         "LBFGS needs a loss that is the same at each call: label_smoothing is a schedule"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_schedule_is_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_descriptions_say_their_schedules():
    assert repr(layers.Dropout(schedules.FlatCosine(0.15))) == "Dropout(rate=FlatCosine(value=0.15))"
    optimizer = optimizers.AdamW(0.1, weight_decay=schedules.FlatCosine(0.02))
    assert "weight_decay=FlatCosine(value=0.02)" in repr(optimizer)
    again = optimizers.get(optimizers.serialize(optimizer))
    assert again.hyperparameters() == optimizer.hyperparameters()
