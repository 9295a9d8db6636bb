"""Several processes train one network of handwritten digits together.

It is the script that trains alone, with a block around ``fit``. However many ranks there are, the weights are the same,
bit for bit: the line at the end has a hash of them. Without mpirun it trains alone, and prints the same hash.

    mpirun -n 4 python examples/mpi_train.py [--quick] [--backup FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib

import fastnn
from fastnn import callbacks, layers
from fastnn.distributed import data_parallel, rank, size


def network() -> fastnn.Sequential:
    """Return a network of two hidden layers, compiled."""
    model = fastnn.Sequential(
        [
            layers.Rescaling(1 / 16, input_shape=(64,)),
            layers.Dense(256, "relu"),
            layers.Dropout(0.2),
            layers.Dense(256, "relu"),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(arguments: list[str] | None = None) -> dict[str, object]:
    """Train, print a line on rank 0, and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two epochs, for the tests")
    parser.add_argument("--backup", help="a folder on a disk that all ranks see: the job goes on where it was killed")
    given = parser.parse_args(arguments)
    fastnn.utils.set_random_seed(0)
    train, test = fastnn.datasets.load_digits()
    model = network()
    keepers = [callbacks.BackupAndRestore(given.backup)] if given.backup else []
    with data_parallel(shards=24):  # the same bits on 1, 2, 3, 4, 6, 8, 12 and 24 ranks
        model.fit(*train, epochs=2 if given.quick else 20, batch_size=240, validation_data=test, callbacks=keepers)
        _, accuracy = model.evaluate(*test, verbose=0)
    weights = hashlib.sha256(model.flat_weights).hexdigest()[:16]
    if rank() == 0:
        print(f"{size()} ranks, test accuracy {accuracy:.1%}, weights {weights}")
    return {"accuracy": accuracy, "weights": weights}


if __name__ == "__main__":
    main()
