"""What ONNX Runtime answers for a model that was exported: helpers of the tests of ONNX."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

RUNTIME = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
# Float32: sums of a dozen terms in another order, and other polynomials for exp and its like.
CLOSE = {"float32": {"rtol": 1e-5, "atol": 1e-5}, "float64": {"rtol": 1e-10, "atol": 1e-10}}


def exported(model, **options):
    """Return the exported model as onnx's message, checked."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.export_onnx(path, **options)
        message = onnx.load(path)
    onnx.checker.check_model(message, full_check=True)
    graph = message.graph
    read = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    made = {one.name for one in graph.initializer} | {name for node in graph.node for name in node.output}
    assert made <= read | {one.name for one in graph.input}  # nothing is left over, of which ONNX Runtime warns
    return message


def session_of(message):
    """Return a session of ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(message.SerializeToString(), options, providers=["CPUExecutionProvider"])


@functools.cache
def newest_opset():
    """Return the newest version of the operators that the installed onnx and ONNX Runtime both know."""
    rows = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows"])
    same = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows"])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "newest", [rows], [same])
    for version in range(onnx.defs.onnx_opset_version(), 0, -1):
        opsets = [onnx.helper.make_opsetid("", version)]
        ir_version = onnx.helper.find_min_ir_version_for(opsets)
        try:
            session_of(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=ir_version))
        except Exception:  # noqa: BLE001 # ONNX Runtime has classes of its own for what it does not know
            continue
        return version
    raise AssertionError("ONNX Runtime knows no version of the operators")


def answers(session, x):
    """Return the outputs for x, by their names; x is an array or a dict of arrays by the names of inputs."""
    given = x if isinstance(x, dict) else {"x": x}
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    wanted = {one.name: types.get(one.type, object) for one in session.get_inputs()}
    feed = {name: np.asarray(given[name]).astype(dtype) for name, dtype in wanted.items()}
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, feed), strict=True))


def assert_same_answers(model, x, **options):
    """Check that ONNX Runtime answers as the model does, for all rows of x, the first one, and none."""
    message = exported(model, **options)
    session = session_of(message)
    products = {"Transpose", "Einsum"} & {node.op_type for node in message.graph.node}
    # in products of each of several groups, a batch without rows ends the process of ONNX Runtime before 1.32
    empty = [] if products and RUNTIME < (1, 32) else [slice(0, 0)]
    for rows in (slice(None), slice(0, 1), *empty):
        some = {key: values[rows] for key, values in x.items()} if isinstance(x, dict) else x[rows]
        found, expected = answers(session, some), model.predict(some, check_finite=False, verbose=0)
        expected = expected if isinstance(expected, dict) else {"y": expected}
        assert list(found) == list(expected)
        for name, values in found.items():
            assert (values.dtype, values.shape) == (expected[name].dtype, expected[name].shape)
            np.testing.assert_allclose(values, expected[name], **CLOSE[model.dtype])
    return message


def with_weights(model, seed=0):
    """Return the built model with weights that are drawn, none of which is 0 or, where that needs it, negative."""
    generator = np.random.default_rng(seed)
    drawn = []
    for layer_name, name in model._home.views:
        shape = model._home.views[layer_name, name].shape
        values = generator.normal(size=shape)
        drawn.append(np.abs(values) + 0.5 if name.endswith("variance") else values)
    model.set_weights(drawn)
    return model
