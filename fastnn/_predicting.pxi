"""What calls of a predictor share: how x is read, where results go, and the call itself. Part of predictor.pyx."""

cdef struct _Call:  # the rows of a call, and where its results go
    int axes  # of the caller's x: 1 for one row
    size_t rows
    const void *x
    ptrdiff_t x_stride
    const void *u
    size_t output
    void *y
    void *gradient  # NULL, and so are those below: the outputs alone are wanted
    void *jacobian
    const void *v  # NULL: `product` is of all unit vectors, a Hessian
    void *tangent
    void *product


cdef _Call _call_for(Predictor self, cnp.ndarray rows) noexcept:
    cdef _Call call
    call.axes = cnp.PyArray_NDIM(rows)
    call.rows = 1 if call.axes == 1 else <size_t>cnp.PyArray_DIM(rows, 0)
    call.x = cnp.PyArray_DATA(rows)
    call.x_stride = self._inputs if call.axes == 1 else cnp.PyArray_STRIDE(rows, 0) // self._itemsize
    call.u = call.v = NULL
    call.y = call.gradient = call.jacobian = call.tangent = call.product = NULL
    call.output = 0
    return call


cdef int _run(const fnn_frozen *frozen, const _Call *call, const fnn_progress *progress) noexcept nogil:
    if call.jacobian != NULL:
        return frozen.jacobian_watched(frozen, call.x, call.x_stride, call.rows, call.y, call.jacobian, progress)
    if call.tangent != NULL:
        return frozen.jvp_watched(frozen, call.x, call.x_stride, call.rows, call.v, call.y, call.tangent, progress)
    if call.product != NULL:
        return frozen.hvp_watched(frozen, call.x, call.x_stride, call.rows, call.v, call.u, call.output, call.y,
                                  call.product, progress)
    if call.gradient == NULL:
        return frozen.run_watched(frozen, call.x, call.x_stride, call.rows, call.y, progress)
    return frozen.vjp_watched(frozen, call.x, call.x_stride, call.rows, call.u, call.output, call.y, call.gradient,
                              progress)


cdef int _make(Predictor self, const _Call *call, double row_work) except -1:
    """Make the call; a long one lets go of Python's lock, and ends where a signal raises."""
    cdef const fnn_frozen *frozen = <const fnn_frozen *>self._frozen
    cdef int status
    cdef _Reporter reporter
    cdef const fnn_progress *progress
    cdef bint derives = call.gradient != NULL or call.jacobian != NULL or call.tangent != NULL or call.product != NULL
    if derives and frozen.predictor.vjp == NULL:
        raise ValueError(f"derivatives need weights that are not rounded, and these are {self._engine.weights}: freeze "
                         f"the model without weights={self._engine.weights!r} for them")
    if <double>call.rows * row_work < GIL_WORK:
        status = _run(frozen, call, NULL)
    else:
        reporter = _Reporter(None, 0)
        progress = reporter.pointer()
        with nogil:
            status = _run(frozen, call, progress)
        reporter.raise_kept()
    if status:
        raise MemoryError(f"no memory to work on {call.rows} rows")
    return 0


cdef cnp.ndarray _rows(Predictor self, x):
    """Return x itself where it can be read in place, else a copy that can."""
    cdef cnp.ndarray array
    cdef int axes
    if self._reads_raw:  # numbers of the right dtype and shape may be raw data too
        return self._reads(x, self._inputs, self._dtype.name)
    if cnp.PyArray_CheckExact(x) or (isinstance(x, np.ndarray) and not isinstance(x, np.ma.MaskedArray)):
        array = x
        axes = cnp.PyArray_NDIM(array)
        if (axes == 1 or axes == 2) and cnp.PyArray_TYPE(array) == self._typenum \
                and cnp.PyArray_DIM(array, axes - 1) == self._inputs and cnp.PyArray_ISALIGNED(array) \
                and cnp.PyArray_ISNOTSWAPPED(array) \
                and (self._inputs == 1 or cnp.PyArray_STRIDE(array, axes - 1) == self._itemsize) \
                and cnp.PyArray_STRIDE(array, 0) % self._itemsize == 0:
            return array
    return self._reads(x, self._inputs, self._dtype.name)


cdef object _by_head(cnp.ndarray result, heads):
    """Return the columns of each head by its name, or the result as it is where there are no heads."""
    cdef Py_ssize_t start = 0
    if heads is None:
        return result
    views = {}
    for name, width in heads.items():
        views[name] = result[..., start:start + width]
        start += width
    return views


cdef cnp.ndarray _result(Predictor self, out, str name, int axes, cnp.npy_intp *shape):
    """Return an array of this shape for a result: `out` where there is one, which is called `name`, else a new one."""
    cdef cnp.ndarray array
    cdef bint fits
    cdef int k
    if out is None:
        return cnp.PyArray_EMPTY(axes, shape, self._typenum, 0)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(out).__name__}")
    array = out
    fits = cnp.PyArray_TYPE(array) == self._typenum and cnp.PyArray_ISNOTSWAPPED(array) \
        and cnp.PyArray_ISCARRAY(array) and cnp.PyArray_NDIM(array) == axes
    for k in range(axes if fits else 0):
        fits = fits and cnp.PyArray_DIM(array, k) == shape[k]
    if not fits:
        wanted = tuple([shape[k] for k in range(axes)])
        raise ValueError(f"{name} must be a writable, C-contiguous {self._dtype} array of shape {wanted}, got "
                         f"{out.dtype} of shape {out.shape}")
    return array


cdef tuple _outs(out, str names):
    """Return the two arrays of `out`, which are called `names`; None stands for a new one, and for two."""
    if out is None:
        return None, None
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        given = f"{len(out)} of them" if isinstance(out, (tuple, list)) else type(out).__name__
        raise TypeError(f"out must be a tuple ({names}) of two arrays, either of which may be None, got {given}")
    return tuple(out)


cdef size_t _output(Predictor self, output) except? 0:
    cdef int beyond = 0
    cdef long short_way = PyLong_AsLongAndOverflow(output, &beyond) if type(output) is int else -1
    if beyond == 0 and 0 <= short_way < self._outputs:
        return short_way
    try:
        number = operator.index(None if type(output) is bool else output)
    except TypeError:
        raise TypeError(f"output must be the number of an output, got {output!r}") from None
    if not 0 <= number < self._outputs:
        raise ValueError(f"output must lie between 0 and {self._outputs - 1}, as the network has {self._outputs} "
                         f"outputs, got {number}")
    return number


cdef cnp.ndarray _multiplied(Predictor self, u, str name, int axes, cnp.npy_intp *shape):
    """Return u, which is called `name`, as a contiguous array of this shape: u itself where it is one."""
    cdef cnp.ndarray array
    cdef int k
    if cnp.PyArray_CheckExact(u):
        array = u
        if cnp.PyArray_TYPE(array) == self._typenum and cnp.PyArray_ISCARRAY_RO(array) \
                and cnp.PyArray_NDIM(array) == axes and cnp.PyArray_DIM(array, 0) == shape[0] \
                and cnp.PyArray_DIM(array, axes - 1) == shape[axes - 1]:
            return array
    wanted = tuple([shape[k] for k in range(axes)])
    if name == "v":
        return of_shape(u, name, wanted, self._dtype.name)
    return cotangent(u, wanted, self._heads, self._dtype.name)


cdef int _check_all_apart(cnp.ndarray rows, cnp.ndarray other, str name, cnp.ndarray first,
                          cnp.ndarray second) except -1:
    """Raise where a result may be written over what is still to be read, or over the other one; `first` may be None."""
    _check_apart(rows, "x", second, "out[1]")
    _check_apart(other, name, second, "out[1]")
    if first is not None:
        _check_apart(rows, "x", first, "out[0]")
        _check_apart(other, name, first, "out[0]")
        _check_apart(first, "out[0]", second, "out[1]")
    return 0


cdef int _check_apart(cnp.ndarray rows, str name, cnp.ndarray out, str out_name) except -1:
    """Raise where the result might be written over rows still to be read: between the first and the last of these."""
    cdef const char *first = cnp.PyArray_BYTES(rows)
    cdef const char *last = first
    cdef const char *target = cnp.PyArray_BYTES(out)
    cdef cnp.npy_intp reach
    cdef int k
    if cnp.PyArray_SIZE(rows) == 0:
        return 0
    for k in range(cnp.PyArray_NDIM(rows)):
        reach = (cnp.PyArray_DIM(rows, k) - 1) * cnp.PyArray_STRIDE(rows, k)
        if reach < 0:
            first += reach
        else:
            last += reach
    if target < last + cnp.PyArray_ITEMSIZE(rows) and first < target + cnp.PyArray_NBYTES(out):
        raise ValueError(f"{out_name} must not share memory with {name}: pass a copy of one of them")
    return 0
