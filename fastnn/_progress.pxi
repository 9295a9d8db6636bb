# Between Python and a run in C: signals, and the caller's progress function. Part of _engine.pyx.

import numpy as np

from cpython.exc cimport PyErr_CheckSignals

from fastnn._c cimport fnn_progress


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
