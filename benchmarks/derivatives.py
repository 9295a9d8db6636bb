"""Derivatives of frozen networks beside those of JAX, PyTorch, CasADi and L4CasADi: `python benchmarks/derivatives.py`.

Ours and a peer's run in turn, each in a worker of compare.py; in C all ways run in turn in one program, which is
compiled here. Writes DERIVATIVES.md beside this file. `--quick` compares the results with NumPy's, and reads no clock.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import peers
import workloads
from driver import SHORTEST, PeerError, Ratio, Team, Worker, clock, pairwise
from peers import Job
from report import section, table
from suites import HEADER, Context, Result, face, ours_first
from workloads import GRADIENTS, JACOBIAN, Workload

NAMES = ["torch", "torch-compile", "jax", "casadi", "casadi-compiled", "l4casadi"]
TASKS = {"G1": "gradient", "G2": "gradient", "J1": "jacobian"}
OWN = {"G1": 2.2, "G2": 2.2, "J1": 8.0}  # times our own value, at most
AGAINST = {"G1": {"jax": 15.0, "torch": 15.0}}  # times as fast as a peer, at least
FROM_C = 0.8  # microseconds, at most
TOLERANCE = 1e-4  # of derivatives of order one, by sums of up to 784 products in float32
METHOD = """Ours and a peer's run in turn, each in a process of its own, while the other sleeps; "times faster" is the
median of the ratios of neighbouring runs, with the least and the greatest. Of many rows each has the number of threads
that suits it best, of one and all; one row has one. Each gets its rows as it likes them best. Hidden layers are relu,
weights are the same. Everybody computes in float32, but for CasADi, which has float64 alone.

`torch` is `torch.autograd.grad`, `torch-compile` `torch.compile` of `torch.func.grad_and_value` and `jacrev`, `jax`
`jax.jit` of `value_and_grad` and `jacrev`. `casadi` is an expression of matrices (MX), called through
`Function.buffer`; `casadi-compiled` one of numbers (SX) as C that CasADi generates, by `-O1`, than which
`-O3 -march=native` is no faster; `l4casadi` is PyTorch's module within a function of CasADi."""


def against_own_value(context: Context, result: Result, workload: Workload, threads: int) -> None:
    """Our derivative and our value in turn, in two workers."""
    pair = [Worker(peers.OURS, threads) for _ in range(2)]
    seconds = []
    for worker, task in zip(pair, ("infer", TASKS[workload.id]), strict=True):
        worker.ask("prepare", workload=workload.as_json(), threads=threads, task=task)
        worker.ask("warm")
        seconds.append(worker.ask("run")["seconds"] * workload.calls)
    repeats = [max(1, round(SHORTEST / taken)) for taken in seconds]
    runs = [
        lambda worker=worker, count=count: worker.ask("run", repeats=count)["seconds"]
        for worker, count in zip(pair, repeats, strict=True)
    ]
    ratio = pairwise(*runs, 3 * context.pairs)
    for worker in pair:
        worker.close()
    result.check("times our own value", ratio.median, OWN[workload.id], low=False)
    result.notes.append(f"Our value alone {clock(ratio.first)}, with the derivative {clock(ratio.second)}: {ratio}.")
    context.say(f"    own value {clock(ratio.first)}, with the derivative {clock(ratio.second)}: {ratio}")


def measure(context: Context, workload: Workload) -> list[Result]:
    """The derivative beside everybody, and the value of one row as well."""
    results, threads = [], (1,) if workload.batch == 1 else ()
    for task in ["infer", "gradient"] if workload.id == "G1" else [TASKS[workload.id]]:
        title = workload.title.replace("value and gradient", "value alone") if task == "infer" else workload.title
        result = Result(workload.id + ("a" if task == "infer" else ""), title)
        ours = ours_first(context, result, workload, task, threads)
        for name in context.team.others():
            face(context, result, ours, name, workload, task, threads)
        if task != "infer":
            for name, bound in AGAINST.get(workload.id, {}).items():
                if name in result.ratios:
                    result.check(f"against {name}", result.ratios[name].median, bound)
            against_own_value(context, result, workload, ours.worker.threads)
        ours.worker.ask("release")
        result.header, result.rows = HEADER[:-1], [row[:-1] for row in result.rows]
        results.append(result)
    return results


def generated(folder: Path, job: Job) -> list[str]:
    """CasADi's C of the network into the folder; the compiler's arguments for it, none where CasADi is missing."""
    try:
        import casadi
        from peers import casadi_net
    except ImportError:
        return []
    x = casadi.SX.sym("x", job.workload.widths[0])
    y = casadi_net.expression(job, x)
    file = casadi.CodeGenerator("generated.c")
    file.add(casadi.Function("casadi_value", [x], [y]))
    file.add(casadi.Function("casadi_gradient", [x], [y, casadi.gradient(y, x)]))
    file.generate(f"{folder}/")
    subprocess.run([*machine.compiler(), casadi_net.OPTIMIZE, "-c", "generated.c"], cwd=folder, check=True)
    return ["generated.o", "-DWITH_CASADI"]


def by_c(context: Context, workload: Workload, rounds: int) -> Result:
    """The same network in a program without Python."""
    import fastnn

    job = Job(workload, 1, weights=workloads.make_weights(workload))
    result = Result("G1c", f"{workload.title}, from C")
    with tempfile.TemporaryDirectory() as made:
        folder, files = Path(made), []
        for dtype in ("float32", "float64"):
            inputs, *hidden, last = workload.widths
            stack = [*(fastnn.layers.Dense(units, "relu") for units in hidden), fastnn.layers.Dense(last)]
            model = fastnn.Sequential([fastnn.Input((inputs,), dtype=dtype), *stack])
            model.set_weights(job.weights)
            files.append(folder / f"{dtype}.fnn")
            model.freeze().save(files[-1])
        others = generated(folder, job)
        config = [sys.executable, "-m", "fastnn", "config", "--cflags", "--libs"]
        flags = subprocess.run(config, check=True, capture_output=True, text=True).stdout.split()
        source = Path(__file__).with_suffix(".c")
        subprocess.run(
            [*machine.compiler(), "-O2", source, *others, *flags, "-lm", "-o", "timed"], cwd=folder, check=True
        )
        command = [folder / "timed", *files, str(rounds)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    names = told[0].split()
    times = dict(zip(names, zip(*(map(float, line.split()) for line in told[1:]), strict=True), strict=True))
    result.header = ("way", "value: median (least)", "with the gradient", "times our value: median (min to max)")
    for title, value, gradient in (
        ("fastnn, float32", "value", "gradient"),
        ("fastnn, float64", "value64", "gradient64"),
        ("CasADi's generated C, float64", "casadi-value", "casadi-gradient"),
    ):
        if value in times:
            ratios = [b / a for a, b in zip(times["value"], times[gradient], strict=True)]
            ratio = Ratio(0, 0, statistics.median(ratios), min(ratios), max(ratios))
            told = [
                f"{clock(statistics.median(t) / 1e9)} ({clock(min(t) / 1e9)})" for t in (times[value], times[gradient])
            ]
            result.rows.append((title, *told, str(ratio)))
            context.say(f"    {title}: {', '.join(told)}; {ratio}")
    result.check("value and gradient, the least", min(times["gradient"]) / 1e3, FROM_C, low=False, unit=" us")
    return result


def agree(context: Context, workload: Workload) -> Result:
    """The distance of everybody's derivatives from NumPy's."""
    result = Result(workload.id, workload.title)
    for name in (peers.OURS, *context.team.others()):
        try:
            worker = context.team.prepare(name, 1, workload, TASKS[workload.id])
        except PeerError as error:
            if error.kind != "UnsupportedError":
                raise
            continue
        distance = worker.ask("outputs")["distance"]
        worker.ask("release")
        result.check(f"{name}: distance from NumPy's", distance, TOLERANCE, low=False, unit="")
    return result


def write(context: Context, results: list[Result]) -> None:
    """DERIVATIVES.md beside this file."""
    from fastnn._engine import build_info

    described = {**machine.describe(), **context.team.versions, **context.team.absent}
    described["fastnn's instruction set"] = build_info()["isa"]
    described["work of others on the machine"] = f"a load of {context.rates['load']:.1f} when it began"
    missed = [f"- {r.id}, {r.title}: {text}." for r in results for text, ok in r.checks if not ok]
    slower = [f"- {r.id}, {r.title}: {n} {q}." for r in results for n, q in r.ratios.items() if q.median < 1]
    today = datetime.datetime.now(datetime.timezone.utc)
    lines = [
        "# Derivatives", "", f"Written by `python benchmarks/derivatives.py` on {today:%Y-%m-%d}.", "",
        METHOD, "", "## Where a peer is faster, or a bound is missed", "",
        *(missed + slower or ["Nowhere."]), "",
        "## Machine and versions", "", *table(("what", "which"), list(described.items())), "", "## Workloads", "",
        *(line for result in results for line in section(result)),
    ]  # fmt: skip
    Path(__file__).with_name("DERIVATIVES.md").write_text("\n".join(lines).rstrip() + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the results alone: no clock is read")
    parser.add_argument("--only", default="", help="some of G1, G1c, G2, J1, e.g. G1,J1; writes nothing")
    parser.add_argument("--peers", default=",".join(NAMES), help="some of them, e.g. jax,casadi; writes nothing")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of runs against each peer")
    given = parser.parse_args()
    team = Team([peers.OURS, *(name for name in NAMES if name in given.peers.split(","))])
    context = Context(team, given.pairs, {"load": os.getloadavg()[0]})
    wanted = given.only.split(",") if given.only else ["G1", "G1c", "J1", "G2"]
    by_id = {workload.id: workload for workload in (*GRADIENTS, JACOBIAN)}
    results: list[Result] = []
    try:
        for name in wanted:
            print(name, flush=True)
            if given.quick and name in by_id:
                results.append(agree(context, by_id[name]))
            elif not given.quick:
                new = [by_c(context, by_id["G1"], 30 * given.pairs)] if name == "G1c" else measure(context, by_id[name])
                results += new
            for text, ok in [check for result in results[-1:] for check in result.checks]:
                print(f"  {'ok  ' if ok else 'MISS'} {text}", flush=True)
        if not (given.quick or given.only or given.peers != ",".join(NAMES)):
            write(context, results)
    finally:
        team.close()
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
