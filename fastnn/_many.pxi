# Many engines in one call, one to a thread. Part of _engine.pyx.

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastnn._c cimport (
    FNN_BACKWARD, FNN_LOSS, FNN_OUTSIDE, FNN_STOPPED, FNN_TRAINING, FNN_UPDATE, fnn_member, fnn_train_many,
)


def train_many(list engines not None, list arrays not None, list shuffles not None, size_t batch_size,
               list rates not None):
    """Run one pass of optimizer steps on each of many engines, an engine to a thread; see :meth:`Engine.train`.

    Takes per engine an (x, y), the seed and epoch of the order of its rows (None: as they lie), and hyperparameters;
    returns the sums and the first step whose loss is not finite, per engine.
    """
    cdef size_t count = len(engines), most_rows = 0, k
    cdef int status, threads = _threads
    cdef Engine engine
    cdef cnp.ndarray memory = np.zeros(max(count, 1) * sizeof(fnn_member), np.uint8)
    cdef fnn_member *members = <fnn_member *>_data(memory)
    cdef cnp.ndarray orders
    cdef int64_t *order
    cdef _Reporter reporter = _Reporter(None, 1)
    cdef _Training run
    cdef bint alone = False
    runs, entered = [], []
    try:
        # all calls enter engines in one order, so that no two calls wait for each other
        for engine in sorted(engines, key=id):
            engine._enter()
            entered.append(engine)
        for k in range(count):
            engine = engines[k]
            x, y = arrays[k]
            run = _training(x, y, None, None, batch_size, rates[k], None,
                            FNN_LOSS | FNN_BACKWARD | FNN_UPDATE | FNN_TRAINING)
            runs.append(run)
            run.lay_out(engine)
            alone |= engine.model.blas != NULL
            members[k].model, members[k].data, members[k].workspace = &engine.model, run.data, run.memory
            members[k].run = run.run
            members[k].run.threads = 1
            if shuffles[k] is not None:
                members[k].shuffles = 1
                members[k].seed, members[k].epoch = shuffles[k]
                if members[k].data.rows > most_rows:
                    most_rows = members[k].data.rows
        orders = aligned_zeros(most_rows * threads, np.int64)
        order = <int64_t *>_data(orders)
        if alone:
            _begin_blas()
        try:
            with nogil:
                status = fnn_train_many(members, count, threads, order, most_rows, &reporter.progress)
        finally:
            if alone:
                _end_blas()
        results = []
        for k in range(count):
            run = runs[k]
            run.run = members[k].run
            run.hand_back(engines[k])
            results.append((run.sums, run.run.first_nonfinite))
        for k in range(count):
            if members[k].status == FNN_OUTSIDE and reporter.type == NULL:
                _raise_outside(&members[k].run.outside)
    finally:
        for engine in entered:
            engine._leave()
    reporter.raise_kept()
    if status == FNN_STOPPED:
        raise RuntimeError("the run was stopped")
    return results
