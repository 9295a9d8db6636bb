"""What the engine promises beyond its numbers: the same bits on any number of threads, Ctrl-C, forks, memory."""

import gc
import os
import resource
import subprocess
import sys
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
from bits import same_on_any_threads

import fastnn
from fastnn import layers
from fastnn._engine import Engine, _paced_stretches, _quotas, build_info
from fastnn.plan import lower


def network(seed=0, widths=(40, 96, 64, 10), dtype="float32"):
    model = fastnn.Sequential(
        [
            fastnn.Input((widths[0],), dtype=dtype),
            *(
                layers.Dense(n, "relu", kernel_initializer=fastnn.initializers.HeNormal(seed + k))
                for k, n in enumerate(widths[1:-1])
            ),
            layers.Dense(
                widths[-1], "softmax", kernel_initializer=fastnn.initializers.GlorotUniform(seed + len(widths))
            ),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model._seed = seed
    return model


def rows(count=700, features=40, seed=5):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, features)).astype(np.float32), generator.integers(0, 10, count)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("widths", [(40, 96, 64, 10), (40, 700, 800, 10)], ids=["small", "large"])
@pytest.mark.parametrize("batch", [32, 128])
def test_bits_do_not_depend_on_threads(widths, batch):
    x, y = rows()

    def trained():
        model = network(widths=widths)
        history = model.fit(x, y, batch_size=batch, epochs=2, verbose=0)
        return [*model.get_weights(), model.predict(x), history.history["loss"]]

    same_on_any_threads(trained)


@pytest.mark.parametrize("widths", [(32, 2048, 10), (200, 300, 300, 10)], ids=["wide", "square"])
def test_batches_of_any_sizes_in_turn(widths, tmp_path):
    """The size of a batch settles memory and work: 96 rows of a wide product, cut into parts, need more than 97."""
    x, y = rows(count=300, features=widths[0])
    model = network(widths=widths)
    for batch in (97, 96, 256, 70, 140, 32, 300):
        model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)
        model.save(tmp_path / "model.fnn")
        fresh = fastnn.load_model(tmp_path / "model.fnn")
        expected = fresh.fit(x, y, batch_size=batch // 2, shuffle=False, verbose=0).history["loss"]
        assert model.fit(x, y, batch_size=batch // 2, shuffle=False, verbose=0).history["loss"] == expected
        for a, b in zip(model.get_weights(), fresh.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.skipif(not build_info()["openmp"], reason="without OpenMP memory never grows for more threads")
def test_backward_needs_what_the_last_forward_left():
    """A backward pass on more threads asks for new memory, in which the activations of the forward pass are missing."""
    x, _ = rows(count=64)
    model = network()
    model.apply_gradients()  # the first update makes room for the optimizer
    with fastnn.num_threads(1):
        model.forward(x)
    with fastnn.num_threads(8):
        model.apply_gradients()
        with pytest.raises(RuntimeError, match="needs a forward pass"):
            model.backward(np.ones((64, 10), np.float32))


def test_two_threads_fitting_two_models_get_the_same_bits():
    x, y = rows()
    alone = [network(seed) for seed in (1, 2)]
    for model in alone:
        model.fit(x, y, epochs=3, verbose=0)
    together = [network(seed) for seed in (1, 2)]
    workers = [
        threading.Thread(target=model.fit, args=(x, y), kwargs={"epochs": 3, "verbose": 0}) for model in together
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for a, b in zip(alone, together, strict=True):
        for one, other in zip(a.weights, b.weights, strict=True):
            np.testing.assert_array_equal(one, other)


class Inside:
    """A loss that lets another thread act in the middle of a call, and then waits until that has begun to wait."""

    def __init__(self, action):
        self.action, self.thread, self.error = action, None, None

    def __call__(self, y_true, y_pred):
        if self.thread is None:
            self.thread = threading.Thread(target=self.act)
            self.thread.start()
            self.thread.join(0.2)
            assert self.thread.is_alive()  # the other thread is waiting for this call
        return np.mean((y_pred - y_true) ** 2, axis=1), 2 * (y_pred - y_true)

    def act(self):
        try:
            self.action()
        except RuntimeError as error:
            self.error = error

    def ended(self):
        self.thread.join()
        return self.error


def small_model(loss, metrics=()):
    model = fastnn.Sequential([layers.Dense(1, "sigmoid", input_shape=(5,))])
    model.compile("sgd", loss, metrics=list(metrics))
    return model


def test_backward_waits_before_it_looks_for_its_forward():
    """Another thread's fit takes the activations away: backward raises one sentence, and reads no other batch."""
    x, y = np.random.default_rng(0).random((600, 5), np.float32), np.zeros((600, 1), np.float32)
    inside = Inside(lambda: model.backward(np.ones((10, 1), np.float32)))
    model = small_model(inside)
    model.forward(x[:10])
    model.fit(x, y, batch_size=600, verbose=0)
    assert "needs a forward pass" in str(inside.ended())


def test_steps_of_two_threads_follow_each_other():
    x, y = np.random.default_rng(0).random((64, 5), np.float32), np.zeros((64, 1), np.float32)
    actions = [lambda: model.train_on_batch(x, y), lambda: model.apply_gradients(), lambda: model.evaluate(x, y)]
    for action, steps in zip(actions, (3, 3, 2), strict=True):
        inside = Inside(action)
        model = small_model(inside)
        model.fit(x, y, batch_size=32, verbose=0)
        assert inside.ended() is None
        assert model._engine.iterations == steps


@pytest.mark.parametrize("call", ["evaluate", "fit", "test_on_batch"])
def test_compile_waits_for_a_run_whose_sums_it_would_change(call):
    x, y = np.random.default_rng(0).random((64, 5), np.float32), np.arange(64.0, dtype=np.float32)[:, None] % 2
    inside = Inside(lambda: model.compile("sgd", "binary_crossentropy", metrics=["AUC", "accuracy"]))
    model = small_model(inside, ["mae"])
    if call == "fit":
        logs = {key: values[-1] for key, values in model.fit(x, y, verbose=0).history.items()}
    else:
        options = {} if call == "test_on_batch" else {"verbose": 0}
        logs = getattr(model, call)(x, y, return_dict=True, **options)
    assert inside.ended() is None
    assert list(logs) == ["loss", "mae"]
    assert list(model.evaluate(x, y, verbose=0, return_dict=True)) == ["loss", "AUC", "accuracy"]


def test_metrics_of_an_epoch_in_which_the_model_is_compiled_anew():
    """The metrics of that epoch are those of the rows after compile."""
    x, y = np.random.default_rng(0).random((64, 5), np.float32), np.arange(64.0, dtype=np.float32)[:, None] % 2
    model = small_model("mse", ["mae"])

    class Recompile(fastnn.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0:
                model.compile(fastnn.optimizers.SGD(0.0), "mse", metrics=["AUC"])

    history = model.fit(x, y, batch_size=32, shuffle=False, callbacks=[Recompile()], verbose=0).history
    assert [history["loss"], history["AUC"]] == [[v] for v in model.evaluate(x[32:], y[32:], verbose=0)]


def test_two_ensembles_of_the_same_models_do_not_wait_for_each_other():
    x, y = np.random.default_rng(0).random((64, 5), np.float32), np.zeros((64, 1), np.float32)
    models = [small_model("mse") for _ in range(2)]
    ensembles = [fastnn.Ensemble(models), fastnn.Ensemble(models[::-1])]
    threads = [
        threading.Thread(target=e.fit, args=(x, y), kwargs={"epochs": 300, "verbose": 0}, daemon=True)
        for e in ensembles
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert [model._engine.iterations for model in models] == [1200, 1200]


def test_batch_hooks_do_not_change_the_training():
    class Counter(fastnn.callbacks.Callback):
        batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1

    x, y = rows()
    counter, plain, hooked = Counter(), network(), network()
    plain.fit(x, y, epochs=2, verbose=0)
    hooked.fit(x, y, epochs=2, verbose=0, callbacks=[counter])
    assert counter.batches == 2 * 22
    for a, b in zip(plain.weights, hooked.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thread_unsafe(reason="sends the process a signal, which the main thread gets")
def test_ctrl_c_stops_between_steps(ctrl_c):
    x, y = rows(60_000, 40)
    model = network()
    timer = threading.Timer(0.3, os.kill, [os.getpid(), ctrl_c])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=10_000, verbose=0)  # this would take an hour, if nothing stopped it
    assert all(np.isfinite(w).all() for w in model.weights)
    assert model._engine.iterations > 0


def exit_status_with_a_model(code):
    """Return the exit status of a process that makes x and a model on two threads, and runs the code."""
    before = """
import os, sys, threading, time, warnings
import numpy as np, fastnn
warnings.simplefilter("ignore")
fastnn.set_num_threads(2)
model = fastnn.Sequential([fastnn.layers.Dense(256, "relu", input_shape=(256,)), fastnn.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.random.default_rng(0).random((2000, 256), np.float32)
"""
    return subprocess.run([sys.executable, "-c", before + code], timeout=60).returncode


@pytest.mark.thread_unsafe(reason="starts processes of its own")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_train():
    code = """
model.fit(x, x[:, :1], verbose=0)
child = os.fork()
model.fit(x, x[:, :1], verbose=0)
if child == 0:
    alone = fastnn.get_num_threads()
    fastnn.set_num_threads(2)
    model.fit(x, x[:, :1], verbose=0)
    os._exit(alone - 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert exit_status_with_a_model(code) == 0


@pytest.mark.thread_unsafe(reason="starts processes of its own")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_during_a_fit_does_not_wait_for_its_end():
    code = """
threading.Thread(target=lambda: model.fit(x, x[:, :1], epochs=10**6, verbose=0), daemon=True).start()
while not model._engine.iterations:
    time.sleep(0.01)
child = os.fork()
if child == 0:
    model.predict(x, verbose=0)
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert exit_status_with_a_model(code) == 0


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_threadpoolctl_limits_the_engine():
    from threadpoolctl import threadpool_limits

    if not build_info()["openmp"]:
        pytest.skip("built without OpenMP, as the serial build is: there is nothing to limit")
    with fastnn.num_threads(4):
        with threadpool_limits(1):
            assert fastnn.get_num_threads() == 1
        assert fastnn.get_num_threads() == 4


@pytest.mark.thread_unsafe(reason="starts processes of its own")
def test_threads_bound_to_processors_are_as_many():
    def threads(**settings):
        command = [sys.executable, "-c", "import fastnn; print(fastnn.get_num_threads())"]
        return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True).stdout

    assert threads(OMP_PROC_BIND="true") == threads()


@pytest.mark.thread_unsafe(reason="switches the garbage collector off")
def test_the_memory_of_a_model_goes_with_it():
    model = network()
    model.fit(*rows(50), validation_split=0.2, verbose=0)
    model.freeze()(rows(50)[0])
    gone = weakref.ref(model), weakref.ref(model._engine), weakref.ref(model._engine.parameters)
    gc.disable()
    try:
        del model
        assert [reference() for reference in gone] == [None, None, None]
    finally:
        gc.enable()


@pytest.mark.thread_unsafe(reason="measures the memory of the process")
def test_a_hundred_fits_leave_memory_where_it_was():
    x, y = rows(2000)

    def once():
        network().fit(x, y, verbose=0)

    for _ in range(5):
        once()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        once()
    # KiB on Linux: one model with its workspace has about 300 KiB, so that a leak of it would show a hundredfold.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000


# One layer whose gradients would take more than the GiB that is kept so that a step can be stopped early.
LARGE = """
import re
import numpy as np
import fastnn
model = fastnn.Sequential([fastnn.Input((16_400,)), fastnn.layers.Dense(16_400, kernel_initializer="zeros")])
model.compile("sgd", "mse")
x = np.ones((20, 16_400), np.float32)
model.train_on_batch(x, x)
most = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(1024 * int(most[1]) / model.count_params())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux says how much memory a process ever had")
@pytest.mark.thread_unsafe(reason="four such networks may be more than there is memory")
def test_a_network_with_a_gibibyte_of_weights_keeps_no_gradients():
    told = subprocess.run([sys.executable, "-c", LARGE], check=True, capture_output=True, text=True).stdout
    # A parameter has 4 bytes; Python, NumPy and the workspace of 20 rows take 0.3 beside it. Gradients were 4 more.
    assert 4 <= float(told) < 4.6


@pytest.mark.thread_unsafe(reason="BLAS has one thread count for the process")
def test_blas_threads_are_as_they_were():
    from threadpoolctl import threadpool_info

    def counts():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    model = fastnn.Sequential([layers.Dense(900, input_shape=(900,))])
    before = counts()
    model.predict(np.ones((64, 900), np.float32))
    assert counts() == before


@pytest.mark.thread_unsafe(reason="starts processes of its own")
def test_unknown_instruction_set_says_what_there_is():
    run = subprocess.run(
        [sys.executable, "-c", "import fastnn"],
        env=os.environ | {"FASTNN_ISA": "z80"},
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    assert "FASTNN_ISA is 'z80'; this machine and build have baseline" in run.stderr


@pytest.mark.thread_unsafe(reason="starts processes of its own")
def test_fewer_threads_than_asked_for_give_the_same_bits():
    """The OpenMP runtime may have fewer threads to give, and says so only once they are at work."""
    code = """
import hashlib, numpy as np, fastnn
from fastnn import layers
fastnn.set_num_threads(4)
fastnn.utils.set_random_seed(0)
model = fastnn.Sequential([fastnn.Input((300,)), layers.Dense(200, "relu"), layers.Dense(10, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
x = np.random.default_rng(0).normal(size=(700, 300)).astype("float32")
model.fit(x, np.arange(700) % 10, epochs=2, verbose=0)
answers = [model.predict(x), model.freeze()(x)]
print(hashlib.sha256(b"".join(answer.tobytes() for answer in answers)).hexdigest())
"""
    digests = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OMP_THREAD_LIMIT": limit},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for limit in ("1", "3", "64")
    ]
    assert digests[0] == digests[1] == digests[2]


def test_rows_of_any_stride_are_read_in_place():
    x, y = rows()
    model = network()
    expected = model.predict(np.ascontiguousarray(x))
    wide = np.zeros((700, 50), np.float32)
    wide[:, 5:45] = x
    fixed = x.copy()
    fixed.flags.writeable = False
    for view in (wide[:, 5:45], np.asfortranarray(x), fixed, x[::-1].copy()[::-1], x.astype(np.float64)):
        np.testing.assert_array_equal(model.predict(view), expected)
        model.evaluate(view, y, verbose=0)


@pytest.mark.parametrize("inputs", [40, 900], ids=["small", "large"])
def test_backward_belongs_to_the_weights_and_rows_of_its_forward(inputs):
    """A backward pass once computed the forward pass anew, with weights and rows that had changed meanwhile."""
    generator = np.random.default_rng(0)
    model = fastnn.Sequential([layers.Dense(700, "tanh", input_shape=(inputs,)), layers.Dense(2)])
    x, dy = generator.normal(size=(64, inputs)).astype(np.float32), np.ones((64, 2), np.float32)
    model.forward(x)
    expected = model.backward(dy), [g.copy() for g in model.gradients]
    model.forward(x)
    model.layers[1].bias[...] = 3  # a linear layer's gradient does not depend on its bias, though its outputs do
    np.testing.assert_array_equal(model.backward(dy), expected[0])
    for gradient, before in zip(model.gradients, expected[1], strict=True):
        np.testing.assert_array_equal(gradient, before)


def share(stretches, threads, first=0.0, end=float("inf")):
    """Return the share of the time from `first` to `end` that was spent on this number of threads."""
    spent = [(seconds, number) for start, seconds, number in stretches if first <= start < end]
    return sum(seconds for seconds, number in spent if number == threads) / sum(seconds for seconds, _ in spent)


@pytest.mark.parametrize(
    ("steps", "best"),
    [
        ({2: 100e-6, 1: 140e-6}, 2),
        ({2: 150e-6, 1: 140e-6}, 1),
        ({2: 5e-3, 1: 9e-3}, 2),  # each trial of a number of threads takes two steps
        ({2: 0.9, 1: 0.5}, 1),  # each stretch between trials has one step
        ({8: 60e-6, 4: 50e-6, 2: 70e-6, 1: 130e-6}, 4),
        ({8: 90e-6, 4: 70e-6, 2: 60e-6, 1: 50e-6}, 1),
    ],
)
def test_the_fastest_number_of_threads_is_found_and_kept(steps, best):
    stretches = _paced_stretches(max(steps), lambda threads, start: steps[threads], 60.0 if best == 1 else 20.0)
    assert share(stretches, best, first=3.0) > 0.95
    done = sum(seconds / steps[threads] for _, seconds, threads in stretches)
    # trials may cost at most 5 percent of the time
    assert done > 0.95 * sum(seconds for _, seconds, _ in stretches) / steps[best]


def test_neighbours_that_come_and_go_are_noticed():
    quiet, busy = {2: 100e-6, 1: 140e-6}, {2: 600e-6, 1: 250e-6}
    stretches = _paced_stretches(2, lambda threads, start: (busy if 4 <= start < 8 else quiet)[threads], 12.0)
    assert share(stretches, 2, 1, 4) > 0.95
    assert share(stretches, 1, 4.4, 8) > 0.9
    assert share(stretches, 2, 8.6, 12) > 0.9


@pytest.mark.parametrize("slow", [(1, 2), (2,)], ids=["all", "two threads"])
def test_one_slow_moment_does_not_decide(slow):
    """Threads of a BLAS spin for some hundredths of a second after a call, which may disturb first looks and trials."""

    def step(threads, start):
        return {2: 100e-6, 1: 140e-6}[threads] * (3 if start < 0.15 and threads in slow else 1)

    assert share(_paced_stretches(2, step, 6.0), 2, first=1.0) > 0.95


@pytest.mark.parametrize(("most", "fewest"), [(2, 1), (8, 1), (8, 4)])
def test_a_first_look_leaves_threads_out_that_only_wait(most, fewest):
    """A network whose whole training takes some hundredths of a second never comes to a first trial."""
    stretches = _paced_stretches(most, lambda threads, start: 200e-6 * max(threads / fewest, 1), 0.03)
    assert share(stretches, fewest) > 0.6


@pytest.mark.parametrize("most", [2, 8])
def test_a_first_look_costs_little(most):
    stretches = _paced_stretches(most, lambda threads, start: 1e-3 / threads, 0.1)
    assert share(stretches, most) > 0.95


def test_one_thread_has_nothing_to_try():
    assert _paced_stretches(1, lambda threads, start: 1e-3, 2.0) == [(0.0, pytest.approx(2.0), 1)]


@pytest.mark.parametrize("layer", [layers.Dense(2, name="dense"), layers.Embedding(3, 2, name="embedding")])
@pytest.mark.parametrize("widths", [{"inputs": 0}, {"outputs": 0}])
def test_ops_of_no_width_are_refused(layer, widths):
    plan = lower([layer], 2, "float32")
    with pytest.raises(ValueError, match="must have at least 1 input and 1 output"):
        Engine(replace(plan, ops=(plan.ops[0]._replace(**widths),)))


def test_layers_of_no_width_are_refused():
    dense = layers.Dense(2)
    vars(dense)["units"] = 0  # setting the attribute would raise
    with pytest.raises(ValueError, match="'dense' must give at least 1 feature a row, got 0"):
        fastnn.Sequential([layers.Input((2,)), dense])
    with pytest.raises(ValueError, match="inputs must be at least 1 feature a row, got 0"):
        lower([layers.Dense(2, name="dense")], 0, "float32")


@pytest.mark.parametrize(
    ("groups", "files", "quotas"),
    [
        (
            "0::/a/b\n",
            {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000", "cpu.max": "400000 100000"},
            [1.5, 4],
        ),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, [0.5]),
        ("0::/../of/the/host\n", {"cpu.max": "200000 100000\n"}, [2]),
        (
            "5:memory:/x\n4:cpu,cpuacct:/x\n0::/x\n",
            {"cpu/x/cpu.cfs_quota_us": "300000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            [3],
        ),
        ("4:cpu:/gone\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ("0::/a\n", {}, []),
        (None, {}, []),
    ],
)
def test_quotas_of_control_groups(groups, files, quotas, tmp_path):
    wanted = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in (wanted | ({} if groups is None else {"proc/self/cgroup": groups})).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _quotas(tmp_path) == quotas
