# Arrays on their way to C: aligned memory, checks, and the kernels that look at arrays alone. Part of _engine.pyx.

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memmove, memset

from fastnn._c cimport (
    FNN_ALIGNMENT, FNN_PADDING, FNN_SPARSE_COLUMN, FNN_SPARSE_STARTS, FNN_SPARSE_UNSORTED, FNN_STOPPED, fnn_all_finite,
    fnn_beta, fnn_check_sparse, fnn_epoch_order, fnn_multiply_blas_f32, fnn_multiply_blas_f64, fnn_product_f32,
    fnn_product_f64,
    fnn_progress,
)


def aligned_zeros(size_t size, dtype):
    """Return a zero-filled array of `size` elements that starts on a cache line, with readable padding behind it."""
    dtype = np.dtype(dtype)
    cdef int typenum = dtype.num
    cdef size_t item = dtype.itemsize
    if size > (<size_t>-1) // 32 - FNN_PADDING:
        raise MemoryError(f"an array of {size} elements cannot be addressed")
    cdef cnp.npy_intp bytes_of_all = (size + FNN_PADDING) * item + FNN_ALIGNMENT, count = size
    cdef cnp.ndarray raw = cnp.PyArray_ZEROS(1, &bytes_of_all, cnp.NPY_UINT8, 0)
    cdef char *start = cnp.PyArray_BYTES(raw)
    start += -<size_t>start % FNN_ALIGNMENT
    cdef cnp.ndarray array = cnp.PyArray_SimpleNewFromData(1, &count, typenum, start)
    cnp.set_array_base(array, raw)
    return array


def fill_all(list targets not None, list sources not None):
    """Copy each source into the target at its place, an array like it: all or none, as copying needs no memory."""
    cdef Py_ssize_t k, count = len(targets)
    cdef cnp.ndarray target, source
    if len(sources) != count:
        raise ValueError(f"there must be as many sources as targets, got {len(sources)} and {count}")
    for k in range(count):
        target, source = targets[k], sources[k]
        if cnp.PyArray_NBYTES(target) != cnp.PyArray_NBYTES(source) or target.dtype != source.dtype \
                or not cnp.PyArray_ISCARRAY(target) or not cnp.PyArray_ISCARRAY_RO(source):
            raise ValueError(f"sources[{k}] must be C-contiguous and like targets[{k}], which must be writable")
    for k in range(count):
        target, source = <cnp.ndarray>targets[k], <cnp.ndarray>sources[k]
        memmove(_data(target), _data(source), cnp.PyArray_NBYTES(target))


cdef inline void *_data(cnp.ndarray array) noexcept:
    return cnp.PyArray_DATA(array)


cdef int _check_matrix(cnp.ndarray array, str name, int typenum, cnp.npy_intp columns) except -1:
    if cnp.PyArray_NDIM(array) != 2 or cnp.PyArray_DIM(array, 1) != columns:
        raise ValueError(f"{name} must have shape (rows, {columns}), got {_shape(array)}")
    if cnp.PyArray_TYPE(array) != typenum:
        raise TypeError(f"{name} must be {np.dtype(cnp.PyArray_DescrFromType(typenum))}, got {array.dtype}")
    cdef cnp.npy_intp item = cnp.PyArray_ITEMSIZE(array)
    cdef bint apart = cnp.PyArray_SIZE(array) > 0 and columns > 1 and cnp.PyArray_STRIDE(array, 1) != item
    if not cnp.PyArray_ISALIGNED(array) or not cnp.PyArray_ISNOTSWAPPED(array) or apart \
            or cnp.PyArray_STRIDE(array, 0) % item:
        raise ValueError(f"{name} must have contiguous, aligned rows in native byte order")
    return 0


cdef tuple _shape(cnp.ndarray array):
    return (<object>array).shape


def all_finite(cnp.ndarray x not None):
    """Return whether a float32 or float64 array of one or two axes, with contiguous rows, has only finite numbers."""
    if x.ndim == 1:
        x = x[None, :]
    if x.dtype != np.float32 and x.dtype != np.float64:
        raise TypeError(f"x must be float32 or float64, got {x.dtype}")
    _check_matrix(x, "x", cnp.PyArray_TYPE(x), cnp.PyArray_DIM(x, 1))
    return _are_finite(x)


cdef int _are_finite(cnp.ndarray x) except -1:
    """Return whether rows that _check_matrix lets pass have only finite numbers."""
    cdef int is_double = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT64
    cdef ptrdiff_t stride = cnp.PyArray_STRIDE(x, 0) // cnp.PyArray_ITEMSIZE(x)
    cdef size_t rows = cnp.PyArray_DIM(x, 0), columns = cnp.PyArray_DIM(x, 1)
    cdef void *data = _data(x)
    cdef int threads = _threads, status
    cdef _Reporter reporter = None
    cdef const fnn_progress *progress = NULL
    if rows > 1 and <size_t>stride == columns:  # contiguous rows are one long row, which takes the wide path
        if rows * columns <= 4096:
            columns, rows = rows * columns, 1
    if <double>rows * columns > _LONG:
        reporter = _Reporter(None, 0)
        progress = reporter.pointer()
    with nogil:
        status = fnn_all_finite(_kernels, is_double, data, stride, rows, columns, threads, progress)
    if status == FNN_STOPPED:
        reporter.raise_kept()
    return status == 0


ctypedef fused _number_type:
    float
    double
    int32_t
    int64_t


cdef bint _are_within(const _number_type *x, size_t count, _number_type low, _number_type high) noexcept nogil:
    cdef size_t i
    cdef bint outside = False
    for i in range(count):
        outside |= (x[i] < low) | (x[i] > high)
    return not outside


def are_within(cnp.ndarray x not None, int64_t low, int64_t high):
    """Return whether no number of an array is below `low` or above `high`, as no NaN is.

    False as well for an array that is not contiguous, or of another type than float32, float64, int32 and int64: who
    asks looks closer then.
    """
    cdef size_t count = cnp.PyArray_SIZE(x)
    cdef int typenum = cnp.PyArray_TYPE(x)
    cdef void *data = _data(x)
    if not cnp.PyArray_ISCARRAY_RO(x):
        return False
    if typenum == cnp.NPY_FLOAT32:
        return _are_within(<const float *>data, count, low, high)
    if typenum == cnp.NPY_FLOAT64:
        return _are_within(<const double *>data, count, low, high)
    if typenum == cnp.NPY_INT32:
        return _are_within(<const int32_t *>data, count, <int32_t>max(low, -2**31), <int32_t>min(high, 2**31 - 1))
    if typenum == cnp.NPY_INT64:
        return _are_within(<const int64_t *>data, count, low, high)
    return False


SPARSE_UNSORTED, SPARSE_STARTS, SPARSE_COLUMN = FNN_SPARSE_UNSORTED, FNN_SPARSE_STARTS, FNN_SPARSE_COLUMN


def check_sparse(cnp.ndarray starts not None, cnp.ndarray columns not None, size_t features):
    """Return what is wrong with a sparse matrix: SPARSE_STARTS, SPARSE_COLUMN, SPARSE_UNSORTED; 0 where nothing is.

    `starts`, int64, says where the entries of each row begin, and where the last row's end; `columns` is int32.
    """
    if starts.ndim != 1 or columns.ndim != 1 or starts.dtype != np.int64 or columns.dtype != np.int32 \
            or not starts.flags.c_contiguous or not columns.flags.c_contiguous or len(starts) < 1:
        raise ValueError("starts must be an int64 and columns an int32 array, one-dimensional and contiguous")
    cdef const int64_t *first = <const int64_t *>_data(starts)
    cdef const int32_t *column = <const int32_t *>_data(columns)
    cdef size_t rows = cnp.PyArray_DIM(starts, 0) - 1, entries = cnp.PyArray_DIM(columns, 0)
    cdef int form
    with nogil:
        form = fnn_check_sparse(first, column, rows, entries, features)
    return form


def epoch_order(size_t rows, uint64_t seed, uint64_t epoch):
    """Return the order of rows in a shuffled epoch, which depends on nothing but these three numbers."""
    cdef cnp.npy_intp count = rows
    cdef cnp.ndarray order = cnp.PyArray_EMPTY(1, &count, cnp.NPY_INT64, 0)
    cdef int64_t *places = <int64_t *>_data(order)
    with nogil:
        fnn_epoch_order(seed, epoch, rows, places)
    return order


def beta(uint64_t seed, uint64_t step, double alpha):
    """Return a number of the distribution Beta(alpha, alpha), which depends on nothing but these three numbers."""
    return fnn_beta(seed, step, alpha)


cdef int _check_product(cnp.ndarray a, cnp.ndarray b, cnp.ndarray c, cnp.ndarray bias, bint by_depth, bint transposed) \
        except -1:
    """The operands of _packed_product are of one element type and fit together."""
    cdef int typenum = cnp.PyArray_TYPE(c)
    cdef size_t rows = c.shape[0], columns = c.shape[1], depth = a.shape[0] if by_depth else a.shape[1]
    if a.dtype not in ("f4", "f8"):
        raise ValueError(f"a must be float32 or float64, got {a.dtype}")
    _check_matrix(a, "a", typenum, rows if by_depth else depth)
    _check_matrix(b, "b", typenum, depth if transposed else columns)
    _check_matrix(c, "c", typenum, columns)
    if <size_t>b.shape[0] != (columns if transposed else depth):
        raise ValueError("a, b and c must fit together")
    if bias is not None and (bias.dtype != c.dtype or not bias.flags.c_contiguous or <size_t>bias.shape[0] != columns):
        raise ValueError("bias must be like a row of c")
    return 0


cdef int _multiply_single(const fnn_product_f32 *product, float *scratch, bint bf16, bint unit, size_t blas) except -1:
    """One product of float32 in one of its ways."""
    cdef bint enters = (bf16 or unit) and _kernels.bf16.enter_unit != NULL
    if enters and not _allows_unit():
        raise RuntimeError(_REFUSED)
    if enters:
        _kernels.bf16.enter_unit()
    if blas:
        fnn_multiply_blas_f32(_find_blas(), product, scratch, 64, blas)
    elif unit:
        _kernels.bf16.multiply_unit(product, scratch)
    elif bf16:
        _kernels.bf16.multiply_rounded(product, scratch)
    else:
        _kernels.f32.multiply_packed(product, scratch)
    if enters:
        _kernels.bf16.leave_unit()
    return 0


def _packed_product(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray c not None, *, bint by_depth=False,
                    bint transposed=False, cnp.ndarray bias=None, bint relu=False, bint bf16=False, bint unit=False,
                    size_t blas=0, bint even=True, row_range=None, column_range=None, depth_range=None):
    """One call of the kernel multiply_packed, multiply_rounded or multiply_unit, or of fnn_multiply_blas with rows,
    columns and depths of up to `blas` a call, for tests: c = f(bias + A @ B) in the ranges.

    A is `a` (rows, depth), or `a.T` by depth; B is `b` (depth, columns), or `b.T` transposed; c (rows, columns) is
    written in row_range and column_range, pairs of first and end, alone; of the depth depth_range is summed. Where not
    `even`, the rows of a lie in memory the other way round, and there is room to copy 64 elements of them for BLAS.
    """
    cdef size_t top, bottom, left, right, front, back
    top, bottom = (0, c.shape[0]) if row_range is None else row_range
    left, right = (0, c.shape[1]) if column_range is None else column_range
    front, back = (0, a.shape[0 if by_depth else 1]) if depth_range is None else depth_range
    cdef bint is_double = cnp.PyArray_TYPE(c) == cnp.NPY_FLOAT64
    if not (top <= bottom <= <size_t>c.shape[0] and left <= right <= <size_t>c.shape[1]
            and front <= back <= <size_t>a.shape[0 if by_depth else 1]):
        raise ValueError("ranges must lie within c and the depth")
    if (bf16 or unit) and is_double or unit and _kernels.bf16.multiply_unit == NULL:
        raise ValueError("bf16 and unit are for float32, and unit for processors that have one")
    _check_product(a, b, c, bias, by_depth, transposed)

    cdef cnp.ndarray held = a if even else np.ascontiguousarray(a[::-1])
    cdef cnp.ndarray pointers = held.ctypes.data + held.strides[0] * np.arange(a.shape[0], dtype=np.uintp)
    if not even:
        pointers = np.ascontiguousarray(pointers[::-1])
    cdef cnp.ndarray scratch = aligned_zeros(_kernels.f64.packed_scratch if is_double else _kernels.bf16.packed_scratch,
                                             c.dtype)
    cdef size_t item = c.itemsize, b_stride = b.strides[0] // item, c_stride = c.strides[0] // item
    cdef char *b_data = <char *>_data(b) + (left * b_stride + front if transposed else front * b_stride + left) * item
    cdef fnn_product_f32 product  # of either type: they differ in what the pointers point to
    memset(&product, 0, sizeof(product))
    product.a = <const float *const *>(<void **>_data(pointers) + (front if by_depth else top))
    product.by_depth, product.first = by_depth, top if by_depth else front
    product.b, product.b_stride, product.transposed = <const float *>b_data, b_stride, transposed
    product.bias = NULL if bias is None else <const float *>(<char *>_data(bias) + left * item)
    product.relu = relu
    product.c, product.c_stride = <float *>(<char *>_data(c) + (top * c_stride + left) * item), c_stride
    product.rows, product.depth, product.columns = bottom - top, back - front, right - left
    if not is_double:
        _multiply_single(&product, <float *>_data(scratch), bf16, unit, blas)
    elif blas:
        fnn_multiply_blas_f64(_find_blas(), <const fnn_product_f64 *>&product, <double *>_data(scratch), 64, blas)
    else:
        _kernels.f64.multiply_packed(<const fnn_product_f64 *>&product, <double *>_data(scratch))
