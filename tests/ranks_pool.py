"""Trains an ensemble here, and another one on the other ranks of the job: `mpirun -n 3 python -m mpi4py.futures`."""

import json
import os

from mpi4py.futures import MPIPoolExecutor
from test_groups import FOLDS, HELD, Watch, X, Y, members, states

import fastnn


def main():
    here, there, watchers = members(), members(), [[Watch()] for _ in FOLDS]
    fit = {"x": X, "y": Y, "epochs": 4, "rows": FOLDS, "validation_rows": HELD, "verbose": 0}
    expected = fastnn.Ensemble(here).fit(**fit)
    with MPIPoolExecutor() as executor:
        found = fastnn.Ensemble(there).fit(**fit, callbacks=watchers, executor=executor)
    same = states(there) == states(here) and [one.history for one in found] == [one.history for one in expected]
    workers = {one.process for (one,) in watchers}
    print("RESULT", json.dumps({"rank": 0, "same": same, "workers": len(workers), "here": os.getpid() in workers}))


if __name__ == "__main__":
    main()
