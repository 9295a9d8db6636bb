"""Workers and how two of them are measured against each other."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import machine
import peers
from workloads import Workload

SETTLE = 0.05  # seconds: a pool that spins after its last task is asleep before the other one starts
PROBE = 3
SHORTEST = 0.2  # seconds of one timed run; shorter ones are repeated


class PeerError(Exception):
    """The peer said no, or is not there."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Worker:
    """A peer with a number of threads, in a process of its own."""

    def __init__(self, name: str, threads: int, **environment: str) -> None:
        self.name, self.threads = name, threads
        counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = {**os.environ, **peers.PEERS[name][2], **dict.fromkeys(counts, str(threads)), **environment}
        affinity = threads if name in peers.BY_AFFINITY and threads < machine.cpus() else 0
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the worker
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("worker.py"), name, str(affinity)],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip

    def ask(self, do: str, **fields) -> dict:
        try:
            self.process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.log.seek(0)
            last = (self.log.read().strip().splitlines() or ["it said nothing"])[-1]
            raise PeerError("Died", f"the worker of {self.name} ended: {last}")
        fields = json.loads(answer)
        if "error" in fields:
            raise PeerError(fields["kind"], fields["error"])
        return fields

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


@dataclass
class Contender:
    """A worker with a prepared workload: its probe's seconds a run, and the loss after the first epoch."""

    worker: Worker
    seconds: float
    loss: float | None = None
    probes: dict[int, float] | None = None  # threads: seconds
    repeats: int = 1

    def run(self) -> float:
        time.sleep(SETTLE)
        return self.worker.ask("run", repeats=self.repeats)["seconds"]


class Team:
    """The workers, started when first needed and kept."""

    def __init__(self, names: list[str], say=print) -> None:
        self.workers: dict[tuple[str, int], Worker] = {}
        self.versions: dict[str, str] = {}
        self.absent: dict[str, str] = {}
        self.say = say
        self.counts = (1, machine.cpus()) if machine.cpus() > 1 else (1,)
        with ThreadPoolExecutor(machine.cpus()) as pool:  # importing takes seconds
            met = list(pool.map(self._meet, names))
        for name, (version, reason) in zip(names, met, strict=True):
            if version:
                self.versions[name] = version
            else:
                self.absent[name] = reason

    def _meet(self, name: str) -> tuple[str, str]:
        """Its version, or why it has none."""
        try:
            return self.worker(name, self.counts[-1]).ask("version")["version"], ""
        except PeerError as error:
            self.workers.pop((name, self.counts[-1])).close()
            if name == peers.OURS:
                raise SystemExit(f"fastnn cannot be imported: {error}") from error
            absent = error.kind in ("ImportError", "ModuleNotFoundError")
            return "", "not installed" if absent else str(error)

    def worker(self, name: str, threads: int) -> Worker:
        key = (name, threads)
        if key not in self.workers:
            self.workers[key] = Worker(name, threads)
        return self.workers[key]

    def others(self) -> list[str]:
        return [name for name in self.versions if name != peers.OURS]

    def prepare(self, name: str, threads: int, workload: Workload, task: str, **fields) -> Worker:
        worker = self.worker(name, threads)
        try:
            worker.ask("prepare", workload=workload.as_json(), threads=threads, task=task, **fields)
        except PeerError as error:
            if error.kind == "Died":
                del self.workers[name, threads]
            raise
        return worker

    def contender(self, name: str, workload: Workload, task: str, threads: tuple[int, ...] = ()) -> Contender:
        """The peer with the number of threads that suits it best, warmed up."""
        tried = []
        for count in threads or self.counts:
            worker = self.prepare(name, count, workload, task)
            one = Contender(worker, math.inf, worker.ask("warm").get("loss"))
            one.seconds = min(one.run() for _ in range(PROBE))
            tried.append(one)
        best = min(tried, key=lambda one: one.seconds)
        best.probes = {one.worker.threads: one.seconds for one in tried}
        for one in tried:
            if one is not best:
                one.worker.ask("release")
        best.repeats = max(1, math.ceil(SHORTEST / (best.seconds * max(1, workload.calls))))
        return best

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()


@dataclass
class Ratio:
    """Seconds of both in turn, and how many times faster the first is, pair by pair."""

    first: float
    second: float
    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def pairwise(first, second, pairs: int) -> Ratio:
    """Call the two functions in turn; each returns its seconds."""
    times = [(first(), second()) for _ in range(pairs)]
    ratios = [b / a for a, b in times]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    return Ratio(*medians, statistics.median(ratios), min(ratios), max(ratios))


def pairs_within(budget: float, seconds: float, wanted: int) -> int:
    """As many pairs as fit into the budget, three at least."""
    return max(min(3, wanted), min(wanted, int(budget / seconds)))


def clock(seconds: float) -> str:
    """Seconds for a reader."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
