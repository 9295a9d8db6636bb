# What the arrays of a call must look like, and where they go. Part of _engine.pyx.

import numpy as np

from fastnn._sparse_rows import SparseRows
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from fastnn._c cimport fnn_data


cdef class _Form:
    """The sizes and the type of a model's arrays."""

    cdef readonly size_t inputs, outputs, target_columns, label_columns, heads
    cdef readonly int typenum
    cdef readonly object dtype
    cdef readonly bint takes_sparse

    def __init__(self, plan, bint takes_sparse):
        self.dtype = np.dtype(plan.dtype)
        self.typenum = self.dtype.num
        self.inputs, self.outputs = plan.inputs, plan.outputs
        self.takes_sparse = takes_sparse

    def __reduce__(self):
        raise TypeError("the form of an engine's arrays cannot be pickled")

    cdef int set_heads(self, heads) except -1:
        cdef size_t labels = sum(not head.target_columns for head in heads)
        cdef size_t targets = sum(head.target_columns for head in heads)
        self.heads, self.label_columns, self.target_columns = len(heads), labels, targets
        return 0

    cdef bint reads(self, array, cnp.npy_intp columns, bint check_finite):
        """Return whether an array is as :meth:`check` wants it; see :meth:`Engine.reads`."""
        cdef cnp.ndarray rows
        if not cnp.PyArray_CheckExact(array):
            return False
        rows = array
        if cnp.PyArray_NDIM(rows) != 2 or cnp.PyArray_TYPE(rows) != self.typenum or not cnp.PyArray_ISCARRAY_RO(rows) \
                or cnp.PyArray_DIM(rows, 1) != columns or not 0 < cnp.PyArray_SIZE(rows) <= _LONG:
            return False
        return not check_finite or _are_finite(rows)

    cdef int check(self, x, y, weights, order, fnn_data *data) except -1:
        cdef cnp.ndarray xs, indices
        cdef const int64_t *index
        cdef size_t i
        memset(data, 0, sizeof(fnn_data))
        if isinstance(x, SparseRows):
            self._check_sparse(x, data)
        elif not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a NumPy array, got {type(x).__name__}")
        else:
            xs = x
            _check_matrix(xs, "x", self.typenum, self.inputs)
            data.x = _data(xs)
            data.x_stride = cnp.PyArray_STRIDE(xs, 0) // cnp.PyArray_ITEMSIZE(xs)
            data.rows = cnp.PyArray_DIM(xs, 0)
        cdef size_t available = data.rows
        data.available = available
        if y is not None:
            self._check_targets(y, available, data)
        if weights is not None:
            self._check_weights(weights, available, data)
        if order is not None:
            if not cnp.PyArray_CheckExact(order) or cnp.PyArray_NDIM(order) != 1 \
                    or cnp.PyArray_TYPE(order) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(order):
                raise TypeError("order must be a contiguous int64 array")
            indices = order
            index = <const int64_t *>_data(indices)
            data.rows = indices.shape[0]
            for i in range(data.rows):
                if index[i] < 0 or <size_t>index[i] >= available:
                    raise IndexError(f"order[{i}] is {index[i]}, outside the {available} rows of x")
            data.order = index
        return 0

    cdef int _check_targets(self, y, size_t available, fnn_data *data) except -1:
        """Check targets of the heads that have targets, and labels of the other heads, and note where they lie."""
        cdef cnp.ndarray values
        cdef bint both = self.target_columns > 0 and self.label_columns > 0
        parts = y if both else (None, y) if self.label_columns else (y, None)
        if not isinstance(parts, tuple) or len(parts) != 2:
            raise TypeError("y must be a pair (targets, labels)")
        for part in parts:
            if part is not None and not isinstance(part, np.ndarray):
                raise TypeError(f"y must be a NumPy array, got {type(part).__name__}")
            if part is not None and <size_t>len(part) != available:
                raise ValueError(f"x and y must have the same number of rows, got {available} and {len(part)}")
        if parts[0] is not None:
            values = parts[0]
            _check_matrix(values, "y", self.typenum, self.target_columns)
            data.targets = _data(values)
            data.target_stride = cnp.PyArray_STRIDE(values, 0) // cnp.PyArray_ITEMSIZE(values)
        if parts[1] is not None:
            values = parts[1]
            if cnp.PyArray_TYPE(values) != cnp.NPY_INT32 or not cnp.PyArray_IS_C_CONTIGUOUS(values) \
                    or cnp.PyArray_SIZE(values) != <cnp.npy_intp>(available * self.label_columns):
                raise TypeError("y must be a contiguous int32 array of labels, one a row for each head that has them")
            data.labels = <const int32_t *>_data(values)
            data.label_stride = self.label_columns
        return 0

    cdef int _check_weights(self, weights, size_t available, fnn_data *data) except -1:
        if not isinstance(weights, np.ndarray):
            raise TypeError(f"weights must be a NumPy array, got {type(weights).__name__}")
        cdef cnp.ndarray values = weights if weights.ndim == 2 else weights.reshape(-1, 1)
        cdef size_t columns = cnp.PyArray_DIM(values, 1)
        if <size_t>cnp.PyArray_DIM(values, 0) != available or (columns != 1 and columns != self.heads):
            raise ValueError(f"weights must have shape ({available},) or ({available}, {self.heads}), got "
                             f"{_shape(weights)}")
        _check_matrix(values, "weights", self.typenum, columns)
        data.weights, data.weight_columns = _data(values), columns
        data.weight_stride = cnp.PyArray_STRIDE(values, 0) // cnp.PyArray_ITEMSIZE(values)
        return 0

    cdef int _check_sparse(self, x, fnn_data *data) except -1:
        if not self.takes_sparse:
            raise ValueError("x is sparse, which needs a Dense first layer")
        if x.features != self.inputs or x.dtype != self.dtype:
            raise ValueError(f"x must have {self.inputs} features of {self.dtype}, got {x.features} of {x.dtype}")
        data.rows = len(x)
        data.starts = <const int64_t *>_data(x.starts)
        data.columns = <const int32_t *>_data(x.columns)
        data.values = _data(x.values)
        return 0
