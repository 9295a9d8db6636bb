"""The two functions of a network in C, as calls: its outputs, and the gradient of a sum of them by the inputs."""

from __future__ import annotations

from fastnn.exchange._to_c_constants import Constants
from fastnn.exchange._to_c_ops import OPS, Backward, Step
from fastnn.exchange._to_c_program import Memory, Program, Vector
from fastnn.plan import Plan

_NOISE = ("dropout", "gaussian")  # outside training the result is the input


class Network:
    """A plan as calls in C.

    Parameters
    ----------
    plan : Plan
    constants : Constants
        The arrays of the file, to which those of the plan are added.

    Attributes
    ----------
    program : Program
        The calls so far.
    """

    def __init__(self, plan: Plan, constants: Constants) -> None:
        self._ops, self._constants = plan.ops, constants
        self.program = Program()
        self._x = Vector(Memory(plan.inputs, "x"), 0, plan.inputs)
        self._y = Vector(Memory(plan.outputs, "y"), 0, plan.outputs)
        self._results: dict[int, Vector] = {}
        self._steps: list[tuple[int, Step]] = []
        self._gradients: dict[Memory, Vector] = {}
        self._written: set[Memory] = set()

    # ---- forward ----

    def _result(self, k: int) -> Vector:
        """Return where the result of an op lies: in the memory of a join, or in its own."""
        if k not in self._results:
            op = self._ops[k]
            is_last = k == len(self._ops) - 1
            own = self._y if is_last else self.program.new(op.outputs)
            self._results[k] = self._result(op.join).part(op.column, op.outputs) if op.join >= 0 else own
        return self._results[k]

    def _read(self, k: int, first: int, size: int) -> Vector:
        return (self._x if k < 0 else self._results[k]).part(first, size)

    def _does_nothing(self, k: int) -> bool:
        """Return whether the result of an op is what it reads, so that nobody needs a copy."""
        op = self._ops[k]
        same = op.name in _NOISE or (op.name == "activation" and op.activation == "linear")
        return same and op.join < 0 and k < len(self._ops) - 1

    def forward(self) -> None:
        """Add the calls that compute y of x."""
        for k, op in enumerate(self._ops):
            if op.name == "join":
                self._result(k)
                continue
            x = self._read(op.input, op.first, op.inputs)
            if self._does_nothing(k):
                self._results[k] = x
                continue
            if op.name == "activation" and op.activation == "linear":
                op = op._replace(name="dropout")  # which is a copy too
            added = None
            if op.source >= 0:
                block = self._ops[op.source]
                added = self._read(block.input, block.first, op.outputs)
            self._constants.place = k
            op = op._replace(numbers=(*op.numbers, 0.0, 0.0, 0.0, 0.0)[:4])  # those that are left out are 0
            step = Step(op, self.program, self._constants, x, self._result(k), added)
            OPS[op.name][0](step)
            self._steps.append((k, step))

    # ---- backward ----

    def backward(self) -> None:
        """Add the calls that compute dx of dy; :meth:`forward` has been called."""
        self._gradients[self._y.memory] = Vector(Memory(self._y.size, "dy"), 0, self._y.size)
        self._gradients[self._x.memory] = Vector(Memory(self._x.size, "dx"), 0, self._x.size)
        self._written.add(self._y.memory)
        for k, step in reversed(self._steps):
            back = OPS[step.op.name][1]
            if back is None or step.y.memory not in self._written:
                continue
            self._constants.place = k
            dy = self._gradient(step.y)
            if step.added is not None:
                self._add(step.added, dy)
            self._contribute(step, back, dy)
        dx = self._gradients[self._x.memory]
        if self._x.memory not in self._written:
            self.program.call("zero", dx, dx.size, result=dx)

    def _gradient(self, value: Vector) -> Vector:
        """Return where the gradient by a vector of the forward pass lies."""
        memory = value.memory
        if memory not in self._gradients:
            self._gradients[memory] = self.program.new(memory.size)
        return self._gradients[memory].part(value.first, value.size)

    def _is_first(self, value: Vector) -> bool:
        """Return whether nothing has been added to the gradient by a vector yet, so that it can be written as a whole.

        The gradient of a memory of which a part is written first begins with zeros.
        """
        if value.memory in self._written:
            return False
        self._written.add(value.memory)
        if not value.is_whole:
            whole = self._gradient(Vector(value.memory, 0, value.memory.size))
            self.program.call("zero", whole, whole.size, result=whole)
        return value.is_whole

    def _add(self, value: Vector, gradient: Vector) -> None:
        """Add the gradient to that by a vector of the forward pass."""
        target = self._gradient(value)
        if self._is_first(value):
            self.program.call("copy", gradient, target, target.size, result=target)
        else:
            self.program.call("add", target, gradient, target, target.size, result=target)

    def _contribute(self, step: Step, back: Backward, dy: Vector) -> None:
        """Add the gradient by what an op reads to what other readers have written."""
        if self._is_first(step.x):
            back(step, dy, self._gradient(step.x))
        elif step.op.name == "add":
            self._add(step.x, dy)
        else:
            dx = self.program.new(step.x.size)
            back(step, dy, dx)
            self._add(step.x, dx)
