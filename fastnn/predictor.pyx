"""Frozen models, which answer for a row in the shortest way."""

import operator

import numpy as np

from fastnn.data.arrays import cotangent, of_shape

cimport numpy as cnp
from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stddef cimport size_t

cnp.import_array()


include "_progress.pxi"

from fastnn._c cimport fnn_frozen

cdef extern from "numpy/arrayobject.h":
    object PyArray_Scalar(void *data, cnp.dtype dtype, object base)

cdef enum:
    # From this many multiply-adds on, five to ten microseconds on one thread, a call lets go of Python's lock. Letting
    # go and taking the lock back costs about 0.1 microseconds, and more when another thread took it meanwhile: too much
    # for a row of a small network, and little beside a call that others would wait for.
    GIL_WORK = 150_000


def get_include():
    """Return the folder of ``fastnn_predictor.h``, for C code that runs a predictor by :attr:`Predictor.address`."""
    from pathlib import Path

    return str(Path(__file__).parent / "include")


def get_library():
    """Return the path of libfastnn, which runs files of :meth:`Predictor.save` in programs without Python.

    Examples
    --------
    >>> import ctypes, fastnn
    >>> library = ctypes.CDLL(fastnn.predictor.get_library())
    """
    from pathlib import Path

    folder = Path(__file__).parent / "lib"
    for name in ("libfastnn.so.0", "libfastnn.dylib", "fastnn.dll"):
        if (folder / name).exists():
            return str(folder / name)
    raise FileNotFoundError(f"this fastnn was built without libfastnn: there is none in {folder}")


cdef class Predictor:
    """A frozen model: it cannot change, and answers without locks from any number of threads at once.

    Made by ``model.freeze()``, which copies the weights; the model may go on training. Results are those of
    ``model.predict``, bit for bit, unless ``model.freeze(weights=...)`` rounded the weights. What a row holds is not
    looked at: a number that is no category, for which ``predict`` raises, makes the answer NaN.
    Kernels of fewer than 262,144 numbers are kept transposed too, for derivatives; rounded ones are not.

    Parameters
    ----------
    engine : fastnn._engine.Engine
        The engine that ``model.freeze()`` passes.
    reads, heads, report : optional
        What ``model.freeze()`` passes: how x is read; the names of the outputs, where they have names; and what it says
        of rounded weights.

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
    report : dict
        How the kernels are kept, ``weights``; the bytes of all weights before they were rounded, ``bytes_before``, and
        after, ``bytes_after``; by how much rounding changes the outputs for the rows that ``freeze`` was given,
        ``largest_change`` and ``mean_change``, or None.

    Examples
    --------
    >>> import fastnn
    >>> predictor = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)]).freeze()
    >>> predictor([[1.0, 2.0]]).shape
    (1, 1)
    """

    def __init__(self, engine, reads=None, heads=None, report=None):
        from fastnn._engine import op_traits
        from fastnn.data.arrays import RowReader

        self._engine, capsule = engine.freeze()
        self._frozen = PyCapsule_GetPointer(capsule, "fastnn.fnn_frozen")
        plan = self._engine.plan
        self._dtype = np.dtype(plan.dtype)
        self._typenum, self._itemsize = self._dtype.num, self._dtype.itemsize
        self._inputs, self._outputs = plan.inputs, plan.outputs
        # an op that is no product takes the time of about ten multiply-adds for each output, as in useful_threads
        self._row_work = sum((op.inputs if op_traits(op.name).multiplies else 10) * op.outputs for op in plan.ops)
        self._reads, self._heads = RowReader() if reads is None else reads, heads
        self._reads_raw = bool(self._reads.prepare)
        self._report = report

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

    @property
    def report(self):
        """How the weights are kept, their bytes, and by how much rounding them changed the outputs."""
        if self._report is None:
            from fastnn._small_weights import report
            self._report = report(self._engine, self._engine)
        return dict(self._report)

    def __repr__(self):
        weights = self._engine.weights
        rounded = "" if weights == self._dtype.name else f", weights of {weights}"
        return f"<Predictor: {self._inputs} -> {self._outputs}, {self._dtype}{rounded}>"

    def save(self, filepath):
        """Write the network to a file that :func:`fastnn.load_predictor` reads, and ``fnn_load`` of libfastnn in C.

        The file is written whole or not at all. It holds the steps of the network and its weights as they are, no
        layers: :meth:`fastnn.Sequential.save` writes models that can be trained further.

        Parameters
        ----------
        filepath : path-like
            A name that ends in ``.fnn``, by custom. Where a layer reads raw data, such as text, Python makes numbers of
            them, and C code passes those that the layer's ``prepare`` gives.

        Raises
        ------
        ValueError
            When the name ends as that of another program's format; or when the network has more than 16,384 steps,
            names of columns that are neither text nor numbers, or rounded weights.
        OSError
            When the file cannot be written.

        Examples
        --------
        >>> import fastnn
        >>> predictor = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)]).freeze()
        >>> predictor.save("network.fnn")
        """
        from fastnn._frozen import Frozen, save

        if self._engine.kernels:
            raise ValueError(f"the file of a frozen network holds float32 and float64, and these weights are "
                             f"{self._engine.weights}: save the model itself, or pickle this Predictor")
        save(filepath, Frozen(self._engine.plan, np.asarray(self._engine.parameters), self._reads, self._heads))

    def __reduce__(self):
        from fastnn._small_weights import unordered
        engine = self._engine
        kernels = {k: unordered(kernel) for k, kernel in engine.kernels.items()}
        rounded = (engine.weights, kernels) if kernels else None
        return _thaw, (engine.plan, np.asarray(engine.parameters), self._reads, self._heads, rounded, self._report)

    cdef int run(self, const float *x, float *y, size_t rows) noexcept nogil:
        cdef const fnn_frozen *frozen = <const fnn_frozen *>self._frozen
        if self._typenum != cnp.NPY_FLOAT32:
            return 2
        return frozen.predictor.run(&frozen.predictor, x, self._inputs, rows, y)

    cdef int run_double(self, const double *x, double *y, size_t rows) noexcept nogil:
        cdef const fnn_frozen *frozen = <const fnn_frozen *>self._frozen
        if self._typenum != cnp.NPY_FLOAT64:
            return 2
        return frozen.predictor.run(&frozen.predictor, x, self._inputs, rows, y)

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
        cdef cnp.ndarray rows = _rows(self, x)
        cdef _Call call = _call_for(self, rows)
        cdef cnp.npy_intp shape[2]
        shape[0], shape[call.axes - 1] = call.rows, self._outputs
        cdef cnp.ndarray result = _result(self, out, "out", call.axes, shape)
        if out is not None:
            _check_apart(rows, "x", result, "out")
        call.y = cnp.PyArray_DATA(result)
        _make(self, &call, self._row_work)
        return _by_head(result, self._heads)

    def vjp(self, x, u, out=None):
        """Return the network's outputs, and the gradient of their product with u by the inputs.

        Parameters
        ----------
        x : array-like, shape (rows, features), (features,), or (rows,) of one feature
            As for a call of the predictor.
        u : array-like, of the shape of the outputs
            For a model with heads a dict of such arrays by name may be given.
        out : tuple (outputs, gradient), optional
            Arrays that take the results as `out` of a call does; either may be None, for a new array. Their memory must
            not reach into each other's, nor into that of x and u.

        Returns
        -------
        outputs : ndarray, shape (rows, outputs) or (outputs,), or dict
            As a call returns them.
        gradient : ndarray, shape (rows, inputs) or (inputs,)
            uᵀ ∂y/∂x for each row, by the numbers that the network reads: what it reads as a category, and what
            `prepare` of a layer has made of raw data, counts as constant and has the gradient 0.

        Raises
        ------
        TypeError, ValueError
            When x, u or out cannot be used; the message is one sentence.

        Examples
        --------
        >>> import fastnn
        >>> predictor = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)]).freeze()
        >>> outputs, gradient = predictor.vjp([[1.0, 2.0]], [[1.0]])
        >>> gradient.shape
        (1, 2)
        """
        cdef cnp.ndarray rows = _rows(self, x)
        cdef _Call call = _call_for(self, rows)
        cdef cnp.npy_intp shape[2]
        shape[0], shape[call.axes - 1] = call.rows, self._outputs
        cdef cnp.ndarray upstream = _multiplied(self, u, "u", call.axes, shape)
        first, second = _outs(out, "outputs, gradient")
        cdef cnp.ndarray y = _result(self, first, "out[0]", call.axes, shape)
        shape[call.axes - 1] = self._inputs
        cdef cnp.ndarray gradient = _result(self, second, "out[1]", call.axes, shape)
        if out is not None:
            _check_all_apart(rows, upstream, "u", y, gradient)
        call.u = cnp.PyArray_DATA(upstream)
        call.y = cnp.PyArray_DATA(y)
        call.gradient = cnp.PyArray_DATA(gradient)
        _make(self, &call, 2 * self._row_work)
        return _by_head(y, self._heads), gradient

    def value_and_gradient(self, x, output=0, out=None):
        """Return one output of the network and its gradient by the inputs, as minimizers want them.

        Parameters
        ----------
        x : array-like, shape (rows, features), (features,), or (rows,) of one feature
            As for a call of the predictor.
        output : int, default 0
            Which of the outputs; those of heads lie side by side in their order.
        out : tuple (value, gradient), optional
            Arrays that take the results, as for :meth:`vjp`.

        Returns
        -------
        value : ndarray, shape (rows,), or a NumPy scalar for one row of shape (features,)
        gradient : ndarray, shape (rows, inputs) or (inputs,)
            ∂ value / ∂ x; see :meth:`vjp`.

        Raises
        ------
        TypeError, ValueError
            When x, output or out cannot be used; the message is one sentence.

        Examples
        --------
        >>> import fastnn, scipy.optimize
        >>> predictor = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1, "tanh")]).freeze()
        >>> scipy.optimize.minimize(predictor.value_and_gradient, [0.0, 0.0], jac=True).x.shape
        (2,)
        """
        cdef cnp.ndarray rows = _rows(self, x), value = None, y
        cdef _Call call = _call_for(self, rows)
        cdef cnp.npy_intp shape[2]
        cdef double number  # of either type
        call.output = _output(self, output)
        first, second = _outs(out, "value, gradient")
        shape[0], shape[call.axes - 1] = call.rows, self._inputs
        cdef cnp.ndarray gradient = _result(self, second, "out[1]", call.axes, shape)
        if call.axes == 2 or first is not None:
            value = _result(self, first, "out[0]", call.axes - 1, shape)
        if out is not None:
            _check_all_apart(rows, rows, "x", value, gradient)
        if self._outputs > 1:
            shape[0], shape[1] = call.rows, self._outputs
            y = cnp.PyArray_EMPTY(2, shape, self._typenum, 0)
            call.y = cnp.PyArray_DATA(y)
        else:
            call.y = &number if value is None else cnp.PyArray_DATA(value)
        call.gradient = cnp.PyArray_DATA(gradient)
        _make(self, &call, 2 * self._row_work)
        if self._outputs > 1 and value is not None:
            np.copyto(value, y[:, call.output] if call.axes == 2 else y[0, call.output])
        if value is not None:
            return value, gradient
        return PyArray_Scalar(<char *>call.y + call.output * self._itemsize, self._dtype, None), gradient

    def jacobian(self, x, out=None):
        """Return the network's outputs, and the derivatives of each of them by each input.

        Parameters
        ----------
        x : array-like, shape (rows, features), (features,), or (rows,) of one feature
            As for a call of the predictor.
        out : tuple (outputs, jacobian), optional
            Arrays that take the results, as for :meth:`vjp`.

        Returns
        -------
        outputs : ndarray, shape (rows, outputs) or (outputs,), or dict
            As a call returns them.
        jacobian : ndarray, shape (rows, outputs, inputs) or (outputs, inputs)
            ∂yⱼ/∂xₖ of each row; the outputs of heads lie side by side in their order. See :meth:`vjp`.

        Raises
        ------
        TypeError, ValueError
            When x or out cannot be used; the message is one sentence.

        Examples
        --------
        >>> import fastnn
        >>> predictor = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(3)]).freeze()
        >>> predictor.jacobian([1.0, 2.0])[1].shape
        (3, 2)
        """
        cdef cnp.ndarray rows = _rows(self, x)
        cdef _Call call = _call_for(self, rows)
        cdef cnp.npy_intp shape[3]
        first, second = _outs(out, "outputs, jacobian")
        shape[0], shape[call.axes - 1] = call.rows, self._outputs
        cdef cnp.ndarray y = _result(self, first, "out[0]", call.axes, shape)
        shape[call.axes] = self._inputs
        cdef cnp.ndarray jacobian = _result(self, second, "out[1]", call.axes + 1, shape)
        if out is not None:
            _check_all_apart(rows, rows, "x", y, jacobian)
        call.y = cnp.PyArray_DATA(y)
        call.jacobian = cnp.PyArray_DATA(jacobian)
        _make(self, &call, (1 + self._outputs) * self._row_work)
        return _by_head(y, self._heads), jacobian

    def jvp(self, x, v, out=None):
        """Return the network's outputs, and how they change as x moves in the direction v.

        Parameters
        ----------
        x : array-like, shape (rows, features), (features,), or (rows,) of one feature
            As for a call of the predictor.
        v : array-like, shape (rows, inputs) or (inputs,)
            A direction of each row, in the numbers that the network reads.
        out : tuple (outputs, tangent), optional
            Arrays that take the results, as for :meth:`vjp`.

        Returns
        -------
        outputs : ndarray, shape (rows, outputs) or (outputs,), or dict
            As a call returns them.
        tangent : ndarray, shape (rows, outputs) or (outputs,), or dict
            ∂y/∂x v of each row; see :meth:`vjp` for what counts as constant.

        Raises
        ------
        TypeError, ValueError
            When x, v or out cannot be used; the message is one sentence.

        Examples
        --------
        >>> import fastnn
        >>> predictor = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(3)]).freeze()
        >>> predictor.jvp([1.0, 2.0], [1.0, 0.0])[1].shape
        (3,)
        """
        cdef cnp.ndarray rows = _rows(self, x)
        cdef _Call call = _call_for(self, rows)
        cdef cnp.npy_intp shape[2]
        shape[0], shape[call.axes - 1] = call.rows, self._inputs
        cdef cnp.ndarray direction = _multiplied(self, v, "v", call.axes, shape)
        first, second = _outs(out, "outputs, tangent")
        shape[call.axes - 1] = self._outputs
        cdef cnp.ndarray y = _result(self, first, "out[0]", call.axes, shape)
        cdef cnp.ndarray tangent = _result(self, second, "out[1]", call.axes, shape)
        if out is not None:
            _check_all_apart(rows, direction, "v", y, tangent)
        call.v, call.y, call.tangent = cnp.PyArray_DATA(direction), cnp.PyArray_DATA(y), cnp.PyArray_DATA(tangent)
        _make(self, &call, 2 * self._row_work)
        return _by_head(y, self._heads), _by_head(tangent, self._heads)

    def hvp(self, x, v, u, out=None):
        """Return the network's outputs, and the Hessian of their product with u times v.

        Parameters
        ----------
        x : array-like, shape (rows, features), (features,), or (rows,) of one feature
            As for a call of the predictor.
        v : array-like, shape (rows, inputs) or (inputs,)
            A direction of each row, in the numbers that the network reads.
        u : array-like, of the shape of the outputs
            For a model with heads a dict of such arrays by name may be given.
        out : tuple (outputs, product), optional
            Arrays that take the results, as for :meth:`vjp`.

        Returns
        -------
        outputs : ndarray, shape (rows, outputs) or (outputs,), or dict
            As a call returns them.
        product : ndarray, shape (rows, inputs) or (inputs,)
            ∂/∂x (uᵀ ∂y/∂x v) of each row, exactly (forward over reverse). Activations that are straight but for kinks,
            such as relu, have the second derivative 0, at the kinks too.

        Raises
        ------
        TypeError, ValueError
            When x, v, u or out cannot be used; the message is one sentence.

        Examples
        --------
        >>> import fastnn
        >>> predictor = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1, "tanh")]).freeze()
        >>> predictor.hvp([1.0, 2.0], [1.0, 0.0], [1.0])[1].shape
        (2,)
        """
        cdef cnp.ndarray rows = _rows(self, x)
        cdef _Call call = _call_for(self, rows)
        cdef cnp.npy_intp shape[2]
        shape[0], shape[call.axes - 1] = call.rows, self._outputs
        cdef cnp.ndarray upstream = _multiplied(self, u, "u", call.axes, shape)
        first, second = _outs(out, "outputs, product")
        cdef cnp.ndarray y = _result(self, first, "out[0]", call.axes, shape)
        shape[call.axes - 1] = self._inputs
        cdef cnp.ndarray direction = _multiplied(self, v, "v", call.axes, shape)
        cdef cnp.ndarray product = _result(self, second, "out[1]", call.axes, shape)
        if out is not None:
            _check_all_apart(rows, direction, "v", y, product)
            _check_all_apart(rows, upstream, "u", y, product)
        call.v, call.u = cnp.PyArray_DATA(direction), cnp.PyArray_DATA(upstream)
        call.y, call.product = cnp.PyArray_DATA(y), cnp.PyArray_DATA(product)
        _make(self, &call, 4 * self._row_work)
        return _by_head(y, self._heads), product

    def hessian(self, x, output=0, out=None):
        """Return the network's outputs, and the second derivatives of one of them by the inputs.

        Parameters
        ----------
        x : array-like, shape (rows, features), (features,), or (rows,) of one feature
            As for a call of the predictor.
        output : int, default 0
            Which of the outputs; those of heads lie side by side in their order.
        out : tuple (outputs, hessian), optional
            Arrays that take the results, as for :meth:`vjp`.

        Returns
        -------
        outputs : ndarray, shape (rows, outputs) or (outputs,), or dict
            As a call returns them.
        hessian : ndarray, shape (rows, inputs, inputs) or (inputs, inputs)
            ∂²y/∂xⱼ∂xₖ of each row, symmetric to the last bit: an element is the mean of the two that :meth:`hvp` gives,
            which rounding sets apart. 0 for piecewise linear networks.

        Raises
        ------
        TypeError, ValueError
            When x, output or out cannot be used; the message is one sentence.

        Examples
        --------
        >>> import fastnn
        >>> predictor = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1, "tanh")]).freeze()
        >>> predictor.hessian([1.0, 2.0])[1].shape
        (2, 2)
        """
        cdef cnp.ndarray rows = _rows(self, x)
        cdef _Call call = _call_for(self, rows)
        cdef cnp.npy_intp shape[3]
        call.output = _output(self, output)
        first, second = _outs(out, "outputs, hessian")
        shape[0], shape[call.axes - 1] = call.rows, self._outputs
        cdef cnp.ndarray y = _result(self, first, "out[0]", call.axes, shape)
        shape[call.axes - 1] = shape[call.axes] = self._inputs
        cdef cnp.ndarray hessian = _result(self, second, "out[1]", call.axes + 1, shape)
        if out is not None:
            _check_all_apart(rows, rows, "x", y, hessian)
        call.y, call.product = cnp.PyArray_DATA(y), cnp.PyArray_DATA(hessian)
        _make(self, &call, (1 + 4 * self._inputs) * self._row_work)
        return _by_head(y, self._heads), hessian


include "_predicting.pxi"


def _thaw(plan, parameters, reads=None, heads=None, rounded=None, report=None):
    from fastnn._engine import Engine
    from fastnn._small_weights import with_kernels

    if rounded is not None:
        engine = with_kernels(plan, parameters, *rounded)
    else:
        engine = Engine(plan)
        engine.parameters[:] = parameters
    return Predictor(engine, reads, heads, report)
