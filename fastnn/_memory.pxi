# A model in memory: its layout, and what it is set up for. Part of _engine.pyx.

import math
from operator import attrgetter

import numpy as np

from fastnn._sparse_rows import SparseRows
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from fastnn._c cimport (
    FNN_SLOTS, fnn_blend, fnn_exchange, fnn_has_norms, fnn_head, fnn_head_terms, fnn_hyperparameters, fnn_large_side,
    fnn_link, fnn_measure, fnn_model, fnn_needs_unit, fnn_op, fnn_pace, fnn_parameter_settings, fnn_schedule,
    fnn_scratch_bytes, fnn_stripe, fnn_stripes, fnn_wants_blas, fnn_wants_unit, fnn_workspace_bytes,
)


cdef class _Memory:
    """What an engine holds, and how it is set up; :class:`Engine` adds the runs."""

    cdef fnn_model model
    cdef fnn_pace pace
    cdef readonly object plan
    cdef _Form _form
    cdef readonly cnp.ndarray parameters
    cdef readonly tuple slots
    cdef public int64_t iterations
    cdef public double momentum_product
    cdef public bint average_swapped
    cdef public uint64_t seed
    cdef public tuple course
    cdef readonly tuple states
    cdef public object functions
    cdef cnp.ndarray _predictor, _ops, _vectors, _settings, _stripes, _gradients, _workspace, _scratch
    cdef cnp.ndarray _heads, _measures, _constants, _tile_sums, _schedules, _terms, _kernel_structs
    cdef readonly str weights  # how rounded kernels are kept
    cdef readonly dict kernels  # fastnn._small_weights.Ordered of each op whose kernel is rounded
    cdef tuple _described_heads  # what terms point into
    cdef size_t _workspace_batch, _scratch_rows
    cdef int _products_changes  # of the choice of products, up to the last one that was looked at
    cdef int _last_passes, _workspace_threads, _scratch_threads, _optimizer, _compiled, _given_up
    cdef readonly Lock lock
    cdef object __weakref__, _last_x, _slot_names, _trained
    cdef object _told  # the hyperparameters that are filled in below
    cdef fnn_hyperparameters _hyperparameters
    cdef size_t _last_rows
    cdef int64_t _last_changes

    def __init__(self, plan, Lock lock=None):
        self.lock = Lock() if lock is None else lock
        self.slots = self.states = self._slot_names = ()
        self.functions, self.weights, self.kernels = None, str(plan.dtype), {}
        memset(&self.model, 0, sizeof(fnn_model))
        memset(&self.pace, 0, sizeof(fnn_pace))
        self.momentum_product, self.course = 1, (0, 0)
        self.model.parameter_size = plan.size
        self.parameters = aligned_zeros(plan.size, np.dtype(plan.dtype))
        self.model.parameters = _data(self.parameters)
        self._take_plan(plan)

    cdef int _take_plan(self, plan) except -1:
        """Lay out what depends on the plan, except parameters, slots and heads."""
        self.plan = plan
        reads_x = []
        for op in plan.ops:
            if op.input < 0 or (op.source >= 0 and plan.ops[op.source].input < 0):
                reads_x.append(op_traits(op.name).multiplies)
        self._form = _Form(plan, reads_x == [True])
        self.model.is_double = self._form.typenum == cnp.NPY_FLOAT64
        self.model.bfloat16 = plan.bfloat16
        self.model.kernels = _kernels
        self.model.blas = NULL
        self._products_changes = -1

        self._ops = np.zeros(len(plan.ops) * sizeof(fnn_op), np.uint8)
        cdef fnn_op *ops = <fnn_op *>_data(self._ops)
        self._vectors = np.array([number for op in plan.ops for number in op.vector], np.float64)
        self._schedules = np.zeros(len(plan.ops) * sizeof(fnn_schedule), np.uint8)
        _set_ops(ops, plan.ops, <const double *>_data(self._vectors), <fnn_schedule *>_data(self._schedules))
        fnn_link(ops, len(plan.ops))
        self.model.ops, self.model.op_count, self.model.inputs = ops, len(plan.ops), plan.inputs
        if fnn_wants_unit(&self.model):  # where the system refuses the unit, float32 is computed in another way
            self.model.matrix_unit = _allows_unit()
            if fnn_needs_unit(&self.model) and not self.model.matrix_unit:
                raise RuntimeError(_REFUSED)

        self._settings = np.zeros(2 * len(plan.ops) * sizeof(fnn_parameter_settings), np.uint8)
        cdef fnn_parameter_settings *settings = <fnn_parameter_settings *>_data(self._settings)
        for k in range(2 * len(plan.ops)):
            settings[k].multiplier = 1
        self.model.settings = settings
        self._list_stripes(fnn_large_side(&self.model, 1))
        self._forget_layout()
        self._compiled = 0
        return 0

    cdef int _list_stripes(self, size_t side) except -1:
        """List the stripes of the kernels for this large_side; without memory for them all stays as it was."""
        cdef size_t before = self.model.large_side
        self.model.large_side = side
        cdef size_t count = fnn_stripes(&self.model, NULL)
        self.model.large_side = before
        self._stripes = np.zeros(count * sizeof(fnn_stripe), np.uint8)
        self.model.large_side = side
        self.model.stripes, self.model.stripe_count = <fnn_stripe *>_data(self._stripes), count
        fnn_stripes(&self.model, <fnn_stripe *>_data(self._stripes))
        return 0

    cdef int _take_form(self, x, size_t batch, rows=None) except -1:
        """Make ready for x, dense or sparse: memory is laid out for one of the two, and for batches to train on.

        Batches are made of `rows` of x, of which some may come several times; None: of all.
        """
        cdef fnn_op *ops = <fnn_op *>_data(self._ops)
        cdef bint sparse = isinstance(x, SparseRows)
        cdef size_t entries = x.most_entries(batch, rows) if sparse and batch else 0
        if entries >= (<size_t>1 << 31):
            raise MemoryError(f"a batch may have up to 2**31 - 1 values that are not zero, got {entries}")
        self.model.row_entries = x.entries // max(len(x), 1) if sparse else 0
        cdef bint was_sparse = ops[0].sparse, listed = False
        cdef size_t entries_before = self.model.batch_entries
        if was_sparse != sparse or entries > entries_before:
            ops[0].sparse = sparse
            self.model.batch_entries = max(entries, entries_before)
            try:
                self._list_stripes(self.model.large_side)
                listed = True
            finally:
                if not listed:
                    ops[0].sparse, self.model.batch_entries = was_sparse, entries_before
            self._forget_layout()
        return 0

    cdef int _take_exchange(self, const fnn_exchange *exchange) except -1:
        """Make ready for a run that other processes share, or, with NULL, for runs that they do not."""
        self.model.exchange = exchange
        self.model.gradients = NULL
        self._products_changes = -1  # memory is laid out anew, in the workspace that is there if that is large enough
        return 0

    cdef bint _has_norms(self):
        return fnn_has_norms(&self.model)

    cdef int _forget_layout(self) except -1:
        """Discard memory whose layout has changed: the next call takes new memory, and a forward pass is lost."""
        self._workspace = self._scratch = None
        self._last_rows = 0
        self._products_changes = -1
        return 0

    def __reduce__(self):
        raise TypeError("an engine cannot be pickled or copied: save the model to a file, or use get_weights")

    @property
    def gradients(self):
        """The gradients of the mean loss, laid out as the parameters; zeros before the first backward pass."""
        if self._gradients is None:
            fresh = aligned_zeros(self.plan.size, self._form.dtype)
            if self._gradients is None:  # another thread may have been faster
                self._gradients = fresh
        return self._gradients

    def set_plan(self, plan):
        """Run another plan of the same form from now on, with parameters and slots as they are.

        Before it trains, :meth:`set_optimizer` and :meth:`compile` must follow.
        """
        if plan.form != self.plan.form:
            raise ValueError("plan must be of the form of the plan that it replaces")
        self._enter()
        before = self.plan, self._form, self._ops, self._vectors, self._schedules, self._settings, self._stripes
        cdef fnn_model model = self.model
        try:
            self._take_plan(plan)
        except BaseException:
            self.plan, self._form, self._ops, self._vectors, self._schedules, self._settings, self._stripes = before
            self.model = model
            raise
        finally:
            self._leave()

    def set_optimizer(self, str name not None, slots, parameter_settings, bint goes_on=False):
        """Set the optimizer by its name; slots and the step counter start anew.

        Without memory for it all stays as it was.

        Parameters
        ----------
        name : str
            The engine's name for the optimizer's rule (fnn_optimizer).
        slots : sequence of fastnn.optimizers.Slot
            The slots of the rule, then perhaps ``average`` and ``gradient_accumulator``.
        parameter_settings : sequence of fastnn._op.ParameterSettings
            How each of the plan's parameters is trained.
        goes_on : bool, default False
            Whether the name and the slots are those that are set, and keep their state.
        """
        cdef cnp.ndarray memory = self._settings.copy(), array
        cdef fnn_parameter_settings *target = <fnn_parameter_settings *>_data(memory)
        cdef Py_ssize_t k, average = -1, accumulated = -1, own = 0
        cdef int number = _number("optimizer", name)
        self._enter()
        try:
            arrays, names, trained = list(self.slots), list(map(attrgetter("name"), slots)), []
            if not goes_on:
                arrays = []
                for slot in slots:
                    arrays.append(aligned_zeros(self.plan.size, self._form.dtype))
                    if slot.initial:
                        arrays[-1][:] = slot.initial
            average = names.index("average") if "average" in names else -1
            accumulated = names.index("gradient_accumulator") if "gradient_accumulator" in names else -1
            _set_parameter_settings(target, self.plan, parameter_settings)
            for spec, settings in zip(self.plan.parameters, parameter_settings):
                if settings.trainable:
                    trained.append(slice(spec.offset, spec.offset + math.prod(spec.shape)))
            held = tuple(arrays)
            # no step from here on needs memory
            self._settings, self._trained, self.slots, self._slot_names = memory, trained, held, names
            self.model.settings = target
            self.model.average = self.model.accumulated = NULL
            for k in range(FNN_SLOTS):
                self.model.slots[k] = NULL
            for k in range(len(held)):
                array = <cnp.ndarray>(<tuple>held)[k]
                if k == average:
                    self.model.average = _data(array)
                elif k == accumulated:
                    self.model.accumulated = _data(array)
                elif own < FNN_SLOTS:
                    self.model.slots[own] = _data(array)
                    own += 1
            self._optimizer = self.model.optimizer = number
            self._told = None
            self._workspace = None  # the workspace's layout depends on these settings
            self._last_rows = 0
            if not goes_on:
                self.iterations = 0
                self.momentum_product = 1
                self.average_swapped = False
        finally:
            self._leave()

    cdef int _take_hyperparameters(self, hyperparameters) except -1:
        """Fill in hyperparameters from a fastnn.optimizers.Hyperparameters, unless they are those of the last run."""
        if hyperparameters is not self._told:
            self._told = None
            _set_hyperparameters(&self._hyperparameters, self._optimizer, hyperparameters)
            self._told = hyperparameters
        return 0

    def forget(self):
        """Return to the state before the first pass: gradients are zero, and there is no forward pass to use."""
        self._enter()
        try:
            self._last_rows = 0
            if self._gradients is not None:
                self._gradients[:] = 0
        finally:
            self._leave()

    def give_up(self):
        """Say that the model was not to be built after all: a thread that waits for the engine gets an error."""
        self._given_up = 1

    cdef int _check_wanted(self) except -1:
        if self._given_up:
            raise ValueError("this call needs a built model, and the fit that was building it failed: fit again")
        return 0

    def snapshot(self):
        """Return a copy of all that training changes, for :meth:`restore`."""
        self._enter()
        try:
            return list(map(np.array, (self.parameters, *self.slots))), self.iterations, self.momentum_product
        finally:
            self._leave()

    def restore(self, snapshot):
        """Take back what training has changed since :meth:`snapshot`."""
        arrays, iterations, product = snapshot
        self._enter()
        try:
            fill_all([self.parameters, *self.slots], arrays)
            self.iterations, self.momentum_product = iterations, product
            self._last_rows = 0
        finally:
            self._leave()

    def blend(self, _Memory other not None, double tau):
        """Make of each parameter p what (1 - tau) p + tau q is, with q from an engine whose plan has the same layout.

        The caller holds both engines' locks, the other one's at least to read.
        """
        cdef const void *theirs = _data(other.parameters)
        if other.plan.size != self.plan.size or other._form.typenum != self._form.typenum:
            raise ValueError("other must be an engine with parameters of the same layout")
        self.lock.changes += 1
        if other is not self:
            with nogil:
                fnn_blend(&self.model, theirs, tau)

    def use_average(self, *, bint swap):
        """Put the moving average of each trained parameter in its place, once there is one.

        With `swap` the parameter takes the place of the average, and `average_swapped` says so until the next swap. No
        signal handler runs in between.
        """
        self._enter()
        try:
            if self.iterations and "average" in self._slot_names:
                average = self.slots[self._slot_names.index("average")]
                parameters = list(map(self.parameters.__getitem__, self._trained))
                averages = list(map(average.__getitem__, self._trained))
                if swap:
                    fill_all(parameters + averages, averages + list(map(np.array, parameters)))
                    self.average_swapped ^= True
                else:
                    fill_all(parameters, averages)
                self._last_rows = 0
        finally:
            self._leave()

    def compile(self, heads):
        """Set the heads, see :class:`fastnn._head.Head`; without heads nothing can be trained or evaluated.

        `states` then holds a slice of the sums for each measure, in the order of the heads. Sums are the loss, where
        there are several heads the loss of each, and the states; losses are summed over batches of rows x loss.

        Where losses or metrics are Python, `functions` is to be set afterwards. It is called once a batch, with the
        arguments of :meth:`fastnn._functions.Functions.__call__`.
        """
        self._enter()
        try:
            self._set_heads(heads)
            self.functions = None
            self._compiled = len(heads) > 0
            self._forget_layout()  # the layout depends on the heads
        finally:
            self._leave()

    cdef int _set_heads(self, heads) except -1:
        cdef size_t count = sum(len(head.measures) for head in heads)
        cdef cnp.ndarray head_memory = np.zeros(len(heads) * sizeof(fnn_head), np.uint8)
        cdef cnp.ndarray measure_memory = np.zeros(max(1, count) * sizeof(fnn_measure), np.uint8)
        cdef cnp.ndarray terms = np.zeros(len(heads) * sizeof(fnn_head_terms), np.uint8)
        cdef cnp.ndarray constants = _constants_of(heads)
        cdef fnn_head *c_heads = <fnn_head *>_data(head_memory)
        cdef fnn_measure *c_measures = <fnn_measure *>_data(measure_memory)
        if heads and sum(head.columns for head in heads) != self._form.outputs:
            raise ValueError(f"heads must take the {self._form.outputs} columns of the output, got "
                             f"{list(map(attrgetter('columns'), heads))}")
        _set_heads(c_heads, <fnn_head_terms *>_data(terms), <fnn_op *>_data(self._ops), &self.model, heads,
                   <const double *>_data(constants))
        states = _set_measures(c_measures, c_heads, heads, <const double *>_data(constants))
        self._heads, self._measures, self._constants = head_memory, measure_memory, constants
        self._terms, self._described_heads = terms, tuple(heads)
        self.model.heads, self.model.head_count = c_heads, len(heads)
        self.model.terms = <fnn_head_terms *>_data(terms)
        self.model.measures, self.model.measure_count = c_measures, count
        self._form.set_heads(heads)
        self.model.label_columns = self._form.label_columns
        self.model.sum_size = states[-1].stop if states else _first_state(heads)
        self.states = states
        self._tile_sums = None
        return 0

    cdef int _enter(self) except -1:
        """Wait for the calls of other threads; what a call checks, and the sizes it derives, hold until _leave."""
        self.lock.change()
        if self._given_up:
            self.lock.leave()
            self._check_wanted()
        self.lock._running = True
        return 0

    cdef int _leave(self) except -1:
        self.lock._running = False
        self.lock.leave()
        return 0

    cdef int _enter_to_read(self, x) except -1:
        """Enter for a call that changes nothing: in the middle of another thread's step too, while that calls Python.

        Where x or the step's rows are sparse the call waits for the run's end, as ops are set for sparse or for dense
        rows.
        """
        self.lock.read()
        if self.lock._lent and ((<fnn_op *>_data(self._ops))[0].sparse or isinstance(x, SparseRows)):
            self.lock.leave()
            self.lock.change()
        return 0

    cdef int _check_compiled(self) except -1:
        if not self._compiled:
            raise RuntimeError("the engine must be compiled with a loss and an optimizer first")
        return 0

    cdef bint _is_long(self, size_t rows):
        """Return whether a pass over this many rows takes long enough for Python to look in."""
        return <double>rows * (self.model.parameter_size + self.model.inputs) > _LONG

    cdef int _choose_products(self) except -1:
        """Look whether large products of steps go to a BLAS, anew after each change of the choice or of the layout."""
        cdef int changes = _products_changes
        if self._products_changes != changes:
            # The bits of a BLAS depend on the shape of each tile, so that of shards on the number of processes.
            cut = self.model.exchange != NULL and self.model.exchange.shards > 1
            blas = not cut and _prefers_blas(self.model.is_double) and fnn_wants_blas(&self.model)
            self.model.blas = _find_blas() if blas else NULL
            self._products_changes = changes
            self._workspace_batch = 0
        return 0

    cdef int _need_workspace(self, size_t batch) except -1:
        """Make room for a batch, and grow it where it must grow: a smaller batch may need more than a larger one."""
        cdef size_t size, side
        cdef int threads = _threads  # another Python thread may change the number at any time
        self._choose_products()
        if self._workspace is None or batch != self._workspace_batch or threads > self._workspace_threads:
            self._last_rows = 0  # what a forward pass left may lie elsewhere now
            threads = max(threads, 0 if self._workspace is None else self._workspace_threads)
            self._workspace_batch = 0  # if what follows fails, the next call measures again
            side = fnn_large_side(&self.model, batch if self.model.exchange == NULL else self.model.exchange.batch)
            if self.model.large_side != side:
                self._list_stripes(side)
            size = fnn_workspace_bytes(&self.model, batch, threads)
            if size > (<size_t>-1) // 4:
                raise MemoryError(f"a batch of {batch} rows needs more memory than can be addressed")
            if self._workspace is None or size > <size_t>cnp.PyArray_SIZE(self._workspace):
                self._workspace = None  # freed first, so that there are never two workspaces
                self._workspace = aligned_zeros(size, np.uint8)
            self._workspace_batch, self._workspace_threads = batch, threads
        return 0

    cdef int _need_scratch(self, size_t rows, int threads) except -1:
        """Make room for rows that pass through; new memory has room for more rows, as the next call may have them."""
        cdef size_t room = 1, size
        if self._scratch is not None and threads <= self._scratch_threads and rows <= self._scratch_rows:
            return 0
        while room < rows and room < <size_t>1 << 30:
            room *= 2
        size = fnn_scratch_bytes(&self.model, room, threads)
        if size > (<size_t>-1) // 2:
            raise MemoryError("the network is too wide for this machine's memory")
        self._scratch = None
        self._scratch = aligned_zeros(size, np.uint8)
        self._scratch_threads, self._scratch_rows = threads, room if room >= rows else <size_t>-1
        return 0
