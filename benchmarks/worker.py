"""One peer in a process of its own: reads a command a line from stdin, answers a line on stdout, sleeps in between."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import peers
import workloads
from peers import Inference, Job

# Whatever a library prints must not get between the lines of the answers.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


class Task:
    """What was prepared, and how to run it."""

    def __init__(self, module, name: str, request: dict) -> None:
        self.request = request
        self.workload = workloads.Workload.from_json(request["workload"])
        self.job = Job(
            self.workload, request["threads"], shuffle=request.get("shuffle", True), options=dict(peers.PEERS[name][1])
        )
        self.kind = request["task"]
        make = getattr(module, self.kind, None)
        if make is None:
            raise peers.UnsupportedError(f"{name} does not do this")
        getattr(self, f"prepare_{self.kind}")(make)

    def prepare_train(self, make) -> None:
        self.job.x, self.job.y = workloads.make_data(self.workload)
        self.job.weights = workloads.make_weights(self.workload)
        self.training = make(self.job)
        self.once = self.training.epoch

    def prepare_train_sparse(self, make) -> None:
        self.job.x, self.job.y = workloads.make_sparse_data(self.workload)
        self.job.weights = workloads.make_weights(self.workload)
        self.training = make(self.job)
        self.once = self.training.epoch

    def prepare_many(self, make) -> None:
        self.job.x, self.job.y = workloads.make_data(self.workload)
        members = [workloads.make_weights(self.workload, seed) for seed in range(self.workload.members)]
        self.training = make(self.job, members, workloads.learning_rates(self.workload))
        self.once = self.training.epoch

    def prepare_infer(self, make) -> None:
        workload = self.workload
        self.job.weights = workloads.make_weights(workload)
        self.job.x = workloads.make_data(workload)[0]
        self.inference: Inference = make(self.job)
        parts = [self.job.x[k : k + workload.batch] for k in range(0, workload.rows, workload.batch)]
        native = [self.inference.native(part) for part in parts if len(part) == workload.batch]
        self.inputs = [native[k % len(native)] for k in range(workload.calls)]

        def once():
            call = self.inference.call
            for rows in self.inputs:
                call(rows)

        self.once = once

    prepare_gradient = prepare_jacobian = prepare_infer

    def prepare_adam(self, make) -> None:
        self.training = make(self.job)
        self.once = self.training.epoch

    def prepare_stream(self, make) -> None:
        shape = (self.workload.rows, self.workload.widths[0])
        self.job.x = np.memmap(self.request["path"], np.float32, "r", shape=shape)
        self.job.weights = workloads.make_weights(self.workload)
        self.passes = make(self.job, self.workload.rows // 5)

    def prepare_costs(self, make) -> None:
        self.job.x, self.job.y = workloads.make_data(self.workload)
        self.passes = make(self.job, self.request["features"])

    def warm(self, request: dict) -> dict:
        """The first pass, which pays for compilation; for training the loss it ends at."""
        for _ in range(request.get("passes", 1)):
            self.once()
        return {"loss": self.loss()} if self.kind in ("train", "train_sparse", "many") else {}

    def loss(self) -> float:
        x, y = self.job.x[:2048], self.job.y[:2048]
        weights = self.training.weights()
        size = len(weights) // self.workload.members
        parts = [weights[k : k + size] for k in range(0, len(weights), size)]
        return float(np.mean([workloads.loss(self.workload, part, x, y) for part in parts]))

    def run(self, request: dict) -> dict:
        repeats = request.get("repeats", 1)
        gc.collect()
        start = time.perf_counter()
        for _ in range(repeats):
            self.once()
        return {"seconds": (time.perf_counter() - start) / repeats / max(1, self.workload.calls)}

    def feature_epoch(self, request: dict) -> dict:
        """An epoch with a feature."""
        start = time.perf_counter()
        self.passes[request["feature"]]()
        return {"seconds": time.perf_counter() - start}

    def latencies(self, request: dict) -> dict:
        """Median and 99th percentile of single calls, each with a clock read around it.

        A pass goes before, as for every other time: the collector has just swept the weights out of the cache, and a
        worker that slept finds its core at rest. With a hundredth of 2,000 calls that is what a tail would show.
        """
        call, clock, marks = self.inference.call, time.perf_counter_ns, np.zeros(len(self.inputs) + 1, np.int64)
        gc.collect()
        self.once()
        marks[0] = clock()
        for k, rows in enumerate(self.inputs, 1):
            call(rows)
            marks[k] = clock()
        p50, p99 = np.percentile(np.diff(marks), [50, 99])
        return {"p50": p50 / 1e9, "p99": p99 / 1e9}

    def timed_pass(self, request: dict) -> dict:
        """One of the passes of I4, and by how many bytes the process's own memory grew meanwhile, at most."""
        before, seen, done = own_memory(), [0], threading.Event()

        def watch():
            while not done.wait(0.01):
                seen[0] = max(seen[0], own_memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        value = self.passes[request["name"]]()
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
        answer = {"seconds": seconds, "grown": max(0, seen[0] - before)}
        return {**answer, "value": value} if isinstance(value, bool) else answer

    def digest(self, request: dict) -> dict:
        """The bits of the weights, in short."""
        whole = hashlib.sha256()
        for array in self.training.weights():
            whole.update(np.ascontiguousarray(array))
        return {"digest": whole.hexdigest()}

    def mean_weight(self, request: dict) -> dict:
        return {"mean": float(np.mean([array.mean() for array in self.training.weights()]))}

    def outputs(self, request: dict) -> dict:
        """The greatest distance from what NumPy answers."""
        worst, batch = 0.0, self.workload.batch
        for k in range(min(4, self.workload.rows // batch)):
            part = self.job.x[k * batch : (k + 1) * batch]
            given = self.inference.numpy(self.inference.call(self.inference.native(part)))
            if self.kind == "infer" and self.workload.output == "sigmoid" and given.shape[1] == 2:
                given = given[:, 1:]
            wanted = workloads.answers(self.kind, self.workload, self.job.weights, part)
            worst = max(worst, float(np.abs(given.reshape(wanted.shape) - wanted).max()))
        return {"distance": worst}


def own_memory() -> int:
    """Resident bytes that no file backs."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


def main() -> None:
    name, affinity = sys.argv[1], int(sys.argv[2])
    if affinity:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-affinity:])
    task = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "stop":
                return
            module = peers.load(name)
            if request["do"] == "version":
                answer = {"version": module.version()}
            elif request["do"] == "prepare":
                task = None
                gc.collect()
                task, answer = Task(module, name, request), {}
            elif request["do"] == "release":
                task, answer = None, {}
                gc.collect()
            else:
                answer = getattr(task, request["do"])(request)
        except Exception as error:  # noqa: BLE001  whatever it was, the driver must hear of it
            text = " ".join(str(error).split())
            answer = {"error": f"{type(error).__name__}: {text}"[:500], "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
