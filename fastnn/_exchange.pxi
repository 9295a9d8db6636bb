# One training that several processes share: the sums over their rows. Part of _engine.pyx.

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals

from fastnn._c cimport (
    FNN_ALIGNMENT, FNN_COUNTS, FNN_GRADIENTS, FNN_MOMENTS, FNN_MOST_SHARDS, FNN_NODES, FNN_PARAMETERS, fnn_add_arrays,
    fnn_exchange, fnn_list_nodes, fnn_node, fnn_stores_gradients,
)


cdef int _check_shards(size_t shards, size_t first, size_t count) except -1:
    if not 0 < shards <= FNN_MOST_SHARDS:
        raise ValueError(f"shards must be from 1 to {FNN_MOST_SHARDS}, got {shards}")
    if count < 1 or shards % count or first % count or first >= shards:
        raise ValueError(f"first and count must be those of one of equal blocks of the {shards} shards, got {first} "
                         f"and {count}")
    return 0


def tree_nodes(size_t shards, size_t first, size_t count):
    """Return the nodes of the tree of sums that a process adds up which has `count` shards from `first` on.

    Parameters
    ----------
    shards : int
        The shards of a batch. Node (a, b), the sum over the shards a ... b - 1, is node (a, m) + node (m, b) with
        m = (a + b) // 2.
    first, count : int
        Those of the process.

    Returns
    -------
    list of tuple of int
        The largest nodes that lie within these shards, in order.

    Raises
    ------
    ValueError
        If the shards are no whole block, as one of several processes with equally many shards has it.

    Examples
    --------
    >>> from fastnn._engine import tree_nodes
    >>> tree_nodes(8, 4, 4), tree_nodes(12, 4, 4)
    ([(4, 8)], [(4, 6), (6, 7), (7, 8)])
    """
    cdef fnn_node[FNN_NODES] nodes
    cdef size_t k
    _check_shards(shards, first, count)
    found = []
    for k in range(fnn_list_nodes(shards, first, count, nodes)):
        found.append((nodes[k].first, nodes[k].end))
    return found


def share_of(size_t size, size_t rank, size_t ranks, size_t itemsize):
    """Return where the share of one of several processes begins and ends among the elements of a flat buffer.

    Parameters
    ----------
    size : int
        Elements of the buffer.
    rank, ranks : int
        The number of the process, and how many there are.
    itemsize : int
        Bytes of an element, by which shares begin on cache lines of 64 bytes.

    Returns
    -------
    tuple of int
        The first element, and the one after the last.

    Examples
    --------
    >>> from fastnn._engine import share_of
    >>> share_of(1000, 0, 2, 4), share_of(1000, 1, 2, 4)
    ((0, 496), (496, 1000))
    """
    if not rank < ranks or itemsize < 1 or itemsize > FNN_ALIGNMENT:
        raise ValueError(f"rank must be below ranks, and itemsize from 1 to {FNN_ALIGNMENT}, got {rank}, {ranks} and "
                         f"{itemsize}")
    line = FNN_ALIGNMENT // itemsize
    whole = [int(size) * (int(rank) + k) // int(ranks) // line * line for k in range(2)]
    return whole[0], size if rank + 1 == ranks else whole[1]


def add(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray out not None):
    """Write a + b to `out` on all threads, as sums within a process are computed: denormal numbers count as zero.

    Parameters
    ----------
    a, b, out : ndarray of float32 or float64, shape (n,)
        Contiguous, of one type; `out` may be one of the others.

    Raises
    ------
    ValueError
        If the arrays are not alike, or `out` cannot be written to.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn._engine import add
    >>> total = np.ones(3); add(total, np.arange(3.0), total); total
    array([1., 2., 3.])
    """
    cdef size_t n = cnp.PyArray_SIZE(out)
    cdef int typenum = cnp.PyArray_TYPE(out), threads = _threads
    cdef bint is_double = typenum == cnp.NPY_FLOAT64
    cdef cnp.ndarray array
    for array in (a, b, out):
        if cnp.PyArray_NDIM(array) != 1 or <size_t>cnp.PyArray_SIZE(array) != n \
                or cnp.PyArray_TYPE(array) != typenum or not cnp.PyArray_ISCARRAY_RO(array) \
                or not (is_double or typenum == cnp.NPY_FLOAT32):
            raise ValueError("a, b and out must be contiguous float32 or float64 arrays of one type and length with "
                             f"one axis, got {array.dtype} of shape {_shape(array)}")
    if not cnp.PyArray_ISWRITEABLE(out):
        raise ValueError("out must be writable")
    cdef const void *left = _data(a)
    cdef const void *right = _data(b)
    cdef void *to = _data(out)
    with nogil:
        fnn_add_arrays(_kernels, is_double, left, right, to, n, threads)


cdef class _Exchange(_Called):
    """The part of this process in a training that several share; asks the caller's object for what others have."""

    cdef object given, parts
    cdef _Memory engine
    cdef bint shares
    cdef fnn_exchange struct
    cdef fnn_node[FNN_NODES] nodes

    def __cinit__(self, given, _Memory engine not None):
        cdef fnn_exchange *struct = &self.struct
        self.given, self.engine = given, engine
        struct.shards, struct.first, struct.count = given.shards, given.first, given.count
        _check_shards(struct.shards, struct.first, struct.count)
        struct.node_count = fnn_list_nodes(struct.shards, struct.first, struct.count, self.nodes)
        struct.nodes = self.nodes
        struct.sharded = bool(given.sharded)
        if given.moments not in ("batch", "shard"):
            raise ValueError(f"exchange.moments must be 'batch' or 'shard', got {given.moments!r}")
        struct.whole_moments = given.moments == "batch"
        struct.high = engine.plan.size
        self.shares = struct.shares = given.shares is not None
        if self.shares:
            struct.low, struct.high = share_of(engine.plan.size, *given.shares, engine._form.dtype.itemsize)
        struct.function, struct.context = _exchange, <void *>self

    cdef int take_parts(self) except -1:
        """Make room for the gradients of each node: in the engine's memory for gradients where there is one node."""
        cdef _Memory engine = self.engine
        cdef size_t line = FNN_ALIGNMENT // engine._form.dtype.itemsize, size = engine.plan.size
        self.struct.part_size = (size + line - 1) // line * line
        if self.struct.node_count == 1:
            self.parts = engine.gradients[None]
        else:
            if self.struct.part_size > (<size_t>-1) // 32 // FNN_NODES:
                raise MemoryError(f"gradients of {size} elements for {self.struct.node_count} nodes are too many")
            rows = aligned_zeros(self.struct.node_count * self.struct.part_size, engine._form.dtype)
            self.parts = rows.reshape(self.struct.node_count, self.struct.part_size)[:, :size]
        engine.model.gradients = _data(self.parts)
        return 0


cdef int _exchange(void *context, int what, void *values, size_t size) noexcept nogil:
    with gil:
        return (<_Exchange>context).keep(
            (<_unchecked_exchange><void *>_bring_together)(<_Exchange>context, what, values, size))


ctypedef int (*_unchecked_exchange)(_Exchange, int, void *, size_t) noexcept


cdef int _bring_together(_Exchange exchange, int what, void *values, size_t size) except -1:
    cdef _Memory engine = exchange.engine
    PyErr_CheckSignals()
    if what == FNN_PARAMETERS:
        exchange.given.gather(engine.parameters)
    elif what == FNN_GRADIENTS and exchange.shares:
        exchange.given.share_total(exchange.parts)
    elif what == FNN_GRADIENTS:
        exchange.given.total(exchange.parts)
    else:
        exchange.given.total(_window(engine._workspace, cnp.NPY_FLOAT64, values, exchange.struct.node_count, size))
    return 0


cdef class _SharedTraining(_Training):
    """Steps over batches of which other processes have rows too."""

    cdef object given
    cdef _Exchange exchange

    cdef object perform(self, _Memory engine):
        self.exchange = _Exchange.__new__(_Exchange, self.given, engine)
        self.check_needs(engine)
        engine._take_exchange(&self.exchange.struct)
        try:
            return _Training.perform(self, engine)
        finally:
            engine._take_exchange(NULL)

    cdef int check_needs(self, _Memory engine) except -1:
        """Refuse what needs all rows of a batch, or all parameters, in one process."""
        if self.mixup > 0:
            raise ValueError("mixup cannot be shared out among processes: it mixes rows of the whole batch")
        if engine.functions is not None:
            raise ValueError("losses and metrics that are Python functions cannot be shared out among processes: they "
                             "are shown whole batches")
        return 0

    cdef int cut(self, _Memory engine) except -1:
        """Set the rows of a step, and make room for the sums of each shard."""
        cdef fnn_exchange *struct = &self.exchange.struct
        cdef size_t rows = max(self.data.rows, 1)
        self.run.batch = min(self.batch_size, rows)
        if struct.sharded:
            struct.batch = self.run.batch * (struct.shards // struct.count)
        else:
            struct.batch = self.run.batch
            self.run.batch = min(struct.batch, struct.count * struct.batch // struct.shards + 1)
        self.sums = np.zeros((struct.count, engine.model.sum_size))
        return 0

    cdef int take_gradients(self, _Memory engine) except -1:
        if self.exchange.shares and (fnn_stores_gradients(&self.run.optimizer) or engine._has_norms()):
            raise ValueError("processes can update shares of the parameters only where an update needs no more than "
                             "its own elements: not with clipnorm, global_clipnorm, Adafactor, Muon or a constraint "
                             "of a norm")
        return self.exchange.take_parts()

    cdef object tell_progress(self):
        """Return the caller's progress function as one that is given the sums of each shard."""
        progress, shape = self.progress, (self.exchange.struct.count, -1)
        return None if progress is None else lambda steps, sums: progress(steps, sums.reshape(shape))

    cdef object finish(self, _Memory engine, int status):
        self.hand_back(engine)
        self.exchange.raise_kept()
        self.check(status)
        return self.sums, self.run.first_nonfinite
