"""What an interruption leaves in the model: the weights of a whole step, those that training had."""

import signal
import sys

import numpy as np
import pytest
from trainings import EMA, HELD, Kill, KilledError, X, Y, all_state, network

import fastnn
from fastnn import callbacks, optimizers

pytestmark = pytest.mark.thread_unsafe(reason="models of the same seed: that is the process's")

HOOKS = [name for name in vars(callbacks.Callback) if name.startswith("on_") and "predict" not in name]


def steps_of(used, fit):
    """Return the weights after each step of a training, by the number of steps."""
    model = network(optimizers.SGD(0.05, momentum=0.9, **EMA))
    held = {0: model.get_weights()}

    class Watch(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            held[model._engine.iterations] = model.get_weights()

    model.fit(callbacks=[*used(), Watch()], **fit)
    return held


@pytest.mark.parametrize("kind", ["error", "signal"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("hook", HOOKS)
def test_an_interruption_in_any_hook_leaves_the_weights_of_a_whole_step(hook, swap_on_epoch, after, kind, ctrl_c):
    def used():
        return [callbacks.SwapEMAWeights(swap_on_epoch)]

    fit = {"x": X, "y": Y, "batch_size": 4, "epochs": 3, "verbose": 0, "validation_data": HELD}
    held = steps_of(used, fit)

    class Interrupt(callbacks.Callback):
        def __init__(self):
            self.left = 2 if hook.startswith(("on_epoch", "on_test")) else 8
            if hook.startswith("on_train_") and "batch" not in hook:
                self.left = 1
            setattr(self, hook, self.interrupt)

        def interrupt(self, *arguments):
            self.left -= 1
            if self.left == 0 and kind == "error":
                raise KilledError
            if self.left == 0:
                signal.raise_signal(ctrl_c)

    model = network(optimizers.SGD(0.05, momentum=0.9, **EMA))
    interrupt = Interrupt()
    together = [*used(), interrupt] if after else [interrupt, *used()]
    with pytest.raises(KilledError if kind == "error" else KeyboardInterrupt):
        model.fit(callbacks=together, **fit)
    assert not model.optimizer._average_shown
    if hook == "on_train_end":  # after the end of the training its weights are the average
        return
    for left, right in zip(model.get_weights(), held[model._engine.iterations], strict=True):
        np.testing.assert_array_equal(left, right)


def interrupted_at_line(line, run, **arguments):
    """Call a function with a Ctrl-C at the n-th line of fastnn that it runs; return whether it runs so many lines."""
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if "fastnn" not in frame.f_code.co_filename or "tests" in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run(**arguments)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return left <= 0


@pytest.mark.slow
# a Ctrl-C before a file's `with` is entered leaves the file open
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_an_interruption_at_any_line_leaves_the_weights_of_a_whole_step(tmp_path):
    def used():
        return [callbacks.SwapEMAWeights(swap_on_epoch=True)]

    fit = {"x": X, "y": Y, "batch_size": 8, "epochs": 2, "verbose": 0, "validation_data": HELD}
    held, line, more = steps_of(used, fit), 1, True
    ended = network(optimizers.SGD(0.05, momentum=0.9, **EMA))
    ended.fit(callbacks=used(), **fit)
    while more:
        model = network(optimizers.SGD(0.05, momentum=0.9, **EMA))
        keeper = callbacks.BackupAndRestore(tmp_path / str(line), save_freq=2)
        more = interrupted_at_line(line, model.fit, callbacks=[*used(), keeper], **fit)
        assert not model.optimizer._average_shown
        weights = [w.tobytes() for w in model.get_weights()]
        of_step = [w.tobytes() for w in held[model._engine.iterations]]
        assert weights in (of_step, [w.tobytes() for w in ended.get_weights()])
        if weights == of_step:  # otherwise the training had ended
            resumed = network(optimizers.SGD(0.05, momentum=0.9, **EMA))
            resumed.fit(callbacks=[*used(), keeper], **fit)
            assert all_state(resumed) == all_state(ended)
        line += 31


@pytest.mark.parametrize("hook", [name for name in HOOKS if name != "on_train_end"])
def test_a_training_that_a_hook_stops_ends_with_the_average(hook):
    class Stop(callbacks.Callback):
        def __init__(self):
            setattr(self, hook, self.stop)

        def stop(self, *arguments):
            self.model.stop_training = self.model._engine.iterations >= 8

    stopped, plain = (network(optimizers.SGD(0.05, momentum=0.9, **EMA)) for _ in range(2))
    fit = {"x": X, "y": Y, "batch_size": 4, "verbose": 0}
    stopped.fit(epochs=4, validation_data=HELD, callbacks=[callbacks.SwapEMAWeights(True), Stop()], **fit)
    assert not stopped.optimizer._average_shown
    if stopped._engine.iterations % 6 == 0:  # the interruption came after a whole epoch
        plain.fit(epochs=stopped._engine.iterations // 6, **fit)
        assert all_state(stopped)[:2] == all_state(plain)[:2]


@pytest.mark.parametrize("hook", ["on_test_begin", "on_test_batch_end", "on_test_end"])
def test_an_evaluation_that_fails_takes_the_average_out(hook):
    model = network(optimizers.SGD(0.05, **EMA))
    model.fit(X, Y, batch_size=4, verbose=0)
    model.train_on_batch(X, Y)  # this step changes the average
    before = all_state(model)
    with pytest.raises(KilledError):
        model.evaluate(*HELD, verbose=0, callbacks=[callbacks.SwapEMAWeights(), Kill(hook, 1)])
    assert all_state(model) == before
    with pytest.raises(KilledError):
        model.predict(HELD[0], callbacks=[callbacks.SwapEMAWeights(), Kill(hook.replace("test", "predict"), 1)])
    assert all_state(model) == before


def test_a_file_saved_while_the_average_is_shown_trains_on_to_the_same_bits(tmp_path):
    def used():
        return [callbacks.SwapEMAWeights(swap_on_epoch=True)]

    model = network(optimizers.SGD(0.05, momentum=0.9, **EMA))
    keeper = callbacks.ModelCheckpoint(tmp_path / "{epoch}.fastnn")
    fit = {"x": X, "y": Y, "batch_size": 4, "verbose": 0}
    model.fit(epochs=4, callbacks=[*used(), keeper], **fit)
    loaded = fastnn.load_model(tmp_path / "2.fastnn")
    assert loaded.optimizer._average_shown
    loaded.fit(initial_epoch=2, epochs=4, callbacks=used(), **fit)
    assert all_state(loaded) == all_state(model)
