"""What fit, evaluate and predict show while they run: on terminals of any size, in notebooks, in files, on nothing."""

import io
import os
import re
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, layers
from fastnn.callbacks import _screens, reporter

pytestmark = pytest.mark.thread_unsafe(reason="they change what the process prints to")

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = (X > 0).astype(np.float32)
NAMES = ["loss", "f1_score", "accuracy", "val_loss", "val_f1_score", "val_accuracy"]


def network():
    fastnn.utils.set_random_seed(0)
    model = fastnn.Sequential([layers.Dense(3, "sigmoid", input_shape=(3,))])
    model.compile("sgd", "binary_crossentropy", metrics=[fastnn.metrics.F1Score(), "accuracy"])
    return model


def fit(**arguments):
    # with this callback the bar moves at each batch
    watched = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    given = {"x": X, "y": Y, "batch_size": 4, "epochs": 2, "validation_data": (X, Y), "callbacks": watched}
    return network().fit(**(given | arguments))


@pytest.fixture
def every_state(monkeypatch):
    monkeypatch.setattr(reporter, "INTERVAL", 0.0)


class Screen:
    """A terminal that understands new rows, carriage returns, moves up, and clearing what is below."""

    def __init__(self, columns):
        self.columns, self.rows, self.row, self.column = columns, [""], 0, 0

    def feed(self, text):
        for token in re.findall(r"\x1b\[\d*[A-Z]|.", text, flags=re.DOTALL):
            if token == "\r":
                self.column = 0
            elif token == "\n":
                self.down()
            elif token.startswith("\x1b"):
                assert token == "\x1b[J" or token[-1] == "A", token
                if token == "\x1b[J":
                    self.rows = [*self.rows[: self.row], self.rows[self.row][: self.column]]
                else:
                    self.row -= int(token[2:-1])
                    assert self.row >= 0
            else:
                if self.column == self.columns:
                    self.down()
                old = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = old[: self.column] + token + old[self.column + 1 :]
                self.column += 1

    def down(self):
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.rows):
            self.rows.append("")


class Terminal:
    """A terminal of so many columns and rows as standard output, and all that was written to it."""

    def __init__(self, columns, rows, monkeypatch):
        fcntl, termios, pty = (pytest.importorskip(name) for name in ("fcntl", "termios", "pty"))
        self.columns = columns
        self.leader, self.follower = pty.openpty()
        fcntl.ioctl(self.follower, termios.TIOCSWINSZ, np.array([rows, columns, 0, 0], np.uint16).tobytes())
        attributes = termios.tcgetattr(self.follower)
        attributes[1] &= ~termios.OPOST  # the terminal takes line ends as they are written
        termios.tcsetattr(self.follower, termios.TCSANOW, attributes)
        self.stream = open(self.follower, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (closed below)
        monkeypatch.setattr(sys, "stdout", self.stream)
        monkeypatch.setenv("TERM", "xterm")
        self.read = b""
        self.reader = threading.Thread(target=self.read_all)
        self.reader.start()

    def read_all(self):
        while not self.read.endswith(b"\0"):
            self.read += os.read(self.leader, 4096)

    def close(self):
        """Stop reading; return the text."""
        if self.reader.is_alive():
            os.write(self.follower, b"\0")
            self.reader.join()
            self.stream.close()
            os.close(self.leader)
            os.close(self.follower)
        return self.read[:-1].decode()


@pytest.fixture
def terminal(monkeypatch):
    """Makes a :class:`Terminal`."""
    made = []

    def make(columns, rows):
        made.append(Terminal(columns, rows, monkeypatch))
        return made[-1]

    yield make
    for one in made:
        one.close()


def seen_on(terminal, text):
    """Return what stands on the terminal in the end, row after row."""
    screen = Screen(terminal.columns or 80)
    screen.feed(text)
    return screen.rows


@pytest.mark.parametrize(("columns", "rows"), [(0, 0), (20, 60), (40, 24), (80, 24), (200, 50), (80, 0), (0, 24)])
def test_a_terminal_of_any_size_shows_all_values(terminal, every_state, columns, rows):
    used = terminal(columns, rows)
    fit()
    text = used.close()
    states = text.split("Epoch 1/2: ")
    assert len(states) > 3
    for state in states[1:-1]:
        assert all(name in re.sub(r"\s", "", state) for name in NAMES[:3])
    shown = "".join(row.ljust(columns or 80) for row in seen_on(used, text))
    # the line that ends each epoch stays
    assert shown.count("Epoch 1/2: 6/6 - ") == shown.count("Epoch 2/2: 6/6 - ") == 1
    for name in NAMES:
        assert len(re.findall(rf"\b{name}: ", shown)) == 2
    assert "[=" not in shown


@pytest.mark.parametrize(("columns", "bar"), [(60, False), (200, True)])
def test_the_bar_gives_way_to_figures(terminal, every_state, columns, bar):
    used = terminal(columns, 24)
    fit()
    assert ("[=" in used.close()) == bar
    assert _screens.drawn(0.5, 12) == "[=====>....]"
    assert _screens.drawn(1.0, 12) == "[==========]"
    assert _screens.drawn(None, 12) == _screens.drawn(0.5, 9) == ""


def test_rows_that_would_leave_the_screen_are_not_drawn(terminal, every_state):
    used = terminal(20, 3)
    fit()
    text = used.close()
    assert "\x1b" not in text
    assert text.count("Epoch") == 2


def test_a_terminal_that_obeys_no_commands_gets_lines(terminal, monkeypatch, every_state):
    used = terminal(80, 24)
    monkeypatch.setenv("TERM", "dumb")
    fit()
    text = used.close()
    assert "\x1b" not in text
    assert text.count("\n") == 2


def test_an_error_leaves_the_bar_on_a_row_of_its_own(terminal, every_state):
    class Fail(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise ArithmeticError

    used = terminal(80, 24)
    with pytest.raises(ArithmeticError):
        fit(callbacks=Fail())
    text = used.close()
    assert text.endswith("\n")
    assert seen_on(used, text)[0].startswith("Epoch 1/2: 4/6 ")


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_what_callbacks_say_stays_beside_the_bar(terminal, every_state, tmp_path, columns):
    used = terminal(columns, 50)
    keeper = callbacks.ModelCheckpoint(tmp_path / "m.fastnn", save_freq=2, verbose=1)
    fit(callbacks=keeper)
    shown = "".join(seen_on(used, used.close()))
    assert shown.count("finished saving model to") == 6
    assert shown.count("Epoch 1/2: ") == 1


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_what_a_user_prints_is_not_overwritten(terminal, every_state, columns):
    used = terminal(columns, 50)
    fit(callbacks=callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: print(f"note {batch}!")))  # noqa: T201
    rows = seen_on(used, used.close())
    assert sum(row.startswith("note ") for row in rows) == 12


def test_two_bars_leave_a_line_an_epoch_each(terminal, every_state):
    used = terminal(80, 50)

    class Inner(callbacks.Callback):  # a loop that starts inside another one, as in another thread
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                fit(epochs=3)

    fit(callbacks=Inner())
    shown = "".join(seen_on(used, used.close()))
    assert [shown.count(f"Epoch {k}/3: 6/6 - ") for k in (1, 2, 3)] == [2, 2, 2]
    assert [shown.count(f"Epoch {k}/2: ") for k in (1, 2)] == [1, 1]


def test_steps_that_nobody_knows_have_no_bar(terminal, every_state):
    used = terminal(200, 24)
    fit(x=((X[:4], Y[:4]) for _ in range(5)), y=None, batch_size=None, epochs=1)
    text = used.close()
    assert "3/? " in text
    assert "[=" not in text
    assert "5/5 - " in text


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_file_gets_a_line_an_epoch(capsys, every_state, verbose):
    fit(verbose=verbose)
    lines = [line for line in capsys.readouterr().out.splitlines() if "/6 - " in line]
    assert len(lines) == 2
    for line in lines:
        assert [part.split(":")[0] for part in line.split(" - ")[3:]] == NAMES


def test_a_metric_of_many_classes_is_one_line(capsys):
    x = np.zeros((90, 3), np.float32)
    model = fastnn.Sequential([layers.Dense(90, "softmax", input_shape=(3,))])
    model.compile("sgd", "categorical_crossentropy", metrics=[fastnn.metrics.F1Score()])
    model.fit(x, np.eye(90))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_evaluate_and_predict_end_with_a_line(capsys):
    model = network()
    model.evaluate(X, Y)
    model.predict(X, verbose=1)
    first, second = capsys.readouterr().out.splitlines()
    assert re.match(r"Evaluate: 1/1 - .*loss: .*f1_score: ", first)
    assert re.match(r"Predict: 1/1 - \S+ - \S+[mu]?s/step$", second)


# ---- notebooks ----


class Kernel(io.StringIO):
    """The standard output of a notebook."""


Kernel.__module__ = "ipykernel.iostream"


def notebook(monkeypatch):
    """Print to a notebook from now on; return the outputs that it keeps beside its stream."""
    outputs = []

    class Handle:
        def __init__(self, place):
            self.place = place

        def update(self, data, raw):
            outputs[self.place] = data["text/plain"]

    def display(data, raw, display_id):
        assert raw
        assert display_id is True
        outputs.append(data["text/plain"])
        return Handle(len(outputs) - 1)

    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(sys, "stdout", Kernel())
    return outputs


def test_a_notebook_keeps_one_output_an_epoch(monkeypatch, every_state):
    outputs = notebook(monkeypatch)
    fit()
    assert len(outputs) == 2
    for epoch, output in enumerate(outputs):
        assert output.startswith(f"Epoch {epoch + 1}/2: 6/6 - ")
        assert all(f"{name}: " in output for name in NAMES)
    assert not sys.stdout.getvalue()


def test_short_epochs_are_lines_in_one_output_of_a_notebook(monkeypatch):
    outputs = notebook(monkeypatch)
    monkeypatch.setattr(reporter, "INTERVAL", np.inf)
    monkeypatch.setattr(reporter, "FIRST_SECONDS", np.inf)  # on a slow machine they would share a bar
    fit(epochs=50)
    assert not outputs
    assert len(sys.stdout.getvalue().splitlines()) == 50


# ---- no standard output, or a poor one ----


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text):
        raise OSError(28, "No space left on device")


class Broken(io.StringIO):
    """A pipe that nobody reads."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


class Writing:
    """A user's own stream, which has nothing but write."""

    def write(self, text):
        pass


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "none": lambda: None,
    "closed": closed,
    "broken": Broken,
    "full": Full,
    "ascii": lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
    "latin-1": lambda: io.TextIOWrapper(io.BytesIO(), encoding="latin-1"),
    "cp1252": lambda: io.TextIOWrapper(io.BytesIO(), encoding="cp1252"),
    "writing": Writing,
}


@pytest.mark.filterwarnings("ignore:EarlyStopping watches")
@pytest.mark.parametrize("kind", STREAMS)
def test_training_runs_on_every_standard_output(monkeypatch, kind):
    names = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update({"größe ─ 日本": 1.0}))
    talking = [
        callbacks.EarlyStopping(verbose=1, patience=0, restore_best_weights=True, min_delta=9),
        callbacks.ReduceLROnPlateau(verbose=1, patience=1, min_delta=9),
        callbacks.LearningRateScheduler(lambda epoch, rate: rate, verbose=1),
        callbacks.TerminateOnNaN(),
    ]
    for verbose in ("auto", 2):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", STREAMS[kind]())
            patch.setattr(sys, "stderr", STREAMS[kind]())
            model = network()
            model.fit(X, Y, epochs=2, verbose=verbose, validation_data=(X, Y), callbacks=[names, *talking])
            model.evaluate(X, Y, verbose=verbose)
            model.predict(X, verbose=1)
            model.summary()
            model.fit(X * np.float32(1e30), Y, verbose=verbose)
            fit(callbacks=callbacks.EarlyStopping("missing"), epochs=1)


WITHOUT = """
import sys, fastnn
from fastnn import layers
{}
model = fastnn.Sequential([layers.Dense(1, "softmax", input_shape=(2,))])  # which warns
model.compile("sgd", "mse")
model.fit([[1.0, 2.0]], [[1.0]])
fastnn.Sequential([layers.Dense(1, input_shape=(2,))]).summary()
open("reached", "w").close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "closing", ["pass", "sys.stdout.close(); sys.stderr.close()", "sys.stdout = sys.stderr = None"]
)
def test_a_process_without_standard_streams_trains(tmp_path, closing):
    arguments = [sys.executable, "-c", WITHOUT.format(closing)]
    nothing = {"stdin": subprocess.DEVNULL, "preexec_fn": lambda: (os.close(1), os.close(2))}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(arguments, cwd=tmp_path, env=environment, check=False, **(nothing if closing == "pass" else {}))
    assert (tmp_path / "reached").exists()


FORKS = """
import os, signal, sys, threading
import numpy as np, fastnn
from fastnn import layers
sys.stdout = open(os.devnull, "w")
x, epochs, more = np.zeros((64, 4), "f4"), [0], threading.Event()
def new():
    model = fastnn.Sequential([layers.Dense(1, input_shape=(4,))])
    model.compile("sgd", "mse")
    return model
def count(epoch, logs):
    epochs[0] += 1
    more.set()
counter = fastnn.callbacks.LambdaCallback(on_epoch_end=count)
threading.Thread(target=lambda: new().fit(x, x[:, 0], epochs=10**9, callbacks=counter), daemon=True).start()
more.wait()
of_child = new()
for _ in range(30):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        of_child.fit(x, x[:, 0], epochs=2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child hangs"
before = epochs[0]
while epochs[0] < before + 10:  # else the test's own limit ends it
    more.clear()
    assert more.wait(20), "the parent's training hangs"
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_bars_go_on_over_forks_in_both_processes():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], check=True, timeout=100)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (8.22e-7, "0.822us"),
        (411e-6, "411us"),
        (999.4e-6, "999us"),
        (999.6e-6, "1ms"),
        (0.01234, "12.3ms"),
        (0.9996, "1s"),
        (12.34, "12.3s"),
        (59.97, "60s"),
        (60, "1min 0s"),
        (185.2, "3min 5s"),
        (3599.7, "1h 0min"),
        (3725, "1h 2min"),
    ],
)
def test_durations_read_well(seconds, text):
    """A line of an epoch once said 0.000411s and 0.00822ms/step."""
    assert reporter.format_duration(seconds) == text


# ---- many short epochs ----


@pytest.fixture
def shared_at_once(every_state, monkeypatch):
    """All epochs count as short, and share a bar after three lines."""
    for name, value in {"SHORT": np.inf, "FIRST_SECONDS": np.inf, "FIRST_LINES": 3}.items():
        monkeypatch.setattr(reporter, name, value)


def lines_of(rows):
    return [row.partition(":")[0] for row in rows if row]


def test_many_short_epochs_share_one_bar_of_a_terminal(terminal, shared_at_once):
    place = terminal(400, 24)  # all figures leave the bar its room
    fit(epochs=40)
    text = place.close()
    assert lines_of(seen_on(place, text)) == ["Epoch 1/40", "Epoch 2/40", "Epoch 3/40", "Epoch 40/40"]
    states = re.findall(r"Epoch (\d+)/40 \[(=*>?\.*)\] \S+ - \S+ left - ", text)
    assert {int(epoch) for epoch, _ in states} == set(range(4, 41))
    done = [bar.count("=") for _, bar in states]
    assert done == sorted(done)
    assert done[-1] == len(states[-1][1])  # all of it


def test_a_training_that_stops_early_leaves_the_line_of_its_last_epoch(terminal, shared_at_once):
    place = terminal(200, 24)
    model = network()
    stop = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 9))
    ended = callbacks.LambdaCallback(on_train_end=lambda logs: sys.stdout.write("ended\n"))
    model.fit(X, Y, batch_size=4, epochs=40, callbacks=[stop, ended])
    rows = seen_on(place, place.close())
    assert lines_of(rows) == ["Epoch 1/40", "Epoch 2/40", "Epoch 3/40", "Epoch 10/40", "ended"]


def test_an_error_leaves_the_shared_bar_as_it_stood(terminal, shared_at_once):
    place = terminal(200, 24)

    def fail(batch, logs):
        if model.optimizer.iterations > 50:  # the ninth epoch of six steps
            raise RuntimeError("enough")

    model = network()
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(X, Y, batch_size=4, epochs=40, callbacks=callbacks.LambdaCallback(on_train_batch_end=fail))
    sys.stdout.write("after\n")
    rows = [row for row in seen_on(place, place.close()) if row]
    assert rows[-2].startswith("Epoch 9/40 [")
    assert rows[-1] == "after"


def test_many_short_epochs_share_one_output_of_a_notebook(monkeypatch, shared_at_once):
    outputs = notebook(monkeypatch)
    fit(epochs=40)
    assert lines_of(outputs) == ["Epoch 1/40", "Epoch 2/40", "Epoch 3/40", "Epoch 40/40"]


def test_a_file_gets_a_line_for_each_of_many_short_epochs(capsys, shared_at_once):
    fit(epochs=40)
    text = capsys.readouterr().out
    assert lines_of(text.splitlines()) == [f"Epoch {k + 1}/40" for k in range(40)]
    assert "\x1b" not in text
    assert "\r" not in text
