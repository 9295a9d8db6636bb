"""The compiled engine: owns a model's memory and runs its plan with the GIL released."""

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t

from fastnn._c cimport (
    FNN_BACKWARD, FNN_CHECK, FNN_INPUT_GRADIENT, FNN_LABEL, FNN_LOSS, FNN_NO_GRADIENTS, FNN_NOT_FINITE, FNN_OUTSIDE,
    FNN_ROW, FNN_STOPPED, FNN_TRAINING, FNN_UPDATE, fnn_apply_gradients, fnn_data, fnn_freeze, fnn_frozen_bytes,
    fnn_gradients_along, fnn_infer, fnn_model, fnn_outside, fnn_penalty, fnn_penalty_bytes, fnn_phase_name, fnn_run,
    fnn_small_kernels, fnn_stores_gradients, fnn_takes_long, fnn_tile_sums, fnn_train,
)

cnp.import_array()

# A list that makes objects is not written as a comprehension here: where such a list cannot grow for want of memory,
# Cython (3.3) drops its last object twice.
include "_names.pxi"
include "_lock.pxi"
include "_machine.pxi"
include "_progress.pxi"
include "_arrays.pxi"
include "_form.pxi"
include "_structs.pxi"
include "_calls.pxi"
include "_kernels.pxi"
include "_memory.pxi"
include "_frozen_file.pxi"

cdef enum:
    # From this many numbers to look at, or parameters times rows, a call may be interrupted: about a tenth of a
    # millisecond. Letting Python look in costs as much as a row of a small network.
    _LONG = 1 << 20


class NotFiniteError(ValueError):
    """Says that a run that was to check x found a NaN or an infinity in it."""


cdef int _raise_outside(const fnn_outside *outside) except -1:
    """Raise for an index among the data that was checked before the run, and was another when the engine read it.

    Rows are not named: the run may have a part of the caller's rows, and only the caller knows where they lie.
    """
    last = <int64_t>outside.bound - 1
    changed = "; data must not change while the model runs on them"
    if outside.what == FNN_LABEL:
        raise ValueError(f"y must hold labels from 0 to {last}, but one became {outside.value}{changed}")
    if outside.what == FNN_ROW:
        raise IndexError(f"order must hold rows from 0 to {last}, but one became {outside.value}{changed}")
    raise ValueError(f"x's indices must lie between 0 and {last}, but one became {outside.value}{changed}")


# ---- one run of C ----

cdef cnp.ndarray _zero_sums(const fnn_model *model):
    cdef cnp.npy_intp count = model.sum_size
    return cnp.PyArray_ZEROS(1, &count, cnp.NPY_FLOAT64, 0)


cdef cnp.ndarray _empty_rows(_Memory engine, size_t rows, size_t columns):
    """Return room for rows of the engine's type."""
    cdef cnp.npy_intp[2] shape
    shape[0], shape[1] = rows, columns
    return cnp.PyArray_EMPTY(2, shape, engine._form.typenum, 0)


cdef class _Run:
    """One run of C on an engine: what it is given, and what it leaves.

    Engine._perform enters the engine, lets the run :meth:`perform`, and leaves.
    """

    cdef fnn_data data
    cdef fnn_run run
    cdef void *memory  # the engine's workspace or its scratch memory
    cdef object x
    cdef bint reads  # whether the run only reads, and changes nothing
    cdef _Reporter reporter

    def __reduce__(self):
        raise TypeError("a run of an engine cannot be pickled")

    cdef object perform(self, _Memory engine):
        """Prepare, run C with the GIL released, and take the results; the caller has entered the engine."""
        cdef int status
        self.prepare(engine)
        cdef bint alone = engine.model.blas != NULL
        if alone:
            _begin_blas()
        try:
            with nogil:
                status = self.go(&engine.model)
        finally:
            if alone:
                _end_blas()
        return self.finish(engine, status)

    cdef int prepare(self, _Memory engine) except -1:
        """Check what is given, and take memory; an error here leaves the model as it was."""
        raise NotImplementedError

    cdef int go(self, const fnn_model *model) noexcept nogil:
        """Run C, and return its status."""
        return fnn_train(model, &self.data, &self.run, self.memory)

    cdef object finish(self, _Memory engine, int status):
        """Take what the run has left, and return the answer to the caller."""
        self.check(status)

    cdef int tell(self, _Memory engine, hyperparameters, int passes) except -1:
        """Set what every run is told: the passes, and where training stands."""
        self.run.passes = passes
        self.run.iterations = engine.iterations
        self.run.course.first, self.run.course.steps = engine.course
        self.run.momentum_product = engine.momentum_product
        self.run.seed = engine.seed
        if hyperparameters is not None:
            engine._take_hyperparameters(hyperparameters)
            self.run.optimizer = engine._hyperparameters
        return 0

    cdef int report(self, progress, size_t sums) except -1:
        """Let Python look in while C runs."""
        self.reporter = _Reporter(progress, sums)
        self.run.progress = self.reporter.pointer()
        return 0

    cdef int take_workspace(self, _Memory engine) except -1:
        """Take the engine's memory for a step of this many rows."""
        engine._need_workspace(self.run.batch)
        self.run.threads = min(_threads, engine._workspace_threads)
        self.memory = _data(engine._workspace)
        return 0

    cdef int hand_back(self, _Memory engine) except -1:
        """Tell the engine where training stands; this discards what a forward pass has left."""
        engine.iterations, engine.momentum_product = self.run.iterations, self.run.momentum_product
        engine._last_rows = 0
        return 0

    cdef int check(self, int status) except -1:
        """Raise the error that the run met with."""
        if self.reporter is not None:
            self.reporter.raise_kept()
        if status == FNN_OUTSIDE:
            _raise_outside(&self.run.outside)
        if status == FNN_NOT_FINITE:
            raise NotFiniteError("x must be finite")
        if status == FNN_STOPPED:
            raise RuntimeError("the run was stopped")
        return 0


include "_training.pxi"
include "_exchange.pxi"


cdef class _Inference(_Run):
    """A pass of the network over rows, as one batch, that keeps nothing of them."""

    cdef object progress

    cdef int take_scratch(self, _Memory engine, size_t sums) except -1:
        """Take the engine's memory for rows that pass through, and let Python look in where there are many."""
        cdef size_t rows = self.data.rows
        if engine._is_long(rows):
            self.report(self.progress, sums)
        engine._take_form(self.x, 0)
        self.run.threads = _threads if rows > 16 else 1
        engine._need_scratch(rows, self.run.threads)
        self.memory = _data(engine._scratch)
        return 0

    cdef int go(self, const fnn_model *model) noexcept nogil:
        return fnn_infer(model, &self.data, &self.run, self.memory)


@cython.final
cdef class _Prediction(_Inference):
    """The network's output for each row of x, or for the rows in `order`."""

    cdef object order
    cdef cnp.ndarray out

    cdef int prepare(self, _Memory engine) except -1:
        cdef cnp.ndarray out = self.out
        engine._check_wanted()
        engine._form.check(self.x, None, None, self.order, &self.data)
        _check_matrix(out, "out", engine._form.typenum, engine._form.outputs)
        if not cnp.PyArray_IS_C_CONTIGUOUS(out) or not cnp.PyArray_ISWRITEABLE(out) \
                or <size_t>cnp.PyArray_DIM(out, 0) != self.data.rows:
            raise ValueError(f"out must be writable, C-contiguous and have {self.data.rows} rows, got shape "
                             f"{_shape(out)}")
        self.tell(engine, None, 0)
        self.run.output = _data(out)
        return self.take_scratch(engine, 0)


@cython.final
cdef class _Measurement(_Inference):
    """The sums of the losses and the metrics over the rows of x, or over those in `order`."""

    cdef object y, weights, order
    cdef int passes
    cdef cnp.ndarray sums

    cdef int prepare(self, _Memory engine) except -1:
        engine._check_compiled()
        engine._form.check(self.x, self.y, self.weights, self.order, &self.data)
        self.tell(engine, None, self.passes)
        self.sums = _zero_sums(&engine.model)
        self.run.sums = <double *>_data(self.sums)
        if engine._tile_sums is None:
            engine._tile_sums = np.empty(fnn_tile_sums(&engine.model))
        self.run.tile_sums = <double *>_data(engine._tile_sums)
        return self.take_scratch(engine, engine.model.sum_size)

    cdef object finish(self, _Memory engine, int status):
        self.check(status)
        return self.sums, -1


@cython.final
cdef class _Penalty(_Run):
    """The penalties of all parameters."""

    cdef double penalty
    cdef cnp.ndarray scratch

    cdef int prepare(self, _Memory engine) except -1:
        size = fnn_penalty_bytes(&engine.model)
        if size:
            self.scratch = aligned_zeros(size, np.uint8)
            self.memory = _data(self.scratch)
            self.report(None, 0)
        return 0

    cdef int go(self, const fnn_model *model) noexcept nogil:
        return fnn_penalty(model, self.memory, self.run.progress, &self.penalty)

    cdef object finish(self, _Memory engine, int status):
        self.check(status)
        return self.penalty


@cython.final
cdef class _Evaluation(_Run):
    """The sums over rows, with the parameters' penalties in the loss: several runs, one after the other."""

    cdef object y, weights, order, progress
    cdef size_t batch_size
    cdef int passes

    cdef object perform(self, _Memory engine):
        cdef _Measurement run
        cdef _Run penalty = _Penalty.__new__(_Penalty)
        if engine.functions is not None:  # functions are shown batches
            sums, _ = _training(self.x, self.y, self.weights, self.order, self.batch_size, None, self.progress,
                                self.passes).perform(engine)
        else:
            run = _Measurement.__new__(_Measurement)
            run.x, run.y, run.weights, run.progress = self.x, self.y, self.weights, self.progress
            run.order, run.passes = self.order, self.passes
            sums, _ = run.perform(engine)
        sums[0] += penalty.perform(engine) * len(self.x if self.order is None else self.order)
        return sums


cdef class _ForwardPass(_Run):
    """The outputs for rows; the activations stay for a backward pass."""

    cdef bint training
    cdef cnp.ndarray out

    cdef int prepare(self, _Memory engine) except -1:
        engine._form.check(self.x, None, None, None, &self.data)
        self.tell(engine, None, FNN_TRAINING if self.training else 0)
        self.out = _empty_rows(engine, self.data.rows, engine._form.outputs)
        self.run.batch = max(self.data.rows, 1)
        self.run.output = _data(self.out)
        engine._take_form(self.x, self.run.batch)
        self.take_workspace(engine)
        if engine._is_long(self.data.rows):
            self.report(None, 0)
        engine._last_rows = 0
        return 0

    cdef object finish(self, _Memory engine, int status):
        self.check(status)
        engine._last_x, engine._last_rows = self.x, self.data.rows  # the workspace points at the rows of x
        engine._last_passes, engine._last_changes = self.run.passes, engine.lock.changes
        return self.out


cdef class _BackwardPass(_Run):
    """The gradients from the activations that the last forward pass left: by inputs, by parameters, or by both."""

    cdef cnp.ndarray output_gradient, input_gradient
    cdef bint inputs, weights

    cdef int prepare(self, _Memory engine) except -1:
        if engine._last_rows == 0 or engine._last_changes != engine.lock.changes:
            raise RuntimeError("backward needs a forward pass of rows with the weights as they are now: call forward "
                               "again after anything that trains, or changes the weights")
        _check_matrix(self.output_gradient, "grad", engine._form.typenum, engine._form.outputs)
        if <size_t>cnp.PyArray_DIM(self.output_gradient, 0) != engine._last_rows:
            raise ValueError(f"grad must have the {engine._last_rows} rows of the last forward pass, got shape "
                             f"{_shape(self.output_gradient)}")
        if not cnp.PyArray_IS_C_CONTIGUOUS(self.output_gradient):
            raise ValueError("grad must be C-contiguous")
        self.tell(engine, None, FNN_BACKWARD | engine._last_passes)
        self.run.batch = engine._last_rows
        self.run.output_gradient = _data(self.output_gradient)
        if not self.weights:
            self.run.passes |= FNN_NO_GRADIENTS
        if self.inputs and not engine.model.ops[0].sparse:
            self.input_gradient = _empty_rows(engine, engine._last_rows, engine._form.inputs)
            self.run.passes |= FNN_INPUT_GRADIENT
            self.run.input_gradient = _data(self.input_gradient)
        engine.model.gradients = _data(engine.gradients)
        self.run.threads = min(_threads, engine._workspace_threads)
        self.memory = _data(engine._workspace)
        if engine._is_long(self.run.batch):
            self.report(None, 0)
        return 0

    cdef int go(self, const fnn_model *model) noexcept nogil:
        return fnn_train(model, NULL, &self.run, self.memory)

    cdef object finish(self, _Memory engine, int status):
        self.check(status)
        return self.input_gradient


cdef class _DirectionPass(_Run):
    """The outputs for rows, a product with their Hessian, and the gradients of the slope along directions."""

    cdef cnp.ndarray directions, output_gradient, out, product
    cdef bint adds

    cdef int prepare(self, _Memory engine) except -1:
        engine._form.check(self.x, None, None, None, &self.data)
        _check_matrix(self.directions, "v", engine._form.typenum, engine._form.inputs)
        _check_matrix(self.output_gradient, "u", engine._form.typenum, engine._form.outputs)
        for name, array in (("v", self.directions), ("u", self.output_gradient)):
            if len(array) != <Py_ssize_t>self.data.rows or not array.flags.c_contiguous:
                raise ValueError(f"{name} must be C-contiguous with the {self.data.rows} rows of x, got shape "
                                 f"{_shape(array)}")
        self.out = _empty_rows(engine, self.data.rows, engine._form.outputs)
        self.product = _empty_rows(engine, self.data.rows, engine._form.inputs)
        self.memory, self.run.output_gradient = _data(self.directions), _data(self.output_gradient)
        self.run.output, self.run.input_gradient = _data(self.out), _data(self.product)
        engine.model.gradients = _data(engine.gradients)
        return 0

    cdef int go(self, const fnn_model *model) noexcept nogil:
        return fnn_gradients_along(model, self.data.x, self.data.x_stride, self.data.rows, self.memory,
                                   self.run.output_gradient, self.run.output, self.run.input_gradient, self.adds)

    cdef object finish(self, _Memory engine, int status):
        if status:
            raise MemoryError(f"no memory to work on {self.data.rows} rows")
        return self.out, self.product


cdef class _Update(_Run):
    """One optimizer step with the gradients that are there, or with those that are given."""

    cdef object hyperparameters
    cdef cnp.ndarray gradients

    cdef int prepare(self, _Memory engine) except -1:
        if engine._trained is None:
            raise RuntimeError("the engine must be given an optimizer first")
        self.tell(engine, self.hyperparameters, FNN_UPDATE)
        self.run.batch = max(engine._last_rows, 1)
        self.take_workspace(engine)
        engine.model.gradients = _data(engine.gradients)
        if self.gradients is not None:
            fill_all([engine.gradients], [self.gradients])
        return 0

    cdef int go(self, const fnn_model *model) noexcept nogil:
        fnn_apply_gradients(model, &self.run, self.memory)
        return 0

    cdef object finish(self, _Memory engine, int status):
        self.hand_back(engine)


# ---- the engine ----

cdef class Engine(_Memory):
    """The engine of one model: its memory, and the runs over it.

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
              bint check_finite=False, double mixup=0, exchange=None):
        """Run one pass of optimizer steps over the rows in `order` (None: all rows, as they lie).

        y is an array of targets, (rows, all heads' target columns), or of int32 labels, (rows,) or (rows, all heads'
        labels), or the pair of both; weights are of shape (rows,) or (rows, heads). Returns the sums (float64), and the
        first step with a loss that is not finite, or -1.

        With `check_finite` a NaN or an infinity among dense x raises NotFiniteError some steps later; see restore. With
        `mixup` each batch is mixed with itself, see src_c/engine/run/mix.inc; x is dense then.

        With `exchange` other processes have rows of each batch too. It is any object with these attributes and methods,
        of which each process calls the same ones in the same order; an exception in one ends the run before the update.

            shards, first, count   each batch is cut into so many shards, of which this process has `count` from `first`
                                   on; see fnn_exchange in src_c/fastnn.h
            sharded                whether x has the rows of these shards alone, and batch_size counts them alone; all
                                   processes then have equally many
            shares                 (rank, ranks) where each updates its :func:`share_of` the parameters, or None
            moments                'batch' or 'shard': of which rows a batch normalization takes the moments
            total(parts)           makes of the rows of all processes' parts, their :func:`tree_nodes`, the sum in the
                                   order of the tree, and writes it to parts[0]
            share_total(parts)     the same, where nothing but this process's share of parts[0] is read
            gather(array)          makes each process's share of the array that of all

        The sums are then those of each shard, of shape (count, sums).
        """
        cdef int passes = FNN_LOSS | FNN_BACKWARD | FNN_UPDATE | FNN_TRAINING | (FNN_CHECK if check_finite else 0)
        return self._perform(_training(x, y, weights, order, batch_size, hyperparameters, progress, passes, mixup,
                                       exchange))

    def batch_gradient(self, x, y, bint training=True, weights=None):
        """Return the sums of one batch; `gradients` gets the gradient of the batch's loss."""
        cdef int passes = FNN_LOSS | FNN_BACKWARD | (FNN_TRAINING if training else 0)
        return self._perform(_training(x, y, weights, None, max(1, len(x)), None, None, passes))[0]

    def evaluate(self, x, y, progress=None, weights=None, size_t batch_size=32, bint check_finite=False, order=None):
        """Return the sums (float64) over the rows, as one batch, or with `functions` in batches; see :meth:`train`."""
        cdef int passes = FNN_LOSS | (FNN_CHECK if check_finite else 0)
        cdef _Evaluation run = _Evaluation.__new__(_Evaluation)
        run.x, run.y, run.weights, run.progress = x, y, weights, progress
        run.order, run.batch_size, run.passes = order, batch_size, passes
        return self._perform(run)

    def reads(self, array, cnp.npy_intp columns, bint check_finite):
        """Return whether an object is an array of at least one row of so many columns, as the engine reads it.

        With `check_finite` it must hold no NaN and no infinity either. The answer is no for arrays that are only
        strange, such as views with steps between their columns, and for those so large that a look at them takes long:
        who asks looks closer at what is not read, and says what is wrong.
        """
        return self._form.reads(array, columns, check_finite)

    def predict(self, x, cnp.ndarray out not None, progress=None):
        """Write the network's output for every row of x to `out`, (rows, outputs) and C-contiguous."""
        cdef _Prediction run = _Prediction.__new__(_Prediction)
        run.x, run.out, run.progress, run.reads = x, out, progress, True
        self._perform(run)

    def forward(self, x, bint training=False):
        """Return the outputs for the rows of x, (rows, outputs); the activations stay for :meth:`backward`."""
        cdef _ForwardPass run = _ForwardPass.__new__(_ForwardPass)
        run.x, run.training = x, training
        return self._perform(run)

    def backward(self, cnp.ndarray output_gradient not None, bint inputs=True, bint weights=True):
        """Compute gradients from the gradient of any loss by the outputs of the last :meth:`forward`.

        With `weights` this fills `gradients`. With `inputs` it returns the gradient by the inputs, (rows, inputs), or
        None where they were sparse.
        """
        cdef _BackwardPass run = _BackwardPass.__new__(_BackwardPass)
        run.output_gradient, run.inputs, run.weights = output_gradient, inputs, weights
        return self._perform(run)

    def gradients_along(self, x, cnp.ndarray directions not None, cnp.ndarray output_gradient not None, bint adds):
        """Return the outputs for dense rows, and uᵀ ∂²y/∂x² v; `gradients` get those of the sum of uᵀ ∂y/∂x v."""
        cdef _DirectionPass run = _DirectionPass.__new__(_DirectionPass)
        run.x, run.directions, run.output_gradient, run.adds = x, directions, output_gradient, adds
        return self._perform(run)

    def apply_gradients(self, hyperparameters, cnp.ndarray gradients=None):
        """Take one optimizer step with `gradients`, which first become those that are given, laid out as they are."""
        cdef _Update run = _Update.__new__(_Update)
        run.hyperparameters, run.gradients = hyperparameters, gradients
        self._perform(run)

    def freeze(self):
        """Return a copy that nothing can change any more, and a capsule of the C predictor that runs the copy."""
        cdef Engine frozen
        with self.lock.reading():
            self._check_wanted()
            frozen = Engine(self.plan)  # a change of the plan would come with new weights
            frozen.parameters[:] = self.parameters
        if self.kernels:
            frozen.take_kernels(self.weights, self.kernels)
        frozen.parameters.setflags(write=False)
        frozen._predictor = aligned_zeros(fnn_frozen_bytes(&frozen.model), np.uint8)
        fnn_freeze(&frozen.model, &_threads, _data(frozen._predictor))
        return frozen, PyCapsule_New(_data(frozen._predictor), "fastnn.fnn_frozen", NULL)

    def small_order(self, str weights not None):
        """Return what the order of rounded kernels depends on: see fnn_small_weights in src_c/kernels/table.h."""
        cdef const fnn_small_kernels *products = self.model.kernels.small[_number("weights", weights)]
        return products.inputs, products.lanes

    def take_kernels(self, str weights not None, dict kernels not None):
        """Take rounded kernels, fastnn._small_weights.Ordered by op, for answers alone: such an engine cannot train."""
        self._kernel_structs = _set_kernels(<fnn_op *>_data(self._ops), weights, kernels)
        self.weights, self.kernels = weights, kernels

    def _phases(self):
        """Return the names of the phases of a step of the last training run, for tests."""
        cdef const char *name
        names = []
        with self.lock:
            while self._workspace is not None:
                name = fnn_phase_name(&self.model, _data(self._workspace), len(names))
                if name == NULL:
                    break
                names.append(name.decode())
        return names

    cdef object _perform(self, _Run run):
        """Do a run while no other thread runs or changes the model; beside a run that reads, others may read too."""
        if run.reads:
            self._enter_to_read(run.x)
        else:
            self._enter()
        try:
            return run.perform(self)
        finally:
            if run.reads:
                self.lock.leave()
            else:
                self._leave()


include "_many.pxi"
