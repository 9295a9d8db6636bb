# Losses and metrics that are Python, called in the middle of a step. Part of _engine.pyx.

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals

from fastnn._c cimport fnn_batch, fnn_functions


cdef class _Caller(_Called):
    """Shows each batch of a run to the functions of a model."""

    cdef Lock lock
    cdef object functions, y, weights, order, sums, memory
    cdef int typenum
    cdef size_t outputs, heads
    cdef fnn_functions pointer

    def __cinit__(self, functions, Lock lock, y, weights, order, sums):
        self.lock = lock
        self.functions, self.y, self.weights, self.order, self.sums = functions, y, weights, order, sums
        self.memory = None
        self.pointer.function = _call
        self.pointer.context = <void *>self


cdef cnp.ndarray _window(object memory, int typenum, const void *data, size_t rows, size_t stride):
    """Return rows of `memory` as an array, which keeps the memory alive."""
    cdef cnp.npy_intp[2] shape
    shape[0], shape[1] = rows, stride
    cdef cnp.ndarray array = cnp.PyArray_SimpleNewFromData(2, shape, typenum, <void *>data)
    cnp.set_array_base(array, memory)
    return array


ctypedef int (*_unchecked_call)(_Caller, const fnn_batch *) noexcept


cdef int _call(void *context, const fnn_batch *batch) noexcept nogil:
    with gil:
        return (<_Caller>context).keep((<_unchecked_call><void *>_show)(<_Caller>context, batch))


cdef int _show(_Caller caller, const fnn_batch *batch) except -1:
    cdef size_t end = batch.start + batch.rows
    memory, order = caller.memory, caller.order
    PyErr_CheckSignals()
    output = _window(memory, caller.typenum, batch.output, batch.rows, batch.stride)[:, :caller.outputs]
    gradient = None
    if batch.gradient != NULL:
        gradient = _window(memory, caller.typenum, batch.gradient, batch.rows, batch.stride)[:, :caller.outputs]
    losses = _window(memory, cnp.NPY_FLOAT64, batch.row_losses, caller.heads, batch.row_stride)[:, :batch.rows]
    divisors = _window(memory, cnp.NPY_FLOAT64, batch.divisors, 1, caller.heads)[0]
    rows = slice(batch.start, end) if order is None else order[batch.start:end]
    caller.lock.lend()
    try:
        caller.functions(caller.y, caller.weights, rows, output, gradient, losses, divisors, caller.sums)
    finally:
        caller.lock.take_back()
    return 0
