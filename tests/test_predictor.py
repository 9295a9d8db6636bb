"""A frozen model answers like the model it came from, bit for bit, from any thread, and refuses what it cannot read."""

import ctypes
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers
from fastnn.predictor import get_include

SIZES = st.integers(1, 40) | st.integers(1, 300)
ACTIVATIONS = ["linear", "relu", "sigmoid", "tanh", "softmax"]


def network(widths, activations=("relu",), dtype="float32"):
    stack = [layers.Dense(n, activations[k % len(activations)]) for k, n in enumerate(widths[1:])]
    return fastnn.Sequential([fastnn.Input((widths[0],), dtype=dtype), *stack])


@pytest.mark.filterwarnings("ignore:softmax over one unit")
@settings(deadline=None, max_examples=60)
@given(
    widths=st.lists(SIZES, min_size=2, max_size=4),
    names=st.lists(st.sampled_from(ACTIVATIONS), min_size=1, max_size=3),
    rows=st.sampled_from([0, 1, 2, 3, 5, 17, 48, 49, 200, 1000]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_equals_predict(widths, names, rows, dtype):
    model = network(widths, names, dtype)
    x = np.random.default_rng(rows).normal(size=(rows, widths[0])).astype(dtype)
    predictor = model.freeze()
    np.testing.assert_array_equal(predictor(x), model.predict(x))
    wide = np.zeros((rows, widths[0] + 3), dtype)
    wide[:, :-3] = x
    np.testing.assert_array_equal(predictor(wide[:, :-3]), model.predict(x))  # rows with gaps between them
    if rows:
        np.testing.assert_array_equal(predictor(x[0]), model.predict(x[:1])[0])


@pytest.mark.thread_unsafe(reason="sets the number of threads")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("widths", [(784, 128, 10), (50, 40, 3)], ids=str)
def test_rows_lie_anywhere(widths, threads, assert_same_rows):
    """Kernels fetch later rows ahead; their place and their number must not change the answer."""
    model = network(widths)
    x = np.random.default_rng(0).random((150, 3 * widths[0]), np.float32)
    with fastnn.num_threads(threads):
        predictor = model.freeze()
        for rows in (1, 2, 11, 12, 13, 25, 150):
            near, far = x[:rows, : widths[0]].copy(), x[:rows, : widths[0]]
            expected = np.stack([predictor(row) for row in near])
            same = np.broadcast_to(near[:1], near.shape)  # all rows share their memory
            check = assert_same_rows if rows >= 128 else np.testing.assert_array_equal
            for given, answers in ((near, expected), (far, expected), (near[::-1], expected[::-1])):
                check(predictor(given), answers)
            check(predictor(same), np.broadcast_to(expected[:1], expected.shape))


@pytest.mark.parametrize("rows", [1, 30, 700])
@pytest.mark.parametrize("widths", [(600, 1000, 10), (3, 20_000, 2)], ids=["large", "wider than the stack"])
def test_large_networks(widths, rows):
    model = network(widths)
    x = np.random.default_rng(0).random((rows, widths[0]), np.float32)
    np.testing.assert_array_equal(model.freeze()(x), model.predict(x))


def test_frozen_means_frozen():
    model = network((4, 8, 2))
    x = np.ones((3, 4), np.float32)
    predictor, before = model.freeze(), model.predict(x)
    for view in model.weights:
        view += 1
    np.testing.assert_array_equal(predictor(x), before)
    assert not np.array_equal(model.predict(x), before)
    assert (predictor.inputs, predictor.outputs, predictor.dtype) == (4, 2, np.float32)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predictor))(x), before)


def test_out_takes_the_result():
    predictor = network((4, 8, 2)).freeze()
    x, out = np.ones((3, 4), np.float32), np.empty((3, 2), np.float32)
    assert predictor(x, out=out) is out
    np.testing.assert_array_equal(out, predictor(x))
    row = np.empty(2, np.float32)
    assert predictor(x[0], out=row) is row
    for bad in (np.empty((3, 3), np.float32), np.empty((2, 2), np.float32), np.empty((3, 2)), out.T, row):
        with pytest.raises(ValueError, match=r"out must be .* shape \(3, 2\)"):
            predictor(x, out=bad)
    with pytest.raises(TypeError, match="out must be a NumPy array, got list"):
        predictor(x, out=[])


def test_out_apart_from_x():
    predictor = network((4, 8, 4)).freeze()
    memory = np.random.default_rng(0).random((20, 4), np.float32)
    before = memory.copy()
    row = memory.reshape(-1)
    for x, out in (
        (memory[:10], memory[1:11]),
        (memory[1:11], memory[:10]),
        (memory[9::-1], memory[9:19]),
        (memory[:20:2], memory[:10]),
        (memory, memory),
        (row[:4], row[3:7]),
        (row[4:8], row[1:5]),
    ):
        with pytest.raises(ValueError, match="out must not share memory with x"):
            predictor(x, out=out)
    np.testing.assert_array_equal(memory, before)
    for x, out in ((memory[:10], memory[10:]), (memory[19:9:-1], memory[:10]), (row[4:8], row[8:12])):
        np.testing.assert_array_equal(predictor(x.copy()), predictor(x, out=out))
    assert predictor(memory[:0], out=memory[:0]).shape == (0, 4)


def test_masked_values_are_refused_in_place_too():
    predictor = network((3, 2)).freeze()
    for x in (np.ones((2, 3), np.float32), np.ones(3)):
        x = np.ma.masked_array(x, x * [0, 1, 0])
        with pytest.raises(ValueError, match="x has masked values"):
            predictor(x)
    with pytest.raises(ValueError, match="x must have rows of one length"):
        predictor([[1, 2, 3], [1, 2]])


@pytest.mark.thread_unsafe(reason="sets the interval at which threads take turns")
@pytest.mark.parametrize(("widths", "rows", "lets_go"), [((1, 700, 700, 1), 200, True), ((32, 64, 64, 1), 1, False)])
def test_a_long_call_lets_other_threads_run(widths, rows, lets_go):
    """The length counts products of the whole network, not of its first layer alone; a short call keeps the lock."""
    predictor = network(widths).freeze()
    x, turns = np.ones((rows, widths[0]), np.float32), []
    stop, started = threading.Event(), threading.Event()

    def take_turns():
        while not stop.is_set():
            turns.append(1)
            started.set()
            time.sleep(0)

    thread, interval = threading.Thread(target=take_turns), sys.getswitchinterval()
    sys.setswitchinterval(10)  # at this interval a turn ends only where a thread lets go of the lock
    try:
        thread.start()
        started.wait()
        before = len(turns)
        for _ in range(200):  # the system may not wake the other thread at once
            predictor(x)
            if len(turns) > before:
                break
        assert (len(turns) > before) == lets_go
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        thread.join()


def test_other_kinds_of_x_are_converted_or_refused():
    predictor = network((2, 3)).freeze()
    expected = predictor(np.array([[1, 2]], np.float32))
    for x in ([[1, 2]], np.array([[1.0, 2.0]]), np.array([[1, 2]], ">f4"), np.array([[1, 0, 2]], np.float32)[:, ::2]):
        np.testing.assert_array_equal(predictor(x), expected)
    np.testing.assert_array_equal(predictor([1, 2]), expected[0])
    with pytest.raises(ValueError, match="must have 2 features"):
        predictor(np.ones((1, 3), np.float32))
    with pytest.raises(TypeError, match="must hold real numbers"):
        predictor([["a", "b"]])
    with pytest.raises(ValueError, match="freeze needs a built model"):
        fastnn.Sequential([layers.Dense(1)]).freeze()


def test_many_threads_at_once():
    model = network((60, 300, 5))
    x = np.random.default_rng(0).random((400, 60), np.float32)
    # Calls have 100 rows, which may take another way than one row (assert_same_rows).
    predictor, expected = model.freeze(), np.concatenate([model.predict(part) for part in np.split(x, 4)])
    with ThreadPoolExecutor(8) as pool:
        for k, row in enumerate(pool.map(predictor, [x[i] for i in range(400)])):
            np.testing.assert_array_equal(row, expected[k])


def test_a_c_program_can_run_it():
    predictor = network((3, 5, 2)).freeze()
    x, y = np.random.default_rng(0).random((7, 3), np.float32), np.empty((7, 2), np.float32)
    run = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_size_t, ctypes.c_void_p
    )(ctypes.cast(predictor.address, ctypes.POINTER(ctypes.c_void_p))[0])  # the struct's first member
    assert run(predictor.address, x.ctypes.data, 3, 7, y.ctypes.data) == 0
    np.testing.assert_array_equal(y, predictor(x))


EMBEDDER = """
    from fastnn.predictor cimport Predictor

    def answer(Predictor predictor, float[:, ::1] x, float[:, ::1] y):
        cdef int status
        with nogil:
            status = predictor.run(&x[0, 0], &y[0, 0], x.shape[0])
        return status
"""


@pytest.mark.slow
@pytest.mark.thread_unsafe(reason="builds an extension")
def test_cython_code_can_embed_it(tmp_path):
    pytest.importorskip("Cython", reason="the [dev] extra holds Cython")
    (tmp_path / "embedder.pyx").write_text(textwrap.dedent(EMBEDDER))
    (tmp_path / "setup.py").write_text(
        "from setuptools import setup\nfrom Cython.Build import cythonize\nimport sys, pathlib, fastnn\n"
        "folder = str(pathlib.Path(fastnn.__file__).parent.parent)\n"
        "setup(name='embedder', py_modules=[], ext_modules=cythonize('embedder.pyx', include_path=[folder],"
        " language_level=3))\n"
    )
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    program = """
        import numpy as np, fastnn, embedder
        predictor = fastnn.Sequential([fastnn.Input((3,)), fastnn.layers.Dense(2)]).freeze()
        x, y = np.ones((4, 3), np.float32), np.empty((4, 2), np.float32)
        assert embedder.answer(predictor, x, y) == 0
        np.testing.assert_array_equal(y, predictor(x))
        other = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), fastnn.layers.Dense(2)]).freeze()
        assert embedder.answer(other, x, y) == 2
        np.testing.assert_array_equal(y, predictor(x))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


WHOLE_NUMBERS = {
    "Embedding": lambda: [layers.Embedding(5, 3)],
    "Embedding, Dense": lambda: [layers.Embedding(5, 3), layers.Dense(2)],
    "one_hot": lambda: [layers.CategoryEncoding(5, "one_hot")],
    "multi_hot": lambda: [layers.CategoryEncoding(5, "multi_hot")],
    "count": lambda: [layers.CategoryEncoding(5, "count")],
    "Discretization": lambda: [layers.Discretization([0.0, 1.0, 2.0])],
    "Discretization, one_hot": lambda: [layers.Discretization([0.0, 1.0, 2.0], output_mode="one_hot")],
    "Dense": lambda: [layers.Dense(3, "relu")],
}
ODD = [1.5, 4.9, 0.99, -1.0, -0.5, -0.0, 5.0, 1e9, 2.0**24, 2.0**31, 2.0**63, 1e-40, -1e-40, 1e-310, 4.0000005]
ODD += [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stack", WHOLE_NUMBERS.values(), ids=WHOLE_NUMBERS)
def test_odd_numbers_give_what_predict_gives_or_nan_where_it_raises(stack, dtype):
    model = fastnn.Sequential([fastnn.Input((2,), dtype=dtype), *stack()])
    predictor = model.freeze()
    right = np.array([[1, 3]], dtype)
    for value in np.array(ODD, dtype):
        x = np.array([[1, 3], [1, value], [3, 1]], dtype)
        answer = predictor(x)
        np.testing.assert_array_equal(answer[:1], model.predict(right, verbose=0), err_msg=str(value))
        try:
            expected = model.predict(x, verbose=0)
        except ValueError:
            assert not np.isfinite(answer[1]).all(), value
        else:
            np.testing.assert_array_equal(answer, expected, err_msg=str(value))


def branched():
    inner = {"image": [layers.Input((2, 3)), layers.Flatten(), layers.Dense(2)], "n": [layers.Input((1,))]}
    return fastnn.Sequential([layers.Branches(inner), layers.Dense(2)])


def stacked(shape, *more):
    return fastnn.Sequential([layers.Input(shape), *more, layers.Dense(2)])


IMAGES = np.random.default_rng(0).random((4, 2, 3))
SAME = {
    "rows of two axes": (lambda: stacked((2, 3), layers.Flatten()), IMAGES),
    "rows of two axes in lists": (lambda: stacked((2, 3), layers.Flatten()), IMAGES.tolist()),
    "rows of two axes before a Reshape": (lambda: stacked((2, 3), layers.Reshape((6,))), IMAGES.astype("f4")[:, ::-1]),
    "rows of two axes in a branch": (branched, {"image": IMAGES, "n": [1, 2, 3, 4]}),
    "a matrix for branches": (branched, np.ones((3, 7))),
    "rows of one number": (lambda: stacked((1,)), [1.0, 2.0, 3.0]),
    "no rows": (lambda: stacked((3,)), np.ones((0, 3))),
}
REFUSED = {
    "other rows of two axes": (lambda: stacked((2, 3), layers.Flatten()), IMAGES.transpose(0, 2, 1)),
    "rows of two axes without a Flatten": (lambda: stacked((6,)), IMAGES),
    "a dict without branches": (lambda: stacked((1,)), {"a": [1.0]}),
    "a list of arrays for branches": (branched, [IMAGES, np.ones(4)]),
    "too many numbers": (lambda: stacked((3,)), np.ones((2, 4))),
    "no array": (lambda: stacked((3,)), None),
    "text": (lambda: stacked((3,)), [["a", "b", "c"]]),
    "masked": (lambda: stacked((3,)), np.ma.masked_equal(np.ones((2, 3)), 1)),
}


@pytest.mark.parametrize("kind", SAME)
def test_a_predictor_reads_what_predict_reads(kind):
    make, x = SAME[kind]
    model = make()
    for frozen in (model.freeze(), pickle.loads(pickle.dumps(model.freeze()))):
        np.testing.assert_array_equal(frozen(x), model.predict(x))


@pytest.mark.parametrize("kind", REFUSED)
def test_a_predictor_refuses_what_predict_refuses(kind):
    make, x = REFUSED[kind]
    model = make()
    with pytest.raises((TypeError, ValueError)) as theirs:
        model.predict(x)
    with pytest.raises(theirs.type) as ours:
        model.freeze()(x)
    assert str(ours.value) == str(theirs.value)


STACK = """
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "fastnn_predictor.h"

enum { ROOM = 1 << 20, PAGE = 4096 };

typedef struct {
    const fnn_predictor *predictor;
    const void *x;
    void *y, *gradient, *jacobian; /* the last two or NULL */
    size_t rows;
    int status;
} call;

static void *answer(void *context) {
    call *c = context;
    const fnn_predictor *p = c->predictor;
    const ptrdiff_t stride = (ptrdiff_t)p->inputs;
    c->status = c->jacobian ? p->jacobian(p, c->x, stride, c->rows, NULL, c->jacobian)
              : c->gradient ? p->vjp(p, c->x, stride, c->rows, c->y, NULL, c->gradient)
                            : p->run(p, c->x, stride, c->rows, c->y);
    return NULL;
}

/* Bytes of its stack that a thread uses which calls a predictor, or -1. */
long stack_of(size_t address, const void *x, void *y, void *gradient, void *jacobian, size_t rows) {
    call c = {(const fnn_predictor *)address, x, y, gradient, jacobian, rows, -1};
    unsigned char *stack = aligned_alloc(PAGE, ROOM);
    pthread_attr_t attributes;
    pthread_t thread;
    long untouched = 0;
    memset(stack, 0xa5, ROOM);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, ROOM);
    if (pthread_create(&thread, &attributes, answer, &c) || pthread_join(thread, NULL)) {
        return -1;
    }
    while (untouched < ROOM && stack[untouched] == 0xa5) {
        untouched++;
    }
    free(stack);
    return c.status ? -1 : ROOM - untouched;
}
"""


@pytest.fixture(scope="module")
def stack_of(tmp_path_factory):
    """Return the bytes of stack that a thread of C uses when it calls a predictor."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("stack")
    (folder / "stack.c").write_text(STACK)
    command = [compiler, "-shared", "-fPIC", "-pthread", f"-I{get_include()}", "stack.c", "-o", "stack.so"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    function = ctypes.CDLL(str(folder / "stack.so")).stack_of
    function.restype = ctypes.c_long
    function.argtypes = [ctypes.c_size_t, *[ctypes.c_void_p] * 4, ctypes.c_size_t]
    return function


def two_branches():
    widths = {"a": [layers.Input((20,)), layers.Dense(40, "gelu")], "b": [layers.Input((12,)), layers.Dense(24)]}
    return [layers.Branches(widths), layers.Dense(8)]


STACKS = {
    "small": lambda: [layers.Dense(32, "relu"), layers.Dense(32, "tanh"), layers.Dense(2, "softmax")],
    "wide": lambda: [layers.Dense(4096, "relu"), layers.Dense(64, "selu"), layers.Dense(1)],
    "packed": lambda: [layers.Dense(1024, "relu"), layers.Dense(1024)],
    "normalized": lambda: [layers.BatchNormalization(), layers.Dense(512, "gelu"), layers.LayerNormalization()],
    "many zeros": lambda: [layers.Dense(300, "relu"), layers.ReLU(), layers.Dense(300, "relu"), layers.Dense(5)],
    "residual": lambda: [layers.Dense(64), layers.Residual([layers.Dense(64, "relu"), layers.Dense(64)])],
    "branches": two_branches,
}


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer takes stack of its own")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_thread_with_a_stack_of_128_kib_can_call_it(stack, dtype, threads, stack_of, monkeypatch):
    monkeypatch.setattr(fastnn.config, "_policy", dtype)
    model = fastnn.Sequential(stack())
    if not model.built:
        model.build((None, 32))
    predictor = model.freeze()
    for rows in (1, 3, 64, 1000):
        x = np.random.default_rng(0).normal(size=(rows, 32)).astype(dtype)
        y = np.empty((rows, predictor.outputs), dtype)
        gradient, jacobian = np.empty_like(x), np.empty((3, predictor.outputs, 32), dtype)
        with fastnn.num_threads(threads):
            for results, count in (
                ((None, None), rows),
                ((gradient.ctypes.data, None), rows),
                ((None, jacobian.ctypes.data), min(rows, 3)),
            ):
                used = stack_of(predictor.address, x.ctypes.data, y.ctypes.data, *results, count)
                assert 0 < used <= 124 * 1024  # the rest is the page that guards the stack
        assert np.array_equal(y, predictor(x))
        assert np.array_equal(gradient, predictor.vjp(x, y)[1])
        assert np.array_equal(jacobian[: len(x)], predictor.jacobian(x[:3])[1])
