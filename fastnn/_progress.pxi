# Between Python and a run in C: signals, and the caller's progress function. Part of _engine.pyx.

import threading

import numpy as np

from cpython.exc cimport PyErr_CheckSignals, PyErr_Fetch, PyErr_Restore
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from fastnn._c cimport fnn_progress

cdef double _interval = 0.02  # seconds between two looks of Python into a run
cdef size_t _looks = 0  # the number of looks so far, in all runs of this module


def _polling(interval=None):
    """Return the seconds between two looks into a run, and the number of looks so far; `interval` sets the seconds.

    With 0 a run asks after each piece of work, however fast the machine is.
    """
    global _interval
    before = _interval
    if interval is not None:
        _interval = interval
    return before, _looks


cdef class _Called:
    """Let Python look in: C calls this in the middle of a run. An exception stops the run, and is kept for its caller.

    It is kept as Python has it at the moment: an ``except`` clause here would make objects, and crash where there is no
    memory for them.
    """

    cdef PyObject *type
    cdef PyObject *value
    cdef PyObject *traceback

    def __dealloc__(self):
        Py_XDECREF(self.type)
        Py_XDECREF(self.value)
        Py_XDECREF(self.traceback)

    def __reduce__(self):
        raise TypeError("what C calls in the middle of a run cannot be pickled")

    cdef int keep(self, int status) noexcept:
        """Return the status that C gets for one of Python, which is not 0 with an exception."""
        if status != 0:
            PyErr_Fetch(&self.type, &self.value, &self.traceback)
        return status != 0

    cdef int raise_kept(self) except -1:
        """Raise the exception that was kept, if there is one."""
        if self.type == NULL:
            return 0
        PyErr_Restore(self.type, self.value, self.traceback)
        self.type = self.value = self.traceback = NULL
        return -1


cdef class _Reporter(_Called):
    """Lets Python look in while C runs: signals, and the caller's progress function."""

    cdef object function
    cdef size_t count
    cdef fnn_progress progress

    def __cinit__(self, function, size_t count):
        self.function = function
        self.count = count
        self.progress.function = _report
        self.progress.context = <void *>self
        self.progress.interval = _interval

    cdef const fnn_progress *pointer(self):
        """Return NULL where nobody would look in: Python hands signals to its main thread alone."""
        if self.function is None and threading.get_ident() != threading.main_thread().ident:
            return NULL
        return &self.progress


ctypedef int (*_unchecked_report)(_Reporter, size_t, const double *) noexcept

cdef int _report(void *context, size_t steps_done, const double *sums) noexcept nogil:
    with gil:
        return (<_Reporter>context).keep((<_unchecked_report><void *>_look_in)(<_Reporter>context, steps_done, sums))


cdef int _look_in(_Reporter reporter, size_t steps_done, const double *sums) except -1:
    global _looks
    cdef size_t i
    _looks += 1
    PyErr_CheckSignals()
    if reporter.function is not None:
        totals = np.empty(reporter.count)
        for i in range(reporter.count):
            totals[i] = sums[i]
        reporter.function(steps_done, totals)
    return 0
