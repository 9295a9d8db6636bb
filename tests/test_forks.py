"""Processes that fork, from Python or from C, and systems that give no thread: threads, locks and seeds go on."""

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import threading
import urllib.request
from pathlib import Path

import pytest

import fastnn
from fastnn import layers
from fastnn._engine import build_info

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.thread_unsafe(reason="forks, and runs processes of its own"),
]

TRAINED = """
import ctypes, os, signal, sys, threading
import numpy as np, fastnn
fastnn.set_num_threads(2)
x = np.random.default_rng(0).random((4000, 64), np.float32)
model = fastnn.Sequential([fastnn.layers.Dense(128, "relu", input_shape=(64,)), fastnn.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x, x[:, :1], verbose=0)
expected = model.predict(x, verbose=0)

def works():
    return np.array_equal(model.predict(x, verbose=0), expected)
"""


def ends_well(code, timeout=60):
    """Run the code after TRAINED in a process of its own, which must end with 0."""
    result = subprocess.run([sys.executable, "-c", TRAINED + code], timeout=timeout, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# A fork from C leaves Python's lock as it is: nobody may have asked the thread that holds it to hand it over, as the
# thread that asked is not in the child.
ALONE = "sys.setswitchinterval(10**6)\n"
FORKS = {
    "os.fork": "fork = os.fork",
    "C": ALONE + "fork = ctypes.PyDLL(None).fork",
    "C, and the hook that servers call": ALONE
    + """
def fork():
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    return pid
""",
}


@pytest.mark.parametrize("thread", ["main", "other"])
@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_both_processes_use_threads_after_a_fork(fork, thread):
    code = """
def parent_and_child():
    global status
    pid = fork()
    if pid == 0:
        signal.alarm(20)
        alone = fastnn.get_num_threads()
        fastnn.set_num_threads(2)
        os._exit(0 if alone == 1 and works() and works() else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or not works() or fastnn.get_num_threads() - 2

if sys.argv[-1] == "main":
    parent_and_child()
else:
    thread = threading.Thread(target=parent_and_child)
    thread.start()
    thread.join()
sys.exit(status)
"""
    if build_info()["openmp"]:
        ends_well(fork + code.replace("sys.argv[-1]", repr(thread)))


def test_an_engine_whose_lock_a_lost_thread_held_works_in_a_child_that_c_forked():
    code = """
import time
threading.Thread(target=lambda: model.fit(x, x[:, :1], epochs=10**6, verbose=0), daemon=True).start()
done = model._engine.iterations
while model._engine.iterations == done:
    time.sleep(0.01)
out = np.empty((4000, 1), np.float32)
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    signal.alarm(20)
    model._engine.predict(x, out)
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    ends_well(ALONE + code)


EMBEDDING = r"""
#include <Python.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    Py_Initialize();
    if (PyRun_SimpleString(argv[argc - 1])) {
        return 2;
    }
    int status = 1;
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        _exit(PyRun_SimpleString("fastnn.set_num_threads(2); assert works() and works()") ? 1 : 0);
    }
    waitpid(child, &status, 0);
    return status || PyRun_SimpleString("assert works()");
}
"""


def test_a_c_program_that_embeds_python_forks(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "embed.c").write_text(EMBEDDING)
    library, version = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDVERSION")
    command = [compiler, "embed.c", "-o", "embed", f"-I{sysconfig.get_path('include')}", f"-L{library}"]
    command += [f"-lpython{version}", f"-Wl,-rpath,{library}", "-lm"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"no program can embed this Python here: {built.stderr.splitlines()[-1]}")
    paths = os.pathsep.join(sys.path)
    code = f"import sys; sys.path[:] = {paths!r}.split({os.pathsep!r})\n" + TRAINED
    result = subprocess.run([tmp_path / "embed", code], timeout=60, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_workers_of_uwsgi_answer(tmp_path):
    uwsgi = shutil.which("uwsgi", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    if uwsgi is None:
        pytest.skip("needs uwsgi: pip install pyuwsgi")
    application = """
def application(environ, start):
    fastnn.set_num_threads(2)
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getppid()} {works()}".encode()]
"""
    (tmp_path / "app.py").write_text(TRAINED + application)
    command = [uwsgi, "--http-socket", "127.0.0.1:0", "--master", "--processes", "2", "--wsgi-file", "app.py"]
    command += ["--enable-threads", "--need-app", "--harakiri", "20", "--die-on-term"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    server = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        lines, address = [], None
        for line in server.stdout:
            lines.append(line)
            if "bound to TCP address" in line:
                address = line.split("bound to TCP address ")[1].split()[0]
            if "spawned uWSGI worker 2" in line:
                break
        assert address, "".join(lines)
        drain = threading.Thread(target=server.stdout.read, daemon=True)
        drain.start()
        for _ in range(4):
            with urllib.request.urlopen(f"http://{address}/", timeout=30) as answer:
                assert answer.read().decode() == f"{server.pid} True"
    finally:
        server.terminate()
        server.wait(30)
        drain.join(30)
        server.stdout.close()


def first_weight():
    return float(fastnn.Sequential([layers.Dense(1, input_shape=(1,))]).get_weights()[0][0, 0])


def weights_of_children(fork, count=3):
    """Return the first weight of a new model in each of so many children, and here."""
    found = []
    for _ in range(count):
        reader, writer = os.pipe()
        pid = fork()
        if pid == 0:
            os.write(writer, repr(first_weight()).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            found.append(float(pipe.read()))
        assert os.waitpid(pid, 0)[1] == 0
    return [*found, first_weight()]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("fork", [os.fork, ctypes.PyDLL(None).fork], ids=["os.fork", "C"])
def test_forked_processes_draw_other_weights_unless_a_seed_is_set(fork):
    code = textwrap.dedent("""
        import ctypes, os, sys
        sys.path.insert(0, {tests!r})
        import fastnn
        from test_forks import first_weight, weights_of_children
        fork = {fork}
        first_weight()
        assert len(set(weights_of_children(fork))) == 4
        fastnn.utils.set_random_seed(7)
        assert len(set(weights_of_children(fork))) == 1
    """).format(tests=str(Path(__file__).parent), fork="os.fork" if fork is os.fork else "ctypes.PyDLL(None).fork")
    result = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_models_are_built_in_children_while_threads_build_models():
    code = """
base = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(1,))])
def build():
    while True:
        fastnn.clone_model(base)
for _ in range(3):
    threading.Thread(target=build, daemon=True).start()
for _ in range(60):
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        fastnn.clone_model(base)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        os._exit(1)
os._exit(0)
"""
    ends_well(code)


def test_seeds_of_threads_are_all_different():
    fastnn.utils.set_random_seed(0)
    seeds = []

    def draw():
        seeds.extend([fastnn._seeds.next_seed() for _ in range(200)])

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fastnn.utils.set_random_seed(0)
    assert sorted(seeds) == sorted([fastnn._seeds.next_seed() for _ in range(800)])


NO_THREADS = {
    "memory": """
used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + 6 * 2**20,) * 2)  # no room for the stack of a thread
""",
    "processes": """
if os.getuid() == 0:  # whom no such limit stops
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
""",
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits that Linux keeps")
@pytest.mark.parametrize("limit", NO_THREADS.values(), ids=NO_THREADS)
def test_where_no_thread_can_be_made_one_does_the_work(limit):
    code = "import resource\n" + limit + "assert works()\nmodel.fit(x[:64], x[:64, :1], verbose=0)\n"
    before = "fastnn.set_num_threads(3)  # more than there have been\n"
    ends_well(before + code)


def test_a_new_thread_of_a_child_is_not_taken_for_the_lost_one_whose_number_it_bears():
    code = """
lock, held = model._engine.lock, threading.Event()
def hold():
    with lock:
        held.set()
        signal.pause()

def use(numbers):
    numbers.append(threading.get_ident())
    lost.wait()
    with lock:
        pass

lost = threading.Event()
threading.Thread(target=hold, daemon=True).start()
held.wait()
owner = next(thread.ident for thread in threading.enumerate() if thread is not threading.main_thread())
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    numbers = []
    threads = [threading.Thread(target=use, args=(numbers,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    lost.set()
    for thread in threads:
        thread.join()
    with lock:
        os._exit(0 if owner in numbers else 77)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    ends_well(code)


def test_training_goes_on_in_the_child_of_a_loss_that_forks_while_a_lost_thread_reads():
    code = """
held, over, pids = threading.Event(), threading.Event(), []
def read():
    with model._engine.lock.reading():
        held.set()
        over.wait()

def loss(y_true, y_pred):
    if not pids:
        threading.Thread(target=read, daemon=True).start()
        held.wait()
        pids.append(os.fork())
        if pids[0] == 0:
            signal.alarm(20)
        else:
            over.set()
    return ((y_pred - y_true) ** 2).mean(axis=1), 2 * (y_pred - y_true)

model.compile("sgd", loss)
model.fit(x, x[:, :1], verbose=0)
if pids[0] == 0:
    model.predict(x, verbose=0)
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]))
"""
    ends_well(code)
