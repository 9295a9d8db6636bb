"""The compiled engine: owns a model's memory and runs its plan with the GIL released."""

import numpy as np

from fastnn._sparse_rows import SparseRows
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastnn._c cimport (
    FNN_BACKWARD, FNN_CHECK, FNN_INPUT_GRADIENT, FNN_LABEL, FNN_LOSS, FNN_NOT_FINITE, FNN_OUTSIDE, FNN_ROW,
    FNN_STOPPED, FNN_TRAINING, FNN_UPDATE, fnn_apply_gradients, fnn_data, fnn_freeze, fnn_infer, fnn_large_side,
    fnn_op, fnn_outside, fnn_penalty, fnn_penalty_bytes, fnn_predictor, fnn_run, fnn_scratch_bytes,
    fnn_stores_gradients, fnn_takes_long, fnn_tile_sums, fnn_train, fnn_workspace_bytes,
)

cnp.import_array()

# No list is written as a comprehension here that makes objects: where it cannot grow for want of memory, Cython (3.3)
# drops the last of them twice.
include "_lock.pxi"
include "_machine.pxi"
include "_progress.pxi"
include "_arrays.pxi"
include "_form.pxi"
include "_structs.pxi"
include "_calls.pxi"
include "_memory.pxi"

cdef enum:
    # Numbers to look at, or parameters times rows, from which a call may be interrupted: about a tenth of a millisecond
    # of them. What lets Python look in costs as much as a row of a small network.
    _LONG = 1 << 20


class NotFiniteError(ValueError):
    """A run that was to check x found a NaN or an infinity there."""


cdef int _raise_outside(const fnn_outside *outside) except -1:
    """An index among the data was checked before the run, and was another when the engine read it.

    Rows are not named: those of a run may be a part of the caller's, which alone knows where they lie.
    """
    last = <int64_t>outside.bound - 1
    changed = "; data must not change while the model runs on them"
    if outside.what == FNN_LABEL:
        raise ValueError(f"y must hold labels from 0 to {last}, but one became {outside.value}{changed}")
    if outside.what == FNN_ROW:
        raise IndexError(f"order must hold rows from 0 to {last}, but one became {outside.value}{changed}")
    raise ValueError(f"x's indices must lie between 0 and {last}, but one became {outside.value}{changed}")


# ---- the engine ----

cdef class Engine(_Memory):
    """One model in memory.

    Parameters
    ----------
    plan : fastnn.plan.Plan
        What to run and how the parameters lie in the flat buffer. Buffers start as zeros.
    lock : Lock, optional
        That of the model; default: one of its own.

    Notes
    -----
    Calls on one engine run one after the other, as :class:`Lock` says; a call from inside one (from a progress
    function) raises RuntimeError.
    """

    def train(self, x, y, order, size_t batch_size, hyperparameters, progress=None, weights=None,
              bint check_finite=False):
        """One pass of optimizer steps over rows `order` (None: all, in order).

        y is an array of targets, (rows, all heads' target columns), or of int32 labels, (rows,) or (rows, all heads'
        labels), or the pair of both; weights are of shape (rows,) or (rows, heads). Returns the sums (float64), and the
        first step with a loss that is not finite, or -1.

        With `check_finite` a NaN or an infinity among dense x raises NotFiniteError some steps later; see restore.
        """
        cdef int passes = FNN_LOSS | FNN_BACKWARD | FNN_UPDATE | FNN_TRAINING
        if check_finite:
            passes |= FNN_CHECK
        self._enter()
        try:
            return self._train(x, y, weights, order, batch_size, hyperparameters, progress, passes)
        finally:
            self._leave()

    def batch_gradient(self, x, y, bint training=True, weights=None):
        """The sums of one batch; `gradients` gets the gradient of its loss."""
        cdef int passes = FNN_LOSS | FNN_BACKWARD | (FNN_TRAINING if training else 0)
        self._enter()
        try:
            return self._train(x, y, weights, None, max(1, len(x)), None, None, passes)[0]
        finally:
            self._leave()

    cdef _train(self, x, y, weights, order, size_t batch_size, hyperparameters, progress, int passes):
        """For whoever has entered."""
        cdef fnn_data data
        cdef fnn_run run
        cdef int status
        cdef void *memory
        self._check_compiled()
        self._form.check(x, y, weights, order, &data)
        self._prepare_run(&run, hyperparameters, passes)
        cdef cnp.ndarray sums = self._new_sums(&run)
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1, got 0")
        run.batch = min(batch_size, max(data.rows, 1))
        cdef _Reporter reporter = _Reporter(progress, self.model.sum_size)
        run.progress = reporter.pointer()
        run.pace = &self.pace
        cdef _Caller caller = None
        if self.functions is not None:
            caller = _Caller(self.functions, self.lock, y, weights, order, sums)
            caller.typenum, caller.outputs = self._form.typenum, self._form.outputs
            caller.heads = self._form.heads
            run.functions = &caller.pointer
        self._take_form(x, run.batch)
        self._need_workspace(run.batch)
        if caller is not None:
            caller.memory = self._workspace
        self._place_gradients(&run)
        run.threads = min(_threads, self._workspace_threads)
        memory = _data(self._workspace)
        with nogil:
            status = fnn_train(&self.model, &data, &run, memory)
        self._take_state(&run)
        self._last_rows = 0
        if caller is not None:
            caller.raise_kept()
        self._finish(reporter, status, &run)
        return sums, run.first_nonfinite

    def evaluate(self, x, y, progress=None, weights=None, size_t batch_size=32, bint check_finite=False):
        """The sums (float64) over all rows, as one batch, or with `functions` in batches; see :meth:`train`."""
        cdef int passes = FNN_LOSS
        cdef fnn_data data
        cdef fnn_run run
        cdef cnp.ndarray sums
        if check_finite:
            passes |= FNN_CHECK
        self._enter()
        try:
            if self.functions is not None:
                sums = self._train(x, y, weights, None, batch_size, None, progress, passes)[0]
                sums[0] += self._penalty() * len(x)
                return sums
            self._check_compiled()
            self._form.check(x, y, weights, None, &data)
            self._prepare_run(&run, None, passes)
            sums = self._new_sums(&run)
            if self._tile_sums is None:
                self._tile_sums = np.empty(fnn_tile_sums(&self.model))
            run.tile_sums = <double *>_data(self._tile_sums)
            self._infer(x, &data, &run, progress)
            sums[0] += self._penalty() * data.rows
            return sums
        finally:
            self._leave()

    def predict(self, x, cnp.ndarray out not None, progress=None):
        """Write the network's output for every row of x to `out`, (rows, outputs) and C-contiguous."""
        cdef fnn_data data
        cdef fnn_run run
        self._enter_to_read(x)
        try:
            self._check_wanted()
            self._form.check(x, None, None, None, &data)
            _check_matrix(out, "out", self._form.typenum, self._form.outputs)
            if not cnp.PyArray_IS_C_CONTIGUOUS(out) or not cnp.PyArray_ISWRITEABLE(out) \
                    or <size_t>cnp.PyArray_DIM(out, 0) != data.rows:
                raise ValueError(f"out must be writable, C-contiguous and have {data.rows} rows, got shape "
                                 f"{_shape(out)}")
            self._prepare_run(&run, None, 0)
            run.output = _data(out)
            self._infer(x, &data, &run, progress)
        finally:
            self.lock.leave()

    cdef _infer(self, x, fnn_data *data, fnn_run *run, progress):
        """For whoever has entered."""
        cdef int status
        cdef void *memory
        cdef _Reporter reporter = None
        if self._is_long(data.rows):
            reporter = _Reporter(progress, self.model.sum_size if run.passes & FNN_LOSS else 0)
            run.progress = reporter.pointer()
        self._take_form(x, 0)
        run.threads = _threads if data.rows > 16 else 1
        if self._scratch is None or self._scratch_threads < run.threads or self._scratch_rows < data.rows:
            self._make_scratch(data.rows, run.threads)
        memory = _data(self._scratch)
        with nogil:
            status = fnn_infer(&self.model, data, run, memory)
        self._finish(reporter, status, run)

    cdef bint _is_long(self, size_t rows):
        return <double>rows * (self.model.parameter_size + self.model.inputs) > _LONG

    cdef int _make_scratch(self, size_t rows, int threads) except -1:
        """Room for so many rows, or for some more, as the next call may have them."""
        cdef size_t room = 1, size
        while room < rows and room < <size_t>1 << 30:
            room *= 2
        size = fnn_scratch_bytes(&self.model, room, threads)
        if size > (<size_t>-1) // 2:
            raise MemoryError("the network is too wide for this machine's memory")
        self._scratch = None
        self._scratch = aligned_zeros(size, np.uint8)
        self._scratch_threads, self._scratch_rows = threads, room if room >= rows else <size_t>-1
        return 0

    def forward(self, x, bint training=False):
        """The outputs for the rows of x, (rows, outputs); the activations stay for :meth:`backward`."""
        cdef fnn_data data
        cdef fnn_run run
        cdef int status
        cdef void *memory
        cdef cnp.ndarray out
        cdef _Reporter reporter = None
        self._enter()
        try:
            self._form.check(x, None, None, None, &data)
            self._prepare_run(&run, None, FNN_TRAINING if training else 0)
            out = np.empty((data.rows, self._form.outputs), self._form.dtype)
            run.batch = max(data.rows, 1)
            run.output = _data(out)
            self._take_form(x, run.batch)
            self._need_workspace(run.batch)
            run.threads = min(_threads, self._workspace_threads)
            memory = _data(self._workspace)
            if self._is_long(data.rows):
                reporter = _Reporter(None, 0)
                run.progress = reporter.pointer()
            self._last_rows = 0
            with nogil:
                status = fnn_train(&self.model, &data, &run, memory)
            self._finish(reporter, status, &run)
            self._last_x, self._last_rows = x, data.rows  # the workspace points at the rows of x
            self._last_passes, self._last_changes = run.passes, self.lock.changes
            return out
        finally:
            self._leave()

    def backward(self, cnp.ndarray output_gradient not None):
        """Gradients from the gradient of some loss by the outputs of the last :meth:`forward`.

        Fills `gradients`; returns the gradient by the inputs, (rows, inputs), or None where they were sparse.
        """
        cdef fnn_run run
        cdef int status
        cdef void *memory
        cdef cnp.ndarray input_gradient = None
        cdef _Reporter reporter = None
        self._enter()
        try:
            if self._last_rows == 0 or self._last_changes != self.lock.changes:
                raise RuntimeError("backward needs a forward pass with the weights as they are now: call forward again "
                                   "after anything that trains, or changes the weights")
            _check_matrix(output_gradient, "grad", self._form.typenum, self._form.outputs)
            if <size_t>cnp.PyArray_DIM(output_gradient, 0) != self._last_rows \
                    or not cnp.PyArray_IS_C_CONTIGUOUS(output_gradient):
                raise ValueError(f"grad must be C-contiguous with the {self._last_rows} rows of the last "
                                 f"forward pass, got shape {_shape(output_gradient)}")
            self._prepare_run(&run, None, FNN_BACKWARD | self._last_passes)
            run.batch = self._last_rows
            run.output_gradient = _data(output_gradient)
            if not self.model.ops[0].sparse:
                input_gradient = np.empty((self._last_rows, self._form.inputs), self._form.dtype)
                run.passes |= FNN_INPUT_GRADIENT
                run.input_gradient = _data(input_gradient)
            self.model.gradients = _data(self.gradients)
            run.threads = min(_threads, self._workspace_threads)
            memory = _data(self._workspace)
            if self._is_long(run.batch):
                reporter = _Reporter(None, 0)
                run.progress = reporter.pointer()
            with nogil:
                status = fnn_train(&self.model, NULL, &run, memory)
            self._finish(reporter, status, &run)
            return input_gradient
        finally:
            self._leave()

    def apply_gradients(self, hyperparameters):
        """One optimizer step from `gradients`."""
        cdef fnn_run run
        cdef void *memory
        self._enter()
        try:
            if self._trained is None:
                raise RuntimeError("the engine must be given an optimizer first")
            self._prepare_run(&run, hyperparameters, FNN_UPDATE)
            run.batch = max(self._last_rows, 1)
            self._need_workspace(run.batch)
            self.model.gradients = _data(self.gradients)
            run.threads = min(_threads, self._workspace_threads)
            memory = _data(self._workspace)
            with nogil:
                fnn_apply_gradients(&self.model, &run, memory)
            self._take_state(&run)
            self._last_rows = 0
        finally:
            self._leave()

    def freeze(self):
        """A copy that nothing can change any more, and a capsule of the C predictor that runs it."""
        cdef Engine frozen
        with self.lock.reading():
            self._check_wanted()
            frozen = Engine(self.plan)  # a change of it comes with its weights
            frozen.parameters[:] = self.parameters
        frozen.parameters.setflags(write=False)
        frozen._predictor = np.zeros(sizeof(fnn_predictor), np.uint8)
        fnn_freeze(&frozen.model, &_threads, <fnn_predictor *>_data(frozen._predictor))
        return frozen, PyCapsule_New(_data(frozen._predictor), "fastnn.fnn_predictor", NULL)

    # ---- what the calls share ----

    cdef double _penalty(self) except? -1:
        """The penalties of all parameters, for whoever has entered."""
        cdef double penalty
        cdef int status
        cdef _Reporter reporter = None
        cdef const fnn_progress *progress = NULL
        cdef cnp.ndarray scratch = None
        cdef void *memory = NULL
        size = fnn_penalty_bytes(&self.model)
        if size:
            scratch = aligned_zeros(size, np.uint8)
            memory = _data(scratch)
            reporter = _Reporter(None, 0)
            progress = reporter.pointer()
        with nogil:
            status = fnn_penalty(&self.model, memory, progress, &penalty)
        if status == FNN_STOPPED:
            reporter.raise_kept()
        return penalty

    cdef int _check_compiled(self) except -1:
        if not self._compiled:
            raise RuntimeError("the engine must be compiled with a loss and an optimizer first")
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
        if run.passes & FNN_UPDATE and not fnn_stores_gradients(&run.optimizer) \
                and not fnn_takes_long(&self.model, run.batch):
            self.model.gradients = NULL
        else:
            self.model.gradients = _data(self.gradients)
        return 0

    cdef int _take_state(self, const fnn_run *run) except -1:
        self.iterations = run.iterations
        self.momentum_product = run.momentum_product
        return 0

    cdef int _need_workspace(self, size_t batch) except -1:
        """Room for a batch; grown when it must be: a smaller batch may need more than a larger one."""
        cdef size_t size, side
        cdef int threads = _threads  # another Python thread may change it at any time
        if self._workspace is None or batch != self._workspace_batch or threads > self._workspace_threads:
            self._last_rows = 0  # what a forward pass left may lie elsewhere now
            threads = max(threads, 0 if self._workspace is None else self._workspace_threads)
            self._workspace_batch = 0  # if what follows fails, the next call measures again
            side = fnn_large_side(&self.model, batch)
            if self.model.large_side != side:
                self._list_stripes(side)
            size = fnn_workspace_bytes(&self.model, batch, threads)
            if size > (<size_t>-1) // 4:
                raise MemoryError(f"a batch of {batch} rows needs more memory than can be addressed")
            if self._workspace is None or size > <size_t>cnp.PyArray_SIZE(self._workspace):
                self._workspace = None  # so that there are never two
                self._workspace = aligned_zeros(size, np.uint8)
            self._workspace_batch, self._workspace_threads = batch, threads
        return 0

    cdef int _enter_to_read(self, x) except -1:
        """The same for whoever changes nothing: in the middle of another thread's step too, while that calls Python.

        Unless x or those of the step are sparse: the ops are set for one or the other. Then it waits for the run's end.
        """
        self.lock.read()
        if self.lock._lent and ((<fnn_op *>_data(self._ops))[0].sparse or isinstance(x, SparseRows)):
            self.lock.leave()
            self.lock.change()
        return 0

    cdef int _finish(self, _Reporter reporter, int status, const fnn_run *run) except -1:
        if reporter is not None:
            reporter.raise_kept()
        if status == FNN_OUTSIDE:
            _raise_outside(&run.outside)
        if status == FNN_NOT_FINITE:
            raise NotFiniteError("x must be finite")
        if status == FNN_STOPPED:
            raise RuntimeError("the run was stopped")
        return 0

    cdef cnp.ndarray _new_sums(self, fnn_run *run):
        """An array for the sums of a run."""
        cdef cnp.ndarray sums = np.zeros(self.model.sum_size)
        run.sums = <double *>_data(sums)
        return sums


include "_many.pxi"
