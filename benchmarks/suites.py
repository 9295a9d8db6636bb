"""The workloads that have peers: ours and theirs in turn, and what must be reached."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import machine
import peers
import workloads
from driver import Contender, PeerError, Ratio, Team, clock, pairs_within, pairwise
from workloads import Workload

# How many times faster than a peer, or than the best of them; shares of a roofline or of a peak.
BOUNDS = {
    "T1": {"best": 3.0, "keras-tf": 20.0, "roofline": 0.7},
    "T2a": {"best": 2.0},
    "T2b": {"best": 1.5},
    "T3": {"best": 5.0, "keras-tf": 30.0},
    "T4": {"best": 1.1, "peak": 0.9},
    "T5": {"best": 1.1, "float32": 1.6},
    "T6": {"torch": 10.0, "alone": 2.0},
    "I1": {"onnxruntime": 4.0, "tail": 2.0},
    "I2": {"onnxruntime": 4.0, "seconds": 1.5e-6},
    "I3a": {"best": 1.5},
    "I3b": {"best": 1.2},
    "U1": {"triad": 0.9},
    "X1": {"sklearn": 3.0},
    "X2": {"sklearn": 3.0},
}


@dataclass
class Result:
    """A section of RESULTS.md."""

    id: str
    title: str
    header: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    checks: list[tuple[str, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    skipped: str = ""  # why it was not run; a workload that fastnn lacks fails instead

    @property
    def failed(self) -> bool:
        return not all(ok for _, ok in self.checks)

    def check(self, text: str, value: float, bound: float, *, low: bool = True, unit: str = "x") -> None:
        """`value` must be at least `bound`, or at most where `low` is false."""
        ok = value >= bound if low else value <= bound
        self.checks.append((f"{text}: {value:.3g}{unit}, must be {'>=' if low else '<='} {bound:g}{unit}", ok))


@dataclass
class Context:
    """What every suite needs."""

    team: Team
    pairs: int
    rates: dict  # of machine.measure
    budget: float = 12.0  # seconds for one peer's pairs

    def say(self, text: str) -> None:
        self.team.say(text)


HEADER = ("peer", "threads", "its time", "fastnn in turn", "times faster: median (min to max)", "its loss")


def face(
    context: Context,
    result: Result,
    ours: Contender,
    name: str,
    workload: Workload,
    task: str,
    threads: tuple[int, ...] = (),
) -> None:
    """Measure one peer, with the best of these numbers of threads, and add its row."""
    try:
        theirs = context.team.contender(name, workload, task, threads)
    except PeerError as error:
        if error.kind != "UnsupportedError":
            result.notes.append(f"{name} did not run: {error}")
        return
    spent = (ours.seconds * ours.repeats + theirs.seconds * theirs.repeats) * max(1, workload.calls) + 0.1
    ratio = pairwise(ours.run, theirs.run, pairs_within(context.budget, spent, context.pairs))
    theirs.worker.ask("release")
    result.ratios[name] = ratio
    loss = "" if theirs.loss is None else f"{theirs.loss:.4f}"
    result.rows.append((name, str(theirs.worker.threads), clock(ratio.second), clock(ratio.first), str(ratio), loss))
    context.say(f"    {name:<14} {clock(ratio.second):>9}   fastnn {clock(ratio.first):>9}   {ratio}")


def ours_first(
    context: Context, result: Result, workload: Workload, task: str, threads: tuple[int, ...] = ()
) -> Contender:
    ours = context.team.contender(peers.OURS, workload, task, threads)
    probes = ", ".join(f"{clock(seconds)} on {count}" for count, seconds in ours.probes.items())
    loss = "" if ours.loss is None else f"; loss after the first epoch {ours.loss:.4f}"
    result.header = HEADER
    threads = "1 thread" if ours.worker.threads == 1 else f"{ours.worker.threads} threads"
    result.notes.append(f"fastnn on {threads} (probed: {probes}){loss}.")
    context.say(f"    fastnn on {threads}; probed {probes}")
    return ours


def judge(result: Result) -> None:
    """The bounds against peers; the best peer is the one we lead least."""
    bounds = BOUNDS.get(result.id, {})
    if not result.ratios:
        result.notes.append("No peer for this is installed.")
        return
    best = min(result.ratios, key=lambda name: result.ratios[name].median)
    result.check(f"against the best peer, {best}", result.ratios[best].median, bounds.get("best", 1.0))
    for name in ("torch", "keras-tf", "onnxruntime"):
        if name in bounds and name in result.ratios:
            result.check(f"against {name}", result.ratios[name].median, bounds[name])


def within_reach(result: Result, seconds: float, unit: float) -> None:
    """For a missed bound against the best peer: the time it asks for beside the roofline, both of one `unit`.

    seconds: of the roofline. unit: how many of them a run holds.
    """
    bound = BOUNDS[result.id].get("best") or BOUNDS[result.id].get("onnxruntime", 1.0)
    if not result.ratios or not result.failed:
        return
    best = min(result.ratios, key=lambda name: result.ratios[name].median)
    asked = result.ratios[best].second / unit / bound
    result.notes.append(
        f"{bound:g} times as fast as {best} is {clock(asked)}; the roofline is {clock(seconds)}, "
        f"{100 * seconds / asked:.0f} % of that."
    )


def own_seconds(ours: Contender, runs: int = 3) -> float:
    return min(ours.seconds, *(ours.run() for _ in range(runs)))


def train(context: Context, workload: Workload) -> Result:
    result = Result(workload.id, workload.title)
    ours = ours_first(context, result, workload, "train")
    for name in context.team.others():
        if name != "onnxruntime":
            face(context, result, ours, name, workload, "train")
    judge(result)
    threads = ours.worker.threads
    step = own_seconds(ours) / workload.steps
    bound = workloads.roofline(workload, context.rates, threads)
    share = f"a step takes {clock(step)}, at the roofline {clock(bound)}"
    if "roofline" in BOUNDS[workload.id]:
        result.check(f"of the roofline ({share})", 100 * bound / step, 100 * BOUNDS[workload.id]["roofline"], unit=" %")
    else:
        result.notes.append(f"{100 * bound / step:.0f} % of the roofline: {share}.")
    within_reach(result, bound, workload.steps)
    if "peak" in BOUNDS[workload.id]:
        gemm_share(context, result, workload, step, threads)
    ours.worker.ask("release")
    return result


def train_sparse(context: Context, workload: Workload) -> Result:
    """Sparse rows beside scikit-learn, the one peer that takes them as they are."""
    result = Result(workload.id, workload.title)
    ours = ours_first(context, result, workload, "train_sparse")
    if "sklearn" in context.team.versions:
        face(context, result, ours, "sklearn", workload, "train_sparse")
    if "sklearn" in result.ratios:
        result.check("against scikit-learn", result.ratios["sklearn"].median, BOUNDS[workload.id]["sklearn"])
    result.notes.append(f"A step takes {clock(own_seconds(ours) / workload.steps)}.")
    ours.worker.ask("release")
    return result


def gemm_share(context: Context, result: Result, workload: Workload, step: float, threads: int) -> None:
    """FLOP/s of the products: what a step takes without the update, which is timed alone on as many parameters."""
    side = round(workload.parameters**0.5)
    update = dataclasses.replace(workload, id="U", widths=(side, side), calls=0)
    alone = context.team.contender(peers.OURS, update, "adam", (threads,)).seconds
    rate = workloads.gemm_flops(workload) / (step - alone)
    share = 100 * rate / workloads.peak(context.rates, threads)
    text = f"of peak FMA in the products ({rate / 1e9:.0f} GFLOP/s in {clock(step - alone)}; the update {clock(alone)})"
    result.check(text, share, 100 * BOUNDS[workload.id]["peak"], unit=" %")


def bf16(context: Context, workload: Workload) -> Result:
    """Mixed precision beside PyTorch's autocast, and beside our own float32."""
    result = Result(workload.id, workload.title)
    if not machine.has_bf16():
        result.skipped = "not run: this CPU has no AVX512-BF16"
        return result
    ours = ours_first(context, result, workload, "train")
    if "torch" in context.team.versions:
        face(context, result, ours, "torch", workload, "train")
    judge(result)
    wide = dataclasses.replace(workload, precision="float32")
    narrow = ours.run()
    own = context.team.contender(peers.OURS, wide, "train", (ours.worker.threads,))
    result.notes.append(f"an epoch takes {clock(narrow)}, in float32 {clock(own.seconds)}.")
    result.check("against our own float32", own.seconds / narrow, BOUNDS["T5"]["float32"])
    return result


def many(context: Context, workload: Workload) -> Result:
    """Networks trained at once; torch has them one after the other, JAX at once by vmap."""
    result = Result(workload.id, workload.title)
    alone = context.team.contender(peers.OURS, dataclasses.replace(workload, together=False), "many")
    slow = own_seconds(alone)
    ours = ours_first(context, result, workload, "many")
    for name in context.team.others():
        face(context, result, ours, name, workload, "many")
    if "torch" in result.ratios:
        result.check("against torch, one after the other", result.ratios["torch"].median, BOUNDS["T6"]["torch"])
    if "jax-scan" in result.ratios:
        result.check("against JAX, all at once by vmap", result.ratios["jax-scan"].median, 1.0)
    fast = own_seconds(ours)
    result.check(f"against our own, one after the other ({clock(slow)})", slow / fast, BOUNDS["T6"]["alone"])
    return result


def infer(context: Context, workload: Workload) -> Result:
    result = Result(workload.id, workload.title)
    ours = ours_first(context, result, workload, "infer")
    for name in context.team.others():
        face(context, result, ours, name, workload, "infer")
    judge(result)
    bounds = BOUNDS[workload.id]
    seconds = own_seconds(ours)
    if "seconds" in bounds:
        result.check("microseconds a call from Python", seconds * 1e6, bounds["seconds"] * 1e6, low=False, unit=" us")
    marks = sorted((ours.worker.ask("latencies") for _ in range(5)), key=lambda one: one["p99"] / one["p50"])[2]
    text = f"p99 {clock(marks['p99'])} over p50 {clock(marks['p50'])}"
    if "tail" in bounds:
        result.check(text, marks["p99"] / marks["p50"], bounds["tail"], low=False)
    else:
        result.notes.append(text + ", a clock read around each call.")
    floor = workloads.inference_roofline(workload, context.rates, ours.worker.threads)
    result.notes.append(f"{100 * floor / seconds:.0f} % of the roofline, {clock(floor)}.")
    within_reach(result, floor, 1)
    return result


def update(context: Context, workload: Workload) -> Result:
    """Adam over a large buffer, as a share of the bandwidth of the triad."""
    result = Result(workload.id, workload.title)
    ours = ours_first(context, result, workload, "adam")
    if "torch" in context.team.versions:
        face(context, result, ours, "torch", workload, "adam")
        judge(result)
    rate = workloads.ADAM_BYTES * workload.parameters / own_seconds(ours)
    triad = context.rates["triad"][str(ours.worker.threads)]
    text = f"of the triad's {triad / 1e9:.1f} GB/s ({rate / 1e9:.1f} GB/s at 28 bytes a parameter)"
    result.check(text, 100 * rate / triad, 100 * BOUNDS["U1"]["triad"], unit=" %")
    ours.worker.ask("release")
    return result
