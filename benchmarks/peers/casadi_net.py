"""CasADi: the network as an expression of its own matrices, compiled as C it generates, and PyTorch's through L4CasADi.

All compute in float64, and are called through a buffer, which makes no arrays. Activations are relu, as for everybody.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import casadi
import machine
import numpy as np

from . import Inference, Job, UnsupportedError

LARGEST = 20_000  # weights; generated C of scalar operations takes minutes to compile from here on
OPTIMIZE = (
    "-O1"  # of one number after the other: -O3 -march=native takes five times as long, for code that is no faster
)
FOLDERS: list[tempfile.TemporaryDirectory] = []  # of libraries that are loaded


def version() -> str:
    return casadi.__version__


def expression(job: Job, x):
    """The outputs: of type MX an operation a matrix, of type SX one a number."""
    count = len(job.weights)
    for k in range(0, count, 2):
        kernel, bias = (casadi.DM(np.asarray(array, np.float64)) for array in job.weights[k : k + 2])
        x = kernel.T @ x + bias
        if k < count - 2:
            x = casadi.fmax(x, 0)
    if job.workload.output == "softmax":
        x = casadi.exp(x - casadi.mmax(x))
        x = x / casadi.sum1(x)
    return x


def through_torch(job: Job) -> casadi.Function:
    """PyTorch's module as a function of CasADi; L4CasADi generates and compiles C++."""
    import l4casadi

    from . import pytorch

    model = pytorch.build(job, logits=False).eval()
    folder = tempfile.TemporaryDirectory()
    FOLDERS.append(folder)
    x = casadi.MX.sym("x", job.workload.widths[0])
    outputs = l4casadi.L4CasADi(model, name="through_torch", build_dir=folder.name)(x.T).T
    return casadi.Function("network", [x], [outputs])


def network(job: Job, symbol) -> casadi.Function:
    if job.options.get("torch"):
        return through_torch(job)
    x = symbol.sym("x", job.workload.widths[0])
    return casadi.Function("network", [x], [expression(job, x)])


def compiled(function: casadi.Function) -> casadi.Function:
    """The same function, of C that CasADi has generated."""
    folder = tempfile.TemporaryDirectory()
    FOLDERS.append(folder)
    file = casadi.CodeGenerator("network.c")
    file.add(function)
    file.generate(f"{folder.name}/")
    library = Path(folder.name) / "network.so"
    source = library.with_suffix(".c")
    command = [*machine.compiler(), OPTIMIZE, "-shared", "-fPIC", source, "-o", library, "-lm"]
    subprocess.run(command, check=True)
    return casadi.external(function.name(), str(library))


def differentiated(job: Job, results) -> Inference:
    """Calls of a function x -> results(outputs, x), the last of which is what is compared with NumPy's."""
    if job.workload.batch > 1:
        raise UnsupportedError("a function of CasADi takes one row")
    if job.options.get("compiled") and job.workload.parameters > LARGEST:
        raise UnsupportedError("generated C of as many operations takes minutes to compile")
    symbol = casadi.SX if job.options.get("compiled") else casadi.MX
    inner = network(job, symbol)
    x = symbol.sym("x", job.workload.widths[0])
    function = casadi.Function("called", [x], results(inner(x), x))
    if job.options.get("compiled"):
        function = compiled(function)
    buffer, trigger = function.buffer()
    given = np.zeros(job.workload.widths[0])
    made = [np.zeros(function.size_out(k), order="F") for k in range(function.n_out())]
    buffer.set_arg(0, memoryview(given))
    for k, array in enumerate(made):
        buffer.set_res(k, memoryview(array.reshape(-1, order="A")))

    def call(row):
        given[:] = row
        trigger()
        return made[-1]

    call.keep = buffer, function
    return Inference(lambda rows: rows[0].astype(np.float64), call, np.array)


def infer(job: Job) -> Inference:
    return differentiated(job, lambda y, x: [y])


def gradient(job: Job) -> Inference:
    return differentiated(job, lambda y, x: [y[0], casadi.gradient(y[0], x)])


def jacobian(job: Job) -> Inference:
    return differentiated(job, lambda y, x: [y, casadi.jacobian(y, x)])
