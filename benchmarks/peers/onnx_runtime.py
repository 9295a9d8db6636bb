"""ONNX Runtime, for inference: a graph of Gemm, Relu and Softmax, all optimisations on, inputs and outputs bound."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from . import Inference, Job


def version() -> str:
    return onnxruntime.__version__


def graph(job: Job) -> bytes:
    nodes, constants, name = [], [], "x"
    layers = len(job.weights) // 2
    for k in range(layers):
        constants += [numpy_helper.from_array(job.weights[2 * k + j], f"{'wb'[j]}{k}") for j in range(2)]
        nodes.append(helper.make_node("Gemm", [name, f"w{k}", f"b{k}"], [f"z{k}"]))
        last = {"softmax": "Softmax", "sigmoid": "Sigmoid", "linear": "Identity"}[job.workload.output]
        name = "y" if k == layers - 1 else f"a{k}"
        nodes.append(helper.make_node(last if k == layers - 1 else "Relu", [f"z{k}"], [name]))
    widths = job.workload.widths
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [job.workload.batch, widths[0]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [job.workload.batch, widths[-1]])
    model = helper.make_model(
        helper.make_graph(nodes, "net", [x], [y], constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = min(model.ir_version, 10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def infer(job: Job) -> Inference:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(graph(job), options, providers=["CPUExecutionProvider"])
    run, names = session.run, ["y"]
    return Inference(lambda rows: {"x": np.ascontiguousarray(rows)}, lambda feed: run(names, feed)[0])
