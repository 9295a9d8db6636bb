# What the process runs on: the instruction set, the threads, and what of them can be chosen. Part of _engine.pyx.

import os
from pathlib import Path, PurePosixPath

import numpy as np

from libc.math cimport ceil
from libc.string cimport memset

from fastnn._c cimport (
    FNN_MAX_THREADS, fnn_allowed_threads, fnn_blas, fnn_compiler, fnn_end_stretch, fnn_forks, fnn_isa_allows_unit,
    fnn_isa_available, fnn_isa_kernels, fnn_isa_name, fnn_isa_prefers_blas, fnn_kernels, fnn_next_stretch, fnn_openmp,
    fnn_pace, fnn_prepare_threads, fnn_stretch,
)


cdef const fnn_kernels *_kernels = NULL
cdef int _threads = 1  # the number of the block opened last and still open, or else _lasting
cdef int _lasting = 1
cdef list _blocks = []  # the open blocks of num_threads of all Python threads, each a list that holds its number
_isa = ""


def _isa_names():
    names = []
    while fnn_isa_name(<int>len(names)) != NULL:
        names.append(fnn_isa_name(<int>len(names)).decode())
    return names


def _pick_isa():
    global _isa, _kernels
    names = _isa_names()
    available = [name for isa, name in enumerate(names) if fnn_isa_available(isa)]
    _isa = os.environ.get("FASTNN_ISA", "") or available[-1]
    if _isa not in available:
        raise ImportError(f"FASTNN_ISA is {_isa!r}; this machine and build have {', '.join(available)}")
    _kernels = fnn_isa_kernels(<int>names.index(_isa))


def _pick_products():
    choice = os.environ.get("FASTNN_PRODUCTS", "") or "auto"
    if choice not in PRODUCTS:
        raise ImportError(f"FASTNN_PRODUCTS must be one of {', '.join(PRODUCTS)}, got {choice!r}")
    choose_products(choice)


_REFUSED = "the system does not let this process use the matrix unit: set FASTNN_ISA=avx512_bf16 in the environment"


def _allows_unit():
    """Ask the system for the matrix unit, once it is wanted, where the instruction set has one."""
    return bool(fnn_isa_allows_unit(<int>_isa_names().index(_isa)))


# ---- whose products: our own kernels' or a BLAS's ----

PRODUCTS = ("auto", "own", "blas")
cdef str _products = "auto"
cdef int _products_changes = 0  # how often that was set: an engine looks whether it has seen the last one
cdef fnn_blas _blas
cdef int _blas_runs = 0  # the number of runs that call BLAS; a child process counts those of lost threads too
cdef int _blas_threads = 1  # the number of threads that the BLAS had before the first of these runs


def choose_products(str choice not None):
    """Choose who multiplies large matrices; see :func:`fastnn.config.set_products`, which has checked it."""
    global _products, _products_changes
    _products = choice
    _products_changes += 1


def get_products():
    """Return who multiplies large matrices: what was chosen last."""
    return _products


cdef bint _prefers_blas(bint is_double):
    """Return whether large products of training are to go to BLAS, if there is one."""
    cdef int isa = _isa_names().index(_isa)
    return _products == "blas" or _products == "auto" and fnn_isa_prefers_blas(isa, is_double)


cdef const fnn_blas *_find_blas() except? NULL:
    """Return the BLAS that SciPy brings; NULL where it cannot be used, or an error where the user has asked for it."""
    from fastnn._blas import load
    try:
        found = load()
    except (ImportError, OSError) as error:
        if _products == "blas":
            raise RuntimeError(f"products cannot be those of a BLAS: {error}") from error
        return NULL
    _blas.fnn_gemm_f32 = <void *><size_t>found.sgemm
    _blas.fnn_gemm_f64 = <void *><size_t>found.dgemm
    return &_blas


cdef int _begin_blas() except -1:
    """Take the BLAS's own threads away: a run that begins calls it from the threads of the engine."""
    global _blas_runs, _blas_threads
    from fastnn._blas import load
    blas = load()
    if _blas_runs == 0:  # from here on no other thread runs Python
        _blas_threads = blas.get_threads()
    blas.set_threads(1)
    _blas_runs += 1
    return 0


cdef int _end_blas() except -1:
    """Give the BLAS its threads back, after the last run that calls it from the threads of the engine."""
    global _blas_runs
    from fastnn._blas import load
    blas = load()
    _blas_runs -= 1
    if _blas_runs == 0:
        blas.set_threads(_blas_threads)
    return 0


def _quotas(root="/"):
    """Return the quotas, in processors, of the control groups of this process and those around it, in both versions."""
    found = []
    try:
        lines = Path(root, "proc/self/cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:  # this system has no control groups
        return found
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = Path(root, "sys/fs/cgroup/cpu" if controllers else "sys/fs/cgroup")
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
        # in a container the path may be the host's, of which only the root exists here
        group = PurePosixPath(group.lstrip("/"))
        for place in (group, *group.parents):
            try:
                quota, period = " ".join([(folder / place / name).read_text() for name in names]).split()
                if quota not in ("max", "-1"):
                    found.append(int(quota) / int(period))
            except (OSError, ValueError):  # no quota can be set here, or its value is not known
                continue
    return found


def _pick_threads():
    """Return OMP_NUM_THREADS, else the number of processors that this process may use, by affinity and quotas."""
    cores = fnn_prepare_threads(&_threads)
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    threads = int(text) if text.isdigit() else 0
    if threads == 0:
        threads = min(cores, max(1, round(min(_quotas(), default=cores))))
    set_num_threads(min(threads, FNN_MAX_THREADS))


def _checked_threads(n):
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or not 1 <= n <= FNN_MAX_THREADS:
        raise ValueError(f"n must be an integer from 1 to {FNN_MAX_THREADS}, got {n!r}")
    return int(n) if fnn_openmp() else 1


cdef unsigned _forks = 0  # the number of forks that this module knows of


cdef int _notice_fork() except -1:
    """Forget, in a child, threads that a fork has left behind: none of them waits for a lock, or has a block open.

    The child begins with one thread, as processes often fork to share out the cores.
    """
    global _forks, _lasting
    if _forks != fnn_forks():
        _forks = fnn_forks()
        _lasting = 1
        _blocks.clear()
        _waits.clear()
    return 0


def set_num_threads(n):
    """Set the number of threads that the engine may use, for the whole process.

    Parameters
    ----------
    n : int
        1 to 256. Results do not depend on it. Without OpenMP the engine stays on one thread.
    """
    global _lasting
    n = _checked_threads(n)
    _notice_fork()
    if _blocks:
        _blocks[-1][0] = n  # counts until that block ends
    else:
        _lasting = n
    _use_last_block()


def open_block(n):
    """Open the block of a ``with num_threads(n)``; return it for close_block."""
    block = [_checked_threads(n)]
    _notice_fork()
    _blocks.append(block)
    _use_last_block()
    return block


def close_block(block):
    """Close a block: the number is that of the block opened last and still open, or the one before all blocks."""
    _notice_fork()
    for k in range(len(_blocks)):
        if _blocks[k] is block:
            del _blocks[k]
            break
    _use_last_block()


cdef int _use_last_block() except -1:
    global _threads
    _threads = _blocks[-1][0] if _blocks else _lasting
    return 0


def get_num_threads():
    """Return the number of threads that the engine may use: fewer than were set while threadpoolctl limits OpenMP's."""
    return fnn_allowed_threads(_threads)


_pick_isa()
_pick_threads()
_pick_products()


def build_info():
    """Return how the engine was built and what it picked on this machine, as a dict."""
    names = _isa_names()
    return {
        "compiler": fnn_compiler().decode(),
        "isa": _isa,
        "isas_available": [name for isa, name in enumerate(names) if fnn_isa_available(isa)],
        "matrix_unit": _kernels.bf16.multiply_unit != NULL,
        "openmp": bool(fnn_openmp()),
        "num_threads": _threads,
    }


def describe_products():
    """The choice, and what it comes to here: a sentence for people. It loads SciPy's BLAS."""
    from fastnn._blas import load
    types = []
    for name, is_double in (("float32", False), ("float64", True)):
        if _prefers_blas(is_double):
            types.append(name)
    try:
        name = load().name
    except (ImportError, OSError) as error:
        return f"{_products}: fastnn's own ({error})"
    if not types:
        return f"{_products}: fastnn's own; the BLAS is {name}"
    return f"{_products}: large ones of training in {' and '.join(types)} by {name}; others are fastnn's own"


def _paced_stretches(int threads, step_seconds, double seconds):
    """Return how a training run of that length shares its time among numbers of threads, for tests.

    step_seconds(threads, start) is the time of a step in the stretch that begins then; returns the stretches as tuples
    of start, seconds and threads.
    """
    cdef fnn_pace pace
    cdef fnn_stretch stretch
    cdef double start = 0, step, steps
    memset(&pace, 0, sizeof(fnn_pace))
    stretches = []
    while start < seconds:
        stretch = fnn_next_stretch(&pace, threads, 1)
        step = step_seconds(stretch.threads, start)
        steps = max(1.0, ceil(min(stretch.seconds, seconds - start) / step))
        fnn_end_stretch(&pace, threads, steps, steps * step)
        stretches.append((start, steps * step, stretch.threads))
        start += steps * step
    return stretches
