"""Frozen models, which answer for a row in the shortest way."""

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stddef cimport size_t

cnp.import_array()


include "_progress.pxi"

cdef extern from "fastnn_predictor.h" nogil:
    ctypedef struct fnn_predictor:
        int (*run)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y) \
            noexcept nogil
        int (*run_watched)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y,
                           const void *progress) noexcept nogil
        size_t inputs, outputs

cdef enum:
    # From this many multiply-adds on, five to ten microseconds on one thread, a call lets go of Python's lock. Letting
    # go and taking the lock back costs about 0.1 microseconds, and more when another thread took it meanwhile: too much
    # for a row of a small network, and little beside a call that others would wait for.
    GIL_WORK = 150_000


def get_include():
    """Return the folder of ``fastnn_predictor.h``, for C code that runs a predictor by :attr:`Predictor.address`."""
    from pathlib import Path

    return str(Path(__file__).parent / "include")


cdef class Predictor:
    """A frozen model: it cannot change, and answers without locks from any number of threads at once.

    Made by ``model.freeze()``, which copies the weights; the model may go on training. Results are those of
    ``model.predict``, bit for bit. What a row holds is not looked at: a number that is no category, for which
    ``predict`` raises, makes the answer NaN.

    Parameters
    ----------
    engine : fastnn._engine.Engine
        The engine that ``model.freeze()`` passes.
    reads, heads : optional
        What ``model.freeze()`` passes: how x is read, and the names of the outputs, where they have names.

    Attributes
    ----------
    inputs, outputs : int
        The numbers of features of a row, and of its answer.
    dtype : numpy.dtype
        float32 or float64; an array of this dtype with contiguous rows is used without a copy.
    address : int
        The address of the ``fnn_predictor`` struct (``fastnn_predictor.h`` in
        :func:`fastnn.predictor.get_include`), valid while this object lives. From Cython, cimport ``Predictor`` from
        ``fastnn.predictor`` and call ``run``. C code passes numbers alone: where a layer reads raw data, those that its
        ``prepare`` gives.

    Examples
    --------
    >>> import fastnn
    >>> predictor = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)]).freeze()
    >>> predictor([[1.0, 2.0]]).shape
    (1, 1)
    """

    def __init__(self, engine, reads=None, heads=None):
        from fastnn._engine import op_traits
        from fastnn.data.arrays import RowReader

        self._engine, capsule = engine.freeze()
        self._frozen = PyCapsule_GetPointer(capsule, "fastnn.fnn_predictor")
        plan = self._engine.plan
        self._dtype = np.dtype(plan.dtype)
        self._typenum, self._itemsize = self._dtype.num, self._dtype.itemsize
        self._inputs, self._outputs = plan.inputs, plan.outputs
        # an op that is no product takes the time of about ten multiply-adds for each output, as in useful_threads
        self._row_work = sum((op.inputs if op_traits(op.name).multiplies else 10) * op.outputs for op in plan.ops)
        self._reads, self._heads = RowReader() if reads is None else reads, heads
        self._reads_raw = bool(self._reads.prepare)

    @property
    def inputs(self):
        """The number of features of a row."""
        return self._inputs

    @property
    def outputs(self):
        """The number of features of an answer."""
        return self._outputs

    @property
    def dtype(self):
        """The element type, float32 or float64."""
        return self._dtype

    @property
    def address(self):
        """The address of the C struct."""
        return <size_t>self._frozen

    def __repr__(self):
        return f"<Predictor: {self._inputs} -> {self._outputs}, {self._dtype}>"

    def __reduce__(self):
        return _thaw, (self._engine.plan, np.asarray(self._engine.parameters), self._reads, self._heads)

    cdef int run(self, const float *x, float *y, size_t rows) noexcept nogil:
        cdef const fnn_predictor *frozen = <const fnn_predictor *>self._frozen
        if self._typenum != cnp.NPY_FLOAT32:
            return 2
        return frozen.run(frozen, x, self._inputs, rows, y)

    cdef int run_double(self, const double *x, double *y, size_t rows) noexcept nogil:
        cdef const fnn_predictor *frozen = <const fnn_predictor *>self._frozen
        if self._typenum != cnp.NPY_FLOAT64:
            return 2
        return frozen.run(frozen, x, self._inputs, rows, y)

    def __call__(self, x, out=None):
        """Return the network's outputs.

        Parameters
        ----------
        x : array-like, shape (rows, features), (features,), or (rows,) of one feature
            For a model with branches a dict of arrays or a data frame; a dict of scalars counts as shape (features,).
            The columns of other frames go by the model's ``feature_names``. Raw data where a layer reads such.
        out : ndarray, optional
            An array of this predictor's dtype, C-contiguous, shape (rows, outputs) or (outputs,), which takes the
            result, so that nothing is allocated. Its memory must not reach into the memory of x.

        Returns
        -------
        ndarray
            `out`, or a new array; for a model with heads a dict of views of that array by name.

        Raises
        ------
        TypeError, ValueError
            When x or out cannot be used; the message is one sentence.
        """
        cdef const fnn_predictor *frozen = <const fnn_predictor *>self._frozen
        cdef cnp.ndarray rows = _rows(self, x), result
        cdef int axes = cnp.PyArray_NDIM(rows), status
        cdef cnp.npy_intp shape[2]
        cdef size_t count = 1 if axes == 1 else <size_t>cnp.PyArray_DIM(rows, 0)
        cdef ptrdiff_t stride = self._inputs if axes == 1 else cnp.PyArray_STRIDE(rows, 0) // self._itemsize
        shape[0], shape[axes - 1] = count, self._outputs
        if out is None:
            result = cnp.PyArray_EMPTY(axes, shape, self._typenum, 0)
        else:
            result = _check_out(self, out, axes, shape)
            _check_apart(rows, result)
        cdef const void *source = cnp.PyArray_DATA(rows)
        cdef void *target = cnp.PyArray_DATA(result)
        cdef _Reporter reporter
        cdef const fnn_progress *progress
        if <double>count * self._row_work < GIL_WORK:
            status = frozen.run(frozen, source, stride, count, target)
        else:
            reporter = _Reporter(None, 0)
            progress = reporter.pointer()
            with nogil:
                status = frozen.run_watched(frozen, source, stride, count, target, progress)
            reporter.raise_kept()
        if status:
            raise MemoryError(f"no memory to work on {count} rows")
        return result if self._heads is None else _by_head(result, self._heads)


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


cdef dict _by_head(cnp.ndarray result, heads):
    cdef Py_ssize_t start = 0
    views = {}
    for name, width in heads.items():
        views[name] = result[..., start:start + width]
        start += width
    return views


cdef cnp.ndarray _check_out(Predictor self, out, int axes, cnp.npy_intp *shape):
    cdef cnp.ndarray array
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, got {type(out).__name__}")
    array = out
    if cnp.PyArray_TYPE(array) != self._typenum or not cnp.PyArray_ISNOTSWAPPED(array) \
            or not cnp.PyArray_ISCARRAY(array) or cnp.PyArray_NDIM(array) != axes \
            or cnp.PyArray_DIM(array, 0) != shape[0] or cnp.PyArray_DIM(array, axes - 1) != self._outputs:
        wanted = (shape[0], shape[1])[:axes]
        raise ValueError(f"out must be a writable, C-contiguous {self._dtype} array of shape {wanted}, got "
                         f"{out.dtype} of shape {out.shape}")
    return array


cdef int _check_apart(cnp.ndarray rows, cnp.ndarray out) except -1:
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
        raise ValueError("out must not share memory with x: pass a copy of one of them")
    return 0


def _thaw(plan, parameters, reads=None, heads=None):
    from fastnn._engine import Engine

    engine = Engine(plan)
    engine.parameters[:] = parameters
    return Predictor(engine, reads, heads)
