"""For Cython code that embeds a network: cimport Predictor from fastnn.predictor and call run or run_double."""

cdef class Predictor:
    cdef const void *_frozen
    cdef object _engine, _dtype, _reads, _heads, _report, __weakref__
    cdef Py_ssize_t _inputs, _outputs
    cdef int _typenum, _itemsize
    cdef double _row_work
    cdef bint _reads_raw
    # y = network(x) for `rows` contiguous rows; without the GIL, from any number of threads. The first is for float32
    # models, the second for float64. 0; 1 when out of memory, 2 when the model is of the other type.
    cdef int run(self, const float *x, float *y, size_t rows) noexcept nogil
    cdef int run_double(self, const double *x, double *y, size_t rows) noexcept nogil
