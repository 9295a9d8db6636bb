# Steps of training over batches of rows. Part of _engine.pyx.

cimport numpy as cnp

from fastnn._c cimport FNN_UPDATE, fnn_stores_gradients, fnn_takes_long


cdef class _Training(_Run):
    """Steps over batches of rows, as `passes` says; without FNN_UPDATE the steps change no weight."""

    cdef object y, weights, order, hyperparameters, progress
    cdef object rows  # the rows of which orders are made in the middle of the run
    cdef size_t batch_size
    cdef int passes
    cdef double mixup
    cdef cnp.ndarray sums
    cdef _Caller caller

    cdef int prepare(self, _Memory engine) except -1:
        self.lay_out(engine)
        if self.progress is not None or engine._is_long(3 * self.data.rows):  # forward, and back by inputs and weights
            self.report(self.tell_progress(), cnp.PyArray_SIZE(self.sums))
        self.run.pace = &engine.pace
        if engine.functions is not None:
            self.caller = _Caller(engine.functions, engine.lock, self.y, self.weights, self.order, self.sums)
            self.caller.typenum, self.caller.outputs = engine._form.typenum, engine._form.outputs
            self.caller.heads, self.caller.memory = engine._form.heads, engine._workspace
            self.run.functions = &self.caller.pointer
        return 0

    cdef int lay_out(self, _Memory engine) except -1:
        """Check the rows, and make the engine ready for batches of them."""
        engine._check_compiled()
        engine._form.check(self.x, self.y, self.weights, self.order, &self.data)
        self.tell(engine, self.hyperparameters, self.passes)
        self.run.mixup = self.mixup
        if self.mixup > 0 and not engine.model.mixes:
            engine.model.mixes = 1
            engine._forget_layout()
        if self.batch_size < 1:
            raise ValueError("batch_size must be at least 1, got 0")
        self.cut(engine)
        self.run.sums = <double *>_data(self.sums)
        engine._take_form(self.x, self.run.batch, self.rows)
        self.take_workspace(engine)
        self.take_gradients(engine)
        return 0

    cdef int cut(self, _Memory engine) except -1:
        """Set the rows of a step, and make room for the sums."""
        self.run.batch = min(self.batch_size, max(self.data.rows, 1))
        self.sums = _zero_sums(&engine.model)
        return 0

    cdef object tell_progress(self):
        """Return the function that is told of the run's progress, or None."""
        return self.progress

    cdef int take_gradients(self, _Memory engine) except -1:
        """Let the engine keep gradients, except where each is used up as soon as it is there."""
        engine.model.gradients = NULL
        if not self.passes & FNN_UPDATE or fnn_stores_gradients(&self.run.optimizer) \
                or fnn_takes_long(&engine.model, self.run.batch):
            engine.model.gradients = _data(engine.gradients)
        return 0

    cdef object finish(self, _Memory engine, int status):
        self.hand_back(engine)
        if self.caller is not None:
            self.caller.raise_kept()
        self.check(status)
        return self.sums, self.run.first_nonfinite


cdef _Training _training(x, y, weights, order, size_t batch_size, hyperparameters, progress, int passes,
                         double mixup=0, exchange=None):
    cdef _Training run
    if exchange is None:
        run = _Training.__new__(_Training)
    else:
        run = _SharedTraining.__new__(_SharedTraining)
        (<_SharedTraining>run).given = exchange
    run.x, run.y, run.weights, run.order, run.batch_size = x, y, weights, order, batch_size
    run.hyperparameters, run.progress, run.passes, run.mixup = hyperparameters, progress, passes, mixup
    return run
