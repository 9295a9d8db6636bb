# Many engines in one call, one to a thread. Part of _engine.pyx.

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastnn._c cimport (
    FNN_BACKWARD, FNN_LOSS, FNN_OK, FNN_OUTSIDE, FNN_STOPPED, FNN_TRAINING, FNN_UPDATE, fnn_member, fnn_progress,
    fnn_run_many,
)


cdef class _Task:
    """What one of many engines is to do on one thread, and what came of it; :func:`run_many` does many at once."""

    cdef readonly Engine engine
    cdef _Run run

    def __reduce__(self):
        raise TypeError("a task of an engine cannot be pickled")

    cdef int prepare(self, fnn_member *member) except -1:
        """Check what is given, and take memory; an error here leaves the model as it was."""
        self.run.prepare(self.engine)
        self.fill(member)
        return 0

    cdef int fill(self, fnn_member *member) except -1:
        """Tell C what has been prepared."""
        member.model, member.data, member.workspace = &self.engine.model, self.run.data, self.run.memory
        member.run = self.run.run
        return 0

    cdef int finish(self, fnn_member *member) except -1:
        """Take what the run has left; where it has failed, raise nothing."""
        raise NotImplementedError


@cython.final
cdef class TrainingTask(_Task):
    """Passes of optimizer steps over rows of x; see :meth:`Engine.train`.

    Parameters
    ----------
    rows : ndarray of int64 or None
        The rows of x, some perhaps several times; None: all.
    shuffle : tuple of int, or None
        The seed and the number of the first epoch's order of these rows; None: as they lie.
    epochs : int
        The number of passes.
    most : int, optional
        The number of rows of a pass, where its last ones are left out.
    mixup : float, default 0

    Attributes
    ----------
    epochs_done : int
        How many passes have come to their end, also where the call was stopped.
    sums : ndarray of float64, shape (epochs, sums)
    first_nonfinite : ndarray of int64, shape (epochs,)
        The first step of each pass whose loss is not finite, or -1.
    """

    cdef object shuffle
    cdef readonly size_t epochs, epochs_done
    cdef size_t most
    cdef readonly cnp.ndarray sums, first_nonfinite

    def __init__(self, Engine engine not None, x, y, weights, rows, size_t batch_size, hyperparameters, shuffle,
                 size_t epochs, size_t most=-1, double mixup=0):
        self.engine, self.shuffle, self.epochs, self.most = engine, shuffle, epochs, most
        cdef _Training run = _training(x, y, weights, rows, batch_size, hyperparameters, None,
                                       FNN_LOSS | FNN_BACKWARD | FNN_UPDATE | FNN_TRAINING, mixup)
        run.rows = rows
        self.run = run

    cdef int prepare(self, fnn_member *member) except -1:
        cdef _Training run = <_Training>self.run
        run.lay_out(self.engine)
        self.sums = np.zeros((self.epochs, self.engine.model.sum_size))
        self.first_nonfinite = np.full(self.epochs, -1, np.int64)
        self.fill(member)
        member.run.sums = <double *>_data(self.sums)
        member.most = self.most
        member.epochs, member.first_nonfinite = self.epochs, <int64_t *>_data(self.first_nonfinite)
        if self.shuffle is not None:
            member.shuffles = 1
            member.seed, member.first_epoch = self.shuffle
        return 0

    cdef int finish(self, fnn_member *member) except -1:
        self.run.run.iterations = member.run.iterations
        self.run.run.momentum_product = member.run.momentum_product
        self.run.hand_back(self.engine)
        self.epochs_done = member.epochs_done
        return 0


@cython.final
cdef class EvaluationTask(_Task):
    """The sums of the losses and the metrics over rows of x; see :meth:`Engine.evaluate`.

    Parameters
    ----------
    rows : ndarray of int64 or None
        The rows of x; None: all.

    Attributes
    ----------
    sums : ndarray of float64
    """

    cdef readonly cnp.ndarray sums

    def __init__(self, Engine engine not None, x, y, weights, rows):
        cdef _Measurement run = _Measurement.__new__(_Measurement)
        run.x, run.y, run.weights, run.order, run.passes = x, y, weights, rows, FNN_LOSS
        self.engine, self.run = engine, run

    cdef int finish(self, fnn_member *member) except -1:
        cdef _Run penalty = _Penalty.__new__(_Penalty)
        self.sums = (<_Measurement>self.run).sums
        if member.status == FNN_OK:
            self.sums[0] += penalty.perform(self.engine) * self.run.data.rows
        return 0


@cython.final
cdef class PredictionTask(_Task):
    """The network's outputs for rows of x, written to `out`; see :meth:`Engine.predict`.

    Parameters
    ----------
    rows : ndarray of int64 or None
        The rows of x; None: all.
    out : ndarray, shape (rows, outputs)
    """

    def __init__(self, Engine engine not None, x, rows, cnp.ndarray out not None):
        cdef _Prediction run = _Prediction.__new__(_Prediction)
        run.x, run.out, run.order, run.reads = x, out, rows, True
        self.engine, self.run = engine, run

    cdef int finish(self, fnn_member *member) except -1:
        return 0


cdef int _enter_all(list tasks, list entered) except -1:
    """Enter the engines of all tasks; all calls do so in one order, so that no two calls wait for each other."""
    cdef _Task task
    for task in sorted(tasks, key=_place):
        if task.run.reads:
            task.engine._enter_to_read(task.run.x)
        else:
            task.engine._enter()
        entered.append(task)
    return 0


cdef object _place(_Task task):
    return id(task.engine.lock)


cdef int _leave_all(list entered) except -1:
    cdef _Task task
    for task in entered:
        if task.run.reads:
            task.engine.lock.leave()
        else:
            task.engine._leave()
    return 0


def run_many(list tasks not None):
    """Do all tasks, each of another engine, in one call, to the bits that each would have alone.

    Ctrl-C ends the call; those that train have then finished their last step, and say how many passes are done.
    """
    cdef size_t count = len(tasks), most_rows = 0, k
    cdef int status, threads = _threads
    cdef cnp.ndarray memory = np.zeros(max(count, 1) * sizeof(fnn_member), np.uint8)
    cdef fnn_member *members = <fnn_member *>_data(memory)
    cdef cnp.ndarray orders
    cdef int64_t *order
    cdef _Reporter reporter = _Reporter(None, 1)
    cdef const fnn_progress *progress = reporter.pointer()
    cdef _Task task
    cdef bint alone = False
    entered = []
    try:
        _enter_all(tasks, entered)
        for k in range(count):
            task = tasks[k]
            task.prepare(&members[k])
            members[k].infers = not isinstance(task, TrainingTask)
            alone |= task.engine.model.blas != NULL
            if members[k].shuffles and members[k].data.rows > most_rows:
                most_rows = members[k].data.rows
        orders = aligned_zeros(most_rows * threads, np.int64)
        order = <int64_t *>_data(orders)
        if alone:
            _begin_blas()
        try:
            with nogil:
                status = fnn_run_many(members, count, threads, order, most_rows, progress)
        finally:
            if alone:
                _end_blas()
        for k in range(count):
            (<_Task>tasks[k]).finish(&members[k])
        for k in range(count):
            if members[k].status == FNN_OUTSIDE and reporter.type == NULL:
                _raise_outside(&members[k].run.outside)
    finally:
        _leave_all(entered)
    reporter.raise_kept()
    if status == FNN_STOPPED:
        raise RuntimeError("the run was stopped")
