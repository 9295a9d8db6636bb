"""`--quick`: the same workloads in small. Everybody ends at the same loss, or gives the same outputs; no clock is read.

Losses: rows in their own order, two epochs, float32. PyTorch and optax add Adam's epsilon to the corrected root of the
second moment (Kingma and Ba's algorithm 1), fastnn, Keras and scikit-learn to the uncorrected one (the end of their
section 2); each is held to the NumPy program of its kind. Adam divides a gradient by its own size, so a rounding error
in a gradient near zero can turn a step around; each step is at most the learning rate, and over the few steps here the
mean losses of two correct programs agree within 2e-3 of themselves (most within 1e-6). Outputs: sums of up to 1,024
products of order one, rounded 24 bits deep in any order, then a softmax: within 1e-5 for probabilities, 1e-4 for sums.
"""

from __future__ import annotations

import dataclasses
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import alone
import machine
import peers
import workloads
from driver import PeerError
from suites import Context, Result
from workloads import Workload

LOSS, LOSS_BF16 = 2e-3, 3e-2


class Quick:
    def __init__(self, context: Context) -> None:
        self.context, self.team = context, context.team
        self.threads = self.team.counts[-1]
        self.everybody = [*self.team.versions, peers.REFERENCE]

    def each(self, workload: Workload, task: str, names: list[str], action, **fields) -> dict[str, float]:
        """What `action` of the worker gives, by peer, several at a time; those that do not do this are left out."""

        def one(name: str) -> float | None:
            try:
                worker = self.team.prepare(name, self.threads, workload, task, **fields)
                value = action(worker)
                worker.ask("release")
                return value
            except PeerError as error:
                if error.kind == "UnsupportedError":
                    return None
                raise PeerError(error.kind, f"{name}: {error}") from error

        with ThreadPoolExecutor(2 * machine.cpus()) as pool:
            values = list(pool.map(one, names))
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    def agree(self, result: Result, what: str, found: dict[str, float], tolerance: float) -> None:
        """All within the tolerance of NumPy's, with epsilon in the same place."""
        for name, value in found.items():
            wanted = found[peers.REFERENCE if name in peers.TEXTBOOK else "numpy"]
            gap = abs(value - wanted) / abs(wanted)
            text = f"{name}: {what} {value:.6f}, away from {wanted:.6f} by"
            result.check(text, gap, tolerance, low=False, unit="")

    def train(self, workload: Workload) -> Result:
        small = workload.quick()
        result = Result(workload.id, small.title)
        if workload.precision != "float32" and not machine.has_bf16():
            result.skipped = "not run: this CPU has no AVX512-BF16"
            return result
        mixed = workload.precision != "float32"
        names = [name for name in self.everybody if name in (peers.OURS, "torch") or not mixed]
        found = self.each(small, "train", names, two_epochs, shuffle=False)
        if mixed:  # held to float32
            wide = dataclasses.replace(small, precision="float32")
            found |= self.each(wide, "train", ["numpy", peers.REFERENCE], two_epochs, shuffle=False)
        self.agree(result, "loss", found, LOSS_BF16 if mixed else LOSS)
        return result

    def train_sparse(self, workload: Workload) -> Result:
        small = workload.quick()
        result = Result(workload.id, small.title)
        names = [name for name in self.everybody if name in (peers.OURS, "sklearn", "numpy", peers.REFERENCE)]
        self.agree(result, "loss", self.each(small, "train_sparse", names, two_epochs, shuffle=False), LOSS)
        return result

    def many(self, workload: Workload) -> Result:
        """One after the other against everybody; together against one after the other, to the bit."""
        small = workload.quick()
        result = Result(workload.id, small.title)
        apart = dataclasses.replace(small, together=False)
        found = self.each(apart, "many", self.everybody, two_epochs, shuffle=False)
        self.agree(result, "mean loss", found, LOSS)
        digests = {self.each(way, "many", [peers.OURS], two_digests)[peers.OURS] for way in (apart, small)}
        result.checks.append(("together and one after the other give the same bits", len(digests) == 1))
        return result

    def infer(self, workload: Workload) -> Result:
        small = workload.quick()
        result = Result(workload.id, small.title)
        found = self.each(small, "infer", list(self.team.versions), lambda w: w.ask("outputs")["distance"])
        for name, distance in found.items():
            self.context.say(f"    {name:<14} distance {distance:.1e}")
            tolerance = 1e-4 if workload.output == "linear" else 1e-5
            result.check(f"{name}: distance from NumPy's outputs", distance, tolerance, low=False, unit="")
        return result

    def memmap(self, workload: Workload) -> Result:
        small = dataclasses.replace(workload, rows=5000, batch=5000)
        result = Result(workload.id, small.title)
        with tempfile.TemporaryDirectory(prefix="fastnn-") as folder:
            path = Path(folder) / "rows.f32"
            alone.write_rows(path, small.rows, small.widths[0])
            worker = self.team.prepare(peers.OURS, self.threads, small, "stream", path=str(path))
            for name in ("file", "memory"):
                worker.ask("timed_pass", name=name)
            result.checks.append(
                ("a file's rows and an array's give the same bits", worker.ask("timed_pass", name="same")["value"])
            )
            worker.ask("release")
        return result

    def update(self, workload: Workload) -> Result:
        small = dataclasses.replace(workload, widths=(300, 300))
        result = Result(workload.id, small.title)

        def three_steps(worker):
            worker.ask("warm", passes=3)
            return worker.ask("mean_weight")["mean"]

        found = self.each(small, "adam", list(self.team.versions), three_steps)
        self.agree(
            result, "mean weight", {**found, **dict.fromkeys(("numpy", peers.REFERENCE), -3e-3)}, LOSS
        )  # a constant gradient: three full steps
        return result

    def threads_agree(self, workload: Workload) -> Result:
        small = workload.quick()
        result = Result("C2", small.title)
        workers = [self.team.prepare(peers.OURS, n, small, "train", shuffle=False) for n in self.team.counts]
        same = len({two_digests(worker) for worker in workers}) == 1
        result.checks.append((f"the same bits on {' and '.join(map(str, self.team.counts))} threads", same))
        return result

    def costs(self, workload: Workload) -> Result:
        small = workload.quick()
        result = Result("F1", small.title)
        worker = self.team.prepare(peers.OURS, self.threads, small, "costs", features=list(alone.COSTS))
        for feature in alone.COSTS:
            worker.ask("feature_epoch", feature=feature)
            result.checks.append((f"an epoch with {feature} runs", True))
        worker.ask("release")
        return result


def two_digests(worker) -> str:
    worker.ask("warm", passes=2)
    return worker.ask("digest")["digest"]


def two_epochs(worker) -> float:
    return worker.ask("warm", passes=2)["loss"]


def table(context: Context) -> dict:
    """id: function, for those workloads that have something to check; T2b and I3b are T2a and I3a when small."""
    quick = Quick(context)
    found = {w.id: lambda w=w: quick.train(w) for w in (*workloads.TRAINING, workloads.BF16) if w.id != "T2b"}
    found["T6"] = lambda: quick.many(workloads.MANY)
    found |= {w.id: lambda w=w: quick.infer(w) for w in workloads.INFERENCE if w.id != "I3b"}
    found["I4"] = lambda: quick.memmap(workloads.MEMMAP)
    found["U1"] = lambda: quick.update(workloads.UPDATE)
    found["X1"] = lambda: quick.train_sparse(workloads.SPARSE[0])
    found["F1"] = lambda: quick.costs(workloads.TRAINING[0])
    found["C2"] = lambda: quick.threads_agree(workloads.TRAINING[0])
    return found
