"""The compiled engine: owns a model's memory and runs its plan with the GIL released."""

import os
import threading

import numpy as np


from fastnn.layers._op import OP_ADD as _OP_ADD
from fastnn.layers._op import OP_DENSE as _OP_DENSE
from fastnn.sparse import SparseRows
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_New
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from fastnn._c cimport (
    FNN_ALIGNMENT, FNN_BACKWARD, FNN_BIAS, FNN_INPUT_GRADIENT, FNN_KERNEL, FNN_LOSS, FNN_MAX_THREADS, FNN_NUMBERS,
    FNN_PADDING, FNN_SLOTS, FNN_SPARSE_COLUMN, FNN_SPARSE_STARTS, FNN_SPARSE_UNSORTED, FNN_STOPPED, FNN_TRAINING,
    FNN_UPDATE, fnn_all_finite, fnn_apply_gradients, fnn_check_sparse, fnn_compiler, fnn_data, fnn_freeze, fnn_fuses,
    fnn_head, fnn_hyperparameters, fnn_infer, fnn_isa_allows_bfloat16, fnn_isa_available, fnn_isa_kernels, fnn_isa_name,
    fnn_kernels, fnn_learning_rate,
    fnn_link, fnn_measure, fnn_member, fnn_model, fnn_op, fnn_openmp, fnn_pace, fnn_penalty,
    fnn_predictor, fnn_product_f32, fnn_product_f64, fnn_progress, fnn_rule, fnn_run, fnn_schedule, fnn_scratch_bytes,
    fnn_state_size, fnn_stores_gradients, fnn_stripe, fnn_stripes, fnn_tile_sums, fnn_train,
    fnn_train_many, fnn_transposed_size, fnn_workspace_bytes,
)

cnp.import_array()


MAX_STATE = 2**27  # numbers of a metric: a gibibyte


# ---- process-wide choices, made at import ----

cdef const fnn_kernels *_kernels = NULL
cdef int _threads = 1
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


def _allow_bfloat16():
    """Asks for what products of bfloat16 need of the system, once they are wanted."""
    if not fnn_isa_allows_bfloat16(<int>_isa_names().index(_isa)):
        raise RuntimeError(f"the system does not let this process use the matrix unit of {_isa!r}: set "
                           f"FASTNN_ISA=avx512_bf16 in the environment")


def _usable_cores():
    """Processors this process may use: its affinity mask, and the quota of its control group where there is one."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cores = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such control group: no quota
        pass
    return cores


def _pick_threads():
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    set_num_threads(min(int(text), FNN_MAX_THREADS) if text.isdigit() and int(text) else _usable_cores())


def set_num_threads(n):
    """Set the number of threads that the engine may use, for the whole process.

    Parameters
    ----------
    n : int
        1 to 256. Results do not depend on it. Without OpenMP the engine stays on one thread.
    """
    global _threads
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or not 1 <= n <= FNN_MAX_THREADS:
        raise ValueError(f"n must be an integer from 1 to {FNN_MAX_THREADS}, got {n!r}")
    _threads = <int>n if fnn_openmp() else 1


def get_num_threads():
    """The number of threads that the engine may use."""
    return _threads


def _after_fork():
    # libgomp's threads do not survive a fork, and a child that woke them would wait for ever.
    set_num_threads(1)


_pick_isa()
_pick_threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def build_info():
    """How the engine was built and what it picked on this machine, as a dict."""
    names = _isa_names()
    return {
        "compiler": fnn_compiler().decode(),
        "isa": _isa,
        "isas_available": [name for isa, name in enumerate(names) if fnn_isa_available(isa)],
        "openmp": bool(fnn_openmp()),
        "num_threads": _threads,
    }


# ---- arrays ----

def aligned_zeros(size_t size, dtype):
    """A zero-filled array of `size` elements that starts on a cache line, with FNN_PADDING more readable behind it."""
    dtype = np.dtype(dtype)
    if size > (<size_t>-1) // 32 - FNN_PADDING:
        raise MemoryError(f"an array of {size} elements cannot be addressed")
    raw = np.zeros((size + FNN_PADDING) * dtype.itemsize + FNN_ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % FNN_ALIGNMENT
    return raw[start:start + size * dtype.itemsize].view(dtype)


cdef inline void *_data(cnp.ndarray array) noexcept:
    return cnp.PyArray_DATA(array)


cdef int _check_matrix(cnp.ndarray array, str name, int typenum, cnp.npy_intp columns) except -1:
    if cnp.PyArray_NDIM(array) != 2 or cnp.PyArray_DIM(array, 1) != columns:
        raise ValueError(f"{name} must have shape (rows, {columns}), got {_shape(array)}")
    if cnp.PyArray_TYPE(array) != typenum:
        raise TypeError(f"{name} must be {np.dtype(cnp.PyArray_DescrFromType(typenum))}, got {array.dtype}")
    cdef cnp.npy_intp item = cnp.PyArray_ITEMSIZE(array)
    cdef bint apart = cnp.PyArray_SIZE(array) > 0 and columns > 1 and cnp.PyArray_STRIDE(array, 1) != item
    if not cnp.PyArray_ISALIGNED(array) or not cnp.PyArray_ISNOTSWAPPED(array) or apart \
            or cnp.PyArray_STRIDE(array, 0) % item:
        raise ValueError(f"{name} must have contiguous, aligned rows in native byte order")
    return 0


cdef tuple _shape(cnp.ndarray array):
    return tuple([array.shape[i] for i in range(array.ndim)])


def all_finite(cnp.ndarray x not None):
    """Whether a float32 or float64 array of one or two axes, with contiguous rows, holds neither NaN nor infinity."""
    if x.ndim == 1:
        x = x[None, :]
    if x.dtype != np.float32 and x.dtype != np.float64:
        raise TypeError(f"x must be float32 or float64, got {x.dtype}")
    _check_matrix(x, "x", cnp.PyArray_TYPE(x), cnp.PyArray_DIM(x, 1))
    cdef int is_double = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT64
    cdef ptrdiff_t stride = cnp.PyArray_STRIDE(x, 0) // cnp.PyArray_ITEMSIZE(x)
    cdef size_t rows = cnp.PyArray_DIM(x, 0), columns = cnp.PyArray_DIM(x, 1)
    cdef void *data = _data(x)
    cdef int threads = _threads, finite
    if rows > 1 and <size_t>stride == columns:  # one long row takes the wide path
        if rows * columns <= 4096:
            columns, rows = rows * columns, 1
    with nogil:
        finite = fnn_all_finite(_kernels, is_double, data, stride, rows, columns, threads)
    return bool(finite)


SPARSE_UNSORTED, SPARSE_STARTS, SPARSE_COLUMN = FNN_SPARSE_UNSORTED, FNN_SPARSE_STARTS, FNN_SPARSE_COLUMN


def check_sparse(cnp.ndarray starts not None, cnp.ndarray columns not None, size_t features):
    """What the arrays of a sparse matrix are: SPARSE_STARTS, SPARSE_COLUMN, SPARSE_UNSORTED, or 0 for fit.

    `starts`, int64, says where the entries of each row begin and the last one's end; `columns`, int32, names theirs.
    """
    if starts.ndim != 1 or columns.ndim != 1 or starts.dtype != np.int64 or columns.dtype != np.int32 \
            or not starts.flags.c_contiguous or not columns.flags.c_contiguous or len(starts) < 1:
        raise ValueError("starts must be an int64 and columns an int32 array, one-dimensional and contiguous")
    cdef const int64_t *first = <const int64_t *>_data(starts)
    cdef const int32_t *column = <const int32_t *>_data(columns)
    cdef size_t rows = cnp.PyArray_DIM(starts, 0) - 1, entries = cnp.PyArray_DIM(columns, 0)
    cdef int form
    with nogil:
        form = fnn_check_sparse(first, column, rows, entries, features)
    return form


def _packed_product(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray c not None, *, bint by_depth=False,
                    bint transposed=False, cnp.ndarray bias=None, bint relu=False, bint bf16=False, row_range=None,
                    column_range=None):
    """One call of the kernel multiply_packed or multiply_packed_bf16, for tests: c = f(bias + A @ B) in the ranges.

    A is `a` (rows, depth), or `a.T` by depth; B is `b` (depth, columns), or `b.T` transposed; c (rows, columns) is
    written in row_range and column_range, pairs of first and end, alone.
    """
    cdef size_t rows = c.shape[0], columns = c.shape[1], depth = a.shape[0] if by_depth else a.shape[1]
    cdef size_t top = 0, bottom = rows, left = 0, right = columns
    if row_range is not None:
        top, bottom = row_range
    if column_range is not None:
        left, right = column_range
    cdef int typenum = cnp.PyArray_TYPE(c), is_double = typenum == cnp.NPY_FLOAT64
    if not (top <= bottom <= rows and left <= right <= columns) or a.dtype not in ("f4", "f8") or (bf16 and is_double):
        raise ValueError("ranges must lie within c; float32 or, without bf16, float64")
    _check_matrix(a, "a", typenum, rows if by_depth else depth)
    _check_matrix(b, "b", typenum, depth if transposed else columns)
    _check_matrix(c, "c", typenum, columns)
    if b.shape[0] != (columns if transposed else depth):
        raise ValueError("a, b and c must fit together")
    if bias is not None and (bias.dtype != c.dtype or not bias.flags.c_contiguous or bias.shape[0] != columns):
        raise ValueError("bias must be like a row of c")

    cdef cnp.ndarray pointers = a.ctypes.data + a.strides[0] * np.arange(a.shape[0], dtype=np.uintp)
    cdef cnp.ndarray scratch = aligned_zeros(_kernels.f64.packed_scratch if is_double else _kernels.f32.packed_scratch,
                                             c.dtype)
    cdef size_t item = c.itemsize, b_stride = b.strides[0] // item, c_stride = c.strides[0] // item
    cdef void **a_rows = <void **>_data(pointers) + (0 if by_depth else top)
    cdef char *b_data = <char *>_data(b) + (left * b_stride if transposed else left) * item
    cdef char *c_data = <char *>_data(c) + (top * c_stride + left) * item
    cdef char *bias_data = NULL if bias is None else <char *>_data(bias) + left * item
    cdef fnn_product_f32 single
    cdef fnn_product_f64 double_
    if is_double:
        double_ = fnn_product_f64(
            <const double *const *>a_rows, by_depth, top, <const double *>b_data, transposed, b_stride,
            <const double *>bias_data, relu, <double *>c_data, c_stride, bottom - top, depth, right - left)
        _kernels.f64.multiply_packed(&double_, <double *>_data(scratch))
        return
    single = fnn_product_f32(
        <const float *const *>a_rows, by_depth, top, <const float *>b_data, transposed, b_stride,
        <const float *>bias_data, relu, <float *>c_data, c_stride, bottom - top, depth, right - left)
    if bf16:
        _allow_bfloat16()
        _kernels.f32.multiply_packed_bf16(&single, <float *>_data(scratch))
    else:
        _kernels.f32.multiply_packed(&single, <float *>_data(scratch))


# ---- optimizers ----

cdef int _set_schedule(fnn_schedule *schedule, int code, tuple numbers, cnp.ndarray boundaries,
                       cnp.ndarray values) except -1:
    """The arrays, float64, must outlive the schedule."""
    schedule.code = code
    for k, number in enumerate(numbers):
        schedule.numbers[k] = number
    schedule.boundaries, schedule.values = <const double *>_data(boundaries), <const double *>_data(values)
    schedule.pieces = boundaries.shape[0]
    return 0


cdef int _set_hyperparameters(fnn_hyperparameters *optimizer, int code, hyperparameters) except -1:
    """From a fastnn.optimizers.Hyperparameters, which must outlive the run."""
    optimizer.code = code
    for k, number in enumerate(hyperparameters.numbers):
        if k < FNN_NUMBERS:
            optimizer.numbers[k] = number
    boundaries, values = hyperparameters.schedule_table
    _set_schedule(&optimizer.schedule, hyperparameters.schedule, hyperparameters.schedule_numbers, boundaries, values)
    optimizer.weight_decay, optimizer.clipvalue = hyperparameters.weight_decay, hyperparameters.clipvalue
    optimizer.clipnorm, optimizer.global_clipnorm = hyperparameters.clipnorm, hyperparameters.global_clipnorm
    optimizer.accumulation_steps = hyperparameters.accumulation_steps
    optimizer.ema_momentum = hyperparameters.ema_momentum
    optimizer.ema_overwrite_frequency = hyperparameters.ema_overwrite_frequency
    return 0


def learning_rate(int code, tuple numbers not None, cnp.ndarray boundaries not None, cnp.ndarray values not None,
                  int64_t step):
    """The learning rate of a schedule at `step`, see :mod:`fastnn.schedules`."""
    cdef fnn_schedule schedule
    memset(&schedule, 0, sizeof(fnn_schedule))
    _set_schedule(&schedule, code, numbers, boundaries, values)
    return fnn_learning_rate(&schedule, step)


# ---- progress and signals ----

cdef class _Reporter:
    """Lets Python look in while C runs: signals, and the caller's progress function. An exception stops the run."""

    cdef object function
    cdef object error
    cdef size_t count
    cdef fnn_progress progress

    def __cinit__(self, function, size_t count):
        self.function = function
        self.error = None
        self.count = count
        self.progress.function = _report
        self.progress.context = <void *>self
        self.progress.interval = 0.02

    def __reduce__(self):
        raise TypeError("a progress report cannot be pickled")


cdef int _report(void *context, size_t steps_done, const double *sums) noexcept nogil:
    with gil:
        return _report_with_gil(<_Reporter>context, steps_done, sums)


cdef int _report_with_gil(_Reporter reporter, size_t steps_done, const double *sums) noexcept:
    cdef size_t i
    try:
        PyErr_CheckSignals()
        if reporter.function is not None:
            totals = np.empty(reporter.count)
            for i in range(reporter.count):
                totals[i] = sums[i]
            reporter.function(steps_done, totals)
    except BaseException as error:  # handed to the caller by _finish, once C has returned
        reporter.error = error
        return 1
    return 0


# ---- the engine ----

cdef class Engine:
    """One model in memory.

    Parameters
    ----------
    plan : fastnn.plan.Plan
        What to run and how the parameters lie in the flat buffer. Buffers start as zeros.

    Notes
    -----
    Calls on one engine run one after the other; a call from inside one (from a progress function) raises RuntimeError.
    """

    cdef fnn_model model
    cdef fnn_pace pace
    cdef readonly object plan
    cdef readonly bint takes_sparse
    cdef readonly cnp.ndarray parameters
    cdef readonly tuple slots
    cdef public int64_t iterations
    cdef public double momentum_product
    cdef public uint64_t seed
    cdef readonly tuple states
    cdef cnp.ndarray _predictor, _ops, _vectors, _rules, _stripes, _transposed, _gradients, _workspace, _scratch
    cdef cnp.ndarray _heads, _measures, _constants, _tile_sums
    cdef size_t _workspace_batch, _scratch_bytes_per_thread
    cdef int _last_passes, _workspace_threads, _scratch_threads, _typenum, _optimizer, _compiled
    cdef size_t _inputs, _outputs, _target_columns
    cdef object _dtype, _lock, _last_x, _slot_names, _trained
    cdef unsigned long _owner
    cdef size_t _last_rows

    def __init__(self, plan):
        self.plan = plan
        self._dtype = np.dtype(plan.dtype)
        self._typenum = self._dtype.num
        self._inputs, self._outputs = plan.inputs, plan.outputs
        self._lock = threading.Lock()
        self.slots = self.states = self._slot_names = ()
        memset(&self.model, 0, sizeof(fnn_model))
        memset(&self.pace, 0, sizeof(fnn_pace))
        self.model.is_double = self._typenum == cnp.NPY_FLOAT64
        self.model.bfloat16 = plan.bfloat16
        if plan.bfloat16:
            _allow_bfloat16()
        self.model.kernels = _kernels

        self._ops = np.zeros(len(plan.ops) * sizeof(fnn_op), np.uint8)
        cdef fnn_op *ops = <fnn_op *>_data(self._ops)
        self._vectors = np.array([number for op in plan.ops for number in op.vector], np.float64)
        cdef const double *vector = <const double *>_data(self._vectors)
        for k, op in enumerate(plan.ops):
            # Field by field: a struct made as one would hold whatever the stack held in the fields not named.
            ops[k].code, ops[k].activation, ops[k].kernel, ops[k].bias = op.code, op.activation, op.kernel, op.bias
            ops[k].inputs, ops[k].outputs = op.inputs, op.outputs
            for j, number in enumerate(op.numbers):
                ops[k].numbers[j] = number
            ops[k].vector, ops[k].vector_size = vector, len(op.vector)
            vector += len(op.vector)
            ops[k].mean, ops[k].variance, ops[k].seed = op.mean, op.variance, op.seed
            ops[k].input, ops[k].first, ops[k].source = op.input, op.first, op.source
            ops[k].join, ops[k].column, ops[k].frozen = op.join, op.column, op.frozen
        fnn_link(ops, len(plan.ops))
        reads_x = [op.code for op in plan.ops if op.input < 0 or (op.code == _OP_ADD and plan.ops[op.source].input < 0)]
        self.takes_sparse = reads_x == [_OP_DENSE]
        self.model.ops, self.model.op_count, self.model.inputs = ops, len(plan.ops), plan.inputs

        self._rules = np.zeros(2 * len(plan.ops) * sizeof(fnn_rule), np.uint8)
        cdef fnn_rule *rules = <fnn_rule *>_data(self._rules)
        for k in range(2 * len(plan.ops)):
            rules[k].multiplier = 1
        self.model.rules = rules
        self.momentum_product = 1

        self.model.parameter_size = plan.size
        self.parameters = aligned_zeros(plan.size, self._dtype)
        self.model.parameters = _data(self.parameters)
        self._list_stripes()
        self._scratch_bytes_per_thread = fnn_scratch_bytes(&self.model, 1)

    cdef int _list_stripes(self) except -1:
        cdef size_t count = fnn_stripes(&self.model, NULL)
        self._stripes = np.zeros(count * sizeof(fnn_stripe), np.uint8)
        self.model.stripes, self.model.stripe_count = <fnn_stripe *>_data(self._stripes), count
        fnn_stripes(&self.model, <fnn_stripe *>_data(self._stripes))
        return 0

    cdef int _take_form(self, x, size_t batch) except -1:
        """Make ready for x, dense or sparse: memory is laid out for one or the other, and for batches to train on."""
        cdef fnn_op *ops = <fnn_op *>_data(self._ops)
        cdef bint sparse = isinstance(x, SparseRows)
        cdef size_t entries = x.most_entries(batch) if sparse and batch else 0
        if entries >= (<size_t>1 << 31):
            raise MemoryError(f"a batch may have up to 2**31 - 1 values that are not zero, got {entries}")
        self.model.row_entries = x.entries // max(len(x), 1) if sparse else 0
        if ops[0].sparse != sparse or entries > self.model.batch_entries:
            ops[0].sparse = sparse
            self.model.batch_entries = max(entries, self.model.batch_entries)
            self._workspace = self._scratch = self._transposed = None
            self.model.transposed = NULL
            self._scratch_bytes_per_thread = fnn_scratch_bytes(&self.model, 1)
            self._last_rows = 0
            self._list_stripes()
        return 0

    def __reduce__(self):
        raise TypeError("an engine cannot be pickled or copied: save the model to a file, or use get_weights")

    @property
    def gradients(self):
        """Gradients of the mean loss, laid out as the parameters; zeros before the first backward pass."""
        if self._gradients is None:
            self._gradients = aligned_zeros(self.plan.size, self._dtype)
        return self._gradients

    def set_frozen(self, frozen):
        """Say of each op whether it is not trained."""
        cdef fnn_op *ops = <fnn_op *>_data(self._ops)
        self._enter()
        try:
            for k, value in enumerate(frozen):
                if <size_t>k < self.model.op_count:
                    ops[k].frozen = value
        finally:
            self._leave()

    def set_optimizer(self, int code, slots, rules):
        """Set the optimizer by its code; slots and the step counter start anew.

        Parameters
        ----------
        code : int
        slots : sequence of fastnn.optimizers.Slot
            Those of the rule, then perhaps ``average`` and ``gradient_accumulator``.
        rules : sequence of fastnn.layers._op.Rule
            How each of the plan's parameters is trained.
        """
        cdef fnn_rule *target = <fnn_rule *>_data(self._rules)
        cdef void *memory
        arrays = []
        for slot in slots:
            arrays.append(aligned_zeros(self.plan.size, self._dtype))
            if slot.initial:
                arrays[-1][:] = slot.initial
        places = {op.kernel: 2 * k + FNN_KERNEL for k, op in enumerate(self.plan.ops)}
        places |= {op.bias: 2 * k + FNN_BIAS for k, op in enumerate(self.plan.ops)}
        self._enter()
        try:
            self.slots, self._slot_names = tuple(arrays), tuple([slot.name for slot in slots])
            self.model.average = self.model.accumulated = NULL
            count = 0
            for k in range(FNN_SLOTS):
                self.model.slots[k] = NULL
            for slot, array in zip(slots, arrays):
                memory = _data(array)
                if slot.name == "average":
                    self.model.average = memory
                elif slot.name == "gradient_accumulator":
                    self.model.accumulated = memory
                elif count < FNN_SLOTS:
                    self.model.slots[count] = memory
                    count += 1
            for spec, rule in zip(self.plan.parameters, rules):
                place = places.get(spec.offset, -1)
                if place >= 0:  # else statistics, which no optimizer changes
                    low, high, rate = rule.norm
                    target[place] = fnn_rule(rule.multiplier, rule.l1, rule.l2, rule.decays, rule.second,
                                             rule.constraint, low, high, rate)
            self._trained = [slice(spec.offset, spec.offset + int(np.prod(spec.shape)))
                             for spec, rule in zip(self.plan.parameters, rules) if rule.trainable]
            self._optimizer = self.model.optimizer = code
            self._workspace = None  # its layout depends on the rules
            self._last_rows = 0
            self.iterations = 0
            self.momentum_product = 1
        finally:
            self._leave()

    def use_average(self, *, bint swap):
        """Put the moving average of each trained parameter in its place, once there is one.

        With `swap` the parameter takes the place of the average.
        """
        self._enter()
        try:
            for slot, name in zip(self.slots, self._slot_names):
                if name == "average" and self.iterations:
                    for part in self._trained:
                        held = self.parameters[part].copy()
                        self.parameters[part] = slot[part]
                        if swap:
                            slot[part] = held
        finally:
            self._leave()

    def compile(self, heads):
        """Set the heads, see :class:`fastnn._head.Head`.

        `states` then holds a slice of the sums for each measure, in the order of the heads. Sums are the loss, where
        there are several heads the loss of each, and the states; losses are summed over batches of rows x loss.
        """
        self._enter()
        try:
            self._set_heads(heads)
            self._compiled = 1
            self._workspace = self._scratch = None  # their layout depends on the heads
            self._scratch_bytes_per_thread = fnn_scratch_bytes(&self.model, 1)
            self._last_rows = 0
        finally:
            self._leave()

    cdef int _set_heads(self, heads) except -1:
        cdef fnn_op *ops = <fnn_op *>_data(self._ops)
        cdef size_t column = 0, target = 0, label = 0, h, m, op
        if sum([head.columns for head in heads]) != self._outputs:
            raise ValueError(f"heads must take the {self._outputs} columns of the output, got "
                             f"{[head.columns for head in heads]}")
        vectors = [head.vector for head in heads] + [measure.vector for head in heads for measure in head.measures]
        cdef cnp.ndarray constants = np.array([number for values in vectors for number in values], np.float64)
        cdef double *vector = <double *>_data(constants)
        cdef cnp.ndarray head_memory = np.zeros(len(heads) * sizeof(fnn_head), np.uint8)
        cdef cnp.ndarray measure_memory = np.zeros(
            max(1, sum([len(head.measures) for head in heads])) * sizeof(fnn_measure), np.uint8)
        cdef fnn_head *c_heads = <fnn_head *>_data(head_memory)
        cdef fnn_measure *c_measures = <fnn_measure *>_data(measure_memory)

        for op in range(self.model.op_count):
            ops[op].fused = 0
        for h, head in enumerate(heads):
            if head.measures and head.target_columns not in (0, head.columns):
                raise ValueError(f"metrics need targets shaped like the output, but this loss takes "
                                 f"{head.target_columns} target columns for {head.columns} outputs")
            op = head.op if head.op >= 0 else self.model.op_count - 1
            c_heads[h].loss, c_heads[h].reduction, c_heads[h].weight = head.loss, head.reduction, head.weight
            c_heads[h].first, c_heads[h].columns = column, head.columns
            c_heads[h].target_first, c_heads[h].target_columns, c_heads[h].label = target, head.target_columns, label
            c_heads[h].fused = ops[op].fused = fnn_fuses(&ops[op], head.loss)
            for k, number in enumerate(head.numbers):
                c_heads[h].numbers[k] = number
            c_heads[h].vector, c_heads[h].vector_size = vector, len(head.vector)
            vector += len(head.vector)
            column += head.columns
            target += head.target_columns
            label += 0 if head.target_columns else 1
        cdef size_t state = 1 if len(heads) == 1 else 1 + len(heads)
        states = []
        m = 0
        for h, head in enumerate(heads):
            for measure in head.measures:
                c_measures[m].metric, c_measures[m].weighted, c_measures[m].head = measure.metric, measure.weighted, h
                c_measures[m].rule = c_heads[h]
                c_measures[m].rule.loss, c_measures[m].rule.fused = measure.loss, 0
                memset(c_measures[m].rule.numbers, 0, sizeof(c_measures[m].rule.numbers))
                for k, number in enumerate(measure.numbers):
                    c_measures[m].rule.numbers[k] = number
                c_measures[m].rule.vector, c_measures[m].rule.vector_size = vector, len(measure.vector)
                vector += len(measure.vector)
                c_measures[m].state = state
                c_measures[m].state_size = fnn_state_size(&c_measures[m])
                if c_measures[m].state_size > MAX_STATE:
                    raise ValueError(f"a metric would keep more than {MAX_STATE} counts: give it fewer thresholds or "
                                     f"classes")
                states.append(slice(state, state + c_measures[m].state_size))
                state += c_measures[m].state_size
                m += 1
        self._heads, self._measures, self._constants = head_memory, measure_memory, constants
        self.model.heads, self.model.head_count = c_heads, len(heads)
        self.model.measures, self.model.measure_count = c_measures, m
        self.model.label_columns, self._target_columns, self.model.sum_size = label, target, state
        self.states = tuple(states)
        self._tile_sums = None
        return 0

    def train(self, x, y, order, size_t batch_size, hyperparameters, progress=None, weights=None):
        """One pass of optimizer steps over rows `order` (None: all, in order).

        y is an array of targets, (rows, all heads' target columns), or of int32 labels, (rows,) or (rows, all heads'
        labels), or the pair of both; weights are of shape (rows,) or (rows, heads). Returns the sums (float64), and the
        first step with a loss that is not finite, or -1.
        """
        return self._train(x, y, weights, order, batch_size, hyperparameters, progress,
                           FNN_LOSS | FNN_BACKWARD | FNN_UPDATE | FNN_TRAINING)

    def batch_gradient(self, x, y, bint training=True, weights=None):
        """The sums of one batch; `gradients` gets the gradient of its loss."""
        cdef int passes = FNN_LOSS | FNN_BACKWARD | (FNN_TRAINING if training else 0)
        return self._train(x, y, weights, None, max(1, len(x)), None, None, passes)[0]

    cdef _train(self, x, y, weights, order, size_t batch_size, hyperparameters, progress, int passes):
        cdef fnn_data data
        cdef fnn_run run
        cdef int status
        cdef void *memory
        self._check_compiled()
        self._check_data(x, y, weights, order, &data)
        self._prepare_run(&run, hyperparameters, passes)
        cdef cnp.ndarray sums = self._new_sums(&run)
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1, got 0")
        run.batch = min(batch_size, max(data.rows, 1))
        cdef _Reporter reporter = _Reporter(progress, self.model.sum_size)
        run.progress = &reporter.progress
        run.pace = &self.pace
        self._enter()
        try:
            self._take_form(x, run.batch)
            self._need_workspace(run.batch)
            self._place_gradients(&run)
            run.threads = min(_threads, self._workspace_threads)
            memory = _data(self._workspace)
            with nogil:
                status = fnn_train(&self.model, &data, &run, memory)
            self._take_state(&run)
            self._last_rows = 0
        finally:
            self._leave()
        self._finish(reporter, status)
        return sums, run.first_nonfinite

    def evaluate(self, x, y, progress=None, weights=None):
        """The sums (float64) over all rows, as one batch; see :meth:`train`."""
        cdef fnn_data data
        cdef fnn_run run
        self._check_compiled()
        self._check_data(x, y, weights, None, &data)
        self._prepare_run(&run, None, FNN_LOSS)
        cdef cnp.ndarray sums = self._new_sums(&run)
        if self._tile_sums is None:
            self._tile_sums = np.empty(fnn_tile_sums(&self.model))
        run.tile_sums = <double *>_data(self._tile_sums)
        self._infer(x, &data, &run, progress)
        sums[0] += fnn_penalty(&self.model) * data.rows
        return sums

    def predict(self, x, cnp.ndarray out not None, progress=None):
        """Write the network's output for every row of x to `out`, (rows, outputs) and C-contiguous."""
        cdef fnn_data data
        cdef fnn_run run
        self._check_data(x, None, None, None, &data)
        _check_matrix(out, "out", self._typenum, self._outputs)
        if not cnp.PyArray_IS_C_CONTIGUOUS(out) or not cnp.PyArray_ISWRITEABLE(out) \
                or <size_t>cnp.PyArray_DIM(out, 0) != data.rows:
            raise ValueError(f"out must be writable, C-contiguous and have {data.rows} rows, got shape {_shape(out)}")
        self._prepare_run(&run, None, 0)
        run.output = _data(out)
        self._infer(x, &data, &run, progress)

    cdef _infer(self, x, fnn_data *data, fnn_run *run, progress):
        cdef int status
        cdef void *memory
        cdef _Reporter reporter = None
        # Below this a call ends before a signal could matter; a report object would cost as much as a row.
        if data.rows > 1024:
            reporter = _Reporter(progress, self.model.sum_size if run.passes & FNN_LOSS else 0)
            run.progress = &reporter.progress
        self._enter()
        try:
            self._take_form(x, 0)
            run.threads = _threads if data.rows > 16 else 1
            if self._scratch is None or self._scratch_threads < run.threads:
                if self._scratch_bytes_per_thread > (<size_t>-1) // (2 * <size_t>run.threads):
                    raise MemoryError("the network is too wide for this machine's memory")
                self._scratch = aligned_zeros(self._scratch_bytes_per_thread * run.threads, np.uint8)
                self._scratch_threads = run.threads
            memory = _data(self._scratch)
            with nogil:
                status = fnn_infer(&self.model, data, run, memory)
        finally:
            self._leave()
        if reporter is not None:
            self._finish(reporter, status)

    def forward(self, x, bint training=False):
        """The outputs for the rows of x, (rows, outputs); the activations stay for :meth:`backward`."""
        cdef fnn_data data
        cdef fnn_run run
        cdef void *memory
        self._check_data(x, None, None, None, &data)
        self._prepare_run(&run, None, FNN_TRAINING if training else 0)
        cdef cnp.ndarray out = np.empty((data.rows, self._outputs), self._dtype)
        run.batch = max(data.rows, 1)
        run.output = _data(out)
        self._enter()
        try:
            self._take_form(x, run.batch)
            self._need_workspace(run.batch)
            run.threads = min(_threads, self._workspace_threads)
            memory = _data(self._workspace)
            with nogil:
                fnn_train(&self.model, &data, &run, memory)
            self._last_x, self._last_rows = x, data.rows  # the workspace points at the rows of x
            self._last_passes = run.passes
        finally:
            self._leave()
        return out

    def backward(self, cnp.ndarray output_gradient not None):
        """Gradients from the gradient of some loss by the outputs of the last :meth:`forward`.

        Fills `gradients`; returns the gradient by the inputs, (rows, inputs), or None where they were sparse.
        """
        cdef fnn_run run
        cdef void *memory
        if self._last_rows == 0:
            raise RuntimeError("backward needs a forward pass before it")
        _check_matrix(output_gradient, "output_gradient", self._typenum, self._outputs)
        if <size_t>cnp.PyArray_DIM(output_gradient, 0) != self._last_rows \
                or not cnp.PyArray_IS_C_CONTIGUOUS(output_gradient):
            raise ValueError(f"output_gradient must be C-contiguous with the {self._last_rows} rows of the last "
                             f"forward pass, got shape {_shape(output_gradient)}")
        cdef cnp.ndarray input_gradient = None
        self._prepare_run(&run, None, FNN_BACKWARD | self._last_passes)
        run.batch = self._last_rows
        run.output_gradient = _data(output_gradient)
        if not self.model.ops[0].sparse:
            input_gradient = np.empty((self._last_rows, self._inputs), self._dtype)
            run.passes |= FNN_INPUT_GRADIENT
            run.input_gradient = _data(input_gradient)
        self._enter()
        try:
            self.model.gradients = _data(self.gradients)
            run.threads = min(_threads, self._workspace_threads)
            memory = _data(self._workspace)
            with nogil:
                fnn_train(&self.model, NULL, &run, memory)
        finally:
            self._leave()
        return input_gradient

    def apply_gradients(self, hyperparameters):
        """One optimizer step from `gradients`."""
        cdef fnn_run run
        cdef void *memory
        self._check_compiled()
        self._prepare_run(&run, hyperparameters, FNN_UPDATE)
        run.batch = max(self._last_rows, 1)
        self._enter()
        try:
            self._need_workspace(run.batch)
            self.model.gradients = _data(self.gradients)
            run.threads = min(_threads, self._workspace_threads)
            memory = _data(self._workspace)
            with nogil:
                fnn_apply_gradients(&self.model, &run, memory)
            self._take_state(&run)
        finally:
            self._leave()

    def freeze(self):
        """A copy that nothing can change any more, and a capsule of the C predictor that runs it."""
        cdef Engine frozen = Engine(self.plan)
        self._enter()
        try:
            frozen.parameters[:] = self.parameters
        finally:
            self._leave()
        frozen.parameters.setflags(write=False)
        frozen._predictor = np.zeros(sizeof(fnn_predictor), np.uint8)
        fnn_freeze(&frozen.model, &_threads, <fnn_predictor *>_data(frozen._predictor))
        return frozen, PyCapsule_New(_data(frozen._predictor), "fastnn.fnn_predictor", NULL)

    # ---- what the calls share ----

    cdef int _check_compiled(self) except -1:
        if not self._compiled:
            raise RuntimeError("the engine must be compiled with a loss and an optimizer first")
        return 0

    cdef int _check_data(self, x, y, weights, order, fnn_data *data) except -1:
        cdef cnp.ndarray xs, indices
        cdef const int64_t *index
        cdef size_t i
        memset(data, 0, sizeof(fnn_data))
        if isinstance(x, SparseRows):
            self._check_sparse_data(x, data)
        elif not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a NumPy array, got {type(x).__name__}")
        else:
            xs = x
            _check_matrix(xs, "x", self._typenum, self._inputs)
            data.x = _data(xs)
            data.x_stride = cnp.PyArray_STRIDE(xs, 0) // cnp.PyArray_ITEMSIZE(xs)
            data.rows = cnp.PyArray_DIM(xs, 0)
        cdef size_t available = data.rows
        if y is not None:
            self._check_targets(y, available, data)
        if weights is not None:
            self._check_weights(weights, available, data)
        if order is not None:
            indices = np.ascontiguousarray(order, np.int64)
            if indices is not order:
                raise TypeError("order must be a contiguous int64 array")
            index = <const int64_t *>_data(indices)
            data.rows = indices.shape[0]
            for i in range(data.rows):
                if index[i] < 0 or <size_t>index[i] >= available:
                    raise IndexError(f"order[{i}] is {index[i]}, outside the {available} rows of x")
            data.order = index
        return 0

    cdef int _check_targets(self, y, size_t available, fnn_data *data) except -1:
        """Targets of the heads that have them, and labels of the others."""
        cdef cnp.ndarray values
        cdef bint both = self._target_columns > 0 and self.model.label_columns > 0
        parts = y if both else (None, y) if self.model.label_columns else (y, None)
        if not isinstance(parts, tuple) or len(parts) != 2:
            raise TypeError("y must be a pair (targets, labels)")
        for part in parts:
            if part is not None and not isinstance(part, np.ndarray):
                raise TypeError(f"y must be a NumPy array, got {type(part).__name__}")
            if part is not None and <size_t>len(part) != available:
                raise ValueError(f"x and y must have the same number of rows, got {available} and {len(part)}")
        if parts[0] is not None:
            values = parts[0]
            _check_matrix(values, "y", self._typenum, self._target_columns)
            data.targets = _data(values)
            data.target_stride = cnp.PyArray_STRIDE(values, 0) // cnp.PyArray_ITEMSIZE(values)
        if parts[1] is not None:
            values = parts[1]
            if cnp.PyArray_TYPE(values) != cnp.NPY_INT32 or not cnp.PyArray_IS_C_CONTIGUOUS(values) \
                    or cnp.PyArray_SIZE(values) != <cnp.npy_intp>(available * self.model.label_columns):
                raise TypeError("y must be a contiguous int32 array of labels, one a row for each head that has them")
            data.labels = <const int32_t *>_data(values)
            data.label_stride = self.model.label_columns
        return 0

    cdef int _check_weights(self, weights, size_t available, fnn_data *data) except -1:
        if not isinstance(weights, np.ndarray):
            raise TypeError(f"weights must be a NumPy array, got {type(weights).__name__}")
        cdef cnp.ndarray values = weights if weights.ndim == 2 else weights.reshape(-1, 1)
        cdef size_t columns = cnp.PyArray_DIM(values, 1)
        if <size_t>cnp.PyArray_DIM(values, 0) != available or (columns != 1 and columns != self.model.head_count):
            raise ValueError(f"weights must have shape ({available},) or ({available}, {self.model.head_count}), got "
                             f"{_shape(weights)}")
        _check_matrix(values, "weights", self._typenum, columns)
        data.weights, data.weight_columns = _data(values), columns
        data.weight_stride = cnp.PyArray_STRIDE(values, 0) // cnp.PyArray_ITEMSIZE(values)
        return 0

    cdef int _check_sparse_data(self, x, fnn_data *data) except -1:
        if not self.takes_sparse:
            raise ValueError("x is sparse, which needs a Dense first layer")
        if x.features != self._inputs or x.dtype != self._dtype:
            raise ValueError(f"x must have {self._inputs} features of {self._dtype}, got {x.features} of {x.dtype}")
        data.rows = len(x)
        data.starts = <const int64_t *>_data(x.starts)
        data.columns = <const int32_t *>_data(x.columns)
        data.values = _data(x.values)
        return 0

    cdef int _prepare_run(self, fnn_run *run, hyperparameters, int passes) except -1:
        memset(run, 0, sizeof(fnn_run))
        run.passes = passes
        run.iterations = self.iterations
        run.momentum_product = self.momentum_product
        run.seed = self.seed
        if hyperparameters is not None:
            _set_hyperparameters(&run.optimizer, self._optimizer, hyperparameters)
        return 0

    cdef int _place_gradients(self, const fnn_run *run) except -1:
        """Where a run puts gradients: nowhere, if each is used up as soon as it is there."""
        if run.passes & FNN_UPDATE and not fnn_stores_gradients(&run.optimizer):
            self.model.gradients = NULL
        else:
            self.model.gradients = _data(self.gradients)
        return 0

    cdef int _take_state(self, const fnn_run *run) except -1:
        self.iterations = run.iterations
        self.momentum_product = run.momentum_product
        return 0

    cdef int _need_workspace(self, size_t batch) except -1:
        """Room for a batch; grown when it must be, and the transposed kernels with it."""
        cdef size_t size
        if self._transposed is None:
            size = fnn_transposed_size(&self.model)
            self._transposed = aligned_zeros(size, self._dtype)
            self.model.transposed = _data(self._transposed)
        cdef int threads = _threads  # another Python thread may change it at any time
        if self._workspace is None or batch > self._workspace_batch or threads > self._workspace_threads:
            size = fnn_workspace_bytes(&self.model, batch, threads)
            if size > (<size_t>-1) // 4:
                raise MemoryError(f"a batch of {batch} rows needs more memory than can be addressed")
            self._workspace = None
            self._workspace = aligned_zeros(size, np.uint8)
            self._workspace_batch, self._workspace_threads = batch, threads
        return 0

    cdef int _enter(self) except -1:
        if not self._lock.acquire(False):
            if self._owner == <unsigned long>PyThread_get_thread_ident():
                raise RuntimeError("this model is running in this thread already; a progress function or signal "
                                   "handler cannot run it again")
            self._lock.acquire()
        self._owner = <unsigned long>PyThread_get_thread_ident()
        return 0

    cdef int _leave(self) except -1:
        self._owner = 0
        self._lock.release()
        return 0

    cdef int _finish(self, _Reporter reporter, int status) except -1:
        if reporter.error is not None:
            error, reporter.error = reporter.error, None
            raise error
        if status == FNN_STOPPED:
            raise RuntimeError("the run was stopped")
        return 0

    cdef cnp.ndarray _new_sums(self, fnn_run *run):
        """An array for the sums of a run."""
        cdef cnp.ndarray sums = np.zeros(self.model.sum_size)
        run.sums = <double *>_data(sums)
        return sums


def train_many(list engines not None, list arrays not None, list orders not None, size_t batch_size,
               list rates not None):
    """One pass of optimizer steps on each of many engines, an engine to a thread; see :meth:`Engine.train`.

    Takes an (x, y), an order and hyperparameters per engine; returns the sums and the first step whose loss is not
    finite, per engine.
    """
    cdef size_t count = len(engines), k
    cdef int status, threads = _threads
    cdef Engine engine
    if batch_size < 1:
        raise ValueError("batch_size must be at least 1, got 0")
    cdef cnp.ndarray memory = np.zeros(max(count, 1) * sizeof(fnn_member), np.uint8)
    cdef fnn_member *members = <fnn_member *>_data(memory)
    sums = []
    for k in range(count):
        engine = engines[k]
        x, y = arrays[k]
        engine._check_compiled()
        engine._check_data(x, y, None, orders[k], &members[k].data)
        engine._prepare_run(&members[k].run, rates[k],
                            FNN_LOSS | FNN_BACKWARD | FNN_UPDATE | FNN_TRAINING)
        members[k].run.threads = 1
        members[k].run.batch = min(batch_size, max(members[k].data.rows, 1))
        members[k].model = &engine.model
        sums.append(engine._new_sums(&members[k].run))
    cdef _Reporter reporter = _Reporter(None, 1)
    entered = []
    try:
        for k in range(count):
            engine = engines[k]
            engine._enter()
            entered.append(engine)
            engine._take_form(arrays[k][0], members[k].run.batch)
            engine._need_workspace(members[k].run.batch)
            engine._place_gradients(&members[k].run)
            members[k].workspace = _data(engine._workspace)
        with nogil:
            status = fnn_train_many(members, count, threads, &reporter.progress)
        results = []
        for k in range(count):
            engine = engines[k]
            engine._take_state(&members[k].run)
            engine._last_rows = 0
            results.append((sums[k], members[k].run.first_nonfinite))
    finally:
        for engine in entered:
            engine._leave()
    if reporter.error is not None:
        raise reporter.error
    if status == FNN_STOPPED:
        raise RuntimeError("the run was stopped")
    return results
